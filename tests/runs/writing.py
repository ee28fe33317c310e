"""Writes events into a file that is followed, and rotates it: `python writing.py FOLDER EVENTS KEYS RATE ROTATE SEED`.

Each event is a line `id,key,n,amount`: the `n`-th of its key. At the end a line of JSON says what was written. RATE is
events a second; after ROTATE events the file is renamed to the next free number, and a new one begun.
"""

from __future__ import annotations

import json
import sys
import time
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import TextIO

HEADER = "id,key,n,amount\n"
BURST_S = 0.02


class Rotating:
    """`events.csv`, and what it was called before."""

    def __init__(self, folder: Path, rotate_after: int) -> None:
        self._path = folder / "events.csv"
        self._rotate_after = rotate_after
        self._lines = 0
        self._rotated = 0
        self._file = self._open()

    def write(self, line: str) -> None:
        """Write a line; every so often only a part of it first, as happens."""
        if self._lines == self._rotate_after:
            self._rotate()
        if self._lines % 997 == 0:
            self._file.write(line[:5])
            self._file.flush()
            line = line[5:]
        self._file.write(line)
        self._lines += 1

    def flush(self) -> None:
        """Let others see what was written."""
        self._file.flush()

    def _rotate(self) -> None:
        self._file.close()
        self._rotated += 1
        self._path.rename(self._path.with_name(f"events.csv.{self._rotated}"))
        self._file = self._open()
        self._lines = 0

    def _open(self) -> TextIO:
        file = self._path.open("a", encoding="utf-8")
        file.write(HEADER)
        file.flush()
        return file


def main(folder: str, events: int, keys: int, rate: int, rotate_after: int, seed: int) -> None:
    """Write all of it."""
    chance = Random(seed)
    counts = [0] * keys
    total = Decimal(0)
    out = Rotating(Path(folder), rotate_after)
    burst = max(1, round(rate * BURST_S))
    began_s = time.monotonic()
    for number in range(events):
        key = chance.randrange(keys)
        counts[key] += 1
        amount = Decimal(chance.randrange(1, 1_000_000)) / 100
        total += amount
        out.write(f"{number},{key},{counts[key]},{amount}\n")
        if number % burst == burst - 1:
            out.flush()
            time.sleep(max(0.0, began_s + number / rate - time.monotonic()))
    out.flush()
    print(json.dumps({"events": events, "amount": f"{total:.2f}", "last_of_key": counts}))  # noqa: T201 - its result


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
