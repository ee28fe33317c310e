"""Ends that die, begin again, or break the protocol: who is told, and that the dead are not taken for the living."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from penstock.errors import RemoteViolation, Unavailable
from penstock.observing.facts import FrameDropped, LinkFault
from penstock.ports import ReceiverIsNew, SenderIsNew
from penstock.protocol.frames import Close, Frame, Heartbeat, Hello
from penstock.protocol.messages import (
    Acknowledgment,
    AcknowledgmentPayload,
    AckStatus,
    ActionRequired,
    AlphaBetaBatchTransfer,
    ErrorNotification,
)

if TYPE_CHECKING:
    from tests.links.conftest import Bench

HEARTBEAT_S = 1.0
DAY_S = 86_400.0


async def goes_back(bench: Bench) -> None:
    """What a sending stage does when it is told: begin again."""
    with pytest.raises(ReceiverIsNew):
        await bench.sender.answered()
    bench.sender.begin()


def quiet(bench: Bench) -> None:
    """Nobody accused anybody."""
    assert bench.faults == []


# --- the receiving end dies -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answered", [0, 1, 2])
def test_a_sender_learns_that_the_receiving_end_is_another_and_sends_again(bench: Bench, answered: int) -> None:
    async def work(bench: Bench) -> None:
        await bench.send(*bench.batches(2))
        arrived = await bench.take(2)
        if answered:
            bench.answer(arrived[:answered])
            await bench.sender.answered()
        await bench.kill(bench.receiving, bench.plug_back)
        bench.start_receiver()
        await goes_back(bench)
        await bench.send(*bench.batches(2, life="'"))
        assert [batch.metadata.batch_id for batch in await bench.take(2)] == ["b'0", "b'1"]

    bench.run(work)
    quiet(bench)


def test_whoever_waits_to_send_is_told_as_well(bench: Bench) -> None:
    async def work(bench: Bench) -> None:
        await bench.kill(bench.receiving, bench.plug_back)
        bench.start_receiver()
        await bench.send(*bench.batches(5))
        waiting = asyncio.create_task(bench.send(*bench.batches(10, first=5)))
        await asyncio.sleep(0.1)
        await bench.kill(bench.receiving, bench.plug_back)
        bench.start_receiver()
        with pytest.raises(ReceiverIsNew):
            await waiting

    bench.run(work)
    quiet(bench)


def test_what_was_answered_before_the_stage_goes_back_is_not_told_any_more(bench: Bench) -> None:
    """It will send again from what it knows to be settled: two accounts of one batch would be one too many."""

    async def work(bench: Bench) -> None:
        await bench.send(*bench.batches(2))
        bench.answer(await bench.take(2))
        await asyncio.sleep(0.1)
        await bench.kill(bench.receiving, bench.plug_back)
        bench.start_receiver()
        await asyncio.sleep(0.1)
        await goes_back(bench)
        answering = asyncio.create_task(bench.sender.answered())
        await asyncio.sleep(10.0)
        assert not answering.done()
        answering.cancel()

    bench.run(work)


def test_until_its_stage_goes_back_a_sender_says_nothing_but_hello(bench: Bench) -> None:
    async def work(bench: Bench) -> None:
        await bench.send(*bench.batches(2))
        bench.answer(await bench.take(1))
        await asyncio.sleep(0.1)
        await bench.kill(bench.receiving, bench.plug_back)
        bench.start_receiver()
        await asyncio.sleep(0.1)
        before = len(bench.there_wire.carried)
        bench.sender.hurry()
        bench.sender.close()
        await asyncio.sleep(100.0)
        said = bench.there_wire.carried[before:]
        assert said
        assert {type(frame.body) for frame in said} == {Hello}
        assert {frame.settled_below for frame in said} == {0}
        taking = asyncio.create_task(bench.receiver.take())
        await asyncio.sleep(1.0)
        assert not taking.done(), "what the dead closed is not closed"
        taking.cancel()

    bench.run(work)
    quiet(bench)


def test_a_receiving_end_that_begins_again_by_itself_makes_the_sender_go_back(bench: Bench) -> None:
    async def work(bench: Bench) -> None:
        await bench.send(*bench.batches(3))
        bench.answer((await bench.take(3))[:1])
        await bench.sender.answered()
        bench.receiver.begin()
        await goes_back(bench)
        arrived, answers = await asyncio.gather(bench.work_off(), bench.hand_over(bench.batches(3, life="'")))
        assert len(arrived) == len(answers) == 3
        await bench.both_ended()

    bench.run(work)
    quiet(bench)


def test_what_was_queued_is_forgotten_by_who_begins_again(bench: Bench) -> None:
    async def work(bench: Bench) -> None:
        await bench.send(*bench.batches(3))
        bench.receiver.begin()
        await goes_back(bench)
        await bench.send(*bench.batches(1, life="'"))
        assert [batch.metadata.batch_id for batch in await bench.take(1)] == ["b'0"]

    bench.run(work)


# --- the sending end dies ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("streaming", [False, True], ids=["batches", "streaming"])
def test_a_receiver_learns_that_the_sending_end_is_another_and_takes_only_what_it_sends(
    bench: Bench, *, streaming: bool
) -> None:
    async def work(bench: Bench) -> None:
        await bench.send(*bench.batches(4, streaming=streaming))
        await bench.receiver.take(2)
        await bench.kill(bench.sending, bench.plug_there)
        bench.start_sender()
        bench.sender.begin()
        await bench.send(*bench.batches(2, streaming=streaming, life="'"))
        with pytest.raises(SenderIsNew):
            await bench.receiver.take()
        assert [batch.metadata.batch_id for batch in await bench.take(2)] == ["b'0", "b'1"]

    bench.run(work)
    quiet(bench)


def test_where_nothing_had_come_a_new_sender_is_nothing_to_tell(bench: Bench) -> None:
    async def work(bench: Bench) -> None:
        await asyncio.sleep(0.1)
        await bench.kill(bench.sending, bench.plug_there)
        bench.start_sender()
        bench.sender.begin()
        await bench.send(*bench.batches(1))
        assert len(await bench.take(1)) == 1

    bench.run(work)
    quiet(bench)


def test_frames_that_waited_for_room_die_with_their_sender(bench: Bench) -> None:
    """A queue of one, and number 1 comes before 0: it waits at the end, and nothing has come as far as the queue."""
    bench.queue = replace(bench.queue, capacity_batches=1)
    bench.there = lambda frame: (
        []
        if isinstance(frame.body, AlphaBetaBatchTransfer) and frame.body.metadata.batch_id == "b0"
        else [(0.0, frame)]
    )

    async def work(bench: Bench) -> None:
        await bench.send(*bench.batches(2))
        await asyncio.sleep(0.1)
        await bench.kill(bench.sending, bench.plug_there)
        bench.start_sender()
        bench.sender.begin()
        sending = asyncio.create_task(bench.send(*bench.batches(3, life="'")))
        assert [batch.metadata.batch_id for batch in await bench.take(3)] == ["b'0", "b'1", "b'2"]
        await sending

    bench.run(work)
    quiet(bench)


def test_answers_to_what_a_dead_sender_sent_are_passed_over(bench: Bench) -> None:
    async def work(bench: Bench) -> None:
        await bench.send(*bench.batches(2))
        old = await bench.take(2)
        await bench.kill(bench.sending, bench.plug_there)
        bench.start_sender()
        bench.sender.begin()
        await bench.send(*bench.batches(2, life="'"))
        await asyncio.sleep(0.1)
        bench.answer(old)
        with pytest.raises(SenderIsNew):
            await bench.receiver.take()
        new = await bench.take(2)
        bench.answer(old)
        bench.answer(new[:1])
        (answer,) = await bench.sender.answered()
        assert answer.metadata.batch_id == "b'0"

    bench.run(work)
    quiet(bench)


def test_who_waits_for_the_end_hears_that_the_sender_is_another(bench: Bench) -> None:
    """All was taken, and nothing is answered: what is not settled will come again."""

    async def work(bench: Bench) -> None:
        await bench.send(*bench.batches(1))
        bench.sender.close()
        assert (await bench.receiver.take()).closed
        waiting = asyncio.create_task(bench.receiver.finished())
        await asyncio.sleep(0.1)
        await bench.kill(bench.sending, bench.plug_there)
        bench.start_sender()
        bench.sender.begin()
        with pytest.raises(SenderIsNew):
            await waiting
        arrived, _ = await asyncio.gather(bench.work_off(), bench.hand_over(bench.batches(1, life="'")))
        assert [batch.metadata.batch_id for batch in arrived] == ["b'0"]

    bench.run(work)
    quiet(bench)


# --- frames of the dead -----------------------------------------------------------------------------------------------


def test_frames_of_an_earlier_sender_that_come_late_change_nothing(bench: Bench) -> None:
    held: list[Frame] = []

    def holds(frame: Frame) -> list[tuple[float, Frame]]:
        if isinstance(frame.body, AlphaBetaBatchTransfer | Close) and len(held) < 3:
            held.append(frame)
            return []
        return [(0.0, frame)]

    bench.there = holds

    async def work(bench: Bench) -> None:
        await bench.send(*bench.batches(2))
        bench.sender.close()
        await asyncio.sleep(0.1)
        await bench.kill(bench.sending, bench.plug_there)
        bench.start_sender()
        bench.sender.begin()
        await bench.send(*bench.batches(1, life="'"))
        for frame in held:
            bench.there_wire.arrive(frame)
        await bench.send(*bench.batches(1, first=1, life="'"))
        assert [batch.metadata.batch_id for batch in await bench.take(2)] == ["b'0", "b'1"]

    bench.run(work)
    quiet(bench)
    assert len(bench.of(FrameDropped)) == 3


def test_answers_of_an_earlier_receiver_that_come_late_change_nothing(bench: Bench) -> None:
    held: list[Frame] = []

    def holds(frame: Frame) -> list[tuple[float, Frame]]:
        if isinstance(frame.body, Acknowledgment) and len(held) < 4:
            held.append(frame)
            return []
        return [(0.0, frame)]

    bench.back = holds

    async def work(bench: Bench) -> None:
        await bench.send(*bench.batches(2))
        bench.answer(await bench.take(2))
        await bench.kill(bench.receiving, bench.plug_back)
        bench.start_receiver()
        await goes_back(bench)
        await bench.send(*bench.batches(2, life="'"))
        for frame in held:
            bench.back_wire.arrive(frame)
        answering = asyncio.create_task(bench.sender.answered())
        await asyncio.sleep(0.5)
        assert not answering.done()
        bench.answer(await bench.take(2))
        assert {answer.metadata.batch_id for answer in await answering} <= {"b'0", "b'1"}

    bench.run(work)
    quiet(bench)


# --- clocks that jump back --------------------------------------------------------------------------------------------


def test_a_sender_that_starts_again_by_a_clock_that_jumped_back_is_heard_all_the_same(bench: Bench) -> None:
    async def work(bench: Bench) -> None:
        await bench.send(*bench.batches(2))
        await bench.take(2)
        await bench.kill(bench.sending, bench.plug_there)
        bench.wall.ahead_s = -DAY_S
        bench.start_sender()
        bench.sender.begin()
        with pytest.raises(ReceiverIsNew):
            await bench.send(*bench.batches(1, life="'"))
        bench.sender.begin()
        await bench.send(*bench.batches(1, life='"'))
        with pytest.raises(SenderIsNew):
            await bench.receiver.take()
        assert [batch.metadata.batch_id for batch in await bench.take(1)] == ['b"0']

    bench.run(work)
    quiet(bench)


def test_a_receiver_that_starts_again_by_a_clock_that_jumped_back_is_heard_all_the_same(bench: Bench) -> None:
    async def work(bench: Bench) -> None:
        await bench.send(*bench.batches(2))
        await bench.take(2)
        await bench.kill(bench.receiving, bench.plug_back)
        bench.wall.ahead_s = -DAY_S
        bench.start_receiver()
        await goes_back(bench)
        sending = asyncio.create_task(bench.send(*bench.batches(1, life="'")))
        with pytest.raises(SenderIsNew):  # nothing had come, yet it had to begin beyond what it is taken for
            await bench.receiver.take()
        assert [batch.metadata.batch_id for batch in await bench.take(1)] == ["b'0"]
        await sending

    bench.run(work)
    quiet(bench)


# --- who breaks the protocol ------------------------------------------------------------------------------------------


def altered(kind: type[Any], **changes: object) -> Any:  # noqa: ANN401 - a fate
    """Change the first frame of a kind on its way."""
    done: list[Frame] = []

    def fate(frame: Frame) -> list[tuple[float, Frame]]:
        if isinstance(frame.body, kind) and not done:
            done.append(frame)
            return [(0.0, msgspec.structs.replace(frame, body=msgspec.structs.replace(frame.body, **changes)))]
        return [(0.0, frame)]

    return fate


def test_a_receiver_that_is_told_what_cannot_be_says_so_and_begins_again(bench: Bench) -> None:
    bench.there = altered(Close, messages=1)

    async def work(bench: Bench) -> None:
        await bench.send(*bench.batches(2))
        await bench.take(2)
        bench.sender.close()
        with pytest.raises(SenderIsNew):
            await bench.receiver.take()
        await goes_back(bench)
        arrived, answers = await asyncio.gather(bench.work_off(), bench.hand_over(bench.batches(2, life="'")))
        assert len(arrived) == len(answers) == 2

    bench.run(work)
    assert {fact.code for fact in bench.of(LinkFault)} == {"INT_LINK_003"}
    (told,) = [frame.body for frame in bench.back_wire.carried if isinstance(frame.body, ErrorNotification)]
    assert told.action_required is ActionRequired.INVESTIGATE


def test_a_sender_that_is_told_what_cannot_be_goes_back(bench: Bench) -> None:
    wrong = AcknowledgmentPayload("another", AckStatus.RECEIVED, 3, 0, 0, sequence_number=0)
    bench.back = altered(Acknowledgment, payload=wrong)

    async def work(bench: Bench) -> None:
        await bench.send(*bench.batches(1))
        with pytest.raises(ReceiverIsNew, match="batch another was acknowledged by the number of b0"):
            await bench.sender.answered()
        bench.sender.begin()
        await bench.send(*bench.batches(1, life="'"))
        with pytest.raises(SenderIsNew):
            await bench.receiver.take()
        assert len(await bench.take(1)) == 1

    bench.run(work)
    assert [fact.code for fact in bench.of(LinkFault)] == ["INT_LINK_003"]


@pytest.mark.parametrize("back", [False, True], ids=["to the receiver", "to the sender"])
def test_what_only_the_other_end_may_say_is_a_violation(bench: Bench, *, back: bool) -> None:
    async def work(bench: Bench) -> None:
        await bench.send(*bench.batches(1))
        await bench.take(1)
        there, answer = (
            next(frame for frame in wire.carried if isinstance(frame.body, kind))
            for wire, kind in ((bench.there_wire, AlphaBetaBatchTransfer), (bench.back_wire, Acknowledgment))
        )
        if back:
            bench.back_wire.arrive(msgspec.structs.replace(answer, body=there.body))
            with pytest.raises(ReceiverIsNew):
                await bench.sender.answered()
        else:
            bench.there_wire.arrive(msgspec.structs.replace(there, body=answer.body))
            with pytest.raises(SenderIsNew):
                await bench.receiver.take()

    bench.run(work)
    assert bench.of(LinkFault)[0].code == "INT_LINK_003"


@pytest.mark.parametrize("back", [False, True], ids=["sender", "receiver"])
def test_another_major_version_is_refused_when_it_says_hello(bench: Bench, *, back: bool) -> None:
    fate = altered(Hello, protocol_version="2.0.0")
    if back:
        bench.back = fate
    else:
        bench.there = fate

    async def work(bench: Bench) -> None:
        task = bench.sending if back else bench.receiving
        with pytest.RaisesGroup(pytest.RaisesExc(RemoteViolation, match=r"speaks protocol 2\.0\.0")):
            await task

    bench.run(work)


def test_a_receiving_end_that_hangs_up_before_all_is_answered_is_unavailable(bench: Bench) -> None:
    async def work(bench: Bench) -> None:
        await bench.send(*bench.batches(1))
        bench.receiving.cancel()
        with pytest.RaisesGroup(pytest.RaisesExc(Unavailable, match="the receiving end of alpha_beta closed")):
            await bench.sending
        assert await bench.sender.answered() == []

    bench.run(work)


def test_a_sender_that_hangs_up_leaves_what_it_sent_to_be_taken(bench: Bench) -> None:
    async def work(bench: Bench) -> None:
        await bench.send(*bench.batches(2))
        await asyncio.sleep(0.1)
        bench.sending.cancel()
        await bench.receiving
        taken = await bench.receiver.take()
        assert (len(taken.batches), taken.closed) == (2, True)

    bench.run(work)


def test_who_begins_again_after_the_sender_has_left_for_good_has_nothing_to_wait_for(bench: Bench) -> None:
    async def work(bench: Bench) -> None:
        bench.sender.begin()
        bench.sender.close()
        assert await bench.sender.answered() == []
        bench.sender.finish()
        await bench.receiving
        bench.receiver.begin()
        async with asyncio.timeout(DAY_S):
            taken = await bench.receiver.take()
            await bench.receiver.finished()
        assert (list(taken.batches), taken.closed) == ([], True)

    bench.run(work)


def test_beats_go_on_while_a_stage_makes_up_its_mind(bench: Bench) -> None:
    """A sending end that is broken still says who it is: the other end may have missed it."""

    async def work(bench: Bench) -> None:
        await asyncio.sleep(0.1)
        await bench.kill(bench.receiving, bench.plug_back)
        bench.start_receiver()
        await asyncio.sleep(10 * HEARTBEAT_S)

    bench.run(work)
    hellos = [frame for frame in bench.there_wire.carried if isinstance(frame.body, Hello)]
    assert len(hellos) >= 10
    assert not [frame for frame in bench.there_wire.carried if isinstance(frame.body, Heartbeat)]


def test_who_had_closed_and_goes_back_stays_however_long_the_next_sender_is_silent(bench: Bench) -> None:
    """An end that has answered everything leaves after some silence; one that begins again has answered nothing."""

    async def work(bench: Bench) -> None:
        await bench.send(*bench.batches(1))
        bench.sender.close()
        bench.answer((await bench.receiver.take()).batches)
        bench.receiver.close()
        await bench.kill(bench.sending, bench.plug_there)
        bench.start_sender()
        bench.sender.begin()
        with pytest.raises(SenderIsNew):
            await bench.receiver.finished()
        taking = asyncio.create_task(bench.take(1))
        await bench.kill(bench.sending, bench.plug_there)
        await asyncio.sleep(60 * HEARTBEAT_S)
        assert not bench.receiving.done()
        bench.start_sender()
        bench.sender.begin()
        await bench.send(*bench.batches(1, life="'"))
        assert [batch.metadata.batch_id for batch in await taking] == ["b'0"]

    bench.run(work)
    quiet(bench)
