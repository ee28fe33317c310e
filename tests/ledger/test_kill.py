"""Killed with -9 at any moment, the ledger is as before a call or as after it; nothing is lost, nothing comes twice."""

from __future__ import annotations

import random
import re
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from penstock.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.ledger.conftest import Hand

HERE = Path(__file__).parent
FILE = "ledger.sqlite"


def content(folder: Path) -> str:
    """All of a ledger as SQL, as the next process finds it, without what chance decided (ids)."""
    Ledger.open(folder).close()
    with closing(sqlite3.connect(folder / FILE)) as connection:
        dump = "\n".join(connection.iterdump())
    return re.sub(r"[0-9a-f]{12}", "ID", re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "UUID", dump))


@pytest.fixture
def busy(folder: Path, hand_on: Callable[[Ledger], Hand]) -> Path:
    """A ledger in the middle of its life: settled ranges, open letters, a replay with a failure set aside."""
    with Ledger.open(folder, time_s=lambda: 0.0) as ledger:
        hand = hand_on(ledger)
        hand.refuse(1, 2, 3, 4, 12)
        hand.settle(0, 10, dead=4)
        hand.settle(10, 20, dead=1)
        replay = ledger.begin_replay("shop", "orders", "", [1, 2, 3])
        hand.refuse(1, partition=replay.partition)
    return folder


@pytest.mark.parametrize(
    "operation",
    ["begin_run", "dead_letter", "settle", "rewind", "reconcile", "begin_replay", "settle_replay", "discard"],
)
def test_killed_before_any_statement_a_call_has_happened_or_it_has_not(
    busy: Path, tmp_path: Path, operation: str
) -> None:
    before = content(busy)
    command = [sys.executable, str(HERE / "killed_at_each_statement.py"), str(busy), str(tmp_path / "copy"), operation]
    found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    statements = int(found.stdout)
    states = [content(tmp_path / f"copy-{number}") for number in range(1, statements + 2)]
    assert states[-1] != before  # the last was not killed
    assert states[:-1] == [before] * statements
    assert statements >= 3  # BEGIN, at least one that writes, COMMIT


def test_what_a_call_returned_for_survives_a_kill_at_any_time(folder: Path, tmp_path: Path) -> None:
    chance = random.Random(5)
    acknowledged = 0
    for _ in range(12):
        command = [sys.executable, str(HERE / "little_pipeline.py"), str(folder), str(tmp_path / "there.sqlite")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            for _ in range(chance.randrange(1, 12)):
                line = child.stdout.readline()
                if line.startswith("settled a.csv"):
                    acknowledged = int(line.split()[-1])
            time.sleep(chance.random() / 200)
            child.kill()
            for line in child.stdout:  # what it had said before it died
                if line.startswith("settled a.csv") and line.endswith("\n"):
                    acknowledged = int(line.split()[-1])
        if (folder / FILE).exists():
            with Ledger.open(folder) as ledger:
                position = ledger.positions("shop", "orders").get("a.csv")
                assert (position.sequence if position else 0) >= acknowledged
                assert ledger.check_conservation("shop") == []
    assert acknowledged > 0


@pytest.mark.parametrize("seed", range(1, 9))
def test_a_pipeline_killed_again_and_again_delivers_every_record_once(tmp_path: Path, seed: int) -> None:
    """A pipeline in small: refuses in all stages, replays what it refused, and dies at commit points by chance."""
    folder, destination = tmp_path / ".penstock", tmp_path / "destination.sqlite"
    command = [sys.executable, str(HERE / "little_pipeline.py"), str(folder), str(destination), str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 5
    with closing(sqlite3.connect(destination)) as there:
        found = [sequence for (sequence,) in there.execute("SELECT sequence FROM facts ORDER BY sequence")]
    # 0 to 199; every seventh is refused by ingestion for good, every eleventh by delivery for good, every fifth of
    # the others by the transformation until it is replayed.
    expected = [sequence for sequence in range(200) if sequence % 7 and sequence % 11]
    assert found == expected
    with Ledger.open(folder) as ledger:
        assert ledger.check_conservation("shop") == []
        assert ledger.unfinished_replays("shop") == ()
        status = {count.code: (count.status, count.letters) for count in ledger.dead_letter_counts("shop")}
        totals = ledger.totals("shop")["orders"]
    assert status == {
        "INT_ALPHA_001": ("open", len([s for s in range(200) if s % 7 == 0])),
        "INT_GAMMA_001": ("open", len([s for s in range(200) if s % 7 and s % 11 == 0])),
        "INT_BETA_002": ("delivered", len([s for s in range(200) if s % 7 and s % 11 and s % 5 == 0])),
    }
    refused = {code: letters for code, (_, letters) in status.items()}
    assert (totals.read, totals.replayed) == (200, sum(refused.values()))
    # Also where the kill came after the destination's commit, and only the ledger still knew what had been refused.
    assert {c.reason: c.records for c in totals.tally} == {"": 200 - sum(refused.values()), **refused}
    again = {code: letters for code, (now, letters) in status.items() if now == "open"}
    assert {c.reason: c.records for c in totals.replay_tally} == {"": refused["INT_BETA_002"], **again}


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace watches what goes to the disk, and when")
def test_a_call_returns_only_after_what_it_wrote_is_on_the_disk(folder: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    watched = ["strace", "-f", "-y", "-e", "trace=write,pwrite64,fsync,fdatasync", "-o", str(trace)]
    subprocess.run(
        [*watched, sys.executable, str(HERE / "little_pipeline.py"), str(folder), str(tmp_path / "there.sqlite")],
        capture_output=True,
        check=True,
        timeout=120,
    )
    said = unsynced = 0
    for line in trace.read_text().splitlines():
        if "ledger.sqlite-wal>" in line:
            unsynced = 0 if "sync(" in line else unsynced + 1
        elif '"settled' in line or '"kept' in line or '"marked' in line:
            said += 1
            assert unsynced == 0, line
    assert said > 20
