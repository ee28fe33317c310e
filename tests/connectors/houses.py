"""A PostgreSQL database as a destination of tests."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.connectors.sinks.postgres import PostgresSink
from penstock.model.pipeline import Connection, Warehouse
from penstock.model.settings import Settings

if TYPE_CHECKING:
    from tests.servers.postgres import Database

    from penstock.model.pipeline import Model


@dataclass(slots=True)
class House:
    """A database, and the sinks that are open on it."""

    database: Database
    sinks: list[PostgresSink] = field(default_factory=list)

    def warehouse(self, url: str = "", **options: str) -> Warehouse:
        """Return what names the database as a destination, or `url` in its place."""
        return Warehouse("house", Connection("house", "postgres", options=options, url=url or self.database.url))

    def make(self, model: Model, pipeline: str = "shop", url: str = "", **options: str) -> PostgresSink:
        """Make a sink that has not been opened yet."""
        self.sinks.append(PostgresSink(pipeline, model, self.warehouse(url, **options), Path(), Settings()))
        return self.sinks[-1]

    def open(self, model: Model, pipeline: str = "shop", url: str = "", **options: str) -> PostgresSink:
        """Open a sink, with its table."""
        sink = self.make(model, pipeline, url, **options)
        sink.prepare()
        return sink

    def stored(self, query: str) -> list[tuple[Any, ...]]:
        """Ask in a connection of our own: it sees what is committed, not what a sink remembers."""
        with self.database.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            return connection.execute(query.encode(connection.info.encoding)).fetchall()

    def do(self, *statements: str) -> None:
        """Do something to the database that Penstock does not know of."""
        with self.database.connect() as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def empty(self) -> None:
        """Close every sink, and leave the database as if it were new: much faster than to make another."""
        self.close()
        self.sinks.clear()
        self.do("BEGIN READ WRITE", f"ALTER DATABASE {self.database.name} RESET ALL", "COMMIT")
        schemas = self.stored(
            "SELECT quote_ident(nspname) FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'"
        )
        self.do(*(f"DROP SCHEMA {name} CASCADE" for (name,) in schemas), "CREATE SCHEMA public")

    def close(self) -> None:
        """Close every sink."""
        for sink in self.sinks:
            sink.close()
