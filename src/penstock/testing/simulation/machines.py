"""What validates and what transforms: plain functions of the records, in place of engines that start slowly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from penstock.errors import BatchRefused
from penstock.ingestion.validation import Validated
from penstock.model.batch import SEQUENCE
from penstock.model.outcome import DeadLetter, Outcome, RecordError, Stage
from penstock.protocol.messages import TransformationSummary
from penstock.testing.simulation.lives import OneThread
from penstock.testing.simulation.records import (
    INVALID_CODE,
    REASONS,
    REJECTED_CODE,
    SCHEMA,
    SOURCE,
    UNTRANSFORMED_CODE,
    AtDestination,
    AtIngestion,
    fated,
    ingested,
)
from penstock.transformation.apply import QualityFigures, Transformed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from penstock.ports import Chunk
    from penstock.testing.simulation.lives import Life

INVALID = (RecordError(INVALID_CODE, "plan", "is not as required"),)
UNTRANSFORMED = (RecordError(UNTRANSFORMED_CODE, "plan", "cannot be computed"),)
PASSING = frozenset({AtIngestion.GOOD, AtIngestion.POISON})
CRITICAL = 97
"""Records whose id is a multiple of it are CRITICAL."""


class FakeValidator:
    """`penstock.ingestion.stage.Validates` by the records' plans."""

    def __init__(self, life: Life) -> None:
        self._guard = OneThread(life, "validator")

    def validate(self, chunk: Chunk, version_base: int) -> Validated:
        """Split a chunk into good records and dead letters."""
        self._guard.enter()
        sequences = range(chunk.start, chunk.end) if chunk.sequences is None else chunk.sequences.to_pylist()
        ids, plans = (chunk.records.column(name).to_pylist() for name in ("id", "plan"))
        rows = list(zip(sequences, ids, plans, strict=True))
        good = [row for row in rows if ingested(row[2]) in PASSING]
        invalid = [sequence for sequence, _, plan in rows if ingested(plan) is AtIngestion.INVALID]
        partition = chunk.next.partition
        originals = chunk.originals(invalid)
        letters = [
            DeadLetter(SOURCE, partition, bad.sequence, Stage.INGESTION, "", (bad.error,), bad.original.content, 0)
            for bad in chunk.bad
        ]
        letters += [
            DeadLetter(SOURCE, partition, sequence, Stage.INGESTION, "", INVALID, original.content, original.line)
            for sequence, original in zip(invalid, originals, strict=True)
        ]
        letters.sort(key=lambda letter: letter.sequence)
        critical = any(id_ % CRITICAL == 0 for _, id_, _ in good)
        return Validated(_batch(good, version_base), tuple(letters), critical)


class FakeTransformer:
    """What Beta expects of `penstock.transformation.apply.Transformer`, by the records' plans."""

    schema = SCHEMA

    def __init__(self, life: Life, destination: str, number: int) -> None:
        self._number = number
        self._guard = OneThread(life, f"transformer of {destination}")

    def transform(self, rows: pa.Table) -> Transformed:
        """Filter and fail what the plans say."""
        self._guard.enter()
        assert rows.schema.equals(SCHEMA), rows.schema
        delivered: list[int] = []
        filtered: dict[str, list[int]] = {}
        errors: dict[int, tuple[RecordError, ...]] = {}
        pairs = zip(rows.column(SEQUENCE).to_pylist(), rows.column("plan").to_pylist(), strict=True)
        for number, (sequence, plan) in enumerate(pairs):
            if ingested(plan) is AtIngestion.POISON:
                raise BatchRefused(REJECTED_CODE, f"record {sequence} is poison")
            fate = fated(plan, self._number)
            outcome, stage, reason = REASONS[fate]
            if fate is AtDestination.UNTRANSFORMED:
                errors[sequence] = UNTRANSFORMED
            elif (outcome, stage) == (Outcome.FILTERED, Stage.TRANSFORMATION):
                filtered.setdefault(reason, []).append(sequence)
            else:
                delivered.append(number)
        kept = rows if len(delivered) == rows.num_rows else rows.take(pa.array(delivered, pa.int64()))
        return Transformed(kept, filtered, errors, QualityFigures(rows.num_rows, 1.0, 1.0, 1.0, 0))

    def summary(self, records: int) -> TransformationSummary:
        """Say what was done."""
        return TransformationSummary(records, 0, 1.0)

    def close(self) -> None:
        """Nothing is open."""


def _batch(rows: Sequence[tuple[int, int, int]], version_base: int) -> pa.RecordBatch:
    count = len(rows)
    columns = [
        pa.array([id_ for _, id_, _ in rows], pa.int64()),
        pa.array([plan for _, _, plan in rows], pa.int64()),
        pa.array([sequence for sequence, _, _ in rows], pa.int64()),
        pa.array([0] * count, pa.int8()),
        pa.nulls(count, pa.timestamp("us", tz="UTC")),
        pa.array([version_base + sequence for sequence, _, _ in rows], pa.int64()),
    ]
    return pa.record_batch(columns, schema=SCHEMA)
