"""A hand-off document run from files into PostgreSQL: every record is there, or a dead letter that can be replayed."""

from __future__ import annotations

import random
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from tests.connectors.houses import House

import penstock
from penstock.ledger import DeadLetterFilter, LetterStatus

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers.postgres import Database, OwnServer

DOCUMENT = """
# Orders

## SCHEMA_TO_STREAM_HANDOFF

```yaml
pipeline: "shop"
connections:
  files: {{kind: files, path: "data"}}
{connection}
source_models:
  - table: "orders"
    database: "files"
    columns:
      - {{name: id, type: bigint}}
      - {{name: status, type: text}}
      - {{name: amount, type: "numeric(10,2)"}}
      - {{name: version, type: integer}}

destination_requirements:
  warehouse: "house"
  schema: "analytics"
  models:
    - name: "fct_orders"
      grain: "order_id"
      write_mode: merge
      version_by: version
      columns:
        - {{name: order_id, from: id}}
        - "status"
        - "amount"
        - "version"
    - name: "log_orders"
      grain: "order_id"
      columns:
        - {{name: order_id, from: id}}
        - {{name: status, expression: "{status}", type: text}}

quality_requirements:
  - "amount >= 0"
  - {{rule: "no duplicate order_id", model: log_orders}}
```
"""
HERE = '  house: {{kind: postgres, url: "{url}"}}'
PASSWORD_VARIABLE = "PENSTOCK_TEST_HOUSE"  # noqa: S105 - the name of a variable
FIRST = """id,status,amount,version
1,new,10.00,1
2,new,20.00,1
x,new,30.00,1
1,paid,10.00,2
3,new,-1.00,1
4,new,40.00,1
"""
SECOND = """id,status,amount,version
2,late,20.00,0
4,paid,40.00,2
5,new,50.00,1
"""


@pytest.fixture
def house(database: Database) -> Iterator[House]:
    house = House(database)
    yield house
    house.close()


def url_with_a_reference(house: House, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the URL of the database as a document may say it: the password stands in the environment."""
    user, _, place = house.database.url.rpartition("@")
    monkeypatch.setenv(PASSWORD_VARIABLE, "kept:for/tests@only")
    return f"{user.rpartition(':')[0]}:${{{PASSWORD_VARIABLE}}}@{place}"


def write(root: Path, connection: str, status: str = "status") -> None:
    (root / "data" / "orders").mkdir(parents=True, exist_ok=True)
    (root / "shop.md").write_text(DOCUMENT.format(connection=connection, status=status))


def add(root: Path, name: str, content: str) -> None:
    (root / "data" / "orders" / name).write_text(content)


def facts(house: House) -> list[tuple[object, ...]]:
    return house.stored("SELECT order_id, status, amount, version FROM analytics.fct_orders ORDER BY order_id")


def log(house: House) -> list[tuple[object, ...]]:
    return house.stored("SELECT order_id, status FROM analytics.log_orders ORDER BY order_id")


def codes(project: penstock.Project) -> list[str]:
    open_ones = DeadLetterFilter(status=LetterStatus.OPEN)
    return sorted(project.dead_letters(open_ones).column("code").to_pylist())


@pytest.mark.parametrize("named_in", ["the document", "penstock.toml"])
def test_files_become_tables_and_what_cannot_a_dead_letter(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named_in: str
) -> None:
    url = url_with_a_reference(house, monkeypatch)
    if named_in == "the document":
        write(tmp_path, HERE.format(url=url))
    else:
        write(tmp_path, "")
        (tmp_path / "penstock.toml").write_text(f'[connections.house]\nkind = "postgres"\nurl = "{url}"\n')
    add(tmp_path, "a.csv", FIRST)
    project = penstock.load(tmp_path)
    assert project.errors == ()
    result = project.run()
    assert (result.status, result.trouble) == ("completed", None)
    assert facts(house) == [
        (1, "paid", Decimal("10.00"), 2), (2, "new", Decimal("20.00"), 1), (4, "new", Decimal("40.00"), 1)
    ]  # fmt: skip
    assert log(house) == [(1, "new"), (2, "new"), (3, "new"), (4, "new")]
    assert codes(project) == ["INT_ALPHA_002", "INT_BETA_004", "INT_GAMMA_003"]
    assert result.warehouse.startswith("postgresql://")
    assert result.warehouse.endswith(f"/{house.database.name}")
    for text in (repr(result), project.describe()):
        assert "kept" not in text

    add(tmp_path, "b.csv", SECOND)
    result = penstock.load(tmp_path).run()
    assert result.status == "completed"
    assert facts(house) == [
        (1, "paid", Decimal("10.00"), 2), (2, "new", Decimal("20.00"), 1),
        (4, "paid", Decimal("40.00"), 2), (5, "new", Decimal("50.00"), 1),
    ]  # fmt: skip
    assert log(house) == [(1, "new"), (2, "new"), (3, "new"), (4, "new"), (5, "new")]
    assert codes(project) == ["INT_ALPHA_002", "INT_BETA_004", *["INT_GAMMA_003"] * 3]
    asked = [each for each in result.requirements if each.requirement.startswith("rule")]
    assert [(each.result, each.evidence.partition(" break")[0]) for each in asked] == [
        ("pass", "0 of 4 rows"),
        ("pass", "0 of 5 rows"),
    ]


def test_what_was_in_the_way_is_removed_and_the_dead_letters_are_replayed(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, HERE.format(url=url_with_a_reference(house, monkeypatch)))
    add(tmp_path, "a.csv", FIRST)
    project = penstock.load(tmp_path)
    project.run()
    house.do("DELETE FROM analytics.log_orders WHERE order_id = 1")
    result = project.replay(DeadLetterFilter(code="INT_GAMMA_003"))
    assert result.status == "completed"
    assert log(house) == [(1, "paid"), (2, "new"), (3, "new"), (4, "new")]
    assert codes(project) == ["INT_ALPHA_002", "INT_BETA_004"]


def test_records_that_postgresql_cannot_hold_are_dead_letters_and_the_rest_is_there(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, HERE.format(url=url_with_a_reference(house, monkeypatch)))
    record = '{{"id": {}, "status": "{}", "amount": 1, "version": 1}}\n'
    rows = [record.format(*each) for each in ((1, "fine"), (2, "nul \\u0000 inside"), (3, "fine"))]
    add(tmp_path, "a.jsonl", "".join(rows))
    project = penstock.load(tmp_path)
    assert project.run().status == "completed"
    assert [row[0] for row in facts(house)] == [1, 3]
    assert log(house) == [(1, "fine"), (3, "fine")]
    assert codes(project) == ["INT_GAMMA_001", "INT_GAMMA_001"]


def test_rows_that_a_constraint_of_later_stops_are_found_and_the_rest_is_there(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, HERE.format(url=url_with_a_reference(house, monkeypatch)))
    long = random.Random(2).randbytes(9_000).hex()
    rows = "".join(f"{number},{long if number == 13 else 'short'},1,1\n" for number in range(40))
    add(tmp_path, "a.csv", f"id,status,amount,version\n{rows}")
    text = (tmp_path / "shop.md").read_text().replace("no duplicate order_id", "no duplicate order_id + status")
    (tmp_path / "shop.md").write_text(text)
    project = penstock.load(tmp_path)
    assert project.errors == ()
    assert project.run().status == "completed"
    assert house.stored("SELECT count(*), count(*) FILTER (WHERE order_id = 13) FROM analytics.log_orders") == [(39, 0)]
    assert codes(project) == ["INT_LINK_010"]


def test_a_run_whose_server_is_killed_stops_and_the_next_goes_on_where_it_stood(
    killable_postgres: OwnServer, killable_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = House(killable_database)
    write(tmp_path, HERE.format(url=url_with_a_reference(house, monkeypatch)))
    rows = "".join(f"{number},new,1.00,1\n" for number in range(3_000))
    add(tmp_path, "a.csv", f"id,status,amount,version\n{rows}")
    settings = {"COMMIT_RECORDS": 200, "READ_BYTES": 4096, "WINDOW_RECORDS": 1000}

    class Kills:
        """Kills the server in the midst of the run."""

        def __init__(self) -> None:
            self.commits = 0

        def saw(self, fact: object) -> None:
            self.commits += type(fact).__name__ == "RowsCommitted"
            if self.commits == 5 and killable_postgres.process is not None:
                killable_postgres.kill()

    result = penstock.load(tmp_path, settings=settings).run(observer=Kills())
    assert result.status == "failed"
    assert result.trouble is not None
    assert result.trouble.code == "INT_GAMMA_010"
    killable_postgres.start()
    assert 0 < len(log(house)) < 3_000
    result = penstock.load(tmp_path, settings=settings).run()
    assert result.status == "completed"
    assert log(house) == [(number, "new") for number in range(3_000)]
    assert len(facts(house)) == 3_000
