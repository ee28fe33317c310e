"""Records of a CSV file: parsed by Arrow where a block is clean, looked at one by one where it is not.

The grammar is `Dialect`'s, and a record has as many fields as the header. Where no such record begins, the line is bad
and reading goes on at the next line.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from penstock.connectors.sources.files.layout import Layout
from penstock.connectors.sources.files.textformat import (
    Refusal,
    Taken,
    encoding_error,
    is_plain_text,
    length_error,
    length_without_break,
    lines_fit,
)
from penstock.model.outcome import RecordError
from penstock.ports import Reread

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from penstock.connectors.sources.files.header import Dialect, Header


PARSE_BYTES = 1 << 20
"""Arrow parses a block in pieces of this size: what fits the processor's cache takes two thirds of the time."""
_LONE_CR = re.compile(rb"\r(?!\n)")


class Delimited:
    """CSV as a TextFormat: every column is text, null where an unquoted field is one of the null values."""

    def __init__(self, header: Header, columns: Sequence[str], dialect: Dialect, record_bytes_max: int) -> None:
        """`columns` are the names to read, all of which the header has; others are passed by."""
        self._names = header.names
        self._dialect = dialect
        self._limit = record_bytes_max
        self._record = dialect.record(len(header.names))
        self._reads_all = len(columns) == len(header.names)
        self._layout = Layout.of(dialect) if self._reads_all else None
        self._order = [columns.index(name) for name in header.names] if self._reads_all else []
        self._one_line_each = True  # so it was in the last block, as far as is known
        self.schema = pa.schema([pa.field(name, pa.string()) for name in columns])
        # Arrow knows columns by their place: a name that is not read may be there twice.
        self._places = [str(place) for place in range(len(header.names))]
        read = [str(header.names.index(name)) for name in columns]
        self._parsing = csv.ParseOptions(delimiter=dialect.delimiter, newlines_in_values=True)
        self._converting = csv.ConvertOptions(
            include_columns=read,
            column_types=dict.fromkeys(read, pa.string()),
            null_values=list(dialect.null_values),
            strings_can_be_null=bool(dialect.null_values),
            quoted_strings_can_be_null=False,
            check_utf8=False,  # a block is checked whole, with the columns that are not read
        )

    def take(self, block: bytes, *, final: bool) -> Taken:
        """See TextFormat."""
        end = block.rfind(b"\n") + 1
        tried = end if self._one_line_each else 0
        records = self._parse_clean(block, tried)
        if records is not None and self._is_regular(block, tried, records):
            return Taken(end, records.num_rows, records.num_rows, records)
        cut = self._last_boundary(block)
        if cut != tried:
            records = self._parse_clean(block, cut)
        taken = None if records is None else self._take_clean(block, cut, records)
        return self._triage(block, final=final) if taken is None else taken

    def bounds(self, block: bytes) -> Iterator[tuple[int, int]]:
        """See TextFormat."""
        whole = block if block.endswith(b"\n") else block + b"\n"
        for start, end, _ in self._scan(whole, final=True):
            yield start, start + length_without_break(whole[start:end])

    def reread(self, originals: Sequence[bytes]) -> Reread:
        """See TextFormat."""
        good: list[bytes] = []
        errors: dict[int, RecordError] = {}
        for number, original in enumerate(originals):
            text = original + b"\n"
            start, end, error = next(self._scan(text, final=True), (0, 0, None))
            if (start, end) == (0, len(text)) and error is None:
                good.append(text)
            else:
                errors[number] = error or _unparsed("not one record", "", "one record", "none, or more than one")
        return Reread(self._parse(pa.py_buffer(b"".join(good))), errors)

    def _last_boundary(self, block: bytes) -> int:
        """Return where the last record ends of those that lie before the first quote out of place."""
        sound = len(block)
        if b'"' in block:
            match = self._dialect.sound.match(block)
            assert match is not None  # the pattern matches nothing, too
            sound = match.end()
        cut = block.rfind(b"\n", 0, sound) + 1
        inside = block.count(b'"', cut, sound) % 2  # up to there quotes come in pairs
        while inside and cut:
            before = block.rfind(b"\n", 0, cut - 1) + 1
            inside ^= block.count(b'"', before, cut) % 2
            cut = before
        return cut

    def _parse_clean(self, block: bytes, cut: int) -> pa.RecordBatch | None:
        """Parse block[:cut] as a whole; None where a record of it may be bad."""
        if not (cut and is_plain_text(block, cut) and lines_fit(block, cut, self._limit)):
            return None
        try:
            return self._parse(pa.py_buffer(block).slice(0, cut))
        except pa.ArrowInvalid:
            return None

    def _is_regular(self, block: bytes, end: int, records: pa.RecordBatch) -> bool:
        """Return whether every line of block[:end] surely is one of `records`, without looking at all of it again."""
        columns = [records.column(place) for place in self._order]
        return self._layout is not None and self._layout.is_regular(block, end, columns)

    def _take_clean(self, block: bytes, cut: int, records: pa.RecordBatch) -> Taken | None:
        """Take `records` for what is in block[:cut], where quotes are in place; None where one may be bad after all."""
        lines = block.count(b"\n", 0, cut)
        self._one_line_each = lines == records.num_rows
        # A lone CR ends a line for Arrow, and is an error for us.
        if b"\r" in block and _LONE_CR.search(block, 0, cut):
            return None
        if not self._one_line_each and cut > self._limit and not self._surely_fit(records):
            return None
        return Taken(cut, lines, records.num_rows, records)

    def _surely_fit(self, records: pa.RecordBatch) -> bool:
        """Return whether no record over several lines can be longer than the limit, were every character a quote."""
        longest = (pc.max(pc.binary_length(column)).as_py() or 0 for column in records.columns)
        return self._reads_all and sum(2 * length + len('"",\n') for length in longest) <= self._limit

    def _parse(self, text: pa.Buffer) -> pa.RecordBatch:
        if text.size == 0:
            return pa.RecordBatch.from_pylist([], self.schema)
        try:
            table = self._read(text, PARSE_BYTES)
        except pa.ArrowInvalid:  # a record longer than that, or a bad one, which fails again
            table = self._read(text, text.size)
        columns = [column.combine_chunks() for column in table.columns]
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)

    def _read(self, text: pa.Buffer, block_size: int) -> pa.Table:
        reading = csv.ReadOptions(column_names=self._places, use_threads=False, block_size=block_size)
        return csv.read_csv(pa.BufferReader(text), reading, self._parsing, self._converting)

    def _triage(self, block: bytes, *, final: bool) -> Taken:
        """Look at every record, and parse the good ones together."""
        refusals: list[Refusal] = []
        good: list[bytes] = []
        number = used = good_from = lines = lines_to = 0
        for start, end, error in self._scan(block, final=final):
            if error is not None:
                lines += block.count(b"\n", lines_to, start)
                lines_to = start
                good.append(block[good_from:start])
                good_from = end
                length = length_without_break(block[start:end])
                refusals.append(Refusal(number, lines, start, start + length, error))
            number += 1
            used = end
        good.append(block[good_from:used])
        records = self._parse(pa.py_buffer(b"".join(good)))
        assert records.num_rows == number - len(refusals), (records.num_rows, number, refusals)
        return Taken(used, block.count(b"\n", 0, used), number, records, tuple(refusals), triaged=True)

    def _scan(self, block: bytes, *, final: bool) -> Iterator[tuple[int, int, RecordError | None]]:
        """Yield start, end and error of each record, line breaks included and blank lines left out.

        Stops where a record is not finished, unless the block is `final`.
        """
        at, size, beyond = 0, len(block), self._limit + len(b"\r\n")
        record, check_text = self._record.match, not is_plain_text(block, size)
        while at < size:
            match = record(block, at, at + beyond)
            if match is not None and length_without_break(match.group()) <= self._limit:
                end = match.end()
                yield at, end, encoding_error(match.group()) if check_text else None
            elif block.startswith((b"\n", b"\r\n"), at):
                end = block.index(b"\n", at) + 1
            else:
                end = block.find(b"\n", at) + 1
                more_may_help = size - at < beyond and self._dialect.unfinished.match(block, at)
                if not end or (more_may_help and not final):
                    return
                yield at, end, self._diagnose(block, at, end)
            at = end

    def _diagnose(self, block: bytes, start: int, end: int) -> RecordError:
        """Say why no record begins at `start`, where a line begins that ends before `end`."""
        line = block[start:end]
        length = length_without_break(line)
        if length > self._limit:  # before anything else: how such a line goes on may not be known
            return length_error(length, self._limit)
        return encoding_error(line) or self._misshapen(block, start, end)

    def _misshapen(self, block: bytes, start: int, end: int) -> RecordError:
        """Say which of the grammar's rules is broken."""
        place, field_start, field_end = self._last_field(block, start)
        name = self._names[place] if place < len(self._names) else ""
        after = block[field_end : field_end + 2]
        ends = after.startswith(b"\n") or after == b"\r\n"
        if block.startswith(b'"', field_start) and (field_end == field_start or (not ends and field_end > end)):
            return _unparsed(f"the quote that opens field {place + 1} is not closed", name, "a closing quote", "none")
        if field_end - start > self._limit or (ends and place + 1 == len(self._names)):
            return length_error(field_end - start, self._limit)
        if ends:
            expected = "1 field" if len(self._names) == 1 else f"{len(self._names)} fields"
            return _unparsed(f"expected {expected}, found {place + 1}", "", expected, str(place + 1))
        if after.startswith(b"\r"):
            message = f"field {place + 1} is followed by a carriage return without a line feed"
            return _unparsed(message, name, "CRLF or LF", "CR")
        message = f"field {place + 1} goes on after its closing quote"
        return _unparsed(message, name, "a delimiter or the end of the line", "more text")

    def _last_field(self, block: bytes, start: int) -> tuple[int, int, int]:
        """Return number, start and end of the field after which no delimiter follows, of a record from `start` on."""
        place, at, beyond = 0, start, min(len(block), start + self._limit + len(b"\r\n"))
        while True:
            match = self._dialect.field.match(block, at, beyond)
            assert match is not None  # the pattern matches nothing, too
            if match.end() >= beyond or not block.startswith(self._dialect.delimiter.encode(), match.end()):
                return place, at, match.end()
            place, at = place + 1, match.end() + 1


def _unparsed(message: str, field: str, expected: str, actual: str) -> RecordError:
    return RecordError("INT_ALPHA_001", field, message, expected=expected, actual=actual)
