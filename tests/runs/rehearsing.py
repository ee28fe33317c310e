"""A small works for runs over links that do harm: orders in two files, and what must become of every one of them."""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import duckdb

import penstock
from penstock.ledger import STATE_FOLDER, DeadLetterFilter, Ledger
from penstock.observing.facts import AtCommitPoint, CommitPoint, Everyone, Moment
from penstock.protocol.breaker import CircuitState
from penstock.protocol.messages import CircuitStateChange
from penstock.testing.wire import HARMLESS, TRANSFERS, BadLinks, Harm, Sent, WireLog

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from penstock.observing.facts import Fact, Hop, Observer
    from penstock.orchestration.result import RunResult
    from penstock.protocol.frames import Frame
    from penstock.protocol.messages import Module, Transfer
    from penstock.testing.wire import Meddler

PIPELINE = "works"
WAIT_S = 20.0
"""Longest wait for something that comes at once, unless something is broken."""

FactT = TypeVar("FactT")

DOCUMENT = """\
## SCHEMA_TO_STREAM_HANDOFF

```yaml
pipeline: "works"
connections:
  here: {{kind: files, path: "data"}}
source_models:
  - table: "orders"
    database: "here"
    columns:
      - {{name: "id", type: "bigint", primary_key: true}}
      - {{name: "status", type: "text", nullable: false}}
      - {{name: "amount", type: "numeric(12,2)", nullable: false}}
destination_requirements:
  warehouse: "house"
  schema: "analytics"
  models:
{models}
{requirements}
```
"""
FACTS = """\
    - name: "facts"
      source: "orders"
      grain: "id"
      filters:
        - {when: "status = 'test'", reason: "test orders"}
      columns: ["id", {name: "due", expression: "amount * 1", type: "numeric(12,2)"}]
"""
REQUIREMENTS = """\
quality_requirements:
  - {rule: "no duplicate id", model: "facts"}
  - {rule: "due >= 0", model: "facts"}
"""
"""A model that leaves some out, refuses some for a rule, and some as duplicates."""
ALL_ORDERS = """\
    - name: "all_orders"
      source: "orders"
      grain: "id"
      columns: ["id", "amount"]
"""
"""One that takes whatever can be read."""
MODELS: Mapping[str, str] = MappingProxyType({"facts": FACTS, "all_orders": ALL_ORDERS})
AMOUNTS: Mapping[str, str] = MappingProxyType({"facts": "due", "all_orders": "amount"})
"""What a model calls the amount."""


class Odd(StrEnum):
    """What is odd about an order."""

    NOT = ""
    TEST = "a model leaves it out"
    UNREADABLE = "its amount is not a number"
    NEGATIVE = "it breaks a model's rule"


class Order(NamedTuple):
    """An order, and where it is: the n-th record of a partition."""

    partition: str
    sequence: int
    id: int
    odd: Odd

    @property
    def amount(self) -> str:
        """As the source has it."""
        match self.odd:
            case Odd.UNREADABLE:
                return "12.3.4"
            case Odd.NEGATIVE:
                return f"-{self.id}.00"
            case _:
                return f"{self.id}.{self.id % 100:02}"

    @property
    def line(self) -> str:
        """The CSV record."""
        return f"{self.id},{'test' if self.odd is Odd.TEST else 'paid'},{self.amount}\n"


ODD_EVERY = 40
ODD: Mapping[int, Odd] = MappingProxyType({3: Odd.TEST, 11: Odd.UNREADABLE, 23: Odd.NEGATIVE})
"""What is odd about an order, by its id modulo ODD_EVERY."""
DOUBLED = 37
"""Likewise, an order that comes a second time."""


def _orders(partition: str, first: int, count: int, *, odd: bool) -> Iterator[Order]:
    number, sequence = first, 0
    while sequence < count:
        order = Order(partition, sequence, number, ODD.get(number % ODD_EVERY, Odd.NOT) if odd else Odd.NOT)
        yield order
        sequence += 1
        if odd and number % ODD_EVERY == DOUBLED and sequence < count:
            yield order._replace(sequence=sequence)
            sequence += 1
        number += 1


# --- what goes wrong ----------------------------------------------------------------------------------------------


@dataclass
class Gate:
    """A destination that does not commit before something has been seen, in facts or on the wire.

    It waits no longer than `wait_s`; `opened` says whether it was seen in time.
    """

    opens: Callable[[Fact | Sent], bool]
    wait_s: float = WAIT_S
    opened: bool = False
    _event: threading.Event = field(default_factory=threading.Event)

    def saw(self, seen: Fact | Sent) -> None:
        if not self._event.is_set() and self.opens(seen):
            self.opened = True
            self._event.set()
        if isinstance(seen, AtCommitPoint) and (seen.point, seen.moment) == (CommitPoint.ROWS_AND_MARK, Moment.BEFORE):
            self._event.wait(self.wait_s)
            self._event.set()


@dataclass
class Overheard(WireLog):
    """A log that tells a gate what it sees."""

    gate: Gate | None = None

    def saw(self, sent: Sent) -> None:
        WireLog.saw(self, sent)
        if self.gate is not None:
            self.gate.saw(sent)


def is_opening(body: object) -> bool:
    """Tell whether a circuit says that it opens."""
    return isinstance(body, CircuitStateChange) and body.new_state is CircuitState.OPEN


@dataclass
class Losing:
    """Withholds the first `times` transmissions of the first batches of each hop: of so many as `batches` says."""

    batches: Mapping[Hop, int]
    times: int = 1
    _sent: Counter[tuple[Hop, int]] = field(default_factory=Counter)

    def __call__(self, hop: Hop, speaker: Module, frame: Frame) -> Frame | None:  # noqa: ARG002 - batches have one
        body = frame.body
        if not isinstance(body, TRANSFERS) or body.metadata.sequence_number >= self.batches[hop]:
            return frame
        self._sent[hop, body.metadata.sequence_number] += 1
        return None if self._sent[hop, body.metadata.sequence_number] <= self.times else frame


@dataclass
class Dead:
    """Withholds whatever leaves on `hops` until the circuit there has opened so many times."""

    hops: Collection[Hop]
    openings: int = 1
    _opened: Counter[Hop] = field(default_factory=Counter)

    def __call__(self, hop: Hop, speaker: Module, frame: Frame) -> Frame | None:  # noqa: ARG002 - likewise
        self._opened[hop] += is_opening(frame.body)
        lost = hop in self.hops and isinstance(frame.body, TRANSFERS) and self._opened[hop] < self.openings
        return None if lost else frame


@dataclass
class Witness:
    """Keeps all facts."""

    facts: list[Fact] = field(default_factory=list)

    def saw(self, fact: Fact) -> None:
        self.facts.append(fact)


# --- a run, and what came of it -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rehearsal:
    """A run that has ended: its result, what was said on its links, and its facts."""

    seed: int
    result: RunResult
    log: WireLog
    facts: Sequence[Fact]

    def of(self, kind: type[FactT]) -> list[FactT]:
        """Return the facts of one kind."""
        return [fact for fact in self.facts if isinstance(fact, kind)]

    def transfers(self, hop: Hop) -> list[tuple[Sent, Transfer]]:
        """Return what was handed over on a hop, in the order of sending, as often as it was sent."""
        return [(sent, sent.body) for sent in self.log.sent if sent.hop is hop and isinstance(sent.body, TRANSFERS)]

    def said(self, kind: type[FactT], hop: Hop | None = None) -> list[tuple[Sent, FactT]]:
        """Return the messages of one kind, in the order of sending."""
        found = [sent for sent in self.log.sent if isinstance(sent.body, kind) and hop in {None, sent.hop}]
        return [(sent, sent.body) for sent in found if isinstance(sent.body, kind)]


@dataclass(frozen=True)
class Trouble:
    """What goes wrong in a run, and who looks on."""

    harm: Harm = HARMLESS
    meddler: Meddler | None = None
    gate: Gate | None = None
    observers: Sequence[Observer] = ()


CALM = Trouble()


@dataclass
class Works:
    """Orders under `folder`, a document about them, and the warehouse they end in."""

    folder: Path
    models: Sequence[str] = ("facts",)
    orders: list[Order] = field(default_factory=list)
    rejected: set[tuple[str, str, int]] = field(default_factory=set)
    """Records of batches that were refused as a whole, by model ("" for every one)."""

    def __post_init__(self) -> None:
        (self.folder / "data" / "orders").mkdir(parents=True)
        models = "".join(MODELS[model] for model in self.models)
        requirements = REQUIREMENTS if "facts" in self.models else ""
        (self.folder / "works.md").write_text(DOCUMENT.format(models=models, requirements=requirements))

    def add(self, file: str, orders: int, *, odd: bool = False) -> None:
        """Write a file of so many orders."""
        added = list(_orders(f"data/orders/{file}", len(self.orders), orders, odd=odd))
        lines = "".join(order.line for order in added)
        (self.folder / "data" / "orders" / file).write_text(f"id,status,amount\n{lines}")
        self.orders += added

    def run(self, settings: Mapping[str, object], trouble: Trouble = CALM, seed: int = 1) -> Rehearsal:
        """Run what there is."""
        log, witness = Overheard(gate=trouble.gate), Witness()
        observers = [witness, *trouble.observers, *([trouble.gate] if trouble.gate else [])]
        links = BadLinks(seed, trouble.harm, log, trouble.meddler)
        result = penstock.load(self.folder, settings=settings).run(connect=links, observer=Everyone(*observers))
        return Rehearsal(seed, result, log, tuple(witness.facts))

    # What must have become of the orders.

    def check(self, seed: int = 1) -> None:
        """Compare rows, amounts, dead letters and totals with what must have become of every order."""
        why = f"seed {seed}"
        with closing(duckdb.connect(str(self.folder / "warehouse.duckdb"), read_only=True)) as warehouse:
            for model in self.models:
                question = f"SELECT id, {AMOUNTS[model]} FROM analytics.{model} ORDER BY id"  # noqa: S608 - our own
                assert warehouse.execute(question).fetchall() == self._rows(model), (model, why)
        with Ledger.read_only(self.folder / STATE_FOLDER) as ledger:
            assert ledger.check_conservation(PIPELINE) == [], why
            assert ledger.totals(PIPELINE)["orders"].read == len(self.orders), why
            letters = ledger.dead_letters(PIPELINE, DeadLetterFilter()).to_pylist()
        assert Counter(map(_letter, letters)) == Counter(self._letters()), why

    def _fate(self, order: Order, model: str, held: set[int]) -> str:
        """Return the code of its dead letter, "left out", or nothing. `held` are the ids that the model has."""
        if order.odd is Odd.UNREADABLE:
            return "INT_ALPHA_002"
        if {(name, order.partition, order.sequence) for name in ("", model)} & self.rejected:
            return "INT_LINK_010"
        if model == "facts" and order.odd is not Odd.NOT:
            return "left out" if order.odd is Odd.TEST else "INT_BETA_004"
        if model == "facts" and order.id in held:
            return "INT_GAMMA_003"
        held.add(order.id)
        return ""

    def _rows(self, model: str) -> list[tuple[int, Decimal]]:
        held: set[int] = set()
        return [(order.id, Decimal(order.amount)) for order in self.orders if not self._fate(order, model, held)]

    def _letters(self) -> Iterator[tuple[str, str, int, str]]:
        held: dict[str, set[int]] = {model: set() for model in self.models}
        for order in self.orders:
            fates = {model: self._fate(order, model, held[model]) for model in self.models}
            if order.odd is Odd.UNREADABLE or ("", order.partition, order.sequence) in self.rejected:
                fates = {"": fates[self.models[0]]}  # one letter for all of them
            for model, fate in fates.items():
                if fate.startswith("INT"):
                    yield model, order.partition, order.sequence, fate


def _letter(letter: Mapping[str, Any]) -> tuple[str, str, int, str]:
    return letter["destination"], letter["partition"], letter["sequence"], letter["code"]
