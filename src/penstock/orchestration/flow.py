"""One source table's way to its models: Alpha, Beta and Gamma, joined by two hops in memory."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from penstock.delivery.stage import Delivery
from penstock.ingestion.stage import Ingestion
from penstock.links.envelope import Envelope
from penstock.links.limits import receiving_limits, sending_limits
from penstock.links.memory import connect_in_memory
from penstock.links.receiving import ReceivingEnd
from penstock.links.sending import SendingEnd
from penstock.model.batch import RESERVED_FIELDS
from penstock.model.schema import arrow_schema
from penstock.observing.facts import Hop
from penstock.protocol.messages import Module
from penstock.transformation.stage import Transformation

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from penstock.ingestion.reading import Start
    from penstock.ingestion.stage import Validates
    from penstock.links.memory import Connect
    from penstock.model.pipeline import SourceTable
    from penstock.ports import RunContext, Sink, Source
    from penstock.protocol.messages import QualitySummary, TransformationSummary, ValidationSummary
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

    def __init__(self, parts: Parts, context: RunContext, connect: Connect = connect_in_memory) -> None:
        """`connect` gives the two ends of a hop's transport."""
        name, sinks, settings = parts.table.name, parts.sinks, context.settings
        alpha, beta_in = connect(Hop.ALPHA_BETA, name)
        beta_out, gamma = connect(Hop.BETA_GAMMA, name)
        out = Envelope(Module.ALPHA, Module.BETA, context.clock, context.chance)
        on = Envelope(Module.BETA, Module.GAMMA, context.clock, context.chance)
        to_beta: SendingEnd[ValidationSummary] = SendingEnd(
            Hop.ALPHA_BETA, name, sending_limits(Hop.ALPHA_BETA, settings), alpha, (out, out.alpha_beta), context
        )
        to_gamma: SendingEnd[tuple[TransformationSummary, QualitySummary]] = SendingEnd(
            Hop.BETA_GAMMA, name, sending_limits(Hop.BETA_GAMMA, settings), beta_out, (on, on.beta_gamma), context
        )
        validated = arrow_schema(parts.table.fields, *RESERVED_FIELDS)
        from_alpha = ReceivingEnd(
            Hop.ALPHA_BETA,
            receiving_limits(Hop.ALPHA_BETA, settings),
            beta_in,
            lambda _: validated,
            out.back(),
            context,
        )
        schemas = {model: transformer.schema for model, transformer in parts.transformers.items()}
        from_beta = ReceivingEnd(
            Hop.BETA_GAMMA,
            receiving_limits(Hop.BETA_GAMMA, settings),
            gamma,
            lambda metadata: schemas.get(metadata.destination),
            on.back(),
            context,
        )
        self._ingestion = Ingestion(name, parts.source, parts.validator, tuple(sinks), to_beta, context)
        originals = self._ingestion.window.originals
        self._transformation = Transformation(name, parts.transformers, from_alpha, to_gamma, originals, context)
        self._delivery = Delivery(name, sinks, from_beta, originals, context)
        self._ends = (to_beta, to_gamma, from_alpha, from_beta)

    def stop(self) -> None:
        """Read no further; settle what is under way."""
        self._ingestion.stop()

    def switch(self, *, streaming: bool) -> None:
        """Hand over in the other mode from the next record on."""
        self._ingestion.switch(streaming=streaming)

    async def run(self, starts: Sequence[Start], register: Callable[[str], Start] | None = None) -> None:
        """Run until everything is settled, or raise the error that stopped it (in an ExceptionGroup).

        With `register`, which numbers partitions that appear, the source is followed, and a destination that is away
        is waited for.
        """
        self._delivery.patient = register is not None
        async with asyncio.TaskGroup() as tasks:
            for end in self._ends:
                tasks.create_task(end.run())
            tasks.create_task(self._delivery.run())
            tasks.create_task(self._transformation.run())
            tasks.create_task(self._ingestion.run(starts, register))
