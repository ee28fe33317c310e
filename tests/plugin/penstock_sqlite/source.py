# ruff: noqa: S608 - every name in the statements below has passed `quote`
"""A table of a SQLite file as a source."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, ClassVar

import pyarrow as pa

from penstock.errors import ContentChanged, UserMistake
from penstock.model.outcome import RecordError
from penstock.model.position import Position
from penstock.ports import Chunk, Declaration, Option, Original, Replay, Reread, SourcePromises

from .database import explained, open_database, quote

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from penstock.model.pipeline import SourceTable
    from penstock.model.settings import Settings

ROWS_AT_ONCE = 500
GROWING = SourcePromises(Replay.EXACT, when="tables that only grow")
CHANGING = SourcePromises(Replay.BY_KEY, when="`cursor` is given")


class SQLiteSource:
    """Records of one table: by their rowid, or with a cursor column, from the last value on that was read.

    Of records that are equal at the cursor some may have come and others not: they are all given again, and whoever
    writes them merges them by their key.
    """

    declares: ClassVar[Declaration[SourcePromises]] = Declaration(
        what="tables of a SQLite file",
        place="`path`: the file",
        promises=(GROWING, CHANGING),
        options=(Option("cursor", "column that grows with every change of a record"),),
    )

    def __init__(self, table: SourceTable, root: Path, settings: Settings) -> None:  # noqa: ARG002 - as sources are made
        self._table = table.name
        self._names = [field.name for field in table.fields]
        self._cursor = table.connection.options.get("cursor", "")
        self.replay = (CHANGING if self._cursor else GROWING).replay
        self._file = root / table.connection.path
        self._connection = open_database(self._file, "ro", "INT_ALPHA_014")

    def partitions(self) -> Sequence[str]:
        """Return the table, which is read as a whole. See penstock.ports.Source."""
        with explained(self._file, "INT_ALPHA_014"):
            there = {str(row[1]) for row in self._connection.execute(f"PRAGMA table_info({quote(self._table)})")}
        if not there:
            raise UserMistake("INT_ALPHA_010", f"`{self._file}` has no table `{self._table}`")
        lacking = [name for name in (*self._names, *([self._cursor] if self._cursor else [])) if name not in there]
        if lacking:
            raise UserMistake("INT_ALPHA_011", f"table `{self._table}` has no column `{lacking[0]}`")
        return (self._table,)

    def read(self, partition: str, position: Position | None) -> Iterator[Chunk]:
        """Read on from `position`. See penstock.ports.Source."""
        where, values = self._from(position)
        start = position.sequence if position else 0
        place = quote(self._cursor) if self._cursor else "rowid"
        columns = ", ".join(map(quote, self._names))
        query = f"SELECT {place}, {columns} FROM {quote(partition)} {where} ORDER BY {place}"
        with explained(self._file, "INT_ALPHA_014"):
            found = self._connection.execute(query, values)
            while rows := found.fetchmany(ROWS_AT_ONCE):
                token = json.dumps(rows[-1][0])
                end = start + len(rows)
                yield self._chunk(
                    start, [[_text(value) for value in row[1:]] for row in rows], Position(partition, end, token)
                )
                start = end

    def size_bytes(self, partition: str, position: Position | None) -> int | None:
        """Say nothing: counting would cost as much as reading."""

    def accept(self, position: Position) -> Position:
        """Return `position`: a rowid and a cursor's value mean the same whatever changed."""
        return position

    def reread(self, partition: str, originals: Sequence[bytes]) -> Reread:  # noqa: ARG002 - all tables' are alike
        """Parse originals again, which are JSON objects. See penstock.ports.Source."""
        good: list[Sequence[str | None]] = []
        errors: dict[int, RecordError] = {}
        for number, original in enumerate(originals):
            try:
                members = json.loads(original)
                good.append([members.get(name) for name in self._names])
            except (ValueError, AttributeError):
                errors[number] = RecordError("INT_ALPHA_001", "", "it is no JSON object")
        return Reread(self._records(good), errors)

    def commit(self, position: Position) -> None:
        """Do nothing: the table stays."""

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _from(self, position: Position | None) -> tuple[str, list[object]]:
        if position is None:
            return "", []
        try:
            value = json.loads(position.token)
        except ValueError as error:
            raise ContentChanged("INT_ALPHA_013", f"{position} is no position of a SQLite table") from error
        return (f"WHERE {quote(self._cursor)} >= ?" if self._cursor else "WHERE rowid > ?"), [value]

    def _chunk(self, start: int, rows: Sequence[Sequence[str | None]], position: Position) -> Chunk:
        def originals(sequences: Sequence[int]) -> Sequence[Original]:
            members = (dict(zip(self._names, rows[sequence - start], strict=True)) for sequence in sequences)
            texts = (json.dumps(each, ensure_ascii=False).encode() for each in members)
            return [Original(text, sequence + 1) for text, sequence in zip(texts, sequences, strict=True)]

        records = self._records(rows)
        return Chunk(start, position.sequence, records, None, (), position, originals, records.nbytes)

    def _records(self, rows: Sequence[Sequence[str | None]]) -> pa.RecordBatch:
        columns = zip(*rows, strict=True) if rows else [()] * len(self._names)
        return pa.RecordBatch.from_arrays([pa.array(column, pa.string()) for column in columns], self._names)


def _text(value: object) -> str | None:
    """Return a value as ingestion reads it. The engine's own text for a REAL has too few digits."""
    match value:
        case None | str():
            return value
        case bytes():
            return f"\\x{value.hex()}"
        case _:
            return repr(value)
