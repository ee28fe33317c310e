"""What outlives one following of a source: what is settled, and open files that nothing leads to any more."""

from __future__ import annotations

import os
from threading import Lock
from typing import TYPE_CHECKING

from penstock.connectors.sources.followed.marks import token_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from penstock.connectors.sources.followed.roll import Ended, Roll
    from penstock.model.position import Position

KEPT_FILES_MAX = 64
"""Files without a name that are held open until they are settled, so that going back finds them. Beyond that the
oldest are let go, and going back says what is gone."""


class Shelf:
    """Told of settled positions from any thread."""

    def __init__(self, roll: Roll) -> None:
        self._roll = roll
        self._lock = Lock()
        self._settled: dict[str, Position] = {}
        self._kept: dict[str, int] = {}

    def begin(self, positions: Mapping[str, Position]) -> None:
        """Take note of all that is settled."""
        with self._lock:
            self._settled = dict(positions)

    def settle(self, position: Position) -> None:
        """Take note that everything before `position` is settled."""
        with self._lock:
            self._settled[position.partition] = position
            self._note(position.partition)

    def end(self, partition: str, end: int, lost: int = 0) -> None:
        """Take note that nothing more of a partition will come. Durable when it returns."""
        self._roll.end(partition, end, lost)
        with self._lock:
            self._note(partition)

    def keep(self, partition: str, descriptor: int) -> None:
        """Hold a file that nothing leads to, unless the partition is settled already. `descriptor` becomes ours."""
        with self._lock:
            entry = self._roll.entries.get(partition)
            if entry is None or entry.is_settled:
                os.close(descriptor)
                return
            self._kept[partition] = descriptor
            if len(self._kept) > KEPT_FILES_MAX:
                os.close(self._kept.pop(next(iter(self._kept))))

    def take(self, partition: str) -> int | None:
        """Return a file that was kept; it is the caller's to close."""
        with self._lock:
            return self._kept.pop(partition, None)

    def close(self) -> None:
        """Close what is kept."""
        with self._lock:
            while self._kept:
                os.close(self._kept.popitem()[1])

    def _note(self, partition: str) -> None:
        entry, position = self._roll.entries.get(partition), self._settled.get(partition)
        if entry and entry.ended and not entry.is_settled and position and is_past(position, entry.ended):
            self._roll.settle(partition)
            descriptor = self._kept.pop(partition, None)
            if descriptor is not None:
                os.close(descriptor)


def is_past(position: Position, ended: Ended) -> bool:
    """Tell whether nothing of an ended partition is left after `position`."""
    token = token_of(position)
    return token is not None and (token.ended or (ended.lost == 0 and token.offset >= ended.end))
