"""Files of one transaction: one for each folder, closed when it is large enough, all of them unfinished."""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Protocol

import pyarrow as pa

from penstock.connectors.sinks.files.form import Mode, Packing
from penstock.connectors.sinks.files.manifest import DataFile
from penstock.connectors.sinks.files.text import header, lines, pieces
from penstock.connectors.sources.files.partitions import Encoding
from penstock.model.schema import arrow_schema

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from io import RawIOBase

    import duckdb

    from penstock.connectors.sinks.files.form import Form
    from penstock.connectors.sinks.files.placing import Share
    from penstock.model.schema import Field

OPEN_FILES_MAX = 32
"""Files that are written to at a time; each holds what its format gathers. The one left alone longest is closed."""


class New(Protocol):
    """A file that nobody sees yet, as a folder makes it."""

    @property
    def bytes(self) -> int:
        """Bytes written so far."""

    @property
    def sha256(self) -> str:
        """Their SHA-256, in hex."""

    def abandon(self) -> None:
        """Close, and drop what comes."""


class Writers:
    """Writes rows into new files. Whatever goes wrong, `abandon` ends it."""

    def __init__(
        self,
        form: Form,
        fields: Sequence[Field],
        create: Callable[[str], New],
        engine: duckdb.DuckDBPyConnection,
        commit: int,
    ) -> None:
        """`create` makes a file by the last part of its path; `commit` is the number of the commit to be."""
        self._form = form
        self._fields = tuple(fields)
        self._create = create
        self._engine = engine
        self._commit = commit
        self._open: dict[tuple[str, str], _Writer] = {}
        self._finished: list[DataFile] = []
        self._made = 0

    def write(self, share: Share, partition: str) -> None:
        """Add rows to the file of their folder, or to several one after the other."""
        key = share.folder, partition if self._form.mode is Mode.REPLACE else ""
        start = 0
        while start < share.rows.num_rows:
            writer = self._writer(key)
            rows = share.rows.slice(start, self._form.file_rows - writer.rows)
            start += self._write(writer, rows)
            if writer.rows >= self._form.file_rows or writer.bytes >= self._form.file_bytes:
                self._finish(key)

    def finish(self) -> list[DataFile]:
        """Close all files, durably, and return them in the order in which they were closed."""
        for key in list(self._open):
            self._finish(key)
        return self._finished

    def abandon(self) -> None:
        """Let go of all files that are open."""
        for writer in self._open.values():
            writer.abandon()
        self._open.clear()

    def _write(self, writer: _Writer, rows: pa.Table) -> int:
        """Write rows until the file is full; return how many."""
        written = 0
        for piece in pieces(rows):
            writer.write(piece)
            written += piece.num_rows
            if writer.bytes >= self._form.file_bytes:
                break
        return written

    def _writer(self, key: tuple[str, str]) -> _Writer:
        writer = self._open.pop(key, None)
        if writer is None:
            while len(self._open) >= OPEN_FILES_MAX:
                self._finish(next(iter(self._open)))
            writer = self._begin(key)
        self._open[key] = writer  # at the end: the first is the one left alone longest
        return writer

    def _begin(self, key: tuple[str, str]) -> _Writer:
        folder, partition = key
        self._made += 1
        name = f"part-{self._commit:08d}-{self._made:04d}{self._form.ending}"
        new = self._create(name)
        try:
            return _Writer(self, f"{folder}/{name}" if folder else name, partition, new)
        except BaseException:  # whatever it was, nothing may be left open; it is raised on
            new.abandon()
            raise

    def _finish(self, key: tuple[str, str]) -> None:
        self._finished.append(self._open[key].finish())
        del self._open[key]

    def output(self, new: New) -> _Output:
        """Return what writes rows into `new`."""
        if self._form.encoding is Encoding.PARQUET:
            return _Rows(self._form, self._fields, new)
        return _Lines(self._form, self._fields, new, self._engine)


class _Writer:
    """One file, by its path in the table's folder, and how many rows it has."""

    def __init__(self, writers: Writers, path: str, partition: str, new: New) -> None:
        self._path = path
        self._partition = partition
        self._new = new
        self._output = writers.output(new)
        self.rows = 0

    @property
    def bytes(self) -> int:
        return self._new.bytes

    def write(self, rows: pa.Table) -> None:
        self._output.write(rows)
        self.rows += rows.num_rows

    def finish(self) -> DataFile:
        self._output.close()
        return DataFile(self._path, self.rows, self._new.bytes, self._new.sha256, self._partition)

    def abandon(self) -> None:
        self._new.abandon()
        # What writes into it must be closed, or it would try when it is collected. Where it goes takes it for nothing.
        with suppress(pa.ArrowException, OSError, ValueError):
            self._output.close()


class _Output(Protocol):
    def write(self, rows: pa.Table) -> None:
        """Write rows of the table's columns."""

    def close(self) -> None:
        """Write the end, and close the file, durably."""


class _Rows:
    """Parquet. Every value is of its column's type; nulls are forbidden where the document forbids them."""

    def __init__(self, form: Form, fields: tuple[Field, ...], new: New) -> None:
        # Loaded now that there is such a file: it brings every file system that Arrow knows.
        make = import_module("pyarrow.parquet").ParquetWriter
        nullable = {field.name: field.nullable for field in fields}
        self._schema = pa.schema([column.with_nullable(nullable[column.name]) for column in arrow_schema(fields)])
        self._file = _stream(new)
        self._writer = make(self._file, self._schema, compression=form.packing.value, write_page_checksum=True)

    def write(self, rows: pa.Table) -> None:
        self._writer.write_table(rows.cast(self._schema))

    def close(self) -> None:
        try:
            self._writer.close()
        finally:
            self._file.close()


class _Lines:
    """CSV or JSON Lines."""

    def __init__(self, form: Form, fields: tuple[Field, ...], new: New, engine: duckdb.DuckDBPyConnection) -> None:
        self._encoding = form.encoding
        self._fields = fields
        self._engine = engine
        self._file = _stream(new)
        self._text = self._file
        if form.packing is not Packing.NONE:
            self._text = pa.CompressedOutputStream(self._file, form.packing.value)
        self._text.write(header(self._encoding, fields))

    def write(self, rows: pa.Table) -> None:
        for text in lines(self._engine, self._encoding, self._fields, rows):
            self._text.write(text)
        self._text.flush()

    def close(self) -> None:
        try:
            self._text.close()
        finally:
            self._file.close()


def _stream(new: New | RawIOBase) -> pa.NativeFile:
    return pa.PythonFile(new, mode="w")
