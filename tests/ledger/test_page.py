"""docs/ledger.md names every table and column, and its queries run."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from penstock.ledger import Ledger, RequirementResult, Result, mask

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.ledger.conftest import Hand

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "ledger.md").read_text()
QUERIES = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)


def explained() -> dict[str, list[str]]:
    """The columns that the page lists under each table's heading, in its order."""
    sections = re.findall(r"^## `(\w+)`$(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)
    return {table: re.findall(r"^\| `(\w+)` \|", text.split("| status |")[0], re.MULTILINE) for table, text in sections}


def test_the_page_explains_every_table_and_every_column_in_order(ledger: Ledger) -> None:
    with ledger._database.read() as connection:  # the tables as they are, not as the code means them
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        columns = {
            table: [name for (name,) in connection.execute("SELECT name FROM pragma_table_info(?)", (table,))]
            for table in tables
        }
    assert explained() == columns


def test_the_page_explains_every_status_of_a_dead_letter() -> None:
    assert re.findall(r"^\| `(\w+)` \|", PAGE.split("| status |")[1].split("##")[0], re.MULTILINE) == [
        "open",
        "replaying",
        "delivered",
        "discarded",
        "withdrawn",
    ]


def test_the_example_of_masking_is_true() -> None:
    original, masked = re.findall(r"`([^`]+)` becomes `([^`]+)`\.", PAGE)[0]
    assert mask(original.encode()) == masked


@pytest.mark.parametrize("query", QUERIES)
def test_the_pages_queries_answer_from_a_ledger_that_is_in_use(
    folder: Path, hand_on: Callable[[Ledger], Hand], query: str
) -> None:
    with Ledger.open(folder) as ledger:
        hand = hand_on(ledger)
        hand.refuse(3, 4, partition="orders.csv")
        hand.settle(0, 10, partition="orders.csv", dead=2, filtered=1)
        ledger.begin_replay("shop", "orders", "", [2])
        ledger.record_evidence(hand.run_id, [RequirementResult("r1", "x >= 0", "shop.md:1:1", Result.FAIL, "3 rows")])
        with closing(sqlite3.connect(f"file:{folder / 'ledger.sqlite'}?mode=ro", uri=True)) as person:
            found = person.execute(query).fetchall()
    assert bool(found) is not ("No row means yes" in PAGE.split(query)[0][-200:])


def test_the_page_has_queries() -> None:
    assert len(QUERIES) >= 8
