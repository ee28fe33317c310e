"""Module Beta at work: take what has arrived → transform → dead-letter → hand over → answer when settled."""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from typing import TYPE_CHECKING

import pyarrow as pa

from penstock.errors import Corruption
from penstock.model.batch import sequences_of
from penstock.model.identity import new_id
from penstock.model.outcome import Count, DeadLetter, Outcome, Stage
from penstock.model.position import Range
from penstock.protocol.batches import Covers, Stamps, outgoing, slices
from penstock.protocol.messages import AcknowledgmentPayload, AckStatus
from penstock.protocol.settlement import Settlement
from penstock.threads import to_its_end

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from penstock.model.outcome import Tally
    from penstock.ports import Arrived, Inbound, Original, Outbound, RunContext
    from penstock.protocol.messages import BatchMetadata, QualitySummary, TransformationSummary
    from penstock.protocol.sender import Outgoing
    from penstock.protocol.settlement import Settled
    from penstock.transformation.apply import Transformed, Transformer

    Originals = Callable[[str, Sequence[int]], Sequence[Original]]
    Summary = tuple[TransformationSummary, QualitySummary]

BATCHES_AT_ONCE = 128
"""Batches transformed in one call: enough that the call's fixed cost vanishes, few enough that the next stage can
begin while the rest is worked on."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """A part of one destination's result, within one input batch; `tally` is what Beta itself decided."""

    destination: str
    range: Range
    tally: Tally
    outgoing: Outgoing[Summary] | None


@dataclass(frozen=True, slots=True)
class _Sent:
    """What is remembered of a batch on its way to delivery: the input range it answers for."""

    partition: str
    range: Range
    tally: Tally


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
        self._batch_size = context.settings.whole("BETA_GAMMA_BATCH_SIZE")
        self._settlement = Settlement(tuple(transformers))
        self._batches: dict[tuple[str, Range], tuple[BatchMetadata, float]] = {}
        self._sent: dict[str, _Sent] = {}
        self._covered: dict[tuple[str, str], int] = {}
        self._stamps = Stamps(new_id, lambda: datetime.fromtimestamp(context.clock.time_s(), UTC))

    async def run(self) -> None:
        """Work until Alpha closes and everything is answered."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._answer_all())
            while arrived := await self._incoming.take(BATCHES_AT_ONCE):
                for partition, batches in groupby(arrived, key=lambda batch: batch.metadata.partition):
                    await self._work(partition, list(batches))
            self._link.close()

    async def _work(self, partition: str, batches: Sequence[Arrived]) -> None:
        now_s = self._clock.now_s()
        for batch in batches:
            range_ = batch.metadata.range
            self._batches[partition, range_] = (batch.metadata, now_s)
            self._release(self._settlement.open(partition, range_, batch.metadata.record_count))
        for piece in await to_its_end(self._transform, partition, batches):
            if piece.outgoing is None:
                self._release(self._settlement.answer(partition, piece.destination, piece.range, piece.tally))
            else:
                batch_id = piece.outgoing.metadata.batch_id
                self._sent[batch_id] = _Sent(partition, piece.range, piece.tally)
                await self._link.send(piece.outgoing)

    def _transform(self, partition: str, batches: Sequence[Arrived]) -> list[_Piece]:
        rows = pa.Table.from_batches([batch.records for batch in batches])
        results = {name: transformer.transform(rows) for name, transformer in self._transformers.items()}
        letters = [letter for name, result in results.items() for letter in self._letters(partition, name, result)]
        if letters:
            self._book.dead_letter(letters)
        return [piece for name, result in results.items() for piece in self._cut(name, result, batches)]

    def _letters(self, partition: str, destination: str, result: Transformed) -> Iterator[DeadLetter]:
        sequences = sorted(result.errors)
        for sequence, original in zip(sequences, self._find(partition, sequences), strict=True):
            yield DeadLetter(
                self._source,
                partition,
                sequence,
                Stage.TRANSFORMATION,
                destination,
                result.errors[sequence],
                original.content,
                original.line,
            )

    def _find(self, partition: str, sequences: Sequence[int]) -> Sequence[Original]:
        return self._originals(partition, sequences) if sequences else ()

    def _cut(self, destination: str, result: Transformed, batches: Sequence[Arrived]) -> Iterator[_Piece]:
        """Cut a destination's result at the input batches' borders, and to the size of an output batch."""
        rows = _one_batch(result.rows)
        sequences = sequences_of(rows)
        decided = _decided(result)
        offset = 0
        for batch in batches:
            end = bisect_left(sequences, batch.metadata.range.end, lo=offset)
            for range_, part in slices(rows.slice(offset, end - offset), batch.metadata.range, self._batch_size):
                tally = _tally(destination, decided, range_)
                out = self._outgoing(destination, result, batch.metadata, range_, part) if part.num_rows else None
                yield _Piece(destination, range_, tally, out)
            offset = end

    def _outgoing(
        self, destination: str, result: Transformed, metadata: BatchMetadata, range_: Range, rows: pa.RecordBatch
    ) -> Outgoing[Summary]:
        key = metadata.partition, destination
        covered = Range(self._covered.get(key, range_.start), range_.end)  # takes in what left nothing before it
        self._covered[key] = range_.end
        summary = self._transformers[destination].summary(rows.num_rows), result.quality.summary()
        covers = Covers(metadata.partition, covered, metadata.position, destination)
        return outgoing(rows, summary, covers, self._stamps())

    async def _answer_all(self) -> None:
        while answers := await self._link.answers.take():
            for answer in answers:
                if answer.payload.status is AckStatus.REJECTED:
                    what = f"{self._source}/{answer.metadata.partition}: batch {answer.metadata.range}"
                    raise Corruption("INT_LINK_002", f"{what} was rejected by delivery")
                sent = self._sent.pop(answer.metadata.batch_id)
                self._release(
                    self._settlement.answer(
                        sent.partition,
                        answer.metadata.destination,
                        sent.range,
                        [*sent.tally, *answer.payload.tally],
                    )
                )
        self._incoming.close()

    def _release(self, settled: Iterable[Settled]) -> None:
        """Answer PROCESSED for what is settled: delivered, filtered or dead-lettered, durably."""
        self._incoming.answer([self._processed(released) for released in settled])

    def _processed(self, settled: Settled) -> AcknowledgmentPayload:
        metadata, since_s = self._batches.pop((settled.partition, settled.range))
        rejected = sum(count.records for count in settled.tally if count.outcome is Outcome.DEAD_LETTERED)
        duration_ms = int((self._clock.now_s() - since_s) * 1000)
        return AcknowledgmentPayload(
            metadata.batch_id,
            AckStatus.PROCESSED,
            max(0, metadata.record_count - rejected),
            rejected,
            duration_ms,
            settled.tally,
        )


def _one_batch(rows: pa.Table) -> pa.RecordBatch:
    batches = rows.combine_chunks().to_batches()
    return batches[0] if batches else pa.RecordBatch.from_pylist([], schema=rows.schema)


def _decided(result: Transformed) -> list[tuple[Outcome, str, Sequence[int]]]:
    """List what the transformation itself decided: outcome, reason, and the ascending sequences it befell."""
    by_code: dict[str, list[int]] = {}
    for sequence in sorted(result.errors):
        by_code.setdefault(result.errors[sequence][0].code, []).append(sequence)
    filtered = [(Outcome.FILTERED, reason, view) for reason, view in result.filtered.items()]
    return [*filtered, *((Outcome.DEAD_LETTERED, code, found) for code, found in by_code.items())]


def _tally(destination: str, decided: Iterable[tuple[Outcome, str, Sequence[int]]], range_: Range) -> Tally:
    return tuple(
        Count(destination, outcome, Stage.TRANSFORMATION, reason, records)
        for outcome, reason, sequences in decided
        if (records := bisect_left(sequences, range_.end) - bisect_left(sequences, range_.start))
    )
