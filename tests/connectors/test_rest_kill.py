"""Penstock as a process that is killed again and again, behind an API where everything goes wrong that can."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any

import duckdb
import pytest
from tests.servers.rest import RestServer

from penstock.ledger import DeadLetterFilter, Ledger

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DOCUMENT = """\
## BUILDER_TO_STREAM_HANDOFF

```yaml
api_integration:
  source_api:
    name: payments
    base_url: "{url}"
    auth: oauth2
    rate_limit: "{rate}"
    credentials:
      token_url: "{url}/token"
      client_id: client
      client_secret: "${{CLIENT_SECRET}}"
      refresh_token: "${{REFRESH_TOKEN}}"
  endpoints:
    - path: "/{pagination}"
      table: orders
      pagination: {pagination}
      cursor_field: next_cursor
      incremental_key: updated_at
  data_contract:
    fields:
      - {{name: id, type: bigint, primary_key: true}}
      - {{name: amount, type: "decimal(12,2)"}}
      - {{name: status, type: enum, values: [new, paid, sent]}}
      - {{name: customer, type: json}}
      - {{name: updated_at, type: iso8601, nullable: false}}
  sync_requirements: {{frequency: "every 15 minutes", initial_load: "last 20 years"}}
```
"""
CONFIGURATION = """\
[connections.payments]
kind = "rest"
options = { retry_delay_ms = "20", timeout_ms = "1500", retries = "20" }
[settings]
COMMIT_INTERVAL_MS = 100
COMMIT_IDLE_MS = 20
"""
FAULTS = {
    "status 500": 0.04, "status 503": 0.02, "429 1": 0.01, "429 bare": 0.02, "slow": 0.05, "truncated": 0.04,
    "repeat": 0.04, "reset": 0.04, "chunk": 0.02, "html": 0.02, "changed": 0.05, "hang": 0.01,
}  # fmt: skip
BAD_EVERY = 500
ALLOWANCE_S = 60


@dataclass(frozen=True)
class Size:
    """How much there is, how fast it may be asked for, and over which window that is counted."""

    records: int
    page_size: int
    rate: str
    most: int
    window_s: float
    pagination: str = "cursor"


def start(folder: Path, *more: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "CLIENT_SECRET": "s3cret-client", "REFRESH_TOKEN": "first-refresh-token"}
    return subprocess.Popen(
        [sys.executable, "-m", "penstock", "run", str(folder), *more],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def kill_at(process: subprocess.Popen[str], server: RestServer, requests: int) -> bool:
    """Kill the process once the server has seen so many requests; False where it ended before."""
    while process.poll() is None:
        if len(server.log) >= requests:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            return process.returncode == -signal.SIGKILL
        time.sleep(0.01)
    process.communicate()
    return False


def check(folder: Path, server: RestServer, size: Size) -> None:
    """Every record is there once, as the server has it; the others are dead letters, with what they were."""
    bad = {number for number in range(size.records) if number % BAD_EVERY >= BAD_EVERY - 2}
    with duckdb.connect(str(folder / "warehouse.duckdb"), read_only=True) as connection:
        rows = connection.execute(
            "SELECT id, amount::VARCHAR, status, customer::VARCHAR FROM orders ORDER BY id"
        ).fetchall()
    assert [row[0] for row in rows] == [number for number in range(size.records) if number not in bad]
    for number, amount, status, customer in rows[:: max(1, len(rows) // 1000)]:
        assert (amount, status) == (f"{number}.{number % 100:02d}", ("new", "paid", "sent")[number % 3])
        assert f'"id": {number % 7}' in customer
    with Ledger.read_only(folder / ".penstock") as ledger:
        assert ledger.check_conservation(folder.name) == []
        letters = ledger.dead_letters(folder.name, DeadLetterFilter()).to_pylist()
    assert len({letter["original"] for letter in letters}) == len(bad)
    assert server.most_in(size.window_s) <= size.most


def survive(tmp_path: Path, size: Size, kills: int, seed: int) -> RestServer:
    """Run until all of it is there, killed so many times on the way."""
    folder, chance = tmp_path / "shop", Random(seed)
    folder.mkdir()
    configuration = {
        "records": size.records, "page_size": size.page_size, "auth": "oauth2", "token_uses": 12, "hang_s": 3.0,
        "slow_s": 0.2, "faults": FAULTS, "seed": seed, "bad_every": BAD_EVERY,
    }  # fmt: skip
    with RestServer(**configuration) as server:
        text = DOCUMENT.format(url=server.url, rate=size.rate, pagination=size.pagination)
        (folder / "payments.md").write_text(text, encoding="utf-8")
        (folder / "penstock.toml").write_text(CONFIGURATION, encoding="utf-8")
        pages = size.records // size.page_size
        for number in range(kills):
            at = len(server.log) + chance.randint(1, max(2, pages // (kills + 1)))
            assert kill_at(start(folder), server, at), f"it ended before kill {number}"
        with start(folder) as process:
            out, err = process.communicate(timeout=ALLOWANCE_S * 20)
        assert process.returncode == 0, (out, err)
        check(folder, server, size)
        seen = {entry["fault"] for entry in server.log}
        assert len(seen) > len(FAULTS) // 2
        assert len([entry for entry in server.log if entry["path"] == "/token"]) > pages / 12
        print(f"{len(server.log)} requests, at most {server.most_in(size.window_s)} in {size.window_s} s")  # noqa: T201
        return server


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_killed_five_times_every_record_is_there_once_and_the_rate_was_kept(tmp_path: Path) -> None:
    records = int(os.environ.get("REST_RECORDS", "20000"))
    survive(tmp_path, Size(records, 200, "30 requests/second", 30, 1.0), kills=5, seed=1)


@pytest.mark.kill
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("pagination", ["cursor", "link", "offset", "page"])
def test_killed_five_times_within_a_minute_of_the_rate(tmp_path: Path, pagination: str) -> None:
    survive(tmp_path, Size(100_000, 500, "120 requests/minute", 120, 60.0, pagination), kills=5, seed=2)


# --- a run that waits, and one that follows -----------------------------------------------------------------------


def shop_of(tmp_path: Path, server: RestServer) -> Path:
    folder = tmp_path / "shop"
    folder.mkdir()
    text = DOCUMENT.format(url=server.url, rate="1000 requests/second", pagination="cursor")
    (folder / "payments.md").write_text(text.replace("every 15 minutes", "every 1 second"), encoding="utf-8")
    (folder / "penstock.toml").write_text(CONFIGURATION, encoding="utf-8")
    return folder


def await_(server: RestServer, process: subprocess.Popen[str], seen: Callable[[list[dict[str, Any]]], bool]) -> None:
    """Wait until the server has seen something."""
    until_s = time.monotonic() + ALLOWANCE_S
    while not seen(server.log):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until_s, server.log[-3:]
        time.sleep(0.02)


def ids_in(folder: Path) -> list[int]:
    with duckdb.connect(str(folder / "warehouse.duckdb"), read_only=True) as connection:
        return [number for (number,) in connection.execute("SELECT id FROM orders ORDER BY id").fetchall()]


def test_a_run_that_waits_for_the_api_is_stopped_and_keeps_what_it_has(tmp_path: Path) -> None:
    with RestServer(records=300, auth="oauth2") as server:
        folder = shop_of(tmp_path, server)
        server.fault("", "", "", "429 600")
        with start(folder) as process:
            await_(server, process, lambda log: len(log) == 4)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=ALLOWANCE_S)
        assert "interrupted" in out, (out, err)
    assert ids_in(folder) == list(range(200))


def test_an_api_that_is_followed_is_asked_for_what_is_new_until_the_run_is_stopped(tmp_path: Path) -> None:
    with RestServer(records=300, auth="oauth2", faults={"status 500": 0.1, "truncated": 0.1}) as server:
        folder = shop_of(tmp_path, server)
        with start(folder, "--follow") as process:
            await_(server, process, lambda log: passes(log) >= 2)
            server.configure(records=350)
            so_far = passes(server.log)
            await_(server, process, lambda log: passes(log) >= so_far + 3)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=ALLOWANCE_S)
        assert process.returncode == 0, (out, err)
    assert ids_in(folder) == list(range(350))


def passes(log: list[dict[str, Any]]) -> int:
    """Return how many passes have begun: whose first page was asked for, and answered."""
    firsts = [entry for entry in log if entry["path"] == "/cursor" and "cursor" not in entry["asked"]]
    return len([entry for entry in firsts if not entry["fault"]])
