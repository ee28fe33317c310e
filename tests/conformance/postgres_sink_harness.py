"""A PostgreSQL database as the outside thing of a destination."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, LiteralString
from urllib.parse import urlsplit

import psycopg
import pyarrow as pa
from msgspec import structs
from psycopg import sql

from penstock.connectors.sinks.postgres import PostgresSink
from penstock.model.pipeline import Connection
from penstock.model.schema import Kind, arrow_schema
from penstock.testing.conformance import SinkHarness

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers.postgres import Database, Server

    from penstock.model.pipeline import Model

PASSWORD = "pass:word/of a@writer"  # noqa: S105 - of a role that lives as long as a test
PASSWORD_VARIABLE = "PENSTOCK_TEST_WRITER"  # noqa: S105 - the name of a variable
LATE_S = 0.01
PIECE_BYTES = 1 << 16


@dataclass
class PostgresSinkHarness(SinkHarness):
    """A database that belongs to a role of its own; `keeper_url` and `outside_url` are those of a superuser."""

    root: Path
    keeper_url: str
    outside_url: str
    role: str
    promises = PostgresSink.declares.promises[0]
    secrets = (PASSWORD,)

    def __post_init__(self) -> None:
        self.connection = Connection("warehouse", "postgres", url=self._url(urlsplit(self.keeper_url).netloc))

    def rows(self, model: Model) -> pa.Table:
        columns = [
            sql.SQL("{}::text" if field.type.kind in {Kind.UUID, Kind.JSON} else "{}").format(
                sql.Identifier(field.name)
            )
            for field in model.fields
        ]
        query = sql.SQL("SELECT {} FROM {}").format(sql.SQL(", ").join(columns), _table(model))
        with psycopg.connect(self.keeper_url) as reading:
            reading.execute("SET TimeZone = 'UTC'")
            try:
                found = reading.execute(query).fetchall()
            except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
                found = []
        schema = arrow_schema(model.fields)
        values = zip(*found, strict=True) if found else [()] * len(schema)
        return pa.table(
            [pa.array(column, field.type) for column, field in zip(values, schema, strict=True)], schema=schema
        )

    def drop(self, model: Model) -> None:
        with psycopg.connect(self.keeper_url) as other:
            other.execute(sql.SQL("DROP TABLE {}").format(_table(model)))

    @contextmanager
    def away(self) -> Iterator[None]:
        """Nobody may connect to the database."""
        self._outside("ALTER DATABASE {} ALLOW_CONNECTIONS false")
        try:
            yield
        finally:
            self._outside("ALTER DATABASE {} ALLOW_CONNECTIONS true")

    @contextmanager
    def denied(self) -> Iterator[None]:
        """The password is another now."""
        variable = os.environ[PASSWORD_VARIABLE]
        os.environ[PASSWORD_VARIABLE] = "something else"
        try:
            yield
        finally:
            os.environ[PASSWORD_VARIABLE] = variable

    @contextmanager
    def slow(self) -> Iterator[None]:
        """There is a long way to the server: every piece of it that is sent or answered is late."""
        connection = self.connection
        place = urlsplit(self.keeper_url)
        with far_away(str(place.hostname), place.port or 5432) as port:
            self.connection = structs.replace(connection, url=self._url(f"127.0.0.1:{port}"))
            try:
                yield
            finally:
                self.connection = connection

    def cut(self) -> None:
        with psycopg.connect(self.outside_url, autocommit=True) as outside:
            outside.execute(
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = %s",
                (urlsplit(self.keeper_url).path[1:],),
            )

    def _url(self, place: str) -> str:
        host = place.rpartition("@")[2]
        return f"postgresql://{self.role}:${{{PASSWORD_VARIABLE}}}@{host}{urlsplit(self.keeper_url).path}"

    def _outside(self, statement: LiteralString) -> None:
        name = sql.Identifier(urlsplit(self.keeper_url).path[1:])
        with psycopg.connect(self.outside_url, autocommit=True) as outside:
            outside.execute(sql.SQL(statement).format(name))


@contextmanager
def house_of_a_role(postgres: Server, database: Database, root: Path) -> Iterator[PostgresSinkHarness]:
    """Give `database` to a new role, and take it back in the end."""
    role = f"writer_{database.name}"
    names = {"role": sql.Identifier(role), "database": sql.Identifier(database.name), "password": PASSWORD}
    with postgres.connect() as keeper:
        keeper.execute(sql.SQL("CREATE ROLE {role} LOGIN PASSWORD {password}").format(**names))
        keeper.execute(sql.SQL("ALTER DATABASE {database} OWNER TO {role}").format(**names))
        os.environ[PASSWORD_VARIABLE] = PASSWORD
        try:
            yield PostgresSinkHarness(root, database.url, postgres.url, role)
        finally:
            del os.environ[PASSWORD_VARIABLE]
            postgres.drop(database)
            keeper.execute(sql.SQL("DROP ROLE {role}").format(**names))


@contextmanager
def far_away(host: str, port: int) -> Iterator[int]:
    """Listen on a port that leads to another, where everything arrives late; yield its number."""
    ends: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            with contextlib.suppress(OSError):  # the listener was closed
                while True:
                    near, far = listener.accept()[0], socket.create_connection((host, port))
                    ends.extend((near, far))
                    for one, other in ((near, far), (far, near)):
                        threading.Thread(target=carry, args=(one, other), daemon=True).start()

        accepting = threading.Thread(target=accept, daemon=True)
        accepting.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            accepting.join()  # it may be about to add ends
            for end in ends:
                with contextlib.suppress(OSError):  # it has ended
                    end.shutdown(socket.SHUT_RDWR)
                end.close()


def carry(one: socket.socket, other: socket.socket) -> None:
    """Carry what comes from `one` to `other`, late, until one of them ends."""
    with contextlib.suppress(OSError):
        while piece := one.recv(PIECE_BYTES):
            time.sleep(LATE_S)
            other.sendall(piece)
        other.shutdown(socket.SHUT_WR)


def _table(model: Model) -> sql.Composed:
    return sql.SQL("{}.{}").format(sql.Identifier(model.schema), sql.Identifier(model.name))
