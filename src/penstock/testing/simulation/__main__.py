"""Runs simulations: `python -m penstock.testing.simulation --seeds 10000`, or one of them with `--seed 17 --trace`."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from penstock.testing.simulation.campaign import (
    SEEDS_AT_ONCE,
    missing_rows,
    rare_faults,
    replay_line,
    report,
    run_campaign,
)
from penstock.testing.simulation.run import simulate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from penstock.testing.simulation.campaign import Tally


TOLD_TIMES = 10
"""How often progress is told where it is written to a file."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for; return 1 where an invariant broke, or where too little was tried."""
    options = _parser().parse_args(arguments)
    if options.seed is not None:
        return _one(options.seed, trace=options.trace)
    return _many(options.first, options.seeds, options.processes)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m penstock.testing.simulation",
        description="Drive the hand-off through hostile networks, crashes and restarts, and check it after every step.",
    )
    parser.add_argument("--seed", type=int, help="simulate this one only")
    parser.add_argument("--trace", action="store_true", help="tell everything that happens in it")
    parser.add_argument("--seeds", type=int, default=100, help="how many to simulate (%(default)s)")
    parser.add_argument("--first", type=int, default=0, help="the first of them (%(default)s)")
    parser.add_argument("--processes", type=int, default=1, help="how many at a time (%(default)s)")
    return parser


def _one(seed: int, *, trace: bool) -> int:
    result = simulate(seed, tell=_say if trace else None)
    for fault, struck in sorted(result.faults.items()):
        _say(f"{struck:>8,}  {fault}")
    _say(
        f"{result.simulated_s:.1f} simulated seconds, {result.records:,} records, {result.frames:,} frames, "
        f"{result.lives} lives of modules"
    )
    if result.failure is not None:
        _say(replay_line(seed, result.failure))
    return int(result.failure is not None)


def _many(first: int, number: int, processes: int) -> int:
    told: set[int] = set()
    real_s = 0.0

    def tell(tally: Tally, seconds: float) -> None:
        nonlocal real_s
        real_s = seconds
        for seed in sorted(tally.failures.keys() - told):
            told.add(seed)
            _say(replay_line(seed, tally.failures[seed]))
        _show_progress(tally, number)

    tally = run_campaign(first, number, processes, tell)
    for line in report(tally, real_s):
        _say(line)
    return int(bool(tally.failures or missing_rows(tally) or rare_faults(tally)))


def _show_progress(tally: Tally, number: int) -> None:
    """Write one line over and over where somebody watches, else a line for every tenth of the way."""
    line = f"{tally.seeds:,} of {number:,} seeds, {len(tally.failures):,} failed"
    done = tally.seeds >= number
    if sys.stderr.isatty():
        print(f"\r{line}", end="\n" if done else "", file=sys.stderr, flush=True)  # noqa: T201 - to its user
    elif done or tally.seeds * TOLD_TIMES // number > (tally.seeds - SEEDS_AT_ONCE) * TOLD_TIMES // number:
        print(line, file=sys.stderr, flush=True)  # noqa: T201 - likewise


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - a command talks to its user


if __name__ == "__main__":
    sys.exit(main())
