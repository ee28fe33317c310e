"""What is known to be at the destinations, and going back to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from penstock.errors import Corruption
from penstock.ledger import Ledger, LetterStatus
from penstock.model.outcome import Outcome, Stage
from penstock.model.position import Position
from penstock.ports import Fate

if TYPE_CHECKING:
    from pathlib import Path

    from tests.ledger.conftest import Hand

    from penstock.model.outcome import DeadLetter

OPEN, WITHDRAWN = LetterStatus.OPEN, LetterStatus.WITHDRAWN


def test_marks_only_rise(hand: Hand) -> None:
    high, low = hand.mark(20), hand.mark(10)
    hand.book.confirm("facts", [high, hand.mark(5, partition="b.csv")])
    hand.book.confirm("facts", [low])
    assert hand.ledger.marks("shop", "facts") == {
        ("orders", "a.csv"): high,
        ("orders", "b.csv"): hand.mark(5, partition="b.csv"),
    }
    assert hand.ledger.marks("shop", "audit") == {}


def test_forgotten_marks_can_be_recorded_lower(hand: Hand) -> None:
    hand.book.confirm("facts", [hand.mark(20)])
    hand.book.confirm("audit", [hand.mark(20)])
    hand.ledger.forget_marks("shop", "facts")
    hand.book.confirm("facts", [hand.mark(10)])
    assert hand.ledger.marks("shop", "facts")["orders", "a.csv"].sequence == 10
    assert hand.ledger.marks("shop", "audit")["orders", "a.csv"].sequence == 20


def test_a_rewind_to_a_border_goes_exactly_there_and_forgets_what_was_counted_since(hand: Hand) -> None:
    for start in range(0, 40, 10):
        hand.settle(start, start + 10)
    rewound = hand.ledger.rewind("shop", "orders", "a.csv", Position("a.csv", 20, "byte 200"))
    assert (rewound.asked, rewound.position, rewound.records) == (20, Position("a.csv", 20, "byte 200"), 20)
    assert hand.sequence() == 20
    assert hand.ledger.totals("shop")["orders"].read == 20
    hand.settle(20, 40)
    assert hand.ledger.totals("shop")["orders"].read == 40
    assert hand.problems() == []


def test_a_rewind_into_a_range_goes_to_its_beginning_and_says_so(hand: Hand) -> None:
    hand.settle(0, 10)
    hand.settle(10, 30)
    rewound = hand.ledger.rewind("shop", "orders", "a.csv", Position("a.csv", 25, "byte 250"))
    assert (rewound.asked, rewound.sequence, rewound.records) == (25, 10, 20)
    assert hand.sequence() == 10
    assert hand.problems() == []


@pytest.mark.parametrize("to", [None, Position("a.csv", 0, "byte 0"), Position("a.csv", 9, "byte 90")])
def test_a_rewind_before_the_first_border_goes_to_the_beginning(hand: Hand, to: Position | None) -> None:
    hand.settle(0, 10)
    hand.settle(0, 5, partition="b.csv")
    rewound = hand.ledger.rewind("shop", "orders", "a.csv", to)
    assert (rewound.position, rewound.sequence, rewound.records) == (None, 0, 10)
    assert hand.ledger.positions("shop", "orders") == {"b.csv": Position("b.csv", 5, "byte 50")}
    assert hand.problems() == []


def test_a_rewind_to_the_beginning_forgets_a_token_that_no_record_came_before(hand: Hand) -> None:
    hand.settle(0, 0)
    assert hand.ledger.positions("shop", "orders") != {}
    hand.ledger.rewind("shop", "orders", "a.csv", None)
    assert hand.ledger.positions("shop", "orders") == {}


def test_a_rewind_to_what_is_not_yet_settled_changes_nothing(hand: Hand) -> None:
    hand.settle(0, 10)
    hand.refuse(12)
    rewound = hand.ledger.rewind("shop", "orders", "a.csv", Position("a.csv", 15, "byte 150"))
    assert (rewound.asked, rewound.sequence, rewound.records) == (15, 10, 0)
    assert hand.ids(OPEN) == (1,)
    assert hand.ledger.rewind("shop", "orders", "never met", None).position is None


def test_letters_stay_through_a_rewind_withdrawn_until_their_records_fail_again(hand: Hand) -> None:
    hand.refuse(3, 12, 14)
    hand.settle(0, 10, dead=1)
    hand.settle(10, 20, dead=2)
    hand.ledger.rewind("shop", "orders", "a.csv", Position("a.csv", 10, "byte 100"))
    assert hand.letters("id", "status") == [(1, "open"), (2, "withdrawn"), (3, "withdrawn")]
    later = hand.again()
    later.refuse(12)
    later.settle(10, 20, dead=1)
    assert hand.letters("id", "status", "attempts") == [(1, "open", 1), (2, "open", 1), (3, "withdrawn", 1)]
    assert hand.problems() == []


def test_a_withdrawn_letter_does_not_stand_for_a_record_that_fails_again(hand: Hand) -> None:
    hand.refuse(3)
    hand.settle(0, 10, dead=1)
    hand.ledger.rewind("shop", "orders", "a.csv", None)
    with pytest.raises(Corruption, match="there are letters of 0"):
        hand.settle(0, 10, dead=1)
    hand.refuse(3)
    hand.settle(0, 10, dead=1)


def test_what_a_mark_covers_is_not_delivered_again_so_its_letter_stands(hand: Hand) -> None:
    hand.ledger.dead_letter(
        hand.run_id,
        "shop",
        [
            hand.letter(3),
            hand.letter(3, stage=Stage.DELIVERY, destination="audit"),
            hand.letter(3, stage=Stage.DELIVERY, destination="facts"),
            hand.letter(5),
            hand.letter(7),
        ],
    )
    hand.settle(0, 10, dead=1)
    hand.book.confirm("facts", [hand.mark(5)])
    hand.ledger.rewind("shop", "orders", "a.csv", None)
    assert hand.letters("sequence", "destination", "status") == [
        (3, "", "open"),
        (3, "audit", "withdrawn"),
        (3, "facts", "open"),
        (5, "", "withdrawn"),
        (7, "", "withdrawn"),
    ]


def test_what_people_decided_about_a_letter_outlives_a_rewind(hand: Hand) -> None:
    hand.refuse(3)
    hand.settle(0, 10, dead=1)
    hand.ledger.discard("shop", [1], "a test order")
    hand.ledger.rewind("shop", "orders", "a.csv", None)
    hand.again().refuse(3)
    assert hand.letters("status", "closed_because") == [("discarded", "a test order")]


def test_reconciling_believes_the_destinations_and_goes_back_in_one_transaction(hand: Hand) -> None:
    hand.settle(0, 10)
    hand.settle(10, 30)
    hand.book.confirm("facts", [hand.mark(30)])
    hand.book.confirm("audit", [hand.mark(30)])
    rewound = hand.ledger.reconcile(
        "shop",
        {"facts": [hand.mark(12)], "audit": []},
        {("orders", "a.csv"): hand.mark(12).position},
    )
    assert rewound["orders", "a.csv"].sequence == 10
    assert hand.ledger.marks("shop", "facts") == {("orders", "a.csv"): hand.mark(12)}
    assert hand.ledger.marks("shop", "audit") == {}
    assert hand.problems() == []


def test_a_replay_and_the_file_it_came_from_may_be_set_back_together(hand: Hand) -> None:
    hand.refuse(3)
    hand.settle(0, 10, dead=1)
    replay = hand.ledger.begin_replay("shop", "orders", "", [1])
    hand.settle(0, 1, partition=replay.partition)
    keys: list[tuple[str, str]] = [("orders", "a.csv"), ("orders", replay.partition)]
    for order in (keys, keys[::-1]):
        rewound = hand.ledger.reconcile("shop", {}, dict.fromkeys(order))
        assert {key: to.sequence for key, to in rewound.items()} == dict.fromkeys(keys, 0)
    assert hand.letters("status") == [("withdrawn",)]  # its record is read again, and may pass this time
    hand.again().settle(0, 10)
    assert hand.ids(OPEN) == ()
    assert hand.problems() == []


def test_a_new_run_judges_anew_what_nobody_has_settled(hand: Hand) -> None:
    def everywhere(sequence: int) -> list[DeadLetter]:
        return [
            hand.letter(sequence),
            hand.letter(sequence, stage=Stage.TRANSFORMATION, destination="audit"),
            hand.letter(sequence, stage=Stage.TRANSFORMATION, destination="facts"),
        ]

    for sequence in (3, 11, 14, 17):
        hand.book.dead_letter(everywhere(sequence))
    hand.settle(0, 10, dead=1)
    later = hand.again()
    later.book.dead_letter([hand.letter(18)])
    later.ledger.judge_anew(later.run_id, "shop", "orders", {"a.csv": {"audit": 0, "facts": 15}})
    withdrawn = [
        (sequence, destination)
        for sequence, destination, status in later.letters("sequence", "destination", "status")
        if status == "withdrawn"
    ]
    # 3 is settled; below 15 `facts` has all it will get, so what ingestion refused there is all that is left of it;
    # 18 was refused by this very run.
    assert withdrawn == [(11, "audit"), (14, "audit"), (17, ""), (17, "audit"), (17, "facts")]


def test_a_destination_recalls_what_was_refused_and_superseded_below_its_mark(hand: Hand) -> None:
    refused = [hand.letter(s, stage=Stage.DELIVERY, destination="facts", code="INT_GAMMA_003") for s in (2, 11, 14, 17)]
    hand.book.dead_letter([hand.letter(13), *refused])
    hand.book.supersede("facts", "orders", "a.csv", [1, 12, 15, 18])
    hand.book.supersede("audit", "orders", "a.csv", [16])
    hand.settle(0, 10, dead=1)
    later = hand.again()
    assert later.book.recall("facts", "orders", "a.csv", 16) == {
        11: Fate(Outcome.DEAD_LETTERED, "INT_GAMMA_003"),
        14: Fate(Outcome.DEAD_LETTERED, "INT_GAMMA_003"),
        12: Fate(Outcome.FILTERED, "superseded"),
        13: Fate(Outcome.DEAD_LETTERED, "INT_ALPHA_002"),  # by ingestion, for everyone
        15: Fate(Outcome.FILTERED, "superseded"),
    }
    assert later.book.recall("audit", "orders", "a.csv", 20) == {
        13: Fate(Outcome.DEAD_LETTERED, "INT_ALPHA_002"),
        16: Fate(Outcome.FILTERED, "superseded"),
    }


def test_what_was_noted_beyond_the_mark_is_taken_back_until_it_is_noted_again(hand: Hand) -> None:
    def refused(sequence: int) -> None:
        hand.book.dead_letter([hand.letter(sequence, stage=Stage.DELIVERY, destination="facts")])

    for sequence in (4, 8):
        refused(sequence)
    hand.book.supersede("facts", "orders", "a.csv", [5, 9])
    later = hand.again()
    later.book.recall("facts", "orders", "a.csv", 6)
    assert hand.letters("sequence", "status") == [(4, "open"), (8, "withdrawn")]
    assert later.again().book.recall("facts", "orders", "a.csv", 10) == {
        4: Fate(Outcome.DEAD_LETTERED, "INT_ALPHA_002"),
        5: Fate(Outcome.FILTERED, "superseded"),
    }
    refused(8)
    assert hand.letters("sequence", "status") == [(4, "open"), (8, "open")]


def test_what_this_run_has_noted_already_is_not_taken_back(hand: Hand) -> None:
    hand.book.dead_letter([hand.letter(8, stage=Stage.TRANSFORMATION, destination="facts")])
    hand.book.recall("facts", "orders", "a.csv", 0)
    assert hand.ids(OPEN) == (1,)


def test_letters_below_the_position_are_settled_and_stay_open_whatever_the_mark(hand: Hand) -> None:
    hand.book.dead_letter([hand.letter(3, stage=Stage.DELIVERY, destination="facts")])
    hand.settle(0, 10, dead=1)
    assert hand.again().book.recall("facts", "orders", "a.csv", 0) == {}
    assert hand.ids(OPEN) == (1,)
    assert hand.ids(WITHDRAWN) == ()


def test_a_partition_with_other_content_becomes_the_newest_of_its_source(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / ".penstock") as ledger:
        assert ledger.partition_ordinals("shop", "orders", ["a", "b", "c"]) == {"a": 0, "b": 1, "c": 2}
        ledger.renumber("shop", "orders", ["a"])
        assert ledger.partition_ordinals("shop", "orders", ["a", "b", "c", "d"]) == {"a": 3, "b": 1, "c": 2, "d": 4}
