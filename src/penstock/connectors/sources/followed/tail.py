"""A text file that is held open and read as it grows."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.connectors.sources.files.bytestream import Windows
from penstock.connectors.sources.files.partitions import Compression, Encoding
from penstock.connectors.sources.files.positions import changed, fingerprint
from penstock.connectors.sources.followed.formats import GLANCE_BYTES
from penstock.connectors.sources.followed.growing import GrowingText, Place
from penstock.connectors.sources.followed.marks import FileMarks, FollowedToken, Head, token_of, windows_at
from penstock.errors import UserMistake

if TYPE_CHECKING:
    from collections.abc import Callable

    from penstock.connectors.sources.followed.formats import Beginning, Formats
    from penstock.model.position import Position
    from penstock.ports import Chunk

COMPARED_BYTES = 1 << 10
"""With every read, so much before it and so much at the beginning is compared with what was read there: a file may be
emptied and filled again between two looks."""
READ_AGAIN_BYTES = 64 << 10
"""Where so much has come, the beginning of a record that is held is read again instead of being copied in front."""
HEADER_SETTLES_S = 1.0
"""A header that cannot be read may be half written: it is an error when it has not changed for so long."""
_UNREADABLE = "INT_ALPHA_012"


class Gone(Exception):
    """What was read of the file is no longer what it begins with: it was emptied, or written anew."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What a tail needs to know of its file: a name for messages, and how it is read."""

    label: str
    encoding: Encoding
    formats: Formats


def path_of(descriptor: int) -> Path:
    """Return a path by which an open file can be opened once more, whatever became of its name."""
    os.lseek(descriptor, 0, os.SEEK_SET)  # some systems give the same open file again; ours is read by place anyway
    return Path(f"/dev/fd/{descriptor}")


class Tail:
    """One open file, from a position on. Methods raise OSError as the operating system does."""

    def __init__(self, descriptor: int, kind: Kind, start: Position | None, seen: int = 0) -> None:
        """`descriptor` becomes ours to close; `seen` is how large the file was before it was opened.

        Of what lies before `start` nothing is trusted before it was compared.
        """
        self._descriptor = descriptor
        self._kind = kind
        self._start = start
        self._marks = FileMarks(Windows())
        self._text: GrowingText | None = None
        self._goes_on_in_line = False
        self._unreadable: tuple[int, float] | None = None
        self._changed_ns = 0
        self.columns: tuple[str, ...] = ()
        """Those of the header, once it is known."""
        self.seen = seen
        """The largest size that the file was seen to have."""
        self.grew_s = float("-inf")
        """When it was last seen to be larger than before."""

    @property
    def token(self) -> FollowedToken | None:
        """What tells the text that was read from others; None where nothing was."""
        if self._text is None:
            return token_of(self._start)
        return self._marks.at(self._text.begins, self._text.place.line)

    @property
    def held(self) -> bytes:
        """The beginning of a record whose end has not come."""
        return self._text.held if self._text else b""

    @property
    def unread_bytes(self) -> int:
        """How much more of the file was seen than was given out as records."""
        token = token_of(self._start)
        before = token.offset if token else 0
        return max(0, self.seen - (self._text.place.offset if self._text else before))

    def is_named(self) -> bool:
        """Tell whether any name leads to the file."""
        return os.fstat(self._descriptor).st_nlink > 0

    def file(self) -> tuple[int, int]:
        """Return device and inode."""
        status = os.fstat(self._descriptor)
        return status.st_dev, status.st_ino

    def changed_ns(self) -> int:
        """Return when the file was last written to."""
        return os.fstat(self._descriptor).st_mtime_ns

    def head(self) -> Head:
        """Return how the file begins."""
        return Head.of(os.pread(self._descriptor, GLANCE_BYTES, 0))

    def path(self) -> Path:
        """Return a path that leads to the file while it is open here."""
        return path_of(self._descriptor)

    def look(self, now_s: float) -> int:
        """Return how large the file is now. Raises Gone where it has become smaller, or was written to and has not."""
        status = os.fstat(self._descriptor)
        size, changed_ns = status.st_size, status.st_mtime_ns
        if size < self.seen:
            raise Gone
        if size > self.seen:
            self.seen, self.grew_s = size, now_s
        elif changed_ns != self._changed_ns and self._text is not None:
            self._compare(self._text.end, self._text.held)
        self._changed_ns = changed_ns
        return size

    def take(self, partition: Callable[[], str], now_s: float) -> Chunk | None:
        """Return the complete records that have come, at most READ_BYTES of them, None where there are none.

        `partition` is asked for the name once there is a record. Raises Gone where what was read is there no more,
        ContentChanged where a line goes on that was read as a record, UserMistake where the header is wrong.
        """
        seen = self.seen
        try:
            return self._take(partition, self.look(now_s), now_s)
        except Gone:
            self.seen = seen  # what is there now is something else
            raise

    def finish(self, partition: Callable[[], str]) -> Chunk | None:
        """Return what is held as records, None where nothing is left: nothing more will come. Raises as `take`."""
        text = self._text or self._begin(self.seen, 0.0, final=True)
        if text is None:
            return None
        self._read(text, self.seen)
        chunk = text.take(partition, self._kind.formats.saw, final=True)
        self._goes_on_in_line = not self._marks.tail.endswith(b"\n") and self._marks.tail != b""
        return chunk

    def duplicate(self) -> int:
        """Return a descriptor of its own for the same file."""
        return os.dup(self._descriptor)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def _take(self, partition: Callable[[], str], size: int, now_s: float) -> Chunk | None:
        text = self._text or self._begin(size, now_s)
        while text is not None:
            if self._goes_on_in_line:
                self._goes_on_in_line = not self._line_has_ended(text)
            if not self._goes_on_in_line:
                chunk = text.take(partition, self._kind.formats.saw)
                if chunk is not None:
                    return chunk
            if not self._read(text, size):
                break
        return None

    def _begin(self, size: int, now_s: float, *, final: bool = False) -> GrowingText | None:
        """Find the place to read from, None where that must wait."""
        token = token_of(self._start)
        windows = None if token is None else self._windows_before(token)
        beginning = self._beginning(size, now_s, final=final)
        if beginning is None:
            return None
        if token is None or windows is None or self._start is None:
            place = Place(beginning.offset, beginning.line, 0)
            before = os.pread(self._descriptor, beginning.offset, 0)
            self._marks.pass_by(before, len(before))
        else:
            place = Place(token.offset, token.line, self._start.sequence)
            self._goes_on_in_line = not token.accepted and not windows.tail.endswith(b"\n") and windows.tail != b""
            self._marks = FileMarks(windows)
        self.columns = beginning.columns
        text_format = self._kind.formats.open(self._kind.encoding, beginning.columns)
        self._text = GrowingText(text_format, place, self._kind.formats.sizes, self._marks)
        return self._text

    def _windows_before(self, token: FollowedToken) -> Windows:
        windows = windows_at(self.path(), Compression.NONE, token.offset)
        if windows is None or (not token.accepted and fingerprint(windows) != token.sha256):
            raise Gone
        return windows

    def _beginning(self, size: int, now_s: float, *, final: bool) -> Beginning | None:
        """Find where records begin. What cannot be read as a header may become one, and is an error in a while."""
        kind, limit = self._kind, self._kind.formats.sizes.record_bytes_max
        glance = os.pread(self._descriptor, GLANCE_BYTES, 0)
        if b"\n" not in glance and len(glance) < GLANCE_BYTES and not (final and glance):
            return None
        if kind.encoding is Encoding.CSV and len(glance) == GLANCE_BYTES:
            glance = os.pread(self._descriptor, limit + GLANCE_BYTES, 0)
        try:
            return kind.formats.beginning(kind.encoding, kind.formats.text_file(self.path(), kind.label), glance)
        except UserMistake as mistake:
            if mistake.kind.code != _UNREADABLE or size > limit:
                raise
            if self._unreadable is None or self._unreadable[0] != size:
                self._unreadable = size, now_s
            if not final and now_s - self._unreadable[1] < HEADER_SETTLES_S:
                return None
            raise

    def _line_has_ended(self, text: GrowingText) -> bool:
        """Tell whether a line that was read without its end has got it. Raises ContentChanged where it goes on."""
        if text.held.startswith((b"\n", b"\r\n")):
            return True
        if text.held in {b"", b"\r"}:
            return False
        what = f"line {text.place.line:,} was read when it had no line break, and has gone on since"
        raise changed(self._kind.label, what)

    def _read(self, text: GrowingText, size: int) -> bool:
        """Read what has come, up to `size`, and tell whether anything has."""
        held, end = text.held, text.end
        if size <= end:
            return False
        again = held and size - end >= READ_AGAIN_BYTES
        start = text.begins if again else end
        want = text.wanted_bytes if again else text.wanted_bytes - len(held)
        piece = os.pread(self._descriptor, min(want, size - start), start)
        # After the read, so that what was read is known to follow upon what it was read for.
        self._compare(start, b"" if again else held)
        if not again:
            text.put(piece)
        elif piece.startswith(held):
            text.put_again(piece)
        else:
            raise Gone
        return bool(piece)

    def _compare(self, end: int, held: bytes) -> None:
        """Raise Gone where the file is not what was read of it, before `end` and at its beginning.

        `held` is the last of what was read.
        """
        before = (self._marks.tail[-COMPARED_BYTES:] + held[-COMPARED_BYTES:])[-COMPARED_BYTES:]
        first = self._marks.head[:COMPARED_BYTES]
        if os.pread(self._descriptor, len(before), end - len(before)) != before:
            raise Gone
        if os.pread(self._descriptor, len(first), 0) != first:
            raise Gone
