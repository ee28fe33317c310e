"""Batches, positions, outcomes, settings and the pipeline as values."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import msgspec
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import UserMistake
from penstock.model.batch import RESERVED, RESERVED_FIELDS, SEQUENCE, sequences_of, version_base
from penstock.model.finding import Place
from penstock.model.outcome import CITED_CHARS_MAX, Count, Outcome, Stage, add_up, cited, records_of
from penstock.model.pipeline import (
    Column,
    Connection,
    Model,
    Pipeline,
    Requirement,
    RequirementKind,
    Rule,
    RuleKind,
    SourceTable,
    Warehouse,
    decode,
    encode,
    fingerprint,
)
from penstock.model.position import Range
from penstock.model.quantity import parse_rate
from penstock.model.schema import Field, parse_type
from penstock.model.settings import ORDERED, SETTINGS, Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

# --- batch and position -------------------------------------------------------------------------------------------


@given(sequences=st.lists(st.integers(0, 1 << 62), max_size=20), offset=st.integers(0, 5))
def test_sequences_are_seen_without_copying_also_of_a_slice(sequences: list[int], offset: int) -> None:
    rows = pa.RecordBatch.from_pylist([{SEQUENCE: n} for n in sequences], schema=pa.schema([RESERVED_FIELDS[0]]))
    assert list(sequences_of(rows.slice(offset))) == sequences[offset:]


def test_reserved_fields_are_the_reserved_columns_in_order() -> None:
    assert tuple(field.name for field in RESERVED_FIELDS) == RESERVED


def test_a_partition_met_later_is_newer_whatever_its_sequences() -> None:
    assert version_base(0) == 0
    assert version_base(1) > version_base(0) + (1 << 40) - 1
    assert version_base((1 << 23) - 1) + (1 << 40) - 1 == (1 << 63) - 1


@pytest.mark.parametrize(("start", "end"), [(-1, 3), (4, 3)])
def test_a_range_that_runs_backwards_or_below_zero_is_none(start: int, end: int) -> None:
    with pytest.raises(ValueError, match="is no range"):
        Range(start, end)


def test_a_range_holds_its_start_and_not_its_end() -> None:
    assert [number for number in range(8) if number in Range(3, 6)] == [3, 4, 5]
    assert "3" not in Range(3, 6)
    assert (len(Range(3, 6)), len(Range(3, 3)), str(Range(3, 6))) == (3, 0, "[3, 6)")


# --- outcomes -----------------------------------------------------------------------------------------------------

counts = st.builds(
    Count,
    st.sampled_from(["facts", "now"]),
    st.sampled_from(Outcome),
    st.sampled_from(Stage),
    st.sampled_from(["", "x"]),
    st.integers(0, 5),
)


@given(given_=st.lists(counts, max_size=30), order=st.integers(0, 1 << 30))
def test_two_tallies_of_the_same_facts_are_equal_and_lose_nothing(given_: Sequence[Count], order: int) -> None:
    shuffled = list(given_)
    Random(order).shuffle(shuffled)
    tally = add_up(given_)
    assert tally == add_up(shuffled) == add_up(tally)
    for name in ("facts", "now"):
        assert records_of(tally, name) == sum(count.records for count in given_ if count.destination == name)
    assert all(count.records for count in tally)


def test_a_value_in_an_error_is_cut_where_it_is_long_and_null_where_it_is_missing() -> None:
    assert cited(None) == "null"
    assert cited("") == ""
    assert cited("x" * CITED_CHARS_MAX) == "x" * CITED_CHARS_MAX
    assert cited("x" * (CITED_CHARS_MAX + 1)) == "x" * (CITED_CHARS_MAX - 1) + "…"


# --- settings -----------------------------------------------------------------------------------------------------


def test_settings_have_the_specs_defaults() -> None:
    settings = Settings()
    assert len(settings) == len(SETTINGS) == len(list(settings))
    assert settings.whole("ALPHA_BETA_BATCH_SIZE") == 1000
    assert settings["ALPHA_BETA_BACKOFF_MULTIPLIER"] == 2.0
    assert settings.seconds("ALPHA_BETA_ACK_TIMEOUT_MS") == 30.0


@pytest.mark.parametrize("name", SETTINGS)
def test_every_setting_takes_its_borders_and_its_default_and_nothing_beyond(name: str) -> None:
    setting = SETTINGS[name]
    apart = {low: SETTINGS[low].low for low, high in ORDERED if high == name}
    apart |= {high: SETTINGS[high].high for low, high in ORDERED if low == name}
    for value in (setting.low, setting.high, setting.default):
        assert Settings({**apart, name: str(value)})[name] == value
    wrong: tuple[object, ...] = (setting.low - 1, setting.high + 1, "nan", "many", None, "")
    for refused in wrong:
        with pytest.raises(UserMistake, match=name) as caught:
            Settings({**apart, name: refused})
        assert caught.value.kind.code == "INT_PIPELINE_005"
        assert f"{name} = {refused}: it takes {setting.takes}" in caught.value.message


def test_defaults_and_borders_are_of_one_kind_and_in_order() -> None:
    for setting in SETTINGS.values():
        assert type(setting.low) is type(setting.high) is type(setting.default)
        assert setting.low <= setting.default <= setting.high


@pytest.mark.parametrize(
    ("value", "on"),
    [
        *((word, True) for word in (True, 1, "true", "True", "TRUE", "yes", "on", "1", " true ")),
        *((word, False) for word in (False, 0, "false", "No", "off", "0")),
    ],
)
def test_a_switch_is_said_in_the_usual_words(value: object, *, on: bool) -> None:
    settings = Settings({"STREAMING_MODE_ENABLED": value})
    assert settings.switch("STREAMING_MODE_ENABLED") is on
    assert settings["STREAMING_MODE_ENABLED"] is on


@pytest.mark.parametrize("value", ["maybe", "", "2", 1.0, None, "truefalse"])
def test_another_word_for_a_switch_is_refused_with_those_that_it_takes(value: object) -> None:
    with pytest.raises(UserMistake) as caught:
        Settings({"STREAMING_MODE_ENABLED": value})
    assert caught.value.message.endswith(": it takes true or false (or yes, no, on, off, 1, 0)")
    assert caught.value.remedy == "leave it out to let planning decide for each source"


def test_settings_know_what_was_given_even_where_it_is_the_default() -> None:
    settings = Settings({"STREAMING_MODE_ENABLED": "false"})
    assert settings == Settings()
    assert settings.given("STREAMING_MODE_ENABLED")
    assert not settings.given("READ_BYTES")
    assert not Settings().given("STREAMING_MODE_ENABLED")


@pytest.mark.parametrize(
    ("given_", "words"),
    [
        ({"BACKPRESSURE_HIGH_WATERMARK": 0.4}, "HIGH_WATERMARK = 0.4 is below BACKPRESSURE_LOW_WATERMARK = 0.5"),
        ({"BACKPRESSURE_LOW_WATERMARK": 0.9}, "HIGH_WATERMARK = 0.8 is below BACKPRESSURE_LOW_WATERMARK = 0.9"),
    ],
)
def test_a_high_watermark_below_the_low_one_is_refused(given_: dict[str, float], words: str) -> None:
    with pytest.raises(UserMistake) as caught:
        Settings(given_)
    assert (caught.value.kind.code, caught.value.message) == ("INT_PIPELINE_005", f"BACKPRESSURE_{words}")
    assert Settings({"BACKPRESSURE_HIGH_WATERMARK": 0.5})["BACKPRESSURE_LOW_WATERMARK"] == 0.5


@pytest.mark.parametrize("value", [1.5, "1.5", "1e3", True])
def test_a_setting_that_counts_takes_whole_numbers_only(value: object) -> None:
    with pytest.raises(UserMistake, match="a whole number from 1 to 1,000,000"):
        Settings({"ALPHA_BETA_BATCH_SIZE": value})


def test_an_unknown_setting_is_named() -> None:
    with pytest.raises(UserMistake, match="no setting is called BATCHSIZE"):
        Settings({"BATCHSIZE": 1})


# --- pipeline -----------------------------------------------------------------------------------------------------


def pipeline(line: int = 1, filters: str = "") -> Pipeline:
    place = Place("doc.md", line, 1)
    id_ = Field("id", parse_type("bigint"), nullable=False)
    source = SourceTable("orders", "public", "shop", Connection("shop"), (id_,), place)
    model = Model(
        "facts",
        "analytics",
        "orders",
        ("id",),
        (Column("id", id_.type, '"id"', "id", nullable=False),),
        place,
        rules=(Rule("r1", "id > 0", RuleKind.PREDICATE, ("id",), place, f'"id" > 0{filters}'),),
    )
    rate = parse_rate("100 rows/second")
    requirement = Requirement("q1", RequirementKind.RATE, "100 rows/second", place, "orders", rate)
    return Pipeline("shop", (source,), (model,), Warehouse("duckdb", Connection("wh", "duckdb")), (requirement,))


def test_a_pipeline_is_the_same_after_writing_and_reading() -> None:
    assert decode(encode(pipeline())) == pipeline()
    assert encode(decode(encode(pipeline()))) == encode(pipeline())


def test_what_is_no_pipeline_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError):
        decode(b'{"name": "shop"}')


def test_moving_a_line_changes_nothing_that_a_run_depends_on() -> None:
    assert fingerprint(pipeline(1)) == fingerprint(pipeline(99))
    assert fingerprint(pipeline()) != fingerprint(pipeline(filters=" AND TRUE"))


def test_tables_and_models_are_found_by_name() -> None:
    found = pipeline()
    assert found.source("orders").name == found.model("facts").source == "orders"
    assert found.models_of("orders") == found.models
    assert found.models_of("customers") == ()
    with pytest.raises(KeyError, match="no source `customers`"):
        found.source("customers")
    with pytest.raises(KeyError, match="no model `orders`"):
        found.model("orders")


def test_a_model_shows_its_fields_as_the_destination_sees_them() -> None:
    assert pipeline().models[0].fields == (Field("id", parse_type("bigint"), nullable=False),)
