"""Records that left the pipeline: written once, found again, discarded."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import msgspec
import pytest

from penstock.errors import UserMistake
from penstock.ledger import TABLE_SCHEMA, DeadLetterFilter, ErrorCount, Ledger, LetterCount, LetterStatus
from penstock.model.outcome import RecordError, Stage

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.ledger.conftest import Hand


def test_a_letter_tells_all_that_is_known_of_the_record(hand: Hand) -> None:
    errors = (
        RecordError("INT_ALPHA_002", "amount", "is not a decimal", expected="decimal(10,2)", actual="abc"),
        RecordError("INT_ALPHA_003", "customer_id", "is missing"),
    )
    hand.book.dead_letter([msgspec.structs.replace(hand.letter(5), errors=errors, original=b"5,\xff,abc")])
    table = hand.ledger.dead_letters("shop", DeadLetterFilter())
    assert table.schema == TABLE_SCHEMA
    (row,) = table.to_pylist()
    assert [str(row.pop(name)) for name in ("first_seen_at", "last_seen_at")] == ["2025-01-01 12:00:00+00:00"] * 2
    assert json.loads(row.pop("errors")) == [msgspec.to_builtins(error) for error in errors]
    assert row == {
        "id": 1,
        "source": "orders",
        "partition": "a.csv",
        "sequence": 5,
        "line": 7,
        "stage": "ingestion",
        "destination": "",
        "status": "open",
        "code": "INT_ALPHA_002",
        "field": "amount",
        "expected": "decimal(10,2)",
        "actual": "abc",
        "message": "is not a decimal",
        "original": b"5,\xff,abc",
        "attempts": 1,
        "run_id": hand.run_id,
        "replay_id": None,
        "closed_because": "",
    }


def test_no_letters_are_an_empty_table_of_the_same_columns(ledger: Ledger) -> None:
    assert ledger.dead_letters("shop", DeadLetterFilter()).schema == TABLE_SCHEMA


def test_a_letter_written_twice_is_one_and_says_what_was_wrong_last(
    folder: Path, hand_on: Callable[[Ledger], Hand]
) -> None:
    now_s = 0.0
    with Ledger.open(folder, time_s=lambda: now_s) as ledger:
        first = hand_on(ledger)
        first.book.dead_letter([first.letter(5, code="INT_ALPHA_002")])
        now_s = 60.0
        second = hand_on(ledger)
        mended = msgspec.structs.replace(second.letter(5, code="INT_ALPHA_004"), original=b"5,Bea,abc", line=8)
        second.book.dead_letter([mended])
        (found,) = second.letters("code", "original", "line", "attempts", "run_id", "first_seen_at", "last_seen_at")
    assert found[:5] == ("INT_ALPHA_004", b"5,Bea,abc", 8, 1, second.run_id)
    assert [str(moment) for moment in found[5:]] == ["1970-01-01 00:00:00+00:00", "1970-01-01 00:01:00+00:00"]


def test_each_stage_and_destination_has_its_own_letter_of_a_record(hand: Hand) -> None:
    letters = [
        hand.letter(5),
        hand.letter(5, stage=Stage.TRANSFORMATION, destination="facts"),
        hand.letter(5, stage=Stage.TRANSFORMATION, destination="audit"),
        hand.letter(5, stage=Stage.DELIVERY, destination="facts"),
        hand.letter(5, partition="b.csv"),
    ]
    hand.book.dead_letter(letters)
    hand.book.dead_letter(list(reversed(letters)))
    assert len(hand.ids()) == 5


def test_text_that_no_database_takes_is_kept_as_escapes(hand: Hand) -> None:
    error = RecordError("INT_ALPHA_002", "näme", "half a pair: \ud800", actual="a\x00b")
    hand.book.dead_letter([msgspec.structs.replace(hand.letter(5), errors=(error,))])
    assert hand.letters("field", "message", "actual") == [("näme", "half a pair: \\ud800", "a\x00b")]


def test_letters_are_found_by_everything_a_person_would_ask_for(hand: Hand) -> None:
    hand.refuse(1, 2, 3)
    hand.book.dead_letter([hand.letter(4, stage=Stage.DELIVERY, destination="facts", code="INT_GAMMA_003")])
    hand.ledger.discard("shop", [2], "no matter")

    def found(wanted: DeadLetterFilter) -> tuple[int, ...]:
        ids = hand.ledger.dead_letter_ids("shop", wanted)
        assert tuple(hand.ledger.dead_letters("shop", wanted).column("id").to_pylist()) == ids
        return ids

    assert found(DeadLetterFilter()) == (1, 2, 3, 4)
    assert found(DeadLetterFilter(status=LetterStatus.OPEN)) == (1, 3, 4)
    assert found(DeadLetterFilter(status=LetterStatus.DISCARDED)) == (2,)
    assert found(DeadLetterFilter(code="INT_GAMMA_003")) == (4,)
    assert found(DeadLetterFilter(destination="")) == (1, 2, 3)
    assert found(DeadLetterFilter(destination="facts")) == (4,)
    assert found(DeadLetterFilter(field="amount", limit=2)) == (1, 2)
    assert found(DeadLetterFilter(ids=(4, 1, 99))) == (1, 4)
    assert found(DeadLetterFilter(ids=())) == ()
    assert found(DeadLetterFilter(source="customers")) == ()
    assert found(DeadLetterFilter(field="'; DROP TABLE dead_letters; --")) == ()
    assert hand.ledger.dead_letter_ids("another", DeadLetterFilter()) == ()


def test_letters_are_counted_for_reports(hand: Hand) -> None:
    hand.refuse(1, 2, 3)
    hand.book.dead_letter([hand.letter(4, stage=Stage.DELIVERY, destination="facts", code="INT_GAMMA_003")])
    hand.ledger.discard("shop", [2], "no matter")
    assert hand.ledger.dead_letter_counts("shop") == (
        LetterCount("orders", "", Stage.INGESTION, "INT_ALPHA_002", LetterStatus.DISCARDED, 1),
        LetterCount("orders", "", Stage.INGESTION, "INT_ALPHA_002", LetterStatus.OPEN, 2),
        LetterCount("orders", "facts", Stage.DELIVERY, "INT_GAMMA_003", LetterStatus.OPEN, 1),
    )


def test_every_error_is_counted_also_one_that_is_not_the_first(hand: Hand) -> None:
    first, second = (
        RecordError("INT_ALPHA_002", "amount", "is not a decimal", expected="decimal(10,2)"),
        RecordError("INT_ALPHA_003", "name", "is missing"),
    )
    letters = [
        msgspec.structs.replace(hand.letter(1), errors=(first, second)),
        msgspec.structs.replace(hand.letter(2), errors=(second,)),
    ]
    hand.book.dead_letter(letters)
    hand.ledger.discard("shop", [2], "no matter")  # it was refused all the same
    expected = (
        ErrorCount("orders", "", "INT_ALPHA_002", "amount", "decimal(10,2)", 1),
        ErrorCount("orders", "", "INT_ALPHA_003", "name", "", 2),
    )
    assert hand.ledger.error_counts("shop") == expected
    hand.ledger.judge_anew(hand.again().run_id, "shop", "orders", {"a.csv": {"facts": 0}})
    assert [count.records for count in hand.ledger.error_counts("shop")] == [1]


def test_a_discarded_letter_says_why_and_stays_discarded(hand: Hand) -> None:
    hand.refuse(1, 2)
    hand.ledger.discard("shop", [2], "a test order")
    hand.again().refuse(1, 2)
    assert hand.letters("id", "status", "closed_because") == [(1, "open", ""), (2, "discarded", "a test order")]


@pytest.mark.parametrize(
    ("ids", "message"),
    [([1, 7], "there is no dead letter 7"), ([1, 2], "dead letter 2 is discarded, not open")],
)
def test_what_cannot_be_discarded_leaves_the_others_open(hand: Hand, ids: list[int], message: str) -> None:
    hand.refuse(1, 2)
    hand.ledger.discard("shop", [2], "a test order")
    with pytest.raises(UserMistake, match=message) as caught:
        hand.ledger.discard("shop", ids, "all of it")
    assert caught.value.kind.code == "INT_LEDGER_005"
    assert hand.letters("status") == [("open",), ("discarded",)]


def test_another_pipelines_letters_are_out_of_reach(hand: Hand) -> None:
    hand.refuse(1)
    with pytest.raises(UserMistake, match="there is no dead letter 1"):
        hand.ledger.discard("another", [1], "not mine")


def test_no_letters_are_no_transaction(hand: Hand) -> None:
    hand.book.dead_letter([])
    assert hand.ids() == ()


def test_ten_thousand_letters_take_less_than_a_fifth_of_a_second(hand: Hand) -> None:
    spent = []
    for start in range(0, 40_000, 10_000):
        letters = [hand.letter(sequence) for sequence in range(start, start + 10_000)]
        began_s = time.thread_time()
        hand.book.dead_letter(letters)
        spent.append(time.thread_time() - began_s)
    assert min(spent) < 0.2
    assert hand.ledger.dead_letters("shop", DeadLetterFilter()).num_rows == 40_000
