"""Dead letters as a source: their originals, in order, each with the version of the place it came from."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from penstock.connectors import open_source
from penstock.errors import UserMistake
from penstock.ledger import DeadLetterFilter, Ledger
from penstock.model.batch import version_base
from penstock.model.position import Position
from penstock.orchestration.replaying import ReplaySource, begin_replays

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.orchestration.conftest import Works

PIPELINE = "shop"


@pytest.fixture
def ledger(works: Works) -> Iterator[Ledger]:
    """The ledger after a run with dead letters of three kinds, out of two files."""
    works.write("a.csv", (1, 1, "paid"), "x,2,paid", (3, -3, "paid"), (1, 4, "paid"), "5,5")
    works.write("b.csv", "y,6,paid", (7, 7, "paid"))
    works.run()
    with Ledger.open(works.folder / ".penstock") as opened:
        yield opened


def source(works: Works, ledger: Ledger, destination: str) -> ReplaySource:
    (replay,) = [each for each in ledger.unfinished_replays(PIPELINE) if each.destination == destination]
    return ReplaySource(open_source(works.pipeline.sources[0], works.folder, works.settings), replay, ledger)


def test_open_letters_are_taken_up_by_the_destination_that_lacks_them(ledger: Ledger) -> None:
    assert begin_replays(ledger, PIPELINE, DeadLetterFilter()) == 5
    taken = {(replay.source, replay.destination): replay.items for replay in ledger.unfinished_replays(PIPELINE)}
    assert taken == {("orders", ""): 3, ("orders", "facts"): 2}


def test_letters_that_are_under_way_are_not_taken_up_again(ledger: Ledger) -> None:
    begin_replays(ledger, PIPELINE, DeadLetterFilter())
    assert begin_replays(ledger, PIPELINE, DeadLetterFilter()) == 0


def test_a_letter_that_is_named_and_not_open_is_a_mistake(ledger: Ledger) -> None:
    ids = ledger.dead_letter_ids(PIPELINE, DeadLetterFilter())
    ledger.discard(PIPELINE, ids[:1], "seen")
    with pytest.raises(UserMistake):
        begin_replays(ledger, PIPELINE, DeadLetterFilter(ids=ids))
    assert ledger.unfinished_replays(PIPELINE) == ()


def test_a_replay_reads_originals_with_the_versions_of_where_they_came_from(works: Works, ledger: Ledger) -> None:
    begin_replays(ledger, PIPELINE, DeadLetterFilter())
    with closing(source(works, ledger, "")) as replay:
        (partition,) = replay.partitions()
        assert replay.size_bytes(partition, None) == 3
        (chunk,) = replay.read(partition, None)
        assert (chunk.start, chunk.end) == (0, 3)
        assert chunk.records.column("id").to_pylist() == ["x", "y"]
        assert chunk.sequences is not None
        assert chunk.sequences.to_pylist() == [0, 2]
        assert chunk.versions is not None
        assert chunk.versions.to_pylist() == [1, version_base(1)]
        (bad,) = chunk.bad
        assert (bad.sequence, bad.original.content, bad.error.code) == (1, b"5,5", "INT_ALPHA_001")
        assert [(found.content, found.line) for found in chunk.originals([0, 2])] == [
            (b"x,2,paid", 3),
            (b"y,6,paid", 2),
        ]
        assert chunk.next == Position(partition, 3, "3")


def test_a_replay_goes_on_where_it_stood(works: Works, ledger: Ledger) -> None:
    begin_replays(ledger, PIPELINE, DeadLetterFilter())
    with closing(source(works, ledger, "facts")) as replay:
        (partition,) = replay.partitions()
        stood = Position(partition, 1, "1")
        assert replay.accept(stood) == stood
        assert replay.size_bytes(partition, stood) == 1
        (chunk,) = replay.read(partition, stood)
        assert (chunk.start, chunk.end) == (1, 2)
        assert list(replay.read(partition, chunk.next)) == []
