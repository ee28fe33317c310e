"""Many seeds, in one process or several, and what they came to together: the same, however many processes there are."""

from __future__ import annotations

import gc
import sys
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

from penstock.protocol.tables import Table
from penstock.testing.simulation.run import simulate
from penstock.testing.simulation.weather import Fault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from penstock.testing.simulation.run import Result

SEEDS_AT_ONCE = 25
"""Seeds that a process takes at a time, if not told otherwise: a few seconds of work."""
ENOUGH_SEEDS = 10_000
"""From so many seeds on, every fault must have struck `STRIKES_MIN` times."""
STRIKES_MIN = 1_000

Row = tuple[str, str, str]
"""A row of a state table: the table's name, a state, an event."""


@dataclass(slots=True)
class Tally:
    """What a number of simulations came to."""

    seeds: int = 0
    records: int = 0
    frames: int = 0
    steps: int = 0
    simulated_s: float = 0.0
    faults: Counter[Fault] = field(default_factory=Counter)
    rows: Counter[Row] = field(default_factory=Counter)
    failures: dict[int, str] = field(default_factory=dict)

    def add(self, result: Result) -> None:
        """Take in one simulation."""
        self.seeds += 1
        self.records += result.records
        self.frames += result.frames
        self.steps += result.steps
        self.simulated_s += result.simulated_s
        self.faults.update(result.faults)
        if result.failure is not None:
            self.failures[result.seed] = result.failure

    def merge(self, other: Tally) -> None:
        """Take in others."""
        self.seeds += other.seeds
        self.records += other.records
        self.frames += other.frames
        self.steps += other.steps
        self.simulated_s += other.simulated_s
        self.faults.update(other.faults)
        self.rows.update(other.rows)
        self.failures |= other.failures


def tables() -> tuple[Table[Any, Any], ...]:
    """Return every state table of the protocol, by name."""
    found: dict[str, Table[Any, Any]] = {}
    for name, module in sorted(sys.modules.items()):
        if name.startswith("penstock.protocol."):
            for value in vars(module).values():
                if isinstance(value, Table):
                    found[value.name] = value
    return tuple(found[name] for name in sorted(found))


def rows() -> tuple[Row, ...]:
    """Return every row of every state table, in order."""
    return tuple((table.name, str(state), str(event)) for table in tables() for state, event in table.rows)


def run_seeds(seeds: Sequence[int]) -> Tally:
    """Simulate seed after seed."""
    tally = Tally()
    for table in tables():
        table.reached.clear()
    with _tidying_by_hand():
        for seed in seeds:
            tally.add(simulate(seed))
            gc.collect()
    for table in tables():
        tally.rows.update({(table.name, str(s), str(e)): reached for (s, e), reached in table.reached.items()})
    return tally


@contextmanager
def _tidying_by_hand() -> Iterator[None]:
    """Look for garbage between simulations only, and only in what they left: a quarter of the time is saved."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


def run_campaign(
    first: int,
    number: int,
    processes: int,
    told: Callable[[Tally, float], None],
    *,
    seeds_at_once: int = SEEDS_AT_ONCE,
) -> Tally:
    """Simulate `number` seeds from `first` on. `told` is called now and then with what there is, and real seconds."""
    began_s = time.monotonic()
    total = Tally()
    starts = range(first, first + number, seeds_at_once)
    parts = [range(start, min(start + seeds_at_once, first + number)) for start in starts]
    for tally in _each(parts, processes):
        total.merge(tally)
        told(total, time.monotonic() - began_s)
    return total


def _each(parts: Sequence[range], processes: int) -> Iterator[Tally]:
    if processes <= 1:
        yield from map(run_seeds, parts)
        return
    with get_context("spawn").Pool(processes) as pool:
        yield from pool.imap(run_seeds, parts)


def missing_rows(tally: Tally) -> list[Row]:
    """Return the rows of state tables that were never reached."""
    return [row for row in rows() if not tally.rows[row]]


def rare_faults(tally: Tally) -> list[Fault]:
    """Return the faults that struck too seldom, if there were seeds enough to say so."""
    return [fault for fault in Fault if tally.seeds >= ENOUGH_SEEDS and tally.faults[fault] < STRIKES_MIN]


def report(tally: Tally, real_s: float) -> Iterable[str]:
    """Say in lines what a campaign came to."""
    yield (
        f"{tally.seeds:,} seeds: {tally.simulated_s / 3600:,.1f} simulated hours in {real_s:,.0f} s, "
        f"{tally.records:,} records, {tally.frames:,} frames, {tally.steps:,} steps"
    )
    yield ""
    yield "faults injected"
    yield from (f"{tally.faults[fault]:>12,}  {fault}" for fault in Fault)
    yield ""
    yield "rows of the state tables reached"
    yield from (f"{tally.rows[row]:>12,}  {row[0]}: {row[1]}, {row[2]}" for row in rows())
    yield ""
    yield from (f"NEVER REACHED  {row[0]}: {row[1]}, {row[2]}" for row in missing_rows(tally))
    yield from (f"TOO SELDOM  {fault}: {tally.faults[fault]:,} of {STRIKES_MIN:,}" for fault in rare_faults(tally))
    yield f"{len(tally.failures):,} of {tally.seeds:,} seeds broke an invariant"


def replay_line(seed: int, failure: str) -> str:
    """Say in one line what broke, and how to see it again."""
    return f"python -m penstock.testing.simulation --seed {seed} --trace  # {failure}"
