"""One life of one module: its tasks, its clock, its handles on the world; all of it goes dead at once when killed."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from penstock.testing.simulation.loop import OWNER
from penstock.testing.simulation.weather import Fault

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

    from penstock.testing.simulation.auditor import Auditor, Trace
    from penstock.testing.simulation.clocks import LifeClock
    from penstock.testing.simulation.loop import VirtualLoop, Work
    from penstock.testing.simulation.weather import Weather

EFFECTS_LEFT = (0, 0, 1, 1, 1, 1, 1, 2, 2, 3)
"""How many effects work under way may still have when its module is killed: most work has one or two in all."""


class Who(StrEnum):
    """A module of the pipeline, as a process that can be killed."""

    ALPHA = "alpha"
    BETA = "beta"
    GAMMA = "gamma"


CRASHES = {Who.ALPHA: Fault.CRASH_ALPHA, Who.BETA: Fault.CRASH_BETA, Who.GAMMA: Fault.CRASH_GAMMA}


class Dead(Exception):
    """Raised to a module that was killed and does not know it yet: whatever it tries has no effect any more."""


@dataclass(eq=False)
class Life:
    """From a module's start to its end. `name` says whose, and which."""

    who: Who
    number: int
    loop: VirtualLoop
    clock: LifeClock
    weather: Weather
    auditor: Auditor
    trace: Trace
    chance: random.Random
    alive: bool = True
    ended: bool = False
    """Whether it came to its end by itself, all done."""
    born_s: float = field(init=False)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when it is over, one way or another."""
    fuse: int | None = None
    """Effects that are left to it, None for any number."""
    main: asyncio.Task[None] | None = None
    tasks: dict[asyncio.Task[Any], None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.born_s = self.loop.now_s

    def __repr__(self) -> str:
        return f"<Life {self.name} {'alive' if self.alive else 'dead'}>"

    @property
    def name(self) -> str:
        """Whose life it is, and which."""
        return f"{self.who}#{self.number}"

    @contextmanager
    def living(self) -> Iterator[None]:
        """Do what follows on this life's behalf."""
        token = OWNER.set(self)
        try:
            yield
        finally:
            OWNER.reset(token)

    # What the loop asks.

    def adopt(self, task: asyncio.Task[Any]) -> None:
        """Keep a task that was started on this life's behalf."""
        self.tasks[task] = None
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[Any]) -> None:
        del self.tasks[task]

    def died_before(self, work: Work) -> BaseException | None:
        """Return what work raises that comes after death."""
        del work
        return None if self.alive else Dead(self.name)

    # What the handles ask.

    def before_effect(self) -> None:
        """Stand right before an effect on the world outside. Raises Dead where it is not to be."""
        if not self.alive:
            raise Dead(self.name)
        if self.fuse is not None:
            if self.fuse == 0:
                self.alive = False
                raise Dead(self.name)
            self.fuse -= 1
        elif self.weather.strikes(Fault.CRASH_AT_EFFECT):
            self.kill("at an effect")
            raise Dead(self.name)

    def after_effect(self) -> None:
        """Stand right after it. Raises Dead where whoever caused it is not to know."""
        if self.fuse is None and self.weather.strikes(Fault.CRASH_AFTER_EFFECT):
            self.kill("after an effect")
            raise Dead(self.name)

    # Death.

    def kill(self, why: str) -> None:
        """End it, here and now. Work under way in threads is done, or done in part, or not, by chance."""
        if not self.alive:
            return
        self.weather.struck[CRASHES[self.who]] += 1
        if self.trace.listens:
            self.trace(self.name, f"KILLED {why}")
        for work in self.loop.work_of(self):
            self._work_or_not(work)
        self.end()

    def end(self) -> None:
        """End it: nothing it still tries has any effect."""
        self.alive = False
        self.gone.set()
        self.loop.call_soon(self._cancel)

    def _work_or_not(self, work: Work) -> None:
        struck = self.weather.struck
        self.fuse = self.chance.choice(EFFECTS_LEFT)
        if self.fuse == 0:
            struck[Fault.WORK_UNDONE] += 1
            return
        self.loop.do_now(work)
        struck[Fault.WORK_DONE if self.alive else Fault.WORK_HALF_DONE] += 1

    def _cancel(self) -> None:
        """Let what is left of it unwind. Nothing of it counts."""
        if self.main is not None:
            self.main.cancel()


@dataclass(slots=True)
class OneThread:
    """Notices when two threads work with what only one may."""

    life: Life
    what: str
    _last: Work | None = None

    def enter(self) -> None:
        """Say that the present work begins to touch it."""
        work = self.life.loop.present_work
        last = self._last
        if last is not None and last is not work and not last.seen and self.life.alive:
            self.life.auditor.fail("one thread at a time", f"{self.life.name}: two work with the {self.what}")
        if work is not None:
            self._last = work
