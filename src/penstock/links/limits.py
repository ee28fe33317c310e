"""The limits of a link's ends, from the settings."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from penstock.links.receiving import EndLimits
from penstock.links.sending import CircuitLimits
from penstock.observing.facts import Hop
from penstock.protocol.receiver import QueueLimits
from penstock.protocol.sender import LinkLimits

if TYPE_CHECKING:
    from collections.abc import Mapping

    from penstock.model.settings import Settings

QUEUES: Mapping[Hop, str] = MappingProxyType(
    {Hop.ALPHA_BETA: "BETA_QUEUE_BATCHES", Hop.BETA_GAMMA: "GAMMA_QUEUE_BATCHES"}
)
"""The setting that bounds the queue at the receiving end of a hop."""


def sending_limits(hop: Hop, settings: Settings) -> tuple[LinkLimits, CircuitLimits]:
    """Return what bounds the sending end of `hop`, and its circuit."""
    prefix = hop.upper()
    limits = LinkLimits(
        ack_timeout_s=settings.seconds(f"{prefix}_ACK_TIMEOUT_MS"),
        retry_delay_s=settings.seconds(f"{prefix}_RETRY_DELAY_MS"),
        retries_max=settings.whole(f"{prefix}_MAX_RETRIES"),
        backoff_multiplier=settings[f"{prefix}_BACKOFF_MULTIPLIER"],
        window_batches=settings.whole("TRANSFER_WINDOW_BATCHES"),
        unsettled_batches=settings.whole("UNSETTLED_BATCHES"),
        heartbeat_s=settings.seconds("LINK_HEARTBEAT_MS"),
        # One that is larger than the credit could never be sent.
        streaming_records=min(settings.whole("STREAMING_BATCH_RECORDS"), settings.whole("STREAMING_CREDIT_RECORDS")),
        streaming_budget_s=settings.seconds("STREAMING_BUDGET_MS"),
    )
    reset_timeout_s = settings.seconds("CIRCUIT_RESET_TIMEOUT_MS")
    return limits, CircuitLimits(settings.whole("CIRCUIT_FAILURE_THRESHOLD"), reset_timeout_s)


def receiving_limits(hop: Hop, settings: Settings) -> EndLimits:
    """Return what bounds the receiving end of `hop`."""
    queue = QueueLimits(
        settings.whole(QUEUES[hop]),
        settings["BACKPRESSURE_HIGH_WATERMARK"],
        settings["BACKPRESSURE_LOW_WATERMARK"],
        settings.whole("STREAMING_CREDIT_RECORDS"),
        settings.whole("UNSETTLED_BATCHES"),
        settings.whole(f"{hop.upper()}_MAX_RETRIES"),
    )
    return EndLimits(queue, settings.whole("TRANSFER_WINDOW_BATCHES"), settings.seconds("LINK_HEARTBEAT_MS"))
