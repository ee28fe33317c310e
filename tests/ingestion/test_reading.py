"""What ingestion reads: partition after partition of a source at rest, whatever comes of one that grows."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from penstock.errors import Unavailable
from penstock.ingestion.reading import AtRest, Followed, Read, Start
from penstock.model.position import Position
from penstock.ports import Chunk, Replay

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from penstock.ports import Reread

NO_RECORDS = pa.RecordBatch.from_pylist([], schema=pa.schema([("id", pa.int64())]))
WAIT_S = 0.25


def at(partition: str, sequence: int) -> Position:
    return Position(partition, sequence, f"byte {sequence}")


def chunk(partition: str, start: int, end: int) -> Chunk:
    return Chunk(start, end, NO_RECORDS, None, (), at(partition, end), lambda _: [], 0)


@dataclass
class Files:
    """A source of chunks made beforehand; `coming` are what following it gives, None for a wait in vain."""

    chunks: Mapping[str, Sequence[Chunk]] = field(default_factory=dict)
    coming: Sequence[Chunk | None] = ()
    error: Exception | None = None
    replay: Replay = Replay.EXACT
    journal: list[object] = field(default_factory=list)
    ended: bool = False

    def partitions(self) -> Sequence[str]:
        return tuple(self.chunks)

    def read(self, partition: str, position: Position | None) -> Iterator[Chunk]:
        self.journal.append((partition, position))
        yield from self.chunks[partition]
        if self.error is not None:
            raise self.error

    def size_bytes(self, partition: str, position: Position | None) -> int | None:
        raise NotImplementedError

    def accept(self, position: Position) -> Position:
        raise NotImplementedError

    def reread(self, partition: str, originals: Sequence[bytes]) -> Reread:
        raise NotImplementedError

    def commit(self, position: Position) -> None:
        raise NotImplementedError

    def follow(self, positions: Mapping[str, Position]) -> Files:
        self.journal.append(dict(positions))
        self._left = deque(self.coming)
        return self

    def next(self, wait_s: float) -> Chunk | None:
        self.journal.append(wait_s)
        if self.error is not None:
            raise self.error
        if not self._left:
            self.ended = True
            return None
        return self._left.popleft()

    def close(self) -> None:
        self.journal.append("closed")


def all_of(reader: AtRest | Followed) -> list[Read | None]:
    found = []
    while not reader.ended:
        found.append(reader.next(WAIT_S))
    return found


def unregistered(partition: str) -> Start:
    raise AssertionError(partition)


# --- at rest ----------------------------------------------------------------------------------------------------------


def test_partitions_are_read_one_after_the_other_from_where_each_is_to_be_read() -> None:
    files = Files({"a": [chunk("a", 3, 5), chunk("a", 5, 6)], "b": [chunk("b", 0, 2)]})
    starts = [Start("a", 0, at("a", 3)), Start("b", 1, None)]
    found = all_of(AtRest(files, starts))
    assert found[-1] is None
    reads = [each for each in found if each is not None]
    assert [(each.start, each.begins, each.chunk.next) for each in reads] == [
        (starts[0], at("a", 3), at("a", 5)),
        (starts[0], at("a", 5), at("a", 6)),
        (starts[1], Position("b", 0, ""), at("b", 2)),
    ]
    assert files.journal == [("a", at("a", 3)), ("b", None)]


def test_a_partition_in_which_nothing_is_left_is_passed_over() -> None:
    files = Files({"a": [], "b": [chunk("b", 0, 2)]})
    found = all_of(AtRest(files, [Start("a", 0, at("a", 9)), Start("b", 1, None)]))
    assert [each.start.partition for each in found if each is not None] == ["b"]


def test_without_partitions_reading_ends_at_once() -> None:
    reader = AtRest(Files(), [])
    assert reader.next(WAIT_S) is None
    assert reader.ended


def test_a_source_that_breaks_gives_what_was_there_before() -> None:
    error = Unavailable("INT_ALPHA_014", "the disk is away")
    reader = AtRest(Files({"a": [chunk("a", 0, 1)]}, error=error), [Start("a", 0, None)])
    first = reader.next(WAIT_S)
    assert first is not None
    assert first.chunk.end == 1
    with pytest.raises(Unavailable):
        reader.next(WAIT_S)
    reader.close()


# --- followed ---------------------------------------------------------------------------------------------------------


def test_a_followed_source_is_told_of_known_positions_alone() -> None:
    files = Files()
    Followed(files, [Start("a", 0, at("a", 3)), Start("b", 1, None)], unregistered)
    assert files.journal == [{"a": at("a", 3)}]


def test_whatever_comes_is_given_with_where_it_began() -> None:
    files = Files(coming=[chunk("b", 0, 2), chunk("a", 3, 5), None, chunk("b", 2, 3), chunk("a", 5, 9)])
    starts = [Start("a", 0, at("a", 3)), Start("b", 1, None)]
    reader = Followed(files, starts, unregistered)
    found = all_of(reader)
    assert [each and (each.start, each.begins, each.chunk.next) for each in found] == [
        (starts[1], Position("b", 0, ""), at("b", 2)),
        (starts[0], at("a", 3), at("a", 5)),
        None,
        (starts[1], at("b", 2), at("b", 3)),
        (starts[0], at("a", 5), at("a", 9)),
        None,
    ]
    assert files.journal[1:] == [WAIT_S] * 6


def test_a_wait_in_vain_is_not_the_end() -> None:
    reader = Followed(Files(coming=[None, None]), [], unregistered)
    assert reader.next(WAIT_S) is None
    assert not reader.ended
    assert reader.next(WAIT_S) is None
    assert reader.next(WAIT_S) is None
    assert reader.ended


def test_a_partition_that_appears_is_registered_once() -> None:
    registered: list[str] = []

    def register(partition: str) -> Start:
        registered.append(partition)
        return Start(partition, 7, at(partition, 4))

    files = Files(coming=[chunk("new", 4, 5), chunk("new", 5, 6), chunk("a", 0, 1)])
    found = [each for each in all_of(Followed(files, [Start("a", 0, None)], register)) if each is not None]
    assert registered == ["new"]
    assert [(each.start.ordinal, each.begins) for each in found] == [
        (7, at("new", 4)),
        (7, at("new", 5)),
        (0, Position("a", 0, "")),
    ]


def test_who_follows_lets_go_of_what_it_holds_open() -> None:
    files = Files()
    Followed(files, [], unregistered).close()
    assert files.journal[-1] == "closed"


def test_a_followed_source_that_breaks_raises() -> None:
    error = Unavailable("INT_ALPHA_014", "the disk is away")
    reader = Followed(Files(coming=[chunk("a", 0, 1)], error=error), [], unregistered)
    with pytest.raises(Unavailable):
        reader.next(WAIT_S)
