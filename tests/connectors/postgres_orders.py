"""A table `orders` in PostgreSQL, and sources that read it, as another process each time."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from penstock.connectors.sources.postgres import PostgresSource
from penstock.model.batch import Op
from penstock.model.finding import Place
from penstock.model.pipeline import Connection, SourceTable
from penstock.model.schema import Field, parse_type
from penstock.model.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from tests.servers.postgres import Database

    from penstock.model.position import Position
    from penstock.ports import Chunk, Following

PATIENCE_S = 30.0
"""For what must come. Nothing here takes long where it works."""
PARTITION = "public.orders"
FIELDS = (
    Field("id", parse_type("bigint"), nullable=False),
    Field("name", parse_type("text")),
    Field("amount", parse_type("numeric(12,2)")),
)
TABLE = """
    CREATE TABLE orders (
        id bigint PRIMARY KEY, name text, amount numeric(12, 2) DEFAULT 1,
        updated_at timestamptz NOT NULL DEFAULT clock_timestamp()
    )
"""
SMALL = Settings({"READ_BYTES": 1024})

Row = tuple[str | None, ...]


def orders(
    database: Database,
    options: Mapping[str, str] | None = None,
    *,
    fields: Sequence[Field] = FIELDS,
    key: Sequence[str] = ("id",),
    **more: str,
) -> SourceTable:
    connection = Connection("shop", "postgres", url=database.url, options={**(options or {}), **more})
    return SourceTable(
        "orders", "public", "shop", connection, tuple(fields), Place("handoff.md"), primary_key=tuple(key)
    )


def rows_of(chunk: Chunk) -> list[Row]:
    """Return the rows of a chunk, as text."""
    assert len(chunk.records) == chunk.end - chunk.start
    return [tuple(row.values()) for row in chunk.records.to_pylist()]


def changes_of(chunk: Chunk) -> list[tuple[Op, Row]]:
    """Return the changes of a chunk; rows that were there count as inserted."""
    if chunk.operations is None:
        return [(Op.INSERT, row) for row in rows_of(chunk)]
    operations = [Op(operation) for operation in chunk.operations.to_pylist()]
    return list(zip(operations, rows_of(chunk), strict=True))


@dataclass
class Reading:
    """Reads `orders` in any number of lives. `positions` are all that came with chunks, `settled` the last settled."""

    table: SourceTable
    state: Path
    settings: Settings = field(default_factory=lambda: SMALL)
    settled: Position | None = None
    positions: list[Position] = field(default_factory=list)
    source: PostgresSource | None = None

    @contextmanager
    def life(self) -> Iterator[PostgresSource]:
        """Open the source, and close it in the end."""
        source = PostgresSource(self.table, self.state, self.settings, self.state)
        try:
            yield source
        finally:
            source.close()

    def read(self, position: Position | None = None) -> list[tuple[Op, Row]]:
        """Read from `position` to the end in a life of its own; check that chunks follow one another."""
        with self.life() as source:
            return self.read_in(source, position)

    def read_on(self) -> list[tuple[Op, Row]]:
        """Read what is new since the last call, and settle it."""
        with self.life() as source:
            found = self.read_in(source, self.settled)
            self.settle(source)
        return found

    def read_in(self, source: PostgresSource, position: Position | None) -> list[tuple[Op, Row]]:
        found = []
        reached = position.sequence if position else 0
        self.positions = []
        for chunk in source.read(PARTITION, position):
            assert (chunk.start, chunk.next.sequence, chunk.next.partition) == (reached, chunk.end, PARTITION)
            reached = chunk.end
            found += changes_of(chunk)
            self.positions.append(chunk.next)
        return found

    def settle(self, source: PostgresSource) -> None:
        if self.positions:
            self.settled = self.positions[-1]
            source.commit(self.settled)


def awaited(following: Following, count: int) -> tuple[list[tuple[Op, Row]], Position]:
    """Return the next `count` changes, however long they take, and the position behind them."""
    found: list[tuple[Op, Row]] = []
    until_s = time.monotonic() + PATIENCE_S
    position = None
    while len(found) < count:
        assert time.monotonic() < until_s, (count, found)
        chunk = following.next(0.2)
        if chunk is not None:
            found += changes_of(chunk)
            position = chunk.next
    assert len(found) == count, found
    assert position is not None
    return found, position


def apply(rows: dict[str | None, Row], changes: Sequence[tuple[Op, Row]]) -> dict[str | None, Row]:
    """Do to `rows`, by their first column, what the changes say."""
    for operation, row in changes:
        match operation:
            case Op.TRUNCATE:
                rows.clear()
            case Op.DELETE:
                rows.pop(row[0], None)
            case _:
                rows[row[0]] = row
    return rows


def there(database: Database, columns: str = "id, name, amount") -> dict[str | None, Row]:
    """Return the rows of the table, as text."""
    listed = ", ".join(f"{column.strip()}::text" for column in columns.split(","))
    query = f"SELECT {listed} FROM orders"  # noqa: S608 - names of ours
    with database.connect() as connection:
        return {row[0]: row for row in connection.execute(query.encode())}
