"""What must hold after every step, and what is known of the run by nothing but what crossed a border of a module."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from penstock.model.outcome import Outcome, Stage
from penstock.model.position import Range
from penstock.testing.simulation.records import AT_GAMMA, AtIngestion, fated, ingested

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from penstock.model.outcome import Tally
    from penstock.model.position import Mark, Position
    from penstock.ports import Advance
    from penstock.testing.simulation.ledger import Ledger
    from penstock.testing.simulation.records import World
    from penstock.testing.simulation.warehouse import Warehouse


class Violation(Exception):
    """An invariant does not hold. `str()` says which, and by what."""


@dataclass(slots=True)
class Trace:
    """What happened, one line each; told to `tell` at once, if anybody wants to know."""

    now_s: Callable[[], float]
    tell: Callable[[str], None] | None = None

    def __call__(self, who: str, what: str) -> None:
        """Say what `who` did or suffered. Call it only where somebody `listens`."""
        if self.tell is not None:
            self.tell(f"{self.now_s():12.6f} {who:<12} {what}")

    @property
    def listens(self) -> bool:
        """Whether anybody wants to know: making up a line costs more than all else here."""
        return self.tell is not None


@dataclass(slots=True)
class Auditor:
    """Compares every durable effect with what the records' plans demand."""

    world: World
    trace: Trace
    broken: Violation | None = None
    ledger: Ledger = field(init=False)
    warehouses: Mapping[str, Warehouse] = field(init=False)
    _rows: dict[tuple[str, str], list[int]] = field(init=False)

    def __post_init__(self) -> None:
        world = self.world
        self._rows = {(name, partition): [] for name in world.destinations for partition in world.partitions}

    def fail(self, invariant: str, what: str) -> None:
        """Note that an invariant does not hold; the first one counts, and ends the simulation at the next step."""
        if self.broken is None:
            self.broken = Violation(f"{invariant}: {what}")
            if self.trace.listens:
                self.trace("AUDITOR", str(self.broken))

    def check(self, holds: bool, invariant: str, what: Callable[[], str]) -> None:  # noqa: FBT001 - reads as a sentence
        """Fail unless it holds."""
        if not holds:
            self.fail(invariant, what())

    # The destinations.

    def rows_committed(self, destination: str, partition: str, sequences: Iterable[int]) -> None:
        """Rows became durable, in this order. Nothing twice, nothing out of order, nothing that should not be there."""
        rows = self._rows[destination, partition]
        for sequence in sequences:
            where = f"{destination} {partition}/{sequence} after {rows[-1:]}"
            if rows and sequence <= rows[-1]:
                self.fail("nothing twice" if sequence in rows else "order per partition", where)
            elif self.world.expected(partition, destination, sequence)[0] is not Outcome.DELIVERED:
                self.fail("nothing is delivered that was refused", where)
            rows.append(sequence)

    def marks_committed(self, destination: str, before: Mapping[str, int], marks: Sequence[Mark]) -> None:
        """Marks became durable, with all rows of their transaction: all below them is settled there, for good."""
        for mark in marks:
            start = before.get(mark.partition, 0)
            name = f"{destination} {mark.partition}: mark {mark.sequence} after {start}"
            if mark.sequence < start:
                self.fail("a mark never goes back", name)
            if mark.position.sequence > mark.sequence or not self._is_position(mark.position):
                self.fail("a mark's position is at or before it", f"{name}, position {mark.position}")
            if any(sequence >= mark.sequence for sequence in self._rows[destination, mark.partition][-1:]):
                self.fail("no row without its mark", name)
            for sequence in range(start, mark.sequence):
                if not self._is_settled(destination, mark.partition, sequence):
                    self.fail("no mark passes what is not settled", f"{name} passes {sequence}")

    def _is_settled(self, destination: str, partition: str, sequence: int) -> bool:
        """Tell whether a record has met its fate at a destination, durably: nobody will judge it again."""
        letter = self.world.letter(partition, destination, sequence)
        if letter is not None:
            return self.ledger.has_letter(letter)
        outcome, stage, _ = self.world.expected(partition, destination, sequence)
        if outcome is Outcome.DELIVERED:
            return self._has_row(destination, partition, sequence)
        return stage is not Stage.DELIVERY or self.ledger.has_superseded(destination, partition, sequence)

    def _has_row(self, destination: str, partition: str, sequence: int) -> bool:
        rows = self._rows[destination, partition]
        at = bisect_left(rows, sequence)
        return at < len(rows) and rows[at] == sequence

    # The ledger.

    def confirmed(self, destination: str, marks: Sequence[Mark]) -> None:
        """The ledger takes note of marks."""
        for mark in marks:
            there = self.warehouses[destination].mark(mark.partition)
            if mark.sequence > there:
                what = f"{destination} {mark.partition}: noted {mark.sequence}, committed {there}"
                self.fail("the ledger is never ahead of a mark", what)

    def advanced(self, before: int, advance: Advance) -> None:
        """A position moved: everything it passes is settled everywhere, for good, and counted as it should be."""
        partition, range_ = advance.partition, advance.range
        name = f"{partition}: {before} → {advance.position.sequence} over {range_}"
        if range_.start != before or advance.position.sequence != range_.end:
            self.fail("positions move without gap", name)
        if not self._is_position(advance.position):
            self.fail("a position is one that the source gave", f"{name}, {advance.position}")
        self._check_counts("conservation", partition, range_, advance.tally)
        for destination in self.world.destinations:
            mark = self.warehouses[destination].mark(partition)
            for sequence in range(before, range_.end):
                if not self._is_settled(destination, partition, sequence):
                    self.fail("nothing lost", f"{name} passes {sequence}, which is not settled at {destination}")
                if sequence >= mark and self._reaches_gamma(destination, partition, sequence):
                    self.fail("nothing lost", f"{name} passes {sequence}, which the mark of {destination} does not")

    def _reaches_gamma(self, destination: str, partition: str, sequence: int) -> bool:
        plan = self.world.partitions[partition].plans[sequence]
        return ingested(plan) is AtIngestion.GOOD and fated(plan, self.world.number_of(destination)) in AT_GAMMA

    def _check_counts(self, invariant: str, partition: str, range_: Range, tally: Tally) -> None:
        planned = self.world.tally(partition, range_)
        self.check(tally == planned, invariant, lambda: f"{partition} {range_}: {tally}, planned {planned}")

    # The source.

    def pruned(self, position: Position) -> None:
        """The source was told that it may forget what lies before `position`."""
        there = self.ledger.position_of(position.partition)
        if position.sequence > there:
            what = f"{position.partition}: told of {position.sequence}, the ledger has {there}"
            self.fail("a source is told after the ledger", what)

    # The end.

    def at_the_end(self) -> None:
        """Everything is settled, and came to what it should."""
        totals = self.ledger.totals()
        for name, partition in self.world.partitions.items():
            position, records = self.ledger.position_of(name), len(partition.plans)
            if position != records:
                self.fail("all is settled at the end", f"{name}: {position} of {records}")
            self._check_counts("conservation at the end", name, Range(0, records), totals.get(name, ()))
            for destination in self.world.destinations:
                for sequence in range(records):
                    if not self._is_settled(destination, name, sequence):
                        self.fail("nothing lost", f"{destination} {name}/{sequence}")
        self._check_letters()

    def _check_letters(self) -> None:
        found, planned = self.ledger.letters(), set(self._letters())
        if found != planned:
            odd = sorted(found ^ planned)[:5]
            self.fail("dead letters are those of the plans", f"{len(found)} of {len(planned)}, odd are {odd}")

    def _letters(self) -> Iterable[tuple[str, int, Stage, str]]:
        for name, partition in self.world.partitions.items():
            for sequence in range(len(partition.plans)):
                for destination in self.world.destinations:
                    if (letter := self.world.letter(name, destination, sequence)) is not None:
                        yield letter

    def _is_position(self, position: Position) -> bool:
        """Tell whether the source may have given a position: its token says its sequence."""
        return position.token.rstrip("+") == (str(position.sequence) if position.token else "")
