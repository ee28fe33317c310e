"""Plants faults into copies of the shipped code, one at a time, and lets the simulator find them.

python -m scripts.mutants                  every fault of the catalogue
python -m scripts.mutants --only CREDIT    those with this in their name
python -m scripts.mutants --check          only tell whether the catalogue fits the code
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.mutants.catalogue import CATALOGUE, misfits, note_seeds, read_catalogue
from scripts.mutants.hunting import Limits, fail_unharmed, hunt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scripts.mutants.hunting import Outcome

SOURCE = Path(__file__).resolve().parents[2] / "src/penstock"


def main() -> int:
    """Return 0 where every fault was found, and the same seeds find nothing in the code as it is."""
    options = _options()
    everything = read_catalogue(options.catalogue)
    mutants = [each for each in everything if not options.only or any(part in each.name for part in options.only)]
    wrong = list(misfits(mutants, options.source)) if mutants else ["there is no such mutant"]
    if wrong or options.check:
        print("\n".join(wrong) or f"{len(mutants)} mutants fit the code")
        return int(bool(wrong))
    limits = Limits(options.seeds, options.minutes * 60)
    with ThreadPoolExecutor(options.processes) as pool:
        outcomes = []
        for outcome in pool.map(lambda mutant: hunt(mutant, options.source, limits), mutants):
            outcomes.append(outcome)
            print(_told(outcome), flush=True)
    seeds = {each.mutant.name: each.seed for each in outcomes if each.seed is not None}
    unharmed = fail_unharmed(seeds.values(), options.source, limits.seconds) if seeds else {}
    if options.note:
        note_seeds(options.catalogue, seeds)
    return _judge(outcomes, unharmed)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.mutants", description="Plant faults, one at a time, and let the simulator find them."
    )
    parser.add_argument("--only", action="append", metavar="PART", help="mutants with this in their name; repeatable")
    parser.add_argument("--check", action="store_true", help="only tell whether the catalogue fits the code")
    parser.add_argument("--note", action="store_true", help="write the seeds that found something into the catalogue")
    parser.add_argument("--seeds", type=int, default=2_000, help="try all below this for each mutant (%(default)s)")
    parser.add_argument("--minutes", type=float, default=30.0, help="for each mutant, at most (%(default)s)")
    parser.add_argument("--processes", type=int, default=2, help="how many at a time (%(default)s)")
    parser.add_argument("--source", type=Path, default=SOURCE, help="the package (%(default)s)")
    parser.add_argument("--catalogue", type=Path, default=CATALOGUE, help="the faults (%(default)s)")
    return parser.parse_args()


def _told(outcome: Outcome) -> str:
    name = outcome.mutant.name
    if outcome.seed is not None:
        return f"{name}\n    caught by seed {outcome.seed} ({outcome.way}): {outcome.failure[:200]}"
    others = f", others broke {dict(outcome.others)}" if outcome.others else ""
    trouble = f", {outcome.trouble}" if outcome.trouble else ""
    return f"{name}\n    SURVIVED {outcome.tried:,} seeds{others}{trouble}"


def _judge(outcomes: Sequence[Outcome], unharmed: dict[int, str]) -> int:
    survived = [each.mutant.name for each in outcomes if each.seed is None]
    ways = Counter(each.way for each in outcomes if each.seed is not None)
    told = ", ".join(f"{number} by {way}" for way, number in ways.most_common())
    print(f"\n{len(outcomes) - len(survived)} of {len(outcomes)} mutants caught: {told}")
    for name in survived:
        print(f"SURVIVED {name}")
    for seed, failure in unharmed.items():
        print(f"seed {seed} fails without any fault, too: {failure}")
    if not unharmed and ways:
        print("The same seeds find nothing in the code as it is.")
    return 1 if survived or unharmed else 0


if __name__ == "__main__":
    sys.exit(main())
