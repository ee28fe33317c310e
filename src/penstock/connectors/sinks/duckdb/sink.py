"""The sink itself: one table of one pipeline, and the transaction that is open on it."""

from __future__ import annotations

import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, ClassVar

import duckdb

from penstock.connectors.sinks.duckdb import marks as marks_table
from penstock.connectors.sinks.duckdb import shape as table_shape
from penstock.connectors.sinks.duckdb.database import (
    ROW_GROUP_ROWS,
    catalog_of,
    check_folder,
    explained,
    open_database,
    sync_names,
    tidy,
)
from penstock.connectors.sinks.duckdb.evidence import evidence
from penstock.connectors.sinks.duckdb.incoming import Incoming
from penstock.connectors.sinks.duckdb.keys import Key, refused_for
from penstock.connectors.sinks.duckdb.merge import empty, merge, without_truncates
from penstock.connectors.sinks.keys import keys_kept
from penstock.model.pipeline import WriteMode
from penstock.ports import Declaration, Guarantee, SinkPromises, Written

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import pyarrow as pa

    from penstock.model.pipeline import Model, Rule, Warehouse
    from penstock.model.position import Mark
    from penstock.model.settings import Settings
    from penstock.ports import Evidence

FILE_DEFAULT = "warehouse.duckdb"
TIDY_AFTER_SMALL_COMMITS = 1
"""Merges per checkpoint that keep many small runs from leaving a row group each; costs a fifth of a second at most."""
TIDY_AFTER_REPLACING = 100
"""Merges per checkpoint once rows were replaced: their space is only given back by merging what is left."""

PROMISES = SinkPromises(Guarantee.TRANSACTIONAL, frozenset({WriteMode.APPEND, WriteMode.MERGE}))
DECLARATION = Declaration(
    what="tables of a DuckDB file",
    place=f"`path`: the file, `{FILE_DEFAULT}` where nothing is said; see [the warehouse](warehouse.md)",
    promises=(PROMISES,),
)

_PREPARING = threading.Lock()
"""Sinks of one file may be prepared in several threads, and two that create a schema at once would collide."""


class DuckDBSink:
    """Rows of one model into a table of a DuckDB file. See `ports.Sink` for the contract, docs/warehouse.md for more.

    Sinks of one process may share a file; each has a connection and a transaction of its own.
    """

    declares: ClassVar[Declaration[SinkPromises]] = DECLARATION
    guarantee = PROMISES.guarantee

    def __init__(self, pipeline_name: str, model: Model, warehouse: Warehouse, root: Path, settings: Settings) -> None:
        """The file is what the warehouse's connection names under `root`, or warehouse.duckdb."""
        self._pipeline = pipeline_name
        self._model = model
        # Resolved, because the engine is shared between connections to the same name, not to the same file.
        self._file = (root / (warehouse.connection.path or FILE_DEFAULT)).resolve()
        self._memory_bytes = settings.whole("ENGINE_MEMORY_BYTES")
        self._shape = table_shape.shape_of(model)
        self._keys = keys_kept(model, self._shape.names)
        self._opened: duckdb.DuckDBPyConnection | None = None
        self._catalog = ""
        self._in_transaction = False
        self._rows = 0
        self._commits = 0
        self._replaced = 0

    def __repr__(self) -> str:
        state = "in a transaction" if self._in_transaction else "open" if self._opened else "closed"
        return f"<DuckDBSink {self._shape.schema}.{self._shape.name} in {self._file}, {state}>"

    def prepare(self) -> None:
        """Create the table where it is missing, without marks; compare it where it is there."""
        with _PREPARING, self._working() as connection:
            self._begin(connection)
            marks_table.create(connection, self._catalog)
            if table_shape.exists(connection, self._shape):
                table_shape.compare(connection, self._catalog, self._shape, self._file)
            else:
                table_shape.create(connection, self._catalog, self._shape)
                # The rows that earlier marks vouched for went with the table.
                marks_table.forget(connection, self._catalog, self._pipeline, self._model.name)
            self._end(connection)

    def marks(self) -> Mapping[tuple[str, str], Mark]:
        """Return the committed marks of this pipeline and model by (source, partition)."""
        with self._working() as connection:
            return marks_table.read(connection, self._catalog, self._pipeline, self._model.name)

    def forget(self, source: str, partition: str) -> None:
        """Drop the mark of a partition, in a transaction of its own."""
        with self._working() as connection:
            self._begin(connection)
            marks_table.forget_partition(connection, self._catalog, self._pipeline, self._model.name, source, partition)
            self._end(connection)

    def write(self, rows: pa.Table, partition: str) -> Written:  # noqa: ARG002 - sequences are enough to name rows here
        """Append or merge, as the model says."""
        with self._working() as connection:
            self._begin(connection)
            merging = self._model.write_mode is WriteMode.MERGE
            rows, emptied = empty(connection, self._table, rows) if merging else (without_truncates(rows), frozenset())
            incoming = Incoming(connection, rows, self._shape.fields)
            refused = incoming.drop_unrenderable(deletes_are_rows=not merging)
            written = self._merge(connection, incoming) if merging else self._append(connection, incoming)
            self._rows += incoming.rows.num_rows
            incoming.release()
            return Written({**refused, **written.refused}, written.superseded | emptied)

    def commit(self, marks: Sequence[Mark]) -> None:
        """Make rows and `marks` durable in one transaction."""
        with self._working() as connection:
            self._begin(connection)
            marks_table.store(connection, self._catalog, self._pipeline, self._model.name, marks)
            self._end(connection)
            self._commits += 1

    def rollback(self) -> None:
        """Forget every row since the last commit."""
        if self._in_transaction:
            with self._working() as connection:
                connection.execute("ROLLBACK")
                self._in_transaction = False

    def evidence(self, rule: Rule) -> Evidence:
        """Ask the table whether `rule` holds, within the engine's memory; a transaction that is open does not count.

        Every column that the rule names must be the table's.
        """
        with self._working() as connection, connection.cursor() as reading:
            return evidence(reading, self._table, rule, self._memory_bytes)

    def examine(self) -> str:
        """Say what is there, without writing. Raises as `prepare` does."""
        if not self._file.exists():
            check_folder(self._file)
            return f"{self._file} will be made"
        with self._working() as connection:
            name = f"`{self._shape.schema}.{self._shape.name}`"
            if not table_shape.exists(connection, self._shape):
                return f"{self._file}, table {name} will be made"
            table_shape.compare(connection, self._catalog, self._shape, self._file)
            return f"{self._file}, table {name} is there"

    def close(self) -> None:
        """Roll back and let go. The last to let go of a file moves its log into it."""
        if self._opened is None:
            return
        with suppress(duckdb.Error):  # what is left in the log by a failing checkpoint is found by the next to open
            self.rollback()
            if 0 < self._rows < self._commits * ROW_GROUP_ROWS:
                tidy(self._opened, TIDY_AFTER_SMALL_COMMITS)
        self._let_go()

    @property
    def _table(self) -> str:
        return self._shape.table_in(self._catalog)

    def _append(self, connection: duckdb.DuckDBPyConnection, incoming: Incoming) -> Written:
        refused = refused_for(connection, self._table, incoming, self._keys)
        incoming.drop(refused.keys())
        incoming.insert_into(self._table)
        return Written(refused)

    def _merge(self, connection: duckdb.DuckDBPyConnection, incoming: Incoming) -> Written:
        grain, version_by = Key(self._model.grain), self._model.version_by
        written, replaced = merge(connection, incoming, self._table, grain, version_by, self._keys)
        if replaced and not self._replaced:
            tidy(connection, TIDY_AFTER_REPLACING)
        self._replaced += replaced
        return written

    def _begin(self, connection: duckdb.DuckDBPyConnection) -> None:
        if not self._in_transaction:
            connection.execute("BEGIN TRANSACTION")
            self._in_transaction = True

    def _end(self, connection: duckdb.DuckDBPyConnection) -> None:
        connection.execute("COMMIT")
        self._in_transaction = False
        sync_names(self._file)  # each time: a checkpoint removes the log, and the next commit makes a new one

    @contextmanager
    def _working(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Lend the connection, opening it where need be. After a failure let go of it, and with it of the transaction.

        An engine whose disk was full refuses to go on; one that is opened anew starts from what is on the disk.
        """
        try:
            with explained(self._file):
                if self._opened is None:
                    self._opened = open_database(self._file, self._memory_bytes)
                    self._catalog = catalog_of(self._opened)
                yield self._opened
        except BaseException:  # whatever it was, nothing of the transaction may stay; it is raised on
            self._let_go()
            raise

    def _let_go(self) -> None:
        opened, self._opened = self._opened, None
        self._in_transaction = False
        if opened is not None:
            with suppress(duckdb.Error):  # closing a broken connection may say again that it is broken
                opened.close()
