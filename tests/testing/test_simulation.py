"""The shipped hand-off in simulated disasters: a few seeds of the thousands that `make simulate` runs."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from penstock.testing.simulation import __main__ as command
from penstock.testing.simulation import campaign
from penstock.testing.simulation.campaign import (
    ENOUGH_SEEDS,
    STRIKES_MIN,
    Tally,
    missing_rows,
    rare_faults,
    replay_line,
    rows,
    run_campaign,
    run_seeds,
)
from penstock.testing.simulation.run import Result, Simulation, simulate
from penstock.testing.simulation.weather import Fault

if TYPE_CHECKING:
    from collections.abc import Callable

SEEDS = range(10)
"""Calm ones and hellish ones, in both modes."""
WITH_POWER_CUTS = (15, 19, 108, 114)
"""Seeds in which a power cut meets writes that somebody relied on."""


@pytest.mark.parametrize("seed", SEEDS)
def test_every_record_is_accounted_for_whatever_happens(seed: int) -> None:
    result = simulate(seed)
    assert result.failure is None, replay_line(seed, str(result.failure))


def test_a_seed_gives_the_same_trace_byte_for_byte_in_every_process() -> None:
    def digest(hash_seed: str) -> str:
        told = subprocess.run(
            [sys.executable, "-m", "penstock.testing.simulation", "--seed", "7", "--trace"],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            check=True,
        ).stdout
        assert told.count(b"\n") > 500
        return hashlib.sha256(told).hexdigest()

    assert digest("1") == digest("2")


def test_a_ledger_that_promises_what_it_does_not_keep_is_found_out() -> None:
    assert any(Simulation(seed, syncs=False).run().failure for seed in WITH_POWER_CUTS), WITH_POWER_CUTS


# --- many seeds --------------------------------------------------------------------------------------------------


def test_what_many_seeds_come_to_does_not_depend_on_the_number_of_processes() -> None:
    def run(processes: int) -> Tally:
        return run_campaign(40, 4, processes, lambda *_: None, seeds_at_once=2)

    assert run(1) == run(2)


def test_every_state_table_of_the_protocol_is_counted() -> None:
    tally = run_seeds(range(2))
    assert {row[0] for row in rows()} == {"circuit", "session", "transfer"}
    assert tally.rows.keys() <= set(rows())
    assert tally.rows["session", "GREETING", "a later peer says HELLO"] > 0
    assert tally.seeds == 2


def test_rows_that_were_never_reached_and_faults_that_were_rare_are_told() -> None:
    tally = Tally(seeds=ENOUGH_SEEDS, faults=Counter(dict.fromkeys(Fault, STRIKES_MIN)), rows=Counter(rows()))
    assert (missing_rows(tally), rare_faults(tally)) == ([], [])
    tally.faults[Fault.DROP] -= 1
    del tally.rows[rows()[0]]
    assert (missing_rows(tally), rare_faults(tally)) == ([rows()[0]], [Fault.DROP])
    tally.seeds -= 1
    assert rare_faults(tally) == []


# --- the command -------------------------------------------------------------------------------------------------


def breaking(seed: int, tell: Callable[[str], None] | None = None) -> Result:
    """A simulation that fails at odd seeds."""
    if tell is not None:
        tell("something happens")
    failure = "nothing twice: p/3" if seed % 2 else None
    return Result(seed, 1.0, 1, 1, 1, 3, Counter(), failure)


def test_a_seed_that_fails_is_told_in_a_line_that_replays_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(campaign, "simulate", breaking)
    assert command.main(["--first", "2", "--seeds", "2"]) == 1
    told = capsys.readouterr().out.splitlines()
    assert "python -m penstock.testing.simulation --seed 3 --trace  # nothing twice: p/3" in told
    assert told[-1] == "1 of 2 seeds broke an invariant"


def test_one_seed_is_told_event_by_event(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(command, "simulate", breaking)
    assert command.main(["--seed", "4", "--trace"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "something happens"
    assert command.main(["--seed", "3"]) == 1
    assert capsys.readouterr().out.splitlines()[-1].endswith("# nothing twice: p/3")


def test_what_was_tried_is_told_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    command.main(["--seeds", "1"])
    told = capsys.readouterr().out
    assert "simulated hours" in told
    assert all(f"  {fault}\n" in told for fault in Fault)
    assert all(f"  {': '.join(row[:2])}, {row[2]}\n" in told for row in rows())
