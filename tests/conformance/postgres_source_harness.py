"""A PostgreSQL table as the outside thing of a source, in each way of reading it."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, LiteralString
from urllib.parse import urlsplit

import psycopg
from msgspec import structs
from psycopg import sql
from tests.conformance.postgres_sink_harness import far_away

from penstock.connectors.postgres import type_name
from penstock.connectors.sources.postgres.source import CHANGES, ROWS
from penstock.model.pipeline import Connection
from penstock.model.settings import Settings
from penstock.testing.conformance import Cannot, SourceHarness
from penstock.testing.conformance.harness import CURSOR, KEY, TABLE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import pyarrow as pa
    from tests.servers.postgres import Database, Server

    from penstock.model.schema import Field
    from penstock.ports import SourcePromises

PASSWORD = "pass:word/of a@reader"  # noqa: S105 - of a role that lives as long as a test
PASSWORD_VARIABLE = "PENSTOCK_TEST_READER"  # noqa: S105 - the name of a variable


@dataclass
class PostgresSourceHarness(SourceHarness):
    """A database that belongs to a role of its own; `keeper_url` and `outside_url` are those of a superuser."""

    root: Path
    keeper_url: str
    outside_url: str
    role: str
    promises: SourcePromises
    options: dict[str, str]
    settings: Settings = field(default_factory=lambda: Settings({"READ_BYTES": 4096}))
    secrets = (PASSWORD,)

    def __post_init__(self) -> None:
        url = self._url(urlsplit(self.keeper_url).netloc)
        self.connection = Connection("conformance", "postgres", url=url, options=self.options)

    def create(self, fields: Sequence[Field]) -> None:
        columns = [
            sql.SQL("{} {}{}").format(
                sql.Identifier(each.name),
                sql.SQL(type_name(each.type)),
                sql.SQL(" PRIMARY KEY" if each.name == KEY else " NOT NULL" if each.name == CURSOR else ""),
            )
            for each in fields
        ]
        self._do(sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier(TABLE)))
        self._do(sql.SQL("CREATE TABLE {} ({})").format(sql.Identifier(TABLE), sql.SQL(", ").join(columns)))
        self._do(sql.SQL("ALTER TABLE {} OWNER TO {}").format(sql.Identifier(TABLE), sql.Identifier(self.role)))

    def add(self, rows: pa.Table) -> None:
        columns = sql.SQL(", ").join(map(sql.Identifier, rows.column_names))
        values = sql.SQL(", ").join([sql.Placeholder()] * rows.num_columns)
        insert = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(sql.Identifier(TABLE), columns, values)
        with psycopg.connect(self.keeper_url) as other, other.cursor() as cursor:
            cursor.execute("SET TimeZone = 'UTC'")
            cursor.executemany(insert, [tuple(map(_held, row.values())) for row in rows.to_pylist()])

    def change(self, rows: pa.Table) -> None:
        sets = sql.SQL(", ").join(
            sql.SQL("{} = {}").format(sql.Identifier(name), sql.Placeholder(name)) for name in rows.column_names
        )
        update = sql.SQL("UPDATE {} SET {} WHERE {} = {}").format(
            sql.Identifier(TABLE), sets, sql.Identifier(KEY), sql.Placeholder(KEY)
        )
        with psycopg.connect(self.keeper_url) as other, other.cursor() as cursor:
            cursor.executemany(update, rows.to_pylist())

    def remove(self, ids: Sequence[int]) -> None:
        delete = sql.SQL("DELETE FROM {} WHERE {} = ANY({})")
        self._do(delete.format(sql.Identifier(TABLE), sql.Identifier(KEY), sql.Literal(list(ids))))

    def held(self) -> int:
        """Return how many bytes of its log the server keeps unsettled for our slots."""
        with psycopg.connect(self.keeper_url, autocommit=True) as other:
            found = other.execute(
                "SELECT coalesce(sum(pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn)), 0)::bigint "
                "FROM pg_replication_slots WHERE database = current_database()"
            ).fetchone()
        if not found or not found[0]:
            raise Cannot("its log holds nothing yet: rows that were there before are read from the table")
        return int(found[0])

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
        connection, place = self.connection, urlsplit(self.keeper_url)
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

    def _do(self, statement: sql.Composed) -> None:
        with psycopg.connect(self.keeper_url, autocommit=True) as other:
            other.execute(statement)

    def _url(self, place: str) -> str:
        host = place.rpartition("@")[2]
        return f"postgresql://{self.role}:${{{PASSWORD_VARIABLE}}}@{host}{urlsplit(self.keeper_url).path}"

    def _outside(self, statement: LiteralString) -> None:
        name = sql.Identifier(urlsplit(self.keeper_url).path[1:])
        with psycopg.connect(self.outside_url, autocommit=True) as outside:
            outside.execute(sql.SQL(statement).format(name))


def _held(value: object) -> object:
    """Return what of `value` the server can hold: no text with U+0000."""
    return None if isinstance(value, str) and "\0" in value else value


@contextmanager
def shop_of_a_role(postgres: Server, database: Database, root: Path, **options: str) -> Iterator[PostgresSourceHarness]:
    """Give `database` to a new role that may read the log, and take it back in the end."""
    role = f"reader_{database.name}"
    names = {"role": sql.Identifier(role), "database": sql.Identifier(database.name), "password": PASSWORD}
    with postgres.connect() as keeper:
        keeper.execute(sql.SQL("CREATE ROLE {role} LOGIN REPLICATION PASSWORD {password}").format(**names))
        keeper.execute(sql.SQL("ALTER DATABASE {database} OWNER TO {role}").format(**names))
        os.environ[PASSWORD_VARIABLE] = PASSWORD
        promises = CHANGES if options.get("read") == "changes" else ROWS
        try:
            yield PostgresSourceHarness(root, database.url, postgres.url, role, promises, options)
        finally:
            del os.environ[PASSWORD_VARIABLE]
            postgres.drop(database)
            keeper.execute(sql.SQL("DROP ROLE {role}").format(**names))
