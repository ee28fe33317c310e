"""A ledger in a folder of its own, and a hand that writes into it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from penstock.ledger import DeadLetterFilter, Ledger, LetterStatus, RunBook
from penstock.model.outcome import Count, DeadLetter, Outcome, RecordError, Stage, add_up
from penstock.model.position import Mark, Position, Range
from penstock.ports import Advance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

PIPELINE = "shop"
SOURCE = "orders"
CODE = "INT_ALPHA_002"
NOON_S = 1_735_732_800.0  # 2025-01-01T12:00:00Z


@dataclass(slots=True)
class Hand:
    """Writes into a ledger as one run of pipeline `shop` reads source `orders` for destinations `facts`, `audit`."""

    ledger: Ledger
    run_id: str
    destinations: tuple[str, ...] = ("audit", "facts")

    @property
    def book(self) -> RunBook:
        return RunBook(self.ledger, self.run_id, PIPELINE)

    def advance(self, start: int, end: int, *, partition: str = "a.csv", dead: int = 0, filtered: int = 0) -> Advance:
        """A range of which every destination accounts for all: so many dead, so many filtered, the rest delivered."""
        counts = [
            Count(destination, *key, records)
            for destination in self.destinations
            for key, records in (
                ((Outcome.DELIVERED, Stage.DELIVERY, ""), end - start - dead - filtered),
                ((Outcome.FILTERED, Stage.TRANSFORMATION, "test orders"), filtered),
                ((Outcome.DEAD_LETTERED, Stage.INGESTION, CODE), dead),
            )
        ]
        position = Position(partition, end, f"byte {end * 10}")
        return Advance(partition, Range(start, end), position, add_up(counts), batches=1, checksum="c" * 64)

    def settle(self, start: int, end: int, *, partition: str = "a.csv", dead: int = 0, filtered: int = 0) -> None:
        advance = self.advance(start, end, partition=partition, dead=dead, filtered=filtered)
        self.ledger.settle(self.run_id, PIPELINE, SOURCE, [advance])

    def letter(
        self,
        sequence: int,
        *,
        partition: str = "a.csv",
        stage: Stage = Stage.INGESTION,
        destination: str = "",
        code: str = CODE,
    ) -> DeadLetter:
        error = RecordError(code, "amount", "is not a decimal", expected="decimal(10,2)", actual="abc")
        original = b"%d,Ada,abc" % sequence
        return DeadLetter(SOURCE, partition, sequence, stage, destination, (error,), original, sequence + 2)

    def refuse(self, *sequences: int, partition: str = "a.csv") -> None:
        self.ledger.dead_letter(self.run_id, PIPELINE, [self.letter(s, partition=partition) for s in sequences])

    def mark(self, sequence: int, *, partition: str = "a.csv") -> Mark:
        return Mark(SOURCE, partition, sequence, Position(partition, sequence, f"byte {sequence * 10}"))

    def sequence(self, partition: str = "a.csv") -> int:
        """Where the partition stands."""
        position = self.ledger.positions(PIPELINE, SOURCE).get(partition)
        return 0 if position is None else position.sequence

    def ids(self, status: LetterStatus | None = None) -> tuple[int, ...]:
        return self.ledger.dead_letter_ids(PIPELINE, DeadLetterFilter(status=status))

    def letters(self, *columns: str) -> list[tuple[object, ...]]:
        """The chosen columns of all letters, in the order of their ids."""
        table = self.ledger.dead_letters(PIPELINE, DeadLetterFilter())
        return [tuple(row[column] for column in columns) for row in table.to_pylist()]

    def problems(self) -> list[str]:
        return self.ledger.check_conservation(PIPELINE)

    def again(self) -> Hand:
        """The next run."""
        return Hand(self.ledger, begin_run(self.ledger), self.destinations)


def begin_run(ledger: Ledger) -> str:
    return ledger.begin_run(PIPELINE, "f" * 64, b'{"name": "shop"}')


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / ".penstock"


@pytest.fixture
def ledger(folder: Path) -> Iterator[Ledger]:
    with Ledger.open(folder, time_s=lambda: NOON_S) as opened:
        yield opened


@pytest.fixture
def hand(ledger: Ledger) -> Hand:
    return Hand(ledger, begin_run(ledger))


@pytest.fixture
def hand_on() -> Callable[[Ledger], Hand]:
    """Make a hand that writes as a new run of a ledger that the test opened itself."""
    return lambda opened: Hand(opened, begin_run(opened))


@pytest.fixture
def advance_of() -> Callable[[str, int, int, Iterable[Count]], Advance]:
    """Make an advance with a tally of the test's own."""

    def make(partition: str, start: int, end: int, tally: Iterable[Count]) -> Advance:
        return Advance(partition, Range(start, end), Position(partition, end, str(end)), tuple(tally), 1, "c" * 64)

    return make
