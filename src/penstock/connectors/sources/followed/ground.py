"""What everything that follows one table's files works with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from penstock.connectors.sources.files.partitions import Compression
from penstock.connectors.sources.followed.finding import siblings, with_inode
from penstock.connectors.sources.followed.marks import holds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from penstock.connectors.sources.files.positions import TextToken
    from penstock.connectors.sources.followed.finding import Finder, Seen
    from penstock.connectors.sources.followed.formats import Formats
    from penstock.connectors.sources.followed.roll import Roll
    from penstock.connectors.sources.followed.shelf import Shelf
    from penstock.model.position import Position
    from penstock.ports import Chunk

RELATIVES_MAX = 64
"""Files whose names begin alike that are looked through for a text that has moved, the newest first."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How long things take before something is concluded from them, in seconds."""

    poll_s: float
    quiet_s: float = 30.0
    """A file that has lost its place and does not grow for so long is not written to any more: its last line is whole,
    even without a line break."""
    stable_s: float = 2.0
    """A compressed or Parquet file that has not changed for so long is whole."""


@dataclass(frozen=True, slots=True)
class Ground:
    """The table's folder, rules and memory."""

    table: str
    root: Path
    finder: Finder
    formats: Formats
    roll: Roll
    shelf: Shelf
    pace: Pace
    read_whole: Callable[[str, Position | None], Iterator[Chunk]]
    """Reads a whole file by its path, as the batch reader does."""

    def with_inode(self, path: str, inode: int) -> Sequence[Seen]:
        """Return the files with this inode in the folder of `path`: where a renamed file is. Raises OSError."""
        return with_inode(path, inode, self.root)

    def relative(self, path: str, is_it: Callable[[Seen], bool]) -> Seen | None:
        """Find the file for which `is_it` is true among those whose names begin like `path`. Raises OSError."""
        relatives = siblings(path, PurePath(path).stem, self.root)
        newest_first = sorted(relatives, key=lambda seen: seen.changed_ns, reverse=True)
        return next(filter(is_it, newest_first[:RELATIVES_MAX]), None)

    def holds(self, seen: Seen, token: TextToken) -> bool:
        """Tell whether a file, maybe compressed, holds the text that was read up to the token's place."""
        compression = compression_of(seen.path)
        if compression is Compression.NONE and seen.size < token.offset:
            return False
        return holds(self.root / seen.path, compression, token)


def compression_of(path: str) -> Compression:
    """Return what a file's last ending says, whatever stands before it."""
    ending = PurePath(path).suffix.lower()
    return Compression(ending) if ending in {Compression.GZIP, Compression.ZSTD} else Compression.NONE
