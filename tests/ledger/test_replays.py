"""Dead letters sent through once more: nothing twice, nothing lost, and each letter says what became of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import pytest

from penstock.errors import Corruption, UserMistake
from penstock.ledger import LetterStatus, Replay, ReplayItem
from penstock.model.outcome import Outcome, Stage
from penstock.ports import Fate

if TYPE_CHECKING:
    from tests.ledger.conftest import Hand

OPEN, REPLAYING, WITHDRAWN = LetterStatus.OPEN, LetterStatus.REPLAYING, LetterStatus.WITHDRAWN


@dataclass(slots=True)
class Replayer:
    """A hand in a replay's partition."""

    hand: Hand
    replay: Replay

    def fail(self, sequence: int, stage: Stage, destination: str, *, code: str = "INT_BETA_002") -> None:
        partition = self.replay.partition
        letter = self.hand.letter(sequence, partition=partition, stage=stage, destination=destination, code=code)
        self.hand.book.dead_letter([letter])

    def settle(self, start: int, end: int, *, dead: int = 0) -> None:
        self.hand.settle(start, end, partition=self.replay.partition, dead=dead)


def replaying(hand: Hand, *ids: int, destination: str = "") -> Replayer:
    replay = hand.ledger.begin_replay("shop", "orders", destination, ids or hand.ids(OPEN))
    if destination:
        hand.destinations = (destination,)
    return Replayer(hand, replay)


@pytest.fixture
def refused(hand: Hand) -> Hand:
    """Twenty records of two files, of which four are refused."""
    hand.refuse(8, partition="b.csv")
    hand.refuse(2, 5, 7)
    hand.ledger.partition_ordinals("shop", "orders", ["a.csv", "b.csv"])
    hand.settle(0, 10, dead=3)
    hand.settle(0, 10, partition="b.csv", dead=1)
    return hand.again()


def test_a_replay_holds_its_letters_in_the_order_in_which_their_records_were_read(refused: Hand) -> None:
    replay = refused.ledger.begin_replay("shop", "orders", "", [3, 1, 2, 3])
    assert replay.partition == f"replay/{replay.id}"
    assert (replay.source, replay.destination, replay.items) == ("orders", "", 3)
    assert refused.ledger.replay_items(replay.id, 0, 10) == (
        ReplayItem(0, 1, b"8,Ada,abc", "b.csv", 8, 0, 10),
        ReplayItem(1, 2, b"2,Ada,abc", "a.csv", 2, 1, 4),
        ReplayItem(2, 3, b"5,Ada,abc", "a.csv", 5, 1, 7),
    )
    assert [item.sequence for item in refused.ledger.replay_items(replay.id, 1, 1)] == [1]
    assert refused.ids(REPLAYING) == (1, 2, 3)
    assert refused.ids(OPEN) == (4,)
    assert refused.ledger.unfinished_replays("shop") == (replay,)
    assert refused.ledger.unfinished_replays("another") == ()
    assert refused.problems() == []


def test_the_order_of_a_replay_is_that_of_reading_not_that_of_refusing(hand: Hand) -> None:
    hand.ledger.partition_ordinals("shop", "orders", ["a.csv", "b.csv"])
    hand.refuse(4, partition="b.csv")
    hand.refuse(9, 3)
    replay = hand.ledger.begin_replay("shop", "orders", "", [1, 2, 3])
    origins = [(item.origin_partition, item.origin_sequence) for item in hand.ledger.replay_items(replay.id, 0, 3)]
    assert origins == [("a.csv", 3), ("a.csv", 9), ("b.csv", 4)]


def test_letters_whose_records_pass_are_delivered_with_the_settlement_and_not_before(refused: Hand) -> None:
    replayer = replaying(refused)
    replayer.settle(0, 3)
    assert refused.letters("status") == [("delivered",)] * 3 + [("replaying",)]
    assert len(refused.ledger.unfinished_replays("shop")) == 1
    replayer.settle(3, 4)
    assert refused.letters("status", "closed_because", "attempts") == [("delivered", "replayed", 1)] * 4
    assert refused.ledger.unfinished_replays("shop") == ()
    assert refused.problems() == []


def test_a_record_that_fails_again_reopens_its_letter_with_the_new_errors(refused: Hand) -> None:
    replayer = replaying(refused)
    replayer.fail(1, Stage.INGESTION, "", code="INT_ALPHA_004")
    assert refused.ids(REPLAYING) == (1, 2, 3, 4)
    replayer.settle(0, 4, dead=1)
    assert refused.letters("status", "code", "attempts")[1] == ("open", "INT_ALPHA_004", 2)
    assert refused.letters("partition", "sequence", "original", "run_id")[1] == (
        "a.csv",
        2,
        b"2,Ada,abc",
        refused.run_id,
    )
    assert [status for (status,) in refused.letters("status")] == ["delivered", "open", "delivered", "delivered"]
    assert refused.problems() == []


def test_a_record_that_fails_elsewhere_moves_its_letter_and_makes_no_second_one(refused: Hand) -> None:
    replayer = replaying(refused)
    replayer.fail(1, Stage.TRANSFORMATION, "facts")
    replayer.settle(0, 4, dead=1)
    assert refused.letters("id", "stage", "destination", "status", "code")[1] == (
        2,
        "transformation",
        "facts",
        "open",
        "INT_BETA_002",
    )
    assert len(refused.ids()) == 4
    assert refused.problems() == []


def test_the_next_replay_of_a_moved_letter_goes_to_the_destination_that_lacks_it(refused: Hand) -> None:
    replayer = replaying(refused)
    replayer.fail(1, Stage.TRANSFORMATION, "facts")
    replayer.settle(0, 4, dead=1)
    with pytest.raises(UserMistake, match=r"dead letter 2 goes from `orders` to `facts`, not .* to every destination"):
        refused.ledger.begin_replay("shop", "orders", "", [2])
    again = replaying(refused, 2, destination="facts")
    again.fail(0, Stage.INGESTION, "")  # ingestion knows of no destination
    again.settle(0, 1, dead=1)
    assert refused.letters("stage", "destination", "status", "attempts")[1] == ("ingestion", "facts", "open", 3)
    assert refused.problems() == []


def test_a_record_that_two_destinations_refuse_has_a_letter_for_each(refused: Hand) -> None:
    replayer = replaying(refused, 2)
    replayer.fail(0, Stage.TRANSFORMATION, "facts")
    replayer.fail(0, Stage.DELIVERY, "audit")
    replayer.settle(0, 1, dead=1)
    found = refused.letters("id", "sequence", "stage", "destination", "status", "attempts", "original")
    assert [row for row in found if row[1] == 2] == [
        (2, 2, "delivery", "audit", "open", 2, b"2,Ada,abc"),
        (5, 2, "transformation", "facts", "open", 1, b"2,Ada,abc"),
    ]
    assert refused.problems() == []


def test_a_letter_that_would_become_one_that_is_there_continues_as_that_one(refused: Hand) -> None:
    refused.book.dead_letter([refused.letter(2, stage=Stage.TRANSFORMATION, destination="facts")])
    refused.ledger.discard("shop", [5], "seen to")
    replayer = replaying(refused, 2)
    replayer.fail(0, Stage.TRANSFORMATION, "facts")
    replayer.settle(0, 1, dead=1)
    found = refused.letters("id", "status", "closed_because")
    assert (found[1], found[4]) == ((2, "withdrawn", "continues as dead letter 5"), (5, "open", ""))
    assert refused.problems() == []


def test_a_letter_that_another_replay_has_taken_up_stays_with_that_one(refused: Hand) -> None:
    refused.book.dead_letter([refused.letter(2, stage=Stage.TRANSFORMATION, destination="facts")])
    to_all = replaying(refused, 2)
    to_facts = refused.ledger.begin_replay("shop", "orders", "facts", [5])
    to_all.fail(0, Stage.TRANSFORMATION, "facts")
    to_all.settle(0, 1, dead=1)
    assert refused.letters("status")[4] == ("replaying",)
    assert refused.problems() == []
    refused.destinations = ("facts",)
    Replayer(refused, to_facts).settle(0, 1)
    assert refused.letters("status")[4] == ("delivered",)
    assert refused.problems() == []


def test_of_two_letters_about_one_record_and_destination_only_one_is_replayed(hand: Hand) -> None:
    hand.book.dead_letter(
        [hand.letter(2, stage=stage, destination="facts") for stage in (Stage.TRANSFORMATION, Stage.DELIVERY)]
    )
    replay = hand.ledger.begin_replay("shop", "orders", "facts", [1, 2])
    assert replay.items == 1
    assert hand.letters("status", "closed_because") == [("withdrawn", "continues as dead letter 2"), ("replaying", "")]


def test_failures_written_again_after_a_crash_count_as_one_attempt(refused: Hand) -> None:
    replayer = replaying(refused)
    replayer.fail(1, Stage.INGESTION, "")
    after = Replayer(refused.again(), replayer.replay)
    after.fail(1, Stage.INGESTION, "")
    after.settle(0, 4, dead=1)
    assert refused.letters("attempts") == [(1,), (2,), (1,), (1,)]


def test_a_replay_counts_by_itself_in_the_totals(refused: Hand) -> None:
    replayer = replaying(refused)
    replayer.fail(1, Stage.INGESTION, "")
    replayer.settle(0, 4, dead=1)
    totals = refused.ledger.totals("shop")["orders"]
    assert (totals.read, totals.replayed) == (20, 4)
    assert [count.records for count in totals.replay_tally if count.destination == "facts"] == [1, 3]
    this_run = refused.ledger.totals("shop", refused.run_id)["orders"]
    assert (this_run.read, this_run.tally, this_run.replayed) == (0, (), 4)


def test_a_replay_cannot_pass_a_failure_that_is_not_here(refused: Hand) -> None:
    replayer = replaying(refused)
    with pytest.raises(Corruption, match=r"1 records of .* were dead-lettered, and there are letters of 0"):
        replayer.settle(0, 4, dead=1)
    assert refused.ids(REPLAYING) == (1, 2, 3, 4)


def test_what_a_replay_does_not_wait_for_is_corruption(refused: Hand) -> None:
    replayer = replaying(refused)
    with pytest.raises(Corruption, match=r"\[0, 5\) was settled, of which it waits for 4"):
        replayer.settle(0, 5)
    replayer.settle(0, 2)
    for sequence in (1, 4):
        with pytest.raises(Corruption, match="1 records failed, of which it waits for 0"):
            replayer.fail(sequence, Stage.INGESTION, "")


@pytest.mark.parametrize(
    ("source", "destination", "ids", "message"),
    [
        ("orders", "", [], "no dead letter was chosen"),
        ("orders", "", [1, 99], "there is no dead letter 99"),
        ("orders", "facts", [1], "dead letter 1 goes from `orders` to every destination, not .* to `facts`"),
        ("customers", "", [1], "not from `customers`"),
        ("orders", "", [2, 4], "dead letter 4 is discarded, not open"),
    ],
)
def test_what_cannot_be_replayed_is_refused_as_a_whole(
    refused: Hand, source: str, destination: str, ids: list[int], message: str
) -> None:
    refused.ledger.discard("shop", [4], "seen to")
    with pytest.raises(UserMistake, match=message) as caught:
        refused.ledger.begin_replay("shop", source, destination, ids)
    assert caught.value.kind.code == "INT_LEDGER_005"
    assert refused.ids(REPLAYING) == ()
    assert refused.ledger.unfinished_replays("shop") == ()


def test_a_letter_under_way_can_be_neither_replayed_nor_discarded(refused: Hand) -> None:
    replaying(refused, 2)
    with pytest.raises(UserMistake, match="dead letter 2 is replaying, not open"):
        refused.ledger.begin_replay("shop", "orders", "", [1, 2])
    with pytest.raises(UserMistake, match="dead letter 2 is replaying, not open"):
        refused.ledger.discard("shop", [2], "too late")


def test_reading_a_record_again_does_not_disturb_its_replay(refused: Hand) -> None:
    replayer = replaying(refused, 2)
    refused.refuse(2)
    assert refused.ids(REPLAYING) == (2,)
    replayer.settle(0, 1)
    assert refused.letters("status")[1] == ("delivered",)


def test_a_destination_recalls_what_was_refused_of_a_replay(refused: Hand) -> None:
    replayer = replaying(refused)
    for sequence in (0, 1, 3):
        replayer.fail(sequence, Stage.DELIVERY, "facts", code="INT_GAMMA_003")
    replayer.fail(2, Stage.TRANSFORMATION, "facts")
    refused.ledger.settle(
        refused.run_id, "shop", "orders", [refused.advance(0, 1, partition=replayer.replay.partition, dead=1)]
    )
    later = refused.again()
    assert later.book.recall("facts", "orders", replayer.replay.partition, 3) == {
        1: Fate(Outcome.DEAD_LETTERED, "INT_GAMMA_003"),
        2: Fate(Outcome.DEAD_LETTERED, "INT_BETA_002"),
    }
    after = Replayer(later, replayer.replay)
    after.settle(1, 4, dead=2)  # what was noted of record 3, beyond the mark, is taken back: it passes now
    assert [status for (status,) in later.letters("status")] == ["open", "open", "open", "delivered"]


def test_a_replay_that_is_set_back_is_given_up_and_its_letters_are_open_again(refused: Hand) -> None:
    replayer = replaying(refused)
    replayer.settle(0, 1)
    replayer.fail(1, Stage.TRANSFORMATION, "facts")
    replayer.settle(1, 3, dead=1)
    assert refused.letters("status") == [("delivered",), ("open",), ("delivered",), ("replaying",)]
    position = refused.ledger.positions("shop", "orders")[replayer.replay.partition]
    rewound = refused.ledger.rewind(
        "shop", "orders", replayer.replay.partition, msgspec.structs.replace(position, sequence=2)
    )
    assert (rewound.sequence, rewound.records) == (1, 2)
    assert refused.letters("status", "destination") == [("delivered", ""), ("open", ""), ("open", ""), ("open", "")]
    assert refused.ledger.unfinished_replays("shop") == ()
    assert refused.problems() == []
    with pytest.raises(Corruption, match="waits for 0"):
        replayer.settle(1, 2)
    replaying(refused, 2, 3, 4).settle(0, 3)
    assert refused.letters("status") == [("delivered",)] * 4
    assert refused.problems() == []


def test_a_replay_given_up_leaves_one_letter_for_all_destinations_not_one_for_each(refused: Hand) -> None:
    replayer = replaying(refused, 2)
    replayer.fail(0, Stage.TRANSFORMATION, "facts")
    replayer.fail(0, Stage.TRANSFORMATION, "audit")
    replayer.settle(0, 1, dead=1)
    assert refused.ids(OPEN) == (1, 2, 3, 4, 5)
    refused.ledger.rewind("shop", "orders", replayer.replay.partition, None)
    assert refused.letters("id", "destination", "status")[1] == (2, "", "open")
    assert refused.ids(OPEN) == (1, 2, 3, 4)
    assert refused.ids(WITHDRAWN) == (5,)
    assert refused.problems() == []


def test_giving_up_an_old_replay_leaves_what_a_later_one_took_up(refused: Hand) -> None:
    first = replaying(refused, 2, 3)
    first.fail(0, Stage.INGESTION, "")
    first.settle(0, 2, dead=1)
    replaying(refused, 2).settle(0, 1)
    refused.ledger.rewind("shop", "orders", first.replay.partition, None)
    assert refused.letters("status") == [("open",), ("delivered",), ("open",), ("open",)]
    assert refused.problems() == []


def test_a_replay_set_back_together_with_the_file_leaves_no_letter_of_a_record_that_is_read_again(
    refused: Hand,
) -> None:
    replayer = replaying(refused, 2)
    replayer.settle(0, 1)
    own = ("orders", replayer.replay.partition)
    nowhere = {"audit": (), "facts": ()}
    refused.ledger.reconcile("shop", nowhere, {("orders", "a.csv"): None, own: None, ("orders", "b.csv"): None})
    assert refused.ids(OPEN) == ()
    assert refused.ids(WITHDRAWN) == (1, 2, 3, 4)
    assert refused.problems() == []


def test_an_unfinished_replay_goes_on_from_its_position(refused: Hand) -> None:
    replayer = replaying(refused)
    replayer.settle(0, 2)
    (found,) = refused.ledger.unfinished_replays("shop")
    assert found == replayer.replay
    start = refused.ledger.positions("shop", "orders")[found.partition].sequence
    rest = refused.ledger.replay_items(found.id, start, 100)
    assert [item.origin_sequence for item in rest] == [5, 7]
    Replayer(refused.again(), found).settle(2, 4)
    assert refused.ledger.unfinished_replays("shop") == ()
