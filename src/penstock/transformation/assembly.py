"""Transformed rows on their way into batches for delivery, each with the input ranges that it answers for."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from penstock.model.batch import sequences_of
from penstock.model.outcome import Count, Outcome, Stage
from penstock.model.position import Range

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from penstock.model.outcome import Tally
    from penstock.model.position import Position
    from penstock.protocol.messages import BatchMetadata, Excepted


@dataclass(frozen=True, slots=True)
class Part:
    """Input records that a batch answers for: `range` lies in the input batch `of`, `rows` of it are in this one.

    `tally` is what became of the others of the range here.
    """

    of: Range
    range: Range
    rows: int
    tally: Tally


@dataclass(frozen=True, slots=True)
class Assembled:
    """A batch's worth of rows. `position` is where reading must resume to see what comes after them."""

    rows: pa.RecordBatch
    parts: tuple[Part, ...]
    position: Position


class Assembly:
    """Fills batches of `size` for one destination from one partition. What does not fill one is kept for the next."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._rows: list[pa.RecordBatch] = []
        self._parts: list[Part] = []
        self._position: Position | None = None
        self.kept = 0
        """Rows that wait for more."""
        self.since_s = 0.0
        """When the first of them came."""

    def add(
        self, rows: pa.RecordBatch, inputs: Sequence[BatchMetadata], decided: Decided, now_s: float
    ) -> Iterator[Assembled | Part]:
        """Take what input batches came to. Yields batches that are full, and parts that have no row to wait for."""
        sequences = sequences_of(rows)
        begin = offset = 0
        for metadata in inputs:
            end = bisect_left(sequences, metadata.range.end, lo=offset)
            start = metadata.range.start
            if offset == end:
                yield Part(metadata.range, metadata.range, 0, decided.within(metadata.range))
                continue
            while offset < end:
                taken = min(self._size - self.kept, end - offset)
                offset += taken
                stop = sequences[offset] if offset < end else metadata.range.end
                if not self.kept:
                    self.since_s = now_s
                covered = Range(start, stop)
                self._parts.append(Part(metadata.range, covered, taken, decided.within(covered)))
                self._position = metadata.position
                self.kept += taken
                start = stop
                if self.kept == self._size:
                    self._rows.append(rows.slice(begin, offset - begin))
                    begin = offset
                    yield self._full()
        if begin < offset:
            self._rows.append(rows.slice(begin, offset - begin))

    def flush(self) -> Iterator[Assembled]:
        """Yield what waits, as it is."""
        if self.kept:
            yield self._full()

    def _full(self) -> Assembled:
        assert self._position is not None
        rows = self._rows[0] if len(self._rows) == 1 else pa.concat_batches(self._rows)
        assembled = Assembled(rows, tuple(self._parts), self._position)
        self._rows.clear()
        self._parts.clear()
        self.kept = 0
        return assembled


class Decided:
    """What the transformation itself decided for one destination: outcome, reason, and whom it befell, ascending."""

    def __init__(self, destination: str, befell: Iterable[tuple[Outcome, str, Sequence[int]]]) -> None:
        self._destination = destination
        self._befell = tuple(befell)

    def within(self, range_: Range) -> Tally:
        """Count what befell records of `range_`."""
        return tuple(
            Count(self._destination, outcome, Stage.TRANSFORMATION, reason, records)
            for outcome, reason, sequences in self._befell
            if (records := len(_slice(sequences, range_)))
        )

    def named(self, range_: Range) -> Iterator[tuple[Outcome, str, tuple[int, ...]]]:
        """Name the records of `range_` that something befell."""
        for outcome, reason, sequences in self._befell:
            found = tuple(_slice(sequences, range_))
            if found:
                yield outcome, reason, found


def split(part: Part, destination: str, excepted: Sequence[Excepted]) -> Tally:
    """Return what became of a part's records, once delivery has said whom of the batch it did not simply deliver."""
    counts = [
        Count(destination, each.outcome, each.stage, each.reason, records)
        for each in excepted
        if (records := len(_slice(each.sequences, part.range)))
    ]
    delivered = part.rows - sum(count.records for count in counts)
    return (*part.tally, *counts, Count(destination, Outcome.DELIVERED, Stage.DELIVERY, "", delivered))


def _slice(sequences: Sequence[int], range_: Range) -> Sequence[int]:
    return sequences[bisect_left(sequences, range_.start) : bisect_left(sequences, range_.end)]
