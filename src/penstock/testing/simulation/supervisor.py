"""Does what orchestration does: starts the modules, run after run, and starts again whichever dies or fails."""

from __future__ import annotations

import asyncio
import traceback
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.errors import LedgerTrouble, Unavailable
from penstock.testing.simulation.clocks import LifeClock
from penstock.testing.simulation.ledger import TakenBack
from penstock.testing.simulation.lives import Life, Who
from penstock.testing.simulation.modules import Alpha, Beta, Gamma
from penstock.testing.simulation.network import LATE_S
from penstock.testing.simulation.weather import stream

if TYPE_CHECKING:
    from collections.abc import Iterator

    from penstock.testing.simulation.modules import Living, Surroundings

RESTART_S = (0.001, 2.0)
"""How long a module stays dead, at least and at most."""
PAUSE_S = (0.01, 1.0)
"""How long nothing runs between two runs."""
ORPHANED_S = 20.0
"""A module that has ended is started again where one before it still works after so long."""
UNWINDING_S = 60.0
"""How long the tasks of the dead may take to end."""
BEGAN_S = (0.0, 1_000_000.0)
"""What a monotonic clock may show when a life begins."""
FOLLOWED_S = (0.1, 10.0)
"""How long a source is followed before the run is stopped, once all has healed."""


@dataclass(frozen=True, slots=True)
class Mode:
    """How one run goes about it."""

    following: bool
    streaming: bool
    patient: bool


class Supervisor:
    """Keeps the modules running until everything is settled."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._chance = stream(around.seed, "supervisor")
        self._over = asyncio.Event()
        self.lives: list[Life] = []
        self.living: dict[Who, Living] = {}
        """The last life of each module; it may have ended."""
        self.checked: tuple[Living, ...] = ()
        """The same, to be checked step by step."""

    def __repr__(self) -> str:
        around = self._around
        modules = ", ".join(repr(module) for module in self.living.values() if module.life.alive)
        positions = {name: around.ledger.position_of(name) for name in around.world.partitions}
        records = {name: len(one.plans) for name, one in around.world.partitions.items()}
        return f"at {around.loop.now_s:.3f} s, positions {positions} of {records}, {modules}"

    async def settle_all(self) -> None:
        """Run after run, until every record has appeared and is settled, and nothing is left of anybody."""
        while not self._is_settled():
            await self._one_run()
            await asyncio.sleep(self._chance.uniform(*PAUSE_S))
        await self._bury_the_dead()

    def _is_settled(self) -> bool:
        around = self._around
        partitions = around.world.partitions.values()
        complete = around.origin.is_complete(around.loop.now_s)
        return complete and all(around.ledger.position_of(one.name) == len(one.plans) for one in partitions)

    # One run.

    async def _one_run(self) -> None:
        """Start the modules, and keep them running until Alpha has read what there is, and all have ended."""
        self._around.run += 1
        mode = Mode(*(self._chance.choice((False, True)) for _ in range(3)))
        self._note(f"run {self._around.run}: {mode}")
        self._judge_anew()
        self._over.clear()
        keepers = [asyncio.create_task(self._keep(who, mode)) for who in Who]
        await self._over.wait()
        _, left = await asyncio.wait(keepers, timeout=ORPHANED_S)
        if left:
            self._send_home()
            await asyncio.wait(keepers)
        for keeper in keepers:
            keeper.result()

    async def _keep(self, who: Who, mode: Mode) -> None:
        """Start a module again whenever it dies or fails, until Alpha has ended, which settles everything."""
        while True:
            life = self._start(who, mode)
            await life.gone.wait()
            if life.ended and who is Who.ALPHA:
                self._over.set()
                return
            patience_s = ORPHANED_S if life.ended else self._chance.uniform(*RESTART_S)
            with suppress(TimeoutError):
                async with asyncio.timeout(patience_s):
                    await self._over.wait()
            if self._over.is_set():
                return

    def _judge_anew(self) -> None:
        """Take back what earlier runs noted of records that are read again, as a run does when it begins."""
        ledger, run = self._around.ledger, self._around.run
        for partition in ledger.ordinals():
            position = ledger.position_of(partition)
            marks = {name: warehouse.mark(partition) for name, warehouse in self._around.warehouses.items()}
            for name, mark in marks.items():
                ledger.write(TakenBack(run, name, partition, max(position, mark)))
            ledger.write(TakenBack(run, "", partition, max(position, *marks.values())))

    def _send_home(self) -> None:
        """End whoever has not heard that all is settled: a last word that is lost can have no answer."""
        calm_s = self._around.weather.heals_s + LATE_S
        undisturbed = all(module.life.born_s > calm_s for module in self.living.values())
        for module in self.living.values():
            if module.life.alive:
                self._note(f"{module.life.name} is sent home")
                if undisturbed:
                    self._around.auditor.fail("everyone ends once all is settled", repr(module))
                module.life.end()

    # One life.

    def _start(self, who: Who, mode: Mode) -> Life:
        around = self._around
        number = sum(life.who is who for life in self.lives)
        chance = stream(around.seed, f"life {who} {number}")
        clock = LifeClock(around.walls[who], around.loop, chance.uniform(*BEGAN_S))
        life = Life(who, number, around.loop, clock, around.weather, around.auditor, around.trace, chance)
        self.lives.append(life)
        self._note(f"{life.name} begins")
        with life.living():
            module = self._module(life, mode)
            life.main = around.loop.create_task(module.run())
        self.living[who] = module
        self.checked = tuple(self.living.values())
        life.main.add_done_callback(lambda task: self._exited(life, task))
        return life

    def _module(self, life: Life, mode: Mode) -> Living:
        match life.who:
            case Who.ALPHA:
                alpha = self._around.alpha = Alpha(life, self._around, mode.streaming, mode.following)
                if mode.following:
                    loop, heals_s = self._around.loop, self._around.weather.heals_s
                    loop.call_at(max(loop.now_s, heals_s) + self._chance.uniform(*FOLLOWED_S), self._stop, alpha)
                return alpha
            case Who.BETA:
                return Beta(life, self._around)
            case Who.GAMMA:
                return Gamma(life, self._around, mode.patient)

    def _stop(self, alpha: Alpha) -> None:
        if alpha.life.alive:
            self._note(f"{alpha.life.name} is to stop")
            alpha.stage.stop()

    def _exited(self, life: Life, task: asyncio.Task[None]) -> None:
        """A module has returned or raised, like a process that exits: nothing of it may be left."""
        error = None if task.cancelled() else task.exception()
        if not life.alive:
            return  # it was killed before: however it unwinds
        auditor = self._around.auditor
        life.alive = False
        odd = [leaf for leaf in _leaves(error) if not isinstance(leaf, Unavailable | LedgerTrouble)]
        if odd:
            auditor.fail("modules fail by nothing but what is outside of them", f"{life.name}: {place(odd[0])}")
        left = [str(each) for each in life.tasks if each is not task]
        auditor.check(not left, "no task is left behind", lambda: f"{life.name}: {left}")
        walked_away = self._around.loop.has_work_of(life)
        auditor.check(not walked_away, "nobody walks away from a thread", lambda: life.name)
        life.ended = error is None and not task.cancelled()
        self._note(f"{life.name} {'ended' if life.ended else f'failed: {error!r}'}")
        life.gone.set()

    async def _bury_the_dead(self) -> None:
        """Wait until everything that was killed has unwound."""
        loop = self._around.loop
        since_s = loop.now_s
        while left := [task for life in self.lives for task in life.tasks]:
            if loop.now_s > since_s + UNWINDING_S:
                self._around.auditor.fail("whoever is cancelled ends", str(left[0]))
                return
            await asyncio.sleep(1.0)

    def _note(self, what: str) -> None:
        if self._around.trace.listens:
            self._around.trace("WORLD", what)


def place(error: BaseException) -> str:
    """Say what an error is, and where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{error!r}{where}"


def _leaves(error: BaseException | None) -> Iterator[BaseException]:
    """Yield the errors that a group is about, however deep they lie."""
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _leaves(each)
    elif error is not None:
        yield error
