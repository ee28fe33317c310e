"""Beta by itself, in virtual time: batches made by hand before it, an end behind it that answers as the test says."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa
import pytest

from penstock.errors import BatchRefused, Corruption, Unavailable
from penstock.links.inbox import Inbox
from penstock.model.batch import SEQUENCE
from penstock.model.finding import Place
from penstock.model.outcome import Count, Outcome, Stage, add_up
from penstock.model.pipeline import Filter, Model, RuleSeverity
from penstock.model.position import Position, Range
from penstock.model.settings import Settings
from penstock.observing.facts import LatencyStage, Timed, WentBack
from penstock.ports import Arrived, Original, OriginalsGone, ReceiverIsNew, RunContext, SenderIsNew, Taken
from penstock.protocol.messages import (
    AcknowledgmentPayload,
    AckStatus,
    AlphaBetaBatchTransfer,
    BatchErrorSummary,
    BatchMetadata,
    Excepted,
    MessageHeader,
    MessageType,
    Module,
    Priority,
    QualitySummary,
    TransformationSummary,
    ValidationSummary,
)
from penstock.protocol.sender import Answered
from penstock.testing.simulation.clocks import LifeClock, SeededChance, WallClock
from penstock.testing.simulation.loop import VirtualLoop
from penstock.transformation.stage import Transformation

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tests.transformation.conftest import Bench

    from penstock.model.outcome import DeadLetter
    from penstock.model.position import Mark
    from penstock.observing.facts import Fact
    from penstock.ports import Advance, Fate
    from penstock.protocol.messages import RecordDeliveryResult
    from penstock.protocol.sender import Outgoing
    from penstock.transformation.apply import Transformed, Transformer

    Summary = tuple[TransformationSummary, QualitySummary]

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
HEADER = MessageHeader("m", "c", Module.ALPHA, Module.BETA, MessageType.BATCH_TRANSFER, NOON)
PLACE = Place("doc.md")
DAY_S = 86_400.0
HOUR_MS = 3_600_000


@dataclass
class Notebook:
    """A book that writes down what it is told."""

    journal: list[str]
    error: Exception | None = None
    letters: list[DeadLetter] = field(default_factory=list)

    def dead_letter(self, letters: Sequence[DeadLetter]) -> None:
        if self.error is not None:
            raise self.error
        self.journal.append(f"letters {[letter.sequence for letter in letters]}")
        self.letters += letters

    def advance(self, source: str, advances: Sequence[Advance]) -> None:
        raise NotImplementedError

    def supersede(self, destination: str, source: str, partition: str, sequences: Sequence[int]) -> None:
        raise NotImplementedError

    def confirm(self, destination: str, marks: Sequence[Mark]) -> None:
        raise NotImplementedError

    def recall(self, destination: str, source: str, partition: str, mark: int) -> Mapping[int, Fate]:
        raise NotImplementedError


class Incoming:
    """An `Inbound`: what arrives from Alpha is put here. Alpha leaves once everything is answered."""

    def __init__(self, journal: list[str]) -> None:
        self._journal = journal
        self._batches: Inbox[Arrived] = Inbox()
        self._over = asyncio.Event()
        self._hurry = False
        self.leaves = True
        self.most_at_once = 0
        self.life = 1
        self.answers: list[AcknowledgmentPayload] = []
        self.answered_in: list[int] = []
        self.closed = False

    def arrive(self, *batches: Arrived) -> None:
        for batch in batches:
            self._batches.put(batch)

    def hurry(self) -> None:
        self._hurry = True
        self._batches.wake()

    def end(self) -> None:
        """Alpha closes: nothing more will come."""
        self._batches.close()

    def sender_is_new(self) -> None:
        self._batches.interrupt(SenderIsNew("the sending end began again"))

    def begin(self) -> None:
        self.life += 1
        self._batches.reset()
        self._journal.append("begin incoming")

    async def take(self, most: int | None = None) -> Taken:
        if not self._hurry:
            await self._batches.wait()
        found = self._batches.take_now(self.most_at_once or most)
        hurry, self._hurry = self._hurry, False
        return Taken(found, hurry, self._batches.closed and not self._batches)

    def answer(self, payloads: Sequence[AcknowledgmentPayload]) -> None:
        self.answers += payloads
        self.answered_in += [self.life] * len(payloads)
        self._journal.extend(f"answer {payload.batch_id}" for payload in payloads)

    def confirm(
        self, batch_id: str, exceptions: tuple[RecordDeliveryResult, ...], delivered: tuple[Range, ...]
    ) -> None:
        raise NotImplementedError

    def close(self) -> None:
        self.closed = True
        if self.leaves:
            self.leave()

    def leave(self) -> None:
        """Alpha has all it needs."""
        self._over.set()
        self._batches.wake()

    async def finished(self) -> None:
        await self._batches.interrupted(self._over)


@dataclass(frozen=True)
class Sent:
    """A batch as it left, when, and in which incarnation of the link."""

    at_s: float
    life: int
    metadata: BatchMetadata
    ids: tuple[int, ...]
    summary: Summary


def deliver(link: Link, metadata: BatchMetadata) -> None:
    """Answer that everything was delivered."""
    link.answer(metadata)


def hold(link: Link, metadata: BatchMetadata) -> None:
    """Answer nothing."""


def later(seconds: float) -> Callable[[Link, BatchMetadata], None]:
    """Answer after so long."""

    def answering(link: Link, metadata: BatchMetadata) -> None:
        asyncio.get_running_loop().call_later(seconds, link.answer, metadata)

    return answering


class Link:
    """An `Outbound` that hands every batch to `answering` at once."""

    def __init__(self, answering: Callable[[Link, BatchMetadata], None], journal: list[str]) -> None:
        self._answering = answering
        self._journal = journal
        self._answers: Inbox[Answered] = Inbox()
        self._owed: dict[str, BatchMetadata] = {}
        self._closed = False
        self.micro_batch_records = 1
        self.life = 0
        self.sent: list[Sent] = []
        self.hurried_at_s: list[float] = []

    def begin(self) -> None:
        self.life += 1
        self._owed.clear()
        self._closed = False
        self._answers.reset()
        self._journal.append("begin link")

    async def send(self, outgoing: Outgoing[Summary]) -> None:
        await asyncio.sleep(0)  # as a real one may: others go on meanwhile
        metadata = outgoing.metadata
        self._journal.append(f"send {metadata.destination} {metadata.range}")
        at_s = asyncio.get_running_loop().time()
        schema = SCHEMAS[metadata.destination]
        ids = pa.ipc.read_record_batch(pa.py_buffer(outgoing.payload), schema).column(SEQUENCE).to_pylist()
        self.sent.append(Sent(at_s, self.life, metadata, tuple(ids), outgoing.summary))
        self._owed[metadata.batch_id] = metadata
        self._answering(self, metadata)

    def answer(self, metadata: BatchMetadata, *excepted: Excepted, status: AckStatus = AckStatus.PROCESSED) -> None:
        """Say that all of a batch was delivered, but for these."""
        if self._owed.pop(metadata.batch_id, None) is not None:
            payload = AcknowledgmentPayload(
                metadata.batch_id, status, metadata.record_count, 0, 0, (), excepted, metadata.sequence_number
            )
            self._answers.put(Answered(metadata, payload))
        self._end()

    def receiver_is_new(self) -> None:
        self._answers.interrupt(ReceiverIsNew("the receiving end began again"))

    async def answered(self) -> Sequence[Answered]:
        return await self._answers.take()

    def hurry(self) -> None:
        self._journal.append("hurry")
        self.hurried_at_s.append(asyncio.get_running_loop().time())

    def close(self) -> None:
        self._closed = True
        self._journal.append("close link")
        self._end()

    def finish(self) -> None:
        self._journal.append("finish link")

    def _end(self) -> None:
        if self._closed and not self._owed:
            self._answers.close()


SCHEMAS: dict[str, pa.Schema] = {}
"""Of each destination, as its transformer has it."""


@dataclass
class Beta:
    """Beta between doubles, over models of a bench."""

    bench: Bench
    models: Sequence[Model]
    answering: Callable[[Link, BatchMetadata], None] = deliver
    settings: Mapping[str, object] = field(default_factory=lambda: {"BETA_GAMMA_BATCH_SIZE": 100})
    error: Exception | None = None
    journal: list[str] = field(default_factory=list)
    facts: list[Fact] = field(default_factory=list)
    transformers: dict[str, Any] = field(default_factory=dict)
    gone: set[int] = field(default_factory=set)
    """Records whose originals are not held any more."""

    def saw(self, fact: Fact) -> None:
        self.facts.append(fact)

    def of(self, kind: type[Any]) -> list[Any]:
        return [fact for fact in self.facts if isinstance(fact, kind)]

    def batch(
        self,
        start: int,
        *totals: int | None,
        end: int | None = None,
        partition: str = "a",
        began: int = 0,
        **rest: object,
    ) -> Arrived:
        """A batch of orders with these totals; it may account for more records than it holds."""
        rows = self.bench.rows(*({"total": total} for total in totals), start=start)
        records = pa.RecordBatch.from_pylist(rows.to_pylist(), schema=rows.schema)
        range_ = Range(start, start + len(totals) if end is None else end)
        position = Position(partition, began, f"byte {began}")
        metadata = BatchMetadata(f"{partition} {start}", start, len(totals), "", NOON, partition, range_, position)
        metadata = msgspec.structs.replace(metadata, **rest)
        transfer = AlphaBetaBatchTransfer(HEADER, metadata, memoryview(b""), ValidationSummary(0, 0, 0, 1.0))
        return Arrived(metadata, records, transfer)

    def run(self, *arriving: Arrived, during: Callable[[Beta], Any] | None = None) -> list[AcknowledgmentPayload]:
        """Transform what arrives until no more will come; `during` goes on beside it, and then ends the input."""
        self.book = Notebook(self.journal, self.error)
        made = {model.name: self.bench.transformer(model) for model in self.models}
        SCHEMAS.update({name: transformer.schema for name, transformer in made.items()})
        transformers = {**made, **self.transformers}
        loop = VirtualLoop(random.Random(1), lambda: None)

        async def work() -> None:
            self.incoming = Incoming(self.journal)
            self.incoming.arrive(*arriving)
            self.link = Link(self.answering, self.journal)
            clock, chance = LifeClock(WallClock(loop), loop, 0.0), SeededChance(random.Random(1))
            context = RunContext(self.book, Settings(self.settings), clock, chance, self)
            stage = Transformation("orders", transformers, self.incoming, self.link, self.originals, context)
            async with asyncio.timeout(DAY_S), asyncio.TaskGroup() as tasks:
                tasks.create_task(stage.run())
                if during is not None:
                    await during(self)
                self.incoming.end()
            assert self.incoming.closed

        try:
            loop.run_until_complete(work())
        finally:
            loop.close()
        assert self.journal[-1] == "finish link"
        return self.incoming.answers

    def originals(self, partition: str, sequences: Sequence[int]) -> list[Original]:
        if self.gone.intersection(sequences):
            self.gone.clear()
            raise OriginalsGone("ingestion went back")
        return [Original(f"{partition}{sequence}".encode(), sequence + 2) for sequence in sequences]

    def sent(self, destination: str) -> list[tuple[Range, int]]:
        return [
            (each.metadata.range, each.metadata.record_count)
            for each in self.link.sent
            if each.metadata.destination == destination
        ]


def model(bench: Bench, name: str, *filters: str, rule: str = "") -> Model:
    """A model of id and total; the filters' predicates are their reasons."""
    rules = (bench.rule(rule, RuleSeverity.ERROR, 1.0, "total"),) if rule else ()
    made = bench.model(bench.column("total"), filters=tuple(Filter(text, text, PLACE) for text in filters), rules=rules)
    return Model(name, made.schema, made.source, made.grain, made.columns, PLACE, filters=made.filters, rules=rules)


def counted(destination: str, delivered: int = 0, filtered: Mapping[str, int] = {}, dead: int = 0) -> list[Count]:
    return [
        Count(destination, Outcome.DELIVERED, Stage.DELIVERY, "", delivered),
        *(Count(destination, Outcome.FILTERED, Stage.TRANSFORMATION, why, n) for why, n in filtered.items()),
        Count(destination, Outcome.DEAD_LETTERED, Stage.TRANSFORMATION, "INT_BETA_004", dead),
    ]


# --- what becomes of a batch ------------------------------------------------------------------------------------------


def test_a_batch_is_answered_when_every_destination_has_settled_all_of_it(bench: Bench) -> None:
    held: list[BatchMetadata] = []

    def one_is_late(link: Link, metadata: BatchMetadata) -> None:
        held.append(metadata)
        if metadata.destination == "facts":
            link.answer(metadata)

    beta = Beta(bench, [model(bench, "facts"), model(bench, "audit")], one_is_late)

    async def during(beta: Beta) -> None:
        beta.incoming.hurry()
        await asyncio.sleep(10.0)
        assert len(held) == 2
        assert beta.incoming.answers == []
        beta.link.answer(next(metadata for metadata in held if metadata.destination == "audit"))

    (answer,) = beta.run(beta.batch(0, 1, 2, 3), during=during)
    assert (answer.batch_id, answer.sequence_number, answer.status) == ("a 0", 0, AckStatus.PROCESSED)
    assert answer.tally == add_up([*counted("facts", 3), *counted("audit", 3)])
    assert (answer.records_accepted, answer.records_rejected) == (3, 0)
    assert answer.processing_duration_ms == pytest.approx(10_000, abs=100)


def test_what_arrived_together_is_transformed_together_and_answered_batch_by_batch(bench: Bench) -> None:
    beta = Beta(bench, [model(bench, "facts", "total < 0")])
    answers = beta.run(beta.batch(0, 1, -2), beta.batch(2, -3), beta.batch(3, 4, end=9))
    assert sorted(answer.batch_id for answer in answers) == ["a 0", "a 2", "a 3"]
    assert {answer.batch_id: answer.tally for answer in answers} == {
        "a 0": add_up(counted("facts", 1, {"total < 0": 1})),
        "a 2": add_up(counted("facts", 0, {"total < 0": 1})),
        "a 3": add_up(counted("facts", 1)),
    }
    assert [fact.records for fact in beta.of(Timed) if fact.stage is LatencyStage.TRANSFORMATION] == [4]


def test_batches_are_answered_in_their_order(bench: Bench) -> None:
    beta = Beta(bench, [model(bench, "facts", "total < 0")])
    answers = beta.run(beta.batch(0, 1), beta.batch(1, -1), beta.batch(2, -1), beta.batch(3, 1))
    assert [answer.batch_id for answer in answers] == ["a 0", "a 1", "a 2", "a 3"]


def test_several_input_batches_make_one_output_batch_and_its_answer_is_divided_by_record(bench: Bench) -> None:
    duplicate = Excepted("facts", Outcome.DEAD_LETTERED, Stage.DELIVERY, "INT_GAMMA_003", (1, 3))
    superseded = Excepted("facts", Outcome.FILTERED, Stage.DELIVERY, "superseded", (4,))
    beta = Beta(
        bench,
        [model(bench, "facts")],
        lambda link, metadata: link.answer(metadata, duplicate, superseded),
    )
    first, second, third = beta.run(beta.batch(0, 1, 2), beta.batch(2, 3), beta.batch(3, 4, 5))
    assert beta.sent("facts") == [(Range(0, 5), 5)]
    dead = Count("facts", Outcome.DEAD_LETTERED, Stage.DELIVERY, "INT_GAMMA_003", 1)
    late = Count("facts", Outcome.FILTERED, Stage.DELIVERY, "superseded", 1)
    assert first.tally == add_up([*counted("facts", 1), dead])
    assert second.tally == add_up(counted("facts", 1))
    assert third.tally == add_up([dead, late])
    assert [(each.reason, each.sequences) for each in first.excepted] == [("INT_GAMMA_003", (1,))]
    assert second.excepted == ()
    assert [(each.reason, each.sequences) for each in third.excepted] == [
        ("INT_GAMMA_003", (3,)),
        ("superseded", (4,)),
    ]
    assert [(each.records_accepted, each.records_rejected) for each in (first, second, third)] == [
        (1, 1),
        (1, 0),
        (1, 1),
    ]


def test_what_was_left_out_here_is_named_as_well(bench: Bench) -> None:
    beta = Beta(bench, [model(bench, "facts", "total = 0", rule="total >= 0"), model(bench, "audit", "total = 0")])
    (answer,) = beta.run(beta.batch(5, 1, 0, -1))
    named = {(each.destination, each.outcome, each.reason): each.sequences for each in answer.excepted}
    assert named == {
        ("facts", Outcome.FILTERED, "total = 0"): (6,),
        ("audit", Outcome.FILTERED, "total = 0"): (6,),
        ("facts", Outcome.DEAD_LETTERED, "INT_BETA_004"): (7,),
    }
    assert (answer.records_accepted, answer.records_rejected) == (2, 1)


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_beta_gamma_batch_size_is_the_most_that_a_batch_holds(bench: Bench, size: int) -> None:
    beta = Beta(bench, [model(bench, "facts", "total < 0")], settings={"BETA_GAMMA_BATCH_SIZE": size})
    beta.run(beta.batch(0, 1, -1, 2, 3), beta.batch(4, -1, 4, 5, -1))
    assert (
        beta.sent("facts")
        == {
            1: [(Range(0, 2), 1), (Range(2, 3), 1), (Range(3, 4), 1), (Range(4, 6), 1), (Range(6, 8), 1)],
            2: [(Range(0, 3), 2), (Range(3, 6), 2), (Range(6, 8), 1)],
            3: [(Range(0, 4), 3), (Range(4, 8), 2)],
            100: [(Range(0, 8), 5)],
        }[size]
    )
    assert [id_ for each in beta.link.sent for id_ in each.ids] == [0, 2, 3, 5, 6]


def test_a_range_that_left_nothing_is_taken_in_by_the_next_that_did(bench: Bench) -> None:
    """Gamma's marks need ranges without gaps: what was filtered has no batch of its own."""
    beta = Beta(bench, [model(bench, "facts", "total < 0")], settings={"BETA_GAMMA_BATCH_SIZE": 1})
    beta.run(beta.batch(0, 1), beta.batch(1, -1, -1), beta.batch(3, -1), beta.batch(4, 2), beta.batch(5, -1))
    assert beta.sent("facts") == [(Range(0, 1), 1), (Range(1, 5), 1)]


def test_records_that_alpha_settled_itself_leave_a_gap_that_is_taken_in_as_well(bench: Bench) -> None:
    beta = Beta(bench, [model(bench, "facts")], settings={"BETA_GAMMA_BATCH_SIZE": 1})
    answers = beta.run(beta.batch(0, 1), beta.batch(4, 2))
    assert beta.sent("facts") == [(Range(0, 1), 1), (Range(1, 5), 1)]
    assert [answer.batch_id for answer in answers] == ["a 0", "a 4"]


def test_ranges_are_followed_by_partition_and_destination(bench: Bench) -> None:
    models = [model(bench, "facts", "total < 0"), model(bench, "audit")]
    beta = Beta(bench, models, settings={"BETA_GAMMA_BATCH_SIZE": 1})
    beta.run(beta.batch(0, 1), beta.batch(7, -1, partition="b"), beta.batch(1, -1), beta.batch(2, 3))
    assert beta.sent("facts") == [(Range(0, 1), 1), (Range(1, 3), 1)]
    assert sorted(beta.sent("audit")) == [(Range(0, 1), 1), (Range(1, 2), 1), (Range(2, 3), 1), (Range(7, 8), 1)]
    assert [each.metadata.sequence_number for each in beta.link.sent] == list(range(6))


def test_partitions_are_never_joined(bench: Bench) -> None:
    beta = Beta(bench, [model(bench, "facts")])
    beta.run(beta.batch(0, 1), beta.batch(0, 2, partition="b"), beta.batch(1, 3))
    sent = [(each.metadata.partition, each.ids) for each in beta.link.sent]
    assert sent == [("a", (0,)), ("b", (0,)), ("a", (1,))]  # and none overtakes another


def test_where_everything_is_filtered_the_answer_does_not_wait_for_gamma(bench: Bench) -> None:
    beta = Beta(bench, [model(bench, "nothing", "TRUE")])
    (answer,) = beta.run(beta.batch(0, 1, 2))
    assert beta.link.sent == []
    assert answer.tally == add_up(counted("nothing", 0, {"TRUE": 2}))


def test_dead_letters_are_durable_before_anything_of_their_batch_is_sent(bench: Bench) -> None:
    beta = Beta(bench, [model(bench, "facts", rule="total >= 0"), model(bench, "audit")])
    (answer,) = beta.run(beta.batch(5, 1, -1, 2))
    assert beta.journal[1] == "letters [6]"
    (letter,) = beta.book.letters
    assert (letter.record_id, letter.destination, letter.stage) == ("orders/a/6", "facts", Stage.TRANSFORMATION)
    assert (letter.original, letter.line) == (b"a6", 8)
    assert answer.tally == add_up([*counted("facts", 2, dead=1), *counted("audit", 3)])
    assert answer.records_rejected == 1


def test_a_batch_tells_what_was_refused_of_its_range_here_and_before(bench: Bench) -> None:
    upstream = BatchErrorSummary(1, {"INT_ALPHA_002": 1}, ("orders/a/4",))
    beta = Beta(bench, [model(bench, "facts", rule="total >= 0"), model(bench, "audit")])
    beta.run(beta.batch(0, 1, -1), beta.batch(2, 1, 1, end=5, errors=upstream))
    told = {each.metadata.destination: each.metadata.errors for each in beta.link.sent}
    assert told["facts"] == BatchErrorSummary(2, {"INT_ALPHA_002": 1, "INT_BETA_004": 1}, ("orders/a/1", "orders/a/4"))
    assert told["audit"] == upstream


def test_what_was_refused_before_is_told_once_however_many_batches_an_input_makes(bench: Bench) -> None:
    upstream = BatchErrorSummary(1, {"INT_ALPHA_002": 1}, ("orders/a/3",))
    beta = Beta(bench, [model(bench, "facts", rule="total >= 0")], settings={"BETA_GAMMA_BATCH_SIZE": 1})
    beta.run(beta.batch(0, 1, 1, -1, end=4, errors=upstream))
    first, second = (each.metadata.errors for each in beta.link.sent)
    assert first == upstream
    assert second == BatchErrorSummary(1, {"INT_BETA_004": 1}, ("orders/a/2",))


def test_a_batch_of_which_nothing_was_refused_tells_of_no_errors(bench: Bench) -> None:
    beta = Beta(bench, [model(bench, "facts", "total < 0")])
    beta.run(beta.batch(0, 1, -1))
    assert [each.metadata.errors for each in beta.link.sent] == [None]


def test_a_batch_says_where_reading_must_resume_to_see_what_comes_after_it(bench: Bench) -> None:
    beta = Beta(bench, [model(bench, "facts")])
    beta.run(beta.batch(4, 1, began=3), beta.batch(5, 1, began=5))
    (sent,) = beta.link.sent
    assert sent.metadata.position == Position("a", 5, "byte 5")


def test_a_batch_that_goes_back_is_corruption(bench: Bench) -> None:
    beta = Beta(bench, [model(bench, "facts")])
    with pytest.RaisesGroup(pytest.RaisesExc(Corruption, match="2 had to follow"), flatten_subgroups=True):
        beta.run(beta.batch(0, 1, 2), beta.batch(1, 4))


def test_a_book_that_cannot_keep_a_letter_stops_everything_before_it_is_sent(bench: Bench) -> None:
    error = Unavailable("INT_LEDGER_001", "the disk is full")
    beta = Beta(bench, [model(bench, "facts", rule="total >= 0")], error=error)
    with pytest.RaisesGroup(Unavailable, flatten_subgroups=True):
        beta.run(beta.batch(0, 1, -1))
    assert beta.journal == ["begin link"]


# --- lingering --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("timeout_ms", [0, 300, 5_000])
def test_beta_gamma_flush_timeout_ms_is_how_long_rows_wait_for_more(bench: Bench, timeout_ms: int) -> None:
    settings = {"BETA_GAMMA_BATCH_SIZE": 100, "BETA_GAMMA_FLUSH_TIMEOUT_MS": timeout_ms}
    beta = Beta(bench, [model(bench, "facts")], settings=settings)

    async def during(beta: Beta) -> None:
        beta.incoming.arrive(beta.batch(0, 1))
        await asyncio.sleep(0.2)
        beta.incoming.arrive(beta.batch(1, 2))
        await asyncio.sleep(60.0)

    beta.run(during=during)
    assert [each.ids for each in beta.link.sent] == ([(0,), (1,)] if timeout_ms == 0 else [(0, 1)])
    assert beta.link.sent[0].at_s == pytest.approx(timeout_ms / 1000, abs=0.1)
    assert all(each.metadata.flush for each in beta.link.sent)


def test_rows_are_not_kept_waiting_by_others_that_keep_coming(bench: Bench) -> None:
    """One row in twenty is for `rare`; others come far more often than the timeout."""
    models = [model(bench, "rare", "total <> 0"), model(bench, "facts")]
    settings = {"BETA_GAMMA_BATCH_SIZE": 1_000, "BETA_GAMMA_FLUSH_TIMEOUT_MS": 1_000}
    beta = Beta(bench, models, settings=settings)

    async def during(beta: Beta) -> None:
        for number in range(60):
            beta.incoming.arrive(beta.batch(number, number % 20))
            await asyncio.sleep(0.1)

    beta.run(during=during)
    rare = [each for each in beta.link.sent if each.metadata.destination == "rare"]
    assert [each.ids for each in rare] == [(0,), (20,), (40,)]
    assert [each.at_s for each in rare] == pytest.approx([1.0, 3.0, 5.0], abs=0.2)


def test_rows_are_flushed_though_there_is_always_something_to_take(bench: Bench) -> None:
    settings = {"BETA_GAMMA_BATCH_SIZE": 1_000, "BETA_GAMMA_FLUSH_TIMEOUT_MS": 50}
    beta = Beta(bench, [model(bench, "facts")], settings=settings)

    async def during(beta: Beta) -> None:
        beta.incoming.most_at_once = 2

    beta.run(*(beta.batch(number, 1) for number in range(60)), during=during)
    waited, *after = beta.link.sent
    assert 0.05 <= waited.at_s < 0.1
    assert after, "others were still to come"


def test_the_end_of_the_input_waits_for_nothing(bench: Bench) -> None:
    settings = {"BETA_GAMMA_BATCH_SIZE": 100, "BETA_GAMMA_FLUSH_TIMEOUT_MS": HOUR_MS}
    beta = Beta(bench, [model(bench, "facts")], settings=settings)
    beta.run(beta.batch(0, 1))
    assert beta.link.sent[0].at_s < 1.0


def test_a_hurry_flushes_everything_and_is_passed_on(bench: Bench) -> None:
    settings = {"BETA_GAMMA_BATCH_SIZE": 100, "BETA_GAMMA_FLUSH_TIMEOUT_MS": HOUR_MS}
    beta = Beta(bench, [model(bench, "facts"), model(bench, "audit")], settings=settings)

    async def during(beta: Beta) -> None:
        await asyncio.sleep(7.0)
        assert beta.link.sent == []
        beta.incoming.hurry()
        await asyncio.sleep(7.0)

    beta.run(beta.batch(0, 1), during=during)
    assert [each.at_s for each in beta.link.sent] == pytest.approx([7.0] * 2, abs=0.1)
    assert beta.link.hurried_at_s == pytest.approx([7.0], abs=0.1)
    assert beta.journal.index("hurry") > max(beta.journal.index(f"send {name} [0, 1)") for name in ("facts", "audit"))


@pytest.mark.parametrize("urgency", [{"flush": True}, {"priority": Priority.CRITICAL}])
def test_an_urgent_batch_takes_along_what_waits_of_its_partition(bench: Bench, urgency: dict[str, Any]) -> None:
    settings = {"BETA_GAMMA_BATCH_SIZE": 100, "BETA_GAMMA_FLUSH_TIMEOUT_MS": 30_000}
    beta = Beta(bench, [model(bench, "facts")], settings=settings)

    async def during(beta: Beta) -> None:
        await asyncio.sleep(1.0)
        beta.incoming.arrive(beta.batch(1, 2, **urgency))
        await asyncio.sleep(60.0)

    beta.run(beta.batch(0, 1), during=during)
    (first,) = beta.link.sent
    assert (first.metadata.partition, first.ids) == ("a", (0, 1))
    assert first.at_s == pytest.approx(1.0, abs=0.1)
    assert first.metadata.flush
    assert first.metadata.priority is urgency.get("priority", Priority.NORMAL)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_critical_records_are_critical_all_the_way_whatever_batches_they_fill(bench: Bench, count: int) -> None:
    settings = {"BETA_GAMMA_BATCH_SIZE": 2, "BETA_GAMMA_FLUSH_TIMEOUT_MS": HOUR_MS}
    beta = Beta(bench, [model(bench, "facts")], settings=settings)

    async def during(_: Beta) -> None:
        await asyncio.sleep(1.0)

    beta.run(beta.batch(0, *range(1, count + 1), priority=Priority.CRITICAL), during=during)
    assert {each.metadata.priority for each in beta.link.sent} == {Priority.CRITICAL}
    assert [each.metadata.flush for each in beta.link.sent][-1] is True
    assert beta.link.sent[-1].at_s < 1.0
    assert sum(len(each.ids) for each in beta.link.sent) == count


def test_a_full_batch_waits_for_nothing(bench: Bench) -> None:
    settings = {"BETA_GAMMA_BATCH_SIZE": 2, "BETA_GAMMA_FLUSH_TIMEOUT_MS": HOUR_MS}
    beta = Beta(bench, [model(bench, "facts")], settings=settings)

    async def during(_: Beta) -> None:
        await asyncio.sleep(1.0)

    beta.run(beta.batch(0, 1, 2, 3), during=during)
    assert [each.ids for each in beta.link.sent] == [(0, 1), (2,)]
    assert beta.link.sent[0].at_s < 1.0 <= beta.link.sent[1].at_s


# --- what cannot be worked on -----------------------------------------------------------------------------------------


class Poisoned:
    """A transformer that refuses every batch in which one of these records is."""

    def __init__(self, inner: Transformer, poison: set[int]) -> None:
        self._inner = inner
        self._poison = poison
        self.schema = inner.schema
        self.calls = 0

    def transform(self, rows: pa.Table) -> Transformed:
        self.calls += 1
        found = self._poison.intersection(rows.column(SEQUENCE).to_pylist())
        if found:
            raise BatchRefused("INT_LINK_010", f"record {min(found)} is poison")
        return self._inner.transform(rows)

    def summary(self, records: int) -> TransformationSummary:
        return self._inner.summary(records)


def poisoned(bench: Bench, *poison: int, models: Sequence[str] = ("facts",)) -> Beta:
    beta = Beta(bench, [model(bench, name) for name in models])
    beta.transformers = {"facts": Poisoned(bench.transformer(beta.models[0]), set(poison))}
    return beta


def refused(destination: str, records: int) -> Count:
    return Count(destination, Outcome.DEAD_LETTERED, Stage.TRANSFORMATION, "INT_LINK_010", records)


def test_a_batch_that_is_refused_as_a_whole_is_rejected_and_every_record_of_it_named(bench: Bench) -> None:
    beta = poisoned(bench, 2, 3, 4)
    first, second, third = beta.run(beta.batch(0, 1, 1), beta.batch(2, 1, 1, 1), beta.batch(5, 1))
    assert (first.status, third.status) == (AckStatus.PROCESSED, AckStatus.PROCESSED)
    assert (second.status, second.reason) == (AckStatus.REJECTED, "record 2 is poison")
    assert second.tally == (refused("facts", 3),)
    assert [(each.reason, each.sequences) for each in second.excepted] == [("INT_LINK_010", (2, 3, 4))]
    assert (second.records_accepted, second.records_rejected) == (0, 3)
    assert beta.sent("facts") == [(Range(0, 6), 3)]
    assert beta.link.sent[0].ids == (0, 1, 5)


def test_letters_of_refused_records_are_durable_before_anything_is_answered(bench: Bench) -> None:
    beta = poisoned(bench, 1, models=("facts", "audit"))
    (answer,) = beta.run(beta.batch(0, 1, 1, 1))
    assert beta.journal[1] == "letters [1]"
    (letter,) = beta.book.letters
    assert (letter.destination, letter.stage, letter.original) == ("", Stage.TRANSFORMATION, b"a1")
    assert [(error.code, error.message) for error in letter.errors] == [("INT_LINK_010", "record 1 is poison")]
    assert answer.tally == add_up(
        [refused("facts", 1), refused("audit", 1), *counted("facts", 2), *counted("audit", 2)]
    )


def test_records_in_the_company_of_a_refused_one_go_on_and_their_batch_is_processed(bench: Bench) -> None:
    beta = poisoned(bench, 4)
    (answer,) = beta.run(beta.batch(0, *range(1, 9)))
    assert (answer.status, answer.reason) == (AckStatus.PROCESSED, "")
    assert answer.tally == add_up([refused("facts", 1), *counted("facts", 7)])
    assert beta.link.sent[0].ids == (0, 1, 2, 3, 5, 6, 7)
    assert beta.transformers["facts"].calls <= 12, "found by halves"


def test_where_all_is_refused_nothing_is_sent_and_all_is_answered(bench: Bench) -> None:
    beta = poisoned(bench, *range(6))
    answers = beta.run(beta.batch(0, 1, 1), beta.batch(2, 1), beta.batch(3, 1, 1, 1))
    assert {answer.status for answer in answers} == {AckStatus.REJECTED}
    assert beta.link.sent == []


def test_a_batch_that_gamma_rejects_is_accounted_for_by_record(bench: Bench) -> None:
    def reject(link: Link, metadata: BatchMetadata) -> None:
        excepted = Excepted("facts", Outcome.DEAD_LETTERED, Stage.DELIVERY, "INT_LINK_010", (0, 1, 2))
        link.answer(metadata, excepted, status=AckStatus.REJECTED)

    beta = Beta(bench, [model(bench, "facts")], reject)
    first, second = beta.run(beta.batch(0, 1), beta.batch(1, 1, 1))
    assert [(each.status, each.records_rejected) for each in (first, second)] == [
        (AckStatus.PROCESSED, 1),
        (AckStatus.PROCESSED, 2),
    ]


# --- going back -------------------------------------------------------------------------------------------------------


def test_when_alpha_is_another_it_forgets_and_begins_again_towards_gamma(bench: Bench) -> None:
    def first_life_is_silent(link: Link, metadata: BatchMetadata) -> None:
        if link.life > 1:
            link.answer(metadata)

    beta = Beta(bench, [model(bench, "facts")], first_life_is_silent, {"BETA_GAMMA_BATCH_SIZE": 2})

    async def during(beta: Beta) -> None:
        await asyncio.sleep(1.0)
        beta.incoming.sender_is_new()
        beta.incoming.arrive(beta.batch(0, 1, 2, 3), beta.batch(3, 4))

    answers = beta.run(beta.batch(0, 1, 2), beta.batch(2, 3), during=during)
    assert [answer.batch_id for answer in answers] == ["a 0", "a 3"]
    assert [(each.life, each.ids) for each in beta.link.sent] == [(1, (0, 1)), (2, (0, 1)), (2, (2, 3))]
    assert [each.metadata.sequence_number for each in beta.link.sent] == [0, 0, 1]
    assert "begin incoming" not in beta.journal, "Alpha knows: it was Alpha that began again"
    assert beta.of(WentBack) == [WentBack("orders", Module.BETA, "the sending end began again")]


def test_rows_that_lingered_are_forgotten_with_the_rest(bench: Bench) -> None:
    beta = Beta(bench, [model(bench, "facts")])

    async def during(beta: Beta) -> None:
        await asyncio.sleep(1.0)
        beta.incoming.sender_is_new()
        beta.incoming.arrive(beta.batch(0, 1))
        await asyncio.sleep(1.0)

    beta.run(beta.batch(0, 1), during=during)
    assert [each.ids for each in beta.link.sent] == [(0,)]


def test_when_gamma_is_another_it_forgets_and_tells_alpha_to_go_back(bench: Bench) -> None:
    beta = Beta(bench, [model(bench, "facts")], hold, {"BETA_GAMMA_BATCH_SIZE": 1})

    async def during(beta: Beta) -> None:
        await asyncio.sleep(1.0)
        beta.link.answer(beta.link.sent[0].metadata)
        await asyncio.sleep(1.0)
        beta.link._answering = deliver
        beta.link.receiver_is_new()
        await asyncio.sleep(1.0)
        beta.incoming.arrive(beta.batch(1, 2), beta.batch(2, 3))

    answers = beta.run(beta.batch(0, 1), beta.batch(1, 2), during=during)
    assert [answer.batch_id for answer in answers] == ["a 0", "a 1", "a 2"]
    assert beta.incoming.answered_in == [1, 2, 2]
    assert [(each.life, each.ids) for each in beta.link.sent] == [(1, (0,)), (1, (1,)), (2, (1,)), (2, (2,))]
    assert beta.journal.count("begin incoming") == 1
    assert beta.of(WentBack) == [WentBack("orders", Module.BETA, "the receiving end began again")]


def test_a_batch_that_may_not_be_sent_any_more_makes_it_go_back_as_well(bench: Bench) -> None:
    def dies_once(link: Link, metadata: BatchMetadata) -> None:
        if link.life == 1:
            raise ReceiverIsNew("it died")
        link.answer(metadata)

    beta = Beta(bench, [model(bench, "facts")], dies_once)

    async def during(beta: Beta) -> None:
        beta.incoming.hurry()
        await asyncio.sleep(1.0)
        beta.incoming.arrive(beta.batch(0, 1))

    (answer,) = beta.run(beta.batch(0, 1), during=during)
    assert answer.batch_id == "a 0"
    assert beta.of(WentBack) == [WentBack("orders", Module.BETA, "it died")]


def test_when_an_original_is_gone_both_neighbours_are_told(bench: Bench) -> None:
    beta = Beta(bench, [model(bench, "facts", rule="total >= 0")])
    beta.gone = {1}

    async def during(beta: Beta) -> None:
        await asyncio.sleep(1.0)
        beta.incoming.arrive(beta.batch(0, 1, -1))

    (answer,) = beta.run(beta.batch(0, 1, -1), during=during)
    assert answer.tally == add_up(counted("facts", 1, dead=1))
    assert beta.incoming.answered_in == [2]
    assert beta.journal.count("begin link") == 2
    assert beta.of(WentBack) == [WentBack("orders", Module.BETA, "ingestion went back")]


def test_both_neighbours_may_die_at_once(bench: Bench) -> None:
    beta = Beta(bench, [model(bench, "facts")], hold, {"BETA_GAMMA_BATCH_SIZE": 1})

    async def during(beta: Beta) -> None:
        await asyncio.sleep(1.0)
        beta.link._answering = deliver
        beta.link.receiver_is_new()
        beta.incoming.sender_is_new()
        await asyncio.sleep(1.0)
        beta.incoming.arrive(beta.batch(0, 1))

    (answer,) = beta.run(beta.batch(0, 1), during=during)
    assert answer.batch_id == "a 0"
    assert beta.link.sent[-1].life == beta.link.life


def test_an_alpha_that_dies_after_its_last_batch_was_taken_is_heard_when_it_comes_back(bench: Bench) -> None:
    beta = Beta(bench, [model(bench, "facts")], hold)

    async def during(beta: Beta) -> None:
        beta.incoming.end()
        await asyncio.sleep(1.0)
        assert [each.ids for each in beta.link.sent] == [(0,)]
        beta.link._answering = deliver
        beta.incoming.sender_is_new()
        await asyncio.sleep(1.0)
        beta.incoming.arrive(beta.batch(0, 1), beta.batch(1, 2))

    answers = beta.run(beta.batch(0, 1), during=during)
    assert [answer.batch_id for answer in answers] == ["a 0", "a 1"]


def test_so_is_one_that_dies_when_all_is_answered_and_it_has_not_heard_so(bench: Bench) -> None:
    beta = Beta(bench, [model(bench, "facts")])

    async def during(beta: Beta) -> None:
        beta.incoming.leaves = False
        beta.incoming.end()
        await asyncio.sleep(1.0)
        assert len(beta.incoming.answers) == 1
        assert "finish link" not in beta.journal
        beta.incoming.sender_is_new()
        beta.incoming.leaves = True
        await asyncio.sleep(1.0)
        beta.incoming.arrive(beta.batch(0, 1))

    answers = beta.run(beta.batch(0, 1), during=during)
    assert [answer.batch_id for answer in answers] == ["a 0", "a 0"]
    assert [each.life for each in beta.link.sent] == [1, 2]
    assert beta.journal.count("finish link") == 1


@pytest.mark.parametrize("seconds", [0.0, 0.003, 0.006, 0.01, 0.5])
def test_whenever_alpha_dies_everything_is_answered_once_in_its_new_life(bench: Bench, seconds: float) -> None:
    beta = Beta(bench, [model(bench, "facts", "total = 0")], later(0.004), {"BETA_GAMMA_BATCH_SIZE": 2})
    before: list[int] = []

    async def during(beta: Beta) -> None:
        await asyncio.sleep(seconds)
        beta.incoming.sender_is_new()
        before.append(len(beta.incoming.answers))
        beta.incoming.arrive(*(beta.batch(number, number % 3) for number in range(7)))

    answers = beta.run(*(beta.batch(number, number % 3) for number in range(7)), during=during)
    again = [answer.batch_id for answer in answers[before[0] :]]
    assert again[-7:] == [f"a {number}" for number in range(7)]
