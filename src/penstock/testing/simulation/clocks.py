"""Clocks of modules: monotonic seconds that begin anywhere in each life, and a wall clock that jumps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

    from penstock.testing.simulation.loop import VirtualLoop

BEGAN_S = 1_790_000_000.0
"""When simulations begin, by the wall clock: in September 2026."""
JUMP_S = (0.001, 90_000.0)
"""How far a wall clock jumps, at least and at most (over a day)."""


@dataclass(slots=True)
class WallClock:
    """The wall clock of the machine that one module runs on."""

    loop: VirtualLoop
    ahead_s: float = 0.0

    def time_s(self) -> float:
        """Return seconds since 1970-01-01 UTC, as this machine has them."""
        return BEGAN_S + self.ahead_s + self.loop.now_s


@dataclass(frozen=True, slots=True)
class LifeClock:
    """`penstock.ports.Clock` of one life of a module."""

    wall: WallClock
    loop: VirtualLoop
    began_s: float

    def now_s(self) -> float:
        """Return monotonic seconds."""
        return self.began_s + self.loop.now_s

    def time_s(self) -> float:
        """Return seconds since 1970-01-01 UTC."""
        return self.wall.time_s()


@dataclass(frozen=True, slots=True)
class SeededChance:
    """`penstock.ports.Chance` out of a seed."""

    chance: random.Random

    def new_id(self) -> str:
        """Return a UUID v4."""
        drawn = f"{self.chance.getrandbits(128):032x}"
        return f"{drawn[:8]}-{drawn[8:12]}-4{drawn[13:16]}-a{drawn[17:20]}-{drawn[20:]}"

    def fraction(self) -> float:
        """Return a number in [0, 1)."""
        return self.chance.random()
