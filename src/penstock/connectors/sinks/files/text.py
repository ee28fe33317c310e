# ruff: noqa: S608 - every name in the statements below has passed `quote`, every word `literal`
r"""Rows as lines of CSV or JSON Lines, written so that the source of kind `files` reads back the same values.

    type              CSV                                JSON Lines
    null              nothing                            null
    text              always in quotes, "" doubled       string
    json              the same                           the value itself, on one line
    integers, double  digits; 1e+300                     number
    decimal           all its places: 12.50              string, "12.50": numbers go through doubles elsewhere
    boolean           true, false                        true, false
    date, time        2024-01-31, 23:59:58.5             string
    timestamp         2024-01-31 23:59:58.5              string
    with time zone    the same in UTC, with +00 after it string
    uuid              as it is                           string
    bytea             \x and hexadecimal digits          string

What has no such form is refused, record by record: numbers that are not finite, years outside of 1 to 9999, and in CSV
text with U+0000, and a null that is the whole row; and a row of more than ROW_BYTES_MAX.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

import pyarrow as pa

from penstock.connectors.sinks.duckdb.incoming import SHOWN_CHARACTERS_MAX
from penstock.connectors.sources.files.partitions import Encoding
from penstock.expressions import literal, quote
from penstock.model.batch import SEQUENCE
from penstock.model.outcome import RecordError
from penstock.model.schema import INTEGERS, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import duckdb

    from penstock.connectors.sinks.duckdb.incoming import Incoming
    from penstock.model.schema import Field

PIECE_BYTES = 32 << 20
"""About how much of rows is written as text at a time."""
PIECE_ROWS_MAX = 65_536
ROW_BYTES_MAX = 4 << 20
"""The longest row that is written, numbers and the like not counted: who reads lines must hold one."""
_LONG_BYTES = 64 << 10
"""From here on what escapes add to a text is counted, too."""
_REGISTERED = "_penstock_lines"

_FLOATS = frozenset({Kind.REAL, Kind.DOUBLE})
_ANY_SIZE = frozenset({Kind.TEXT, Kind.JSON, Kind.BYTES})
_PLAIN_IN_JSON = INTEGERS | _FLOATS | {Kind.BOOLEAN}
_YEARS: Mapping[Kind, tuple[str, str]] = MappingProxyType(
    {
        Kind.DATE: ("DATE '0001-01-01'", "DATE '9999-12-31'"),
        Kind.TIMESTAMP: ("TIMESTAMP '0001-01-01'", "TIMESTAMP '9999-12-31 23:59:59.999999'"),
        Kind.TIMESTAMPTZ: ("TIMESTAMPTZ '0001-01-01 00:00+00'", "TIMESTAMPTZ '9999-12-31 23:59:59.999999+00'"),
    }
)


def header(encoding: Encoding, fields: Sequence[Field]) -> bytes:
    """Return what a file begins with."""
    if encoding is not Encoding.CSV:
        return b""
    names = (f'"{field.name.replace(chr(34), chr(34) * 2)}"' for field in fields)
    return ",".join(names).encode() + b"\n"


def lines(
    connection: duckdb.DuckDBPyConnection, encoding: Encoding, fields: Sequence[Field], rows: pa.Table
) -> Iterator[memoryview]:
    """Yield the text of `rows`, whose columns are as Arrow carries `fields`, piece by piece, whole lines each."""
    line = _csv_line(fields) if encoding is Encoding.CSV else _json_line(fields)
    for piece in pieces(rows):
        connection.register(_REGISTERED, piece)
        try:
            found = connection.sql(f"SELECT {line} FROM {_REGISTERED}").to_arrow_table()
        finally:
            connection.unregister(_REGISTERED)
        for chunk in found.column(0).cast(pa.large_string()).chunks:
            _, offsets, data = chunk.buffers()
            if data is not None and len(chunk):
                # Each value ends with its line break: what lies between the first and the last is the text.
                places = memoryview(offsets).cast("B").cast("q")
                yield memoryview(data)[places[chunk.offset] : places[chunk.offset + len(chunk)]]


def pieces(rows: pa.Table) -> Iterator[pa.Table]:
    """Divide rows so that none of the parts takes much memory as text."""
    size = min(PIECE_ROWS_MAX, max(1, rows.num_rows * PIECE_BYTES // max(1, rows.nbytes)))
    for start in range(0, rows.num_rows, size):
        yield rows.slice(start, size)


def unwritable(
    connection: duckdb.DuckDBPyConnection, encoding: Encoding, fields: Sequence[Field], incoming: Incoming
) -> dict[int, RecordError]:
    """Return which rows have a value that has no text of its own, and why, by sequence."""
    refused: dict[int, RecordError] = {}
    if encoding is Encoding.PARQUET:
        return refused
    sizes = [_size(encoding, field) for field in fields if field.type.kind in _ANY_SIZE]
    if sizes:
        first = next(field for field in fields if field.type.kind in _ANY_SIZE)
        too_long = f"{' + '.join(sizes)} > {ROW_BYTES_MAX}"
        refused |= _refused(connection, incoming, first, too_long, f"a row of at most {ROW_BYTES_MAX:,} bytes")
    for field in fields:
        if encoding is Encoding.CSV and len(fields) == 1:
            refused |= _refused(connection, incoming, field, f"{quote(field.name)} IS NULL", "a row that is not empty")
        condition, expected = _textless(encoding, field)
        if condition:
            refused |= _refused(connection, incoming, field, condition, expected)
    return refused


def _size(encoding: Encoding, field: Field) -> str:
    """Return SQL for about how many bytes a value is as text; in CSV quotes may double that."""
    column = quote(field.name)
    if field.type.kind is Kind.BYTES:
        return f"coalesce(2 * octet_length({column}), 0)"
    if field.type.kind is Kind.JSON or encoding is Encoding.CSV:
        return f"coalesce(strlen({column}), 0)"
    escaped = f"strlen(CAST(to_json({column}) AS VARCHAR))"
    return f"CASE WHEN strlen({column}) > {_LONG_BYTES} THEN {escaped} ELSE coalesce(strlen({column}), 0) END"


def _textless(encoding: Encoding, field: Field) -> tuple[str, str]:
    """Return SQL for what has no text, and what would have; twice nothing where everything has."""
    column = quote(field.name)
    if field.type.kind in _FLOATS:
        return f"NOT isfinite({column})", "a finite number"
    if field.type.kind in _YEARS:
        return "NOT ({} BETWEEN {} AND {})".format(column, *_YEARS[field.type.kind]), "a year from 1 to 9999"
    if field.type.kind is Kind.TEXT and encoding is Encoding.CSV:
        return f"contains({column}, chr(0))", "text without U+0000"
    return "", ""


def _refused(
    connection: duckdb.DuckDBPyConnection, incoming: Incoming, field: Field, condition: str, expected: str
) -> dict[int, RecordError]:
    shown = f"left(CAST({quote(field.name)} AS VARCHAR), {SHOWN_CHARACTERS_MAX})"
    found = connection.execute(f"SELECT {SEQUENCE}, {shown} FROM {incoming.relation} WHERE {condition}").fetchall()
    return {
        sequence: RecordError(
            "INT_GAMMA_001",
            field=field.name,
            message=f"`{field.name}` cannot be written as text that is read back the same: it takes {expected}",
            expected=expected,
            actual="null" if value is None else value,
        )
        for sequence, value in found
    }


def _csv_line(fields: Sequence[Field]) -> str:
    return " || ',' || ".join(f"coalesce({_csv_text(field)}, '')" for field in fields) + " || chr(10)"


def _csv_text(field: Field) -> str:
    column = quote(field.name)
    match field.type.kind:
        case Kind.TEXT | Kind.JSON:
            return f"""'"' || replace({column}, '"', '""') || '"'"""
        case Kind.BYTES:
            return rf"'\x' || lower(hex({column}))"
        case _:
            return f"CAST({column} AS VARCHAR)"


def _json_line(fields: Sequence[Field]) -> str:
    members = (f"to_json({literal(field.name)}) || ':' || coalesce({_json_text(field)}, 'null')" for field in fields)
    return "'{' || " + " || ',' || ".join(members) + " || '}' || chr(10)"


def _json_text(field: Field) -> str:
    column = quote(field.name)
    if field.type.kind in _PLAIN_IN_JSON:
        return f"CAST({column} AS VARCHAR)"
    match field.type.kind:
        case Kind.TEXT:
            return f"CAST(to_json({column}) AS VARCHAR)"
        case Kind.JSON:
            # Line breaks stand only between the parts of a JSON text: in a string they must be escaped.
            return f"translate({column}, chr(10) || chr(13), '  ')"
        case Kind.BYTES:
            return rf"""'"\\x' || lower(hex({column})) || '"'"""
        case _:
            return f"""'"' || CAST({column} AS VARCHAR) || '"'"""
