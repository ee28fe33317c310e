"""Sequence diagrams of the specs happen so: the three modules are run, and say what is drawn, in that order.

A diagram is marked `<!-- rehearsed: NAME -->`. NAME is a rehearsal below: Alpha, Beta and Gamma as they ship, on links
that write down what they carry, in virtual time. A diagram may leave out whole kinds of frames (greetings, heartbeats);
of the others each module says in the diagram exactly what it said, as far as the diagram goes. Notes that tell of a
commit are checked likewise.
"""

from __future__ import annotations

import asyncio
import re
import selectors
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pyarrow as pa
import pytest

from penstock.delivery.stage import Delivery
from penstock.ingestion.reading import Start
from penstock.ingestion.stage import Ingestion
from penstock.ingestion.validation import Validated
from penstock.links.envelope import Envelope
from penstock.links.inbox import Inbox
from penstock.links.limits import receiving_limits, sending_limits
from penstock.links.receiving import ReceivingEnd
from penstock.links.sending import SendingEnd
from penstock.model.batch import RESERVED_FIELDS, SEQUENCE
from penstock.model.position import Position
from penstock.model.settings import Settings
from penstock.observing.facts import Hop, Nobody
from penstock.ports import Chunk, Guarantee, Replay, RunContext, Written
from penstock.protocol.frames import NOBODY, Close, Heartbeat, Hello
from penstock.protocol.messages import (
    Acknowledgment,
    AlphaBetaBatchTransfer,
    BetaGammaBatchTransfer,
    Module,
    StreamingAcknowledgment,
    StreamingHandoffMessage,
    TransformationSummary,
)
from penstock.transformation.apply import QualityFigures, Transformed
from penstock.transformation.stage import Transformation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from penstock.model.position import Mark
    from penstock.ports import Advance, Fate
    from penstock.protocol.frames import Frame

SPECS = Path(__file__).resolve().parents[2] / "docs/specs"
ALPHA, BETA, GAMMA = Module.ALPHA, Module.BETA, Module.GAMMA
SCHEMA = pa.schema([pa.field("id", pa.int64()), *RESERVED_FIELDS])
LATENCY_S = 0.001
WORK_S = 0.0001
LOOKS_EVERY_S = 0.01
AWAY_S = 0.1
"""How long a module that was killed is away."""
SENDER = {Hop.ALPHA_BETA: ALPHA, Hop.BETA_GAMMA: BETA}
MODULES = {"A": ALPHA, "B": BETA, "G": GAMMA}
RECEIVER = {Hop.ALPHA_BETA: BETA, Hop.BETA_GAMMA: GAMMA}


# --- virtual time -------------------------------------------------------------------------------------------------


class Jumps(selectors.SelectSelector):
    """Lets time pass where a selector would wait for it."""

    now_s = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        assert timeout is not None, "nothing is under way, and nothing is timed"
        self.now_s += max(0.0, timeout)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in virtual time, whose threads are itself, a little later."""

    def __init__(self) -> None:
        self.jumps = Jumps()
        self.blocked_s = 0.0
        """How much longer the present work takes; set by the work."""
        super().__init__(self.jumps)

    def time(self) -> float:
        return self.jumps.now_s

    def run_in_executor(self, executor: object, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]  # noqa: ANN401 - as asyncio has it
        assert executor is None
        work = self.create_future()

        def do() -> None:
            try:
                result = func(*args)
            except Exception as error:  # noqa: BLE001 - it is the result
                work.set_exception(error)
            else:
                self.call_later(self.blocked_s, work.set_result, result)
            self.blocked_s = 0.0

        self.call_later(WORK_S, do)
        return work


@dataclass
class Instruments:
    """Clock and chance of a rehearsal: every life of a module begins a second after the one before."""

    loop: VirtualLoop
    drawn: int = 0

    def now_s(self) -> float:
        return self.loop.time()

    def time_s(self) -> float:
        return 1_790_000_000.0 + self.loop.time()

    def new_id(self) -> str:
        self.drawn += 1
        return str(UUID(int=self.drawn))

    def fraction(self) -> float:
        return 0.0


# --- what the modules stand in ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Step:
    """Something that a module said, or made durable (`listener` is None)."""

    speaker: Module
    listener: Module | None
    what: str
    lost: bool = False


@dataclass
class Stage:
    """The surroundings of the three modules, and what was seen there."""

    loop: VirtualLoop
    script: Script
    steps: list[Step] = field(default_factory=list)
    positions: dict[str, Position] = field(default_factory=dict)
    marks: dict[tuple[str, str], Mark] = field(default_factory=dict)
    lives: dict[Module, asyncio.Task[None]] = field(default_factory=dict)
    inboxes: dict[tuple[Hop, Module], Inbox[Frame]] = field(default_factory=dict)
    incarnations: dict[tuple[Hop, Module], list[int]] = field(default_factory=lambda: defaultdict(list))

    @property
    def is_over(self) -> bool:
        return len(self.lives) == len(MODULES) and all(life.done() for life in self.lives.values())

    def note(self, module: Module, what: str) -> None:
        self.steps.append(Step(module, None, what))
        self.script.after(self, self.steps[-1])

    def carry(self, hop: Hop, speaker: Module, frame: Frame) -> None:
        listener = RECEIVER[hop] if speaker is SENDER[hop] else SENDER[hop]
        step = Step(speaker, listener, self.told(hop, speaker, listener, frame))
        lost = self.script.loses(step)
        self.steps.append(Step(speaker, listener, step.what, lost))
        if not lost:
            self.loop.call_later(LATENCY_S, lambda: self.inboxes[hop, listener].put(frame))
        self.script.after(self, self.steps[-1])

    def named(self, hop: Hop, module: Module, incarnation: int) -> str:
        if incarnation == NOBODY:
            return "nobody"
        known = self.incarnations[hop, module]
        if incarnation not in known:
            known.append(incarnation)
        return f"{module.value[0]}{known.index(incarnation) + 1}"

    def told(self, hop: Hop, speaker: Module, listener: Module, frame: Frame) -> str:
        """Say what a frame says, as diagrams do."""
        name, body = type(frame.body).__name__, frame.body
        more = ""
        match body:
            case Hello():
                sender, receiver = self.named(hop, speaker, frame.sender), self.named(hop, listener, frame.receiver)
                more = f", {sender} to {receiver}"
            case Heartbeat(flush=True):
                more = ", flush"
            case Close():
                more = f", {body.messages} sent" + (", final" if body.final else "")
            case AlphaBetaBatchTransfer() | BetaGammaBatchTransfer():
                more = f" {body.metadata.sequence_number}, {body.metadata.range}"
            case StreamingHandoffMessage():
                more = f" {body.metadata.sequence_number}, {body.variant} {body.metadata.range}"
            case Acknowledgment():
                more = f" {body.payload.status} {body.payload.sequence_number}"
            case StreamingAcknowledgment():
                settled = "".join(f", settled {each.sequence_number}" for each in body.settled)
                more = f", below {body.received_below}, credit to {body.credit_to}{settled}"
            case _:
                pass
        return name + more

    def kill(self, module: Module) -> None:
        self.note(module, "killed")
        self.lives.pop(module).cancel()

    def begin(self, module: Module) -> None:
        """Start a module, in a new life."""
        starts = {ALPHA: self._alpha, BETA: self._beta, GAMMA: self._gamma}
        if self.steps:
            self.note(module, "starts anew")
        self.lives[module] = self.loop.create_task(starts[module]())

    def _context(self) -> RunContext:
        instruments = Instruments(self.loop)
        return RunContext(Book(self), self.script.settings(), instruments, instruments, Nobody())  # type: ignore[arg-type]  # as much of a book as is asked for

    async def _alpha(self) -> None:
        context = self._context()
        end = self._sending(Hop.ALPHA_BETA, context)
        source: Any = Followed(self.loop, self.script)
        stage = Ingestion("orders", source, Validator(), ("facts",), end, context)
        stage.switch(streaming=self.script.streaming)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(end.run())
            tasks.create_task(stage.run([Start("a", 0, self.positions.get("a"))], _no_other))

    async def _beta(self) -> None:
        context = self._context()
        incoming, link = self._receiving(Hop.ALPHA_BETA, context), self._sending(Hop.BETA_GAMMA, context)
        transformers: Any = {"facts": Transformer()}
        stage = Transformation("orders", transformers, incoming, link, self._originals, context)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(incoming.run())
            tasks.create_task(link.run())
            tasks.create_task(stage.run())

    async def _gamma(self) -> None:
        context = self._context()
        incoming = self._receiving(Hop.BETA_GAMMA, context)
        sinks: Any = {"facts": Sink(self)}
        stage = Delivery("orders", sinks, incoming, self._originals, context)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(incoming.run())
            tasks.create_task(stage.run())

    def _originals(self, partition: str, sequences: Sequence[int]) -> Sequence[Any]:
        raise AssertionError(f"no record is refused here, and {sequences} of {partition} were")

    def _sending(self, hop: Hop, context: RunContext) -> SendingEnd[Any]:
        speaker = SENDER[hop]
        envelope = Envelope(speaker, RECEIVER[hop], context.clock, context.chance)
        wrap: Any = envelope.alpha_beta if hop is Hop.ALPHA_BETA else envelope.beta_gamma
        limits = sending_limits(hop, context.settings)
        return SendingEnd(hop, "orders", limits, self._end(hop, speaker), (envelope, wrap), context)

    def _receiving(self, hop: Hop, context: RunContext) -> ReceivingEnd:
        speaker = RECEIVER[hop]
        envelope = Envelope(speaker, SENDER[hop], context.clock, context.chance)
        limits = receiving_limits(hop, context.settings)
        return ReceivingEnd(hop, limits, self._end(hop, speaker), lambda _: SCHEMA, envelope, context)

    def _end(self, hop: Hop, module: Module) -> End:
        inbox: Inbox[Frame] = Inbox()
        self.inboxes[hop, module] = inbox
        return End(self, hop, module, inbox)


@dataclass
class End:
    """A transport. Nobody hears of its end: on a network whoever is gone is just silent."""

    stage: Stage
    hop: Hop
    module: Module
    inbox: Inbox[Frame]

    def send(self, frame: Frame) -> None:
        self.stage.carry(self.hop, self.module, frame)

    async def receive(self, most: int) -> list[Frame]:
        return await self.inbox.take(most)

    def close(self) -> None:
        self.inbox.close()


@dataclass
class Book:
    stage: Stage

    def advance(self, source: str, advances: Sequence[Advance]) -> None:
        assert source == "orders"
        for advance in advances:
            self.stage.positions[advance.partition] = advance.position
            self.stage.note(ALPHA, f"position and counts, {advance.range}")

    def confirm(self, destination: str, marks: Sequence[Mark]) -> None:
        assert destination == "facts"
        assert marks

    def recall(self, destination: str, source: str, partition: str, mark: int) -> Mapping[int, Fate]:
        assert (destination, source, partition) == ("facts", "orders", "a")
        self.stage.note(GAMMA, f"mark {mark} recalled")
        return {}


@dataclass
class Followed:
    """A source that grows as the script says, and the following of it."""

    loop: VirtualLoop
    script: Script
    replay = Replay.EXACT
    ended = False
    _at: int = 0

    def follow(self, positions: Mapping[str, Position]) -> Followed:
        return Followed(self.loop, self.script, positions["a"].sequence if positions else 0)

    def next(self, wait_s: float) -> Chunk | None:
        for at_s, start, end in self.script.comes:
            if at_s <= self.loop.time() and start >= self._at:
                self._at = end
                rows = pa.record_batch({"id": pa.array(range(start, end), pa.int64())})
                return Chunk(start, end, rows, None, (), Position("a", end, str(end)), lambda _: [], 1)
        self.loop.blocked_s = min(wait_s, LOOKS_EVERY_S)
        self.ended = self.loop.time() > self.script.ends_s
        return None

    def size_bytes(self, partition: str, position: Position | None) -> int | None:
        del partition, position
        return None

    def commit(self, position: Position) -> None:
        assert position.partition == "a"

    def close(self) -> None:
        self.ended = True


def _no_other(partition: str) -> Start:
    raise AssertionError(partition)


class Validator:
    def validate(self, chunk: Chunk, version_base: int) -> Validated:
        rows = [
            {"id": sequence, SEQUENCE: sequence, "_op": 0, "_version": version_base + sequence}
            for sequence in range(chunk.start, chunk.end)
        ]
        return Validated(pa.RecordBatch.from_pylist(rows, schema=SCHEMA), ())


class Transformer:
    schema = SCHEMA

    def transform(self, rows: pa.Table) -> Transformed:
        return Transformed(rows, {}, {}, QualityFigures(rows.num_rows, 1.0, 1.0, 1.0, 0))

    def summary(self, records: int) -> TransformationSummary:
        return TransformationSummary(records, 0, 1.0)


@dataclass
class Sink:
    stage: Stage
    guarantee = Guarantee.TRANSACTIONAL
    rows: int = 0

    def marks(self) -> Mapping[tuple[str, str], Mark]:
        return dict(self.stage.marks)

    def write(self, rows: pa.Table, partition: str) -> Written:
        assert partition == "a"
        self.rows += rows.num_rows
        return Written()

    def commit(self, marks: Sequence[Mark]) -> None:
        self.stage.marks |= {(mark.source, mark.partition): mark for mark in marks}
        self.stage.note(GAMMA, f"{self.rows} rows and mark {marks[-1].sequence}")
        self.rows = 0

    def rollback(self) -> None:
        self.rows = 0


# --- what is rehearsed --------------------------------------------------------------------------------------------


@dataclass
class Script:
    """What is rehearsed: what comes when (seconds, range), what is lost, who dies once something was said or done."""

    comes: Sequence[tuple[float, int, int]] = ((0.0, 0, 4),)
    ends_s: float = 3.5
    streaming: bool = False
    loses_once: str = ""
    dies: Module | None = None
    once: str = ""
    credit_records: int = 100
    repeats: int = 1

    def settings(self) -> Settings:
        sizes = dict.fromkeys(("ALPHA_BETA_BATCH_SIZE", "BETA_GAMMA_BATCH_SIZE"), 4)
        return Settings({**sizes, "STREAMING_CREDIT_RECORDS": self.credit_records})

    def loses(self, step: Step) -> bool:
        lost = self.loses_once == step.what
        if lost:
            self.loses_once = ""
        return lost

    def after(self, stage: Stage, step: Step) -> None:
        if self.dies is not None and step.what.startswith(self.once):
            module, self.dies = self.dies, None
            stage.loop.call_soon(stage.kill, module)
            stage.loop.call_later(AWAY_S, stage.begin, module)


REHEARSALS: Mapping[str, Callable[[], Script]] = MappingProxyType(
    {
        "batch": Script,
        "streaming": lambda: Script(((0.0, 0, 1), (0.2, 1, 4)), streaming=True),
        "credit": lambda: Script(((0.0, 0, 4), (0.0, 4, 8)), streaming=True, credit_records=4),
        "lost PROCESSED": lambda: Script(loses_once="Acknowledgment PROCESSED 0"),
        "Beta restarting": lambda: Script(dies=BETA, once="BetaGammaBatchTransfer 0"),
        "Gamma restarting": lambda: Script(dies=GAMMA, once="BetaGammaBatchTransfer 0"),
        "Alpha restarting": lambda: Script(dies=ALPHA, once="4 rows and mark 4"),
        "going back": lambda: Script(((0.0, 0, 4), (0.3, 4, 8)), dies=BETA, once="Acknowledgment RECEIVED 1"),
        "closing": lambda: Script(ends_s=0.0),
    }
)


def rehearse(name: str) -> Sequence[Step]:
    """Run the modules until all are done, and return what was said and made durable."""
    loop = VirtualLoop()
    stage = Stage(loop, REHEARSALS[name]())

    async def play() -> None:
        stage.steps.clear()
        for module in (ALPHA, BETA, GAMMA):
            stage.begin(module)
        async with asyncio.timeout(60):
            while not stage.is_over:  # noqa: ASYNC110 - lives end by themselves, and somebody may be dead just now
                await asyncio.sleep(AWAY_S)
        for life in stage.lives.values():
            life.result()

    try:
        loop.run_until_complete(play())
    finally:
        loop.run_until_complete(_cancel_all(loop))
        loop.close()
    assert stage.positions["a"].sequence == max(end for _, _, end in stage.script.comes)
    return stage.steps


async def _cancel_all(loop: VirtualLoop) -> None:
    others = asyncio.all_tasks(loop) - {asyncio.current_task(loop)}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


# --- what is drawn ------------------------------------------------------------------------------------------------

_REHEARSED = re.compile(
    r"<!-- rehearsed: (?P<name>.+?) -->\n\n?```mermaid\nsequenceDiagram\n(?P<drawn>.*?)```", re.DOTALL
)
_SAID = re.compile(r"^ +(?P<speaker>[ABG])(?P<arrow>->>|-x)(?P<listener>[ABG]): (?P<what>.+)$")
_DONE = re.compile(r"^ +Note over (?P<speaker>[ABG]): (?P<what>(?:\d+ rows|position|mark \d|killed|starts).*)$")
Kind = tuple[Module, Module | None, str]


def diagrams() -> Mapping[str, Sequence[Step]]:
    """Read the marked diagrams of the specs."""
    return {
        match["name"]: tuple(_steps(match["drawn"]))
        for path in sorted(SPECS.glob("*.md"))
        for match in _REHEARSED.finditer(path.read_text(encoding="utf-8"))
    }


def _steps(drawn: str) -> Iterator[Step]:
    for line in drawn.splitlines():
        if found := _SAID.match(line):
            yield Step(MODULES[found["speaker"]], MODULES[found["listener"]], found["what"], found["arrow"] == "-x")
        elif found := _DONE.match(line):
            yield Step(MODULES[found["speaker"]], None, found["what"])


def _kind(step: Step) -> Kind:
    return step.speaker, step.listener, "" if step.listener is None else re.split(r"[ ,]", step.what)[0]


def _work(speaker: Module, steps: Sequence[Step], kinds: frozenset[Kind]) -> list[Step]:
    """What a module did, but for its greetings."""
    return [step for step in steps if step.speaker is speaker and _kind(step) in kinds and _kind(step)[2] != "Hello"]


def _said(speaker: Module, listener: Module, steps: Sequence[Step]) -> list[str]:
    """What it said to another, greetings included."""
    return [step.what for step in steps if (step.speaker, step.listener) == (speaker, listener)]


def _lies_in(part: Sequence[Step], whole: Sequence[Step]) -> bool:
    return any(whole[start : start + len(part)] == part for start in range(len(whole) - len(part) + 1))


def _comes_in(part: Sequence[str], whole: Sequence[str]) -> bool:
    """Greetings are said again and again: those that are drawn must come, in their order, between what is drawn."""
    rest = iter(whole)
    return all(each in rest for each in part)


DIAGRAMS = diagrams()


def test_every_rehearsal_is_drawn() -> None:
    assert set(DIAGRAMS) == set(REHEARSALS)


@pytest.mark.parametrize("name", DIAGRAMS)
def test_modules_say_what_is_drawn_in_that_order(name: str) -> None:
    drawn, happened = DIAGRAMS[name], rehearse(name)
    told = "\n".join(map(str, happened))
    kinds = frozenset(map(_kind, drawn))
    assert len(drawn) > 4
    for module in Module:
        assert _lies_in(_work(module, drawn, kinds), _work(module, happened, kinds)), f"{module} did\n{told}"
        for other in Module:
            comes = _comes_in(_said(module, other, drawn), _said(module, other, happened))
            assert comes, f"{module} said\n{told}"
