"""Module Beta at work: take what has arrived → transform → dead-letter → hand over → answer when settled.

When Gamma begins again, so does Beta, and tells Alpha to go back; when Alpha does, Beta forgets what it has not settled
and begins again towards Gamma.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby
from typing import TYPE_CHECKING

import msgspec
import pyarrow as pa

from penstock.errors import BatchRefused, first_of
from penstock.model.batch import SEQUENCE, sequences_of
from penstock.model.outcome import DeadLetter, Outcome, RecordError, Stage
from penstock.model.position import Range
from penstock.observing.facts import LatencyStage, Timed, WentBack
from penstock.ports import OriginalsGone, ReceiverIsNew, SenderIsNew, Taken
from penstock.protocol.batches import Covers, Stamps, outgoing
from penstock.protocol.messages import (
    AFFECTED_IDS_MAX,
    AcknowledgmentPayload,
    AckStatus,
    BatchErrorSummary,
    Excepted,
    Module,
    Priority,
)
from penstock.protocol.settlement import Settlement
from penstock.threads import heeding_cancellation, to_its_end
from penstock.transformation.assembly import Assembled, Assembly, Decided, Part, split

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from penstock.ports import Arrived, Inbound, Original, Outbound, RunContext
    from penstock.protocol.messages import BatchMetadata, QualitySummary, TransformationSummary
    from penstock.protocol.sender import Answered, Outgoing
    from penstock.protocol.settlement import Settled
    from penstock.transformation.apply import Transformed, Transformer

    Originals = Callable[[str, Sequence[int]], Sequence[Original]]
    Refused = Mapping[int, tuple[RecordError, ...]]
    Summary = tuple[TransformationSummary, QualitySummary]

BATCHES_AT_ONCE = 128
"""Batches transformed in one call: enough that the call's fixed cost vanishes, few enough that the next stage can
begin while the rest is worked on."""
REJECTED = "INT_LINK_010"


@dataclass(slots=True)
class _Input:
    """An input batch that is not settled: since when it is here, and its records that were not simply delivered."""

    metadata: BatchMetadata
    since_s: float
    excepted: list[Excepted] = field(default_factory=list)
    refused: str = ""
    """Why the batch as a whole cannot be worked on."""


@dataclass(frozen=True, slots=True)
class _Sent:
    """What is remembered of a batch on its way to delivery: the input records it answers for."""

    partition: str
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class _Ready:
    """A batch for delivery, serialised."""

    outgoing: Outgoing[Summary]
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class _Worked:
    """What came of one call: batches that are ready, and parts that need none."""

    ready: tuple[_Ready, ...] = ()
    done: tuple[tuple[str, Part], ...] = ()


class Transformation:
    """Beta for one source table and every model fed by it."""

    def __init__(
        self,
        source: str,
        transformers: Mapping[str, Transformer],
        incoming: Inbound,
        link: Outbound[Summary],
        originals: Originals,
        context: RunContext,
    ) -> None:
        self._source = source
        self._transformers = transformers
        self._incoming = incoming
        self._link = link
        self._book = context.book
        self._originals = originals
        self._clock = context.clock
        self._chance = context.chance
        self._observer = context.observer
        self._batch_size = context.settings.whole("BETA_GAMMA_BATCH_SIZE")
        self._flush_timeout_s = context.settings.seconds("BETA_GAMMA_FLUSH_TIMEOUT_MS")
        self._forget()

    async def run(self) -> None:
        """Work until Alpha closes and everything is answered."""
        while not await heeding_cancellation(self._settled_all()):
            self._forget()
        self._link.finish()

    async def _settled_all(self) -> bool:
        """Work to the end; False where one of the others began again meanwhile."""
        self._link.begin()
        lost: BaseExceptionGroup[Exception] | None = None
        try:
            async with asyncio.TaskGroup() as tasks:
                answering = tasks.create_task(self._answer_all())
                await self._work_all()
                self._link.close()
                await self._incoming.finished()
                answering.cancel()  # Alpha has all it needs: what Gamma does now concerns nobody
        except* SenderIsNew as group:
            lost = group
        except* (ReceiverIsNew, OriginalsGone) as group:
            lost = group
            self._incoming.begin()
        if lost is None:
            return True
        self._observer.saw(WentBack(self._source, Module.BETA, str(first_of(lost))))
        return False

    def _forget(self) -> None:
        self._settlement = Settlement(tuple(self._transformers), gaps=True)
        self._inputs: dict[tuple[str, Range], _Input] = {}
        self._sent: dict[str, _Sent] = {}
        self._covered: dict[tuple[str, str], int] = {}
        self._quality: dict[str, QualitySummary] = {}
        self._assemblies: defaultdict[tuple[str, str], Assembly] = defaultdict(lambda: Assembly(self._batch_size))
        self._stamps = Stamps(self._chance.new_id, lambda: datetime.fromtimestamp(self._clock.time_s(), UTC))

    async def _work_all(self) -> None:
        closed = False
        while not closed:
            try:
                async with asyncio.timeout(self._wait_s()):
                    taken = await self._incoming.take(BATCHES_AT_ONCE)
            except TimeoutError:
                taken = Taken()
            closed = taken.closed
            for partition, batches in groupby(taken.batches, key=lambda batch: batch.metadata.partition):
                # What waits of others was read before: it must not arrive after.
                await self._flush([key for key in self._assemblies if key[1] != partition])
                await self._work(partition, list(batches))
            await self._flush(list(self._assemblies) if taken.hurry or closed else self._overdue())
            if taken.hurry:
                self._link.hurry()

    def _wait_s(self) -> float | None:
        """Return how long rows may still wait for more of them, None where none wait."""
        since_s = min((assembly.since_s for assembly in self._assemblies.values() if assembly.kept), default=None)
        return None if since_s is None else max(0.0, since_s + self._flush_timeout_s - self._clock.now_s())

    def _overdue(self) -> list[tuple[str, str]]:
        since_s = self._clock.now_s() - self._flush_timeout_s
        return [key for key, assembly in self._assemblies.items() if assembly.kept and assembly.since_s <= since_s]

    async def _work(self, partition: str, batches: Sequence[Arrived]) -> None:
        now_s = self._clock.now_s()
        for batch in batches:
            metadata = batch.metadata
            self._inputs[partition, metadata.range] = _Input(metadata, now_s)
            self._release(self._settlement.open(partition, metadata.range, metadata.record_count))
        worked = await to_its_end(self._transform, partition, batches)
        seconds = self._clock.now_s() - now_s
        records = sum(batch.metadata.record_count for batch in batches)
        self._observer.saw(Timed(self._source, LatencyStage.TRANSFORMATION, seconds, records))
        await self._pass_on(partition, worked)

    async def _flush(self, keys: Sequence[tuple[str, str]]) -> None:
        for destination, partition in keys:
            assembly = self._assemblies[destination, partition]
            if assembly.kept:
                ready = await to_its_end(list, self._rest(destination, partition, assembly))
                await self._pass_on(partition, _Worked(tuple(ready)))

    async def _pass_on(self, partition: str, worked: _Worked) -> None:
        for destination, part in worked.done:
            self._release(self._settlement.answer(partition, destination, part.range, part.tally))
        for ready in worked.ready:
            self._sent[ready.outgoing.metadata.batch_id] = _Sent(partition, ready.parts)
            await self._link.send(ready.outgoing)

    def _transform(self, partition: str, batches: Sequence[Arrived]) -> _Worked:
        rows = pa.Table.from_batches([batch.records for batch in batches])
        results, refused = self._results(rows)
        letters = [
            letter for name, result in results.items() for letter in self._letters(partition, name, result.errors)
        ]
        letters += self._letters(partition, "", refused)
        if letters:
            self._book.dead_letter(letters)
        inputs = [batch.metadata for batch in batches]
        if refused:
            self._note_refused(partition, batches, refused)
        found = [
            each
            for name, result in results.items()
            for each in self._assemble(partition, name, _decided(name, result, refused), result, inputs)
        ]
        return _Worked(
            tuple(each for each in found if isinstance(each, _Ready)),
            tuple(each for each in found if not isinstance(each, _Ready)),
        )

    def _results(self, rows: pa.Table) -> tuple[dict[str, Transformed], Refused]:
        """Transform rows for every model; where that is refused as a whole, by halves, down to the records to blame.

        So what becomes of a record never depends on the company in which it came.
        """
        try:
            return {name: transformer.transform(rows) for name, transformer in self._transformers.items()}, {}
        except BatchRefused as error:
            if not rows.num_rows:
                raise  # nothing is to blame for that
            if rows.num_rows == 1:
                (sequence,) = rows.column(SEQUENCE).to_pylist()
                nothing = rows.slice(0, 0)
                results = {name: transformer.transform(nothing) for name, transformer in self._transformers.items()}
                return results, {sequence: (RecordError(REJECTED, "", error.message),)}
        half = rows.num_rows // 2
        first, refused = self._results(rows.slice(0, half))
        second, more = self._results(rows.slice(half))
        return {name: first[name].joined(second[name]) for name in first}, {**refused, **more}

    def _note_refused(self, partition: str, batches: Sequence[Arrived], refused: Refused) -> None:
        """Remember which batches are refused as a whole: they are answered REJECTED in their turn."""
        for batch in batches:
            sequences = sequences_of(batch.records)
            if len(sequences) and all(sequence in refused for sequence in sequences):
                self._inputs[partition, batch.metadata.range].refused = refused[sequences[0]][0].message

    def _letters(
        self, partition: str, destination: str, errors: Mapping[int, tuple[RecordError, ...]]
    ) -> Iterator[DeadLetter]:
        sequences = sorted(errors)
        for sequence, original in zip(sequences, self._find(partition, sequences), strict=True):
            yield DeadLetter(
                self._source,
                partition,
                sequence,
                Stage.TRANSFORMATION,
                destination,
                errors[sequence],
                original.content,
                original.line,
            )

    def _find(self, partition: str, sequences: Sequence[int]) -> Sequence[Original]:
        return self._originals(partition, sequences) if sequences else ()

    def _assemble(
        self,
        partition: str,
        destination: str,
        decided: Decided,
        result: Transformed,
        inputs: Sequence[BatchMetadata],
    ) -> Iterator[_Ready | tuple[str, Part]]:
        """Put one destination's result into batches, and note what befell its records here."""
        for metadata in inputs:
            self._inputs[partition, metadata.range].excepted += [
                Excepted(destination, outcome, Stage.TRANSFORMATION, reason, sequences)
                for outcome, reason, sequences in decided.named(metadata.range)
            ]
        self._quality[destination] = result.quality.summary()
        assembly = self._assemblies[destination, partition]
        priority, urgent = _urgency(inputs)
        found = list(assembly.add(_one_batch(result.rows), inputs, decided, self._clock.now_s()))
        if urgent:
            found += assembly.flush()
        last = max((number for number, each in enumerate(found) if isinstance(each, Assembled)), default=None)
        for number, each in enumerate(found):
            if isinstance(each, Part):
                yield destination, each
            else:
                yield self._ready(destination, partition, each, priority, flush=urgent and number == last)

    def _rest(self, destination: str, partition: str, assembly: Assembly) -> Iterator[_Ready]:
        """Put what waits into a batch that nothing will linger on."""
        for each in assembly.flush():
            yield self._ready(destination, partition, each, flush=True)

    def _ready(
        self,
        destination: str,
        partition: str,
        assembled: Assembled,
        priority: Priority = Priority.NORMAL,
        *,
        flush: bool = False,
    ) -> _Ready:
        key = partition, destination
        last = assembled.parts[-1].range.end
        covered = Range(self._covered.get(key, assembled.parts[0].range.start), last)  # with what left nothing before
        self._covered[key] = last
        errors = self._errors(partition, destination, covered, assembled.parts)
        covers = Covers(partition, covered, assembled.position, destination, priority, flush, errors)
        summary = self._transformers[destination].summary(assembled.rows.num_rows), self._quality[destination]
        return _Ready(outgoing(assembled.rows, summary, covers, self._stamps()), assembled.parts)

    def _errors(
        self, partition: str, destination: str, covered: Range, parts: Sequence[Part]
    ) -> BatchErrorSummary | None:
        """Tell of the records of `covered` that were refused: here, and by Alpha before."""
        found: Counter[str] = Counter()
        ids: list[str] = []
        for of in {part.of: None for part in parts}:
            entry = self._inputs[partition, of]
            before = entry.metadata.errors
            if before is not None and of.start in covered:  # once, with the batch in which the input begins
                found.update(before.error_breakdown)
                ids += before.affected_record_ids
            for each in entry.excepted:
                if each.outcome is Outcome.DEAD_LETTERED and each.destination == destination:
                    here = [sequence for sequence in each.sequences if sequence in covered]
                    found[each.reason] += len(here)
                    ids += [f"{self._source}/{partition}/{sequence}" for sequence in here]
        if not found.total():
            return None
        return BatchErrorSummary(found.total(), dict(sorted((+found).items())), tuple(ids[:AFFECTED_IDS_MAX]))

    async def _answer_all(self) -> None:
        while answers := await self._link.answered():
            for answer in answers:
                self._take(answer)
        self._incoming.close()

    def _take(self, answer: Answered) -> None:
        """Divide what became of a batch among the input batches that its records came from."""
        sent = self._sent.pop(answer.metadata.batch_id)
        destination, excepted = answer.metadata.destination, answer.payload.excepted
        for part in sent.parts:
            self._note(sent.partition, part, excepted)
            tally = split(part, destination, excepted)
            self._release(self._settlement.answer(sent.partition, destination, part.range, tally))

    def _note(self, partition: str, part: Part, excepted: Sequence[Excepted]) -> None:
        if not excepted:
            return
        entry = self._inputs[partition, part.of]
        for each in excepted:
            within = tuple(sequence for sequence in each.sequences if sequence in part.range)
            if within:
                entry.excepted.append(msgspec.structs.replace(each, sequences=within))

    def _release(self, settled: Iterable[Settled]) -> None:
        """Answer for what is settled: delivered, filtered or dead-lettered, durably."""
        payloads = [self._payload(released) for released in settled]
        if payloads:
            self._incoming.answer(payloads)

    def _payload(self, settled: Settled) -> AcknowledgmentPayload:
        entry = self._inputs.pop((settled.partition, settled.range))
        metadata = entry.metadata
        dead = (each for each in entry.excepted if each.outcome is Outcome.DEAD_LETTERED)
        rejected = len({sequence for each in dead for sequence in each.sequences})
        return AcknowledgmentPayload(
            metadata.batch_id,
            AckStatus.REJECTED if entry.refused else AckStatus.PROCESSED,
            max(0, metadata.record_count - rejected),
            rejected,
            int((self._clock.now_s() - entry.since_s) * 1000),
            settled.tally,
            tuple(entry.excepted),
            metadata.sequence_number,
            entry.refused,
        )


def _urgency(inputs: Sequence[BatchMetadata]) -> tuple[Priority, bool]:
    """Return the priority of what input batches come to, and whether it may linger."""
    critical = any(metadata.priority is Priority.CRITICAL for metadata in inputs)
    return Priority.CRITICAL if critical else Priority.NORMAL, any(metadata.urgent for metadata in inputs)


def _one_batch(rows: pa.Table) -> pa.RecordBatch:
    batches = rows.combine_chunks().to_batches()
    return batches[0] if batches else pa.RecordBatch.from_pylist([], schema=rows.schema)


def _decided(destination: str, result: Transformed, refused: Refused) -> Decided:
    """List what was decided here."""
    by_code: dict[str, list[int]] = {}
    errors = {**result.errors, **refused}
    for sequence in sorted(errors):
        by_code.setdefault(errors[sequence][0].code, []).append(sequence)
    filtered = [(Outcome.FILTERED, reason, view) for reason, view in result.filtered.items()]
    return Decided(destination, [*filtered, *((Outcome.DEAD_LETTERED, code, found) for code, found in by_code.items())])
