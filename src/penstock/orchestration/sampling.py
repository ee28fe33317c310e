"""The first records of a source, and no more."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from penstock.model.position import Position
    from penstock.ports import Chunk, Replay, Reread, Source


class SampledSource:
    """Passes on the first `records` of `source`, over all its partitions; never tells it that anything is settled."""

    def __init__(self, source: Source, records: int) -> None:
        self._source = source
        self._left = records
        self.replay: Replay = source.replay

    def partitions(self) -> Sequence[str]:
        """Return the source's partitions."""
        return self._source.partitions()

    def read(self, partition: str, position: Position | None) -> Iterator[Chunk]:
        """Read until the sample is full."""
        if self._left <= 0:
            return
        for chunk in self._source.read(partition, position):
            cut = _first(chunk, self._left)
            self._left -= cut.end - cut.start
            yield cut
            if self._left <= 0:
                return

    def size_bytes(self, partition: str, position: Position | None) -> int | None:
        """Say nothing: how much of the source a sample is cannot be told."""

    def accept(self, position: Position) -> Position:
        """Return what the source says."""
        return self._source.accept(position)

    def reread(self, partition: str, originals: Sequence[bytes]) -> Reread:
        """Return what the source says."""
        return self._source.reread(partition, originals)

    def commit(self, position: Position) -> None:
        """Do nothing: a sample moves nothing."""

    def close(self) -> None:
        """Close the source."""
        self._source.close()


def _first(chunk: Chunk, records: int) -> Chunk:
    """Return the first `records` of a chunk. Its `next` has the chunk's own token: nobody reads on from a sample."""
    end = chunk.start + records
    if chunk.end <= end:
        return chunk
    after = msgspec.structs.replace(chunk.next, sequence=end)
    if chunk.sequences is None:
        return _cut(chunk, records, end, after)
    good = bisect_left(chunk.sequences.to_pylist(), end)
    return replace(
        _cut(chunk, good, end, after),
        sequences=pa.array(chunk.sequences.slice(0, good)),
        bad=tuple(bad for bad in chunk.bad if bad.sequence < end),
    )


def _cut(chunk: Chunk, good: int, end: int, after: Position) -> Chunk:
    versions, operations = (kept and kept.slice(0, good) for kept in (chunk.versions, chunk.operations))
    records = chunk.records.slice(0, good)
    return replace(chunk, end=end, records=records, versions=versions, operations=operations, next=after)
