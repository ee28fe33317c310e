"""What is durably noted of followed files: which partition each is, where each ends, and what of it is gone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.connectors.sources.followed.gaps import gap
from penstock.connectors.sources.followed.ground import compression_of
from penstock.connectors.sources.followed.marks import Head, head_at, holds, token_of
from penstock.connectors.sources.followed.names import split
from penstock.connectors.sources.followed.roll import Met

if TYPE_CHECKING:
    from collections.abc import Mapping

    from penstock.connectors.sources.followed.finding import Seen
    from penstock.connectors.sources.followed.ground import Ground
    from penstock.connectors.sources.followed.known import Known
    from penstock.model.position import Position
    from penstock.ports import Chunk


class Registrar:
    """Writes a source's roll on behalf of one following. Raises Unavailable INT_ALPHA_017 where it cannot."""

    def __init__(self, ground: Ground, positions: Mapping[str, Position]) -> None:
        self._ground = ground
        self._latest = dict(positions)

    def name(self, known: Known) -> str:
        """Return the partition that a file is, once that is durable."""
        roll = self._ground.roll
        if known.partition is None:
            known.partition = roll.new_name(known.name.path)
        if known.partition not in roll.entries:
            if known.tail is not None:
                head, columns, changed_ns = known.tail.head(), known.tail.columns, known.tail.changed_ns()
            else:
                head = head_at(self._ground.root / known.path, compression_of(known.path))
                columns, changed_ns = (), known.changed_ns
            roll.meet(Met(known.partition, known.path, known.file[1], changed_ns, head, columns))
        return known.partition

    def read_to(self, known: Known, position: Position) -> None:
        """Take note of how far a file was read."""
        known.position = self._latest[position.partition] = position

    def move(self, known: Known, seen: Seen) -> None:
        """Note that a file has another path, or that its text goes on in another file."""
        if known.partition is not None:
            self._ground.roll.move(known.partition, seen.path, seen.inode)

    def end(self, known: Known) -> None:
        """Note that nothing more of a file will come. What nothing leads to is kept until it is settled."""
        if known.partition is None:
            return
        token = token_of(known.position)
        self._ground.shelf.end(self.name(known), token.offset if token else 0)
        if known.tail is not None and not known.tail.is_named():
            self._ground.shelf.keep(known.partition, known.tail.duplicate())

    def lose(self, known: Known, lost: int, held: bytes) -> Chunk | None:
        """Note that the content of a file is gone, `lost` bytes of it unread; return what says so, if any were."""
        if not lost:
            self.end(known)
            return None
        roll, token = self._ground.roll, token_of(known.position)
        partition = known.partition or roll.new_name(known.name.path)
        if partition not in roll.entries:
            roll.meet(Met(partition, known.path, known.file[1], known.changed_ns, Head.of(b"")))
        self._ground.shelf.end(partition, token.offset if token else 0, lost)
        return gap(partition, known.position, lost, held, self._ground.formats)

    def end_compressed(self, known: Known) -> None:
        """Note that a compressed file, which is read to its end, holds a partition's text."""
        self._ground.roll.hold_compressed(self.name(known), known.path, known.file[1])
        self.end(known)

    def is_compressed(self, seen: Seen) -> bool:
        """Tell whether a compressed file holds the text of a partition: one that was at the path without its ending."""
        roll, compression = self._ground.roll, compression_of(seen.path)
        if roll.compressed(seen.path, seen.inode) is not None:
            return True
        plain = seen.path[: -len(compression)]
        for partition, entry in tuple(roll.entries.items()):
            token = token_of(self._latest.get(partition)) if plain in {entry.path, split(partition)[0]} else None
            if token is not None and holds(self._ground.root / seen.path, compression, token):
                roll.hold_compressed(partition, seen.path, seen.inode)
                return True
        return False
