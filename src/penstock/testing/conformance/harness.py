"""What the suites need of the outside thing behind a connector: how to make it, fill it, look at it, break it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

from penstock.connectors import open_sink, open_source
from penstock.model.finding import Place
from penstock.model.pipeline import SourceTable, Warehouse
from penstock.model.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    import pyarrow as pa

    from penstock.model.pipeline import Connection, Model
    from penstock.model.schema import Field
    from penstock.ports import Sink, SinkPromises, Source, SourcePromises

TABLE = "orders"
"""What the table is called that sources are tested with."""
KEY = "id"
"""Its key: bigint, never null."""
CURSOR = "changed"
"""The column, a timestamp with time zone, that tells what is new, for sources that need to be told."""
PIPELINE = "conformance"
HERE = Place("conformance.md")


class Cannot(NotImplementedError):
    """The outside thing cannot be brought to do this, so that the suite cannot show what the connector does then."""


class Harness(ABC):
    """What sources and sinks have in common.

    A harness is pickled to open its connector in a process that is killed, so it holds paths and addresses, and opens
    connections when it needs them. What it cannot do raises Cannot, and is reported, with the reason.
    """

    connection: Connection
    """As `penstock.toml` would have it, with references where secrets are."""
    root: Path
    """The folder that the connection's path is relative to. State is kept below it."""
    secrets: tuple[str, ...] = ()
    """What stands behind the references: no message, and no `repr`, may hold one."""
    settings: Settings = Settings()

    def away(self) -> AbstractContextManager[None]:
        """Make it so that the outside thing cannot be reached. Begins when nothing of ours is connected to it."""
        raise Cannot("it cannot be made unreachable")

    def denied(self) -> AbstractContextManager[None]:
        """Make it refuse who we say we are. Begins when nothing of ours is connected to it."""
        raise Cannot("it asks nobody who they are")

    def slow(self) -> AbstractContextManager[None]:
        """Make it answer late, and in the end."""
        raise Cannot("it cannot be made slow")

    def cut(self) -> None:
        """Break off the connections that are open now, as the outside thing would by dying and coming back."""
        raise Cannot("there is no connection to break off")


class SourceHarness(Harness):
    """A table called TABLE in the outside thing. Whatever is done to it is done by others than the source."""

    promises: SourcePromises
    many: int = 2_000
    """So many small records surely come in three chunks or more, with `settings`."""
    patience_s: float = 30.0
    """How long what must come may take to come, at most."""

    @abstractmethod
    def create(self, fields: Sequence[Field]) -> None:
        """Make the table, empty, with these columns, in the place of the one that is there.

        KEY is among them, and CURSOR where the records of a test change.
        """

    @abstractmethod
    def add(self, rows: pa.Table) -> None:
        """Add records: the columns of `create`, of their fields' Arrow types; json as JSON text."""

    def add_bad(self) -> bytes:
        """Add a record that cannot be parsed, and return it as it lies there."""
        raise Cannot("it holds no records that cannot be parsed")

    def change(self, rows: pa.Table) -> None:  # noqa: ARG002 - for those that can
        """Put `rows`, whole, in the place of those with their keys."""
        raise Cannot("its records do not change")

    def remove(self, ids: Sequence[int]) -> None:  # noqa: ARG002 - likewise
        """Remove the records with these keys."""
        raise Cannot("its records are not removed")

    def held(self) -> int:
        """Return how much the outside thing keeps for us, in whatever unit. For sources that prune."""
        raise Cannot("it cannot be seen what it keeps")

    def open(self, fields: Sequence[Field], *, table: str = TABLE, connection: Connection | None = None) -> Source:
        """Return the source of the table, which the document says has `fields`; `connection` instead of ours."""
        described = SourceTable(table, "", "conformance", connection or self.connection, tuple(fields), HERE, (KEY,))
        return open_source(described, self.root, self.settings)


class SinkHarness(Harness):
    """A place for tables. The suite makes them by its models, each in the schema SCHEMA."""

    SCHEMA: ClassVar[str] = "analytics"
    promises: SinkPromises

    @abstractmethod
    def rows(self, model: Model) -> pa.Table:
        """Return what anybody else finds in the table of `model` now: its columns, in any order of rows.

        Columns can be cast to their fields' Arrow types without loss; uuid (in lower case) and json are text. Nothing
        of ours is connected. A table that is not there has no rows.
        """

    def drop(self, model: Model) -> None:  # noqa: ARG002 - likewise
        """Remove the table of `model`, and nothing else."""
        raise Cannot("its tables are not removed one by one")

    def open(self, model: Model, *, pipeline: str = PIPELINE, connection: Connection | None = None) -> Sink:
        """Return the sink of `model`, not prepared yet; `connection` instead of ours."""
        warehouse = Warehouse("warehouse", connection or self.connection)
        return open_sink(pipeline, model, warehouse, self.root, self.settings)
