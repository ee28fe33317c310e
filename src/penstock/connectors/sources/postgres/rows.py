"""Rows as the server writes them: CSV of a COPY into Arrow, and single rows as the JSON that originals are kept in.

Every value is text, as its type's output function writes it (ISO dates in UTC, floats in their shortest exact form), so
that ingestion's exact casts decide what it is worth.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pyarrow as pa
from pyarrow import csv

from penstock.model.batch import Op
from penstock.model.outcome import RecordError
from penstock.ports import Original, Reread

if TYPE_CHECKING:
    from collections.abc import Sequence

PARSE_BYTES = 1 << 20
"""Arrow parses a block in pieces of this size: what fits the processor's cache takes two thirds of the time."""
OPERATION = "_op"
"""In the original of a change that is no insert: what it does. No declared column begins with `_`."""


def text_schema(names: Sequence[str]) -> pa.Schema:
    """Return the schema of rows: every column is text."""
    return pa.schema([pa.field(name, pa.string()) for name in names])


def parse_rows(text: bytes, names: Sequence[str]) -> pa.RecordBatch:
    """Return whole rows of `COPY … TO STDOUT (FORMAT csv)` as text columns: null where a field is empty unquoted."""
    try:
        table = _parse(text, len(names), PARSE_BYTES)
    except pa.ArrowInvalid:  # a row that is longer than a piece: all of the text is one, then
        table = _parse(text, len(names), len(text) + 1)
    arrays = [column.combine_chunks() if column.num_chunks else pa.array([], pa.string()) for column in table.columns]
    return pa.RecordBatch.from_arrays(arrays, schema=text_schema(names))


def _parse(text: bytes, columns: int, piece_bytes: int) -> pa.Table:
    # Arrow knows columns by their place: names may be anything.
    places = [str(place) for place in range(columns)]
    return csv.read_csv(
        pa.BufferReader(text),
        csv.ReadOptions(column_names=places, block_size=piece_bytes, use_threads=False),
        csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
        csv.ConvertOptions(
            column_types=dict.fromkeys(places, pa.string()),
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )


class Originals:
    """Gives rows of one chunk back as JSON, values as the server wrote them; a row's number is its line."""

    def __init__(self, records: pa.RecordBatch, start: int, operations: pa.Int8Array | None = None) -> None:
        self._records = records
        self._start = start
        self._operations = operations

    def __call__(self, sequences: Sequence[int]) -> Sequence[Original]:
        """Return the rows with these sequences. May be called from any thread."""
        places = pa.array([sequence - self._start for sequence in sequences], pa.int64())
        rows = self._records.take(places).to_pylist()
        if self._operations is not None:
            operations = self._operations.take(places).to_pylist()
            rows = [{OPERATION: op, **row} if op else row for op, row in zip(operations, rows, strict=True)]
        return [Original(msgspec.json.encode(row), sequence + 1) for row, sequence in zip(rows, sequences, strict=True)]


def reread(originals: Sequence[bytes], names: Sequence[str]) -> Reread:
    """Parse rows that `Originals` gave. A column that one of them lacks is null."""
    rows: list[dict[str, str | int | None]] = []
    errors: dict[int, RecordError] = {}
    decoder = msgspec.json.Decoder(dict[str, str | int | None])
    for number, original in enumerate(originals):
        try:
            rows.append(decoder.decode(original))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            errors[number] = RecordError("INT_ALPHA_001", "", f"not a row as it was kept: {error}", expected="JSON")
    operations = pa.array([row.get(OPERATION) or Op.INSERT for row in rows], pa.int8())
    columns = [pa.array([_text(row.get(name)) for row in rows], pa.string()) for name in names]
    records = pa.RecordBatch.from_arrays(columns, schema=text_schema(names))
    return Reread(records, errors, operations)


def _text(value: str | int | None) -> str | None:
    return None if value is None else str(value)
