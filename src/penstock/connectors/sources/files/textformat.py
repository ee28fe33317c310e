"""What the formats of text files have in common: records out of a block of bytes, good and bad."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec
import pyarrow as pa

from penstock.model.outcome import RecordError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from penstock.ports import Reread

CUT_SHORT = b"\0[cut short]"
"""Ends an original that was too long to keep. No record can hold it, so none is taken for whole that is not."""


class Refusal(msgspec.Struct, frozen=True):
    """A bad record of a block: its 0-based number and line there, its bytes `start` ≤ b < `end`, and why."""

    number: int
    line: int
    start: int
    end: int
    error: RecordError


class Taken(msgspec.Struct, frozen=True):
    """What became of the first `used` bytes of a block, which hold `lines` line breaks and `count` records.

    `records` are the good ones. `triaged` tells that they were looked at one by one.
    """

    used: int
    lines: int
    count: int
    records: pa.RecordBatch
    refusals: tuple[Refusal, ...] = ()
    triaged: bool = False


class TextFormat(Protocol):
    """How records lie in text. Where a record begins is known without what came before it."""

    schema: pa.Schema

    def take(self, block: bytes, *, final: bool) -> Taken:
        """Take whole records from the start of `block`, where a record begins; use nothing where more is needed.

        When `final`, the block ends with a line break and nothing comes after it, so all of it is used in the end.
        What is decided about a record does not depend on where blocks end.
        """

    def bounds(self, block: bytes) -> Iterator[tuple[int, int]]:
        """Return where each record of `block` begins and ends, line break excluded; `block` is one that was taken."""

    def reread(self, originals: Sequence[bytes]) -> Reread:
        """Parse single records again, each without the line break that ended it."""


def length_without_break(text: bytes) -> int:
    """Return the length of a line or record without the LF or CRLF that ends it."""
    if text.endswith(b"\r\n"):
        return len(text) - 2
    return len(text) - text.endswith((b"\n", b"\r"))


def keep(record: bytes, limit: int) -> bytes:
    """Return what is kept of a bad record as its original: all of it, or its beginning where it is over-long."""
    return record if len(record) <= limit else record[:limit] + CUT_SHORT


def is_plain_text(block: bytes, end: int) -> bool:
    """Return whether block[:end] is UTF-8 without NUL."""
    if block.find(b"\0", 0, end) >= 0:
        return False
    if block.isascii():
        return True
    offsets = pa.array([0, end], pa.int32()).buffers()[1]
    try:
        pa.Array.from_buffers(pa.binary(), 1, [None, offsets, pa.py_buffer(block)]).cast(pa.string())
    except pa.ArrowInvalid:
        return False
    return True


def encoding_error(record: bytes) -> RecordError | None:
    """Say why `record` is not text, None where it is."""
    place = record.find(b"\0")
    if place >= 0 and record.startswith(CUT_SHORT, place):
        message = "longer than a record may be: only its beginning was kept"
        return RecordError("INT_ALPHA_006", "", message, expected="a whole record", actual="its beginning")
    if place >= 0:
        return _not_text("NUL byte", place)
    try:
        record.decode()
    except UnicodeDecodeError as error:
        return _not_text(f"byte 0x{record[error.start]:02x}", error.start)
    return None


def _not_text(what: str, place: int) -> RecordError:
    message = f"not UTF-8 text: {what} at byte {place + 1} of the record"
    return RecordError("INT_ALPHA_005", "", message, expected="UTF-8 text", actual=f"{what} at {place + 1}")


def length_error(length: int, limit: int) -> RecordError:
    """Say that a record of `length` bytes is longer than `limit`."""
    return RecordError(
        "INT_ALPHA_006",
        "",
        f"longer than a record may be: {length:,} bytes, at most {limit:,}",
        expected=f"at most {limit} bytes",
        actual=f"{length} bytes",
    )


def lines_fit(block: bytes, end: int, limit: int) -> bool:
    """Return whether every line of block[:end], which ends with a line break, is surely no longer than `limit`."""
    start = 0
    while end - start > limit:
        line_break = block.rfind(b"\n", start, min(end, start + limit + 1))
        if line_break < 0:
            return False
        start = line_break + 1
    return True
