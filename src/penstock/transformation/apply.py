"""Transforms chunks of validated records into rows of a model: one query where all is well, two more where not."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from penstock.errors import UserMistake
from penstock.expressions import Engine
from penstock.model.batch import OP, RESERVED, RESERVED_FIELDS, SEQUENCE, Op
from penstock.model.pipeline import WriteMode
from penstock.model.schema import arrow_schema
from penstock.protocol.messages import QualitySummary, TransformationSummary
from penstock.transformation.compile import (
    DELIVERED,
    FAILED,
    FATE,
    FOUND,
    REFUSED,
    ROW,
    ROWS,
    SCORE,
    compile_model,
    given_column,
    lookup_rows,
    lookup_table,
)
from penstock.transformation.explain import errors_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from penstock.model.outcome import RecordError
    from penstock.model.pipeline import Model, SourceTable
    from penstock.model.settings import Settings
    from penstock.transformation.lookups import Lookups

THREADS = 1
"""The stages work beside each other already: a second thread in each only takes from the others (a twentieth)."""

_DELIVERED, _FAILED, _REFUSED = (pa.scalar(fate, pa.int32()) for fate in (DELIVERED, FAILED, REFUSED))
"""As Arrow compares with them: a Python number would be looked at anew, which takes longer than to compare."""
_UPDATE, _DELETE, _TRUNCATE = (pa.scalar(int(op), pa.int8()) for op in (Op.UPDATE, Op.DELETE, Op.TRUNCATE))
_UNCOMPUTABLE = (duckdb.DataError, duckdb.InvalidInputException)
"""What the engine raises when a record, not the query, is to blame."""


@dataclass(frozen=True, slots=True)
class QualityFigures:
    """Scores of those records that got one: neither filtered nor impossible to map. All are 1 where there are none."""

    records: int
    average: float
    minimum: float
    maximum: float
    below_threshold: int

    def summary(self) -> QualitySummary:
        """Return the figures as messages carry them."""
        return QualitySummary(self.average, self.minimum, self.maximum, self.below_threshold)


@dataclass(frozen=True, slots=True)
class Transformed:
    """What became of a chunk: every record is in `rows`, in one of `filtered` or in `errors`.

    `rows` holds the model's columns, its score column if it has one, then the reserved columns, in the order of the
    input. `filtered` gives, by reason, the sequences left out, ascending as in the input; `errors` why a record failed.
    """

    rows: pa.Table
    filtered: Mapping[str, Sequence[int]]
    errors: Mapping[int, tuple[RecordError, ...]]
    quality: QualityFigures

    def joined(self, after: Transformed) -> Transformed:
        """Return this chunk and the one after it as one. Quality is that of the later one that has any rows."""
        reasons = dict.fromkeys([*self.filtered, *after.filtered])
        return Transformed(
            pa.concat_tables([self.rows, after.rows]),
            {reason: [*self.filtered.get(reason, ()), *after.filtered.get(reason, ())] for reason in reasons},
            {**self.errors, **after.errors},
            after.quality if after.rows.num_rows else self.quality,
        )


class Transformer:
    """Transforms records of one source table for one model. Used from one thread at a time."""

    def __init__(self, model: Model, source: SourceTable, lookups: Lookups | None, settings: Settings) -> None:
        """Compile `model`, and take its lookups' rows over into the engine.

        Without `lookups` nothing is joined: rows bring columns called `lookup.column` along, and a lookup whose
        columns are all null has no match. Raises UserMistake for what cannot be compiled or does not fit in memory.
        """
        self._model = model
        self._source = source
        self._settings = settings
        self._plan = compile_model(model, source, loads=lookups is not None)
        score = [pa.field(model.score_column, pa.float64())] if model.score_column else []
        self.schema = arrow_schema(model.fields, *score, *RESERVED_FIELDS)
        self._engine = Engine(settings.whole("ENGINE_MEMORY_BYTES"), THREADS)
        self._careful = False
        self._hit_rate = 1.0
        if lookups is not None:
            for number, lookup in enumerate(model.lookups):
                with self._within_memory():
                    self._engine.keep(lookup_table(number), lookup_rows(lookup), lookups.rows(lookup), over=ROWS)
        self._try_out()

    def transform(self, rows: pa.Table) -> Transformed:
        """Map, derive, enrich and score validated `rows` (source columns, then reserved ones) of one partition."""
        rows = rows.combine_chunks()
        decided = self._decide(rows)
        fate = decided.column(FATE).combine_chunks()
        if pc.max(rows.column(OP)).as_py():  # not a mere insert
            rows, fate = self._as_changes(rows, decided, fate)
        quality = self._quality(fate, decided.column(SCORE))
        if pc.all(pc.equal(fate, _DELIVERED)).as_py() is not False:
            return Transformed(self._deliver(rows, decided), {}, {}, quality)
        goes_on, failed = pc.equal(fate, _DELIVERED), pc.less(fate, _DELIVERED)
        errors = self._explain(rows.filter(failed)) if pc.any(failed).as_py() else {}
        return Transformed(
            self._deliver(rows.filter(goes_on), decided.filter(goes_on)), self._filtered(rows, fate), errors, quality
        )

    def summary(self, records: int) -> TransformationSummary:
        """Return what was done for `records` of the last chunk: values computed, and the share of lookups found."""
        return TransformationSummary(records, records * len(self._plan.computed), self._hit_rate)

    def close(self) -> None:
        """Let go of the engine."""
        self._engine.close()

    # Setting up.

    def _try_out(self) -> None:
        """Bind the queries on nothing, so that what cannot work is told before the first record."""
        model, source = self._model, self._source
        given = [
            pa.field(given_column(lookup, field.name), field.type.arrow)
            for lookup in model.lookups
            for field in lookup.columns
        ]
        nothing = arrow_schema(source.fields, *RESERVED_FIELDS, *given).empty_table()
        for query in (self._plan.fast, self._plan.guarded, self._plan.explain):
            try:
                self._query(query, nothing)
            except duckdb.Error as error:
                raise UserMistake("INT_PIPELINE_003", f"model `{model.name}` cannot be computed: {error}") from error

    # Deciding.

    def _decide(self, rows: pa.Table) -> pa.Table:
        """Give every record its fate and its computed columns, in the order of `rows`."""
        if not self._careful:
            try:
                return self._note_hits(self._query(self._plan.fast, rows))
            except _UNCOMPUTABLE:
                self._careful = True
        decided = self._note_hits(self._query(self._plan.guarded, rows))
        # Bad records come in swarms: the next chunk is taken as carefully, until one has none.
        self._careful = pc.any(pc.equal(decided.column(FATE), _FAILED)).as_py() is True
        return decided

    def _as_changes(self, rows: pa.Table, decided: pa.Table, fate: pa.Int32Array) -> tuple[pa.Table, pa.Int32Array]:
        """Let pass what takes rows away, where a model merges: its other columns may be empty, and break any rule.

        A delete must say which row, though. And an update that a filter leaves out takes away what it was before.
        """
        place = rows.schema.get_field_index(OP)
        operation = rows.column(OP).combine_chunks()
        passes = pc.equal(operation, _TRUNCATE)
        if self._model.write_mode is WriteMode.MERGE:
            leaves = pc.and_(pc.equal(operation, _UPDATE), pc.greater(fate, _DELIVERED))
            operation = pc.if_else(leaves, _DELETE, operation)
            deletes = pc.equal(operation, _DELETE)
            for name in self._model.grain:
                deletes = pc.and_(deletes, pc.is_valid(self._model_column(name, rows, decided)))
            passes = pc.or_(passes, deletes)
        fate = pc.if_else(passes, _DELIVERED, fate)
        if isinstance(fate, pa.ChunkedArray):
            fate = fate.combine_chunks()
        return rows.set_column(place, rows.schema.field(place), operation), fate

    def _model_column(self, name: str, rows: pa.Table, decided: pa.Table) -> pa.ChunkedArray:
        return rows.column(self._plan.copied[name]) if name in self._plan.copied else decided.column(name)

    def _note_hits(self, decided: pa.Table) -> pa.Table:
        lookups = len(self._model.lookups) * decided.num_rows
        self._hit_rate = pc.sum(decided.column(FOUND)).as_py() / lookups if lookups else 1.0
        return decided

    def _quality(self, fate: pa.Int32Array, score: pa.ChunkedArray) -> QualityFigures:
        scored = score.filter(pc.or_(pc.equal(fate, _DELIVERED), pc.equal(fate, _REFUSED)))
        if not len(scored):
            return QualityFigures(0, 1.0, 1.0, 1.0, 0)
        extremes = pc.min_max(scored).as_py()
        minimum = self._model.min_score
        below = 0 if minimum is None else pc.sum(pc.less(scored, float(minimum))).as_py()
        return QualityFigures(len(scored), pc.mean(scored).as_py(), extremes["min"], extremes["max"], below)

    def _deliver(self, rows: pa.Table, decided: pa.Table) -> pa.Table:
        """Put the model's columns together: copies as they came, computed ones from the query."""
        columns = [self._model_column(column.name, rows, decided) for column in self._model.columns]
        if self._model.score_column:
            columns.append(decided.column(SCORE))
        columns.extend(rows.column(name) for name in RESERVED)
        typed = [column.cast(field.type) for column, field in zip(columns, self.schema, strict=True)]
        return pa.Table.from_arrays(typed, schema=self.schema)

    def _filtered(self, rows: pa.Table, fate: pa.Int32Array) -> dict[str, Sequence[int]]:
        found: dict[str, list[int]] = {}
        for number, filter_ in enumerate(self._model.filters, start=1):
            sequences = rows.column(SEQUENCE).filter(pc.equal(fate, number)).to_pylist()
            if sequences:
                found.setdefault(filter_.reason, []).extend(sequences)
        return {reason: sorted(sequences) for reason, sequences in found.items()}

    def _explain(self, rows: pa.Table) -> dict[int, tuple[RecordError, ...]]:
        errors = errors_of(self._plan, self._query(self._plan.explain, rows))
        return dict(zip(rows.column(SEQUENCE).to_pylist(), errors, strict=True))

    # The engine.

    def _query(self, query: str, rows: pa.Table) -> pa.Table:
        """Run `query` over `rows`; give its result in the order of `rows`."""
        keeps_order = self._plan.keeps_order
        numbered = rows if keeps_order else rows.append_column(ROW, pa.arange(0, rows.num_rows))
        with self._within_memory():
            result = self._engine.compute(query, numbered, over=ROWS)
        assert result.num_rows == rows.num_rows, "a query lost or made records"
        return result if keeps_order else _in_order(result)

    @contextmanager
    def _within_memory(self) -> Iterator[None]:
        try:
            yield
        except duckdb.OutOfMemoryException as error:
            raise UserMistake(
                "INT_PIPELINE_005",
                f"model `{self._model.name}` needs more memory than ENGINE_MEMORY_BYTES allows, "
                f"{self._settings.whole('ENGINE_MEMORY_BYTES'):,} bytes",
                remedy="raise it, look up fewer columns, or lower READ_BYTES",
            ) from error


def _in_order(result: pa.Table) -> pa.Table:
    """Put rows back into the order of their numbers; a join may have changed it."""
    numbers = result.column(ROW).combine_chunks()
    if numbers.equals(pa.arange(0, len(numbers))):
        return result
    return result.take(pc.sort_indices(numbers))
