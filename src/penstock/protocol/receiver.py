"""The receiving end of one hop, without I/O: integrity, repeats, order, credit, queue depth and back-pressure.

One `Receiver` lives for one incarnation of its peer. What becomes of a batch or streamed message, in this order:

    checksum differs          dropped, unanswered: any number in it may be the corrupt part
    number was seen           answered as before: RECEIVED, or the final answer again; ignored once that was confirmed
    number beyond the window  the other end broke the protocol
    records beyond the credit the other end broke the protocol
    record count differs      dropped, unanswered; when it keeps coming, the partition must halt
    queue has no place for it dropped, unanswered: retransmission is the sender's way on
    otherwise                 answered RECEIVED, and queued in the order of sequence_number: one that comes early
                              is held until those before it have come

Answers are kept until the sender has confirmed them, and repeated when it asks by a heartbeat.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias

from penstock.errors import RemoteViolation
from penstock.protocol.messages import AcknowledgmentPayload, AckStatus, SignalType, StreamedRange

if TYPE_CHECKING:
    from collections.abc import Iterator

    from penstock.protocol.messages import BatchMetadata

REPEATED_AT_ONCE = 256
"""Final answers repeated for one heartbeat: more would crowd out what is new."""
DELAY_MS_MAX = 1_000
"""Longest delay recommended: a sender that waits longer would look dead."""


class DropReason(StrEnum):
    """Why a frame was dropped without an answer."""

    CHECKSUM = "checksum differs"
    RECORD_COUNT = "record count differs"
    QUEUE_FULL = "queue is full"


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """What one receiving end holds: `capacity_batches` with the watermarks as shares of it, and streamed records."""

    capacity_batches: int
    high_watermark: float
    low_watermark: float
    credit_records: int = 100_000
    unsettled_batches: int = 8192
    """The sender's limit, checked here as well."""
    content_failures_max: int = 5
    """How often a batch may come whole, and yet not be what it says."""


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
class Halt:
    """Tell the sender that this batch's content keeps failing: its partition must not go on."""

    metadata: BatchMetadata


@dataclass(frozen=True, slots=True)
class Signal:
    """Tell the sender about the queue."""

    signal_type: SignalType
    depth: int
    recommended_delay_ms: int


ReceiverEvent: TypeAlias = Hold | Queue | Acknowledge | Drop | Halt | Signal


@dataclass(slots=True)
class _Kept:
    """A batch that was received: its answer so far, and since when that is final."""

    metadata: BatchMetadata
    answer: AcknowledgmentPayload
    streaming: bool
    final_since_s: float | None = None


@dataclass(frozen=True, slots=True)
class StreamingAnswer:
    """What a streaming acknowledgement is to say."""

    received_below: int
    credit_to: int
    settled: tuple[StreamedRange, ...]


class Receiver:
    """One hop's receiving end."""

    def __init__(self, limits: QueueLimits) -> None:
        self._limits = limits
        self._kept: dict[int, _Kept] = {}
        self._early: dict[int, BatchMetadata] = {}
        self._content_failures: dict[int, int] = {}
        self._confirmed_below = 0
        self._pressed = False
        self._batch_s = 0.0
        self._last_taken_s: float | None = None
        self._streamed_taken = 0
        self._settled: list[StreamedRange] = []
        self._owes_streaming_answer = False
        self._messages: int | None = None
        self.received_below = 0
        """Every message numbered below it has been received."""
        self.settled_below = 0
        """Every message numbered below it has been answered for good."""
        self.settled_to: dict[str, int] = {}
        """By partition: every record below is settled, as far as this incarnation of the peer has sent any."""
        self.depth = 0
        """Batches queued or held early."""
        self.depth_records = 0
        """Streamed records queued or held early: never more than the credit."""

    def __repr__(self) -> str:
        return f"<Receiver {self.depth} of {self._limits.capacity_batches} queued, {self.depth_records:,} streamed>"

    @property
    def room(self) -> int:
        """How many batches the queue can still take."""
        return self._limits.capacity_batches - self.depth

    @property
    def credit_to(self) -> int:
        """How many records may have been streamed in all: absolute, so no repeat or loss of a grant can widen it."""
        return self._streamed_taken + self._limits.credit_records

    @property
    def messages_seen(self) -> bool:
        """Whether anything has come from this incarnation of the peer."""
        return self.received_below > 0 or bool(self._kept) or self._messages is not None

    @property
    def kept(self) -> int:
        """Answers kept until the sender confirms them."""
        return len(self._kept)

    @property
    def is_complete(self) -> bool:
        """Whether all that the sender will ever send has been received."""
        return self._messages is not None and self.received_below >= self._messages

    def received(
        self, metadata: BatchMetadata, digest: str, records: int | None, stream_offset: int | None = None
    ) -> tuple[ReceiverEvent, ...]:
        """Take a frame. `digest` is the SHA-256 found, `records` the count found, None where it does not decode.

        `stream_offset` is that of a streamed message, None for a batch. Raises RemoteViolation (INT_LINK_003).
        """
        number = metadata.sequence_number
        if digest != metadata.checksum:
            return (Drop(metadata, DropReason.CHECKSUM),)
        if number < self._confirmed_below or number in self._kept:
            return self._again(metadata)
        self._check_limits(metadata, stream_offset)
        if records != metadata.record_count:
            return self._failed_content(metadata)
        if stream_offset is None and not self._has_place_for(number):
            return (Drop(metadata, DropReason.QUEUE_FULL),)
        answer = AcknowledgmentPayload(
            metadata.batch_id, AckStatus.RECEIVED, metadata.record_count, 0, 0, sequence_number=number
        )
        self._kept[number] = _Kept(metadata, answer, stream_offset is not None)
        self._early[number] = metadata
        if stream_offset is not None:
            self.depth_records += metadata.record_count
            self._owes_streaming_answer = True
            return (Hold(metadata), *self._in_order())
        self.depth += 1
        return (Hold(metadata), Acknowledge(answer), *self._in_order(), *self._press())

    def taken(self, batches: int, streamed_records: int, now_s: float) -> tuple[ReceiverEvent, ...]:
        """So many batches, and records that were streamed, left the queue to be worked on."""
        assert 0 <= batches <= self.depth, (batches, self.depth)
        assert 0 <= streamed_records <= self.depth_records, (streamed_records, self.depth_records)
        self.depth -= batches
        if streamed_records:
            self.depth_records -= streamed_records
            self._streamed_taken += streamed_records
            self._owes_streaming_answer = True
        if self._last_taken_s is not None and batches:
            self._batch_s = (now_s - self._last_taken_s) / batches
        self._last_taken_s = now_s
        return self._relieve()

    def answered(self, payload: AcknowledgmentPayload, now_s: float) -> tuple[ReceiverEvent, ...]:
        """The batch is settled or rejected. An answer to what was sent by an earlier incarnation is for nobody."""
        kept = self._kept.get(payload.sequence_number)
        if kept is None or kept.metadata.batch_id != payload.batch_id or kept.final_since_s is not None:
            return ()
        kept.answer = payload
        kept.final_since_s = now_s
        self._advance()
        return self._final(kept)

    def confirmed(self, settled_below: int) -> None:
        """The sender has the final answers to all that is numbered below `settled_below`: they need not be kept."""
        if settled_below > self.settled_below:
            raise _violation(f"answers below {settled_below} were confirmed, {self.settled_below} were given")
        for number in range(self._confirmed_below, settled_below):
            del self._kept[number]
        self._confirmed_below = max(self._confirmed_below, settled_below)

    def heartbeat(self, now_s: float, repeat_after_s: float) -> tuple[ReceiverEvent, ...]:
        """The sender asks what it may have missed: repeat final answers that it should have by now."""
        missed = [
            kept
            for kept in self._oldest(REPEATED_AT_ONCE)
            if kept.final_since_s is not None and kept.final_since_s <= now_s - repeat_after_s
        ]
        return tuple(event for kept in missed for event in self._final(kept))

    def closing(self, messages: int) -> None:
        """The sender has sent `messages` in all and will send no more."""
        came_below = 1 + max(self._early, default=self.received_below - 1)
        if messages < came_below or (self._messages is not None and self._messages != messages):
            raise _violation(f"the link was closed at {messages} messages, and some below {came_below} came")
        self._messages = messages

    def streaming_answer(self) -> StreamingAnswer | None:
        """Return what is to be told about streamed messages since it was told last, None for nothing."""
        if not self._owes_streaming_answer:
            return None
        answer = StreamingAnswer(self.received_below, self.credit_to, tuple(self._settled))
        self._settled.clear()
        self._owes_streaming_answer = False
        return answer

    def _again(self, metadata: BatchMetadata) -> tuple[ReceiverEvent, ...]:
        kept = self._kept.get(metadata.sequence_number)
        if kept is None:
            return ()
        if kept.metadata.batch_id != metadata.batch_id:
            raise _violation(f"number {metadata.sequence_number} was used for two batches")
        if kept.final_since_s is not None:
            return self._final(kept)
        if kept.streaming:
            self._owes_streaming_answer = True
            return ()
        return (Acknowledge(kept.answer),)

    def _failed_content(self, metadata: BatchMetadata) -> tuple[ReceiverEvent, ...]:
        failures = self._content_failures.get(metadata.sequence_number, 0) + 1
        self._content_failures[metadata.sequence_number] = failures
        drop = Drop(metadata, DropReason.RECORD_COUNT)
        return (drop, Halt(metadata)) if failures > self._limits.content_failures_max else (drop,)

    def _check_limits(self, metadata: BatchMetadata, stream_offset: int | None) -> None:
        number = metadata.sequence_number
        if number - self._confirmed_below >= self._limits.unsettled_batches:
            raise _violation(f"message {number} came while those from {self._confirmed_below} on are unsettled")
        if self._messages is not None and number >= self._messages:
            raise _violation(f"message {number} came after the link was closed at {self._messages}")
        if stream_offset is None:
            return
        streamed = stream_offset + metadata.record_count
        held = self.depth_records + metadata.record_count
        if streamed > self.credit_to or held > self._limits.credit_records:
            raise _violation(f"{streamed:,} records were streamed where {self.credit_to:,} may be")

    def _has_place_for(self, number: int) -> bool:
        """The last place is kept for the next batch in order: early ones must not lock out what they wait for."""
        kept = 0 if number == self.received_below else 1
        return self.room > kept

    def _in_order(self) -> tuple[Queue, ...]:
        ready = []
        while (metadata := self._early.pop(self.received_below, None)) is not None:
            ready.append(Queue(metadata))
            self._content_failures.pop(self.received_below, None)
            self.received_below += 1
        return tuple(ready)

    def _advance(self) -> None:
        """Move what is settled on, over final answers without a gap."""
        while (kept := self._kept.get(self.settled_below)) is not None and kept.final_since_s is not None:
            partition, end = kept.metadata.partition, kept.metadata.range.end
            self.settled_to[partition] = max(end, self.settled_to.get(partition, 0))
            self.settled_below += 1

    def _final(self, kept: _Kept) -> tuple[ReceiverEvent, ...]:
        if not kept.streaming:
            return (Acknowledge(kept.answer),)
        answer = kept.answer
        settled = StreamedRange(
            answer.sequence_number, kept.metadata.range, answer.tally, answer.excepted, answer.status, answer.reason
        )
        self._settled.append(settled)
        self._owes_streaming_answer = True
        return ()

    def _oldest(self, most: int) -> Iterator[_Kept]:
        for number in range(self._confirmed_below, self._confirmed_below + most):
            if (kept := self._kept.get(number)) is not None:
                yield kept

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


def _violation(what: str) -> RemoteViolation:
    return RemoteViolation("INT_LINK_003", what)
