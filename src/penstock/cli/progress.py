"""Progress while a run is under way: a live line in a terminal, a line now and then elsewhere."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from penstock.observing.facts import LatencyStage
from penstock.observing.latency import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from penstock.observing.figures import Figures

LIVE_INTERVAL_S = 0.2
PLAIN_INTERVAL_S = 10.0
"""Where nobody can see a line change, one every ten seconds tells that it is alive."""


@contextmanager
def progress(console: Console, figures: Figures) -> Iterator[None]:
    """Show `figures` until the block ends."""
    began_s = time.monotonic()
    over = threading.Event()
    if console.is_terminal:
        with Live(
            get_renderable=lambda: _line(figures, began_s), console=console, transient=True, refresh_per_second=5
        ):
            yield
        return
    plain = threading.Thread(target=_tell, args=(console, figures, began_s, over), daemon=True)
    plain.start()
    try:
        yield
    finally:
        over.set()
        plain.join()


def _tell(console: Console, figures: Figures, began_s: float, over: threading.Event) -> None:
    while not over.wait(PLAIN_INTERVAL_S):
        console.print(_words(figures, time.monotonic() - began_s), highlight=False)


def _line(figures: Figures, began_s: float) -> Table:
    share = _share(figures)
    grid = Table.grid(padding=(0, 1))
    bar = ProgressBar(total=1.0, completed=share, width=24) if share is not None else Text("reading")
    grid.add_row(bar, _words(figures, time.monotonic() - began_s))
    return grid


def _words(figures: Figures, seconds: float) -> str:
    in_flight = sum(hop.in_flight for hop in figures.hops.values())
    words = [
        f"{figures.read:,} rows",
        f"{figures.read / seconds:,.0f} rows/s" if seconds else "",
        f"{in_flight:,} hand-offs in flight",
        f"{figures.dead_letters.total():,} dead letters",
        _latency(figures),
        _time_left(figures, seconds),
    ]
    return " · ".join(word for word in words if word)


def _latency(figures: Figures) -> str:
    """Return what the records of sources in streaming mode took so far, from being read to being settled."""
    found = figures.streaming_latency(LatencyStage.END_TO_END)
    return f"p99 {shown(found.p99_s)} end to end" if found else ""


def _share(figures: Figures) -> float | None:
    """Return the share of bytes read, over the sources opened so far; None when it is not known."""
    found = [source.progress for source in tuple(figures.sources.values())]
    known = [progress for progress in found if progress is not None]
    total = sum(size for _, size in known)
    return min(1.0, sum(read for read, _ in known) / total) if total and len(known) == len(found) else None


def _time_left(figures: Figures, seconds: float) -> str:
    share = _share(figures)
    if not share or share >= 1.0:
        return ""
    return f"{seconds * (1 - share) / share:,.0f} s left"
