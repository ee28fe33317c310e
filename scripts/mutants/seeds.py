"""Run inside a copy of the package: simulates seed after seed, and writes what each came to, a line of JSON each.

    python seeds.py PACKAGE SEED,SEED,... SEEDS

First the named seeds, then all below SEEDS. PACKAGE is where the simulator must have come from.
"""

from __future__ import annotations

import gc
import json
import sys
from pathlib import Path

import penstock
from penstock.testing.simulation.run import simulate


def main(package: str, first: str, most: str) -> None:
    """Simulate until there is no seed left, or until nobody listens."""
    found = Path(penstock.__file__).resolve().parent
    assert found == Path(package).resolve(), f"{found} was run instead of {package}"
    named = dict.fromkeys(int(seed) for seed in first.split(",") if seed)
    gc.freeze()  # what was imported is no garbage: looking through it after each seed would take longer than the seed
    gc.disable()
    for seed in (*named, *(seed for seed in range(int(most)) if seed not in named)):
        print(json.dumps([seed, _failure(seed)]), flush=True)
        gc.collect()


def _failure(seed: int) -> str | None:
    try:
        return simulate(seed).failure
    except Exception as error:  # noqa: BLE001 - a fault may break the simulator itself, which is no invariant
        return f"the simulator fails: {error!r}"


if __name__ == "__main__":
    main(*sys.argv[1:])
