"""Whole runs of a hand-off document into files: every record accounted for, killed or not, run once or again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.connectors.files_sink import asked, seen_by_manifest, seen_by_pattern

from penstock import load
from penstock.orchestration.plan import Resolution

if TYPE_CHECKING:
    from penstock.orchestration.result import RunResult

ROOT = Path(__file__).parents[2]
DOCUMENT = """\
## SCHEMA_TO_STREAM_HANDOFF

```yaml
pipeline: "shop"
connections:
  shop: {{kind: files, path: "data"}}
  lake: {{kind: files, path: "lake", options: {{format: "{file_format}"{more}}}}}
source_models:
  - table: "orders"
    database: "shop"
    columns:
      - {{name: "id", type: "bigint", primary_key: true}}
      - {{name: "amount", type: "numeric(12,2)", nullable: false}}
      - {{name: "note", type: "text"}}
      - {{name: "created_at", type: "timestamp", nullable: false}}
destination_requirements:
  warehouse: "lake"
  models:
    - name: "fct_orders"
      source: "orders"
      grain: "id"
      write_mode: "{mode}"
      partitioning: "created_at (monthly)"
      filters:
        - {{when: "note = 'test'", reason: "test orders"}}
      columns: ["id", "amount", "note", "created_at"]
quality_requirements:
  - "amount >= 0"
  - {{rule: "no duplicate id", model: "fct_orders"}}
```
"""
RECORDS = 3000
SETTINGS = {
    "COMMIT_RECORDS": 150, "READ_BYTES": 4096, "COMMIT_IDLE_MS": 5, "WINDOW_RECORDS": 300,
    "ALPHA_BETA_BATCH_SIZE": 100, "BETA_GAMMA_BATCH_SIZE": 50,
}  # fmt: skip
"""So small a window that there are ten commits at least, however fast the one or the other is."""
KILLS = (
    ("rows and mark", "before", 2),
    ("rows and mark", "after", 1),
    ("acknowledgement", "before", 1),
    ("position", "after", 1),
)


def shop(root: Path, file_format: str, mode: str = "append", more: str = "") -> Path:
    """Write the document and its orders: every 10th is broken, every 15th comes twice, every 7th is a test."""
    (root / "handoff.md").write_text(DOCUMENT.format(file_format=file_format, mode=mode, more=more))
    (root / "data").mkdir()
    (root / "data" / "orders.csv").write_text("".join(["id,amount,note,created_at\n", *map(order, range(RECORDS))]))
    return root


def order(number: int) -> str:
    amount = "broken" if number % 10 == 1 else f"{number}.25"
    note = "test" if number % 7 == 3 else '"a ""b"",\nc"' if number % 2 else ""
    return f"{number - 1 if twice(number) else number},{amount},{note},2024-{1 + number % 5:02d}-03 04:05:06\n"


def twice(number: int) -> bool:
    """Whether this one has the id of the one before it, which was delivered."""
    return number % 15 == 5 and delivered(number - 1) and number % 7 != 3


def delivered(number: int) -> bool:
    return number % 10 != 1 and number % 7 != 3 and number % 15 != 5


GOOD = [number for number in range(RECORDS) if number % 10 != 1 and number % 7 != 3 and not twice(number)]
SUM = sum(Decimal(f"{number}.25") for number in GOOD)


def letters_of(result: RunResult) -> dict[str, int]:
    (account,) = result.all_time
    (destination,) = account.destinations
    return {left.reason: left.records for left in destination.dead_lettered}


def check(root: Path, file_format: str) -> None:
    table = root / "lake" / "fct_orders"
    assert seen_by_manifest(table) == seen_by_pattern(table)
    (found,) = asked(
        table, "count(*), sum(CAST(amount AS DECIMAL(12, 2))), count(DISTINCT id)", file_format=file_format
    )
    assert found == (len(GOOD), SUM, len(GOOD))
    months = asked(table, "DISTINCT created_at_month = strftime(CAST(created_at AS TIMESTAMP), '%Y-%m')",
                   file_format=file_format)  # fmt: skip
    assert months == [(True,)]


@pytest.mark.parametrize("file_format", ["parquet", "csv", "jsonl"])
def test_every_record_is_in_a_file_or_a_dead_letter_and_a_second_run_adds_nothing(
    tmp_path: Path, file_format: str
) -> None:
    project = load(shop(tmp_path, file_format), settings=SETTINGS)
    assert [finding for finding in project.findings if finding.code.startswith("PLAN_")] == []
    result = project.run()
    assert (result.status, result.trouble) == ("completed", None)
    duplicates = sum(twice(number) for number in range(RECORDS) if number % 10 != 1)
    assert letters_of(result) == {"INT_ALPHA_002": RECORDS // 10, "INT_GAMMA_003": duplicates}
    assert all(source.balances for source in result.account)
    (laid_out,) = (each for each in result.requirements if each.requirement.startswith("layout/"))
    assert laid_out.evidence == "the destination lays its rows out so; nothing measures it"
    check(tmp_path, file_format)
    again = load(tmp_path, settings=SETTINGS).run()
    assert (again.status, again.trouble) == ("completed", None)
    check(tmp_path, file_format)
    with (tmp_path / "data" / "orders.csv").open("a") as more:
        more.write("90000,1.00,,2024-06-01 00:00:00\n")
    load(tmp_path, settings=SETTINGS).run()
    table = tmp_path / "lake" / "fct_orders"
    assert asked(table, "count(*), max(id)", file_format=file_format) == [(len(GOOD) + 1, 90_000)]


@pytest.mark.parametrize("file_format", ["parquet", "csv", "jsonl"])
def test_killed_at_one_commit_point_after_the_other_and_run_again_every_record_is_there_once(
    tmp_path: Path, file_format: str
) -> None:
    root = shop(tmp_path, file_format)
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), **{name: str(it) for name, it in SETTINGS.items()}}
    for point, moment, number in KILLS:
        command = [sys.executable, "-m", "penstock.testing.rehearse", str(root), "--kill", point, moment, str(number)]
        ended = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
        assert ended.returncode == -signal.SIGKILL, (point, moment, ended)
    result = load(root, settings=SETTINGS).run()
    assert (result.status, result.trouble) == ("completed", None)
    assert letters_of(result)["INT_ALPHA_002"] == RECORDS // 10
    check(root, file_format)


def test_a_source_file_that_changed_and_is_read_anew_replaces_its_rows_where_files_replace(tmp_path: Path) -> None:
    root = shop(tmp_path, "parquet", more=", mode: replace")
    assert load(root, settings=SETTINGS).run().status == "completed"
    check(root, "parquet")
    (root / "data" / "orders.csv").write_text("id,amount,note,created_at\n5,1.00,,2024-06-01 00:00:00\n")
    result = load(root, settings=SETTINGS).run(resolution=Resolution.REWIND)
    assert (result.status, result.trouble) == ("completed", None)
    table = root / "lake" / "fct_orders"
    assert asked(table, "id, amount") == [(5, Decimal("1.00"))]
    assert seen_by_manifest(table) == seen_by_pattern(table)


def test_a_document_that_merges_into_files_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    root = shop(tmp_path, "parquet", mode="merge")
    project = load(root)
    (finding,) = project.errors
    assert finding.code == "PLAN_034"
    assert "`fct_orders` merges" in finding.message
    assert finding.place.line > 0
    assert not (root / "lake").exists()
