"""Reads the misbehaving API as a run would: from position to position, in as many lives as one likes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from penstock.connectors import open_source
from penstock.connectors.sources.rest import RestSource
from penstock.model.finding import Place
from penstock.model.pipeline import Connection, SourceTable
from penstock.model.schema import Field, parse_type
from penstock.model.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType

    from tests.servers.rest import RestServer

    from penstock.model.position import Position
    from penstock.ports import BadRecord, Chunk

FIELDS = tuple(
    Field(name, parse_type(type_))
    for name, type_ in {
        "id": "bigint",
        "name": "string",
        "amount": "decimal",
        "customer": "string",
        "updated_at": "iso8601",
    }.items()
)
QUICK = {"retry_delay_ms": "5", "timeout_ms": "2000"}


class Reader:
    """One life of a source of table `orders`. `ids` is what it gave, `at` where it came to."""

    def __init__(self, server: RestServer, root: Path, path: str, **options: str) -> None:
        pagination = {"pagination": path.strip("/")} if path in {"/cursor", "/link", "/offset", "/page"} else {}
        connection = Connection("shop", "rest", path, {**QUICK, **pagination, **options}, server.url)
        self.table = SourceTable("orders", "", "shop", connection, FIELDS, Place("handoff.md"))
        source = open_source(self.table, root, Settings(), root / ".penstock")
        assert isinstance(source, RestSource)
        self.source = source
        self.ids: list[str] = []
        self.bad: list[BadRecord] = []
        self.at: Position | None = None
        self.chunks: list[Chunk] = []

    def pages(self, position: Position | None = None) -> Iterator[Chunk]:
        """Yield the chunks that have records; check that all follow one another."""
        (partition,) = self.source.partitions()
        end = position.sequence if position else 0
        for chunk in self.source.read(partition, position):
            assert (chunk.start, chunk.next.sequence, chunk.next.partition) == (end, chunk.end, partition)
            assert chunk.records.num_rows + len(chunk.bad) == chunk.end - chunk.start
            end = chunk.end
            self.at = chunk.next
            self.ids += chunk.records.column("id").to_pylist()
            self.bad += chunk.bad
            self.chunks.append(chunk)
            if chunk.end > chunk.start:
                yield chunk

    def all(self, position: Position | None = None) -> list[str]:
        """Read to the end, and return the ids of what came."""
        before = len(self.ids)
        for _ in self.pages(position):
            pass
        return self.ids[before:]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.source.close()


def ids(count: int, start: int = 0) -> list[str]:
    """Return the ids of records, as text."""
    return [str(number) for number in range(start, count)]
