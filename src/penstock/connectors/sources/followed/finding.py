"""What a connection's path means just now, looked at again and again: the files, and whose inodes they are."""

from __future__ import annotations

import glob
import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from penstock.connectors.sources.files.partitions import TABLE, Compression, Encoding, read_name
from penstock.errors import UserMistake

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from penstock.connectors.sources.files.partitions import FileName

FOLDER_SETTLES_S = 0.1
"""A folder's time may stand still for some milliseconds while more happens in it, so one that has just changed is
looked at again."""
LOOK_AGAIN_S = 1.0
"""A folder is looked at this often in any case: not every file system keeps its time."""
LOOKING_SHARE = 0.1
"""Of the time, no more than about this much goes into looking through large folders."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A file as it was seen: which one it is, and how large."""

    path: str
    device: int
    inode: int
    size: int
    changed_ns: int

    @property
    def file(self) -> tuple[int, int]:
        """What tells files apart while they exist."""
        return self.device, self.inode


def see(path: str, root: Path) -> Seen | None:
    """Look at one file; None where there is none. Raises OSError for anything else, UserMistake for no plain file."""
    try:
        status = os.stat(root / path)  # noqa: PTH116 - looked at a hundred times a second
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not stat.S_ISREG(status.st_mode):
        raise UserMistake(
            "INT_ALPHA_014",
            f"{path} is a folder or a device where a file should be, and cannot be followed",
            remedy="put a file there",
        )
    return Seen(path, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def with_inode(path: str, inode: int, root: Path) -> Sequence[Seen]:
    """Return the files with this inode in the folder of `path`: where a renamed file is. Raises OSError."""
    folder = PurePath(path).parent
    try:
        with os.scandir(root / folder) as entries:
            names = [entry.name for entry in entries if entry.inode() == inode]
    except FileNotFoundError:
        return ()
    return [seen for seen in _siblings(folder, names, root) if seen.inode == inode]


def siblings(path: str, prefix: str, root: Path) -> Sequence[Seen]:
    """Look at the files in the folder of `path` whose names begin with `prefix`. Raises OSError."""
    folder = PurePath(path).parent
    return list(_siblings(folder, [name for name in _list(str(folder), root) if name.startswith(prefix)], root))


def _siblings(folder: PurePath, names: Iterable[str], root: Path) -> Iterator[Seen]:
    for name in names:
        with suppress(UserMistake):  # a folder or a device among the files
            seen = see(str(folder / name), root)
            if seen is not None:
                yield seen


def is_whole(name: FileName) -> bool:
    """Tell whether such a file can only be read when nothing more is written to it."""
    return name.encoding is Encoding.PARQUET or name.compression is not Compression.NONE


class Finder:
    """The files that a connection's path means for a table, by the rules of docs/files.md. None is no mistake."""

    def __init__(self, table: str, where: str, root: Path) -> None:
        escaped = glob.escape(table)
        if TABLE in where:
            pattern = where.replace(TABLE, escaped)
        elif read_name(where):
            pattern = where
        else:
            pattern = str(PurePath(where) / escaped)
        self._pattern = os.path.normpath(pattern)
        self._root = root
        self._is_file = read_name(self._pattern) is not None
        name = read_name(self._pattern)
        self._is_whole = name is not None and is_whole(name)
        self._only = self._pattern if self._is_file and not glob.has_magic(self._pattern) else None
        self._signature: object = None
        self._changed_s = 0.0
        self._looked_s = float("-inf")
        self._took_s = 0.0

    def is_due(self, now_s: float) -> bool:
        """Tell, at little cost, whether another `look` may find something else than the last one."""
        if self._only is None and now_s - self._looked_s < min(self._took_s / LOOKING_SHARE, LOOK_AGAIN_S):
            return False
        signature = self._glance()
        if signature != self._signature:
            self._signature, self._changed_s = signature, now_s
            return True
        if self._only is not None:
            return False
        return now_s - self._changed_s < FOLDER_SETTLES_S or now_s - self._looked_s >= LOOK_AGAIN_S

    def looked(self, began_s: float, ended_s: float) -> None:
        """Take note of when a look began and ended."""
        self._looked_s, self._took_s = ended_s, ended_s - began_s

    def look(self) -> Mapping[str, Seen]:
        """Return the files that are there now, by path, in the order of their paths. Raises OSError, UserMistake."""
        found = (see(path, self._root) for path in sorted(set(self._paths())))
        return {seen.path: seen for seen in found if seen is not None}

    def fits(self, path: str) -> bool:
        """Tell whether a file at `path`, were it there, would be meant."""
        name = read_name(path)
        if name is None:
            return False
        if self._is_file:
            return _fits(path, self._pattern)
        return _fits(name.stem, self._pattern) or _fits(str(PurePath(path).parent), self._pattern)

    def _glance(self) -> object:
        """Return what differs when something was put, taken away or renamed."""
        if self._only is not None:
            seen = see(self._only, self._root)
            return seen if self._is_whole else seen and seen.file
        return tuple(map(self._changed_at, self._folders()))

    def _changed_at(self, folder: str) -> int:
        try:
            return os.stat(self._root / folder).st_mtime_ns  # noqa: PTH116 - looked at a hundred times a second
        except OSError:
            return 0

    def _folders(self) -> Iterator[str]:
        """Yield the folders that files may come in, without going through any: more may come where names are open."""
        folder = str(PurePath(self._pattern).parent)
        if not glob.has_magic(folder):
            yield folder
        if not self._is_file and not glob.has_magic(self._pattern):
            yield self._pattern

    def _paths(self) -> Iterator[str]:
        if self._only is not None:
            yield self._only
            return
        folder, name = os.path.split(self._pattern)
        for found in _expand(folder, self._root):
            for entry in _list(found, self._root):
                if entry.startswith(".") and not name.startswith("."):
                    continue
                path = os.path.join(found, entry) if found else entry  # noqa: PTH118 - names stay as they were given
                if self._is_file:
                    if read_name(path) and fnmatchcase(entry, name):
                        yield path
                elif (named := read_name(path)) and fnmatchcase(PurePath(named.stem).name, name):
                    yield path
        if not self._is_file:
            for found in _expand(self._pattern, self._root):
                yield from (
                    os.path.join(found, entry)  # noqa: PTH118 - as above
                    for entry in _list(found, self._root)
                    if not entry.startswith((".", "_")) and read_name(entry)
                )


def _fits(path: str, pattern: str) -> bool:
    """Compare part by part; `**` stands for any number of folders."""
    return _fit(PurePath(path).parts, PurePath(pattern).parts)


def _fit(parts: tuple[str, ...], patterns: tuple[str, ...]) -> bool:
    if not patterns:
        return not parts
    if patterns[0] == "**" and len(patterns) > 1:
        return _fit(parts, patterns[1:]) or (bool(parts) and _fit(parts[1:], patterns))
    if not parts or (parts[0].startswith(".") and not patterns[0].startswith(".")):
        return False
    return fnmatchcase(parts[0], patterns[0]) and _fit(parts[1:], patterns[1:])


def _expand(folder: str, root: Path) -> list[str]:
    if not glob.has_magic(folder):
        return [folder]
    found = glob.glob(folder, root_dir=root, recursive=True)  # noqa: PTH207 - Path.glob takes no absolute pattern
    return [os.path.normpath(path) for path in found if (root / path).is_dir()]


def _list(folder: str, root: Path) -> list[str]:
    try:
        return os.listdir(root / folder)  # noqa: PTH208 - only names are wanted
    except (FileNotFoundError, NotADirectoryError):
        return []
