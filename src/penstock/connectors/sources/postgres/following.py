"""A table's rows and then its changes, chunk after chunk, without gap or overlap."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus

from penstock.connectors.postgres import execute, explained, place_of
from penstock.connectors.sources.postgres.bulk import Wanted, read_rows
from penstock.connectors.sources.postgres.catalog import CODES, look_up, open_session, text_literal
from penstock.connectors.sources.postgres.changes import RECORDS_MAX, Changes, Table
from penstock.connectors.sources.postgres.options import Way
from penstock.connectors.sources.postgres.positions import (
    SnapshotToken,
    StreamToken,
    another_way,
    lsn_of,
    read_token,
    write_token,
)
from penstock.connectors.sources.postgres.rows import Originals, text_schema
from penstock.connectors.sources.postgres.slots import (
    Note,
    check_identity,
    check_publication,
    check_server,
    check_slot,
    drop_slot,
    holds,
    make_publication,
    publication_of,
    slot_name,
)
from penstock.connectors.sources.postgres.wire import Wire
from penstock.errors import Unavailable
from penstock.expressions import quote
from penstock.model.batch import Op
from penstock.model.position import Position
from penstock.ports import Chunk

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping, Sequence

    from penstock.connectors.postgres.connection import Session
    from penstock.connectors.sources.postgres.bulk import Block
    from penstock.connectors.sources.postgres.catalog import Relation
    from penstock.connectors.sources.postgres.options import HowToRead
    from penstock.connectors.sources.postgres.positions import Key, Token
    from penstock.connectors.sources.postgres.slots import Notebook
    from penstock.model.pipeline import SourceTable

IDLE_S = 10.0
"""While others write to the database and nobody to the table, the position moves on this often, so that the server can
let go of its log."""
ASK_S = 0.05
"""How long to wait at the log's end before the server is asked whether it is one."""
MORE_S = 0.02
"""How long to wait for the rest of a transaction before a part of it is given out."""
AWAY_S = 60.0
"""A server that is away while it is followed is waited for so long."""
AWAY_POLL_S = 0.25


@dataclass(frozen=True, slots=True)
class Ground:
    """What reading the changes of a table needs to know."""

    table: SourceTable
    columns: tuple[str, ...]
    how: HowToRead
    notebook: Notebook
    read_bytes: int

    @property
    def place(self) -> str:
        """What errors call the server."""
        return place_of(self.table.connection)


class ChangeReader:
    """Reads from one position on. Used from one thread at a time, but `settle` from any."""

    def __init__(self, ground: Ground, position: Position | None) -> None:
        """Connects at the first `next`."""
        self._ground = ground
        self._sequence = position.sequence if position else 0
        self._token = read_token(position)
        self._settled = _settled_by(self._token)
        self._rows: Generator[Block] | None = None
        self._block: Block | None = None
        self._wire: Wire | None = None
        self._changes: Changes | None = None
        self._relation: Relation | None = None
        self._publication = ""
        self._empties = False
        self._is_over = False
        self._given_s = time.monotonic()

    # --- what others ask ----------------------------------------------------------------------------------------------

    def next(self, wait_s: float, before: int | None = None) -> Chunk | None:
        """Return what comes next. None where nothing came in `wait_s`, or nothing that ends before the LSN `before`.

        Raises as sources do.
        """
        if self._changes is None and self._rows is None:
            chunk = self._begin()
            if chunk is not None:
                return chunk
        if self._rows is not None:
            return self._next_rows(self._rows)
        return self._next_changes(time.monotonic() + wait_s, before)

    def settle(self, lsn: int) -> None:
        """Let the server forget what ends before `lsn`."""
        self._settled = max(self._settled, lsn)
        if self._wire is not None:
            self._wire.settle(self._settled)

    def let_go(self) -> None:
        """Close connections; reading may go on from where it is."""
        rows, self._rows = self._rows, None
        if rows is not None:
            rows.close()
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.close()
        self._block = self._changes = None

    # --- beginning ----------------------------------------------------------------------------------------------------

    def _begin(self) -> Chunk | None:
        """Go on from the token. A table without rows that is met for the first time gives a chunk without records."""
        ground = self._ground
        with closing(open_session(ground.table)) as session:
            relation = self._relation = look_up(session, ground.table)
            check_server(session, ground.table)
            check_identity(relation, ground.table)
            token = self._token
            if token is None:
                return self._begin_anew(session, relation)
            if not isinstance(token, SnapshotToken | StreamToken):
                raise another_way(relation.partition, Way.CHANGES)
            self._publication = check_publication(session, ground.table, relation, ground.how)
            check_slot(session, ground.table, token.slot, token.lsn, relation.partition)
        if isinstance(token, SnapshotToken):
            self._rows = read_rows(self._wanted(relation), token.key or None)
            return self._first_rows(token)
        self._stream(relation, token)
        return None

    def _begin_anew(self, session: Session, relation: Relation) -> Chunk | None:
        """Begin with the rows, where nothing is settled yet.

        If a reader before us has made the slot already, it stays: there may be rows at the destination, and its log
        tells which of them were deleted. If that slot is of no more use, nothing does, so all rows there must go.
        """
        ground, note = self._ground, self._ground.notebook.note
        if note.lsn and holds(session, ground.table, relation, ground.how, note):
            self._publication = publication_of(relation, ground.how)
            self._empties = note.empties
            self._rows = read_rows(self._wanted(relation), None)
            return self._first_rows(SnapshotToken(note.slot, note.lsn, ()))
        if note.slot:
            drop_slot(session, ground.table, note.slot)
        self._empties = note.lsn > 0 or note.empties
        slot = ground.how.slot or note.slot or slot_name(ground.table)
        ground.notebook.write(Note(slot, 0, self._empties))
        # Before the slot: the log is read with the catalog as it was at the time.
        self._publication = make_publication(session, ground.table, relation, ground.how)
        with closing(Wire(ground.table.connection)) as wire:  # as long as it is idle, the snapshot is there
            made = wire.create(slot)
            ground.notebook.write(Note(slot, made.lsn, self._empties))
            self._rows = read_rows(self._wanted(relation), None, made.snapshot)
            return self._first_rows(SnapshotToken(slot, made.lsn, ()))

    def _first_rows(self, token: SnapshotToken) -> Chunk | None:
        """Have the first block of rows; where there is none, say where the changes begin."""
        assert self._rows is not None
        self._block = next(self._rows, None)
        self._token = token
        self._settled = max(self._settled, token.lsn)
        if self._block is not None:
            return None
        self._rows = None
        return self._rows_chunk(_no_rows(self._ground.columns), 0, StreamToken(token.slot, token.lsn))

    def _wanted(self, relation: Relation) -> Wanted:
        return Wanted(self._ground.table, relation, self._ground.columns, self._ground.read_bytes)

    # --- rows ---------------------------------------------------------------------------------------------------------

    def _next_rows(self, rows: Iterator[Block]) -> Chunk:
        """Return the block that was read ahead: the last one knows that it is the last."""
        block, token = self._block, self._token
        assert block is not None
        assert isinstance(token, SnapshotToken)
        self._block = next(rows, None)
        after: Token = StreamToken(token.slot, token.lsn)
        if self._block is None:
            self._rows = None
        else:
            after = SnapshotToken(token.slot, token.lsn, block.last)
        return self._rows_chunk(block.rows, block.size_bytes, after)

    def _rows_chunk(self, rows: pa.RecordBatch, size_bytes: int, token: Token) -> Chunk:
        """Return a chunk of rows; the first of all, where it must be, begins with a record that empties the table."""
        if not self._empties:
            return self._chunk(rows, None, size_bytes, token)
        self._empties = False
        nothing = pa.RecordBatch.from_pylist([{}], schema=rows.schema)
        operations = pa.array([Op.TRUNCATE, *([Op.INSERT] * rows.num_rows)], pa.int8())
        return self._chunk(pa.concat_batches([nothing, rows]), operations, size_bytes, token)

    # --- changes ------------------------------------------------------------------------------------------------------

    def _stream(self, relation: Relation, token: StreamToken) -> None:
        ground = self._ground
        key = relation.key if relation.identity is None else relation.identity
        table = Table(relation.schema, relation.name, ground.columns, key)
        self._changes = Changes(table, token, self._fetch)
        wire = Wire(ground.table.connection)
        try:
            wire.start(token.slot, self._publication, token.lsn, self._settled)
        except BaseException:  # whatever it was, nobody else would close it; it is raised on
            wire.close()
            raise
        self._wire = wire

    def _next_changes(self, until_s: float, before: int | None) -> Chunk | None:
        """Take messages until there is a chunk, or nothing more comes until `until_s`, or before the LSN `before`."""
        wire, changes = self._wire, self._changes
        assert wire is not None
        assert changes is not None
        with explained(self._ground.place, CODES):
            self._take(wire, changes, until_s, before)
        wire.tell_in_time()
        if changes.records:
            rows, operations, size_bytes = changes.give()
            return self._chunk(rows, operations, size_bytes, changes.token)
        return self._idle(wire, changes, at_rest=before is not None)

    def _take(self, wire: Wire, changes: Changes, until_s: float, before: int | None) -> None:
        """Take messages until there are enough of them for a chunk, or no more for now."""
        while not self._is_over and changes.size_bytes < self._ground.read_bytes and changes.records < RECORDS_MAX:
            data = wire.take(0)
            if data is None:
                hurries = changes.records and before is None  # at rest there is nobody to hurry for
                data = self._more(wire, changes) if hurries else self._await(wire, changes, until_s, before)
            if data is None:
                break
            if before is not None and changes.begins_behind(data, before):
                self._is_over = True  # what follows belongs to it
                break
            changes.take(data)

    @staticmethod
    def _more(wire: Wire, changes: Changes) -> bytes | None:
        """Wait a moment where only a part of a transaction is here."""
        return None if changes.is_between else wire.take(MORE_S)

    def _await(self, wire: Wire, changes: Changes, until_s: float, before: int | None) -> bytes | None:
        """Wait for a message; None where the time is over, or all before `before` was sent."""
        while True:
            if before is not None and changes.is_between and wire.idle_end >= before:
                return None
            left_s = until_s - time.monotonic()
            if left_s <= 0:
                return None
            data = wire.take(min(ASK_S, left_s))
            if data is not None:
                return data
            wire.tell_in_time()
            if before is not None:
                wire.ask()

    def _idle(self, wire: Wire, changes: Changes, *, at_rest: bool) -> Chunk | None:
        """Move the position over what others wrote to the log: a chunk without records, now and then."""
        assert isinstance(self._token, StreamToken)
        is_time = at_rest or wire.is_waited_for or time.monotonic() - self._given_s > IDLE_S
        if not is_time or not changes.is_between:
            return None
        wire.is_waited_for = False
        self._given_s = time.monotonic()
        if not at_rest:
            self._look_again()
        changes.advance(wire.idle_end)
        if changes.token == self._token:
            wire.ask()
            return None
        return self._chunk(_no_rows(self._ground.columns), None, 0, changes.token)

    def _look_again(self) -> None:
        """See that nothing comes because nothing happens, and not because the table is gone or not published."""
        ground = self._ground
        with closing(open_session(ground.table)) as session:
            check_publication(session, ground.table, look_up(session, ground.table), ground.how)

    def _fetch(self, keys: Sequence[Key]) -> Mapping[Key, Sequence[str | None]]:
        """Return rows by their keys, as they are now."""
        ground = self._ground
        with closing(open_session(ground.table)) as session, explained(ground.place, CODES):
            relation = look_up(session, ground.table)
            names = relation.key if relation.identity is None else relation.identity
            parts = [f"key_{number}" for number in range(len(names))]
            values = ", ".join(f"({number}, {', '.join(map(text_literal, key))})" for number, key in enumerate(keys))
            same = " AND ".join(
                f"row.{quote(name)} = wanted.{part}::{relation.column(name).type}"
                for name, part in zip(names, parts, strict=True)
            )
            columns = ", ".join(f"row.{relation.column(name).sql}" for name in ground.columns)
            query = (
                f"SELECT number, {columns} FROM {relation.sql} AS row "  # noqa: S608 - names are quoted, and constants
                f"JOIN (VALUES {values}) AS wanted (number, {', '.join(parts)}) ON {same}"
            )
            result = session.pgconn.exec_(query.encode())  # the texts of the server, as a COPY has them
            if result.status != ExecStatus.TUPLES_OK:
                raise error_from_result(result)
            return {
                keys[int(result.get_value(row, 0) or b"0")]: [
                    None if (value := result.get_value(row, 1 + place)) is None else value.decode()
                    for place in range(len(ground.columns))
                ]
                for row in range(result.ntuples)
            }

    def _chunk(self, rows: pa.RecordBatch, operations: pa.Int8Array | None, size_bytes: int, token: Token) -> Chunk:
        assert self._relation is not None
        start, end = self._sequence, self._sequence + rows.num_rows
        self._sequence, self._token = end, token
        self._given_s = time.monotonic()
        return Chunk(
            start=start,
            end=end,
            records=rows,
            sequences=None,
            bad=(),
            next=Position(self._relation.partition, end, write_token(token)),
            originals=Originals(rows, start, operations),
            size_bytes=size_bytes,
            operations=operations,
        )


class FollowedChanges:
    """Implements ports.Following: changes as they come. A server that is away is waited for, a while."""

    ended = False

    def __init__(self, reader: ChangeReader) -> None:
        self._reader = reader
        self._away_since_s: float | None = None

    def next(self, wait_s: float) -> Chunk | None:
        """See ports.Following."""
        until_s = time.monotonic() + wait_s
        while True:
            try:
                chunk = self._reader.next(max(0.0, until_s - time.monotonic()))
            except Unavailable:
                self._reader.let_go()
                now_s = time.monotonic()
                self._away_since_s = self._away_since_s or now_s
                if now_s - self._away_since_s > AWAY_S:
                    raise
                left_s = until_s - now_s
                time.sleep(max(0.0, min(AWAY_POLL_S, left_s)))
                if left_s <= AWAY_POLL_S:
                    return None
            else:
                self._away_since_s = None
                return chunk

    def close(self) -> None:
        """Let the source keep the connection: what is settled from now on is still to be told."""


def log_end(session: Session, place: str) -> int:
    """Return where the server's log ends now."""
    with explained(place, CODES):
        ((lsn,),) = execute(session, "SELECT pg_current_wal_flush_lsn()::text").fetchall()
    return lsn_of(lsn)


def _no_rows(columns: Sequence[str]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([], schema=text_schema(columns))


def _settled_by(token: Token | None) -> int:
    return token.lsn if isinstance(token, SnapshotToken | StreamToken) else 0
