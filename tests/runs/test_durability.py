"""Nobody is allowed to forget anything before its successor is on the disk: watched from outside, by strace."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from penstock.observing.facts import CommitPoint, Moment
from penstock.testing.durability import Watched, judge, strace_command

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.runs.conftest import How, Program, Shop

pytestmark = pytest.mark.slow

CARELESS = Path(__file__).parent / "careless.py"
BUSY = ("--set=READ_BYTES=4096", "--set=COMMIT_RECORDS=200", "--set=ALPHA_BETA_BATCH_SIZE=50")
"""Many commits of everything, several of them at a time."""


@dataclass
class Trace:
    """What strace saw of a run."""

    lines: list[str]
    watched: Watched

    def without(self, *words: str) -> list[str]:
        """The same run, had it not done what lines with all of these words say."""
        return [line for line in self.lines if not all(word in line for word in words)]


@pytest.fixture(scope="module")
def watch(program: Program, how: type[How], tool: Callable[[str], str]) -> Callable[..., Trace]:
    """Run a shop under strace."""

    def run(shop: Shop, *settings: str, script: Path | None = None) -> Trace:
        watched = Watched(shop.state / "ledger.sqlite", shop.warehouse, shop.folder / "moments.log")
        trace = shop.folder / "trace"
        tool("strace")
        way = how(module="penstock.testing.rehearse", script=script, under=strace_command(trace))
        ended = program.run(shop.folder, "--log", watched.moments, *settings, how=way)
        assert ended.code == 0, ended
        return Trace(trace.read_text(errors="replace").splitlines(), watched)

    return run


@pytest.fixture(scope="module")
def busy(
    watch: Callable[..., Trace], make_shop: Callable[..., Shop], tmp_path_factory: pytest.TempPathFactory
) -> Trace:
    """The trace of a run that commits often."""
    shop = make_shop(tmp_path_factory.mktemp("busy"), 1, {"a.csv": 2000, "b.csv": 1000})
    trace = watch(shop, *BUSY)
    shop.check()
    return trace


def test_everything_is_synced_before_anyone_may_forget_it(busy: Trace) -> None:
    judgement = judge(busy.lines, busy.watched)
    assert judgement.violations == ()
    everywhere = {f"{moment} {point}" for moment in Moment for point in CommitPoint}
    assert judgement.moments.keys() == everywhere
    assert min(judgement.moments.values()) >= 5


def test_what_goes_straight_into_the_file_is_synced_before_its_mark(
    watch: Callable[..., Trace], make_shop: Callable[..., Shop], tmp_path: Path
) -> None:
    """A transaction of a row group and more is not written to the log first."""
    shop = make_shop(tmp_path, 1, {"a.csv": 150_000}, odd_share=0.001)
    trace = watch(shop, "--set=COMMIT_RECORDS=140000", "--set=COMMIT_INTERVAL_MS=60000", "--set=COMMIT_IDLE_MS=60000")
    judgement = judge(trace.lines, trace.watched)
    assert judgement.violations == ()
    committed = next(number for number, line in enumerate(trace.lines) if '"after rows and mark' in line)
    assert any("pwrite64" in line and "warehouse.duckdb>" in line for line in trace.lines[:committed])


@pytest.mark.parametrize(
    ("undone", "caught_at"),
    [
        (("sync(", "ledger.sqlite-wal"), "after dead letter"),
        (("sync(", "ledger.sqlite-wal"), "before rows and mark"),
        (("sync(", "ledger.sqlite-wal"), "before acknowledgement"),
        (("sync(", "ledger.sqlite-wal"), "after position"),
        (("sync(", "warehouse.duckdb.wal"), "after rows and mark"),
        (("sync(", "warehouse.duckdb.wal"), "before acknowledgement"),
        (("sync(", "warehouse.duckdb>"), "was removed before what it held was synced"),
        (("sync(", "/.penstock>"), "name of"),
    ],
)
def test_the_check_catches_a_sync_that_never_happened(busy: Trace, undone: tuple[str, ...], caught_at: str) -> None:
    violations = judge(busy.without(*undone), busy.watched).violations
    assert any(caught_at in violation for violation in violations)


def test_the_check_catches_names_that_are_not_synced(busy: Trace) -> None:
    folder = str(busy.watched.warehouse.parent)
    violations = judge(busy.without("fsync(", f"<{folder}>"), busy.watched).violations
    assert any("the name of" in violation and "warehouse.duckdb.wal" in violation for violation in violations)


def test_the_check_catches_a_ledger_that_does_not_wait_for_the_disk(
    watch: Callable[..., Trace], make_shop: Callable[..., Shop], tmp_path: Path
) -> None:
    trace = watch(make_shop(tmp_path, 1, {"a.csv": 500}), *BUSY, script=CARELESS)
    violations = judge(trace.lines, trace.watched).violations
    assert any("after position" in violation and "ledger.sqlite-wal" in violation for violation in violations)
    assert not any("warehouse" in violation for violation in violations)
