"""How many records a streamed micro-batch may hold, so that the receiver is done with it within a budget."""

from __future__ import annotations

SMOOTHING = 0.2
"""Weight of the newest measurement: steady within a dozen grants, and no single pause decides."""


class Pace:
    """Measures how fast credit is granted while the receiver has work: that is how fast it works.

    Only while credit has run out is that certain; a receiver that keeps up is not measured and gets the most.
    """

    def __init__(self, budget_s: float, most: int) -> None:
        """`budget_s` is how long the receiver may work on one micro-batch, `most` its records in any case."""
        self._budget_s = budget_s
        self._most = most
        self._busy_since_s: float | None = None
        self.records_per_s: float | None = None
        """None until it has been measured."""

    def __repr__(self) -> str:
        return f"<Pace {self.size} records, {self.records_per_s} records/s>"

    @property
    def size(self) -> int:
        """How many records a micro-batch may hold now: at least one."""
        if self.records_per_s is None:
            return self._most
        return max(1, min(self._most, int(self.records_per_s * self._budget_s)))

    def granted(self, records: int, ahead: int, now_s: float) -> None:
        """Take a grant for `records` more. `ahead` is streamed minus granted before it: 0 when credit had run out."""
        if self._busy_since_s is not None and now_s > self._busy_since_s:
            measured = records / (now_s - self._busy_since_s)
            before = self.records_per_s
            self.records_per_s = measured if before is None else before + SMOOTHING * (measured - before)
        self._busy_since_s = now_s if ahead >= 0 else None
        if ahead < 0:
            self.records_per_s = None  # it keeps up: nothing is gained by smaller ones
