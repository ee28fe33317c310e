"""What became of a batch's records at the destination, and how the answer says it."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import msgspec

from penstock.model.outcome import Count, Outcome, Stage, add_up
from penstock.model.position import Range
from penstock.protocol.messages import (
    AcknowledgmentPayload,
    AckStatus,
    DeliveryStatus,
    Excepted,
    RecordDeliveryResult,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from penstock.ports import Fate
    from penstock.protocol.messages import BatchMetadata


REJECTED = "INT_LINK_010"
"""The code of records that were refused with their batch as a whole."""


class Fates:
    """Records of one partition that were not simply delivered, by sequence."""

    def __init__(self, fates: Mapping[int, Fate]) -> None:
        self._sequences = sorted(fates)
        self._fates = fates

    def within(self, range_: Range) -> list[tuple[int, Fate]]:
        """Return those with a sequence in `range_`, in order."""
        first = bisect_left(self._sequences, range_.start)
        last = bisect_left(self._sequences, range_.end)
        return [(sequence, self._fates[sequence]) for sequence in self._sequences[first:last]]


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one batch: its acknowledgement, and its delivery confirmation in ranges and exceptions."""

    payload: AcknowledgmentPayload
    exceptions: tuple[RecordDeliveryResult, ...]
    delivered: tuple[Range, ...]


def answer_for(
    metadata: BatchMetadata,
    exceptions: Sequence[tuple[int, Fate]],
    *,
    source: str,
    duration_ms: int,
    delivered_at: datetime,
) -> Answer:
    """Account for every record of a batch. `exceptions` are its records that were not simply delivered, in order."""
    reasons = Counter((fate.outcome, fate.reason) for _, fate in exceptions)
    refused = sum(records for (outcome, _), records in reasons.items() if outcome is Outcome.DEAD_LETTERED)
    delivered = Count(
        metadata.destination, Outcome.DELIVERED, Stage.DELIVERY, "", metadata.record_count - len(exceptions)
    )
    others = (Count(metadata.destination, *key, records) for key, records in _keyed(reasons))
    payload = AcknowledgmentPayload(
        metadata.batch_id,
        AckStatus.PROCESSED,
        metadata.record_count - refused,
        refused,
        duration_ms,
        add_up([delivered, *others]),
        _excepted(metadata.destination, exceptions),
        metadata.sequence_number,
    )
    results = tuple(
        RecordDeliveryResult(
            f"{source}/{metadata.partition}/{sequence}",
            metadata.destination,
            DeliveryStatus.DLQ if fate.outcome is Outcome.DEAD_LETTERED else DeliveryStatus.DELIVERED,
            delivered_at,
        )
        for sequence, fate in exceptions
    )
    return Answer(payload, results, tuple(_between(metadata.range, [sequence for sequence, _ in exceptions])))


def rejected(answer: Answer, reason: str) -> Answer:
    """Return the answer for a batch that was refused as a whole."""
    return replace(answer, payload=msgspec.structs.replace(answer.payload, status=AckStatus.REJECTED, reason=reason))


def _excepted(destination: str, exceptions: Sequence[tuple[int, Fate]]) -> tuple[Excepted, ...]:
    by_fate: dict[tuple[Outcome, str], list[int]] = {}
    for sequence, fate in exceptions:
        by_fate.setdefault((fate.outcome, fate.reason), []).append(sequence)
    return tuple(
        Excepted(destination, outcome, Stage.DELIVERY, reason, tuple(sequences))
        for (outcome, reason), sequences in by_fate.items()
    )


def _keyed(reasons: Counter[tuple[Outcome, str]]) -> Iterator[tuple[tuple[Outcome, Stage, str], int]]:
    for (outcome, reason), records in reasons.items():
        yield (outcome, Stage.DELIVERY, reason), records


def _between(range_: Range, exceptions: Sequence[int]) -> Iterator[Range]:
    start = range_.start
    for sequence in exceptions:
        if sequence > start:
            yield Range(start, sequence)
        start = sequence + 1
    if start < range_.end:
        yield Range(start, range_.end)
