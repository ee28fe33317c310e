"""Who owes an answer for what, and when a prefix may be released."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import Corruption
from penstock.model.outcome import Count, Outcome, Stage
from penstock.model.position import Range
from penstock.protocol.settlement import Settlement

if TYPE_CHECKING:
    from random import Random

    from penstock.protocol.settlement import Settled


def delivered(destination: str, records: int) -> list[Count]:
    return [Count(destination, Outcome.DELIVERED, Stage.DELIVERY, "", records)]


def test_a_range_is_settled_only_when_every_destination_has_accounted_for_it() -> None:
    settlement = Settlement(("facts", "audit"))
    assert settlement.open("a", Range(0, 10)) == ()
    assert settlement.answer("a", "facts", Range(0, 10), delivered("facts", 10)) == ()
    (settled,) = settlement.answer("a", "audit", Range(0, 10), delivered("audit", 10))
    assert settled.range == Range(0, 10)
    assert settled.tally == tuple(sorted([*delivered("audit", 10), *delivered("facts", 10)]))


def test_one_part_that_stays_unanswered_holds_everything_behind_it() -> None:
    settlement = Settlement(("facts",))
    settlement.open("a", Range(0, 10))
    settlement.open("a", Range(10, 20))
    assert settlement.answer("a", "facts", Range(10, 20), delivered("facts", 10)) == ()
    assert settlement.answer("a", "facts", Range(4, 10), delivered("facts", 6)) == ()
    released = settlement.answer("a", "facts", Range(0, 4), delivered("facts", 4))
    assert [settled.range for settled in released] == [Range(0, 10), Range(10, 20)]
    assert settlement.is_idle()


def test_partitions_do_not_hold_each_other_up() -> None:
    settlement = Settlement(("facts",))
    settlement.open("a", Range(0, 10))
    settlement.open("b", Range(0, 5))
    (settled,) = settlement.answer("b", "facts", Range(0, 5), delivered("facts", 5))
    assert settled.partition == "b"
    assert settlement.records_open == 10


def test_an_empty_range_settles_in_its_turn() -> None:
    settlement = Settlement(("facts",))
    (settled,) = settlement.open("a", Range(0, 0))
    assert settled.tally == ()
    settlement.open("a", Range(0, 3))
    assert settlement.open("a", Range(3, 3)) == ()
    released = settlement.answer("a", "facts", Range(0, 3), delivered("facts", 3))
    assert [entry.range for entry in released] == [Range(0, 3), Range(3, 3)]


def test_records_that_left_before_are_not_waited_for() -> None:
    settlement = Settlement(("facts",))
    settlement.open("a", Range(0, 10), records=7)
    (settled,) = settlement.answer("a", "facts", Range(0, 10), delivered("facts", 7))
    assert settled.range == Range(0, 10)


@pytest.mark.parametrize("records", [9, 11])
def test_counts_that_are_not_the_ranges_records_are_corruption(records: int) -> None:
    settlement = Settlement(("facts",))
    settlement.open("a", Range(0, 10))
    with pytest.raises(Corruption, match=f"accounts for {records} of the 10 records"):
        settlement.answer("a", "facts", Range(0, 10), delivered("facts", records))


def test_accounting_twice_for_a_record_is_corruption() -> None:
    settlement = Settlement(("facts",))
    settlement.open("a", Range(0, 10))
    settlement.answer("a", "facts", Range(0, 6), delivered("facts", 6))
    with pytest.raises(Corruption, match="twice"):
        settlement.answer("a", "facts", Range(5, 10), delivered("facts", 5))


def test_an_answer_for_what_is_not_open_is_corruption() -> None:
    settlement = Settlement(("facts",))
    settlement.open("a", Range(0, 10))
    with pytest.raises(Corruption, match="not open"):
        settlement.answer("a", "facts", Range(8, 12), delivered("facts", 4))


def test_a_gap_between_ranges_is_corruption() -> None:
    settlement = Settlement(("facts",))
    settlement.open("a", Range(0, 10))
    with pytest.raises(Corruption, match="10 had to follow"):
        settlement.open("a", Range(11, 12))


def test_where_gaps_are_allowed_a_range_may_leave_out_records_but_never_go_back() -> None:
    settlement = Settlement(("facts",), gaps=True)
    settlement.open("a", Range(0, 10))
    settlement.open("a", Range(12, 15))
    assert settlement.answer("a", "facts", Range(12, 15), delivered("facts", 3)) == ()
    released = settlement.answer("a", "facts", Range(0, 10), delivered("facts", 10))
    assert [settled.range for settled in released] == [Range(0, 10), Range(12, 15)]
    with pytest.raises(Corruption, match="15 had to follow"):
        settlement.open("a", Range(14, 20))


@given(
    lengths=st.lists(st.integers(0, 6), min_size=1, max_size=12),
    order=st.randoms(use_true_random=False),
    destinations=st.integers(1, 3),
)
def test_whatever_the_order_of_answers_prefixes_are_released_once_in_order_and_in_full(
    lengths: list[int], order: Random, destinations: int
) -> None:
    names = tuple(f"d{number}" for number in range(destinations))
    settlement = Settlement(names)
    released: list[Settled] = []
    singles: list[tuple[str, Range]] = []
    start = 0
    for length in lengths:
        released += settlement.open("p", Range(start, start + length))
        singles += [(name, Range(at, at + 1)) for at in range(start, start + length) for name in names]
        start += length
    order.shuffle(singles)
    for done, (name, one) in enumerate(singles, start=1):
        released += settlement.answer("p", name, one, delivered(name, 1))
        below = released[-1].range.end if released else 0
        answered = singles[:done]
        assert all((name, Range(at, at + 1)) in answered for at in range(below) for name in names)
    assert sum(len(entry.range) for entry in released) == start
    assert [entry.range.start for entry in released] == sorted(entry.range.start for entry in released)
    assert settlement.records_open == 0
