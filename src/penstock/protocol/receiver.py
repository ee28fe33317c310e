"""The receiving end of one hop, without I/O: integrity, repeats, queue depth and back-pressure.

What becomes of a frame, in this order:

    checksum differs          dropped, unanswered: any number in it may be the corrupt part
    batch_id was seen         answered as before: RECEIVED, or the final answer again
    record count differs      dropped, unanswered: an intact frame with false content; retries will exhaust
    queue has no place for it dropped, unanswered: retransmission is the sender's way on
    otherwise                 answered RECEIVED, and queued in the order of sequence_number: one that comes early
                              is held until those before it have come
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias

from penstock.protocol.messages import AcknowledgmentPayload, AckStatus, SignalType

if TYPE_CHECKING:
    from penstock.protocol.messages import BatchMetadata

REMEMBERED_BATCHES = 8_192
"""Batch ids remembered to recognise repeats. More than any window, so a repeat in flight is always recognised."""
DELAY_MS_MAX = 1_000
"""Longest delay recommended: a sender that waits longer would look dead."""


class DropReason(StrEnum):
    """Why a frame was dropped without an answer."""

    CHECKSUM = "checksum differs"
    RECORD_COUNT = "record count differs"
    QUEUE_FULL = "queue is full"


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """`capacity_batches` and the watermarks as shares of it."""

    capacity_batches: int
    high_watermark: float
    low_watermark: float


@dataclass(frozen=True, slots=True)
class Hold:
    """The frame is good: keep its content until it is queued."""

    metadata: BatchMetadata


@dataclass(frozen=True, slots=True)
class Queue:
    """Put this held batch into the queue: all before it have come."""

    metadata: BatchMetadata


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """Answer with this."""

    payload: AcknowledgmentPayload


@dataclass(frozen=True, slots=True)
class Drop:
    """Forget the frame."""

    metadata: BatchMetadata
    reason: DropReason


@dataclass(frozen=True, slots=True)
class Signal:
    """Tell the sender about the queue."""

    signal_type: SignalType
    depth: int
    recommended_delay_ms: int


ReceiverEvent: TypeAlias = Hold | Queue | Acknowledge | Drop | Signal


class Receiver:
    """One hop's receiving end."""

    def __init__(self, limits: QueueLimits) -> None:
        self._limits = limits
        self._answers: OrderedDict[str, AcknowledgmentPayload] = OrderedDict()
        self._early: dict[int, BatchMetadata] = {}
        self._next_number = 0
        self._pressed = False
        self._batch_s = 0.0
        self._last_taken_s: float | None = None
        self.depth = 0

    def __repr__(self) -> str:
        return f"<Receiver {self.depth} of {self._limits.capacity_batches} queued>"

    @property
    def room(self) -> int:
        """How many batches the queue can still take."""
        return self._limits.capacity_batches - self.depth

    def received(self, metadata: BatchMetadata, digest: str, records: int | None) -> tuple[ReceiverEvent, ...]:
        """Take a frame. `digest` is the SHA-256 found, `records` the count found, None where it does not decode."""
        if digest != metadata.checksum:
            return (Drop(metadata, DropReason.CHECKSUM),)
        if (before := self._answers.get(metadata.batch_id)) is not None:
            return (Acknowledge(before),)
        if records != metadata.record_count:
            return (Drop(metadata, DropReason.RECORD_COUNT),)
        if not self._has_place_for(metadata):
            return (Drop(metadata, DropReason.QUEUE_FULL),)
        self.depth += 1
        answer = AcknowledgmentPayload(metadata.batch_id, AckStatus.RECEIVED, metadata.record_count, 0, 0)
        self._remember(answer)
        self._early[metadata.sequence_number] = metadata
        return (Hold(metadata), Acknowledge(answer), *self._in_order(), *self._press())

    def taken(self, batches: int, now_s: float) -> tuple[ReceiverEvent, ...]:
        """`batches` left the queue to be worked on."""
        assert 0 <= batches <= self.depth, (batches, self.depth)
        self.depth -= batches
        if self._last_taken_s is not None and batches:
            self._batch_s = (now_s - self._last_taken_s) / batches
        self._last_taken_s = now_s
        return self._relieve()

    def answered(self, payload: AcknowledgmentPayload) -> tuple[ReceiverEvent, ...]:
        """The batch is settled or rejected. The answer is kept for repeats."""
        self._remember(payload)
        return (Acknowledge(payload),)

    def _has_place_for(self, metadata: BatchMetadata) -> bool:
        """The last place is kept for the next batch in order: early ones must not lock out what they wait for."""
        kept = 0 if metadata.sequence_number == self._next_number else 1
        return self.room > kept

    def _in_order(self) -> tuple[Queue, ...]:
        ready = []
        while (metadata := self._early.pop(self._next_number, None)) is not None:
            ready.append(Queue(metadata))
            self._next_number += 1
        return tuple(ready)

    def _remember(self, answer: AcknowledgmentPayload) -> None:
        self._answers[answer.batch_id] = answer
        self._answers.move_to_end(answer.batch_id)
        while len(self._answers) > REMEMBERED_BATCHES:
            self._answers.popitem(last=False)

    def _press(self) -> tuple[ReceiverEvent, ...]:
        if self._pressed or self.depth < self._limits.high_watermark * self._limits.capacity_batches:
            return ()
        self._pressed = True
        return (Signal(SignalType.ACTIVATE, self.depth, self._recommended_delay_ms()),)

    def _relieve(self) -> tuple[ReceiverEvent, ...]:
        if not self._pressed or self.depth > self._limits.low_watermark * self._limits.capacity_batches:
            return ()
        self._pressed = False
        return (Signal(SignalType.DEACTIVATE, self.depth, 0),)

    def _recommended_delay_ms(self) -> int:
        """The time that one batch takes here: at that pace the queue neither grows nor runs dry."""
        return min(DELAY_MS_MAX, int(self._batch_s * 1000))
