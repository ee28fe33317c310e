"""A small works: orders in CSV files, two models in one warehouse, a ledger; run flow by flow, with faults at will."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import duckdb
import pytest

from penstock.connectors import open_source
from penstock.connectors.sinks.duckdb import DuckDBSink
from penstock.ingestion.reading import Start
from penstock.ingestion.validation import Validator
from penstock.ledger import DeadLetterFilter, Ledger, RunBook
from penstock.model.finding import Place
from penstock.model.pipeline import (
    Check,
    Column,
    Connection,
    Filter,
    Model,
    Pipeline,
    Rule,
    RuleKind,
    SourceTable,
    Warehouse,
    WriteMode,
)
from penstock.model.schema import Field, parse_type
from penstock.model.settings import Settings
from penstock.observing.facts import Everyone, SourceOpened
from penstock.observing.figures import Figures
from penstock.orchestration.book import ObservedBook
from penstock.orchestration.clock import SystemChance, SystemClock
from penstock.orchestration.flow import Flow, Parts
from penstock.ports import Guarantee, RunContext
from penstock.transformation.apply import Transformer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    import pyarrow as pa

    from penstock.model.outcome import DeadLetter
    from penstock.model.position import Mark, Position
    from penstock.observing.facts import Fact, Observer
    from penstock.ports import Advance, Book, Chunk, Evidence, Fate, Reread, Sink, Source, Written

PIPELINE = "shop"
PLACE = Place("shop.md")
DEADLINE_S = 20.0
"""A flow over a few hundred records takes well under a second; one that takes this long hangs."""

TINY: Mapping[str, object] = {
    "READ_BYTES": 320,
    "ALPHA_BETA_BATCH_SIZE": 7,
    "BETA_GAMMA_BATCH_SIZE": 5,
    "TRANSFER_WINDOW_BATCHES": 3,
    "BETA_QUEUE_BATCHES": 4,
    "GAMMA_QUEUE_BATCHES": 4,
    "WINDOW_RECORDS": 60,
    "COMMIT_RECORDS": 40,
    "COMMIT_IDLE_MS": 10,
    "COMMIT_INTERVAL_MS": 50,
    "ENGINE_MEMORY_BYTES": 64 << 20,
}
"""Everything so small that a few hundred records meet every limit."""

FIELDS = tuple(
    Field(name, parse_type(type_), nullable=name != "id")
    for name, type_ in (("id", "bigint"), ("amount", "bigint"), ("status", "text"))
)
ORDERS = SourceTable(
    "orders",
    "",
    "here",
    Connection("here", path="."),
    FIELDS,
    PLACE,
    checks=(Check("INT_ALPHA_003", '"id" IS NOT NULL', "id", "not null"),),
)
COLUMNS = tuple(Column(field_.name, field_.type, f'"{field_.name}"', field_.name) for field_ in FIELDS)
FACTS = Model(
    "facts",
    "",
    "orders",
    ("id",),
    COLUMNS,
    PLACE,
    filters=(Filter("test orders", "\"status\" = 'test'", PLACE),),
    rules=(
        Rule("unique", "no duplicate id", RuleKind.UNIQUE, ("id",), PLACE),
        Rule("positive", "amount >= 0", RuleKind.PREDICATE, ("amount",), PLACE, '"amount" >= 0'),
    ),
)
NOW = Model("now", "", "orders", ("id",), COLUMNS, PLACE, write_mode=WriteMode.MERGE)
NOTHING = Model("nothing", "", "orders", ("id",), COLUMNS, PLACE, filters=(Filter("everything", "TRUE", PLACE),))

T = TypeVar("T")
Order = tuple[int, int, str]


# --- doubles that do harm -----------------------------------------------------------------------------------------


class BreakingSource:
    """A source that raises once it has given so many chunks, and `wait` has returned."""

    def __init__(
        self,
        source: Source,
        chunks: int,
        error: Exception,
        *,
        wait: Callable[[], object] = tuple,
        told: list[int] | None = None,
    ) -> None:
        """`told` keeps the sequences of the positions that were committed."""
        self._source = source
        self._chunks = chunks
        self._error = error
        self._wait = wait
        self.replay = source.replay
        self._told = [] if told is None else told
        self._given = 0

    def partitions(self) -> Sequence[str]:
        return self._source.partitions()

    def read(self, partition: str, position: Position | None) -> Iterator[Chunk]:
        for chunk in self._source.read(partition, position):
            if self._given == self._chunks:
                self._wait()
                raise self._error
            self._given += 1
            yield chunk

    def size_bytes(self, partition: str, position: Position | None) -> int | None:
        return self._source.size_bytes(partition, position)

    def accept(self, position: Position) -> Position:
        return self._source.accept(position)

    def reread(self, partition: str, originals: Sequence[bytes]) -> Reread:
        return self._source.reread(partition, originals)

    def commit(self, position: Position) -> None:
        self._told.append(position.sequence)

    def close(self) -> None:
        self._source.close()


class SkippingSource(BreakingSource):
    """A source that leaves out the first chunks it should give."""

    def __init__(self, source: Source, chunks: int) -> None:
        super().__init__(source, -1, Exception())
        self._left = chunks

    def read(self, partition: str, position: Position | None) -> Iterator[Chunk]:
        for chunk in super().read(partition, position):
            if self._left == 0:
                yield chunk
            self._left = max(0, self._left - 1)


@dataclass
class WatchedSink:
    """Passes on to a sink, writes down what is called, and does what `before` and `after` say around each call."""

    sink: Sink
    calls: list[str]
    before: Callable[[str], object] = lambda _: None
    after: Callable[[str], object] = lambda _: None
    guarantee: Guarantee = Guarantee.TRANSACTIONAL

    def prepare(self) -> None:
        self._called("prepare", self.sink.prepare)

    def marks(self) -> Mapping[tuple[str, str], Mark]:
        return self.sink.marks()

    def forget(self, source: str, partition: str) -> None:
        self.sink.forget(source, partition)

    def write(self, rows: pa.Table, partition: str) -> Written:
        return self._called("write", lambda: self.sink.write(rows, partition))

    def commit(self, marks: Sequence[Mark]) -> None:
        self._called("commit", lambda: self.sink.commit(marks))

    def rollback(self) -> None:
        self._called("rollback", self.sink.rollback)

    def evidence(self, rule: Rule) -> Evidence | None:
        return self.sink.evidence(rule)

    def close(self) -> None:
        self._called("close", self.sink.close)

    def _called(self, name: str, call: Callable[[], T]) -> T:
        self.calls.append(name)
        self.before(name)
        result = call()
        self.after(name)
        self.calls.append(f"{name} returned")
        return result


@dataclass
class WatchedBook:
    """Passes on to a book, writes down what is called, and does what `before` says before each call."""

    book: Book
    calls: list[str] = field(default_factory=list)
    before: Callable[[str], object] = lambda _: None

    def dead_letter(self, letters: Sequence[DeadLetter]) -> None:
        self._called(f"dead letter from {letters[0].stage}")
        self.book.dead_letter(letters)

    def advance(self, source: str, advances: Sequence[Advance]) -> None:
        self._called("advance")
        self.book.advance(source, advances)

    def supersede(self, destination: str, source: str, partition: str, sequences: Sequence[int]) -> None:
        self._called("supersede")
        self.book.supersede(destination, source, partition, sequences)

    def confirm(self, destination: str, marks: Sequence[Mark]) -> None:
        self._called("confirm")
        self.book.confirm(destination, marks)

    def recall(self, destination: str, source: str, partition: str, mark: int) -> Mapping[int, Fate]:
        self._called("recall")
        return self.book.recall(destination, source, partition, mark)

    def _called(self, name: str) -> None:
        self.calls.append(name)
        self.before(name)


class Nth:
    """Raises `error` the n-th time (1-based) that it is told of `name`."""

    def __init__(self, name: str, number: int, error: Exception) -> None:
        self._name = name
        self._left = number
        self._error = error

    def __call__(self, name: str) -> None:
        self._left -= name == self._name
        if name == self._name and self._left == 0:
            raise self._error


@dataclass
class Witness:
    """An observer that keeps every fact."""

    facts: list[Fact] = field(default_factory=list)

    def saw(self, fact: Fact) -> None:
        self.facts.append(fact)


# --- the works ----------------------------------------------------------------------------------------------------


@dataclass
class Faults:
    """How a run differs from an ordinary one."""

    source: Callable[[Source], Source] = lambda source: source
    sink: Callable[[str, Sink], Sink] = lambda _, sink: sink
    book: Callable[[Book], Book] = lambda book: book
    observer: Observer = field(default_factory=Witness)
    started: Callable[[Flow], object] = lambda _: None
    """Called with the flow before it runs."""


@dataclass
class Works:
    """A folder with orders, a warehouse and a ledger."""

    folder: Path
    models: tuple[Model, ...] = (FACTS, NOW)
    settings: Settings = field(default_factory=lambda: Settings(TINY))
    figures: Figures = field(default_factory=Figures)
    """Of the last run."""

    facts = FACTS
    now = NOW
    nothing = NOTHING

    # What can go wrong, for tests to choose from.

    faults = Faults
    watched_book = WatchedBook
    watched_sink = WatchedSink
    breaking_source = BreakingSource
    skipping_source = SkippingSource
    nth = Nth
    witness = Witness

    def set(self, **settings: int) -> None:
        """Change some of the tiny settings."""
        self.settings = Settings({**TINY, **settings})

    @property
    def pipeline(self) -> Pipeline:
        return Pipeline(PIPELINE, (ORDERS,), self.models, self.warehouse)

    @property
    def warehouse(self) -> Warehouse:
        return Warehouse("duckdb", Connection("duckdb", "duckdb", "warehouse.duckdb"))

    def write(self, file: str, *orders: Order | str) -> None:
        """Append orders (or lines as they are) to a file of the table."""
        path = self.folder / "orders" / file
        path.parent.mkdir(exist_ok=True)
        if not path.exists():
            path.write_text("id,amount,status\n", encoding="utf-8")
        with path.open("a", encoding="utf-8") as out:
            out.writelines(f"{o if isinstance(o, str) else ','.join(map(str, o))}\n" for o in orders)

    def sink(self, model: Model) -> DuckDBSink:
        return DuckDBSink(PIPELINE, model, self.warehouse, self.folder, self.settings)

    def run(self, faults: Faults | None = None) -> str:
        """Run one flow over all there is; raise what stopped it, by itself. Return the run's id."""
        return asyncio.run(self.run_in_loop(faults or Faults()))

    async def run_in_loop(self, faults: Faults) -> str:
        with ExitStack() as stack:
            ledger = stack.enter_context(Ledger.open(self.folder / ".penstock"))
            run_id = ledger.begin_run(PIPELINE, "f" * 64, b"{}")
            self.figures = Figures()
            observer = Everyone(self.figures, faults.observer)
            book = ObservedBook(faults.book(RunBook(ledger, run_id, PIPELINE)), observer)
            source = faults.source(stack.enter_context(closing(open_source(ORDERS, self.folder, self.settings))))
            sinks = {model.name: faults.sink(model.name, self.sink(model)) for model in self.models}
            for sink in sinks.values():
                stack.callback(sink.close)
                sink.prepare()
            transformers = {
                model.name: stack.enter_context(closing(Transformer(model, ORDERS, None, self.settings)))
                for model in self.models
            }
            validator = stack.enter_context(closing(Validator(ORDERS, self.settings)))
            context = RunContext(book, self.settings, SystemClock(), SystemChance(), observer)
            flow = Flow(Parts(ORDERS, source, validator, transformers, sinks), context)
            starts = self.starts(ledger, source)
            observer.saw(SourceOpened(ORDERS.name, {start.partition: None for start in starts}))
            faults.started(flow)
            try:
                async with asyncio.timeout(DEADLINE_S):
                    await flow.run(starts)
            except* Exception as group:  # noqa: BLE001 - taken apart and raised
                raise only(group) from None
            return run_id

    @staticmethod
    def starts(ledger: Ledger, source: Source) -> tuple[Start, ...]:
        partitions = source.partitions()
        ordinals = ledger.partition_ordinals(PIPELINE, ORDERS.name, partitions)
        positions = ledger.positions(PIPELINE, ORDERS.name)
        return tuple(Start(name, ordinals[name], positions.get(name)) for name in partitions)

    # What came of it.

    def rows(self, model: str, order_by: str = "rowid") -> list[Order]:
        with suppress(duckdb.CatalogException), duckdb.connect(str(self.folder / "warehouse.duckdb")) as connection:
            return connection.execute(f'SELECT id, amount, status FROM "{model}" ORDER BY {order_by}').fetchall()  # noqa: S608 - a test's own names
        return []

    def mark(self, model: Model, partition: str = "orders/a.csv") -> int:
        with closing(self.sink(model)) as sink:
            sink.prepare()
            mark = sink.marks().get(("orders", partition))
        return 0 if mark is None else mark.sequence

    def position(self, partition: str = "orders/a.csv") -> int:
        with Ledger.open(self.folder / ".penstock") as ledger:
            position = ledger.positions(PIPELINE, "orders").get(partition)
        return 0 if position is None else position.sequence

    def counts(self, run_id: str | None = None) -> dict[tuple[str, str, str], int]:
        """What the ledger counts, as (destination, outcome, reason): records."""
        with Ledger.open(self.folder / ".penstock") as ledger:
            assert ledger.check_conservation(PIPELINE) == []
            totals = ledger.totals(PIPELINE, run_id).get("orders")
        tally = () if totals is None else totals.tally
        return {(count.destination, count.outcome.value, count.reason): count.records for count in tally}

    def letters(self) -> list[tuple[str, str, str, int]]:
        """Open dead letters as (stage, destination, code, line)."""
        with Ledger.open(self.folder / ".penstock") as ledger:
            found = ledger.dead_letters(PIPELINE, DeadLetterFilter()).to_pylist()
        return [(x["stage"], x["destination"], x["code"], x["line"]) for x in found if x["status"] == "open"]


def only(group: BaseExceptionGroup[Exception]) -> Exception:
    """Return the one error that a group is about, however deep it lies."""
    found = list(_leaves(group))
    assert len(found) == 1, found
    return found[0]


def _leaves(error: BaseException) -> Iterator[Exception]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        assert isinstance(error, Exception)
        yield error


@pytest.fixture
def works(tmp_path: Path) -> Works:
    return Works(tmp_path)
