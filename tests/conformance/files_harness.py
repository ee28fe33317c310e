"""Files as the outside thing: one that grows, or a folder of them, in every encoding."""

from __future__ import annotations

import json
import os
import resource
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow.parquet as pq

from penstock.connectors.sources.files import FileSource
from penstock.model.pipeline import Connection
from penstock.model.schema import Kind, arrow_schema
from penstock.model.settings import Settings
from penstock.testing.conformance import Cannot, SourceHarness
from penstock.testing.conformance.harness import TABLE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    import pyarrow as pa

    from penstock.model.schema import Field

NOBODY = 65534
SMALL = Settings({"READ_BYTES": 4096, "FOLLOW_POLL_MS": 10})
ROW_GROUP_ROWS = 300


@contextmanager
def as_nobody() -> Iterator[None]:
    """Be somebody who may do nothing: to root, everything may be read and written."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@contextmanager
def no_more_files() -> Iterator[None]:
    """Let the operating system open no file for us."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@dataclass
class FilesHarness(SourceHarness):
    """Files below `root`. Only what is different in each encoding is left to be said."""

    root: Path
    settings = SMALL

    def __post_init__(self) -> None:
        self.connection = Connection("shop", path="data")
        (self.root / "data").mkdir()

    @contextmanager
    def away(self) -> Iterator[None]:
        with no_more_files():
            yield

    @contextmanager
    def denied(self) -> Iterator[None]:
        files = [path for path in (self.root / "data").rglob("*") if path.is_file()]
        modes = [path.stat().st_mode for path in files]
        for path in files:
            path.chmod(0)
        try:
            with as_nobody():
                yield
        finally:
            for path, mode in zip(files, modes, strict=True):
                path.chmod(mode)

    def slow(self) -> AbstractContextManager[None]:
        raise Cannot("a file at rest is not slow; one that is written slowly is followed")


@dataclass
class CsvHarness(FilesHarness):
    """One CSV file, which grows."""

    promises = FileSource.declares.promises[0]

    @property
    def file(self) -> Path:
        return self.root / "data" / f"{TABLE}.csv"

    def create(self, fields: Sequence[Field]) -> None:
        self.file.write_text(",".join(field.name for field in fields) + "\n", encoding="utf-8")

    def add(self, rows: pa.Table) -> None:
        lines = (",".join(map(in_csv, row.values())) for row in rows.to_pylist())
        append(self.file, "".join(f"{line}\n" for line in lines))

    def add_bad(self) -> bytes:
        append(self.file, "1,2,3,4,5,6\n")
        return b"1,2,3,4,5,6"


@dataclass
class JsonLinesHarness(FilesHarness):
    """One JSON Lines file, which grows."""

    promises = FileSource.declares.promises[1]
    json_columns: tuple[str, ...] = ()

    @property
    def file(self) -> Path:
        return self.root / "data" / f"{TABLE}.jsonl"

    def create(self, fields: Sequence[Field]) -> None:
        self.json_columns = tuple(field.name for field in fields if field.type.kind is Kind.JSON)
        self.file.write_bytes(b"")

    def add(self, rows: pa.Table) -> None:
        append(self.file, "".join(f"{self._line(row)}\n" for row in rows.to_pylist()))

    def add_bad(self) -> bytes:
        append(self.file, '{"id": 1, "name": \n')
        return b'{"id": 1, "name": '

    def _line(self, row: dict[str, object]) -> str:
        members = (
            f"{json.dumps(name)}: {value if name in self.json_columns and value is not None else in_json(value)}"
            for name, value in row.items()
        )
        return f"{{{', '.join(members)}}}"


@dataclass
class ParquetHarness(FilesHarness):
    """A folder of Parquet files, each whole when it gets its name."""

    promises = FileSource.declares.promises[2]
    files: int = 0

    @property
    def folder(self) -> Path:
        return self.root / "data" / TABLE

    def create(self, fields: Sequence[Field]) -> None:
        self.folder.mkdir(exist_ok=True)
        for file in self.folder.iterdir():
            file.unlink()
        self.add(arrow_schema(tuple(fields)).empty_table())

    def add(self, rows: pa.Table) -> None:
        unfinished = self.folder / ".unfinished"
        pq.write_table(rows, unfinished, row_group_size=ROW_GROUP_ROWS)
        unfinished.rename(self.folder / f"part-{self.files:04}.parquet")
        self.files += 1


def append(file: Path, text: str) -> None:
    with file.open("a", encoding="utf-8", newline="") as open_file:
        open_file.write(text)


def in_csv(value: object) -> str:
    """Write a value as a CSV field: null is an empty field without quotes."""
    text = plain(value)
    return "" if text is None else f'"{text.replace(chr(34), chr(34) * 2)}"'


def in_json(value: object) -> str:
    match value:
        case bool() | int() | float() | str() | None:
            return json.dumps(value, ensure_ascii=False)
        case _:
            return json.dumps(plain(value), ensure_ascii=False)


def plain(value: object) -> str | None:
    """Return a value as text, as ingestion reads it."""
    match value:
        case None:
            return None
        case bytes():
            return f"\\x{value.hex()}"
        case bool():
            return str(value).lower()
        case float():
            return repr(value)
        case _ if hasattr(value, "isoformat"):
            return str(value.isoformat())
        case _:
            return format(value, "f") if hasattr(value, "as_tuple") else str(value)
