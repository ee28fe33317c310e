"""SQLite files as the outside thing behind the plug-in, for Penstock's conformance suites."""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from typing import TYPE_CHECKING

import pyarrow as pa
from tests.conformance.files_harness import as_nobody

from penstock.connectors import declared_by_sink, declared_by_source
from penstock.model.pipeline import Connection
from penstock.model.schema import Kind, arrow_schema
from penstock.testing.conformance import SinkHarness, SourceHarness
from penstock.testing.conformance.harness import CURSOR, TABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from penstock.model.pipeline import Model
    from penstock.model.schema import Field

FILE = "shop.sqlite"
_READ: Mapping[Kind, Callable[[str], object]] = {
    Kind.DECIMAL: Decimal,
    Kind.DATE: date.fromisoformat,
    Kind.TIME: time.fromisoformat,
    Kind.TIMESTAMP: datetime.fromisoformat,
    Kind.TIMESTAMPTZ: datetime.fromisoformat,
    Kind.BOOLEAN: bool,
}


@contextmanager
def held(file: Path) -> Iterator[None]:
    """Another connection has the file for itself."""
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield


@contextmanager
def unreadable(file: Path) -> Iterator[None]:
    mode = file.stat().st_mode
    file.chmod(0)
    try:
        with as_nobody():
            yield
    finally:
        file.chmod(mode)


@dataclass
class SQLiteSourceHarness(SourceHarness):
    """A table of a file below `root`, read by its rowid, or by the cursor column."""

    root: Path
    by_cursor: bool = False

    def __post_init__(self) -> None:
        declared = declared_by_source("sqlite")
        assert declared is not None
        self.promises = declared.promises[self.by_cursor]
        self.connection = Connection("shop", "sqlite", FILE, {"cursor": CURSOR} if self.by_cursor else {})

    @property
    def file(self) -> Path:
        return self.root / FILE

    def create(self, fields: Sequence[Field]) -> None:
        columns = ", ".join(f'"{field.name}"' for field in fields)  # no types: every value stays as it is put in
        with closing(sqlite3.connect(self.file)) as other:
            other.execute(f"DROP TABLE IF EXISTS {TABLE}")
            other.execute(f"CREATE TABLE {TABLE} ({columns})")

    def add(self, rows: pa.Table) -> None:
        places = ", ".join("?" * rows.num_columns)
        values = [tuple(map(as_kept, row.values())) for row in rows.to_pylist()]
        with closing(sqlite3.connect(self.file)) as other, other:
            other.executemany(f"INSERT INTO {TABLE} VALUES ({places})", values)  # noqa: S608 - places only

    @contextmanager
    def away(self) -> Iterator[None]:
        with held(self.file):
            yield

    @contextmanager
    def denied(self) -> Iterator[None]:
        with unreadable(self.file):
            yield


@dataclass
class SQLiteSinkHarness(SinkHarness):
    """Tables of a file below `root`."""

    root: Path

    def __post_init__(self) -> None:
        declared = declared_by_sink("sqlite")
        assert declared is not None
        (self.promises,) = declared.promises
        self.connection = Connection("house", "sqlite", FILE)

    @property
    def file(self) -> Path:
        return self.root / FILE

    def rows(self, model: Model) -> pa.Table:
        columns = ", ".join(quoted(field.name) for field in model.fields)
        with closing(sqlite3.connect(self.file)) as reading:
            try:
                rows = reading.execute(f"SELECT {columns} FROM {table(model)}").fetchall()  # noqa: S608 - quoted
            except sqlite3.OperationalError:
                return arrow_schema(model.fields).empty_table()
        read = [
            [value if value is None else _READ.get(field.type.kind, as_it_is)(value) for value in column]
            for field, column in zip(model.fields, zip(*rows, strict=True), strict=False)
        ]
        return pa.table(read or [[]] * len(model.fields), schema=arrow_schema(model.fields))

    def drop(self, model: Model) -> None:
        with closing(sqlite3.connect(self.file)) as other:
            other.execute(f"DROP TABLE {table(model)}")

    @contextmanager
    def away(self) -> Iterator[None]:
        with held(self.file):
            yield

    @contextmanager
    def denied(self) -> Iterator[None]:
        with unreadable(self.file):
            yield


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def table(model: Model) -> str:
    return quoted(f"{model.schema}.{model.name}")


def as_it_is(value: object) -> object:
    return value


def as_kept(value: object) -> object:
    match value:
        case Decimal():
            return format(value, "f")
        case date() | time():
            return value.isoformat()
        case _:
            return value
