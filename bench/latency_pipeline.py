"""The pipeline that is measured: a file that grows, followed in this process, and what came of it, counted afterwards.

Records `id, written_us, amount, discount` go into one DuckDB table with `net`, their difference. A negative one breaks
a rule that Beta checks, after the transform.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from threading import Event, Thread
from types import MappingProxyType
from typing import TYPE_CHECKING, Self

import duckdb
from bench.latency_writer import HEADER, Writer, Written

import penstock
from penstock.connectors.sinks.duckdb.database import open_database
from penstock.ledger import Ledger
from penstock.links.memory import connect_in_memory
from penstock.observing.facts import Everyone, SourceOpened
from penstock.observing.figures import Figures
from penstock.orchestration.control import Control
from penstock.orchestration.result import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from penstock.links.memory import Connect
    from penstock.observing.facts import Fact, Observer
    from penstock.orchestration.result import RunResult

WORK = Path(__file__).resolve().parents[1] / ".bench"
SOURCE = "events"
TABLE = "fct_events"
PIPELINE = "latency"
DOCUMENT = f"""\
# Events, as they come

## SCHEMA_TO_STREAM_HANDOFF

```yaml
pipeline: "{PIPELINE}"
source_models:
  - table: "{SOURCE}"
    columns:
      - {{name: "id", type: "bigint", primary_key: true}}
      - {{name: "written_us", type: "bigint", nullable: false}}
      - {{name: "amount", type: "numeric(12,2)", nullable: false}}
      - {{name: "discount", type: "numeric(12,2)", nullable: false}}
destination_requirements:
  warehouse: "duckdb"
  schema: "main"
  models:
    - name: "{TABLE}"
      source: "{SOURCE}"
      grain: "id"
      columns:
        - "*"
        - {{name: "net", expression: "amount - discount", type: "numeric(12,2)"}}
quality_requirements:
  - {{rule: "net >= 0", model: "{TABLE}"}}
```
"""
REJECTED_BY_RULE = "INT_BETA_004"
COMMIT_INTERVAL_MS = 100
ENGINE_MEMORY_BYTES = 128 << 20
"""Said here because a second connection to the same engine must be opened with the same."""
SETTINGS: Mapping[str, object] = MappingProxyType(
    {
        "COMMIT_INTERVAL_MS": COMMIT_INTERVAL_MS,
        "ENGINE_MEMORY_BYTES": ENGINE_MEMORY_BYTES,
        # What is read at once is settled at once: in smaller pieces one can see it move.
        "READ_BYTES": 1 << 20,
    }
)
"""How everything here runs, unless something else is said; all other settings are at their defaults."""
BEGUN_WITHIN_S = 60.0
SETTLED_WITHIN_S = 600.0
"""A run that takes longer to settle what has been written hangs."""
LEAD_RECORDS = 1_000_000
"""How far a writer that is always ahead is ahead of what has been read."""
LOOK_S = 0.02
"""Time between two looks at how far reading has come."""


class BenchmarkError(Exception):
    """The run failed, or what arrived is not what was written: no figure of it means anything."""


@dataclass(frozen=True, slots=True)
class Mode:
    """How records are handed over, with the settings that say so."""

    name: str
    settings: Mapping[str, object]


STREAMING = Mode("streaming", {"STREAMING_MODE_ENABLED": True})
BATCH = Mode("batch", {"STREAMING_MODE_ENABLED": False})
MODES = (STREAMING, BATCH)


@dataclass(slots=True)
class Fed:
    """What a writer that is always ahead has written, once it has ended."""

    written: Written = field(default_factory=Written)


class Followed:
    """A run that follows a file, in a thread of this process. Use it as a context; `stop` ends it."""

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, object],
        observer: Observer,
        connect: Connect = connect_in_memory,
    ) -> None:
        """Make the project in `folder`: the document, and a file with nothing but a header.

        `settings` are those that differ from `SETTINGS`.
        """
        self._folder = folder
        self.file = folder / "data" / f"{SOURCE}.csv"
        self.file.parent.mkdir(parents=True)
        self.file.write_text(HEADER, encoding="utf-8")
        (folder / "events.md").write_text(DOCUMENT, encoding="utf-8")
        self.figures = Figures()
        self._opened = Event()
        self._control = Control()
        self._result: RunResult | None = None
        project = penstock.load(folder, settings={**SETTINGS, **settings})

        def run() -> None:
            watched = Everyone(observer, self)
            self._result = project.run(
                follow=True, observer=watched, figures=self.figures, control=self._control, connect=connect
            )

        self._thread = Thread(target=run, name="pipeline")

    def __enter__(self) -> Self:
        """Begin to follow."""
        self._thread.start()
        deadline_s = time.monotonic() + BEGUN_WITHIN_S
        while not self._opened.wait(LOOK_S):
            self.check()
            if time.monotonic() > deadline_s:
                raise BenchmarkError("the run did not begin")
        return self

    def __exit__(self, *_: object) -> None:
        """Stop, whatever happened."""
        self._control.stop()
        self._thread.join()

    def saw(self, fact: Fact) -> None:
        """Take note that the run has begun: the destination is there."""
        if isinstance(fact, SourceOpened):
            self._opened.set()

    def check(self) -> None:
        """Raise BenchmarkError where the run is over: it ends only when it is stopped."""
        if not self._thread.is_alive():
            raise BenchmarkError(f"the run ended: {self._result and self._result.trouble}")

    def wait_until_settled(self, records: int, look: Callable[[], None] | None = None) -> None:
        """Wait until so many records are settled, looking at something meanwhile. BenchmarkError where it takes long.

        A `look` should take its time: nothing else waits.
        """
        deadline_s = time.monotonic() + SETTLED_WITHIN_S
        while self.figures.settled < records:
            self.check()
            if time.monotonic() > deadline_s:
                raise BenchmarkError(f"{self.figures.settled:,} of {records:,} records are settled, and no more")
            if look:
                look()
            else:
                time.sleep(LOOK_S)

    def stop(self) -> None:
        """Stop reading, wait for the end, and check that it was a good one."""
        self._control.stop()
        self._thread.join()
        if self._result is None or self._result.status is not Status.COMPLETED:
            raise BenchmarkError(f"the run failed: {self._result and self._result.trouble}")

    def open_reader(self) -> duckdb.DuckDBPyConnection:
        """Open a second connection to the engine that the pipeline writes with.

        DuckDB lets one process hold a file, so whoever wants to see a commit as it happens has to be in this one.
        """
        return open_database((self._folder / "warehouse.duckdb").resolve(), ENGINE_MEMORY_BYTES)

    @contextmanager
    def fed(self, *options: str) -> Iterator[Fed]:
        """Let a writer be ahead of reading all the time. After the block it writes no further."""
        fed, done = Fed(), Event()
        with Writer(self.file, "--ahead", *options) as writer:

            def feed() -> None:
                while not done.wait(LOOK_S):
                    writer.allow(self.figures.read + LEAD_RECORDS)

            feeding = Thread(target=feed, name="feeding")
            feeding.start()
            try:
                yield fed
            finally:
                done.set()
                feeding.join()
            fed.written = writer.written()

    def verify(self, written: Written) -> None:
        """Compare destination and dead letters with what was written, to the cent. The run must be over.

        Raises BenchmarkError.
        """
        file = self._folder / "warehouse.duckdb"
        with duckdb.connect(str(file), read_only=True) as warehouse:
            found = warehouse.execute(f"SELECT count(*), count(DISTINCT id), sum(amount) FROM {TABLE}").fetchall()  # noqa: S608 - a constant
        accepted = written.records - written.rejects
        if found != [(accepted, accepted, Decimal(written.amount_cents).scaleb(-2))]:
            raise BenchmarkError(f"rows, ids and sum are {found} at the destination, and {written} was written")
        with Ledger.read_only(self._folder / ".penstock") as ledger:
            wrong = ledger.check_conservation(PIPELINE)
            totals = ledger.totals(PIPELINE)[SOURCE]
            letters = ledger.dead_letters(PIPELINE, penstock.DeadLetterFilter())
        if wrong or totals.read != written.records:
            raise BenchmarkError(f"the ledger accounts for {totals.read:,} of {written.records:,} records: {wrong}")
        _verify_letters(letters.select(("sequence", "code", "original")).to_pylist(), written.rejects)


def _verify_letters(letters: list[dict[str, object]], rejects: int) -> None:
    """Every letter is one record that breaks the rule, and each of them is there once."""
    for letter in letters:
        number, _, amount, discount = bytes(letter["original"]).decode().split(",")  # type: ignore[call-overload]
        is_right = Decimal(amount) < Decimal(discount) and letter["code"] == REJECTED_BY_RULE
        if not is_right or int(number) != letter["sequence"]:
            raise BenchmarkError(f"this record should not have a dead letter, or another one: {letter}")
    if len(letters) != rejects or len({letter["sequence"] for letter in letters}) != rejects:
        raise BenchmarkError(f"there are {len(letters):,} dead letters for {rejects:,} records that break the rule")


@contextmanager
def folder() -> Iterator[Path]:
    """Lend a folder under .bench, on the disk that the project lies on, and remove it afterwards."""
    WORK.mkdir(exist_ok=True)
    path = Path(tempfile.mkdtemp(prefix="latency-", dir=WORK))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
