"""A DuckDB file as the outside thing."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import duckdb
from tests.conformance.files_harness import as_nobody

from penstock.connectors.sinks.duckdb import DuckDBSink
from penstock.expressions import quote
from penstock.model.pipeline import Connection
from penstock.model.schema import Kind, arrow_schema
from penstock.testing.conformance import SinkHarness

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pyarrow as pa

    from penstock.model.pipeline import Model

HOLD = "import duckdb, sys; open_file = duckdb.connect(sys.argv[1]); print('held', flush=True); sys.stdin.read()"


@dataclass
class DuckDBHarness(SinkHarness):
    """A file below `root`."""

    root: Path
    promises = DuckDBSink.declares.promises[0]

    def __post_init__(self) -> None:
        self.connection = Connection("warehouse", "duckdb", "house/warehouse.duckdb")

    @property
    def file(self) -> Path:
        return self.root / "house" / "warehouse.duckdb"

    def rows(self, model: Model) -> pa.Table:
        columns = ", ".join(
            f"CAST({quote(field.name)} AS VARCHAR)" if field.type.kind in {Kind.UUID, Kind.JSON} else quote(field.name)
            for field in model.fields
        )
        if not self.file.exists():
            return arrow_schema(model.fields).empty_table()
        with duckdb.connect(str(self.file)) as reading:
            reading.execute("SET TimeZone = 'UTC'")
            try:
                found = reading.sql(f"SELECT {columns} FROM {table(model)}").to_arrow_table()  # noqa: S608 - quoted
            except duckdb.CatalogException:
                return arrow_schema(model.fields).empty_table()
        return found.rename_columns([field.name for field in model.fields])

    def drop(self, model: Model) -> None:
        with duckdb.connect(str(self.file)) as other:
            other.execute(f"DROP TABLE {table(model)}")

    @contextmanager
    def away(self) -> Iterator[None]:
        """Another process has the file open."""
        command = [sys.executable, "-c", HOLD, str(self.file)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"held\n"
            try:
                yield
            finally:
                holder.kill()

    @contextmanager
    def denied(self) -> Iterator[None]:
        self.file.chmod(0o444)
        try:
            with as_nobody():
                yield
        finally:
            self.file.chmod(0o666)


def table(model: Model) -> str:
    return f"{quote(model.schema)}.{quote(model.name)}"
