"""What happens to the records of a chunk: the good go on in order, the bad become letters, and none is lost."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.ingestion.validation import Validator
from penstock.model.batch import RESERVED_FIELDS
from penstock.model.finding import Place
from penstock.model.outcome import DeadLetter, RecordError, Stage
from penstock.model.pipeline import Check, Connection, SourceTable
from penstock.model.position import Position
from penstock.model.schema import Field, parse_type
from penstock.model.settings import Settings
from penstock.ports import BadRecord, Chunk, Original

PLACE = Place("doc.md")
FIELDS = (
    Field("id", parse_type("bigint"), nullable=False),
    Field("total", parse_type("numeric(10,2)")),
    Field("status", parse_type("text")),
    Field("created_at", parse_type("timestamp")),
)
CHECKS = (
    Check("INT_ALPHA_003", '"id" IS NOT NULL', "id", "a value"),
    Check("INT_ALPHA_004", '"total" >= 0', "total", "total >= 0", rule="r1"),
    Check("INT_ALPHA_002", "\"status\" IN ('new', 'paid')", "status", "one of new, paid"),
    Check("INT_ALPHA_004", '"status" <> \'paid\' OR "total" > 1', "status", "paid means more than 1", rule="r2"),
)

MakeValidator = Callable[..., Validator]


@pytest.fixture
def make_validator() -> Iterator[MakeValidator]:
    made: list[Validator] = []

    def make(
        fields: tuple[Field, ...] = FIELDS,
        checks: tuple[Check, ...] = CHECKS,
        event_time: str = "created_at",
        critical: str = "",
    ) -> Validator:
        table = SourceTable(
            "orders", "", "", Connection("here"), fields, PLACE, checks=checks, event_time=event_time, critical=critical
        )
        made.append(Validator(table, Settings()))
        return made[-1]

    yield make
    for validator in made:
        validator.close()


def chunk_of(
    *rows: Sequence[str | None],
    names: Sequence[str] = ("id", "total", "status", "created_at"),
    start: int = 0,
    sequences: Sequence[int] | None = None,
    bad: tuple[BadRecord, ...] = (),
) -> Chunk:
    columns = {name: pa.array([row[place] for row in rows], pa.string()) for place, name in enumerate(names)}
    end = start + len(rows) + len(bad)
    return Chunk(
        start=start,
        end=end,
        records=pa.record_batch(columns),
        sequences=None if sequences is None else pa.array(sequences, pa.int64()),
        bad=bad,
        next=Position("orders.csv", end, ""),
        originals=lambda wanted: [Original(f"record {sequence}".encode(), sequence + 2) for sequence in wanted],
        size_bytes=0,
    )


def errors_of(letter: DeadLetter) -> list[tuple[str, str, str, str]]:
    return [(error.code, error.field, error.expected, error.actual) for error in letter.errors]


def test_good_records_come_out_typed_and_followed_by_the_reserved_columns(make_validator: MakeValidator) -> None:
    chunk = chunk_of(("7", "1.50", "new", "2024-01-05T10:00:00+02:00"), ("8", None, None, None), start=100)
    validated = make_validator().validate(chunk, 1 << 40)
    assert validated.letters == ()
    assert validated.batch.schema == pa.schema(
        [pa.field(field.name, field.type.arrow) for field in FIELDS] + list(RESERVED_FIELDS)
    )
    noon = dt.datetime(2024, 1, 5, 8, tzinfo=dt.UTC)
    assert validated.batch.select(["id", "_sequence", "_op", "_event_time", "_version"]).to_pylist() == [
        {"id": 7, "_sequence": 100, "_op": 0, "_event_time": noon, "_version": (1 << 40) + 100},
        {"id": 8, "_sequence": 101, "_op": 0, "_event_time": None, "_version": (1 << 40) + 101},
    ]


def test_without_an_event_time_the_column_is_null(make_validator: MakeValidator) -> None:
    validated = make_validator(event_time="").validate(chunk_of(("7", "1", "new", "2024-01-05")), 0)
    assert validated.batch.column("_event_time").to_pylist() == [None]


def test_a_date_as_event_time_is_its_midnight_in_utc(make_validator: MakeValidator) -> None:
    validator = make_validator((Field("day", parse_type("date")),), (), event_time="day")
    validated = validator.validate(chunk_of(("2024-01-05",), names=["day"]), 0)
    assert validated.batch.column("_event_time").to_pylist() == [dt.datetime(2024, 1, 5, tzinfo=dt.UTC)]


def test_a_refused_event_time_is_one_error(make_validator: MakeValidator) -> None:
    validated = make_validator().validate(chunk_of(("7", "1", "new", "yesterday")), 0)
    assert [errors_of(letter) for letter in validated.letters] == [
        [("INT_ALPHA_002", "created_at", "timestamp", "yesterday")]
    ]


def test_a_bad_record_is_a_letter_with_its_original_line_and_every_error(make_validator: MakeValidator) -> None:
    chunk = chunk_of(("1", "1", "new", None), (None, "-5", "lost", "soon"), ("3", "1", "new", None), start=10)
    validated = make_validator().validate(chunk, 0)
    assert validated.batch.column("_sequence").to_pylist() == [10, 12]
    (letter,) = validated.letters
    assert (letter.source, letter.partition, letter.sequence) == ("orders", "orders.csv", 11)
    assert (letter.stage, letter.destination) == (Stage.INGESTION, "")
    assert (letter.original, letter.line) == (b"record 11", 13)
    assert errors_of(letter) == [
        ("INT_ALPHA_002", "created_at", "timestamp", "soon"),
        ("INT_ALPHA_003", "id", "a value", "null"),
        ("INT_ALPHA_004", "total", "total >= 0", "-5.00"),
        ("INT_ALPHA_002", "status", "one of new, paid", "lost"),
    ]


def test_an_error_over_several_columns_shows_them_all(make_validator: MakeValidator) -> None:
    (letter,) = make_validator().validate(chunk_of(("1", "0.5", "paid", None)), 0).letters
    assert errors_of(letter) == [("INT_ALPHA_004", "status", "paid means more than 1", "status = paid, total = 0.50")]


def test_a_check_on_a_refused_value_is_not_judged(make_validator: MakeValidator) -> None:
    (letter,) = make_validator().validate(chunk_of(("x", "1", "new", None)), 0).letters
    assert errors_of(letter) == [("INT_ALPHA_002", "id", "bigint", "x")]


def test_null_meets_a_check_as_in_sql(make_validator: MakeValidator) -> None:
    assert make_validator().validate(chunk_of(("1", None, None, None)), 0).letters == ()


def test_a_check_that_cannot_be_computed_fails_its_record_alone(make_validator: MakeValidator) -> None:
    positive = Check(
        "INT_ALPHA_004", 'CAST("status" AS INTEGER) > 0 AND CAST("status" AS INTEGER) < 9', "status", "1-8"
    )
    rows = [("1", None, "5", None), ("2", None, "many", None), ("3", None, "9", None), ("4", None, "1", None)]
    validated = make_validator(checks=(positive, positive)).validate(chunk_of(*rows), 0)
    assert validated.batch.column("id").to_pylist() == [1, 4]
    assert [letter.errors[0].actual for letter in validated.letters] == ["many", "9"]


def test_checks_see_uuids_and_json_as_such(make_validator: MakeValidator) -> None:
    fields = (Field("u", parse_type("uuid")), Field("j", parse_type("json")))
    checks = (
        Check("INT_ALPHA_004", "\"u\" <> CAST('00000000-0000-0000-0000-000000000000' AS UUID)", "u", "not nil"),
        Check("INT_ALPHA_004", "\"j\"->>'a' = '1'", "j", "a is 1"),
    )
    rows = [("0" * 32, '{"a": 1}'), ("1" * 32, '{"a": 2}'), ("1" * 32, '{"a": "1"}')]
    validated = make_validator(fields, checks, event_time="").validate(chunk_of(*rows, names=["u", "j"]), 0)
    assert [letter.errors[0].field for letter in validated.letters] == ["u", "j"]
    assert validated.batch.column("j").to_pylist() == ['{"a": "1"}']


def test_records_that_could_not_be_parsed_are_letters_in_their_place(make_validator: MakeValidator) -> None:
    error = RecordError("INT_ALPHA_001", "", "too few fields", "4 fields", "2 fields")
    bad = tuple(BadRecord(sequence, Original(b"a,b", sequence + 2), error) for sequence in (0, 2))
    chunk = chunk_of(("x", None, None, None), ("2", None, None, None), sequences=[1, 3], bad=bad)
    validated = make_validator().validate(chunk, 0)
    assert [(letter.sequence, letter.errors[0].code) for letter in validated.letters] == [
        (0, "INT_ALPHA_001"),
        (1, "INT_ALPHA_002"),
        (2, "INT_ALPHA_001"),
    ]
    assert validated.letters[0].original == b"a,b"
    assert validated.batch.column("_sequence").to_pylist() == [3]


def test_a_declared_column_that_the_chunk_lacks_is_null(make_validator: MakeValidator) -> None:
    validated = make_validator().validate(chunk_of(("1", "2"), names=["id", "total"]), 0)
    assert validated.batch.select(["id", "status", "created_at"]).to_pylist() == [
        {"id": 1, "status": None, "created_at": None}
    ]


def test_columns_that_are_not_declared_are_left_out(make_validator: MakeValidator) -> None:
    validated = make_validator().validate(chunk_of(("1", "2", "secret"), names=["id", "total", "note"]), 0)
    assert "note" not in validated.batch.schema.names


def test_an_empty_chunk_is_an_empty_batch(make_validator: MakeValidator) -> None:
    validated = make_validator().validate(chunk_of(), 0)
    assert (validated.batch.num_rows, validated.letters) == (0, ())


def test_names_and_values_with_quotes_are_only_names_and_values(make_validator: MakeValidator) -> None:
    fields = (Field('a"; DROP TABLE x; --', parse_type("integer")), Field("it's", parse_type("text")))
    checks = (Check("INT_ALPHA_004", '"a""; DROP TABLE x; --" > 0', 'a"; DROP TABLE x; --', "> 0"),)
    chunk = chunk_of(("1", "'; --"), ("0", "''"), (" 2 ", '"'), names=[field.name for field in fields])
    validated = make_validator(fields, checks, event_time="").validate(chunk, 0)
    assert validated.batch.column("it's").to_pylist() == ["'; --", '"']
    assert errors_of(validated.letters[0]) == [("INT_ALPHA_004", 'a"; DROP TABLE x; --', "> 0", "0")]


# --- priority -----------------------------------------------------------------------------------------------------

LARGE = '"total" > 100'


@pytest.mark.parametrize("checks", [CHECKS, ()])
@pytest.mark.parametrize(
    ("rows", "critical"),
    [
        ([("1", "100", "new", None), ("2", "101", "paid", None)], True),
        ([("1", "100", "new", None), ("2", None, "paid", None)], False),
        ([("1", "much", "new", None)], False),
        ([("x", "101", "new", None)], False),
        ([("x", "101", "new", None), ("2", "102", "new", None)], True),
        ([], False),
    ],
)
def test_a_chunk_is_critical_when_one_of_its_good_records_is(
    make_validator: MakeValidator, checks: tuple[Check, ...], rows: list[Sequence[str | None]], *, critical: bool
) -> None:
    validated = make_validator(checks=checks, critical=LARGE).validate(chunk_of(*rows), 0)
    assert validated.critical is critical


def test_a_critical_record_that_a_check_refuses_is_a_letter_like_any_other(make_validator: MakeValidator) -> None:
    validator = make_validator(critical=LARGE)
    validated = validator.validate(chunk_of(("1", "500", "lost", None), ("2", "5", "new", None)), 0)
    assert [letter.sequence for letter in validated.letters] == [0]
    assert not validated.critical


def test_without_a_priority_nothing_is_critical(make_validator: MakeValidator) -> None:
    assert not make_validator().validate(chunk_of(("1", "500", "new", None)), 0).critical


def test_a_priority_that_cannot_be_computed_for_a_record_is_not_met_and_refuses_nothing(
    make_validator: MakeValidator,
) -> None:
    validator = make_validator(checks=CHECKS[:2], critical='CAST("status" AS INTEGER) > 5')
    some = validator.validate(chunk_of(("1", "1", "many", None), ("2", "-1", "9", None), ("3", "1", "7", None)), 0)
    assert ([letter.sequence for letter in some.letters], some.critical) == ([1], True)
    none = validator.validate(chunk_of(("1", "1", "many", None), ("2", "-1", "9", None)), 0)
    assert ([letter.sequence for letter in none.letters], none.critical) == ([1], False)


GOOD = st.tuples(
    st.integers(0, 2**63 - 1).map(str),
    st.none() | st.decimals("2", "99999999.99", places=2).map(str),
    st.none() | st.sampled_from(["new", "paid"]),
    st.none() | st.datetimes().map(str),
)
ANYTHING = st.none() | st.text(max_size=6)
ANY = st.tuples(
    ANYTHING | st.just("1"), ANYTHING | st.just("2.50"), ANYTHING | st.just("new"), ANYTHING | st.just("2024-01-05")
)
property_test = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@property_test
@given(rows=st.lists(GOOD, max_size=20))
def test_every_good_record_is_kept_in_order(make_validator: MakeValidator, rows: list[Any]) -> None:
    validated = make_validator().validate(chunk_of(*rows), 0)
    assert validated.letters == ()
    assert validated.batch.column("id").to_pylist() == [int(row[0]) for row in rows]
    assert [None if value is None else str(value) for value in validated.batch.column("total").to_pylist()] == [
        row[1] for row in rows
    ]


@property_test
@given(rows=st.lists(GOOD | ANY, max_size=20), start=st.integers(0, 2**40))
def test_no_record_is_lost_and_none_counted_twice(make_validator: MakeValidator, rows: list[Any], start: int) -> None:
    validated = make_validator().validate(chunk_of(*rows, start=start), 0)
    kept = validated.batch.column("_sequence").to_pylist()
    refused = [letter.sequence for letter in validated.letters]
    assert kept == sorted(kept)
    assert refused == sorted(refused)
    assert sorted([*kept, *refused]) == list(range(start, start + len(rows)))
    assert all(letter.errors for letter in validated.letters)


@property_test
@given(rows=st.lists(GOOD | ANY, max_size=20))
def test_a_priority_changes_nothing_about_which_records_are_good(
    make_validator: MakeValidator, rows: list[Any]
) -> None:
    chunk = chunk_of(*rows)
    plain, sorted_out = make_validator().validate(chunk, 0), make_validator(critical=LARGE).validate(chunk, 0)
    assert sorted_out.batch == plain.batch
    assert sorted_out.letters == plain.letters
    totals = plain.batch.column("total").to_pylist()
    assert sorted_out.critical is any(total is not None and total > 100 for total in totals)
