"""The grammar of a CSV file, and its first record.

RFC 4180 with two allowances: a line may end in LF alone, and a quote inside an unquoted field is a character like any
other. A field that begins with a quote ends with one, and a quote inside it is doubled.
"""

from __future__ import annotations

import re
from contextlib import closing
from typing import TYPE_CHECKING

import msgspec

from penstock.connectors.sources.files.bytestream import Damaged, open_stream
from penstock.errors import UserMistake

if TYPE_CHECKING:
    from penstock.connectors.sources.files.reading import TextFile
    from penstock.model.pipeline import FileFormat

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
HEADER_BYTES = 64 << 10
"""Looked through for a header at first; twice as much each time that it is not enough."""
_LINE_BREAK = re.compile(rb"\r?\n")
_BLANK_LINES = re.compile(rb"(?:\r?\n)*+")


class Header(msgspec.Struct, frozen=True):
    """The names of a file's columns in its order, and the byte and 1-based line at which its records begin."""

    names: tuple[str, ...]
    end: int
    line: int


class Dialect(msgspec.Struct, frozen=True):
    """How fields are told apart, compiled. See `Dialect.of`."""

    delimiter: str
    null_values: tuple[str, ...]
    field: re.Pattern[bytes]
    """One field, possibly empty."""
    sound: re.Pattern[bytes]
    """From where a record begins to the first quote that is not a whole quoted field's."""
    unfinished: re.Pattern[bytes]
    """The rest of a block, where more could make it a record."""

    @classmethod
    def of(cls, format_: FileFormat) -> Dialect:
        """Compile what the document says. UserMistake for a delimiter that cannot be one."""
        delimiter = format_.delimiter
        if len(delimiter) != 1 or not delimiter.isascii() or delimiter in '"\r\n\0':
            raise UserMistake(
                "INT_PIPELINE_003",
                f"{delimiter!r} cannot be a delimiter",
                remedy="take one ASCII character that is not a quote or a line break",
            )
        comma = re.escape(delimiter).encode()
        quoted = rb'"[^"]*+(?:""[^"]*+)*+"'
        field = rb'(?:[^"%s\r\n][^%s\r\n]*+|%s|)' % (comma, comma, quoted)
        return cls(
            delimiter,
            format_.null_values,
            field=re.compile(field),
            sound=re.compile(rb'[^"]*+(?:(?<![^%s\r\n])%s(?=[%s\r\n])[^"]*+)*+' % (comma, quoted, comma)),
            unfinished=re.compile(rb'(?:%s%s)*+(?:"[^"]*+(?:""[^"]*+)*+"?|%s)\r?\Z' % (field, comma, field)),
        )

    def record(self, fields: int) -> re.Pattern[bytes]:
        """Compile the pattern of a whole record with its line break. A blank line is none."""
        field = self.field.pattern if fields > 1 else self.field.pattern.removesuffix(b"|)") + b")"
        return re.compile(re.escape(self.delimiter).encode().join([field] * fields) + rb"\r?\n")


def read_header(file: TextFile, dialect: Dialect) -> Header:
    """Read a file's first record, blank lines before it left out. UserMistake where there is none that can be read."""
    text, final = b"", False
    with closing(open_stream(file.path, file.compression)) as stream:
        while not final and len(text) <= file.record_bytes_max:
            try:
                piece = stream.read(min(file.read_bytes, max(HEADER_BYTES, len(text))))
            except Damaged as damage:
                raise UserMistake("INT_ALPHA_012", f"{file.partition}: {damage.what}, in its header") from damage
            final = not piece
            text += piece
            header = _parse_header(text, dialect, final=final)
            if header is not None:
                return header
    raise _no_header(file, text)


def _parse_header(text: bytes, dialect: Dialect, *, final: bool) -> Header | None:
    blank = _BLANK_LINES.match(text, len(BYTE_ORDER_MARK) if text.startswith(BYTE_ORDER_MARK) else 0)
    assert blank is not None  # the pattern matches nothing, too
    names, at = [], blank.end()
    while True:
        field = dialect.field.match(text, at)
        assert field is not None  # the pattern matches nothing, too
        names.append(field.group())
        at = field.end() + 1
        if text[field.end() : at] != dialect.delimiter.encode():
            break
    line_break = _LINE_BREAK.match(text, field.end())
    end = line_break.end() if line_break else field.end()
    if (line_break is None and not (final and end == len(text))) or end == blank.end():
        return None
    try:
        return Header(tuple(_unquoted(name).decode() for name in names), end, 1 + text.count(b"\n", 0, end))
    except UnicodeDecodeError:
        return None


def _unquoted(field: bytes) -> bytes:
    return field[1:-1].replace(b'""', b'"') if field.startswith(b'"') else field


def _no_header(file: TextFile, text: bytes) -> UserMistake:
    if not text.removeprefix(BYTE_ORDER_MARK).strip():
        return UserMistake(
            "INT_ALPHA_012",
            f"{file.partition} is empty: it does not even have a header",
            remedy="put a whole file there; one with a header and no records is fine",
        )
    if text.startswith((b"\xff\xfe", b"\xfe\xff")):
        return UserMistake("INT_ALPHA_012", f"{file.partition} is UTF-16", remedy="save it as UTF-8")
    return UserMistake(
        "INT_ALPHA_012",
        f"{file.partition} does not begin with a header that can be read, but with {text[:60]!r}",
        remedy="begin it with the columns' names in UTF-8, lines ending in LF or CRLF",
    )
