"""PostgreSQL's changes, followed into DuckDB and into PostgreSQL while Penstock and the server die again and again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, Self

import duckdb
import msgspec
import psycopg
import pytest
from tests.runs.changing import TABLES, Changing, Shop, rows_of

from penstock.errors import PenstockError
from penstock.ledger import Ledger

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.postgres import Database, OwnServer

DOCUMENT = """\
## SCHEMA_TO_STREAM_HANDOFF

pipeline: changes
source_models:
  - table: orders
    schema: public
    database: shop
    columns:
      - {name: id, type: bigint, primary_key: true}
      - {name: customer_id, type: bigint}
      - {name: status, type: text, nullable: false}
      - {name: total, type: "numeric(12,2)", nullable: false}
      - {name: note, type: text}
      - {name: changed, type: timestamptz, nullable: false}
  - table: customers
    schema: public
    database: shop
    columns:
      - {name: id, type: bigint, primary_key: true}
      - {name: name, type: text}
      - {name: segment, type: text}
      - {name: credit, type: "numeric(12,2)"}
destination_requirements:
  warehouse: lake
  schema: mart
  models:
    - {name: orders_now, source: orders, grain: id, write_mode: merge, columns: ["*"]}
    - {name: customers_now, source: customers, grain: id, write_mode: merge, columns: ["*"]}
"""
CONFIGURATION = """\
[connections.shop]
kind = "postgres"
url = "${SHOP_URL}"
options = {read = "changes"}
[connections.lake]
kind = "KIND"
url = "URL"
"""
CONFIRMED = """
SELECT slot_name, confirmed_flush_lsn - '0/0'::pg_lsn FROM pg_replication_slots WHERE confirmed_flush_lsn IS NOT NULL
"""
COLUMNS = {
    "orders": ("orders_now", "id, customer_id, status, total, note, changed"),
    "customers": ("customers_now", "id, name, segment, credit"),
}
"""By table, the model that copies it, and the columns of both."""
ENDED_WITHIN_S = 240
SAMPLE_S = 0.02


@dataclass(frozen=True)
class Plan:
    """How many changes, how often Penstock and the server are killed, and how long they may go on before that."""

    changes: int
    kills: int
    alive_s: float


@dataclass
class Slots:
    """Watches that no slot is confirmed beyond what the destination has committed.

    The log may hold nothing of a table for a while: then the position moves on, and there is nothing to commit.
    """

    url: str
    state: Path
    samples: int = 0
    ahead: list[str] = field(default_factory=list)
    _over: Event = field(default_factory=Event)
    _thread: Thread | None = None

    def __enter__(self) -> Self:
        self._thread = Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        assert self._thread is not None
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(SAMPLE_S):
            with (
                suppress(psycopg.Error, PenstockError),  # the server is dead, or nothing is made yet
                psycopg.connect(self.url, connect_timeout=2, autocommit=True) as connection,
            ):
                while not self._over.wait(SAMPLE_S):
                    self._look(connection)

    def _look(self, connection: psycopg.Connection) -> None:
        # First what is confirmed, then the positions, then the marks: all of them only rise.
        confirmed = {name: int(lsn) for name, lsn in connection.execute(CONFIRMED).fetchall()}
        with Ledger.read_only(self.state) as ledger:
            positions = {source: ledger.positions("changes", source) for source in COLUMNS}
        marks = connection.execute('SELECT source, "partition", sequence, position_token FROM _penstock.marks')
        for source, partition, sequence, text in marks.fetchall():
            token = _stream(text)
            if token.get("slot") not in confirmed:
                continue
            self.samples += 1
            position = positions[source].get(partition)
            settled = 0 if position is None or position.sequence > sequence else _stream(position.token).get("lsn", 0)
            if confirmed[token["slot"]] > max(token["lsn"], token.get("commit", 0), settled):
                self.ahead.append(f"{source}: {confirmed[token['slot']]} is confirmed, {text} marked, {position}")


def _stream(token: str) -> dict[str, Any]:
    """Return what a token says of the log; nothing where it is about something else."""
    said = msgspec.json.decode(token or "{}")
    return said if said.get("type") == "stream" else {}


@dataclass
class Campaign:
    """A folder that is followed, and what it is followed by."""

    folder: Path
    url: str
    chance: Random
    deaths: int = 0

    def run(self, *options: str) -> subprocess.Popen[str]:
        """Begin a run."""
        command = [sys.executable, "-m", "penstock", "run", "--quiet", *options, str(self.folder)]
        settings = {"COMMIT_INTERVAL_MS": self.chance.choice(("50", "200", "1000"))}
        environment = {**os.environ, "SHOP_URL": self.url, **settings}
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def live(self, server: OwnServer, plan: Plan) -> None:
        """Follow; kill what follows and the server in turn, `plan.kills` times each."""
        following = self.run("--follow")
        for number in range(2 * plan.kills):
            time.sleep(self.chance.uniform(0.5, plan.alive_s))
            if number % 2:
                server.restart()
            else:
                following.kill()
                following.wait()
            if following.poll() is not None:  # killed, or it has given up a server that was away
                following.communicate()
                self.deaths += 1
                following = self.run("--follow")
        self.end(following)

    def end(self, following: subprocess.Popen[str]) -> None:
        """Stop what follows in an orderly way, if it still lives."""
        following.send_signal(signal.SIGINT)
        following.communicate(timeout=ENDED_WITHIN_S)

    def catch_up(self) -> None:
        """Read to what is now the end of the log."""
        last = self.run()
        out, _ = last.communicate(timeout=ENDED_WITHIN_S)
        assert last.returncode == 0, out


def seed_of(*, fresh: bool) -> int:
    """Return KILL_SEED, or a new seed each time if `fresh`."""
    given = os.environ.get("KILL_SEED")
    seed = int(given) if given else int.from_bytes(os.urandom(4)) if fresh else 1
    print(f"KILL_SEED={seed} repeats this")  # noqa: T201 - pytest shows it when the test fails
    return seed


def follow_through_deaths(
    folder: Path, server: OwnServer, database: Database, kind: str, plan: Plan, seed: int
) -> tuple[int, str]:
    """Change a shop and follow it through kills, then compare every row.

    Returns how often a slot was compared with its mark, which takes a destination that others can read meanwhile, and
    a line on what happened.
    """
    folder.mkdir()
    (folder / "changes.yaml").write_text(DOCUMENT, encoding="utf-8")
    url = "${SHOP_URL}" if kind == "postgres" else ""
    configuration = CONFIGURATION.replace("KIND", kind).replace('"URL"', f'"{url}"')
    (folder / "penstock.toml").write_text(configuration, encoding="utf-8")
    with database.connect() as connection:
        connection.execute(TABLES.encode())
    campaign = Campaign(folder, database.url, Random(seed))
    shop = Shop(database.url, Random(seed + 1))
    with Slots(database.url, folder / ".penstock") as slots, Changing(shop, plan.changes) as changing:
        campaign.live(server, plan)
        changing.wait(ENDED_WITHIN_S)
        campaign.catch_up()
    assert not slots.ahead, slots.ahead[:3]
    for table, (model, columns) in COLUMNS.items():
        there = _rows_at(folder, database, kind, f"mart.{model}", columns)
        assert there == rows_of(database.url, table, columns), f"{table}, seed {seed}"
    return slots.samples, (
        f"{kind}: {shop.changes:,} changes in {shop.transactions:,} transactions through {plan.kills} deaths each of "
        f"Penstock and the server; {slots.samples:,} times no slot was ahead of its mark"
    )


def _rows_at(folder: Path, database: Database, kind: str, table: str, columns: str) -> list[tuple[object, ...]]:
    if kind == "postgres":
        return rows_of(database.url, table, columns)
    with duckdb.connect(str(folder / "warehouse.duckdb"), read_only=True) as warehouse:
        rows = warehouse.sql(f"SELECT {columns} FROM {table} ORDER BY id").to_arrow_table()  # noqa: S608 - ours
        return [tuple(row.values()) for row in rows.to_pylist()]


KINDS = ("duckdb", "postgres")


@pytest.mark.parametrize("kind", KINDS)
def test_every_row_is_as_at_the_source_after_deaths_of_both(
    tmp_path: Path, killable_postgres: OwnServer, killable_database: Database, kind: str
) -> None:
    plan = Plan(changes=5_000, kills=2, alive_s=3.0)
    follow_through_deaths(tmp_path / kind, killable_postgres, killable_database, kind, plan, seed_of(fresh=False))


@pytest.mark.kill
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", KINDS)
def test_two_hundred_thousand_changes_are_followed_through_ten_deaths_of_each(
    tmp_path: Path,
    killable_postgres: OwnServer,
    killable_database: Database,
    kind: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    plan = Plan(changes=200_000, kills=10, alive_s=12.0)
    samples, told = follow_through_deaths(
        tmp_path / kind, killable_postgres, killable_database, kind, plan, seed_of(fresh=True)
    )
    assert samples or kind == "duckdb"
    with capsys.disabled():
        print(f"\n{told}")  # noqa: T201 - what a campaign came to is for people
