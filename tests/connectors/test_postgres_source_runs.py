"""Whole runs out of PostgreSQL into DuckDB: at rest and followed, with the program killed in between."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import TYPE_CHECKING

import duckdb
import pytest
from tests.connectors.postgres_orders import PARTITION, TABLE

import penstock
from penstock.connectors.sources.postgres.positions import SnapshotToken, StreamToken, lsn_of, read_token
from penstock.ledger import Ledger
from penstock.ledger.database import FILE_NAME
from penstock.orchestration.control import Control
from penstock.orchestration.plan import Resolution
from penstock.orchestration.result import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.servers.postgres import Database

    from penstock.model.position import Position
    from penstock.orchestration.result import RunResult

DOCUMENT = """
## SCHEMA_TO_STREAM_HANDOFF

```yaml
pipeline: shop
connections:
  shop: {{kind: postgres, url: "${{SHOP_URL}}", options: {options}}}
source_models:
  - table: orders
    database: shop
    columns:
      - {{name: id, type: bigint, primary_key: true}}
      - {{name: name, type: text}}
      - {{name: amount, type: "numeric(12,2)"}}
destination_requirements:
  models:
    - name: fct_orders
      grain: order_id
      write_mode: {mode}
      columns: [{{name: order_id, from: id}}, name, {{name: twice, expression: "amount * 2", type: "numeric(14,2)"}}]
      filters: [{{when: "name = 'hidden'", reason: "hidden"}}]
```
"""
PATIENCE_S = 90.0

Rows = list[tuple[object, ...]]


@dataclass
class Shop:
    """A folder with a document, and the database that it reads."""

    database: Database
    folder: Path

    def describe(self, *, mode: str = "merge", **options: str) -> None:
        self.folder.mkdir(exist_ok=True)
        listed = "{" + ", ".join(f'{name}: "{value}"' for name, value in options.items()) + "}"
        (self.folder / "shop.md").write_text(DOCUMENT.format(options=listed, mode=mode), encoding="utf-8")

    def run(self, resolution: Resolution = Resolution.REFUSE, **settings: object) -> RunResult:
        return penstock.load(self.folder, settings=settings).run(resolution=resolution)

    def delivered(self, columns: str = "order_id, name, twice") -> Rows:
        with duckdb.connect(str(self.folder / "warehouse.duckdb"), read_only=True) as warehouse:
            return warehouse.execute(f"SELECT {columns} FROM fct_orders ORDER BY ALL").fetchall()  # noqa: S608 - ours

    def expected(self) -> Rows:
        return self.database.execute(
            "SELECT id, name, (amount * 2)::numeric(14,2) FROM orders "
            "WHERE name IS DISTINCT FROM 'hidden' ORDER BY 1, 2, 3"
        )

    def position(self) -> Position | None:
        if not (self.folder / ".penstock" / FILE_NAME).exists():
            return None
        with Ledger.read_only(self.folder / ".penstock") as ledger:
            return ledger.positions("shop", "orders").get(PARTITION)

    def settled_lsn(self) -> int:
        token = read_token(self.position())
        return token.lsn if isinstance(token, SnapshotToken | StreamToken) else 0

    def settled(self) -> int:
        position = self.position()
        return position.sequence if position else 0

    def mark(self) -> int:
        with duckdb.connect(str(self.folder / "warehouse.duckdb"), read_only=True) as warehouse:
            found = warehouse.execute("SELECT coalesce(max(sequence), 0) FROM _penstock.marks").fetchall()
        return int(found[0][0])

    def confirmed(self) -> int:
        found = self.database.execute(
            "SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE database = current_database()"
        )
        return lsn_of(found[0][0]) if found and found[0][0] else 0

    def log_end(self) -> int:
        return lsn_of(self.database.execute("SELECT pg_current_wal_flush_lsn()::text")[0][0])

    def is_accounted_for(self) -> bool:
        with Ledger.read_only(self.folder / ".penstock") as ledger:
            return ledger.check_conservation("shop") == []


@pytest.fixture
def shop(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    database.execute(TABLE)
    database.execute("INSERT INTO orders SELECT n, 'n' || n, n / 3.0 FROM generate_series(1, 3000) AS n")
    monkeypatch.setenv("SHOP_URL", database.url)
    return Shop(database, tmp_path / "shop")


# --- at rest ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"cursor": "updated_at"}, {"read": "changes"}], ids=str)
def test_a_run_delivers_the_table_and_the_next_one_what_is_new(shop: Shop, options: dict[str, str]) -> None:
    shop.describe(**options)
    result = shop.run(READ_BYTES=8192)
    assert result.status is Status.COMPLETED, result.trouble
    assert shop.delivered() == shop.expected()
    shop.database.execute("INSERT INTO orders SELECT n, 'more', 1 FROM generate_series(4000, 4100) AS n")
    shop.database.execute("UPDATE orders SET name = 'changed', updated_at = clock_timestamp() WHERE id % 100 = 0")
    assert shop.run().status is Status.COMPLETED
    assert shop.delivered() == shop.expected()
    assert shop.run().status is Status.COMPLETED
    assert shop.is_accounted_for()


def test_deletes_truncates_and_new_keys_reach_the_destination(shop: Shop) -> None:
    shop.describe(read="changes")
    shop.run()
    shop.database.execute("DELETE FROM orders WHERE id <= 1000")
    shop.database.execute("UPDATE orders SET id = id + 100000 WHERE id BETWEEN 1001 AND 1010")
    assert shop.run().status is Status.COMPLETED
    assert shop.delivered() == shop.expected()
    shop.database.execute("INSERT INTO orders VALUES (5, 'before it', 1)")
    shop.database.execute("TRUNCATE orders")
    shop.database.execute("INSERT INTO orders VALUES (7, 'after it', 1)")
    assert shop.run().status is Status.COMPLETED
    assert shop.delivered() == shop.expected()
    assert shop.is_accounted_for()


def test_a_row_that_a_filter_leaves_out_from_now_on_goes_at_the_destination(shop: Shop) -> None:
    shop.describe(read="changes")
    shop.run()
    shop.database.execute("UPDATE orders SET name = 'hidden' WHERE id <= 5")
    shop.database.execute("INSERT INTO orders VALUES (5000, 'hidden', 1)")
    shop.database.execute("DELETE FROM orders WHERE id IN (1, 5000)")
    assert shop.run().status is Status.COMPLETED
    assert shop.delivered() == shop.expected()
    shop.database.execute("UPDATE orders SET name = 'seen again' WHERE id = 2")
    assert shop.run().status is Status.COMPLETED
    assert shop.delivered() == shop.expected()


def test_an_appending_model_gets_every_row_once(shop: Shop) -> None:
    shop.describe(mode="append", cursor="updated_at", look_back="1 hour")
    shop.database.execute("UPDATE orders SET updated_at = now() - (3001 - id) * interval '1 minute'")
    shop.run(READ_BYTES=8192)
    shop.database.execute("INSERT INTO orders VALUES (5000, 'new', 1)")
    shop.database.execute("INSERT INTO orders VALUES (5001, 'late', 1, now() - interval '30 minutes')")
    assert shop.run().status is Status.COMPLETED
    assert shop.delivered() == shop.expected()


def test_a_slot_that_was_dropped_stops_the_run_and_rewinding_reads_the_table_again(shop: Shop) -> None:
    shop.describe(read="changes")
    shop.run()
    ((slot,),) = shop.database.execute("SELECT slot_name FROM pg_replication_slots WHERE database = current_database()")
    shop.database.execute("SELECT pg_drop_replication_slot(%s)", slot)
    shop.database.execute("UPDATE orders SET name = 'missed' WHERE id = 1")
    refused = shop.run()
    assert refused.status is Status.FAILED
    assert refused.trouble is not None
    assert refused.trouble.code == "INT_ALPHA_013"
    assert shop.run(Resolution.REWIND).status is Status.COMPLETED
    assert shop.delivered() == shop.expected()
    shop.database.execute("DELETE FROM orders WHERE id = 2")
    assert shop.run().status is Status.COMPLETED
    assert shop.delivered() == shop.expected()


@pytest.mark.parametrize("nth", [1, 2])
def test_rows_read_again_by_key_are_not_trimmed_by_what_a_dead_run_delivered(shop: Shop, nth: int) -> None:
    """Between the destination's commit and the position's, rows go and others come: sequences mean other rows."""
    shop.describe()
    small = (
        "READ_BYTES=4096",
        "WINDOW_RECORDS=500",
        "COMMIT_RECORDS=100",
        "ALPHA_BETA_BATCH_SIZE=100",
        "BETA_GAMMA_BATCH_SIZE=100",
    )
    rehearsal = [sys.executable, "-m", "penstock.testing.rehearse", str(shop.folder), "--kill", "position", "before"]
    settings = [f"--set={setting}" for setting in small]
    done = subprocess.run([*rehearsal, str(nth), *settings], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stdout + done.stderr
    assert (nth > 1) is (shop.settled() > 0)
    assert shop.settled() < shop.mark()
    shop.database.execute("DELETE FROM orders WHERE id < 2900")
    assert shop.run().status is Status.COMPLETED
    assert set(shop.expected()) <= set(shop.delivered())
    assert shop.is_accounted_for()


def test_versions_by_a_column_are_refused_where_changes_come_in_their_order(shop: Shop) -> None:
    shop.describe(read="changes")
    document = shop.folder / "shop.md"
    written = document.read_text(encoding="utf-8")
    document.write_text(
        written.replace("write_mode: merge", "write_mode: merge\n      version_by: twice"), encoding="utf-8"
    )
    (finding,) = penstock.load(shop.folder).errors
    assert finding.code == "PLAN_033"
    assert "a delete brings no `twice`" in finding.message


def test_a_sample_touches_nothing_at_the_server(shop: Shop) -> None:
    shop.describe(read="changes")
    assert penstock.load(shop.folder).run(sample=10).status is Status.COMPLETED
    assert shop.database.execute("SELECT count(*) FROM pg_publication") == [(0,)]
    assert shop.confirmed() == 0


# --- followed ---------------------------------------------------------------------------------------------------------


@contextmanager
def followed(shop: Shop) -> Iterator[list[RunResult]]:
    """Follow within this process, and stop in the end."""
    control = Control()
    results: list[RunResult] = []
    project = penstock.load(shop.folder, settings={"COMMIT_INTERVAL_MS": 50})
    thread = threading.Thread(target=lambda: results.append(project.run(follow=True, control=control)))
    thread.start()
    try:
        yield results
    finally:
        control.stop()
        thread.join(PATIENCE_S)
    assert not thread.is_alive()


def wait_until(reached: Callable[[], bool], alive: Callable[[], bool] = lambda: True) -> None:
    until_s = time.monotonic() + PATIENCE_S
    while not reached():
        assert alive(), "it ended"
        assert time.monotonic() < until_s, "it takes too long"
        time.sleep(0.02)


def test_changes_are_followed_as_they_come_and_gone_on_with_at_rest(shop: Shop) -> None:
    shop.describe(read="changes")
    with followed(shop) as results:
        wait_until(lambda: shop.settled() >= 3000, lambda: not results)
        shop.database.execute("DELETE FROM orders WHERE id <= 500")
        shop.database.execute("UPDATE orders SET amount = 7 WHERE id <= 600")
        wait_until(lambda: shop.settled() >= 3600, lambda: not results)
    assert results[0].status is Status.COMPLETED, results[0].trouble
    assert shop.delivered() == shop.expected()
    assert shop.confirmed() == shop.settled_lsn()
    shop.database.execute("DELETE FROM orders WHERE id = 601")
    assert shop.run().status is Status.COMPLETED
    assert shop.delivered() == shop.expected()
    assert shop.is_accounted_for()


def write_changes(database: Database, changes: int, seed: int, pace_s: float) -> None:
    """Insert, update, delete, change keys, and truncate once, in transactions of all sizes."""
    chance = Random(seed)
    with database.connect() as connection:
        connection.autocommit = False
        done, truncated = 0, False
        while done < changes:
            with connection.pipeline():
                for _ in range(chance.choice([1, 5, 50, 500])):
                    key, kind = chance.randrange(8000), chance.random()
                    if kind < 0.45:
                        connection.execute(
                            "INSERT INTO orders VALUES (%s, %s, %s) "
                            "ON CONFLICT (id) DO UPDATE SET name = excluded.name",
                            (key, chance.choice(["hidden", "", None, f"new {done}"]), done),
                        )
                    elif kind < 0.8:
                        connection.execute(
                            "UPDATE orders SET name = %s, amount = %s WHERE id = %s",
                            (chance.choice(["hidden", f"set {done}"]), done, key),
                        )
                    elif kind < 0.85:
                        connection.execute(
                            "UPDATE orders SET id = %s WHERE id = %s AND NOT EXISTS (SELECT FROM orders WHERE id = %s)",
                            (key + 9, key, key + 9),
                        )
                    else:
                        connection.execute("DELETE FROM orders WHERE id = %s", (key,))
                    done += 1
                if not truncated and done > changes // 2:
                    truncated = True
                    connection.execute("TRUNCATE orders")
            connection.rollback() if chance.random() < 0.05 else connection.commit()
            time.sleep(pace_s)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_fifty_thousand_changes_through_kills_end_as_the_table_is_and_nothing_is_confirmed_too_early(
    shop: Shop,
) -> None:
    shop.describe(read="changes")
    chance = Random(7)
    command = [
        sys.executable,
        "-m",
        "penstock",
        "run",
        "--follow",
        "--quiet",
        "--set=READ_BYTES=65536",
        str(shop.folder),
    ]

    def follow() -> subprocess.Popen[str]:
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def check_server(process: subprocess.Popen[str]) -> bool:
        confirmed = shop.confirmed()
        assert confirmed <= max(shop.settled_lsn(), first_lsn), "the server was told of what is not settled"
        return process.poll() is None

    def has_settled_more_than(before: int) -> bool:
        return shop.settled() > before

    process = follow()
    first_lsn = 1 << 62
    wait_until(lambda: shop.settled_lsn() > 0, lambda: process.poll() is None)
    first_lsn = shop.settled_lsn()
    writer = threading.Thread(target=write_changes, args=(shop.database, 50_000, 11, 0.01))
    writer.start()
    try:
        for _ in range(4):
            before = shop.settled()
            wait_until(partial(has_settled_more_than, before), partial(check_server, process))
            time.sleep(chance.uniform(0, 1.5))
            process.send_signal(signal.SIGKILL)
            process.communicate()
            assert shop.settled() <= shop.mark()
            process = follow()
        writer.join()
        end = shop.log_end()
        shop.database.execute("INSERT INTO orders VALUES (99999, 'the last', 1)")
        wait_until(lambda: shop.settled_lsn() >= end, lambda: check_server(process))
        last = shop.settled()
        wait_until(lambda: shop.settled() > last or shop.settled_lsn() > end, lambda: check_server(process))
    finally:
        writer.join()
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 0, out
    assert shop.run().status is Status.COMPLETED
    assert shop.delivered() == shop.expected()
    assert shop.is_accounted_for()
    assert shop.confirmed() <= shop.settled_lsn()
