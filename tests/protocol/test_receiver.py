"""The receiving end of a hop, by hand: what it takes and what it drops, what it says and what it keeps."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec
import pytest

from penstock.errors import RemoteViolation
from penstock.model.outcome import Count, Outcome, Stage
from penstock.model.position import Position, Range
from penstock.protocol.messages import AcknowledgmentPayload, AckStatus, BatchMetadata, Excepted, SignalType
from penstock.protocol.receiver import (
    DELAY_MS_MAX,
    REPEATED_AT_ONCE,
    Acknowledge,
    Drop,
    DropReason,
    Halt,
    Queue,
    QueueLimits,
    Receiver,
    Signal,
    StreamingAnswer,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from penstock.protocol.receiver import ReceiverEvent

LIMITS = QueueLimits(
    capacity_batches=10,
    high_watermark=0.8,
    low_watermark=0.5,
    credit_records=20,
    unsettled_batches=100,
    content_failures_max=3,
)
RECORDS = 5
RECEIVED, PROCESSED, REJECTED = AckStatus


def batch(number: int, partition: str = "p", **rest: object) -> BatchMetadata:
    metadata = BatchMetadata(
        batch_id=f"b{number}",
        sequence_number=number,
        record_count=RECORDS,
        checksum=f"sum{number}",
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        partition=partition,
        range=Range(number * RECORDS, (number + 1) * RECORDS),
        position=Position(partition, 0, ""),
    )
    return msgspec.structs.replace(metadata, **rest)


def come(receiver: Receiver, *numbers: int) -> list[ReceiverEvent]:
    """Let intact batches come."""
    return [event for number in numbers for event in receiver.received(batch(number), f"sum{number}", RECORDS)]


def stream(receiver: Receiver, *numbers: int) -> list[ReceiverEvent]:
    """Let intact streamed messages come, each of which follows the one numbered before it."""
    return [
        event
        for number in numbers
        for event in receiver.received(batch(number), f"sum{number}", RECORDS, number * RECORDS)
    ]


def answer(number: int, status: AckStatus = PROCESSED) -> AcknowledgmentPayload:
    tally = (Count("facts", Outcome.DELIVERED, Stage.DELIVERY, "", RECORDS),)
    return AcknowledgmentPayload(f"b{number}", status, RECORDS, 0, 0, tally, sequence_number=number)


def settle(receiver: Receiver, *numbers: int, at_s: float = 0.0) -> list[ReceiverEvent]:
    return [event for number in numbers for event in receiver.answered(answer(number), at_s)]


def kinds(events: Iterable[ReceiverEvent]) -> list[str]:
    return [type(event).__name__ for event in events]


def queued(events: Iterable[ReceiverEvent]) -> list[int]:
    return [event.metadata.sequence_number for event in events if isinstance(event, Queue)]


def said(events: Iterable[ReceiverEvent]) -> list[tuple[int, AckStatus]]:
    return [(event.payload.sequence_number, event.payload.status) for event in events if isinstance(event, Acknowledge)]


@pytest.fixture
def receiver() -> Receiver:
    return Receiver(LIMITS)


# --- what is taken, in which order -----------------------------------------------------------------------------------


def test_an_intact_batch_is_held_acknowledged_and_queued(receiver: Receiver) -> None:
    events = come(receiver, 0)
    assert kinds(events) == ["Hold", "Acknowledge", "Queue"]
    assert said(events) == [(0, RECEIVED)]
    assert (receiver.depth, receiver.room, receiver.received_below) == (1, 9, 1)


def test_an_early_batch_is_acknowledged_and_held_until_those_before_it_have_come(receiver: Receiver) -> None:
    assert kinds(come(receiver, 2, 1)) == ["Hold", "Acknowledge"] * 2
    assert receiver.received_below == 0
    assert queued(come(receiver, 0)) == [0, 1, 2]
    assert receiver.received_below == 3


def test_both_modes_share_one_order(receiver: Receiver) -> None:
    assert queued(receiver.received(batch(1), "sum1", RECORDS, 0)) == []
    assert queued(come(receiver, 0)) == [0, 1]
    assert (receiver.depth, receiver.depth_records) == (1, 5)


def test_settled_to_is_told_by_partition_and_only_over_answers_without_a_gap(receiver: Receiver) -> None:
    for number, partition in enumerate("aba"):
        receiver.received(batch(number, partition), f"sum{number}", RECORDS)
    settle(receiver, 1, 2)
    assert receiver.settled_to == {}
    settle(receiver, 0)
    assert receiver.settled_to == {"a": 15, "b": 10}
    assert receiver.settled_below == 3


# --- what is dropped -------------------------------------------------------------------------------------------------


def test_a_corrupt_frame_is_dropped_without_an_answer_whatever_number_it_bears(receiver: Receiver) -> None:
    """The number may be the corrupt part: none is believed, and none can be a violation."""
    for number in (0, 99, 1 << 40):
        assert receiver.received(batch(number), "other", RECORDS) == (Drop(batch(number), DropReason.CHECKSUM),)
    assert not receiver.messages_seen
    assert queued(come(receiver, 0)) == [0]


def test_a_corrupt_repeat_is_not_answered_either(receiver: Receiver) -> None:
    come(receiver, 0)
    assert kinds(receiver.received(batch(0), "other", RECORDS)) == ["Drop"]


@pytest.mark.parametrize("found", [4, 6, None])
def test_a_false_record_count_is_dropped_without_an_answer(receiver: Receiver, found: int | None) -> None:
    assert receiver.received(batch(0), "sum0", found) == (Drop(batch(0), DropReason.RECORD_COUNT),)
    assert queued(come(receiver, 0)) == [0]


def test_content_that_keeps_failing_asks_for_a_halt(receiver: Receiver) -> None:
    tries = [kinds(receiver.received(batch(0), "sum0", None)) for _ in range(5)]
    assert tries == [["Drop"]] * 3 + [["Drop", "Halt"]] * 2
    (_, halt) = receiver.received(batch(0), "sum0", None)
    assert halt == Halt(batch(0))


def test_failures_are_counted_by_batch(receiver: Receiver) -> None:
    for number in range(4):
        assert kinds(receiver.received(batch(number), f"sum{number}", None)) == ["Drop"]


def test_a_streamed_message_with_other_records_than_it_says_halts_as_well(receiver: Receiver) -> None:
    for _ in range(3):
        receiver.received(batch(0), "sum0", 4, 0)
    assert kinds(receiver.received(batch(0), "sum0", 4, 0)) == ["Drop", "Halt"]
    assert receiver.depth_records == 0


def test_a_full_queue_drops_rather_than_grows(receiver: Receiver) -> None:
    come(receiver, *range(10))
    assert come(receiver, 10) == [Drop(batch(10), DropReason.QUEUE_FULL)]
    assert receiver.depth == 10
    receiver.taken(1, 0, 1.0)
    assert queued(come(receiver, 10)) == [10]


def test_early_batches_never_take_the_place_of_the_one_they_wait_for(receiver: Receiver) -> None:
    come(receiver, *range(1, 12))
    assert receiver.depth == 9
    assert queued(come(receiver, 0)) == list(range(10))


def test_a_queue_of_one_takes_one_after_the_other() -> None:
    receiver = Receiver(replace(LIMITS, capacity_batches=1))
    assert kinds(come(receiver, 1)) == ["Drop"]
    for number in range(3):
        assert queued(come(receiver, number)) == [number]
        assert kinds(come(receiver, number + 1)) == ["Drop"]
        receiver.taken(1, 0, 1.0)


# --- repeats ---------------------------------------------------------------------------------------------------------


def test_a_repeat_is_answered_as_before_and_not_queued_again(receiver: Receiver) -> None:
    come(receiver, 0)
    assert come(receiver, 0) == [event for event in come(Receiver(LIMITS), 0) if isinstance(event, Acknowledge)]
    settle(receiver, 0)
    assert come(receiver, 0) == [Acknowledge(answer(0))]
    assert receiver.depth == 1


def test_an_early_batch_that_comes_twice_is_held_once(receiver: Receiver) -> None:
    come(receiver, 1)
    assert kinds(come(receiver, 1)) == ["Acknowledge"]
    assert queued(come(receiver, 0)) == [0, 1]


def test_what_the_sender_has_confirmed_is_not_answered_once_more(receiver: Receiver) -> None:
    come(receiver, 0, 1)
    settle(receiver, 0)
    receiver.confirmed(1)
    assert come(receiver, 0) == []
    assert receiver.kept == 1
    assert said(come(receiver, 1)) == [(1, RECEIVED)]


def test_a_repeat_is_recognised_even_where_the_queue_is_full(receiver: Receiver) -> None:
    come(receiver, *range(10))
    assert said(come(receiver, 3)) == [(3, RECEIVED)]


def test_one_number_for_two_batches_is_a_violation(receiver: Receiver) -> None:
    come(receiver, 0)
    with pytest.raises(RemoteViolation, match="number 0 was used for two batches"):
        receiver.received(batch(0, batch_id="other"), "sum0", RECORDS)


# --- what cannot be --------------------------------------------------------------------------------------------------


def test_a_number_beyond_the_window_is_a_violation(receiver: Receiver) -> None:
    come(receiver, 99)
    with pytest.raises(RemoteViolation, match="message 100 came while those from 0 on are unsettled") as caught:
        come(receiver, 100)
    assert caught.value.kind.code == "INT_LINK_003"


def test_the_window_moves_with_what_the_sender_has_confirmed(receiver: Receiver) -> None:
    come(receiver, 0)
    settle(receiver, 0)
    with pytest.raises(RemoteViolation):
        come(receiver, 100)
    receiver.confirmed(1)
    assert kinds(come(receiver, 100)) == ["Hold", "Acknowledge"]


def test_confirming_what_was_never_answered_is_a_violation(receiver: Receiver) -> None:
    come(receiver, 0, 1)
    settle(receiver, 1)
    with pytest.raises(RemoteViolation, match="answers below 2 were confirmed, 0 were given"):
        receiver.confirmed(2)


# --- streaming -------------------------------------------------------------------------------------------------------


def test_a_streamed_message_is_queued_and_owes_an_answer_that_says_all(receiver: Receiver) -> None:
    assert receiver.streaming_answer() is None
    assert kinds(stream(receiver, 0, 1)) == ["Hold", "Queue"] * 2
    assert receiver.streaming_answer() == StreamingAnswer(2, 20, ())
    assert receiver.streaming_answer() is None
    receiver.taken(0, 5, 1.0)
    assert receiver.streaming_answer() == StreamingAnswer(2, 25, ())


def test_credit_is_given_when_records_are_taken_and_not_when_they_are_settled(receiver: Receiver) -> None:
    stream(receiver, 0)
    settle(receiver, 0)
    assert receiver.credit_to == 20
    receiver.taken(0, 5, 1.0)
    assert receiver.credit_to == 25


def test_a_streamed_message_that_is_settled_is_told_with_its_exceptions(receiver: Receiver) -> None:
    stream(receiver, 0)
    receiver.streaming_answer()
    excepted = (Excepted("facts", Outcome.DEAD_LETTERED, Stage.DELIVERY, "INT_GAMMA_003", (1, 2)),)
    told = msgspec.structs.replace(answer(0, REJECTED), excepted=excepted, reason="why")
    assert receiver.answered(told, 1.0) == ()
    found = receiver.streaming_answer()
    assert found is not None
    (settled,) = found.settled
    assert (settled.sequence_number, settled.range, settled.status) == (0, Range(0, 5), REJECTED)
    assert (settled.tally, settled.excepted, settled.reason) == (told.tally, excepted, "why")


def test_a_streamed_message_takes_no_place_in_the_queue_of_batches(receiver: Receiver) -> None:
    come(receiver, *range(4, 10))
    stream(receiver, 0, 1, 2, 3)
    assert (receiver.depth, receiver.depth_records) == (6, 20)


def test_an_early_streamed_message_is_not_told_as_received(receiver: Receiver) -> None:
    assert kinds(stream(receiver, 1)) == ["Hold"]
    assert receiver.streaming_answer() == StreamingAnswer(0, 20, ())
    stream(receiver, 0)
    assert receiver.streaming_answer() == StreamingAnswer(2, 20, ())


def test_a_repeated_streamed_message_is_told_again(receiver: Receiver) -> None:
    stream(receiver, 0)
    receiver.streaming_answer()
    assert stream(receiver, 0) == []
    assert receiver.streaming_answer() == StreamingAnswer(1, 20, ())
    settle(receiver, 0)
    receiver.streaming_answer()
    stream(receiver, 0)
    again = receiver.streaming_answer()
    assert again is not None
    assert [settled.sequence_number for settled in again.settled] == [0]


def test_records_beyond_the_credit_are_a_violation(receiver: Receiver) -> None:
    stream(receiver, 0, 1, 2)
    with pytest.raises(RemoteViolation, match="21 records were streamed where 20 may be"):
        receiver.received(batch(3), "sum3", RECORDS, 16)
    assert kinds(stream(receiver, 3)) == ["Hold", "Queue"]


def test_a_sender_that_understates_what_it_streamed_is_found_out(receiver: Receiver) -> None:
    """What is here is counted here: credit does not rest on what the other end says of itself."""
    for number in range(4):
        receiver.received(batch(number), f"sum{number}", RECORDS, 0)
    with pytest.raises(RemoteViolation):
        receiver.received(batch(4), "sum4", RECORDS, 0)
    assert receiver.depth_records == 20


def test_taking_more_than_is_there_is_a_defect(receiver: Receiver) -> None:
    come(receiver, 0)
    stream(receiver, 1)
    with pytest.raises(AssertionError):
        receiver.taken(2, 0, 1.0)
    with pytest.raises(AssertionError):
        receiver.taken(0, 6, 1.0)


# --- answers, kept until they are confirmed --------------------------------------------------------------------------


def test_an_answer_is_said_at_once_and_kept_until_it_is_confirmed(receiver: Receiver) -> None:
    come(receiver, 0)
    assert settle(receiver, 0) == [Acknowledge(answer(0))]
    assert receiver.kept == 1
    receiver.confirmed(1)
    assert receiver.kept == 0


def test_the_first_final_answer_holds(receiver: Receiver) -> None:
    come(receiver, 0)
    settle(receiver, 0)
    assert receiver.answered(answer(0, REJECTED), 1.0) == ()
    assert said(come(receiver, 0)) == [(0, PROCESSED)]


@pytest.mark.parametrize(
    "payload", [answer(7), msgspec.structs.replace(answer(0), batch_id="of an earlier sender")], ids=["number", "batch"]
)
def test_an_answer_to_what_an_earlier_sender_sent_is_for_nobody(
    receiver: Receiver, payload: AcknowledgmentPayload
) -> None:
    come(receiver, 0)
    assert receiver.answered(payload, 0.0) == ()
    assert receiver.settled_below == 0


def test_a_heartbeat_repeats_answers_that_should_have_arrived_and_no_others(receiver: Receiver) -> None:
    come(receiver, 0, 1, 2, 3)
    settle(receiver, 0, at_s=1.0)
    settle(receiver, 2, at_s=5.0)
    settle(receiver, 3, at_s=6.1)
    assert said(receiver.heartbeat(7.0, repeat_after_s=1.0)) == [(0, PROCESSED), (2, PROCESSED)]
    receiver.confirmed(1)
    assert said(receiver.heartbeat(7.0, repeat_after_s=1.0)) == [(2, PROCESSED)]


def test_a_heartbeat_repeats_what_was_streamed_in_one_answer(receiver: Receiver) -> None:
    stream(receiver, 0, 1)
    settle(receiver, 0, 1)
    receiver.streaming_answer()
    assert receiver.heartbeat(9.0, repeat_after_s=1.0) == ()
    again = receiver.streaming_answer()
    assert again is not None
    assert [settled.sequence_number for settled in again.settled] == [0, 1]


def test_only_so_many_answers_are_repeated_for_one_heartbeat() -> None:
    count = REPEATED_AT_ONCE + 50
    receiver = Receiver(replace(LIMITS, capacity_batches=count, unsettled_batches=count))
    come(receiver, *range(count))
    settle(receiver, *range(count))
    first = said(receiver.heartbeat(9.0, repeat_after_s=1.0))
    assert [number for number, _ in first] == list(range(REPEATED_AT_ONCE))
    receiver.confirmed(REPEATED_AT_ONCE)
    rest = said(receiver.heartbeat(9.0, repeat_after_s=1.0))
    assert [number for number, _ in rest] == list(range(REPEATED_AT_ONCE, count))


def test_confirmations_that_come_late_or_again_take_nothing_back(receiver: Receiver) -> None:
    come(receiver, 0, 1, 2)
    settle(receiver, 0, 1, 2)
    receiver.confirmed(2)
    receiver.confirmed(1)
    receiver.confirmed(0)
    receiver.confirmed(2)
    assert receiver.kept == 1


# --- back-pressure ---------------------------------------------------------------------------------------------------


def signals(events: Iterable[ReceiverEvent]) -> list[tuple[SignalType, int, int]]:
    return [
        (event.signal_type, event.depth, event.recommended_delay_ms) for event in events if isinstance(event, Signal)
    ]


def test_the_watermarks_activate_and_deactivate_back_pressure_once_each(receiver: Receiver) -> None:
    assert signals(come(receiver, *range(7))) == []
    assert signals(come(receiver, 7, 8)) == [(SignalType.ACTIVATE, 8, 0)]
    assert receiver.taken(3, 0, 1.0) == ()
    assert signals(receiver.taken(1, 0, 2.0)) == [(SignalType.DEACTIVATE, 5, 0)]
    assert receiver.taken(5, 0, 2.0) == ()


def test_the_recommended_delay_is_the_time_that_one_batch_takes(receiver: Receiver) -> None:
    come(receiver, *range(4))
    receiver.taken(1, 0, 10.0)
    receiver.taken(2, 0, 10.5)
    assert signals(come(receiver, *range(4, 11))) == [(SignalType.ACTIVATE, 8, 250)]


def test_no_delay_is_recommended_at_which_the_sender_would_look_dead(receiver: Receiver) -> None:
    come(receiver, 0, 1)
    receiver.taken(1, 0, 10.0)
    receiver.taken(1, 0, 1_000.0)
    assert signals(come(receiver, *range(2, 10))) == [(SignalType.ACTIVATE, 8, DELAY_MS_MAX)]


def test_what_is_streamed_presses_nobody(receiver: Receiver) -> None:
    assert signals(stream(receiver, 0, 1, 2, 3)) == []
    assert signals(receiver.taken(0, 20, 1.0)) == []


# --- closing ---------------------------------------------------------------------------------------------------------


def test_it_is_complete_when_all_that_will_ever_be_sent_has_come(receiver: Receiver) -> None:
    come(receiver, 0, 2)
    assert not receiver.is_complete
    receiver.closing(3)
    assert not receiver.is_complete
    come(receiver, 1)
    assert receiver.is_complete


def test_a_sender_that_never_sent_anything_closes_at_once(receiver: Receiver) -> None:
    assert not receiver.messages_seen
    receiver.closing(0)
    assert receiver.is_complete
    assert receiver.messages_seen


def test_a_close_may_be_told_again_and_never_otherwise(receiver: Receiver) -> None:
    come(receiver, 0)
    receiver.closing(2)
    receiver.closing(2)
    with pytest.raises(RemoteViolation, match="closed at 3 messages"):
        receiver.closing(3)


def test_a_close_before_what_came_is_a_violation(receiver: Receiver) -> None:
    come(receiver, 0, 1)
    with pytest.raises(RemoteViolation, match="closed at 1 messages, and some below 2 came"):
        receiver.closing(1)


def test_a_message_after_the_close_is_a_violation_and_a_repeat_is_not(receiver: Receiver) -> None:
    come(receiver, 0)
    receiver.closing(1)
    assert said(come(receiver, 0)) == [(0, RECEIVED)]
    with pytest.raises(RemoteViolation, match="message 1 came after the link was closed at 1"):
        come(receiver, 1)


def test_a_close_that_leaves_out_what_came_early_is_a_violation(receiver: Receiver) -> None:
    come(receiver, 0, 5)
    with pytest.raises(RemoteViolation, match="some below 6 came"):
        receiver.closing(5)
    receiver.closing(6)
