# ruff: noqa: S608 - every name in the statements below has passed `quote`
"""Rows on their way into the table, as the engine sees them, and which of them it cannot take."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from penstock.expressions import quote
from penstock.model.batch import OP, SEQUENCE, VERSION, Op
from penstock.model.outcome import RecordError
from penstock.model.schema import INTEGERS, Kind

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import duckdb

    from penstock.model.schema import Field

REGISTERED = "_penstock_incoming"
CHUNK_ROWS_MIN = 16_384
"""Each chunk costs the engine as much as some thousand rows. Chunks shorter than this are copied into one."""
SHOWN_CHARACTERS_MAX = 200
"""A value that is refused is quoted in its dead letter; a document of a megabyte need not be."""
_TEXT_IN_ARROW = frozenset({Kind.UUID, Kind.JSON})
"""What Arrow carries as text and the engine does not."""
_TOLD_APART_IN_ARROW = INTEGERS
"""Arrow finds in half the engine's time whether one is there twice, and needs no more memory than the rows have."""


class Incoming:
    """Rows under a name that statements of one connection can read from, until `release`."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, rows: pa.Table, fields: Sequence[Field]) -> None:
        """`rows` holds at least the columns of `fields` and the reserved ones."""
        # Of the reserved columns these three are needed; a merge may keep the last of them as a field.
        needed = dict.fromkeys([field.name for field in fields] + [SEQUENCE, OP, VERSION])
        self.rows = _gathered(rows.select(list(needed)))
        self._connection = connection
        self._fields = fields
        connection.register(REGISTERED, self.rows)

    @property
    def relation(self) -> str:
        """What statements name in FROM: the rows, every column of its field's type."""
        cast = [field for field in self._fields if field.type.kind in _TEXT_IN_ARROW]
        if not cast:
            return REGISTERED
        columns = ", ".join(f"CAST({quote(field.name)} AS {field.type.sql}) AS {quote(field.name)}" for field in cast)
        return f"(SELECT * REPLACE ({columns}) FROM {REGISTERED})"

    def is_cast(self, columns: Collection[str]) -> bool:
        """Return whether the engine must parse one of `columns` each time it reads it."""
        return any(field.type.kind in _TEXT_IN_ARROW for field in self._fields if field.name in columns)

    def tells_apart(self, columns: Sequence[str]) -> bool | None:
        """Return whether no two rows without nulls are the same in `columns`; None where the engine must be asked."""
        (first, *more) = (field for field in self._fields if field.name in columns)
        if more or first.type.kind not in _TOLD_APART_IN_ARROW:
            return None
        values = self.rows.column(first.name).drop_null()
        return len(pc.unique(values)) == len(values)

    def keep(self, mask: pa.Array | pa.ChunkedArray) -> None:
        """Go on with the rows for which `mask` is true."""
        self.rows = self.rows.filter(mask)
        self._connection.register(REGISTERED, self.rows)

    def drop(self, sequences: Collection[int]) -> None:
        """Go on without the rows of these sequences."""
        if sequences:
            self.keep(pc.invert(pc.is_in(self.rows.column(SEQUENCE), pa.array(sequences, pa.int64()))))

    def drop_unrenderable(self, *, deletes_are_rows: bool) -> dict[int, RecordError]:
        """Take out the rows that the table's columns cannot hold, and return why, by sequence.

        Earlier stages see to it that there are none. Where one slips through, it must not take its transaction
        with it. A delete carries no row, so its columns may hold anything, unless `deletes_are_rows`.
        """
        scope = "" if deletes_are_rows else f"{OP} <> {Op.DELETE:d} AND "
        refused: dict[int, RecordError] = {}
        for field in self._fields:
            column = quote(field.name)
            if not field.nullable and self.rows.column(field.name).null_count:
                refused |= self._refuse(field, f"{scope}{column} IS NULL")
            if field.type.kind in _TEXT_IN_ARROW:
                failing = f"{column} IS NOT NULL AND TRY_CAST({column} AS {field.type.sql}) IS NULL"
                refused |= self._refuse(field, scope + failing)
        self.drop(refused.keys())
        return refused

    def insert_into(self, table: str) -> None:
        """Add the rows to `table`, in their order."""
        columns = ", ".join(quote(field.name) for field in self._fields)
        self._connection.execute(f"INSERT INTO {table} ({columns}) SELECT {columns} FROM {self.relation}")

    def release(self) -> None:
        """Let go of the rows."""
        self._connection.unregister(REGISTERED)

    def _refuse(self, field: Field, condition: str) -> dict[int, RecordError]:
        shown = f"left(CAST({quote(field.name)} AS VARCHAR), {SHOWN_CHARACTERS_MAX})"
        found = self._connection.execute(f"SELECT {SEQUENCE}, {shown} FROM {REGISTERED} WHERE {condition}").fetchall()
        return {sequence: _unrenderable(field, value) for sequence, value in found}


def _unrenderable(field: Field, value: str | None) -> RecordError:
    expected = f"{field.type}{'' if field.nullable else ', not null'}"
    return RecordError(
        "INT_GAMMA_001",
        field=field.name,
        message=f"`{field.name}` cannot be stored as {expected}",
        expected=expected,
        actual="null" if value is None else value,
    )


def _gathered(rows: pa.Table) -> pa.Table:
    chunks = max(column.num_chunks for column in rows.columns)
    return rows.combine_chunks() if chunks > 1 and rows.num_rows < chunks * CHUNK_ROWS_MIN else rows
