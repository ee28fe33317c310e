"""One simulation: three modules between a source, a ledger and destinations, kept running until all is settled."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from penstock.observing.facts import Hop
from penstock.testing.simulation.auditor import Auditor, Trace, Violation
from penstock.testing.simulation.clocks import WallClock
from penstock.testing.simulation.disasters import Disasters
from penstock.testing.simulation.ledger import Disk, Ledger
from penstock.testing.simulation.lives import Dead, Who
from penstock.testing.simulation.loop import Spinning, Stalled, VirtualLoop
from penstock.testing.simulation.modules import Link, Surroundings
from penstock.testing.simulation.network import LATE_S, Wire
from penstock.testing.simulation.origin import Origin
from penstock.testing.simulation.overhearing import Overhearing
from penstock.testing.simulation.records import World
from penstock.testing.simulation.supervisor import Supervisor, place
from penstock.testing.simulation.tuning import draw_settings
from penstock.testing.simulation.warehouse import Warehouse
from penstock.testing.simulation.weather import Fault, Weather, stream

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

PROGRESS_S = 600.0
"""Once all has healed, everything must be settled within so many virtual seconds: far more than any wait together."""


@dataclass(frozen=True, slots=True)
class Result:
    """What one simulation came to. `failure` names the invariant that broke, and how; None where all held."""

    seed: int
    simulated_s: float
    records: int
    frames: int
    steps: int
    lives: int
    faults: Counter[Fault]
    failure: str | None


def simulate(seed: int, tell: Callable[[str], None] | None = None) -> Result:
    """Run the simulation of a seed; `tell` is given every event as a line."""
    return Simulation(seed, tell).run()


class Simulation:
    """Everything of one seed."""

    def __init__(self, seed: int, tell: Callable[[str], None] | None = None, *, syncs: bool = True) -> None:
        """Without `syncs`, the ledger promises what it does not keep: that must be found out."""
        weather = Weather.of(seed)
        world = World.of(seed, weather)
        self._seed = seed
        self._loop = VirtualLoop(stream(seed, "loop"), self._each_step)
        self._auditor = Auditor(world, Trace(self._loop.time, tell))
        ledger = self._auditor.ledger = Ledger(Disk(stream(seed, "disk")), syncs=syncs)
        warehouses = self._auditor.warehouses = {
            name: Warehouse(name, number, self._auditor) for number, name in enumerate(world.destinations)
        }
        self._around = Surroundings(
            seed,
            self._loop,
            weather,
            world,
            self._auditor,
            self._auditor.trace,
            draw_settings(seed),
            ledger,
            warehouses,
            Origin(world),
            {},
            {who: WallClock(self._loop) for who in Who},
        )
        self._around.links |= {hop: self._link(hop) for hop in Hop}
        self._supervisor = Supervisor(self._around)
        self._disasters = Disasters(self._around, self._supervisor)

    def _link(self, hop: Hop) -> Link:
        around, seed = self._around, self._seed
        outputs = len(around.world.destinations) if hop is Hop.ALPHA_BETA else 1
        overhearing = Overhearing.of(hop, around.settings, outputs, self._auditor)
        there, back = (
            Wire(f"{hop} {way}", self._loop, around.weather, around.trace, stream(seed, f"{hop} {way}"))
            for way in ("there", "back")
        )
        back.overheard = overhearing.sender_hears
        return Link(there, back, overhearing)

    def run(self) -> Result:
        """Run to the end, or to the first invariant that breaks."""
        failure = None
        try:
            self._loop.run_until_complete(self._to_the_end())
        except Violation as error:
            failure = str(error)
        except Stalled:
            failure = f"something always goes on: {self._supervisor!r}"
        except Spinning as error:
            failure = f"nothing spins: {error}; {self._supervisor!r}"
        result = Result(
            self._seed,
            self._loop.now_s,
            len(self._around.world),
            sum(wire.carried for link in self._around.links.values() for wire in link.wires),
            self._loop.steps,
            len(self._supervisor.lives),
            self._around.weather.struck,
            failure,
        )
        self._unwind()
        return result

    async def _to_the_end(self) -> None:
        self._disasters.arrange()
        self._loop.call_at(self._around.weather.heals_s + LATE_S + PROGRESS_S, self._too_late)
        await self._supervisor.settle_all()
        self._auditor.at_the_end()
        if self._auditor.broken is not None:
            raise self._auditor.broken

    def _too_late(self) -> None:
        self._auditor.fail("progress once all has healed", repr(self._supervisor))

    def _each_step(self) -> None:
        if self._auditor.broken is not None:
            raise self._auditor.broken
        self._disasters.each_step()
        for error in self._loop.uncaught:
            if not isinstance(error, Dead):
                raise Violation(f"no timer raises: {place(error)}") from error
        modules = self._supervisor.checked
        if modules:
            modules[self._loop.steps % len(modules)].check()  # what is too much stays so for some steps

    def _unwind(self) -> None:
        """Let everything end that still runs; what it does on its way no longer matters."""
        self._loop.each_step = lambda: None
        self._loop.begin_counting_anew()
        self._auditor.trace.tell = None
        for life in self._supervisor.lives:
            life.alive = False
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        if tasks:
            with suppress(Stalled, Spinning):
                self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()
