from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa
import pytest

from penstock.expressions import Engine, open_engine

if TYPE_CHECKING:
    from collections.abc import Iterator

MEMORY_BYTES = 64 << 20


@pytest.fixture
def engine() -> Iterator[duckdb.DuckDBPyConnection]:
    opened = open_engine(MEMORY_BYTES, threads=2)
    yield opened
    opened.close()


def setting(engine: duckdb.DuckDBPyConnection, name: str) -> str:
    return str(engine.sql(f"SELECT current_setting('{name}')").fetchall()[0][0])


def test_an_engine_keeps_to_the_memory_and_threads_it_is_given(engine: duckdb.DuckDBPyConnection) -> None:
    assert setting(engine, "memory_limit") == "64.0 MiB"
    assert setting(engine, "threads") == "2"
    with pytest.raises(duckdb.OutOfMemoryException):
        engine.sql("SELECT count(*) FROM (SELECT DISTINCT random() FROM range(30_000_000))").fetchall()


def test_its_clock_shows_utc_wherever_it_runs_in_cursors_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        engine = open_engine(MEMORY_BYTES, threads=1)
    finally:
        monkeypatch.undo()
        time.tzset()
    hour = "SELECT extract(hour FROM TIMESTAMPTZ '2024-01-01 00:30:00+00')"
    assert engine.sql(hour).fetchall() == [(0,)]
    assert engine.cursor().sql(hour).fetchall() == [(0,)]
    engine.close()


def test_it_can_reach_no_file(
    engine: duckdb.DuckDBPyConnection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("secret.csv").write_text("a\n1\n")
    with pytest.raises(duckdb.Error, match="disabled by configuration"):
        engine.sql("SELECT * FROM 'secret.csv'").fetchall()
    with pytest.raises(duckdb.Error, match="disabled by configuration"):
        engine.execute("ATTACH 'other.duckdb'")


def test_nothing_in_it_can_be_set_afterwards(engine: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(duckdb.InvalidInputException, match="locked"):
        engine.execute("SET enable_external_access = true")
    with pytest.raises(duckdb.InvalidInputException, match="locked"):
        engine.cursor().execute("SET TimeZone = 'CET'")


def test_arrow_tables_come_in_when_registered_and_only_then(engine: duckdb.DuckDBPyConnection) -> None:
    numbers = pa.table({"n": [3, 1, 2]})
    with pytest.raises(duckdb.CatalogException):
        engine.sql("SELECT n FROM numbers").fetchall()
    engine.register("given", numbers)
    assert engine.sql("SELECT n FROM given").fetchall() == [(3,), (1,), (2,)]


def test_it_leaves_nothing_where_the_user_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    engine = open_engine(MEMORY_BYTES, threads=1)
    with pytest.raises(duckdb.OutOfMemoryException):
        engine.sql("SELECT range FROM range(50_000_000) ORDER BY hash(range)").to_arrow_table()
    engine.close()
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def computing() -> Iterator[Engine]:
    opened = Engine(MEMORY_BYTES, threads=1)
    yield opened
    opened.close()


def test_each_query_computes_over_the_rows_of_its_own_call(computing: Engine) -> None:
    query = "SELECT n + 1 AS m FROM given"
    for numbers in ([1, 2], [], [5], list(range(10_000))):
        found = computing.compute(query, pa.table({"n": pa.array(numbers, pa.int64())}), over="given")
        assert found.column("m").to_pylist() == [number + 1 for number in numbers]


def test_rows_of_another_shape_under_the_same_name_are_planned_for_anew(computing: Engine) -> None:
    query = "SELECT * FROM given"
    assert computing.compute(query, pa.table({"n": [1]}), over="given").to_pydict() == {"n": [1]}
    assert computing.compute(query, pa.table({"t": ["a"]}), over="given").to_pydict() == {"t": ["a"]}
    assert computing.compute(query, pa.table({"n": [2]}), over="given").to_pydict() == {"n": [2]}


def test_a_query_that_fails_for_some_rows_serves_for_the_next(computing: Engine) -> None:
    query = "SELECT CAST(t AS INTEGER) AS n FROM given"
    with pytest.raises(duckdb.ConversionException):
        computing.compute(query, pa.table({"t": ["one"]}), over="given")
    assert computing.compute(query, pa.table({"t": ["1"]}), over="given").to_pydict() == {"n": [1]}


def test_what_is_kept_can_be_joined(computing: Engine) -> None:
    computing.keep("names", "SELECT n, upper(t) AS t FROM loading", pa.table({"n": [1, 2], "t": ["a", "b"]}), "loading")
    query = "SELECT t FROM given JOIN names USING (n)"
    assert computing.compute(query, pa.table({"n": [2]}), over="given").to_pydict() == {"t": ["B"]}


def test_rows_are_let_go_of_once_they_are_computed(computing: Engine) -> None:
    before = pa.total_allocated_bytes()
    rows = pa.table({"n": pa.array(range(1_000_000), pa.int64())})
    computing.compute("SELECT max(n) AS n FROM given", rows, over="given")
    del rows
    assert pa.total_allocated_bytes() < before + 1_000_000
