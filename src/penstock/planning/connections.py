"""What the names of databases and of the warehouse mean on this machine."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from penstock.expressions import did_you_mean
from penstock.model.pipeline import Connection, Warehouse, WriteMode, holds_password
from penstock.planning import codes
from penstock.planning.naming import find

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from penstock.documents import kinds
    from penstock.planning.models import Draft
    from penstock.planning.notes import Described, Notes

SOURCE_KINDS = ("files", "postgres")
"""Connectors that read. Other kinds come only from the configuration, with the connector that brings them."""
WAREHOUSE_KINDS = ("duckdb", "postgres", "files")
"""Connectors that write, likewise."""
API_KIND = "rest"
"""What reads APIs. What they are stands in documents of their own, so no connection of a document is of this kind."""
APPENDING_KINDS = frozenset({"files"})
"""Those of them that rows can only be added to."""
LAYING_OUT_KINDS = frozenset({"files"})
"""Those of them that apply partitioning and clustering."""
DATA_PATH = "data"
"""Where tables lie as files when nothing else is said, beside the document."""
WAREHOUSE_PATH = "warehouse.duckdb"
"""The destination when nothing else is said, beside the document, whatever the document calls its warehouse."""
UNNAMED = "default"
"""The name of the connection of a table without `database`, and of a warehouse without a name."""


@dataclass(slots=True)
class Connections:
    """Connections by name: configuration before document before default. Remembers which ones were used."""

    described: Mapping[str, Described[kinds.Connection]]
    overrides: Mapping[str, Connection]
    notes: Notes
    _used: set[str] = field(default_factory=set)

    def of_table(self, database: str) -> Connection:
        """Return where tables of `database` lie."""
        default = Connection(database or UNNAMED, kind="files", path=DATA_PATH)
        return self._find(default, SOURCE_KINDS, "tables cannot be read from")

    def of_warehouse(self, name: str) -> Warehouse:
        """Return where models end."""
        default = Connection(name or UNNAMED, kind="duckdb", path=WAREHOUSE_PATH)
        return Warehouse(name or UNNAMED, self._find(default, WAREHOUSE_KINDS, "a warehouse cannot be"))

    def of_api(self, name: str, url: str) -> Connection:
        """Return how an API is reached: by its own address, unless someone says otherwise, or that it lies as files."""
        return self._find(Connection(name, kind=API_KIND, url=url), SOURCE_KINDS, "an API cannot be read through")

    def note_unused(self) -> None:
        """Note the document's connections that nothing uses: a slip of the pen, most likely."""
        for name, connection in self.described.items():
            if name not in self._used:
                known = sorted(self._used - self.described.keys())
                self.notes.add(
                    codes.UNUSED_CONNECTION, connection.spot.key(), f"nothing uses connection `{name}`",
                    did_you_mean(name, known, codes.UNUSED_CONNECTION.remedy),
                )  # fmt: skip

    def _find(self, default: Connection, kinds_known: tuple[str, ...], role: str) -> Connection:
        self._used.add(find(default.name, self.described) or default.name)
        override = find(default.name, self.overrides)
        if override is not None:
            return self.overrides[override]
        name = find(default.name, self.described)
        if name is None:
            return default
        described = self.described[name]
        kind = described.part.kind.value
        if kind not in kinds_known:
            self.notes.add(
                codes.WRONG_CONNECTION, described.spot.at("kind"),
                f"connection `{name}` is of kind `{kind}`: {role} that",
                f"name one of kind {' or '.join(f'`{known}`' for known in kinds_known)}",
            )  # fmt: skip
        part = described.part
        path = part.path or (default.path if kind == default.kind and not part.url else "")
        if holds_password(part.url):
            self.notes.add(codes.PLAIN_SECRET, described.spot.at("url"), f"connection `{name}` holds a password")
        return Connection(default.name, kind, path, dict(part.options), part.url)


def note_merging(warehouse: Warehouse, drafts: Iterable[Draft], notes: Notes) -> None:
    """Note the models that merge where rows can only be added."""
    kind = warehouse.connection.kind
    for draft in drafts:
        if draft.model.write_mode is WriteMode.MERGE and kind in APPENDING_KINDS:
            what = f"`{draft.model.name}` merges, and a warehouse of kind `{kind}` can only be added to"
            notes.add(codes.CANNOT_MERGE, draft.spot.at("write_mode"), what)
