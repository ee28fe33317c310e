"""Columns: what they come to, in which type, and what happens to a record for which one cannot be computed."""

from __future__ import annotations

import datetime as dt
import hashlib
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.errors import UserMistake
from penstock.model.batch import RESERVED_FIELDS
from penstock.model.pipeline import Filter, Masking
from penstock.transformation.apply import QualityFigures

if TYPE_CHECKING:
    from collections.abc import Sequence

    from penstock.model.outcome import RecordError

Bench = Any  # the fixture's class; test folders are not packages

CODE = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"


def brief(errors: Sequence[RecordError]) -> list[tuple[str, str, str, str]]:
    return [(error.code, error.field, error.expected, error.actual) for error in errors]


def test_rows_are_the_model_s_columns_then_the_reserved_ones(bench: Bench) -> None:
    model = bench.model(bench.column("net", '"total" - "discount"', "numeric(10,2)"), bench.column("status"))
    result = bench.transform(model, {"total": Decimal(10), "discount": Decimal("0.5"), "status": "paid"})
    assert result.rows.schema == pa.schema(
        [("id", pa.int64()), ("net", pa.decimal128(10, 2)), ("status", pa.string()), *RESERVED_FIELDS]
    )
    assert result.rows.to_pylist() == [
        {
            "id": 0,
            "net": Decimal("9.50"),
            "status": "paid",
            "_sequence": 0,
            "_op": 0,
            "_event_time": None,
            "_version": 0,
        }
    ]
    assert (result.filtered, result.errors) == ({}, {})
    assert result.quality == QualityFigures(1, 1.0, 1.0, 1.0, 0)


def test_a_model_may_give_a_new_column_the_name_of_another_of_the_source(bench: Bench) -> None:
    columns = (
        bench.column("total", '"total" * 2', "numeric(12,2)"),
        bench.column("twice", '"total" + 1', "numeric(12,2)"),
    )
    result = bench.transform(bench.model(*columns), {"total": Decimal(10)})
    assert result.rows.select(["total", "twice"]).to_pylist() == [{"total": Decimal(20), "twice": Decimal(11)}]


@pytest.mark.parametrize(
    ("type_", "expression", "wanted"),
    [
        ("smallint", "7", 7),
        ("bigint", "9223372036854775807", 9223372036854775807),
        ("boolean", '"total" > 1', True),
        ("real", "1.5", 1.5),
        ("double precision", "0.1", 0.1),
        ("text", "'a' || 'b'", "ab"),
        ("bytea", "CAST('ab' AS BLOB)", b"ab"),
        ("date", 'CAST("created_at" AS DATE)', dt.date(2024, 1, 5)),
        ("time", 'CAST("created_at" AS TIME)', dt.time(10, 30)),
        ("timestamp", '"created_at" + INTERVAL 1 HOUR', dt.datetime(2024, 1, 5, 11, 30)),  # noqa: DTZ001 - without zone
        ("timestamptz", '"created_at"', dt.datetime(2024, 1, 5, 10, 30, tzinfo=dt.UTC)),
        ("uuid", '"code"', CODE),
        ("json", "'{\"a\": 1}'", '{"a": 1}'),
        ("decimal(38,10)", '"amount" + 0', Decimal("1234567890123456789012345678.0123456789")),
    ],
)
def test_a_column_has_exactly_its_declared_type(bench: Bench, type_: str, expression: str, wanted: object) -> None:
    column = bench.column("made", expression, type_)
    record = {
        "total": Decimal(2),
        "code": CODE,
        "created_at": dt.datetime(2024, 1, 5, 10, 30),  # noqa: DTZ001 - without zone
        "amount": Decimal("1234567890123456789012345678.0123456789"),
    }
    rows = bench.transform(bench.model(column), record).rows
    assert rows.schema.field("made").type == column.type.arrow
    assert rows.column("made").to_pylist() == [wanted]


def test_decimals_stay_exact_to_38_digits(bench: Bench) -> None:
    model = bench.model(bench.column("made", '"amount" * 3 - "amount"', "numeric(38,10)"))
    amount = Decimal("1234567890123456789012345678.0123456789")
    assert bench.transform(model, {"amount": amount}).rows.column("made").to_pylist() == [
        Decimal("2469135780246913578024691356.0246913578")
    ]


def test_uuids_are_compared_as_such_and_leave_as_text(bench: Bench) -> None:
    same = f"\"code\" = CAST('{CODE.upper()}' AS UUID)"
    rows = bench.transform(
        bench.model(bench.column("same", same, "boolean"), bench.column("code")), {"code": CODE}
    ).rows
    assert rows.select(["same", "code"]).to_pylist() == [{"same": True, "code": CODE}]


def test_a_record_that_cannot_be_computed_fails_alone_and_shows_its_inputs(bench: Bench) -> None:
    number = bench.column("number", 'CAST("status" AS INTEGER) * CAST("total" AS INTEGER)', "integer")
    records = [{"status": "1", "total": 2}, {"status": "x", "total": 3}, {"status": None}, {"status": "9", "total": 1}]
    result = bench.transform(bench.model(number), *records)
    assert result.rows.column("number").to_pylist() == [2, None, 9]
    assert result.rows.column("_sequence").to_pylist() == [0, 2, 3]
    assert list(result.errors) == [1]
    assert brief(result.errors[1]) == [
        ("INT_BETA_002", "number", number.expression, "status = x, total = 3.00"),
    ]


@pytest.mark.parametrize(
    ("expression", "type_", "bad"),
    [
        ('CAST("status" AS INTEGER)', "integer", {"status": "99999999999"}),
        ('"id"', "smallint", {"id": 40000}),
        ('"total"', "numeric(4,2)", {"total": Decimal("100.00")}),
        ('"id" * 4611686018427387904', "bigint", {"id": 5}),
        ('1 // "id"', "bigint", {"id": 0}),
        ('CAST("status" AS DATE)', "date", {"status": "2023-02-29"}),
        ("CAST('9' || \"status\" AS DECIMAL(3,1))", "numeric(3,1)", {"status": "99"}),
        ('CAST("status" AS BOOLEAN)', "boolean", {"status": "maybe"}),
    ],
)
def test_each_kind_of_failure_is_told_of_its_record_alone(
    bench: Bench, expression: str, type_: str, bad: dict[str, object]
) -> None:
    good: dict[str, object] = {"id": 1, "total": Decimal(1), "status": None}
    model = bench.model(bench.column("made", expression, type_), bench.column("also", expression, type_))
    result = bench.transform(model, good, {**good, **bad}, good)
    assert result.rows.column("_sequence").to_pylist() == [0, 2]
    assert [(error.code, error.field) for error in result.errors[1]] == [
        ("INT_BETA_002", "made"),
        ("INT_BETA_002", "also"),
    ]


def test_after_a_chunk_with_a_failure_the_next_ones_are_the_same(bench: Bench) -> None:
    transformer = bench.transformer(bench.model(bench.column("made", 'CAST("status" AS INTEGER)', "integer")))
    chunks = [["1", "x"], ["2", "y"], ["3", "4"], ["5", "6"], ["z", "7"]]
    found = []
    for number, chunk in enumerate(chunks):
        result = transformer.transform(bench.rows(*({"status": status} for status in chunk), start=number * 2))
        found.append((result.rows.column("made").to_pylist(), list(result.errors)))
    assert found == [([1], [1]), ([2], [3]), ([3, 4], []), ([5, 6], []), ([7], [8])]


def test_a_null_in_the_grain_or_in_a_column_that_takes_none_cannot_be_mapped(bench: Bench) -> None:
    grain = bench.transform(bench.model(bench.column("status")), {"id": None, "status": "a"}, {"id": 1})
    assert brief(grain.errors[0]) == [("INT_BETA_001", "id", "not null", "null")]
    assert grain.rows.num_rows == 1
    column = msgspec.structs.replace(bench.column("net", '"total" - 1', "numeric(10,2)"), nullable=False)
    result = bench.transform(bench.model(column), {"total": None}, {"total": Decimal(1)})
    assert brief(result.errors[0]) == [("INT_BETA_001", "net", "not null", "null")]


def test_a_column_takes_only_its_length_and_its_values(bench: Bench) -> None:
    short = bench.column("short", '"status"', "varchar(3)")
    result = bench.transform(bench.model(short), {"status": "abc"}, {"status": "abcd"}, {"status": None})
    assert result.rows.column("short").to_pylist() == ["abc", None]
    assert brief(result.errors[1]) == [("INT_BETA_001", "short", "at most 3 characters", "abcd")]


def test_filters_leave_records_out_under_the_first_reason_that_holds(bench: Bench) -> None:
    filters = (
        Filter("test orders", "\"status\" = 'test'", bench.orders.place),
        Filter("small", '"total" < 5', bench.orders.place),
        Filter("test orders", "\"country\" = 'XX'", bench.orders.place),
    )
    records = [
        {"status": "test", "total": 1},
        {"status": "paid", "total": 1},
        {"status": "paid", "total": 9},
        {"status": None, "total": None},
        {"country": "XX", "total": 9},
    ]
    result = bench.transform(bench.model(filters=filters), *records)
    assert {reason: list(sequences) for reason, sequences in result.filtered.items()} == {
        "test orders": [0, 4],
        "small": [1],
    }
    assert result.rows.column("_sequence").to_pylist() == [2, 3]
    assert result.quality.records == 2


def test_a_filtered_record_is_not_asked_for_more(bench: Bench) -> None:
    filters = (Filter("none", "\"status\" = 'x'", bench.orders.place),)
    model = bench.model(bench.column("made", 'CAST("status" AS INTEGER)', "integer"), filters=filters)
    result = bench.transform(model, {"status": "x"}, {"status": "y"}, {"status": "1", "id": None})
    assert list(result.filtered["none"]) == [0]
    assert {sequence: [error.code for error in errors] for sequence, errors in result.errors.items()} == {
        1: ["INT_BETA_002"],
        2: ["INT_BETA_001"],
    }


def test_a_filter_that_cannot_be_computed_fails_its_record_alone(bench: Bench) -> None:
    filters = (
        Filter("odd", 'CAST("status" AS INTEGER) % 2 = 1', bench.orders.place),
        Filter("all", "TRUE", bench.orders.place),
    )
    result = bench.transform(bench.model(filters=filters), {"status": "1"}, {"status": "x"}, {"status": "2"})
    assert {reason: list(sequences) for reason, sequences in result.filtered.items()} == {"odd": [0], "all": [2]}
    assert brief(result.errors[1]) == [("INT_BETA_002", "", filters[0].predicate, "status = x")]


def test_masks_hide_text_and_leave_null(bench: Bench) -> None:
    model = bench.model(
        bench.column("hashed", '"status"', "text", Masking.HASH),
        bench.column("redacted", '"status"', "text", Masking.REDACT),
        bench.column("partial", '"status"', "text", Masking.PARTIAL),
        bench.column("nothing", '"total"', "numeric(10,2)", Masking.REDACT),
    )
    result = bench.transform(model, {"status": "4111111111111111", "total": 5}, {"status": None}, {"status": "1234"})
    names = ["hashed", "redacted", "partial", "nothing"]
    assert [tuple(row[name] for name in names) for row in result.rows.to_pylist()] == [
        (hashlib.sha256(b"4111111111111111").hexdigest(), "***", "************1111", None),
        (None, None, None, None),
        (hashlib.sha256(b"1234").hexdigest(), "***", "****", None),
    ]


def test_a_copy_is_masked_too(bench: Bench) -> None:
    column = msgspec.structs.replace(bench.column("status"), masking=Masking.REDACT)
    assert bench.transform(bench.model(column), {"status": "secret"}).rows.column("status").to_pylist() == ["***"]


def test_rules_judge_what_a_mask_hides_and_errors_do_not_show_it(bench: Bench) -> None:
    rules = (bench.rule('length("card") > 3'), bench.rule("\"status\" <> 'no'"))
    model = bench.model(bench.column("card", 'trim("status")', "text", Masking.HASH), rules=rules)
    result = bench.transform(model, {"status": "no"}, {"status": "secret"})
    assert result.rows.num_rows == 1
    assert [error.actual for error in result.errors[0]] == ["card = ***", "status = ***"]


@pytest.mark.parametrize(
    ("masking", "type_", "nullable"),
    [(Masking.HASH, "bigint", True), (Masking.PARTIAL, "date", True), (Masking.REDACT, "bigint", False)],
)
def test_a_mask_that_does_not_suit_its_column_is_a_mistake(
    bench: Bench, *, masking: Masking, type_: str, nullable: bool
) -> None:
    column = msgspec.structs.replace(bench.column("made", "NULL", type_, masking), nullable=nullable)
    with pytest.raises(UserMistake, match=r"fct_orders\.made: masking"):
        bench.transformer(bench.model(column))


def test_an_expression_that_means_nothing_is_told_before_the_first_record(bench: Bench) -> None:
    with pytest.raises(UserMistake, match="model `fct_orders` cannot be computed"):
        bench.transformer(bench.model(bench.column("made", '"no such column"', "text")))


def test_nothing_in_nothing_out(bench: Bench) -> None:
    result = bench.transform(bench.model(bench.column("status")))
    assert (result.rows.num_rows, result.filtered, result.errors, result.quality.records) == (0, {}, {}, 0)


def test_names_with_quotes_and_dots_are_only_names(bench: Bench) -> None:
    name = 'net "amount"; DROP TABLE x; --.y'
    model = bench.model(bench.column(name, '"total"', "numeric(10,2)"))
    assert bench.transform(model, {"total": Decimal(1)}).rows.column(name).to_pylist() == [Decimal(1)]


def test_many_small_pieces_come_out_as_one_in_order(bench: Bench) -> None:
    model = bench.model(bench.column("twice", '"total" * 2', "numeric(10,2)"))
    rows = bench.rows(*({"total": Decimal(number)} for number in range(5000)))
    pieces = pa.concat_tables([rows.slice(start, 7) for start in range(0, 5000, 7)])
    result = bench.transformer(model).transform(pieces)
    assert result.rows.column("_sequence").to_pylist() == list(range(5000))
    assert result.rows.column("twice").to_pylist() == [Decimal(number * 2) for number in range(5000)]


RECORD = st.fixed_dictionaries(
    {
        "id": st.none() | st.integers(0, 9),
        "status": st.none() | st.sampled_from(["1", "22", "x", "", "test", "-3"]),
        "total": st.none() | st.decimals(-5, 5, places=2),
    }
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(records=st.lists(RECORD, max_size=25), start=st.integers(0, 2**40), kept=st.booleans())
def test_every_record_is_delivered_filtered_or_failed_exactly_once(
    bench: Bench, *, records: list[dict[str, object]], start: int, kept: bool
) -> None:
    model = bench.model(
        bench.column("number", 'CAST("status" AS SMALLINT)', "smallint"),
        bench.column("share", 'CAST(1 // CAST("total" AS BIGINT) AS DECIMAL(9,2))', "numeric(9,2)"),
        filters=(Filter("test", "\"status\" = 'test'", bench.orders.place),),
        rules=(bench.rule('"number" < 10'), bench.rule('"total" > -3 AND CAST("status" AS INTEGER) > 0')),
        min_score=0.9,
        score_column="_score" if kept else "",
    )
    if not bench.opened or bench.opened[-1].schema.names.count("_score") != kept:
        bench.transformer(model)
    result = bench.opened[-1].transform(bench.rows(*records, start=start))
    delivered = result.rows.column("_sequence").to_pylist()
    left_out = [sequence for sequences in result.filtered.values() for sequence in sequences]
    assert delivered == sorted(delivered)
    assert sorted([*delivered, *left_out, *result.errors]) == list(range(start, start + len(records)))
    assert all(result.errors.values())
