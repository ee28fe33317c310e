"""Out of PostgreSQL, into DuckDB and into PostgreSQL, in bulk: Penstock beside psql's copy and dlt.

A server of its own is started for it from the installed binaries. Contenders take turns, one of them twice under two
names; rows are counted and money summed at the destination after each run, and a run that differs ends the benchmark.

    python -m bench.postgres --scale 1 --rounds 3
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import duckdb
import psycopg
from bench.run import CONTENDERS_FOLDER, ENVIRONMENT, ROOT, WORK, BenchmarkError, generate
from psycopg import sql
from tests.servers.postgres import find_binaries, own_server

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.servers.postgres import Database, Server

TABLE = """
CREATE TABLE orders (
    o_orderkey bigint PRIMARY KEY, o_custkey bigint, o_orderstatus text, o_totalprice numeric(15,2), o_orderdate date,
    o_orderpriority text, o_clerk text, o_shippriority integer, o_comment text
)
"""
COUNT = "SELECT count(*), sum(o_totalprice)::text FROM {}"
OURS, THEIRS = ROOT / ".venv/bin/python", WORK / "dlt/bin/python"
COPY, AGAIN = "psql \\copy", "psql \\copy (A/A)"


@dataclass(frozen=True, slots=True)
class Contender:
    """One way to do the job: `python script SOURCE_URL DESTINATION`."""

    name: str
    python: Path
    script: str


CONTENDERS = (
    Contender(COPY, OURS, "copy_postgres.py"),
    Contender(AGAIN, OURS, "copy_postgres.py"),
    Contender("Penstock", OURS, "penstock_postgres.py"),
    Contender("dlt, connectorx", THEIRS, "dlt_postgres.py"),
)
TO_DUCKDB, TO_POSTGRES = "DuckDB", "PostgreSQL"


@dataclass(frozen=True, slots=True)
class Run:
    """One run: to where, by whom, and how long it took, start included."""

    to: str
    contender: str
    wall_s: float
    inside_s: float


def main() -> int:
    """Measure, and print a table for each destination."""
    arguments = _arguments()
    binaries = find_binaries()
    if binaries is None:
        print("bench: PostgreSQL is not installed, see scripts/postgres.sh", file=sys.stderr)
        return 1
    with own_server(binaries) as server:
        source = server.new_database()
        rows = load(source, generate(arguments.scale))
        try:
            runs = list(measure(server, source, rounds=arguments.rounds))
        except BenchmarkError as error:
            print(f"bench: {error}", file=sys.stderr)
            return 1
    for to in (TO_DUCKDB, TO_POSTGRES):
        print(table([run for run in runs if run.to == to], to, rows))
    return 0


def load(database: Database, file: Path) -> int:
    """Make the table that is read, and return how many rows it has."""
    with database.connect() as connection:
        connection.execute(TABLE.encode())
        with connection.cursor().copy("COPY orders FROM STDIN (FORMAT csv, HEADER)") as copy, file.open("rb") as csv:
            while block := csv.read(1 << 20):
                copy.write(block)
        connection.execute("VACUUM (ANALYZE, FREEZE) orders")
        ((rows,),) = connection.execute("SELECT count(*) FROM orders").fetchall()
    return int(rows)


def measure(server: Server, source: Database, *, rounds: int) -> Iterator[Run]:
    """Every contender to every destination once per round; each round starts with the next one."""
    truth = source.execute(sql.SQL(COUNT).format(sql.SQL("orders")))[0]
    for number in range(rounds):
        first = number % len(CONTENDERS)
        for contender in (*CONTENDERS[first:], *CONTENDERS[:first]):
            yield to_duckdb(contender, source, truth)
            yield to_postgres(contender, server, source, truth)


def to_duckdb(contender: Contender, source: Database, truth: Sequence[object]) -> Run:
    """Into a file: a DuckDB's, but plain text for psql, which knows no better."""
    folder = WORK / "out"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    run = _run(contender, TO_DUCKDB, source.url, str(folder / "orders.duckdb"))
    if contender.name not in {COPY, AGAIN}:
        with duckdb.connect(str(folder / "orders.duckdb"), read_only=True) as reading:
            _compare(contender, reading.execute(COUNT.format("bench.orders")).fetchall()[0], truth)
    shutil.rmtree(folder)
    return run


def to_postgres(contender: Contender, server: Server, source: Database, truth: Sequence[object]) -> Run:
    """Into another database of the same server."""
    destination = server.new_database()
    try:
        run = _run(contender, TO_POSTGRES, source.url, destination.url)
        _compare(contender, destination.execute(sql.SQL(COUNT).format(sql.SQL("bench.orders")))[0], truth)
    finally:
        server.drop(destination)
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("CHECKPOINT")  # what one has left to be written is not for the next one to wait for
    return run


def _compare(contender: Contender, found: Sequence[object], truth: Sequence[object]) -> None:
    if tuple(found) != tuple(truth):
        raise BenchmarkError(f"{contender.name} delivered {found}, but the table holds {truth}")


def _run(contender: Contender, to: str, source: str, destination: str) -> Run:
    started = time.perf_counter()
    done = subprocess.run(  # noqa: S603 - from the table above
        [str(contender.python), str(CONTENDERS_FOLDER / contender.script), source, destination],
        env=ENVIRONMENT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    wall_s = time.perf_counter() - started
    if done.returncode:
        raise BenchmarkError(f"{contender.name} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    print(f"bench: {to}: {contender.name}: {wall_s:.2f} s", file=sys.stderr)
    return Run(to, contender.name, wall_s, json.loads(done.stdout.splitlines()[-1])["seconds_inside"])


def table(runs: Sequence[Run], to: str, rows: int) -> str:
    """Medians in Markdown."""
    walls = {name: [run.wall_s for run in runs if run.contender == name] for name in (each.name for each in CONTENDERS)}
    baseline_s = statistics.median(walls[COPY])
    lines = [f"| to {to} | wall, s (min-max) | x {COPY} | rows/s | without start, s |", "|---|---:|---:|---:|---:|"]
    for name, found in walls.items():
        median_s = statistics.median(found)
        inside_s = statistics.median(run.inside_s for run in runs if run.contender == name)
        lines.append(
            f"| {name} | {median_s:.2f} ({min(found):.2f}-{max(found):.2f}) | {median_s / baseline_s:.2f} "
            f"| {rows / median_s:,.0f} | {inside_s:.2f} |"
        )
    return "\n".join([*lines, "", f"{rows:,} orders on {os.cpu_count()} processors.", ""])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure Penstock, psql and dlt on PostgreSQL.")
    parser.add_argument("--scale", default="1", help="TPC-H scale factor: 1 is 1.5 million orders")
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
