"""Live figures of a run, kept from its facts."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING

from penstock.observing.facts import (
    BackPressure,
    BatchAnswered,
    BatchParked,
    BatchTransmitted,
    DeadLettered,
    FrameDropped,
    Hop,
    RangeSettled,
    RecordsRead,
    RowsCommitted,
    SourceOpened,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from penstock.observing.facts import Fact


@dataclass(slots=True)
class HopFigures:
    """One hand-off so far."""

    batches: int = 0
    records: int = 0
    answered: int = 0
    retransmitted: int = 0
    parked: int = 0
    dropped: int = 0
    pressed: int = 0

    @property
    def in_flight(self) -> int:
        """Batches sent and not yet settled."""
        return self.batches - self.answered


@dataclass(slots=True)
class SourceFigures:
    """One source so far. Sizes are None when the source cannot tell."""

    size_bytes: Mapping[str, int | None]
    bytes_left: dict[str, int | None] = field(default_factory=dict)
    read: int = 0
    settled: int = 0

    @property
    def progress(self) -> tuple[int, int] | None:
        """Bytes read, and bytes there were to read."""
        pairs = [(size, self.bytes_left.get(partition, size)) for partition, size in self.size_bytes.items()]
        known = [(size, left) for size, left in pairs if size is not None and left is not None]
        if len(known) < len(pairs):
            return None
        total = sum(size for size, _ in known)
        return max(0, total - sum(left for _, left in known)), total

    @property
    def in_flight(self) -> int:
        """Records read and not yet settled."""
        return self.read - self.settled


@dataclass(slots=True)
class Figures:
    """An observer that counts. Read it from any thread; single figures are consistent, not all together."""

    sources: dict[str, SourceFigures] = field(default_factory=dict)
    hops: dict[Hop, HopFigures] = field(default_factory=lambda: {hop: HopFigures() for hop in Hop})
    dead_letters: Counter[str] = field(default_factory=Counter)
    committed: Counter[str] = field(default_factory=Counter)
    _lock: Lock = field(default_factory=Lock)

    @property
    def read(self) -> int:
        """Records read, over all sources."""
        return sum(source.read for source in self.sources.values())

    @property
    def settled(self) -> int:
        """Records settled, over all sources."""
        return sum(source.settled for source in self.sources.values())

    def saw(self, fact: Fact) -> None:
        """Count `fact`."""
        with self._lock:
            self._count(fact)

    def _count(self, fact: Fact) -> None:
        match fact:
            case SourceOpened():
                self.sources[fact.source] = SourceFigures(fact.size_bytes)
            case RecordsRead():
                source = self.sources[fact.source]
                source.read += fact.records
                source.bytes_left[fact.partition] = fact.bytes_left
            case RangeSettled():
                self.sources[fact.source].settled += len(fact.range)
            case DeadLettered():
                self.dead_letters.update(fact.by_code)
            case RowsCommitted():
                self.committed[fact.destination] += fact.rows
            case _:
                self._count_hand_off(fact)

    def _count_hand_off(self, fact: Fact) -> None:
        match fact:
            case BatchTransmitted(attempt=0):
                self.hops[fact.hop].batches += 1
                self.hops[fact.hop].records += fact.records
            case BatchTransmitted():
                self.hops[fact.hop].retransmitted += 1
            case BatchAnswered():
                self.hops[fact.hop].answered += 1
            case BatchParked():
                self.hops[fact.hop].parked += 1
            case FrameDropped():
                self.hops[fact.hop].dropped += 1
            case BackPressure(active=True):
                self.hops[fact.hop].pressed += 1
            case _:
                pass
