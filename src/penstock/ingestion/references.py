"""Foreign keys as a check at the source: how many records refer to nothing. Counted and shown, never refused."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from penstock.expressions import Engine, quote

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

    from penstock.ingestion.validation import Validated, Validator
    from penstock.model.pipeline import ForeignKey
    from penstock.model.settings import Settings
    from penstock.ports import Chunk

ARRIVED = "arrived"


@dataclass(frozen=True, slots=True)
class References:
    """How many records of this run had a value in a foreign key, and how many of those refer to nothing."""

    records: int
    dangling: int


class ForeignKeyValidator:
    """A validator that counts dangling references on the way. A null is no violation, as in SQL."""

    def __init__(self, validator: Validator, keys: Mapping[ForeignKey, pa.Table], settings: Settings) -> None:
        """`keys` holds, for each foreign key, a table with the one column of values that exist."""
        self._validator = validator
        self._engine = Engine(settings.whole("ENGINE_MEMORY_BYTES"), threads=1)
        self._columns: dict[str, ForeignKey] = {}
        self._records: Counter[ForeignKey] = Counter()
        self._dangling: Counter[ForeignKey] = Counter()
        for number, (key, values) in enumerate(keys.items()):
            existing = f"existing_{number}"
            self._engine.keep(existing, "SELECT DISTINCT * FROM loading", values, over="loading")
            self._columns[existing] = key

    def validate(self, chunk: Chunk, version_base: int) -> Validated:
        """Validate `chunk`, and count the references of its good records."""
        validated = self._validator.validate(chunk, version_base)
        self._count(validated.batch)
        return validated

    def close(self) -> None:
        """Let go of the engines."""
        self._engine.close()
        self._validator.close()

    def _count(self, records: pa.RecordBatch) -> None:
        for existing, key in self._columns.items():
            column, found = f"{ARRIVED}.{quote(key.column)}", f"{existing}.{quote(key.to_column)}"
            query = (
                f"SELECT count({column}) AS given, count({column}) FILTER ({found} IS NULL) AS dangling "  # noqa: S608 - names are quoted
                f"FROM {ARRIVED} LEFT JOIN {existing} ON {column} = {found}"
            )
            (counted,) = self._engine.compute(query, records, over=ARRIVED).to_pylist()
            self._records[key] += counted["given"]
            self._dangling[key] += counted["dangling"]

    def result(self) -> dict[ForeignKey, References]:
        """Return the counts so far."""
        return {key: References(self._records[key], self._dangling[key]) for key in self._columns.values()}
