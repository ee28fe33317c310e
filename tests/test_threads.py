"""Cancellation reaches whoever it is meant for."""

from __future__ import annotations

import asyncio

import pytest

from penstock.threads import heeding_cancellation


@pytest.mark.parametrize("cancelled", [False, True])
def test_a_cancellation_that_comes_with_a_failure_is_not_forgotten(*, cancelled: bool) -> None:
    async def fail_when(moment: asyncio.Event) -> None:
        await moment.wait()
        raise LookupError

    async def work(moment: asyncio.Event) -> str:
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(fail_when(moment))
                await asyncio.sleep(60.0)
        except* LookupError:
            pass
        return "goes on"

    async def main() -> str:
        moment = asyncio.Event()
        task = asyncio.create_task(heeding_cancellation(work(moment)))
        for _ in range(4):
            await asyncio.sleep(0.0)
        moment.set()
        if cancelled:
            task.cancel()
        return await task

    if cancelled:
        with pytest.raises(asyncio.CancelledError):
            asyncio.run(main())
    else:
        assert asyncio.run(main()) == "goes on"
