"""The DuckDB destination keeps within its memory however large the table grows."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

FILL = """
import resource, sys
from pathlib import Path
import pyarrow as pa
import pyarrow.compute as pc
from penstock.connectors.sinks.duckdb import DuckDBSink
from penstock.model.batch import RESERVED_FIELDS
from penstock.model.finding import Place
from penstock.model.pipeline import Column, Connection, Model, Rule, RuleKind, Warehouse, WriteMode
from penstock.model.schema import arrow_schema, parse_type
from penstock.model.settings import Settings

AT_ONCE = 125_000
here = Place("test")
unique = Rule("a rule", "no duplicate id", RuleKind.UNIQUE, ("id",), here)
columns = (Column("id", parse_type("bigint"), "id"), Column("note", parse_type("text"), "note"))
model = Model("orders", "main", "orders", ("id",), columns, here, write_mode=WriteMode(sys.argv[2]), rules=(unique,))
settings = Settings({"ENGINE_MEMORY_BYTES": 64 << 20})
sink = DuckDBSink("shop", model, Warehouse("local", Connection("local", "duckdb")), Path(sys.argv[1]), settings)
sink.prepare()
schema = arrow_schema(model.fields, *RESERVED_FIELDS)
for start in range(0, int(sys.argv[3]), AT_ONCE):
    sequences = pa.array(range(start, start + AT_ONCE), pa.int64())
    ids = pc.multiply(sequences, 6364136223846793005)  # in no order: every part of the table could hold them
    nothing = pa.nulls(AT_ONCE, RESERVED_FIELDS[2].type)
    inserts = pa.nulls(AT_ONCE, pa.int8()).fill_null(0)
    rows = pa.table([ids, ids.cast(pa.string()), sequences, inserts, nothing, sequences], schema=schema)
    written = sink.write(rows, "a.csv")
    assert not written.refused and not written.superseded
    sink.commit([])
evidence = sink.evidence(unique)
assert (evidence.violations, evidence.rows) == (0, int(sys.argv[3])), evidence
sink.close()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def peak_kib(root: Path, mode: str, rows: int) -> int:
    root.mkdir()
    command = [sys.executable, "-c", f"import sys; sys.path[:0] = {sys.path!r}\n{FILL}", str(root), mode, str(rows)]
    return int(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["append", "merge"])
def test_ten_times_the_rows_with_keys_in_no_order_take_no_more_memory(tmp_path: Path, mode: str) -> None:
    few, many = peak_kib(tmp_path / "few", mode, 500_000), peak_kib(tmp_path / "many", mode, 5_000_000)
    assert many < 1.2 * few
