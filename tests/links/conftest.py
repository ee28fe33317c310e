"""A hop on a bench: both ends live, in virtual time, over wires that do to each frame what a test wants."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa
import pytest

from penstock.links.envelope import Envelope
from penstock.links.inbox import Inbox
from penstock.links.receiving import EndLimits, ReceivingEnd
from penstock.links.sending import CircuitLimits, SendingEnd
from penstock.model.batch import RESERVED_FIELDS, SEQUENCE
from penstock.model.outcome import Count, Outcome, Stage
from penstock.model.position import Position, Range
from penstock.model.settings import Settings
from penstock.observing.facts import Hop, LinkFault
from penstock.ports import RunContext
from penstock.protocol.batches import Covers, Stamp, outgoing
from penstock.protocol.messages import (
    AcknowledgmentPayload,
    AckStatus,
    AlphaBetaBatchTransfer,
    Module,
    StreamingHandoffMessage,
    ValidationSummary,
)
from penstock.protocol.receiver import QueueLimits
from penstock.protocol.sender import LinkLimits
from penstock.testing.simulation.clocks import LifeClock, SeededChance, WallClock
from penstock.testing.simulation.loop import VirtualLoop

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from penstock.observing.facts import Fact
    from penstock.ports import Arrived
    from penstock.protocol.frames import Frame
    from penstock.protocol.sender import Answered, Outgoing

    Fate = Callable[[Frame], Sequence[tuple[float, Frame]]]

SCHEMA = pa.schema([pa.field("id", pa.int64()), *RESERVED_FIELDS])
SUMMARY = ValidationSummary(3, 3, 0, 1.0)
LINK = LinkLimits(
    ack_timeout_s=30.0, retry_delay_s=1.0, retries_max=5, backoff_multiplier=2.0, window_batches=5, heartbeat_s=1.0
)
CIRCUIT = CircuitLimits(failure_threshold=5, reset_timeout_s=60.0)
QUEUE = QueueLimits(capacity_batches=8, high_watermark=0.75, low_watermark=0.5, credit_records=30)
HOUR_S = 3_600.0


def faithful(frame: Frame) -> Sequence[tuple[float, Frame]]:
    """Carry a frame at once, and once."""
    return [(0.0, frame)]


class Chance:
    """A fate out of seeded chance: drops, repeats, delays (and so reorders) and damages frames, until it `heals`."""

    def __init__(self, seed: int, *, drop: float = 0.2, repeat: float = 0.15, late: float = 0.3) -> None:
        self._draw = random.Random(seed)
        self._shares = {"dropped": drop, "repeated": repeat, "delayed": late, "damaged": 0.1}
        self.done = dict.fromkeys(self._shares, 0)

    def heals(self) -> None:
        self._shares = dict.fromkeys(self._shares, 0.0)

    def __call__(self, frame: Frame) -> list[tuple[float, Frame]]:
        return [
            (self._draw.uniform(0.01, 3.0) if self._happens("delayed") else 0.001, self._whole(copy))
            for copy in [frame] * (1 + self._happens("repeated"))
            if not self._happens("dropped")
        ]

    def _whole(self, frame: Frame) -> Frame:
        body = frame.body
        if isinstance(body, AlphaBetaBatchTransfer | StreamingHandoffMessage) and self._happens("damaged"):
            return flipped(frame, self._draw.randrange(8 * len(body.records)))
        return frame

    def _happens(self, what: str) -> bool:
        happens = self._draw.random() < self._shares[what]
        self.done[what] += happens
        return happens


def flipped(frame: Frame, bit: int) -> Frame:
    """Return a copy of a transfer with one bit of its records turned over."""
    body = frame.body
    assert isinstance(body, AlphaBetaBatchTransfer | StreamingHandoffMessage)
    content = bytearray(body.records)
    content[bit // 8 % len(content)] ^= 1 << bit % 8
    damaged = msgspec.structs.replace(body, records=memoryview(bytes(content)))
    return msgspec.structs.replace(frame, body=damaged)


class Wire:
    """One direction. Frames go to whoever listens when they arrive."""

    def __init__(self, fate: Fate) -> None:
        self.fate = fate
        self.listener: Inbox[Frame] | None = None
        self.carried: list[Frame] = []

    def carry(self, frame: Frame) -> None:
        for delay_s, copy in self.fate(frame):
            if delay_s:
                asyncio.get_running_loop().call_later(delay_s, self.arrive, copy)
            else:
                self.arrive(copy)

    def arrive(self, frame: Frame) -> None:
        if self.listener is not None:
            self.carried.append(frame)
            self.listener.put(frame)


class Plug:
    """A `Transport` between two wires. One that is `told` of a close hears it when the other end hangs up."""

    def __init__(self, out: Wire, back: Wire, *, told: bool) -> None:
        self._out = out
        self._told = told
        self._inbox: Inbox[Frame] = Inbox()
        back.listener = self._inbox
        self._back = back
        self.dead = False

    def send(self, frame: Frame) -> None:
        if not self.dead:
            self._out.carry(frame)

    async def receive(self, most: int) -> Sequence[Frame]:
        return await self._inbox.take(most)

    def close(self) -> None:
        if self._told and not self.dead and self._out.listener is not None:
            self._out.listener.close()
        self.unplug()

    def unplug(self) -> None:
        """Die without a word."""
        self.dead = True
        if self._back.listener is self._inbox:
            self._back.listener = None


@dataclass
class Bench:
    """Both ends of a hop. Wires, limits and what is told on a close are set before `run`."""

    there: Fate = faithful
    back: Fate = faithful
    link: LinkLimits = LINK
    circuit: CircuitLimits = CIRCUIT
    queue: QueueLimits = QUEUE
    told: bool = True
    within_s: float = HOUR_S
    facts: list[Fact] = field(default_factory=list)
    seed: int = 1

    @staticmethod
    def hostile(seed: int) -> Chance:
        """Return the fate of frames on a wire that does what it likes."""
        return Chance(seed)

    @staticmethod
    def flipped(frame: Frame, bit: int) -> Frame:
        """Return a copy of a transfer with one bit of its records turned over."""
        return flipped(frame, bit)

    def saw(self, fact: Fact) -> None:
        self.facts.append(fact)

    def of(self, kind: type[Any]) -> list[Any]:
        return [fact for fact in self.facts if isinstance(fact, kind)]

    @property
    def faults(self) -> list[str]:
        """What went wrong, by code, beside acknowledgements that are late: those are made up for."""
        return [fact.code for fact in self.of(LinkFault) if fact.code not in {"INT_LINK_001", "INT_LINK_004"}]

    def run(self, work: Callable[[Bench], Coroutine[Any, Any, None]]) -> Bench:
        """Run both ends while `work` goes on; the sending end has begun."""
        loop = VirtualLoop(random.Random(self.seed), lambda: None)
        self.wall = WallClock(loop)
        self.clock = LifeClock(self.wall, loop, 0.0)
        self.there_wire, self.back_wire = Wire(self.there), Wire(self.back)

        async def both() -> None:
            async with asyncio.timeout(self.within_s):
                self.start_receiver()
                self.start_sender()
                self.sender.begin()
                try:
                    await work(self)
                finally:
                    await self.kill(self.sending, self.plug_there)
                    await self.kill(self.receiving, self.plug_back)

        try:
            loop.run_until_complete(both())
        finally:
            loop.close()
        assert loop.uncaught == []
        return self

    def start_sender(self) -> None:
        """Start a sending end where the last one, if any, was. It has not begun."""
        self.plug_there = Plug(self.there_wire, self.back_wire, told=self.told)
        out = self._envelope
        limits = self.link, self.circuit
        self.sender: SendingEnd[ValidationSummary] = SendingEnd(
            Hop.ALPHA_BETA, "orders", limits, self.plug_there, (out, out.alpha_beta), self._context
        )
        self.sending = asyncio.create_task(self.sender.run())

    def start_receiver(self) -> None:
        """Start a receiving end where the last one, if any, was."""
        self.plug_back = Plug(self.back_wire, self.there_wire, told=self.told)
        limits = EndLimits(self.queue, self.link.window_batches, self.link.heartbeat_s)
        self.receiver = ReceivingEnd(
            Hop.ALPHA_BETA, limits, self.plug_back, lambda _: SCHEMA, self._envelope.back(), self._context
        )
        self.receiving = asyncio.create_task(self.receiver.run())

    async def kill(self, end: asyncio.Task[None], plug: Plug) -> None:
        """End a task as kill -9 would: without a word on the wire. Another starts later than that."""
        plug.unplug()
        end.cancel()
        await asyncio.gather(end, return_exceptions=True)
        await asyncio.sleep(0.01)

    @property
    def _envelope(self) -> Envelope:
        return Envelope(Module.ALPHA, Module.BETA, self.clock, self._context.chance)

    @property
    def _context(self) -> RunContext:
        chance = SeededChance(random.Random(f"{self.seed} {self.clock.now_s()} {len(self.facts)}"))
        return RunContext(None, Settings(), self.clock, chance, self)  # type: ignore[arg-type] # a hop writes no book

    # What stages do.

    @staticmethod
    def processed(batch: Arrived, status: AckStatus = AckStatus.PROCESSED) -> AcknowledgmentPayload:
        """Return the answer to a batch of which everything was delivered."""
        metadata = batch.metadata
        tally = (Count("facts", Outcome.DELIVERED, Stage.DELIVERY, "", metadata.record_count),)
        return AcknowledgmentPayload(
            metadata.batch_id, status, metadata.record_count, 0, 0, tally, sequence_number=metadata.sequence_number
        )

    @staticmethod
    def batches(
        count: int, *, first: int = 0, records: int = 3, streaming: bool = False, life: str = ""
    ) -> list[Outgoing[ValidationSummary]]:
        """Batches numbered from `first`; `life` tells those of one incarnation from those of another."""
        made = []
        for number in range(first, first + count):
            start = number * records
            rows = [{"id": id_, SEQUENCE: id_} for id_ in range(start, start + records)]
            covers = Covers("a", Range(start, start + records), Position("a", 0, ""))
            stamp = Stamp(f"b{life}{number}", number, datetime(2026, 1, 1, tzinfo=UTC))
            batch = pa.RecordBatch.from_pylist(rows, schema=SCHEMA)
            made.append(outgoing(batch, SUMMARY, covers, stamp, streaming=streaming))
        return made

    async def send(self, *batches: Outgoing[ValidationSummary]) -> None:
        for batch in batches:
            await self.sender.send(batch)

    async def hand_over(self, batches: Sequence[Outgoing[ValidationSummary]]) -> list[Answered]:
        """What a sending stage does: send, close, take answers until no more will come, and leave."""
        answers: list[Answered] = []

        async def collect() -> None:
            while found := await self.sender.answered():
                answers.extend(found)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(collect())
            await self.send(*batches)
            self.sender.close()
        self.sender.finish()
        return answers

    async def take(self, count: int) -> list[Arrived]:
        """Take until there are `count` batches."""
        arrived: list[Arrived] = []
        while len(arrived) < count:
            taken = await self.receiver.take()
            arrived += taken.batches
            assert not taken.closed or len(arrived) == count, "no more will come"
        return arrived

    def answer(self, arrived: Sequence[Arrived]) -> None:
        self.receiver.answer([self.processed(batch) for batch in arrived])

    async def work_off(self, most: int | None = None, pause_s: float = 0.0) -> list[Arrived]:
        """What a receiving stage does: take and answer until nothing more comes, and stay until the sender leaves."""
        arrived: list[Arrived] = []
        closed = False
        while not closed:
            taken = await self.receiver.take(most)
            closed = taken.closed
            if pause_s:
                await asyncio.sleep(pause_s)
            arrived += taken.batches
            self.answer(taken.batches)
        self.receiver.close()
        await self.receiver.finished()
        return arrived

    async def both_ended(self) -> None:
        """Wait until both ends have ended by themselves, without an error."""
        await asyncio.gather(self.sending, self.receiving)


@pytest.fixture
def bench() -> Bench:
    return Bench()
