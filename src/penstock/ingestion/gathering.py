"""Chunks that are validated and wait to be handed over: small ones gather until they fill a batch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pyarrow as pa

from penstock.model.position import Range

if TYPE_CHECKING:
    from penstock.model.outcome import DeadLetter
    from penstock.model.position import Position


@dataclass(frozen=True, slots=True)
class Piece:
    """A chunk, validated, its dead letters durable. `begins` is its position, `read_at_s` when it was read."""

    partition: str
    range: Range
    begins: Position
    rows: pa.RecordBatch
    letters: tuple[DeadLetter, ...]
    critical: bool
    read_at_s: float


@dataclass(slots=True)
class Gathered:
    """Pieces of one partition, one after the other without gap, that will be handed over together."""

    since_s: float = 0.0
    pieces: list[Piece] = field(default_factory=list)
    records: int = 0

    def takes(self, piece: Piece) -> bool:
        """Tell whether `piece` may join: it is of the same partition."""
        return not self.pieces or self.pieces[-1].partition == piece.partition

    def add(self, piece: Piece, now_s: float) -> None:
        """Let `piece` join."""
        if not self.pieces:
            self.since_s = now_s
        self.pieces.append(piece)
        self.records += piece.rows.num_rows

    @property
    def partition(self) -> str:
        """The partition of all of them."""
        return self.pieces[0].partition

    @property
    def range(self) -> Range:
        """All records that they account for."""
        return Range(self.pieces[0].range.start, self.pieces[-1].range.end)

    @property
    def begins(self) -> Position:
        """Where reading must resume to see them all again."""
        return self.pieces[0].begins

    @property
    def critical(self) -> bool:
        """Whether any record is CRITICAL."""
        return any(piece.critical for piece in self.pieces)

    @property
    def rows(self) -> pa.RecordBatch:
        """The good records, in order. Several pieces are copied together: each of them is smaller than a batch."""
        if len(self.pieces) == 1:
            return self.pieces[0].rows
        return pa.concat_batches([piece.rows for piece in self.pieces])

    @property
    def letters(self) -> tuple[DeadLetter, ...]:
        """The refused records, in order."""
        return tuple(letter for piece in self.pieces for letter in piece.letters)
