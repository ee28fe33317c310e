"""The loop in virtual time, by itself."""

from __future__ import annotations

import asyncio
import itertools
import random
from typing import TYPE_CHECKING, Any

import pytest

from penstock.testing.simulation.loop import OWNER, Spinning, Stalled, VirtualLoop, Work
from penstock.threads import to_its_end

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

DAY_S = 86_400.0


def run(main: Coroutine[Any, Any, Any], seed: int = 1, each_step: Callable[[], None] = lambda: None) -> VirtualLoop:
    loop = VirtualLoop(random.Random(seed), each_step)
    try:
        loop.run_until_complete(main)
    finally:
        loop.close()
    return loop


def test_a_day_passes_in_no_time() -> None:
    loop = run(asyncio.sleep(DAY_S))
    assert loop.time() == pytest.approx(DAY_S)
    assert loop.steps < 10


def test_timers_fire_in_the_order_of_their_times() -> None:
    seen = []

    async def later(seconds: float) -> None:
        await asyncio.sleep(seconds)
        seen.append(seconds)

    async def main() -> None:
        await asyncio.gather(*(later(seconds) for seconds in (3.0, 1.0, 2.0)))

    run(main())
    assert seen == [1.0, 2.0, 3.0]


def test_work_takes_virtual_time_and_other_things_happen_meanwhile() -> None:
    seen = []

    async def main() -> None:
        work = asyncio.create_task(to_its_end(lambda: seen.append("worked")))
        await asyncio.sleep(0)
        seen.append("meanwhile")
        await work

    loop = run(main())
    assert seen == ["meanwhile", "worked"]
    assert loop.time() > 0


def test_work_that_blocks_is_seen_later() -> None:
    async def main() -> float:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        await to_its_end(lambda: loop.block(5.0))
        return loop.time()

    assert run(main()).time() >= 5.0


def test_what_work_raises_is_raised_where_it_is_waited_for() -> None:
    def fail() -> None:
        raise LookupError("of the work")

    async def main() -> None:
        with pytest.raises(LookupError, match="of the work"):
            await to_its_end(fail)

    run(main())


def test_whoever_waits_for_what_never_comes_is_told() -> None:
    with pytest.raises(Stalled):
        run(asyncio.Event().wait())


def test_whoever_turns_in_circles_is_stopped() -> None:
    async def main() -> None:
        for _ in itertools.count():
            await asyncio.sleep(0)

    with pytest.raises(Spinning):
        run(main())


def test_what_the_check_of_a_step_raises_ends_the_simulation() -> None:
    calls = 0

    def check() -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise ValueError("the third step")

    with pytest.raises(ValueError, match="the third step"):
        run(asyncio.sleep(1.0), each_step=check)


def test_what_a_timer_raises_is_kept() -> None:
    def fail() -> None:
        raise LookupError("of the timer")

    async def main() -> None:
        asyncio.get_running_loop().call_later(1.0, fail)
        await asyncio.sleep(2.0)

    assert [str(error) for error in run(main()).uncaught] == ["of the timer"]


def test_tasks_of_a_group_are_cancelled_in_the_same_order_in_every_process() -> None:
    seen: list[int] = []

    async def wait(number: int) -> None:
        try:
            await asyncio.sleep(DAY_S)
        finally:
            seen.append(number)

    async def fail() -> None:
        await asyncio.sleep(1.0)
        raise LookupError

    async def main() -> None:
        async with asyncio.TaskGroup() as tasks:
            for number in range(40):
                tasks.create_task(wait(number))
            tasks.create_task(fail())

    with pytest.raises(ExceptionGroup):
        run(main())
    assert seen == sorted(seen)


class Mortal:
    """An owner that may have died, and counts its tasks."""

    def __init__(self) -> None:
        self.alive = True
        self.tasks = 0

    def adopt(self, task: asyncio.Task[Any]) -> None:
        del task
        self.tasks += 1

    def died_before(self, work: Work) -> BaseException | None:
        del work
        return None if self.alive else LookupError("dead")


def test_work_of_the_dead_is_not_done() -> None:
    seen = []

    async def main() -> None:
        owner = Mortal()
        OWNER.set(owner)
        work = asyncio.create_task(to_its_end(lambda: seen.append("worked")))
        await asyncio.sleep(0)
        owner.alive = False
        with pytest.raises(LookupError, match="dead"):
            await work
        assert owner.tasks == 1

    run(main())
    assert seen == []


def test_work_under_way_can_be_done_at_once_and_is_done_once() -> None:
    seen = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        owner = Mortal()
        OWNER.set(owner)
        work = asyncio.create_task(to_its_end(lambda: seen.append(loop.time())))
        await asyncio.sleep(0)
        (pending,) = loop.work_of(owner)
        loop.do_now(pending)
        assert seen == [loop.time()]
        await work

    run(main())
    assert len(seen) == 1
