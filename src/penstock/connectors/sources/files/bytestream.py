"""The bytes of a file, decompressed, from any offset on, with bounded memory."""

from __future__ import annotations

import os
import zlib
from typing import TYPE_CHECKING, Protocol

import pyarrow as pa

from penstock.connectors.sources.files.partitions import Compression

if TYPE_CHECKING:
    from io import FileIO
    from pathlib import Path

WINDOW_BYTES = 64 << 10
"""How much of the text's beginning, and of what lies just before a position, is compared when reading goes on."""
COMPRESSED_BYTES = 16 << 10
"""Compressed input taken at a time: what is lost of the text before a damaged place is at most what this holds."""
ZSTD_PIECE_BYTES = 4 << 10
"""Arrow gives nothing of a read that fails, so reads are small."""


class Damaged(Exception):
    """The file ends early or does not decompress: `what` says how."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


class EndsBefore(Exception):
    """The text ends at `offset`, before a place that must be there."""

    def __init__(self, offset: int) -> None:
        super().__init__(offset)
        self.offset = offset


class ByteStream(Protocol):
    """The text of one file, front to back. Raises OSError as the operating system does."""

    @property
    def stored(self) -> int:
        """Bytes of the file itself that have been taken so far, for progress."""

    def read(self, size: int) -> bytes:
        """Return at least one and at most `size` bytes; none at the end only.

        Raise Damaged where no more can be had, EndsBefore where the file has lost its end since it was opened.
        """

    def unread(self, text: bytes) -> bytes:
        """Go back over `text`, which was read last; return what of it will not be read again, all of it or none."""

    def skip_to(self, offset: int) -> Windows:
        """Go from the beginning to `offset`; return what was passed. Raise EndsBefore where the text is shorter."""

    def close(self) -> None:
        """Close the file."""


class Windows:
    """The first bytes of a text, and the last ones before a moving place, up to WINDOW_BYTES each."""

    __slots__ = ("head", "tail")

    def __init__(self, head: bytes = b"", tail: bytes = b"") -> None:
        self.head = head
        self.tail = tail

    def pass_by(self, text: bytes, end: int) -> None:
        """Move the place on, over text[:end]."""
        if len(self.head) < WINDOW_BYTES:
            self.head += text[: min(end, WINDOW_BYTES - len(self.head))]
        last = text[max(0, end - WINDOW_BYTES) : end]
        self.tail = (self.tail + last)[-WINDOW_BYTES:]


def open_stream(path: Path, compression: Compression) -> ByteStream:
    """Open a file's text at its beginning."""
    file = path.open("rb", buffering=0)
    match compression:
        case Compression.NONE:
            return _Plain(file)
        case Compression.GZIP:
            return _Gzip(file)
        case Compression.ZSTD:
            return _Zstd(file)


class _Plain:
    """A file as it is. It ends where it ended when it was opened: what is written meanwhile is for the next read."""

    def __init__(self, file: FileIO) -> None:
        self._file = file
        self._size = os.fstat(file.fileno()).st_size
        self.stored = 0

    def read(self, size: int) -> bytes:
        left = self._size - self.stored
        text = self._file.read(min(size, left)) if left else b""
        if left and not text:
            raise EndsBefore(self.stored)
        self.stored += len(text)
        return text

    def unread(self, text: bytes) -> bytes:
        self.stored -= len(text)
        self._file.seek(self.stored)
        return b""

    def skip_to(self, offset: int) -> Windows:
        if offset > self._size:
            raise EndsBefore(self._size)
        windows = Windows(self._exactly(0, min(offset, WINDOW_BYTES)))
        start = max(0, offset - WINDOW_BYTES)
        windows.tail = self._exactly(start, offset - start)
        return windows

    def close(self) -> None:
        self._file.close()

    def _exactly(self, start: int, size: int) -> bytes:
        self._file.seek(start)
        text = b""
        while len(text) < size and (piece := self._file.read(size - len(text))):
            text += piece
        self.stored = start + size
        return text


class _Decompressed:
    """What gzip and zstd share: a place in the text is reached by decompressing all that comes before it."""

    def read(self, size: int) -> bytes:
        raise NotImplementedError

    def unread(self, text: bytes) -> bytes:
        return text

    def skip_to(self, offset: int) -> Windows:
        windows, passed = Windows(), 0
        while passed < offset:
            text = self.read(min(offset - passed, 1 << 20))
            if not text:
                raise EndsBefore(passed)
            windows.pass_by(text, len(text))
            passed += len(text)
        return windows


class _Gzip(_Decompressed):
    """One gzip member after another; zeros after the last are padding."""

    def __init__(self, file: FileIO) -> None:
        self._file = file
        self._member = zlib.decompressobj(wbits=31)
        self._pending = b""
        self._taken = 0

    @property
    def stored(self) -> int:
        return self._taken - len(self._pending)

    def read(self, size: int) -> bytes:
        while True:
            if self._member.eof and not self._next_member():
                return b""
            compressed = self._pending or self._take()
            if not compressed:
                raise Damaged(f"its gzip stream breaks off after {self.stored:,} compressed bytes")
            try:
                text = self._member.decompress(compressed, size)
            except zlib.error as error:
                raise Damaged(f"its gzip stream is damaged near compressed byte {self.stored:,} ({error})") from error
            self._pending = self._member.unconsumed_tail or self._member.unused_data
            if text:
                return text

    def close(self) -> None:
        self._file.close()

    def _take(self) -> bytes:
        compressed = self._file.read(COMPRESSED_BYTES)
        self._taken += len(compressed)
        return compressed

    def _next_member(self) -> bool:
        while not (rest := self._pending.lstrip(b"\0")):
            self._pending = self._take()
            if not self._pending:
                return False
        self._pending = rest
        self._member = zlib.decompressobj(wbits=31)
        return True


class _Zstd(_Decompressed):
    """One zstd frame after another."""

    def __init__(self, file: FileIO) -> None:
        self._file = file
        # Arrow takes an empty file for an empty text; a frame's first byte alone is cut short for it, too.
        is_empty = os.fstat(file.fileno()).st_size == 0
        self._text = pa.CompressedInputStream(pa.BufferReader(b"\x28") if is_empty else file, "zstd")

    @property
    def stored(self) -> int:
        return self._file.tell()

    def read(self, size: int) -> bytes:
        try:
            text: bytes = self._text.read(min(size, ZSTD_PIECE_BYTES))
        except OSError as error:
            if error.errno is not None:  # the file system's complaint, not the decompressor's
                raise
            raise Damaged(f"its zstd stream is damaged before compressed byte {self.stored:,} ({error})") from error
        return text

    def close(self) -> None:
        self._text.close()
        self._file.close()
