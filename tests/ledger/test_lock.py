"""One run at a time per state folder."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import textwrap
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from penstock.errors import LedgerTrouble, Unavailable
from penstock.ledger import hold

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOLDER = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    from penstock.ledger import hold

    with hold(Path(sys.argv[1]), "shop", time_s=lambda: 1735732800.0):
        print("held", flush=True)
        sys.stdin.readline()
    """
)


@contextmanager
def holder(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock until it is told to go, or killed."""
    command = [sys.executable, "-c", HOLDER, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        try:
            yield child
        finally:
            child.kill()


def test_a_second_run_is_told_who_holds_the_lock_and_since_when(folder: Path) -> None:
    with holder(folder) as child:
        with pytest.raises(Unavailable) as caught, hold(folder, "shop"):
            pytest.fail("two runs at once")
        assert caught.value.kind.code == "INT_PIPELINE_001"
        assert f"process {child.pid} has been running pipeline `shop`" in caught.value.message
        assert "since 2025-01-01T12:00:00.000000Z" in caught.value.message


def test_when_the_run_has_ended_the_next_may_begin(folder: Path) -> None:
    with holder(folder) as child:
        child.communicate("go\n", timeout=60)
        assert not (folder / "lock.json").exists()
        with hold(folder, "shop"):
            assert json.loads((folder / "lock.json").read_text())["pid"] == os.getpid()


def test_the_lock_of_a_process_that_was_killed_holds_nobody_up(folder: Path) -> None:
    with holder(folder) as child:
        child.kill()
        child.wait(timeout=60)
        assert (folder / "lock.json").exists()
        with hold(folder, "shop"):
            assert json.loads((folder / "lock.json").read_text())["pid"] == os.getpid()


def test_two_runs_in_one_process_exclude_each_other_as_well(folder: Path) -> None:
    with hold(folder, "shop"):
        with pytest.raises(Unavailable, match=f"process {os.getpid()} has been"), hold(folder, "flights"):
            pytest.fail("two runs at once")
        assert (folder / "lock.json").exists()
    with hold(folder, "flights"):
        pass


@pytest.mark.parametrize("damage", [None, "", "{", '{"pid": "x"}'])
def test_without_a_word_of_the_holder_the_second_is_refused_all_the_same(folder: Path, damage: str | None) -> None:
    with holder(folder):
        (folder / "lock.json").unlink()
        if damage is not None:
            (folder / "lock.json").write_text(damage)
        with pytest.raises(Unavailable, match="another process has just begun to use"), hold(folder, "shop"):
            pytest.fail("two runs at once")


def test_a_run_that_fails_lets_go_of_the_lock(folder: Path) -> None:
    with pytest.raises(ZeroDivisionError), hold(folder, "shop"):
        raise ZeroDivisionError
    with hold(folder, "shop"):
        pass


def test_folders_are_locked_by_themselves_and_created_for_their_owner(tmp_path: Path) -> None:
    with hold(tmp_path / "a", "shop"), hold(tmp_path / "b", "shop"):
        assert (tmp_path / "a").stat().st_mode & 0o777 == 0o700
        assert (tmp_path / "a" / "lock").stat().st_mode & 0o777 == 0o600


def test_where_the_kernel_locks_nothing_there_is_trouble_and_no_lock_that_outlives_its_process(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(_descriptor: int, _operation: int) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", flock)
    with pytest.raises(LedgerTrouble) as caught, hold(folder, "shop"):
        pytest.fail("held nothing")
    assert caught.value.kind.code == "INT_LEDGER_001"


def test_a_folder_that_cannot_be_written_is_trouble_not_a_lock(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(LedgerTrouble), hold(tmp_path / "file" / ".penstock", "shop"):
        pytest.fail("held nothing")
