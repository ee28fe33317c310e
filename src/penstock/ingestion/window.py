"""What Alpha has read and not yet seen settled: bounded, and the place to find a record's untouched original."""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections import deque
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING

from penstock.model.position import Range
from penstock.ports import OriginalsGone

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from penstock.model.position import Position
    from penstock.ports import Chunk, Original


@dataclass(frozen=True, slots=True)
class WindowLimits:
    """How much may be unsettled before reading waits."""

    records: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class _Held:
    """What is kept of a chunk: not its records, which travel on."""

    range: Range
    next: Position
    originals: Callable[[Sequence[int]], Sequence[Original]]
    size_bytes: int


class Window:
    """Chunks held until they are settled. One larger than the limits is let in alone, or reading would never go on."""

    def __init__(self, limits: WindowLimits) -> None:
        self._limits = limits
        self._chunks: dict[str, deque[_Held]] = {}
        self._lock = Lock()  # later stages ask for originals from worker threads
        self._released = asyncio.Event()
        self.records = 0
        self.size_bytes = 0

    def has_room_for(self, chunk: Chunk) -> bool:
        """Tell whether `hold` would let `chunk` in at once."""
        return not self._chunks or self._fits(chunk)

    async def hold(self, partition: str, chunk: Chunk) -> None:
        """Wait until `chunk` fits, then hold it."""
        while not self.has_room_for(chunk):
            self._released.clear()
            await self._released.wait()
        with self._lock:
            held = _Held(Range(chunk.start, chunk.end), chunk.next, chunk.originals, chunk.size_bytes)
            self._chunks.setdefault(partition, deque()).append(held)
        self.records += len(held.range)
        self.size_bytes += chunk.size_bytes

    def release(self, partition: str) -> Position:
        """Let go of the oldest chunk of `partition` and return where to read on after it."""
        with self._lock:
            chunks = self._chunks[partition]
            held = chunks.popleft()
            if not chunks:
                del self._chunks[partition]
        self.records -= len(held.range)
        self.size_bytes -= held.size_bytes
        self._released.set()
        return held.next

    def clear(self) -> None:
        """Let go of everything: it will be read again."""
        with self._lock:
            self._chunks.clear()
        self.records = self.size_bytes = 0
        self._released.set()

    def originals(self, partition: str, sequences: Sequence[int]) -> list[Original]:
        """Return the untouched records with these sequences, in this order: ascending.

        Raises OriginalsGone where one is not held: ingestion has gone back since whoever asks was given it.
        """
        with self._lock:
            chunks = tuple(self._chunks.get(partition, ()))
        found: list[Original] = []
        for chunk in chunks:
            first, last = (bisect_left(sequences, border) for border in (chunk.range.start, chunk.range.end))
            wanted = sequences[first:last]
            if wanted:
                found.extend(chunk.originals(wanted))
        if len(found) < len(sequences):
            raise OriginalsGone(f"{partition}: {len(sequences) - len(found)} records are no longer held")
        return found

    def _fits(self, chunk: Chunk) -> bool:
        records = self.records + chunk.end - chunk.start
        return records <= self._limits.records and self.size_bytes + chunk.size_bytes <= self._limits.size_bytes
