"""Reference tables: loaded whole, once per run, before the first batch, and kept behind the cache."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from penstock.errors import UserMistake
from penstock.model.schema import arrow_schema

if TYPE_CHECKING:
    from collections.abc import Mapping

    from penstock.model.outcome import DeadLetter
    from penstock.model.pipeline import Lookup, SourceTable
    from penstock.model.settings import Settings
    from penstock.ports import Cache, Chunk, Source

EXAMPLES_MAX = 20
"""Skipped records that are kept to be shown; the others are counted."""


class Validated(Protocol):
    """A chunk's good records, typed, and its bad ones."""

    @property
    def batch(self) -> pa.RecordBatch:
        """The good ones: declared columns, then reserved ones."""

    @property
    def letters(self) -> tuple[DeadLetter, ...]:
        """The bad ones."""


class Validator(Protocol):
    """Casts and checks the records of one source table, as ingestion does."""

    def validate(self, chunk: Chunk, version_base: int) -> Validated:
        """Split a chunk into good and bad records."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What loading a reference table gave. Records are read = rows + without_key + skipped.

    `rows` holds the lookup's key and columns. `without_key` counts records with a null in the key: they match nothing.
    `skipped` counts bad records by their first error's code; `examples` are the first few of them.
    """

    rows: pa.Table
    read: int
    without_key: int
    skipped: Mapping[str, int]
    examples: tuple[DeadLetter, ...]


def load_lookup(lookup: Lookup, table: SourceTable, source: Source, validator: Validator, rows_max: int) -> Loaded:
    """Read all partitions of `table` and keep what `lookup` needs.

    Raises UserMistake where a key names more than one row, or where there are more than `rows_max` rows.
    """
    names = _needed(lookup)
    batches: list[pa.RecordBatch] = []
    skipped: Counter[str] = Counter()
    examples: list[DeadLetter] = []
    read = kept = without_key = 0
    for partition in source.partitions():
        for chunk in source.read(partition, None):
            validated = validator.validate(chunk, 0)
            rows = validated.batch.select(names)
            keyed = _with_key(rows, lookup.key)
            batches.append(keyed)
            kept += keyed.num_rows
            without_key += rows.num_rows - keyed.num_rows
            read += chunk.end - chunk.start
            skipped.update(letter.errors[0].code for letter in validated.letters)
            examples.extend(validated.letters[: EXAMPLES_MAX - len(examples)])
            _within(rows_max, kept, lookup)
    fields = {field.name: field for field in table.fields}
    schema = arrow_schema(tuple(fields[name] for name in names))
    found = pa.Table.from_batches(batches, schema=schema).combine_chunks()
    _require_unique(found, lookup)
    return Loaded(found, read, without_key, dict(skipped), tuple(examples))


class Lookups:
    """The reference tables of a run. Two lookups of the same columns by the same key share one."""

    def __init__(self, cache: Cache, settings: Settings) -> None:
        self._cache = cache
        self._rows_max = settings.whole("LOOKUP_ROWS_MAX")

    def load(self, lookup: Lookup, table: SourceTable, source: Source, validator: Validator) -> Loaded | None:
        """Load what `lookup` needs into the cache; None where it is there. Raises as `load_lookup` and `put` do."""
        namespace = _namespace(lookup)
        if self._cache.table(namespace) is not None:
            return None
        loaded = load_lookup(lookup, table, source, validator, self._rows_max)
        self._cache.put(namespace, loaded.rows)
        return loaded

    def rows(self, lookup: Lookup) -> pa.Table:
        """Return the rows that `load` put there. KeyError where it was never called."""
        rows = self._cache.table(_namespace(lookup))
        if rows is None:
            raise KeyError(f"lookup `{lookup.name}` is not loaded")
        return rows


def _namespace(lookup: Lookup) -> str:
    return json.dumps(["lookup", lookup.table, lookup.key, _needed(lookup)])


def _needed(lookup: Lookup) -> list[str]:
    return list(dict.fromkeys([*lookup.key, *(field.name for field in lookup.columns)]))


def _with_key(rows: pa.RecordBatch, key: tuple[str, ...]) -> pa.RecordBatch:
    columns = [rows.column(name) for name in key]
    if not any(column.null_count for column in columns):
        return rows
    mask = pc.is_valid(columns[0])
    for column in columns[1:]:
        mask = pc.and_(mask, pc.is_valid(column))
    return rows.filter(mask)


def _within(rows_max: int, rows: int, lookup: Lookup) -> None:
    if rows > rows_max:
        raise UserMistake(
            "INT_BETA_007",
            f"lookup `{lookup.name}`: {lookup.table} has more than {rows_max:,} rows",
            remedy="look up a smaller table, or raise LOOKUP_ROWS_MAX if memory allows",
        )


def _require_unique(rows: pa.Table, lookup: Lookup) -> None:
    """Identical rows count too: which of them is right, and why there are two, only a person can say."""
    counts = rows.group_by(list(lookup.key), use_threads=False).aggregate([([], "count_all")])
    twice = counts.filter(pc.greater(counts.column("count_all"), 1))
    if twice.num_rows:
        first = twice.slice(0, 1).to_pylist()[0]
        key = ", ".join(f"{name} = {first[name]}" for name in lookup.key)
        raise UserMistake(
            "INT_BETA_006",
            f"lookup `{lookup.name}`: {lookup.table} has {first['count_all']} rows with {key}"
            + (f", and {twice.num_rows - 1:,} more keys have several" if twice.num_rows > 1 else ""),
            remedy=f"make {', '.join(lookup.key)} unique in {lookup.table}, or look up by another key",
        )
