"""Both ends of a hop, live, over wires that do no harm: order, bounds, answers, closing."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from penstock.errors import Corruption
from penstock.links.receiving import INLINE_BYTES
from penstock.observing.facts import (
    BackPressure,
    BatchAnswered,
    BatchTransmitted,
    FrameDropped,
    LatencyStage,
    LinkSilent,
    Timed,
)
from penstock.protocol.frames import Close, Heartbeat
from penstock.protocol.messages import (
    Acknowledgment,
    AckStatus,
    AlphaBetaBatchTransfer,
    DeliveryConfirmation,
    ErrorNotification,
    StreamingAcknowledgment,
    StreamingHandoffMessage,
    Variant,
)
from penstock.protocol.receiver import DropReason
from penstock.protocol.sender import Outgoing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.links.conftest import Bench, Wire

    from penstock.ports import Arrived

HEARTBEAT_S = 1.0
MODES = pytest.mark.parametrize("streaming", [False, True], ids=["batches", "streaming"])


def ids(arrived: Sequence[Arrived]) -> list[int]:
    return [id_ for batch in arrived for id_ in batch.records.column("id").to_pylist()]


def said(wire: Wire, kind: type[Any]) -> list[Any]:
    """What of one kind a wire has carried."""
    return [frame.body for frame in wire.carried if isinstance(frame.body, kind)]


# --- order ------------------------------------------------------------------------------------------------------------


@MODES
@pytest.mark.parametrize("records", [3, INLINE_BYTES // 8])
def test_every_batch_arrives_once_in_order_and_as_it_was(bench: Bench, records: int, *, streaming: bool) -> None:
    bench.queue = replace(bench.queue, credit_records=20 * records)
    sent = bench.batches(20, records=records, streaming=streaming)

    async def work(bench: Bench) -> None:
        arrived, answers = await asyncio.gather(bench.work_off(), bench.hand_over(sent))
        await bench.both_ended()
        assert [batch.metadata for batch in arrived] == [batch.metadata for batch in sent]
        assert ids(arrived) == list(range(20 * records))
        assert [answer.metadata for answer in answers] == [batch.metadata for batch in sent]
        assert answers[0].payload.tally == bench.processed(arrived[0]).tally

    bench.run(work)
    assert bench.of(BatchTransmitted) == [
        BatchTransmitted(bench.of(BatchTransmitted)[0].hop, records, 0, streaming)
    ] * len(sent)
    assert bench.of(FrameDropped) == []
    assert bench.faults == []


def test_both_modes_share_one_order(bench: Bench) -> None:
    whole = bench.batches(30)
    streamed = bench.batches(30, streaming=True)
    sent = [(streamed if number % 3 else whole)[number] for number in range(30)]

    async def work(bench: Bench) -> None:
        arrived, answers = await asyncio.gather(bench.work_off(), bench.hand_over(sent))
        assert ids(arrived) == list(range(90))
        assert sorted(answer.metadata.sequence_number for answer in answers) == list(range(30))
        assert sorted({type(batch.transfer).__name__ for batch in arrived}) == [
            "AlphaBetaBatchTransfer",
            "StreamingHandoffMessage",
        ]

    bench.run(work)


def test_a_streamed_message_says_what_it_is_and_what_was_streamed_before_it(bench: Bench) -> None:
    async def work(bench: Bench) -> None:
        batches = [*bench.batches(2), *bench.batches(2, first=2, records=3, streaming=True)]
        (single,) = bench.batches(1, first=4, records=1, streaming=True)
        await bench.send(*batches, single)
        await bench.take(5)

    bench.run(work)
    assert len(said(bench.there_wire, AlphaBetaBatchTransfer)) == 2
    assert [(each.variant, each.stream_offset) for each in said(bench.there_wire, StreamingHandoffMessage)] == [
        (Variant.MICRO_BATCH, 0),
        (Variant.MICRO_BATCH, 3),
        (Variant.SINGLE_RECORD, 6),
    ]


# --- what bounds it ---------------------------------------------------------------------------------------------------


def test_taking_slowly_holds_the_sender_back_and_drops_nothing(bench: Bench) -> None:
    sent = bench.batches(40)

    async def work(bench: Bench) -> None:
        sending = asyncio.create_task(bench.send(*sent))
        await asyncio.sleep(0.5)
        assert bench.receiver.depth <= bench.queue.capacity_batches
        assert not sending.done()
        arrived: list[Arrived] = []
        while len(arrived) < 40:
            arrived += (await bench.receiver.take(1)).batches
            assert bench.receiver.depth <= bench.queue.capacity_batches
            await asyncio.sleep(0.1)
        await sending
        assert [batch.metadata.sequence_number for batch in arrived] == list(range(40))

    bench.run(work)
    assert bench.of(FrameDropped) == []
    pressed = [fact.active for fact in bench.of(BackPressure)]
    assert pressed[0] is True
    assert pressed[-1] is False


def test_frames_for_which_the_queue_has_no_room_are_kept_and_not_sent_again(bench: Bench) -> None:
    """A queue of one and a window of five: four frames wait for room at the receiving end, and none is lost."""
    bench.queue = replace(bench.queue, capacity_batches=1)

    async def work(bench: Bench) -> None:
        sending = asyncio.create_task(bench.send(*bench.batches(5)))
        await asyncio.sleep(1.0)
        assert bench.receiver.depth == 1
        arrived: list[Arrived] = []
        while len(arrived) < 5:
            arrived += (await bench.receiver.take(1)).batches
        await sending
        assert ids(arrived) == list(range(15))

    bench.run(work)
    assert bench.of(FrameDropped) == []
    assert [fact.attempt for fact in bench.of(BatchTransmitted)] == [0] * 5


def test_no_more_frames_are_kept_than_the_sender_may_have_under_way(bench: Bench) -> None:
    bench.queue = replace(bench.queue, capacity_batches=1)
    bench.there = lambda frame: [(0.0, frame)] * (10 if isinstance(frame.body, AlphaBetaBatchTransfer) else 1)

    async def work(bench: Bench) -> None:
        sending = asyncio.create_task(bench.send(*bench.batches(5)))
        await asyncio.sleep(0.1)
        assert len(bench.receiver._waiting) == bench.link.window_batches
        arrived: list[Arrived] = []
        while len(arrived) < 5:
            arrived += (await bench.receiver.take(1)).batches
        await sending
        assert ids(arrived) == list(range(15)), "what was dropped was sent again"

    bench.run(work)
    assert {fact.reason for fact in bench.of(FrameDropped)} == {DropReason.QUEUE_FULL}


def test_a_silent_receiver_holds_no_more_than_the_window(bench: Bench) -> None:
    bench.there = lambda frame: [] if isinstance(frame.body, AlphaBetaBatchTransfer) else [(0.0, frame)]

    async def work(bench: Bench) -> None:
        sending = asyncio.create_task(bench.send(*bench.batches(10)))
        await asyncio.sleep(20.0)
        assert not sending.done()
        sending.cancel()

    bench.run(work)
    assert len(bench.of(BatchTransmitted)) == bench.link.window_batches


def test_what_is_streamed_waits_for_credit_and_no_more_is_ever_here_than_was_granted(bench: Bench) -> None:
    async def work(bench: Bench) -> None:
        sending = asyncio.create_task(bench.send(*bench.batches(25, streaming=True)))
        await asyncio.sleep(5.0)
        assert not sending.done()
        assert bench.receiver._machine.depth_records == bench.queue.credit_records
        arrived: list[Arrived] = []
        while len(arrived) < 25:
            arrived += (await bench.receiver.take(1)).batches
            assert bench.receiver._machine.depth_records <= bench.queue.credit_records
        await sending
        assert ids(arrived) == list(range(75))

    bench.run(work)
    waits = [fact.active for fact in bench.of(BackPressure)]
    assert waits[::2] == [True] * len(waits[::2])
    assert waits[1::2] == [False] * len(waits[::2])
    assert bench.of(FrameDropped) == []


def test_no_more_than_so_many_are_unsettled_and_then_the_receiver_is_asked_to_hurry(bench: Bench) -> None:
    bench.link = replace(bench.link, unsettled_batches=3)

    async def work(bench: Bench) -> None:
        sending = asyncio.create_task(bench.send(*bench.batches(4)))
        arrived = await bench.take(3)
        assert (await bench.receiver.take()).hurry
        await asyncio.sleep(10.0)
        assert not sending.done()
        bench.answer(arrived[:1])
        await sending

    bench.run(work)


# --- hurry ------------------------------------------------------------------------------------------------------------


def test_a_hurry_is_told_with_the_take_that_leaves_nothing_behind(bench: Bench) -> None:
    async def work(bench: Bench) -> None:
        await bench.send(*bench.batches(5))
        bench.sender.hurry()
        await asyncio.sleep(0.1)
        first = await bench.receiver.take(3)
        assert (len(first.batches), first.hurry) == (3, False)
        second = await bench.receiver.take(3)
        assert (len(second.batches), second.hurry) == (2, True)

    bench.run(work)


def test_a_hurry_wakes_who_waits_for_more(bench: Bench) -> None:
    async def work(bench: Bench) -> None:
        await bench.send(*bench.batches(1))
        await bench.take(1)
        taking = asyncio.create_task(bench.receiver.take())
        await asyncio.sleep(0.1)
        assert not taking.done()
        bench.sender.hurry()
        taken = await taking
        assert (list(taken.batches), taken.hurry, taken.closed) == ([], True, False)

    bench.run(work)


def test_a_hurry_is_repeated_until_something_is_answered(bench: Bench) -> None:
    async def work(bench: Bench) -> None:
        await bench.send(*bench.batches(1))
        arrived = await bench.take(1)
        bench.sender.hurry()
        for _ in range(3):
            assert (await bench.receiver.take()).hurry
        bench.answer(arrived)
        await bench.sender.answered()
        taking = asyncio.create_task(bench.receiver.take())
        await asyncio.sleep(10 * HEARTBEAT_S)
        assert not taking.done()
        taking.cancel()

    bench.run(work)


def test_a_hurry_before_the_ends_have_met_is_not_forgotten(bench: Bench) -> None:
    bench.back = lambda frame: [(0.2, frame)]

    async def work(bench: Bench) -> None:
        bench.sender.hurry()
        assert (await bench.receiver.take()).hurry
        assert bench.clock.now_s() < HEARTBEAT_S

    bench.run(work)


# --- answers ----------------------------------------------------------------------------------------------------------


@MODES
def test_a_rejected_batch_is_answered_as_such_and_says_why(bench: Bench, *, streaming: bool) -> None:
    async def work(bench: Bench) -> None:
        await bench.send(*bench.batches(1, streaming=streaming))
        (batch,) = await bench.take(1)
        why = msgspec.structs.replace(bench.processed(batch, AckStatus.REJECTED), reason="no such column")
        bench.receiver.answer([why])
        (answer,) = await bench.sender.answered()
        assert (answer.payload.status, answer.payload.reason) == (AckStatus.REJECTED, "no such column")

    bench.run(work)


@MODES
def test_what_is_answered_together_is_told_together(bench: Bench, *, streaming: bool) -> None:
    async def work(bench: Bench) -> None:
        await bench.send(*bench.batches(4, streaming=streaming))
        bench.answer(await bench.take(4))
        assert len(await bench.sender.answered()) == 4

    bench.run(work)
    assert len(bench.of(BatchAnswered)) == 4
    if streaming:
        told = [each for each in said(bench.back_wire, StreamingAcknowledgment) if each.settled]
        assert [len(each.settled) for each in told] == [4]
    else:
        assert len(said(bench.back_wire, Acknowledgment)) == 8


def test_answers_may_come_in_any_order(bench: Bench) -> None:
    async def work(bench: Bench) -> None:
        await bench.send(*bench.batches(3))
        first, second, third = await bench.take(3)
        bench.answer([third])
        assert [answer.metadata.sequence_number for answer in await bench.sender.answered()] == [2]
        bench.answer([first, second])
        assert [answer.metadata.sequence_number for answer in await bench.sender.answered()] == [0, 1]

    bench.run(work)


def test_a_delivery_confirmation_settles_nothing_by_itself(bench: Bench) -> None:
    async def work(bench: Bench) -> None:
        await bench.send(*bench.batches(1))
        (batch,) = await bench.take(1)
        bench.receiver.confirm(batch.metadata.batch_id, (), (batch.metadata.range,))
        answering = asyncio.create_task(bench.sender.answered())
        await asyncio.sleep(10.0)
        assert not answering.done()
        answering.cancel()

    bench.run(work)
    (told,) = said(bench.back_wire, DeliveryConfirmation)
    assert told.header.correlation_id == "b0"


def test_answers_are_kept_until_the_sender_has_them_and_no_longer(bench: Bench) -> None:
    async def work(bench: Bench) -> None:
        await bench.send(*bench.batches(3))
        bench.answer(await bench.take(3))
        await bench.sender.answered()
        assert bench.receiver._machine.kept == 3
        await asyncio.sleep(1.5 * HEARTBEAT_S)
        assert bench.receiver._machine.kept == 0

    bench.run(work)


def test_how_long_a_record_took_is_told_by_stage(bench: Bench) -> None:
    bench.back = lambda frame: [(0.25, frame)]

    async def work(bench: Bench) -> None:
        await bench.send(*bench.batches(1))
        arrived = await bench.take(1)
        await asyncio.sleep(1.0)
        bench.answer(arrived)
        await bench.sender.answered()

    bench.run(work)
    timed = {fact.stage: fact for fact in bench.of(Timed)}
    assert timed[LatencyStage.HAND_OFF].seconds == pytest.approx(0.25, abs=0.01)
    assert timed[LatencyStage.ACKNOWLEDGEMENT].seconds == pytest.approx(1.25, abs=0.01)
    assert {(fact.source, fact.records) for fact in timed.values()} == {("orders", 3)}


# --- heartbeats -------------------------------------------------------------------------------------------------------


def test_an_idle_link_beats_and_is_answered_and_nothing_is_said_beside(bench: Bench) -> None:
    async def work(_: Bench) -> None:
        await asyncio.sleep(10.5 * HEARTBEAT_S)

    bench.run(work)
    assert 9 <= len(said(bench.there_wire, Heartbeat)) <= 11
    assert len(said(bench.back_wire, Heartbeat)) == len(said(bench.there_wire, Heartbeat))
    assert len(bench.there_wire.carried) + len(bench.back_wire.carried) <= 22 + 6
    assert bench.of(LinkSilent) == []


def test_silence_is_noticed_and_told_once(bench: Bench) -> None:
    async def work(bench: Bench) -> None:
        await asyncio.sleep(1.5)
        bench.back_wire.fate = lambda _: []
        await asyncio.sleep(20.0)
        bench.back_wire.fate = lambda frame: [(0.0, frame)]
        await asyncio.sleep(20.0)

    bench.run(work)
    (silent,) = bench.of(LinkSilent)
    assert silent.seconds > 3 * HEARTBEAT_S


# --- closing ----------------------------------------------------------------------------------------------------------


def test_when_the_sender_closes_the_rest_is_taken_and_then_nothing(bench: Bench) -> None:
    async def work(bench: Bench) -> None:
        await bench.send(*bench.batches(3))
        bench.sender.close()
        taken = await bench.receiver.take(2)
        assert (len(taken.batches), taken.closed) == (2, False)
        last = await bench.receiver.take(2)
        assert (len(last.batches), last.closed) == (1, True)
        again = await bench.receiver.take()
        assert (list(again.batches), again.closed) == ([], True)

    bench.run(work)


@MODES
def test_after_the_last_answer_no_more_are_waited_for(bench: Bench, *, streaming: bool) -> None:
    async def work(bench: Bench) -> None:
        await bench.send(*bench.batches(2, streaming=streaming))
        bench.sender.close()
        arrived = await bench.take(2)
        bench.answer(arrived[:1])
        assert len(await bench.sender.answered()) == 1
        bench.answer(arrived[1:])
        assert len(await bench.sender.answered()) == 1
        assert await bench.sender.answered() == []

    bench.run(work)


def test_a_hop_over_which_nothing_goes_ends_at_once(bench: Bench) -> None:
    async def work(bench: Bench) -> None:
        arrived, answers = await asyncio.gather(bench.work_off(), bench.hand_over([]))
        await bench.both_ended()
        assert (arrived, answers) == ([], [])
        assert bench.clock.now_s() < HEARTBEAT_S

    bench.run(work)


def test_both_ends_stay_until_the_sending_stage_leaves(bench: Bench) -> None:
    async def work(bench: Bench) -> None:
        working = asyncio.create_task(bench.work_off())
        await bench.send(*bench.batches(2))
        bench.sender.close()
        while await bench.sender.answered():
            pass
        await asyncio.sleep(3 * HEARTBEAT_S)
        assert not bench.sending.done()
        assert not working.done()
        bench.sender.finish()
        await bench.both_ended()
        await working
        assert said(bench.there_wire, Close)[-1] == Close(2, final=True)

    bench.run(work)


def test_after_the_end_nothing_more_is_taken_or_answered(bench: Bench) -> None:
    async def work(bench: Bench) -> None:
        await asyncio.gather(bench.work_off(), bench.hand_over(bench.batches(1)))
        await bench.both_ended()
        assert (await bench.receiver.take()).closed
        assert await bench.sender.answered() == []
        assert repr(bench.sender)
        assert repr(bench.receiver)

    bench.run(work)


# --- content that is not what it says ---------------------------------------------------------------------------------


@MODES
def test_an_intact_frame_that_is_no_record_batch_halts_the_sender_after_all_retries(
    bench: Bench, *, streaming: bool
) -> None:
    bench.queue = replace(bench.queue, content_failures_max=2)
    (batch,) = bench.batches(1, streaming=streaming)
    garbage = memoryview(b"not arrow at all")
    metadata = msgspec.structs.replace(batch.metadata, checksum=hashlib.sha256(garbage).hexdigest())

    async def work(bench: Bench) -> None:
        await bench.send(Outgoing(metadata, garbage, batch.summary, streaming))
        with pytest.raises(Corruption, match="keeps coming with other records than it says") as caught:
            await bench.sender.answered()
        assert caught.value.kind.code == "INT_LINK_002"
        with pytest.raises(Corruption):
            await bench.send(*bench.batches(2)[1:])
        assert bench.receiver.depth == 0

    bench.run(work)
    assert [fact.reason for fact in bench.of(FrameDropped)] == [DropReason.RECORD_COUNT] * 3
    assert set(bench.faults) == {"INT_LINK_002"}
    (told,) = said(bench.back_wire, ErrorNotification)
    assert told.errors[0].context.batch_id == "b0"


def test_records_of_which_there_are_more_or_fewer_than_said_are_dropped_unanswered(bench: Bench) -> None:
    (batch,) = bench.batches(1)
    metadata = msgspec.structs.replace(batch.metadata, record_count=2)

    async def work(bench: Bench) -> None:
        await bench.send(Outgoing(metadata, batch.payload, batch.summary))
        await asyncio.sleep(1.0)
        assert bench.receiver.depth == 0

    bench.run(work)
    assert [fact.reason for fact in bench.of(FrameDropped)] == [DropReason.RECORD_COUNT]
    assert said(bench.back_wire, Acknowledgment) == []
