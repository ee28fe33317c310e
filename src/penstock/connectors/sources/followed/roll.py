"""The roll of a followed source: which file each partition is, durably, before anything of it is given out.

A position says where to read on, and exists only once something is settled. Until then nothing but the roll tells which
of several files a name was given to: the one that lies there, or one that has made way for it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING
from urllib.parse import quote

import msgspec

from penstock.connectors.sources.followed.marks import Head
from penstock.connectors.sources.followed.names import name, split
from penstock.errors import Unavailable
from penstock.ledger.folder import make_file, make_folder, sync

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

FOLDER = "following"
"""Inside the state folder."""
LINES_KEPT_MIN = 1_000
"""A shorter roll is not worth writing anew."""


class Met(msgspec.Struct, frozen=True, tag="met"):
    """A partition is this file, last written to at `changed_ns`. `columns` are its header's, none where it has none."""

    partition: str
    path: str
    inode: int
    changed_ns: int
    head: Head
    columns: tuple[str, ...] = ()


class Moved(msgspec.Struct, frozen=True, tag="moved"):
    """Its file has another path, or, where `inode` differs, its text goes on in another file."""

    partition: str
    path: str
    inode: int


class Ended(msgspec.Struct, frozen=True, tag="ended"):
    """It was read up to byte `end`, and nothing more can come. `lost` bytes were there and never read."""

    partition: str
    end: int
    lost: int = 0


class Settled(msgspec.Struct, frozen=True, tag="settled"):
    """It is settled to its end: nobody will ask for it again."""

    partition: str


class Compressed(msgspec.Struct, frozen=True, tag="compressed"):
    """The compressed file with this path and inode holds its text, and is no partition of its own."""

    partition: str
    path: str
    inode: int


Event = Met | Moved | Ended | Settled | Compressed


@dataclass(slots=True)
class Entry:
    """What the roll says of one partition."""

    path: str
    inode: int
    changed_ns: int
    head: Head
    columns: tuple[str, ...]
    ended: Ended | None = None
    is_settled: bool = False


class Roll:
    """One source's roll. Written by a run, which holds the state folder's lock; `settle` may come from any thread.

    Reading it writes nothing. What is written is synced before a method returns. Raises Unavailable INT_ALPHA_017
    where it cannot be read or written.
    """

    def __init__(self, state: Path, source: str) -> None:
        self._state = state
        self._path = state / FOLDER / f"{quote(source, safe='')}.jsonl"
        self._lock = Lock()
        self._entries: dict[str, Entry] = {}
        self._compressed: dict[tuple[str, int], str] = {}
        self._highest: dict[str, int] = {}
        self._lines = 0
        self._descriptor: int | None = None
        self._sound_bytes = self._load()

    @property
    def entries(self) -> Mapping[str, Entry]:
        """What is known of each partition, in the order in which they were met."""
        return self._entries

    def compressed(self, path: str, inode: int) -> str | None:
        """Return the partition whose text this compressed file holds, None where it is known of none."""
        return self._compressed.get((path, inode))

    def reserve(self, partitions: Iterable[str]) -> None:
        """Give none of these names to anything new."""
        for partition in partitions:
            base, number = split(partition)
            self._highest[base] = max(number, self._highest.get(base, 0))

    def new_name(self, path: str) -> str:
        """Return a name for what has come at `path`: one that nobody has."""
        return name(path, self._highest.get(path, 0) + 1)

    def meet(self, met: Met) -> None:
        """Note which file a partition is."""
        self._write(met)

    def move(self, partition: str, path: str, inode: int) -> None:
        """Note that a partition's text lies elsewhere now."""
        if partition in self._entries:
            self._write(Moved(partition, path, inode))

    def end(self, partition: str, end: int, lost: int = 0) -> None:
        """Note that nothing more of a partition will come."""
        if partition in self._entries:
            self._write(Ended(partition, end, lost))

    def settle(self, partition: str) -> None:
        """Note that a partition is settled to its end."""
        if partition in self._entries:
            self._write(Settled(partition))

    def hold_compressed(self, partition: str, path: str, inode: int) -> None:
        """Note that a compressed file holds a partition's text."""
        self._write(Compressed(partition, path, inode))

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None

    def _load(self) -> int:
        """Read the roll; return how much of the file is sound. A power cut may have left half a line at its end."""
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return 0
        except OSError as error:
            raise _trouble(self._path, error) from error
        sound = content.rfind(b"\n") + 1
        decoder = msgspec.json.Decoder(Event)
        try:
            for line in content[:sound].splitlines():
                self._apply(decoder.decode(line))
        except msgspec.DecodeError as error:
            raise _trouble(self._path, error) from error
        return sound

    def _apply(self, event: Event) -> None:
        self._lines += 1
        match event:
            case Met(partition, path, inode, changed_ns, head, columns):
                self._add(partition, Entry(path, inode, changed_ns, head, columns))
            case Moved(partition, path, inode):
                self._entries[partition].path = path
                self._entries[partition].inode = inode
            case Ended(partition):
                self._entries[partition].ended = event
            case Settled(partition):
                if partition not in self._entries:  # written anew: nothing else of it matters any more
                    self._add(partition, Entry(split(partition)[0], 0, 0, Head(0, ""), ()))
                self._entries[partition].is_settled = True
            case Compressed(partition, path, inode):
                self._compressed[path, inode] = partition

    def _add(self, partition: str, entry: Entry) -> None:
        self._entries[partition] = entry
        self.reserve([partition])

    def _write(self, event: Event) -> None:
        with self._lock:
            line = msgspec.json.encode(event) + b"\n"
            try:
                if self._descriptor is None:
                    self._descriptor = self._open()
                os.truncate(self._descriptor, self._sound_bytes)  # a write that failed may have left a part
                os.write(self._descriptor, line)
                os.fsync(self._descriptor)
            except OSError as error:
                raise _trouble(self._path, error) from error
            self._sound_bytes += len(line)
            self._apply(event)

    def _open(self) -> int:
        make_folder(self._state)
        make_folder(self._path.parent)
        make_file(self._path)
        if self._lines > max(LINES_KEPT_MIN, 2 * sum(1 for _ in self._kept())):
            self._write_anew()
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)

    def _kept(self) -> Iterator[Event]:
        """Yield what a new roll needs to hold: of what is settled, that it is."""
        for partition, entry in self._entries.items():
            if not entry.is_settled:
                yield Met(partition, entry.path, entry.inode, entry.changed_ns, entry.head, entry.columns)
                if entry.ended:
                    yield entry.ended
            else:
                yield Settled(partition)
        for (path, inode), partition in self._compressed.items():
            yield Compressed(partition, path, inode)

    def _write_anew(self) -> None:
        new = self._path.with_suffix(".new")
        make_file(new)
        content = b"".join(msgspec.json.encode(event) + b"\n" for event in self._kept())
        with new.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._path)
        sync(self._path.parent)
        self._lines, self._sound_bytes = content.count(b"\n"), len(content)


def _trouble(path: Path, error: Exception) -> Unavailable:
    return Unavailable("INT_ALPHA_017", f"{path}: {getattr(error, 'strerror', None) or error}")
