"""Looks for a seed of the simulator that finds a planted fault: in a copy of the package, in a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Timer
from typing import TYPE_CHECKING

from scripts.mutants.catalogue import plant

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from scripts.mutants.catalogue import Mutant

OTHERS_MAX = 50
"""Seeds that break something else than what should see a fault: after so many, it is not looked for any longer."""
OWN_CHECK = "modules fail by nothing but what is outside of them"
NO_PROGRESS = frozenset(
    {
        "progress once all has healed",
        "something always goes on",
        "nothing spins",
        "everyone ends once all is settled",
    }
)


class Way(StrEnum):
    """How a fault came to light."""

    INVARIANT = "invariant"
    OWN_CHECK = "own check"
    """The faulty code noticed by itself: an exception that ends the module, and so, for a user, the run."""
    NO_PROGRESS = "no progress"


@dataclass(frozen=True, slots=True)
class Limits:
    """How long to look: so many seeds, and so many seconds of the wall clock."""

    seeds: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one mutant. `seed` is None where it survived; `tried` seeds were simulated."""

    mutant: Mutant
    tried: int
    seed: int | None = None
    failure: str = ""
    others: Counter[str] = field(default_factory=Counter)
    trouble: str = ""
    """Why the copy did not run to the end, if it did not."""

    @property
    def invariant(self) -> str:
        """The invariant that broke."""
        return invariant_of(self.failure)

    @property
    def way(self) -> Way:
        """How the fault came to light."""
        if self.invariant == OWN_CHECK:
            return Way.OWN_CHECK
        return Way.NO_PROGRESS if self.invariant in NO_PROGRESS else Way.INVARIANT


def invariant_of(failure: str) -> str:
    """Return the name of the invariant that a failure is about."""
    return failure.partition(":")[0]


def hunt(mutant: Mutant, source: Path, limits: Limits) -> Outcome:
    """Plant a fault into a copy of the package at `source`, and look for a seed that breaks what should see it."""
    tried = 0
    others: Counter[str] = Counter()
    with TemporaryDirectory(prefix="penstock-mutant-") as folder:
        package = _copy(source, Path(folder))
        plant(mutant, package)
        with _simulated(package, (mutant.seed,), limits) as (results, trouble):
            for seed, failure in results:
                tried += 1
                if failure is None:
                    continue
                if invariant_of(failure) in mutant.sees:
                    return Outcome(mutant, tried, seed, failure, others)
                others[invariant_of(failure)] += 1
                if others.total() == OTHERS_MAX:
                    break
        return Outcome(mutant, tried, others=others, trouble="".join(trouble))


def fail_unharmed(seeds: Iterable[int], source: Path, seconds: float) -> dict[int, str]:
    """Return which of `seeds` fail without any fault planted, and how: what they find is worth nothing."""
    wanted = tuple(sorted(set(seeds)))
    with TemporaryDirectory(prefix="penstock-unharmed-") as folder:
        package = _copy(source, Path(folder))
        with _simulated(package, wanted, Limits(0, seconds)) as (results, trouble):
            found = dict(results)
        left = {seed: f"was not tried: {''.join(trouble)}" for seed in wanted if seed not in found}
    return {seed: failure for seed, failure in found.items() if failure is not None} | left


def _copy(source: Path, folder: Path) -> Path:
    return Path(shutil.copytree(source, folder / source.name, ignore=shutil.ignore_patterns("__pycache__")))


@contextmanager
def _simulated(
    package: Path, first: Sequence[int], limits: Limits
) -> Iterator[tuple[Iterator[tuple[int, str | None]], list[str]]]:
    """Give seed after seed, with how it failed, if it did; and a list that says in the end why there are no more."""
    errors = package.parent / "errors.txt"
    trouble: list[str] = []
    command = [
        *(sys.executable, "-P", "-B", str(Path(__file__).with_name("seeds.py"))),
        *(str(package), ",".join(map(str, first)), str(limits.seeds)),
    ]
    environment = {**os.environ, "PYTHONPATH": str(package.parent), "PYTHONDONTWRITEBYTECODE": "1"}
    with (
        errors.open("w", encoding="utf-8") as told,
        subprocess.Popen(  # noqa: S603 - ourselves, with arguments of our own
            command, env=environment, cwd=package.parent, stdout=subprocess.PIPE, stderr=told
        ) as process,
    ):
        alarm = Timer(limits.seconds, process.kill)  # a fault may let a seed go on for ever
        alarm.start()

        def results() -> Iterator[tuple[int, str | None]]:
            assert process.stdout is not None
            for line in process.stdout:
                seed, failure = json.loads(line)
                yield seed, failure
            if process.wait():
                late = "time is up" if alarm.finished.is_set() else f"ended with {process.returncode}"
                trouble.append(f"{late} {errors.read_text(encoding='utf-8').strip()[-2000:]}".strip())

        try:
            yield results(), trouble
        finally:
            alarm.cancel()
            process.kill()
