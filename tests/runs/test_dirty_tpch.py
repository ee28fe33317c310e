"""TPC-H orders, one in a hundred broken, in eight ways: each delivered or set aside, and what is mended comes after."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from penstock.ledger import DeadLetterFilter, Ledger

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.runs.conftest import Program

pytestmark = pytest.mark.slow

SCALE = "0.05"
ORDERS = 75_000
SEED = 7

DOCUMENT = """\
## SCHEMA_TO_STREAM_HANDOFF

```yaml
pipeline: "tpch"
connections:
  tpch: {kind: files, path: "data"}
source_models:
  - table: "orders"
    schema: "public"
    database: "tpch"
    format: {null_values: [""]}
    columns:
      - {name: "o_orderkey", type: "bigint", primary_key: true}
      - {name: "o_custkey", type: "bigint", nullable: false}
      - {name: "o_orderstatus", type: "enum", values: ["F", "O", "P"]}
      - {name: "o_totalprice", type: "numeric(8,2)", nullable: false}
      - {name: "o_orderdate", type: "date", nullable: false}
      - {name: "o_orderpriority", type: "text"}
      - {name: "o_clerk", type: "text"}
      - {name: "o_shippriority", type: "integer"}
      - {name: "o_comment", type: "text"}
destination_requirements:
  warehouse: "duckdb"
  schema: "main"
  models:
    - name: "fct_orders"
      source: "orders"
      grain: "o_orderkey"
      columns:
        - "o_orderkey"
        - "o_custkey"
        - {name: "o_totalprice", from: "o_totalprice", type: "numeric(15,2)"}
        - "o_orderdate"
        - "o_shippriority"
    - name: "orders_now"
      source: "orders"
      grain: "o_orderkey"
      write_mode: "merge"
      columns:
        - "o_orderkey"
        - "o_custkey"
        - {name: "o_totalprice", from: "o_totalprice", type: "numeric(15,2)"}
        - "o_clerk"
quality_requirements:
  - {rule: "no duplicate o_orderkey", model: "fct_orders"}
  - "o_custkey > 0"
```
"""
MENDED = (
    DOCUMENT.replace('null_values: [""]', 'null_values: ["", "unknown"]')
    .replace('"numeric(8,2)"', '"numeric(15,2)"')
    .replace("o_custkey > 0", "o_custkey > -10")
)
"""A value is known to stand for null, a type is wider, a rule is less strict. The tables stay as they are."""

KEY, CUSTOMER, PRICE, DATE, CLERK, SHIP = 0, 1, 3, 4, 6, 7


class Way(NamedTuple):
    """How an order is broken, what is said of it, and whether the mended document takes it."""

    code: str
    field: str
    damage: Callable[[list[bytes]], list[bytes]]
    mended: bool = False


def put(place: int, text: bytes) -> Callable[[list[bytes]], list[bytes]]:
    return lambda fields: [*fields[:place], text, *fields[place + 1 :]]


WAYS: tuple[Way, ...] = (
    Way("INT_ALPHA_002", "o_totalprice", put(PRICE, b"12.3.4")),
    Way("INT_ALPHA_002", "o_totalprice", put(PRICE, b"12345678.90"), mended=True),
    Way("INT_ALPHA_004", "o_custkey", put(CUSTOMER, b"-7"), mended=True),
    Way("INT_ALPHA_002", "o_shippriority", put(SHIP, b"unknown"), mended=True),
    Way("INT_ALPHA_003", "o_orderkey", put(KEY, b"")),
    Way("INT_ALPHA_002", "o_orderdate", put(DATE, b"1995-02-30")),
    Way("INT_ALPHA_001", "", lambda fields: [*fields, b"surplus"]),
    Way("INT_ALPHA_005", "", put(CLERK, b"Cl\xffrk")),
)


class Letter(NamedTuple):
    line: int
    code: str
    field: str


@dataclass
class Orders:
    """The orders as they lie in the file, and what must come of them."""

    folder: Path
    read: int = 0
    letters: list[Letter] = field(default_factory=list)
    prices: dict[int, Decimal] = field(default_factory=dict)
    """What the appending model must hold."""
    clerks: dict[int, str] = field(default_factory=dict)
    """Who must stand in the merging model."""
    mended: dict[int, tuple[int, Decimal]] = field(default_factory=dict)
    """What the mended document takes: key and price by line."""
    overtaken: set[int] = field(default_factory=set)
    """Keys whose first version is broken and whose second is whole: the first must never cover the second."""

    def write(self, lines: Sequence[bytes]) -> None:
        chance = Random(SEED)
        chosen = chance.sample(range(1, len(lines)), len(lines) // 100)
        ways = {number: WAYS[turn % len(WAYS)] for turn, number in enumerate(chosen)}
        out = [lines[0]]
        for number, text in enumerate(lines[1:], 1):
            fields = text.rstrip(b"\n").split(b",", 8)
            way = ways.get(number)
            if way is not None:
                self._break(way, fields, len(out) + 1)
                fields = way.damage(fields)
            else:
                self._whole(fields)
            out.append(b",".join(fields) + b"\n")
        for line in chance.sample(sorted(self.mended), 20):
            key, _ = self.mended[line]
            self.overtaken.add(key)
            fields = [b"%d" % key, b"1", b"O", b"1.00", b"1998-01-01", b"5-LOW", b"Clerk#later", b"0", b"later"]
            self._whole(fields)
            out.append(b",".join(fields) + b"\n")
        path = self.folder / "data" / "orders.csv"
        path.write_bytes(b"".join(out))
        self.read = len(out) - 1

    def _break(self, way: Way, fields: list[bytes], line: int) -> None:
        self.letters.append(Letter(line, way.code, way.field))
        if way.mended:
            self.mended[line] = int(fields[KEY]), Decimal(way.damage(fields)[PRICE].decode())

    def _whole(self, fields: list[bytes]) -> None:
        self.prices[int(fields[KEY])] = Decimal(fields[PRICE].decode())
        self.clerks[int(fields[KEY])] = fields[CLERK].decode()


@pytest.fixture(scope="module")
def orders(tmp_path_factory: pytest.TempPathFactory) -> Orders:
    folder = tmp_path_factory.mktemp("tpch")
    (folder / "tpch.md").write_text(DOCUMENT)
    generator = Path(sys.executable).parent / "tpchgen-cli"
    command = [str(generator), "csv", "-s", SCALE, "--tables=orders", f"--output-dir={folder / 'data'}"]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    made = Orders(folder)
    lines = (folder / "data" / "orders.csv").read_bytes().splitlines(keepends=True)
    assert len(lines) == ORDERS + 1
    made.write(lines)
    return made


QUESTIONS = (
    "SELECT count(*), count(DISTINCT o_orderkey), CAST(sum(o_totalprice) AS VARCHAR) FROM fct_orders",
    "SELECT count(*), count(DISTINCT o_orderkey) FROM orders_now",
    "SELECT o_orderkey, o_clerk FROM orders_now WHERE o_clerk NOT LIKE 'Clerk#0%' ORDER BY 1",
)


@pytest.fixture(scope="module")
def once(program: Program, orders: Orders) -> dict[str, Any]:
    """What the first run said."""
    ended = program.run("run", "--quiet", "--format", "json", orders.folder)
    assert ended.code == 0, ended
    return ended.said


def letters_of(folder: Path) -> list[dict[str, Any]]:
    with Ledger.read_only(folder / ".penstock") as ledger:
        assert ledger.check_conservation("tpch") == []
        found: list[dict[str, Any]] = ledger.dead_letters("tpch", DeadLetterFilter()).to_pylist()
    return found


def test_what_is_not_delivered_is_set_aside_with_line_field_and_reason(
    orders: Orders, once: dict[str, Any], ask: Callable[..., Any]
) -> None:
    (account,) = once["account"]
    assert account["read"] == orders.read
    refused = len(orders.letters)
    assert refused == ORDERS // 100
    for to in account["destinations"]:
        assert to["delivered"] + refused == orders.read
        assert sum(left["records"] for left in to["dead_lettered"]) == refused
    (facts,), (now,), later = ask(orders.folder / "warehouse.duckdb", *QUESTIONS)
    assert facts == [len(orders.prices), len(orders.prices), str(sum(orders.prices.values()))]
    assert now == [len(orders.clerks), len(orders.clerks)]
    assert later == [[key, "Clerk#later"] for key in sorted(orders.overtaken)]
    found = letters_of(orders.folder)
    assert [Letter(letter["line"], letter["code"], letter["field"]) for letter in found] == orders.letters
    lines = (orders.folder / "data" / "orders.csv").read_bytes().splitlines()
    for letter in found:
        assert letter["message"]
        assert letter["expected"]
        assert letter["original"] == lines[letter["line"] - 1]


def test_what_the_mended_document_takes_is_delivered_once_and_never_over_a_newer_row(
    program: Program, orders: Orders, once: dict[str, Any], ask: Callable[..., Any], tmp_path: Path
) -> None:
    assert once["status"] == "completed"
    folder = tmp_path / "tpch"
    shutil.copytree(orders.folder, folder)
    (folder / "tpch.md").write_text(MENDED)
    ended = program.run("dead-letters", "replay", "--quiet", "--format", "json", folder)
    assert ended.code == 0, ended
    check_mended(orders, folder, ask)
    again = program.run("dead-letters", "replay", "--quiet", "--format", "json", folder)
    assert again.code == 0, again
    check_mended(orders, folder, ask)
    assert program.run("run", "--quiet", folder).code == 0
    check_mended(orders, folder, ask)


def check_mended(orders: Orders, folder: Path, ask: Callable[..., Any]) -> None:
    new = {key: price for key, price in orders.mended.values() if key not in orders.overtaken}
    prices = orders.prices | new
    (facts,), (now,), later = ask(folder / "warehouse.duckdb", *QUESTIONS)
    assert facts == [len(prices), len(prices), str(sum(prices.values()))]
    assert now == [len(prices), len(prices)]
    assert later == [[key, "Clerk#later"] for key in sorted(orders.overtaken)]
    letters = letters_of(folder)
    standing = Counter((letter["status"], letter["line"], letter["code"]) for letter in letters)
    expected = Counter(
        ("open", letter.line, letter.code) for letter in orders.letters if letter.line not in orders.mended
    )
    for line, (key, _) in orders.mended.items():
        overtaken = key in orders.overtaken
        code = next(letter.code for letter in orders.letters if letter.line == line)
        # The appending model has the newer order already: to it, the older one is a duplicate.
        expected["open" if overtaken else "delivered", line, "INT_GAMMA_003" if overtaken else code] += 1
    assert standing == expected
