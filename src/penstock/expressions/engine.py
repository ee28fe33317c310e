"""An in-memory DuckDB that can only compute: no files, no network, no settings changed behind its owner's back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb

from penstock.expressions.names import quote

if TYPE_CHECKING:
    import pyarrow as pa

_CLOSED_DOORS: tuple[str, ...] = (
    # Global, or a cursor would run in the machine's time zone.
    "SET GLOBAL TimeZone = 'UTC'",
    # By default it would spill to `.tmp` where the user stands. What does not fit its memory is an error instead.
    "SET temp_directory = ''",
    "SET enable_external_access = false",
    # A Python variable that happens to be called like a table must not become one.
    "SET python_enable_replacements = false",
    "SET autoload_known_extensions = false",
    "SET autoinstall_known_extensions = false",
    # The order in which records were read is part of what they mean.
    "SET preserve_insertion_order = true",
    # What two expressions share would be computed outside of TRY, and fail there for every record.
    "SET GLOBAL disabled_optimizers = 'common_subexpressions'",
    "SET lock_configuration = true",
)


def open_engine(memory_bytes: int, threads: int) -> duckdb.DuckDBPyConnection:
    """Open a DuckDB held to `memory_bytes` and `threads`. Arrow tables come in through `register`.

    Its cursors share the limits. A query that needs more memory raises duckdb.OutOfMemoryException.
    """
    engine = duckdb.connect(":memory:", config={"memory_limit": f"{memory_bytes}B", "threads": threads})
    for statement in _CLOSED_DOORS:
        engine.execute(statement)
    return engine


class Engine:
    """Computes over tables it is given, one after the other. A query is planned once, however often it runs.

    Used from one thread at a time. What a query cannot compute raises as DuckDB does.
    """

    def __init__(self, memory_bytes: int, threads: int) -> None:
        """Limits as for `open_engine`."""
        self._connection = open_engine(memory_bytes, threads)
        self._given: dict[str, _Given] = {}
        self._planned: dict[tuple[str, str], str] = {}
        self._plans = 0

    def keep(self, name: str, query: str, rows: pa.Table, over: str) -> None:
        """Keep what `query` makes of `rows`, which it calls `over`, as table `name`."""
        self._connection.register(over, rows)
        try:
            self._connection.execute(f"CREATE TABLE {quote(name)} AS {query}")
        finally:
            self._connection.unregister(over)

    def compute(self, query: str, rows: pa.Table | pa.RecordBatch, over: str) -> pa.Table:
        """Return what `query` makes of `rows`, which it calls `over`, and of tables that are kept."""
        given = self._given.get(over)
        if given is None or not given.schema.equals(rows.schema):
            given = self._expect(over, rows)
        statement = self._planned.get((over, query)) or self._plan(over, query)
        given.rows = rows
        try:
            return self._connection.sql(f"EXECUTE {statement}").to_arrow_table()
        finally:
            given.rows = None

    def close(self) -> None:
        """Let go of everything."""
        self._connection.close()

    def _expect(self, over: str, rows: pa.Table | pa.RecordBatch) -> _Given:
        """Expect rows like these from now on; plans for others no longer serve."""
        for key in [key for key in self._planned if key[0] == over]:
            self._connection.execute(f"DEALLOCATE {self._planned.pop(key)}")
        given = self._given[over] = _Given(rows.schema)
        self._connection.register(over, given)
        return given

    def _plan(self, over: str, query: str) -> str:
        self._plans += 1
        statement = f"query_{self._plans}"
        self._connection.execute(f"PREPARE {statement} AS {query}")
        self._planned[over, query] = statement
        return statement


class _Given:
    """A table as the engine reads it, through Arrow's capsule interface: at each query, the rows of the moment.

    Registering a table, and planning over it, takes several times as long as a query on a few rows.
    """

    def __init__(self, schema: pa.Schema) -> None:
        self.schema = schema
        self.rows: pa.Table | pa.RecordBatch | None = None

    def __arrow_c_schema__(self) -> object:
        return self.schema.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        assert self.rows is not None, "read outside of a query"
        return self.rows.__arrow_c_stream__(requested_schema)
