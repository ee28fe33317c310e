"""An event loop in virtual time: nothing waits, and what happens, happens in one order that a seed decides.

Where nothing is ready, time jumps to the next timer. Work for threads is done on the loop's own thread, after a drawn
virtual delay, and its result is seen after another one: other things happen before, and in between.
"""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, TypeVarTuple, Unpack

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Coroutine
    from concurrent.futures import Executor
    from contextvars import Context

ArgumentTs = TypeVarTuple("ArgumentTs")
ResultT = TypeVar("ResultT")

STEPS_MAX = 2_000_000
"""Turns of the loop in one simulation. The most hostile one needs a tenth of them; beyond that, something spins."""
SPINNING_STEPS = 20_000
"""Turns of the loop without ever waiting: something wakes itself up for ever."""
RESOLUTION_S = 1e-9
STEP_S = 1e-6
"""What a turn of the loop takes: a clock that stood still would let nobody see that a wait is over."""
WORK_S = 0.004
"""Longest drawn wait before work begins, and likewise before its result is seen."""


class Stalled(Exception):
    """Nothing is ready and nothing is timed: whatever is waited for will never happen."""


class Spinning(Exception):
    """The loop turns and turns, and nothing comes of it."""


class Owner(Protocol):
    """Whoever tasks and work belong to: one life of one module."""

    def adopt(self, task: asyncio.Task[Any]) -> None:
        """Take note of a task that was started on its behalf."""

    def died_before(self, work: Work) -> BaseException | None:
        """Return what work that comes too late raises instead of being done; None while the owner lives."""


OWNER: ContextVar[Owner | None] = ContextVar("owner", default=None)
"""On whose behalf the present step is made."""


@dataclass(slots=True, eq=False)
class Work:
    """A function handed to a thread. It occupies what it touches from when it was handed over until it is seen."""

    function: Callable[[], Any]
    owner: Owner | None
    future: asyncio.Future[Any]
    begins: asyncio.TimerHandle | None = None
    begun: bool = False
    seen: bool = False
    blocked_s: float = 0.0
    result: Any = None
    error: BaseException | None = None


@dataclass(slots=True)
class _Jumps:
    """Stands where a selector of sockets would, and lets time pass instead."""

    loop: VirtualLoop
    steps: int = 0
    steps_now: int = 0

    def select(self, timeout: float | None) -> tuple[()]:
        self.steps += 1
        self.loop.each_step()
        if timeout is None:
            raise Stalled
        self.steps_now = 0 if timeout > STEP_S else self.steps_now + 1
        self.loop.now_s += max(timeout, STEP_S)
        if self.steps > STEPS_MAX or self.steps_now > SPINNING_STEPS:
            raise Spinning(f"{self.steps:,} steps, the last {self.steps_now:,} of them without a wait")
        return ()

    def close(self) -> None:
        """Nothing is open."""


class _Task(asyncio.Task[Any]):
    """A task whose place in a set does not depend on its address: sets of tasks are cancelled in one order."""

    _number: int | None = None

    def __hash__(self) -> int:
        if self._number is None:
            loop = self.get_loop()
            assert isinstance(loop, VirtualLoop)
            self._number = loop.next_number()
        return self._number


class _Future(asyncio.Future[Any]):
    """Likewise for futures."""

    _number: int | None = None

    def __hash__(self) -> int:
        if self._number is None:
            loop = self.get_loop()
            assert isinstance(loop, VirtualLoop)
            self._number = loop.next_number()
        return self._number


class VirtualLoop(asyncio.BaseEventLoop):
    """Runs callbacks as asyncio does, in virtual seconds from 0."""

    _selector: _Jumps
    _clock_resolution: float

    def __init__(self, chance: random.Random, each_step: Callable[[], None]) -> None:
        """`each_step` is called before every turn of the loop; what it raises ends the simulation."""
        super().__init__()
        self.now_s = 0.0
        self.each_step = each_step
        self.present_work: Work | None = None
        self.uncaught: list[BaseException] = []
        self._chance = chance
        self._numbers = 0
        self._work: dict[Work, None] = {}
        self._clock_resolution = RESOLUTION_S
        self._selector = _Jumps(self)
        self.set_task_factory(_make_task)  # type: ignore[arg-type]  # typeshed asks for a generic one
        self.set_exception_handler(_note_uncaught)

    def __repr__(self) -> str:
        return f"<VirtualLoop at {self.now_s:.6f} s, {self.steps:,} steps>"

    def __del__(self) -> None:
        """Do nothing: a loop that was not closed leaves nothing open."""

    @property
    def steps(self) -> int:
        """How often the loop has turned."""
        return self._selector.steps

    def begin_counting_anew(self) -> None:
        """Allow as many steps as at the beginning."""
        self._selector.steps = self._selector.steps_now = 0

    def time(self) -> float:
        """Return virtual seconds."""
        return self.now_s

    def next_number(self) -> int:
        """Return 0, then 1, then 2, and so on."""
        self._numbers += 1
        return self._numbers - 1

    def create_future(self) -> asyncio.Future[Any]:
        """Return a future of this loop."""
        return _Future(loop=self)

    # Work for threads.

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[ArgumentTs]], ResultT], *args: *ArgumentTs
    ) -> asyncio.Future[ResultT]:
        """Do the work on this thread, after a drawn delay. `executor` must be the default one."""
        assert executor is None, executor
        work = Work(lambda: func(*args), OWNER.get(), self.create_future())
        self._work[work] = None
        work.begins = self.call_later(self._chance.random() * WORK_S, self._begin, work)
        return work.future

    def block(self, seconds: float) -> None:
        """Called by work: it takes so much longer until its result is seen."""
        if self.present_work is not None:
            self.present_work.blocked_s += seconds

    def work_of(self, owner: Owner) -> list[Work]:
        """Return the work of `owner` that has not begun."""
        return [work for work in self._work if work.owner is owner and not work.begun]

    def has_work_of(self, owner: Owner) -> bool:
        """Tell whether any work of `owner` has not been seen to its end."""
        return any(work.owner is owner for work in self._work)

    def do_now(self, work: Work) -> None:
        """Do work that has not begun, without waiting longer; its result is seen later, as always."""
        assert work.begins is not None
        work.begins.cancel()
        self._begin(work)

    def _begin(self, work: Work) -> None:
        work.begun = True
        work.error = None if work.owner is None else work.owner.died_before(work)
        if work.error is None:
            before, self.present_work = self.present_work, work
            try:
                work.result = work.function()
            except BaseException as error:  # noqa: BLE001 - it is the result, raised where it is waited for
                work.error = error
            finally:
                self.present_work = before
        self.call_later(work.blocked_s + self._chance.random() * WORK_S, self._show, work)

    def _show(self, work: Work) -> None:
        work.seen = True
        del self._work[work]
        if work.future.cancelled():
            return
        if work.error is not None:
            work.future.set_exception(work.error)
        else:
            work.future.set_result(work.result)

    # What asyncio asks of a loop beside.

    def _process_events(self, event_list: tuple[()]) -> None:
        """No sockets, no events."""

    def _write_to_self(self) -> None:
        """Nobody calls from another thread, so nobody needs to be woken."""


def _make_task(
    loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, Any], context: Context | None = None
) -> asyncio.Task[Any]:
    task = _Task(coro, loop=loop, context=context)
    owner = OWNER.get()
    if owner is not None:
        owner.adopt(task)
    return task


def _note_uncaught(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Keep what a callback raised. What a forgotten task raised is not told: it would be told when memory is freed."""
    assert isinstance(loop, VirtualLoop)
    if "handle" in context and "exception" in context:
        loop.uncaught.append(context["exception"])
