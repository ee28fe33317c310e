"""Arrow rows as the hand-off carries them: cut to size, serialised, checksummed, named."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from penstock.model.batch import sequences_of
from penstock.model.position import Range
from penstock.protocol.messages import BatchMetadata, Priority
from penstock.protocol.sender import Outgoing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    import pyarrow as pa

    from penstock.model.position import Position
    from penstock.protocol.messages import BatchErrorSummary

SummaryT = TypeVar("SummaryT")


@dataclass(frozen=True, slots=True)
class Covers:
    """Which input records a batch accounts for, and for which destination (empty between Alpha and Beta).

    `errors` tells of those that were refused before, `priority` and `flush` how the other end is to treat it.
    """

    partition: str
    range: Range
    position: Position
    destination: str = ""
    priority: Priority = Priority.NORMAL
    flush: bool = False
    errors: BatchErrorSummary | None = None


@dataclass(frozen=True, slots=True)
class Stamp:
    """What makes a batch one of its kind: `number` is its sequence_number."""

    batch_id: str
    number: int
    created_at: datetime


class Stamps:
    """Numbers the batches of one sending module, from 0. Ids and time are drawn by what the caller gives."""

    def __init__(self, new_id: Callable[[], str], now: Callable[[], datetime]) -> None:
        self._new_id = new_id
        self._now = now
        self._next = 0

    def __call__(self) -> Stamp:
        """Return the next stamp."""
        stamp = Stamp(self._new_id(), self._next, self._now())
        self._next += 1
        return stamp


def slices(rows: pa.RecordBatch, covered: Range, size: int) -> Iterator[tuple[Range, pa.RecordBatch]]:
    """Cut `rows` to `size`. The ranges of the parts together are `covered`, which has a part even without rows."""
    sequences = sequences_of(rows)
    start = covered.start
    for offset in range(0, max(1, rows.num_rows), size):
        beyond = offset + size
        end = sequences[beyond] if beyond < rows.num_rows else covered.end
        yield Range(start, end), rows.slice(offset, size)
        start = end


def outgoing(
    rows: pa.RecordBatch, summary: SummaryT, covers: Covers, stamp: Stamp, *, streaming: bool = False
) -> Outgoing[SummaryT]:
    """Serialise `rows` and compute their checksum: a batch, or streamed message, ready to be handed over."""
    payload = memoryview(rows.serialize())
    metadata = BatchMetadata(
        batch_id=stamp.batch_id,
        sequence_number=stamp.number,
        record_count=rows.num_rows,
        checksum=hashlib.sha256(payload).hexdigest(),
        created_at=stamp.created_at,
        partition=covers.partition,
        range=covers.range,
        position=covers.position,
        destination=covers.destination,
        priority=covers.priority,
        flush=covers.flush,
        errors=covers.errors,
    )
    return Outgoing(metadata, payload, summary, streaming)
