"""The machine's clock, and its chance."""

from __future__ import annotations

import random
import time

from penstock.model.identity import new_id


class SystemClock:
    """Monotonic and wall time of this machine."""

    def now_s(self) -> float:
        """Return monotonic seconds."""
        return time.monotonic()

    def time_s(self) -> float:
        """Return seconds since 1970-01-01 UTC."""
        return time.time()


class SystemChance:
    """Ids from the operating system; fractions that spread retries and guard nothing."""

    def __init__(self) -> None:
        self._random = random.Random()  # noqa: S311 - see above

    def new_id(self) -> str:
        """Return a fresh UUID v4."""
        return new_id()

    def fraction(self) -> float:
        """Return a number in [0, 1)."""
        return self._random.random()
