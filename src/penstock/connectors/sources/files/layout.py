"""Proves by counting that a block of CSV is just the values that Arrow parsed out of it, and how they stand in it.

Arrow is laxer than `Dialect`: it takes text after a closing quote, and passes by blank lines without a word. To look at
every byte again for that costs as much as parsing does. But most files are regular: one record a line, and of a column
all values quoted or none. If the values, written like that, are as long as the block, and the quotes and line breaks
that then must be there are, nothing is left over that could be anything else.
"""

from __future__ import annotations

import re
from functools import reduce
from typing import TYPE_CHECKING

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from collections.abc import Sequence

    from penstock.connectors.sources.files.header import Dialect

BLOCK_BYTES_MAX = 256 << 20
"""Places in a larger block, wrong ones included, might not be int32."""
RECORDS_LOOKED_AT = 10
"""Which columns are quoted is seen in the first records of a block. One may be null there, and nulls are not quoted."""
PIECE_BYTES = 256 << 10
"""Values are searched through in pieces that the processor's cache holds."""
_QUOTE = ord('"')


class Layout(msgspec.Struct, frozen=True):
    """What is known beforehand of how values stand in a file.

    `field` is one field, possibly empty. `null_bytes` says how long a null is; None where that differs.
    """

    field: re.Pattern[bytes]
    null_bytes: int | None

    @classmethod
    def of(cls, dialect: Dialect) -> Layout:
        """Return the layout of a file in this dialect."""
        lengths = {len(text.encode()) for text in dialect.null_values} or {0}
        has_quote = any('"' in text for text in dialect.null_values)
        return cls(dialect.field, None if len(lengths) > 1 or has_quote else lengths.pop())

    def is_regular(self, block: bytes, end: int, columns: Sequence[pa.StringArray]) -> bool:
        """Return whether block[:end] surely is one line for each record, with every quote in its place.

        `columns` are what Arrow parsed out of it: all columns, in the file's order. False says nothing.

        Why this is sure: bytes that are no value's are delimiters, of which there are as many as there must be, quotes
        and line breaks. No value holds one of these two, so there are at least as many of them as places where they
        were found, and no bytes are left for more. So the quotes that are there are those that were found. The first of
        two opens a field, or Arrow would have taken it for a value's byte. The second closes it, and no text follows,
        or the value would be longer than what stands between them.
        """
        if not 0 < len(columns[0]) <= end <= BLOCK_BYTES_MAX:
            return False
        if self.null_bytes is None and any(column.null_count for column in columns):
            return False
        line_break = b"\r\n" if block.endswith(b"\r\n", 0, block.find(b"\n", 0, end) + 1) else b"\n"
        quoted = self._quoted(block, end, len(columns))
        lengths = [pc.binary_length(column) for column in columns]  # null where the value is
        widths = [self._width(length, is_quoted=each) for length, each in zip(lengths, quoted, strict=True)]
        between = len(columns) - 1
        lines = pc.add(reduce(pc.add, widths), pa.scalar(between + len(line_break), pa.int32()))
        after = pc.cumulative_sum(lines)
        if after[-1].as_py() != end:
            return False
        # A place is a number in `at` and as many bytes more as `text` begins later.
        text = pa.Array.from_buffers(pa.uint8(), end, [None, pa.py_buffer(block)])
        at = pc.subtract(after, lines)
        for place, (length, width, is_quoted) in enumerate(zip(lengths, widths, quoted, strict=True)):
            if is_quoted and not _is_enclosed(text.slice(place), at, length):
                return False
            at = pc.add(at, width)
        found = all(_all_are(byte, text.slice(place), at) for place, byte in enumerate(line_break, start=between))
        return found and not any(map(_holds_structure, columns))

    def _width(self, length: pa.Int32Array, *, is_quoted: bool) -> pa.Int32Array:
        width = pc.add(length, pa.scalar(len('""'), pa.int32())) if is_quoted else length
        return width.fill_null(self.null_bytes) if width.null_count else width

    def _quoted(self, block: bytes, end: int, fields: int) -> list[bool]:
        """Tell which fields are quoted in any of the first records."""
        quoted, at = [False] * fields, 0
        for _ in range(RECORDS_LOOKED_AT):
            for place in range(fields):
                match = self.field.match(block, at, end) if at < end else None
                if match is None:
                    return quoted
                quoted[place] |= match.group().startswith(b'"')
                at = match.end() + 1
            at += block.startswith(b"\r\n", at - 1)
        return quoted


def _is_enclosed(text: pa.UInt8Array, opening: pa.Int32Array, length: pa.Int32Array) -> bool:
    """Return whether fields that are not null have a quote on either side."""
    end = pc.add(opening, length)  # null where the value is
    opening = pc.subtract(end, length) if length.null_count else opening
    return _all_are(_QUOTE, text, opening) and _all_are(_QUOTE, text.slice(1), end)


def _all_are(byte: int, text: pa.UInt8Array, places: pa.Int32Array) -> bool:
    """Return whether `byte` stands at all places that are not null."""
    found = pc.min_max(text.take(places))
    return {found["min"].as_py(), found["max"].as_py()} <= {byte, None}


def _holds_structure(column: pa.StringArray) -> bool:
    """Return whether a value of `column` holds a quote, a line feed or a carriage return."""
    data = column.buffers()[2]
    if data is None:
        return False
    view = memoryview(data)
    for start in range(0, len(view), PIECE_BYTES):
        piece = bytes(view[start : start + PIECE_BYTES])
        if b'"' in piece or b"\n" in piece or b"\r" in piece:
            return True
    return False
