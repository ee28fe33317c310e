"""Opening the file: new, another's, newer, damaged, full, read-only; and whose eyes it is for."""

from __future__ import annotations

import os
import random
import sqlite3
import stat
import subprocess
import sys
import textwrap
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from penstock.errors import LedgerTrouble, UserMistake
from penstock.ledger import DeadLetterFilter, Ledger

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.ledger.conftest import Hand

FILE = "ledger.sqlite"


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_folder_and_files_are_their_owners_alone_whatever_the_umask(folder: Path) -> None:
    before = os.umask(0)
    try:
        with Ledger.open(folder) as ledger:
            ledger.begin_run("shop", "abc", b"{}")
            modes = {path.name: mode_of(path) for path in folder.iterdir()}
    finally:
        os.umask(before)
    assert mode_of(folder) == 0o700
    assert modes == {FILE: 0o600, f"{FILE}-wal": 0o600, f"{FILE}-shm": 0o600}


def test_a_ledger_that_others_could_read_is_closed_to_them(folder: Path) -> None:
    Ledger.open(folder).close()
    folder.chmod(0o755)
    (folder / FILE).chmod(0o644)
    Ledger.open(folder).close()
    assert (mode_of(folder), mode_of(folder / FILE)) == (0o700, 0o600)


def test_the_file_is_written_ahead_and_to_the_disk_and_minds_its_references(hand: Hand) -> None:
    with hand.ledger._database.read() as connection:  # settings of the connection itself show nowhere else
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
        assert connection.execute("PRAGMA foreign_keys").fetchone() == (1,)
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)


def test_what_was_written_is_there_when_it_is_opened_again(folder: Path, hand_on: Callable[[Ledger], Hand]) -> None:
    with Ledger.open(folder) as ledger:
        hand_on(ledger).settle(0, 10)
    with Ledger.open(folder) as ledger:
        assert ledger.positions("shop", "orders")["a.csv"].sequence == 10


def test_looking_at_a_ledger_that_is_not_there_says_so(folder: Path) -> None:
    with pytest.raises(UserMistake) as caught:
        Ledger.read_only(folder)
    assert caught.value.kind.code == "INT_LEDGER_004"
    assert not folder.exists()


def test_one_may_look_while_a_run_writes_and_write_nothing(folder: Path, hand: Hand) -> None:
    hand.settle(0, 10)
    with Ledger.read_only(folder) as reader:
        assert reader.positions("shop", "orders")["a.csv"].sequence == 10
        hand.settle(10, 20)
        assert reader.positions("shop", "orders")["a.csv"].sequence == 20
        with pytest.raises(LedgerTrouble) as caught:
            reader.begin_run("shop", "abc", b"{}")
    assert caught.value.kind.code == "INT_LEDGER_001"


def test_a_newer_ledger_is_refused_and_left_as_it_is(folder: Path) -> None:
    Ledger.open(folder).close()
    with closing(sqlite3.connect(folder / FILE)) as newer:
        newer.execute("PRAGMA user_version = 2")
    before = (folder / FILE).read_bytes()
    for opened in (Ledger.open, Ledger.read_only):
        with pytest.raises(LedgerTrouble, match="is of version 2, and this program knows versions up to 1") as caught:
            opened(folder)
        assert caught.value.kind.code == "INT_LEDGER_002"
        assert caught.value.remedy == "upgrade Penstock"
    assert (folder / FILE).read_bytes() == before


def test_another_programs_database_is_refused_and_left_as_it_is(folder: Path) -> None:
    folder.mkdir()
    with closing(sqlite3.connect(folder / FILE)) as other:
        other.execute("CREATE TABLE runs (id INTEGER)")
    before = (folder / FILE).read_bytes()
    with pytest.raises(LedgerTrouble, match="is not a ledger") as caught:
        Ledger.open(folder)
    assert caught.value.kind.code == "INT_LEDGER_002"
    assert (folder / FILE).read_bytes() == before


def test_a_ledger_without_one_of_its_tables_is_damaged(folder: Path) -> None:
    Ledger.open(folder).close()
    with closing(sqlite3.connect(folder / FILE)) as vandal:
        vandal.execute("DROP TABLE evidence")
    with pytest.raises(LedgerTrouble, match="lacks the table `evidence`") as caught:
        Ledger.open(folder)
    assert caught.value.kind.code == "INT_LEDGER_002"


def test_a_file_that_is_no_database_is_damaged(folder: Path) -> None:
    folder.mkdir()
    (folder / FILE).write_bytes(b"these are not the records you are looking for" * 100)
    with pytest.raises(LedgerTrouble) as caught:
        Ledger.open(folder)
    assert caught.value.kind.code == "INT_LEDGER_002"


def test_an_emptied_file_is_damaged_and_not_begun_anew(folder: Path) -> None:
    Ledger.open(folder).close()
    (folder / FILE).write_bytes(b"")
    for opened in (Ledger.open, Ledger.read_only):
        with pytest.raises(LedgerTrouble) as caught:
            opened(folder)
        assert caught.value.kind.code == "INT_LEDGER_002"
    assert sorted(path.name for path in folder.iterdir()) == [FILE]


def filled(folder: Path, hand_on: Callable[[Ledger], Hand]) -> bytes:
    with Ledger.open(folder) as ledger:
        hand = hand_on(ledger)
        hand.refuse(*range(200))
        hand.settle(0, 1000, dead=200)
        for start in range(1000, 3000, 10):
            hand.settle(start, start + 10)
    return (folder / FILE).read_bytes()


def look_at_everything(folder: Path) -> list[str]:
    with Ledger.open(folder) as ledger:
        ledger.last_run("shop")
        ledger.positions("shop", "orders")
        ledger.totals("shop")
        ledger.dead_letters("shop", DeadLetterFilter())
        return ledger.check_conservation("shop")


def findings(folder: Path) -> list[str]:
    """What is found wrong with a ledger: trouble when it is read, or sentences of the check."""
    try:
        return look_at_everything(folder)
    except LedgerTrouble as trouble:
        return [trouble.kind.code] if trouble.kind.code == "INT_LEDGER_002" else []


def test_a_file_cut_short_is_damaged(folder: Path, hand_on: Callable[[Ledger], Hand]) -> None:
    whole = filled(folder, hand_on)
    for share in (0.9, 0.5, 0.1):
        (folder / FILE).write_bytes(whole[: int(len(whole) * share) // 4096 * 4096])
        with pytest.raises(LedgerTrouble) as caught:
            look_at_everything(folder)
        assert caught.value.kind.code == "INT_LEDGER_002"


def test_every_damaged_page_is_noticed_as_trouble_or_by_the_check(
    folder: Path, hand_on: Callable[[Ledger], Hand]
) -> None:
    whole = filled(folder, hand_on)
    noise = random.Random(7)
    for start in range(0, len(whole), 4096):
        damaged = bytearray(whole)
        damaged[start : start + 4096] = noise.randbytes(4096)
        (folder / FILE).write_bytes(damaged)
        assert findings(folder), f"page at {start}"


def test_a_full_disk_is_trouble_and_leaves_nothing_half_written(hand: Hand) -> None:
    hand.settle(0, 10)
    connection = hand.ledger._database._connection  # the quota of a connection can be set on no other
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(LedgerTrouble, match="full") as caught:
        hand.refuse(*range(1000))
    assert caught.value.kind.code == "INT_LEDGER_001"
    assert hand.ids() == ()
    connection.execute("PRAGMA max_page_count = 1000000")
    hand.refuse(*range(1000))
    hand.settle(10, 20)
    assert len(hand.ids()) == 1000
    assert hand.problems() == []


FULL_DISK = textwrap.dedent(
    """
    import resource, sys
    from pathlib import Path
    from penstock.errors import LedgerTrouble
    from penstock.ledger import Ledger
    from penstock.model.outcome import Count, Outcome, Stage
    from penstock.model.position import Position, Range
    from penstock.ports import Advance

    folder, settled = Path(sys.argv[1]), 0
    ledger = Ledger.open(folder)
    run_id = ledger.begin_run("shop", "abc", b"{}")
    limit = (folder / "ledger.sqlite-wal").stat().st_size + 100_000
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        while True:
            tally = (Count("facts", Outcome.DELIVERED, Stage.DELIVERY, "", 10),)
            range_ = Range(settled, settled + 10)
            position = Position("a.csv", range_.end, "x" * 5000)
            ledger.settle(run_id, "shop", "orders", [Advance("a.csv", range_, position, tally, 1, "")])
            settled = range_.end
    except LedgerTrouble as trouble:
        print(trouble.kind.code, settled, ledger.positions("shop", "orders")["a.csv"].sequence)
    """
)


def test_a_file_that_may_not_grow_is_trouble_and_the_next_run_goes_on(
    folder: Path, hand_on: Callable[[Ledger], Hand]
) -> None:
    found = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(folder)], capture_output=True, text=True, check=True, timeout=60
    )
    code, settled, position = found.stdout.split()
    assert code == "INT_LEDGER_001"
    assert int(settled) == int(position) > 0
    with Ledger.open(folder) as ledger:
        hand = hand_on(ledger)
        assert hand.sequence() == int(settled)
        hand.destinations = ("facts",)
        hand.settle(int(settled), int(settled) + 10)
        assert hand.problems() == []


def test_a_folder_that_cannot_be_made_is_trouble(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(LedgerTrouble) as caught:
        Ledger.open(tmp_path / "file" / ".penstock")
    assert caught.value.kind.code == "INT_LEDGER_001"


def test_a_transaction_that_someone_forgot_to_end_is_named_as_such(
    folder: Path, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock.ledger.database.BUSY_TIMEOUT_S", 0.05)
    with closing(sqlite3.connect(folder / FILE, isolation_level=None)) as person:
        person.execute("BEGIN IMMEDIATE")
        with Ledger.open(folder) as other, pytest.raises(LedgerTrouble, match="held by another program") as caught:
            other.begin_run("shop", "abc", b"{}")
    assert caught.value.kind.code == "INT_LEDGER_001"
    hand.settle(0, 10)


FIRST_OPENING = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    from penstock.ledger import Ledger

    print("ready", flush=True)
    sys.stdin.readline()
    with Ledger.open(Path(sys.argv[1])) as ledger:
        ledger.begin_run(sys.argv[2], "abc", b"{}")
    """
)


def test_several_processes_may_open_a_new_ledger_at_once(folder: Path) -> None:
    names = [f"pipeline-{number}" for number in range(4)]
    children = [
        subprocess.Popen(
            [sys.executable, "-c", FIRST_OPENING, str(folder), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in names
    ]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    for child in children:
        _, errors = child.communicate(timeout=60)
        assert (child.returncode, errors) == (0, "")
    with Ledger.read_only(folder) as ledger:
        assert all(ledger.last_run(name) is not None for name in names)
