"""Changes into chunks: what the messages of transactions do to the rows of one table, in order."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pyarrow as pa

from penstock.connectors.sources.postgres.pgoutput import (
    UNSENT,
    Begin,
    Commit,
    Delete,
    Insert,
    NotDecodable,
    Relation,
    Truncate,
    Update,
    decode,
)
from penstock.connectors.sources.postgres.positions import StreamToken, changed
from penstock.connectors.sources.postgres.rows import text_schema
from penstock.errors import UserMistake
from penstock.model.batch import Op

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from penstock.connectors.sources.postgres.pgoutput import Message, Tuple, Value
    from penstock.connectors.sources.postgres.positions import Key
    from penstock.errors import ContentChanged

    Fetch = Callable[[Sequence[Key]], Mapping[Key, Sequence[str | None]]]
    """Gives, by key, the rows that are in the table now, all columns that are read."""

RECORDS_MAX = 50_000
"""Most changes of one chunk: each is a handful of Python objects until the chunk is made."""


@dataclass(frozen=True, slots=True)
class Logged:
    """The table as the log's messages number it: where in a tuple each column is that is read, and the key."""

    columns: tuple[int, ...]
    key: tuple[int, ...]

    def row(self, values: Tuple) -> list[Value]:
        """Return the columns that are read."""
        return [values[place] for place in self.columns]

    def key_of(self, values: Tuple) -> tuple[Value, ...]:
        """Return the values of the key."""
        return tuple([values[place] for place in self.key])

    def key_alone(self, values: Tuple) -> list[Value]:
        """Return the columns that are read, null outside of the key."""
        return [values[place] if place in self.key else None for place in self.columns]


@dataclass(frozen=True, slots=True)
class Table:
    """Which table's changes are wanted, which columns of them, and the columns that its rows are named by."""

    schema: str
    name: str
    columns: tuple[str, ...]
    key: tuple[str, ...]

    @property
    def partition(self) -> str:
        """What the table's one partition is called."""
        return f"{self.schema}.{self.name}"


@dataclass(slots=True)
class _Rows:
    """Changes that were taken and not given out yet."""

    values: list[list[Value]] = field(default_factory=list)
    operations: list[int] = field(default_factory=list)
    unsent: dict[int, Key] = field(default_factory=dict)
    """By its place, the key of a row some values of which were not sent."""
    size_bytes: int = 0


class Changes:
    """Takes messages and gives what they do to one table. `token` says where reading goes on behind what was given."""

    def __init__(self, table: Table, token: StreamToken, fetch: Fetch) -> None:
        self._table = table
        self._fetch = fetch
        self._slot = token.slot
        self._lsn = token.lsn
        self._commit = 0
        self._done = 0
        self._skip = token
        self._relations: dict[int, Logged | None] = {}
        self._rows = _Rows()

    @property
    def token(self) -> StreamToken:
        """Where reading goes on behind all that was taken."""
        if self._skip.commit:
            return self._skip
        if self._done:
            return StreamToken(self._slot, self._lsn, self._commit, self._done)
        return StreamToken(self._slot, self._lsn)

    @property
    def records(self) -> int:
        """How many changes wait to be given out."""
        return len(self._rows.operations)

    @property
    def size_bytes(self) -> int:
        """About how many bytes they have."""
        return self._rows.size_bytes

    @property
    def is_between(self) -> bool:
        """Whether no transaction is half taken."""
        return not self._commit

    def advance(self, lsn: int) -> None:
        """Note that nothing that ends before `lsn` is still to come."""
        assert self.is_between
        if not self._skip.commit:
            self._lsn = max(self._lsn, lsn)

    def begins_behind(self, data: bytes, lsn: int) -> bool:
        """Tell whether a message begins a transaction that was committed at `lsn` or later."""
        return data[:1] == b"B" and int.from_bytes(data[1:9]) >= lsn

    def take(self, data: bytes) -> None:
        """Take the next message.

        Raises ContentChanged where it is not what must follow, UserMistake where the table lost a column or the message
        is not understood.
        """
        message = self._decoded(data)
        match message:
            case Insert() | Update() | Delete():
                logged = self._relations.get(message.relation)
                if logged is not None:
                    self._change(message, logged, len(data))
            case Truncate(relations):
                if any(self._relations.get(relation) for relation in relations):
                    self._add(Op.TRUNCATE, [None] * len(self._table.columns), len(data))
            case Begin(commit_lsn):
                self._begin(commit_lsn)
            case Commit(_, end_lsn):
                if self._skip.commit:
                    raise self._torn()
                self._lsn, self._commit, self._done = end_lsn, 0, 0
            case Relation():
                self._relations[message.id] = self._logged(message)
            case None:
                pass

    def give(self) -> tuple[pa.RecordBatch, pa.Int8Array, int]:
        """Return the changes that were taken: rows of text, what each does, and about how many bytes they have."""
        rows, self._rows = self._rows, _Rows()
        if rows.unsent:
            self._fill(rows)
        columns = zip(*rows.values, strict=True) if rows.values else [()] * len(self._table.columns)
        arrays = [pa.array(column, pa.string()) for column in columns]
        batch = pa.RecordBatch.from_arrays(arrays, schema=text_schema(self._table.columns))
        return batch, pa.array(rows.operations, pa.int8()), rows.size_bytes

    def _begin(self, commit_lsn: int) -> None:
        self._commit, self._done = commit_lsn, 0
        if self._skip.commit and self._skip.commit != commit_lsn:
            raise self._torn()

    def _torn(self) -> ContentChanged:
        return changed(self._table.partition, "the log no longer has the transaction in which reading stopped")

    def _decoded(self, data: bytes) -> Message | None:
        try:
            return decode(data)
        except NotDecodable as error:
            raise UserMistake(
                "INT_ALPHA_012",
                f"{self._table.partition}: the server's log is not understood: {error}",
                remedy="see which version of PostgreSQL it is, and report it",
            ) from error

    def _change(self, message: Insert | Update | Delete, logged: Logged, size_bytes: int) -> None:
        match message:
            case Insert():
                self._add(Op.INSERT, logged.row(message.new), size_bytes)
            case Update():
                self._update(message, logged, size_bytes)
            case Delete():
                self._add(Op.DELETE, logged.row(message.old), size_bytes)

    def _update(self, message: Update, logged: Logged, size_bytes: int) -> None:
        new, old = message.new, message.old
        if old is not None:
            new = [before if value is UNSENT else value for value, before in zip(new, old, strict=True)]
        before = old if old is not None else message.key
        if before is not None and logged.key_of(before) != logged.key_of(new):
            gone = logged.row(before) if old is not None else logged.key_alone(before)
            self._add(Op.DELETE, gone, size_bytes)
            self._add(Op.INSERT, logged.row(new), size_bytes, logged.key_of(new))
        else:
            self._add(Op.UPDATE, logged.row(new), size_bytes, logged.key_of(new))

    def _add(self, operation: Op, row: list[Value], size_bytes: int, key: tuple[Value, ...] = ()) -> None:
        self._done += 1
        if self._skip.commit:
            if self._done == self._skip.done:
                self._skip = StreamToken(self._slot, self._lsn)
            return
        rows = self._rows
        if key and UNSENT in row:
            rows.unsent[len(rows.values)] = tuple([str(value) for value in key])
        rows.values.append(row)
        rows.operations.append(operation)
        rows.size_bytes += size_bytes

    def _fill(self, rows: _Rows) -> None:
        """Put what the table has now in the place of values that were not sent.

        Where it is newer than the change, a later change brings it anyway. A row that is there no longer is deleted by
        a later change, and may as well go now.
        """
        found = self._fetch(list(dict.fromkeys(rows.unsent.values())))
        is_key = [name in self._table.key for name in self._table.columns]
        for place, key in rows.unsent.items():
            row, now = rows.values[place], found.get(key)
            if now is None:
                rows.operations[place] = Op.DELETE
                rows.values[place] = [value if named else None for value, named in zip(row, is_key, strict=True)]
            else:
                rows.values[place] = [
                    current if value is UNSENT else value for value, current in zip(row, now, strict=True)
                ]

    def _logged(self, message: Relation) -> Logged | None:
        table = self._table
        if (message.schema, message.name) != (table.schema, table.name):
            return None
        missing = next((name for name in (*table.columns, *table.key) if name not in message.columns), None)
        if missing is not None:
            raise UserMistake(
                "INT_ALPHA_011",
                f"{table.partition} has lost the column `{missing}`; it has: {', '.join(message.columns)}",
                remedy="mend the document, then go on from here",
            )
        places = {name: place for place, name in enumerate(message.columns)}
        return Logged(tuple(places[name] for name in table.columns), tuple(places[name] for name in table.key))
