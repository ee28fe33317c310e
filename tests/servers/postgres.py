"""A PostgreSQL for tests: a server of our own from the installed binaries, or the one that the environment names.

    postgres           the server, for the whole session
    database           a fresh database on it, for one test
    killable_postgres  a server that may be killed: always of our own

`scripts/postgres.sh` installs what is missing. PENSTOCK_TEST_POSTGRES_URL, the URL of a superuser of a server whose
`wal_level` is `logical`, takes the place of a server of our own, where a test need not kill it.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, LiteralString
from urllib.parse import quote, urlsplit, urlunsplit

import psutil
import psycopg
import pytest
from psycopg import sql

if TYPE_CHECKING:
    from collections.abc import Iterator

URL_VARIABLE = "PENSTOCK_TEST_POSTGRES_URL"
USER = "keeper"
PASSWORD = "kept:for/tests@only"  # noqa: S105 - of a server that lives as long as the tests; must be quoted in a URL
PATIENCE_S = 60.0
"""For the server to start or to end: a moment, but recovery after a kill takes as long as it takes."""
POLL_S = 0.02
PORTS = (20_000, 32_000)
"""Below those that systems hand out for connections: a server that is killed must find its port again."""
SETTINGS = (
    "wal_level=logical",
    "max_wal_senders=40",
    "max_replication_slots=40",
    "max_connections=100",
    "fsync=on",
    "logging_collector=off",
    "timezone=UTC",
)
_NUMBERS = count(1)
_ENDS_WITH_US = ("setpriv", "--pdeathsig", "INT") if shutil.which("setpriv") else ()
"""Tests that are killed leave no server behind."""

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Database:
    """A database that one test has for itself. `url` names a superuser, with password."""

    name: str
    url: str

    def connect(self) -> psycopg.Connection:
        """Open a connection that commits each statement; whoever opens it closes it."""
        return psycopg.connect(self.url, autocommit=True)

    def execute(self, statement: LiteralString | sql.Composed, *parameters: object) -> list[Row]:
        """Run one statement in a connection of its own, and return its rows if it gives any."""
        with self.connect() as connection:
            cursor = connection.execute(statement, parameters or None)
            return cursor.fetchall() if cursor.description else []

    def url_for(self, user: str, password: str) -> str:
        """Return the URL with which another role connects."""
        parts = urlsplit(self.url)
        place = parts.netloc.rpartition("@")[2]
        return urlunsplit(parts._replace(netloc=f"{quote(user, '')}:{quote(password, '')}@{place}"))


@dataclass(slots=True)
class Server:
    """A server that is there. `url` names its superuser, with password, and the database `postgres`."""

    url: str

    def connect(self) -> psycopg.Connection:
        """Open a connection to the database `postgres` that commits each statement."""
        return psycopg.connect(self.url, autocommit=True)

    def new_database(self, options: LiteralString = "") -> Database:
        """Create an empty database. `options` go at the end of CREATE DATABASE."""
        name = f"penstock_{os.getpid()}_{next(_NUMBERS)}"
        with self.connect() as connection:
            connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0 " + options).format(sql.Identifier(name)))
        return Database(name, urlunsplit(urlsplit(self.url)._replace(path=f"/{name}")))

    def forget(self, database: Database) -> None:
        """Let go of a database that nobody needs any more."""
        self.drop(database)

    def drop(self, database: Database) -> None:
        """Drop a database with its replication slots, whoever is connected to it."""
        self.drop_slots(database)
        with self.connect() as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(database.name)))

    def drop_slots(self, database: Database) -> None:
        """Drop the replication slots of a database, whoever reads from them."""
        with self.connect() as connection:
            connection.execute(
                "SELECT pg_terminate_backend(active_pid, 10000) FROM pg_replication_slots "
                "WHERE database = %s AND active_pid IS NOT NULL",
                (database.name,),
            )
            connection.execute(
                "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = %s",
                (database.name,),
            )


@dataclass(slots=True)
class OwnServer(Server):
    """A server of our own, in a folder of its own, on loopback only. Can be stopped, killed and started again."""

    binaries: Path
    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None
    account: dict[str, Any] = field(default_factory=dict)

    @property
    def log(self) -> Path:
        """What the server says."""
        return self.folder / "log"

    def forget(self, database: Database) -> None:
        """Let go of a database. It goes with the server: to drop one takes the server longer than most tests take."""
        self.drop_slots(database)
        with self.connect() as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = %s", (database.name,)
            )

    def start(self, file_bytes_max: int | None = None) -> None:
        """Start it on the data that is there, and wait until it takes connections.

        With `file_bytes_max`, it cannot write longer files than that, as if its disk were full.
        """
        assert self.process is None, "it runs"
        settings = [
            *SETTINGS,
            "listen_addresses=127.0.0.1",
            f"port={self.port}",
            f"unix_socket_directories={self.folder}",
        ]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *_ENDS_WITH_US,
                    *([] if file_bytes_max is None else ["prlimit", f"--fsize={file_bytes_max}"]),
                    str(self.binaries / "postgres"), "-D", str(self.folder / "data"),
                    *(part for setting in settings for part in ("-c", setting)),
                ],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder, start_new_session=True,
                **self.account,
            )  # fmt: skip
        until_s = time.monotonic() + PATIENCE_S
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > until_s:
                self.kill()
                raise RuntimeError(f"PostgreSQL does not start: {self.log.read_text(errors='replace')[-2000:]}")
            time.sleep(POLL_S)

    def stop(self) -> None:
        """End it in order: whoever is connected is disconnected, everything is written."""
        if self.process is not None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                self.kill()
            self.process = None

    def kill(self) -> None:
        """End it at once with every process of it, as a power cut does that spares the page cache."""
        process, self.process = self.process, None
        if process is None:
            return
        with contextlib.suppress(psutil.NoSuchProcess):
            postmaster = psutil.Process(process.pid)
            postmaster.suspend()  # so that it makes no more of them meanwhile
            family = [postmaster, *postmaster.children(recursive=True)]
            for each in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    each.kill()
            process.wait()
            until_s = time.monotonic() + PATIENCE_S
            while any(_lives(each) for each in family):
                assert time.monotonic() < until_s, family
                time.sleep(POLL_S)
        process.wait()

    def restart(self) -> None:
        """Kill it, and start it again on the same data."""
        self.kill()
        self.start()

    def _answers(self) -> bool:
        try:
            self.connect().close()
        except psycopg.OperationalError:
            return False
        return True


def _lives(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def find_binaries() -> Path | None:
    """Return the folder of the newest installed server, None where there is none."""
    debian = sorted(
        (folder for folder in Path("/usr/lib/postgresql").glob("*/bin") if (folder / "postgres").exists()),
        key=lambda folder: float(folder.parent.name),
    )
    if debian:
        return debian[-1]
    initdb = shutil.which("initdb")
    return None if initdb is None else Path(initdb).resolve().parent


@contextlib.contextmanager
def own_server(binaries: Path) -> Iterator[OwnServer]:
    """Make a server in a temporary folder, start it, and remove it with all that it holds."""
    # Not in pytest's folder, which only its owner may enter.
    folder = Path(tempfile.mkdtemp(prefix="penstock-pg-"))
    account = _unprivileged()
    server: OwnServer | None = None
    try:
        if account:
            os.chown(folder, account["user"], account["group"])
        (folder / "log").touch()
        _initialise(binaries, folder, account)
        port = _free_port()
        url = f"postgresql://{USER}:{quote(PASSWORD, '')}@127.0.0.1:{port}/postgres"
        server = OwnServer(url, binaries, folder, port, None, account)
        server.start()
        yield server
    finally:
        if server is not None:
            server.kill()  # in order, it would first write out what is thrown away next
        shutil.rmtree(folder, ignore_errors=True)


def _initialise(binaries: Path, folder: Path, account: dict[str, Any]) -> None:
    password = folder / "password"
    password.write_text(PASSWORD)
    if account:
        os.chown(password, account["user"], account["group"])
    done = subprocess.run(
        [
            str(binaries / "initdb"), "--pgdata", str(folder / "data"), "--username", USER, "--pwfile", str(password),
            "--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C.UTF-8", "--no-sync", "--no-instructions",
        ],
        capture_output=True, text=True, check=False, cwd=folder, **account,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def _unprivileged() -> dict[str, Any]:
    """Return whom to run the server as: PostgreSQL refuses to be run by root."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            user = pwd.getpwnam(name)
            return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    raise AssertionError("there is no account without privileges on this machine")


def _free_port() -> int:
    """Return a port that is free now, and that nobody is given by chance while the server is down for a moment."""
    while True:
        port = random.randrange(*PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _binaries_or_not() -> Path:
    """Return where the server is; fail where everything must be there, skip elsewhere."""
    found = find_binaries()
    if found is None:
        what = "PostgreSQL is not installed (scripts/postgres.sh does that)"
        if os.environ.get("CI") == "true":
            pytest.fail(f"{what}, and continuous integration must have it")
        pytest.skip(what)
    return found


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A PostgreSQL server, for tests that leave it running: ours, or the one that the environment names."""
    if url := os.environ.get(URL_VARIABLE):
        yield Server(url)
        return
    with own_server(_binaries_or_not()) as server:
        yield server


@pytest.fixture(scope="module")
def killable_postgres() -> Iterator[OwnServer]:
    """A PostgreSQL server of our own that a module's tests may stop and kill. A test leaves it running."""
    with own_server(_binaries_or_not()) as server:
        yield server


@pytest.fixture
def database(postgres: Server) -> Iterator[Database]:
    """An empty database."""
    made = postgres.new_database()
    yield made
    postgres.forget(made)


@pytest.fixture
def killable_database(killable_postgres: OwnServer) -> Iterator[Database]:
    """An empty database on a server that may be killed, which is there again when the test begins."""
    if killable_postgres.process is None:
        killable_postgres.start()
    made = killable_postgres.new_database()
    yield made
    if killable_postgres.process is None:
        killable_postgres.start()
    killable_postgres.forget(made)
