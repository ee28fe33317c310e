"""Who still owes an answer for which records, and how far everything is settled.

Ranges of input records are opened in order, partition by partition. Outcomes come back in any order, for parts of
them, one destination at a time. A range is settled when every destination has accounted for every record of it; it
is released in order, so what is released is always a prefix. One part that stays unanswered holds all behind it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from penstock.errors import Corruption
from penstock.model.outcome import add_up, records_of
from penstock.protocol.ranges import RangeSet

if TYPE_CHECKING:
    from collections.abc import Sequence

    from penstock.model.outcome import Count, Tally
    from penstock.model.position import Range


@dataclass(frozen=True, slots=True)
class Settled:
    """A range that every destination has accounted for, with what became of its records."""

    partition: str
    range: Range
    tally: Tally


@dataclass(slots=True)
class _Open:
    range: Range
    records: int
    answered: dict[str, RangeSet]
    counts: list[Count] = field(default_factory=list)

    def is_settled(self) -> bool:
        return all(ranges.covers(self.range) for ranges in self.answered.values())


class Settlement:
    """Tallies outcomes over input ranges. Pure: what may be released comes back from the call that allows it."""

    def __init__(self, destinations: Sequence[str], *, gaps: bool = False) -> None:
        """`destinations` must all account for every record.

        With `gaps`, ranges may leave out records: those that were settled before they came here.
        """
        self._destinations = tuple(destinations)
        self._gaps = gaps
        self._open: dict[str, deque[_Open]] = {}
        self._opened_to: dict[str, int] = {}
        self.records_open = 0

    def __repr__(self) -> str:
        return f"<Settlement {self.records_open:,} records open in {len(self._open)} partitions>"

    def open(self, partition: str, range_: Range, records: int | None = None) -> tuple[Settled, ...]:
        """Begin to wait for answers about `range_`, which must follow the partition's last one, without gap if need be.

        `records` is how many records of the range there are to account for (all, unless some left before they came
        here). An empty range settles at once, in its turn.
        """
        expected = self._opened_to.get(partition, range_.start)
        if range_.start < expected or (range_.start > expected and not self._gaps):
            raise Corruption("INT_LEDGER_003", f"{partition}: {range_} was opened where {expected} had to follow")
        records = len(range_) if records is None else records
        answered = {destination: RangeSet() for destination in self._destinations}
        self._open.setdefault(partition, deque()).append(_Open(range_, records, answered))
        self._opened_to[partition] = range_.end
        self.records_open += len(range_)
        return self._release(partition)

    def answer(self, partition: str, destination: str, range_: Range, counts: Sequence[Count]) -> tuple[Settled, ...]:
        """Take what became of the records of `range_`, a part of one open range, at `destination`.

        Return what can be released now, in order. Raises Corruption where a record is accounted for twice, or the
        counts of a whole range are not its records.
        """
        entry = self._entry(partition, range_)
        answered = entry.answered[destination]
        if answered.overlaps(range_):
            raise Corruption("INT_LEDGER_003", f"{partition}: {destination} accounts for part of {range_} twice")
        answered.add(range_)
        entry.counts.extend(counts)
        if answered.covers(entry.range):
            found = records_of(entry.counts, destination)
            if found != entry.records:
                what = f"{found:,} of the {entry.records:,} records of {entry.range}"
                raise Corruption("INT_LEDGER_003", f"{partition}: {destination} accounts for {what}")
        return self._release(partition)

    def is_idle(self) -> bool:
        """Tell whether nothing is open."""
        return not self._open

    def _entry(self, partition: str, range_: Range) -> _Open:
        for entry in self._open.get(partition, ()):
            if entry.range.start <= range_.start and range_.end <= entry.range.end:
                return entry
        raise Corruption("INT_LEDGER_003", f"{partition}: an answer came for {range_}, which is not open")

    def _release(self, partition: str) -> tuple[Settled, ...]:
        waiting = self._open.get(partition, deque())
        released = []
        while waiting and waiting[0].is_settled():
            entry = waiting.popleft()
            self.records_open -= len(entry.range)
            released.append(Settled(partition, entry.range, add_up(entry.counts)))
        if not waiting:
            self._open.pop(partition, None)
        return tuple(released)
