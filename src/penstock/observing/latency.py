"""How long things took, as a histogram of fixed size: quantiles with a bounded error, however many values there were.

Values up to `FLOOR_S` share one bucket. Above it every octave (a doubling) is cut into `PARTS` buckets of equal width,
so that a bucket is at most 1/64 of its values wide: the log-linear layout of HdrHistogram. Beyond the last octave
quantiles are the largest value seen.
"""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass

PARTS = 64
"""Buckets per octave. A quantile is given by the upper end of its bucket: never too low, at most 1/64 too high."""
LOWEST_OCTAVE = -17
HIGHEST_OCTAVE = 17
FLOOR_S = 2.0**LOWEST_OCTAVE
"""8 µs: less is noise of the clock and of the threads."""
CEILING_S = 2.0**HIGHEST_OCTAVE
"""36 hours: whoever waits longer does not look at a histogram."""
_BUCKETS = 2 + (HIGHEST_OCTAVE - LOWEST_OCTAVE) * PARTS


@dataclass(frozen=True, slots=True)
class Latency:
    """What `records` records took: half of them up to `p50_s` seconds, and so on; `max_s` is exact."""

    records: int
    p50_s: float
    p95_s: float
    p99_s: float
    max_s: float


class Histogram:
    """Seconds, weighted by records. About 17 KiB, whatever it holds. Whoever shares it between threads locks it."""

    __slots__ = ("_buckets", "_max_s", "records")

    def __init__(self) -> None:
        self._buckets = array("q", bytes(8 * _BUCKETS))
        self._max_s = 0.0
        self.records = 0

    def __repr__(self) -> str:
        return f"<Histogram {self.records:,} records, longest {shown(self._max_s)}>"

    def add(self, seconds: float, records: int = 1) -> None:
        """Count `records` that took `seconds`; a time that is negative or not a number counts as none at all."""
        self._buckets[_bucket(seconds)] += records
        self.records += records
        self._max_s = max(self._max_s, seconds)

    def merge(self, other: Histogram) -> None:
        """Add all that `other` holds."""
        for bucket, records in enumerate(other._buckets):
            self._buckets[bucket] += records
        self.records += other.records
        self._max_s = max(self._max_s, other._max_s)

    def quantile_s(self, share: float) -> float:
        """Return how long at most the fastest `share` (0 to 1) of all records took, 0.0 where there are none."""
        wanted = max(1, math.ceil(share * self.records))
        counted = 0
        for bucket, records in enumerate(self._buckets):
            counted += records
            if counted >= wanted:
                return min(_end_s(bucket), self._max_s)
        return self._max_s

    def latency(self) -> Latency:
        """Return what there is to say of it."""
        return Latency(self.records, self.quantile_s(0.5), self.quantile_s(0.95), self.quantile_s(0.99), self._max_s)


def shown(seconds: float) -> str:
    """Return a duration for people, to about three digits: "0.25 ms", "38 ms", "1.50 s", "4,000 s"."""
    value, unit = (seconds, "s") if seconds >= 1 else (seconds * 1000, "ms")
    places = 2 if value < 10 else 1 if value < 100 else 0  # noqa: PLR2004 - three digits
    return f"{value:,.{places}f} {unit}"


def _bucket(seconds: float) -> int:
    """Return the bucket of a value: the first for what is not above the floor, the last for what is at the ceiling."""
    if not seconds > FLOOR_S:
        return 0
    if seconds >= CEILING_S:
        return _BUCKETS - 1
    mantissa, exponent = math.frexp(seconds)  # seconds = mantissa * 2 ** exponent, mantissa in [1/2, 1)
    return 1 + (exponent - 1 - LOWEST_OCTAVE) * PARTS + int((2 * mantissa - 1) * PARTS)


def _end_s(bucket: int) -> float:
    """Return where a bucket ends, which it does not hold itself."""
    if bucket == 0:
        return FLOOR_S
    if bucket == _BUCKETS - 1:
        return math.inf
    octave, part = divmod(bucket - 1, PARTS)
    return math.ldexp(1 + (part + 1) / PARTS, octave + LOWEST_OCTAVE)
