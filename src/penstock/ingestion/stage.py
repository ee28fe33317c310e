"""Module Alpha at work: read → validate → dead-letter → hand over → wait until settled → move the position.

When Beta begins again, so does Alpha: it forgets what it has handed over, and reads again from what is settled.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from typing import TYPE_CHECKING, Protocol, cast

import msgspec

from penstock.errors import PenstockError, Unavailable, first_of
from penstock.ingestion.assembly import Shape, cut
from penstock.ingestion.gathering import Gathered, Piece
from penstock.ingestion.reading import AtRest, Followed, Read, Start, replay_from
from penstock.ingestion.window import Window, WindowLimits
from penstock.model.batch import version_base
from penstock.model.position import Range
from penstock.observing.facts import LatencyStage, ModeChanged, RangeSettled, RecordsRead, Timed, WentBack
from penstock.ports import Advance, Follows, ReceiverIsNew, Replay
from penstock.protocol.batches import Covers, Stamps
from penstock.protocol.messages import Module, Priority
from penstock.protocol.settlement import Settlement
from penstock.threads import heeding_cancellation, to_its_end

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from penstock.ingestion.assembly import Cut
    from penstock.ingestion.reading import Reader
    from penstock.ingestion.validation import Validated
    from penstock.model.outcome import Count, Tally
    from penstock.model.position import Position
    from penstock.ports import Chunk, Outbound, RunContext, Source
    from penstock.protocol.messages import ValidationSummary
    from penstock.protocol.sender import Answered
    from penstock.protocol.settlement import Settled

LOOK_UP_S = 0.2
"""Longest wait for a followed source before it is asked whether we are to stop."""


class Validates(Protocol):
    """Splits a chunk into good records and dead letters."""

    def validate(self, chunk: Chunk, version_base: int) -> Validated:
        """Cast and check every record of `chunk`; `version_base` is added to a sequence to make its version."""


class _Sign(Enum):
    """What may be said between pieces."""

    SQUEEZED = "reading waits until something is settled"
    ENDED = "nothing more will be read"


@dataclass(slots=True)
class _Partition:
    """What is remembered of a partition between handing over and settling, oldest first.

    `refused` is by the range of a batch; `units` are what was handed over together: the checksums of its batches, and
    of each chunk in it how many records it has and when it was read.
    """

    refused: dict[Range, Tally] = field(default_factory=dict)
    units: deque[_Unit] = field(default_factory=deque)


@dataclass(frozen=True, slots=True)
class _Unit:
    checksums: tuple[str, ...]
    read_at: tuple[tuple[int, float], ...]


class Ingestion:
    """Alpha for one source table. It begins in batch mode; `switch` lets records leave once they are validated."""

    def __init__(
        self,
        name: str,
        source: Source,
        validator: Validates,
        destinations: Sequence[str],
        link: Outbound[ValidationSummary],
        context: RunContext,
    ) -> None:
        self._name = name
        self._source = source
        self._validator = validator
        self._destinations = tuple(destinations)
        self._link = link
        self._book = context.book
        self._clock = context.clock
        self._chance = context.chance
        self._observer = context.observer
        settings = context.settings
        self._batch_size = settings.whole("ALPHA_BETA_BATCH_SIZE")
        self._flush_timeout_s = settings.seconds("ALPHA_BETA_FLUSH_TIMEOUT_MS")
        self._streaming = False
        self._positions: dict[str, Position] = {}
        self._read_to: dict[str, int] = {}
        """By partition, how far it was ever read: who is stopped and goes back reads again as far, and no farther."""
        self._advancing = asyncio.Lock()
        self._stopping = False
        self._broken: PenstockError | None = None
        self._forget()
        self.window = Window(WindowLimits(settings.whole("WINDOW_RECORDS"), settings.whole("WINDOW_BYTES")))

    def stop(self) -> None:
        """Read no further; what is under way is settled."""
        self._stopping = True

    def switch(self, *, streaming: bool) -> None:
        """Hand over in the other mode from the next record on. Both share one order, so nothing is lost or repeated."""
        if streaming is not self._streaming:
            self._streaming = streaming
            self._observer.saw(ModeChanged(self._name, streaming))

    async def run(self, starts: Sequence[Start], register: Callable[[str], Start] | None = None) -> None:
        """Read every partition to what is now its end; return when all of it is settled.

        With `register`, which numbers partitions that appear, the source is followed until `stop` or its end instead.
        Where the source breaks, what was read before that is settled, and only then its error raised.
        """
        known = {start.partition: start for start in starts}

        def registered(partition: str) -> Start:
            assert register is not None
            known[partition] = register(partition)
            return known[partition]

        while not await heeding_cancellation(self._settled_all(tuple(known.values()), register and registered)):
            known = {
                name: Start(name, start.ordinal, self._positions.get(name, start.position))
                for name, start in known.items()
            }
            self._require_exact(known.values())
        self._link.finish()
        if self._broken is not None:
            raise self._broken

    async def _settled_all(self, starts: Sequence[Start], register: Callable[[str], Start] | None) -> bool:
        """Hand over all there is and wait until it is settled; False where Beta began again meanwhile."""
        self._forget()
        self._broken = None
        self.window.clear()
        self._link.begin()
        lost: BaseExceptionGroup[ReceiverIsNew] | None = None
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._settle())
                await self._hand_over(starts, register)
                self._link.close()
        except* ReceiverIsNew as group:
            lost = group
        if lost is None:
            return True
        self._observer.saw(WentBack(self._name, Module.ALPHA, str(first_of(lost))))
        return False

    def _require_exact(self, starts: Iterable[Start]) -> None:
        """Raise Unavailable where reading again may give other records under numbers that a destination has marked.

        They would be taken for settled. The next run drops such marks before it begins; midway nobody can.
        """
        for start in starts:
            if replay_from(self._source, start.position) is Replay.BY_KEY:
                what = f"{self._name}/{start.partition} would have to be read again, which is possible by key only"
                raise Unavailable("INT_LINK_011", what)

    def _forget(self) -> None:
        self._settlement = Settlement(self._destinations)
        self._partitions: dict[str, _Partition] = {}
        self._stamps = Stamps(self._chance.new_id, lambda: datetime.fromtimestamp(self._clock.time_s(), UTC))

    async def _hand_over(self, starts: Sequence[Start], register: Callable[[str], Start] | None) -> None:
        """Send piece after piece; the next ones are read and validated while this one is sent."""
        ready = asyncio.Queue[Piece | _Sign](1)
        gathered = Gathered()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._prepare(starts, register, ready))
            while (item := await self._next(ready, gathered)) is not _Sign.ENDED:
                if isinstance(item, Piece):
                    if not gathered.takes(item):
                        gathered = await self._send(gathered, flush=False)
                    gathered.add(item, self._clock.now_s())
                    if self._is_due(gathered, ready):
                        gathered = await self._send(gathered, flush=self._streaming)
                else:
                    gathered = await self._send(gathered, flush=True)
                    self._link.hurry()
        await self._send(gathered, flush=True)

    async def _next(self, ready: asyncio.Queue[Piece | _Sign], gathered: Gathered) -> Piece | _Sign | None:
        """Wait for what is ready; None where what is gathered has waited long enough."""
        wait_s = None
        if gathered.pieces:
            wait_s = max(0.0, gathered.since_s + self._flush_timeout_s - self._clock.now_s())
        try:
            async with asyncio.timeout(wait_s):
                return await ready.get()
        except TimeoutError:
            return None

    def _is_due(self, gathered: Gathered, ready: asyncio.Queue[Piece | _Sign]) -> bool:
        if gathered.critical or gathered.records >= self._batch_size:
            return True
        return self._streaming and ready.empty()

    async def _send(self, gathered: Gathered, *, flush: bool) -> Gathered:
        """Cut what is gathered and hand it over; return what the next is gathered in."""
        if not gathered.pieces:
            return gathered
        cuts = await to_its_end(self._cut, gathered, flush=flush)
        for released in self._open(gathered, cuts):
            await self._advance([released])
        for each in cuts:
            if each.outgoing is not None:
                await self._link.send(each.outgoing)
        return Gathered()

    def _cut(self, gathered: Gathered, *, flush: bool) -> list[Cut]:
        priority = Priority.CRITICAL if gathered.critical else Priority.NORMAL
        covers = Covers(gathered.partition, gathered.range, gathered.begins, priority=priority, flush=flush)
        size = self._link.micro_batch_records if self._streaming else self._batch_size
        return list(cut(gathered.rows, gathered.letters, covers, Shape(size, self._streaming), self._stamps))

    async def _prepare(
        self,
        starts: Sequence[Start],
        register: Callable[[str], Start] | None,
        ready: asyncio.Queue[Piece | _Sign],
    ) -> None:
        read = asyncio.Queue[tuple[Read, float] | None](1)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._read(starts, register, read))
            while (item := await read.get()) is not None:
                found, at_s = item
                if not self.window.has_room_for(found.chunk):
                    await ready.put(_Sign.SQUEEZED)
                await self.window.hold(found.start.partition, found.chunk)
                await ready.put(await to_its_end(self._validate, found, at_s))
        await ready.put(_Sign.ENDED)

    async def _read(
        self,
        starts: Sequence[Start],
        register: Callable[[str], Start] | None,
        read: asyncio.Queue[tuple[Read, float] | None],
    ) -> None:
        reached = {start.partition: start.begins.sequence for start in starts}
        try:
            reader = await to_its_end(self._reader, starts, register)
            try:
                while not (reader.ended or (self._stopping and self._has_caught_up(reached))):
                    found = await to_its_end(reader.next, LOOK_UP_S)
                    if found is not None:
                        await read.put((found, self._clock.now_s()))
                        reached[found.start.partition] = found.chunk.end
                        self._note_read(found)
            finally:
                reader.close()
        except PenstockError as error:
            self._broken = error
        await read.put(None)

    def _note_read(self, read: Read) -> None:
        partition, end = read.start.partition, read.chunk.end
        self._read_to[partition] = max(end, self._read_to.get(partition, 0))

    def _has_caught_up(self, reached: Mapping[str, int]) -> bool:
        return all(reached.get(partition, 0) >= end for partition, end in self._read_to.items())

    def _reader(self, starts: Sequence[Start], register: Callable[[str], Start] | None) -> Reader:
        if register is None:
            return AtRest(self._source, starts)
        return Followed(cast("Follows", self._source), starts, register)

    def _validate(self, read: Read, at_s: float) -> Piece:
        start, chunk = read.start, read.chunk
        validated = self._validator.validate(chunk, version_base(start.ordinal))
        letters = validated.letters
        if letters:
            self._book.dead_letter(letters)
        range_ = Range(chunk.start, chunk.end)
        left = self._source.size_bytes(start.partition, chunk.next)
        self._observer.saw(RecordsRead(self._name, start.partition, len(range_), len(letters), left))
        self._timed(LatencyStage.VALIDATION, at_s, len(range_))
        return Piece(start.partition, range_, read.begins, validated.batch, letters, validated.critical, at_s)

    def _open(self, gathered: Gathered, cuts: Sequence[Cut]) -> Iterator[Settled]:
        """Begin to wait for the answers; what is left of nothing to send is answered here."""
        name = gathered.partition
        partition = self._partitions.setdefault(name, _Partition())
        checksums = tuple(each.outgoing.metadata.checksum for each in cuts if each.outgoing)
        read_at = tuple((len(piece.range), piece.read_at_s) for piece in gathered.pieces)
        partition.units.append(_Unit(checksums, read_at))
        yield from self._settlement.open(name, gathered.range)
        if not len(gathered.range):
            return  # nothing to answer for: settled by being opened, in its turn
        for each in cuts:
            partition.refused[each.range] = each.refused
            if each.outgoing is None:
                yield from self._answer(name, each.range, ())

    def _answer(self, partition: str, range_: Range, tally: Tally) -> Iterator[Settled]:
        refused = self._partitions[partition].refused.pop(range_)
        for destination in self._destinations:
            counts = [count for count in tally if count.destination == destination]
            yield from self._settlement.answer(
                partition, destination, range_, [*counts, *_for_destination(refused, destination)]
            )

    async def _settle(self) -> None:
        while answers := await self._link.answered():
            settled = [released for answer in answers for released in self._take(answer)]
            if settled:
                await self._advance(settled)

    def _take(self, answer: Answered) -> Iterator[Settled]:
        metadata = answer.metadata
        return self._answer(metadata.partition, metadata.range, answer.payload.tally)

    async def _advance(self, settled: Sequence[Settled]) -> None:
        async with self._advancing:  # positions move in the order in which ranges were released
            await to_its_end(self._commit, [self._release(released) for released in settled])

    def _release(self, settled: Settled) -> tuple[Advance, _Unit]:
        unit = self._partitions[settled.partition].units.popleft()
        position = [self.window.release(settled.partition) for _ in unit.read_at][-1]
        digest = hashlib.sha256("".join(unit.checksums).encode()).hexdigest()
        tally, batches = settled.tally, len(unit.checksums)
        return Advance(settled.partition, settled.range, position, tally, batches, digest), unit

    def _commit(self, released: Sequence[tuple[Advance, _Unit]]) -> None:
        self._book.advance(self._name, [advance for advance, _ in released])
        latest = {advance.partition: advance.position for advance, _ in released}
        self._positions |= latest
        for position in latest.values():
            self._source.commit(position)
        for advance, unit in released:
            self._observer.saw(RangeSettled(self._name, advance.partition, advance.range, advance.tally))
            for records, at_s in unit.read_at:
                self._timed(LatencyStage.END_TO_END, at_s, records)

    def _timed(self, stage: LatencyStage, since_s: float, records: int) -> None:
        if records:
            self._observer.saw(Timed(self._name, stage, self._clock.now_s() - since_s, records))


def _for_destination(refused: Iterable[Count], destination: str) -> list[Count]:
    """Ingestion refuses a record for every destination; count it at this one."""
    return [msgspec.structs.replace(count, destination=destination) for count in refused]
