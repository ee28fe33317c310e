"""What a source holds, looked at: nothing is moved, noted or sent on."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from penstock.connectors import at_rest, open_source
from penstock.ingestion.validation import Validator
from penstock.model.schema import arrow_schema
from penstock.orchestration.sampling import SampledSource

if TYPE_CHECKING:
    from pathlib import Path

    from penstock.model.outcome import DeadLetter
    from penstock.model.pipeline import SourceTable
    from penstock.model.settings import Settings


@dataclass(frozen=True, slots=True)
class Preview:
    """The first records of a source: `rows` in their declared types, and those that ingestion would refuse."""

    rows: pa.Table
    refused: tuple[DeadLetter, ...]


def preview(table: SourceTable, root: Path, settings: Settings, state: Path, records: int) -> Preview:
    """Read the first `records` of `table` and validate them. `state` is a folder that is thrown away.

    Raises PenstockError where the source cannot be read.
    """
    batches: list[pa.RecordBatch] = []
    refused: list[DeadLetter] = []
    names = [field.name for field in table.fields]
    with (
        closing(SampledSource(open_source(at_rest(table), root, settings, state), records)) as source,
        closing(Validator(table, settings)) as validator,
    ):
        for partition in source.partitions():
            for chunk in source.read(partition, None):
                validated = validator.validate(chunk, 0)
                batches.append(validated.batch.select(names))
                refused += validated.letters
    return Preview(pa.Table.from_batches(batches, arrow_schema(table.fields)), tuple(refused))
