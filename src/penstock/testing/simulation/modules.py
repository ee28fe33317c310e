"""The three modules as they ship, each between the ends of its links and the fakes around it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from penstock.delivery.stage import Delivery
from penstock.ingestion.stage import Ingestion
from penstock.links.envelope import Envelope
from penstock.links.limits import receiving_limits, sending_limits
from penstock.links.receiving import ReceivingEnd
from penstock.links.sending import SendingEnd
from penstock.observing.facts import Hop
from penstock.ports import OriginalsGone, RunContext
from penstock.protocol.messages import Module
from penstock.testing.simulation.clocks import SeededChance
from penstock.testing.simulation.ledger import LedgerBook
from penstock.testing.simulation.machines import FakeTransformer, FakeValidator
from penstock.testing.simulation.network import SimulatedTransport
from penstock.testing.simulation.origin import CHUNK_RECORDS_MAX, FakeSource
from penstock.testing.simulation.records import SCHEMA, SOURCE
from penstock.testing.simulation.warehouse import FakeSink
from penstock.testing.simulation.weather import stream
from penstock.threads import to_its_end
from penstock.transformation.stage import Transformation

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from penstock.ingestion.reading import Start
    from penstock.model.settings import Settings
    from penstock.observing.facts import Fact
    from penstock.ports import Original
    from penstock.protocol.messages import Transfer
    from penstock.testing.simulation.auditor import Auditor, Trace
    from penstock.testing.simulation.clocks import WallClock
    from penstock.testing.simulation.ledger import Ledger
    from penstock.testing.simulation.lives import Life, Who
    from penstock.testing.simulation.loop import VirtualLoop
    from penstock.testing.simulation.network import Wire
    from penstock.testing.simulation.origin import Origin
    from penstock.testing.simulation.overhearing import Overhearing
    from penstock.testing.simulation.records import World
    from penstock.testing.simulation.warehouse import Warehouse
    from penstock.testing.simulation.weather import Weather


@dataclass(slots=True)
class Link:
    """A hop: a wire in each direction, and whoever listens to both."""

    there: Wire
    back: Wire
    overhearing: Overhearing

    @property
    def wires(self) -> tuple[Wire, Wire]:
        """Both directions."""
        return self.there, self.back


@dataclass
class Surroundings:
    """What the modules of one simulation stand in."""

    seed: int
    loop: VirtualLoop
    weather: Weather
    world: World
    auditor: Auditor
    trace: Trace
    settings: Settings
    ledger: Ledger
    warehouses: Mapping[str, Warehouse]
    origin: Origin
    links: dict[Hop, Link]
    walls: Mapping[Who, WallClock]
    run: int = 0
    alpha: Alpha | None = None
    """The living Alpha: it has the originals."""

    def originals(self, partition: str, sequences: Sequence[int]) -> Sequence[Original]:
        """Return untouched records, as ingestion gives them to the other stages."""
        alpha = self.alpha
        if alpha is None or not alpha.life.alive:
            raise OriginalsGone(f"{partition}: ingestion is away")
        return alpha.stage.window.originals(partition, sequences)

    def context(self, life: Life) -> RunContext:
        """Return what a stage works with in one of its lives."""
        book = LedgerBook(life, self.ledger, self.run)
        chance = SeededChance(stream(self.seed, f"chance of {life.name}"))
        return RunContext(book, self.settings, life.clock, chance, Watching(life))


@dataclass(frozen=True, slots=True)
class Watching:
    """An observer that tells the trace."""

    life: Life

    def saw(self, fact: Fact) -> None:
        """Tell a fact."""
        if self.life.trace.listens:
            self.life.trace(self.life.name, str(fact))


class Living(Protocol):
    """One life of a module, seen from outside."""

    life: Life

    async def run(self) -> None:
        """Work to the end."""

    def check(self) -> None:
        """Fail where a bound is exceeded."""


@dataclass
class Alpha:
    """One life of ingestion. `following` says that the source is followed as it grows."""

    life: Life
    around: Surroundings
    streaming: bool
    following: bool
    stage: Ingestion = field(init=False)

    def __post_init__(self) -> None:
        life, around = self.life, self.around
        context = around.context(life)
        self._source = FakeSource(life, around.origin)
        self._end = _sending_end(life, around, Hop.ALPHA_BETA, context)
        self.stage = Ingestion(
            SOURCE,
            self._source,
            FakeValidator(life),
            around.world.destinations,
            self._end,
            context,
        )
        self.stage.switch(streaming=self.streaming)
        self._book = context.book

    def __repr__(self) -> str:
        window = self.stage.window
        return f"<Alpha {self.life.name}, {self._end!r}, {window.records} records in its window>"

    async def run(self) -> None:
        """Open the source, and read it to its end."""
        starts = await to_its_end(self._open)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._end.run())
            tasks.create_task(self.stage.run(starts, self._register if self.following else None))

    def check(self) -> None:
        """Fail where more is held than the window lets in."""
        window, settings = self.stage.window, self.around.settings
        limit = max(settings.whole("WINDOW_RECORDS"), CHUNK_RECORDS_MAX)
        if window.records > limit:
            self.life.auditor.fail("the window is bounded", f"{window.records} records of {limit}")

    def _open(self) -> list[Start]:
        """Find partitions and positions, as a run does when it begins."""
        partitions = self._source.partitions()
        return [self._register(partition) for partition in partitions]

    def _register(self, partition: str) -> Start:
        assert isinstance(self._book, LedgerBook)
        return self._book.start_of(partition)


@dataclass
class Beta:
    """One life of transformation."""

    life: Life
    around: Surroundings

    def __post_init__(self) -> None:
        life, around = self.life, self.around
        context = around.context(life)
        destinations = around.world.destinations
        transformers = {name: FakeTransformer(life, name, number) for number, name in enumerate(destinations)}
        self._incoming = _receiving_end(life, around, Hop.ALPHA_BETA, context)
        self._outgoing = _sending_end(life, around, Hop.BETA_GAMMA, context)
        self._stage = Transformation(
            SOURCE,
            transformers,  # type: ignore[arg-type]  # stands in for the engine
            self._incoming,
            self._outgoing,
            around.originals,
            context,
        )

    def __repr__(self) -> str:
        return f"<Beta {self.life.name}, {self._incoming!r}, {self._outgoing!r}>"

    async def run(self) -> None:
        """Transform until Alpha closes."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._incoming.run())
            tasks.create_task(self._outgoing.run())
            tasks.create_task(self._stage.run())

    def check(self) -> None:
        """Fail where the queue is longer than it may be."""
        _check_depth(self.life, self._incoming, self.around.settings.whole("BETA_QUEUE_BATCHES"))


@dataclass
class Gamma:
    """One life of delivery."""

    life: Life
    around: Surroundings
    patient: bool

    def __post_init__(self) -> None:
        life, around = self.life, self.around
        context = around.context(life)
        self._sinks = {name: FakeSink(life, warehouse) for name, warehouse in around.warehouses.items()}
        self._incoming = _receiving_end(life, around, Hop.BETA_GAMMA, context)
        self._stage = Delivery(SOURCE, self._sinks, self._incoming, around.originals, context)
        self._stage.patient = self.patient

    def __repr__(self) -> str:
        return f"<Gamma {self.life.name}, {self._incoming!r}>"

    async def run(self) -> None:
        """Deliver until Beta closes."""
        await to_its_end(self._prepare)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._incoming.run())
                tasks.create_task(self._stage.run())
        finally:
            for sink in self._sinks.values():
                sink.close()

    def check(self) -> None:
        """Fail where the queue is longer than it may be."""
        _check_depth(self.life, self._incoming, self.around.settings.whole("GAMMA_QUEUE_BATCHES"))

    def _prepare(self) -> None:
        for sink in self._sinks.values():
            sink.prepare()


SENDERS: Mapping[Hop, Module] = MappingProxyType({Hop.ALPHA_BETA: Module.ALPHA, Hop.BETA_GAMMA: Module.BETA})
RECEIVERS: Mapping[Hop, Module] = MappingProxyType({Hop.ALPHA_BETA: Module.BETA, Hop.BETA_GAMMA: Module.GAMMA})


def _sending_end(life: Life, around: Surroundings, hop: Hop, context: RunContext) -> SendingEnd[Any]:
    link = around.links[hop]
    transport = SimulatedTransport(life, link.there, link.back, link.overhearing.sender_says)
    envelope = Envelope(SENDERS[hop], RECEIVERS[hop], life.clock, context.chance)
    wrap: Callable[[Any], Transfer] = envelope.alpha_beta if hop is Hop.ALPHA_BETA else envelope.beta_gamma
    return SendingEnd(hop, SOURCE, sending_limits(hop, around.settings), transport, (envelope, wrap), context)


def _receiving_end(life: Life, around: Surroundings, hop: Hop, context: RunContext) -> ReceivingEnd:
    link = around.links[hop]
    transport = SimulatedTransport(life, link.back, link.there, link.overhearing.receiver_says)
    envelope = Envelope(RECEIVERS[hop], SENDERS[hop], life.clock, context.chance)
    return ReceivingEnd(hop, receiving_limits(hop, around.settings), transport, lambda _: SCHEMA, envelope, context)


def _check_depth(life: Life, end: ReceivingEnd, capacity: int) -> None:
    if end.depth > capacity:
        life.auditor.fail("queues are bounded", f"{life.name}: {end.depth} of {capacity} batches")
