"""The file source that can also be followed: files as they grow, are rotated, emptied, replaced and taken away."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING

import msgspec

from penstock.connectors.sources.files import FileSource
from penstock.connectors.sources.files.partitions import Compression, Encoding, read_name
from penstock.connectors.sources.files.positions import write_token
from penstock.connectors.sources.files.reading import stand_at
from penstock.connectors.sources.followed.finding import Finder, is_whole, see, siblings, with_inode
from penstock.connectors.sources.followed.following import FileFollowing
from penstock.connectors.sources.followed.formats import Formats
from penstock.connectors.sources.followed.gaps import gap, lost_after
from penstock.connectors.sources.followed.ground import Ground, Pace, compression_of
from penstock.connectors.sources.followed.marks import Head, head_at, token_of, windows_at
from penstock.connectors.sources.followed.moved import read_moved
from penstock.connectors.sources.followed.names import split
from penstock.connectors.sources.followed.roll import Met, Roll
from penstock.connectors.sources.followed.shelf import Shelf, is_past
from penstock.connectors.sources.followed.trouble import reading
from penstock.errors import UserMistake

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping, Sequence
    from pathlib import Path

    from penstock.connectors.sources.files.textformat import Taken
    from penstock.connectors.sources.followed.finding import Seen
    from penstock.connectors.sources.followed.roll import Entry
    from penstock.model.pipeline import SourceTable
    from penstock.model.position import Position
    from penstock.model.settings import Settings
    from penstock.ports import Chunk, Following, Reread

NOWHERE = ""
"""The path of what is not there any more."""


class FollowedFiles(FileSource):
    """Records of one table out of files, read once or followed. Implements ports.Follows; see docs/following.md.

    As long as nobody follows it, it is the FileSource that it is made of. Once someone has, `state` holds the roll of
    its partitions: what came second at a path is the partition `path@2`, and is that for the batch reader, too.
    """

    def __init__(
        self, table: SourceTable, root: Path, settings: Settings, state: Path, *, pace: Pace | None = None
    ) -> None:
        """`root` is the folder that the connection's path is relative to, `state` the project's state folder."""
        super().__init__(table, root, settings)
        self._followed = table
        self._folder = root
        self._finder = Finder(table.name, table.connection.path, root)
        self._formats = Formats(table, settings, self._met_columns, self._took)
        self._state = state
        self._pace = pace or Pace(settings.seconds("FOLLOW_POLL_MS"))
        self._roll = Roll(state, table.name)
        self._shelf = Shelf(self._roll)
        self._moved: dict[str, str] = {}

    def follow(self, positions: Mapping[str, Position]) -> Following:
        """Begin to follow. See ports.Follows."""
        self._roll.reserve(positions)
        self._shelf.begin(positions)
        ground = Ground(
            table=self._followed.name,
            root=self._folder,
            finder=Finder(self._followed.name, self._followed.connection.path, self._folder),
            formats=self._formats,
            roll=self._roll,
            shelf=self._shelf,
            pace=self._pace,
            read_whole=super().read,
        )
        return FileFollowing(ground, positions)

    def partitions(self) -> Sequence[str]:
        """Return the partitions that are there, those that have lost their place first. See ports.Source."""
        paths = super().partitions()
        if not self._roll.entries:
            return paths
        with reading(f"`{self._followed.name}`"):
            self._moved = self._places(paths)
        return tuple(self._moved)

    def read(self, partition: str, position: Position | None) -> Iterator[Chunk]:
        """Read a partition from `position` to what is now its end. See ports.Source."""
        path, number = split(partition)
        place = self._moved.get(partition, partition)
        if number == 1 and place == partition:
            return super().read(partition, position)
        return self._read_moved(partition, path, place, position)

    def size_bytes(self, partition: str, position: Position | None) -> int | None:
        """Return how much of the partition's file is left, in bytes; None where it cannot be seen."""
        entry = self._roll.entries.get(partition)
        if entry is None:
            return super().size_bytes(partition, position)
        try:
            seen = see(entry.path, self._folder)
        except (OSError, UserMistake):
            return None
        if seen is None or seen.inode != entry.inode or compression_of(entry.path) is not Compression.NONE:
            return None
        token = token_of(position)
        return max(0, seen.size - (token.stored if token else 0))

    def accept(self, position: Position) -> Position:
        """Return `position` for the partition as it is now. See ports.Source."""
        place = self._moved.get(position.partition, position.partition)
        if place == position.partition:
            return super().accept(position)  # the one that knows what a position in a Parquet file is
        token = token_of(position)
        if token is None:
            return super().accept(position)
        if place == NOWHERE:
            return msgspec.structs.replace(position, token=write_token(msgspec.structs.replace(token, ended=True)))
        with reading(position.partition):
            file = self._formats.text_file(self._folder / place, position.partition, compression_of(place))
            return msgspec.structs.replace(position, token=write_token(stand_at(file, token)))

    def reread(self, partition: str, originals: Sequence[bytes]) -> Reread:
        """Parse originals again as records of `partition`. See ports.Source.

        The header of a file that was followed is remembered, so it need not be there any more.
        """
        path, _ = split(partition)
        name, columns = read_name(path), self._columns_of(path, partition)
        if name is None or name.encoding is not Encoding.CSV or not columns:
            return super().reread(path, originals)
        return self._formats.open(Encoding.CSV, columns).reread(originals)

    def commit(self, position: Position) -> None:
        """Take note of what is settled. See ports.Source."""
        if position.partition in self._roll.entries:
            self._shelf.settle(position)

    def close(self) -> None:
        """Close the files that were kept open until they were settled, and the roll."""
        self._shelf.close()
        self._roll.close()
        super().close()

    def _columns_of(self, path: str, partition: str) -> Sequence[str]:
        """Return the header's columns of `partition`, else of the newest that came at its path."""
        entries = self._roll.entries
        same = [entry.columns for other, entry in tuple(entries.items()) if split(other)[0] == path and entry.columns]
        own = entries.get(partition)
        return own.columns if own and own.columns else same[-1] if same else ()

    def _places(self, paths: Sequence[str]) -> dict[str, str]:
        """Return where each partition is now: nowhere where its content is gone, and that is to be said."""
        found = {path: seen for path in paths if (seen := see(path, self._folder)) is not None}
        left: dict[str, str] = {}
        here: dict[str, str] = {}
        claimed: set[tuple[int, int]] = set()
        for partition, entry in self._roll.entries.items():
            base, _ = split(partition)
            if entry.is_settled or not self._finder.fits(base):
                continue
            seen = None if entry.ended else self._seen_as(entry, claimed)
            if seen is not None:
                claimed.add(seen.file)
                (here if seen.path in found else left)[partition] = seen.path
            elif entry.ended or base in found:
                left[partition] = NOWHERE
        for path, seen in found.items():
            name = read_name(path)
            if name is None or seen.file in claimed or self._roll.compressed(path, seen.inode) is not None:
                continue
            here[path if is_whole(name) or path not in self._roll.entries else self._roll.new_name(path)] = path
        return {**left, **dict(sorted(here.items(), key=lambda item: item[1]))}

    def _seen_as(self, entry: Entry, claimed: Container[tuple[int, int]]) -> Seen | None:
        """Find the file of an entry: at its path, renamed, or copied."""
        seen = see(entry.path, self._folder)
        by_inode = [seen] if seen is not None and seen.inode == entry.inode else []
        by_inode += with_inode(entry.path, entry.inode, self._folder) if not by_inode else []
        relatives = siblings(entry.path, PurePath(entry.path).stem, self._folder)
        newest_first = sorted(relatives, key=lambda seen: seen.changed_ns, reverse=True)
        candidates = (seen for seen in (*by_inode, *newest_first) if seen.file not in claimed)
        return next((seen for seen in candidates if self._begins_as(seen, entry)), None)

    def _begins_as(self, seen: Seen, entry: Entry) -> bool:
        windows = windows_at(self._folder / seen.path, compression_of(seen.path), entry.head.size_bytes)
        return windows is not None and entry.head.size_bytes > 0 and Head.of(windows.head) == entry.head

    def _read_moved(self, partition: str, path: str, place: str, position: Position | None) -> Iterator[Chunk]:
        name, entry = read_name(path), self._roll.entries.get(partition)
        with reading(partition):
            seen = see(place, self._folder) if place != NOWHERE else None
            if seen is None or name is None:
                yield from self._say_lost(partition, entry, position)
                return
            file = self._formats.text_file(self._folder / place, partition, compression_of(place))
            if entry is None:
                head = head_at(file.path, file.compression)
                self._roll.meet(Met(partition, place, seen.inode, seen.changed_ns, head))
            yield from read_moved(self._formats, name.encoding, file, position)

    def _say_lost(self, partition: str, entry: Entry | None, position: Position | None) -> Iterator[Chunk]:
        """Say, as following would, that what was not settled of a partition is gone."""
        if entry is None:
            raise UserMistake("INT_ALPHA_010", f"{partition} is not there any more")
        if entry.ended and position and is_past(position, entry.ended):
            return
        lost, token = lost_after(position, entry.ended), token_of(position)
        if entry.ended is None:
            self._shelf.end(partition, token.offset if token else 0, lost)
        yield gap(partition, position, lost, b"", self._formats)

    def _met_columns(self, names: Sequence[str]) -> None:
        known = {*(field.name for field in self._followed.fields), *self.extra_columns}
        self.extra_columns += tuple(dict.fromkeys(name for name in names if name not in known))

    def _took(self, taken: Taken) -> None:
        self.blocks_triaged += taken.triaged
