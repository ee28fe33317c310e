"""Both ends of a hop, live, over wires that drop, repeat, delay, reorder and damage what they carry."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING

import msgspec
import pytest

from penstock.links.receiving import UNCONFIRMED_HEARTBEATS
from penstock.observing.facts import BatchParked, BatchTransmitted, CircuitChanged, FrameDropped, LinkFault
from penstock.ports import ReceiverIsNew, SenderIsNew
from penstock.protocol.breaker import CircuitState
from penstock.protocol.frames import Close, Heartbeat, Hello
from penstock.protocol.messages import (
    Acknowledgment,
    AckStatus,
    AlphaBetaBatchTransfer,
    StreamingAcknowledgment,
    StreamingHandoffMessage,
)
from penstock.protocol.receiver import DropReason

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.links.conftest import Bench

    from penstock.ports import Arrived
    from penstock.protocol.frames import Frame

HEARTBEAT_S = 1.0
COUNT = 30


def losing(which: Callable[[Frame], bool], times: int = 1) -> Callable[[Frame], Sequence[tuple[float, Frame]]]:
    """Lose the first frames of a kind; everything else is carried."""
    left = [times]

    def fate(frame: Frame) -> Sequence[tuple[float, Frame]]:
        if left[0] and which(frame):
            left[0] -= 1
            return []
        return [(0.0, frame)]

    return fate


def is_transfer(frame: Frame) -> bool:
    return isinstance(frame.body, AlphaBetaBatchTransfer | StreamingHandoffMessage)


def is_final(frame: Frame) -> bool:
    """Tell whether a frame carries an answer for good."""
    body = frame.body
    if isinstance(body, StreamingAcknowledgment):
        return bool(body.settled)
    return isinstance(body, Acknowledgment) and body.payload.status is not AckStatus.RECEIVED


def is_received(frame: Frame) -> bool:
    body = frame.body
    if isinstance(body, StreamingAcknowledgment):
        return not body.settled
    return isinstance(body, Acknowledgment) and body.payload.status is AckStatus.RECEIVED


def ids(arrived: Sequence[Arrived]) -> list[int]:
    return [id_ for batch in arrived for id_ in batch.records.column("id").to_pylist()]


# --- everything at once -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["batches", "streaming", "mixed"])
@pytest.mark.parametrize("seed", range(8))
def test_every_batch_is_worked_on_once_in_order_and_as_it_was_and_both_ends_end(
    bench: Bench, seed: int, mode: str
) -> None:
    bench.there, bench.back = chance, _ = bench.hostile(seed), bench.hostile(seed + 1_000)
    bench.seed = seed
    bench.told = False
    whole, streamed = bench.batches(COUNT), bench.batches(COUNT, streaming=True)
    streams_below = {"batches": 0, "mixed": 3, "streaming": 5}[mode]
    sent = [(streamed if number % 5 < streams_below else whole)[number] for number in range(COUNT)]

    async def work(bench: Bench) -> None:
        arrived, answers = await asyncio.gather(bench.work_off(3, pause_s=0.05), bench.hand_over(sent))
        await bench.both_ended()
        assert [batch.metadata for batch in arrived] == [batch.metadata for batch in sent], f"seed {seed}"
        assert ids(arrived) == list(range(3 * COUNT)), f"seed {seed}"
        assert sorted(answer.metadata.sequence_number for answer in answers) == list(range(COUNT)), f"seed {seed}"

    bench.run(work)
    assert bench.faults == [], f"seed {seed}"
    assert all(chance.done.values()), chance.done
    assert any(fact.attempt for fact in bench.of(BatchTransmitted))
    assert {fact.reason for fact in bench.of(FrameDropped)} >= {DropReason.CHECKSUM}


@pytest.mark.parametrize("seed", range(4))
def test_credit_and_queue_hold_on_both_ends_whatever_the_network_does(bench: Bench, seed: int) -> None:
    bench.there = bench.hostile(seed)
    bench.back = bench.hostile(seed + 1_000)
    sent = [
        (bench.batches(COUNT, streaming=True) if number % 2 else bench.batches(COUNT))[number]
        for number in range(COUNT)
    ]

    async def watch(bench: Bench) -> None:
        while True:
            sender, receiver = bench.sender._machine, bench.receiver._machine
            assert sender.streamed <= sender.credit_to <= receiver.credit_to
            assert receiver.depth <= bench.queue.capacity_batches
            assert receiver.depth_records <= bench.queue.credit_records
            assert receiver.kept <= bench.queue.unsettled_batches
            assert len(bench.receiver._waiting) <= bench.link.window_batches
            await asyncio.sleep(0.1)

    async def work(bench: Bench) -> None:
        watching = asyncio.create_task(watch(bench))
        await asyncio.gather(bench.work_off(2, pause_s=0.3), bench.hand_over(sent))
        assert not watching.done(), watching
        watching.cancel()

    bench.run(work)


class Lives:
    """A stage at either end of a hop over which `count` batches go: both die and go back, and what is durable stays."""

    def __init__(self, bench: Bench, count: int) -> None:
        self.bench = bench
        self.count = count
        self.settled = 0
        """By the sending stage's ledger."""
        self.delivered: list[int] = []
        """At the receiving stage's destination."""
        self.life = 0
        self.goes_back = False
        """Whether the receiving stage has to begin again, for a reason of its own."""

    async def send(self) -> None:
        """Send from what is settled, until all is."""
        while not await self._sent_all():
            pass
        self.bench.sender.finish()

    async def _sent_all(self) -> bool:
        sender = self.bench.sender
        self.life += 1
        sender.begin()
        went_back = False
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._settle(self.settled))
                batches = self.bench.batches(self.count, life=f"{self.life} ")[self.settled :]
                for number, batch in enumerate(batches):
                    numbered = msgspec.structs.replace(batch.metadata, sequence_number=number)
                    await sender.send(replace(batch, metadata=numbered, streaming=number % 3 == 0))
                sender.close()
        except* ReceiverIsNew:
            went_back = True
        return not went_back

    async def _settle(self, base: int) -> None:
        answered: set[int] = set()
        while found := await self.bench.sender.answered():
            answered.update(base + answer.metadata.sequence_number for answer in found)
            while self.settled in answered:
                self.settled += 1

    async def receive(self) -> None:
        """Deliver what is not there yet, until the sender leaves."""
        receiver = self.bench.receiver
        while True:
            try:
                await self._work_off()
                receiver.close()
                await receiver.finished()
            except SenderIsNew:
                continue
            return

    async def _work_off(self) -> None:
        receiver, closed = self.bench.receiver, False
        while not closed:
            taken = await receiver.take(2)
            if self.goes_back:
                self.goes_back = False
                receiver.begin()
                continue
            closed = taken.closed
            for batch in taken.batches:
                item = batch.metadata.range.start // 3
                assert item <= len(self.delivered), "nothing is left out"
                self.delivered += [item] if item == len(self.delivered) else []
            await asyncio.sleep(0.1)
            self.bench.answer(taken.batches)


@pytest.mark.parametrize("seed", range(12))
def test_whoever_dies_and_whatever_the_network_does_all_is_delivered_once_and_known_to_be(
    bench: Bench, seed: int
) -> None:
    bench.there, bench.back = bench.hostile(seed), bench.hostile(seed + 1_000)
    bench.seed = seed
    bench.told = False
    chance = Random(seed)

    async def work(bench: Bench) -> None:
        lives = Lives(bench, 20)
        sending, receiving = asyncio.create_task(lives.send()), asyncio.create_task(lives.receive())
        for _ in range(6):
            await asyncio.sleep(chance.uniform(0.0, 12.0))
            bench.wall.ahead_s = chance.uniform(-1_000.0, 1_000.0)
            if sending.done():
                break
            what = chance.randrange(3)
            if what == 0:
                sending.cancel()
                await bench.kill(bench.sending, bench.plug_there)
                bench.start_sender()
                sending = asyncio.create_task(lives.send())
            elif what == 1:
                receiving.cancel()
                await bench.kill(bench.receiving, bench.plug_back)
                bench.start_receiver()
                receiving = asyncio.create_task(lives.receive())
            else:
                lives.goes_back = True
        await sending
        assert lives.settled == 20, f"seed {seed}"
        assert lives.delivered == list(range(20)), f"seed {seed}"
        await asyncio.wait([receiving], timeout=60.0)
        receiving.cancel()  # one that was started after the sender had left waits for nobody

    bench.run(work)
    assert bench.faults == [], f"seed {seed}"


# --- one thing at a time ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("streaming", [False, True], ids=["batches", "streaming"])
@pytest.mark.parametrize(
    ("there", "back", "within_s"),
    [
        (is_transfer, None, 40.0),
        (None, is_received, 40.0),
        (None, is_final, 5.0),
        (lambda frame: isinstance(frame.body, Hello), None, 5.0),
        (None, lambda frame: isinstance(frame.body, Hello), 5.0),
        (lambda frame: isinstance(frame.body, Close), None, 5.0),
        (None, lambda frame: isinstance(frame.body, Close), 5.0),
        (lambda frame: isinstance(frame.body, Heartbeat), None, 5.0),
        (None, lambda frame: isinstance(frame.body, Heartbeat), 5.0),
    ],
    ids=[
        "transfer",
        "received",
        "final answer",
        "HELLO",
        "HELLO back",
        "CLOSE",
        "CLOSE back",
        "HEARTBEAT",
        "HEARTBEAT back",
    ],
)
@pytest.mark.parametrize("times", [1, 3])
def test_whatever_is_lost_is_said_again(
    bench: Bench,
    there: Callable[[Frame], bool] | None,
    back: Callable[[Frame], bool] | None,
    within_s: float,
    times: int,
    *,
    streaming: bool,
) -> None:
    if there:
        bench.there = losing(there, times)
    if back:
        bench.back = losing(back, times)
    sent = bench.batches(3, streaming=streaming)

    async def work(bench: Bench) -> None:
        arrived, answers = await asyncio.gather(bench.work_off(), bench.hand_over(sent))
        await bench.both_ended()
        assert len(arrived) == len(answers) == 3
        assert bench.clock.now_s() < within_s * times

    bench.run(work)
    assert bench.faults == []


def test_a_lost_received_is_made_up_for_by_the_next_heartbeat(bench: Bench) -> None:
    """RECEIVED has a deadline of half a minute; what a heartbeat tells frees the window long before."""
    bench.back = losing(is_received, 5)

    async def work(bench: Bench) -> None:
        sending = asyncio.create_task(bench.send(*bench.batches(6)))
        await bench.take(6)
        await sending
        assert bench.clock.now_s() < 2 * HEARTBEAT_S

    bench.run(work)
    assert [fact.attempt for fact in bench.of(BatchTransmitted)] == [0] * 6


def test_a_final_answer_is_not_repeated_before_it_can_be_late(bench: Bench) -> None:
    async def work(bench: Bench) -> None:
        await bench.send(*bench.batches(1))
        arrived = await bench.take(1)
        await asyncio.sleep(0.95)
        bench.answer(arrived)
        await asyncio.sleep(0.5)

    bench.run(work)
    assert sum(is_final(frame) for frame in bench.back_wire.carried) == 1


def test_close_does_not_overtake_what_was_lost_before_it(bench: Bench) -> None:
    bench.there = losing(is_transfer)

    async def work(bench: Bench) -> None:
        await bench.send(*bench.batches(1))
        bench.sender.close()
        taken = await bench.receiver.take()
        assert len(taken.batches) == 1
        assert bench.clock.now_s() > bench.link.ack_timeout_s

    bench.run(work)


def test_where_the_last_close_is_lost_and_nobody_tells_the_receiver_leaves_after_some_silence(bench: Bench) -> None:
    bench.there = losing(lambda frame: isinstance(frame.body, Close) and frame.body.final)
    bench.told = False

    async def work(bench: Bench) -> None:
        await asyncio.gather(bench.work_off(), bench.hand_over(bench.batches(2)))
        await bench.both_ended()
        assert bench.clock.now_s() == pytest.approx(UNCONFIRMED_HEARTBEATS * HEARTBEAT_S, abs=1.0)

    bench.run(work)


def test_an_end_whose_answers_are_not_confirmed_stays_far_longer_than_one_whose_answers_are(bench: Bench) -> None:
    cut = True
    bench.back = lambda frame: [] if cut and is_final(frame) else [(0.0, frame)]
    bench.told = False

    async def work(bench: Bench) -> None:
        nonlocal cut
        handing_over = asyncio.create_task(bench.hand_over(bench.batches(2)))
        working = asyncio.create_task(bench.work_off())
        await asyncio.sleep(2.5 * HEARTBEAT_S)
        bench.there_wire.fate = lambda _: []
        await asyncio.sleep((UNCONFIRMED_HEARTBEATS - 10) * HEARTBEAT_S)
        assert not bench.receiving.done()
        cut = False
        bench.there_wire.fate = lambda frame: [(0.0, frame)]
        assert len(await handing_over) == len(await working) == 2

    bench.run(work)


def test_one_flipped_bit_anywhere_in_the_records_is_noticed_and_mended(bench: Bench) -> None:
    (batch,) = bench.batches(1)
    bits = Random(1).sample(range(8 * len(batch.payload)), 10)

    def damage(frame: Frame) -> list[tuple[float, Frame]]:
        if not is_transfer(frame):
            return [(0.0, frame)]
        return [(0.0, bench.flipped(frame, bit)) for bit in bits] + [(0.0, frame)]

    bench.there = damage

    async def work(bench: Bench) -> None:
        await bench.send(batch)
        assert ids(await bench.take(1)) == [0, 1, 2]

    bench.run(work)
    assert [fact.reason for fact in bench.of(FrameDropped)] == [DropReason.CHECKSUM] * 10


def test_an_end_that_comes_late_is_waited_for(bench: Bench) -> None:
    """Whatever was said to nobody is said again once somebody is there."""

    async def work(bench: Bench) -> None:
        await bench.kill(bench.receiving, bench.plug_back)
        handing_over = asyncio.create_task(bench.hand_over(bench.batches(2)))
        await asyncio.sleep(7.0)
        assert not handing_over.done()
        bench.start_receiver()
        arrived = await bench.work_off()
        assert len(arrived) == len(await handing_over) == 2

    bench.run(work)


# --- silence ----------------------------------------------------------------------------------------------------------


def test_silence_opens_the_circuit_and_the_first_answer_after_it_closes_it_again(bench: Bench) -> None:
    silent = True
    bench.link = replace(bench.link, retries_max=1)
    bench.there = lambda frame: [] if silent and is_transfer(frame) else [(0.0, frame)]

    async def work(bench: Bench) -> None:
        nonlocal silent
        await bench.send(*bench.batches(3))
        await asyncio.sleep(61.0)
        assert len(bench.of(BatchParked)) == 3
        more = asyncio.create_task(bench.send(*bench.batches(1, first=3)))
        await asyncio.sleep(20.0)
        assert not more.done()
        silent = False
        arrived = await bench.take(4)
        await more
        assert [batch.metadata.sequence_number for batch in arrived] == [0, 1, 2, 3]
        assert 61.0 + 59.0 < bench.clock.now_s() < 61.0 + 90.0

    bench.run(work)
    late = Counter(fact.code for fact in bench.of(LinkFault))
    assert late == {"INT_LINK_004": 3 + 1, "INT_LINK_001": 3}, "each was sent again once, and one as a probe"
    moves = [(fact.previous, fact.new) for fact in bench.of(CircuitChanged)]
    closed, open_, half_open = CircuitState
    assert moves == [(closed, open_), (open_, half_open), (half_open, closed)]


def test_a_batch_that_waits_long_to_be_sent_again_does_not_hide_the_deadline_of_another(bench: Bench) -> None:
    tries: dict[str, int] = {"b0": 0, "b1": 0}
    bench.link = replace(bench.link, ack_timeout_s=1.0, backoff_multiplier=200.0)

    def loses_the_first_tries(frame: Frame) -> list[tuple[float, Frame]]:
        if isinstance(frame.body, AlphaBetaBatchTransfer):
            batch_id = frame.body.metadata.batch_id
            tries[batch_id] += 1
            return [] if tries[batch_id] == 1 or batch_id == "b0" else [(0.0, frame)]
        return [(0.0, frame)]

    bench.there = loses_the_first_tries

    async def work(bench: Bench) -> None:
        first, second = bench.batches(2)
        await bench.send(first)
        await asyncio.sleep(4.0)
        assert tries["b0"] == 2, "its third try comes after 200 seconds"
        await bench.send(second)
        await asyncio.sleep(3.0)
        assert tries == {"b0": 2, "b1": 2}

    bench.run(work)


def test_what_a_late_answer_sets_free_has_a_deadline_of_its_own(bench: Bench) -> None:
    """A late answer closes the circuit before its cool-down is over; what is sent then may be lost again."""
    tries = 0
    bench.link = replace(bench.link, ack_timeout_s=1.0, retries_max=0)
    bench.circuit = replace(bench.circuit, reset_timeout_s=3_600.0)

    def loses_the_second_batch(frame: Frame) -> list[tuple[float, Frame]]:
        nonlocal tries
        is_second = isinstance(frame.body, AlphaBetaBatchTransfer) and frame.body.metadata.batch_id == "b1"
        tries += is_second
        return [] if is_second else [(0.0, frame)]

    bench.there = loses_the_second_batch
    bench.back = lambda frame: [(0.0 if isinstance(frame.body, Hello) else 3.0, frame)]

    async def work(bench: Bench) -> None:
        await bench.send(*bench.batches(2))
        await asyncio.sleep(60.0)

    bench.run(work)
    moves = [fact.new for fact in bench.of(CircuitChanged)]
    assert moves[:3] == [CircuitState.OPEN, CircuitState.CLOSED, CircuitState.OPEN]
    assert tries == 2


def test_an_answer_to_a_probe_sends_all_that_is_parked(bench: Bench) -> None:
    silent = True
    bench.link = replace(bench.link, ack_timeout_s=1.0, retries_max=0)
    bench.there = lambda frame: [] if silent and is_transfer(frame) else [(0.0, frame)]

    async def work(bench: Bench) -> None:
        nonlocal silent
        await bench.send(*bench.batches(5))
        await asyncio.sleep(2.0)
        assert len(bench.of(BatchParked)) == 5
        silent = False
        assert ids(await bench.take(5)) == list(range(15))
        assert bench.clock.now_s() == pytest.approx(1.0 + bench.circuit.reset_timeout_s, abs=1.0)

    bench.run(work)
