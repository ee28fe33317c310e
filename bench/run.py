"""Measure Penstock beside other tools: the same orders, the same checks, the same destination, the same machine.

Every contender is a process of its own that reads TPC-H orders from CSV and leaves them, cast, checked and with two
derived columns, in a DuckDB file. The contenders take turns, round after round, and each round starts with another one,
so that a machine that slows down slows everybody. One contender runs twice under two names: what differs between those
two is noise, and no smaller difference means anything.

A run counts only if its rows and its sums of money are exactly those that Python's own csv module finds in the file.

    python bench/run.py --scale 0.1 --rounds 3
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# This process measures its children and must stay small: on Linux a child's peak memory starts from its parent's.
# So nothing beyond the standard library is imported here.

ROOT = Path(__file__).resolve().parent.parent
CONTENDERS_FOLDER = ROOT / "bench" / "contenders"
RESULTS = ROOT / "bench" / "results"
WORK = ROOT / ".bench"

ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
"""Programs that are used more than once are compiled once; nobody is to be measured compiling."""

RUN_S_MAX = 1800
"""A contender that takes longer is stuck, and killed."""


@dataclass(frozen=True, slots=True)
class Contender:
    """One way to do the job. Called as `python script ORDERS.csv OUT.duckdb`, it prints one line of JSON."""

    name: str
    python: Path
    script: Path

    @property
    def is_installed(self) -> bool:
        """Whether its environment and its script are there."""
        return self.python.exists() and self.script.exists()


BASELINE = "duckdb alone"
CONTROL = "duckdb alone (A/A)"

CONTENDERS: tuple[Contender, ...] = (
    Contender(BASELINE, ROOT / ".venv/bin/python", CONTENDERS_FOLDER / "duckdb_alone.py"),
    Contender(CONTROL, ROOT / ".venv/bin/python", CONTENDERS_FOLDER / "duckdb_alone.py"),
    Contender("Penstock", ROOT / ".venv/bin/python", CONTENDERS_FOLDER / "penstock_run.py"),
    Contender(
        "Penstock, batches of 10,000", ROOT / ".venv/bin/python", CONTENDERS_FOLDER / "penstock_large_batches.py"
    ),
    Contender("dlt, Arrow tables", WORK / "dlt/bin/python", CONTENDERS_FOLDER / "dlt_arrow.py"),
    Contender("Bytewax, Python per record", WORK / "bytewax/bin/python", CONTENDERS_FOLDER / "bytewax_rows.py"),
)


@dataclass(frozen=True, slots=True)
class Truth:
    """What has to arrive. Sums as text, exact to the cent."""

    rows: int
    sum_totalprice: str
    sum_discounted: str


@dataclass(frozen=True, slots=True)
class Run:
    """One run of one contender."""

    contender: str
    round: int
    wall_s: float
    inside_s: float
    processor_s: float
    peak_memory_bytes: int


class BenchmarkError(Exception):
    """A contender failed or cheated; no table is printed."""


def main() -> int:
    """Run the rounds, write them to bench/results and print the table."""
    arguments = _arguments()
    for contender in CONTENDERS:
        if not contender.is_installed:
            print(f"bench: leaving out {contender.name}: not installed, see bench/environments.sh", file=sys.stderr)
    contenders = [contender for contender in CONTENDERS if contender.is_installed]
    source = generate(arguments.scale)
    truth = expected(source)
    try:
        runs = list(measure(contenders, source, truth, rounds=arguments.rounds))
    except BenchmarkError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    print(f"bench: written to {save(runs, truth, scale=arguments.scale)}", file=sys.stderr)
    print(table(runs, truth))
    return 0


def generate(scale: str) -> Path:
    """The orders of TPC-H at this scale factor, made once."""
    folder = WORK / "data" / f"sf{scale}"
    source = folder / "orders.csv"
    if not source.exists():
        partial = folder.with_name(f"{folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        command = [
            str(ROOT / ".venv/bin/tpchgen-cli"),
            "csv",
            "-s",
            scale,
            "--tables=orders",
            f"--output-dir={partial}",
        ]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603 (our own words and a number)
        partial.rename(folder)
    return source


def expected(source: Path) -> Truth:
    """Count and add up with nothing but Python's csv module. Also leaves the file in memory for the first contender."""
    rows, total_cents, discounted = 0, 0, Decimal(0)
    with source.open(newline="", encoding="utf-8") as file:
        reader = csv.reader(file)
        price_at = next(reader).index("o_totalprice")
        for record in reader:
            price = Decimal(record[price_at])
            rows += 1
            total_cents += int(price.scaleb(2))
            discounted += (price * Decimal("0.9")).quantize(Decimal("0.01"), ROUND_HALF_UP)
    return Truth(rows, str(Decimal(total_cents).scaleb(-2)), str(discounted))


def measure(contenders: Sequence[Contender], source: Path, truth: Truth, *, rounds: int) -> Iterable[Run]:
    """Every contender once per round; each round starts with the next one."""
    for number in range(rounds):
        first = number % len(contenders)
        for contender in (*contenders[first:], *contenders[:first]):
            run = run_once(contender, source, truth, number=number)
            print(f"bench: round {number + 1}: {run.contender}: {run.wall_s:.2f} s", file=sys.stderr)
            yield run


def run_once(contender: Contender, source: Path, truth: Truth, *, number: int) -> Run:
    """One process from start to end, measured from outside, its result compared with the truth."""
    folder = WORK / "out"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    command = [str(contender.python), str(contender.script), str(source), str(folder / "orders.duckdb")]
    with (folder / "stdout").open("w+") as output, (folder / "stderr").open("w+") as complaints:
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=output, stderr=complaints, cwd=folder, env=ENVIRONMENT)  # noqa: S603 (from the table above)
        # Popen cannot tell what the process used; wait4 can. It counts the process and the children it waited for.
        watchdog = threading.Timer(RUN_S_MAX, process.kill)
        watchdog.start()
        _, status, usage = os.wait4(process.pid, 0)
        watchdog.cancel()
        wall_s = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        complaints.seek(0)
        if process.returncode != 0:
            raise BenchmarkError(f"{contender.name} ended with {process.returncode}:\n{complaints.read()[-2000:]}")
        said = json.loads(output.read().splitlines()[-1])
    shutil.rmtree(folder)
    arrived = Truth(said["rows"], said["sum_totalprice"], said["sum_discounted"])
    if arrived != truth:
        raise BenchmarkError(f"{contender.name} delivered {arrived}, but the file holds {truth}")
    return Run(
        contender=contender.name,
        round=number,
        wall_s=wall_s,
        inside_s=said["seconds_inside"],
        processor_s=usage.ru_utime + usage.ru_stime,
        # Linux counts in KiB, macOS in bytes.
        peak_memory_bytes=usage.ru_maxrss if sys.platform == "darwin" else usage.ru_maxrss * 1024,
    )


def save(runs: Sequence[Run], truth: Truth, *, scale: str) -> Path:
    """Write everything that was measured, with what it was measured on."""
    now = datetime.now(UTC)
    path = RESULTS / f"{now:%Y-%m-%dT%H%M%SZ}-sf{scale}.json"
    document = {
        "measured_at": now.isoformat(timespec="seconds"),
        "scale": scale,
        "machine": machine(),
        "truth": asdict(truth),
        "runs": [asdict(run) for run in runs],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return path


def machine() -> dict[str, str | int]:
    """What a reader needs to know about where this was measured; nothing that names the machine."""
    return {
        "system": platform.system(),
        "architecture": platform.machine(),
        "processors": os.cpu_count() or 0,
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "python": platform.python_version(),
    }


COLUMNS = (
    "contender",
    "wall, s (min-max)",
    f"x {BASELINE}",
    "rows/s",
    "without start, s",
    "processor, s",
    "peak memory, MiB",
)


def table(runs: Sequence[Run], truth: Truth) -> str:
    """Medians in Markdown, with wall time as a multiple of the baseline's."""
    baseline_s = statistics.median(run.wall_s for run in runs if run.contender == BASELINE)
    names = [contender.name for contender in CONTENDERS]
    groups = [[run for run in runs if run.contender == name] for name in names]
    lines = [f"| {' | '.join(COLUMNS)} |", "|---" + "|---:" * (len(COLUMNS) - 1) + "|"]
    lines += [f"| {' | '.join(_cells(group, truth, baseline_s=baseline_s))} |" for group in groups if group]
    rounds = len({run.round for run in runs})
    lines += [
        "",
        f"{truth.rows:,} orders, medians of {rounds} rounds; wall time is that of the whole process.",
        f"{BASELINE} differs from itself by {_noise(runs):.0%}: smaller differences between others mean nothing.",
    ]
    return "\n".join(lines)


def _noise(runs: Sequence[Run]) -> float:
    """How far apart the medians of the baseline and of its double are, as a share of the lower."""
    medians = [statistics.median(run.wall_s for run in runs if run.contender == name) for name in (BASELINE, CONTROL)]
    return max(medians) / min(medians) - 1


def _cells(runs: Sequence[Run], truth: Truth, *, baseline_s: float) -> tuple[str, ...]:
    """One line of the table: all runs of one contender."""
    walls = [run.wall_s for run in runs]
    wall_s = statistics.median(walls)
    return (
        runs[0].contender,
        f"{wall_s:.2f} ({min(walls):.2f}-{max(walls):.2f})",
        f"{wall_s / baseline_s:.2f}",
        f"{truth.rows / wall_s:,.0f}",
        f"{statistics.median(run.inside_s for run in runs):.2f}",
        f"{statistics.median(run.processor_s for run in runs):.2f}",
        f"{statistics.median(run.peak_memory_bytes for run in runs) / (1 << 20):,.0f}",
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure Penstock beside other tools.")
    parser.add_argument("--scale", type=_scale, default="1", help="TPC-H scale factor: 1 is 1.5 million orders")
    parser.add_argument("--rounds", type=_rounds, default=5)
    return parser.parse_args()


def _scale(text: str) -> str:
    if float(text) <= 0:
        raise argparse.ArgumentTypeError("a scale factor is more than 0")
    return text


def _rounds(text: str) -> int:
    rounds = int(text)
    if rounds < 1:
        raise argparse.ArgumentTypeError("at least 1 round")
    return rounds


if __name__ == "__main__":
    sys.exit(main())
