"""The folder of a table on a disk: files that nobody sees yet, files that everybody sees, and the manifest in between.

A commit is three steps, and the first decides:

1.  The next manifest, naming files that still are in `_penstock/unfinished`, gets its name: from here on it happens.
2.  Each of its files is renamed to where it belongs.
3.  The manifest is replaced by the next one.

Whoever opens the folder after a crash takes the steps that are left. So no file is ever to be seen that is not
committed, and no manifest ever names a file that is not in its place.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

import duckdb
from filelock import FileLock, Timeout

from penstock.connectors.sinks.files.manifest import decode, encode
from penstock.connectors.sinks.files.trouble import explained
from penstock.connectors.sources.files.partitions import read_name
from penstock.errors import Unavailable, UserMistake
from penstock.ledger.folder import sync

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from penstock.connectors.sinks.files.manifest import DataFile, Manifest

OURS = "_penstock"
"""The folder inside a table's folder for what is not data. Readers pass by names that begin with an underscore."""
MANIFEST = "manifest.json"
_NEXT = "manifest.next.json"
_LOCK = "lock"
_UNFINISHED = "unfinished"
_SPILLED = "spilled"
NAMES_SHOWN_MAX = 5
"""More names help nobody."""


class Folder:
    """A table's folder. Used by one thread at a time; between `hold` and `release` by no other process.

    Raises UserMistake and Unavailable for what the operating system refuses.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ours = path / OURS
        self._unfinished = self._ours / _UNFINISHED
        self._lock: FileLock | None = None

    def __str__(self) -> str:
        return str(self.path)

    def hold(self) -> None:
        """Make the folder where it is missing, and be its only writer until `release`. Unavailable where another is."""
        if self._lock is not None:
            return
        with explained(self.path):
            _make(self._unfinished)
            self._lock = self._locked()

    def release(self) -> None:
        """Let others write."""
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.release()

    def glance(self) -> Manifest | None:
        """Return the manifest, if any, and touch nothing. Raises what `hold`, `load` and `check` would."""
        with explained(self.path):
            decided = self._read(_NEXT)
            manifest = decided or self._read(MANIFEST)
            if decided is None:
                self.check(manifest)
            if self._lock is None and (self._ours / _LOCK).exists():
                self._locked().release()
            here = next(path for path in (self._ours, *self._ours.parents) if path.exists())
            if not here.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(here))
            if not os.access(here, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(here))
            return manifest

    def load(self) -> Manifest | None:
        """Take the steps of a commit that are left, remove what no commit names, and return the manifest, if any.

        Raises UserMistake where it is damaged.
        """
        with explained(self.path):
            decided = self._read(_NEXT)
            if decided is not None:
                self._carry_out(decided)
            manifest = self._read(MANIFEST)
            if manifest is not None:
                self._remove(manifest.retired)
            self.discard()
            return manifest

    def check(self, manifest: Manifest | None) -> None:
        """Raise UserMistake where a file that `manifest` names is missing or another, or where one is foreign."""
        named = {file.path: file.bytes for file in manifest.files} if manifest else {}
        with explained(self.path):
            there = dict(self._data_files())
        wrong = [path for path, size in named.items() if there.get(path) != size]
        if wrong:
            raise UserMistake(
                "INT_GAMMA_015",
                f"`{self.path}` is not what its manifest says: {_listed(wrong)} missing, or of another size",
                remedy="restore them; or move the folder away, and read everything again with --rewind",
            )
        foreign = sorted(there.keys() - named.keys())
        if foreign:
            raise UserMistake(
                "INT_GAMMA_015",
                f"`{self.path}` holds data files that Penstock did not write: {_listed(foreign)}",
                remedy="move them away, or give the connection another path",
            )

    def create(self, name: str) -> NewFile:
        """Begin a file, which nobody sees until `commit` names it. `name` is the last part of its path to be."""
        with explained(self.path):
            return NewFile(self._unfinished / _unfinished(name))

    def commit(self, manifest: Manifest, new: Iterable[DataFile]) -> None:
        """Make `manifest` the table's, durably, or leave the one that is. `new` of its files are still unfinished.

        After a failure `load` tells which of the two it was.
        """
        with explained(self.path):
            if list(new):
                sync(self._unfinished)
                self._put(_NEXT, manifest)
                self._carry_out(manifest)
            else:
                self._put(MANIFEST, manifest)
            self._remove(manifest.retired)

    def discard(self) -> None:
        """Remove all unfinished files, unless a commit is decided that names them, or another may be writing them."""
        if self._lock is None or (self._ours / _NEXT).exists():
            return
        with explained(self.path):
            for path in self._unfinished.iterdir() if self._unfinished.is_dir() else ():
                path.unlink(missing_ok=True)

    def open_engine(self, memory_bytes: int) -> duckdb.DuckDBPyConnection:
        """Open an engine that reads files of this folder, and spills into it."""
        engine = duckdb.connect(
            ":memory:",
            config={
                "memory_limit": f"{memory_bytes}B",
                "preserve_insertion_order": True,
                "temp_directory": str(self._ours / _SPILLED),
                "autoload_known_extensions": False,
                "autoinstall_known_extensions": False,
                # A Python variable that happens to be called like a table must not become one.
                "python_enable_replacements": False,
            },
        )
        # Global, or a cursor would run in the machine's time zone. Known only once the engine is up.
        engine.execute("SET GLOBAL TimeZone = 'UTC'")
        return engine

    def locate(self, file: DataFile) -> str:
        """Return what a reader calls a file that is committed."""
        return str(self.path / file.path)

    def _locked(self) -> FileLock:
        # Without a lock of the kernel's there is only one that outlives its process: better to say so and stop.
        lock = FileLock(self._ours / _LOCK, thread_local=False, fallback_to_soft=False)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            raise Unavailable("INT_GAMMA_010", f"`{self.path}` is being written to by another run") from None
        return lock

    def _carry_out(self, decided: Manifest) -> None:
        """Put every file of a decided commit into its place, then the manifest into its own."""
        touched = {self._unfinished}
        waiting = {path.name for path in self._unfinished.iterdir()}
        for file in decided.files if waiting else ():
            place = self.path / file.path
            name = _unfinished(place.name)
            if name in waiting:
                _make(place.parent)
                (self._unfinished / name).replace(place)
                touched.add(place.parent)
        for folder in touched:
            sync(folder)
        (self._ours / _NEXT).replace(self._ours / MANIFEST)
        sync(self._ours)

    def _read(self, name: str) -> Manifest | None:
        path = self._ours / name
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        return decode(content, str(path))

    def _put(self, name: str, manifest: Manifest) -> None:
        new = NewFile(self._unfinished / _unfinished(name))
        try:
            new.write(encode(manifest))
            new.close()
        except BaseException:  # whatever it was, nothing may be left open; it is raised on
            new.abandon()
            raise
        new.path.replace(self._ours / name)
        sync(self._ours)

    def _remove(self, paths: Iterable[str]) -> None:
        for path in paths:
            (self.path / path).unlink(missing_ok=True)

    def _data_files(self) -> Iterator[tuple[str, int]]:
        """Yield path and size of all that reads like a data file, other programs' notes left out."""
        for folder, folders, names in os.walk(self.path):
            folders[:] = sorted(name for name in folders if not _is_note(name))
            for name in names:
                if read_name(name) is not None and not _is_note(name):
                    path = Path(folder, name)
                    yield str(PurePath(path).relative_to(self.path)), path.stat().st_size


class NewFile(io.RawIOBase):
    """A file that is being written: counted, hashed, and on the disk once it is closed."""

    def __init__(self, path: Path) -> None:
        """Create the file. Raises OSError."""
        super().__init__()
        self.path = path
        self.bytes = 0
        self._hash = hashlib.sha256()
        self._abandoned = False
        self._descriptor = os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_CLOEXEC, 0o666)

    @property
    def sha256(self) -> str:
        """The hash of what was written, in hex."""
        return self._hash.hexdigest()

    def writable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return how many bytes were written."""
        return self.bytes

    def write(self, content: object, /) -> int:
        """Write all of `content`. Raises OSError."""
        view = memoryview(content).cast("B")  # type: ignore[arg-type]  # whatever has bytes: io's stubs say it otherwise
        size = len(view)
        if self._abandoned:
            return size
        self._hash.update(view)
        while view:
            written = os.write(self._descriptor, view)
            view = view[written:]
        self.bytes += size
        return size

    def close(self) -> None:
        """Make the content durable, and close. Raises OSError."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            try:
                if not self._abandoned:
                    os.fsync(descriptor)
            finally:
                os.close(descriptor)
        super().close()

    def abandon(self) -> None:
        """Close, and take whatever a writer above still has to say for nothing."""
        self._abandoned = True
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def _make(folder: Path) -> None:
    """Create a folder and those above it, durably."""
    if not folder.is_dir():
        _make(folder.parent)
        folder.mkdir(exist_ok=True)
        sync(folder.parent)


def _unfinished(name: str) -> str:
    """Return what a file is called until it is committed: nothing that a pattern for data files fits."""
    return name.replace(".", "-") + ".new"


def _is_note(name: str) -> bool:
    return name.startswith(("_", "."))


def _listed(paths: list[str]) -> str:
    shown = ", ".join(paths[:NAMES_SHOWN_MAX])
    return shown if len(paths) <= NAMES_SHOWN_MAX else f"{shown} and {len(paths) - NAMES_SHOWN_MAX} more"
