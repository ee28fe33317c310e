"""Files that cannot be read before they are whole: compressed text, Parquet. They are read once they stand still."""

from __future__ import annotations

import time
from collections import OrderedDict
from functools import partial
from typing import TYPE_CHECKING

from penstock.errors import UserMistake

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from penstock.connectors.sources.followed.finding import Seen
    from penstock.model.position import Position
    from penstock.ports import Chunk

DAMAGED_AFTER_S = 60.0
"""A file that ends early may still be on its way. It is an error when it has stood still for so long."""
_ENDS_EARLY = "INT_ALPHA_012"
_IS_MISSING = "INT_ALPHA_010"


class WholeFile:
    """One file, read by `read` from a position on, each time that it is another than it was and stands still."""

    def __init__(
        self, read: Callable[[Position | None], Iterator[Chunk]], position: Position | None, stable_s: float
    ) -> None:
        self._read = read
        self._position = position
        self._stable_s = stable_s
        self._seen: Seen | None = None
        self._read_as: Seen | None = None
        self._since_s = 0.0
        self._chunks: Iterator[Chunk] | None = None
        self._damage: UserMistake | None = None
        self.is_done = False
        """Whether it was read to its end, as it was last seen."""

    def see(self, seen: Seen, now_s: float) -> None:
        """Take note of how the file is now."""
        if seen == self._seen:
            return
        if self._seen is None:  # it may have stood there for long
            now_s -= max(0.0, time.time() - seen.changed_ns / 1e9)
        self._seen, self._since_s, self._damage, self.is_done = seen, now_s, None, False

    def take(self, now_s: float) -> Chunk | None:
        """Return what comes next, None where nothing does yet. Raises as ports.Source.read does."""
        still_s = now_s - self._since_s
        if self._chunks is None:
            if self._damage is not None and still_s >= DAMAGED_AFTER_S:
                raise self._damage
            if self.is_done or self._damage is not None or still_s < self._stable_s:
                return None
            self._chunks, self._read_as = self._read(self._position), self._seen
        try:
            chunk = next(self._chunks, None)
        except UserMistake as mistake:
            self._chunks = None
            if mistake.kind.code not in {_ENDS_EARLY, _IS_MISSING}:
                raise
            self._damage, self.is_done = mistake, mistake.kind.code == _IS_MISSING
            return None
        if chunk is None:
            self._chunks, self.is_done = None, self._read_as == self._seen
        else:
            self._position = chunk.next
        return chunk

    def close(self) -> None:
        """Stop reading."""
        self._chunks = None


class WholeFiles:
    """All such files of a table. `read` reads one of them by its path."""

    def __init__(
        self,
        read: Callable[[str, Position | None], Iterator[Chunk]],
        positions: Mapping[str, Position],
        stable_s: float,
    ) -> None:
        self._read = read
        self._positions = positions
        self._stable_s = stable_s
        self._files: dict[str, WholeFile] = {}
        self._waiting: OrderedDict[str, WholeFile] = OrderedDict()

    def see(self, found: Mapping[str, Seen], now_s: float) -> None:
        """Take note of the files that are there now."""
        for path in self._files.keys() - found.keys() - self._waiting.keys():
            del self._files[path]
        for path, seen in found.items():
            file = self._files.get(path)
            if file is None:
                file = WholeFile(partial(self._read, path), self._positions.get(path), self._stable_s)
                self._files[path] = file
            file.see(seen, now_s)
            if not file.is_done:
                self._waiting.setdefault(path, file)

    def next(self, now_s: float, until_s: float) -> Chunk | None:
        """Return what comes next of any of them; looks at one at least, and at no other after `until_s`."""
        for _ in range(len(self._waiting)):
            path, file = next(iter(self._waiting.items()))
            chunk = file.take(now_s)
            if chunk is not None:
                return chunk
            if file.is_done:
                del self._waiting[path]
            else:
                self._waiting.move_to_end(path)
            if time.monotonic() >= until_s:
                break
        return None

    def close(self) -> None:
        """Stop reading."""
        for file in self._files.values():
            file.close()
