"""Arrow columns as PostgreSQL reads them in `COPY … (FORMAT csv)`, by the block: nothing here looks at single values.

    https://www.postgresql.org/docs/current/sql-copy.html

Null is an empty field; text is quoted always, so empty text is told from it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from penstock.expressions import open_engine, quote
from penstock.model.schema import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import duckdb

    from penstock.model.schema import Field

BLOCK_ROWS = 16_384
"""Rows that are rendered at once: while the server works on a block, the next is rendered."""
_ENGINE_BYTES = 256 << 20
_OPTIONS = csv.WriteOptions(include_header=False, quoting_style="needed")
_DATES = frozenset({Kind.DATE, Kind.TIMESTAMP, Kind.TIMESTAMPTZ})
_FIRST_DAY, _LAST_DAY = -719_162, 2_932_896
"""0001-01-01 and 9999-12-31 in days since 1970. What lies beyond, Arrow writes as PostgreSQL does not read it."""
_EARLIEST_DAY = -2_440_588
"""4714-11-24 BC, where PostgreSQL's calendar begins."""
_TOO_EARLY = "before 4714 BC"
"""What stands for days before that: not a date, so its record is refused."""
_DAY_US = 86_400_000_000

_BYTES = "'\\x' || lower(hex({}))"
_FAR_DATE = "regexp_replace(CAST({} AS VARCHAR), '^(.*) \\(BC\\)(.*)$', '\\1\\2 BC')"


class Renderer:
    """Renders tables whose columns are of the types of fields. Used from one thread at a time."""

    def __init__(self) -> None:
        self._opened: duckdb.DuckDBPyConnection | None = None

    def blocks(self, rows: pa.Table, fields: Sequence[Field]) -> Iterator[pa.Buffer]:
        """Return `rows` as CSV without a header. Columns that are named by no field are numbers."""
        rows = self._written_out(rows, fields)
        chunks = max(column.num_chunks for column in rows.columns)
        whole = rows.combine_chunks() if rows.num_rows < chunks * BLOCK_ROWS else rows
        for batch in whole.to_batches(max_chunksize=BLOCK_ROWS):
            block = pa.BufferOutputStream()
            csv.write_csv(batch, block, _OPTIONS)
            yield block.getvalue()

    def close(self) -> None:
        """Let go of the engine."""
        opened, self._opened = self._opened, None
        if opened is not None:
            opened.close()

    def _written_out(self, rows: pa.Table, fields: Sequence[Field]) -> pa.Table:
        """Put text in the place of columns that Arrow would not write as PostgreSQL reads them."""
        for field in fields:
            column = rows.column(field.name)
            if field.type.kind is Kind.BYTES:
                rows = _with(rows, field, self._as_text(column, _BYTES))
            elif field.type.kind in _DATES and _reaches_far(column):
                rows = _with(rows, field, self._far_dates(column))
        return rows

    def _far_dates(self, column: pa.ChunkedArray) -> pa.ChunkedArray:
        numbers, day = _numbers(column)
        # Of a time with a zone, the session's zone is the one it is in: UTC.
        plain = pa.date32() if pa.types.is_date32(column.type) else pa.timestamp("us")
        earliest = pa.scalar(_EARLIEST_DAY * day, numbers.type)
        text = self._as_text(pc.max_element_wise(numbers, earliest, skip_nulls=False).cast(plain), _FAR_DATE)
        return pc.if_else(pc.less(numbers, earliest), _TOO_EARLY, text)

    def _as_text(self, column: pa.ChunkedArray, expression: str) -> pa.ChunkedArray:
        if self._opened is None:
            self._opened = open_engine(_ENGINE_BYTES, threads=1)
        self._opened.register("given", pa.table({"value": column}))
        found = self._opened.sql(f"SELECT {expression.format(quote('value'))} AS text FROM given")  # noqa: S608 - ours
        text = found.to_arrow_table().column("text")
        self._opened.unregister("given")
        return text


def _with(rows: pa.Table, field: Field, column: pa.ChunkedArray) -> pa.Table:
    place = rows.schema.get_field_index(field.name)
    return rows.set_column(place, field.name, column)


def _numbers(column: pa.ChunkedArray) -> tuple[pa.ChunkedArray, int]:
    """Return dates or times as numbers, and how many of these a day has."""
    if pa.types.is_date32(column.type):
        return column.cast(pa.int32()), 1
    return column.cast(pa.int64()), _DAY_US


def _reaches_far(column: pa.ChunkedArray) -> bool:
    numbers, day = _numbers(column)
    range_ = pc.min_max(numbers)
    least, greatest = range_["min"].as_py(), range_["max"].as_py()
    return least is not None and bool(least < _FIRST_DAY * day or greatest >= (_LAST_DAY + 1) * day)
