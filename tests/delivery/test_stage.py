"""Gamma by itself, in virtual time: batches made by hand before it, a sink and a book that keep a journal behind it."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa
import pytest

from penstock.delivery.stage import BATCHES_AT_ONCE, CommitLimits, Delivery, _Group
from penstock.errors import BatchRefused, RemoteViolation, Unavailable
from penstock.links.inbox import Inbox
from penstock.model.batch import RESERVED_FIELDS, SEQUENCE
from penstock.model.outcome import Count, Outcome, RecordError, Stage
from penstock.model.position import Mark, Position, Range
from penstock.model.settings import Settings
from penstock.observing.facts import AtCommitPoint, DestinationAway, LatencyStage, RowsCommitted, Timed, WentBack
from penstock.ports import (
    Arrived,
    Evidence,
    Fate,
    Guarantee,
    Original,
    OriginalsGone,
    RunContext,
    SenderIsNew,
    Taken,
    Written,
)
from penstock.protocol.messages import (
    AcknowledgmentPayload,
    AckStatus,
    BatchMetadata,
    BetaGammaBatchTransfer,
    DeliveryStatus,
    MessageHeader,
    MessageType,
    Module,
    Priority,
    QualitySummary,
    TransformationSummary,
)
from penstock.testing.simulation.clocks import LifeClock, SeededChance, WallClock
from penstock.testing.simulation.loop import VirtualLoop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from penstock.model.outcome import DeadLetter
    from penstock.model.pipeline import Rule
    from penstock.observing.facts import Fact
    from penstock.ports import Advance
    from penstock.protocol.messages import RecordDeliveryResult

SCHEMA = pa.schema([pa.field("id", pa.int64()), *RESERVED_FIELDS])
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
HEADER = MessageHeader("m", "c", Module.BETA, Module.GAMMA, MessageType.BATCH_TRANSFER, NOON)
DUPLICATE = RecordError("INT_GAMMA_003", "id", "is there already")
AWAY = Unavailable("INT_GAMMA_010", "the warehouse is locked")
DAY_S = 86_400.0
HOUR_MS = 3_600_000


def batch(
    start: int,
    end: int,
    *,
    to: str = "facts",
    partition: str = "a",
    sequences: Iterable[int] | None = None,
    **rest: object,
) -> Arrived:
    """A batch for records start..end, all of them there unless `sequences` says which."""
    rows = [{"id": number, SEQUENCE: number} for number in (range(start, end) if sequences is None else sequences)]
    records = pa.RecordBatch.from_pylist(rows, schema=SCHEMA)
    position = Position(partition, start, f"byte {start}")
    metadata = BatchMetadata(
        f"{to} {partition} {start}", 0, len(rows), "", NOON, partition, Range(start, end), position, to
    )
    metadata = msgspec.structs.replace(metadata, **rest)
    payload = memoryview(records.serialize())
    transfer = BetaGammaBatchTransfer(
        HEADER, metadata, payload, TransformationSummary(0, 0, 1.0), QualitySummary(1.0, 1.0, 1.0, 0)
    )
    return Arrived(metadata, records, transfer)


@dataclass
class Table:
    """A sink in memory: rows since the last commit and rows for good, duplicates refused, odd ids superseded."""

    name: str
    journal: list[str]
    refuse: frozenset[int] = frozenset()
    supersede: frozenset[int] = frozenset()
    poison: frozenset[int] = frozenset()
    """Records because of which a write is refused as a whole."""
    known: dict[tuple[str, str], Mark] = field(default_factory=dict)
    fails: Callable[[str], None] = lambda _: None
    rows: list[int] = field(default_factory=list)
    open: list[int] = field(default_factory=list)
    guarantee: Guarantee = Guarantee.TRANSACTIONAL

    def prepare(self) -> None:
        """It is there."""

    def marks(self) -> Mapping[tuple[str, str], Mark]:
        self.fails("marks")
        return dict(self.known)

    def forget(self, source: str, partition: str) -> None:
        raise NotImplementedError

    def write(self, rows: pa.Table, partition: str) -> Written:
        sequences = rows.column(SEQUENCE).to_pylist()
        self.journal.append(f"{self.name} write {partition} {sequences}")
        self.fails("write")
        if found := self.poison.intersection(sequences):
            raise BatchRefused("INT_LINK_010", f"record {min(found)} is poison")
        refused = self.refuse.intersection(sequences)
        superseded = self.supersede.intersection(sequences)
        self.open += [sequence for sequence in sequences if sequence not in refused | superseded]
        return Written(dict.fromkeys(refused, DUPLICATE), superseded)

    def commit(self, marks: Sequence[Mark]) -> None:
        self.journal.append(f"{self.name} commit {[(mark.partition, mark.sequence) for mark in marks]}")
        self.fails("commit")
        self.rows += self.open
        self.open.clear()
        self.known |= {(mark.source, mark.partition): mark for mark in marks}
        self.fails("committed")

    def rollback(self) -> None:
        self.journal.append(f"{self.name} rollback")
        self.open.clear()

    def evidence(self, rule: Rule) -> Evidence:
        raise NotImplementedError

    def close(self) -> None:
        """Nothing is open."""


@dataclass
class Notebook:
    """A book that writes down what it is told, and recalls what it was given."""

    journal: list[str]
    remembered: Mapping[int, Fate] = field(default_factory=dict)
    letters: list[DeadLetter] = field(default_factory=list)
    fails: Callable[[str], None] = lambda _: None

    def dead_letter(self, letters: Sequence[DeadLetter]) -> None:
        self.journal.append(f"book letters {[letter.sequence for letter in letters]}")
        self.fails("dead_letter")
        self.letters += letters

    def advance(self, source: str, advances: Sequence[Advance]) -> None:
        raise NotImplementedError

    def supersede(self, destination: str, source: str, partition: str, sequences: Sequence[int]) -> None:
        self.journal.append(f"book supersede {destination} {source} {partition} {list(sequences)}")

    def confirm(self, destination: str, marks: Sequence[Mark]) -> None:
        self.journal.append(f"book confirm {destination} {[mark.sequence for mark in marks]}")
        self.fails("confirm")

    def recall(self, destination: str, source: str, partition: str, mark: int) -> Mapping[int, Fate]:
        self.journal.append(f"book recall {destination} {source} {partition} {mark}")
        return self.remembered


class Incoming:
    """An `Inbound`: what arrives from Beta is put here. `later` comes only after all before it was answered."""

    def __init__(self, journal: list[str], later: Sequence[Arrived], *, ends: bool) -> None:
        self._journal = journal
        self._later = deque(later)
        self._ends = ends
        self._over = asyncio.Event()
        self._hurry = False
        self.batches: Inbox[Arrived] = Inbox()
        self.answers: dict[str, AcknowledgmentPayload] = {}
        self.answered_at_s: dict[str, float] = {}
        self.confirmed: dict[str, tuple[Range, ...]] = {}
        self.exceptions: dict[str, tuple[RecordDeliveryResult, ...]] = {}
        self.closed = False

    def arrive(self, *batches: Arrived) -> None:
        for arrived in batches:
            self.batches.put(arrived)

    def hurry(self) -> None:
        self._hurry = True
        self.batches.wake()

    def end(self) -> None:
        self.batches.close()

    def sender_is_new(self) -> None:
        self.batches.interrupt(SenderIsNew("the sending end began again"))

    def begin(self) -> None:
        self._journal.append("begin incoming")
        self.batches.reset()

    async def take(self, most: int | None = None) -> Taken:
        if not self._hurry:
            await self.batches.wait()
        found = self.batches.take_now(most)
        hurry, self._hurry = self._hurry, False
        return Taken(found, hurry, self.batches.closed and not self.batches)

    def answer(self, payloads: Sequence[AcknowledgmentPayload]) -> None:
        self._journal.append(f"answer {[payload.batch_id for payload in payloads]}")
        self.answers |= {payload.batch_id: payload for payload in payloads}
        now_s = asyncio.get_running_loop().time()
        self.answered_at_s |= {payload.batch_id: now_s for payload in payloads}
        while self._later:
            self.batches.put(self._later.popleft())
        if self._ends and not len(self.batches):
            self.batches.close()

    def confirm(
        self, batch_id: str, exceptions: tuple[RecordDeliveryResult, ...], delivered: tuple[Range, ...]
    ) -> None:
        self.confirmed[batch_id] = delivered
        self.exceptions[batch_id] = exceptions

    def close(self) -> None:
        self.closed = True
        self._journal.append("close")
        if self.leaves:
            self.leave()

    leaves = True

    def leave(self) -> None:
        """Beta has all it needs."""
        self._over.set()
        self.batches.wake()

    async def finished(self) -> None:
        await self.batches.interrupted(self._over)


@dataclass
class Gamma:
    """Gamma between doubles, and what happened in the order in which it did."""

    journal: list[str] = field(default_factory=list)
    facts_seen: list[Fact] = field(default_factory=list)
    settings: Mapping[str, object] = field(default_factory=dict)
    patient: bool = False
    gone: set[int] = field(default_factory=set)
    """Records whose originals are not held any more."""

    def __post_init__(self) -> None:
        self.facts, self.now = Table("facts", self.journal), Table("now", self.journal)
        self.book = Notebook(self.journal)

    def saw(self, fact: Fact) -> None:
        self.facts_seen.append(fact)
        if isinstance(fact, AtCommitPoint):
            self.journal.append(f"{fact.moment} {fact.point}")

    def of(self, kind: type[Any]) -> list[Any]:
        return [fact for fact in self.facts_seen if isinstance(fact, kind)]

    def run(
        self,
        *arriving: Arrived,
        later: Sequence[Arrived] = (),
        during: Callable[[Gamma], Any] | None = None,
    ) -> Incoming:
        """Deliver. The input ends at once, or when `later` was answered, or when `during`, beside it, is over."""
        loop = VirtualLoop(random.Random(1), lambda: None)
        self.loop = loop

        async def work() -> Incoming:
            self.incoming = Incoming(self.journal, later, ends=bool(later))
            self.incoming.arrive(*arriving)
            clock, chance = LifeClock(WallClock(loop), loop, 0.0), SeededChance(random.Random(1))
            context = RunContext(self.book, Settings(self.settings), clock, chance, self)
            sinks = {"facts": self.facts, "now": self.now}
            delivery = Delivery("orders", sinks, self.incoming, self.originals, context)
            delivery.patient = self.patient
            async with asyncio.timeout(DAY_S):
                running = asyncio.create_task(delivery.run())
                if during is not None:
                    await during(self)
                if not later:
                    self.incoming.end()
                await running
            return self.incoming

        try:
            return loop.run_until_complete(work())
        finally:
            loop.close()

    def originals(self, partition: str, sequences: Sequence[int]) -> list[Original]:
        if self.gone.intersection(sequences):
            self.gone.clear()
            raise OriginalsGone("ingestion went back")
        return [Original(f"{partition}{sequence}".encode(), sequence + 2) for sequence in sequences]

    def entries(self, *words: str) -> list[str]:
        return [entry for entry in self.journal if entry.startswith(words)]


@pytest.fixture
def gamma() -> Gamma:
    return Gamma()


def delivered(records: int) -> Count:
    return Count("facts", Outcome.DELIVERED, Stage.DELIVERY, "", records)


def test_rows_and_mark_are_committed_before_the_batch_is_answered(gamma: Gamma) -> None:
    incoming = gamma.run(batch(0, 3), batch(3, 5))
    assert gamma.journal == [
        "facts write a [0, 1, 2, 3, 4]",
        "before rows and mark",
        "facts commit [('a', 5)]",
        "after rows and mark",
        "book confirm facts [5]",
        "before acknowledgement",
        "answer ['facts a 0', 'facts a 3']",
        "after acknowledgement",
        "close",
    ]
    assert gamma.facts.known["orders", "a"] == Mark("orders", "a", 5, Position("a", 3, "byte 3"))
    assert incoming.answers["facts a 0"].tally == (delivered(3),)
    assert incoming.confirmed == {"facts a 0": (Range(0, 3),), "facts a 3": (Range(3, 5),)}
    assert incoming.closed


def test_dead_letters_and_superseded_records_are_durable_before_the_commit_that_drops_them(gamma: Gamma) -> None:
    gamma.facts.refuse, gamma.facts.supersede = frozenset({1}), frozenset({4})
    incoming = gamma.run(batch(0, 3), batch(3, 5))
    assert gamma.journal[:5] == [
        "facts write a [0, 1, 2, 3, 4]",
        "book letters [1]",
        "book supersede facts orders a [4]",
        "before rows and mark",
        "facts commit [('a', 5)]",
    ]
    assert incoming.answers["facts a 0"].tally == (
        Count("facts", Outcome.DEAD_LETTERED, Stage.DELIVERY, "INT_GAMMA_003", 1),
        delivered(2),
    )
    assert incoming.answers["facts a 3"].tally == (
        delivered(1),
        Count("facts", Outcome.FILTERED, Stage.DELIVERY, "superseded", 1),
    )
    (letter,) = gamma.book.letters
    assert (letter.record_id, letter.destination, letter.original, letter.line) == ("orders/a/1", "facts", b"a1", 3)
    assert RowsCommitted("facts", 4) in gamma.facts_seen


def test_each_destination_and_partition_has_marks_of_its_own(gamma: Gamma) -> None:
    gamma.run(batch(0, 3), batch(0, 2, partition="b"), batch(0, 3, to="now"), batch(3, 4), batch(2, 9, partition="b"))
    assert {key: mark.sequence for key, mark in gamma.facts.known.items()} == {("orders", "a"): 4, ("orders", "b"): 9}
    assert {key: mark.sequence for key, mark in gamma.now.known.items()} == {("orders", "a"): 3}
    assert sorted(gamma.facts.rows) == [0, 0, 1, 1, 2, 2, 3, 3, 4, 5, 6, 7, 8]


def test_a_gap_in_the_ranges_of_a_destination_is_refused_and_nothing_of_it_is_committed(gamma: Gamma) -> None:
    with pytest.raises(RemoteViolation, match=r"\[5, 6\) came for `facts` where 3 had to follow"):
        gamma.run(batch(0, 3), batch(5, 6))
    assert gamma.facts.rows == []
    assert gamma.facts.known == {}


def test_a_range_that_comes_twice_is_refused(gamma: Gamma) -> None:
    with pytest.raises(RemoteViolation, match="where 3 had to follow"):
        gamma.run(batch(0, 3), batch(0, 3))


def test_a_batch_for_a_destination_that_is_not_there_is_refused(gamma: Gamma) -> None:
    with pytest.raises(RemoteViolation, match="came for `audit`"):
        gamma.run(batch(0, 3, to="audit"))


# --- read again ---------------------------------------------------------------------------------------------------


def at(sequence: int) -> dict[tuple[str, str], Mark]:
    return {("orders", "a"): Mark("orders", "a", sequence, Position("a", 0, ""))}


def test_rows_below_the_mark_are_not_written_again(gamma: Gamma) -> None:
    gamma.facts.known = at(4)
    incoming = gamma.run(batch(0, 3), batch(3, 6))
    assert gamma.facts.rows == [4, 5]
    assert gamma.facts.known["orders", "a"].sequence == 6
    assert {payload.tally for payload in incoming.answers.values()} == {(delivered(3),)}


def test_what_lies_below_the_mark_is_counted_as_it_was_settled_then(gamma: Gamma) -> None:
    gamma.facts.known = at(4)
    gamma.book.remembered = {
        1: Fate(Outcome.DEAD_LETTERED, "INT_GAMMA_003"),
        3: Fate(Outcome.FILTERED, "superseded"),
    }
    incoming = gamma.run(batch(0, 3), batch(3, 6))
    assert gamma.book.letters == []
    assert incoming.answers["facts a 0"].tally == (
        Count("facts", Outcome.DEAD_LETTERED, Stage.DELIVERY, "INT_GAMMA_003", 1),
        delivered(2),
    )
    assert incoming.answers["facts a 3"].tally == (
        delivered(2),
        Count("facts", Outcome.FILTERED, Stage.DELIVERY, "superseded", 1),
    )
    assert incoming.confirmed["facts a 0"] == (Range(0, 1), Range(2, 3))


def test_a_mark_never_moves_back(gamma: Gamma) -> None:
    gamma.facts.known = at(9)
    gamma.run(batch(0, 3), batch(3, 6))
    assert gamma.facts.rows == []
    assert gamma.facts.known == at(9)


def test_a_mark_in_the_middle_of_records_that_left_before_trims_by_sequence(gamma: Gamma) -> None:
    gamma.facts.known = at(5)
    gamma.run(batch(0, 10, sequences=[1, 4, 6, 9]))
    assert gamma.facts.rows == [6, 9]


def test_marks_of_other_sources_and_partitions_trim_nothing(gamma: Gamma) -> None:
    gamma.facts.known = {
        ("orders", "b"): Mark("orders", "b", 9, Position("b", 0, "")),
        ("customers", "a"): Mark("customers", "a", 9, Position("a", 0, "")),
    }
    gamma.run(batch(0, 3))
    assert gamma.facts.rows == [0, 1, 2]
    assert "book recall facts orders b 9" in gamma.journal
    assert not any("customers" in entry for entry in gamma.journal)


def test_a_record_that_left_before_this_time_is_not_counted_once_more_as_what_it_was_then(gamma: Gamma) -> None:
    """A lookup's table may change between a crash and the next run: what Gamma refused, Beta refuses now."""
    gamma.facts.known = at(4)
    gamma.book.remembered = {1: Fate(Outcome.DEAD_LETTERED, "INT_GAMMA_003")}
    incoming = gamma.run(batch(0, 4, sequences=[0, 2, 3]))
    assert incoming.answers["facts a 0"].tally == (delivered(3),)


# --- failures -----------------------------------------------------------------------------------------------------


def failing(what: str, *which: int, error: Exception = AWAY) -> Callable[[str], None]:
    """Raise `error` at these calls of `what`, counted from 1 (the first, where none is named)."""
    calls = 0

    def fail(name: str) -> None:
        nonlocal calls
        calls += name == what
        if name == what and calls in (which or (1,)):
            raise error

    return fail


@pytest.mark.parametrize("call", ["write", "commit"])
def test_a_sink_that_fails_is_rolled_back_and_nothing_is_answered(gamma: Gamma, call: str) -> None:
    gamma.facts.fails = failing(call)
    with pytest.raises(Unavailable) as caught:
        gamma.run(batch(0, 3), batch(3, 6))
    assert caught.value is AWAY
    assert gamma.journal[-1] == "facts rollback"
    assert not gamma.entries("answer", "book confirm", "close")
    assert (gamma.facts.rows, gamma.facts.open, gamma.facts.known) == ([], [], {})


def test_letters_that_cannot_be_kept_stop_the_commit(gamma: Gamma) -> None:
    gamma.facts.refuse = frozenset({1})
    gamma.book.fails = failing("dead_letter")
    with pytest.raises(Unavailable):
        gamma.run(batch(0, 3))
    assert gamma.journal[-1] == "facts rollback"
    assert gamma.facts.rows == []


def test_a_mark_that_the_ledger_did_not_note_is_not_answered(gamma: Gamma) -> None:
    gamma.book.fails = failing("confirm")
    with pytest.raises(Unavailable):
        gamma.run(batch(0, 3))
    assert gamma.facts.rows == [0, 1, 2]
    assert not gamma.entries("answer")


# --- patience -----------------------------------------------------------------------------------------------------


@pytest.fixture
def patient() -> Gamma:
    return Gamma(patient=True, settings={"BETA_GAMMA_RETRY_DELAY_MS": 1_000, "BETA_GAMMA_BACKOFF_MULTIPLIER": 2.0})


@pytest.mark.parametrize("call", ["write", "commit", "committed"])
def test_a_destination_that_goes_away_is_waited_for_and_every_row_is_there_once(patient: Gamma, call: str) -> None:
    patient.facts.fails = failing(call, 1, 2, 3)
    incoming = patient.run(batch(0, 3), batch(3, 5))
    assert patient.facts.rows == [0, 1, 2, 3, 4]
    assert patient.facts.known["orders", "a"].sequence == 5
    assert {payload.tally for payload in incoming.answers.values()} == {(delivered(3),), (delivered(2),)}
    away = patient.of(DestinationAway)
    assert [(fact.source, fact.message) for fact in away] == [("orders", "the warehouse is locked")] * len(away)
    assert all(0.5 <= fact.retry_in_s / 2**number <= 1.0 for number, fact in enumerate(away)), "it backs off"
    assert patient.loop.time() >= sum(fact.retry_in_s for fact in away)


def test_after_a_commit_that_failed_only_the_marks_tell_whether_it_happened(patient: Gamma) -> None:
    """It had happened: what was settled then is answered as it was settled, and not written again."""
    patient.facts.fails = failing("committed")
    patient.facts.refuse, patient.facts.supersede = frozenset({1}), frozenset({2})
    patient.book.remembered = {
        1: Fate(Outcome.DEAD_LETTERED, "INT_GAMMA_003"),
        2: Fate(Outcome.FILTERED, "superseded"),
    }
    incoming = patient.run(batch(0, 4))
    assert patient.entries("facts write") == ["facts write a [0, 1, 2, 3]"]
    assert "book recall facts orders a 4" in patient.journal
    assert patient.facts.rows == [0, 3]
    assert {(count.outcome, count.reason): count.records for count in incoming.answers["facts a 0"].tally} == {
        (Outcome.DEAD_LETTERED, "INT_GAMMA_003"): 1,
        (Outcome.FILTERED, "superseded"): 1,
        (Outcome.DELIVERED, ""): 2,
    }
    assert len(patient.book.letters) == 1


def test_a_destination_that_is_away_from_the_beginning_is_waited_for_as_well(patient: Gamma) -> None:
    patient.facts.fails = failing("marks", 1, 2)
    patient.run(batch(0, 3))
    assert patient.facts.rows == [0, 1, 2]
    assert len(patient.of(DestinationAway)) == 2


def test_an_impatient_run_fails_where_the_destination_is_away_from_the_beginning(gamma: Gamma) -> None:
    gamma.facts.fails = failing("marks")
    with pytest.raises(Unavailable):
        gamma.run(batch(0, 3))


def test_while_a_destination_is_away_nothing_is_answered_and_no_letter_written(patient: Gamma) -> None:
    patient.facts.fails = failing("write", *range(1, 11))

    async def during(gamma: Gamma) -> None:
        await asyncio.sleep(300.0)
        assert gamma.incoming.answers == {}
        assert gamma.book.letters == []
        await asyncio.sleep(3_600.0)

    incoming = patient.run(batch(0, 3), during=during)
    assert incoming.answers["facts a 0"].tally == (delivered(3),)


def test_an_error_that_waiting_does_not_mend_ends_even_a_patient_run(patient: Gamma) -> None:
    patient.facts.fails = failing("write", error=RemoteViolation("INT_LINK_003", "no"))
    with pytest.raises(RemoteViolation):
        patient.run(batch(0, 3))


# --- refused as a whole -------------------------------------------------------------------------------------------


def test_a_batch_that_is_refused_as_a_whole_is_rejected_and_every_record_of_it_named(gamma: Gamma) -> None:
    gamma.facts.poison = frozenset({3, 4})
    incoming = gamma.run(batch(0, 3), batch(3, 5), batch(5, 7))
    answer = incoming.answers["facts a 3"]
    assert (answer.status, answer.reason) == (AckStatus.REJECTED, "record 3 is poison")
    assert answer.tally == (Count("facts", Outcome.DEAD_LETTERED, Stage.DELIVERY, "INT_LINK_010", 2),)
    assert [(each.reason, each.sequences) for each in answer.excepted] == [("INT_LINK_010", (3, 4))]
    assert (answer.records_accepted, answer.records_rejected) == (0, 2)
    assert {incoming.answers[name].status for name in ("facts a 0", "facts a 5")} == {AckStatus.PROCESSED}
    assert [(each.record_id, each.status) for each in incoming.exceptions["facts a 3"]] == [
        ("orders/a/3", DeliveryStatus.DLQ),
        ("orders/a/4", DeliveryStatus.DLQ),
    ]
    assert incoming.confirmed["facts a 3"] == ()
    assert gamma.facts.rows == [0, 1, 2, 5, 6]
    assert gamma.facts.known["orders", "a"].sequence == 7


def test_letters_of_refused_records_are_durable_before_the_mark_passes_them(gamma: Gamma) -> None:
    gamma.facts.poison = frozenset({1})
    gamma.run(batch(0, 3))
    assert gamma.journal.index("book letters [1]") < gamma.journal.index("facts commit [('a', 3)]")
    (letter,) = gamma.book.letters
    assert (letter.destination, letter.original, letter.line) == ("facts", b"a1", 3)
    assert [(error.code, error.message) for error in letter.errors] == [("INT_LINK_010", "record 1 is poison")]


def test_records_in_the_company_of_a_refused_one_are_delivered_and_their_batch_is_processed(gamma: Gamma) -> None:
    gamma.facts.poison, gamma.facts.refuse = frozenset({2}), frozenset({0})
    incoming = gamma.run(batch(0, 8), batch(0, 2, partition="b"))
    answer = incoming.answers["facts a 0"]
    assert (answer.status, answer.reason) == (AckStatus.PROCESSED, "")
    assert answer.records_rejected == 2
    assert sorted(gamma.facts.rows) == [1, 1, 3, 4, 5, 6, 7]
    assert gamma.facts.open == [], "what was tried while looking for it was rolled back"
    assert len(gamma.entries("facts commit")) == 1


def test_what_is_refused_is_looked_for_above_the_mark_alone(gamma: Gamma) -> None:
    gamma.facts.known = at(3)
    gamma.facts.poison = frozenset({1, 4})
    incoming = gamma.run(batch(0, 3), batch(3, 5))
    assert incoming.answers["facts a 0"].tally == (delivered(3),)
    assert [letter.sequence for letter in gamma.book.letters] == [4]
    assert gamma.facts.rows == [3]


def test_a_destination_that_goes_away_in_the_middle_of_a_search_is_waited_for(patient: Gamma) -> None:
    patient.facts.poison = frozenset({1})
    patient.facts.fails = failing("write", 3, 6)
    incoming = patient.run(batch(0, 4))
    assert patient.facts.rows == [0, 2, 3]
    assert incoming.answers["facts a 0"].records_rejected == 1
    assert len(patient.of(DestinationAway)) == 2


# --- going back ---------------------------------------------------------------------------------------------------


def test_when_beta_is_another_what_is_not_committed_is_forgotten_and_marks_are_recalled() -> None:
    gamma = Gamma(settings={"COMMIT_IDLE_MS": HOUR_MS, "COMMIT_INTERVAL_MS": HOUR_MS})

    async def during(gamma: Gamma) -> None:
        gamma.incoming.arrive(batch(0, 2))
        gamma.incoming.hurry()
        await asyncio.sleep(1.0)
        gamma.incoming.arrive(batch(2, 4))
        await asyncio.sleep(1.0)
        gamma.incoming.sender_is_new()
        gamma.incoming.arrive(batch(0, 3), batch(3, 4))
        await asyncio.sleep(1.0)

    incoming = gamma.run(during=during)
    assert gamma.facts.rows == [0, 1, 2, 3]
    assert gamma.entries("book recall") == ["book recall facts orders a 2"]
    assert set(incoming.answers) == {"facts a 0", "facts a 3"}
    assert gamma.entries("begin") == []
    assert gamma.of(WentBack) == [WentBack("orders", Module.GAMMA, "the sending end began again")]


def test_a_new_beta_may_begin_wherever_it_likes() -> None:
    gamma = Gamma()

    async def during(gamma: Gamma) -> None:
        gamma.incoming.arrive(batch(0, 5))
        await asyncio.sleep(1.0)
        gamma.incoming.sender_is_new()
        gamma.incoming.arrive(batch(3, 8))

    gamma.run(during=during)
    assert gamma.facts.rows == list(range(8))


def test_when_an_original_is_gone_beta_is_told_to_go_back(gamma: Gamma) -> None:
    gamma.facts.refuse, gamma.gone = frozenset({1}), {1}

    async def during(gamma: Gamma) -> None:
        await asyncio.sleep(1.0)
        assert gamma.entries("begin") == ["begin incoming"]
        assert gamma.facts.rows == []
        gamma.incoming.arrive(batch(0, 3))

    incoming = gamma.run(batch(0, 3), during=during)
    assert gamma.facts.rows == [0, 2]
    assert incoming.answers["facts a 0"].records_rejected == 1
    assert gamma.of(WentBack) == [WentBack("orders", Module.GAMMA, "ingestion went back")]


def test_a_beta_that_dies_while_the_destination_is_away_is_met_when_it_is_back(patient: Gamma) -> None:
    patient.facts.fails = failing("write", 1, 2, 3)

    async def during(gamma: Gamma) -> None:
        await asyncio.sleep(1.0)
        gamma.incoming.sender_is_new()
        gamma.incoming.arrive(batch(0, 2), batch(2, 3))
        await asyncio.sleep(60.0)

    patient.run(batch(0, 3), during=during)
    assert patient.facts.rows == [0, 1, 2]


def test_a_beta_that_dies_when_all_is_answered_and_it_has_not_heard_so_is_heard_when_it_comes_back() -> None:
    gamma = Gamma()

    async def during(gamma: Gamma) -> None:
        gamma.incoming.leaves = False
        gamma.incoming.end()
        await asyncio.sleep(1.0)
        assert gamma.entries("close") == ["close"]
        gamma.incoming.sender_is_new()
        gamma.incoming.leaves = True
        await asyncio.sleep(1.0)
        gamma.incoming.arrive(batch(0, 2), batch(2, 4))

    incoming = gamma.run(batch(0, 2), during=during)
    assert gamma.facts.rows == [0, 1, 2, 3]
    assert set(incoming.answers) == {"facts a 0", "facts a 2"}
    assert incoming.answers["facts a 0"].tally == (delivered(2),)


# --- when it commits ----------------------------------------------------------------------------------------------


def test_many_batches_are_one_transaction(gamma: Gamma) -> None:
    gamma.run(*(batch(number, number + 1) for number in range(BATCHES_AT_ONCE)))
    assert sum("commit" in entry for entry in gamma.journal if entry.startswith("facts")) == 1


def test_a_full_group_is_committed_before_more_is_taken() -> None:
    gamma = Gamma(settings={"COMMIT_RECORDS": 10})
    gamma.run(*(batch(number, number + 1) for number in range(BATCHES_AT_ONCE + 5)))
    commits = [entry for entry in gamma.journal if entry.startswith("facts commit")]
    assert commits == [f"facts commit [('a', {BATCHES_AT_ONCE})]", f"facts commit [('a', {BATCHES_AT_ONCE + 5})]"]


@pytest.mark.parametrize("idle_ms", [10, 700])
def test_commit_idle_ms_without_arrivals_closes_a_transaction(idle_ms: int) -> None:
    """The source may be waiting for just that."""
    gamma = Gamma(settings={"COMMIT_IDLE_MS": idle_ms, "COMMIT_INTERVAL_MS": HOUR_MS})
    incoming = gamma.run(batch(0, 3), later=[batch(3, 5)])
    assert gamma.entries("facts commit") == ["facts commit [('a', 3)]", "facts commit [('a', 5)]"]
    assert incoming.answered_at_s["facts a 0"] == pytest.approx(idle_ms / 1000, abs=0.05)


@pytest.mark.parametrize("interval_ms", [500, 2_000])
def test_commit_interval_ms_is_the_longest_that_one_is_kept_open_though_batches_keep_coming(interval_ms: int) -> None:
    gamma = Gamma(settings={"COMMIT_IDLE_MS": HOUR_MS, "COMMIT_INTERVAL_MS": interval_ms})

    async def during(gamma: Gamma) -> None:
        for number in range(50):
            gamma.incoming.arrive(batch(number, number + 1))
            await asyncio.sleep(0.1)

    incoming = gamma.run(during=during)
    assert incoming.answered_at_s["facts a 0"] == pytest.approx(interval_ms / 1000, abs=0.15)
    assert len(gamma.entries("facts commit")) == pytest.approx(5_000 / interval_ms, abs=2)


@pytest.mark.parametrize("how", ["hurry", "critical"])
def test_who_must_not_wait_is_committed_at_once(how: str) -> None:
    gamma = Gamma(settings={"COMMIT_IDLE_MS": HOUR_MS, "COMMIT_INTERVAL_MS": HOUR_MS})

    async def during(gamma: Gamma) -> None:
        await asyncio.sleep(5.0)
        assert gamma.incoming.answers == {}
        if how == "hurry":
            gamma.incoming.hurry()
        else:
            gamma.incoming.arrive(batch(3, 4, priority=Priority.CRITICAL))
        await asyncio.sleep(60.0)

    incoming = gamma.run(batch(0, 3), batch(0, 1, to="now"), during=during)
    assert all(at_s < 6.0 for at_s in incoming.answered_at_s.values()), incoming.answered_at_s
    assert len(incoming.answers) == (2 if how == "hurry" else 3)


def test_how_long_delivery_took_is_told(gamma: Gamma) -> None:
    gamma.run(batch(0, 3), batch(3, 5))
    (timed,) = gamma.of(Timed)
    assert (timed.source, timed.stage, timed.records) == ("orders", LatencyStage.DELIVERY, 5)


@pytest.mark.parametrize(
    ("limits", "reached"),
    [
        (CommitLimits(3, 1 << 20, 60.0, 1.0), True),
        (CommitLimits(4, 1 << 20, 60.0, 1.0), False),
        (CommitLimits(4, 1, 60.0, 1.0), True),
    ],
)
def test_a_group_is_due_at_its_rows_or_its_bytes(limits: CommitLimits, *, reached: bool) -> None:
    group = _Group(100.0)  # private: a clock that stands still says more about it than a run that waits
    group.add(batch(0, 3))
    assert limits.reached(group) is reached


@pytest.mark.parametrize(("commit_s", "due_s"), [(0.0, 105.0), (1.0, 104.0), (2.5, 102.5), (4.0, 102.5)])
def test_a_commit_begins_as_much_before_the_interval_is_over_as_it_may_take(commit_s: float, due_s: float) -> None:
    assert CommitLimits(4, 1 << 20, 5.0, 1.0).due_s(_Group(100.0), commit_s) == due_s
