"""The journal of one input: text in segments on disk, of which only what is synced is given out.

It lies in `.penstock/journal/<table>/<when the input began>/<offset>.part`, where the offset is that of the segment's
first byte in the whole text. A segment is written by one process, and never again by another.
"""

from __future__ import annotations

import os
import shutil
from bisect import bisect_right
from contextlib import suppress
from dataclasses import dataclass
from threading import Condition
from typing import TYPE_CHECKING

from penstock.connectors.sources.files.positions import changed
from penstock.ledger.folder import make_file, make_folder, sync

if TYPE_CHECKING:
    from pathlib import Path

PART = ".part"
HEADER = "header"


@dataclass(frozen=True, slots=True)
class JournalLimits:
    """How much is written to one file, and how far the journal may be ahead of its reader."""

    segment_bytes: int = 16 << 20
    """What is settled is taken away a segment at a time."""
    ahead_bytes: int = 64 << 20
    """Beyond it nothing more is taken from the pipe, so that whoever writes to it waits."""


class Journal:
    """One input. Written by one thread, read by another, pruned by any. Methods raise OSError."""

    def __init__(self, folder: Path, limits: JournalLimits, *, is_past: bool) -> None:
        """`is_past` tells that its writer is no more: all that is there is all that there will be."""
        self.folder = folder
        self._limits = limits
        self._changed = Condition()
        self._starts: list[int] = []
        self._descriptor: int | None = None
        self._read_to = 0
        self._last: int | None = None
        self._settled = 0
        self.size = 0
        """How much of the text is synced, from its beginning."""
        self.ended = is_past
        """Whether nothing more will be written."""
        self.trouble: OSError | None = None
        """Why nothing can be written at the moment."""
        if is_past:
            self._starts = sorted(int(path.stem) for path in folder.glob(f"*{PART}"))
            self.size = self._sound_size()

    # --- the writer ---------------------------------------------------------------------------------------------------

    def append(self, text: bytes) -> None:
        """Add `text` and sync it. After a failure none of it is there, and it may be tried again."""
        try:
            descriptor = self._segment(len(text))
            written = 0
            while written < len(text):
                written += os.write(descriptor, memoryview(text)[written:])
            os.fdatasync(descriptor)
        except OSError as error:
            self._abandon_segment()
            self._tell(trouble=error)
            raise
        with self._changed:
            self.size += len(text)
            self.trouble = None
            self._changed.notify_all()

    def end(self) -> None:
        """Say that nothing more will be written."""
        self.stop()
        with self._changed:
            self.ended = True
            self._changed.notify_all()

    def stop(self) -> None:
        """Close the segment that is written to."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def wait_for_reader(self, wait_s: float) -> bool:
        """Wait until there is room ahead of the reader; tell whether there is."""
        with self._changed:
            return self._changed.wait_for(lambda: self.size - self._read_to < self._limits.ahead_bytes, wait_s)

    def _segment(self, size: int) -> int:
        """Return the segment to write to, which has its name durably before anything in it counts."""
        if self._descriptor is not None and self.size + size - self._starts[-1] > self._limits.segment_bytes:
            self.stop()
        if self._descriptor is None:
            make_folder(self.folder)
            path = self._path(self.size)
            make_file(path)
            self._descriptor = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
            with self._changed:
                if self.size not in self._starts:
                    self._starts.append(self.size)
        return self._descriptor

    def _abandon_segment(self) -> None:
        """Take back what may have been written of a group that failed. What was not synced then never will be."""
        if self._descriptor is not None:
            with suppress(OSError):
                os.ftruncate(self._descriptor, self.size - self._starts[-1])
            self.stop()

    def _tell(self, trouble: OSError) -> None:
        with self._changed:
            self.trouble = trouble
            self._changed.notify_all()

    # --- the reader ---------------------------------------------------------------------------------------------------

    def wait(self, offset: int, wait_s: float) -> None:
        """Wait until there is something after `offset`, or nothing more to wait for."""
        with self._changed:
            self._changed.wait_for(lambda: self.size > offset or self.ended or self.trouble is not None, wait_s)

    def read(self, offset: int, size: int) -> bytes:
        """Return up to `size` bytes from `offset` on, at least one where there is any. ContentChanged if pruned."""
        with self._changed:
            starts, end = tuple(self._starts), self.size
        place = bisect_right(starts, offset) - 1
        if offset >= end:
            return b""
        if place < 0:
            raise changed(self.folder.name, f"its journal begins after byte {offset:,}")
        beyond = starts[place + 1] if place + 1 < len(starts) else end
        descriptor = os.open(self._path(starts[place]), os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.pread(descriptor, min(size, beyond - offset), offset - starts[place])
        finally:
            os.close(descriptor)

    def have_read(self, offset: int) -> None:
        """Take note of how far the reader is."""
        with self._changed:
            self._read_to = offset
            self._changed.notify_all()

    def finish(self, offset: int) -> None:
        """Take note that the last record ends at `offset`, and nothing comes after it."""
        with self._changed:
            self._last = offset
        self.prune(0)

    # --- whoever settles ----------------------------------------------------------------------------------------------

    def prune(self, offset: int) -> None:
        """Remove the segments before `offset`, which is settled: all of it once the last record is."""
        with self._changed:
            self._settled = max(self._settled, offset)
            while len(self._starts) > 1 and self._starts[1] <= self._settled:
                self._path(self._starts.pop(0)).unlink(missing_ok=True)
            if self.ended and self._last is not None and self._settled >= self._last:
                self._starts.clear()
                shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def is_removed(self) -> bool:
        """Whether all of it was settled and removed."""
        return self.ended and not self._starts

    @property
    def header(self) -> Path:
        """Where the header is kept: the segment it is in may be pruned, and what follows is read by it."""
        return self.folder / HEADER

    def first(self) -> Path:
        """Return the path of the segment in which the text begins."""
        return self._path(0)

    def _path(self, start: int) -> Path:
        return self.folder / f"{start:020}{PART}"

    def _sound_size(self) -> int:
        """Return where the text of a past input ends: after its last line break, since only whole lines are copied."""
        beyond = None
        for start in reversed(self._starts):
            size = self._path(start).stat().st_size
            line_break = self._last_line_break(start, size if beyond is None else min(size, beyond - start))
            if line_break >= 0:
                return start + line_break + 1
            beyond = start
        return self._starts[0] if self._starts else 0

    def _last_line_break(self, start: int, size: int) -> int:
        with self._path(start).open("rb") as file:
            at = size
            while at > 0:
                at = max(0, at - (64 << 10))
                file.seek(at)
                found = file.read(min(64 << 10, size - at)).rfind(b"\n")
                if found >= 0:
                    return at + found
        return -1


def write_aside(path: Path, content: bytes) -> None:
    """Write a small file as a whole, durably, for its owner alone. Raises OSError."""
    new = path.with_suffix(".new")
    make_file(new)
    with new.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    sync(path.parent)
