"""A table of files, written by the sink and read back by other eyes: by the manifest, by pattern, by our own source."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import duckdb
import msgspec
import pyarrow as pa

from penstock.connectors.sinks.files import FilesSink
from penstock.connectors.sources.files import FileSource
from penstock.expressions import Engine, quote
from penstock.ingestion.casting import Caster
from penstock.model.batch import RESERVED_FIELDS, Op
from penstock.model.finding import Place
from penstock.model.pipeline import (
    Column,
    Connection,
    Model,
    Partitioning,
    Rule,
    RuleKind,
    SourceTable,
    Warehouse,
)
from penstock.model.position import Mark, Position
from penstock.model.schema import arrow_schema, parse_type
from penstock.model.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

HERE = Place("test")
ENDINGS = {"parquet": "parquet", "csv": "csv", "jsonl": "jsonl"}


def model_of(
    columns: Mapping[str, str],
    *,
    unique: Sequence[tuple[str, ...]] = (),
    not_null: Iterable[str] = (),
    partitioning: Partitioning | None = None,
    clustering: tuple[str, ...] = (),
) -> Model:
    fixed = set(not_null)
    return Model(
        "orders",
        "analytics",
        "orders",
        ("id",),
        tuple(
            Column(column, parse_type(of_type), quote(column), nullable=column not in fixed)
            for column, of_type in columns.items()
        ),
        HERE,
        rules=tuple(rule(RuleKind.UNIQUE, *key) for key in unique),
        partitioning=partitioning,
        clustering=clustering,
    )


def rule(kind: RuleKind, *columns: str, predicate: str = "") -> Rule:
    return Rule("a rule", "as written", kind, columns, HERE, predicate=predicate)


def laid_out(model: Model, column: str, interval: str = "", kind: str = "range") -> Model:
    return msgspec.structs.replace(model, partitioning=Partitioning(column, interval, kind))


IDS = model_of({"id": "bigint", "name": "text"})
HALVES = laid_out(model_of({"id": "bigint", "half": "boolean"}), "half", kind="list")
"""In two folders."""
UNIQUE_IDS = model_of({"id": "bigint", "name": "text"}, unique=[("id",)])


def sink_at(root: Path, model: Model = IDS, path: str = "out", **options: str) -> FilesSink:
    """Return a sink that is not prepared."""
    warehouse = Warehouse("lake", Connection("lake", "files", path, options))
    return FilesSink("shop", model, warehouse, root, Settings({"ENGINE_MEMORY_BYTES": 128 << 20}))


def open_at(root: Path, model: Model = IDS, path: str = "out", **options: str) -> FilesSink:
    sink = sink_at(root, model, path, **options)
    sink.prepare()
    return sink


def rows_of(model: Model, *rows: Sequence[object], first: int = 0, op: Op = Op.INSERT) -> pa.Table:
    """Rows as delivery hands them over; the first has sequence `first`."""
    schema = arrow_schema(model.fields, *RESERVED_FIELDS)
    whole = [(*row, first + place, int(op), None, first + place) for place, row in enumerate(rows)]
    columns = zip(*whole, strict=True) if whole else [()] * len(schema)
    return pa.table(
        [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)], schema=schema
    )


def numbered(start: int, end: int) -> pa.Table:
    """Rows of IDS whose id is their sequence."""
    return rows_of(IDS, *((number, f"name {number}") for number in range(start, end)), first=start)


def halved(start: int, end: int) -> pa.Table:
    """Rows of HALVES whose id is their sequence."""
    return rows_of(HALVES, *((number, number % 2 == 0) for number in range(start, end)), first=start)


def mark(sequence: int, partition: str = "a.csv") -> Mark:
    return Mark("orders", partition, sequence, Position(partition, sequence, f"byte {sequence}"))


def sequence_of(sink: FilesSink, partition: str = "a.csv") -> int:
    marks = sink.marks()
    return marks["orders", partition].sequence if ("orders", partition) in marks else 0


def manifest(table: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((table / "_penstock" / "manifest.json").read_text())
    return found


def seen_by_manifest(table: Path) -> list[str]:
    """Return the files that the manifest names, checked: each is there, with the bytes that it says."""
    said = manifest(table)
    for file in said["files"]:
        content = (table / file["path"]).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (file["bytes"], file["sha256"]), file["path"]
    assert said["rows"] == sum(file["rows"] for file in said["files"])
    return sorted(file["path"] for file in said["files"])


def seen_by_pattern(table: Path) -> list[str]:
    """Return the files that `**/*.*` finds, as shells and most tools understand it."""
    return sorted(
        str(path.relative_to(table))
        for path in table.rglob("*.*")
        if path.is_file() and not any(part.startswith(("_", ".")) for part in path.relative_to(table).parts)
    )


def unfinished(table: Path) -> list[str]:
    return sorted(path.name for path in (table / "_penstock" / "unfinished").iterdir())


def asked(
    table: Path, what: str, *, file_format: str = "parquet", files: Sequence[str] | None = None
) -> list[tuple[Any, ...]]:
    """Ask another engine, which knows nothing of manifests, about `files` or what a pattern finds."""
    read = {"parquet": "read_parquet", "csv": "read_csv", "jsonl": "read_json"}[file_format]
    where = [f"{table}/**/*.{file_format}*"] if files is None else [str(table / path) for path in files]
    with duckdb.connect() as engine:
        engine.execute("SET TimeZone = 'UTC'")
        return engine.execute(f"SELECT {what} FROM {read}({where!r}, hive_partitioning = true)").fetchall()  # noqa: S608


def read_back(root: Path, model: Model, where: str = "out") -> list[dict[str, Any]]:
    """Read the table as Penstock would read it, cast to the columns' types, in order."""
    connection = Connection("back", "files", where)
    table = SourceTable("orders", "analytics", "back", connection, model.fields, HERE)
    source = FileSource(table, root, Settings())
    engine = Engine(64 << 20, 1)
    caster, found = Caster(engine), []
    for partition in source.partitions():
        for chunk in source.read(partition, None):
            assert chunk.bad == (), chunk.bad
            columns = []
            for field in model.fields:
                given = chunk.records.column(field.name)
                cast = caster.cast(given, field.type)
                assert cast.null_count == given.null_count, (field.name, given, cast)
                columns.append(cast)
            found += pa.RecordBatch.from_arrays(columns, names=[field.name for field in model.fields]).to_pylist()
    engine.close()
    return found
