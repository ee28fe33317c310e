"""Puts payloads into messages: a fresh id, the time, who speaks to whom."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from penstock.protocol.messages import (
    Acknowledgment,
    ActionRequired,
    AlphaBetaBatchTransfer,
    BackPressureSignal,
    BetaGammaBatchTransfer,
    CircuitStateChange,
    DeliveryConfirmation,
    ErrorContext,
    ErrorNotification,
    IntegrationError,
    MessageHeader,
    MessageType,
    Module,
    StreamingAcknowledgment,
    StreamingHandoffMessage,
    Variant,
)

if TYPE_CHECKING:
    from penstock.errors import PenstockError
    from penstock.model.position import Range
    from penstock.ports import Chance, Clock
    from penstock.protocol.messages import (
        AcknowledgmentPayload,
        QualitySummary,
        RecordDeliveryResult,
        TransformationSummary,
        ValidationSummary,
    )
    from penstock.protocol.receiver import Signal, StreamingAnswer
    from penstock.protocol.sender import CircuitMoved, Transmit


@dataclass(frozen=True, slots=True)
class Envelope:
    """Makes the messages of one end of a hop."""

    source: Module
    target: Module
    clock: Clock
    chance: Chance

    def back(self) -> Envelope:
        """Return the one of the other end."""
        return replace(self, source=self.target, target=self.source)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self.clock.time_s(), UTC)

    def _header(self, message_type: MessageType, correlation_id: str) -> MessageHeader:
        return MessageHeader(self.chance.new_id(), correlation_id, self.source, self.target, message_type, self._now())

    def alpha_beta(self, transmit: Transmit[ValidationSummary]) -> AlphaBetaBatchTransfer | StreamingHandoffMessage:
        """Wrap records on their way to transformation."""
        outgoing = transmit.outgoing
        metadata = outgoing.metadata
        if not outgoing.streaming:
            header = self._header(MessageType.BATCH_TRANSFER, metadata.batch_id)
            return AlphaBetaBatchTransfer(header, metadata, outgoing.payload, outgoing.summary)
        return StreamingHandoffMessage(
            self._header(MessageType.STREAMING_HANDOFF, metadata.batch_id),
            metadata,
            Variant.SINGLE_RECORD if metadata.record_count == 1 else Variant.MICRO_BATCH,
            transmit.stream_offset,
            outgoing.payload,
            outgoing.summary,
        )

    def beta_gamma(self, transmit: Transmit[tuple[TransformationSummary, QualitySummary]]) -> BetaGammaBatchTransfer:
        """Wrap a batch on its way to delivery."""
        outgoing = transmit.outgoing
        header = self._header(MessageType.BATCH_TRANSFER, outgoing.metadata.batch_id)
        return BetaGammaBatchTransfer(header, outgoing.metadata, outgoing.payload, *outgoing.summary)

    def acknowledgment(self, payload: AcknowledgmentPayload) -> Acknowledgment:
        """Wrap an acknowledgement."""
        return Acknowledgment(self._header(MessageType.ACKNOWLEDGMENT, payload.batch_id), payload)

    def streaming_acknowledgment(self, answer: StreamingAnswer) -> StreamingAcknowledgment:
        """Wrap what is to be told about streamed messages."""
        header = self._header(MessageType.STREAMING_ACKNOWLEDGMENT, self.chance.new_id())
        return StreamingAcknowledgment(header, answer.received_below, answer.credit_to, answer.settled)

    def signal(self, signal: Signal) -> BackPressureSignal:
        """Wrap a back-pressure signal."""
        header = self._header(MessageType.BACKPRESSURE, self.chance.new_id())
        return BackPressureSignal(header, signal.signal_type, signal.depth, signal.recommended_delay_ms)

    def confirmation(
        self, batch_id: str, exceptions: tuple[RecordDeliveryResult, ...], delivered: tuple[Range, ...]
    ) -> DeliveryConfirmation:
        """Wrap what became of the records of a batch."""
        header = self._header(MessageType.DELIVERY_CONFIRMATION, batch_id)
        return DeliveryConfirmation(header, batch_id, exceptions, delivered)

    def circuit_change(self, circuit_id: str, moved: CircuitMoved) -> CircuitStateChange:
        """Wrap the move of this link's circuit."""
        header = self._header(MessageType.CIRCUIT_STATE_CHANGE, self.chance.new_id())
        return CircuitStateChange(header, circuit_id, moved.previous, moved.new, (self.source, self.target))

    def error(self, error: PenstockError, action: ActionRequired, batch_id: str = "") -> ErrorNotification:
        """Wrap an error for the module upstream. `batch_id` only where it is certain."""
        error_id = self.chance.new_id()
        kind = error.kind
        integration_error = IntegrationError(
            error_id,
            batch_id or error_id,
            self._now(),
            self.source,
            kind.severity,
            kind.recoverability,
            kind.scope,
            kind.code,
            error.message,
            ErrorContext(batch_id=batch_id),
            kind.is_worth_retrying,
        )
        header = self._header(MessageType.ERROR_NOTIFICATION, integration_error.correlation_id)
        return ErrorNotification(header, (integration_error,), action)
