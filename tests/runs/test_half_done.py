"""A run dies, and something changes before the next one, a file or a mind: nothing is lost, and nothing comes twice."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from penstock.ledger import DeadLetterFilter, Ledger

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.runs.conftest import Ended, How, Program

pytestmark = pytest.mark.slow

DOCUMENT = """\
## SCHEMA_TO_STREAM_HANDOFF

```yaml
pipeline: "shop"
connections:
  shop: {kind: files, path: "data"}
source_models:
  - table: "orders"
    database: "shop"
    columns:
      - {name: "id", type: "bigint", primary_key: true}
      - {name: "amount", type: "bigint", nullable: false}
      - {name: "customer", type: "bigint"}
  - table: "customers"
    database: "shop"
    columns:
      - {name: "id", type: "bigint", primary_key: true}
      - {name: "name", type: "text"}
destination_requirements:
  warehouse: "duckdb"
  schema: "main"
  models:
    - name: "fct_orders"
      source: "orders"
      grain: "id"
      lookups:
        - {name: "who", table: "customers", on: "customer", key: "id"}
      columns: ["*", {name: "customer_name", expression: "who.name"}]
```
"""
"""An appending model that refuses no duplicate: what comes twice is there twice."""


class Orders:
    """Orders 1 to 40 of customers 1 and 2; every fifth has no number for an amount. There is no customer 2 yet."""

    def __init__(self, program: Program, how: type[How], folder: Path) -> None:
        self.program = program
        self.how = how
        self.folder = folder
        (folder / "shop.md").write_text(DOCUMENT)
        (folder / "data").mkdir()
        self.write(lambda number: "x" if number % 5 == 0 else str(number))
        self.write_customers(1)

    def write(self, amount: Callable[[int], str], orders: int = 40) -> None:
        lines = [f"{number},{amount(number)},{1 + number % 2}\n" for number in range(1, orders + 1)]
        (self.folder / "data" / "orders.csv").write_text("id,amount,customer\n" + "".join(lines))

    def write_customers(self, *customers: int) -> None:
        lines = [f"{number},customer {number}\n" for number in customers]
        (self.folder / "data" / "customers.csv").write_text("id,name\n" + "".join(lines))

    def dies(self, *kill: str) -> None:
        """Begin a run that is killed."""
        small = ("READ_BYTES=64", "ALPHA_BETA_BATCH_SIZE=4", "BETA_GAMMA_BATCH_SIZE=2", "COMMIT_RECORDS=10")
        ended = self.rehearse(*(f"--set={setting}" for setting in small), "--kill", *kill)
        assert ended.code == -9, ended

    def rehearse(self, *arguments: str, under: tuple[str, ...] = ()) -> Ended:
        return self.program.run(self.folder, *arguments, how=self.how(module="penstock.testing.rehearse", under=under))

    def run(self, *arguments: str) -> Ended:
        return self.program.run("run", "--quiet", self.folder, *arguments)

    def replay(self, *arguments: str) -> Ended:
        return self.program.run("dead-letters", "replay", "--quiet", self.folder, *arguments)

    def standing(self) -> dict[str, list[int]]:
        """Lines of the dead letters by status."""
        with Ledger.read_only(self.folder / ".penstock") as ledger:
            assert ledger.check_conservation("shop") == []
            letters = ledger.dead_letters("shop", DeadLetterFilter()).to_pylist()
        found: dict[str, list[int]] = {}
        for letter in letters:
            found.setdefault(letter["status"], []).append(letter["line"])
        return {status: sorted(lines) for status, lines in found.items()}


@pytest.fixture
def orders(program: Program, how: type[How], tmp_path: Path) -> Orders:
    return Orders(program, how, tmp_path)


def rows(orders: Orders, ask: Callable[..., Any]) -> list[int]:
    (found,) = ask(orders.folder / "warehouse.duckdb", "SELECT id FROM fct_orders ORDER BY id")
    return [row[0] for row in found]


ALL = list(range(1, 41))


def test_a_letter_of_a_run_that_died_does_not_outlive_the_mending_of_its_record(
    orders: Orders, ask: Callable[..., Any]
) -> None:
    orders.write_customers(1, 2)
    orders.dies("rows and mark", "before", "1")
    assert orders.standing()["open"]
    orders.write(str)
    assert orders.run().code == 0
    assert rows(orders, ask) == ALL
    assert "open" not in orders.standing()
    assert orders.replay().code == 0
    assert rows(orders, ask) == ALL


def test_a_record_that_nobody_settled_is_not_replayed_as_it_will_be_read_again(
    orders: Orders, ask: Callable[..., Any]
) -> None:
    orders.write(str)
    orders.dies("rows and mark", "before", "1")
    unsettled = orders.standing()["open"]
    assert unsettled
    orders.write_customers(1, 2)
    assert orders.replay().code == 0
    refused = orders.replay("--id", "1")
    assert refused.code == 3
    assert "INT_LEDGER_005" in refused.err
    assert orders.run().code == 0
    assert orders.replay().code == 0
    assert rows(orders, ask) == ALL
    assert "open" not in orders.standing()


def test_what_was_refused_below_a_mark_counts_as_refused_whatever_was_mended_since(
    orders: Orders, ask: Callable[..., Any]
) -> None:
    """A mark says that everything below is settled: what was refused there comes back by replay, and not otherwise."""
    orders.dies("rows and mark", "after", "1")
    refused = orders.standing()["open"]
    orders.write(str)
    orders.write_customers(1, 2)
    ended = orders.run("--format", "json")
    assert ended.code == 0
    ((to,),) = [account["destinations"] for account in ended.said["account"]]
    assert to["delivered"] == len(rows(orders, ask)) < 40
    below = orders.standing()["open"]
    assert set(below) < set(refused)
    assert to["delivered"] + len(below) == 40
    assert orders.replay().code == 0
    assert rows(orders, ask) == [number for number in ALL if number % 5 or 1 + number not in below]


def test_letters_of_settled_records_are_replayed_although_a_later_run_died(
    orders: Orders, ask: Callable[..., Any]
) -> None:
    orders.write(str, orders=20)
    assert orders.run().code == 0
    settled = orders.standing()["open"]
    orders.write(str)
    orders.dies("rows and mark", "before", "1")
    orders.write_customers(1, 2)
    assert orders.replay().code == 0
    assert orders.standing()["delivered"] == settled
    assert orders.run().code == 0
    assert rows(orders, ask) == ALL


def test_a_file_that_became_shorter_and_was_read_anew_is_no_trouble_ever_after(
    orders: Orders, ask: Callable[..., Any]
) -> None:
    orders.write_customers(1, 2)
    assert orders.run().code == 0
    orders.write(lambda number: str(10 * number), orders=12)
    assert orders.run().code == 3
    assert orders.run("--rewind").code == 0
    assert orders.run().code == 0
    assert "open" not in orders.standing()  # the letters of the old file went with it
    assert rows(orders, ask) == sorted([*range(1, 13), *(number for number in ALL if number % 5)])


MERGING = DOCUMENT.replace('grain: "id"', 'grain: "id"\n      write_mode: "merge"')


@pytest.mark.parametrize("deaths", [2, pytest.param(40, marks=[pytest.mark.kill, pytest.mark.timeout(1800)])])
def test_killed_while_going_back_it_still_goes_all_the_way_back(
    orders: Orders, ask: Callable[..., Any], tool: Callable[[str], str], deaths: int, show: Callable[[str], None]
) -> None:
    """It is killed at the N-th sync of any of its threads, by strace, for every N there is (or some of them)."""
    (orders.folder / "shop.md").write_text(MERGING)
    orders.write_customers(1, 2)
    died = 0
    for nth in count(1, 1 if deaths > 2 else 4):
        orders.write(lambda number, nth=nth: str(1000 * nth + number))  # type: ignore[misc] # a default is no argument
        went_on = orders.run("--rewind")
        assert went_on.code == 0, went_on
        orders.write(lambda number, nth=nth: str(2000 * nth + number), orders=30)  # type: ignore[misc] # likewise
        strace = (tool("strace"), "-f", "-o", "/dev/null", "-e", f"inject=fsync,fdatasync:signal=KILL:when={nth}")
        ended = orders.rehearse("--resolution=rewind", "--set=READ_BYTES=64", "--set=COMMIT_RECORDS=10", under=strace)
        died += ended.code != 0
        went_on = orders.run("--rewind")
        assert went_on.code == 0, (nth, went_on)
        (amounts,) = ask(orders.folder / "warehouse.duckdb", "SELECT id, amount FROM fct_orders ORDER BY id")
        expected = [[number, (2000 if number <= 30 else 1000) * nth + number] for number in ALL]
        assert amounts == expected, nth
        assert orders.run().code == 0
        if ended.code == 0 or died == deaths:
            break
    assert died >= 2
    show(f"killed while going back: {died} kills at syncs")
