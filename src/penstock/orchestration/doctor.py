"""Looks at everything a run will need, before there is one: nothing is written, and every trouble says what to do."""

from __future__ import annotations

import os
import platform
import shutil
import time
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING

from penstock.connectors import open_sink, open_source
from penstock.errors import PenstockError, UserMistake
from penstock.ledger import Ledger
from penstock.ledger.database import FILE_NAME as LEDGER_FILE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from penstock.model.pipeline import Model, SourceTable
    from penstock.orchestration.plan import Plan
    from penstock.ports import Sink, Source

LIBRARIES = ("penstock", "duckdb", "pyarrow")
ROOM_BYTES = 1 << 30
"""Less free space than this is too little for any run: state, log and warehouse grow beside each other."""
CLOCKS_APART_S = 5.0
"""Clocks that differ by more make a cursor over times, or a token that expires, go wrong."""


@dataclass(frozen=True, slots=True)
class Examined:
    """One thing that was looked at: what it is, what was found, and what to do where it is not as it should be."""

    what: str
    found: str
    trouble: str = ""
    """The error's code, empty where all is well."""
    remedy: str = ""

    @property
    def is_well(self) -> bool:
        """Whether a run would find it as it should be."""
        return not self.trouble


def examine(plan: Plan) -> Iterator[Examined]:
    """Yield one thing after the other, as it is looked at."""
    yield Examined("versions", f"Python {platform.python_version()}, " + ", ".join(map(_version, LIBRARIES)))
    yield _tried("state", lambda: _state(plan))
    yield _tried("disk", lambda: _disk(plan.home))
    for table in plan.pipeline.sources:
        yield from _source(table, plan)
    for model in plan.pipeline.models:
        yield from _destination(model, plan)


def _version(library: str) -> str:
    return f"{library} {version(library)}"


def _tried(what: str, look: Callable[[], str]) -> Examined:
    try:
        return Examined(what, look())
    except PenstockError as error:
        return Examined(what, error.message, error.kind.code, error.remedy)


def _state(plan: Plan) -> str:
    """Look at the state folder and at the ledger in it."""
    if not os.access(plan.home, os.W_OK):
        raise UserMistake("INT_LEDGER_001", f"`{plan.home}` may not be written to")
    if not (plan.state / LEDGER_FILE).exists():  # a connector may have made the folder
        return f"{plan.state} will have a ledger: nothing has run here yet"
    with Ledger.read_only(plan.state) as ledger:
        last = ledger.last_run(plan.pipeline.name)
    ahead_s = max(path.stat().st_mtime for path in plan.state.iterdir()) - time.time()
    if ahead_s > CLOCKS_APART_S:
        raise UserMistake(
            "INT_PIPELINE_009", f"the clock is {ahead_s:,.0f} s behind the last run", remedy="set this machine's clock"
        )
    return f"{plan.state}, the last run {last.status}" if last else f"{plan.state}, nothing has run yet"


def _disk(home: Path) -> str:
    free = shutil.disk_usage(home).free
    if free < ROOM_BYTES:
        raise UserMistake("INT_GAMMA_012", f"{free >> 20:,} MiB are free at `{home}`", remedy="free some space")
    return f"{free >> 30:,} GiB are free at {home}"


def _source(table: SourceTable, plan: Plan) -> Iterator[Examined]:
    what = f"source {table.name}"
    try:
        source = open_source(table, plan.root, plan.settings, plan.state)
    except PenstockError as error:
        yield Examined(what, error.message, error.kind.code, error.remedy)
        return
    with closing(source):
        yield _tried(what, lambda: _read(source))
        yield from _clock(what, source)


def _read(source: Source) -> str:
    partitions = source.partitions()
    sizes = [source.size_bytes(partition, None) for partition in partitions]
    size = "" if None in sizes else f", {sum(size or 0 for size in sizes):,} bytes"
    said = getattr(source, "examine", str)()
    return ", ".join(each for each in (said, f"partitions: {len(partitions):,}{size}") if each)


def _destination(model: Model, plan: Plan) -> Iterator[Examined]:
    what = f"destination {model.name}"
    try:
        sink = open_sink(plan.pipeline.name, model, plan.pipeline.warehouse, plan.home, plan.settings)
    except PenstockError as error:
        yield Examined(what, error.message, error.kind.code, error.remedy)
        return
    with closing(sink):
        yield _tried(what, lambda: _written(sink))
        yield from _clock(what, sink)


def _written(sink: Sink) -> str:
    examine_ = getattr(sink, "examine", None)
    return "can be opened; its connector cannot tell more without writing" if examine_ is None else str(examine_())


def _clock(what: str, connector: object) -> Iterator[Examined]:
    """Compare clocks, where the outside thing has one."""
    if not hasattr(connector, "clock_s"):
        return

    def look() -> str:
        before_s = time.time()
        theirs_s = float(connector.clock_s())
        apart_s = theirs_s - (before_s + time.time()) / 2
        if abs(apart_s) > CLOCKS_APART_S:
            raise UserMistake("INT_PIPELINE_009", f"its clock is {apart_s:+,.0f} s from ours", remedy="set the clocks")
        return f"{apart_s:+.1f} s from ours"

    yield _tried(f"clock of {what}", look)
