"""The messages of the hand-off, as closed types: the spec's names, fields and enums.

What is ours and not the spec's is marked "addition" and stands in a table of `docs/specs/integration-layer.md`.
Records travel as one Arrow record batch in IPC form, without its schema, which both ends know from the pipeline.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import TypeAlias

import msgspec

from penstock.errors import Recoverability, Scope, Severity
from penstock.model.outcome import Outcome, Stage, Tally
from penstock.model.position import Position, Range
from penstock.protocol.breaker import CircuitState

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
    """What a message is. The spec gives types to the first three; those of its other messages are additions."""

    BATCH_TRANSFER = "BATCH_TRANSFER"
    ACKNOWLEDGMENT = "ACKNOWLEDGMENT"
    BACKPRESSURE = "BACKPRESSURE"
    STREAMING_HANDOFF = "STREAMING_HANDOFF"
    STREAMING_ACKNOWLEDGMENT = "STREAMING_ACKNOWLEDGMENT"
    DELIVERY_CONFIRMATION = "DELIVERY_CONFIRMATION"
    ERROR_NOTIFICATION = "ERROR_NOTIFICATION"
    CIRCUIT_STATE_CHANGE = "CIRCUIT_STATE_CHANGE"
    HEALTH_CHECK_REQUEST = "HEALTH_CHECK_REQUEST"
    HEALTH_CHECK_RESPONSE = "HEALTH_CHECK_RESPONSE"
    CACHE_ACCESS_REQUEST = "CACHE_ACCESS_REQUEST"
    CACHE_ACCESS_RESPONSE = "CACHE_ACCESS_RESPONSE"
    CACHE_WARM_UP_REQUEST = "CACHE_WARM_UP_REQUEST"
    JOB_CONTROL_REQUEST = "JOB_CONTROL_REQUEST"
    JOB_STATUS_UPDATE = "JOB_STATUS_UPDATE"
    DEPENDENCY_SIGNAL = "DEPENDENCY_SIGNAL"
    SCHEDULE_NOTIFICATION = "SCHEDULE_NOTIFICATION"


class AckStatus(StrEnum):
    """RECEIVED releases the transfer buffer; PROCESSED says settled; REJECTED sends records to the dead letters."""

    RECEIVED = "RECEIVED"
    PROCESSED = "PROCESSED"
    REJECTED = "REJECTED"


class Priority(StrEnum):
    """How urgent a batch is. The spec has CRITICAL, which nothing may linger on; NORMAL is an addition."""

    NORMAL = "NORMAL"
    CRITICAL = "CRITICAL"


class Variant(StrEnum):
    """What a streaming hand-off carries."""

    SINGLE_RECORD = "SINGLE_RECORD"
    MICRO_BATCH = "MICRO_BATCH"


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


class BatchErrorSummary(msgspec.Struct, frozen=True):
    """What was refused upstream of a batch: how many, by error code, and which (the first `AFFECTED_IDS_MAX`)."""

    upstream_errors: int
    error_breakdown: dict[str, int]
    affected_record_ids: tuple[str, ...]


class BatchMetadata(msgspec.Struct, frozen=True):
    """What a batch is. `checksum` is the SHA-256, in hex, of exactly the bytes of `records`.

    Additions: `partition` and `range` say which input records the batch accounts for (some of which may be missing
    from it, dead-lettered or filtered on the way); `position` is where reading must resume to see them again;
    `destination` is the model it is for, empty between Alpha and Beta; `priority`; `flush` says that the sender has
    nothing more at hand, so nothing should be waited for on this batch's account; `errors` tells of the records of
    the range that were refused before.
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
    priority: Priority = Priority.NORMAL
    flush: bool = False
    errors: BatchErrorSummary | None = None

    @property
    def urgent(self) -> bool:
        """Whether nothing may linger on the batch's account."""
        return self.flush or self.priority is Priority.CRITICAL


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


AFFECTED_IDS_MAX = 100
"""Records named in a BatchErrorSummary: enough to look into, and no more than a fraction of a small batch."""


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


class Excepted(msgspec.Struct, frozen=True):
    """Records, each named by its sequence, that were not simply delivered to `destination`, and why."""

    destination: str
    outcome: Outcome
    stage: Stage
    reason: str
    sequences: tuple[int, ...]


class AcknowledgmentPayload(msgspec.Struct, frozen=True):
    """The answer to a batch.

    Additions: once its records are PROCESSED or REJECTED, `tally` counts what became of them and `excepted` names
    those that were not simply delivered; `sequence_number` is that of the batch; `reason` says why it was REJECTED.
    """

    batch_id: str
    status: AckStatus
    records_accepted: int
    records_rejected: int
    processing_duration_ms: int
    tally: Tally = ()
    excepted: tuple[Excepted, ...] = ()
    sequence_number: int = -1
    reason: str = ""


class StreamingHandoffMessage(msgspec.Struct, frozen=True, tag=True):
    """Validated records on their way to transformation in streaming mode: one, or as many as were ready.

    `metadata` numbers it among the batches of its sender, so both modes share one order. `stream_offset` counts the
    records streamed before it in this incarnation of the sender: with `metadata.record_count` it is what credit bounds.
    """

    header: MessageHeader
    metadata: BatchMetadata
    variant: Variant
    stream_offset: int
    records: memoryview
    validation_summary: ValidationSummary


class StreamedRange(msgspec.Struct, frozen=True):
    """A streamed message whose records are settled: `range`, and as exceptions those not simply delivered."""

    sequence_number: int
    range: Range
    tally: Tally
    excepted: tuple[Excepted, ...] = ()
    status: AckStatus = AckStatus.PROCESSED
    reason: str = ""


class StreamingAcknowledgment(msgspec.Struct, frozen=True, tag=True):
    """The answer to whatever was streamed since the last one: cumulative, absolute, and by record.

    Every message numbered below `received_below` has been received. `credit_to` is how many records may have been
    streamed in all, in this incarnation of the sender: absolute, so that a repeated or late grant does no harm.
    `settled` are answers for good.
    """

    header: MessageHeader
    received_below: int
    credit_to: int
    settled: tuple[StreamedRange, ...] = ()


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


class ErrorContext(msgspec.Struct, frozen=True):
    """What an error is about. Fields that do not apply are empty."""

    record_id: str = ""
    batch_id: str = ""
    field_name: str = ""
    expected_value: str = ""
    actual_value: str = ""
    upstream_errors: tuple[str, ...] = ()


class IntegrationError(msgspec.Struct, frozen=True):
    """An error as it travels between modules. `error_code` is a row of the error table (`penstock.errors`)."""

    error_id: str
    correlation_id: str
    timestamp: datetime
    source_module: Module
    severity: Severity
    recoverability: Recoverability
    scope: Scope
    error_code: str
    error_message: str
    context: ErrorContext
    retry_eligible: bool


class ActionRequired(StrEnum):
    """What an upstream module is asked to do about errors."""

    NONE = "NONE"
    THROTTLE = "THROTTLE"
    HALT = "HALT"
    INVESTIGATE = "INVESTIGATE"


class ErrorNotification(msgspec.Struct, frozen=True, tag=True):
    """Errors told upstream."""

    header: MessageHeader
    errors: tuple[IntegrationError, ...]
    action_required: ActionRequired


class CircuitBreakerState(msgspec.Struct, frozen=True):
    """A circuit as it stands. Times are None while nothing has failed or nothing is waited for."""

    circuit_id: str
    state: CircuitState
    failure_count: int
    last_failure: datetime | None
    next_attempt: datetime | None


class CircuitStateChange(msgspec.Struct, frozen=True, tag=True):
    """A circuit has moved."""

    header: MessageHeader
    circuit_id: str
    previous_state: CircuitState
    new_state: CircuitState
    affected_modules: tuple[Module, ...]


Transfer: TypeAlias = AlphaBetaBatchTransfer | BetaGammaBatchTransfer | StreamingHandoffMessage
Reply: TypeAlias = (
    Acknowledgment | StreamingAcknowledgment | BackPressureSignal | DeliveryConfirmation | ErrorNotification
)
Message: TypeAlias = Transfer | Reply | CircuitStateChange
