"""Puts payloads into messages: a fresh id, the time, who speaks to whom."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from penstock.model.identity import new_id
from penstock.protocol.messages import (
    Acknowledgment,
    AlphaBetaBatchTransfer,
    BackPressureSignal,
    BetaGammaBatchTransfer,
    DeliveryConfirmation,
    MessageHeader,
    MessageType,
    Module,
)

if TYPE_CHECKING:
    from penstock.model.position import Range
    from penstock.ports import Clock
    from penstock.protocol.messages import (
        AcknowledgmentPayload,
        QualitySummary,
        RecordDeliveryResult,
        TransformationSummary,
        ValidationSummary,
    )
    from penstock.protocol.receiver import Signal
    from penstock.protocol.sender import Outgoing


@dataclass(frozen=True, slots=True)
class Envelope:
    """Makes the messages of one end of a hop."""

    source: Module
    target: Module
    clock: Clock

    def _header(self, message_type: MessageType, correlation_id: str) -> MessageHeader:
        timestamp = datetime.fromtimestamp(self.clock.time_s(), UTC)
        return MessageHeader(new_id(), correlation_id, self.source, self.target, message_type, timestamp)

    def alpha_beta(self, outgoing: Outgoing[ValidationSummary]) -> AlphaBetaBatchTransfer:
        """Wrap a batch on its way to transformation."""
        header = self._header(MessageType.BATCH_TRANSFER, outgoing.metadata.batch_id)
        return AlphaBetaBatchTransfer(header, outgoing.metadata, outgoing.payload, outgoing.summary)

    def beta_gamma(self, outgoing: Outgoing[tuple[TransformationSummary, QualitySummary]]) -> BetaGammaBatchTransfer:
        """Wrap a batch on its way to delivery."""
        header = self._header(MessageType.BATCH_TRANSFER, outgoing.metadata.batch_id)
        return BetaGammaBatchTransfer(header, outgoing.metadata, outgoing.payload, *outgoing.summary)

    def acknowledgment(self, payload: AcknowledgmentPayload) -> Acknowledgment:
        """Wrap an acknowledgement."""
        return Acknowledgment(self._header(MessageType.ACKNOWLEDGMENT, payload.batch_id), payload)

    def signal(self, signal: Signal) -> BackPressureSignal:
        """Wrap a back-pressure signal."""
        header = self._header(MessageType.BACKPRESSURE, new_id())
        return BackPressureSignal(header, signal.signal_type, signal.depth, signal.recommended_delay_ms)

    def confirmation(
        self, batch_id: str, exceptions: tuple[RecordDeliveryResult, ...], delivered: tuple[Range, ...]
    ) -> DeliveryConfirmation:
        """Wrap what became of the records of a batch."""
        header = self._header(MessageType.DELIVERY_CONFIRMATION, batch_id)
        return DeliveryConfirmation(header, batch_id, exceptions, delivered)
