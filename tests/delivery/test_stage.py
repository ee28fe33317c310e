"""Gamma by itself: batches made by hand before it, a sink and a book that write down the order of things behind it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from penstock.delivery.stage import BATCHES_AT_ONCE, CommitLimits, Delivery, _Group
from penstock.errors import RemoteViolation, Unavailable
from penstock.links.inbox import Inbox
from penstock.model.batch import RESERVED_FIELDS, SEQUENCE
from penstock.model.outcome import Count, Outcome, RecordError, Stage
from penstock.model.position import Mark, Position, Range
from penstock.model.settings import Settings
from penstock.observing.facts import AtCommitPoint, RowsCommitted
from penstock.orchestration.clock import SystemChance, SystemClock
from penstock.ports import Arrived, Evidence, Fate, Guarantee, Original, RunContext, Written
from penstock.protocol.messages import (
    AcknowledgmentPayload,
    BatchMetadata,
    BetaGammaBatchTransfer,
    MessageHeader,
    MessageType,
    Module,
    QualitySummary,
    TransformationSummary,
)

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


def batch(
    start: int, end: int, *, to: str = "facts", partition: str = "a", sequences: Iterable[int] | None = None
) -> Arrived:
    """A batch for records start..end, all of them there unless `sequences` says which."""
    rows = [{"id": number, SEQUENCE: number} for number in (range(start, end) if sequences is None else sequences)]
    records = pa.RecordBatch.from_pylist(rows, schema=SCHEMA)
    position = Position(partition, start, f"byte {start}")
    metadata = BatchMetadata(
        f"{to} {partition} {start}", 0, len(rows), "", NOON, partition, Range(start, end), position, to
    )
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
    known: dict[tuple[str, str], Mark] = field(default_factory=dict)
    fails: Callable[[str], None] = lambda _: None
    rows: list[int] = field(default_factory=list)
    open: list[int] = field(default_factory=list)
    guarantee: Guarantee = Guarantee.TRANSACTIONAL

    def prepare(self) -> None:
        """It is there."""

    def marks(self) -> Mapping[tuple[str, str], Mark]:
        return dict(self.known)

    def forget(self, source: str, partition: str) -> None:
        raise NotImplementedError

    def write(self, rows: pa.Table, partition: str) -> Written:
        sequences = rows.column(SEQUENCE).to_pylist()
        self.journal.append(f"{self.name} write {partition} {sequences}")
        self.fails("write")
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


@dataclass
class Incoming:
    """The receiving end of a hop. `later` are batches that come only after all others were answered."""

    journal: list[str]
    batches: Inbox[Arrived]
    later: list[Arrived] = field(default_factory=list)
    answers: dict[str, AcknowledgmentPayload] = field(default_factory=dict)
    confirmed: dict[str, tuple[Range, ...]] = field(default_factory=dict)
    closed: bool = False

    async def take(self, most: int | None = None) -> Sequence[Arrived]:
        return await self.batches.take(most)

    def answer(self, payloads: Sequence[AcknowledgmentPayload]) -> None:
        self.journal.append(f"answer {[payload.batch_id for payload in payloads]}")
        self.answers |= {payload.batch_id: payload for payload in payloads}
        for arrived in self.later:
            self.batches.put(arrived)
        self.later.clear()
        if not len(self.batches):
            self.batches.close()

    def confirm(
        self, batch_id: str, exceptions: tuple[RecordDeliveryResult, ...], delivered: tuple[Range, ...]
    ) -> None:
        del exceptions
        self.confirmed[batch_id] = delivered

    def close(self) -> None:
        self.closed = True


@dataclass
class Gamma:
    """Gamma between doubles, and what happened in the order in which it did."""

    journal: list[str] = field(default_factory=list)
    facts_seen: list[Fact] = field(default_factory=list)
    settings: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.facts, self.now = Table("facts", self.journal), Table("now", self.journal)
        self.book = Notebook(self.journal)

    def saw(self, fact: Fact) -> None:
        self.facts_seen.append(fact)
        if isinstance(fact, AtCommitPoint):
            self.journal.append(f"{fact.moment} {fact.point}")

    def run(self, *arriving: Arrived, later: Sequence[Arrived] = (), open_end: bool = False) -> Incoming:
        """Deliver; without `open_end` nothing more will come, with it only when all was answered."""

        async def work() -> Incoming:
            batches: Inbox[Arrived] = Inbox()
            for arrived in arriving:
                batches.put(arrived)
            incoming = Incoming(self.journal, batches, list(later))
            if not (later or open_end):
                batches.close()
            context = RunContext(self.book, Settings(self.settings), SystemClock(), SystemChance(), self)
            sinks = {"facts": self.facts, "now": self.now}
            delivery = Delivery("orders", sinks, incoming, self.originals, context)
            async with asyncio.timeout(10):
                await delivery.run()
            return incoming

        return asyncio.run(work())

    @staticmethod
    def originals(partition: str, sequences: Sequence[int]) -> list[Original]:
        return [Original(f"{partition}{sequence}".encode(), sequence + 2) for sequence in sequences]


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


def failing(what: str, times: int = 1) -> Callable[[str], None]:
    """Raise AWAY at the n-th call of `what`."""
    left = [times]

    def fail(name: str) -> None:
        left[0] -= name == what
        if name == what and left[0] == 0:
            raise AWAY

    return fail


@pytest.mark.parametrize("call", ["write", "commit"])
def test_a_sink_that_fails_is_rolled_back_and_nothing_is_answered(gamma: Gamma, call: str) -> None:
    gamma.facts.fails = failing(call)
    with pytest.raises(Unavailable) as caught:
        gamma.run(batch(0, 3), batch(3, 6))
    assert caught.value is AWAY
    assert gamma.journal[-1] == "facts rollback"
    assert not any(entry.startswith(("answer", "book confirm")) for entry in gamma.journal)
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
    assert not any(entry.startswith("answer") for entry in gamma.journal)


# --- when it commits ----------------------------------------------------------------------------------------------


def test_many_batches_are_one_transaction(gamma: Gamma) -> None:
    gamma.run(*(batch(number, number + 1) for number in range(BATCHES_AT_ONCE)))
    assert sum("commit" in entry for entry in gamma.journal if entry.startswith("facts")) == 1


def test_a_full_group_is_committed_before_more_is_taken() -> None:
    gamma = Gamma(settings={"COMMIT_RECORDS": 10})
    gamma.run(*(batch(number, number + 1) for number in range(BATCHES_AT_ONCE + 5)))
    commits = [entry for entry in gamma.journal if entry.startswith("facts commit")]
    assert commits == [f"facts commit [('a', {BATCHES_AT_ONCE})]", f"facts commit [('a', {BATCHES_AT_ONCE + 5})]"]


def test_when_nothing_more_arrives_what_is_there_is_committed_because_the_source_may_wait_for_it() -> None:
    gamma = Gamma(settings={"COMMIT_IDLE_MS": 10, "COMMIT_INTERVAL_MS": 3_600_000})
    gamma.run(batch(0, 3), later=[batch(3, 5)])
    commits = [entry for entry in gamma.journal if entry.startswith("facts commit")]
    assert commits == ["facts commit [('a', 3)]", "facts commit [('a', 5)]"]


def test_an_open_transaction_is_committed_after_the_interval_even_while_batches_arrive() -> None:
    gamma = Gamma(settings={"COMMIT_IDLE_MS": 3_600_000, "COMMIT_INTERVAL_MS": 20})
    gamma.run(batch(0, 3), later=[batch(3, 5)])
    assert gamma.facts.rows == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("limits", "due"),
    [
        (CommitLimits(3, 1 << 20, 60.0, 1.0), True),
        (CommitLimits(4, 1 << 20, 60.0, 1.0), False),
        (CommitLimits(4, 1, 60.0, 1.0), True),
        (CommitLimits(4, 1 << 20, 5.0, 1.0), True),
        (CommitLimits(4, 1 << 20, 5.1, 1.0), False),
    ],
)
def test_a_group_is_due_at_its_rows_its_bytes_or_its_age(limits: CommitLimits, *, due: bool) -> None:
    group = _Group(100.0)  # private: a clock that stands still says more about it than a run that waits
    group.add(batch(0, 3))
    assert limits.reached(group, 105.0) is due
