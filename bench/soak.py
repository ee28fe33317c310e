"""Slow the destination down to a crawl under full input, and watch: memory, what is settled, and how it recovers.

The source is always ahead, and one record in a thousand breaks a rule. For an eighth of the time the destination is as
fast as it can be, then it crawls, and for the last quarter it is fast again. From the first quarter on, resident memory
of the process must be flat; when the destination is fast again, as much must be settled a second as before, at once; at
the end every record must be accounted for. Both modes, each in a process of its own.

    python -m bench.soak --short
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

import psutil
from bench import latency_plot
from bench.latency import FIGURES, RESULTS, alone
from bench.latency_pipeline import ENGINE_MEMORY_BYTES, MODES, BenchmarkError, Followed, folder
from bench.latency_table import table
from bench.run import machine

from penstock.observing.facts import RowsCommitted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from bench.latency_pipeline import Mode
    from bench.latency_writer import Written

    from penstock.observing.facts import Fact

SLOW_FROM, SLOW_TO = 1 / 8, 3 / 4
"""Shares of the time between which the destination crawls."""
FLAT_FROM = 1 / 4
"""Share of the time from which memory must be flat: by then every queue has filled up."""
SAMPLE_S = 0.25
MIB = 1 << 20
SPREAD_BYTES_MAX = ENGINE_MEMORY_BYTES + 64 * MIB
"""Most that memory may vary by: pages of the warehouse that its engine may keep, and a window of unsettled records."""
GROWTH_BYTES_MAX = 64 * MIB
"""Most that memory may grow by while the destination crawls, by the straight line through the samples. Without limits
it would be that much within a second or two, for there is always something to read."""
RECOVERED_SHARE = 0.5
"""Share of the rate before that counts as recovered: one second of it is looked at, and commits come in lumps."""
WARM_UP_RECORDS = 100_000
REJECT_SHARE = 0.001
COMMIT_RECORDS = 20_000
"""Rows of a transaction, so that many fall into the time in which the destination crawls."""


@dataclass(frozen=True, slots=True)
class Form:
    """How long each mode is soaked, how many records a second the destination takes while it crawls, and more settings.

    `recovers_within_s` is the longest time until as much is settled a second as before, or nearly; None does not ask.
    """

    seconds: float
    crawl_per_s: int
    recovers_within_s: float | None
    settings: Mapping[str, object]


LONG = Form(600.0, 5_000, 5.0, {"COMMIT_RECORDS": COMMIT_RECORDS})
# A smaller window fills up within the first quarter on slow machines, too; and these say little about time.
SHORT = Form(20.0, 20_000, None, {"COMMIT_RECORDS": COMMIT_RECORDS, "WINDOW_RECORDS": 200_000})


class Crawl:
    """An observer that slows the destination down, once it is told to: commits take as long as their rows say."""

    def __init__(self, per_s: int) -> None:
        self._per_s = per_s
        self._fast = Event()
        self._fast.set()

    def begin(self) -> None:
        """Crawl from now on."""
        self._fast.clear()

    def end(self) -> None:
        """Be fast again, at once: also the commit that is under way."""
        self._fast.set()

    def saw(self, fact: Fact) -> None:
        """Take the time that so many rows take. They are there by then, and not acknowledged."""
        if isinstance(fact, RowsCommitted):
            self._fast.wait(fact.rows / self._per_s)


@dataclass(frozen=True, slots=True)
class Sample:
    """How it stood, so many seconds after it began."""

    at_s: float
    resident_bytes: int
    read: int
    settled: int


@dataclass(frozen=True, slots=True)
class Soaked:
    """One mode. `recovered_s` after the destination was fast again, as much was settled a second as before, or nearly.

    None: it never was. `growth_bytes` is what memory grew by while the destination crawled, `spread_bytes` how far
    apart its highest and its lowest were until the end, both from `FLAT_FROM` on. All `records` and `rejects` were
    found again.
    """

    mode: str
    form: Form
    before_per_s: float
    during_per_s: float
    after_per_s: float
    recovered_s: float | None
    growth_bytes: float
    spread_bytes: int
    peak_bytes: int
    records: int
    rejects: int
    samples: tuple[Sample, ...]

    @property
    def failures(self) -> list[str]:
        """What is not as it must be."""
        found = []
        if self.growth_bytes > GROWTH_BYTES_MAX:
            found.append(f"{self.mode}: memory grew by {self.growth_bytes / MIB:,.0f} MiB")
        if self.spread_bytes > SPREAD_BYTES_MAX:
            found.append(f"{self.mode}: memory varied by {self.spread_bytes / MIB:,.0f} MiB")
        within_s = self.form.recovers_within_s
        if within_s is not None and (self.recovered_s is None or self.recovered_s > within_s):
            found.append(f"{self.mode}: it did not recover within {within_s:.0f} s")
        return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Soak both modes, write it down, print the table; 1 where anything is not as it must be."""
    options = _options(arguments)
    form = SHORT if options.short else LONG
    try:
        soaked = [alone(f"{mode.name}, soaked for {form.seconds:.0f} s", measure, mode, form) for mode in MODES]
    except BenchmarkError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    options.results.mkdir(parents=True, exist_ok=True)
    path = options.results / f"{datetime.now(UTC):%Y-%m-%dT%H%M%SZ}-soak.json"
    document = {"machine": machine(), "runs": [asdict(each) for each in soaked]}
    path.write_text(json.dumps(document) + "\n", encoding="utf-8")
    for name, plot in plots(soaked).items():
        latency_plot.write(options.figures / f"{name}.svg", plot)
    print(f"bench: written to {path} and {options.figures}", file=sys.stderr)
    print(soaked_table(soaked))
    failures = [failure for each in soaked for failure in each.failures]
    for failure in failures:
        print(f"bench: {failure}", file=sys.stderr)
    return 1 if failures else 0


def measure(mode: Mode, form: Form) -> Soaked:
    """Soak one mode. Raises BenchmarkError where what arrived is not what was written."""
    crawl = Crawl(form.crawl_per_s)
    with folder() as home:
        with Followed(home, {**form.settings, **mode.settings}, crawl) as run:
            try:
                with run.fed("--reject-share", str(REJECT_SHARE)) as fed:
                    run.wait_until_settled(WARM_UP_RECORDS)
                    samples = _watch(run, crawl, form.seconds)
            finally:
                crawl.end()
            run.wait_until_settled(fed.written.records)
            run.stop()
        run.verify(fed.written)
    return judged(mode.name, form, samples, fed.written)


def _watch(run: Followed, crawl: Crawl, seconds: float) -> tuple[Sample, ...]:
    """Let time pass, and the destination crawl for a part of it; sample all the while."""
    process = psutil.Process()
    began_s = time.monotonic()
    samples: list[Sample] = []
    while not samples or samples[-1].at_s < seconds:
        at_s = time.monotonic() - began_s
        if SLOW_FROM * seconds <= at_s < SLOW_TO * seconds:
            crawl.begin()
        else:
            crawl.end()
        samples.append(Sample(at_s, process.memory_info().rss, run.figures.read, run.figures.settled))
        run.check()
        time.sleep(SAMPLE_S)
    return tuple(samples)


def judged(mode: str, form: Form, samples: tuple[Sample, ...], written: Written) -> Soaked:
    """Work out what the samples say."""
    before, during, after = _parts(samples, SLOW_FROM * form.seconds, SLOW_TO * form.seconds)
    flat = [sample for sample in samples if sample.at_s >= FLAT_FROM * form.seconds]
    resident = [sample.resident_bytes for sample in flat]
    crawling = [sample for sample in during if sample.at_s >= FLAT_FROM * form.seconds]
    slope, _ = statistics.linear_regression(
        [sample.at_s for sample in crawling], [sample.resident_bytes for sample in crawling]
    )
    return Soaked(
        mode=mode,
        form=form,
        before_per_s=_rate(before),
        during_per_s=_rate(during),
        after_per_s=_rate(after),
        recovered_s=_recovered_s(during[-1], after, RECOVERED_SHARE * _rate(before)),
        growth_bytes=slope * (crawling[-1].at_s - crawling[0].at_s),
        spread_bytes=max(resident) - min(resident),
        peak_bytes=max(sample.resident_bytes for sample in samples),
        records=written.records,
        rejects=written.rejects,
        samples=samples,
    )


def _parts(samples: Sequence[Sample], *borders_s: float) -> Iterator[list[Sample]]:
    """Cut samples where the destination became slow and fast."""
    for first_s, last_s in pairwise((float("-inf"), *borders_s, float("inf"))):
        yield [sample for sample in samples if first_s <= sample.at_s < last_s]


def _rate(samples: Sequence[Sample]) -> float:
    first, last = samples[0], samples[-1]
    return (last.settled - first.settled) / (last.at_s - first.at_s)


def _recovered_s(last: Sample, after: Sequence[Sample], wanted_per_s: float) -> float | None:
    """Return how long after `last` so much was settled a second, looked at over one second each; None for never."""
    window = round(1 / SAMPLE_S)
    seen = [last, *after]
    return next(
        (
            later.at_s - last.at_s
            for earlier, later in zip(seen, seen[window:], strict=False)
            if _rate((earlier, later)) >= wanted_per_s
        ),
        None,
    )


# --- what it says -------------------------------------------------------------------------------------------------


def soaked_table(soaked: Sequence[Soaked]) -> str:
    """Return what was found, in Markdown."""
    form = soaked[0].form
    return table(
        (
            "mode",
            "settled before, records/s",
            "while it crawls",
            "after",
            "as before within, s",
            "memory grew by, MiB",
            "varied by, MiB",
            "peak, MiB",
            "records, none lost",
        ),
        [
            (
                each.mode,
                f"{each.before_per_s:,.0f}",
                f"{each.during_per_s:,.0f}",
                f"{each.after_per_s:,.0f}",
                "never" if each.recovered_s is None else f"{each.recovered_s:.1f}",
                *(f"{size / MIB:,.0f}" for size in (each.growth_bytes, each.spread_bytes, each.peak_bytes)),
                f"{each.records:,}",
            )
            for each in soaked
        ],
        f"{form.seconds:,.0f} s in each mode, of which the destination took {form.crawl_per_s:,} records/s for "
        f"{(SLOW_TO - SLOW_FROM) * form.seconds:,.0f} s. Memory is looked at from the first quarter on: what it grew "
        "by is by the straight line through all samples while the destination crawled, what it varied by is until the "
        "end.",
    )


def plots(soaked: Sequence[Soaked]) -> dict[str, latency_plot.Plot]:
    """Return what is drawn, by the name of its file."""
    seconds = soaked[0].form.seconds
    bands = [latency_plot.Band("the destination crawls", SLOW_FROM * seconds, SLOW_TO * seconds)]
    memory = [
        latency_plot.Line(each.mode, [(sample.at_s, sample.resident_bytes / MIB) for sample in each.samples], number)
        for number, each in enumerate(soaked)
    ]
    settled = [
        latency_plot.Line(f"{each.mode}: {what}", points, number, dash)
        for number, each in enumerate(soaked)
        for dash, (what, points) in enumerate(
            (
                ("settled", [(sample.at_s, sample.settled / 1e6) for sample in each.samples]),
                ("read", [(sample.at_s, sample.read / 1e6) for sample in each.samples]),
            )
        )
    ]
    return {
        "soak-memory": latency_plot.Plot("Memory of the process", "seconds", "resident memory, MiB", memory, bands),
        "soak-settled": latency_plot.Plot("Records read and settled", "seconds", "million records", settled, bands),
    }


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description="Slow the destination down, and watch.")
    parser.add_argument("--short", action="store_true", help="20 s for each mode instead of ten minutes")
    parser.add_argument("--figures", type=Path, default=FIGURES, help="where drawings go (default: docs/figures)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where all of it goes (default: bench/results)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
