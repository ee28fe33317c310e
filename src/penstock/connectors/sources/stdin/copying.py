"""Copies standard input into a journal: whole lines, in groups, each synced before anything of it is given out."""

from __future__ import annotations

import fcntl
import os
import select
import time
from contextlib import suppress
from threading import Event, Thread
from typing import TYPE_CHECKING

from penstock.errors import UserMistake

if TYPE_CHECKING:
    from penstock.connectors.sources.stdin.journal import Journal

READ_BYTES = 1 << 20
"""Taken from the pipe at a time; and as much the pipe is asked to hold, so that it fills while we sync."""
GROUP_BYTES = 4 << 20
"""A group is held in memory until it is synced."""
GROUP_S = 0.01
"""A group is closed after this time even while more is coming."""
RETRY_S = 0.5
"""Between two attempts to write what could not be written."""

_copied: set[int] = set()
"""Descriptors that are copied from: a process has one standard input, and what one takes the other does not get."""


class Copier:
    """A thread that copies from `descriptor` into `journal` until the input ends or `close` is called.

    A line that is longer than `line_bytes_max` is copied piece by piece; it is for the reader to refuse it.
    """

    def __init__(self, descriptor: int, journal: Journal, line_bytes_max: int) -> None:
        """Raise UserMistake where someone else copies from `descriptor`."""
        if descriptor in _copied:
            raise UserMistake(
                "INT_ALPHA_015", "two tables cannot both be read from standard input", remedy="give one another path"
            )
        _copied.add(descriptor)
        self._input = descriptor
        self._journal = journal
        self._line_bytes_max = line_bytes_max
        self._rest = b""
        self._stopping = Event()
        self._wake_end, self._wake = os.pipe()
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLIN)
        self._poll.register(self._wake_end, select.POLLIN)
        with suppress(OSError, AttributeError):  # no pipe, or a system without this
            fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, READ_BYTES)
        self._thread = Thread(target=self._copy, name="standard input", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop copying. What was taken from the pipe and is a whole line is in the journal when this returns."""
        self._stopping.set()
        with suppress(OSError):
            os.write(self._wake, b"\0")
        self._thread.join()
        os.close(self._wake)
        os.close(self._wake_end)
        _copied.discard(self._input)

    def _copy(self) -> None:
        ended = False
        while not ended and not self._stopping.is_set():
            if self._journal.wait_for_reader(RETRY_S):
                group, ended = self._group()
                lines = self._whole_lines(group, ended=ended)
                if lines and not self._write(lines):
                    break
        if ended:
            self._journal.end()
        else:
            self._journal.stop()

    def _group(self) -> tuple[bytes, bool]:
        """Wait for input and return all that is there, and whether the input has ended."""
        pieces: list[bytes] = []
        size, began_s = 0, float("inf")
        while size < GROUP_BYTES and time.monotonic() - began_s < GROUP_S:
            ready = {descriptor for descriptor, _ in self._poll.poll(0 if pieces else None)}
            if self._input not in ready or self._stopping.is_set():
                break
            try:
                piece = os.read(self._input, READ_BYTES)
            except BlockingIOError:
                continue
            if not piece:
                return b"".join(pieces), True
            if not pieces:
                began_s = time.monotonic()
            pieces.append(piece)
            size += len(piece)
        return b"".join(pieces), False

    def _whole_lines(self, group: bytes, *, ended: bool) -> bytes:
        """Return what can be copied, and hold the rest: the beginning of a line."""
        text = self._rest + group
        end = text.rfind(b"\n") + 1
        if ended and end < len(text):
            text += b"\n"
        if ended or len(text) - end > self._line_bytes_max:
            end = len(text)
        self._rest = text[end:]
        return text[:end]

    def _write(self, lines: bytes) -> bool:
        """Write, trying again until it works; tell whether it did before we were stopped."""
        while True:
            try:
                self._journal.append(lines)
            except OSError:  # the journal tells the reader
                if self._stopping.wait(RETRY_S):
                    return False
            else:
                return True
