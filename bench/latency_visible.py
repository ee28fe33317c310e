"""How long until a record can be read at the destination, when records come at an even pace.

That is from when a record was written, as it says itself, until a reader sees it, by the reader's own clock. The times
of the hand-off are those that the pipeline takes itself.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench.latency_pipeline import TABLE, BenchmarkError, Followed, folder
from bench.latency_writer import Writer

from penstock.observing.facts import LatencyStage, Timed
from penstock.observing.latency import Histogram

if TYPE_CHECKING:
    from collections.abc import Mapping

    import duckdb
    from bench.latency_pipeline import Mode
    from bench.latency_writer import Written

    from penstock.observing.facts import Fact

LOOK_S = 0.003
"""Pause between two looks of the reader. A look takes half a millisecond, which the pipeline could have used."""
PERCENT = tuple(share / 100 for share in range(101))


@dataclass(frozen=True, slots=True)
class Pace:
    """How records are written: so many a second, of which those of the first `warm_up_s` are not looked at."""

    rate: int
    seconds: float
    warm_up_s: float


@dataclass(frozen=True, slots=True)
class Spread:
    """What records took, in milliseconds."""

    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float


@dataclass(frozen=True, slots=True)
class Paced:
    """One mode at one rate. `offered` is what the writer managed; `curve_ms` is how long 0 %, 1 %, ... 100 % took."""

    mode: str
    rate: int
    offered: float
    records: int
    hand_off: Spread
    acknowledgement: Spread
    visible: Spread
    curve_ms: tuple[float, ...]


@dataclass(slots=True)
class Stopwatch:
    """An observer that keeps what stages took. Read it when the run is over."""

    histograms: defaultdict[LatencyStage, Histogram] = field(default_factory=lambda: defaultdict(Histogram))

    def saw(self, fact: Fact) -> None:
        """Keep a time."""
        if isinstance(fact, Timed):
            self.histograms[fact.stage].add(fact.seconds, fact.records)

    def begin_again(self) -> None:
        """Forget what was kept so far."""
        self.histograms = defaultdict(Histogram)

    def spread(self, stage: LatencyStage) -> Spread:
        """Return what a stage took."""
        found = self.histograms[stage].latency()
        return Spread(*(1000 * seconds for seconds in (found.p50_s, found.p95_s, found.p99_s, found.max_s)))


class Reader:
    """Reads what is new, and notes how long ago it was written: in whole microseconds, by its own clock."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, begin_at: int) -> None:
        """Records numbered below `begin_at` are read and not noted."""
        self._connection = connection
        self._connection.execute(f"PREPARE look AS SELECT id, written_us FROM {TABLE} WHERE id > $1")  # noqa: S608 - a constant
        self._begin_at = begin_at
        self._last = -1
        self.took_us: list[int] = []

    def look(self) -> None:
        """Look once, and pause."""
        rows = self._connection.execute(f"EXECUTE look({self._last})").fetchall()
        now_us = time.time_ns() // 1000
        if rows:
            self._last = max(number for number, _ in rows)
            self.took_us += [now_us - written_us for number, written_us in rows if number >= self._begin_at]
        time.sleep(LOOK_S)


def measure(mode: Mode, pace: Pace, settings: Mapping[str, object]) -> Paced:
    """Write at a pace, follow, read. Raises BenchmarkError where what arrived is not what was written."""
    stopwatch = Stopwatch()
    with folder() as home:
        with Followed(home, {**settings, **mode.settings}, stopwatch) as run, run.open_reader() as connection:
            reader = Reader(connection, int(pace.rate * pace.warm_up_s))
            written = _write_and_read(run, reader, pace, stopwatch)
            reader.look()
            run.stop()
        run.verify(written)
    if len(reader.took_us) != written.records - int(pace.rate * pace.warm_up_s):
        raise BenchmarkError(f"the reader saw {len(reader.took_us):,} records, of {written}")
    ordered = sorted(reader.took_us)
    curve = tuple(quantile(ordered, share) / 1000 for share in PERCENT)
    return Paced(
        mode=mode.name,
        rate=pace.rate,
        offered=written.records / (written.ended_s - written.began_s),
        records=len(reader.took_us),
        hand_off=stopwatch.spread(LatencyStage.HAND_OFF),
        acknowledgement=stopwatch.spread(LatencyStage.ACKNOWLEDGEMENT),
        visible=Spread(curve[50], curve[95], curve[99], curve[100]),
        curve_ms=curve,
    )


def _write_and_read(run: Followed, reader: Reader, pace: Pace, stopwatch: Stopwatch) -> Written:
    with Writer(run.file, "--rate", str(pace.rate), "--seconds", str(pace.seconds)) as writer:
        writer.begin()
        began_s = time.monotonic()
        while time.monotonic() < began_s + pace.warm_up_s:
            reader.look()
        stopwatch.begin_again()
        while not writer.has_ended:
            reader.look()
        written = writer.written()
    run.wait_until_settled(written.records, reader.look)
    return written


def quantile(ordered: list[int], share: float) -> int:
    """Return the value that `share` of all (0 to 1) do not exceed: one of them, never one in between."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
