"""Alpha by itself: a source made by hand before it, a link that answers as the test says behind it."""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from penstock.errors import Corruption, Unavailable
from penstock.ingestion.reading import Start
from penstock.ingestion.stage import Ingestion
from penstock.ingestion.validation import Validated
from penstock.links.inbox import Inbox
from penstock.model.batch import RESERVED_FIELDS, SEQUENCE
from penstock.model.outcome import Count, DeadLetter, Outcome, RecordError, Stage
from penstock.model.position import Position, Range
from penstock.model.settings import Settings
from penstock.observing.facts import Nobody
from penstock.orchestration.clock import SystemChance, SystemClock
from penstock.ports import Chunk, Original, Replay, Reread, RunContext
from penstock.protocol.messages import AcknowledgmentPayload, AckStatus
from penstock.protocol.sender import Answered

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from penstock.model.position import Mark
    from penstock.ports import Advance, Fate
    from penstock.protocol.messages import BatchMetadata, ValidationSummary
    from penstock.protocol.sender import Outgoing

SCHEMA = pa.schema([pa.field("id", pa.int64()), *RESERVED_FIELDS])
BAD = 7
"""Ids that end in this digit are refused."""


def chunk(partition: str, start: int, end: int) -> Chunk:
    records = pa.RecordBatch.from_pylist([{"id": number} for number in range(start, end)], schema=SCHEMA)
    position = Position(partition, end, f"byte {end}")
    return Chunk(start, end, records, None, (), position, lambda asked: [Original(b"%d" % s, s) for s in asked], 10)


@dataclass
class Chunks:
    """A source of chunks made beforehand."""

    chunks: Mapping[str, Sequence[tuple[int, int]]]
    journal: list[str]
    replay: Replay = Replay.EXACT

    def partitions(self) -> Sequence[str]:
        return tuple(self.chunks)

    def read(self, partition: str, position: Position | None) -> Iterator[Chunk]:
        for start, end in self.chunks[partition]:
            if position is None or start >= position.sequence:
                self.journal.append(f"read {partition} {start}")
                yield chunk(partition, start, end)

    def size_bytes(self, partition: str, position: Position | None) -> int | None:
        """Nobody asks for progress here."""

    def accept(self, position: Position) -> Position:
        return position

    def reread(self, partition: str, originals: Sequence[bytes]) -> Reread:
        raise NotImplementedError

    def commit(self, position: Position) -> None:
        self.journal.append(f"tell source {position.partition} {position.sequence}")

    def close(self) -> None:
        """Nothing is open."""


class Digits:
    """Refuses ids that end in `BAD`."""

    def validate(self, chunk: Chunk, version_base: int) -> Validated:
        del version_base
        good = [number for number in range(chunk.start, chunk.end) if number % 10 != BAD]
        rows = [{"id": number, SEQUENCE: number} for number in good]
        error = RecordError("INT_ALPHA_004", "id", "is bad")
        letters = tuple(
            DeadLetter("orders", chunk.next.partition, number, Stage.INGESTION, "", (error,), b"%d" % number, number)
            for number in range(chunk.start, chunk.end)
            if number % 10 == BAD
        )
        return Validated(pa.RecordBatch.from_pylist(rows, schema=SCHEMA), letters)


@dataclass
class Notebook:
    """A book that writes down what it is told."""

    journal: list[str]
    advances: list[Advance] = field(default_factory=list)

    def dead_letter(self, letters: Sequence[DeadLetter]) -> None:
        self.journal.append(f"letters {[letter.sequence for letter in letters]}")

    def advance(self, source: str, advances: Sequence[Advance]) -> None:
        assert source == "orders"
        self.advances += advances
        self.journal += [f"advance {advance.partition} {advance.range}" for advance in advances]

    def supersede(self, destination: str, source: str, partition: str, sequences: Sequence[int]) -> None:
        raise NotImplementedError

    def confirm(self, destination: str, marks: Sequence[Mark]) -> None:
        raise NotImplementedError

    def recall(self, destination: str, source: str, partition: str, mark: int) -> Mapping[int, Fate]:
        raise NotImplementedError


Answering = "Callable[[Link, BatchMetadata], None]"


def settle(link: Link, metadata: BatchMetadata) -> None:
    """Answer that everything was delivered at both destinations."""
    tally = tuple(
        Count(name, Outcome.DELIVERED, Stage.DELIVERY, "", metadata.record_count) for name in ("facts", "now")
    )
    link.answer(metadata, AckStatus.PROCESSED, tally)


class Link:
    """A link that hands every batch to `answering` at once."""

    def __init__(self, answering: Callable[[Link, BatchMetadata], None], journal: list[str]) -> None:
        self._answering = answering
        self._journal = journal
        self.answers: Inbox[Answered] = Inbox()
        self.sent: list[BatchMetadata] = []
        self.owed = 0

    async def send(self, outgoing: Outgoing[ValidationSummary]) -> None:
        self._journal.append(f"send {outgoing.metadata.partition} {outgoing.metadata.range}")
        self.sent.append(outgoing.metadata)
        self.owed += 1
        self._answering(self, outgoing.metadata)

    def answer(self, metadata: BatchMetadata, status: AckStatus, tally: tuple[Count, ...]) -> None:
        self.owed -= 1
        payload = AcknowledgmentPayload(metadata.batch_id, status, metadata.record_count, 0, 0, tally)
        self.answers.put(Answered(metadata, payload))
        if not self.owed and self._closed:
            self.answers.close()

    _closed = False

    def close(self) -> None:
        self._closed = True
        if not self.owed:
            self.answers.close()


@dataclass
class Alpha:
    """Alpha over chunks, with what happened in the order in which it did."""

    chunks: Mapping[str, Sequence[tuple[int, int]]]
    answering: Callable[[Link, BatchMetadata], None] = settle
    settings: Mapping[str, object] = field(default_factory=lambda: {"ALPHA_BETA_BATCH_SIZE": 4})
    journal: list[str] = field(default_factory=list)

    def run(self, *, stopped: bool = False, positions: Mapping[str, Position] | None = None) -> Notebook:
        book, source = Notebook(self.journal), Chunks(self.chunks, self.journal)
        starts = [Start(name, number, (positions or {}).get(name)) for number, name in enumerate(source.partitions())]

        async def work() -> None:
            self.link = Link(self.answering, self.journal)
            context = RunContext(book, Settings(self.settings), SystemClock(), SystemChance(), Nobody())
            alpha = Ingestion("orders", source, Digits(), ("facts", "now"), self.link, context)
            if stopped:
                alpha.stop()
            async with asyncio.timeout(10):
                await alpha.run(starts)
            assert (alpha.window.records, alpha.window.size_bytes) == (0, 0)

        asyncio.run(work())
        return book


def test_batches_cover_what_was_read_and_say_where_reading_must_resume() -> None:
    alpha = Alpha({"a": [(0, 10), (10, 12)]})
    alpha.run()
    assert [metadata.range for metadata in alpha.link.sent] == [Range(0, 4), Range(4, 9), Range(9, 10), Range(10, 12)]
    assert [metadata.position for metadata in alpha.link.sent] == [Position("a", 0, "")] * 3 + [
        Position("a", 10, "byte 10")
    ]
    assert [metadata.sequence_number for metadata in alpha.link.sent] == [0, 1, 2, 3]


def test_letters_are_durable_before_anything_of_their_chunk_is_sent() -> None:
    alpha = Alpha({"a": [(0, 10)]})
    alpha.run()
    assert alpha.journal.index("letters [7]") < alpha.journal.index("send a [0, 4)")


def test_a_position_moves_when_its_whole_chunk_is_settled_and_then_the_source_is_told() -> None:
    alpha = Alpha({"a": [(0, 10)]})
    book = alpha.run()
    assert alpha.journal[-2:] == ["advance a [0, 10)", "tell source a 10"]
    (advance,) = book.advances
    assert advance.position == Position("a", 10, "byte 10")
    refused = Outcome.DEAD_LETTERED, Stage.INGESTION, "INT_ALPHA_004", 1
    delivered = Outcome.DELIVERED, Stage.DELIVERY, "", 9
    assert {
        (count.destination, count.outcome, count.stage, count.reason, count.records) for count in advance.tally
    } == {
        ("facts", *refused),
        ("facts", *delivered),
        ("now", *refused),
        ("now", *delivered),
    }


def test_the_ledgers_checksum_is_over_those_of_the_batches_in_order() -> None:
    alpha = Alpha({"a": [(0, 10)]})
    (advance,) = alpha.run().advances
    checksums = [metadata.checksum for metadata in alpha.link.sent]
    assert advance.batches == 3
    assert advance.checksum == hashlib.sha256("".join(checksums).encode()).hexdigest()


def test_answers_in_any_order_move_the_position_in_order() -> None:
    held: deque[BatchMetadata] = deque()

    def backwards(link: Link, metadata: BatchMetadata) -> None:
        """Answer pairs, the later one first."""
        held.append(metadata)
        while len(held) == 2:
            settle(link, held.pop())
            settle(link, held.pop())

    alpha = Alpha({"a": [(number, number + 2) for number in range(10, 18, 2)]}, backwards)
    book = alpha.run(positions={"a": Position("a", 10, "byte 10")})
    assert [advance.range.start for advance in book.advances] == [10, 12, 14, 16]


def test_a_chunk_of_which_everything_is_refused_settles_without_a_batch_in_its_turn() -> None:
    alpha = Alpha({"a": [(5, 7), (7, 8), (8, 9)]})
    book = alpha.run()
    assert [metadata.range for metadata in alpha.link.sent] == [Range(5, 7), Range(8, 9)]
    assert [advance.range for advance in book.advances] == [Range(5, 7), Range(7, 8), Range(8, 9)]
    assert book.advances[1].batches == 0


@pytest.mark.parametrize("chunks", [[(0, 0)], [(0, 0), (0, 3)], [(0, 3), (3, 3)], [(0, 3), (3, 3), (3, 5), (5, 5)]])
def test_a_chunk_without_records_moves_the_position_and_nothing_else(chunks: list[tuple[int, int]]) -> None:
    alpha = Alpha({"a": chunks})
    book = alpha.run()
    assert [(advance.range.start, advance.range.end) for advance in book.advances] == chunks
    assert [metadata.range for metadata in alpha.link.sent] == [Range(*ends) for ends in chunks if ends[0] < ends[1]]


def test_partitions_are_read_one_after_the_other_and_settled_by_themselves() -> None:
    alpha = Alpha({"a": [(0, 3)], "b": [(0, 2)]})
    book = alpha.run()
    assert [entry for entry in alpha.journal if entry.startswith("read")] == ["read a 0", "read b 0"]
    assert {advance.partition: advance.range for advance in book.advances} == {"a": Range(0, 3), "b": Range(0, 2)}


def test_an_unsettled_window_stops_reading_until_answers_come() -> None:
    held: list[BatchMetadata] = []
    most = 0

    def late(link: Link, metadata: BatchMetadata) -> None:
        nonlocal most
        held.append(metadata)
        most = max(most, sum(len(each.range) for each in held))
        asyncio.get_running_loop().call_later(0.01, lambda: settle(link, held.pop(0)))

    settings = {"ALPHA_BETA_BATCH_SIZE": 4, "WINDOW_RECORDS": 10}
    alpha = Alpha({"a": [(number, number + 5) for number in range(0, 100, 5)]}, late, settings)
    assert len(alpha.run().advances) == 20
    assert most <= 10


def test_a_stopped_stage_reads_nothing_and_ends() -> None:
    alpha = Alpha({"a": [(0, 3)], "b": [(0, 2)]})
    assert alpha.run(stopped=True).advances == []
    assert alpha.journal == []


def test_a_rejected_batch_halts_the_partition_as_corruption() -> None:
    alpha = Alpha({"a": [(0, 3)]}, lambda link, metadata: link.answer(metadata, AckStatus.REJECTED, ()))
    with pytest.RaisesGroup(Corruption, flatten_subgroups=True) as caught:
        alpha.run()
    assert "batch [0, 3) was rejected" in str(caught.value.exceptions[0])
    assert not any(entry.startswith("advance") for entry in alpha.journal)


def test_an_answer_that_does_not_account_for_every_record_moves_no_position() -> None:
    short = (
        Count("facts", Outcome.DELIVERED, Stage.DELIVERY, "", 2),
        Count("now", Outcome.DELIVERED, Stage.DELIVERY, "", 3),
    )
    alpha = Alpha({"a": [(0, 3)]}, lambda link, metadata: link.answer(metadata, AckStatus.PROCESSED, short))
    with pytest.RaisesGroup(
        pytest.RaisesExc(Corruption, match="facts accounts for 2 of the 3"), flatten_subgroups=True
    ):
        alpha.run()
    assert not any(entry.startswith("advance") for entry in alpha.journal)


def test_a_link_that_fails_ends_the_stage_with_its_error() -> None:
    error = Unavailable("INT_LINK_001", "nobody answers")

    def fail(_: Link, __: BatchMetadata) -> None:
        raise error

    with pytest.RaisesGroup(Unavailable, flatten_subgroups=True) as caught:
        Alpha({"a": [(0, 100)]}, fail).run()
    found: BaseException = caught.value
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    assert found is error
