"""Beta by itself: batches made by hand before it, an end made by hand behind it that answers as the test says."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from penstock.errors import Corruption, Unavailable
from penstock.links.inbox import Inbox
from penstock.model.finding import Place
from penstock.model.outcome import Count, Outcome, Stage, add_up
from penstock.model.pipeline import Filter, Model, RuleSeverity
from penstock.model.position import Position, Range
from penstock.model.settings import Settings
from penstock.observing.facts import Nobody
from penstock.orchestration.clock import SystemChance, SystemClock
from penstock.ports import Arrived, Original, RunContext
from penstock.protocol.messages import (
    AcknowledgmentPayload,
    AckStatus,
    AlphaBetaBatchTransfer,
    BatchMetadata,
    MessageHeader,
    MessageType,
    Module,
    QualitySummary,
    TransformationSummary,
    ValidationSummary,
)
from penstock.protocol.sender import Answered
from penstock.transformation.stage import Transformation

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tests.transformation.conftest import Bench

    from penstock.model.outcome import DeadLetter
    from penstock.model.position import Mark
    from penstock.ports import Advance, Fate
    from penstock.protocol.messages import RecordDeliveryResult
    from penstock.protocol.sender import Outgoing

    Summary = tuple[TransformationSummary, QualitySummary]

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
HEADER = MessageHeader("m", "c", Module.ALPHA, Module.BETA, MessageType.BATCH_TRANSFER, NOON)
PLACE = Place("doc.md")


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


@dataclass
class Incoming:
    """The receiving end of the hop from Alpha."""

    batches: Inbox[Arrived]
    answers: list[AcknowledgmentPayload] = field(default_factory=list)
    closed: bool = False

    async def take(self, most: int | None = None) -> Sequence[Arrived]:
        return await self.batches.take(most)

    def answer(self, payloads: Sequence[AcknowledgmentPayload]) -> None:
        self.answers += payloads

    def confirm(
        self, batch_id: str, exceptions: tuple[RecordDeliveryResult, ...], delivered: tuple[Range, ...]
    ) -> None:
        raise NotImplementedError

    def close(self) -> None:
        self.closed = True


def deliver_all(metadata: BatchMetadata) -> tuple[Count, ...]:
    return (Count(metadata.destination, Outcome.DELIVERED, Stage.DELIVERY, "", metadata.record_count),)


class Link:
    """The sending end of the hop to Gamma. Answers all it was sent when it is closed, the last one first."""

    def __init__(self, tally: Callable[[BatchMetadata], tuple[Count, ...]], journal: list[str]) -> None:
        self._tally = tally
        self._journal = journal
        self.answers: Inbox[Answered] = Inbox()
        self.sent: list[Outgoing[Summary]] = []

    async def send(self, outgoing: Outgoing[Summary]) -> None:
        self._journal.append(f"send {outgoing.metadata.destination} {outgoing.metadata.range}")
        self.sent.append(outgoing)

    def close(self) -> None:
        for outgoing in reversed(self.sent):
            records = outgoing.metadata.record_count
            payload = AcknowledgmentPayload(
                outgoing.metadata.batch_id, AckStatus.PROCESSED, records, 0, 0, self._tally(outgoing.metadata)
            )
            self.answers.put(Answered(outgoing.metadata, payload))
        self.answers.close()


@dataclass
class Beta:
    """Beta between doubles, over models of a bench."""

    bench: Bench
    models: Sequence[Model]
    tally: Callable[[BatchMetadata], tuple[Count, ...]] = deliver_all
    batch_size: int = 100
    error: Exception | None = None
    journal: list[str] = field(default_factory=list)

    def batch(
        self, start: int, *totals: int | None, end: int | None = None, partition: str = "a", began: int = 0
    ) -> Arrived:
        """A batch of orders with these totals; it may account for more records than it holds."""
        rows = self.bench.rows(*({"total": total} for total in totals), start=start)
        records = pa.RecordBatch.from_pylist(rows.to_pylist(), schema=rows.schema)
        range_ = Range(start, start + len(totals) if end is None else end)
        position = Position(partition, began, f"byte {began}")
        metadata = BatchMetadata(f"{partition} {start}", 0, len(totals), "", NOON, partition, range_, position)
        transfer = AlphaBetaBatchTransfer(HEADER, metadata, memoryview(b""), ValidationSummary(0, 0, 0, 1.0))
        return Arrived(metadata, records, transfer)

    def run(self, *arriving: Arrived) -> list[AcknowledgmentPayload]:
        """Transform what arrives until no more will come; return the answers to Alpha."""
        self.book = Notebook(self.journal, self.error)
        transformers = {model.name: self.bench.transformer(model) for model in self.models}

        async def work() -> list[AcknowledgmentPayload]:
            batches: Inbox[Arrived] = Inbox()
            for arrived in arriving:
                batches.put(arrived)
            batches.close()
            incoming = Incoming(batches)
            self.link = Link(self.tally, self.journal)
            settings = Settings({"BETA_GAMMA_BATCH_SIZE": self.batch_size})
            context = RunContext(self.book, settings, SystemClock(), SystemChance(), Nobody())
            stage = Transformation("orders", transformers, incoming, self.link, self.originals, context)
            async with asyncio.timeout(10):
                await stage.run()
            assert incoming.closed
            return incoming.answers

        return asyncio.run(work())

    @staticmethod
    def originals(partition: str, sequences: Sequence[int]) -> list[Original]:
        return [Original(f"{partition}{sequence}".encode(), sequence + 2) for sequence in sequences]

    def sent(self, destination: str) -> list[tuple[Range, int]]:
        return [
            (out.metadata.range, out.metadata.record_count)
            for out in self.link.sent
            if out.metadata.destination == destination
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


def test_a_batch_is_answered_when_every_destination_has_settled_all_of_it(bench: Bench) -> None:
    beta = Beta(bench, [model(bench, "facts"), model(bench, "audit")])
    (answer,) = beta.run(beta.batch(0, 1, 2, 3))
    assert answer.batch_id == "a 0"
    assert answer.status is AckStatus.PROCESSED
    assert answer.tally == add_up([*counted("facts", 3), *counted("audit", 3)])
    assert (answer.records_accepted, answer.records_rejected) == (3, 0)


def test_what_arrived_together_is_transformed_together_and_answered_batch_by_batch(bench: Bench) -> None:
    beta = Beta(bench, [model(bench, "facts", "total < 0")])
    answers = beta.run(beta.batch(0, 1, -2), beta.batch(2, -3), beta.batch(3, 4, end=9))
    assert [answer.batch_id for answer in answers] == ["a 0", "a 2", "a 3"]
    assert [answer.tally for answer in answers] == [
        add_up(counted("facts", 1, {"total < 0": 1})),
        add_up(counted("facts", 0, {"total < 0": 1})),
        add_up(counted("facts", 1)),
    ]


def test_output_batches_keep_to_their_size_and_together_cover_their_input(bench: Bench) -> None:
    beta = Beta(bench, [model(bench, "facts", "total < 0")], batch_size=2)
    beta.run(beta.batch(0, 1, -1, 2, 3, -1, 4, 5, -1))
    assert beta.sent("facts") == [(Range(0, 3), 2), (Range(3, 6), 2), (Range(6, 8), 1)]


def test_a_range_that_left_nothing_is_taken_in_by_the_next_that_did(bench: Bench) -> None:
    """Gamma's marks need ranges without gaps: what was filtered has no batch of its own."""
    beta = Beta(bench, [model(bench, "facts", "total < 0")])
    beta.run(beta.batch(0, 1), beta.batch(1, -1, -1), beta.batch(3, -1), beta.batch(4, 2), beta.batch(5, -1))
    assert beta.sent("facts") == [(Range(0, 1), 1), (Range(1, 5), 1)]


def test_ranges_are_followed_by_partition_and_destination(bench: Bench) -> None:
    beta = Beta(bench, [model(bench, "facts", "total < 0"), model(bench, "audit")])
    beta.run(beta.batch(0, 1), beta.batch(7, -1, partition="b"), beta.batch(1, -1), beta.batch(2, 3))
    assert beta.sent("facts") == [(Range(0, 1), 1), (Range(1, 3), 1)]
    assert sorted(beta.sent("audit")) == [(Range(0, 1), 1), (Range(1, 2), 1), (Range(2, 3), 1), (Range(7, 8), 1)]


def test_where_everything_is_filtered_the_answer_does_not_wait_for_gamma(bench: Bench) -> None:
    beta = Beta(bench, [model(bench, "nothing", "TRUE")])
    (answer,) = beta.run(beta.batch(0, 1, 2))
    assert beta.link.sent == []
    assert answer.tally == add_up(counted("nothing", 0, {"TRUE": 2}))


def test_dead_letters_are_durable_before_anything_of_their_batch_is_sent(bench: Bench) -> None:
    beta = Beta(bench, [model(bench, "facts", rule="total >= 0"), model(bench, "audit")])
    (answer,) = beta.run(beta.batch(5, 1, -1, 2))
    assert beta.journal[0] == "letters [6]"
    (letter,) = beta.book.letters
    assert (letter.record_id, letter.destination, letter.stage) == ("orders/a/6", "facts", Stage.TRANSFORMATION)
    assert (letter.original, letter.line) == (b"a6", 8)
    assert answer.tally == add_up([*counted("facts", 2, dead=1), *counted("audit", 3)])
    assert answer.records_rejected == 1


def test_a_batch_says_where_reading_must_resume_to_see_its_records_again(bench: Bench) -> None:
    beta = Beta(bench, [model(bench, "facts")])
    beta.run(beta.batch(4, 1, began=3))
    assert beta.link.sent[0].metadata.position == Position("a", 3, "byte 3")


def test_an_answer_that_does_not_account_for_every_record_is_corruption(bench: Bench) -> None:
    beta = Beta(bench, [model(bench, "facts")], lambda _: (Count("facts", Outcome.DELIVERED, Stage.DELIVERY, "", 1),))
    with pytest.RaisesGroup(pytest.RaisesExc(Corruption, match="accounts for 1 of the 2"), flatten_subgroups=True):
        beta.run(beta.batch(0, 1, 2))


def test_a_gap_between_batches_is_corruption(bench: Bench) -> None:
    beta = Beta(bench, [model(bench, "facts")])
    with pytest.RaisesGroup(pytest.RaisesExc(Corruption, match="2 had to follow"), flatten_subgroups=True):
        beta.run(beta.batch(0, 1, 2), beta.batch(3, 4))


def test_a_book_that_cannot_keep_a_letter_stops_everything_before_it_is_sent(bench: Bench) -> None:
    error = Unavailable("INT_LEDGER_001", "the disk is full")
    beta = Beta(bench, [model(bench, "facts", rule="total >= 0")], error=error)
    with pytest.RaisesGroup(Unavailable, flatten_subgroups=True):
        beta.run(beta.batch(0, 1, -1))
    assert beta.journal == []
