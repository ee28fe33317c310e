"""How hostile one simulation is: what may go wrong, how often, until when, and how often it did."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class Fault(StrEnum):
    """Everything that is done to the pipeline on purpose."""

    DROP = "frame dropped"
    REPEAT = "frame repeated"
    REORDER = "frame overtaken"
    LATE = "frame very late"
    REPLAY = "frame of long ago repeated"
    BIT_FLIP = "frame with bits flipped"
    TRUNCATION = "frame cut short"
    ALTERED = "records altered before they were framed"
    FORGED = "frame forged, that says what cannot be"
    PARTITION = "link partitioned"
    RESET = "connection reset, modules alive"
    WALL_FORWARD = "wall clock jumped forwards"
    WALL_BACK = "wall clock jumped back"
    LAG = "everything held up for a moment"
    CRASH_ALPHA = "Alpha killed"
    CRASH_BETA = "Beta killed"
    CRASH_GAMMA = "Gamma killed"
    POWER_CUT = "power cut: all killed, unsynced writes gone"
    CRASH_AT_EFFECT = "killed right before an effect"
    CRASH_AFTER_EFFECT = "killed right after an effect"
    CRASH_AT_SEND = "killed right before a frame was sent"
    WORK_DONE = "killed while a thread worked: the work done to its end"
    WORK_HALF_DONE = "killed while a thread worked: the work done in part"
    WORK_UNDONE = "killed while a thread worked: nothing of it done"
    SOURCE_AWAY = "source unavailable"
    SINK_AWAY = "destination unavailable"
    SINK_SLOW = "destination slow"
    COMMIT_FAILED = "commit failed, nothing committed"
    COMMIT_UNSURE = "commit failed, though it was committed"
    LEDGER_FULL = "ledger cannot be written"
    LEDGER_SLOW = "ledger slow"
    CANCELLED = "module interrupted, and left to unwind"
    RESTART = "run stopped and started again"
    SWITCH = "mode switched"
    UNPARSED = "record that does not parse"
    INVALID = "record that does not validate"
    UNTRANSFORMED = "record that cannot be transformed"
    REFUSED = "record that the destination refuses"
    SUPERSEDED = "record superseded at the destination"
    POISON_AT_BETA = "record that makes transformation refuse its whole batch"
    POISON_AT_GAMMA = "record that makes the destination refuse its whole batch"


RATES: Mapping[Fault, float] = MappingProxyType(
    {
        # Of frames.
        Fault.DROP: 0.25,
        Fault.REPEAT: 0.2,
        Fault.REORDER: 0.3,
        Fault.LATE: 0.04,
        Fault.REPLAY: 0.05,
        Fault.BIT_FLIP: 0.1,
        Fault.TRUNCATION: 0.06,
        Fault.ALTERED: 0.2,
        Fault.FORGED: 0.05,
        # Of effects: what a module does to anything outside of it.
        Fault.CRASH_AT_EFFECT: 0.04,
        Fault.CRASH_AFTER_EFFECT: 0.08,
        Fault.CRASH_AT_SEND: 0.008,
        # Of calls.
        Fault.SOURCE_AWAY: 0.08,
        Fault.SINK_AWAY: 0.08,
        Fault.SINK_SLOW: 0.2,
        Fault.COMMIT_FAILED: 0.12,
        Fault.COMMIT_UNSURE: 0.15,
        Fault.LEDGER_FULL: 0.06,
        Fault.LEDGER_SLOW: 0.1,
        # Per second, until all heals.
        Fault.LAG: 2.0,
        Fault.PARTITION: 0.35,
        Fault.RESET: 0.4,
        Fault.WALL_FORWARD: 0.4,
        Fault.WALL_BACK: 0.4,
        Fault.CRASH_ALPHA: 0.5,
        Fault.CRASH_BETA: 0.5,
        Fault.CRASH_GAMMA: 0.5,
        Fault.POWER_CUT: 0.2,
        Fault.CANCELLED: 0.2,
        Fault.RESTART: 0.3,
        Fault.SWITCH: 0.4,
        # Of records.
        Fault.UNPARSED: 0.1,
        Fault.INVALID: 0.1,
        Fault.UNTRANSFORMED: 0.1,
        Fault.REFUSED: 0.1,
        Fault.SUPERSEDED: 0.1,
        Fault.POISON_AT_BETA: 0.03,
        Fault.POISON_AT_GAMMA: 0.03,
    }
)
"""How often, where it is worst."""
OVER_TIME = (
    Fault.LAG,
    Fault.PARTITION,
    Fault.RESET,
    Fault.WALL_FORWARD,
    Fault.WALL_BACK,
    Fault.CRASH_ALPHA,
    Fault.CRASH_BETA,
    Fault.CRASH_GAMMA,
    Fault.POWER_CUT,
    Fault.CANCELLED,
    Fault.RESTART,
    Fault.SWITCH,
)
"""Faults that come by the clock."""
INTENSITIES = (0.0, 0.1, 0.3, 0.6, 1.0)
"""From calm to hellish."""
SPARED = 0.35
"""Share of the faults that a seed leaves out altogether: what goes wrong alone is seen best alone."""
HEALS_S = (2.0, 15.0)
"""When the weather clears, at the earliest and at the latest."""


def stream(seed: int, name: str) -> random.Random:
    """Return the chance of one part of a simulation: no part's draws disturb another's."""
    return random.Random(f"{seed} {name}")  # noqa: S311 - seeded on purpose, guards nothing


@dataclass(slots=True)
class Weather:
    """What goes wrong in one simulation. After `heals_s` nothing does any more."""

    chance: random.Random
    rates: Mapping[Fault, float]
    heals_s: float
    intensity: float
    healed: bool = False
    struck: Counter[Fault] = field(default_factory=Counter)

    @classmethod
    def of(cls, seed: int) -> Weather:
        """Draw the weather of a seed."""
        chance = stream(seed, "weather")
        intensity = chance.choice(INTENSITIES)
        rates = {
            fault: 0.0 if chance.random() < SPARED else worst * intensity * chance.random()
            for fault, worst in RATES.items()
        }
        return cls(chance, rates, chance.uniform(*HEALS_S), intensity)

    def strikes(self, fault: Fault) -> bool:
        """Draw whether a fault happens here and now, and count it."""
        if self.healed or self.chance.random() >= self.rates[fault]:
            return False
        self.struck[fault] += 1
        return True

    def moments(self, fault: Fault) -> list[float]:
        """Draw when a fault that comes by the clock happens."""
        found = []
        at_s = 0.0
        while self.rates[fault] and (at_s := at_s + self.chance.expovariate(self.rates[fault])) < self.heals_s:
            found.append(at_s)
        return found
