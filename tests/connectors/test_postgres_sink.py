"""The PostgreSQL destination: tables, keys, marks, names, types, and what it answers when asked about rules."""

from __future__ import annotations

import math
import random
import re
import threading
from collections import Counter
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.connectors.houses import House
from tests.connectors.test_duckdb_sink import AWKWARD, EXTREMES, mark, model_of, rows_of, rule

from penstock.connectors import open_sink
from penstock.connectors.sinks.postgres import PostgresSink
from penstock.connectors.sinks.postgres.sink import CODES, WRITER_WAIT_MS
from penstock.errors import KINDS, BatchRefused, UserMistake
from penstock.expressions import quote
from penstock.model.batch import RESERVED_FIELDS, Op
from penstock.model.outcome import RecordError
from penstock.model.pipeline import Model, RuleKind, RuleSeverity, WriteMode
from penstock.model.schema import arrow_schema
from penstock.model.settings import Settings
from penstock.ports import Evidence, Guarantee

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tests.servers.postgres import Server

    from penstock.connectors.postgres import Codes

IDS = model_of({"id": "bigint", "name": "text"})
UNIQUE_IDS = model_of({"id": "bigint", "name": "text"}, unique=[("id",)])


@pytest.fixture(scope="module")
def one_house(postgres: Server) -> Iterator[House]:
    """A database that is emptied after each test."""
    database = postgres.new_database()
    yield House(database)
    postgres.forget(database)


@pytest.fixture
def house(one_house: House) -> Iterator[House]:
    yield one_house
    one_house.empty()


@pytest.fixture(scope="module")
def lasting_house(postgres: Server) -> Iterator[House]:
    """A database for many examples, each with a schema of its own."""
    database = postgres.new_database()
    house = House(database)
    yield house
    house.close()
    postgres.forget(database)


def test_rows_and_marks_are_there_for_others_once_they_are_committed(house: House) -> None:
    sink = house.open(IDS)
    assert sink.write(rows_of(IDS, (1, "a"), (2, None), (3, "")), "a.csv").refused == {}
    assert house.stored("SELECT * FROM analytics.orders") == []
    sink.commit([mark(3)])
    assert house.stored("SELECT * FROM analytics.orders ORDER BY id") == [(1, "a"), (2, None), (3, "")]
    assert house.stored(
        'SELECT pipeline, model, source, "partition", sequence, position_sequence, position_token FROM _penstock.marks'
    ) == [("shop", "orders", "orders", "a.csv", 3, 3, "byte 3")]


def test_the_sink_is_found_by_its_name_and_shows_no_password(house: House, tmp_path: Path) -> None:
    sink = open_sink("shop", IDS, house.warehouse(), tmp_path, Settings())
    assert isinstance(sink, PostgresSink)
    assert sink.guarantee is Guarantee.TRANSACTIONAL
    assert repr(sink).startswith("<PostgresSink analytics.orders in postgresql://")
    assert "kept" not in repr(sink)
    assert repr(sink).endswith(f"/{house.database.name}, closed>")


def test_a_model_without_a_schema_lands_where_the_connection_says(house: House) -> None:
    model = model_of({"id": "bigint"}, schema="")
    house.open(model)
    house.open(model, "other", schema="my schema")
    assert house.stored("SELECT count(*) FROM public.orders") == [(0,)]
    assert house.stored('SELECT count(*) FROM "my schema".orders') == [(0,)]


def test_columns_are_the_models_with_its_score_and_without_what_is_reserved(house: House) -> None:
    model = model_of(
        {"id": "bigint", "name": "varchar(20)", "amount": "numeric(10,2)"}, not_null=["id"], score="_quality_score"
    )
    sink = house.open(model)
    sink.write(rows_of(model, (1, "a", Decimal("1.50"), 0.5)), "a.csv")
    sink.commit([])
    columns = (
        "SELECT attname, format_type(atttypid, atttypmod), attnotnull FROM pg_attribute "
        "WHERE attrelid = 'analytics.orders'::regclass AND attnum > 0 ORDER BY attnum"
    )
    assert house.stored(columns) == [
        ("id", "bigint", True),
        ("name", "text", False),
        ("amount", "numeric(10,2)", False),
        ("_quality_score", "double precision", False),
    ]
    assert house.stored("SELECT * FROM analytics.orders") == [(1, "a", Decimal("1.50"), 0.5)]


def test_a_merge_without_a_version_column_keeps_the_order_of_reading(house: House) -> None:
    model = model_of({"id": "bigint"}, mode=WriteMode.MERGE)
    sink = house.open(model)
    sink.write(rows_of(model, (7,), first=40), "a.csv")
    sink.commit([])
    assert house.stored("SELECT id, _version FROM analytics.orders") == [(7, 40)]


def constraints(house: House) -> list[str]:
    return [
        text
        for (text,) in house.stored(
            "SELECT pg_get_constraintdef(oid) FROM pg_constraint "
            "WHERE conrelid = 'analytics.orders'::regclass ORDER BY 1"
        )
    ]


def test_keys_become_constraints_and_a_grain_that_is_never_null_the_primary_key(house: House) -> None:
    columns = {"id": "bigint", "slot": "integer", "name": "text", "body": "json"}
    keys = [("slot", "name"), ("slot",), ("name", "slot", "id"), ("body",)]
    house.open(model_of(columns, unique=keys, not_null=["id"], mode=WriteMode.MERGE))
    assert constraints(house) == ["PRIMARY KEY (id)", "UNIQUE (slot)", "UNIQUE (slot, name)"]
    house.do("DROP TABLE analytics.orders")
    house.open(model_of(columns, unique=[("id",)], not_null=["id"]), "second")
    assert constraints(house) == ["UNIQUE (id)"]
    house.do("DROP TABLE analytics.orders")
    house.open(model_of(columns, mode=WriteMode.MERGE), "third")
    assert constraints(house) == ["UNIQUE (id)"]


# --- keys that may occur once ------------------------------------------------------------------------------------


def test_of_two_rows_with_one_key_the_first_stays_and_the_other_is_refused_with_its_reason(house: House) -> None:
    sink = house.open(UNIQUE_IDS)
    written = sink.write(rows_of(UNIQUE_IDS, (1, "first"), (2, "b"), (1, "second"), (1, "third"), first=10), "a.csv")
    assert written.refused == {
        12: RecordError("INT_GAMMA_003", "id", "id 1 is in an earlier record already", "no duplicate id", "1"),
        13: RecordError("INT_GAMMA_003", "id", "id 1 is in an earlier record already", "no duplicate id", "1"),
    }
    assert written.superseded == frozenset()
    sink.commit([])
    assert house.stored("SELECT * FROM analytics.orders ORDER BY id") == [(1, "first"), (2, "b")]


def test_a_key_written_earlier_is_refused_in_the_same_transaction_after_it_and_by_the_next_sink(house: House) -> None:
    sink = house.open(UNIQUE_IDS)
    sink.write(rows_of(UNIQUE_IDS, (1, "a")), "a.csv")
    error = RecordError("INT_GAMMA_003", "id", "id 1 is in the destination already", "no duplicate id", "1")
    assert sink.write(rows_of(UNIQUE_IDS, (1, "b"), (2, "b"), first=1), "a.csv").refused == {1: error}
    sink.commit([mark(3)])
    assert sink.write(rows_of(UNIQUE_IDS, (1, "c"), (3, "c"), first=3), "a.csv").refused == {3: error}
    sink.commit([mark(5)])
    sink.close()
    again = house.open(UNIQUE_IDS)
    assert again.write(rows_of(UNIQUE_IDS, (3, "d"), (4, "d")), "b.csv").refused.keys() == {0}
    again.commit([mark(2, "b.csv")])
    assert house.stored("SELECT * FROM analytics.orders ORDER BY id") == [(1, "a"), (2, "b"), (3, "c"), (4, "d")]


def test_a_key_rolled_back_is_free_again_however_it_was_written(house: House) -> None:
    sink = house.open(UNIQUE_IDS)
    for rows in ([(1, "straight")], [(1, "carefully"), (1, "twice")]):
        sink.write(rows_of(UNIQUE_IDS, *rows), "a.csv")
        sink.rollback()
    assert sink.write(rows_of(UNIQUE_IDS, (1, "b"), (1, "c")), "a.csv").refused.keys() == {1}
    sink.commit([])
    assert house.stored("SELECT * FROM analytics.orders") == [(1, "b")]


def test_null_in_a_key_equals_nothing(house: House) -> None:
    model = model_of({"id": "bigint", "day": "date"}, unique=[("id", "day")])
    sink = house.open(model)
    rows = [(1, None), (1, None), (None, None), (1, date(2026, 1, 1)), (1, date(2026, 1, 1))]
    written = sink.write(rows_of(model, *rows), "a.csv")
    assert {sequence: (error.field, error.expected, error.actual) for sequence, error in written.refused.items()} == {
        4: ("id, day", "no duplicate id + day", "1, 2026-01-01")
    }
    assert sink.write(rows_of(model, (1, None), first=5), "a.csv").refused == {}


def test_keys_that_no_index_can_hold_are_compared_all_the_same(house: House) -> None:
    model = model_of({"id": "bigint", "body": "json"}, unique=[("body",)])
    sink = house.open(model)
    written = sink.write(rows_of(model, (1, '{"a": 1}'), (2, '{"a":1}'), (3, '{"a": 1}'), (4, None), (5, None)), "a")
    assert written.refused.keys() == {2}
    assert sink.write(rows_of(model, (6, '{"a": 1}'), first=5), "a").refused.keys() == {5}
    assert sink.evidence(rule(RuleKind.UNIQUE, "body")) == Evidence(0, 0)
    sink.commit([])
    assert sink.evidence(rule(RuleKind.UNIQUE, "body")) == Evidence(0, 4)


def test_only_rules_that_are_errors_about_columns_of_the_model_refuse_rows(house: House) -> None:
    warning = rule(RuleKind.UNIQUE, "id", severity=RuleSeverity.WARNING)
    elsewhere = rule(RuleKind.UNIQUE, "a column of the source")
    model = Model(IDS.name, IDS.schema, IDS.source, IDS.grain, IDS.columns, IDS.place, rules=(warning, elsewhere))
    sink = house.open(model)
    assert sink.write(rows_of(model, (1, "a"), (1, "b")), "a.csv").refused == {}


def test_an_appending_model_keeps_a_row_for_every_record_whatever_it_does_but_for_one_that_empties_the_table(
    house: House,
) -> None:
    sink = house.open(IDS)
    for number, op in enumerate(Op):
        sink.write(rows_of(IDS, (1, op.name), first=number, op=op), "a.csv")
    sink.commit([])
    assert house.stored("SELECT name FROM analytics.orders") == [("INSERT",), ("UPDATE",), ("DELETE",)]


def test_many_clean_writes_after_a_duplicate_lose_none_and_find_the_next_one(house: House) -> None:
    sink = house.open(UNIQUE_IDS)
    refused: set[int] = set()
    for turn in range(12):
        ids = [turn * 10 + number for number in range(10)]
        if turn in {2, 3, 8}:
            ids[4] = 0
        refused |= sink.write(rows_of(UNIQUE_IDS, *[(each, "x") for each in ids], first=turn * 10), "a").refused.keys()
    sink.commit([])
    assert refused == {24, 34, 84}
    assert house.stored("SELECT count(*), count(DISTINCT id) FROM analytics.orders") == [(117, 117)]


few = st.one_of(st.none(), st.integers(0, 5))


@settings(max_examples=25, deadline=None)
@given(writes=st.lists(st.tuples(st.lists(st.tuples(few, few), max_size=12), st.booleans()), max_size=6))
def test_appending_with_two_keys_equals_doing_it_one_row_at_a_time(
    lasting_house: House, writes: list[tuple[list[tuple[int | None, int | None]], bool]]
) -> None:
    schema = f"append {len(lasting_house.sinks)}"
    model = model_of({"id": "bigint", "slot": "integer"}, unique=[("id",), ("slot",)], schema=schema)
    sink = lasting_house.open(model)
    kept: list[tuple[int | None, int | None]] = []
    refused: set[int] = set()
    answered: set[int] = set()
    first = 0
    for rows, commits in writes:
        for sequence, row in enumerate(rows, start=first):
            if any(value is not None and value == other[place] for other in kept for place, value in enumerate(row)):
                refused.add(sequence)
            else:
                kept.append(row)
        answered |= sink.write(rows_of(model, *rows, first=first), "a.csv").refused.keys()
        first += len(rows)
        if commits:
            sink.commit([])
    sink.commit([])
    sink.close()
    assert answered == refused
    found = lasting_house.stored(f'SELECT * FROM "{schema}".orders')  # noqa: S608 - ours
    assert Counter(found) == Counter(kept)


def test_rows_come_in_pieces_of_any_size(house: House) -> None:
    sink = house.open(UNIQUE_IDS)
    chance = random.Random(5)
    values = [(number * 7919 % 30_011, "x" * chance.randrange(40)) for number in range(30_000)]
    whole = rows_of(UNIQUE_IDS, *values)
    pieces = [whole.slice(start, 100).to_batches()[0] for start in range(0, len(values), 100)]
    assert sink.write(pa.Table.from_batches(pieces), "a.csv").refused == {}
    sink.commit([mark(30_000)])
    assert house.stored("SELECT id, name FROM analytics.orders ORDER BY id") == sorted(values)


# --- types and names ---------------------------------------------------------------------------------------------

FURTHER: Mapping[str, Sequence[object]] = {
    "text": [value for value in EXTREMES["text"] if "\0" not in str(value)]
    + ["\\.", "\\N", "\n\\.\n", "a,b", '"', "NULL"],
    "json": [*EXTREMES["json"], '"\\u0000"', '"\\ud800"', '{"b": 1,  "b": 2}'],
    "double precision": [*EXTREMES["double precision"], float("nan"), 0.1],
    "real": [*EXTREMES["real"], float("nan"), float("-inf"), 0.100000001490116],
}


@pytest.mark.parametrize("mode", list(WriteMode))
@pytest.mark.parametrize("carefully", [False, True])
def test_every_type_comes_back_as_it_went_in(house: House, mode: WriteMode, *, carefully: bool) -> None:
    wanted: dict[str, Sequence[object]] = {**EXTREMES, **FURTHER}
    model = model_of({"id": "bigint", **{name: name for name in wanted}}, unique=[("id",)], mode=mode)
    count = max(len(values) for values in wanted.values())
    whole = {name: [*values, *[None] * (count + 1 - len(values))] for name, values in wanted.items()}
    rows = rows_of(model, *zip(range(count + 1), *whole.values(), strict=True))
    sink = house.open(model)
    if carefully:
        sink.write(rows.slice(0, 1), "a.csv")
    assert set(sink.write(rows, "a.csv").refused) == ({0} if carefully and mode is WriteMode.APPEND else set())
    sink.commit([])

    # As text: a client's own types hold less, or more, than the server's.
    columns = ", ".join(f"{quote(name)}::text" for name in wanted)
    back = house.stored(f"SELECT {columns} FROM analytics.orders ORDER BY id")  # noqa: S608 - quoted
    for place, (name, values) in enumerate(whole.items()):
        assert [row[place] for row in back] == [as_text(name, value) for value in values], name
    sink.close()
    house.open(model)


def as_text(of_type: str, value: object) -> str | None:  # noqa: PLR0911 - one case for each type
    """Return `value` as PostgreSQL writes it."""
    match value:
        case None:
            return None
        case bool():
            return str(value).lower()
        case bytes():
            return f"\\x{value.hex()}"
        case float() if not math.isfinite(value):
            return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[str(value)]
        case float():
            shortest = str(pa.scalar(value, pa.float32() if of_type == "real" else pa.float64()).cast(pa.string()))
            return shortest.removesuffix(".0")
        case datetime() | time():
            return str(value).replace("+00:00", "+00")
        case Decimal():
            return f"{value:f}"
        case _:
            return str(value)


def test_dates_beyond_what_people_write_are_stored_or_refused_and_never_altered(house: House) -> None:
    types = {"id": "bigint", "day": "date", "at": "timestamp", "since": "timestamptz"}
    model = model_of(types)
    schema = arrow_schema(model.fields, *RESERVED_FIELDS)
    day, second = 1, 1_000_000
    days = [3_000_000 * day, -800_000 * day, -(2**31) + 2, 2**31 - 1]
    instants = [253_402_300_800 * second, -62_200_000_000 * second, -(2**63) + 2, 2**63 - 1]
    columns = [range(4), days, instants, instants, range(4), [0] * 4, [None] * 4, range(4)]
    rows = pa.table([pa.array(each, of.type) for each, of in zip(columns, schema, strict=True)], schema=schema)
    sink = house.open(model)
    assert {sequence: error.code for sequence, error in sink.write(rows, "a").refused.items()} == {2: "INT_GAMMA_001"}
    sink.commit([])
    assert house.stored("SELECT id, day::text, at::text, since::text FROM analytics.orders") == [
        (0, "10183-09-21", "10000-01-01 00:00:00", "10000-01-01 00:00:00+00"),
        (1, "0222-09-04 BC", "0003-12-17 14:13:20 BC", "0003-12-17 14:13:20+00 BC"),
        (3, "infinity", "infinity", "infinity"),
    ]


def test_a_table_of_one_column_takes_null(house: House) -> None:
    model = model_of({"name": "text"})
    sink = house.open(model)
    sink.write(rows_of(model, (None,), ("",), ("\\.",), (None,)), "a.csv")
    sink.commit([])
    assert house.stored("SELECT name FROM analytics.orders") == [(None,), ("",), ("\\.",), (None,)]


@pytest.mark.parametrize("name", [name for name in AWKWARD if name != "*"])
def test_tables_and_columns_may_be_called_anything(lasting_house: House, name: str) -> None:
    columns = {name: "bigint", f"{name} 2": "uuid", f"{name} 3": "timestamp"}
    names = {"name": f"{name}t", "schema": f"{name}s", "grain": (name,)}
    appending = model_of(columns, unique=[(name, f"{name} 2")], not_null=[name], **names)  # type: ignore[arg-type]
    uuid, when = "00000000-0000-0000-0000-000000000001", datetime(2026, 1, 1)  # noqa: DTZ001 - the column has no zone
    sink = lasting_house.open(appending, f"pipeline {name}")
    assert sink.write(rows_of(appending, (1, uuid, when), (1, uuid, when)), f"{name}.csv").refused.keys() == {1}
    sink.commit([mark(2, f"{name}.csv")])
    sink.close()

    keys = [(f"{name} 2",), (name, f"{name} 2")]
    merging = model_of(columns, unique=keys, not_null=[name], mode=WriteMode.MERGE, version_by=f"{name} 3", **names)  # type: ignore[arg-type]
    sink = lasting_house.open(merging, f"pipeline {name}")
    assert sink.marks() == {("orders", f"{name}.csv"): mark(2, f"{name}.csv")}
    written = sink.write(rows_of(merging, (1, uuid, when), (1, uuid, when), (2, uuid, when), first=2), f"{name}.csv")
    assert (set(written.refused), set(written.superseded)) == ({4}, {2})
    sink.commit([mark(4, f"{name}.csv")])
    assert sink.evidence(rule(RuleKind.UNIQUE, name, f"{name} 3")) == Evidence(0, 1)
    assert sink.evidence(rule(RuleKind.NOT_NULL, f"{name} 2")) == Evidence(0, 1)
    assert sink.evidence(rule(RuleKind.PREDICATE, name, predicate=f"{quote(name)} > 1")) == Evidence(1, 1)
    assert sink.evidence(rule(RuleKind.PREDICATE, name, predicate=f"abs({quote(name)}) > 1")) == Evidence(1, 1)
    sink.close()


@pytest.mark.parametrize(
    ("schema", "table", "column"),
    [
        ("information_schema", "orders", "id"),
        ("pg_mine", "orders", "id"),
        ("s" * 64, "orders", "id"),
        ("shop", "ü" * 32, "id"),
        ("shop", "orders", "c" * 64),
        ("shop", "orders", "xmin"),
        ("shop", "or\0ders", "id"),
    ],
)
def test_names_that_postgresql_cannot_have_are_refused_before_anything_is_made(
    house: House, schema: str, table: str, column: str
) -> None:
    with pytest.raises(UserMistake, match=r"give the .* another name") as caught:
        house.make(model_of({column: "bigint"}, schema=schema, name=table))
    assert caught.value.kind.code == "INT_GAMMA_013"


def test_a_value_that_its_column_cannot_hold_is_refused_and_the_rest_goes_in(house: House) -> None:
    model = model_of(
        {"id": "bigint", "key": "uuid", "body": "json", "note": "text"}, not_null=["id"], unique=[("key",)]
    )
    uuid = "6f9619ff-8b86-d011-b42d-00c04fc964ff"
    sink = house.open(model)
    rows: list[tuple[object, ...]] = [
        (1, uuid, "{}", "fine"),
        (None, None, None, None),
        (3, "no uuid", None, None),
        (4, None, "{" * 999, None),
        (5, None, "[]", None),
        (6, uuid.upper(), None, None),
        (7, None, None, "nul \0 inside"),
        (8, None, None, "also fine"),
    ]
    written = sink.write(rows_of(model, *rows), "a.csv")
    errors = {sequence: (error.code, error.field, error.actual) for sequence, error in written.refused.items()}
    assert errors == {
        1: ("INT_GAMMA_001", "id", "null"),
        2: ("INT_GAMMA_001", "key", "no uuid"),
        3: ("INT_GAMMA_001", "body", "{" * 199 + "…"),
        5: ("INT_GAMMA_003", "key", uuid),
        6: ("INT_GAMMA_001", "note", "nul \0 inside"),
    }
    assert written.refused[1].message == "`id` cannot be stored as bigint, not null"
    sink.commit([])
    assert house.stored("SELECT id FROM analytics.orders ORDER BY id") == [(1,), (5,), (8,)]


def test_text_that_the_encoding_of_the_database_lacks_is_refused_by_the_record(postgres: Server) -> None:
    database = postgres.new_database("ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'")
    house = House(database)
    try:
        sink = house.open(IDS)
        rows = [(number, "naïve" if number % 7 else "日本語") for number in range(40)]
        written = sink.write(rows_of(IDS, *rows), "a.csv")
        assert {sequence: error.field for sequence, error in written.refused.items()} == dict.fromkeys(
            range(0, 40, 7), "name"
        ) or written.refused.keys() == set(range(0, 40, 7))
        sink.commit([])
        assert house.stored("SELECT count(*) FROM analytics.orders WHERE name = 'naïve'") == [(34,)]
    finally:
        house.close()
        postgres.forget(database)


# --- transactions and marks --------------------------------------------------------------------------------------


def test_nothing_of_an_open_transaction_is_left_by_rollback_or_close(house: House) -> None:
    sink = house.open(IDS)
    sink.write(rows_of(IDS, (1, "kept")), "a.csv")
    sink.commit([mark(1)])
    sink.write(rows_of(IDS, (2, "rolled back"), first=1), "a.csv")
    sink.rollback()
    sink.rollback()
    sink.write(rows_of(IDS, (3, "closed over"), first=1), "a.csv")
    sink.close()
    sink.close()
    assert house.stored("SELECT * FROM analytics.orders") == [(1, "kept")]
    assert house.stored("SELECT sequence FROM _penstock.marks") == [(1,)]


def test_marks_move_without_rows_and_there_is_one_for_each_partition(house: House) -> None:
    sink = house.open(IDS)
    assert sink.marks() == {}
    sink.commit([mark(5), mark(7, "b.csv")])
    sink.commit([mark(9)])
    assert sink.marks() == {("orders", "a.csv"): mark(9), ("orders", "b.csv"): mark(7, "b.csv")}
    sink.close()
    assert house.open(IDS).marks() == {("orders", "a.csv"): mark(9), ("orders", "b.csv"): mark(7, "b.csv")}


def test_the_mark_of_one_partition_can_be_forgotten(house: House) -> None:
    sink = house.open(IDS)
    sink.commit([mark(5), mark(7, "b.csv")])
    sink.forget("orders", "a.csv")
    sink.forget("orders", "never seen")
    sink.rollback()
    assert sink.marks() == {("orders", "b.csv"): mark(7, "b.csv")}


def test_marks_belong_to_a_pipeline_and_a_model(house: House) -> None:
    house.open(IDS).commit([mark(5)])
    assert house.open(model_of({"id": "bigint"}, name="returns")).marks() == {}
    assert house.open(IDS, "warehouse").marks() == {}


def test_marks_go_with_the_table_they_vouch_for(house: House) -> None:
    sink = house.open(IDS)
    sink.write(rows_of(IDS, (1, "a")), "a.csv")
    sink.commit([mark(1)])
    sink.close()
    house.do("DROP TABLE analytics.orders")
    assert house.open(IDS).marks() == {}


def test_sinks_of_one_database_begin_and_commit_from_several_threads(house: House) -> None:
    models = [model_of({"id": "bigint"}, name=f"model {number}", unique=[("id",)]) for number in range(4)]
    sinks = [house.make(model) for model in models]
    failures: list[BaseException] = []

    def work(model: Model, sink: PostgresSink) -> None:
        try:
            sink.prepare()
            for turn in range(20):
                sink.write(rows_of(model, *[(turn * 100 + row,) for row in range(100)], first=turn * 100), "a.csv")
                sink.commit([mark((turn + 1) * 100)])
        except BaseException as failure:  # noqa: BLE001 - whatever happens in a thread is the test's to show
            failures.append(failure)

    threads = [threading.Thread(target=work, args=pair) for pair in zip(models, sinks, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert house.stored("SELECT model, sequence FROM _penstock.marks ORDER BY model") == [
        (f"model {number}", 2000) for number in range(4)
    ]
    assert house.stored('SELECT count(*), sum(id) FROM analytics."model 3"') == [(2000, Decimal(1999000))]


def test_a_commit_waits_for_the_disk_where_others_do_not(house: House) -> None:
    house.do(f"ALTER DATABASE {house.database.name} SET synchronous_commit = off")
    sink = house.open(IDS)
    assert sink._opened is not None  # the session's own setting is what is asked for
    assert sink._opened.execute(b"SHOW synchronous_commit").fetchone() == ("on",)


def test_the_page_about_it_is_true(house: House) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "postgres.md").read_text()
    sections = {part.partition("\n")[0]: part for part in page.split("\n### ")}
    rights, query = (re.findall(r"```sql\n(.*?)```", sections[name], re.DOTALL) for name in ("Rights", "Marks"))
    role = f"penstock_{house.database.name}"
    house.do(f"CREATE ROLE {role} LOGIN PASSWORD 'its own'")
    try:
        house.do("\n".join(rights).replace("AUTHORIZATION penstock", f"AUTHORIZATION {role}"))
        sink = house.open(UNIQUE_IDS, url=house.database.url_for(role, "its own"))
        assert sink.write(rows_of(UNIQUE_IDS, (1, "a"), (1, "b")), "a.csv").refused.keys() == {1}
        sink.commit([mark(2)])
        assert [row[:4] for row in house.stored("".join(query))] == [("orders", "orders", "a.csv", 2)]
    finally:
        house.empty()
        house.do(f"DROP ROLE {role}")
    codes = re.findall(r"^\| `(INT_\w+)`", sections["When it cannot go on"], re.MULTILINE)
    assert [code for code in codes if code not in KINDS] == []
    assert {*vars_of(CODES), "INT_GAMMA_001", "INT_GAMMA_003", "INT_GAMMA_015"} == set(codes)
    [seconds] = re.findall(r"waits (\w+) seconds", sections["What it promises"])
    assert {"five": 5_000}[seconds] == WRITER_WAIT_MS


def vars_of(codes: Codes) -> set[str]:
    return {codes.away, codes.denied, codes.missing, codes.full, codes.wrong}


# --- rules, asked of the table -----------------------------------------------------------------------------------


def test_evidence_counts_the_rows_that_break_a_rule_and_null_meets_a_predicate(house: House) -> None:
    sink = house.open(IDS)
    sink.write(rows_of(IDS, (1, "a"), (-2, "b"), (None, "c"), (-2, None), (-2, "b")), "a.csv")
    sink.commit([])
    assert sink.evidence(rule(RuleKind.PREDICATE, "id", predicate='"id" >= 0')) == Evidence(3, 5)
    assert sink.evidence(rule(RuleKind.NOT_NULL, "id")) == Evidence(1, 5)
    assert sink.evidence(rule(RuleKind.NOT_NULL, "id", "name")) == Evidence(2, 5)
    assert sink.evidence(rule(RuleKind.UNIQUE, "id")) == Evidence(2, 5)
    assert sink.evidence(rule(RuleKind.UNIQUE, "id", "name")) == Evidence(1, 5)


@pytest.mark.parametrize(
    ("predicate", "violations"),
    [
        ("\"name\" IN ('a', 'ü')", 2),
        ('"name" = \'a\' OR "name" IS NULL', 3),
        ('"amount" BETWEEN 0.5 AND 1.5', 2),
        ("\"name\" >= 'b'", 3),
        ('length("name") = 1', 2),
        ("\"day\" >= DATE '0001-01-01'", 1),
        ("\"at\" < CAST('2026-01-01 00:00:00+00' AS TIMESTAMPTZ)", 1),
        ('"flag"', 2),
        ("\"data\" = unhex('00ff')", 3),
        ('"share" < 0.1', 3),
    ],
)
def test_rules_mean_to_the_table_what_they_mean_in_the_document(house: House, predicate: str, violations: int) -> None:
    types = {"name": "text", "amount": "decimal(9,2)", "day": "date", "at": "timestamptz", "flag": "boolean",
             "data": "bytea", "share": "real"}  # fmt: skip
    model = model_of(types)
    rows: list[tuple[object, ...]] = [
        ("a", Decimal("0.50"), date(2025, 1, 1), datetime(2025, 1, 1, tzinfo=UTC), True, b"\0\xff", 0.1),
        ('B\n"x', Decimal("1.51"), date.max, datetime(2026, 1, 1, tzinfo=UTC), False, b"", 0.05),
        ("", Decimal(-1), date(2025, 1, 1), None, False, b"\xff", 0.1),
        ("ü", Decimal("1.50"), None, None, None, b"\1", float("nan")),
        (None, None, None, None, None, None, None),
    ]
    sink = house.open(model)
    sink.write(rows_of(model, *rows), "a.csv")
    sink.commit([])
    house.do("UPDATE analytics.orders SET day = '0044-03-15 BC' WHERE name = ''")
    columns = [name for name in types if f'"{name}"' in predicate]
    found = sink.evidence(rule(RuleKind.PREDICATE, *columns, predicate=predicate))
    assert found == Evidence(violations, 5)


def test_evidence_of_an_empty_table_is_none_of_none(house: House) -> None:
    sink = house.open(IDS)
    for kind in (RuleKind.NOT_NULL, RuleKind.UNIQUE):
        assert sink.evidence(rule(kind, "id")) == Evidence(0, 0)
    for predicate in ('"id" > 0', 'abs("id") > 0'):
        assert sink.evidence(rule(RuleKind.PREDICATE, "id", predicate=predicate)) == Evidence(0, 0)


def test_evidence_sees_what_is_committed_only(house: House) -> None:
    sink = house.open(IDS)
    sink.write(rows_of(IDS, (1, "a")), "a.csv")
    sink.commit([])
    sink.write(rows_of(IDS, (1, "b"), first=1), "a.csv")
    assert sink.evidence(rule(RuleKind.UNIQUE, "id")) == Evidence(0, 1)
    sink.commit([])
    assert sink.evidence(rule(RuleKind.UNIQUE, "id")) == Evidence(1, 2)


# --- a table that is there already -------------------------------------------------------------------------------

IN_THE_WAY: Mapping[str, tuple[Sequence[str], str]] = {
    "type": (["CREATE TABLE analytics.orders (id integer, name text)"], "`id` is integer in the table and bigint"),
    "missing": (["CREATE TABLE analytics.orders (id bigint)"], "`name` is missing in the table and text"),
    "more": (
        ["CREATE TABLE analytics.orders (id bigint, name text, x int)"],
        "`x` is integer in the table and missing",
    ),
    "case": (['CREATE TABLE analytics.orders (id bigint, "Name" text)'], "`Name` is text in the table and missing"),
    "not null": (["CREATE TABLE analytics.orders (id bigint, name text NOT NULL)"], "`name` is text NOT NULL in"),
    "bounded": (["CREATE TABLE analytics.orders (id bigint, name varchar(9))"], "`name` is character varying"),
    "padded": (["CREATE TABLE analytics.orders (id bigint, name char(9))"], "`name` is character"),
    "identity": (
        ["CREATE TABLE analytics.orders (id bigint GENERATED ALWAYS AS IDENTITY, name text)"],
        "`id` is filled by the table itself",
    ),
    "key": (["CREATE TABLE analytics.orders (id bigint PRIMARY KEY, name text)"], "the unique index .* over id, and"),
    "check": (["CREATE TABLE analytics.orders (id bigint CHECK (id > 0), name text)"], "constraint .* CHECK"),
    "view": (["CREATE VIEW analytics.orders AS SELECT 1::bigint AS id, ''::text AS name"], "it is a view"),
    "unlogged": (["CREATE UNLOGGED TABLE analytics.orders (id bigint, name text)"], "it is unlogged"),
    "rule": (
        [
            "CREATE TABLE analytics.orders (id bigint, name text)",
            "CREATE RULE never AS ON INSERT TO analytics.orders DO INSTEAD NOTHING",
        ],
        "the table has the rule never",
    ),
    "trigger": (
        [
            "CREATE TABLE analytics.orders (id bigint, name text)",
            "CREATE FUNCTION analytics.never() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
            "CREATE TRIGGER never BEFORE INSERT ON analytics.orders FOR EACH ROW EXECUTE FUNCTION analytics.never()",
        ],
        "the table has the trigger never",
    ),
}


@pytest.mark.parametrize("case", IN_THE_WAY)
def test_a_table_of_another_shape_is_refused_and_every_difference_named(house: House, case: str) -> None:
    statements, said = IN_THE_WAY[case]
    house.do("CREATE SCHEMA analytics", *statements)
    with pytest.raises(UserMistake, match=said) as caught:
        house.open(IDS)
    assert caught.value.kind.code == "INT_GAMMA_013"
    assert house.stored("SELECT to_regnamespace('_penstock')") == [(None,)]


def test_the_remedy_mends_the_table(house: House) -> None:
    house.do("CREATE SCHEMA analytics", "CREATE TABLE analytics.orders (id integer NOT NULL)")
    with pytest.raises(UserMistake) as caught:
        house.open(IDS)
    house.do(*caught.value.remedy.partition("mend the table: ")[2].split("; "))
    with pytest.raises(UserMistake) as caught:
        house.open(IDS)
    house.do(*caught.value.remedy.partition("mend the table: ")[2].split("; "))
    house.open(IDS)


def test_a_table_that_others_have_made_will_do_where_it_holds_the_same(house: House) -> None:
    columns = {"id": "bigint", "name": "varchar(20)", "note": "text", "body": "jsonb"}
    model = model_of(columns, unique=[("id",)], mode=WriteMode.MERGE)
    house.do(
        "CREATE SCHEMA analytics",
        "CREATE TABLE analytics.orders "
        "(_version bigint, body jsonb, note varchar, name varchar(30), id bigint NOT NULL, PRIMARY KEY (id))",
        "CREATE INDEX ON analytics.orders (name)",
    )
    model = Model(
        model.name, model.schema, model.source, model.grain,
        tuple(column for column in model.columns if column.name != "id")
        + tuple(model_of(columns, not_null=["id"]).columns[:1]),
        model.place, write_mode=model.write_mode, rules=model.rules,
    )  # fmt: skip
    sink = house.open(model)
    written = sink.write(rows_of(model, ("a", "b", '{"x":  1}', 1), ("c", None, '"\\u0000"', 2)), "a.csv")
    assert {sequence: error.field for sequence, error in written.refused.items()} == {1: "body"}
    sink.commit([])
    assert house.stored("SELECT id, name, note, body::text FROM analytics.orders") == [(1, "a", "b", '{"x": 1}')]


def test_a_table_without_constraints_keeps_keys_all_the_same(house: House) -> None:
    house.do("CREATE SCHEMA analytics", "CREATE TABLE analytics.orders (id bigint, name text)")
    sink = house.open(UNIQUE_IDS)
    assert sink.write(rows_of(UNIQUE_IDS, (1, "a"), (1, "b"), (2, "c")), "a").refused.keys() == {1}
    sink.commit([])
    assert sink.write(rows_of(UNIQUE_IDS, (2, "d"), (3, "e"), first=3), "a").refused.keys() == {3}
    sink.commit([])
    assert house.stored("SELECT * FROM analytics.orders ORDER BY id") == [(1, "a"), (2, "c"), (3, "e")]


def test_a_table_that_others_have_partitioned_is_merged_into_and_lacking_a_partition_refuses_rows(house: House) -> None:
    model = model_of({"id": "bigint", "day": "date"}, mode=WriteMode.MERGE)
    house.do(
        "CREATE SCHEMA analytics",
        "CREATE TABLE analytics.orders (id bigint, day date, _version bigint) PARTITION BY RANGE (day)",
        "CREATE TABLE analytics.y25 PARTITION OF analytics.orders FOR VALUES FROM ('2025-01-01') TO ('2026-01-01')",
        "CREATE TABLE analytics.y26 PARTITION OF analytics.orders FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')",
    )
    sink = house.open(model)
    sink.write(rows_of(model, (1, date(2025, 5, 5)), (2, date(2025, 6, 6)), (1, date(2025, 7, 7))), "a")
    sink.commit([mark(3)])
    assert sink.write(rows_of(model, (1, date(2026, 1, 1)), first=3), "a").superseded == frozenset()
    sink.commit([mark(4)])
    assert house.stored("SELECT id, day FROM analytics.y25") == [(2, date(2025, 6, 6))]
    assert house.stored("SELECT id, day FROM analytics.y26") == [(1, date(2026, 1, 1))]
    with pytest.raises(BatchRefused, match="no partition of relation"):
        sink.write(rows_of(model, (3, date(2030, 1, 1)), first=4), "a")
    assert sink.marks() == {("orders", "a.csv"): mark(4)}
