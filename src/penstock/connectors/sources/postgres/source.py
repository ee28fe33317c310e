"""The source itself: one table of a PostgreSQL database, read in one of three ways."""

from __future__ import annotations

import time
from contextlib import closing
from threading import Lock
from typing import TYPE_CHECKING, ClassVar

from penstock.connectors.postgres import execute, explained, place_of
from penstock.connectors.sources.postgres.bulk import Wanted, read_rows
from penstock.connectors.sources.postgres.catalog import (
    CODES,
    SCHEMA_DEFAULT,
    look_up,
    open_session,
    require_key,
)
from penstock.connectors.sources.postgres.following import ChangeReader, FollowedChanges, Ground, log_end
from penstock.connectors.sources.postgres.incremental import read_incremental
from penstock.connectors.sources.postgres.options import OPTIONS, HowToRead, Way
from penstock.connectors.sources.postgres.polling import Polled
from penstock.connectors.sources.postgres.positions import (
    KeyToken,
    SnapshotToken,
    StreamToken,
    another_way,
    read_token,
    write_token,
)
from penstock.connectors.sources.postgres.rows import Originals, reread
from penstock.connectors.sources.postgres.slots import (
    Note,
    Notebook,
    check_identity,
    check_server,
    drop_publication,
    drop_slot,
    holds,
    make_publication,
    publication_of,
    slot_name,
    slot_state,
)
from penstock.connectors.sources.postgres.wire import Wire
from penstock.errors import PenstockError
from penstock.model.position import Position
from penstock.ports import Chunk, Declaration, Hard, Replay, SourcePromises, Values

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from penstock.connectors.postgres.connection import Session
    from penstock.model.pipeline import SourceTable
    from penstock.model.settings import Settings
    from penstock.ports import Following, Reread

_LACKS = frozenset({Hard.NUL_CHARACTER})
ROWS = SourcePromises(
    Replay.BY_KEY, follows=True, values=Values.TEXT, lacks=_LACKS, when="read = snapshot, or incremental"
)
CHANGES = SourcePromises(
    Replay.EXACT, follows=True, prunes=True, deletes=True, values=Values.TEXT, lacks=_LACKS, when="read = changes"
)
LAG_S = 1.0
"""How far behind the log we are is asked at most so often."""


class PostgresSource:
    """Rows or changes of one table. Implements ports.Follows; see docs/postgres.md.

    It has one partition, called `schema.table`.
    """

    declares: ClassVar[Declaration[SourcePromises]] = Declaration(
        what="a table or view of a PostgreSQL database, or its changes",
        place="`url`: `postgresql://user:${PASSWORD}@host:5432/database`; see [PostgreSQL](postgres.md)",
        promises=(ROWS, CHANGES),
        options=OPTIONS,
    )

    def __init__(self, table: SourceTable, root: Path, settings: Settings, state: Path) -> None:  # noqa: ARG002 - no files
        """`state` is the project's state folder. UserMistake for an option that makes no sense."""
        self._table = table
        self._how = HowToRead.of(table)
        self._columns = tuple(field.name for field in table.fields)
        self._read_bytes = settings.whole("READ_BYTES")
        self._partition = f"{table.schema or SCHEMA_DEFAULT}.{table.name}"
        self._notebook = Notebook(state, table)
        self._reader: ChangeReader | None = None
        self._meter = _Meter(table)
        self.replay = CHANGES.replay if self._how.way is Way.CHANGES else ROWS.replay

    def replay_from(self, position: Position | None) -> Replay:
        """Return what reading again from `position` gives: changes come exactly as before, rows by their keys."""
        token = read_token(position)
        return Replay.EXACT if isinstance(token, StreamToken) and not token.anew else Replay.BY_KEY

    def partitions(self) -> Sequence[str]:
        """Return the one partition. See ports.Source."""
        with closing(open_session(self._table)) as session:
            relation = look_up(session, self._table)
            if self._how.way is Way.CHANGES:
                check_server(session, self._table)
                check_identity(relation, self._table)
            require_key(relation)
        return (self._partition,)

    def read(self, partition: str, position: Position | None) -> Iterator[Chunk]:
        """Read from `position` to what is now the end. See ports.Source."""
        assert partition == self._partition, partition
        match self._how.way:
            case Way.SNAPSHOT:
                return self._read_snapshot(position)
            case Way.INCREMENTAL:
                return read_incremental(lambda: self._wanted, self._how, self._partition, position)
            case Way.CHANGES:
                return self._read_changes(position)

    def follow(self, positions: Mapping[str, Position]) -> Following:
        """Begin to follow: changes as they come, or by asking for new rows every so often. See ports.Follows."""
        position = positions.get(self._partition)
        if self._how.way is not Way.CHANGES:
            return Polled(self.read, self._partition, position, self._how.poll_s)
        return FollowedChanges(self._begin_changes(position))

    def size_bytes(self, partition: str, position: Position | None) -> int | None:  # noqa: ARG002 - there is one
        """Return how many bytes of the server's log lie behind `position`; before changes, how many the table has."""
        token = None if position is None else read_token(position)
        if isinstance(token, StreamToken):
            return self._meter.log_bytes_behind(token.lsn)
        return self._meter.table_bytes() if position is None else None

    def accept(self, position: Position) -> Position:
        """Return where to go on now. Changes whose slot is of no more use go on with what changes from now on."""
        if self._how.way is not Way.CHANGES:
            return position
        self.close()
        token = read_token(position)
        with closing(open_session(self._table)) as session:
            relation = look_up(session, self._table)
            check_identity(relation, self._table)
            slot = self._notebook.note.slot or self._how.slot or slot_name(self._table)
            if isinstance(token, SnapshotToken | StreamToken):
                slot = token.slot
                if holds(session, self._table, relation, self._how, Note(slot, token.lsn)):
                    return position
                drop_slot(session, self._table, slot)
            self._notebook.write(Note(slot, 0, empties=True))
            make_publication(session, self._table, relation, self._how)
            with closing(Wire(self._table.connection)) as wire:
                made = wire.create(slot)
        after = (
            SnapshotToken(slot, made.lsn, token.key)
            if isinstance(token, SnapshotToken)
            else StreamToken(slot, made.lsn, anew=True)
        )
        return Position(position.partition, position.sequence, write_token(after))

    def reread(self, partition: str, originals: Sequence[bytes]) -> Reread:  # noqa: ARG002 - there is one
        """Parse rows again as they were kept. See ports.Source."""
        return reread(originals, self._columns)

    def commit(self, position: Position) -> None:
        """Let the server throw away what is settled of its log. See ports.Source."""
        token = read_token(position)
        reader = self._reader
        if reader is not None and isinstance(token, StreamToken):
            reader.settle(token.lsn)

    def release(self) -> None:
        """Take slot and publication away: the server keeps nothing for us any more. What was read stays read."""
        self.close()
        with closing(open_session(self._table)) as session:
            if self._notebook.note.slot:
                drop_slot(session, self._table, self._notebook.note.slot)
            if not self._how.publication:
                drop_publication(session, self._table, publication_of(look_up(session, self._table), self._how))
        self._notebook.write(Note())

    def examine(self) -> str:
        """Say in a line what there is to read, without making anything. Raises as `partitions` does."""
        with closing(open_session(self._table)) as session:
            relation = look_up(session, self._table)
            with explained(place_of(self._table.connection), CODES):
                ((version,),) = execute(session, "SELECT current_setting('server_version')").fetchall()
                execute(session, f"SELECT FROM {relation.sql} LIMIT 0")
            key = ", ".join(require_key(relation))
            said = f"PostgreSQL {str(version).split()[0]}, {relation.partition} by {key}, read = {self._how.way}"
            if self._how.way is not Way.CHANGES:
                return said
            check_server(session, self._table)
            check_identity(relation, self._table)
            return f"{said}, {slot_state(session, self._table, self._notebook.note.slot)}"

    def clock_s(self) -> float:
        """Return the server's clock, in seconds since 1970."""
        with closing(open_session(self._table)) as session, explained(place_of(self._table.connection), CODES):
            ((seconds,),) = execute(session, "SELECT extract(epoch FROM clock_timestamp())::float8").fetchall()
        return float(seconds)

    def close(self) -> None:
        """Say the last word to the server, and let go."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.let_go()
        self._meter.close()

    @property
    def _wanted(self) -> Wanted:
        with closing(open_session(self._table)) as session:
            return Wanted(self._table, look_up(session, self._table), self._columns, self._read_bytes)

    def _read_snapshot(self, position: Position | None) -> Iterator[Chunk]:
        token = read_token(position)
        if not isinstance(token, KeyToken | None):
            raise another_way(self._partition, Way.SNAPSHOT)
        start = position.sequence if position else 0
        blocks = read_rows(self._wanted, token.key or None if token else None)
        with closing(blocks):
            block = next(blocks, None)
            while block is not None:
                after = next(blocks, None)
                end = start + block.rows.num_rows
                yield Chunk(
                    start=start,
                    end=end,
                    records=block.rows,
                    sequences=None,
                    bad=(),
                    next=Position(self._partition, end, write_token(KeyToken(block.last if after else ()))),
                    originals=Originals(block.rows, start),
                    size_bytes=block.size_bytes,
                )
                block, start = after, end

    def _read_changes(self, position: Position | None) -> Iterator[Chunk]:
        with closing(open_session(self._table)) as session:
            end = log_end(session, place_of(self._table.connection))
        reader = self._begin_changes(position)
        while (chunk := reader.next(float("inf"), end)) is not None:
            yield chunk

    def _begin_changes(self, position: Position | None) -> ChangeReader:
        if self._reader is not None:
            self._reader.let_go()
        ground = Ground(self._table, self._columns, self._how, self._notebook, self._read_bytes)
        self._reader = ChangeReader(ground, position)
        return self._reader


class _Meter:
    """Asks the server how much there is, now and then. Used from any thread; says None where it cannot tell."""

    def __init__(self, table: SourceTable) -> None:
        self._table = table
        self._lock = Lock()
        self._session: Session | None = None
        self._end = 0
        self._asked_s = float("-inf")

    def log_bytes_behind(self, lsn: int) -> int | None:
        """Return how far the log's end is behind `lsn`."""
        with self._lock:
            if time.monotonic() - self._asked_s > LAG_S:
                self._asked_s = time.monotonic()
                place = place_of(self._table.connection)
                end = self._ask(lambda session: log_end(session, place))
                self._end = self._end if end is None else end
            return max(0, self._end - lsn) if self._end else None

    def table_bytes(self) -> int | None:
        """Return how large the table is, without its indexes."""
        with self._lock:
            return self._ask(self._table_bytes)

    def _table_bytes(self, session: Session) -> int:
        relation = look_up(session, self._table)
        with explained(place_of(self._table.connection), CODES):
            ((size,),) = execute(session, "SELECT pg_table_size($1::oid::regclass)", [relation.oid]).fetchall()
        return int(size)

    def _ask(self, question: Callable[[Session], int]) -> int | None:
        try:
            if self._session is None:
                self._session = open_session(self._table)
            return question(self._session)
        except PenstockError:  # a figure for people: whoever reads will say what is wrong
            self._let_go()
            return None

    def close(self) -> None:
        """Let go of the connection."""
        with self._lock:
            self._let_go()

    def _let_go(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.close()
