"""The DuckDB destination when something is wrong: locked, read-only, damaged, full, or killed in the middle."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa
import pytest

from penstock.connectors.sinks.duckdb import DuckDBSink
from penstock.connectors.sinks.duckdb.database import explained
from penstock.errors import PenstockError, Unavailable, UserMistake
from penstock.model.batch import RESERVED_FIELDS
from penstock.model.finding import Place
from penstock.model.pipeline import Column, Connection, Model, Rule, RuleKind, Warehouse
from penstock.model.position import Mark, Position
from penstock.model.schema import arrow_schema, parse_type
from penstock.model.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Place("test")
UNIQUE = Rule("a rule", "no duplicate id", RuleKind.UNIQUE, ("id",), HERE)
MODEL = Model(
    "orders",
    "analytics",
    "orders",
    ("id",),
    (Column("id", parse_type("bigint"), "id"), Column("note", parse_type("text"), "note")),
    HERE,
    rules=(UNIQUE,),
)
NOBODY = 65534


def open_at(root: Path) -> DuckDBSink:
    sink = DuckDBSink("shop", MODEL, Warehouse("local", Connection("local", "duckdb")), root, Settings())
    sink.prepare()
    return sink


def rows_of(start: int, end: int) -> pa.Table:
    """Rows of sequences and ids `start` to `end`, with notes that no compression makes small."""
    sequences = pa.array(range(start, end), pa.int64())
    count = end - start
    noise = random.Random(start).randbytes(50 * count).hex()
    notes = pa.array([noise[place : place + 100] for place in range(0, len(noise), 100)], pa.string())
    nothing = [pa.nulls(count, field.type) for field in RESERVED_FIELDS[1:]]
    return pa.table([sequences, notes, sequences, *nothing], schema=arrow_schema(MODEL.fields, *RESERVED_FIELDS))


def mark(sequence: int) -> Mark:
    return Mark("orders", "a.csv", sequence, Position("a.csv", sequence, f"byte {sequence}"))


def settled(root: Path) -> int:
    """Open what was left behind; check that rows and mark agree, and return up to where they go."""
    sink = open_at(root)
    marks = sink.marks()
    sequence = marks["orders", "a.csv"].sequence if marks else 0
    assert sink.evidence(UNIQUE).violations == 0
    sink.close()
    with duckdb.connect(str(root / "warehouse.duckdb")) as reading:
        found = reading.execute("SELECT count(*), coalesce(max(id) + 1, 0) FROM analytics.orders").fetchone()
    assert found == (sequence, sequence)
    return sequence


@contextmanager
def python(script: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Run `script`, which sees what this module defines, in a process of its own; kill it in the end."""
    prelude = (
        f"import sys; sys.path[:0] = {[str(Path(__file__).parent), *sys.path]!r}\nfrom {Path(__file__).stem} import *\n"
    )
    command = [sys.executable, "-c", prelude + script, *map(str, arguments)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        try:
            yield child
        finally:
            child.kill()


def said(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    return child.stdout.readline().strip()


# --- another has it ----------------------------------------------------------------------------------------------


def test_a_file_that_another_process_has_open_is_unavailable_and_that_process_is_named(tmp_path: Path) -> None:
    with python("sink = open_at(Path(sys.argv[1])); print('open', flush=True); input()", tmp_path) as other:
        assert said(other) == "open"
        with pytest.raises(Unavailable, match=rf"warehouse\.duckdb` is in use: .*PID {other.pid}\)") as caught:
            open_at(tmp_path)
        assert caught.value.kind.code == "INT_GAMMA_010"
    open_at(tmp_path).close()


def test_the_file_stays_locked_to_others_until_the_last_sink_of_it_is_closed(tmp_path: Path) -> None:
    script = """
try: open_at(Path(sys.argv[1])).close()
except Unavailable as error: print(error.kind.code)
else: print('opened')
"""
    first, second = open_at(tmp_path), open_at(tmp_path)
    second.prepare()
    second.close()
    with python(script, tmp_path) as other:
        assert said(other) == "INT_GAMMA_010"
    first.close()
    with python(script, tmp_path) as other:
        assert said(other) == "opened"


def test_a_file_that_this_process_has_open_otherwise_is_unavailable(tmp_path: Path) -> None:
    with duckdb.connect(str(tmp_path / "warehouse.duckdb")), pytest.raises(Unavailable, match="is in use") as caught:
        open_at(tmp_path)
    assert caught.value.kind.code == "INT_GAMMA_010"


# --- it cannot be written, or is something else ------------------------------------------------------------------


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may reach, which pytest's own is not."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    yield folder
    folder.chmod(0o777)
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


def test_a_file_or_folder_that_may_not_be_written_is_the_users_to_mend(open_folder: Path) -> None:
    file = open_folder / "warehouse.duckdb"
    open_at(open_folder).close()
    file.chmod(0o444)
    with without_privileges(), pytest.raises(UserMistake, match=r"duckdb` may not be written to: .*denied") as of_file:
        open_at(open_folder)
    file.chmod(0o666)
    open_folder.chmod(0o555)
    with without_privileges(), pytest.raises(UserMistake, match=rf"`{open_folder}` may not be written") as of_folder:
        open_at(open_folder)
    with without_privileges(), pytest.raises(UserMistake, match=r"`.*/new` cannot be made: Permission") as of_new:
        open_at(open_folder / "new")
    assert {each.value.kind.code for each in (of_file, of_folder, of_new)} == {"INT_GAMMA_011"}


def text_file(file: Path) -> None:
    file.write_text("order_id,total\n" * 10_000)


def empty_file(file: Path) -> None:
    file.touch()


def folder(file: Path) -> None:
    file.mkdir()


def sqlite_file(file: Path) -> None:
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE orders (id)")
    connection.close()


def half_a_database(file: Path) -> None:
    open_at(file.parent).close()
    file.write_bytes(file.read_bytes()[:9000])


def a_scratched_database(file: Path) -> None:
    open_at(file.parent).close()
    content = bytearray(file.read_bytes())
    content[8200:8300] = bytes(100)
    content[4100:4200] = bytes(100)
    file.write_bytes(content)


def a_database_of_the_future(file: Path) -> None:
    open_at(file.parent).close()
    content = bytearray(file.read_bytes())
    content[12:20] = (9999).to_bytes(8, "little")
    file.write_bytes(content)


@pytest.mark.parametrize(
    "make",
    [text_file, empty_file, folder, sqlite_file, half_a_database, a_scratched_database, a_database_of_the_future],
)
def test_what_is_no_database_that_can_be_read_is_said_to_be_none_and_left_as_it_is(
    tmp_path: Path, make: object
) -> None:
    assert callable(make)
    file = tmp_path / "warehouse.duckdb"
    make(file)
    before = None if file.is_dir() else file.read_bytes()
    with pytest.raises(UserMistake, match=r"warehouse\.duckdb` is not a DuckDB file that can be read") as caught:
        open_at(tmp_path)
    assert caught.value.kind.code == "INT_GAMMA_015"
    assert before is None or file.read_bytes() == before


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (
            duckdb.OutOfMemoryException("Out of Memory Error: could not allocate block of size 256.0 KiB"),
            "INT_GAMMA_016",
        ),
        (duckdb.OutOfMemoryException("failed to offload data block: max_temp_directory_size"), "INT_GAMMA_012"),
        (duckdb.FatalException("FATAL Error: database has been invalidated"), "INT_GAMMA_010"),
        (duckdb.IOException("IO Error: Input/output error"), "INT_GAMMA_010"),
    ],
)
def test_what_the_engine_says_becomes_an_error_of_ours_that_names_the_file(error: duckdb.Error, code: str) -> None:
    with pytest.raises(PenstockError, match=r"`house\.duckdb` ") as caught, explained(Path("house.duckdb")):
        raise error
    assert caught.value.kind.code == code
    assert caught.value.__cause__ is error


def test_a_defect_of_ours_is_not_dressed_up_as_trouble_with_the_file(tmp_path: Path) -> None:
    sink = open_at(tmp_path)
    with pytest.raises(duckdb.BinderException):
        sink.evidence(Rule("", "", RuleKind.PREDICATE, (), HERE, predicate="no_such_column > 0"))
    sink.close()


# --- it is full --------------------------------------------------------------------------------------------------

FULL = """
import resource
root, rows, room = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
sink = open_at(root)
sink.write(rows_of(0, rows), "a.csv")
sink.commit([mark(rows)])
unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
largest = max(path.stat().st_size for path in root.iterdir())
resource.setrlimit(resource.RLIMIT_FSIZE, (largest + room, unlimited[1]))
done = rows
try:
    while True:
        sink.write(rows_of(done, done + rows), "a.csv")
        sink.commit([mark(done + rows)])
        done += rows
except Unavailable as error:
    print(done, error.kind.code, "has no room to grow" in str(error), flush=True)
resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
if sys.argv[4] == "goes on":
    sink.write(rows_of(done, done + rows), "a.csv")
    sink.commit([mark(done + rows)])
    print(done + rows, flush=True)
    sink.close()
else:
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("rows", [130_000, 20_000], ids=["rows straight into the file", "rows through the log"])
@pytest.mark.parametrize("then", ["goes on", "starts again"])
def test_a_full_disk_leaves_what_was_committed_and_more_can_be_written_once_there_is_room(
    tmp_path: Path, rows: int, then: str
) -> None:
    with python(FULL, tmp_path, rows, 6 << 20, then) as child:
        done, code, explains = said(child).split()
        assert (code, explains) == ("INT_GAMMA_012", "True")
        after = int(said(child)) if then == "goes on" else int(done)
        child.wait()
    assert settled(tmp_path) == after
    sink = open_at(tmp_path)
    assert sink.write(rows_of(after, after + 10), "a.csv").refused == {}
    sink.commit([mark(after + 10)])
    sink.close()
    assert settled(tmp_path) == after + 10


# --- it is killed ------------------------------------------------------------------------------------------------

STOPPING = """
sink = open_at(Path(sys.argv[1]))
rows = int(sys.argv[2])
sink.write(rows_of(0, rows), "a.csv")
sink.commit([mark(rows)])
sink.write(rows_of(rows, 2 * rows), "a.csv")
if sys.argv[3] == "after the commit":
    sink.commit([mark(2 * rows)])
print("now", flush=True)
input()
"""


@pytest.mark.parametrize("rows", [130_000, 1_000], ids=["rows straight into the file", "rows through the log"])
@pytest.mark.parametrize("moment", ["before the commit", "after the commit"])
def test_killed_before_the_commit_nothing_is_there_and_after_it_rows_and_mark_both_are(
    tmp_path: Path, rows: int, moment: str
) -> None:
    with python(STOPPING, tmp_path, rows, moment) as child:
        assert said(child) == "now"
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert settled(tmp_path) == (2 * rows if moment == "after the commit" else rows)


GOING_ON = """
sink = open_at(Path(sys.argv[1]))
marks = sink.marks()
done = marks["orders", "a.csv"].sequence if marks else 0
chance = random.Random(done)
while True:
    end = done + chance.choice([10, 3_000, 130_000])
    middle = (done + end) // 2
    sink.write(rows_of(done, middle), "a.csv")
    sink.write(rows_of(middle, end), "a.csv")
    print(done, flush=True)
    sink.commit([mark(end)])
    done = end
"""


def test_killed_at_any_moment_rows_and_mark_agree_and_the_next_goes_on_from_them(tmp_path: Path) -> None:
    before = 0
    for turn in range(4):
        with python(GOING_ON, tmp_path) as child:
            for _ in range(1 + turn % 3):
                assert said(child).isdigit()
            # Somewhere inside the commit that was just announced, or soon after it.
            with pytest.raises(subprocess.TimeoutExpired):
                child.wait(timeout=random.Random(turn).random() / 20)
            child.send_signal(signal.SIGKILL)
            child.wait()
        now = settled(tmp_path)
        assert now >= before
        before = now
    assert before > 0
