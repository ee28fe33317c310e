# ruff: noqa: S608 - every name in the statements below has passed `quote`, every path `literal`
"""The rows of committed files, as a relation of the engine."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from penstock.connectors.sources.files.partitions import Encoding
from penstock.expressions import literal, quote
from penstock.model.schema import Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from penstock.model.schema import Field


LINE_BYTES_MAX = 9 << 20
"""The longest line that is read back; `text.ROW_BYTES_MAX` sees to it that none is longer."""


def relation(encoding: Encoding, files: Sequence[str], fields: Sequence[Field], names: Sequence[str]) -> str:
    """Return a SELECT of the columns `names` of `files`, each of its field's type; of no rows where there are no files.

    `fields` are all columns that the files have.
    """
    wanted = [field for field in fields if field.name in names]
    if not files:
        columns = ", ".join(f"CAST(NULL AS {field.type.sql}) AS {quote(field.name)}" for field in wanted)
        return f"SELECT {columns} WHERE FALSE"
    columns = ", ".join(f"{_value(encoding, field)} AS {quote(field.name)}" for field in wanted)
    return f"SELECT {columns} FROM {_scan(encoding, files, fields, wanted)}"


def _value(encoding: Encoding, field: Field) -> str:
    column = quote(field.name)
    if field.type.kind is Kind.BYTES and encoding is not Encoding.PARQUET:
        return f"unhex({column}[3:])"
    return column if _stored(encoding, field) == field.type.sql else f"CAST({column} AS {field.type.sql})"


def _stored(encoding: Encoding, field: Field) -> str:
    """Return the type by which the engine first reads a column."""
    match encoding:
        case Encoding.PARQUET:
            return "VARCHAR" if field.type.kind in {Kind.UUID, Kind.JSON} else field.type.sql
        case Encoding.JSON_LINES:
            return "JSON" if field.type.kind is Kind.JSON else "VARCHAR"
        case Encoding.CSV:
            return "VARCHAR"


def _scan(encoding: Encoding, files: Sequence[str], fields: Sequence[Field], wanted: Sequence[Field]) -> str:
    listed = "[" + ", ".join(map(literal, files)) + "]"
    match encoding:
        case Encoding.PARQUET:
            return f"read_parquet({listed}, hive_partitioning = FALSE)"
        case Encoding.JSON_LINES:
            # By lines: the engine's own reader needs buffers by the thread, and puts decimals through doubles.
            types = json.dumps({field.name: _stored(encoding, field) for field in wanted})
            how = "header = FALSE, delim = '\x01', quote = '', escape = '', nullstr = '\x02'"
            return f"(SELECT unnest(from_json(line, {literal(types)})) FROM {_text(listed, ['line'], how)})"
        case Encoding.CSV:
            how = "header = TRUE, delim = ',', quote = '\"', escape = '\"', nullstr = '', allow_quoted_nulls = FALSE"
            return _text(listed, [field.name for field in fields], how)


def _text(listed: str, names: Sequence[str], how: str) -> str:
    columns = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in names)
    return (
        f"read_csv({listed}, columns = {{{columns}}}, {how}, auto_detect = FALSE, new_line = '\\n', "
        f"strict_mode = TRUE, parallel = FALSE, max_line_size = {LINE_BYTES_MAX}, "
        f"buffer_size = {LINE_BYTES_MAX}, hive_partitioning = FALSE)"
    )
