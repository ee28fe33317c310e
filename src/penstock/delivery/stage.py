"""Module Gamma at work: gather what has arrived → write → dead-letter → commit rows and mark → answer.

When Beta begins again, Gamma forgets what it has not committed, and asks the destination for its marks anew.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from penstock.delivery.fates import REJECTED, Fates, answer_for, rejected
from penstock.errors import BatchRefused, RemoteViolation, Unavailable
from penstock.model.batch import SEQUENCE, sequences_of
from penstock.model.outcome import DeadLetter, Outcome, RecordError, Stage
from penstock.model.position import Mark, Range
from penstock.observing.facts import (
    AtCommitPoint,
    CommitPoint,
    DestinationAway,
    LatencyStage,
    Moment,
    RowsCommitted,
    Timed,
    WentBack,
)
from penstock.ports import Fate, OriginalsGone, SenderIsNew, Taken
from penstock.protocol.backoff import delay_s
from penstock.protocol.messages import Module, Priority
from penstock.threads import to_its_end

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from penstock.delivery.fates import Answer
    from penstock.ports import Arrived, Inbound, Original, RunContext, Sink

    Originals = Callable[[str, Sequence[int]], Sequence[Original]]
    Refused = dict[str, dict[int, RecordError]]

P = ParamSpec("P")
T = TypeVar("T")

BATCHES_AT_ONCE = 128
"""Batches taken before it is asked again whether a commit is due: a group exceeds its limit by no more than these."""
SHORTER = 0.9
"""A commit is expected to take as long as the longest of late, less a tenth with each that takes less."""
SUPERSEDED = Fate(Outcome.FILTERED, "superseded")


@dataclass(slots=True)
class _Group:
    """Batches of one destination that will be committed together."""

    since_s: float
    batches: list[Arrived] = field(default_factory=list)
    rows: int = 0
    size_bytes: int = 0

    def add(self, batch: Arrived) -> None:
        self.batches.append(batch)
        self.rows += batch.records.num_rows
        self.size_bytes += len(batch.transfer.records)


@dataclass(frozen=True, slots=True)
class CommitLimits:
    """When a group is committed: at so many rows or bytes, or after so long, whichever comes first."""

    rows: int
    size_bytes: int
    interval_s: float
    """From a batch's arrival until it is committed: so a commit begins as much earlier as it may take."""
    idle_s: float
    """With nothing arriving for so long, what is there is committed: the source may be waiting for just that."""

    def reached(self, group: _Group) -> bool:
        """Tell whether `group` is due, however long it has waited."""
        return group.rows >= self.rows or group.size_bytes >= self.size_bytes

    def due_s(self, group: _Group, commit_s: float) -> float:
        """Return when `group` has waited long enough, where a commit takes `commit_s`; never less than half the time.

        Where commits take longer than that, they would follow one another without end and with next to nothing in them.
        """
        return group.since_s + max(self.interval_s / 2, self.interval_s - commit_s)


class Delivery:
    """Gamma for one source table: every sink that its models end in."""

    def __init__(
        self,
        source: str,
        sinks: Mapping[str, Sink],
        incoming: Inbound,
        originals: Originals,
        context: RunContext,
    ) -> None:
        settings = context.settings
        self._source = source
        self._sinks = sinks
        self._incoming = incoming
        self._book = context.book
        self._originals = originals
        self._clock = context.clock
        self._observer = context.observer
        self._limits = CommitLimits(
            settings.whole("COMMIT_RECORDS"),
            settings.whole("WINDOW_BYTES") // 2,  # or the window could fill with what waits to be committed
            settings.seconds("COMMIT_INTERVAL_MS"),
            settings.seconds("COMMIT_IDLE_MS"),
        )
        self._first_delay_s = settings.seconds("BETA_GAMMA_RETRY_DELAY_MS")
        self._multiplier = settings["BETA_GAMMA_BACKOFF_MULTIPLIER"]
        self._fraction = context.chance.fraction
        self.patient = False
        """Whether a destination that is away is waited for, as long as it takes; else it fails the run."""
        self._forget()

    async def run(self) -> None:
        """Work until Beta closes and everything is committed and answered. A failure leaves nothing half committed."""
        while not await self._settled_all():
            self._forget()

    async def _settled_all(self) -> bool:
        """Work to the end; False where Beta began again meanwhile, or has to."""
        await self._patiently(self._recall)
        try:
            await self._work_all()
            self._incoming.close()
            await self._incoming.finished()
        except SenderIsNew as lost:
            self._observer.saw(WentBack(self._source, Module.GAMMA, str(lost)))
            return False
        except OriginalsGone as lost:
            self._observer.saw(WentBack(self._source, Module.GAMMA, str(lost)))
            self._incoming.begin()
            return False
        return True

    def _forget(self) -> None:
        self._groups: dict[str, _Group] = {}
        self._marks: dict[tuple[str, str], Mark] = {}
        self._fates: dict[tuple[str, str], Fates] = {}
        self._expected: dict[tuple[str, str], int] = {}
        self._commit_s: dict[str, float] = {}

    async def _work_all(self) -> None:
        taken = Taken()
        while not taken.closed:
            taken = await self._gather()
            for batch in taken.batches:
                self._admit(batch)
            critical = any(batch.metadata.priority is Priority.CRITICAL for batch in taken.batches)
            for destination in self._due(at_once=critical or taken.closed or taken.hurry or not taken.batches):
                await self._commit(destination)

    def _recall(self) -> None:
        """Recall what the destinations have already settled: read again, it is trimmed and counted as it was."""
        self._marks.clear()
        self._fates.clear()
        for destination, sink in self._sinks.items():
            for (source, partition), mark in sink.marks().items():
                if source == self._source:
                    known = self._book.recall(destination, source, partition, mark.sequence)
                    self._marks[destination, partition] = mark
                    self._fates[destination, partition] = Fates(known)

    async def _gather(self) -> Taken:
        """Wait for batches; nothing where none came before a commit is due."""
        due_s = min((self._due_s(*item) for item in self._groups.items()), default=None)
        wait_s = None
        if due_s is not None:
            wait_s = min(self._limits.idle_s, max(0.0, due_s - self._clock.now_s()))
        try:
            async with asyncio.timeout(wait_s):
                return await self._incoming.take(BATCHES_AT_ONCE)
        except TimeoutError:
            return Taken()

    def _due(self, *, at_once: bool) -> list[str]:
        now_s = self._clock.now_s()
        return [
            name
            for name, group in self._groups.items()
            if at_once or self._limits.reached(group) or now_s >= self._due_s(name, group)
        ]

    def _due_s(self, destination: str, group: _Group) -> float:
        return self._limits.due_s(group, self._commit_s.get(destination, 0.0))

    def _admit(self, batch: Arrived) -> None:
        """Put a batch into its group. Its range must follow the destination's last, or a mark could pass a hole."""
        metadata = batch.metadata
        key = metadata.destination, metadata.partition
        expected = self._expected.get(key, metadata.range.start)
        if metadata.range.start != expected or metadata.destination not in self._sinks:
            raise RemoteViolation(
                "INT_LINK_003",
                f"{self._source}/{metadata.partition}: {metadata.range} came for `{metadata.destination}` "
                f"where {expected} had to follow",
            )
        self._expected[key] = metadata.range.end
        since_s = (
            self._clock.now_s() if batch.at_s is None else batch.at_s
        )  # the wait while others were committed counts
        self._groups.setdefault(metadata.destination, _Group(since_s)).add(batch)

    async def _commit(self, destination: str) -> None:
        group = self._groups.pop(destination)
        began_s = self._clock.now_s()
        answers = await self._patiently(self._write_and_commit, destination, group.batches, began_s)
        self._commit_s[destination] = max(self._clock.now_s() - began_s, self._commit_s.get(destination, 0.0) * SHORTER)
        self._at(CommitPoint.ACKNOWLEDGEMENT, Moment.BEFORE, destination)
        self._incoming.answer([answer.payload for answer in answers])
        for answer in answers:
            self._incoming.confirm(answer.payload.batch_id, answer.exceptions, answer.delivered)
        self._at(CommitPoint.ACKNOWLEDGEMENT, Moment.AFTER, destination)
        seconds = self._clock.now_s() - group.since_s
        self._observer.saw(Timed(self._source, LatencyStage.DELIVERY, seconds, group.rows))

    async def _patiently(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do `work` in a thread; where a destination is away and we are patient, again and again until it is back.

        After a failed commit only the marks can tell whether it happened, so they are asked for before each new try.
        """
        attempt = 0
        while True:
            try:
                if attempt:
                    await to_its_end(self._recall)
                return await to_its_end(work, *args, **kwargs)
            except Unavailable as error:
                if not self.patient:
                    raise
                attempt += 1
                wait_s = delay_s(
                    attempt, base_s=self._first_delay_s, multiplier=self._multiplier, jitter=self._fraction()
                )
                self._observer.saw(DestinationAway(self._source, error.message, wait_s))
                await asyncio.sleep(wait_s)

    def _write_and_commit(self, destination: str, batches: Sequence[Arrived], began_s: float) -> list[Answer]:
        """Dead letters first, then rows and mark in one transaction: a mark never passes an undurable dead letter.

        Where the destination refuses rows as a whole, those that are to blame are found first, and left out.
        """
        try:
            return self._transact(destination, batches, began_s, {})
        except BatchRefused:
            return self._transact(destination, batches, began_s, self._refused_by(destination, batches))

    def _refused_by(self, destination: str, batches: Sequence[Arrived]) -> Refused:
        """Find, by trying without committing, the records that the destination refuses to be asked about again."""
        refused: Refused = {}
        for partition, own in groupby(batches, key=_partition_of):
            rows = [part for batch in own if (part := self._trimmed(destination, batch, {})).num_rows]
            if rows:
                blamed = self._blame(self._sinks[destination], partition, pa.Table.from_batches(rows))
                refused.setdefault(partition, {}).update(blamed)
        return refused

    def _blame(self, sink: Sink, partition: str, rows: pa.Table) -> dict[int, RecordError]:
        try:
            sink.write(rows, partition)
        except BatchRefused as error:
            if rows.num_rows == 1:
                (sequence,) = rows.column(SEQUENCE).to_pylist()
                return {sequence: RecordError(REJECTED, "", error.message)}
        else:
            return {}
        finally:
            sink.rollback()
        half = rows.num_rows // 2
        return self._blame(sink, partition, rows.slice(0, half)) | self._blame(sink, partition, rows.slice(half))

    def _transact(self, destination: str, batches: Sequence[Arrived], began_s: float, refused: Refused) -> list[Answer]:
        sink = self._sinks[destination]
        exceptions: dict[str, dict[int, Fate]] = {}
        marks: dict[str, Mark] = {}
        try:
            for partition, group in groupby(batches, key=_partition_of):
                own = list(group)
                fates = exceptions.setdefault(partition, {})
                self._write(destination, own, refused.get(partition, {}), fates)
                marks[partition] = self._mark(destination, own[-1])
            self._at(CommitPoint.ROWS_AND_MARK, Moment.BEFORE, destination)
            sink.commit(list(marks.values()))
        except BaseException:  # whatever it was, no row may stay without its mark; it is raised on
            sink.rollback()
            raise
        self._at(CommitPoint.ROWS_AND_MARK, Moment.AFTER, destination)
        self._book.confirm(destination, list(marks.values()))
        known = {partition: Fates(found) for partition, found in exceptions.items()}
        answers = [self._answer(batch, known[batch.metadata.partition], began_s, refused) for batch in batches]
        self._observer.saw(RowsCommitted(destination, sum(answer.payload.records_accepted for answer in answers)))
        return answers

    def _write(
        self,
        destination: str,
        batches: Sequence[Arrived],
        known_refused: Mapping[int, RecordError],
        fates: dict[int, Fate],
    ) -> None:
        """Write what lies above the mark; note in `fates` every record that is not simply delivered."""
        partition = batches[0].metadata.partition
        parts = [part for batch in batches if (part := self._trimmed(destination, batch, fates)).num_rows]
        if not parts:
            return
        rows = pa.Table.from_batches(parts)
        if known_refused:
            rows = rows.filter(pc.invert(pc.is_in(rows.column(SEQUENCE), pa.array(known_refused, pa.int64()))))
        written = self._sinks[destination].write(rows, partition)
        refused = {**written.refused, **known_refused}
        if refused:
            self._book.dead_letter(list(self._letters(destination, partition, refused)))
        if written.superseded:
            self._book.supersede(destination, self._source, partition, sorted(written.superseded))
        fates |= {sequence: Fate(Outcome.DEAD_LETTERED, error.code) for sequence, error in refused.items()}
        fates |= dict.fromkeys(written.superseded, SUPERSEDED)

    def _trimmed(self, destination: str, batch: Arrived, fates: dict[int, Fate]) -> pa.RecordBatch:
        """Return the rows at or above the mark; those below were settled in an earlier run, as recalled."""
        key = destination, batch.metadata.partition
        mark = self._marks.get(key)
        if mark is None or batch.metadata.range.start >= mark.sequence:
            return batch.records
        settled = Range(batch.metadata.range.start, min(mark.sequence, batch.metadata.range.end))
        sequences = sequences_of(batch.records)
        border = bisect_left(sequences, mark.sequence)
        here = frozenset(sequences[:border])  # what left before it came here, this time, is counted where it left
        fates |= {sequence: fate for sequence, fate in self._fates[key].within(settled) if sequence in here}
        return batch.records.slice(border)

    def _mark(self, destination: str, last: Arrived) -> Mark:
        metadata = last.metadata
        before = self._marks.get((destination, metadata.partition))
        if before is not None and before.sequence >= metadata.range.end:
            return before
        return Mark(self._source, metadata.partition, metadata.range.end, metadata.position)

    def _letters(self, destination: str, partition: str, refused: Mapping[int, RecordError]) -> Iterator[DeadLetter]:
        sequences = sorted(refused)
        for sequence, original in zip(sequences, self._originals(partition, sequences), strict=True):
            yield DeadLetter(
                self._source,
                partition,
                sequence,
                Stage.DELIVERY,
                destination,
                (refused[sequence],),
                original.content,
                original.line,
            )

    def _answer(self, batch: Arrived, fates: Fates, began_s: float, refused: Refused) -> Answer:
        answer = answer_for(
            batch.metadata,
            fates.within(batch.metadata.range),
            source=self._source,
            duration_ms=int((self._clock.now_s() - began_s) * 1000),
            delivered_at=datetime.fromtimestamp(self._clock.time_s(), UTC),
        )
        blamed = refused.get(batch.metadata.partition, {})
        sequences = sequences_of(batch.records)
        if not blamed or not all(sequence in blamed for sequence in sequences):
            return answer
        return rejected(answer, blamed[sequences[0]].message)

    def _at(self, point: CommitPoint, moment: Moment, destination: str) -> None:
        self._observer.saw(AtCommitPoint(point, moment, destination))


def _partition_of(batch: Arrived) -> str:
    return batch.metadata.partition
