"""The DuckDB destination: tables, keys, marks, names, types, and what it answers when asked about rules."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.connectors import open_sink
from penstock.connectors.sinks.duckdb import DuckDBSink
from penstock.connectors.sinks.duckdb.keys import Claim, Key, refuse
from penstock.errors import KINDS, UserMistake
from penstock.expressions import quote
from penstock.model.batch import RESERVED_FIELDS, Op
from penstock.model.finding import Place
from penstock.model.outcome import RecordError
from penstock.model.pipeline import (
    Column,
    Connection,
    Model,
    Rule,
    RuleKind,
    RuleSeverity,
    Warehouse,
    WriteMode,
)
from penstock.model.position import Mark, Position
from penstock.model.schema import arrow_schema, parse_type
from penstock.model.settings import Settings
from penstock.ports import Evidence, Guarantee, Sink

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

HERE = Place("test")
ASK = """
import duckdb, sys
print(repr(duckdb.connect(sys.argv[1], read_only=True).execute(sys.argv[2]).fetchall()))
"""
WAREHOUSE = Warehouse("local", Connection("local", "duckdb"))


def model_of(  # noqa: PLR0913 - what a test does not say is as usual
    columns: Mapping[str, str],
    *,
    unique: Sequence[tuple[str, ...]] = (),
    not_null: Iterable[str] = (),
    name: str = "orders",
    schema: str = "analytics",
    mode: WriteMode = WriteMode.APPEND,
    grain: tuple[str, ...] = ("id",),
    version_by: str = "",
    score: str = "",
) -> Model:
    fixed = set(not_null)
    return Model(
        name,
        schema,
        "orders",
        grain,
        tuple(
            Column(column, parse_type(of_type), quote(column), nullable=column not in fixed)
            for column, of_type in columns.items()
        ),
        HERE,
        write_mode=mode,
        version_by=version_by,
        score_column=score,
        rules=tuple(rule(RuleKind.UNIQUE, *key) for key in unique),
    )


def rule(kind: RuleKind, *columns: str, predicate: str = "", severity: RuleSeverity = RuleSeverity.ERROR) -> Rule:
    return Rule("a rule", "as written", kind, columns, HERE, predicate=predicate, severity=severity)


def open_at(root: Path, model: Model, pipeline: str = "shop", *, path: str = "", memory_mib: int = 256) -> DuckDBSink:
    warehouse = Warehouse("local", Connection("local", "duckdb", path))
    sink = DuckDBSink(pipeline, model, warehouse, root, Settings({"ENGINE_MEMORY_BYTES": memory_mib << 20}))
    sink.prepare()
    return sink


def rows_of(model: Model, *rows: Sequence[object], first: int = 0, op: Op = Op.INSERT) -> pa.Table:
    """Rows as delivery hands them over; the first has sequence `first`, and its version is the same."""
    score = [pa.field(model.score_column, pa.float64())] if model.score_column else []
    schema = arrow_schema(model.fields, *score, *RESERVED_FIELDS)
    whole = [(*row, first + place, int(op), None, first + place) for place, row in enumerate(rows)]
    columns = zip(*whole, strict=True) if whole else [()] * len(schema)
    return pa.table(
        [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)], schema=schema
    )


def mark(sequence: int, partition: str = "a.csv") -> Mark:
    return Mark("orders", partition, sequence, Position(partition, sequence, f"byte {sequence}"))


def stored(root: Path, query: str, file: str = "warehouse.duckdb") -> list[tuple[object, ...]]:
    """Ask a separate process: it sees what is in the file, not what this one remembers."""
    answer = subprocess.run(
        [sys.executable, "-c", ASK, str(root / file), query], check=True, capture_output=True, text=True
    )
    found: list[tuple[object, ...]] = eval(answer.stdout, {"Decimal": Decimal, "UUID": UUID})  # noqa: S307 - our own repr
    return found


IDS = model_of({"id": "bigint", "name": "text"})
UNIQUE_IDS = model_of({"id": "bigint", "name": "text"}, unique=[("id",)])


def test_rows_and_marks_are_there_for_another_process_once_the_sink_is_closed(tmp_path: Path) -> None:
    sink = open_at(tmp_path, IDS)
    assert sink.write(rows_of(IDS, (1, "a"), (2, None)), "a.csv").refused == {}
    sink.commit([mark(2)])
    sink.close()

    assert stored(tmp_path, "FROM analytics.orders ORDER BY id") == [(1, "a"), (2, None)]
    assert stored(tmp_path, "SELECT * EXCLUDE (committed_at) FROM _penstock.marks") == [
        ("shop", "orders", "orders", "a.csv", 2, 2, "byte 2")
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["warehouse.duckdb"]


def test_the_sink_is_found_by_its_name_and_says_what_it_guarantees(tmp_path: Path) -> None:
    sink: Sink = open_sink("shop", IDS, WAREHOUSE, tmp_path, Settings())
    assert isinstance(sink, DuckDBSink)
    assert sink.guarantee is Guarantee.TRANSACTIONAL
    assert repr(sink) == f"<DuckDBSink analytics.orders in {tmp_path}/warehouse.duckdb, closed>"


def test_the_connection_names_the_file_and_folders_are_made_for_it(tmp_path: Path) -> None:
    sink = open_at(tmp_path, IDS, path="out/today/house.db")
    sink.close()
    assert stored(tmp_path, "SELECT count(*) FROM analytics.orders", "out/today/house.db") == [(0,)]


def test_a_model_without_a_schema_lands_in_the_engines_own(tmp_path: Path) -> None:
    open_at(tmp_path, model_of({"id": "bigint"}, schema="")).close()
    assert stored(tmp_path, "SELECT count(*) FROM main.orders") == [(0,)]


def test_columns_are_the_models_with_its_score_and_without_what_is_reserved(tmp_path: Path) -> None:
    model = model_of({"id": "bigint", "name": "text"}, not_null=["id"], score="_quality_score")
    sink = open_at(tmp_path, model)
    sink.write(rows_of(model, (1, "a", 0.5)), "a.csv")
    sink.commit([])
    sink.close()
    columns = "SELECT column_name, data_type, is_nullable FROM duckdb_columns() WHERE table_name = 'orders'"
    assert stored(tmp_path, columns) == [
        ("id", "BIGINT", False),
        ("name", "VARCHAR", True),
        ("_quality_score", "DOUBLE", True),
    ]
    assert stored(tmp_path, "FROM analytics.orders") == [(1, "a", 0.5)]


def test_a_merge_without_a_version_column_keeps_the_order_of_reading(tmp_path: Path) -> None:
    model = model_of({"id": "bigint"}, mode=WriteMode.MERGE)
    sink = open_at(tmp_path, model)
    sink.write(rows_of(model, (7,), first=40), "a.csv")
    sink.commit([])
    sink.close()
    assert stored(tmp_path, "SELECT id, _version FROM analytics.orders") == [(7, 40)]


def test_rows_keep_their_order_however_small_the_pieces_they_come_in(tmp_path: Path) -> None:
    sink = open_at(tmp_path, UNIQUE_IDS)
    values = [(number * 7919 % 30_011, str(number)) for number in range(30_000)]
    whole = rows_of(UNIQUE_IDS, *values)
    pieces = [whole.slice(start, 100).to_batches()[0] for start in range(0, len(values), 100)]
    assert sink.write(pa.Table.from_batches(pieces), "a.csv").refused == {}
    sink.commit([mark(30_000)])
    sink.close()
    assert stored(tmp_path, "SELECT id, name FROM analytics.orders ORDER BY rowid") == values


def test_many_small_appends_do_not_leave_a_row_group_each(tmp_path: Path) -> None:
    model = model_of({"id": "bigint"}, schema="")
    for run in range(20):
        sink = open_at(tmp_path, model)
        sink.write(rows_of(model, *[(run * 1000 + row,) for row in range(1000)]), "a.csv")
        sink.commit([])
        sink.close()
    [(groups,)] = stored(tmp_path, "SELECT count(DISTINCT row_group_id) FROM pragma_storage_info('orders')")
    assert isinstance(groups, int)
    assert groups < 8


# --- keys that may occur once ------------------------------------------------------------------------------------


def test_of_two_rows_with_one_key_the_first_stays_and_the_other_is_refused_with_its_reason(tmp_path: Path) -> None:
    sink = open_at(tmp_path, UNIQUE_IDS)
    written = sink.write(rows_of(UNIQUE_IDS, (1, "first"), (2, "b"), (1, "second"), (1, "third"), first=10), "a.csv")
    assert written.refused == {
        12: RecordError("INT_GAMMA_003", "id", "id 1 is in an earlier record already", "no duplicate id", "1"),
        13: RecordError("INT_GAMMA_003", "id", "id 1 is in an earlier record already", "no duplicate id", "1"),
    }
    assert written.superseded == frozenset()
    sink.commit([])
    sink.close()
    assert stored(tmp_path, "FROM analytics.orders ORDER BY id") == [(1, "first"), (2, "b")]


def test_the_first_is_the_one_with_the_lowest_sequence_wherever_it_stands_among_the_rows(tmp_path: Path) -> None:
    sink = open_at(tmp_path, UNIQUE_IDS)
    rows = rows_of(UNIQUE_IDS, (1, "first"), (1, "second")).take([1, 0])
    assert sink.write(rows, "a.csv").refused.keys() == {1}
    sink.close()


def test_a_key_written_earlier_is_refused_in_the_same_transaction_after_it_and_by_the_next_sink(tmp_path: Path) -> None:
    sink = open_at(tmp_path, UNIQUE_IDS)
    sink.write(rows_of(UNIQUE_IDS, (1, "a")), "a.csv")
    error = RecordError("INT_GAMMA_003", "id", "id 1 is in the destination already", "no duplicate id", "1")
    assert sink.write(rows_of(UNIQUE_IDS, (1, "b"), (2, "b"), first=1), "a.csv").refused == {1: error}
    sink.commit([mark(3)])
    assert sink.write(rows_of(UNIQUE_IDS, (1, "c"), (3, "c"), first=3), "a.csv").refused == {3: error}
    sink.commit([mark(5)])
    sink.close()
    again = open_at(tmp_path, UNIQUE_IDS)
    assert again.write(rows_of(UNIQUE_IDS, (3, "d"), (4, "d")), "b.csv").refused.keys() == {0}
    again.commit([mark(2, "b.csv")])
    again.close()
    assert stored(tmp_path, "FROM analytics.orders ORDER BY id") == [(1, "a"), (2, "b"), (3, "c"), (4, "d")]


def test_a_key_rolled_back_is_free_again(tmp_path: Path) -> None:
    sink = open_at(tmp_path, UNIQUE_IDS)
    sink.write(rows_of(UNIQUE_IDS, (1, "a")), "a.csv")
    sink.rollback()
    assert sink.write(rows_of(UNIQUE_IDS, (1, "b")), "a.csv").refused == {}
    sink.commit([])
    sink.close()
    assert stored(tmp_path, "FROM analytics.orders") == [(1, "b")]


def test_null_in_a_key_equals_nothing(tmp_path: Path) -> None:
    model = model_of({"id": "bigint", "day": "date"}, unique=[("id", "day")])
    sink = open_at(tmp_path, model)
    rows = [(1, None), (1, None), (None, None), (1, date(2026, 1, 1)), (1, date(2026, 1, 1))]
    written = sink.write(rows_of(model, *rows), "a.csv")
    assert {sequence: (error.field, error.expected, error.actual) for sequence, error in written.refused.items()} == {
        4: ("id, day", "no duplicate id + day", "1, 2026-01-01")
    }
    assert sink.write(rows_of(model, (1, None), first=5), "a.csv").refused == {}
    sink.close()


def test_a_row_refused_for_one_key_does_not_hold_another() -> None:
    id_key, name_key = Key(("id",)), Key(("name",))
    claims = [
        Claim(1, id_key, 0, taken=False, shown="7"),
        Claim(0, id_key, 0, taken=False, shown="7"),
        Claim(1, name_key, 1, taken=False, shown="x"),
        Claim(2, name_key, 1, taken=False, shown="x"),
    ]
    assert refuse(claims).keys() == {1}


def test_only_rules_that_are_errors_about_columns_of_the_model_refuse_rows(tmp_path: Path) -> None:
    warning = rule(RuleKind.UNIQUE, "id", severity=RuleSeverity.WARNING)
    elsewhere = rule(RuleKind.UNIQUE, "a column of the source")
    model = Model(IDS.name, IDS.schema, IDS.source, IDS.grain, IDS.columns, HERE, rules=(warning, elsewhere))
    sink = open_at(tmp_path, model)
    assert sink.write(rows_of(model, (1, "a"), (1, "b")), "a.csv").refused == {}
    sink.close()


def test_an_appending_model_keeps_a_row_for_every_record_whatever_it_does(tmp_path: Path) -> None:
    sink = open_at(tmp_path, IDS)
    sink.write(rows_of(IDS, (1, "a")), "a.csv")
    sink.write(rows_of(IDS, (1, "b"), first=1, op=Op.UPDATE), "a.csv")
    sink.write(rows_of(IDS, (1, "c"), first=2, op=Op.DELETE), "a.csv")
    sink.commit([])
    sink.close()
    assert stored(tmp_path, "FROM analytics.orders") == [(1, "a"), (1, "b"), (1, "c")]


few = st.one_of(st.none(), st.integers(0, 5))


@settings(max_examples=40, deadline=None)
@given(writes=st.lists(st.tuples(st.lists(st.tuples(few, few), max_size=12), st.booleans()), max_size=6))
def test_appending_with_two_keys_equals_doing_it_one_row_at_a_time(
    tmp_path_factory: pytest.TempPathFactory, writes: list[tuple[list[tuple[int | None, int | None]], bool]]
) -> None:
    model = model_of({"id": "bigint", "slot": "integer"}, unique=[("id",), ("slot",)])
    root = tmp_path_factory.mktemp("append")
    sink = open_at(root, model)
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
    assert answered == refused
    sink.close()
    with duckdb.connect(str(root / "warehouse.duckdb")) as reading:
        assert reading.execute("FROM analytics.orders ORDER BY rowid").fetchall() == kept


# --- types and names ---------------------------------------------------------------------------------------------

EXTREMES: Mapping[str, Sequence[object]] = {
    "boolean": [True, False],
    "smallint": [-(2**15), 2**15 - 1],
    "integer": [-(2**31), 2**31 - 1],
    "bigint": [-(2**63), 2**63 - 1],
    "decimal(38,9)": [Decimal("99999999999999999999999999999.999999999"), Decimal("-0.000000001")],
    "decimal(4,4)": [Decimal("0.9999"), Decimal("-0.9999")],
    "real": [3.4028234663852886e38, -0.0],
    "double precision": [1.7976931348623157e308, 5e-324, float("inf"), float("-inf")],
    "text": ["", "naïve 日本語 🏞\N{COMBINING ACUTE ACCENT}", "nul \0 inside", "a'b\"c\\d\r\n\t", "x" * 1_000_000],
    "varchar(3)": ["abc"],
    "bytea": [b"", b"\x00\xff\x80'\"", bytes(range(256))],
    "date": [date.min, date.max],
    "time": [time.min, time.max],
    "timestamp": [datetime.min, datetime.max],  # noqa: DTZ901 - a timestamp without a zone is what is tested
    "timestamp with time zone": [
        datetime(1, 1, 2, tzinfo=UTC),
        datetime(9999, 12, 30, 23, 59, 59, 999999, tzinfo=UTC),
    ],
    "uuid": ["00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"],
    "json": ['{"a": [1, null, "ü"]}', "null", "1e400"],
}


@pytest.mark.parametrize("mode", list(WriteMode))
def test_every_type_comes_back_as_it_went_in(tmp_path: Path, mode: WriteMode) -> None:
    model = model_of({"id": "bigint", **{name: name for name in EXTREMES}}, unique=[("id",)], mode=mode)
    count = max(len(values) for values in EXTREMES.values())
    wanted = {name: [*values, *[None] * (count + 1 - len(values))] for name, values in EXTREMES.items()}
    rows = rows_of(model, *zip(range(count + 1), *wanted.values(), strict=True))
    sink = open_at(tmp_path, model)
    assert sink.write(rows, "a.csv").refused == {}
    sink.commit([])
    sink.close()

    with duckdb.connect(str(tmp_path / "warehouse.duckdb")) as reading:
        reading.execute("SET TimeZone = 'UTC'")
        back = reading.sql("FROM analytics.orders ORDER BY id").to_arrow_table()
    for name, values in wanted.items():
        # By repr: -0.0 and 0.0 are equal, and are not the same.
        assert [repr(_plain(value)) for value in back.column(name).to_pylist()] == [repr(value) for value in values], (
            name
        )
    open_at(tmp_path, model, "and the table is found to be right").close()


def _plain(value: object) -> object:
    if isinstance(value, UUID):
        return str(value)
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) and value.tzinfo is not None else value


AWKWARD = (
    *("select", "Order By", 'a"b', "it's", "x; DROP TABLE y; --", "日本語 ü", "a.b", "%s{}?$1", "tab\there", "(", "*"),
    *("rows", "stored", "incoming", "taken", "sequence", "count", "_"),  # words that our own statements use
)


@pytest.mark.parametrize("name", AWKWARD)
def test_tables_and_columns_may_be_called_anything(tmp_path: Path, name: str) -> None:
    columns = {name: "bigint", f"{name} 2": "uuid", f"{name} 3": "timestamp"}
    names = {"name": f"{name}t", "schema": f"{name}s", "grain": (name,)}
    appending = model_of(columns, unique=[(name, f"{name} 2")], not_null=[name], **names)  # type: ignore[arg-type]
    uuid, when = "00000000-0000-0000-0000-000000000001", datetime(2026, 1, 1)  # noqa: DTZ001 - the column has no zone
    sink = open_at(tmp_path, appending, f"pipeline {name}")
    assert sink.write(rows_of(appending, (1, uuid, when), (1, uuid, when)), f"{name}.csv").refused.keys() == {1}
    sink.commit([mark(2, f"{name}.csv")])
    sink.close()

    merging = model_of(
        columns,
        unique=[(f"{name} 2",)],
        not_null=[name],
        mode=WriteMode.MERGE,
        version_by=f"{name} 3",
        **names,  # type: ignore[arg-type]
    )
    sink = open_at(tmp_path, merging, f"pipeline {name}")
    assert sink.marks() == {("orders", f"{name}.csv"): mark(2, f"{name}.csv")}
    written = sink.write(rows_of(merging, (1, uuid, when), (1, uuid, when), (2, uuid, when), first=2), f"{name}.csv")
    assert (set(written.refused), set(written.superseded)) == ({4}, {2})
    sink.commit([mark(4, f"{name}.csv")])
    assert sink.evidence(rule(RuleKind.UNIQUE, name, f"{name} 3")) == Evidence(0, 1)
    assert sink.evidence(rule(RuleKind.NOT_NULL, f"{name} 2")) == Evidence(0, 1)
    assert sink.evidence(rule(RuleKind.PREDICATE, name, predicate=f"{quote(name)} > 1")) == Evidence(1, 1)
    sink.close()


@pytest.mark.parametrize("name", ["temp", "system", "warehouse", "_penstock", "a b"])
@pytest.mark.parametrize("file", ["warehouse.duckdb", "temp.duckdb", "_penstock.db", "a b.v2.duckdb"])
def test_schemas_may_be_called_as_the_file_or_as_what_the_engine_keeps_apart(
    tmp_path: Path, name: str, file: str
) -> None:
    model = model_of({"id": "bigint"}, schema=name, name=name, mode=WriteMode.MERGE, unique=[("id",)])
    for value in (1, 2):
        sink = open_at(tmp_path, model, path=file)
        sink.write(rows_of(model, (value,), first=value), "a.csv")
        sink.commit([mark(value)])
        sink.close()
    sink = open_at(tmp_path, model, path=file)
    assert sink.evidence(rule(RuleKind.UNIQUE, "id")) == Evidence(0, 2)
    assert sink.marks() == {("orders", "a.csv"): mark(2)}
    sink.close()


@pytest.mark.parametrize("name", ["information_schema", "PG_Catalog"])
def test_schemas_of_the_engines_own_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserMistake, match="which is DuckDB's own") as caught:
        open_at(tmp_path, model_of({"id": "bigint"}, schema=name))
    assert caught.value.kind.code == "INT_GAMMA_013"


def test_a_column_called_as_the_engine_calls_the_place_of_a_row_can_be_appended_to_but_not_merged_by(
    tmp_path: Path,
) -> None:
    model = model_of({"RowID": "bigint"}, unique=[("RowID",)])
    sink = open_at(tmp_path, model)
    assert sink.write(rows_of(model, (5,), (5,), (0,)), "a.csv").refused.keys() == {1}
    sink.commit([])
    assert sink.evidence(rule(RuleKind.UNIQUE, "RowID")) == Evidence(0, 2)
    sink.close()
    with pytest.raises(UserMistake, match="`rowid`: so DuckDB") as caught:
        open_at(tmp_path, model_of({"RowID": "bigint"}, mode=WriteMode.MERGE, grain=("RowID",)))
    assert caught.value.kind.code == "INT_GAMMA_013"


def test_a_value_that_its_column_cannot_hold_is_refused_and_the_rest_goes_in(tmp_path: Path) -> None:
    model = model_of({"id": "bigint", "key": "uuid", "body": "json"}, not_null=["id"], unique=[("key",)])
    uuid = "6f9619ff-8b86-d011-b42d-00c04fc964ff"
    sink = open_at(tmp_path, model)
    rows: list[tuple[object, ...]] = [
        (1, uuid, "{}"),
        (None, None, None),
        (3, "no uuid", None),
        (4, None, "{" * 999),
        (5, None, "[]"),
        (6, uuid.upper(), None),
    ]
    written = sink.write(rows_of(model, *rows), "a.csv")
    errors = {sequence: (error.code, error.field, error.actual) for sequence, error in written.refused.items()}
    assert errors == {
        1: ("INT_GAMMA_001", "id", "null"),
        2: ("INT_GAMMA_001", "key", "no uuid"),
        3: ("INT_GAMMA_001", "body", "{" * 200),
        5: ("INT_GAMMA_003", "key", uuid),
    }
    assert written.refused[1].message == "`id` cannot be stored as bigint, not null"
    sink.commit([])
    sink.close()
    assert stored(tmp_path, "SELECT id FROM analytics.orders") == [(1,), (5,)]


# --- transactions and marks --------------------------------------------------------------------------------------


def test_nothing_of_an_open_transaction_is_left_by_rollback_or_close(tmp_path: Path) -> None:
    sink = open_at(tmp_path, IDS)
    sink.write(rows_of(IDS, (1, "kept")), "a.csv")
    sink.commit([mark(1)])
    sink.write(rows_of(IDS, (2, "rolled back"), first=1), "a.csv")
    sink.rollback()
    sink.rollback()
    sink.write(rows_of(IDS, (3, "closed over"), first=1), "a.csv")
    sink.close()
    sink.close()
    assert stored(tmp_path, "FROM analytics.orders") == [(1, "kept")]
    assert stored(tmp_path, "SELECT sequence FROM _penstock.marks") == [(1,)]


def test_marks_move_without_rows_and_there_is_one_for_each_partition(tmp_path: Path) -> None:
    sink = open_at(tmp_path, IDS)
    assert sink.marks() == {}
    sink.commit([mark(5), mark(7, "b.csv")])
    sink.commit([mark(9)])
    assert sink.marks() == {("orders", "a.csv"): mark(9), ("orders", "b.csv"): mark(7, "b.csv")}
    sink.close()
    again = open_at(tmp_path, IDS)
    assert again.marks() == {("orders", "a.csv"): mark(9), ("orders", "b.csv"): mark(7, "b.csv")}
    again.close()


def test_the_mark_of_one_partition_can_be_forgotten(tmp_path: Path) -> None:
    sink = open_at(tmp_path, IDS)
    sink.commit([mark(5), mark(7, "b.csv")])
    sink.forget("orders", "a.csv")
    sink.forget("orders", "never seen")
    sink.rollback()
    assert sink.marks() == {("orders", "b.csv"): mark(7, "b.csv")}
    sink.close()


def test_marks_belong_to_a_pipeline_and_a_model(tmp_path: Path) -> None:
    sink = open_at(tmp_path, IDS)
    sink.commit([mark(5)])
    other_model = open_at(tmp_path, model_of({"id": "bigint"}, name="returns"))
    other_pipeline = open_at(tmp_path, IDS, "warehouse")
    assert other_model.marks() == {}
    assert other_pipeline.marks() == {}
    for each in (sink, other_model, other_pipeline):
        each.close()


def test_marks_go_with_the_table_they_vouch_for(tmp_path: Path) -> None:
    sink = open_at(tmp_path, IDS)
    sink.write(rows_of(IDS, (1, "a")), "a.csv")
    sink.commit([mark(1)])
    sink.close()
    with duckdb.connect(str(tmp_path / "warehouse.duckdb")) as someone:
        someone.execute("DROP TABLE analytics.orders")
    again = open_at(tmp_path, IDS)
    assert again.marks() == {}
    again.close()


def test_one_file_reached_by_two_ways_is_one_file(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "there").symlink_to(tmp_path / "here")
    here, there = open_at(tmp_path / "here", IDS), open_at(tmp_path / "there", IDS, path="../there/./warehouse.duckdb")
    here.commit([mark(5)])
    assert there.marks() == {("orders", "a.csv"): mark(5)}
    here.close()
    there.close()


def test_sinks_of_one_file_commit_from_several_threads(tmp_path: Path) -> None:
    models = [model_of({"id": "bigint"}, name=f"model {number}", unique=[("id",)]) for number in range(4)]
    failures: list[BaseException] = []

    def work(model: Model) -> None:
        try:
            sink = open_at(tmp_path, model)
            for turn in range(20):
                sink.write(rows_of(model, *[(turn * 100 + row,) for row in range(100)], first=turn * 100), "a.csv")
                sink.commit([mark((turn + 1) * 100)])
            sink.close()
        except BaseException as failure:  # noqa: BLE001 - whatever happens in a thread is the test's to show
            failures.append(failure)

    threads = [threading.Thread(target=work, args=(model,)) for model in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert stored(tmp_path, "SELECT model, sequence FROM _penstock.marks ORDER BY model") == [
        (f"model {number}", 2000) for number in range(4)
    ]
    assert stored(tmp_path, 'SELECT count(*), sum(id) FROM analytics."model 3"') == [(2000, 1999000)]


def test_the_page_about_the_warehouse_is_true(tmp_path: Path) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "warehouse.md").read_text()
    sink = open_at(tmp_path, IDS)
    sink.commit([mark(5)])
    sink.close()
    with duckdb.connect(str(tmp_path / "warehouse.duckdb"), read_only=True) as reading:
        columns = [name for name, *_ in reading.execute("DESCRIBE _penstock.marks").fetchall()]
        [query] = re.findall(r"```sql\n(.*?)```", page, re.DOTALL)
        assert reading.execute(query.replace("committed_at", "1")).fetchall() == [("orders", "orders", "a.csv", 5, 1)]
    section = page.split("## Marks")[1].split("```")[0]
    assert re.findall(r"`(\w+)`", " ".join(re.findall(r"^\| (`.*?) \|", section, re.MULTILINE))) == columns
    assert set(re.findall(r"INT_GAMMA_\d+", page)) == {code for code in KINDS if "GAMMA" in code} - {"INT_GAMMA_002"}


# --- rules, asked of the table -----------------------------------------------------------------------------------


def test_evidence_counts_the_rows_that_break_a_rule_and_null_meets_a_predicate(tmp_path: Path) -> None:
    sink = open_at(tmp_path, IDS)
    sink.write(rows_of(IDS, (1, "a"), (-2, "b"), (None, "c"), (-2, None), (-2, "b")), "a.csv")
    sink.commit([])
    assert sink.evidence(rule(RuleKind.PREDICATE, "id", predicate='"id" >= 0')) == Evidence(3, 5)
    assert sink.evidence(rule(RuleKind.NOT_NULL, "id")) == Evidence(1, 5)
    assert sink.evidence(rule(RuleKind.NOT_NULL, "id", "name")) == Evidence(2, 5)
    assert sink.evidence(rule(RuleKind.UNIQUE, "id")) == Evidence(2, 5)
    assert sink.evidence(rule(RuleKind.UNIQUE, "id", "name")) == Evidence(1, 5)
    sink.close()


def test_evidence_of_an_empty_table_is_none_of_none(tmp_path: Path) -> None:
    sink = open_at(tmp_path, IDS)
    for kind in (RuleKind.NOT_NULL, RuleKind.UNIQUE):
        assert sink.evidence(rule(kind, "id")) == Evidence(0, 0)
    sink.close()


def test_evidence_sees_what_is_committed_only(tmp_path: Path) -> None:
    sink = open_at(tmp_path, IDS)
    sink.write(rows_of(IDS, (1, "a")), "a.csv")
    sink.commit([])
    sink.write(rows_of(IDS, (1, "b"), first=1), "a.csv")
    assert sink.evidence(rule(RuleKind.UNIQUE, "id")) == Evidence(0, 1)
    sink.commit([])
    assert sink.evidence(rule(RuleKind.UNIQUE, "id")) == Evidence(1, 2)
    sink.close()


def test_duplicates_are_counted_in_passes_where_the_keys_exceed_the_memory(tmp_path: Path) -> None:
    model = model_of({"id": "bigint", "name": "text"})
    open_at(tmp_path, model).close()
    with duckdb.connect(str(tmp_path / "warehouse.duckdb")) as someone:
        someone.execute("INSERT INTO analytics.orders SELECT i % 1800000, 'n' || (i % 900000) FROM range(2000000) r(i)")
    sink = open_at(tmp_path, model, memory_mib=64)
    assert sink.evidence(rule(RuleKind.UNIQUE, "id")) == Evidence(200_000, 2_000_000)
    assert sink.evidence(rule(RuleKind.UNIQUE, "name")) == Evidence(1_100_000, 2_000_000)
    assert sink.evidence(rule(RuleKind.UNIQUE, "id", "name")) == Evidence(200_000, 2_000_000)
    sink.close()


# --- a table that is there already -------------------------------------------------------------------------------


def make_table(root: Path, *statements: str) -> None:
    with duckdb.connect(str(root / "warehouse.duckdb")) as someone:
        someone.execute("CREATE SCHEMA analytics")
        for statement in statements:
            someone.execute(statement)


def test_a_table_that_is_there_is_used_whatever_the_order_and_the_case_of_its_columns(tmp_path: Path) -> None:
    make_table(tmp_path, "CREATE TABLE analytics.ORDERS (Name TEXT DEFAULT 'x', ID INT8)")
    sink = open_at(tmp_path, UNIQUE_IDS)
    assert sink.write(rows_of(UNIQUE_IDS, (1, None), (1, None)), "a.csv").refused.keys() == {1}
    sink.commit([])
    sink.close()
    assert stored(tmp_path, "FROM analytics.orders") == [(None, 1)]


def test_every_difference_is_named_with_both_types_and_what_would_mend_it(tmp_path: Path) -> None:
    make_table(tmp_path, "CREATE TABLE analytics.orders (id INTEGER, total DOUBLE, day DATE NOT NULL, extra TEXT)")
    model = model_of({"id": "integer", "total": "decimal(10,2)", "day": "date", "rate": "real"})
    with pytest.raises(UserMistake) as caught:
        open_at(tmp_path, model)
    assert caught.value.kind.code == "INT_GAMMA_013"
    assert caught.value.message == (
        f"`analytics.orders` in `{tmp_path}/warehouse.duckdb` is not the table that the document describes: "
        "`total` is DOUBLE in the table and DECIMAL(10,2) in the document; "
        "`day` is DATE NOT NULL in the table and DATE, which may be null, in the document; "
        "`rate` is missing in the table and FLOAT in the document; "
        "`extra` is VARCHAR in the table and missing in the document"
    )
    with duckdb.connect(str(tmp_path / "warehouse.duckdb")) as someone:
        for statement in caught.value.remedy.partition("mend the table: ")[2].split("; "):
            someone.execute(statement)
        someone.execute("ALTER TABLE analytics.orders DROP COLUMN extra")
    open_at(tmp_path, model).close()


def test_a_merge_into_a_table_without_versions_is_another_shape(tmp_path: Path) -> None:
    make_table(tmp_path, "CREATE TABLE analytics.orders (id BIGINT, name TEXT)")
    merging = model_of({"id": "bigint", "name": "text"}, mode=WriteMode.MERGE)
    with pytest.raises(UserMistake, match=r"`_version` is missing in the table and BIGINT in the document"):
        open_at(tmp_path, merging)


@pytest.mark.parametrize(
    ("statements", "said"),
    [
        (["CREATE TABLE analytics.orders (id BIGINT PRIMARY KEY, name TEXT)"], "constraint PRIMARY KEY"),
        (["CREATE TABLE analytics.orders (id BIGINT, name TEXT, UNIQUE (id))"], "constraint UNIQUE"),
        (["CREATE TABLE analytics.orders (id BIGINT CHECK (id > 0), name TEXT)"], "constraint CHECK"),
        (
            ["CREATE TABLE analytics.orders (id BIGINT)", "CREATE UNIQUE INDEX one ON analytics.orders (id)"],
            "unique index one",
        ),
        (["CREATE VIEW analytics.orders AS SELECT 1::BIGINT AS id, 'a' AS name"], "it is a view"),
    ],
)
def test_what_else_would_stand_in_the_way_of_rows_is_named_before_any_is_written(
    tmp_path: Path, statements: list[str], said: str
) -> None:
    make_table(tmp_path, *statements)
    with pytest.raises(UserMistake, match=said) as caught:
        open_at(tmp_path, IDS)
    assert caught.value.kind.code == "INT_GAMMA_013"
