# ruff: noqa: S608 - every name in the statements below has passed `quote`
"""The sink itself: one table of one pipeline, and the transaction that is open on it."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, ClassVar

import psycopg

from penstock.connectors.postgres import Codes, execute, explained, open_connection, place_of
from penstock.connectors.postgres.trouble import said
from penstock.connectors.sinks.postgres import marks as marks_table
from penstock.connectors.sinks.postgres import shape as table_shape
from penstock.connectors.sinks.postgres.evidence import evidence
from penstock.connectors.sinks.postgres.incoming import STAGING, Incoming, Loading
from penstock.connectors.sinks.postgres.keys import refused_for_keys
from penstock.connectors.sinks.postgres.merge import drop_superseded, merge
from penstock.connectors.sinks.postgres.rendering import Renderer
from penstock.connectors.sinks.postgres.rights import missing_rights
from penstock.errors import BatchRefused, Unavailable, UserMistake
from penstock.model.batch import SEQUENCE, Op
from penstock.model.pipeline import WriteMode
from penstock.ports import Declaration, Guarantee, Hard, Option, SinkPromises, Written

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    import pyarrow as pa

    from penstock.connectors.postgres.connection import Session
    from penstock.connectors.sinks.keys import Key
    from penstock.model.outcome import RecordError
    from penstock.model.pipeline import Model, Rule, Warehouse
    from penstock.model.position import Mark
    from penstock.model.settings import Settings
    from penstock.ports import Evidence

CODES = Codes(
    away="INT_GAMMA_010", denied="INT_GAMMA_011", missing="INT_GAMMA_011", full="INT_GAMMA_012", wrong="INT_GAMMA_013"
)
VERSION_LEAST = 150_000
"""PostgreSQL 15, as it numbers itself: the first that can MERGE."""
WRITER_WAIT_MS = 5_000
"""For a connection of an earlier life to be gone: its server process may end a moment after it."""
TABLE_WAIT_MS = 30_000
"""For somebody who holds the table, to alter it or to make an index."""

SETBACK_WRITES_MAX = 63
"""Writes that are staged after one that could not go straight, at most."""

PROMISES = SinkPromises(
    Guarantee.TRANSACTIONAL,
    frozenset({WriteMode.APPEND, WriteMode.MERGE}),
    lacks=frozenset({Hard.NUL_CHARACTER}),
)
DECLARATION = Declaration(
    what="tables of a PostgreSQL database, 15 or newer",
    place="`url`: `postgresql://user:${PASSWORD}@host:5432/database`; see [PostgreSQL](postgres.md)",
    promises=(PROMISES,),
    options=(Option("schema", "the schema of models that name none", table_shape.SCHEMA_DEFAULT),),
)

_SESSION: tuple[str, ...] = (
    # Committed is on the disk, whatever is usual for this user or database. Stricter settings than `on` stay.
    "SELECT set_config('synchronous_commit', 'on', FALSE) WHERE current_setting('synchronous_commit') = 'off'",
    # Penstock may be killed in the middle of a long statement: its locks should go soon.
    "SET client_connection_check_interval = '2s'",
    # The same where it, or the way to it, is gone without a word; in seconds.
    "SET tcp_keepalives_idle = 30",
    "SET tcp_keepalives_interval = 10",
    "SET tcp_keepalives_count = 3",
    # For what is staged, and for sorting and joining it: the defaults of a server are for many small queries.
    "SET temp_buffers = '64MB'",
    "SET work_mem = '64MB'",
    f"SET lock_timeout = {TABLE_WAIT_MS:d}",
)
_ROWS_TO_BLAME = (psycopg.DataError, psycopg.IntegrityError, psycopg.errors.lookup("54000"))


class PostgresSink:
    """Rows of one model into a table of a PostgreSQL database. See `ports.Sink` for the contract, docs/postgres.md too.

    Holds one connection, and on it a lock on its pipeline and model, which goes when the server has ended whatever the
    connection began: so the marks that are read on the next connection are the last word on a commit that failed.
    """

    declares: ClassVar[Declaration[SinkPromises]] = DECLARATION
    guarantee = PROMISES.guarantee

    def __init__(self, pipeline_name: str, model: Model, warehouse: Warehouse, root: Path, settings: Settings) -> None:  # noqa: ARG002 - every sink is made so
        """The database is what the warehouse's connection names by its URL."""
        self._pipeline = pipeline_name
        self._model = model
        self._connection = warehouse.connection
        self._place = place_of(warehouse.connection)
        self._memory_bytes = settings.whole("ENGINE_MEMORY_BYTES")
        schema_default = warehouse.connection.options.get("schema", "") or table_shape.SCHEMA_DEFAULT
        self._shape = table_shape.shape_of(model, schema_default)
        self._renderer = Renderer()
        self._opened: Session | None = None
        self._loading: Loading | None = None
        self._in_transaction = False
        self._unguarded: Collection[Key] = self._shape.all_keys
        self._careful_writes = 0
        self._setback = 0

    def __repr__(self) -> str:
        state = "in a transaction" if self._in_transaction else "open" if self._opened else "closed"
        return f"<PostgresSink {self._shape.schema}.{self._shape.name} in {self._place}, {state}>"

    def prepare(self) -> None:
        """Create the table where it is missing, without marks; compare it where it is there."""
        with self._working() as session:
            self._begin(session)
            # Two that create a schema at once would collide.
            execute(session, "SELECT pg_advisory_xact_lock($1)", [_lock_key("prepare")])
            marks_table.create(session)
            if table_shape.exists(session, self._shape):
                table_shape.compare(session, self._shape, self._place)
            else:
                table_shape.create(session, self._shape)
                # The rows that earlier marks vouched for went with the table.
                marks_table.forget(session, self._pipeline, self._model.name)
            self._unguarded = table_shape.unguarded(session, self._shape)
            self._end(session)

    def marks(self) -> Mapping[tuple[str, str], Mark]:
        """Return the committed marks of this pipeline and model by (source, partition)."""
        with self._working() as session:
            return marks_table.read(session, self._pipeline, self._model.name)

    def forget(self, source: str, partition: str) -> None:
        """Drop the mark of a partition, in a transaction of its own."""
        with self._working() as session:
            self._begin(session)
            marks_table.forget_partition(session, self._pipeline, self._model.name, source, partition)
            self._end(session)

    def write(self, rows: pa.Table, partition: str) -> Written:  # noqa: ARG002 - sequences are enough to name rows here
        """Append or merge, as the model says.

        Raises BatchRefused where the server refuses rows for a reason that no one foresaw.
        """
        with self._working() as session:
            self._begin(session)
            incoming = Incoming(rows, self._shape, self._model.version_by)
            if incoming.drop_truncates() and self._shape.grain is not None:
                execute(session, f"DELETE FROM {self._shape.table}")
            incoming.drop_unholdable()
            if incoming.rows.num_rows and not self._goes_straight(incoming):
                self._write_carefully(session, incoming)
            return Written(incoming.refused, frozenset(incoming.superseded))

    def commit(self, marks: Sequence[Mark]) -> None:
        """Make rows and `marks` durable in one transaction."""
        with self._working() as session:
            self._begin(session)
            marks_table.store(session, self._pipeline, self._model.name, marks)
            self._end(session)

    def rollback(self) -> None:
        """Forget every row since the last commit."""
        if self._in_transaction:
            with self._working() as session:
                execute(session, "ROLLBACK")
                self._in_transaction = False
                self._loading = None  # what it staged into may be gone with the transaction

    def evidence(self, rule: Rule) -> Evidence:
        """Ask the table whether `rule` holds, in a connection of its own; a transaction that is open does not count.

        Every column that the rule names must be the table's.
        """
        with explained(self._place, CODES), open_connection(self._connection, CODES) as session:
            execute(session, "SET default_transaction_read_only = on")
            execute(session, f"SET lock_timeout = {TABLE_WAIT_MS:d}")
            return evidence(session, self._shape, rule, self._memory_bytes)

    def examine(self) -> str:
        """Look, without writing, whether `prepare` and `write` can do their work; return what was found, in a line.

        Raises as `prepare` does. Whether another run is under way is not asked.
        """
        with explained(self._place, CODES), open_connection(self._connection, CODES) as session:
            self._check_version(session)
            there = table_shape.exists(session, self._shape)
            if there:
                table_shape.compare(session, self._shape, self._place)
            missing = missing_rights(session, self._shape)
            if missing:
                raise UserMistake(
                    "INT_GAMMA_011",
                    f"`{self._place}`: `{session.info.user}` lacks the right to {'; to '.join(missing)}",
                    remedy="grant it, or let somebody who may create what is missing",
                )
            (version,) = execute(session, "SHOW server_version").fetchone() or ("",)
            table = f"table {self._shape.schema}.{self._shape.name}"
            return f"PostgreSQL {version.partition(' ')[0]}, {table} is {'there' if there else 'not there yet'}"

    def clock_s(self) -> float:
        """Return the server's clock, in seconds since 1970-01-01 UTC."""
        with explained(self._place, CODES), open_connection(self._connection, CODES) as session:
            (seconds,) = execute(session, "SELECT extract(epoch FROM clock_timestamp())").fetchone() or (0,)
            return float(seconds)

    def close(self) -> None:
        """Roll back and let go."""
        self._let_go()
        self._renderer.close()

    def _goes_straight(self, incoming: Incoming) -> bool:
        """Copy into the table at once, where that can tell whether a key comes twice; return whether all went well.

        Where it did not, there may be more of it: it is tried again after some writes, more of them each time it fails.
        """
        merges_plainly = self._shape.grain is None or not incoming.has(Op.DELETE)
        if self._unguarded or not merges_plainly:
            return False
        if self._careful_writes:
            self._careful_writes -= 1
            return False
        assert self._loading is not None
        goes = self._loading.straight(incoming)
        self._setback = 0 if goes else min(2 * self._setback + 1, SETBACK_WRITES_MAX)
        self._careful_writes = self._setback
        return goes

    def _write_carefully(self, session: Session, incoming: Incoming) -> None:
        """Stage the rows beside the table, find out which of them are to go into it, and put those there."""
        assert self._loading is not None
        self._loading.stage(incoming)
        if self._shape.grain is not None:
            superseded = drop_superseded(session, self._shape, self._model.version_by)
            incoming.superseded |= superseded
            incoming.drop(superseded)
        refused = self._refused_for_keys(session)
        incoming.refused |= refused
        incoming.drop(refused.keys())
        self._move(session)

    def _refused_for_keys(self, session: Session) -> dict[int, RecordError]:
        refused = refused_for_keys(session, self._shape)
        if refused:
            execute(session, f"DELETE FROM {STAGING} WHERE {SEQUENCE} = ANY($1::bigint[])", [list(refused)])
        return refused

    def _move(self, session: Session) -> None:
        """Move what is staged into the table."""
        shape = self._shape
        try:
            if shape.grain is not None:
                merge(session, shape, guarded=shape.grain not in self._unguarded)
            else:
                execute(session, f"INSERT INTO {shape.table} ({shape.columns}) SELECT {shape.columns} FROM {STAGING}")
        except _ROWS_TO_BLAME as error:
            raise BatchRefused("INT_LINK_010", f"`{self._place}`: {said(error)}") from error

    def _begin(self, session: Session) -> None:
        if not self._in_transaction:
            execute(session, "BEGIN ISOLATION LEVEL READ COMMITTED")
            self._in_transaction = True

    def _end(self, session: Session) -> None:
        done = execute(session, "COMMIT").statusmessage
        # Of a transaction that has failed, COMMIT makes a ROLLBACK, and no error.
        assert done == "COMMIT", f"{done}: a failed transaction was gone on with"
        self._in_transaction = False

    @contextmanager
    def _working(self) -> Iterator[Session]:
        """Lend the connection, opening it where need be. After a failure let go of it, and so of the transaction."""
        try:
            with explained(self._place, CODES):
                if self._opened is None:
                    self._opened = self._open()
                if self._loading is None:
                    self._loading = Loading(self._opened, self._renderer, self._shape)
                yield self._opened
        except BaseException:  # whatever it was, nothing of the transaction may stay; it is raised on
            self._let_go()
            raise

    def _open(self) -> Session:
        session = open_connection(self._connection, CODES)
        try:
            self._check_version(session)
            execute(session, "; ".join(_SESSION))
            self._lock(session)
        except BaseException:  # whatever it was, the connection would be left open; it is raised on
            session.close()
            raise
        return session

    def _check_version(self, session: Session) -> None:
        if session.info.server_version < VERSION_LEAST:
            raise UserMistake(
                "INT_GAMMA_015",
                f"`{self._place}` is PostgreSQL {session.info.server_version // 10_000}",
                remedy=f"name one of version {VERSION_LEAST // 10_000} or newer",
            )

    def _lock(self, session: Session) -> None:
        """Be the only one who writes this model of this pipeline, for as long as the connection lives."""
        try:
            with session.transaction():
                execute(session, f"SET LOCAL lock_timeout = {WRITER_WAIT_MS:d}")
                execute(session, "SELECT pg_advisory_lock($1)", [_lock_key(self._pipeline, self._model.name)])
        except psycopg.errors.LockNotAvailable as error:
            raise Unavailable(
                "INT_GAMMA_010",
                f"`{self._shape.schema}.{self._shape.name}` in `{self._place}` is in use: "
                f"another run of `{self._pipeline}` writes it",
                remedy="wait for it to end, run again",
            ) from error

    def _let_go(self) -> None:
        opened, self._opened = self._opened, None
        self._loading = None
        self._in_transaction = False
        if opened is not None:
            with suppress(psycopg.Error):  # closing a broken connection may say again that it is broken
                opened.close()


def _lock_key(*names: str) -> int:
    """Return the number of an advisory lock: signed, of 64 bits."""
    digest = hashlib.sha256("\0".join(("penstock", *names)).encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)
