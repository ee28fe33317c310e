"""The program in processes of its own; a shop whose orders are partly broken, and what must become of each of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from penstock.ledger import DeadLetterFilter, Ledger
from penstock.model.settings import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

HERE = Path(__file__).parent
TIMEOUT_S = 90

FINDINGS = pytest.StashKey[list[str]]()
"""What tests found out that a passing run should show, too."""


def pytest_configure(config: pytest.Config) -> None:
    config.stash[FINDINGS] = []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if config.stash[FINDINGS]:
        terminalreporter.section("findings")
        for line in config.stash[FINDINGS]:
            terminalreporter.line(line)


@pytest.fixture
def show(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Show a line at the end, whether tests pass or not."""
    return request.config.stash[FINDINGS].append


# --- the program --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ended:
    """How a process ended, and what it said."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> dict[str, Any]:
        """What it printed as JSON."""
        found: dict[str, Any] = json.loads(self.out)
        return found


@dataclass(frozen=True)
class How:
    """What is started: a module or a script, `under` a command such as strace, with more in its environment."""

    module: str = "penstock"
    script: Path | None = None
    under: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


class Program:
    """Starts the program under test, each time as a process of its own, in an environment without settings."""

    def __init__(self, compiled: Path) -> None:
        """`compiled` keeps the compiled modules: half of what a start costs."""
        kept = {name: value for name, value in os.environ.items() if name not in {*SETTINGS, "PYTHONDONTWRITEBYTECODE"}}
        self._environment = {**kept, "PYTHONPYCACHEPREFIX": str(compiled)}

    def run(self, *arguments: str | Path, how: How | None = None) -> Ended:
        """Run it to its end, as `penstock …` unless `how` says otherwise."""
        with self.start(*arguments, how=how) as process:
            out, err = process.communicate(timeout=TIMEOUT_S)
        return Ended(process.returncode, out, err)

    @contextmanager
    def start(self, *arguments: str | Path, how: How | None = None) -> Iterator[subprocess.Popen[str]]:
        """Start it; it is killed at the end of the block if it is still there."""
        how = how or How()
        what = ["-m", how.module] if how.script is None else [str(how.script)]
        process = subprocess.Popen(
            [*how.under, sys.executable, *what, *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**self._environment, **how.environment},
        )
        try:
            with process:
                yield process
                if process.poll() is None:
                    process.kill()
        except BaseException:  # whatever it was, no child may outlive its test; it is raised on
            process.kill()
            raise


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Program:
    return Program(tmp_path_factory.mktemp("compiled"))


def ask(warehouse: Path, *questions: str) -> list[list[list[Any]]]:
    """Return the rows of each question, as a process sees them that has nothing to do with the one that wrote them."""
    command = [sys.executable, str(HERE / "ask.py"), str(warehouse), *questions]
    answered = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
    assert answered.returncode == 0, answered.stderr
    rows: list[list[list[Any]]] = json.loads(answered.stdout)
    return rows


@pytest.fixture(scope="session")
def how() -> type[How]:
    """How a program is started, for tests that start it otherwise."""
    return How


@pytest.fixture(scope="session", name="ask")
def ask_fixture() -> Callable[..., list[list[list[Any]]]]:
    return ask


# --- the shop -----------------------------------------------------------------------------------------------------

DOCUMENT = """\
## SCHEMA_TO_STREAM_HANDOFF

```yaml
pipeline: "shop"
connections:
  shop: {kind: files, path: "data"}
source_models:
  - table: "orders"
    schema: "public"
    database: "shop"
    columns:
      - {name: "id", type: "bigint", primary_key: true}
      - {name: "status", type: "text", nullable: false}
      - {name: "amount", type: "numeric(12,2)", nullable: false}
      - {name: "discount", type: "numeric(12,2)", nullable: false}
      - {name: "note", type: "text"}
      - {name: "updated_at", type: "timestamp", nullable: false}
destination_requirements:
  warehouse: "duckdb"
  schema: "analytics"
  models:
    - name: "fct_orders"
      source: "orders"
      grain: "id"
      filters:
        - {when: "status = 'test'", reason: "test orders"}
      columns:
        - "id"
        - "status"
        - "amount"
        - {name: "net_amount", expression: "amount - discount", type: "numeric(12,2)"}
        - "note"
    - name: "orders_now"
      source: "orders"
      grain: "id"
      write_mode: "merge"
      version_by: "updated_at"
      filters:
        - {when: "status = 'void'", reason: "void orders"}
quality_requirements:
  - "amount >= 0"
  - {rule: "no duplicate id", model: "fct_orders"}
  - {rule: "net_amount >= 0", model: "fct_orders"}
```
"""
"""One source, two models: one that appends and refuses duplicates, one that merges by version. Both leave some out."""

OPENED = datetime(2024, 1, 1)  # noqa: DTZ001 - the column is a timestamp without a zone
NOTES = ("", "", "gift", "küche", '"says ""thanks"""', '"two\nlines"')
"""As CSV. One of them goes over two lines, so that records and lines are not the same."""


class Order(NamedTuple):
    """An order as the source has it."""

    id: int
    status: str
    amount: Decimal
    discount: Decimal
    note: str
    updated_at: datetime

    @property
    def line(self) -> bytes:
        """The CSV record."""
        return f"{self.id},{self.status},{self.amount},{self.discount},{self.note},{self.updated_at}\n".encode()

    @property
    def words(self) -> str | None:
        """The note as a reader of CSV understands it."""
        text = self.note[1:-1].replace('""', '"') if self.note.startswith('"') else self.note
        return text or None


class Letter(NamedTuple):
    """What must be known of a dead letter."""

    partition: str
    line: int
    stage: str
    destination: str
    code: str


BROKEN: tuple[tuple[str, str, Callable[[Order], bytes]], ...] = (
    ("not a number", "INT_ALPHA_002", lambda order: order.line.replace(str(order.amount).encode(), b"12.3.4", 1)),
    ("negative", "INT_ALPHA_004", lambda order: order._replace(amount=-order.amount, discount=Decimal(0)).line),
    ("without id", "INT_ALPHA_003", lambda order: order.line.removeprefix(b"%d" % order.id)),
    ("too many fields", "INT_ALPHA_001", lambda order: order.line[:-1] + b",surplus\n"),
    ("too few fields", "INT_ALPHA_001", lambda order: b"%d,paid\n" % order.id),
    ("not UTF-8", "INT_ALPHA_005", lambda order: order.line.replace(order.status.encode(), b"pa\xffid", 1)),
    ("no such day", "INT_ALPHA_002", lambda order: order.line.replace(b"2024-", b"2024-02-30", 1)),
)
"""Ways to break an order so that ingestion refuses it, with the code it gives."""
ODD_SHARE = 0.15


@dataclass
class Shop:
    """Orders in files under `folder`, and what must become of them. Add orders, run, compare."""

    folder: Path
    chance: Random
    read: int = 0
    letters: set[Letter] = field(default_factory=set)
    facts: dict[int, Order] = field(default_factory=dict)
    """What the appending model must hold."""
    now: dict[int, Order] = field(default_factory=dict)
    """What the merging model must hold."""
    mendable: dict[Letter, Order] = field(default_factory=dict)
    """What a less strict document takes."""
    mended: frozenset[Letter] = frozenset()
    filtered: Counter[str] = field(default_factory=Counter)
    rivals: int = 0
    """Records of the merging model that met another version of their key: each of them may be superseded."""
    _plain: list[Order] = field(default_factory=list)
    _lines: Counter[str] = field(default_factory=Counter)

    @property
    def warehouse(self) -> Path:
        return self.folder / "warehouse.duckdb"

    @property
    def state(self) -> Path:
        return self.folder / ".penstock"

    def add(self, file: str, orders: int, odd_share: float = ODD_SHARE) -> None:
        """Write so many more orders to a file, some of them odd."""
        path = self.folder / "data" / "orders" / file
        partition = f"data/orders/{file}"
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [] if path.exists() else [b"id,status,amount,discount,note,updated_at\n"]
        self._lines[partition] = self._lines[partition] or 2
        for _ in range(orders):
            odd = self.chance.random() < odd_share
            record = self._odd(partition) if odd else self._good(self._new())
            lines.append(record)
            self._lines[partition] += record.count(b"\n")
        with path.open("ab") as out:
            out.writelines(lines)
        self.read += orders

    def _new(self) -> Order:
        draw = self.chance
        amount = Decimal(draw.randrange(100, 1_000_000)).scaleb(-2)
        number = self.read + len(self._plain) + len(self.letters) + sum(self.filtered.values()) + 1
        return Order(
            id=number * 1000 + draw.randrange(1000),
            status=draw.choice(("paid", "shipped")),
            amount=amount,
            discount=(amount * draw.choice((0, 0, 10)) / 100).quantize(Decimal("0.01")),
            note=draw.choice(NOTES),
            updated_at=OPENED + timedelta(seconds=number),
        )

    def _good(self, order: Order) -> bytes:
        self._plain.append(order)
        self.facts[order.id] = self.now[order.id] = order
        return order.line

    def _odd(self, partition: str) -> bytes:
        kind = self.chance.randrange(len(BROKEN) + 5)
        if kind < len(BROKEN):
            what, code, damage = BROKEN[kind]
            order = self._new()._replace(note="gift")  # a line that is no record is one bad record each
            letter = self._refused(partition, "ingestion", "", code)
            if what == "negative":
                self.mendable[letter] = order._replace(amount=-order.amount, discount=Decimal("0.00"))
            return damage(order)
        return (self._test, self._void, self._overpaid, self._older, self._newer)[kind - len(BROKEN)](partition)

    def _test(self, _: str) -> bytes:
        order = self._new()._replace(status="test")
        self.filtered["test orders"] += 1
        self.now[order.id] = order
        return order.line

    def _void(self, _: str) -> bytes:
        order = self._new()._replace(status="void")
        self.filtered["void orders"] += 1
        self.facts[order.id] = order
        return order.line

    def _overpaid(self, partition: str) -> bytes:
        order = self._new()
        order = order._replace(discount=order.amount + 1)
        letter = self._refused(partition, "transformation", "fct_orders", "INT_BETA_004")
        self.mendable[letter] = order
        self.now[order.id] = order
        return order.line

    def _older(self, partition: str) -> bytes:
        """An older version of an order that is there: a duplicate to one model, superseded at the other."""
        return self._version(partition, timedelta(days=-self.chance.randrange(1, 100)))

    def _newer(self, partition: str) -> bytes:
        return self._version(partition, timedelta(days=self.chance.randrange(1, 100)))

    def _version(self, partition: str, later: timedelta) -> bytes:
        if not self._plain:
            return self._good(self._new())
        there = self.chance.choice(self._plain)
        apart = timedelta(microseconds=self.read + len(self.letters) + 1)  # no two versions of one moment
        order = self._new()._replace(id=there.id, updated_at=there.updated_at + later + apart)
        self._refused(partition, "delivery", "fct_orders", "INT_GAMMA_003")
        self.rivals += 1
        self.now[order.id] = max(self.now[order.id], order, key=lambda version: version.updated_at)
        return order.line

    def _refused(self, partition: str, stage: str, destination: str, code: str) -> Letter:
        letter = Letter(partition, self._lines[partition], stage, destination, code)
        self.letters.add(letter)
        return letter

    def mend(self) -> None:
        """Make the document less strict; once its dead letters are replayed, what it takes now must be there."""
        document = self.folder / "shop.md"
        document.write_text(document.read_text().replace("amount >= 0", "amount >= -1000000"))
        for letter, order in self.mendable.items():
            self.facts[order.id] = order
            if not letter.destination:
                self.now[order.id] = order
        self.mended = frozenset(self.mendable)

    # --- what came of it ------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Compare warehouse, dead letters and totals with what must have become of every order."""
        facts, now = ask(
            self.warehouse,
            "SELECT id, status, amount, net_amount, note FROM analytics.fct_orders ORDER BY id",
            "SELECT id, status, amount, discount, note, updated_at FROM analytics.orders_now ORDER BY id",
        )
        assert facts == [
            [order.id, order.status, str(order.amount), str(order.amount - order.discount), order.words]
            for _, order in sorted(self.facts.items())
        ]
        assert now == [
            [order.id, order.status, str(order.amount), str(order.discount), order.words, str(order.updated_at)]
            for _, order in sorted(self.now.items())
        ]
        with Ledger.read_only(self.state) as ledger:
            assert ledger.check_conservation("shop") == []
            self._check_letters(ledger)
            self._check_totals(ledger)

    def _check_letters(self, ledger: Ledger) -> None:
        found: Counter[tuple[str, Letter]] = Counter()
        for letter in ledger.dead_letters("shop", DeadLetterFilter()).to_pylist():
            found[letter["status"], Letter(*(letter[name] for name in Letter._fields))] += 1
        # None is missing, and none is there twice.
        assert found == Counter(("delivered" if letter in self.mended else "open", letter) for letter in self.letters)

    def _check_totals(self, ledger: Ledger) -> None:
        totals = ledger.totals("shop")["orders"]
        assert totals.read == self.read
        counted = {(count.destination, str(count.outcome), count.reason): count.records for count in totals.tally}
        superseded = counted.pop(("orders_now", "filtered", "superseded"), 0)
        assert superseded <= self.rivals
        counted["orders_now", "delivered", ""] += superseded
        assert counted == self.expected_counts()

    def expected_counts(self) -> Mapping[tuple[str, str, str], int]:
        """What became of the records at each destination; superseded ones count as delivered here."""
        counts: Counter[tuple[str, str, str]] = Counter()
        for letter in self.letters:
            for destination in (letter.destination,) if letter.destination else ("fct_orders", "orders_now"):
                counts[destination, "dead_lettered", letter.code] += 1
        counts["fct_orders", "filtered", "test orders"] = self.filtered["test orders"]
        counts["orders_now", "filtered", "void orders"] = self.filtered["void orders"]
        for destination in ("fct_orders", "orders_now"):
            accounted = sum(records for (name, _, _), records in counts.items() if name == destination)
            counts[destination, "delivered", ""] = self.read - accounted
        return {key: records for key, records in counts.items() if records}


@pytest.fixture(scope="session")
def make_shop() -> Callable[..., Shop]:
    """Make a shop in a folder: `make_shop(folder, seed, {"a.csv": 1000})`."""

    def make(folder: Path, seed: int, files: Mapping[str, int], odd_share: float = ODD_SHARE) -> Shop:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "shop.md").write_text(DOCUMENT)
        shop = Shop(folder, Random(seed))
        for file, orders in files.items():
            shop.add(file, orders, odd_share)
        return shop

    return make
