"""The messages of the hand-off, as closed types: the spec's names, fields and enums.

What is ours and not the spec's is marked "addition" and stands in a table of `docs/protocol.md`.
Records travel as one Arrow record batch in IPC form, without its schema, which both ends know from the pipeline.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import TypeAlias

import msgspec

from penstock.model.outcome import Tally
from penstock.model.position import Position, Range

PROTOCOL_VERSION = "1.1.0"
"""1.0.0 is the spec's; the additions make it 1.1.0."""


class Module(StrEnum):
    """Who speaks. EPSILON and PHI are additions."""

    ALPHA = "ALPHA"
    BETA = "BETA"
    GAMMA = "GAMMA"
    EPSILON = "EPSILON"
    PHI = "PHI"


class MessageType(StrEnum):
    """What a message is. DELIVERY_CONFIRMATION is an addition: the spec names the message and gives it no type."""

    BATCH_TRANSFER = "BATCH_TRANSFER"
    ACKNOWLEDGMENT = "ACKNOWLEDGMENT"
    BACKPRESSURE = "BACKPRESSURE"
    DELIVERY_CONFIRMATION = "DELIVERY_CONFIRMATION"


class AckStatus(StrEnum):
    """RECEIVED releases the transfer buffer; PROCESSED says settled; REJECTED sends records to the dead letters."""

    RECEIVED = "RECEIVED"
    PROCESSED = "PROCESSED"
    REJECTED = "REJECTED"


class SignalType(StrEnum):
    """Back-pressure begins or ends."""

    ACTIVATE = "ACTIVATE"
    DEACTIVATE = "DEACTIVATE"


class DeliveryStatus(StrEnum):
    """What became of one record at one destination."""

    DELIVERED = "DELIVERED"
    FAILED = "FAILED"
    DLQ = "DLQ"


class MessageHeader(msgspec.Struct, frozen=True):
    """In front of every message. `timestamp` is UTC with microseconds."""

    message_id: str
    correlation_id: str
    source_module: Module
    target_module: Module
    message_type: MessageType
    timestamp: datetime
    protocol_version: str = PROTOCOL_VERSION


class BatchMetadata(msgspec.Struct, frozen=True):
    """What a batch is. `checksum` is the SHA-256, in hex, of exactly the bytes of `records`.

    Additions: `partition` and `range` say which input records the batch accounts for (some of which may be missing
    from it, dead-lettered or filtered on the way); `position` is where reading must resume to see them again;
    `destination` is the model it is for, empty between Alpha and Beta.
    """

    batch_id: str
    sequence_number: int
    record_count: int
    checksum: str
    created_at: datetime
    partition: str
    range: Range
    position: Position
    destination: str = ""


class ValidationSummary(msgspec.Struct, frozen=True):
    """What validation did to the records of the batch's range."""

    total_records_validated: int
    records_passed: int
    records_failed: int
    average_quality_score: float


class TransformationSummary(msgspec.Struct, frozen=True):
    """What transformation did."""

    total_records_transformed: int
    transformations_applied: int
    enrichment_cache_hit_rate: float


class QualitySummary(msgspec.Struct, frozen=True):
    """Scores of the batch's records, in [0, 1]."""

    average_quality_score: float
    min_quality_score: float
    max_quality_score: float
    records_below_threshold: int


class AlphaBetaBatchTransfer(msgspec.Struct, frozen=True, tag=True):
    """Validated records on their way to transformation."""

    header: MessageHeader
    metadata: BatchMetadata
    records: memoryview
    validation_summary: ValidationSummary


class BetaGammaBatchTransfer(msgspec.Struct, frozen=True, tag=True):
    """Transformed records on their way to delivery."""

    header: MessageHeader
    metadata: BatchMetadata
    records: memoryview
    transformation_summary: TransformationSummary
    quality_summary: QualitySummary


class AcknowledgmentPayload(msgspec.Struct, frozen=True):
    """The answer to a batch. Addition: `tally` accounts for its records once they are PROCESSED or REJECTED."""

    batch_id: str
    status: AckStatus
    records_accepted: int
    records_rejected: int
    processing_duration_ms: int
    tally: Tally = ()


class Acknowledgment(msgspec.Struct, frozen=True, tag=True):
    """An AcknowledgmentPayload in its envelope. An addition: the spec gives the payload and no message."""

    header: MessageHeader
    payload: AcknowledgmentPayload


class BackPressureSignal(msgspec.Struct, frozen=True, tag=True):
    """The receiver's queue is nearly full, or has room again."""

    header: MessageHeader
    signal_type: SignalType
    current_queue_depth: int
    recommended_delay_ms: int


class RecordDeliveryResult(msgspec.Struct, frozen=True):
    """What became of one record. `record_id` is source/partition/sequence."""

    record_id: str
    destination_id: str
    status: DeliveryStatus
    delivery_timestamp: datetime


class DeliveryConfirmation(msgspec.Struct, frozen=True, tag=True):
    """What became of the records of a batch, after they are durable.

    Additions: on the wire stand `delivered` as ranges of sequences, and the exceptions; `delivery_results` is the
    spec's list, given in full only for exceptions.
    """

    header: MessageHeader
    batch_id: str
    delivery_results: tuple[RecordDeliveryResult, ...]
    delivered: tuple[Range, ...] = ()


Transfer: TypeAlias = AlphaBetaBatchTransfer | BetaGammaBatchTransfer
Reply: TypeAlias = Acknowledgment | BackPressureSignal | DeliveryConfirmation
Message: TypeAlias = Transfer | Reply
