"""Module Alpha at work: read → validate → dead-letter → hand over → wait until settled → move the position."""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

import msgspec

from penstock.errors import Corruption, PenstockError
from penstock.ingestion.assembly import cut
from penstock.ingestion.window import Window, WindowLimits
from penstock.model.batch import version_base
from penstock.model.identity import new_id
from penstock.model.position import Position, Range
from penstock.observing.facts import RangeSettled, RecordsRead
from penstock.ports import Advance
from penstock.protocol.batches import Covers, Stamps
from penstock.protocol.messages import AckStatus
from penstock.protocol.settlement import Settlement
from penstock.threads import to_its_end

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from penstock.ingestion.assembly import Cut
    from penstock.ingestion.validation import Validated
    from penstock.model.outcome import Count, Tally
    from penstock.ports import Chunk, Outbound, RunContext, Source
    from penstock.protocol.messages import ValidationSummary
    from penstock.protocol.sender import Answered
    from penstock.protocol.settlement import Settled


class Validates(Protocol):
    """Splits a chunk into good records and dead letters."""

    def validate(self, chunk: Chunk, version_base: int) -> Validated:
        """Cast and check every record of `chunk`; `version_base` is added to a sequence to make its version."""


@dataclass(frozen=True, slots=True)
class Start:
    """Where a partition is to be read from, and its number among the source's partitions."""

    partition: str
    ordinal: int
    position: Position | None

    @property
    def begins(self) -> Position:
        """The position as a value, also at the partition's beginning."""
        return self.position or Position(self.partition, 0, "")


@dataclass(frozen=True, slots=True)
class _Ready:
    """A chunk, validated and cut, its dead letters durable."""

    partition: str
    range: Range
    cuts: tuple[Cut, ...]


@dataclass(frozen=True, slots=True)
class _Read:
    """A chunk, and the position it begins at."""

    start: Start
    begins: Position
    chunk: Chunk


@dataclass(slots=True)
class _Partition:
    """What is remembered of a partition between handing over and settling, oldest chunk first."""

    refused: dict[Range, Tally] = field(default_factory=dict)
    checksums: deque[list[str]] = field(default_factory=deque)


class Ingestion:
    """Alpha for one source table."""

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
        self._observer = context.observer
        settings = context.settings
        self._batch_size = settings.whole("ALPHA_BETA_BATCH_SIZE")
        self._settlement = Settlement(destinations)
        self._partitions: dict[str, _Partition] = {}
        self._advancing = asyncio.Lock()
        self._stamps = Stamps(new_id, lambda: datetime.fromtimestamp(context.clock.time_s(), UTC))
        self._stopping = False
        self._broken: PenstockError | None = None
        self.window = Window(WindowLimits(settings.whole("WINDOW_RECORDS"), settings.whole("WINDOW_BYTES")))

    def stop(self) -> None:
        """Read no further; what is under way is settled."""
        self._stopping = True

    async def run(self, starts: Sequence[Start]) -> None:
        """Read every partition to what is now its end; return when all of it is settled.

        Where the source breaks, what was read before that is settled, and only then its error raised.
        """
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._settle())
            await self._hand_over(starts)
            self._link.close()
        if self._broken is not None:
            raise self._broken

    async def _hand_over(self, starts: Sequence[Start]) -> None:
        """Send chunk after chunk; the next one is read and validated while this one is sent."""
        ready = asyncio.Queue[_Ready | None](1)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._prepare(starts, ready))
            while (prepared := await ready.get()) is not None:
                for released in self._open(prepared):
                    await self._advance([released])
                for piece in prepared.cuts:
                    if piece.outgoing is not None:
                        await self._link.send(piece.outgoing)

    async def _prepare(self, starts: Sequence[Start], ready: asyncio.Queue[_Ready | None]) -> None:
        read = asyncio.Queue[_Read | None](1)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._read(starts, read))
            while (item := await read.get()) is not None:
                await self.window.hold(item.start.partition, item.chunk)
                await ready.put(await to_its_end(self._validate, item))
        await ready.put(None)

    async def _read(self, starts: Sequence[Start], read: asyncio.Queue[_Read | None]) -> None:
        for start in starts:
            begins = start.begins
            chunks = self._source.read(start.partition, start.position)
            while not self._stopping and (chunk := await self._next(chunks)) is not None:
                await read.put(_Read(start, begins, chunk))
                begins = chunk.next
        await read.put(None)

    async def _next(self, chunks: Iterator[Chunk]) -> Chunk | None:
        try:
            return await to_its_end(next, chunks, None)
        except PenstockError as error:
            self._broken = error
            self.stop()
            return None

    def _validate(self, read: _Read) -> _Ready:
        start, chunk = read.start, read.chunk
        validated = self._validator.validate(chunk, version_base(start.ordinal))
        letters = validated.letters
        if letters:
            self._book.dead_letter(letters)
        covers = Covers(start.partition, Range(chunk.start, chunk.end), read.begins)
        cuts = tuple(cut(validated.batch, letters, covers, self._batch_size, self._stamps))
        left = self._source.size_bytes(start.partition, chunk.next)
        self._observer.saw(RecordsRead(self._name, start.partition, chunk.end - chunk.start, len(letters), left))
        return _Ready(start.partition, covers.range, cuts)

    def _open(self, ready: _Ready) -> Iterator[Settled]:
        """Begin to wait for the chunk's answers; what is left of nothing to send is answered here."""
        partition = self._partitions.setdefault(ready.partition, _Partition())
        partition.checksums.append([piece.outgoing.metadata.checksum for piece in ready.cuts if piece.outgoing])
        yield from self._settlement.open(ready.partition, ready.range)
        if not len(ready.range):
            return  # nothing to answer for: settled by being opened, in its turn
        for piece in ready.cuts:
            partition.refused[piece.range] = piece.refused
            if piece.outgoing is None:
                yield from self._answer(ready.partition, piece.range, ())

    def _answer(self, partition: str, range_: Range, tally: Tally) -> Iterator[Settled]:
        refused = self._partitions[partition].refused.pop(range_)
        for destination in self._destinations:
            counts = [count for count in tally if count.destination == destination]
            yield from self._settlement.answer(
                partition, destination, range_, [*counts, *_for_destination(refused, destination)]
            )

    async def _settle(self) -> None:
        while answers := await self._link.answers.take():
            settled = [released for answer in answers for released in self._take(answer)]
            if settled:
                await self._advance(settled)

    def _take(self, answer: Answered) -> Iterator[Settled]:
        metadata, payload = answer.metadata, answer.payload
        if payload.status is AckStatus.REJECTED:
            raise Corruption("INT_LINK_002", f"{self._name}/{metadata.partition}: batch {metadata.range} was rejected")
        return self._answer(metadata.partition, metadata.range, payload.tally)

    async def _advance(self, settled: Sequence[Settled]) -> None:
        async with self._advancing:  # positions move in the order in which ranges were released
            advances = [self._release(released) for released in settled]
            await to_its_end(self._commit, advances)

    def _release(self, settled: Settled) -> Advance:
        position = self.window.release(settled.partition)
        checksums = self._partitions[settled.partition].checksums.popleft()
        digest = hashlib.sha256("".join(checksums).encode()).hexdigest()
        return Advance(settled.partition, settled.range, position, settled.tally, len(checksums), digest)

    def _commit(self, advances: Sequence[Advance]) -> None:
        self._book.advance(self._name, advances)
        for position in {advance.partition: advance.position for advance in advances}.values():
            self._source.commit(position)
        for advance in advances:
            self._observer.saw(RangeSettled(self._name, advance.partition, advance.range, advance.tally))


def _for_destination(refused: Iterable[Count], destination: str) -> list[Count]:
    """Ingestion refuses a record for every destination; count it at this one."""
    return [msgspec.structs.replace(count, destination=destination) for count in refused]
