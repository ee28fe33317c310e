"""One run of a pipeline: open, compare, flow source by source, judge, close."""

from __future__ import annotations

import asyncio
import signal
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from typing import TYPE_CHECKING

from penstock.connectors import open_sink
from penstock.errors import PenstockError, first_of
from penstock.ledger import Ledger, RunBook, RunStatus, hold
from penstock.model.pipeline import encode, fingerprint, without_password
from penstock.observing.facts import Everyone, SourceOpened
from penstock.orchestration.book import ObservedBook
from penstock.orchestration.clock import SystemChance, SystemClock
from penstock.orchestration.control import Control
from penstock.orchestration.flow import Flow, Parts
from penstock.orchestration.memory import warm_memory
from penstock.orchestration.reading import open_readings, open_replays
from penstock.orchestration.recovery import check_document, judge_anew, reconcile, refuse_foreign_marks
from penstock.orchestration.reference import ReferenceTables, skipped_notes
from penstock.orchestration.reporting import (
    accounts_of_all_time,
    accounts_of_run,
    hand_offs,
    judge,
    latencies,
    trouble_of,
)
from penstock.orchestration.result import RunResult, Status
from penstock.planning import streaming_of
from penstock.ports import RunContext
from penstock.threads import to_its_end
from penstock.transformation.apply import Transformer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from penstock.ingestion.references import References
    from penstock.ingestion.stage import Validates
    from penstock.ledger import RequirementResult
    from penstock.model.pipeline import Connection, SourceTable
    from penstock.observing.facts import Observer
    from penstock.observing.figures import Figures
    from penstock.orchestration.plan import Plan
    from penstock.orchestration.reading import Reading
    from penstock.ports import Sink

SIGNALS = (signal.SIGINT, signal.SIGTERM)


async def run(
    plan: Plan, observer: Observer, figures: Figures, control: Control | None = None, *, replay: bool = False
) -> RunResult:
    """Run what there is to read now and return what came of it; with `replay`, unfinished replays of dead letters only.

    A plan that follows its sources runs until it is stopped. `figures` is kept up to date meanwhile. The first
    interrupt stops reading and settles what is under way, a second one stops at once; SIGHUP lets a run that follows
    read its settings anew. An error that stops the run is part of the result; one that forbids to begin is raised.
    """
    with hold(plan.state, plan.pipeline.name), Ledger.open(plan.state) as ledger, warm_memory():
        check_document(ledger, plan.pipeline.name, fingerprint(plan.pipeline), plan.resolution)
        steered = _Run(plan, ledger, observer, figures, replay=replay)
        steering = control or Control()
        steering.take_up(steered, asyncio.get_running_loop())
        try:
            return await steered.to_its_end()
        finally:
            steering.let_go()


class _Run:
    def __init__(self, plan: Plan, ledger: Ledger, observer: Observer, figures: Figures, *, replay: bool) -> None:
        self._plan = plan
        self._pipeline = plan.pipeline
        self._ledger = ledger
        self._figures = figures
        self._observer = Everyone(figures, observer)
        self._clock = SystemClock()
        self._replay = replay
        self._references = ReferenceTables(plan)
        self._dangling: dict[str, References] = {}
        self._notes: list[str] = []
        self._flows: dict[str, Flow] = {}
        self._streaming: bool | None = None
        self._settings = plan.settings
        self._stopping = False

    async def to_its_end(self) -> RunResult:
        with self._interruptible():
            return await self._whole()

    async def _whole(self) -> RunResult:
        began_s = self._clock.now_s()
        pipeline, ledger = self._pipeline, self._ledger
        run_id = ledger.begin_run(pipeline.name, fingerprint(pipeline), encode(pipeline))
        requirements: tuple[RequirementResult, ...] = ()
        trouble = None
        try:
            requirements = await self._work(run_id, began_s)
            interrupted = self._stopping and not self._plan.follow  # following ends no other way
            status = Status.INTERRUPTED if interrupted else Status.COMPLETED
        except* PenstockError as group:
            error = first_of(group)
            assert isinstance(error, PenstockError)
            trouble = trouble_of(error)
            status = Status.FAILED
        ledger.record_evidence(run_id, requirements)
        ledger.end_run(run_id, RunStatus(status.value))
        return RunResult(
            pipeline=pipeline.name,
            run_id=run_id,
            status=status,
            seconds=self._clock.now_s() - began_s,
            account=accounts_of_run(pipeline, ledger, run_id, self._figures, replay=self._replay),
            all_time=accounts_of_all_time(pipeline, ledger),
            hand_offs=hand_offs(self._figures),
            latencies=latencies(self._pipeline, self._figures),
            requirements=requirements,
            warehouse=_place_of(pipeline.warehouse.connection, self._plan.home),
            notes=(*self._notes, *skipped_notes(self._references.loaded)),
            trouble=trouble,
        )

    async def _work(self, run_id: str, began_s: float) -> tuple[RequirementResult, ...]:
        with ExitStack() as stack:
            sinks = await to_its_end(self._open_sinks, stack)
            readings = await to_its_end(self._open_readings, stack, sinks, run_id)
            book = ObservedBook(RunBook(self._ledger, run_id, self._pipeline.name), self._observer)
            context = RunContext(book, self._plan.settings, self._clock, SystemChance(), self._observer)
            await self._read_all(readings, sinks, context)
            if self._stopping and not self._plan.follow:
                return ()
            seconds = self._clock.now_s() - began_s
            judging = partial(judge, following=self._plan.follow)
            return await to_its_end(
                judging, self._pipeline, self._ledger, sinks, self._dangling, self._figures, seconds
            )

    async def _read_all(self, readings: Sequence[Reading], sinks: Mapping[str, Sink], context: RunContext) -> None:
        """Run one source after the other; all at once where they are followed, for none of them ends."""
        if not self._plan.follow:
            for reading in readings:
                await self._read(reading, sinks, context)
            return
        async with asyncio.TaskGroup() as tasks:
            for reading in readings:
                tasks.create_task(self._read(reading, sinks, context))

    def _open_sinks(self, stack: ExitStack) -> dict[str, Sink]:
        plan = self._plan
        sinks = {
            model.name: open_sink(plan.pipeline.name, model, plan.pipeline.warehouse, plan.home, plan.settings)
            for model in plan.pipeline.models
        }
        for sink in sinks.values():
            stack.callback(sink.close)
            sink.prepare()
        if not self._ledger.has_met_partitions(plan.pipeline.name):
            refuse_foreign_marks(plan.pipeline.name, sinks, plan.resolution)
        sources = {model.name: model.source for model in plan.pipeline.models}
        self._notes += reconcile(self._ledger, plan.pipeline.name, sinks, sources, plan.resolution)
        return sinks

    def _open_readings(self, stack: ExitStack, sinks: Mapping[str, Sink], run_id: str) -> Sequence[Reading]:
        if self._replay:
            readings = open_replays(self._plan, self._ledger)
        else:
            readings = open_readings(self._plan, self._ledger, sinks)
        for reading in readings:
            stack.callback(reading.source.close)
            sizes = {
                start.partition: reading.source.size_bytes(start.partition, start.position) for start in reading.starts
            }
            self._observer.saw(SourceOpened(reading.table.name, sizes))
        judge_anew(self._ledger, run_id, self._pipeline.name, readings, sinks)
        return readings

    async def _read(self, reading: Reading, sinks: Mapping[str, Sink], context: RunContext) -> None:
        """Run one source table through to its models."""
        if self._stopping:
            return
        with ExitStack() as stack:
            validator = stack.enter_context(closing(await to_its_end(self._references.validator, reading.table)))
            parts = await to_its_end(self._parts, stack, reading, validator, sinks)
            flow = self._flows[reading.table.name] = Flow(parts, context, self._plan.connect)
            flow.switch(streaming=self._is_streaming(reading.table))
            if not self._stopping:
                await flow.run(reading.starts, reading.register)
            del self._flows[reading.table.name]
            for key, found in validator.result().items():
                self._dangling[f"{reading.table.name}.{key.column}"] = found

    def _parts(self, stack: ExitStack, reading: Reading, validator: Validates, sinks: Mapping[str, Sink]) -> Parts:
        transformers = {}
        for model in reading.models:
            self._references.load_lookups(model)
            transformer = Transformer(model, reading.table, self._references.lookups, self._plan.settings)
            transformers[model.name] = stack.enter_context(closing(transformer))
        own = {model.name: sinks[model.name] for model in reading.models}
        return Parts(reading.table, reading.source, validator, transformers, own)

    def stop(self) -> None:
        """Read no further; settle what is under way."""
        self._stopping = True
        for flow in self._flows.values():
            flow.stop()

    def switch(self, *, streaming: bool | None) -> None:
        """Hand over in the other mode from now on; None: as settings and plan say."""
        self._streaming = streaming
        for name, flow in self._flows.items():
            flow.switch(streaming=self._is_streaming(self._pipeline.source(name)))

    def _is_streaming(self, table: SourceTable) -> bool:
        return streaming_of(table, self._settings) if self._streaming is None else self._streaming

    def _reread(self) -> None:
        """Take the settings as they are now; what cannot be understood leaves everything as it was."""
        if self._plan.reread is None:
            return
        try:
            self._settings = self._plan.reread()
        except PenstockError as error:
            self._notes.append(f"the settings were not read anew: {error}")
        else:
            self.switch(streaming=None)

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        """Let the first interrupt drain, and the second one stop at once."""
        loop = asyncio.get_running_loop()
        handlers: dict[int, Callable[[], None]] = dict.fromkeys(SIGNALS, self._interrupt)
        if self._plan.follow:
            handlers[signal.SIGHUP] = self._reread
        installed = []
        for number, handler in handlers.items():
            try:
                loop.add_signal_handler(number, handler)
            except (RuntimeError, ValueError, NotImplementedError):
                break  # not the main thread: whoever runs us there decides about signals
            installed.append(number)
        try:
            yield
        finally:
            for number in installed:
                loop.remove_signal_handler(number)

    def _interrupt(self) -> None:
        if self._stopping:
            raise KeyboardInterrupt
        self.stop()


def _place_of(warehouse: Connection, home: Path) -> str:
    """Return where the destination is, as people are told: a URL without what is secret in it, or a path."""
    return without_password(warehouse.url) if warehouse.url else str(home / (warehouse.path or "warehouse.duckdb"))
