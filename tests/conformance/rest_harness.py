"""A REST API as the outside thing: a table of it is an endpoint, whose records have a time at which they changed."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.conformance.files_harness import in_json

from penstock.connectors.sources.rest import RestSource
from penstock.model.pipeline import Connection
from penstock.model.schema import Kind
from penstock.testing.conformance import SourceHarness
from penstock.testing.conformance.harness import CURSOR, TABLE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import pyarrow as pa
    from tests.servers.rest import RestApi

    from penstock.model.schema import Field
    from penstock.ports import Source

TOKEN_VARIABLE = "PENSTOCK_TEST_REST_TOKEN"  # noqa: S105 - the name of a variable
TOKEN = "s3cret-token"  # noqa: S105 - of a server that lives as long as its test
OPTIONS = {
    "auth": "bearer", "token": f"${{{TOKEN_VARIABLE}}}", "pagination": "cursor", "incremental_key": CURSOR,
    "look_back": "0 seconds", "frequency": "0.05 seconds", "retries": "2", "retry_delay_ms": "5",
}  # fmt: skip


@dataclass
class RestHarness(SourceHarness):
    """An API that is running."""

    api: RestApi
    root: Path
    json_columns: tuple[str, ...] = ()
    promises = RestSource.declares.promises[0]
    secrets = (TOKEN,)
    connection: Connection = field(init=False)

    def __post_init__(self) -> None:
        self.connection = Connection("shop", "rest", f"/table/{TABLE}", dict(OPTIONS), self.api.url)

    def create(self, fields: Sequence[Field]) -> None:
        self.json_columns = tuple(each.name for each in fields if each.type.kind is Kind.JSON)
        self.api.create(TABLE)

    def add(self, rows: pa.Table) -> None:
        self.api.add(TABLE, [(self._line(row), self._changed(row)) for row in rows.to_pylist()])

    def add_bad(self) -> bytes:
        self.api.add(TABLE, [('["no", "object"]', "")])
        return b'["no", "object"]'

    def open(self, fields: Sequence[Field], *, table: str = TABLE, connection: Connection | None = None) -> Source:
        place = replaced(connection or self.connection, path=f"/table/{table}")
        return super().open(fields, table=table, connection=place)

    @contextmanager
    def away(self) -> Iterator[None]:
        with self._behaving(faults={"reset": 1.0}):
            yield

    @contextmanager
    def slow(self) -> Iterator[None]:
        with self._behaving(faults={"slow": 1.0}, slow_s=0.5):
            yield

    @contextmanager
    def denied(self) -> Iterator[None]:
        os.environ[TOKEN_VARIABLE] = "another-token"
        try:
            yield
        finally:
            os.environ[TOKEN_VARIABLE] = TOKEN

    def cut(self) -> None:
        self.api.fault("reset")

    @contextmanager
    def _behaving(self, **changes: object) -> Iterator[None]:
        self.api.configure(**changes)
        try:
            yield
        finally:
            self.api.configure(faults={})

    def _line(self, row: dict[str, object]) -> str:
        members = (
            f"{json.dumps(name)}: {value if name in self.json_columns and value is not None else in_json(value)}"
            for name, value in row.items()
        )
        return f"{{{', '.join(members)}}}"

    def _changed(self, row: dict[str, object]) -> str:
        changed = row.get(CURSOR)
        return changed.isoformat() if hasattr(changed, "isoformat") else ""


def replaced(connection: Connection, path: str) -> Connection:
    """Return a connection with another path."""
    return Connection(connection.name, connection.kind, path, connection.options, connection.url)
