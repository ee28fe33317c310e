"""Files as a destination in trouble: no room, no permission, damage, foreign files, another writer, death."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.connectors.files_sink import (
    HALVES,
    asked,
    mark,
    numbered,
    open_at,
    rule,
    seen_by_manifest,
    seen_by_pattern,
    sequence_of,
    unfinished,
)

from penstock.errors import PenstockError, Unavailable, UserMistake
from penstock.model.pipeline import RuleKind

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
NOBODY = 65534
PRELUDE = """
import os, resource, signal, sys
from pathlib import Path
from penstock.errors import PenstockError
from tests.connectors.files_sink import *
"""


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return tmp_path / "out" / "orders"


@contextmanager
def python(script: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Run `script` in a process of its own; kill it in the end."""
    with subprocess.Popen(
        [sys.executable, "-c", PRELUDE + script, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    ) as child:
        try:
            yield child
        finally:
            child.kill()


def said(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    return child.stdout.readline().strip()


def with_rows(root: Path) -> None:
    sink = open_at(root)
    sink.write(numbered(0, 10), "a.csv")
    sink.commit([mark(10)])
    sink.close()


# --- another has it ----------------------------------------------------------------------------------------------


def test_one_process_writes_at_a_time_and_a_dead_one_does_not_count(tmp_path: Path) -> None:
    with python("sink = open_at(Path(sys.argv[1])); print('open', flush=True); input()", tmp_path) as other:
        assert said(other) == "open"
        with pytest.raises(Unavailable, match="orders` is being written to by another run") as caught:
            open_at(tmp_path)
        assert caught.value.kind.code == "INT_GAMMA_010"
        other.send_signal(signal.SIGKILL)
        other.wait()
        open_at(tmp_path).close()


def test_a_second_sink_of_one_process_waits_its_turn_too_and_tables_do_not_mind_each_other(tmp_path: Path) -> None:
    first = open_at(tmp_path)
    with pytest.raises(Unavailable):
        open_at(tmp_path)
    open_at(tmp_path, path="elsewhere").close()
    first.close()
    open_at(tmp_path).close()


# --- it is killed ------------------------------------------------------------------------------------------------


GOING_ON = """
sink = open_at(Path(sys.argv[1]), HALVES, format=sys.argv[2])
done = sequence_of(sink)
while True:
    sink.write(halved(done, done + 300), "a.csv")
    sink.write(halved(done + 300, done + 500), "a.csv")
    print(done, flush=True)
    sink.commit([mark(done + 500)])
    done += 500
"""


@pytest.mark.parametrize("file_format", ["parquet", "csv", "jsonl"])
def test_killed_at_any_moment_rows_and_mark_agree_and_the_next_goes_on_from_them(
    tmp_path: Path, table: Path, file_format: str
) -> None:
    before = 0
    for turn in range(4):
        with python(GOING_ON, tmp_path, file_format) as child:
            for _ in range(1 + turn % 3):
                assert said(child).isdigit()
            with pytest.raises(subprocess.TimeoutExpired):
                child.wait(timeout=turn / 100)  # somewhere in the commit that was just announced, or soon after it
            child.send_signal(signal.SIGKILL)
            child.wait()
        sink = open_at(tmp_path, HALVES, format=file_format)
        now = sequence_of(sink)
        sink.close()
        assert now >= before
        assert seen_by_manifest(table) == seen_by_pattern(table)
        if now:
            assert asked(table, "count(*), sum(id)", file_format=file_format) == [(now, now * (now - 1) // 2)]
        before = now
    assert before > 0


def test_what_a_crash_left_behind_is_removed_when_the_table_is_prepared_again(tmp_path: Path, table: Path) -> None:
    with_rows(tmp_path)
    sink = open_at(tmp_path)
    sink.write(numbered(10, 20), "a.csv")
    (left,) = unfinished(table)
    kept = (table / "_penstock" / "unfinished" / left).read_bytes()
    sink.close()
    (table / "_penstock" / "unfinished" / left).write_bytes(kept)
    (table / "_penstock" / "unfinished" / "manifest-json.new").write_bytes(b"{")
    open_at(tmp_path).close()
    assert unfinished(table) == []
    assert asked(table, "count(*)") == [(10,)]


# --- no room -----------------------------------------------------------------------------------------------------

FULL = """
root, file_format = Path(sys.argv[1]), sys.argv[2]
sink = open_at(root, format=file_format)
sink.write(numbered(0, 1000), "a.csv")
sink.commit([mark(1000)])
unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), unlimited[1]))
try:
    sink.write(numbered(1000, 60_000), "a.csv")
    sink.commit([mark(60_000)])
except PenstockError as error:
    print(error.kind.code, flush=True)
sink.rollback()
resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
left = [path.name for path in (root / "out/orders/_penstock/unfinished").iterdir()]
assert left == [], left
assert sequence_of(sink) == 1000
sink.write(numbered(1000, 1010), "a.csv")
sink.commit([mark(1010)])
sink.close()
print("went on", flush=True)
"""


@pytest.mark.parametrize("file_format", ["parquet", "csv", "jsonl"])
@pytest.mark.parametrize("room", [10, 20_000], ids=["no room for a manifest", "no room for the rows"])
def test_a_full_disk_leaves_what_was_committed_and_more_can_be_written_once_there_is_room(
    tmp_path: Path, table: Path, file_format: str, room: int
) -> None:
    with python(FULL, tmp_path, file_format, room) as child:
        assert said(child) == "INT_GAMMA_012"
        assert said(child) == "went on"
        assert child.wait() == 0
    assert asked(table, "count(*), sum(id)", file_format=file_format) == [(1010, 1010 * 1009 // 2)]
    assert seen_by_manifest(table) == seen_by_pattern(table)


# --- no permission -----------------------------------------------------------------------------------------------


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may reach, which pytest's own is not."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    yield folder
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o777)
    shutil.rmtree(folder)


@contextmanager
def without_privileges() -> Iterator[None]:
    """To root, everything may be written: be nobody for a while."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_folder_that_may_not_be_written_is_the_users_to_mend_and_nothing_is_half_done(open_folder: Path) -> None:
    with without_privileges():
        with_rows(open_folder)
        table = open_folder / "out" / "orders"
        before = seen_by_manifest(table)
        (open_folder / "out").chmod(0o555)
        with pytest.raises(UserMistake, match=r"may not write `.*other`: Permission denied") as caught:
            open_at(open_folder, path="out/other")
        assert caught.value.kind.code == "INT_GAMMA_011"
        sink = open_at(open_folder)
        sink.write(numbered(10, 20), "a.csv")
        table.chmod(0o555)
        (table / "_penstock").chmod(0o555)
        with pytest.raises(UserMistake, match="may not write") as caught:
            sink.commit([mark(20)])
        assert caught.value.kind.code == "INT_GAMMA_011"
        table.chmod(0o755)
        (table / "_penstock").chmod(0o755)
        assert sequence_of(sink) == 10
        sink.close()
        assert seen_by_manifest(table) == seen_by_pattern(table) == before


def test_a_commit_that_was_decided_and_not_carried_out_is_carried_out_once_it_can_be(open_folder: Path) -> None:
    with without_privileges():
        with_rows(open_folder)
        table = open_folder / "out" / "orders"
        sink = open_at(open_folder)
        sink.write(numbered(10, 20), "a.csv")
        table.chmod(0o555)  # the next manifest can be written, the file cannot be put into its place
        with pytest.raises(UserMistake, match="may not write"):
            sink.commit([mark(20)])
        assert asked(table, "count(*)") == [(10,)]
        assert len(seen_by_manifest(table)) == 1
        with pytest.raises(UserMistake, match="may not write"):
            sink.marks()
        table.chmod(0o755)
        assert sequence_of(sink) == 20
        sink.close()
        assert asked(table, "count(*), sum(id)") == [(20, 190)]
        assert seen_by_manifest(table) == seen_by_pattern(table)


# --- it is not what it should be ---------------------------------------------------------------------------------


def refused(root: Path) -> PenstockError:
    with pytest.raises(UserMistake) as caught:
        open_at(root)
    assert caught.value.kind.code == "INT_GAMMA_015"
    return caught.value


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda text: text[:100], "is damaged or was edited"),
        (lambda _: b"", "is damaged or was edited"),
        (lambda _: b"[1]", "is damaged or was edited"),
        (lambda text: b"\xff" + text, "is damaged or was edited"),
        (lambda text: text.replace(b'"sequence": 10', b'"sequence": 11'), "its checksum is another"),
        (lambda text: text.replace(b'"format": 1', b'"format": 2'), "is of format 2, and this Penstock reads up to 1"),
    ],
)
def test_a_damaged_manifest_is_said_to_be_and_left_as_it_is(
    tmp_path: Path, table: Path, damage: object, said: str
) -> None:
    assert callable(damage)
    with_rows(tmp_path)
    path = table / "_penstock" / "manifest.json"
    path.write_bytes(damage(path.read_bytes()))
    before = path.read_bytes()
    assert said in str(refused(tmp_path))
    assert path.read_bytes() == before
    assert len(seen_by_pattern(table)) == 1


def test_a_file_that_the_manifest_names_and_is_not_there_or_of_another_size_is_missed(
    tmp_path: Path, table: Path
) -> None:
    with_rows(tmp_path)
    (name,) = seen_by_pattern(table)
    content = (table / name).read_bytes()
    (table / name).write_bytes(content[:-1])
    assert f"{name} missing, or of another size" in str(refused(tmp_path))
    (table / name).unlink()
    assert f"{name} missing, or of another size" in str(refused(tmp_path))
    (table / name).write_bytes(content)
    open_at(tmp_path).close()


def test_data_files_that_are_not_ours_are_never_touched_and_refused_by_name(tmp_path: Path, table: Path) -> None:
    table.mkdir(parents=True)
    (table / "mine.csv").write_text("id,name\n")
    assert "holds data files that Penstock did not write: mine.csv" in str(refused(tmp_path))
    assert (table / "mine.csv").read_text() == "id,name\n"
    (table / "mine.csv").unlink()
    with_rows(tmp_path)
    (table / "deeper").mkdir()
    for number in range(7):
        (table / "deeper" / f"{number}.parquet").write_bytes(b"")
    assert "deeper/0.parquet, deeper/1.parquet" in str(refused(tmp_path))
    assert "and 2 more" in str(refused(tmp_path))


def test_other_programs_notes_are_left_alone(tmp_path: Path, table: Path) -> None:
    table.mkdir(parents=True)
    for name in ("README.md", "_SUCCESS", ".part-0.csv.crc", "_old.parquet"):
        (table / name).write_text("theirs")
    with_rows(tmp_path)
    open_at(tmp_path).close()
    theirs = [path.name for path in table.iterdir() if path.is_file() and path.read_text(errors="replace") == "theirs"]
    assert sorted(theirs) == [".part-0.csv.crc", "README.md", "_SUCCESS", "_old.parquet"]


def test_files_without_their_manifest_are_not_taken_for_a_new_table(tmp_path: Path, table: Path) -> None:
    with_rows(tmp_path)
    (table / "_penstock" / "manifest.json").unlink()
    assert "did not write" in str(refused(tmp_path))


def test_a_file_that_was_altered_is_told_of_when_it_is_asked(tmp_path: Path, table: Path) -> None:
    with_rows(tmp_path)
    (name,) = seen_by_pattern(table)
    content = bytearray((table / name).read_bytes())
    content[4:40] = bytes(36)
    (table / name).write_bytes(content)
    sink = open_at(tmp_path)
    with pytest.raises(UserMistake, match="cannot be read back") as caught:
        sink.evidence(rule(RuleKind.UNIQUE, "id"))
    assert caught.value.kind.code == "INT_GAMMA_015"
    sink.close()


@pytest.mark.parametrize("what", ["out", "out/orders", "out/orders/_penstock"])
def test_a_file_where_a_folder_must_be_is_in_the_way(tmp_path: Path, what: str) -> None:
    (tmp_path / what).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / what).write_text("mine")
    refused(tmp_path)
    assert (tmp_path / what).read_text() == "mine"
