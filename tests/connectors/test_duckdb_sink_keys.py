"""Keys in the DuckDB destination: what their order tells, and that it never tells too much."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.connectors.sinks.duckdb import DuckDBSink
from penstock.connectors.sinks.duckdb.keys import Key
from penstock.connectors.sinks.duckdb.order import overlap, rises
from penstock.expressions import quote
from penstock.model.batch import RESERVED_FIELDS
from penstock.model.finding import Place
from penstock.model.pipeline import Column, Connection, Model, Rule, RuleKind, Warehouse, WriteMode
from penstock.model.schema import arrow_schema, parse_type
from penstock.model.settings import Settings
from penstock.ports import Evidence

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

HERE = Place("test")
ROW_GROUP = 122_880
NAN = float("nan")


def unique(*columns: str) -> Rule:
    return Rule("a rule", "as written", RuleKind.UNIQUE, columns, HERE)


def model_of(columns: Mapping[str, str], mode: WriteMode = WriteMode.APPEND) -> Model:
    """A model whose columns are together its grain, and may occur once."""
    return Model(
        "orders",
        "main",
        "orders",
        tuple(columns),
        tuple(Column(name, parse_type(of_type), quote(name)) for name, of_type in columns.items()),
        HERE,
        write_mode=mode,
        rules=(unique(*columns),),
    )


def open_at(root: Path, model: Model) -> DuckDBSink:
    sink = DuckDBSink("shop", model, Warehouse("local", Connection("local", "duckdb")), root, Settings())
    sink.prepare()
    return sink


def rows_of(model: Model, columns: Sequence[Sequence[object]], first: int = 0) -> pa.Table:
    count = len(columns[0])
    schema = arrow_schema(model.fields, *RESERVED_FIELDS)
    sequences = range(first, first + count)
    whole = [*columns, sequences, [0] * count, [None] * count, sequences]
    return pa.table([pa.array(each, field.type) for each, field in zip(whole, schema, strict=True)], schema=schema)


# --- order -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "rising"),
    [
        ([], True),
        ([7], True),
        ([1, 2, 9], True),
        ([1, 1], False),
        ([1, 2, 1], False),
        ([2, 1], False),
        ([None, 1, None, 2, None], True),
        ([1, None, 1], False),
        ([None, None], True),
        ([-0.0, 0.0], False),
        ([0.0, -0.0], False),
        ([1.0, NAN], True),
        ([NAN, NAN], False),
        (["a", "ab", "b"], True),
        (["a", "B"], False),
    ],
)
def test_keys_rise_where_each_is_greater_than_the_one_before_it(values: Sequence[object], *, rising: bool) -> None:
    with duckdb.connect() as connection:
        connection.register("given", pa.table({"k": pa.array(values)}))
        assert rises(connection, "given", Key(("k",))) is rising


@pytest.mark.parametrize(
    ("rows", "rising"),
    [
        ([(1, 1), (1, 2), (2, 1)], True),
        ([(1, 2), (1, 2)], False),
        ([(1, 2), (2, 1), (1, 2)], False),
        ([(1, 2), (None, 1), (1, None), (1, 3)], True),
        ([(1, 2), (None, 1), (1, 2)], False),
    ],
)
def test_keys_of_several_columns_rise_by_the_first_that_differs(
    rows: Sequence[tuple[int | None, int | None]], *, rising: bool
) -> None:
    with duckdb.connect() as connection:
        first, second = zip(*rows, strict=True)
        connection.register("given", pa.table({"a": first, "b": second}))
        assert rises(connection, "given", Key(("a", "b"))) is rising


def test_a_key_that_comes_again_far_from_the_first_is_found_in_rows_and_in_the_table(tmp_path: Path) -> None:
    model = model_of({"id": "bigint"})
    count = 2 * ROW_GROUP + 1
    sink = open_at(tmp_path, model)
    assert sink.write(rows_of(model, [[*range(count), 5]]), "a.csv").refused.keys() == {count}
    sink.commit([])
    assert sink.evidence(unique("id")) == Evidence(0, count)
    sink.close()
    with duckdb.connect(str(tmp_path / "warehouse.duckdb")) as someone:
        someone.execute("INSERT INTO orders VALUES (5)")
    sink = open_at(tmp_path, model)
    assert sink.evidence(unique("id")) == Evidence(1, count + 1)
    sink.close()


def test_ranges_overlap_with_rows_of_the_open_transaction_and_not_with_rows_that_are_gone() -> None:
    key = Key(("k",))
    with duckdb.connect() as connection:
        connection.register("given", pa.table({"k": [10, 20]}))
        connection.execute("CREATE TABLE stored (k BIGINT)")
        assert not overlap(connection, "stored", "given", key)
        connection.execute(f"INSERT INTO stored FROM range({-ROW_GROUP}, 10)")
        assert not overlap(connection, "stored", "given", key)
        connection.execute("BEGIN TRANSACTION")
        connection.execute("INSERT INTO stored VALUES (15), (NULL)")
        assert overlap(connection, "stored", "given", key)
        connection.execute("DELETE FROM stored WHERE k = 15")
        assert not overlap(connection, "stored", "given", key)
        connection.execute("INSERT INTO stored VALUES (20)")
        assert overlap(connection, "stored", "given", key)
        connection.execute("ROLLBACK")
        assert not overlap(connection, "stored", "given", key)


def test_ranges_of_several_columns_overlap_where_each_does() -> None:
    with duckdb.connect() as connection:
        connection.register("given", pa.table({"a": [1, 2, None], "b": [10, 20, 90]}))
        connection.execute("CREATE TABLE stored AS SELECT 2 AS a, 30 AS b")
        assert overlap(connection, "stored", "given", Key(("a",)))
        assert overlap(connection, "stored", "given", Key(("a", "b")))  # 30 lies below 90, though that has no whole key
        connection.execute("UPDATE stored SET a = 3")
        assert not overlap(connection, "stored", "given", Key(("a", "b")))


def test_no_range_overlaps_with_rows_that_have_no_key() -> None:
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE stored AS SELECT 1 AS k")
        for nothing in ([], [None]):
            connection.register("given", pa.table({"k": pa.array(nothing, pa.int32())}))
            assert not overlap(connection, "stored", "given", Key(("k",)))


def test_text_is_ordered_as_the_tables_column_compares_it(tmp_path: Path) -> None:
    # By bytes `Zed` comes before `abc` and the range would be empty; to this column it comes after.
    with duckdb.connect(str(tmp_path / "warehouse.duckdb")) as someone:
        someone.execute("CREATE TABLE orders (code VARCHAR COLLATE NOCASE)")
        someone.execute("INSERT INTO orders VALUES ('ABC')")
    model = model_of({"code": "text"})
    sink = open_at(tmp_path, model)
    assert sink.write(rows_of(model, [["Zed", "abc"]]), "a.csv").refused.keys() == {1}
    sink.close()


# --- every type, row by row --------------------------------------------------------------------------------------

DAY = datetime(2026, 1, 1, tzinfo=UTC)
VALUES: Mapping[str, Sequence[object]] = {
    "boolean": [False, True],
    "smallint": [-(2**15), -1, 0, 1, 2, 2**15 - 1],
    "bigint": [-(2**63), -1, 0, 1, 2, 2**63 - 1],
    "decimal(38,9)": [Decimal(text) for text in ("-99999999999999999999999999999.999999999", "0", "0.000000001", "7")],
    "decimal(4,2)": [Decimal(text) for text in ("-99.99", "0", "0.01", "0.1", "99.99")],
    "real": [float("-inf"), -1.5, 0.0, 1.5, float("inf")],
    "double precision": [5e-324, 0.1, 0.5, 1.7976931348623157e308],
    "text": ["", "a", "a\0", "aa", "customer-0001", "customer-0002", "Z", "ü", "日本語"],
    "bytea": [b"", b"\x00", b"\x00\xff", b"\xff"],
    "date": [date.min, date(2026, 1, 1), date(2026, 1, 2), date.max],
    "time": [time.min, time(12), time.max],
    "timestamp": [datetime(1, 1, 1), datetime(2026, 1, 1), datetime(9999, 12, 31)],  # noqa: DTZ001 - it has no zone
    "timestamp with time zone": [DAY, DAY + timedelta(microseconds=1), DAY + timedelta(days=1)],
    "uuid": [f"{digit * 8}-0000-0000-0000-000000000000" for digit in "01a9f"],
    "json": ['{"a": 1}', "[]", "null", "1"],
}


@st.composite
def histories(draw: st.DrawFn) -> tuple[dict[str, str], list[tuple[list[tuple[object, ...]], str]]]:
    """One or two key columns, and writes of rows, sorted or not, each with what follows it."""
    types = draw(st.lists(st.sampled_from(list(VALUES)), min_size=1, max_size=2, unique=True))
    row = st.tuples(*(st.one_of(st.none(), st.sampled_from(VALUES[of_type])) for of_type in types))
    places = {of_type: {value: place for place, value in enumerate([None, *VALUES[of_type]])} for of_type in types}

    def place(row: tuple[object, ...]) -> list[int]:
        return [places[of_type][value] for of_type, value in zip(types, row, strict=True)]

    writes = []
    for _ in range(draw(st.integers(1, 5))):
        rows = draw(st.lists(row, max_size=10))
        if draw(st.booleans()):
            rows.sort(key=place)
        writes.append((rows, draw(st.sampled_from(["commit", "rollback", "write on"]))))
    return {f"k{number}": of_type for number, of_type in enumerate(types)}, writes


@settings(max_examples=30, deadline=None)
@given(history=histories())
def test_keys_of_every_type_are_kept_once_as_if_rows_came_one_at_a_time(
    tmp_path_factory: pytest.TempPathFactory,
    history: tuple[dict[str, str], list[tuple[list[tuple[object, ...]], str]]],
) -> None:
    types, writes = history
    model = model_of(types)
    sink = open_at(tmp_path_factory.mktemp("keys"), model)
    kept: set[tuple[object, ...]] = set()
    committed: set[tuple[object, ...]] = set()
    first = 0
    for rows, then in writes:
        refused = set()
        for sequence, row in enumerate(rows, start=first):
            if row in kept:
                refused.add(sequence)
            elif None not in row:
                kept.add(row)
        columns = list(zip(*rows, strict=True)) if rows else [()] * len(types)
        assert sink.write(rows_of(model, columns, first), "a.csv").refused.keys() == refused
        first += len(rows)
        if then == "rollback":
            sink.rollback()
            kept = set(committed)
        elif then == "commit":
            sink.commit([])
            committed = set(kept)
    sink.commit([])
    assert sink.evidence(unique(*types)).violations == 0
    sink.close()


@pytest.mark.parametrize("mode", list(WriteMode))
@pytest.mark.parametrize("of_type", ["bigint", "text", "uuid"])
def test_ranges_that_touch_meet_in_the_one_key_they_share_also_among_whole_row_groups(
    tmp_path: Path, mode: WriteMode, of_type: str
) -> None:
    seed = 3
    chance = random.Random(seed)
    forms: Mapping[str, Callable[[int], object]] = {
        "bigint": int,
        "text": "customer-{:09}".format,
        "uuid": "{:032x}".format,
    }
    keys: list[object] = [forms[of_type](number) for number in range(152_000)]
    model = model_of({"id": of_type}, mode)
    sink = open_at(tmp_path, model)
    first = 0
    for start, end, then in ((0, 140_000, "commit"), (139_999, 150_000, "write on"), (149_999, 152_000, "commit")):
        rows = keys[start:end]
        chance.shuffle(rows)
        written = sink.write(rows_of(model, [rows], first), "a.csv")
        met = {first + rows.index(keys[start])} if start else set()
        assert (set(written.refused), written.superseded) == (met if mode is WriteMode.APPEND else set(), frozenset())
        first += len(rows)
        if then == "commit":
            sink.commit([])
    assert sink.evidence(unique("id")) == Evidence(0, 152_000), f"seed {seed}"
    sink.close()
