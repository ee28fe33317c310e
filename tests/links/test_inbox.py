"""A queue that gives all it has at once, and a pair of ends joined by two of them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from penstock.links.inbox import Inbox
from penstock.links.memory import connect_in_memory, memory_pair
from penstock.observing.facts import Hop
from penstock.protocol.frames import Close, Frame

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

PROMPTLY_S = 5.0


def run(work: Callable[[], Coroutine[object, object, None]]) -> None:
    async def in_time() -> None:
        async with asyncio.timeout(PROMPTLY_S):
            await work()

    asyncio.run(in_time())


async def waits(task: asyncio.Task[object]) -> bool:
    """Tell whether a task still waits after everybody else has had a turn."""
    for _ in range(5):
        await asyncio.sleep(0)
    return not task.done()


class Trouble(Exception):
    """Something that whoever takes must know."""


def test_everything_that_is_there_is_taken_at_once_in_order() -> None:
    async def work() -> None:
        inbox: Inbox[int] = Inbox()
        for number in range(5):
            inbox.put(number)
        assert len(inbox) == 5
        assert await inbox.take(2) == [0, 1]
        assert await inbox.take() == [2, 3, 4]

    run(work)


def test_taking_from_an_empty_inbox_waits_for_an_item() -> None:
    async def work() -> None:
        inbox: Inbox[str] = Inbox()
        taking = asyncio.create_task(inbox.take())
        assert await waits(taking)
        inbox.put("x")
        assert await taking == ["x"]

    run(work)


def test_a_closed_inbox_gives_what_it_has_and_then_nothing() -> None:
    async def work() -> None:
        inbox: Inbox[int] = Inbox()
        inbox.put(1)
        inbox.close()
        inbox.put(2)
        assert await inbox.take() == [1]
        assert await inbox.take() == []

    run(work)


def test_closing_wakes_whoever_waits() -> None:
    async def work() -> None:
        inbox: Inbox[int] = Inbox()
        taking = asyncio.create_task(inbox.take())
        assert await waits(taking)
        inbox.close()
        assert await taking == []

    run(work)


def test_an_interrupted_take_loses_nothing() -> None:
    async def work() -> None:
        inbox: Inbox[int] = Inbox()
        taking = asyncio.create_task(inbox.take())
        assert await waits(taking)
        inbox.put(1)
        taking.cancel()
        await asyncio.gather(taking, return_exceptions=True)
        assert taking.cancelled()
        assert await inbox.take() == [1]

    run(work)


# --- errors -----------------------------------------------------------------------------------------------------------


def test_an_error_is_raised_once_and_what_comes_after_it_is_there() -> None:
    async def work() -> None:
        inbox: Inbox[int] = Inbox()
        inbox.put(1)
        inbox.interrupt(Trouble())
        inbox.put(2)
        with pytest.raises(Trouble):
            await inbox.take()
        assert await inbox.take() == [2]

    run(work)


def test_an_error_wakes_whoever_waits() -> None:
    async def work() -> None:
        inbox: Inbox[int] = Inbox()
        taking = asyncio.create_task(inbox.take())
        assert await waits(taking)
        inbox.interrupt(Trouble())
        with pytest.raises(Trouble):
            await taking

    run(work)


def test_after_an_error_a_closed_inbox_is_open_again() -> None:
    async def work() -> None:
        inbox: Inbox[int] = Inbox()
        inbox.close()
        inbox.interrupt(Trouble())
        assert not inbox.closed
        inbox.put(1)
        with pytest.raises(Trouble):
            inbox.take_now()
        assert inbox.take_now() == [1]

    run(work)


def test_a_reset_drops_items_errors_and_the_close() -> None:
    async def work() -> None:
        inbox: Inbox[int] = Inbox()
        inbox.interrupt(Trouble())
        inbox.put(1)
        inbox.close()
        inbox.reset()
        taking = asyncio.create_task(inbox.take())
        assert await waits(taking)
        inbox.put(2)
        assert await taking == [2]

    run(work)


# --- waiting ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "happens",
    [
        lambda inbox: inbox.put(1),
        lambda inbox: inbox.close(),
        lambda inbox: inbox.interrupt(Trouble()),
        lambda inbox: inbox.wake(),
    ],
    ids=["item", "close", "error", "wake"],
)
def test_whoever_waits_is_told_of_anything_that_happens(happens: Callable[[Inbox[int]], None]) -> None:
    async def work() -> None:
        inbox: Inbox[int] = Inbox()
        waiting = asyncio.create_task(inbox.wait())
        assert await waits(waiting)
        happens(inbox)
        await waiting

    run(work)


def test_waiting_for_what_is_there_takes_no_time_and_takes_nothing() -> None:
    async def work() -> None:
        inbox: Inbox[int] = Inbox()
        inbox.put(1)
        await inbox.wait()
        assert len(inbox) == 1

    run(work)


def test_a_wake_gives_nothing_to_whoever_wants_an_item() -> None:
    async def work() -> None:
        inbox: Inbox[int] = Inbox()
        taking = asyncio.create_task(inbox.take())
        assert await waits(taking)
        inbox.wake()
        assert await waits(taking)
        taking.cancel()

    run(work)


def test_who_waits_for_the_end_hears_of_it_or_of_an_error_before() -> None:
    async def work() -> None:
        inbox: Inbox[int] = Inbox()
        over = asyncio.Event()
        waiting = asyncio.create_task(inbox.interrupted(over))
        inbox.put(1)
        assert await waits(waiting)
        over.set()
        inbox.wake()
        await waiting
        assert inbox.take_now() == [1], "it takes nothing away"

        inbox.interrupt(Trouble())
        with pytest.raises(Trouble):
            await inbox.interrupted(asyncio.Event())

    run(work)


# --- a pair of ends ---------------------------------------------------------------------------------------------------


def frame(number: int) -> Frame:
    return Frame(1, 2, number, Close(number))


def test_each_end_of_a_pair_receives_what_the_other_sends_until_it_closes() -> None:
    async def work() -> None:
        left, right = memory_pair()
        left.send(frame(1))
        left.send(frame(2))
        right.send(frame(3))
        left.close()
        assert await right.receive(1) == [frame(1)]
        assert await right.receive(10) == [frame(2)]
        assert await right.receive(10) == []
        assert await left.receive(10) == [frame(3)]
        left.send(frame(4))
        assert await right.receive(10) == []

    run(work)


def test_each_hop_of_each_source_has_a_pair_of_its_own() -> None:
    async def work() -> None:
        alpha, beta = connect_in_memory(Hop.ALPHA_BETA, "orders")
        others = connect_in_memory(Hop.ALPHA_BETA, "customers")
        alpha.send(frame(1))
        assert await beta.receive(1) == [frame(1)]
        for other in others:
            other.close()
        assert [await other.receive(1) for other in others] == [[], []]

    run(work)
