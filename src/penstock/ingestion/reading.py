"""What ingestion reads: chunk after chunk, of sources at rest and of sources that grow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from penstock.model.position import Position
from penstock.ports import ReplaysVariously

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from penstock.ports import Chunk, Follows, Replay, Source


@dataclass(frozen=True, slots=True)
class Start:
    """Where a partition is to be read from, and its number among the source's partitions."""

    partition: str
    ordinal: int
    position: Position | None

    @property
    def begins(self) -> Position:
        """The position as a value, also at the partition's beginning."""
        return self.position or Position(self.partition, 0, "")


@dataclass(frozen=True, slots=True)
class Read:
    """A chunk of a partition, and the position it begins at."""

    start: Start
    begins: Position
    chunk: Chunk


class Reader(Protocol):
    """Reads one source. Used from one worker thread at a time."""

    ended: bool
    """Whether nothing more will come."""

    def next(self, wait_s: float) -> Read | None:
        """Return what comes next; None where nothing came in `wait_s`, or nothing more will. Raises as sources do."""

    def close(self) -> None:
        """Let go."""


class AtRest:
    """Reads each partition to what is now its end, one after the other."""

    def __init__(self, source: Source, starts: Sequence[Start]) -> None:
        self._read = _all(source, starts)
        self.ended = False

    def next(self, wait_s: float) -> Read | None:  # noqa: ARG002 - what is at rest is there
        """Return the next chunk."""
        found = next(self._read, None)
        self.ended = found is None
        return found

    def close(self) -> None:
        """Do nothing: a reading may be dropped at any point."""


class Followed:
    """Reads every partition as it grows. `register` numbers one that was not there before."""

    def __init__(self, source: Follows, starts: Sequence[Start], register: Callable[[str], Start]) -> None:
        self._starts = {start.partition: start for start in starts}
        self._begins = {start.partition: start.begins for start in starts}
        self._register = register
        self._following = source.follow({start.partition: start.position for start in starts if start.position})
        self.ended = False

    def next(self, wait_s: float) -> Read | None:
        """Return what has come, of whatever partition."""
        chunk = self._following.next(wait_s)
        if chunk is None:
            self.ended = self._following.ended
            return None
        partition = chunk.next.partition
        if partition not in self._starts:
            self._starts[partition] = self._register(partition)
            self._begins[partition] = self._starts[partition].begins
        begins, self._begins[partition] = self._begins[partition], chunk.next
        return Read(self._starts[partition], begins, chunk)

    def close(self) -> None:
        """Let go of what is held open."""
        self._following.close()


def replay_from(source: Source, position: Position | None) -> Replay:
    """Return what reading `source` again from `position` gives."""
    return source.replay_from(position) if isinstance(source, ReplaysVariously) else source.replay


def _all(source: Source, starts: Sequence[Start]) -> Iterator[Read]:
    for start in starts:
        begins = start.begins
        for chunk in source.read(start.partition, start.position):
            yield Read(start, begins, chunk)
            begins = chunk.next
