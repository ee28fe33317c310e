"""A queue that gives all it has at once, and a pair of ends joined by two of them."""

from __future__ import annotations

import asyncio

from penstock.links.inbox import Inbox
from penstock.links.memory import MemoryTransport, memory_pair


def test_everything_that_is_there_is_taken_at_once_in_order() -> None:
    async def work() -> None:
        inbox: Inbox[int] = Inbox()
        for number in range(5):
            inbox.put(number)
        assert len(inbox) == 5
        assert await inbox.take(2) == [0, 1]
        assert await inbox.take() == [2, 3, 4]

    asyncio.run(work())


def test_taking_from_an_empty_inbox_waits_for_an_item() -> None:
    async def work() -> None:
        inbox: Inbox[str] = Inbox()
        taking = asyncio.create_task(inbox.take())
        await asyncio.sleep(0)
        assert not taking.done()
        inbox.put("x")
        assert await taking == ["x"]

    asyncio.run(work())


def test_a_closed_inbox_gives_what_it_has_and_then_nothing() -> None:
    async def work() -> None:
        inbox: Inbox[int] = Inbox()
        inbox.put(1)
        inbox.close()
        inbox.put(2)
        assert await inbox.take() == [1]
        assert await inbox.take() == []

    asyncio.run(work())


def test_closing_wakes_whoever_waits() -> None:
    async def work() -> None:
        inbox: Inbox[int] = Inbox()
        taking = asyncio.create_task(inbox.take())
        await asyncio.sleep(0)
        inbox.close()
        async with asyncio.timeout(5):
            assert await taking == []

    asyncio.run(work())


def test_an_interrupted_take_loses_nothing() -> None:
    async def work() -> None:
        inbox: Inbox[int] = Inbox()
        taking = asyncio.create_task(inbox.take())
        await asyncio.sleep(0)
        inbox.put(1)
        taking.cancel()
        await asyncio.gather(taking, return_exceptions=True)
        assert taking.cancelled()
        assert await inbox.take() == [1]

    asyncio.run(work())


def test_each_end_of_a_pair_receives_what_the_other_sends_until_it_closes() -> None:
    async def work() -> None:
        ends: tuple[MemoryTransport[str, int], MemoryTransport[int, str]] = memory_pair()
        left, right = ends
        left.send("a")
        left.send("b")
        right.send(1)
        left.close()
        assert await right.receive(1) == ["a"]
        assert await right.receive(10) == ["b"]
        assert await right.receive(10) == []
        assert await left.receive(10) == [1]

    asyncio.run(work())
