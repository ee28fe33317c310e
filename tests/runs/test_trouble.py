"""Whatever goes wrong in a day's work has a code, a line that says what it is, and a way on that loses nothing."""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from penstock.errors import KINDS
from penstock.ledger import DeadLetterFilter, Ledger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.runs.conftest import Ended, How, Program, Shop

pytestmark = pytest.mark.slow

STOPPED, INTERRUPTED, USAGE, FINDINGS = 3, 130, 2, 1
ERROR_LINE = re.compile(r"^(?:penstock: )?(INT_[A-Z]+_\d{3}) \S.*$", re.MULTILINE)


class Runs:
    """A shop, and the program that is run on it."""

    def __init__(self, program: Program, how: type[How], shop: Shop) -> None:
        self.program = program
        self.how = how
        self.shop = shop

    def run(self, *arguments: str, how: How | None = None) -> Ended:
        return self.program.run("run", "--quiet", self.shop.folder, *arguments, how=how)

    def refuses(self, code: str, *arguments: str, how: How | None = None) -> str:
        """Run, and expect it to stop on this error with one line that says so, which is returned."""
        ended = self.run(*arguments, how=how)
        assert ended.code == STOPPED, ended
        return complaint(ended, code)

    def completes(self, *arguments: str) -> Ended:
        """Run, and expect all orders to be where they belong."""
        ended = self.run(*arguments)
        assert ended.code == 0, ended
        self.shop.check()
        return ended

    @contextmanager
    def under_way(self) -> Iterator[subprocess.Popen[str]]:
        """A run in the midst of its work, which it does in many small commits."""
        self.shop.add("b.csv", 2000)
        log = self.shop.folder / "moments.log"
        settings = ("--set=READ_BYTES=4096", "--set=COMMIT_RECORDS=50", "--set=WINDOW_RECORDS=200")
        how = self.how(module="penstock.testing.rehearse")
        with self.program.start(self.shop.folder, "--slow=0.03", f"--log={log}", *settings, how=how) as process:
            wait_until(lambda: log.exists() and log.read_text().count("after position") >= 2)
            assert process.poll() is None
            yield process


def complaint(ended: Ended, code: str) -> str:
    """Return the one line that says what is wrong."""
    said = ended.out + ended.err
    assert "Traceback" not in said, said
    found = [match for match in ERROR_LINE.finditer(said) if match[1] in KINDS]
    assert [match[1] for match in found] == [code], said
    return found[0][0]


def wait_until(is_so: Callable[[], bool], seconds: float = 30.0) -> None:
    until = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.fixture
def runs(program: Program, how: type[How], make_shop: Callable[..., Shop], tmp_path: Path) -> Runs:
    """A shop with three hundred orders."""
    return Runs(program, how, make_shop(tmp_path / "shop", 11, {"a.csv": 300}))


def orders(runs: Runs, name: str = "a.csv") -> Path:
    return runs.shop.folder / "data" / "orders" / name


# --- the source ---------------------------------------------------------------------------------------------------


def test_a_missing_file_is_named_and_waited_for(runs: Runs) -> None:
    away = runs.shop.folder / "away"
    orders(runs).parent.rename(away)
    assert "orders" in runs.refuses("INT_ALPHA_010")
    away.rename(orders(runs).parent)
    runs.completes()


@pytest.mark.parametrize(
    ("content", "code"),
    [(b"", "INT_ALPHA_012"), (b"id,status,amount\n1,paid,2.00\n", "INT_ALPHA_011")],
    ids=["empty", "header"],
)
def test_a_file_without_the_declared_columns_is_refused_before_anything_is_read(
    runs: Runs, content: bytes, code: str
) -> None:
    whole = orders(runs).read_bytes()
    orders(runs).write_bytes(content)
    assert "a.csv" in runs.refuses(code)
    orders(runs).write_bytes(whole)
    runs.completes()


DIRT: tuple[tuple[bytes, str], ...] = (
    (b"1", "INT_ALPHA_001"),
    (b"2,paid,1.00,0,,2024-01-01 00:00:00,one,too,many", "INT_ALPHA_001"),
    (b'3,"paid,1.00,0,,2024-01-01 00:00:00', "INT_ALPHA_001"),
    (b'4,"pa"id",1.00,0,,2024-01-01 00:00:00', "INT_ALPHA_001"),
    (b"5,pa\xffid,1.00,0,,2024-01-01 00:00:00", "INT_ALPHA_005"),
    (b"6,pa\x00id,1.00,0,,2024-01-01 00:00:00", "INT_ALPHA_005"),
    (b"7,paid,1.00,0," + b"x" * 5000 + b",2024-01-01 00:00:00", "INT_ALPHA_006"),
    (b"8,paid,1.00,0,,2024-02-30 00:00:00", "INT_ALPHA_002"),
    (b"9,paid,1.00,0,,999999-01-01 00:00:00", "INT_ALPHA_002"),
    (b"10,paid,12345678901.00,0,,2024-01-01 00:00:00", "INT_ALPHA_002"),
    (b"11,paid,1.005,0,,2024-01-01 00:00:00", "INT_ALPHA_002"),
    (b"99999999999999999999,paid,1.00,0,,2024-01-01 00:00:00", "INT_ALPHA_002"),
    (b"12,,1.00,0,,2024-01-01 00:00:00", "INT_ALPHA_003"),
    (b",paid,1.00,0,,2024-01-01 00:00:00", "INT_ALPHA_003"),
)


def test_dirt_is_set_aside_by_line_and_the_good_records_around_it_are_delivered(
    runs: Runs, ask: Callable[..., Any]
) -> None:
    header, good = b"id,status,amount,discount,note,updated_at\n", b"%d,paid,1.00,0,,2024-01-01 00:00:00\n"
    lines = [header]
    for number, (dirt, _) in enumerate(DIRT):
        lines += [good % (1000 + number), dirt + b"\n"]
    orders(runs).write_bytes(b"".join(lines))
    ended = runs.run("--set=RECORD_BYTES_MAX=1000")
    assert ended.code == 0, ended
    with Ledger.read_only(runs.shop.state) as ledger:
        letters = ledger.dead_letters("shop", DeadLetterFilter()).to_pylist()
    assert [(letter["line"], letter["code"]) for letter in letters] == [
        (3 + 2 * number, code) for number, (_, code) in enumerate(DIRT)
    ]
    kept = {letter["line"]: letter["original"] for letter in letters}
    assert all(kept[3 + 2 * number][:1000] == dirt[:1000] for number, (dirt, _) in enumerate(DIRT))
    (((rows,),),) = ask(runs.shop.warehouse, "SELECT count(*) FROM analytics.fct_orders WHERE id >= 1000")
    assert rows == len(DIRT)


def test_a_gzip_that_ends_early_gives_what_is_whole_and_goes_on_once_it_is_whole(
    program: Program, how: type[How], make_shop: Callable[..., Shop], tmp_path: Path
) -> None:
    runs = Runs(program, how, make_shop(tmp_path, 5, {"a.csv": 3000}))
    text = orders(runs).read_bytes()
    orders(runs).unlink()
    whole = gzip.compress(text)
    packed = orders(runs, "a.csv.gz")
    packed.write_bytes(whole[: len(whole) // 2])
    assert "gzip" in runs.refuses("INT_ALPHA_012")
    with Ledger.read_only(runs.shop.state) as ledger:
        assert 1000 < ledger.totals("shop")["orders"].read < 2000
    packed.write_bytes(whole)
    runs.shop.letters = {letter._replace(partition="data/orders/a.csv.gz") for letter in runs.shop.letters}
    runs.completes()


def test_a_parquet_file_cut_short_is_refused_and_read_once_it_is_whole(runs: Runs, ask: Callable[..., Any]) -> None:
    orders(runs).unlink()
    table = pa.table(
        {
            "id": pa.array(range(500), pa.int64()),
            "status": ["paid"] * 500,
            "amount": pa.array([Decimal("10.00")] * 500, pa.decimal128(12, 2)),
            "discount": pa.array([Decimal("1.00")] * 500, pa.decimal128(12, 2)),
            "note": ["x"] * 500,
            "updated_at": pa.array([0] * 500, pa.timestamp("us")),
        }
    )
    file = orders(runs, "a.parquet")
    pq.write_table(table, file)
    whole = file.read_bytes()
    file.write_bytes(whole[:-100])
    assert "a.parquet" in runs.refuses("INT_ALPHA_012")
    file.write_bytes(whole)
    assert runs.run().code == 0
    (((rows, net),),) = ask(runs.shop.warehouse, "SELECT count(*), sum(net_amount) FROM analytics.fct_orders")
    assert (rows, net) == (500, "4500.00")


def test_a_file_that_changed_under_its_position_is_not_read_until_somebody_decides(runs: Runs) -> None:
    runs.completes()
    before = runs.shop.warehouse.read_bytes()
    text = orders(runs).read_bytes()
    orders(runs).write_bytes(text.replace(b"2024-01-01 00:00:02", b"2024-01-01 00:00:03", 1))
    runs.shop.add("a.csv", 50)
    line = runs.refuses("INT_ALPHA_013")
    assert "a.csv" in line
    assert runs.shop.warehouse.read_bytes() == before
    runs.completes("--accept")  # goes on behind what was read, whatever it says now
    runs.shop.add("a.csv", 50)
    runs.completes()  # accepted once, it is compared with what it is now


def test_rewinding_a_changed_file_reads_it_from_its_beginning(runs: Runs, ask: Callable[..., Any]) -> None:
    header, row = b"id,status,amount,discount,note,updated_at\n", b"%d,paid,%d.00,0,,2024-01-0%d 00:00:00\n"
    orders(runs).write_bytes(header + b"".join(row % (number, number, 1) for number in range(1, 51)))
    assert runs.run().code == 0
    orders(runs).write_bytes(header + b"".join(row % (number, 100 * number, 2) for number in range(1, 61)))
    runs.refuses("INT_ALPHA_013")
    assert runs.run("--rewind").code == 0
    ((fact, now),) = zip(
        *ask(
            runs.shop.warehouse,
            "SELECT count(*), sum(amount) FROM analytics.fct_orders",
            "SELECT count(*), sum(amount) FROM analytics.orders_now",
        ),
        strict=True,
    )
    # The appending model keeps what it had and refuses the others as duplicates; the merging one has the new versions.
    assert fact == [60, f"{sum(range(1, 51)) + 100 * sum(range(51, 61))}.00"]
    assert now == [60, f"{100 * sum(range(1, 61))}.00"]
    with Ledger.read_only(runs.shop.state) as ledger:
        assert ledger.check_conservation("shop") == []
        assert {count.code: count.letters for count in ledger.dead_letter_counts("shop")} == {"INT_GAMMA_003": 50}


def test_a_file_that_became_shorter_has_changed(runs: Runs) -> None:
    runs.completes()
    text = orders(runs).read_bytes()
    orders(runs).write_bytes(text[: len(text) // 2])
    runs.refuses("INT_ALPHA_013")
    orders(runs).write_bytes(text)
    runs.shop.add("a.csv", 10)
    runs.completes()


# --- the destination ----------------------------------------------------------------------------------------------

HOLD = "import duckdb, sys; held = duckdb.connect(sys.argv[1]); print('held', flush=True); sys.stdin.read()"


def test_a_destination_that_somebody_else_has_open_is_waited_for(runs: Runs) -> None:
    runs.completes()
    runs.shop.add("a.csv", 50)
    command = [sys.executable, "-c", HOLD, str(runs.shop.warehouse)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert "warehouse.duckdb" in runs.refuses("INT_GAMMA_010")
        holder.communicate()
    runs.completes()


def test_a_destination_that_may_not_be_written_is_said_to_be_so(runs: Runs, tool: Callable[[str], str]) -> None:
    runs.completes()
    runs.shop.add("a.csv", 50)
    runs.shop.warehouse.chmod(0o444)
    assert "warehouse.duckdb" in runs.refuses("INT_GAMMA_011", how=powerless(runs, tool))
    runs.shop.warehouse.chmod(0o644)
    runs.completes()


def powerless(runs: Runs, tool: Callable[[str], str]) -> How:
    """Root may write everywhere, unless it gives up that power."""
    return runs.how(under=(tool("setpriv"), "--bounding-set=-all", "--inh-caps=-all") if os.geteuid() == 0 else ())


def test_a_ledger_that_may_not_be_written_is_said_to_be_so(runs: Runs, tool: Callable[[str], str]) -> None:
    runs.completes()
    runs.shop.add("a.csv", 50)
    ledger = runs.shop.state / "ledger.sqlite"
    ledger.chmod(0o400)
    assert "ledger.sqlite" in runs.refuses("INT_LEDGER_001", how=powerless(runs, tool))
    ledger.chmod(0o600)
    runs.completes()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("only root may mount a small disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def grow(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)


def put_elsewhere(runs: Runs, folder: Path) -> None:
    """Let the warehouse be in another folder."""
    toml = f'[connections.duckdb]\nkind = "duckdb"\npath = "{folder}/warehouse.duckdb"\n'
    (runs.shop.folder / "penstock.toml").write_text(toml)


def test_a_full_disk_under_the_destination_loses_nothing(runs: Runs, small_disk: Path) -> None:
    runs.shop.add("a.csv", 20_000)
    put_elsewhere(runs, small_disk)
    assert "warehouse.duckdb" in runs.refuses("INT_GAMMA_012", "--set=COMMIT_RECORDS=1000")
    grow(small_disk)
    ended = runs.run()
    assert ended.code == 0, ended
    shutil.copy(small_disk / "warehouse.duckdb", runs.shop.warehouse)
    runs.shop.check()


def test_a_full_disk_under_the_ledger_loses_nothing(runs: Runs, small_disk: Path) -> None:
    runs.shop.add("a.csv", 20_000)
    runs.shop.state.symlink_to(small_disk)
    assert "ledger.sqlite" in runs.refuses("INT_LEDGER_001", "--set=COMMIT_RECORDS=1000")
    grow(small_disk)
    runs.completes()


def test_a_limit_on_the_size_of_files_is_a_full_disk(runs: Runs, tool: Callable[[str], str]) -> None:
    runs.shop.add("a.csv", 20_000)
    limited = (tool("prlimit"), f"--fsize={300 << 10}")
    ended = runs.run("--set=COMMIT_RECORDS=1000", how=runs.how(under=limited))
    assert ended.code == STOPPED, ended
    assert re.search("INT_(GAMMA_012|LEDGER_001)", complaint_of_any(ended))
    runs.completes()


def complaint_of_any(ended: Ended) -> str:
    found = ERROR_LINE.search(ended.out + ended.err)
    assert found is not None, ended
    return complaint(ended, found[1])


def test_a_destination_restored_from_a_copy_gets_what_it_lacks(runs: Runs, tmp_path: Path) -> None:
    runs.completes()
    shutil.copy(runs.shop.warehouse, tmp_path / "copy")
    runs.shop.add("a.csv", 200)
    runs.shop.add("b.csv", 100)
    runs.completes()
    shutil.copy(tmp_path / "copy", runs.shop.warehouse)
    assert "has 300 of orders/data/orders/a.csv" in runs.refuses("INT_GAMMA_014")
    runs.refuses("INT_GAMMA_014")  # refusing changes nothing
    runs.completes("--rewind")
    runs.completes()


def test_a_destination_that_was_deleted_is_filled_again(runs: Runs) -> None:
    runs.completes()
    runs.shop.warehouse.unlink()
    runs.refuses("INT_GAMMA_014")
    runs.completes("--rewind")


def test_a_deleted_destination_that_is_accepted_gets_what_is_new(runs: Runs, ask: Callable[..., Any]) -> None:
    runs.completes()
    runs.shop.warehouse.unlink()
    runs.shop.add("b.csv", 100, 0.0)
    runs.refuses("INT_GAMMA_014")
    assert runs.run("--accept").code == 0
    (((rows,),),) = ask(runs.shop.warehouse, "SELECT count(*) FROM analytics.fct_orders")
    assert rows == 100
    assert runs.run().code == 0  # it is settled once


def test_a_file_that_is_no_database_is_left_alone(runs: Runs) -> None:
    runs.shop.warehouse.write_bytes(b"mine" * 5000)
    runs.refuses("INT_GAMMA_015")
    assert runs.shop.warehouse.read_bytes() == b"mine" * 5000
    runs.shop.warehouse.unlink()
    runs.completes()


# --- the ledger, the document, other runs -------------------------------------------------------------------------


def test_a_damaged_ledger_is_left_alone(runs: Runs) -> None:
    runs.completes()
    file = runs.shop.state / "ledger.sqlite"
    whole = file.read_bytes()
    file.write_bytes(b"not a ledger" * 1000)
    runs.refuses("INT_LEDGER_002")
    assert file.read_bytes() == b"not a ledger" * 1000
    file.write_bytes(whole)
    runs.shop.add("a.csv", 50)
    runs.completes()


def test_another_document_does_not_finish_what_this_one_began(runs: Runs) -> None:
    with runs.under_way() as process:
        process.kill()
    document = runs.shop.folder / "shop.md"
    text = document.read_text()
    document.write_text(text.replace("test orders", "orders for a test"))
    assert "document has changed" in runs.refuses("INT_PIPELINE_002")
    document.write_text(text)
    runs.completes()


def test_another_document_finishes_it_when_told_to(runs: Runs, ask: Callable[..., Any]) -> None:
    with runs.under_way() as process:
        process.kill()
    document = runs.shop.folder / "shop.md"
    document.write_text(document.read_text().replace("test orders", "orders for a test"))
    assert runs.run("--accept").code == 0
    (((rows,),),) = ask(runs.shop.warehouse, "SELECT count(*) FROM analytics.fct_orders")
    assert rows == len(runs.shop.facts)
    with Ledger.read_only(runs.shop.state) as ledger:
        assert ledger.check_conservation("shop") == []
        assert ledger.totals("shop")["orders"].read == runs.shop.read


def test_two_runs_at_once_are_one_too_many(runs: Runs) -> None:
    with runs.under_way() as process:
        process.send_signal(signal.SIGSTOP)  # or it could be over before the other has begun
        assert f"process {process.pid}" in runs.refuses("INT_PIPELINE_001")
        process.send_signal(signal.SIGCONT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, (out, err)
    runs.shop.check()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_settles_what_is_under_way_and_the_next_run_does_the_rest(runs: Runs, number: int) -> None:
    with runs.under_way() as process:
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert process.returncode == INTERRUPTED, (out, err)
    assert "Traceback" not in err, err
    with Ledger.read_only(runs.shop.state) as ledger:
        assert ledger.check_conservation("shop") == []
        settled = ledger.totals("shop")["orders"]
        marks = {mark.sequence for name in ("fct_orders", "orders_now") for mark in ledger.marks("shop", name).values()}
    assert 0 < settled.read < runs.shop.read
    assert max(marks) <= settled.read  # nothing is at a destination that is not settled
    runs.completes()


def test_a_second_interrupt_stops_at_once_and_loses_nothing(runs: Runs) -> None:
    with runs.under_way() as process:
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == INTERRUPTED, (out, err)
    assert "Traceback" not in err, err
    runs.completes()


def contents(folder: Path) -> dict[str, str]:
    """Everything in a folder, with what it holds and when it last changed."""
    return {
        str(path.relative_to(folder)): f"{path.stat().st_mtime_ns} "
        + (hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder")
        for path in sorted(folder.rglob("*"))
    }


@pytest.mark.parametrize("has_run", [False, True])
def test_a_sample_touches_nothing(runs: Runs, *, has_run: bool) -> None:
    if has_run:
        runs.completes()
        runs.shop.add("a.csv", 50)
    before = contents(runs.shop.folder)
    ended = runs.run("--sample", "40", "--format", "json")
    assert ended.code == 0, ended
    assert ended.said["account"][0]["read"] == 40
    assert contents(runs.shop.folder) == before
    runs.completes()


# --- the command --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("setting", ["COMMIT_RECORDS=0", "COMMIT_RECORDS=many", "COMMIT_RECORD=5"])
def test_a_setting_that_cannot_be_is_refused_wherever_it_stands(runs: Runs, setting: str) -> None:
    assert setting.partition("=")[0] in runs.refuses("INT_PIPELINE_005", f"--set={setting}")


def test_a_setting_of_the_environment_or_the_file_is_checked_too(runs: Runs) -> None:
    runs.refuses("INT_PIPELINE_005", how=runs.how(environment={"COMMIT_RECORDS": "-1"}))
    toml = runs.shop.folder / "penstock.toml"
    toml.write_text("[settings]\nCOMMIT_RECORDS = 0\n")
    runs.refuses("INT_PIPELINE_005")
    toml.write_text("[settings\n")
    runs.refuses("INT_PIPELINE_005")
    assert not runs.shop.state.exists()


@pytest.mark.parametrize(
    "arguments",
    [(), ("run",), ("run", "--fast", "."), ("fly", "."), ("run", ".", "--sample", "0"), ("run", ".", "--set", "X")],
)
def test_a_command_that_cannot_be_understood_is_a_usage_error(program: Program, arguments: tuple[str, ...]) -> None:
    ended = program.run(*arguments)
    assert ended.code == USAGE
    assert ended.err.startswith("usage: penstock")
    assert "Traceback" not in ended.err


def test_a_document_with_a_mistake_is_a_finding(runs: Runs) -> None:
    document = runs.shop.folder / "shop.md"
    document.write_text(document.read_text().replace('source: "orders"', 'source: "order"'))
    ended = runs.run()
    assert ended.code == FINDINGS
    assert "shop.md:" in complaint(ended, "INT_PIPELINE_003")


def test_a_document_that_is_not_there_is_said_to_be_so(program: Program, tmp_path: Path) -> None:
    ended = program.run("run", tmp_path / "nowhere.md")
    assert ended.code == FINDINGS
    assert "nowhere.md" in complaint(ended, "INT_PIPELINE_003")


def test_a_requirement_that_does_not_hold_is_a_finding_after_the_work_is_done(runs: Runs) -> None:
    document = runs.shop.folder / "shop.md"
    document.write_text(
        document.read_text().replace('  - "amount >= 0"', '  - {rule: "amount >= 0", max_dead_letters: 1}')
    )
    ended = runs.run("--format", "json")
    assert ended.code == FINDINGS, ended
    assert [found["result"] for found in ended.said["requirements"]].count("fail") >= 1
    runs.shop.check()
