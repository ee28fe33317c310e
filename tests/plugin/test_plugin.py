"""A connector that somebody else wrote: installed, found by its entry points, run, and held to what it promises."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.plugin.sqlite_harness import SQLiteSinkHarness, SQLiteSourceHarness

from penstock.connectors import open_source
from penstock.errors import UserMistake
from penstock.model.finding import Place
from penstock.model.pipeline import Connection, SourceTable
from penstock.model.settings import Settings
from penstock.testing.conformance import SinkSuite, SourceSuite

if TYPE_CHECKING:
    from penstock.testing.conformance import SinkHarness, SourceHarness

DOCUMENT = """\
## SCHEMA_TO_STREAM_HANDOFF

```yaml
pipeline: "shop"
source_models:
  - table: "orders"
    database: "till"
    columns:
      - {name: "id", type: "bigint", primary_key: true}
      - {name: "name", type: "text"}
      - {name: "total", type: "numeric(12,2)", nullable: false}
destination_requirements:
  warehouse: "house"
  schema: "analytics"
  models:
    - name: "facts"
      source: "orders"
      grain: "id"
      columns: ["id", "name", {name: "twice", expression: "total * 2", type: "numeric(12,2)"}]
quality_requirements:
  - {rule: "twice >= 0", model: "facts"}
```
"""
CONNECTIONS = """\
[connections.till]
kind = "sqlite"
path = "till.sqlite"

[connections.house]
kind = "sqlite"
path = "house.sqlite"
"""
RUN = """
import sys, penstock
result = penstock.load(sys.argv[1]).run()
print(result.status, *(f"{check.result}: {check.evidence}" for check in result.requirements), sep="\\n")
"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    (tmp_path / "shop.md").write_text(DOCUMENT)
    (tmp_path / "penstock.toml").write_text(CONNECTIONS)
    with closing(sqlite3.connect(tmp_path / "till.sqlite")) as till, till:
        till.execute("CREATE TABLE orders (id, name, total)")
        rows = [(1, "a", "12.50"), (2, None, "0.10"), (3, "c", "nothing"), (4, "d", "-1")]
        till.executemany("INSERT INTO orders VALUES (?, ?, ?)", rows)
    return tmp_path


def run(shop: Path, site: Path) -> list[str]:
    """Run the pipeline in a process that finds the plug-in where it is installed."""
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(shop)],
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(site)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def facts(shop: Path) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(shop / "house.sqlite")) as house:
        return house.execute('SELECT * FROM "analytics.facts" ORDER BY id').fetchall()


def test_a_pipeline_reads_and_writes_through_the_plug_in_and_goes_on_where_it_stopped(shop: Path, site: Path) -> None:
    status, *checks = run(shop, site)
    assert status == "completed"
    assert checks == ["not checked: 1 refused on the way; the destination cannot be asked"]
    assert facts(shop) == [(1, "a", "25.00"), (2, None, "0.20")]
    with closing(sqlite3.connect(shop / "till.sqlite")) as till, till:
        till.execute("INSERT INTO orders VALUES (5, 'e', '7')")
    run(shop, site)
    assert facts(shop) == [(1, "a", "25.00"), (2, None, "0.20"), (5, "e", "14.00")]


def test_without_the_plug_in_its_kind_is_none(tmp_path: Path) -> None:
    table = SourceTable("orders", "", "till", Connection("till", "sqlite", "till.sqlite"), (), Place("shop.md"))
    with pytest.raises(UserMistake, match="`sqlite` is not a kind of source"):
        open_source(table, tmp_path, Settings())


def test_installing_it_leaves_nothing_beside_its_files(site: Path) -> None:
    assert {path.name for path in site.iterdir()} == {"penstock_sqlite", "penstock_sqlite-0.1.0.dist-info"}
    assert not any(Path(__file__).parent.glob("*.egg-info"))


@pytest.mark.usefixtures("installed")
class TestSource(SourceSuite):
    @pytest.fixture
    def harness(self, open_root: Path) -> SourceHarness:
        return SQLiteSourceHarness(open_root)


@pytest.mark.usefixtures("installed")
class TestSourceByCursor(SourceSuite):
    @pytest.fixture
    def harness(self, open_root: Path) -> SourceHarness:
        return SQLiteSourceHarness(open_root, by_cursor=True)


@pytest.mark.usefixtures("installed")
class TestSink(SinkSuite):
    @pytest.fixture
    def harness(self, open_root: Path) -> SinkHarness:
        return SQLiteSinkHarness(open_root)
