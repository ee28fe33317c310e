"""Sets of sequences, kept as disjoint ranges in order."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING

from penstock.model.position import Range

if TYPE_CHECKING:
    from collections.abc import Iterator


class RangeSet:
    """Sequences seen so far. Neighbours grow together, so a set without holes is one range."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []

    def __iter__(self) -> Iterator[Range]:
        return map(Range, self._starts, self._ends)

    def __repr__(self) -> str:
        return f"<RangeSet {' '.join(map(str, self))}>"

    def overlaps(self, range_: Range) -> bool:
        """Tell whether any sequence of `range_` is in the set."""
        at = bisect_right(self._ends, range_.start)
        return len(range_) > 0 and at < len(self._starts) and self._starts[at] < range_.end

    def covers(self, range_: Range) -> bool:
        """Tell whether every sequence of `range_` is in the set."""
        at = bisect_right(self._starts, range_.start) - 1
        return len(range_) == 0 or (at >= 0 and self._ends[at] >= range_.end)

    def add(self, range_: Range) -> None:
        """Add every sequence of `range_`."""
        if len(range_) == 0:
            return
        first = bisect_left(self._ends, range_.start)
        last = bisect_right(self._starts, range_.end)
        start = min([range_.start, *self._starts[first : first + 1]]) if first < last else range_.start
        end = max([range_.end, *self._ends[last - 1 : last]]) if first < last else range_.end
        self._starts[first:last] = [start]
        self._ends[first:last] = [end]
