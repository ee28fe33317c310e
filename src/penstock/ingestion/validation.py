"""Validates a chunk: every declared column exactly in its type, every check of the table met, or a dead letter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
from sqlglot import exp, parse_one

from penstock.expressions import Engine, quote
from penstock.ingestion.casting import Caster
from penstock.model.batch import RESERVED_FIELDS, Op
from penstock.model.outcome import DeadLetter, RecordError, Stage, cited
from penstock.model.schema import TEXTUAL, DataType, Field, Kind, arrow_schema

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from penstock.model.pipeline import Check, SourceTable
    from penstock.model.settings import Settings
    from penstock.ports import Chunk, Original

NOT_OF_TYPE = "INT_ALPHA_002"
THREADS = 1
"""The stages work beside each other already: a second thread in each only takes from the others (a twentieth)."""

_RECORDS, _POSITION = "records", "_position"
_INSTANT = DataType(Kind.TIMESTAMPTZ)
_NOWHERE = pa.array([], pa.int64())
_UNREADABLE = (duckdb.DataError, duckdb.InvalidInputException)
"""What the engine raises when a record, not the query, is to blame."""


@dataclass(frozen=True, slots=True)
class Validated:
    """A chunk's good records in order, typed as declared and followed by the reserved columns; and its bad ones.

    `letters` are in order of sequence. Together they are the chunk: no record is missing, none is in both. `critical`
    tells whether any of the good ones is CRITICAL, by the table's priority.
    """

    batch: pa.RecordBatch
    letters: tuple[DeadLetter, ...]
    critical: bool = False


@dataclass(frozen=True, slots=True)
class _Found:
    """Positions of the records that do not meet some check, and of those that are CRITICAL, whether good or not."""

    violating: pa.Int64Array
    critical: pa.Int64Array


@dataclass(frozen=True, slots=True)
class _Cast:
    """One column of a chunk, as it came and as its type wants it: null where refused."""

    name: str
    wanted: str
    given: pa.Array
    value: pa.Array

    @property
    def is_clean(self) -> bool:
        return bool(self.given.null_count == self.value.null_count)

    @property
    def refused(self) -> pa.BooleanArray:
        return pc.and_(pc.is_valid(self.given), pc.is_null(self.value))

    def take(self, positions: pa.Int64Array) -> _Cast:
        return _Cast(self.name, self.wanted, self.given.take(positions), self.value.take(positions))


class Validator:
    """Validates the records of one source table. Used from one thread at a time; `close` lets go of its engine."""

    def __init__(self, table: SourceTable, settings: Settings) -> None:
        self._table = table
        self._engine = Engine(settings.whole("ENGINE_MEMORY_BYTES"), THREADS)
        self._caster = Caster(self._engine)
        self._schema = arrow_schema(table.fields, *RESERVED_FIELDS)
        self._checks = tuple((check, _columns_of(check)) for check in table.checks)
        self._wanted = tuple(check.field for check in table.checks if _wants_a_value(check))
        self._others = tuple(check for check in table.checks if not _wants_a_value(check))
        self._records = _records_in_engine(table.fields)

    def validate(self, chunk: Chunk, version_base: int) -> Validated:
        """Cast and check every record of `chunk`.

        `version_base` is added to a sequence to make its version, unless the chunk brings versions of its own.
        A check that cannot be computed for a record counts as not met, and so does its being CRITICAL.
        """
        sequences = _sequences(chunk)
        casts = self._cast_all(chunk, len(sequences))
        versions = chunk.versions
        if versions is None:
            versions = pc.add(sequences, pa.scalar(version_base, pa.int64()))
        typed = self._batch([cast.value for cast in casts], sequences, chunk.operations, versions)
        unreadable = [_letter(self._table.name, chunk, bad.sequence, bad.original, (bad.error,)) for bad in chunk.bad]
        found = self._look_through(typed)
        mask = _is_bad(typed.num_rows, casts, found.violating)
        if mask is not None and chunk.operations is not None:
            mask = pc.and_not(mask, self._names_its_row(casts, chunk.operations))
            mask = mask if pc.any(mask).as_py() else None
        if mask is None:
            return Validated(typed, tuple(unreadable), critical=len(found.critical) > 0)
        refused = self._letters(chunk, typed, casts, pc.indices_nonzero(mask).cast(pa.int64()))
        letters = sorted([*unreadable, *refused], key=lambda letter: letter.sequence)
        critical = not pc.all(mask.take(found.critical), min_count=0).as_py()
        return Validated(typed.filter(pc.invert(mask)), tuple(letters), critical)

    def close(self) -> None:
        """Let go of the engine."""
        self._engine.close()

    def _cast_all(self, chunk: Chunk, records: int) -> list[_Cast]:
        """Cast every declared column, and the event time after them."""
        casts = [self._cast(field, chunk.records, records) for field in self._table.fields]
        event_time = next((cast for cast in casts if cast.name == self._table.event_time), None)
        if event_time is None:
            nothing = pa.nulls(records, _INSTANT.arrow)
            return [*casts, _Cast("", "", nothing, nothing)]
        instants = self._caster.cast(event_time.value, _INSTANT)
        return [*casts, _Cast(event_time.name, str(_INSTANT), event_time.value, instants)]

    def _cast(self, field: Field, records: pa.RecordBatch, rows: int) -> _Cast:
        place = records.schema.get_field_index(field.name)
        given = pa.nulls(rows) if place < 0 else records.column(place)
        return _Cast(field.name, str(field.type), given, self._caster.cast(given, field.type))

    def _names_its_row(self, casts: Sequence[_Cast], operations: pa.Int8Array) -> pa.BooleanArray:
        """Return which records delete, and say of what: their other columns may hold anything."""
        named = pc.equal(operations, pa.scalar(int(Op.DELETE), pa.int8()))
        for cast in casts:
            if cast.name in self._table.primary_key:
                named = pc.and_(named, pc.is_valid(cast.value))
        return pc.or_(named, pc.equal(operations, pa.scalar(int(Op.TRUNCATE), pa.int8())))

    def _batch(
        self,
        columns: Sequence[pa.Array],
        sequences: pa.Int64Array,
        operations: pa.Int8Array | None,
        versions: pa.Int64Array,
    ) -> pa.RecordBatch:
        *declared, event_time = columns
        if operations is None:
            operations = pa.repeat(pa.scalar(int(Op.INSERT), pa.int8()), len(sequences))
        return pa.record_batch([*declared, sequences, operations, event_time, versions], schema=self._schema)

    def _look_through(self, typed: pa.RecordBatch) -> _Found:
        """Put every check to every record, and the table's priority along with them.

        That a value is there is seen without the engine: where one is missing, it is asked for every check.
        """
        if not typed.num_rows:
            return _Found(_NOWHERE, _NOWHERE)
        are_there = all(typed.column(name).null_count == 0 for name in self._wanted)
        checks, critical = self._others if are_there else self._table.checks, self._table.critical
        try:
            return self._find(typed, [f"({check.valid}) IS FALSE" for check in checks], critical)
        except _UNREADABLE:
            return self._find(typed, [_violates(check) for check in checks], critical and f"TRY({critical})")

    def _find(self, typed: pa.RecordBatch, violations: Sequence[str], critical: str) -> _Found:
        """Return where one of `violations` is true, and where `critical` is, in one query, or none if none is asked."""
        if not critical:
            found = self._select(typed, [quote(_POSITION)], violations) if violations else None
            return _Found(_NOWHERE if found is None else found.column(0).combine_chunks(), _NOWHERE)
        is_critical = f"({critical}) IS TRUE"
        values = [quote(_POSITION), " OR ".join(violations) or "FALSE", is_critical]
        found = self._select(typed, values, [*violations, is_critical])
        positions, violating, hit = (column.combine_chunks() for column in found.columns)
        return _Found(positions.filter(violating), positions.filter(hit))

    def _select(self, rows: pa.RecordBatch, values: Sequence[str], where: Sequence[str]) -> pa.Table:
        """Compute `values` over the rows for which one of `where` is true. A row's position is one of its columns."""
        table = rows.append_column(_POSITION, pa.arange(0, rows.num_rows))
        query = f"SELECT {', '.join(values)} FROM {self._records} WHERE {' OR '.join(where)}"  # noqa: S608 - checked SQL
        return self._engine.compute(query, table, over=_RECORDS)

    def _letters(
        self, chunk: Chunk, typed: pa.RecordBatch, casts: Sequence[_Cast], positions: pa.Int64Array
    ) -> list[DeadLetter]:
        rows = typed.take(positions)
        errors: list[list[RecordError]] = [[] for _ in positions]
        refused = [cast.take(positions) for cast in casts if not cast.is_clean]
        unknown: list[set[str]] = [set() for _ in positions]
        for cast in refused:
            self._explain_casts(cast, errors, unknown)
        self._explain_checks(rows, errors, unknown)
        sequences = rows.column(len(self._table.fields)).to_pylist()
        originals = chunk.originals(sequences)
        return [
            _letter(self._table.name, chunk, sequence, original, tuple(found))
            for sequence, original, found in zip(sequences, originals, errors, strict=True)
        ]

    def _explain_casts(self, cast: _Cast, errors: Sequence[list[RecordError]], unknown: Sequence[set[str]]) -> None:
        message = f"`{cast.name}` is not of type {cast.wanted}"
        for record, (is_refused, text) in enumerate(
            zip(cast.refused.to_pylist(), self._caster.texts(cast.given), strict=True)
        ):
            if is_refused:
                errors[record].append(RecordError(NOT_OF_TYPE, cast.name, message, cast.wanted, cited(text)))
                unknown[record].add(cast.name)

    def _explain_checks(
        self, rows: pa.RecordBatch, errors: Sequence[list[RecordError]], unknown: Sequence[set[str]]
    ) -> None:
        """Add an error for every check that a record does not meet; one on a refused value cannot be judged."""
        if not self._checks:
            return
        found = self._select(rows, [_violates(check) for check, _ in self._checks], ["TRUE"])
        used = {name for _, columns in self._checks for name in columns}
        texts = {name: self._caster.texts(rows.column(name)) for name in sorted(used)}
        for (check, columns), violates in zip(self._checks, found.columns, strict=True):
            for record in pc.indices_nonzero(violates).to_pylist():
                if unknown[record].isdisjoint(columns):
                    actual = {name: texts[name][record] for name in columns}
                    errors[record].append(_not_met(check, actual))


def _letter(
    source: str, chunk: Chunk, sequence: int, original: Original, errors: tuple[RecordError, ...]
) -> DeadLetter:
    """Return the dead letter of a record that ingestion refuses."""
    partition = chunk.next.partition
    return DeadLetter(source, partition, sequence, Stage.INGESTION, "", errors, original.content, original.line)


def _not_met(check: Check, actual: Mapping[str, str | None]) -> RecordError:
    if list(actual) == [check.field]:
        text = cited(actual[check.field])
    else:
        text = cited(", ".join(f"{name} = {cited(value)}" for name, value in actual.items()))
    return RecordError(check.code, check.field, f"`{check.field}` is not as required", check.expected, text)


def _is_bad(records: int, casts: Iterable[_Cast], violating: pa.Int64Array) -> pa.BooleanArray | None:
    """Return for every record whether it is bad, None when none is."""
    masks = [cast.refused for cast in casts if not cast.is_clean]
    if len(violating):
        masks.append(pc.is_in(pa.arange(0, records), violating))
    return _any_of(masks)


def _violates(check: Check) -> str:
    """Return SQL for whether a record does not meet `check`, never null; true where that cannot be computed."""
    return f"coalesce(TRY(({check.valid}) IS FALSE), TRUE)"


def _records_in_engine(fields: Iterable[Field]) -> str:
    """Return SQL for the records in the types that checks were written for: Arrow carries some of them as text."""
    stored = [field for field in fields if field.type.kind in TEXTUAL - {Kind.TEXT}]
    typed = [f"CAST({quote(field.name)} AS {field.type.sql}) AS {quote(field.name)}" for field in stored]
    return f"(SELECT * REPLACE ({', '.join(typed)}) FROM {_RECORDS})" if typed else _RECORDS  # noqa: S608 - all quoted


def _wants_a_value(check: Check) -> bool:
    return check.valid == f"{quote(check.field)} IS NOT NULL"


def _columns_of(check: Check) -> tuple[str, ...]:
    """Return the names of the columns that a check uses, in the order of their first use."""
    columns = parse_one(check.valid, read="duckdb").find_all(exp.Column, bfs=False)
    return tuple(dict.fromkeys(column.name for column in columns))


def _sequences(chunk: Chunk) -> pa.Int64Array:
    return pa.arange(chunk.start, chunk.end) if chunk.sequences is None else chunk.sequences


def _any_of(masks: Iterable[pa.BooleanArray]) -> pa.BooleanArray | None:
    combined = None
    for mask in masks:
        combined = mask if combined is None else pc.or_(combined, mask)
    return combined
