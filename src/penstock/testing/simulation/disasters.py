"""What goes wrong by the clock, and when it all heals."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from penstock.testing.simulation.clocks import JUMP_S
from penstock.testing.simulation.lives import Who
from penstock.testing.simulation.weather import OVER_TIME, Fault, stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from penstock.testing.simulation.modules import Living, Surroundings
    from penstock.testing.simulation.network import Wire
    from penstock.testing.simulation.supervisor import Supervisor

LAG_S = 2.0
"""How long everything is held up, at most: several timers are due at once then."""
PARTED_S = (0.05, 6.0)
"""How long a link is parted, at least and at most."""
HELD_UP_MEANWHILE = 0.6
"""Share of the partitions during which that happens as well."""
STEPS_LEFT_MAX = 60
"""A module that is to be killed is, after so many turns of the loop at most: between any two steps of anybody."""
STEPS_FOR_WORK_MAX = 3_000
"""Turns of the loop after which one that was to be killed while a thread works for it is killed as it is."""


@dataclass(frozen=True, slots=True)
class _Doom:
    """A module is to be killed when the loop has turned `steps` times; or before, as soon as a thread works for it."""

    who: Who
    steps: int
    at_work: bool


class Disasters:
    """Brings about the faults that come by the clock. They count where they met somebody."""

    def __init__(self, around: Surroundings, supervisor: Supervisor) -> None:
        self._around = around
        self._supervisor = supervisor
        self._chance = stream(around.seed, "disasters")
        self._doomed: list[_Doom] = []
        self._bring: Mapping[Fault, Callable[[], bool]] = MappingProxyType(
            {
                Fault.LAG: self._hold_up,
                Fault.PARTITION: self._part,
                Fault.RESET: self._reset,
                Fault.WALL_FORWARD: lambda: self._jump(1.0),
                Fault.WALL_BACK: lambda: self._jump(-1.0),
                Fault.CRASH_ALPHA: lambda: self._doom(Who.ALPHA),
                Fault.CRASH_BETA: lambda: self._doom(Who.BETA),
                Fault.CRASH_GAMMA: lambda: self._doom(Who.GAMMA),
                Fault.POWER_CUT: self._cut_power,
                Fault.CANCELLED: self._cancel,
                Fault.RESTART: self._stop_reading,
                Fault.SWITCH: self._switch,
            }
        )

    def arrange(self) -> None:
        """Set the clock for every disaster, and for the moment from which there are none."""
        loop, weather = self._around.loop, self._around.weather
        for fault in OVER_TIME:
            for at_s in weather.moments(fault):
                loop.call_at(at_s, self._strike, fault)
        loop.call_at(weather.heals_s, self._heal)

    def each_step(self) -> None:
        """Kill whose time has come."""
        for doom in tuple(self._doomed):
            module = self._supervisor.living.get(doom.who)
            if module is None or not (self._around.loop.steps >= doom.steps or (doom.at_work and self._works(module))):
                continue
            self._doomed.remove(doom)
            if not self._around.weather.healed:
                module.life.kill("while a thread worked" if doom.at_work else "at random")

    def _strike(self, fault: Fault) -> None:
        if self._bring[fault]():
            self._around.weather.struck[fault] += 1
            self._note(fault)

    def _heal(self) -> None:
        self._around.weather.healed = True
        self._note("all heals")

    # Modules.

    def _doom(self, who: Who) -> bool:
        at_work = self._chance.choice((False, True, True))
        steps = self._chance.randint(0, STEPS_LEFT_MAX) + at_work * STEPS_FOR_WORK_MAX
        self._doomed.append(_Doom(who, self._around.loop.steps + steps, at_work))
        return False  # counted when it happens

    def _works(self, module: Living) -> bool:
        return module.life.alive and bool(self._around.loop.work_of(module.life))

    def _cut_power(self) -> bool:
        for module in self._supervisor.living.values():
            module.life.kill("by a power cut")
        self._around.ledger.cut_power()
        return True

    def _cancel(self) -> bool:
        """Interrupt a module as a second Ctrl-C does: it unwinds, and what it does on its way still counts."""
        alive = [module.life for module in self._supervisor.living.values() if module.life.alive]
        if alive and (main := self._chance.choice(alive).main) is not None:
            main.cancel()
        return bool(alive)

    def _stop_reading(self) -> bool:
        alpha = self._around.alpha
        if alpha is None or not alpha.life.alive:
            return False
        alpha.stage.stop()
        return True

    def _switch(self) -> bool:
        alpha = self._around.alpha
        if alpha is None or not alpha.life.alive:
            return False
        alpha.streaming = not alpha.streaming
        alpha.stage.switch(streaming=alpha.streaming)
        return True

    # What is between them.

    def _part(self) -> bool:
        """Part a link; everything may be held up meanwhile, so that retries of several batches come due together."""
        weather, loop = self._around.weather, self._around.loop
        parted_s = min(self._chance.uniform(*PARTED_S), weather.heals_s - loop.now_s)
        for wire in self._chance.choice(list(self._wires())):
            wire.part(parted_s)
        if self._chance.random() < HELD_UP_MEANWHILE:
            loop.call_later(self._chance.random() * parted_s, self._strike, Fault.LAG)
        return True

    def _reset(self) -> bool:
        for wire in self._chance.choice(list(self._around.links.values())).wires:
            wire.lose_all()
        return True

    def _wires(self) -> Iterator[tuple[Wire, ...]]:
        """Yield what is parted together: a link, or one direction of it."""
        for link in self._around.links.values():
            yield link.wires
            yield from ((wire,) for wire in link.wires)

    # Time.

    def _hold_up(self) -> bool:
        self._around.loop.now_s += self._chance.random() * LAG_S
        return True

    def _jump(self, direction: float) -> bool:
        """Let a wall clock jump, by milliseconds as often as by hours."""
        least_s, most_s = JUMP_S
        wall = self._around.walls[self._chance.choice(list(Who))]
        wall.ahead_s += direction * least_s * (most_s / least_s) ** self._chance.random()
        return True

    def _note(self, what: str) -> None:
        if self._around.trace.listens:
            self._around.trace("WORLD", what)
