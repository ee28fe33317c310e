"""Work in a thread that nobody walks away from, and cancellation that nobody forgets."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

P = ParamSpec("P")
T = TypeVar("T")


async def to_its_end(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return what `function` returns in a worker thread; when cancelled, wait for it all the same.

    A thread cannot be cancelled. Whoever walked away from one would close, under its hands, what it works with.
    """
    work = asyncio.get_running_loop().run_in_executor(None, partial(function, *args, **kwargs))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        while not work.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([work])
        work.exception()  # looked at: what cancelled us is the error that counts
        raise


async def heeding_cancellation(work: Coroutine[object, object, T]) -> T:
    """Return what `work` returns; raise CancelledError where we were told to end meanwhile, however `work` took it.

    Before Python 3.13 a task group forgets that its task was cancelled where a child failed at the same moment, and at
    times believes so where it was not. Our own task has no group in it: what it was told is certain.
    """
    result = await asyncio.create_task(work)
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
    return result
