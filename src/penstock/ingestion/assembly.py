"""Cuts a validated chunk into batches for the hand-off."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from penstock.model.outcome import Count, Outcome, Stage
from penstock.protocol.batches import outgoing, slices
from penstock.protocol.messages import ValidationSummary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import pyarrow as pa

    from penstock.model.outcome import DeadLetter, Tally
    from penstock.model.position import Range
    from penstock.protocol.batches import Covers, Stamp
    from penstock.protocol.sender import Outgoing


@dataclass(frozen=True, slots=True)
class Cut:
    """A batch and what was refused of its range; `outgoing` is None where nothing of the range is left to send."""

    range: Range
    refused: Tally
    outgoing: Outgoing[ValidationSummary] | None


def cut(
    records: pa.RecordBatch, letters: Sequence[DeadLetter], covers: Covers, size: int, stamp: Callable[[], Stamp]
) -> Iterator[Cut]:
    """Cut validated `records` into batches of `size`, whose ranges together are what `covers` names.

    `letters` are the refused records in order of sequence; each is accounted for in the range it lies in.
    """
    refused_at = [letter.sequence for letter in letters]
    for range_, rows in slices(records, covers.range, size):
        refused = letters[bisect_left(refused_at, range_.start) : bisect_left(refused_at, range_.end)]
        batch = None
        if rows.num_rows:
            summary = ValidationSummary(len(range_), rows.num_rows, len(refused), average_quality_score=1.0)
            batch = outgoing(rows, summary, replace(covers, range=range_), stamp())
        yield Cut(range_, _tally(refused), batch)


def _tally(refused: Sequence[DeadLetter]) -> Tally:
    codes = Counter(letter.errors[0].code for letter in refused)
    return tuple(
        Count("", Outcome.DEAD_LETTERED, Stage.INGESTION, code, records) for code, records in sorted(codes.items())
    )
