"""Measure how long records take, how many a second go through, and how fast back-pressure works, in both modes.

1. At an even pace: the hand-off from Alpha to Beta, and the time until a reader sees a record at the destination.
2. The most records a second that are settled over a minute, streamed in micro-batches, 1 % of them refused by Beta.
3. The destination stands still at a known moment: when does Alpha stop sending, and when does reading stop?

Each measurement is a process of its own. Rows, sums and dead letters are compared with what was written, every time; a
measurement whose counts are not exact is an error. Tables go to standard output, drawings to docs/figures, everything
measured to bench/results.

    python -m bench.latency --quick
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from bench import latency_plot, latency_pressure, latency_rate, latency_visible
from bench.latency_pipeline import COMMIT_INTERVAL_MS, MODES, STREAMING, BenchmarkError
from bench.latency_table import table
from bench.latency_visible import Pace
from bench.run import ROOT, machine

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from bench.latency_pressure import Pressed, Reaction
    from bench.latency_rate import Sustained
    from bench.latency_visible import Paced, Spread

T = TypeVar("T")

FIGURES = ROOT / "docs" / "figures"
RESULTS = ROOT / "bench" / "results"
ALLOWED_BEYOND_MS = 50
"""What a record may need beside the time between two commits, at the 99th percentile."""
AIM_PER_S = 100_000


@dataclass(frozen=True, slots=True)
class Extent:
    """How much is measured. `prepared` records are ready before the highest rate is looked for."""

    rates: tuple[int, ...]
    pace_s: float
    warm_up_s: float
    rate_s: float
    prepared: int
    frozen_s: float
    settings: Mapping[str, object]


WHOLE = Extent(
    rates=(100, 1_000, 10_000), pace_s=22.0, warm_up_s=2.0, rate_s=60.0, prepared=12_000_000, frozen_s=15.0, settings={}
)
QUICK = Extent(
    rates=(1_000,),
    pace_s=1.5,
    warm_up_s=0.5,
    rate_s=2.0,
    prepared=500_000,
    frozen_s=3.0,
    # Batches that linger for seconds would take most of the time.
    settings={"ALPHA_BETA_FLUSH_TIMEOUT_MS": 200, "BETA_GAMMA_FLUSH_TIMEOUT_MS": 200},
)


@dataclass(frozen=True, slots=True)
class Measured:
    """All that was measured."""

    paced: tuple[Paced, ...]
    sustained: Sustained
    pressed: tuple[Pressed, ...]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write it down, print the tables."""
    options = _options(arguments)
    try:
        measured = measure(QUICK if options.quick else WHOLE)
    except BenchmarkError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    options.results.mkdir(parents=True, exist_ok=True)
    path = options.results / f"{datetime.now(UTC):%Y-%m-%dT%H%M%SZ}-latency.json"
    path.write_text(json.dumps({"machine": machine(), **asdict(measured)}, indent=1) + "\n", encoding="utf-8")
    for name, plot in plots(measured).items():
        latency_plot.write(options.figures / f"{name}.svg", plot)
    print(f"bench: written to {path} and {options.figures}", file=sys.stderr)
    print("\n\n".join((paced_table(measured.paced), rate_table(measured.sustained), pressure_table(measured.pressed))))
    return 0


def measure(extent: Extent) -> Measured:
    """Measure one thing after the other. Raises BenchmarkError."""
    pace = partial(Pace, seconds=extent.pace_s, warm_up_s=extent.warm_up_s)
    paced = tuple(
        alone(f"{mode.name}, {rate:,} records/s", latency_visible.measure, mode, pace(rate), extent.settings)
        for rate in extent.rates
        for mode in MODES
    )
    sustained = alone("highest rate", latency_rate.measure, extent.rate_s, extent.prepared, extent.settings)
    pressed = tuple(
        alone(f"{mode.name}, frozen", latency_pressure.measure, mode, extent.frozen_s, extent.settings)
        for mode in MODES
    )
    return Measured(paced, sustained, pressed)


def alone(what: str, function: Callable[..., T], *arguments: object) -> T:
    """Call a function in a fresh process: what was measured before leaves nothing behind."""
    print(f"bench: {what}", file=sys.stderr, flush=True)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


# --- what it says -------------------------------------------------------------------------------------------------


def paced_table(paced: Sequence[Paced]) -> str:
    """Return latencies at an even pace, in Markdown."""
    limit_ms = COMMIT_INTERVAL_MS + ALLOWED_BEYOND_MS
    worst_ms = max(each.visible.p99_ms for each in paced if each.mode == STREAMING.name)
    return table(
        ("mode", "records/s", "hand-off, ms", "acknowledged as settled, ms", "visible to a reader, ms"),
        [
            (
                each.mode,
                f"{each.offered:,.0f}",
                _shown(each.hand_off),
                _shown(each.acknowledgement),
                _shown(each.visible),
            )
            for each in paced
        ],
        f"p50 / p95 / p99. Commits every {COMMIT_INTERVAL_MS} ms. When streaming, a record is visible within "
        f"{worst_ms:,.0f} ms at p99; the aim is {limit_ms} ms{_judged(reached=worst_ms <= limit_ms)}.",
    )


def rate_table(found: Sustained) -> str:
    """Return the highest rate, in Markdown."""
    return table(
        (
            "for, s",
            "settled, records/s",
            "slowest tenth",
            "fastest tenth",
            "refused and named, of records",
            "largest micro-batch",
            "processor, µs a record",
        ),
        [
            (
                f"{found.seconds:.0f}",
                f"{found.per_s:,.0f}",
                f"{found.slowest:,.0f}",
                f"{found.fastest:,.0f}",
                f"{found.rejects:,} of {found.records:,}",
                f"{found.largest:,}",
                f"{1e6 * found.processor_s / found.settled:.1f}",
            )
        ],
        f"The aim is {AIM_PER_S:,} records/s{_judged(reached=found.per_s >= AIM_PER_S)}. Rows, their sum to the cent, "
        "and every dead letter are as written.",
    )


def pressure_table(pressed: Sequence[Pressed]) -> str:
    """Return how fast back-pressure works, in Markdown."""
    return table(
        (
            "mode",
            "Alpha first held back, s",
            "last sent, s",
            "sent until then, records",
            "last read, s",
            "read until then, records",
            "reads again, s",
        ),
        [
            (
                each.mode,
                _seconds(each.told_s),
                _stopped(each.sending, each),
                f"{each.sending.records:,}",
                _stopped(each.reading, each),
                f"{each.reading.records:,}",
                _seconds(each.reading.again_s),
            )
            for each in pressed
        ],
        f"From the moment at which a commit first stood still. It did for {pressed[0].frozen_s:.0f} s; the last column "
        "is from its going on.",
    )


def plots(measured: Measured) -> dict[str, latency_plot.Plot]:
    """Return what is drawn, by the name of its file."""
    rates = sorted({each.rate for each in measured.paced})
    names = [mode.name for mode in MODES]
    visible = latency_plot.Plot(
        "Until a reader sees a record at the destination",
        f"milliseconds since it was written (commits every {COMMIT_INTERVAL_MS} ms)",
        "share of the records, %",
        [
            latency_plot.Line(
                f"{each.mode}, {each.rate:,}/s",
                [(max(1.0, took_ms), percent) for percent, took_ms in enumerate(each.curve_ms)],
                names.index(each.mode),
                rates.index(each.rate),
            )
            for each in measured.paced
        ],
        log_x=True,
    )
    pressure = latency_plot.Plot(
        "The destination stands still: what goes on",
        "seconds since then",
        "records since then",
        [
            latency_plot.Line(f"{each.mode}: {what}", each.lines[what], names.index(each.mode), dash)
            for each in measured.pressed
            for dash, what in enumerate(("read", "sent", "settled"))
        ],
        [latency_plot.Band("stands still", 0.0, min(each.frozen_s for each in measured.pressed))],
        y_from=min(records for each in measured.pressed for line in each.lines.values() for _, records in line),
    )
    return {"latency-visible": visible, "latency-pressure": pressure}


def _shown(spread: Spread) -> str:
    return " / ".join(f"{value:,.1f}" for value in (spread.p50_ms, spread.p95_ms, spread.p99_ms))


def _stopped(reaction: Reaction, pressed: Pressed) -> str:
    if reaction.seconds > pressed.frozen_s - latency_pressure.STILL_S:
        return f"not within {pressed.frozen_s:.0f}"
    return f"{reaction.seconds:.3f}"


def _seconds(seconds: float | None) -> str:
    return "never" if seconds is None else f"{seconds:.3f}"


def _judged(*, reached: bool) -> str:
    return " (reached)" if reached else " (**not reached**)"


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.latency", description="Measure latency and back-pressure.")
    parser.add_argument("--quick", action="store_true", help="seconds instead of minutes: only to see that it works")
    parser.add_argument("--figures", type=Path, default=FIGURES, help="where drawings go (default: docs/figures)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where all of it goes (default: bench/results)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
