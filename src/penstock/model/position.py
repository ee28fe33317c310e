"""Where a partition of a source has been read to, and what a destination remembers of it."""

from __future__ import annotations

import msgspec


class Position(msgspec.Struct, frozen=True):
    """Where to read next in one partition of a source, and the sequence that the next record will get.

    `token` is opaque to everyone but the source that made it. The same position gives the same records and sequences
    when the source's replay is exact.
    """

    partition: str
    sequence: int
    token: str


class Mark(msgspec.Struct, frozen=True):
    """What a destination keeps in the transaction of its rows: every record below `sequence` is settled here.

    `position` is where reading must resume to see every record from `sequence` on: at or before it.
    """

    source: str
    partition: str
    sequence: int
    position: Position


class Range(msgspec.Struct, frozen=True, order=True):
    """Sequences `start` ≤ s < `end` of one partition."""

    start: int
    end: int

    def __post_init__(self) -> None:
        if not 0 <= self.start <= self.end:
            raise ValueError(f"{self} is no range")  # not an assertion: ranges also come over the wire

    def __len__(self) -> int:
        return self.end - self.start

    def __contains__(self, sequence: object) -> bool:
        return isinstance(sequence, int) and self.start <= sequence < self.end

    def __str__(self) -> str:
        return f"[{self.start}, {self.end})"
