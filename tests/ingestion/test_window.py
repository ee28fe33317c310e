"""What is read and not yet settled: bounded, and where originals are found."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from penstock.ingestion.window import Window, WindowLimits
from penstock.model.position import Position
from penstock.ports import Chunk, Original, OriginalsGone

if TYPE_CHECKING:
    from collections.abc import Sequence

NO_RECORDS = pa.RecordBatch.from_pylist([], schema=pa.schema([("id", pa.int64())]))
PROMPTLY_S = 5.0


def chunk(start: int, end: int, size_bytes: int = 10) -> Chunk:
    def originals(sequences: Sequence[int]) -> list[Original]:
        assert all(start <= sequence < end for sequence in sequences)
        return [Original(b"%d" % sequence, sequence + 1) for sequence in sequences]

    position = Position("a", end, f"byte {end}")
    return Chunk(start, end, NO_RECORDS, None, (), position, originals, size_bytes)


def run(work: object) -> None:
    async def in_time() -> None:
        async with asyncio.timeout(PROMPTLY_S):
            await work()  # type: ignore[operator] # a coroutine function of the test

    asyncio.run(in_time())


async def waits(task: asyncio.Task[None]) -> bool:
    """Tell whether a task still waits after everybody else has had a turn."""
    for _ in range(5):
        await asyncio.sleep(0)
    return not task.done()


@pytest.mark.parametrize("limits", [WindowLimits(20, 1_000), WindowLimits(1_000, 20)])
def test_reading_waits_when_records_or_bytes_reach_their_limit_and_goes_on_after_a_release(
    limits: WindowLimits,
) -> None:
    async def work() -> None:
        window = Window(limits)
        await window.hold("a", chunk(0, 10))
        await window.hold("a", chunk(10, 20))
        third = asyncio.create_task(window.hold("a", chunk(20, 30)))
        assert await waits(third)
        assert (window.records, window.size_bytes) == (20, 20)
        assert window.release("a") == Position("a", 10, "byte 10")
        await third
        assert (window.records, window.size_bytes) == (20, 20)

    run(work)


def test_a_chunk_larger_than_the_limit_passes_alone() -> None:
    async def work() -> None:
        window = Window(WindowLimits(5, 5))
        await window.hold("a", chunk(0, 100, 100))
        next_one = asyncio.create_task(window.hold("a", chunk(100, 101, 1)))
        assert await waits(next_one)
        window.release("a")
        await next_one
        assert window.records == 1

    run(work)


def test_a_large_chunk_waits_until_it_is_alone() -> None:
    async def work() -> None:
        window = Window(WindowLimits(5, 1_000))
        await window.hold("a", chunk(0, 2))
        await window.hold("b", chunk(0, 2))
        large = asyncio.create_task(window.hold("a", chunk(2, 100)))
        window.release("a")
        assert await waits(large)
        window.release("b")
        await large
        assert window.records == 98

    run(work)


def test_chunks_of_a_partition_are_released_oldest_first() -> None:
    async def work() -> None:
        window = Window(WindowLimits(100, 1_000))
        for start in (0, 10, 20):
            await window.hold("a", chunk(start, start + 10))
        await window.hold("b", chunk(0, 5))
        assert [window.release("a").sequence for _ in range(3)] == [10, 20, 30]
        assert window.release("b").sequence == 5
        assert (window.records, window.size_bytes) == (0, 0)

    run(work)


def test_originals_are_found_by_sequence_across_chunks() -> None:
    async def work() -> None:
        window = Window(WindowLimits(100, 1_000))
        for start in (10, 20, 30):
            await window.hold("a", chunk(start, start + 10))
        await window.hold("b", chunk(0, 50))
        found = window.originals("a", [10, 19, 20, 35, 39])
        assert [original.content for original in found] == [b"10", b"19", b"20", b"35", b"39"]
        window.release("a")
        assert [original.line for original in window.originals("a", [29, 30])] == [30, 31]
        assert window.originals("a", []) == []

    run(work)


def test_asking_whether_there_is_room_takes_none() -> None:
    async def work() -> None:
        window = Window(WindowLimits(5, 1_000))
        assert window.has_room_for(chunk(0, 100)), "one larger than the limit is let in alone"
        await window.hold("a", chunk(0, 3))
        assert window.has_room_for(chunk(3, 5))
        assert not window.has_room_for(chunk(3, 6))
        assert (window.records, window.size_bytes) == (3, 10)

    run(work)


def test_who_goes_back_holds_nothing_any_more_and_who_waited_goes_on() -> None:
    async def work() -> None:
        window = Window(WindowLimits(5, 1_000))
        await window.hold("a", chunk(0, 5))
        waiting = asyncio.create_task(window.hold("a", chunk(0, 2)))
        assert await waits(waiting)
        window.clear()
        await waiting
        assert window.records == 2
        assert window.release("a").sequence == 2

    run(work)


@pytest.mark.parametrize(("partition", "asked"), [("a", [4, 5, 6]), ("a", [0]), ("b", [5]), ("a", [29, 30])])
def test_originals_that_are_not_held_are_gone(partition: str, asked: list[int]) -> None:
    async def work() -> None:
        window = Window(WindowLimits(100, 1_000))
        await window.hold("a", chunk(5, 10))
        await window.hold("a", chunk(10, 30))
        assert len(window.originals("a", [5, 29])) == 2
        with pytest.raises(OriginalsGone):
            window.originals(partition, asked)
        window.clear()
        with pytest.raises(OriginalsGone):
            window.originals("a", [5, 29])

    run(work)


def test_originals_may_be_asked_for_from_other_threads_while_chunks_come_and_go() -> None:
    async def work() -> None:
        window = Window(WindowLimits(1_000_000, 1 << 40))
        stop = Event()
        wrong: list[list[bytes]] = []

        def asks() -> None:
            while not stop.is_set():
                try:
                    found = [original.content for original in window.originals("a", [0, 1])]
                except OriginalsGone:
                    continue
                if found != [b"0", b"1"]:
                    wrong.append(found)

        with ThreadPoolExecutor(2) as threads:
            asking = [threads.submit(asks) for _ in range(2)]
            try:
                for _ in range(300):
                    await window.hold("a", chunk(0, 2))
                    await window.hold("a", chunk(2, 4))
                    window.clear()
            finally:
                stop.set()
            for each in asking:
                each.result()
        assert wrong == []

    run(work)
