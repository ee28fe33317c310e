"""Finds out, when following begins, which file each partition is now, and which files are new."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import PurePath
from typing import TYPE_CHECKING

from penstock.connectors.sources.files.partitions import Compression, read_name
from penstock.connectors.sources.followed.finding import is_whole, see, siblings
from penstock.connectors.sources.followed.gaps import gap, lost_after
from penstock.connectors.sources.followed.ground import compression_of
from penstock.connectors.sources.followed.known import Known
from penstock.connectors.sources.followed.marks import Head, holds, token_of, windows_at
from penstock.connectors.sources.followed.names import split
from penstock.connectors.sources.followed.shelf import is_past
from penstock.connectors.sources.followed.tail import path_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from penstock.connectors.sources.files.partitions import FileName
    from penstock.connectors.sources.followed.finding import Seen
    from penstock.connectors.sources.followed.ground import Ground
    from penstock.connectors.sources.followed.marks import FollowedToken
    from penstock.connectors.sources.followed.roll import Entry
    from penstock.model.position import Position
    from penstock.ports import Chunk

COMPARED_AT_ONCE_MAX = 1_000
"""Where more partitions are known, one whose file is in its place is compared with what was read of it only later."""
_ROTATED = re.compile(r"[.-]([0-9]+)(?:\.gz|\.zst)?")
"""What is put behind a file's name when it is rotated."""


@dataclass(slots=True)
class Placed:
    """Which files there are to read, each after those whose place it took; and what is gone."""

    files: list[Known] = field(default_factory=list)
    kept: dict[Known, int] = field(default_factory=dict)
    """Files that nothing leads to any more, and the descriptors by which they are open."""
    gaps: list[Chunk] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Partition:
    """What is remembered of one that is not over."""

    partition: str
    name: FileName
    number: int
    entry: Entry | None
    position: Position | None
    token: FollowedToken | None

    @property
    def offset(self) -> int:
        return self.token.offset if self.token else 0

    @property
    def path(self) -> str:
        return self.entry.path if self.entry else self.name.path


def place(ground: Ground, positions: Mapping[str, Position], found: Mapping[str, Seen]) -> Placed:
    """Place every partition that is not over among the files that are there; what is left of `found` is new.

    Whole files are none of this. Raises ContentChanged for a position that is none of a text file, OSError.
    """
    return _Placing(ground, positions, found).place()


class _Placing:
    def __init__(self, ground: Ground, positions: Mapping[str, Position], found: Mapping[str, Seen]) -> None:
        self._ground = ground
        self._positions = positions
        self._found = found
        self._claimed: set[tuple[int, int]] = set()
        self._by_number: list[tuple[int, Known]] = []
        self._placed = Placed()
        self._trusts_inodes = False

    def place(self) -> Placed:
        # Those on the roll first: they know their inode, and what is only known by its path may have lost it to them.
        partitions = dict.fromkeys([*self._ground.roll.entries, *self._positions])
        remembered = [one for partition in partitions if (one := self._remembered(partition)) is not None]
        self._trusts_inodes = len(remembered) > COMPARED_AT_ONCE_MAX
        for one in remembered:
            self._place(one)
        files = [known for _, known in sorted(self._by_number, key=lambda each: each[0])]
        left = [newer for known in files if known.left_s is not None for newer in (known, *self._between(known))]
        here = [known for known in files if known.left_s is None]
        for seen in self._found.values():
            name = read_name(seen.path)
            if name is not None and not is_whole(name) and seen.file not in self._claimed:
                here.append(_new(name, seen))
        here.sort(key=lambda known: known.path)
        self._placed.files = [*left, *here]
        _in_order(self._placed.files)
        return self._placed

    def _remembered(self, partition: str) -> _Partition | None:
        """Return what is to be placed of a partition, None for one that is over or none of this table's files."""
        path, number = split(partition)
        name = read_name(path)
        if name is None or is_whole(name) or not self._ground.finder.fits(path):
            return None
        entry, position = self._ground.roll.entries.get(partition), self._positions.get(partition)
        token = token_of(position)
        if token is not None and token.ended:
            return None
        if entry is not None:
            is_settled = entry.is_settled and (position is None or entry.ended is None)
            if is_settled or (entry.ended and position and is_past(position, entry.ended)):
                return None
        return _Partition(partition, name, number, entry, position, token)

    def _place(self, one: _Partition) -> None:
        if self._place_kept(one):
            return
        seen = self._find(one)
        if seen is None:
            self._say_lost(one)
            return
        self._claimed.add(seen.file)
        has_place = seen.path in self._found and compression_of(seen.path) is Compression.NONE
        known = Known(one.name, seen.path, seen.file, one.partition, one.position, seen.size, seen.changed_ns)
        known.left_s = None if has_place else 0.0
        self._by_number.append((one.number, known))
        if one.entry is not None and (seen.path, seen.inode) != (one.entry.path, one.entry.inode):
            self._ground.roll.move(one.partition, seen.path, seen.inode)

    def _place_kept(self, one: _Partition) -> bool:
        """Place a partition whose file was kept open because nothing leads to it."""
        descriptor = self._ground.shelf.take(one.partition)
        if descriptor is None:
            return False
        status = os.fstat(descriptor)
        if not self._holds(one, path_of(descriptor), Compression.NONE):
            os.close(descriptor)
            return False
        known = Known(one.name, one.path, (status.st_dev, status.st_ino), one.partition, one.position, status.st_size)
        known.left_s = 0.0
        self._placed.kept[known] = descriptor
        self._by_number.append((one.number, known))
        return True

    def _find(self, one: _Partition) -> Seen | None:
        """Find the file that goes on as the partition: by inode where it is known, else by what was read of it."""
        entry, is_ended = one.entry, one.entry is not None and one.entry.ended is not None
        if not is_ended:
            seen = self._found.get(one.path) or see(one.path, self._ground.root)
            if seen and (entry is None or entry.inode == seen.inode) and self._may_be(one, seen):
                return seen
            if entry is not None:
                for seen in self._ground.with_inode(one.path, entry.inode):
                    if seen.path != one.path and seen.file not in self._claimed and self._is(one, seen):
                        return seen
        return self._ground.relative(one.path, lambda seen: seen.file not in self._claimed and self._is(one, seen))

    def _may_be(self, one: _Partition, seen: Seen) -> bool:
        """Tell whether a file in the right place is the partition's: an inode may have gone to another file."""
        if seen.file in self._claimed:
            return False
        is_plain = compression_of(seen.path) is Compression.NONE
        if is_plain and one.token is not None and (one.token.accepted or self._trusts_inodes):
            return seen.size >= one.offset
        return self._is(one, seen)

    def _is(self, one: _Partition, seen: Seen) -> bool:
        compression = compression_of(seen.path)
        if compression is Compression.NONE and seen.size < one.offset:
            return False
        return self._holds(one, self._ground.root / seen.path, compression)

    def _holds(self, one: _Partition, path: Path, compression: Compression) -> bool:
        """Tell whether a text begins with what was read of the partition, as far as that is known."""
        if one.token is not None:
            return holds(path, compression, one.token)
        if one.entry is None or not one.entry.head.size_bytes:
            return False
        windows = windows_at(path, compression, one.entry.head.size_bytes)
        return windows is not None and Head.of(windows.head) == one.entry.head

    def _say_lost(self, one: _Partition) -> None:
        """Say that what was not settled of a partition is gone; say nothing where it was just taken away."""
        ended = one.entry.ended if one.entry else None
        if ended is None and one.name.path not in self._found and one.position is not None:
            return
        lost = lost_after(one.position, ended)
        if ended is None:
            self._ground.shelf.end(one.partition, one.offset, lost)
        self._placed.gaps.append(gap(one.partition, one.position, lost, b"", self._ground.formats))

    def _between(self, known: Known) -> Sequence[Known]:
        """Return the files that were rotated after `known` and never met, the oldest first.

        They are called like it with a number behind, which may be a date, and were written to after it was met. Numbers
        do not tell which is newer: some count up, some down.
        """
        base, entry = known.name.path, self._ground.roll.entries.get(known.partition or "")
        since_ns = entry.changed_ns if entry else known.changed_ns
        newer = []
        for seen in siblings(base, PurePath(base).name, self._ground.root):
            rotated = _ROTATED.fullmatch(seen.path, len(base))
            if rotated and seen.file not in self._claimed and seen.changed_ns >= since_ns:
                newer.append((seen.changed_ns, -int(rotated[1]), seen))
        newer.sort(key=lambda each: each[:2])
        self._claimed.update(seen.file for *_, seen in newer)
        return [replace(_new(known.name, seen), left_s=0.0) for *_, seen in newer]


def _new(name: FileName, seen: Seen) -> Known:
    return Known(name, seen.path, seen.file, size=seen.size, changed_ns=seen.changed_ns, is_sure=True)


def _in_order(files: Sequence[Known]) -> None:
    """Let each file wait for those that had its place before it."""
    by_base: dict[str, list[Known]] = {}
    for known in sorted(files, key=lambda known: known.path == known.name.path):
        by_base.setdefault(known.name.path, []).append(known)
    for chain in by_base.values():
        for older, newer in pairwise(chain):
            newer.after = older
