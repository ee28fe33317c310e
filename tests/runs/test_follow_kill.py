"""A file that grows and rotates, followed in streaming mode through kills: nothing is lost, nothing comes twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import duckdb
import pytest

from penstock.ledger import Ledger
from penstock.ledger.database import FILE_NAME

if TYPE_CHECKING:
    from collections.abc import Callable

WRITER = Path(__file__).parent / "writing.py"
DOCUMENT = """
## SCHEMA_TO_STREAM_HANDOFF

```yaml
source_models:
  - table: events
    columns:
      - {name: id, type: bigint, primary_key: true}
      - {name: key, type: integer}
      - {name: n, type: integer}
      - {name: amount, type: "numeric(12,2)"}

destination_requirements:
  models:
    - {name: fct_events, grain: id, columns: ["*"]}
    - {name: dim_keys, source: events, grain: key, write_mode: merge, columns: ["*"]}

quality_requirements:
  - "no duplicate id"
```
"""
SETTLED_WITHIN_S = 240
"""A slow machine needs seconds; one that takes this long hangs."""


@dataclass(frozen=True)
class Plan:
    """How many events are written, how many a second, how many to a file; and how often what follows is killed.

    `alive_s` is how long it may go on, at most, after it has settled something.
    """

    events: int
    rate: int
    rotate_after: int
    kills: int
    alive_s: float


@dataclass
class Followed:
    """A folder in which one process writes and another follows."""

    folder: Path
    chance: Random
    kills: int = 0
    settled_when_killed: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        (self.folder / "data").mkdir(parents=True)
        (self.folder / "events.md").write_text(DOCUMENT, encoding="utf-8")

    def write(self, plan: Plan, seed: int) -> subprocess.Popen[str]:
        """Begin to write."""
        numbers = map(str, (plan.events, 100, plan.rate, plan.rotate_after, seed))
        command = [sys.executable, str(WRITER), str(self.folder / "data"), *numbers]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def follow(self) -> subprocess.Popen[str]:
        """Begin to follow."""
        streaming = ("STREAMING_MODE_ENABLED=true", f"STREAMING_BATCH_RECORDS={self.chance.choice((10, 200, 1000))}")
        cadence = (f"COMMIT_INTERVAL_MS={self.chance.choice((50, 200, 1000))}",)
        settings = [f"--set={setting}" for setting in (*streaming, *cadence)]
        command = [sys.executable, "-m", "penstock", "run", "--follow", "--quiet", *settings, str(self.folder)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def kill(self, process: subprocess.Popen[str]) -> None:
        """Kill what follows, wherever it stands."""
        assert process.poll() is None, process.stdout and process.stdout.read()
        process.send_signal(signal.SIGKILL)
        process.communicate()
        self.kills += 1
        self.settled_when_killed.append(self.settled())

    def wait(self, process: subprocess.Popen[str], reached: Callable[[], bool]) -> None:
        """Wait until something is so, while the process lives."""
        deadline_s = time.monotonic() + SETTLED_WITHIN_S
        while not reached():
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < deadline_s, f"{self.settled():,} settled, and no more"
            time.sleep(0.05)

    def run_id(self) -> str:
        """Ask the ledger which run is the last."""
        with Ledger.read_only(self.folder / ".penstock") as ledger:
            run = ledger.last_run("events")
            return run.id if run else ""

    def settled(self) -> int:
        """Ask the ledger how many records it has seen through."""
        if not (self.folder / ".penstock" / FILE_NAME).exists():
            return 0
        with Ledger.read_only(self.folder / ".penstock") as ledger:
            totals = ledger.totals("events").get("events")
            return totals.read if totals else 0


def seed_of(*, fresh: bool) -> int:
    """Return KILL_SEED, or a new seed each time if `fresh`."""
    given = os.environ.get("KILL_SEED")
    seed = int(given) if given else int.from_bytes(os.urandom(4)) if fresh else 1
    print(f"KILL_SEED={seed} repeats this")  # noqa: T201 - pytest shows it when the test fails
    return seed


def campaign(folder: Path, seed: int, *, plan: Plan, show: Callable[[str], None]) -> None:
    """Write and follow, killing what follows so often while events come; then let it come to its end, and audit."""
    work = Followed(folder, Random(seed))
    process = work.follow()
    work.wait(process, (folder / ".penstock" / FILE_NAME).exists)
    writer = work.write(plan, seed)
    dead = ""
    try:
        for _ in range(plan.kills):
            before = work.settled()
            work.wait(process, lambda before=before: work.settled() > before)  # type: ignore[misc]
            time.sleep(work.chance.uniform(0, plan.alive_s))
            work.kill(process)
            dead = work.run_id()
            process = work.follow()
        written = json.loads(writer.communicate(timeout=SETTLED_WITHIN_S)[0])
        work.wait(process, lambda: work.run_id() != dead and work.settled() >= plan.events)
    finally:
        writer.kill()
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0, out
    audit(folder, written)
    fell = ", ".join(f"{count:,}" for count in work.settled_when_killed)
    show(
        f"followed and killed {work.kills} times over {plan.events:,} events in files that rotate; settled then: {fell}"
    )


def audit(folder: Path, written: dict[str, object]) -> None:
    """Count, add up, and look at the order of every key."""
    counts = written["last_of_key"]
    assert isinstance(counts, list)
    with duckdb.connect(str(folder / "warehouse.duckdb"), read_only=True) as warehouse:
        rows, ids, amount = warehouse.execute(
            "SELECT count(*), count(DISTINCT id), sum(amount) FROM fct_events"
        ).fetchall()[0]
        assert (rows, ids, f"{amount:.2f}") == (written["events"], written["events"], written["amount"])
        wrong = warehouse.execute(
            """
            SELECT count(*) FROM (
                SELECT n - lag(n, 1, 0) OVER (PARTITION BY key ORDER BY rowid) AS step FROM fct_events
            ) WHERE step <> 1
            """
        ).fetchall()
        assert wrong == [(0,)]
        latest = dict(warehouse.execute("SELECT key, n FROM dim_keys").fetchall())
        assert latest == {key: count for key, count in enumerate(counts) if count}
    with Ledger.read_only(folder / ".penstock") as ledger:
        assert ledger.check_conservation("events") == []
        assert Decimal(ledger.totals("events")["events"].read) == written["events"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_rotating_file_is_followed_through_kills_without_loss_or_repeat(
    tmp_path: Path, show: Callable[[str], None]
) -> None:
    campaign(tmp_path / "events", seed_of(fresh=False), plan=Plan(20_000, 2_000, 8_000, 3, 0.5), show=show)


@pytest.mark.kill
@pytest.mark.timeout(3600)
def test_a_million_events_are_followed_through_thirty_kills(tmp_path: Path, show: Callable[[str], None]) -> None:
    campaign(tmp_path / "events", seed_of(fresh=True), plan=Plan(1_000_000, 8_000, 60_000, 30, 2.0), show=show)
