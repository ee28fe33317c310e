"""Transformed rows on their way into batches: every input record is answered for by exactly one part."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.model.batch import RESERVED_FIELDS, SEQUENCE
from penstock.model.outcome import Count, Outcome, Stage, add_up, records_of
from penstock.model.position import Position, Range
from penstock.protocol.messages import BatchMetadata, Excepted
from penstock.transformation.assembly import Assembled, Assembly, Decided, Part, split

SCHEMA = pa.schema([pa.field("id", pa.int64()), *RESERVED_FIELDS])
NOBODY = Decided("facts", [])


def rows(*sequences: int) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([{"id": number, SEQUENCE: number} for number in sequences], schema=SCHEMA)


def batch(start: int, end: int) -> BatchMetadata:
    position = Position("a", start, f"byte {start}")
    return BatchMetadata(
        f"b{start}", 0, end - start, "", datetime(2026, 1, 1, tzinfo=UTC), "a", Range(start, end), position
    )


def ids(assembled: Assembled) -> list[int]:
    return [int(id_) for id_ in assembled.rows.column("id").to_pylist()]


def filtered(*sequences: int) -> Decided:
    return Decided("facts", [(Outcome.FILTERED, "old", sequences)])


def count(outcome: Outcome, stage: Stage, reason: str, records: int) -> Count:
    return Count("facts", outcome, stage, reason, records)


OLD_ONE = count(Outcome.FILTERED, Stage.TRANSFORMATION, "old", 1)


# --- filling batches --------------------------------------------------------------------------------------------------


def test_input_batches_are_joined_until_they_fill_one() -> None:
    assembly = Assembly(4)
    assert list(assembly.add(rows(0, 1, 2), [batch(0, 3)], NOBODY, 10.0)) == []
    assert (assembly.kept, assembly.since_s) == (3, 10.0)
    (full,) = assembly.add(rows(3, 4), [batch(3, 5)], NOBODY, 11.0)
    assert isinstance(full, Assembled)
    assert ids(full) == [0, 1, 2, 3]
    assert full.parts == (
        Part(Range(0, 3), Range(0, 3), 3, ()),
        Part(Range(3, 5), Range(3, 4), 1, ()),
    )
    assert full.position == Position("a", 3, "byte 3"), "record 4 is seen again from where its batch begins"
    assert (assembly.kept, assembly.since_s) == (1, 11.0)


def test_an_input_batch_is_divided_among_several_where_it_is_larger() -> None:
    found = list(Assembly(2).add(rows(0, 1, 2, 3), [batch(0, 4)], NOBODY, 0.0))
    assert [ids(each) for each in found if isinstance(each, Assembled)] == [[0, 1], [2, 3]]
    assert [part.range for each in found if isinstance(each, Assembled) for part in each.parts] == [
        Range(0, 2),
        Range(2, 4),
    ]


def test_a_part_takes_in_the_records_that_left_between_its_rows() -> None:
    found = list(Assembly(2).add(rows(1, 3, 6), [batch(0, 8)], filtered(0, 2, 4, 5, 7), 0.0))
    (full,) = found
    assert isinstance(full, Assembled)
    (part,) = full.parts
    assert (part.range, part.rows) == (Range(0, 6), 2)
    assert part.tally == (count(Outcome.FILTERED, Stage.TRANSFORMATION, "old", 4),)


def test_an_input_batch_of_which_nothing_is_left_has_a_part_that_waits_for_nothing() -> None:
    assembly = Assembly(4)
    (done,) = assembly.add(rows(), [batch(5, 6)], filtered(5), 0.0)
    assert done == Part(Range(5, 6), Range(5, 6), 0, (OLD_ONE,))
    assert assembly.kept == 0


def test_such_a_part_comes_in_its_place_among_the_others() -> None:
    found = list(Assembly(1).add(rows(0, 2), [batch(0, 1), batch(1, 2), batch(2, 3)], filtered(1), 0.0))
    assert [type(each).__name__ for each in found] == ["Assembled", "Part", "Assembled"]


def test_a_flush_gives_what_waits_and_then_nothing() -> None:
    assembly = Assembly(10)
    list(assembly.add(rows(0, 1), [batch(0, 2)], NOBODY, 3.0))
    (rest,) = assembly.flush()
    assert ids(rest) == [0, 1]
    assert list(assembly.flush()) == []
    assert assembly.kept == 0
    list(assembly.add(rows(2), [batch(2, 3)], NOBODY, 8.0))
    assert assembly.since_s == 8.0


# --- who decided what -------------------------------------------------------------------------------------------------


def test_what_was_decided_is_counted_and_named_by_range() -> None:
    decided = Decided("facts", [(Outcome.FILTERED, "old", [1, 4, 9]), (Outcome.DEAD_LETTERED, "INT_BETA_004", [5])])
    assert decided.within(Range(0, 5)) == (count(Outcome.FILTERED, Stage.TRANSFORMATION, "old", 2),)
    assert list(decided.named(Range(4, 9))) == [
        (Outcome.FILTERED, "old", (4,)),
        (Outcome.DEAD_LETTERED, "INT_BETA_004", (5,)),
    ]
    assert decided.within(Range(6, 9)) == ()
    assert list(decided.named(Range(6, 9))) == []


def test_what_delivery_says_of_a_batch_is_divided_by_record() -> None:
    first = Part(Range(0, 4), Range(0, 4), 3, (OLD_ONE,))
    second = Part(Range(4, 9), Range(4, 6), 2, ())
    said = [
        Excepted("facts", Outcome.DEAD_LETTERED, Stage.DELIVERY, "INT_GAMMA_003", (1, 5)),
        Excepted("facts", Outcome.FILTERED, Stage.DELIVERY, "superseded", (4,)),
    ]
    dead = count(Outcome.DEAD_LETTERED, Stage.DELIVERY, "INT_GAMMA_003", 1)
    superseded = count(Outcome.FILTERED, Stage.DELIVERY, "superseded", 1)
    assert add_up(split(first, "facts", said)) == add_up(
        [OLD_ONE, dead, count(Outcome.DELIVERED, Stage.DELIVERY, "", 2)]
    )
    assert add_up(split(second, "facts", said)) == add_up([dead, superseded])


@dataclass
class Seen:
    """What came out of an assembly, in order."""

    full: list[Assembled] = field(default_factory=list)
    done: list[Part] = field(default_factory=list)

    def take(self, found: Assembled | Part) -> None:
        if isinstance(found, Part):
            self.done.append(found)
        else:
            self.full.append(found)


GOOD, OLD, BAD = range(3)


@given(
    calls=st.lists(
        st.lists(st.lists(st.sampled_from([GOOD, GOOD, OLD, BAD]), min_size=1, max_size=9), min_size=1, max_size=4),
        min_size=1,
        max_size=5,
    ),
    size=st.integers(1, 7),
    flushes=st.lists(st.booleans(), min_size=5, max_size=5),
)
def test_every_record_is_in_one_part_and_every_part_adds_up(
    calls: list[list[list[int]]], size: int, flushes: list[bool]
) -> None:
    assembly, seen, start = Assembly(size), Seen(), 0
    inputs: list[BatchMetadata] = []
    fates: list[int] = []
    for call, flush in zip(calls, flushes, strict=False):
        called = []
        for kinds in call:
            called.append(batch(start, start + len(kinds)))
            fates += kinds
            start += len(kinds)
        inputs += called
        here = range(called[0].range.start, start)
        old, bad, good = ([s for s in here if fates[s] == kind] for kind in (OLD, BAD, GOOD))
        decided = Decided("facts", [(Outcome.FILTERED, "old", old), (Outcome.DEAD_LETTERED, "INT_BETA_004", bad)])
        for found in assembly.add(rows(*good), called, decided, 0.0):
            seen.take(found)
        for found in assembly.flush() if flush else ():
            assert 0 < found.rows.num_rows < size
            seen.take(found)
    for found in assembly.flush():
        seen.take(found)
    assert [id_ for each in seen.full for id_ in ids(each)] == [s for s in range(start) if fates[s] == GOOD]
    assert all(each.rows.num_rows <= size for each in seen.full)
    parts = sorted([*seen.done, *(part for each in seen.full for part in each.parts)], key=lambda part: part.range)
    assert [part.range.start for part in parts] == [0, *(part.range.end for part in parts[:-1])]
    assert parts[-1].range.end == start
    for part in parts:
        assert part.of in [metadata.range for metadata in inputs]
        assert part.of.start <= part.range.start < part.range.end <= part.of.end
        assert part.rows == sum(fates[s] == GOOD for s in range(part.range.start, part.range.end))
        assert part.rows + records_of(part.tally, "facts") == len(part.range)
    for each in seen.full:
        assert sum(part.rows for part in each.parts) == each.rows.num_rows
        assert each.position.sequence == each.parts[-1].of.start
    for before, after in pairwise(seen.full):
        assert before.parts[-1].range.end <= after.parts[0].range.start


@given(
    good=st.lists(st.booleans(), min_size=1, max_size=20),
    befell=st.lists(st.sampled_from([None, "dead", "superseded"]), min_size=20, max_size=20),
)
def test_however_delivery_answers_a_part_all_its_records_are_accounted_for(
    good: list[bool], befell: list[str | None]
) -> None:
    sequences = [s for s, is_good in enumerate(good) if is_good]
    dead, superseded = (tuple(s for s in sequences if befell[s] == what) for what in ("dead", "superseded"))
    said = [
        Excepted("facts", Outcome.DEAD_LETTERED, Stage.DELIVERY, "INT_GAMMA_003", dead),
        Excepted("facts", Outcome.FILTERED, Stage.DELIVERY, "superseded", superseded),
    ]
    left = [s for s, is_good in enumerate(good) if not is_good]
    assembly = Assembly(3)
    found = [*assembly.add(rows(*sequences), [batch(0, len(good))], filtered(*left), 0.0), *assembly.flush()]
    tallies: list[Count] = []
    for each in found:
        for part in each.parts if isinstance(each, Assembled) else (each,):
            tally = split(part, "facts", said) if isinstance(each, Assembled) else part.tally
            assert records_of(tally, "facts") == len(part.range)
            tallies += tally
    totals = {(one.outcome, one.reason): one.records for one in add_up(tallies)}
    assert totals.get((Outcome.DEAD_LETTERED, "INT_GAMMA_003"), 0) == len(dead)
    assert totals.get((Outcome.FILTERED, "superseded"), 0) == len(superseded)
    assert totals.get((Outcome.DELIVERED, ""), 0) == len(sequences) - len(dead) - len(superseded)


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_nothing_waits_in_an_assembly_that_was_given_exactly_full_batches(size: int) -> None:
    assembly = Assembly(size)
    list(assembly.add(rows(*range(2 * size)), [batch(0, 2 * size)], NOBODY, 0.0))
    assert assembly.kept == 0
