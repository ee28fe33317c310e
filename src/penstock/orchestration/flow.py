"""One source table's way to its models: Alpha, Beta and Gamma, joined by two hops in memory."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from penstock.delivery.stage import Delivery
from penstock.ingestion.stage import Ingestion
from penstock.links.envelope import Envelope
from penstock.links.memory import memory_pair
from penstock.links.receiving import ReceivingEnd
from penstock.links.sending import SendingEnd
from penstock.model.batch import RESERVED_FIELDS
from penstock.model.schema import arrow_schema
from penstock.observing.facts import Hop
from penstock.protocol.messages import Module
from penstock.protocol.receiver import QueueLimits
from penstock.protocol.sender import LinkLimits
from penstock.transformation.stage import Transformation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from penstock.ingestion.stage import Start, Validates
    from penstock.links.memory import MemoryTransport
    from penstock.model.pipeline import SourceTable
    from penstock.model.settings import Settings
    from penstock.ports import RunContext, Sink, Source
    from penstock.protocol.messages import (
        QualitySummary,
        Reply,
        Transfer,
        TransformationSummary,
        ValidationSummary,
    )
    from penstock.transformation.apply import Transformer


@dataclass(frozen=True, slots=True)
class Parts:
    """What a flow is made of."""

    table: SourceTable
    source: Source
    validator: Validates
    transformers: Mapping[str, Transformer]
    sinks: Mapping[str, Sink]


class Flow:
    """Runs one source table through the three stages until all that is there now is settled."""

    def __init__(self, parts: Parts, context: RunContext) -> None:
        alpha, beta_in = _hop()
        beta_out, gamma = _hop()
        clock, settings = context.clock, context.settings
        to_beta: SendingEnd[ValidationSummary] = SendingEnd(
            Hop.ALPHA_BETA,
            _link_limits(Hop.ALPHA_BETA, settings),
            alpha,
            Envelope(Module.ALPHA, Module.BETA, clock).alpha_beta,
            context,
        )
        to_gamma: SendingEnd[tuple[TransformationSummary, QualitySummary]] = SendingEnd(
            Hop.BETA_GAMMA,
            _link_limits(Hop.BETA_GAMMA, settings),
            beta_out,
            Envelope(Module.BETA, Module.GAMMA, clock).beta_gamma,
            context,
        )
        validated = arrow_schema(parts.table.fields, *RESERVED_FIELDS)
        from_alpha = ReceivingEnd(
            Hop.ALPHA_BETA,
            _queue_limits("BETA_QUEUE_BATCHES", settings),
            beta_in,
            lambda _: validated,
            Envelope(Module.BETA, Module.ALPHA, clock),
            context,
        )
        schemas = {name: transformer.schema for name, transformer in parts.transformers.items()}
        from_beta = ReceivingEnd(
            Hop.BETA_GAMMA,
            _queue_limits("GAMMA_QUEUE_BATCHES", settings),
            gamma,
            lambda metadata: schemas[metadata.destination],
            Envelope(Module.GAMMA, Module.BETA, clock),
            context,
        )
        name, sinks = parts.table.name, parts.sinks
        self._ingestion = Ingestion(name, parts.source, parts.validator, tuple(sinks), to_beta, context)
        originals = self._ingestion.window.originals
        self._transformation = Transformation(name, parts.transformers, from_alpha, to_gamma, originals, context)
        self._delivery = Delivery(name, sinks, from_beta, originals, context)
        self._ends = (to_beta, to_gamma, from_alpha, from_beta)

    def stop(self) -> None:
        """Read no further; settle what is under way."""
        self._ingestion.stop()

    async def run(self, starts: Sequence[Start]) -> None:
        """Run until everything is settled, or raise the error that stopped it (in an ExceptionGroup)."""
        async with asyncio.TaskGroup() as tasks:
            for end in self._ends:
                tasks.create_task(end.run())
            tasks.create_task(self._delivery.run())
            tasks.create_task(self._transformation.run())
            tasks.create_task(self._ingestion.run(starts))


def _hop() -> tuple[MemoryTransport[Transfer, Reply], MemoryTransport[Reply, Transfer]]:
    return memory_pair()


def _link_limits(hop: Hop, settings: Settings) -> LinkLimits:
    prefix = hop.upper()
    return LinkLimits(
        ack_timeout_s=settings.seconds(f"{prefix}_ACK_TIMEOUT_MS"),
        retry_delay_s=settings.seconds(f"{prefix}_RETRY_DELAY_MS"),
        retries_max=settings.whole(f"{prefix}_MAX_RETRIES"),
        backoff_multiplier=settings[f"{prefix}_BACKOFF_MULTIPLIER"],
        window_batches=settings.whole("TRANSFER_WINDOW_BATCHES"),
        failure_threshold=settings.whole("CIRCUIT_FAILURE_THRESHOLD"),
        reset_timeout_s=settings.seconds("CIRCUIT_RESET_TIMEOUT_MS"),
    )


def _queue_limits(capacity: str, settings: Settings) -> QueueLimits:
    return QueueLimits(
        settings.whole(capacity),
        settings["BACKPRESSURE_HIGH_WATERMARK"],
        settings["BACKPRESSURE_LOW_WATERMARK"],
    )
