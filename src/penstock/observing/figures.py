"""Live figures of a run, kept from its facts."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING

from penstock.observing.facts import (
    BackPressure,
    BatchAnswered,
    BatchParked,
    BatchTransmitted,
    DeadLettered,
    DestinationAway,
    FrameDropped,
    Hop,
    LinkFault,
    LinkSilent,
    ModeChanged,
    RangeSettled,
    RecordsRead,
    RowsCommitted,
    SourceOpened,
    Timed,
    WentBack,
)
from penstock.observing.latency import Histogram

if TYPE_CHECKING:
    from collections.abc import Mapping

    from penstock.observing.facts import Fact, LatencyStage
    from penstock.observing.latency import Latency


@dataclass(slots=True)
class HopFigures:
    """One hand-off so far. `streamed` counts those of `records` that went in streaming mode."""

    batches: int = 0
    records: int = 0
    streamed: int = 0
    answered: int = 0
    retransmitted: int = 0
    parked: int = 0
    dropped: int = 0
    pressed: int = 0
    silent: int = 0

    @property
    def in_flight(self) -> int:
        """Batches sent and not yet settled."""
        return self.batches - self.answered


@dataclass(slots=True)
class SourceFigures:
    """One source so far. Sizes are None when the source cannot tell.

    `went_back` counts how often a module began again, `away` how often a destination could not be reached.
    `streamed` tells whether it was ever in streaming mode, `streaming` whether it is now.
    """

    size_bytes: Mapping[str, int | None] = field(default_factory=dict)
    bytes_left: dict[str, int | None] = field(default_factory=dict)
    read: int = 0
    settled: int = 0
    went_back: int = 0
    away: int = 0
    streaming: bool = False
    streamed: bool = False
    histograms: defaultdict[LatencyStage, Histogram] = field(default_factory=lambda: defaultdict(Histogram))

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
    link_faults: Counter[str] = field(default_factory=Counter)
    _lock: Lock = field(default_factory=Lock)

    @property
    def read(self) -> int:
        """Records read, over all sources."""
        return sum(source.read for source in tuple(self.sources.values()))

    @property
    def settled(self) -> int:
        """Records settled, over all sources."""
        return sum(source.settled for source in tuple(self.sources.values()))

    def latencies(self, source: str) -> dict[LatencyStage, Latency]:
        """Return how long the records of a source took, by the stages of their way that were timed."""
        with self._lock:
            return {stage: found.latency() for stage, found in self.sources[source].histograms.items()}

    def streaming_latency(self, stage: LatencyStage) -> Latency | None:
        """Return the same of one stage for all sources in streaming mode together, None where there is nothing."""
        together = Histogram()
        with self._lock:
            for source in self.sources.values():
                if source.streaming and stage in source.histograms:
                    together.merge(source.histograms[stage])
        return together.latency() if together.records else None

    def saw(self, fact: Fact) -> None:
        """Count `fact`."""
        with self._lock:
            self._count(fact)

    def _count(self, fact: Fact) -> None:
        match fact:
            case SourceOpened():
                source = self._source(fact.source)
                source.size_bytes = {**source.size_bytes, **fact.size_bytes}  # a new one: someone may be reading it
            case RecordsRead():
                source = self._source(fact.source)
                source.read += fact.records
                source.bytes_left[fact.partition] = fact.bytes_left
            case RangeSettled():
                self._source(fact.source).settled += len(fact.range)
            case Timed():
                self._source(fact.source).histograms[fact.stage].add(fact.seconds, fact.records)
            case ModeChanged():
                source = self._source(fact.source)
                source.streaming = fact.streaming
                source.streamed |= fact.streaming
            case WentBack():
                self._source(fact.source).went_back += 1
            case DestinationAway():
                self._source(fact.source).away += 1
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
                self.hops[fact.hop].streamed += fact.records if fact.streaming else 0
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
            case LinkSilent():
                self.hops[fact.hop].silent += 1
            case LinkFault():
                self.link_faults[fact.code] += 1
            case _:
                pass

    def _source(self, name: str) -> SourceFigures:
        """Return a source's figures, also where this process was never told that it was opened."""
        found = self.sources.get(name)
        if found is None:
            found = self.sources[name] = SourceFigures()
        return found
