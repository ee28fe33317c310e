"""Merging into DuckDB: whatever order versions arrive in, however they are cut, the newest one is what is left."""

from __future__ import annotations

import random
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.connectors.sinks.duckdb import DuckDBSink
from penstock.model.batch import RESERVED_FIELDS, Op
from penstock.model.finding import Place
from penstock.model.pipeline import Column, Connection, Model, Rule, RuleKind, Warehouse, WriteMode
from penstock.model.schema import arrow_schema, parse_type
from penstock.model.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

HERE = Place("test")
TYPES = {"id": "bigint", "region": "text", "updated": "integer", "value": "text"}


def model_of(
    *, version_by: str = "", grain: tuple[str, ...] = ("id",), unique: Sequence[tuple[str, ...]] = ()
) -> Model:
    return Model(
        "customers",
        "analytics",
        "customers",
        grain,
        tuple(Column(name, parse_type(of_type), name) for name, of_type in TYPES.items()),
        HERE,
        write_mode=WriteMode.MERGE,
        version_by=version_by,
        rules=tuple(Rule("a rule", "as written", RuleKind.UNIQUE, key, HERE) for key in unique),
    )


def open_at(root: Path, model: Model) -> DuckDBSink:
    sink = DuckDBSink("shop", model, Warehouse("local", Connection("local", "duckdb")), root, Settings())
    sink.prepare()
    return sink


@dataclass(frozen=True, slots=True)
class Record:
    """A record as it was read. `read` is its place in the order of reading, and its sequence."""

    read: int
    id: int | None
    region: str | None
    updated: int | None
    value: str | None
    op: Op = Op.INSERT


def rows_of(model: Model, records: Sequence[Record]) -> pa.Table:
    schema = arrow_schema(model.fields, *RESERVED_FIELDS)
    whole = [
        (each.id, each.region, each.updated, each.value, each.read, int(each.op), None, each.read) for each in records
    ]
    columns = zip(*whole, strict=True) if whole else [()] * len(schema)
    return pa.table([pa.array(column, of.type) for column, of in zip(columns, schema, strict=True)], schema=schema)


def found(root: Path) -> list[tuple[object, ...]]:
    with duckdb.connect(str(root / "warehouse.duckdb")) as reading:
        return reading.execute("SELECT id, region, updated, value FROM analytics.customers ORDER BY ALL").fetchall()


@dataclass(slots=True)
class Reference:
    """What merging means, one write at a time, with a dictionary."""

    grain: tuple[str, ...]
    version_by: str
    rows: dict[tuple[object, ...], Record] = field(default_factory=dict)
    keyless: list[Record] = field(default_factory=list)

    def write(self, records: Sequence[Record]) -> set[int]:
        """Merge; return who is superseded."""
        superseded: set[int] = set()
        emptied = max((place for place, record in enumerate(records) if record.op is Op.TRUNCATE), default=None)
        if emptied is not None:
            self.rows.clear()
            self.keyless.clear()
            superseded = {record.read for record in records[:emptied] if record.op is not Op.TRUNCATE}
            records = records[emptied + 1 :]
        newest: dict[tuple[object, ...], Record] = {}
        for record in records:
            key = tuple(getattr(record, column) for column in self.grain)
            if None in key:
                self.keyless += [record] if record.op is not Op.DELETE else []
                continue
            other = newest.get(key)
            if other is not None:
                older = min(record, other, key=lambda each: (*self.version(each), each.read))
                superseded.add(older.read)
                record = other if older is record else record  # noqa: PLW2901 - the newer of the two goes on
            newest[key] = record
        for key, record in newest.items():
            stored = self.rows.get(key)
            if stored is not None and not self.yields(stored, record):
                superseded.add(record.read)
            elif record.op is Op.DELETE:
                self.rows.pop(key, None)
            else:
                self.rows[key] = record
        return superseded

    def version(self, record: Record) -> tuple[bool, int]:
        if not self.version_by:
            return (True, record.read)
        return (record.updated is not None, record.updated or 0)

    def yields(self, stored: Record, record: Record) -> bool:
        return self.version(record) >= self.version(stored)

    def table(self) -> list[tuple[object, ...]]:
        rows = [(each.id, each.region, each.updated, each.value) for each in [*self.rows.values(), *self.keyless]]
        return sorted(rows, key=lambda row: tuple((value is None, value if value is not None else 0) for value in row))


keys = st.one_of(st.none(), st.integers(0, 4))
regions = st.one_of(st.none(), st.sampled_from(["eu", "us"]))
versions = st.one_of(st.none(), st.integers(0, 3))
drafts = st.builds(Record, st.just(0), keys, regions, versions, st.just(""), st.sampled_from(Op))
COMMIT, ROLLBACK, REOPEN, WRITE_ON = "commit", "rollback", "reopen", "write on"


@dataclass(frozen=True, slots=True)
class Write:
    """New records, places of old ones that come again, and what follows the write."""

    drafts: list[Record]
    again: list[int]
    then: str


@settings(max_examples=60, deadline=None)
@given(
    version_by=st.sampled_from(["", "updated"]),
    grain=st.sampled_from([("id",), ("id", "region"), ("region", "id")]),
    writes=st.lists(
        st.builds(
            Write,
            st.lists(drafts, max_size=8),
            st.lists(st.integers(0, 1000), max_size=3),
            st.sampled_from([COMMIT, ROLLBACK, REOPEN, WRITE_ON]),
        ),
        max_size=6,
    ),
)
def test_the_destination_holds_what_the_reference_holds(
    tmp_path_factory: pytest.TempPathFactory, version_by: str, grain: tuple[str, ...], writes: list[Write]
) -> None:
    root = tmp_path_factory.mktemp("merge")
    model = model_of(version_by=version_by, grain=grain)
    reference = Reference(grain, version_by)
    committed = deepcopy(reference)
    sink = open_at(root, model)
    seen: list[Record] = []
    for write in writes:
        again = {seen[place % len(seen)] for place in write.again if seen}
        new = [replace(draft, read=read, value=f"read {read}") for read, draft in enumerate(write.drafts, len(seen))]
        seen += new
        # A row without a whole key meets nothing, not even itself: only marks keep it from being written twice.
        records = [each for each in again if each.id is not None and each.region is not None] + new
        assert sink.write(rows_of(model, records), "a.csv").superseded == reference.write(records)
        if write.then == ROLLBACK:
            sink.rollback()
            reference = deepcopy(committed)
        elif write.then != WRITE_ON:
            sink.commit([])
            committed = deepcopy(reference)
        if write.then == REOPEN:
            sink.close()
            sink = open_at(root, model)
    sink.commit([])
    sink.close()
    assert found(root) == reference.table()


def written(root: Path, model: Model, *writes: Sequence[Record]) -> list[tuple[set[int], frozenset[int]]]:
    """Write and commit each; return who was refused and who superseded."""
    sink = open_at(root, model)
    answers = []
    for records in writes:
        answer = sink.write(rows_of(model, records), "a.csv")
        answers.append((set(answer.refused), answer.superseded))
        sink.commit([])
    sink.close()
    return answers


def test_without_a_version_column_what_was_read_later_wins_and_a_record_read_again_replaces_itself(
    tmp_path: Path,
) -> None:
    old, new, mended = Record(1, 1, "eu", 9, "old"), Record(2, 1, "eu", 0, "new"), Record(2, 1, "us", 0, "mended")
    assert written(tmp_path, model_of(), [new], [old], [mended]) == [
        (set(), frozenset()),
        (set(), frozenset({1})),
        (set(), frozenset()),
    ]
    assert found(tmp_path) == [(1, "us", 0, "mended")]


def test_with_a_version_column_it_alone_decides_and_of_equal_versions_the_one_written_later_stays(
    tmp_path: Path,
) -> None:
    first, older, equal = Record(1, 1, "eu", 5, "first"), Record(2, 1, "eu", 4, "older"), Record(0, 1, "eu", 5, "equal")
    assert written(tmp_path, model_of(version_by="updated"), [first], [older], [equal]) == [
        (set(), frozenset()),
        (set(), frozenset({2})),
        (set(), frozenset()),
    ]
    assert found(tmp_path) == [(1, "eu", 5, "equal")]


def test_null_is_the_oldest_version(tmp_path: Path) -> None:
    none, some = Record(1, 1, "eu", None, "none"), Record(0, 1, "eu", -5, "some")
    assert written(tmp_path, model_of(version_by="updated"), [none], [some], [none]) == [
        (set(), frozenset()),
        (set(), frozenset()),
        (set(), frozenset({1})),
    ]
    assert found(tmp_path) == [(1, "eu", -5, "some")]


def test_a_delete_removes_what_is_older_and_yields_to_what_is_newer(tmp_path: Path) -> None:
    model = model_of(version_by="updated")
    row, stale = Record(0, 1, "eu", 5, "row"), Record(1, 1, "eu", 4, "gone", Op.DELETE)
    delete = Record(2, 1, None, 6, "gone", Op.DELETE)
    assert written(tmp_path, model, [row], [stale]) == [(set(), frozenset()), (set(), frozenset({1}))]
    assert found(tmp_path) == [(1, "eu", 5, "row")]
    assert written(tmp_path, model, [delete]) == [(set(), frozenset())]
    assert found(tmp_path) == []


def test_a_delete_wins_over_older_rows_of_its_own_write_and_needs_no_row_to_remove(tmp_path: Path) -> None:
    rows = [Record(0, 1, "eu", 5, "row"), Record(1, 1, "eu", 6, "", Op.DELETE), Record(2, 2, "eu", 1, "", Op.DELETE)]
    assert written(tmp_path, model_of(version_by="updated"), rows) == [(set(), frozenset({0}))]
    assert found(tmp_path) == []


def test_a_truncate_takes_away_all_that_came_before_it_and_nothing_after(tmp_path: Path) -> None:
    old, older = Record(0, 1, "eu", 5, "old"), Record(1, 2, None, 5, "keyless")
    emptied = [
        Record(2, 3, "eu", 5, "with it"),
        Record(3, None, None, None, None, Op.TRUNCATE),
        Record(4, 1, "eu", 1, "new"),
    ]
    model = model_of(version_by="updated", grain=("id", "region"))
    assert written(tmp_path, model, [old, older], emptied) == [(set(), frozenset()), (set(), frozenset({2}))]
    assert found(tmp_path) == [(1, "eu", 1, "new")]


def test_a_deleted_key_is_not_remembered_so_an_older_row_that_comes_later_lives(tmp_path: Path) -> None:
    delete, older = Record(0, 1, "eu", 6, "", Op.DELETE), Record(1, 1, "eu", 5, "back")
    assert written(tmp_path, model_of(version_by="updated"), [delete], [older])[1] == (set(), frozenset())
    assert found(tmp_path) == [(1, "eu", 5, "back")]


def test_a_delete_may_leave_out_columns_that_a_row_must_have(tmp_path: Path) -> None:
    base = model_of()
    columns = tuple(
        Column(column.name, column.type, column.expression, nullable=column.name != "value") for column in base.columns
    )
    model = Model(base.name, base.schema, base.source, base.grain, columns, HERE, write_mode=WriteMode.MERGE)
    delete, row = Record(1, 1, None, None, None, Op.DELETE), Record(2, 2, None, None, None)
    assert written(tmp_path, model, [Record(0, 1, "eu", 1, "row")], [delete, row])[1] == ({2}, frozenset())
    assert found(tmp_path) == []


def test_a_rule_on_the_grain_or_on_more_than_it_is_met_by_merging(tmp_path: Path) -> None:
    model = model_of(unique=[("id",), ("value", "id")])
    assert written(tmp_path, model, [Record(0, 1, "eu", 1, "a")], [Record(1, 1, "us", 1, "a")])[1] == (
        set(),
        frozenset(),
    )
    assert found(tmp_path) == [(1, "us", 1, "a")]


def test_a_key_besides_the_grain_is_refused_to_other_rows_and_theirs_stay_as_they_are(tmp_path: Path) -> None:
    model = model_of(unique=[("value",)])
    first = [Record(0, 1, "eu", 1, "one"), Record(1, 2, "eu", 1, "two")]
    # 1 may change and keep its value; 2 may not take it; of 3 and 4 the first takes `new`.
    second = [Record(read, key, "us", 1, value) for read, key, value in
              [(2, 1, "one"), (3, 2, "one"), (4, 3, "new"), (5, 4, "new")]]  # fmt: skip
    assert written(tmp_path, model, first, second) == [(set(), frozenset()), ({3, 5}, frozenset())]
    assert found(tmp_path) == [(1, "us", 1, "one"), (2, "eu", 1, "two"), (3, "us", 1, "new")]


def test_rows_without_a_grain_are_different_rows_also_to_a_key_besides_it(tmp_path: Path) -> None:
    model = model_of(unique=[("value",)])
    first, second = Record(0, None, "eu", 1, "one"), Record(1, None, "us", 1, "one")
    assert written(tmp_path, model, [first], [second]) == [(set(), frozenset()), ({1}, frozenset())]
    assert found(tmp_path) == [(None, "eu", 1, "one")]


def test_a_key_is_not_free_before_the_write_after_the_one_that_gives_it_up(tmp_path: Path) -> None:
    model = model_of(unique=[("value",)])
    swap = [Record(2, 1, "us", 1, "two"), Record(3, 2, "us", 1, "one")]
    first = [Record(0, 1, "eu", 1, "one"), Record(1, 2, "eu", 1, "two")]
    gives_up, takes = Record(4, 1, "us", 1, "three"), Record(5, 2, "us", 1, "one")
    answers = written(tmp_path, model, first, swap, [gives_up], [takes])
    assert [refused for refused, _ in answers] == [set(), {2, 3}, set(), set()]
    assert found(tmp_path) == [(1, "us", 1, "three"), (2, "us", 1, "one")]


def test_rows_that_are_there_twice_already_both_make_room_for_a_newer_one(tmp_path: Path) -> None:
    model = model_of(version_by="updated")
    open_at(tmp_path, model).close()
    with duckdb.connect(str(tmp_path / "warehouse.duckdb")) as someone:
        someone.execute("INSERT INTO analytics.customers VALUES (1, 'eu', 3, 'x'), (1, 'eu', 5, 'y')")
    assert written(tmp_path, model, [Record(0, 1, "eu", 4, "between")], [Record(1, 1, "eu", 5, "newest")]) == [
        (set(), frozenset({0})),
        (set(), frozenset()),
    ]
    assert found(tmp_path) == [(1, "eu", 5, "newest")]


@pytest.mark.parametrize("runs", [1, 24])
def test_the_space_of_replaced_rows_is_given_back(tmp_path: Path, runs: int) -> None:
    model = model_of(version_by="updated")
    chance = random.Random(11)
    file = tmp_path / "warehouse.duckdb"

    def rows(version: int, ids: Sequence[int]) -> pa.Table:
        texts = [chance.randbytes(30).hex() for _ in ids]
        return rows_of(model, [Record(key, key, "eu", version, text) for key, text in zip(ids, texts, strict=True)])

    sink = open_at(tmp_path, model)
    sink.write(rows(0, range(20_000)), "a.csv")
    sink.commit([])
    sink.close()
    whole = file.stat().st_size
    for turn in range(24):
        if turn % (24 // runs) == 0:
            sink.close()
            sink = open_at(tmp_path, model)
        sink.write(rows(turn, sorted(chance.sample(range(20_000), 12_000))), "a.csv")
        sink.commit([])
    sink.close()
    assert len(found(tmp_path)) == 20_000
    assert file.stat().st_size < 4 * whole
