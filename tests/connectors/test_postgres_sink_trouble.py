"""The PostgreSQL destination when something is wrong: away, killed, full, not allowed, or written by two."""

from __future__ import annotations

import random
import re
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import psycopg
import pytest
from tests.connectors.houses import House
from tests.connectors.test_duckdb_sink import mark, model_of, rows_of

from penstock.connectors.postgres import conninfo
from penstock.connectors.postgres.trouble import explained
from penstock.connectors.sinks.postgres.sink import CODES
from penstock.errors import BatchRefused, PenstockError, Unavailable, UserMistake
from penstock.model.pipeline import Connection, WriteMode, without_password

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.postgres import Database, OwnServer, Server

    from penstock.connectors.sinks.postgres import PostgresSink

IDS = model_of({"id": "bigint", "note": "text"}, unique=[("id",)])
MERGED = model_of({"id": "bigint", "note": "text"}, mode=WriteMode.MERGE)
NOISE_CHARS = 500


@pytest.fixture(scope="module")
def one_house(postgres: Server) -> Iterator[House]:
    """A database that is emptied after each test."""
    database = postgres.new_database()
    yield House(database)
    postgres.forget(database)


@pytest.fixture
def house(one_house: House) -> Iterator[House]:
    yield one_house
    one_house.empty()


@pytest.fixture
def killable_house(killable_database: Database) -> Iterator[House]:
    house = House(killable_database)
    yield house
    house.close()


def fill(sink: PostgresSink, start: int, end: int) -> None:
    """Write rows of sequences and ids `start` to `end`, with notes that nothing makes small."""
    noise = random.Random(start).randbytes((end - start) * NOISE_CHARS // 2).hex()
    notes = [noise[place : place + NOISE_CHARS] for place in range(0, len(noise), NOISE_CHARS)]
    written = sink.write(rows_of(IDS, *zip(range(start, end), notes, strict=True), first=start), "a.csv")
    assert (written.refused, written.superseded) == ({}, frozenset())


def settled(house: House, sink: PostgresSink) -> int:
    """Check that rows and mark agree, and return up to where they go."""
    marks = sink.marks()
    sequence = marks["orders", "a.csv"].sequence if marks else 0
    assert house.stored("SELECT count(*), coalesce(max(id) + 1, 0) FROM analytics.orders") == [(sequence, sequence)]
    return sequence


# --- the server dies ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [IDS, MERGED], ids=["appending", "merging"])
def test_killed_between_write_and_commit_nothing_is_there_and_the_same_sink_goes_on(
    killable_postgres: OwnServer, killable_house: House, model: object
) -> None:
    assert model in {IDS, MERGED}
    sink = killable_house.open(IDS if model is IDS else MERGED)
    fill(sink, 0, 10)
    sink.commit([mark(10)])
    fill(sink, 10, 20)
    killable_postgres.kill()
    with pytest.raises(Unavailable) as caught:
        sink.commit([mark(20)])
    assert caught.value.kind.code == "INT_GAMMA_010"
    with pytest.raises(Unavailable, match="refused") as caught:
        sink.marks()
    assert caught.value.kind.code == "INT_GAMMA_010"
    killable_postgres.start()
    assert settled(killable_house, sink) == 10
    fill(sink, 10, 20)
    sink.commit([mark(20)])
    assert settled(killable_house, sink) == 20


def test_what_was_committed_is_there_after_the_server_was_killed_at_once(
    killable_postgres: OwnServer, killable_house: House
) -> None:
    sink = killable_house.open(IDS)
    fill(sink, 0, 5_000)
    sink.commit([mark(5_000)])
    sink.close()
    killable_postgres.restart()
    assert settled(killable_house, sink) == 5_000


def test_killed_while_it_writes_nothing_is_there(killable_postgres: OwnServer, killable_house: House) -> None:
    sink = killable_house.open(IDS)
    for turn in range(2):
        killer = threading.Timer(random.Random(turn).random() / 10, killable_postgres.kill)
        killer.start()
        with pytest.raises(Unavailable) as caught:  # noqa: PT012 - which of them it strikes is chance
            for start in range(0, 10_000_000, 5_000):
                fill(sink, start, start + 5_000)
        assert caught.value.kind.code == "INT_GAMMA_010"
        killer.join()
        sink.rollback()
        killable_postgres.start()
        assert settled(killable_house, sink) == 0


def test_killed_during_a_commit_the_marks_tell_whether_it_happened(
    killable_postgres: OwnServer, killable_house: House
) -> None:
    sink = killable_house.open(IDS)
    chance = random.Random(7)
    done = 0
    for _ in range(3):
        killer = threading.Timer(chance.random() / 20, killable_postgres.kill)
        fill(sink, done, done + 10)
        killer.start()
        with pytest.raises(Unavailable):  # noqa: PT012 - which commit it strikes is chance
            while True:
                sink.commit([mark(done + 10)])
                done += 10
                fill(sink, done, done + 10)
        killer.join()
        killable_postgres.start()
        now = settled(killable_house, sink)
        assert now in {done, done + 10}
        done = now
    fill(sink, done, done + 10)
    sink.commit([mark(done + 10)])
    assert settled(killable_house, sink) == done + 10


def test_a_server_that_is_not_there_is_waited_for(killable_postgres: OwnServer, killable_house: House) -> None:
    sink = killable_house.make(IDS)
    killable_postgres.stop()
    with pytest.raises(Unavailable, match="Connection refused") as caught:
        sink.prepare()
    assert caught.value.kind.code == "INT_GAMMA_010"
    assert caught.value.remedy == "see that the server is up and can be reached, run again"
    killable_postgres.start()
    sink.prepare()
    assert settled(killable_house, sink) == 0


def test_a_full_disk_leaves_what_was_committed_and_more_can_be_written_once_there_is_room(
    killable_postgres: OwnServer, killable_house: House
) -> None:
    sink = killable_house.open(IDS)
    fill(sink, 0, 1_000)
    sink.commit([mark(1_000)])
    sink.close()
    killable_postgres.stop()
    killable_postgres.start(file_bytes_max=20 << 20)  # more than the server's own log needs
    with pytest.raises(Unavailable, match="File too large") as caught:
        fill(sink, 1_000, 60_000)
    assert caught.value.kind.code == "INT_GAMMA_012"
    assert settled(killable_house, sink) == 1_000
    sink.close()
    killable_postgres.stop()
    killable_postgres.start()
    fill(sink, 1_000, 60_000)
    sink.commit([mark(60_000)])
    assert settled(killable_house, sink) == 60_000


# --- it does not let us ------------------------------------------------------------------------------------------


@pytest.fixture
def role(house: House) -> Iterator[str]:
    """A role that may log in, with the password `pass/word`, and nothing else."""
    name = f"stranger_{house.database.name}"
    house.do(f"CREATE ROLE {name} LOGIN PASSWORD 'pass/word'")
    yield name
    house.close()
    house.do(f"DROP OWNED BY {name} CASCADE", f"DROP ROLE {name}")


def test_wrong_credentials_and_places_are_told_apart_and_show_no_password(house: House, role: str) -> None:
    good = house.database.url_for(role, "pass/word")
    cases = {
        house.database.url_for(role, "guessed/it"): r"password authentication failed",
        house.database.url_for("nobody at all", "guessed/it"): r"password authentication failed",
        f"{good.rpartition('/')[0]}/elsewhere": r"database \"elsewhere\" does not exist",
        f"{good}?sslmode=require": r"SSL",
    }
    for url, what in cases.items():
        with pytest.raises(UserMistake, match=what) as caught:
            house.open(IDS, url=url)
        assert caught.value.kind.code == "INT_GAMMA_011"
        assert "\n" not in str(caught.value)
        assert not re.search(r"guessed|pass/word|pass%2F", f"{caught.value} {caught.value!r}")


@pytest.mark.parametrize(
    "url",
    ["postgresql://me:to/p secret@host/db", "postgresql://me:top@secret@host/db",
     "mysql://me:secret@host/db", "", "host=here password=secret"],
)  # fmt: skip
def test_a_url_that_cannot_be_understood_is_a_mistake_and_not_shown(url: str) -> None:
    connection = Connection("house", "postgres", url=url)
    with pytest.raises(UserMistake) as caught:
        conninfo(connection)
    assert caught.value.kind.code == "INT_PIPELINE_003"
    assert "secret" not in str(caught.value)
    assert "secret" not in without_password(url) or not url.startswith("postgresql")


def test_secrets_come_from_the_environment_as_a_part_of_the_url_or_the_whole_of_it(
    house: House, role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = urlsplit(house.database.url).netloc.rpartition("@")[2]
    monkeypatch.setenv("HOUSE_PASSWORD", "pass/word")
    monkeypatch.setenv("HOUSE_URL", house.database.url_for(role, "pass/word"))
    house.do(f"GRANT ALL ON DATABASE {house.database.name} TO {role}")
    for url in (f"postgresql://{role}:${{HOUSE_PASSWORD}}@{place}/{house.database.name}", "${HOUSE_URL}"):
        sink = house.open(IDS, url=url)
        assert "pass/word" not in repr(sink)
        sink.close()
    monkeypatch.delenv("HOUSE_PASSWORD")
    with pytest.raises(UserMistake, match=r"\$\{HOUSE_PASSWORD\}") as caught:
        house.open(IDS, url=f"postgresql://{role}:${{HOUSE_PASSWORD}}@{place}/x")
    assert caught.value.kind.code == "INT_PIPELINE_007"


def test_what_a_role_may_not_do_is_said_before_and_when_it_is_tried(house: House, role: str) -> None:
    url = house.database.url_for(role, "pass/word")
    stranger = house.make(IDS, url=url)
    assert refused(stranger) == (
        "INT_GAMMA_011",
        ["CREATE in the database, for `analytics.orders`", "CREATE in the database, for `_penstock.marks`"],
    )
    with pytest.raises(UserMistake, match="permission denied for database"):
        stranger.prepare()

    house.open(IDS).close()
    house.do(f"GRANT USAGE ON SCHEMA _penstock, analytics TO {role}", f"GRANT ALL ON _penstock.marks TO {role}")
    assert refused(stranger) == (
        "INT_GAMMA_011",
        ["SELECT on `analytics.orders`", "INSERT on `analytics.orders`"],
    )
    stranger.prepare()
    with pytest.raises(UserMistake, match="permission denied for table orders") as caught:
        fill(stranger, 0, 10)
    assert caught.value.kind.code == "INT_GAMMA_011"

    house.do(f"GRANT SELECT, INSERT ON analytics.orders TO {role}")
    assert re.fullmatch(r"PostgreSQL \d+(\.\d+)*, table analytics\.orders is there", stranger.examine())
    fill(stranger, 0, 10)
    stranger.commit([mark(10)])
    assert settled(house, stranger) == 10


def refused(sink: PostgresSink) -> tuple[str, list[str]]:
    """Return the code, and what is missing, of an examination that fails."""
    with pytest.raises(UserMistake) as caught:
        sink.examine()
    return caught.value.kind.code, caught.value.message.partition("lacks the right to ")[2].split("; to ")


def test_an_examination_writes_nothing_and_says_what_prepare_would(house: House) -> None:
    sink = house.make(IDS)
    assert sink.examine().endswith("table analytics.orders is not there yet")
    assert house.stored("SELECT to_regnamespace('analytics'), to_regnamespace('_penstock')") == [(None, None)]
    assert abs(sink.clock_s() - time.time()) < 60
    house.do("CREATE SCHEMA analytics", "CREATE TABLE analytics.orders (id integer)")
    with pytest.raises(UserMistake, match="is not the table that the document describes"):
        sink.examine()


def test_a_server_that_can_only_be_read_is_not_waited_for(house: House) -> None:
    house.do(f"ALTER DATABASE {house.database.name} SET default_transaction_read_only = on")
    with pytest.raises(UserMistake, match="read-only transaction") as caught:
        house.open(IDS)
    assert caught.value.kind.code == "INT_GAMMA_011"


WITHOUT_CLIENT = """
import sys
sys.modules["psycopg"] = None
from penstock.connectors import declared_by_sink
from penstock.errors import UserMistake
try: declared_by_sink("postgres")
except UserMistake as error: print(error)
"""


def test_without_its_client_one_is_told_what_to_install() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_CLIENT], capture_output=True, text=True, check=True)
    assert done.stdout == (
        "INT_PIPELINE_008 the destination `postgres` needs `psycopg`, which is not installed; "
        "pip install 'penstock[postgres]'\n"
    )


# --- others have it ----------------------------------------------------------------------------------------------


def test_a_second_writer_of_the_same_pipeline_and_model_is_told_that_there_is_one(house: House) -> None:
    first = house.open(IDS)
    with pytest.raises(Unavailable, match=r"analytics\.orders` in .* is in use: another run of `shop`") as caught:
        house.open(IDS)
    assert caught.value.kind.code == "INT_GAMMA_010"
    first.close()
    house.open(IDS)


def test_a_writer_whose_connection_was_cut_is_no_second_writer(house: House) -> None:
    sink = house.open(IDS)
    fill(sink, 0, 10)
    house.do("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'penstock'")
    with pytest.raises(Unavailable, match=r"terminating connection|closed") as caught:
        sink.commit([mark(10)])
    assert caught.value.kind.code == "INT_GAMMA_010"
    assert settled(house, sink) == 0
    fill(sink, 0, 10)
    sink.commit([mark(10)])
    assert settled(house, sink) == 10


def test_a_table_that_another_holds_is_waited_for_a_while(house: House) -> None:
    sink = house.open(IDS)
    with house.database.connect() as other:
        other.execute("BEGIN")
        other.execute("LOCK TABLE analytics.orders IN ACCESS EXCLUSIVE MODE")
        assert sink._opened is not None  # half a minute is too long for a test
        sink._opened.execute(b"SET lock_timeout = '200ms'")
        with pytest.raises(Unavailable, match="lock timeout") as caught:
            fill(sink, 0, 10)
        assert caught.value.kind.code == "INT_GAMMA_010"
        other.execute("ROLLBACK")
    fill(sink, 0, 10)
    sink.commit([mark(10)])
    assert settled(house, sink) == 10


@pytest.mark.parametrize("model", [IDS, MERGED], ids=["appending", "merging"])
def test_rows_that_the_table_refuses_for_reasons_that_came_later_are_for_delivery_to_find(
    house: House, model: object
) -> None:
    sink = house.open(IDS if model is IDS else MERGED)
    house.do("ALTER TABLE analytics.orders ADD CHECK (id <> 5)")
    with pytest.raises(BatchRefused, match="violates check constraint"):
        fill(sink, 0, 10)
    fill(sink, 0, 5)
    sink.commit([mark(5)])
    assert settled(house, sink) == 5


def test_a_key_too_long_for_an_index_is_for_delivery_to_find(house: House) -> None:
    model = model_of({"id": "bigint", "note": "text"}, unique=[("note",)])
    sink = house.open(model)
    long = random.Random(1).randbytes(9_000).hex()
    with pytest.raises(BatchRefused, match="index row"):
        sink.write(rows_of(model, (1, "short"), (2, long)), "a.csv")
    sink.write(rows_of(model, (1, "short")), "a.csv")
    sink.commit([])
    assert house.stored("SELECT id FROM analytics.orders") == [(1,)]


# --- what is said becomes an error of ours -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (psycopg.errors.DiskFull("could not extend file"), "INT_GAMMA_012"),
        (psycopg.errors.TooManyConnections("sorry, too many clients already"), "INT_GAMMA_010"),
        (psycopg.errors.OutOfMemory("out of memory"), "INT_GAMMA_010"),
        (psycopg.errors.DeadlockDetected("deadlock detected"), "INT_GAMMA_010"),
        (psycopg.errors.CannotConnectNow("the database system is starting up"), "INT_GAMMA_010"),
        (psycopg.errors.UndefinedColumn('column "x" does not exist'), "INT_GAMMA_013"),
        (psycopg.errors.UndefinedTable('relation "x" does not exist'), "INT_GAMMA_011"),
        (psycopg.errors.IoError("could not write: No space left on device"), "INT_GAMMA_012"),
        (psycopg.OperationalError("consuming input failed: server closed the connection"), "INT_GAMMA_010"),
        (psycopg.OperationalError('connection failed: FATAL:  role "x" does not exist'), "INT_GAMMA_011"),
        (psycopg.OperationalError("connection failed: FATAL:  sorry, too many clients already"), "INT_GAMMA_010"),
    ],
)
def test_what_the_server_says_becomes_an_error_of_ours_that_names_the_place(error: psycopg.Error, code: str) -> None:
    with pytest.raises(PenstockError, match="`here`: ") as caught, explained("here", CODES):
        raise error
    assert caught.value.kind.code == code
    assert caught.value.__cause__ is error


def test_a_defect_of_ours_is_not_dressed_up_as_trouble_with_the_server(house: House) -> None:
    sink = house.open(IDS)
    with pytest.raises(psycopg.errors.SyntaxError), explained("here", CODES), house.database.connect() as session:
        session.execute("SELEC 1")
    sink.close()
