"""Cuts validated records into batches, or streamed messages, for the hand-off."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from penstock.model.outcome import Count, Outcome, Stage
from penstock.protocol.batches import outgoing, slices
from penstock.protocol.messages import AFFECTED_IDS_MAX, BatchErrorSummary, ValidationSummary

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


@dataclass(frozen=True, slots=True)
class Shape:
    """How records are handed over: so many at a time, streamed or in batches."""

    size: int
    streaming: bool = False


def cut(
    records: pa.RecordBatch, letters: Sequence[DeadLetter], covers: Covers, shape: Shape, stamp: Callable[[], Stamp]
) -> Iterator[Cut]:
    """Cut validated `records` by `shape` into batches whose ranges together are what `covers` names.

    `letters` are the refused records in order of sequence; each is accounted for in the range it lies in. Where
    `covers` asks to flush, it is the last batch that says so.
    """
    refused_at = [letter.sequence for letter in letters]
    for range_, rows in slices(records, covers.range, shape.size):
        refused = letters[bisect_left(refused_at, range_.start) : bisect_left(refused_at, range_.end)]
        batch = None
        if rows.num_rows:
            summary = ValidationSummary(len(range_), rows.num_rows, len(refused), average_quality_score=1.0)
            flush = covers.flush and range_.end == covers.range.end
            covered = replace(covers, range=range_, flush=flush, errors=_errors(refused))
            batch = outgoing(rows, summary, covered, stamp(), streaming=shape.streaming)
        yield Cut(range_, _tally(refused), batch)


def _codes(refused: Sequence[DeadLetter]) -> dict[str, int]:
    return dict(sorted(Counter(letter.errors[0].code for letter in refused).items()))


def _tally(refused: Sequence[DeadLetter]) -> Tally:
    return tuple(
        Count("", Outcome.DEAD_LETTERED, Stage.INGESTION, code, records) for code, records in _codes(refused).items()
    )


def _errors(refused: Sequence[DeadLetter]) -> BatchErrorSummary | None:
    if not refused:
        return None
    ids = tuple(letter.record_id for letter in refused[:AFFECTED_IDS_MAX])
    return BatchErrorSummary(len(refused), _codes(refused), ids)
