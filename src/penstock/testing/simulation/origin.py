"""The source: partitions that grow over time, replay exactly, and forget for good what was committed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pyarrow as pa

from penstock.errors import Unavailable
from penstock.model.outcome import RecordError
from penstock.model.position import Position
from penstock.ports import BadRecord, Chunk, Original, Replay, Reread
from penstock.testing.simulation.lives import OneThread
from penstock.testing.simulation.records import (
    READ_SCHEMA,
    UNPARSED_CODE,
    AtIngestion,
    ingested,
)
from penstock.testing.simulation.weather import Fault

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from penstock.testing.simulation.lives import Life
    from penstock.testing.simulation.records import Partition, World

CHUNK_RECORDS_MAX = 40
RECORD_BYTES = 20
"""What one record costs while it is held."""
EMPTY_CHUNKS = 0.03
"""Share of reads that move the position on without giving a record."""
UNPARSED = RecordError(UNPARSED_CODE, "", "is no record")


@dataclass(slots=True)
class Origin:
    """What the source durably is: what it was told that nobody will ask for again, and until when it is away."""

    world: World
    pruned: dict[str, int] = field(default_factory=dict)
    away_until_s: float = 0.0

    def there(self, now_s: float) -> list[Partition]:
        """Return the partitions that exist by now: those with a record, and the first one."""
        first, *others = self.world.partitions.values()
        return [first, *(one for one in others if one.appears_s and one.appears_s[0] <= now_s)]

    def is_complete(self, now_s: float) -> bool:
        """Tell whether every record has appeared."""
        return all(not one.appears_s or one.appears_s[-1] <= now_s for one in self.world.partitions.values())


class FakeSource:
    """`penstock.ports.Follows` of one life of Alpha."""

    replay = Replay.EXACT

    def __init__(self, life: Life, origin: Origin) -> None:
        self._life = life
        self._origin = origin
        self._guard = OneThread(life, "source")
        self._commits = OneThread(life, "source's commits")

    def partitions(self) -> list[str]:
        """Return the partitions that exist now."""
        self._touch()
        return [partition.name for partition in self._origin.there(self._life.loop.now_s)]

    def read(self, partition: str, position: Position | None) -> Iterator[Chunk]:
        """Read to what is now the end."""
        own = self._origin.world.partitions[partition]
        position = position or Position(partition, 0, "")
        while True:
            self._touch()
            there = appeared(own, self._life.loop.now_s)
            if position.sequence >= there:
                return
            chunk = self.chunk(own, position, there)
            yield chunk
            position = chunk.next

    def size_bytes(self, partition: str, position: Position | None) -> int | None:
        """Return about how much lies ahead."""
        start = position.sequence if position else 0
        return (len(self._origin.world.partitions[partition].plans) - start) * RECORD_BYTES

    def accept(self, position: Position) -> Position:
        """Nobody asks for this here: the source never changes what it gave."""
        raise NotImplementedError(str(position))

    def reread(self, partition: str, originals: Sequence[bytes]) -> Reread:
        """Nobody asks for this here: dead letters are not replayed."""
        raise NotImplementedError(f"{partition}, {len(originals)}")

    def commit(self, position: Position) -> None:
        """Forget what lies before `position`. This may be told while another thread reads."""
        self._commits.enter()
        self._life.before_effect()
        self._life.auditor.pruned(position)
        pruned = self._origin.pruned
        pruned[position.partition] = max(position.sequence, pruned.get(position.partition, 0))
        self._life.after_effect()

    def close(self) -> None:
        """Nothing is open."""

    def follow(self, positions: Mapping[str, Position]) -> FakeFollowing:
        """Follow every partition that is there or comes."""
        self._touch()
        return FakeFollowing(self, self._life, self._origin, positions)

    def chunk(self, partition: Partition, position: Position, there: int) -> Chunk:
        """Return a chunk from `position`, of the first records that are `there`."""
        chance = self._life.chance
        start = position.sequence
        if start < self._origin.pruned.get(partition.name, 0):
            what = f"{partition.name} is read from {start}, and was told to forget up to {self._origin.pruned}"
            self._life.auditor.fail("nothing is asked for that was given up", what)
        if not position.token.endswith("+") and chance.random() < EMPTY_CHUNKS:
            return _chunk(partition, start, start, Position(partition.name, start, f"{start}+"))
        end = min(there, start + chance.randint(1, CHUNK_RECORDS_MAX))
        return _chunk(partition, start, end, Position(partition.name, end, str(end)))

    def _touch(self) -> None:
        """Stand before a call of the source, which may be away."""
        life = self._life
        self._guard.enter()
        life.before_effect()
        if life.weather.strikes(Fault.SOURCE_AWAY):
            raise Unavailable("INT_ALPHA_014", "the source is away")


class FakeFollowing:
    """`penstock.ports.Following` of one life of Alpha."""

    def __init__(self, source: FakeSource, life: Life, origin: Origin, positions: Mapping[str, Position]) -> None:
        self._source = source
        self._life = life
        self._origin = origin
        self._at = dict(positions)
        self._guard = OneThread(life, "followed source")
        self._closed = False
        self.ended = False

    def next(self, wait_s: float) -> Chunk | None:
        """Return what comes next in any partition within `wait_s`."""
        life = self._life
        self._guard.enter()
        life.before_effect()
        life.auditor.check(not self._closed, "a closed source is left alone", lambda: "following")
        if life.weather.strikes(Fault.SOURCE_AWAY):
            raise Unavailable("INT_ALPHA_014", "the source is away")
        now_s = life.loop.now_s
        next_s = min(map(self._next_s, self._origin.world.partitions.values()))
        if next_s > now_s + wait_s:
            life.loop.block(wait_s)
            return None
        if next_s > now_s:
            life.loop.block(next_s - now_s)
        ready = [one for one in self._origin.world.partitions.values() if self._next_s(one) <= max(now_s, next_s)]
        partition = life.chance.choice(ready)
        chunk = self._source.chunk(partition, self._position(partition), appeared(partition, max(now_s, next_s)))
        self._at[partition.name] = chunk.next
        return chunk

    def close(self) -> None:
        """Let go."""
        self._closed = True

    def _position(self, partition: Partition) -> Position:
        return self._at.get(partition.name) or Position(partition.name, 0, "")

    def _next_s(self, partition: Partition) -> float:
        """Return when the next record of a partition appears, or appeared."""
        at = self._position(partition).sequence
        return partition.appears_s[at] if at < len(partition.appears_s) else float("inf")


def appeared(partition: Partition, now_s: float) -> int:
    """Return how many records of a partition have appeared."""
    moments = partition.appears_s
    if moments and moments[-1] <= now_s:
        return len(moments)
    return sum(moment <= now_s for moment in moments)


def _chunk(partition: Partition, start: int, end: int, following: Position) -> Chunk:
    good, bad = [], []
    for sequence in range(start, end):
        if ingested(partition.plans[sequence]) is AtIngestion.UNPARSED:
            bad.append(BadRecord(sequence, _original(partition, sequence), UNPARSED))
        else:
            good.append(sequence)
    ids = [partition.id_of(sequence) for sequence in good]
    plans = [partition.plans[sequence] for sequence in good]
    records = pa.record_batch([pa.array(ids, pa.int64()), pa.array(plans, pa.int64())], schema=READ_SCHEMA)
    return Chunk(
        start,
        end,
        records,
        pa.array(good, pa.int64()) if bad else None,
        tuple(bad),
        following,
        lambda sequences: [_original(partition, sequence) for sequence in sequences],
        (end - start) * RECORD_BYTES,
    )


def _original(partition: Partition, sequence: int) -> Original:
    return Original(partition.original(sequence), sequence + 2)
