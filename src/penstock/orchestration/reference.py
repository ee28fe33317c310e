"""Reference tables of a run: what lookups join with, and the keys that foreign keys refer to."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pyarrow as pa

from penstock.caching.memory import MemoryCache
from penstock.connectors import at_rest, open_source
from penstock.ingestion.references import ForeignKeyValidator
from penstock.ingestion.validation import Validator
from penstock.transformation.lookups import Lookups

if TYPE_CHECKING:
    from collections.abc import Mapping

    from penstock.model.pipeline import ForeignKey, Model, SourceTable
    from penstock.orchestration.plan import Plan
    from penstock.transformation.lookups import Loaded


class ReferenceTables:
    """Loads each reference table once, when it is first needed, and remembers which of its records were unusable."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.lookups = Lookups(MemoryCache(plan.settings.whole("CACHE_BYTES_MAX")), plan.settings)
        self.loaded: dict[str, Loaded] = {}
        self._keys: dict[tuple[str, str], pa.Table | None] = {}

    def load_lookups(self, model: Model) -> None:
        """Load what the lookups of `model` need. Raises UserMistake where a table is missing or a key is ambiguous."""
        for lookup in model.lookups:
            table = at_rest(self._plan.pipeline.source(lookup.table))
            with (
                closing(open_source(table, self._plan.root, self._plan.settings, self._plan.state)) as source,
                closing(Validator(table, self._plan.settings)) as validator,
            ):
                loaded = self.lookups.load(lookup, table, source, validator)
            if loaded is not None:
                self.loaded[lookup.name] = loaded

    def validator(self, table: SourceTable) -> ForeignKeyValidator:
        """Return a validator for `table` that counts references which lead nowhere."""
        keys = {key: values for key in table.foreign_keys if (values := self._values(key)) is not None}
        return ForeignKeyValidator(Validator(table, self._plan.settings), keys, self._plan.settings)

    def _values(self, key: ForeignKey) -> pa.Table | None:
        """Return the values that `key` may refer to; None where their table is too large to keep."""
        name = key.table, key.to_column
        if name not in self._keys:
            self._keys[name] = self._read_values(at_rest(self._plan.pipeline.source(key.table)), key.to_column)
        return self._keys[name]

    def _read_values(self, table: SourceTable, column: str) -> pa.Table | None:
        batches: list[pa.RecordBatch] = []
        rows = 0
        with (
            closing(open_source(table, self._plan.root, self._plan.settings, self._plan.state)) as source,
            closing(Validator(table, self._plan.settings)) as validator,
        ):
            for partition in source.partitions():
                for chunk in source.read(partition, None):
                    batches.append(validator.validate(chunk, 0).batch.select([column]))
                    rows += batches[-1].num_rows
                    if rows > self._plan.settings.whole("LOOKUP_ROWS_MAX"):
                        return None
        schema = pa.schema([(field.name, field.type.arrow) for field in table.fields if field.name == column])
        return pa.Table.from_batches(batches, schema=schema)


def skipped_notes(loaded: Mapping[str, Loaded]) -> tuple[str, ...]:
    """Say, for people, which reference tables had records that lookups could not use."""
    return tuple(
        f"lookup {name}: {sum(found.skipped.values()):,} of {found.read:,} records could not be read and match nothing"
        for name, found in loaded.items()
        if found.skipped
    )
