"""A folder of files as the outside thing of a destination, in each format."""

from __future__ import annotations

import shutil
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import duckdb
from tests.conformance.files_harness import as_nobody

from penstock.connectors.sinks.files import FilesSink
from penstock.connectors.sinks.files.manifest import decode
from penstock.connectors.sinks.files.reading import relation
from penstock.expressions import quote
from penstock.model.pipeline import Connection
from penstock.model.schema import Kind, arrow_schema
from penstock.testing.conformance import SinkHarness

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pyarrow as pa

    from penstock.connectors.sources.files.partitions import Encoding
    from penstock.model.pipeline import Model

HOLD = """
import filelock, sys
lock = filelock.FileLock(sys.argv[1])
lock.acquire()
print("held", flush=True)
sys.stdin.read()
"""


@dataclass
class FilesSinkHarness(SinkHarness):
    """Folders below `root`, files in `encoding`. Readers go by the manifest."""

    root: Path
    encoding: Encoding

    def __post_init__(self) -> None:
        said = f"format = {self.encoding}"
        (self.promises,) = (each for each in FilesSink.declares.promises if each.when == said)
        self.connection = Connection("warehouse", "files", "lake", {"format": self.encoding.value})

    @property
    def tables(self) -> list[Path]:
        lake = self.root / "lake"
        return sorted(lake.iterdir()) if lake.exists() else []

    def rows(self, model: Model) -> pa.Table:
        table = self.root / "lake" / model.name
        manifest = table / "_penstock" / "manifest.json"
        if not manifest.exists():
            return arrow_schema(model.fields).empty_table()
        files = [str(table / file.path) for file in decode(manifest.read_bytes(), str(manifest)).files]
        names = [field.name for field in model.fields]
        columns = ", ".join(
            f"CAST({quote(field.name)} AS VARCHAR)" if field.type.kind in {Kind.UUID, Kind.JSON} else quote(field.name)
            for field in model.fields
        )
        with duckdb.connect() as reading:
            reading.execute("SET TimeZone = 'UTC'")
            everything = relation(self.encoding, files, model.fields, names)
            found = reading.sql(f"SELECT {columns} FROM ({everything})").to_arrow_table()  # noqa: S608 - quoted
        return found.rename_columns(names)

    def drop(self, model: Model) -> None:
        shutil.rmtree(self.root / "lake" / model.name)

    @contextmanager
    def away(self) -> Iterator[None]:
        """Another process writes every table."""
        with HeldLocks([table / "_penstock" / "lock" for table in self.tables]):
            yield

    @contextmanager
    def denied(self) -> Iterator[None]:
        folders = [folder for table in self.tables for folder in (table, *table.rglob("*")) if folder.is_dir()]
        for folder in folders:
            folder.chmod(0o555)
        try:
            with as_nobody():
                yield
        finally:
            for folder in folders:
                folder.chmod(0o777)


class HeldLocks:
    """Locks that other processes hold."""

    def __init__(self, locks: list[Path]) -> None:
        self._locks = locks
        self._holders: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> None:
        for lock in self._locks:
            command = [sys.executable, "-c", HOLD, str(lock)]
            holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            self._holders.append(holder)
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"held\n"

    def __exit__(self, *_: object) -> None:
        for holder in self._holders:
            holder.kill()
            holder.communicate()
