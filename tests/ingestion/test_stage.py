"""Alpha by itself, in virtual time: a source made by hand before it, a link that answers as the test says behind it."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

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
from penstock.observing.facts import LatencyStage, ModeChanged, RecordsRead, Timed, WentBack
from penstock.ports import Chunk, Original, OriginalsGone, ReceiverIsNew, Replay, Reread, RunContext
from penstock.protocol.messages import AcknowledgmentPayload, AckStatus, Module, Priority
from penstock.protocol.sender import Answered
from penstock.testing.simulation.clocks import LifeClock, SeededChance, WallClock
from penstock.testing.simulation.loop import VirtualLoop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from penstock.model.position import Mark
    from penstock.observing.facts import Fact
    from penstock.ports import Advance, Fate
    from penstock.protocol.messages import BatchMetadata, ValidationSummary
    from penstock.protocol.sender import Outgoing

SCHEMA = pa.schema([pa.field("id", pa.int64()), *RESERVED_FIELDS])
BAD = 7
"""Ids that end in this digit are refused."""
CRITICAL = 99
"""An id that is CRITICAL."""
DESTINATIONS = ("facts", "now")
DAY_S = 86_400.0


def chunk(partition: str, start: int, end: int) -> Chunk:
    records = pa.RecordBatch.from_pylist([{"id": number} for number in range(start, end)], schema=SCHEMA)
    position = Position(partition, end, f"byte {end}")
    return Chunk(start, end, records, None, (), position, lambda asked: [Original(b"%d" % s, s) for s in asked], 10)


@dataclass
class Chunks:
    """A source of chunks made beforehand. At `breaks_at` it raises `error` instead."""

    chunks: Mapping[str, Sequence[tuple[int, int]]]
    journal: list[str]
    error: Exception | None = None
    breaks_at: int = 0
    replay: Replay = Replay.EXACT

    def partitions(self) -> Sequence[str]:
        return tuple(self.chunks)

    def read(self, partition: str, position: Position | None) -> Iterator[Chunk]:
        for start, end in self.chunks[partition]:
            if position is None or start >= position.sequence:
                if self.error is not None and start >= self.breaks_at:
                    raise self.error
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


@dataclass
class Growing(Chunks):
    """A source whose chunks come at their times: (seconds, partition, start, end)."""

    script: Sequence[tuple[float, str, int, int]] = ()
    ended: bool = False

    def partitions(self) -> Sequence[str]:
        return sorted({partition for at_s, partition, *_ in self.script if at_s == 0})

    def follow(self, positions: Mapping[str, Position]) -> Growing:
        self.journal.append(f"follow {[(name, position.sequence) for name, position in positions.items()]}")
        begins = {name: position.sequence for name, position in positions.items()}
        self._left = deque(each for each in self.script if each[2] >= begins.get(each[1], 0))
        self.ended = not self._left
        return self

    def next(self, wait_s: float) -> Chunk | None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        self.ended = not self._left
        if self.ended:
            return None
        due_s = self._left[0][0] - loop.time()
        if due_s > wait_s:
            loop.block(wait_s)
            return None
        loop.block(max(0.0, due_s))
        _, partition, start, end = self._left.popleft()
        self.journal.append(f"read {partition} {start}")
        return chunk(partition, start, end)


class Digits:
    """Refuses ids that end in `BAD`; one id is CRITICAL."""

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
        return Validated(pa.RecordBatch.from_pylist(rows, schema=SCHEMA), letters, CRITICAL in good)


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


@dataclass(frozen=True)
class Sent:
    """A batch as it left, when, and in which incarnation of the link."""

    at_s: float
    life: int
    metadata: BatchMetadata
    ids: tuple[int, ...]
    streaming: bool
    summary: ValidationSummary


def settle(link: Link, metadata: BatchMetadata) -> None:
    """Answer that everything was delivered at both destinations."""
    tally = tuple(Count(name, Outcome.DELIVERED, Stage.DELIVERY, "", metadata.record_count) for name in DESTINATIONS)
    link.answer(metadata, AckStatus.PROCESSED, tally)


def later(seconds: float) -> Callable[[Link, BatchMetadata], None]:
    """Answer after so long, unless the link began again before that."""

    def answering(link: Link, metadata: BatchMetadata) -> None:
        life = link.life
        asyncio.get_running_loop().call_later(seconds, lambda: settle(link, metadata) if life == link.life else None)

    return answering


class Link:
    """An `Outbound` that hands every batch to `answering` at once."""

    def __init__(self, answering: Callable[[Link, BatchMetadata], None], journal: list[str]) -> None:
        self._answering = answering
        self._journal = journal
        self._answers: Inbox[Answered] = Inbox()
        self.sent: list[Sent] = []
        self.owed: dict[str, BatchMetadata] = {}
        self.life = 0
        self.micro_batch_records = 1_000
        self.hurried_at_s: list[float] = []
        self.finished = False
        self.begins: Callable[[], None] = lambda: None
        self._closed = False

    def begin(self) -> None:
        self.begins()
        self.life += 1
        self.owed.clear()
        self._closed = False
        self._answers.reset()
        self._journal.append("begin")

    async def send(self, outgoing: Outgoing[ValidationSummary]) -> None:
        await asyncio.sleep(0)  # as a real one may: others go on meanwhile
        metadata = outgoing.metadata
        self._journal.append(f"send {metadata.partition} {metadata.range}")
        rows = pa.ipc.read_record_batch(pa.py_buffer(outgoing.payload), SCHEMA)
        ids = tuple(rows.column("id").to_pylist())
        at_s = asyncio.get_running_loop().time()
        self.sent.append(Sent(at_s, self.life, metadata, ids, outgoing.streaming, outgoing.summary))
        self.owed[metadata.batch_id] = metadata
        self._answering(self, metadata)

    async def answered(self) -> Sequence[Answered]:
        return await self._answers.take()

    def answer(self, metadata: BatchMetadata, status: AckStatus, tally: tuple[Count, ...]) -> None:
        if self.owed.pop(metadata.batch_id, None) is not None:
            payload = AcknowledgmentPayload(metadata.batch_id, status, metadata.record_count, 0, 0, tally)
            self._answers.put(Answered(metadata, payload))
        self._end()

    def breaks(self, error: Exception) -> None:
        """Tell the stage that the receiving end is another, or worse."""
        self._answers.interrupt(error)

    def hurry(self) -> None:
        self.hurried_at_s.append(asyncio.get_running_loop().time())
        self._journal.append("hurry")

    def close(self) -> None:
        self._closed = True
        self._end()

    def finish(self) -> None:
        self.finished = True
        self._journal.append("finish")

    def _end(self) -> None:
        if self._closed and not self.owed:
            self._answers.close()


@dataclass
class Alpha:
    """Alpha over chunks, with what happened in the order in which it did."""

    chunks: Mapping[str, Sequence[tuple[int, int]]] = field(default_factory=dict)
    answering: Callable[[Link, BatchMetadata], None] = settle
    settings: Mapping[str, object] = field(default_factory=lambda: {"ALPHA_BETA_BATCH_SIZE": 4})
    script: Sequence[tuple[float, str, int, int]] = ()
    streaming: bool = False
    replay: Replay = Replay.EXACT
    during: Callable[[Alpha], Any] | None = None
    """A coroutine function that goes on beside the stage."""
    journal: list[str] = field(default_factory=list)
    facts: list[Fact] = field(default_factory=list)

    def saw(self, fact: Fact) -> None:
        self.facts.append(fact)

    def of(self, kind: type[Any]) -> list[Any]:
        return [fact for fact in self.facts if isinstance(fact, kind)]

    def run(
        self,
        *,
        stopped: bool = False,
        positions: Mapping[str, Position] | None = None,
        error: Exception | None = None,
        breaks_at: int = 0,
    ) -> Notebook:
        """Run to the end: over chunks that are there, or along the script."""
        book = Notebook(self.journal)
        kind = Growing if self.script else Chunks
        source = kind(self.chunks, self.journal, error, breaks_at, self.replay)
        if isinstance(source, Growing):
            source.script = self.script
        positions = positions or {}
        starts = [Start(name, number, positions.get(name)) for number, name in enumerate(source.partitions())]
        loop = VirtualLoop(random.Random(1), lambda: None)
        self.link = Link(self.answering, self.journal)

        async def work() -> None:
            clock, chance = LifeClock(WallClock(loop), loop, 0.0), SeededChance(random.Random(1))
            context = RunContext(book, Settings(self.settings), clock, chance, self)
            self.stage = Ingestion("orders", source, Digits(), DESTINATIONS, self.link, context)
            self.stage.switch(streaming=self.streaming)
            if stopped:
                self.stage.stop()
            beside = asyncio.create_task(self.during(self)) if self.during else None
            register = (lambda name: Start(name, len(starts), None)) if self.script else None
            async with asyncio.timeout(DAY_S):
                await self.stage.run(starts, register)
            if beside is not None:
                await beside
            assert (self.stage.window.records, self.stage.window.size_bytes) == (0, 0)

        try:
            loop.run_until_complete(work())
        finally:
            loop.close()
        assert self.link.finished
        return book

    @property
    def ranges(self) -> list[tuple[int, int]]:
        return [(each.metadata.range.start, each.metadata.range.end) for each in self.link.sent]

    def entries(self, word: str) -> list[str]:
        return [entry for entry in self.journal if entry.startswith(word)]


# --- what is handed over ----------------------------------------------------------------------------------------------


def test_batches_cover_what_was_read_and_say_where_reading_must_resume() -> None:
    alpha = Alpha({"a": [(0, 10), (10, 12)]})
    alpha.run()
    assert alpha.ranges == [(0, 4), (4, 9), (9, 10), (10, 12)]
    assert [each.metadata.position for each in alpha.link.sent] == [Position("a", 0, "")] * 3 + [
        Position("a", 10, "byte 10")
    ]
    assert [each.metadata.sequence_number for each in alpha.link.sent] == [0, 1, 2, 3]


def test_letters_are_durable_before_anything_of_their_chunk_is_sent() -> None:
    alpha = Alpha({"a": [(0, 10)]})
    alpha.run()
    assert alpha.journal.index("letters [7]") < alpha.journal.index("send a [0, 4)")


def test_a_batch_says_what_was_refused_before_it_and_another_says_nothing() -> None:
    alpha = Alpha({"a": [(0, 10)]})
    alpha.run()
    first, second, third = alpha.link.sent
    assert (first.metadata.errors, third.metadata.errors) == (None, None)
    errors = second.metadata.errors
    assert errors is not None
    assert (errors.upstream_errors, errors.error_breakdown) == (1, {"INT_ALPHA_004": 1})
    assert errors.affected_record_ids == ("orders/a/7",)
    assert (second.summary.records_passed, second.summary.records_failed) == (4, 1)


def test_a_position_moves_when_its_whole_chunk_is_settled_and_then_the_source_is_told() -> None:
    alpha = Alpha({"a": [(0, 10)]})
    book = alpha.run()
    assert alpha.journal[-3:] == ["advance a [0, 10)", "tell source a 10", "finish"]
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
    checksums = [each.metadata.checksum for each in alpha.link.sent]
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

    settings = {"ALPHA_BETA_BATCH_SIZE": 2}
    alpha = Alpha({"a": [(number, number + 2) for number in range(8, 16, 2)]}, backwards, settings)
    book = alpha.run(positions={"a": Position("a", 8, "byte 8")})
    assert [advance.range.start for advance in book.advances] == [8, 10, 12, 14]


def test_what_is_refused_altogether_settles_without_a_batch_in_its_turn() -> None:
    alpha = Alpha({"a": [(5, 7), (7, 8), (8, 9)]}, settings={"ALPHA_BETA_BATCH_SIZE": 1}, streaming=True)
    book = alpha.run()
    assert alpha.ranges == [(5, 7), (8, 9)]
    assert [advance.range for advance in book.advances] == [Range(5, 7), Range(7, 8), Range(8, 9)]
    assert book.advances[1].batches == 0


@pytest.mark.parametrize("chunks", [[(0, 0)], [(0, 0), (0, 3)], [(0, 3), (3, 3)], [(0, 3), (3, 3), (3, 5), (5, 5)]])
@pytest.mark.parametrize("streaming", [False, True])
def test_a_chunk_without_records_moves_the_position_and_nothing_else(
    chunks: list[tuple[int, int]], *, streaming: bool
) -> None:
    alpha = Alpha({"a": chunks}, streaming=streaming)
    book = alpha.run()
    assert book.advances[-1].position.sequence == chunks[-1][1]
    assert sum(len(advance.range) for advance in book.advances) == chunks[-1][1]
    assert [id_ for each in alpha.link.sent for id_ in each.ids] == list(range(chunks[-1][1]))


def test_partitions_are_read_one_after_the_other_and_settled_by_themselves() -> None:
    alpha = Alpha({"a": [(0, 3)], "b": [(0, 2)]})
    book = alpha.run()
    assert alpha.entries("read") == ["read a 0", "read b 0"]
    assert alpha.ranges == [(0, 3), (0, 2)]
    assert {advance.partition: advance.range for advance in book.advances} == {"a": Range(0, 3), "b": Range(0, 2)}


def test_a_stopped_stage_reads_nothing_and_ends() -> None:
    alpha = Alpha({"a": [(0, 3)], "b": [(0, 2)]})
    assert alpha.run(stopped=True).advances == []
    assert alpha.entries("read") == []


# --- lingering --------------------------------------------------------------------------------------------------------


def test_small_chunks_gather_until_they_fill_a_batch() -> None:
    alpha = Alpha({"a": [(number, number + 1) for number in range(6)]})
    book = alpha.run()
    assert alpha.ranges == [(0, 4), (4, 6)]
    assert [advance.range for advance in book.advances] == [Range(0, 4), Range(4, 6)]
    assert book.advances[0].position == Position("a", 4, "byte 4")


@pytest.mark.parametrize("size", [1, 3, 100])
def test_alpha_beta_batch_size_is_the_most_that_a_batch_holds(size: int) -> None:
    alpha = Alpha({"a": [(0, 7), (7, 8)]}, settings={"ALPHA_BETA_BATCH_SIZE": size})
    alpha.run()
    assert [len(each.ids) for each in alpha.link.sent] == {1: [1] * 7, 3: [3, 3, 1], 100: [7]}[size]


@pytest.mark.parametrize("timeout_ms", [0, 400, 5_000])
def test_alpha_beta_flush_timeout_ms_is_how_long_records_wait_for_more(timeout_ms: int) -> None:
    settings = {"ALPHA_BETA_BATCH_SIZE": 100, "ALPHA_BETA_FLUSH_TIMEOUT_MS": timeout_ms}
    alpha = Alpha(script=[(0.0, "a", 0, 1), (0.3, "a", 1, 2), (60.0, "a", 2, 3)], settings=settings)
    alpha.run()
    first = [each for each in alpha.link.sent if each.at_s < 30.0]
    assert [each.ids for each in first] == ([(0,), (1,)] if timeout_ms == 0 else [(0, 1)])
    assert first[0].at_s == pytest.approx(timeout_ms / 1000, abs=0.1)
    assert all(each.metadata.flush for each in first)


def test_who_waited_in_vain_for_more_tells_the_receiver_not_to() -> None:
    alpha = Alpha(script=[(0.0, "a", 0, 1), (60.0, "a", 1, 2)])
    alpha.run()
    assert alpha.link.hurried_at_s[0] == pytest.approx(5.0, abs=0.1)


def test_one_critical_record_takes_all_that_waits_along_at_once() -> None:
    alpha = Alpha(
        script=[(0.0, "a", 97, 99), (1.0, "a", 99, 100), (2.0, "a", 100, 101), (60.0, "a", 101, 102)],
        settings={"ALPHA_BETA_BATCH_SIZE": 100},
    )
    alpha.run(positions={"a": Position("a", 97, "byte 97")})
    critical, following = alpha.link.sent[:2]
    assert (critical.ids, critical.metadata.priority) == ((98, 99), Priority.CRITICAL)
    assert critical.at_s == pytest.approx(1.0, abs=0.1)
    assert (following.ids, following.metadata.priority) == ((100,), Priority.NORMAL)
    assert following.at_s == pytest.approx(7.0, abs=0.1)


def test_the_end_of_the_input_waits_for_nothing() -> None:
    alpha = Alpha({"a": [(0, 2)]}, settings={"ALPHA_BETA_BATCH_SIZE": 100})
    alpha.run()
    (last,) = alpha.link.sent
    assert last.at_s < 1.0
    assert last.metadata.flush


def test_only_the_last_batch_of_what_is_flushed_says_so() -> None:
    alpha = Alpha({"a": [(0, 6)]})
    alpha.run()
    assert [each.metadata.flush for each in alpha.link.sent] == [False, False]
    alpha = Alpha({"a": [(0, 3)]})
    alpha.run()
    assert [each.metadata.flush for each in alpha.link.sent] == [True]


def test_another_partition_ends_what_is_gathered_of_one() -> None:
    script = [(0.0, "a", 0, 1), (0.0, "b", 0, 1), (0.5, "a", 1, 2), (60.0, "a", 2, 3)]
    alpha = Alpha(script=script, settings={"ALPHA_BETA_BATCH_SIZE": 100})
    alpha.run()
    assert [(each.metadata.partition, each.ids) for each in alpha.link.sent[:3]] == [
        ("a", (0,)),
        ("b", (0,)),
        ("a", (1,)),
    ]
    assert {len({each.metadata.partition}) for each in alpha.link.sent} == {1}


# --- the window -------------------------------------------------------------------------------------------------------


def test_an_unsettled_window_stops_reading_until_answers_come() -> None:
    held: list[BatchMetadata] = []
    most = 0

    def late(link: Link, metadata: BatchMetadata) -> None:
        nonlocal most
        held.append(metadata)
        most = max(most, sum(len(each.range) for each in held))
        asyncio.get_running_loop().call_later(1.0, lambda: settle(link, held.pop(0)))

    settings = {"ALPHA_BETA_BATCH_SIZE": 4, "WINDOW_RECORDS": 10}
    alpha = Alpha({"a": [(number, number + 5) for number in range(0, 100, 5)]}, late, settings)
    assert sum(len(advance.range) for advance in alpha.run().advances) == 100
    assert most <= 10


def test_where_reading_waits_for_answers_what_is_gathered_goes_at_once_and_the_receiver_is_told_to_hurry() -> None:
    settings = {"ALPHA_BETA_BATCH_SIZE": 100, "WINDOW_RECORDS": 4, "ALPHA_BETA_FLUSH_TIMEOUT_MS": 3_600_000}
    alpha = Alpha({"a": [(0, 2), (2, 4), (4, 6)]}, later(1.0), settings)
    alpha.run()
    first, last = alpha.link.sent
    assert (first.ids, first.metadata.flush) == ((0, 1, 2, 3), True)
    assert first.at_s < 1.0
    assert alpha.link.hurried_at_s[0] < 1.0
    assert last.ids == (4, 5)


def test_a_chunk_larger_than_the_window_passes_alone() -> None:
    alpha = Alpha({"a": [(10, 16), (16, 17)]}, later(1.0), {"ALPHA_BETA_BATCH_SIZE": 4, "WINDOW_RECORDS": 3})
    assert [len(advance.range) for advance in alpha.run(positions={"a": Position("a", 10, "")}).advances] == [6, 1]


# --- streaming --------------------------------------------------------------------------------------------------------


def test_in_streaming_mode_records_leave_when_they_are_validated() -> None:
    alpha = Alpha(script=[(0.0, "a", 0, 1), (1.0, "a", 1, 3), (1.5, "a", 3, 4)], streaming=True)
    alpha.run()
    assert [each.ids for each in alpha.link.sent] == [(0,), (1, 2), (3,)]
    assert [each.at_s for each in alpha.link.sent] == pytest.approx([0.0, 1.0, 1.5], abs=0.1)
    assert {(each.streaming, each.metadata.flush) for each in alpha.link.sent} == {(True, True)}


def test_a_streamed_message_holds_what_the_link_says_and_no_more() -> None:
    async def slows_down(alpha: Alpha) -> None:
        alpha.link.micro_batch_records = 3
        await asyncio.sleep(1.0)
        alpha.link.micro_batch_records = 1

    alpha = Alpha(script=[(0.5, "a", 0, 5), (1.5, "a", 5, 7)], streaming=True, during=slows_down)
    alpha.run()
    assert [each.ids for each in alpha.link.sent] == [(0, 1, 2), (3, 4), (5,), (6,)]


def test_in_streaming_mode_the_batch_size_says_nothing() -> None:
    alpha = Alpha({"a": [(0, 7)]}, settings={"ALPHA_BETA_BATCH_SIZE": 2}, streaming=True)
    alpha.run()
    assert [len(each.ids) for each in alpha.link.sent] == [7]


@pytest.mark.parametrize("streaming", [False, True], ids=["batch to streaming", "streaming to batch"])
def test_a_switch_takes_effect_with_the_next_record_and_loses_and_repeats_nothing(*, streaming: bool) -> None:
    async def switches(alpha: Alpha) -> None:
        await asyncio.sleep(2.5)
        alpha.stage.switch(streaming=not streaming)
        await asyncio.sleep(2.5)
        alpha.stage.switch(streaming=streaming)

    script = [(float(second), "a", second, second + 1) for second in range(7)]
    settings = {"ALPHA_BETA_BATCH_SIZE": 100, "ALPHA_BETA_FLUSH_TIMEOUT_MS": 20_000}
    alpha = Alpha(script=script, streaming=streaming, during=switches, settings=settings)
    book = alpha.run()
    assert [id_ for each in alpha.link.sent for id_ in each.ids] == list(range(7))
    assert [each.metadata.sequence_number for each in alpha.link.sent] == list(range(len(alpha.link.sent)))
    modes = [(each.streaming, each.ids) for each in alpha.link.sent]
    if streaming:
        assert modes == [(True, (0,)), (True, (1,)), (True, (2,)), (True, (3, 4, 5)), (True, (6,))]
    else:
        assert modes == [(True, (0, 1, 2, 3)), (True, (4,)), (False, (5, 6))]
    assert sum(len(advance.range) for advance in book.advances) == 7
    begun = [ModeChanged("orders", streaming=True)] if streaming else []
    assert alpha.of(ModeChanged) == [
        *begun,
        ModeChanged("orders", streaming=not streaming),
        ModeChanged("orders", streaming=streaming),
    ]


def test_a_switch_to_the_mode_that_is_on_is_none() -> None:
    alpha = Alpha({"a": [(0, 1)]})
    alpha.run()
    assert alpha.of(ModeChanged) == []


# --- going back -------------------------------------------------------------------------------------------------------


def loses(after: int, lives: int = 1) -> Callable[[Link, BatchMetadata], None]:
    """Answer so many batches, then be another: in so many lives of the link."""

    def answering(link: Link, metadata: BatchMetadata) -> None:
        of_life = sum(each.life == link.life for each in link.sent)
        if link.life > lives or of_life <= after:
            settle(link, metadata)
        elif of_life == after + 1:
            link.breaks(ReceiverIsNew("the receiving end began again"))

    return answering


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("after", range(7))
def test_when_the_receiving_end_is_another_it_reads_again_what_is_not_settled(after: int, *, streaming: bool) -> None:
    settings = {"ALPHA_BETA_BATCH_SIZE": 2}
    alpha = Alpha({"a": [(0, 5), (5, 7), (7, 9)], "b": [(0, 6)]}, loses(after), settings, streaming=streaming)
    book = alpha.run()
    ranges = {"a": 0, "b": 0}
    for advance in book.advances:
        assert advance.range.start == ranges[advance.partition], "moved once, in order, without a gap"
        ranges[advance.partition] = advance.range.end
    assert ranges == {"a": 9, "b": 6}
    lives = [each.life for each in alpha.link.sent]
    for life in set(lives):
        numbers = [each.metadata.sequence_number for each in alpha.link.sent if each.life == life]
        assert numbers == list(range(len(numbers)))
    assert len({each.metadata.batch_id for each in alpha.link.sent}) == len(alpha.link.sent)
    went_back = alpha.of(WentBack)
    assert went_back == [WentBack("orders", Module.ALPHA, "the receiving end began again")] * len(went_back)
    assert len(went_back) == (max(lives) > 1)


def test_where_reading_again_gives_other_records_only_a_new_run_may_do_it() -> None:
    alpha = Alpha({"a": [(0, 5), (5, 7)]}, loses(1), {"ALPHA_BETA_BATCH_SIZE": 2}, replay=Replay.BY_KEY)
    with pytest.raises(Unavailable, match=r"orders/a would have to be read again.*by key only"):
        alpha.run()


def test_it_goes_back_to_what_the_ledger_has_and_not_to_what_was_answered_since() -> None:
    """The second half of a chunk is answered, the first is not: its position has not moved."""
    life_one: list[BatchMetadata] = []

    def answering(link: Link, metadata: BatchMetadata) -> None:
        if link.life > 1:
            settle(link, metadata)
            return
        life_one.append(metadata)
        if len(life_one) == 3:
            settle(link, life_one[0])
            settle(link, life_one[2])
            asyncio.get_running_loop().call_later(1.0, link.breaks, ReceiverIsNew("it died"))

    alpha = Alpha({"a": [(0, 2), (2, 6)]}, answering, {"ALPHA_BETA_BATCH_SIZE": 2})
    book = alpha.run()
    assert alpha.entries("read") == ["read a 0", "read a 2", "read a 2"]
    assert [advance.range for advance in book.advances] == [Range(0, 2), Range(2, 6)]


@pytest.mark.parametrize("lives", [2, 5])
def test_it_goes_back_as_often_as_need_be(lives: int) -> None:
    alpha = Alpha({"a": [(0, 4), (4, 6)]}, loses(1, lives), {"ALPHA_BETA_BATCH_SIZE": 2})
    book = alpha.run()
    assert alpha.link.life == lives + 1
    assert sum(len(advance.range) for advance in book.advances) == 6
    assert alpha.entries("finish") == ["finish"]


def test_a_batch_that_may_not_be_sent_any_more_makes_it_go_back_as_well() -> None:
    def answering(link: Link, metadata: BatchMetadata) -> None:
        if link.life == 1 and len(link.sent) == 2:
            raise ReceiverIsNew("it died")
        settle(link, metadata)

    alpha = Alpha({"a": [(0, 6)]}, answering, {"ALPHA_BETA_BATCH_SIZE": 2})
    book = alpha.run()
    assert [advance.range for advance in book.advances] == [Range(0, 6)]
    assert alpha.of(WentBack) == [WentBack("orders", Module.ALPHA, "it died")]


def test_letters_of_what_is_read_again_are_written_again_and_counted_once() -> None:
    alpha = Alpha({"a": [(5, 9)]}, loses(0))
    (advance,) = alpha.run(positions={"a": Position("a", 5, "")}).advances
    assert alpha.entries("letters") == ["letters [7]"] * 2
    assert sum(count.records for count in advance.tally if count.outcome is Outcome.DEAD_LETTERED) == 2


def test_a_partition_that_appeared_while_the_source_was_followed_is_still_known_after_going_back() -> None:
    async def dies(alpha: Alpha) -> None:
        await asyncio.sleep(10.0)
        alpha.link.breaks(ReceiverIsNew("it died"))

    script = [(0.0, "a", 0, 2), (1.0, "b", 0, 3), (20.0, "c", 0, 1)]
    alpha = Alpha(script=script, during=dies, streaming=True)
    book = alpha.run()
    assert alpha.entries("follow") == ["follow []", "follow [('a', 2), ('b', 3)]"]
    assert [(advance.partition, advance.range) for advance in book.advances] == [
        ("a", Range(0, 2)),
        ("b", Range(0, 3)),
        ("c", Range(0, 1)),
    ]


def test_originals_of_before_it_went_back_are_gone_until_they_are_read_again() -> None:
    asked: list[object] = []
    gone: list[bool] = []

    def raises_gone(alpha: Alpha) -> bool:
        with pytest.raises(OriginalsGone):
            alpha.stage.window.originals("a", [1])
        return True

    async def asks(alpha: Alpha) -> None:
        await asyncio.sleep(1.0)
        asked.append([original.content for original in alpha.stage.window.originals("a", [1])])
        alpha.link.begins = lambda: gone.append(raises_gone(alpha))
        alpha.link.breaks(ReceiverIsNew("it died"))
        await asyncio.sleep(1.0)
        asked.append([original.content for original in alpha.stage.window.originals("a", [1])])

    def answering(link: Link, metadata: BatchMetadata) -> None:
        if link.life == 2:
            later(5.0)(link, metadata)

    alpha = Alpha({"a": [(0, 3)]}, answering, during=asks)
    alpha.run()
    assert asked == [[b"1"]] * 2
    assert gone == [True]


# --- sources that break -----------------------------------------------------------------------------------------------

BROKEN = Unavailable("INT_ALPHA_014", "the disk is away")


@pytest.mark.parametrize("streaming", [False, True])
def test_what_was_read_before_the_source_broke_is_settled_and_then_the_error_raised(*, streaming: bool) -> None:
    alpha = Alpha({"a": [(0, 3), (3, 6)]}, later(1.0), streaming=streaming)
    with pytest.raises(Unavailable) as caught:
        alpha.run(error=BROKEN, breaks_at=3)
    assert caught.value is BROKEN
    assert alpha.entries("advance") == ["advance a [0, 3)"]
    assert alpha.entries("finish") == ["finish"]


def test_that_also_holds_where_the_receiving_end_dies_after_the_source_broke() -> None:
    async def dies(alpha: Alpha) -> None:
        await asyncio.sleep(0.5)
        alpha.link.breaks(ReceiverIsNew("it died"))

    alpha = Alpha({"a": [(0, 3), (3, 6)]}, later(1.0), during=dies)
    with pytest.raises(Unavailable):
        alpha.run(error=BROKEN, breaks_at=3)
    assert alpha.entries("advance") == ["advance a [0, 3)"]


def test_who_is_stopped_settles_what_is_under_way_also_when_it_has_to_go_back() -> None:
    async def stops(alpha: Alpha) -> None:
        await asyncio.sleep(10.0)
        alpha.stage.stop()
        await asyncio.sleep(0.5)
        alpha.link.breaks(ReceiverIsNew("it died"))

    script = [(0.0, "a", 0, 2), (9.9, "a", 2, 4), (60.0, "a", 4, 6)]
    alpha = Alpha(script=script, answering=later(1.0), during=stops, streaming=True)
    book = alpha.run()
    assert book.advances[-1].range.end == 4


# --- answers ----------------------------------------------------------------------------------------------------------


def test_a_rejected_batch_is_accounted_for_like_any_other() -> None:
    """Whoever rejects it has written its records to the dead letters, and counts them so."""

    def reject(link: Link, metadata: BatchMetadata) -> None:
        tally = tuple(
            Count(name, Outcome.DEAD_LETTERED, Stage.TRANSFORMATION, "INT_LINK_010", metadata.record_count)
            for name in DESTINATIONS
        )
        link.answer(metadata, AckStatus.REJECTED, tally)

    (advance,) = Alpha({"a": [(0, 3)]}, reject).run().advances
    assert {(count.outcome, count.reason, count.records) for count in advance.tally} == {
        (Outcome.DEAD_LETTERED, "INT_LINK_010", 3)
    }


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
    assert alpha.entries("advance") == []


@pytest.mark.parametrize("error", [Unavailable("INT_LINK_011", "gone"), Corruption("INT_LINK_002", "halt")])
def test_a_link_that_fails_ends_the_stage_with_its_error(error: Exception) -> None:
    def fail(_: Link, __: BatchMetadata) -> None:
        raise error

    with pytest.RaisesGroup(type(error), flatten_subgroups=True) as caught:
        Alpha({"a": [(0, 100)]}, fail).run()
    found: BaseException = caught.value
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    assert found is error


def test_a_halt_that_comes_with_the_answers_ends_the_stage_with_its_error() -> None:
    alpha = Alpha({"a": [(0, 3)]}, lambda link, _: link.breaks(Corruption("INT_LINK_002", "keeps coming")))
    with pytest.RaisesGroup(pytest.RaisesExc(Corruption, match="keeps coming"), flatten_subgroups=True):
        alpha.run()
    assert alpha.entries("advance") == []
    assert alpha.entries("finish") == []


def test_how_long_records_took_is_told_from_when_they_were_read() -> None:
    alpha = Alpha({"a": [(0, 10)]}, later(2.0))
    alpha.run()
    whole = [fact for fact in alpha.of(Timed) if fact.stage is LatencyStage.END_TO_END]
    assert [(fact.source, fact.records) for fact in whole] == [("orders", 10)]
    assert whole[0].seconds == pytest.approx(2.0, abs=0.2)
    validated = [fact for fact in alpha.of(Timed) if fact.stage is LatencyStage.VALIDATION]
    assert [fact.records for fact in validated] == [10]
    assert alpha.of(RecordsRead) == [RecordsRead("orders", "a", 10, 1, None)]
