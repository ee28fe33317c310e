"""Destinations: what is durable there, and a sink on it that fails in every way a sink may."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from penstock.errors import BatchRefused, Unavailable
from penstock.model.batch import SEQUENCE
from penstock.model.outcome import RecordError
from penstock.ports import Evidence, Guarantee, Written
from penstock.testing.simulation.lives import OneThread
from penstock.testing.simulation.records import (
    REFUSED_CODE,
    REJECTED_CODE,
    SCHEMA,
    AtDestination,
    fated,
)
from penstock.testing.simulation.weather import Fault

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa

    from penstock.model.pipeline import Rule
    from penstock.model.position import Mark
    from penstock.testing.simulation.auditor import Auditor
    from penstock.testing.simulation.lives import Life

SLOW_S = 1.0
"""Longest that a slow call takes."""
AWAY_S = (0.05, 4.0)
"""How long a destination stays away."""
REFUSAL = RecordError(REFUSED_CODE, "id", "is there already")


@dataclass(slots=True)
class Warehouse:
    """What one destination keeps: how many rows, and the marks. Rows and marks change together, or not at all."""

    name: str
    number: int
    auditor: Auditor
    away_until_s: float = 0.0
    _marks: dict[tuple[str, str], Mark] = field(default_factory=dict)

    def mark(self, partition: str) -> int:
        """Return how far a partition is settled here."""
        return max((mark.sequence for (_, name), mark in self._marks.items() if name == partition), default=0)

    def marks(self) -> Mapping[tuple[str, str], Mark]:
        """Return the committed marks."""
        return dict(self._marks)

    def commit(self, rows: Mapping[str, Sequence[int]], marks: Sequence[Mark]) -> None:
        """Make rows, by partition, and marks durable."""
        before = {mark.partition: self.mark(mark.partition) for mark in marks}
        for partition, sequences in rows.items():
            self.auditor.rows_committed(self.name, partition, sequences)
        self._marks |= {(mark.source, mark.partition): mark for mark in marks}
        self.auditor.marks_committed(self.name, before, marks)


class FakeSink:
    """`penstock.ports.Sink` of one life of Gamma."""

    guarantee = Guarantee.TRANSACTIONAL

    def __init__(self, life: Life, warehouse: Warehouse) -> None:
        self._life = life
        self._warehouse = warehouse
        self._open: dict[str, list[int]] = {}
        self._closed = False
        self._guard = OneThread(life, f"sink of {warehouse.name}")

    def __repr__(self) -> str:
        return f"<FakeSink {self._warehouse.name}, {sum(map(len, self._open.values()))} rows open>"

    def prepare(self) -> None:
        """Be there, or not."""
        self._touch()

    def marks(self) -> Mapping[tuple[str, str], Mark]:
        """Return the committed marks."""
        self._touch()
        return self._warehouse.marks()

    def forget(self, source: str, partition: str) -> None:
        """Nobody asks for this here: the source never changes what it gave."""
        raise NotImplementedError(f"{source}/{partition}")

    def write(self, rows: pa.Table, partition: str) -> Written:
        """Add rows to the transaction; refuse and supersede what the records' plans say."""
        self._touch()
        assert rows.schema.equals(SCHEMA), rows.schema
        refused, superseded = {}, []
        own = self._open.setdefault(partition, [])
        plans, ids = rows.column("plan").to_pylist(), rows.column("id").to_pylist()
        for sequence, plan, id_ in zip(rows.column(SEQUENCE).to_pylist(), plans, ids, strict=True):
            self._check_content(partition, sequence, plan, id_)
            match fated(plan, self._warehouse.number):
                case AtDestination.REFUSED:
                    refused[sequence] = REFUSAL
                case AtDestination.POISON:
                    self._open = {}
                    raise BatchRefused(REJECTED_CODE, f"record {sequence} is poison")
                case AtDestination.SUPERSEDED:
                    superseded.append(sequence)
                case _:
                    own.append(sequence)
        return Written(refused, frozenset(superseded))

    def commit(self, marks: Sequence[Mark]) -> None:
        """Make rows and marks durable, or not; either may look like a failure."""
        self._touch()
        rows, self._open = self._open, {}
        weather = self._life.weather
        if weather.strikes(Fault.COMMIT_FAILED):
            raise _away(f"{self._warehouse.name} lost the connection before the commit")
        self._warehouse.commit(rows, marks)
        if self._life.trace.listens:
            written = {partition: len(sequences) for partition, sequences in rows.items()}
            marked = {mark.partition: mark.sequence for mark in marks}
            self._life.trace(self._life.name, f"{self._warehouse.name}: committed {written}, marks {marked}")
        self._life.after_effect()
        if weather.strikes(Fault.COMMIT_UNSURE):
            raise _away(f"{self._warehouse.name} lost the connection after the commit")

    def rollback(self) -> None:
        """Forget the transaction."""
        self._guard.enter()
        self._open = {}

    def evidence(self, rule: Rule) -> Evidence:
        """Nobody asks for this here: rules are judged when a run ends."""
        raise NotImplementedError(str(rule))

    def close(self) -> None:
        """Let go."""
        self._open = {}
        self._closed = True

    def _touch(self) -> None:
        """Stand before a call of the destination, which may be slow or away."""
        life, warehouse = self._life, self._warehouse
        self._guard.enter()
        life.before_effect()
        life.auditor.check(not self._closed, "a closed sink is left alone", lambda: warehouse.name)
        if life.weather.strikes(Fault.SINK_SLOW):
            life.loop.block(life.chance.random() * SLOW_S)
        if life.weather.strikes(Fault.SINK_AWAY):
            warehouse.away_until_s = life.loop.now_s + life.chance.uniform(*AWAY_S)
        if life.loop.now_s < warehouse.away_until_s and not life.weather.healed:
            self._open = {}
            raise _away(f"{warehouse.name} is away")

    def _check_content(self, partition: str, sequence: int, plan: int, id_: int) -> None:
        """A row must be the record that its sequence names."""
        auditor = self._life.auditor
        own = auditor.world.partitions[partition]
        if plan != own.plans[sequence] or id_ != own.id_of(sequence):
            auditor.fail("a row is its record", f"{self._warehouse.name} {partition}/{sequence}: {plan}, {id_}")


def _away(what: str) -> Unavailable:
    return Unavailable("INT_GAMMA_010", what)
