"""Reads a Parquet file into chunks: typed columns, batch after batch, found again by row number."""

from __future__ import annotations

import hashlib
import json
from contextlib import contextmanager
from importlib import import_module
from os import SEEK_END
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from penstock.connectors.sources.files.columns import check_columns
from penstock.connectors.sources.files.positions import RowToken, changed, write_token
from penstock.errors import UserMistake
from penstock.model.outcome import RecordError
from penstock.model.position import Position
from penstock.ports import BadRecord, Chunk, Original

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pyarrow.parquet as pq

BATCH_ROWS_MAX = 65_536
"""Narrow rows come in batches that settle one after another, not in one."""
PAGE_BYTES = 1 << 20
"""Read ahead per column: without it Arrow would hold every column of a row group whole."""
FOOTER_END_BYTES = 8
"""A Parquet file ends with the footer's length (4 bytes, little-endian) and `PAR1`."""


class RowFile(msgspec.Struct, frozen=True):
    """A Parquet file to read, the columns wanted of it, and about how many bytes at a time."""

    path: Path
    partition: str
    columns: tuple[str, ...]
    read_bytes: int


def read_schema(path: Path, partition: str) -> pa.Schema:
    """Return the schema of a Parquet file. UserMistake where it is damaged."""
    with _open(path, partition) as file:
        return file.schema_arrow


def read_rows(source: RowFile, start: RowToken | None, sequence: int) -> Iterator[Chunk]:
    """Yield rows from `start` (None: the first) on; the first one gets `sequence`.

    Raises ContentChanged where it is another file than `start` was made for, UserMistake where it is damaged.
    """
    with _open(source.path, source.partition) as file:
        now = _token(source.path, 0 if start is None else start.row, file.metadata.num_rows)
        if start is not None and now != start:
            raise changed(source.partition, f"it is another file than the one read up to row {start.row:,}")
        check_columns(source.partition, file.schema_arrow.names, source.columns)
        row = now.row
        for batch in _batches(file, source, row):
            end = sequence + batch.num_rows
            position = Position(source.partition, end, write_token(_at(now, row + batch.num_rows)))
            yield _chunk(batch, sequence, row, position)
            sequence, row = end, row + batch.num_rows


def stand_at_row(path: Path, partition: str, row: int) -> RowToken:
    """Return the token for `row`, or for the end, of the file as it is now. UserMistake where it is damaged."""
    with _open(path, partition) as file:
        return _token(path, row, file.metadata.num_rows)


@contextmanager
def _open(path: Path, partition: str) -> Iterator[pq.ParquetFile]:
    # Loaded now that there is such a file: it brings every file system that Arrow knows.
    open_file = import_module("pyarrow.parquet").ParquetFile
    try:
        with open_file(path, buffer_size=PAGE_BYTES, pre_buffer=False, page_checksum_verification=True) as file:
            yield file
    except OSError as error:
        if error.errno is not None:  # the file system's complaint, not the reader's
            raise
        raise _damaged(partition, error) from error
    except pa.ArrowInvalid as error:
        raise _damaged(partition, error) from error


def _damaged(partition: str, error: Exception) -> UserMistake:
    what = str(error).strip().partition("\n")[0].rstrip(".")
    return UserMistake("INT_ALPHA_012", f"{partition} is not a whole Parquet file: {what}")


def _token(path: Path, row: int, rows: int) -> RowToken:
    with path.open("rb") as file:
        size = file.seek(0, SEEK_END)
        file.seek(size - FOOTER_END_BYTES)
        length = int.from_bytes(file.read(4), "little")
        file.seek(size - FOOTER_END_BYTES - length)
        return RowToken(min(row, rows), rows, size, hashlib.sha256(file.read()).hexdigest())


def _at(token: RowToken, row: int) -> RowToken:
    return RowToken(row, token.rows, token.size, token.sha256)


def _batches(file: pq.ParquetFile, source: RowFile, first_row: int) -> Iterator[pa.RecordBatch]:
    """Yield batches from `first_row` on; row groups that lie before it are not read."""
    metadata, skip, group = file.metadata, first_row, 0
    while group < metadata.num_row_groups and skip >= metadata.row_group(group).num_rows:
        skip -= metadata.row_group(group).num_rows
        group += 1
    groups = range(group, metadata.num_row_groups)
    row_bytes = max((_row_bytes(metadata.row_group(number)) for number in groups), default=1)
    size = max(1, min(BATCH_ROWS_MAX, source.read_bytes // row_bytes))
    for batch in file.iter_batches(size, row_groups=list(groups), columns=list(source.columns), use_threads=False):
        left = batch.slice(min(skip, batch.num_rows))
        skip -= batch.num_rows - left.num_rows
        if left.num_rows:
            yield _plain(left.select(list(source.columns)))


def _row_bytes(group: pq.RowGroupMetaData) -> int:
    size, rows = int(group.total_byte_size), int(group.num_rows)
    return max(1, size // max(1, rows))


def _plain(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Put values in the place of dictionary indices, so that every batch has the same columns."""
    columns = [
        column.dictionary_decode() if pa.types.is_dictionary(column.type) else column for column in batch.columns
    ]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _chunk(batch: pa.RecordBatch, start: int, row: int, position: Position) -> Chunk:
    originals = _Originals(batch, start, row)
    errors = _text_errors(batch)
    bad = tuple(
        BadRecord(start + place, originals([start + place])[0], error) for place, error in sorted(errors.items())
    )
    good = [place for place in range(batch.num_rows) if place not in errors] if errors else []
    return Chunk(
        start=start,
        end=start + batch.num_rows,
        records=batch.take(pa.array(good, pa.int64())) if errors else batch,
        sequences=pa.array([start + place for place in good], pa.int64()) if errors else None,
        bad=bad,
        next=position,
        originals=originals,
        size_bytes=batch.nbytes,
    )


def _text_errors(batch: pa.RecordBatch) -> dict[int, RecordError]:
    """Find the rows whose text is not UTF-8, which a Parquet writer may never have checked."""
    errors: dict[int, RecordError] = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if _is_valid(column):
            continue
        for place in range(len(column)):
            if not _is_valid(column.take(pa.array([place]))):  # a slice of lists would be checked with all its lists
                error = RecordError("INT_ALPHA_005", name, "not UTF-8 text", expected="UTF-8 text")
                errors.setdefault(place, error)
    return errors


def _is_valid(column: pa.Array) -> bool:
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


class _Originals:
    """Gives rows of one chunk back as JSON; a row's number is its line."""

    def __init__(self, batch: pa.RecordBatch, start: int, row: int) -> None:
        self._batch = batch
        self._start = start
        self._row = row

    def __call__(self, sequences: Sequence[int]) -> Sequence[Original]:
        """Return the rows with these sequences. May be called from any thread."""
        places = [sequence - self._start for sequence in sequences]
        rows = self._batch.take(pa.array(places, pa.int64()))
        return [Original(text, self._row + place + 1) for text, place in zip(_json_lines(rows), places, strict=True)]


def _json_lines(rows: pa.RecordBatch) -> Iterator[bytes]:
    """Write rows as JSON. Bytes that are not UTF-8 stay as they are, so that the text is refused when read again."""
    raw = {name: column for name, column in zip(rows.schema.names, rows.columns, strict=True) if not _is_valid(column)}
    exact = [
        pa.nulls(rows.num_rows) if name in raw else _exact(column)
        for name, column in zip(rows.schema.names, rows.columns, strict=True)
    ]
    with duckdb.connect() as connection:
        connection.register("exact", pa.RecordBatch.from_arrays(exact, names=rows.schema.names))
        texts = connection.sql("SELECT to_json(exact) FROM exact").fetchall()
    for place, (text,) in enumerate(texts):
        if not raw:
            yield text.encode()
            continue
        values = {name: bytes(value) for name, value in _members(text).items()}
        values |= {name: _json_string(column[place]) for name, column in raw.items()}
        yield b"{%s}" % b",".join(_json_string(name) + b":" + value for name, value in values.items())


def _members(text: str) -> dict[str, msgspec.Raw]:
    return msgspec.json.decode(text, type=dict[str, msgspec.Raw])


def _json_string(value: pa.Scalar | str) -> bytes:
    if not isinstance(value, str):
        if pa.types.is_nested(value.type):
            return b'"\xff"'  # stands for a list or struct with such bytes somewhere in it
        value = value.cast(pa.binary()).as_py().decode(errors="surrogateescape") if value.is_valid else None
    return json.dumps(value, ensure_ascii=False).encode(errors="surrogateescape")


def _exact(column: pa.Array) -> pa.Array:
    """Prepare for JSON: DuckDB would write a decimal as a double, and JSON has no word for infinity."""
    is_special = pa.types.is_floating(column.type) and not pc.all(pc.is_finite(column)).as_py()
    return column.cast(pa.string()) if is_special or pa.types.is_decimal(column.type) else column
