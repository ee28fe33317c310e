"""Positions move and records are counted together, or neither happens."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from penstock.errors import Corruption
from penstock.ledger import Totals
from penstock.model.outcome import Count, Outcome, Stage
from penstock.model.position import Position

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from tests.ledger.conftest import Hand

    from penstock.ports import Advance

    AdvanceOf = Callable[[str, int, int, Iterable[Count]], Advance]


def delivered(destination: str, records: int) -> Count:
    return Count(destination, Outcome.DELIVERED, Stage.DELIVERY, "", records)


def test_partitions_are_numbered_in_the_order_in_which_they_were_met(hand: Hand) -> None:
    ledger = hand.ledger
    assert ledger.partition_ordinals("shop", "orders", ["b", "a"]) == {"b": 0, "a": 1}
    assert ledger.partition_ordinals("shop", "orders", ["a", "c", "b"]) == {"a": 1, "c": 2, "b": 0}
    assert ledger.partition_ordinals("shop", "customers", ["c"]) == {"c": 0}
    assert ledger.partition_ordinals("other", "orders", ["c"]) == {"c": 0}
    assert hand.problems() == []


def test_a_partition_that_was_met_but_never_settled_has_no_position(hand: Hand) -> None:
    hand.ledger.partition_ordinals("shop", "orders", ["a.csv"])
    assert hand.ledger.positions("shop", "orders") == {}


def test_settling_moves_the_position_and_counts_the_records(hand: Hand) -> None:
    hand.refuse(3, 7)
    hand.settle(0, 10, dead=2, filtered=1)
    assert hand.ledger.positions("shop", "orders") == {"a.csv": Position("a.csv", 10, "byte 100")}
    expected = tuple(
        Count(destination, *key, records)
        for destination in ("audit", "facts")
        for key, records in (
            ((Outcome.DEAD_LETTERED, Stage.INGESTION, "INT_ALPHA_002"), 2),
            ((Outcome.DELIVERED, Stage.DELIVERY, ""), 7),
            ((Outcome.FILTERED, Stage.TRANSFORMATION, "test orders"), 1),
        )
    )
    assert hand.ledger.totals("shop") == {"orders": Totals(10, expected)}
    assert hand.problems() == []


def test_totals_are_of_one_run_or_of_all_time(hand: Hand) -> None:
    hand.settle(0, 10)
    later = hand.again()
    later.settle(10, 15)
    later.settle(0, 4, partition="b.csv")
    assert hand.ledger.totals("shop", hand.run_id)["orders"].read == 10
    assert hand.ledger.totals("shop", later.run_id)["orders"] == Totals(
        9, (delivered("audit", 9), delivered("facts", 9))
    )
    assert hand.ledger.totals("shop")["orders"].read == 19
    assert hand.ledger.totals("another") == {}


def test_one_call_may_settle_several_ranges_of_several_partitions(hand: Hand) -> None:
    advances = [hand.advance(0, 5), hand.advance(0, 3, partition="b.csv"), hand.advance(5, 9)]
    hand.ledger.settle(hand.run_id, "shop", "orders", advances)
    assert (hand.sequence("a.csv"), hand.sequence("b.csv")) == (9, 3)


def test_a_range_without_records_moves_the_token_and_counts_nothing(hand: Hand) -> None:
    hand.settle(0, 10)
    end = Position("a.csv", 10, "end of file")
    hand.ledger.settle(hand.run_id, "shop", "orders", [replace(hand.advance(10, 10), position=end)])
    assert hand.ledger.positions("shop", "orders")["a.csv"] == end
    hand.settle(10, 12)
    assert hand.ledger.totals("shop")["orders"].read == 12
    assert hand.problems() == []


@pytest.mark.parametrize(("start", "end"), [(0, 10), (5, 12), (11, 20), (0, 3)])
def test_a_range_must_follow_the_one_before_it(hand: Hand, start: int, end: int) -> None:
    hand.settle(0, 10)
    with pytest.raises(Corruption, match=r"was settled where 10 had to follow") as caught:
        hand.settle(start, end)
    assert caught.value.kind.code == "INT_LEDGER_003"
    assert (hand.sequence(), hand.ledger.totals("shop")["orders"].read) == (10, 10)


def test_a_destination_that_accounts_for_too_few_or_too_many_is_corruption(hand: Hand, advance_of: AdvanceOf) -> None:
    for records in (9, 11):
        advance = advance_of("a.csv", 0, 10, [delivered("audit", 10), delivered("facts", records)])
        with pytest.raises(Corruption, match=f"facts accounts for {records} of the 10 records"):
            hand.ledger.settle(hand.run_id, "shop", "orders", [advance])
    assert hand.ledger.totals("shop") == {}


def test_records_that_nobody_accounts_for_are_corruption(hand: Hand, advance_of: AdvanceOf) -> None:
    with pytest.raises(Corruption, match="no destination accounts for"):
        hand.ledger.settle(hand.run_id, "shop", "orders", [advance_of("a.csv", 0, 10, [])])


def test_a_tally_that_names_the_same_thing_twice_or_below_zero_is_corruption(hand: Hand, advance_of: AdvanceOf) -> None:
    filtered = Count("facts", Outcome.FILTERED, Stage.TRANSFORMATION, "x", -1)
    for tally in ([delivered("facts", 5), delivered("facts", 5)], [delivered("facts", 11), filtered]):
        with pytest.raises(Corruption, match="twice, or below zero"):
            hand.ledger.settle(hand.run_id, "shop", "orders", [advance_of("a.csv", 0, 10, tally)])


def test_a_position_that_is_not_the_end_of_its_range_is_corruption(hand: Hand) -> None:
    advance = hand.advance(0, 10)
    for position in (Position("a.csv", 9, "x"), Position("b.csv", 10, "x")):
        with pytest.raises(Corruption, match="is not its end"):
            hand.ledger.settle(hand.run_id, "shop", "orders", [replace(advance, position=position)])


def test_one_bad_range_leaves_nothing_of_the_whole_call(hand: Hand, advance_of: AdvanceOf) -> None:
    bad = advance_of("b.csv", 0, 10, [delivered("facts", 9)])
    with pytest.raises(Corruption):
        hand.ledger.settle(hand.run_id, "shop", "orders", [hand.advance(0, 5), bad])
    assert hand.ledger.positions("shop", "orders") == {}
    assert hand.ledger.totals("shop") == {}
    hand.settle(0, 5)


def test_a_position_never_passes_a_dead_letter_that_is_not_here(hand: Hand) -> None:
    hand.refuse(3)
    with pytest.raises(Corruption, match=r"2 records of .* were dead-lettered, and there are letters of 1"):
        hand.settle(0, 10, dead=2)
    assert hand.sequence() == 0
    hand.refuse(12)  # beyond the range
    with pytest.raises(Corruption, match="letters of 1"):
        hand.settle(0, 10, dead=2)
    hand.refuse(4)
    hand.settle(0, 10, dead=2)
    assert hand.problems() == []


def test_what_was_superseded_is_forgotten_once_it_is_counted(hand: Hand) -> None:
    hand.ledger.supersede("shop", "facts", "orders", "a.csv", [3, 12])
    hand.settle(0, 10)
    with hand.ledger._database.read() as connection:  # no call shows it: it is there for a run that comes after a crash
        assert connection.execute("SELECT sequence FROM superseded_records").fetchall() == [(12,)]


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        (
            "UPDATE outcomes SET records = 9 WHERE settlement_id = 2 AND destination = 'facts'",
            "`facts` accounts for 9 of",
        ),
        ("DELETE FROM outcomes WHERE settlement_id = 2", "no destination accounts for [10, 20)"),
        (
            "DELETE FROM outcomes WHERE settlement_id = 2 AND destination = 'audit'",
            "counts `audit` in 2 of its 3 ranges",
        ),
        ("DELETE FROM settlements WHERE id = 2", "[20, 30) does not follow the range before it, which ends at 10"),
        ("UPDATE partitions SET sequence = 31", "the position is 31, and what was counted ends at 30"),
        ("DELETE FROM dead_letters", "1 records of [0, 10) were dead-lettered, and there are letters of 0"),
        ("UPDATE dead_letters SET status = 'replaying'", "dead letter 1 is replaying, and no replay waits for it"),
        ("DELETE FROM runs", "refers to a row of `runs` that is not there"),
    ],
)
def test_checking_finds_what_a_stranger_changed(hand: Hand, folder: Path, statement: str, found: str) -> None:
    hand.refuse(3)
    hand.settle(0, 10, dead=1)
    hand.settle(10, 20)
    hand.settle(20, 30)
    assert hand.problems() == []
    with closing(sqlite3.connect(folder / "ledger.sqlite")) as stranger, stranger:
        stranger.execute(statement)
    assert found in "\n".join(hand.problems())


def test_settling_ten_partitions_takes_less_than_five_milliseconds_of_work(hand: Hand) -> None:
    names = [f"part-{number}.csv" for number in range(10)]
    spent = []
    for start in range(0, 1000, 100):
        advances = [hand.advance(start, start + 100, partition=name, filtered=10) for name in names]
        began_s = time.thread_time()
        hand.ledger.settle(hand.run_id, "shop", "orders", advances)
        spent.append(time.thread_time() - began_s)
    assert min(spent) < 0.005
