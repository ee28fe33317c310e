"""How many records a streamed micro-batch may hold, so that the receiver is done with it within a budget."""

from __future__ import annotations

SMOOTHING = 0.2
"""Weight of the newest measurement: steady within a dozen grants, and no single pause decides."""


class Pace:
    """Measures how fast credit is granted while the sender wants for it: that is how fast the receiver works.

    While nobody wants, grants say nothing about its speed. Once there is credit to spare it keeps up, and nothing is
    gained by small ones.
    """

    def __init__(self, budget_s: float, most: int) -> None:
        """`budget_s` is how long the receiver may work on one micro-batch, `most` its records in any case."""
        self._budget_s = budget_s
        self._most = most
        self._since_s: float | None = None
        self.records_per_s: float | None = None
        """None where the receiver keeps up."""

    def __repr__(self) -> str:
        return f"<Pace {self.size} records, {self.records_per_s} records/s>"

    @property
    def size(self) -> int:
        """How many records a micro-batch may hold now: at least one."""
        if self.records_per_s is None:
            return self._most
        return max(1, min(self._most, int(self.records_per_s * self._budget_s)))

    def wanting(self, now_s: float) -> None:
        """Something waits for credit."""
        if self._since_s is None:
            self._since_s = now_s

    def granted(self, records: int, now_s: float) -> None:
        """So many more records may be sent."""
        if self._since_s is None or now_s <= self._since_s:
            return
        measured = records / (now_s - self._since_s)
        before = self.records_per_s
        self.records_per_s = measured if before is None else before + SMOOTHING * (measured - before)
        self._since_s = now_s

    def let_go(self, spare: int) -> None:
        """What waited, if anything did, was sent; `spare` records more may be."""
        self._since_s = None
        if spare >= self._most:
            self.records_per_s = None
