"""The sending end of a hop, by hand: what bounds it, when it sends again and when it stops, what it takes for true."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import RemoteViolation
from penstock.model.outcome import Count, Outcome, Stage
from penstock.model.position import Position, Range
from penstock.protocol.breaker import Breaker, CircuitState
from penstock.protocol.messages import (
    AcknowledgmentPayload,
    AckStatus,
    BatchMetadata,
    Excepted,
    SignalType,
    StreamedRange,
)
from penstock.protocol.sender import (
    SILENT_HEARTBEATS,
    TRANSITIONS,
    Answered,
    Arrival,
    Beat,
    CircuitMoved,
    LinkLimits,
    Outgoing,
    Parked,
    Sender,
    Silence,
    TransferEvent,
    TransferState,
    Transmit,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from penstock.protocol.sender import SenderEvent

LIMITS = LinkLimits(
    ack_timeout_s=30.0,
    retry_delay_s=1.0,
    retries_max=2,
    backoff_multiplier=2.0,
    window_batches=3,
    heartbeat_s=1_000_000.0,
)
RECORDS = 5
RECEIVED, PROCESSED, REJECTED = AckStatus


def sender(limits: LinkLimits = LIMITS, threshold: int = 5, credit_to: int = 0) -> Sender[None]:
    made: Sender[None] = Sender(limits, Breaker(failure_threshold=threshold, reset_timeout_s=60.0))
    made.confirmed(0, credit_to, 0.0)
    return made


def batch(number: int, records: int = RECORDS, *, streaming: bool = False) -> Outgoing[None]:
    metadata = BatchMetadata(
        batch_id=f"b{number}",
        sequence_number=number,
        record_count=records,
        checksum=f"sum{number}",
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        partition="p",
        range=Range(number * records, (number + 1) * records),
        position=Position("p", 0, ""),
    )
    return Outgoing(metadata, memoryview(b""), None, streaming)


def ack(number: int, status: AckStatus = RECEIVED) -> AcknowledgmentPayload:
    return AcknowledgmentPayload(f"b{number}", status, RECORDS, 0, 0, sequence_number=number)


def settled(number: int, *excepted: Excepted, status: AckStatus = PROCESSED) -> StreamedRange:
    range_ = Range(number * RECORDS, (number + 1) * RECORDS)
    return StreamedRange(number, range_, (), excepted, status, "why" if status is REJECTED else "")


def sent(count: int, limits: LinkLimits = LIMITS, **how: int) -> Sender[None]:
    """A sender that has sent `count` batches at 0."""
    made = sender(limits, **how)
    for number in range(count):
        made.send(batch(number), 0.0)
    return made


def kinds(events: Iterable[SenderEvent[None]]) -> list[str]:
    return [type(event).__name__ for event in events]


def numbers(events: Iterable[SenderEvent[None]]) -> list[int]:
    """The numbers of the batches that are transmitted."""
    return [event.outgoing.metadata.sequence_number for event in events if isinstance(event, Transmit)]


# --- the way of a batch ----------------------------------------------------------------------------------------------


def test_received_releases_the_payload_and_stops_retransmission() -> None:
    made = sender()
    assert made.send(batch(0), 0.0) == (Transmit(batch(0), 0, 0),)
    assert made.acknowledged(ack(0), 1.5) == (Arrival(batch(0).metadata, 1.5),)
    assert made.next_deadline_s() == LIMITS.heartbeat_s
    assert made.in_flight == 1
    (answered,) = made.acknowledged(ack(0, PROCESSED), 500.0)
    assert answered == Answered(batch(0).metadata, ack(0, PROCESSED), 500.0)
    assert made.in_flight == 0


def test_an_answer_without_received_counts_as_both() -> None:
    made = sent(1)
    assert kinds(made.acknowledged(ack(0, PROCESSED), 1.0)) == ["Answered"]
    assert made.acknowledged(ack(0), 2.0) == ()
    assert made.tick(1_000.0, jitter=0.0) == ()


@pytest.mark.parametrize("status", [RECEIVED, PROCESSED, REJECTED])
def test_an_answer_to_what_was_answered_changes_nothing(status: AckStatus) -> None:
    made = sent(1)
    made.acknowledged(ack(0, PROCESSED), 1.0)
    assert made.acknowledged(ack(0, status), 2.0) == ()
    assert (made.in_flight, made.answered_below) == (0, 1)


def test_a_rejection_is_an_answer_like_any_other() -> None:
    made = sent(1)
    (answered,) = made.acknowledged(ack(0, REJECTED), 1.0)
    assert isinstance(answered, Answered)
    assert answered.payload.status is REJECTED


def test_answered_below_moves_over_answers_without_a_gap() -> None:
    made = sent(3)
    assert made.answered_below == 0
    made.acknowledged(ack(1, PROCESSED), 1.0)
    assert made.answered_below == 0
    made.acknowledged(ack(0, PROCESSED), 1.0)
    assert made.answered_below == 2
    made.acknowledged(ack(2, PROCESSED), 1.0)
    assert made.answered_below == made.messages == 3


def test_numbers_follow_one_another_or_our_own_code_is_wrong() -> None:
    with pytest.raises(AssertionError):
        sender().send(batch(1), 0.0)


# --- what bounds it --------------------------------------------------------------------------------------------------


def test_the_window_closes_at_its_limit_and_opens_with_received() -> None:
    made = sent(3)
    assert made.may_send_at(0.0) is None
    made.acknowledged(ack(1), 0.5)
    assert made.may_send_at(0.5) == 0.5
    made.send(batch(3), 0.5)
    assert made.may_send_at(0.5) is None


def test_sending_what_may_not_be_sent_is_a_defect() -> None:
    with pytest.raises(AssertionError):
        sent(3).send(batch(3), 0.0)


def test_a_heartbeat_that_tells_what_was_received_opens_the_window_where_received_was_lost() -> None:
    made = sent(3)
    assert kinds(made.confirmed(2, 0, 4.0)) == ["Arrival", "Arrival"]
    assert made.may_send_at(4.0) == 4.0
    assert made.confirmed(2, 0, 5.0) == ()
    assert kinds(made.confirmed(3, 0, 5.0)) == ["Arrival"]


def test_a_late_heartbeat_takes_nothing_back() -> None:
    made = sent(3)
    made.confirmed(3, 7, 1.0)
    assert made.confirmed(0, 5, 2.0) == ()
    assert made.credit_to == 7
    assert made.may_send_at(2.0) == 2.0


def test_so_many_may_be_unsettled_and_no_more() -> None:
    made = sent(2, replace(LIMITS, unsettled_batches=2))
    made.confirmed(2, 100, 1.0)
    assert made.may_send_at(1.0) is None
    assert made.may_send_at(1.0, 1, streaming=True) is None
    made.acknowledged(ack(1, PROCESSED), 1.0)
    assert made.may_send_at(1.0) is None, "the oldest holds it"
    made.acknowledged(ack(0, PROCESSED), 1.0)
    assert made.may_send_at(1.0) == 1.0


def test_back_pressure_keeps_batches_the_recommended_delay_apart_until_it_ends() -> None:
    made = sender()
    made.send(batch(0), 10.0)
    made.signalled(SignalType.ACTIVATE, 250)
    assert made.may_send_at(10.1) == 10.25
    assert made.may_send_at(99.0) == 99.0
    made.signalled(SignalType.DEACTIVATE, 250)
    assert made.may_send_at(10.1) == 10.1


# --- streaming -------------------------------------------------------------------------------------------------------


def test_nothing_is_streamed_before_credit_is_granted() -> None:
    made = sender()
    assert made.may_send_at(0.0, 1, streaming=True) is None
    made.confirmed(0, 1, 0.0)
    assert made.may_send_at(0.0, 1, streaming=True) == 0.0
    assert made.may_send_at(0.0, 2, streaming=True) is None


def test_credit_is_how_many_may_have_been_streamed_in_all() -> None:
    made = sender(credit_to=12)
    assert made.send(batch(0, streaming=True), 0.0) == (Transmit(batch(0, streaming=True), 0, 0),)
    assert made.send(batch(1, streaming=True), 0.0) == (Transmit(batch(1, streaming=True), 0, 5),)
    assert made.streamed == 10
    assert made.may_send_at(0.0, 2, streaming=True) == 0.0
    assert made.may_send_at(0.0, 3, streaming=True) is None


@pytest.mark.parametrize(
    "grants",
    [(10, 10, 10), (10,), (3, 10), (10, 3, 7), (10, 10, 9, 10)],
    ids=["repeated", "one", "lost", "late", "all"],
)
def test_grants_that_are_repeated_lost_or_late_neither_widen_nor_narrow_it(grants: tuple[int, ...]) -> None:
    made = sender()
    for credit_to in grants:
        made.confirmed(0, credit_to, 1.0)
    assert made.credit_to == 10
    assert made.may_send_at(1.0, 10, streaming=True) == 1.0
    assert made.may_send_at(1.0, 11, streaming=True) is None


def test_what_is_streamed_takes_no_place_in_the_window_and_no_heed_of_back_pressure() -> None:
    made = sent(3, credit_to=100)
    made.signalled(SignalType.ACTIVATE, 60_000)
    assert made.may_send_at(0.0) is None
    assert made.may_send_at(0.0, 5, streaming=True) == 0.0
    made.send(batch(3, streaming=True), 0.0)
    made.acknowledged(ack(3), 0.0)
    assert made.may_send_at(100.0) is None, "a streamed message gave no place back"


def test_one_answer_tells_what_arrived_how_much_may_follow_and_what_is_settled() -> None:
    made = sender(credit_to=15)
    for number in range(3):
        made.send(batch(number, streaming=True), 1.0)
    events = made.streamed_to(2, 25, (settled(0),), 4.0)
    assert kinds(events) == ["Arrival", "Arrival", "Answered"]
    assert isinstance(events[2], Answered)
    assert events[2].seconds == 3.0
    assert (made.credit_to, made.in_flight, made.answered_below) == (25, 2, 1)


def test_records_that_were_refused_are_told_from_those_that_were_accepted() -> None:
    made = sender(credit_to=5)
    made.send(batch(0, streaming=True), 0.0)
    dead = Excepted("facts", Outcome.DEAD_LETTERED, Stage.DELIVERY, "INT_GAMMA_003", (1, 2))
    also = Excepted("now", Outcome.DEAD_LETTERED, Stage.DELIVERY, "INT_GAMMA_003", (2,))
    filtered = Excepted("now", Outcome.FILTERED, Stage.TRANSFORMATION, "old", (0, 4))
    tally = (Count("facts", Outcome.DELIVERED, Stage.DELIVERY, "", 3),)
    told = msgspec.structs.replace(settled(0, dead, also, filtered), tally=tally)
    *_, answered = made.streamed_to(0, 0, (told,), 0.25)
    assert isinstance(answered, Answered)
    payload = answered.payload
    assert (payload.batch_id, payload.status, payload.sequence_number) == ("b0", PROCESSED, 0)
    assert (payload.records_accepted, payload.records_rejected) == (3, 2)
    assert (payload.tally, payload.excepted) == (tally, (dead, also, filtered))
    assert payload.processing_duration_ms == 250


def test_a_streamed_message_can_be_rejected_as_well() -> None:
    made = sender(credit_to=5)
    made.send(batch(0, streaming=True), 0.0)
    *_, answered = made.streamed_to(1, 5, (settled(0, status=REJECTED),), 1.0)
    assert isinstance(answered, Answered)
    assert (answered.payload.status, answered.payload.reason) == (REJECTED, "why")


def test_a_settled_message_that_is_told_again_changes_nothing() -> None:
    made = sender(credit_to=5)
    made.send(batch(0, streaming=True), 0.0)
    made.streamed_to(1, 5, (settled(0),), 1.0)
    assert made.streamed_to(1, 5, (settled(0),), 2.0) == ()


def test_both_modes_share_one_order() -> None:
    made = sender(credit_to=100)
    made.send(batch(0), 0.0)
    made.send(batch(1, streaming=True), 0.0)
    made.send(batch(2), 0.0)
    (last,) = made.send(batch(3, streaming=True), 0.0)
    assert isinstance(last, Transmit)
    assert last.stream_offset == 5
    assert kinds(made.confirmed(4, 100, 1.0)) == ["Arrival"] * 4


def test_a_streamed_message_is_sent_again_with_the_offset_it_had() -> None:
    made = sender(credit_to=10)
    made.send(batch(0, streaming=True), 0.0)
    made.send(batch(1, streaming=True), 0.0)
    made.tick(30.0, jitter=0.0)
    assert [event.stream_offset for event in made.tick(31.0, jitter=0.0) if isinstance(event, Transmit)] == [0, 5]


# --- sending again ---------------------------------------------------------------------------------------------------


def test_retransmission_waits_for_the_timeout_and_then_backs_off() -> None:
    made = sent(1)
    assert made.tick(29.9, jitter=0.0) == ()
    assert made.tick(30.0, jitter=0.0) == ()
    assert made.next_deadline_s() == 31.0
    assert made.tick(31.0, jitter=0.0) == (Transmit(batch(0), 1, 0),)
    made.tick(61.0, jitter=0.0)
    assert made.next_deadline_s() == 63.0
    assert made.tick(63.0, jitter=0.0) == (Transmit(batch(0), 2, 0),)


def test_jitter_only_shortens_the_wait() -> None:
    made = sent(1)
    made.tick(30.0, jitter=0.999999)
    assert 30.5 <= made.next_deadline_s() < 31.0


def exhausted(limits: LinkLimits = LIMITS) -> Sender[None]:
    """A sender whose only batch was sent three times in vain, at 0, 31 and 63."""
    made = sent(1, limits)
    for now_s in (30.0, 31.0, 61.0, 63.0):
        made.tick(now_s, jitter=0.0)
    return made


def test_exhausted_retries_park_the_batch_and_open_the_circuit() -> None:
    made = exhausted()
    assert made.tick(93.0, jitter=0.0) == (
        CircuitMoved(CircuitState.CLOSED, CircuitState.OPEN),
        Parked(batch(0).metadata),
    )
    assert made.parked == made.in_flight == 1
    assert made.may_send_at(94.0) is None
    assert made.may_send_at(94.0, 0, streaming=True) is None
    assert made.next_deadline_s() == 153.0


def test_with_no_retries_the_first_silence_parks() -> None:
    made = sent(1, replace(LIMITS, retries_max=0))
    assert kinds(made.tick(30.0, jitter=0.0)) == ["CircuitMoved", "Parked"]


def parked(count: int = 1) -> Sender[None]:
    """A sender of `count` batches, all parked at 30; the circuit is open until 90."""
    made = sent(count, replace(LIMITS, retries_max=0))
    assert kinds(made.tick(30.0, jitter=0.0)) == ["CircuitMoved", *["Parked"] * count]
    return made


def test_one_parked_batch_is_the_probe_and_its_answer_lets_all_pass() -> None:
    made = parked(3)
    assert made.tick(89.9, jitter=0.0) == ()
    moved, probe = made.tick(90.0, jitter=0.0)
    assert moved == CircuitMoved(CircuitState.OPEN, CircuitState.HALF_OPEN)
    assert numbers([probe]) == [0]
    assert made.parked == 2
    assert made.may_send_at(91.0) is None
    arrival, closed, *rest = made.acknowledged(ack(0), 91.0)
    assert isinstance(arrival, Arrival)
    assert closed == CircuitMoved(CircuitState.HALF_OPEN, CircuitState.CLOSED)
    assert numbers(rest) == [1, 2]
    assert made.parked == 0
    assert made.may_send_at(91.0) == 91.0


def test_a_failed_probe_opens_the_circuit_again_for_the_whole_cool_down() -> None:
    made = parked(2)
    made.tick(90.0, jitter=0.0)
    assert kinds(made.tick(120.0, jitter=0.0)) == ["CircuitMoved", "Parked"]
    assert made.parked == 2
    assert made.next_deadline_s() == 180.0


def test_a_late_answer_lets_what_is_parked_pass_before_the_cool_down_is_over() -> None:
    made = parked(2)
    events = made.acknowledged(ack(1), 40.0)
    assert kinds(events) == ["Arrival", "CircuitMoved", "Transmit"]
    assert numbers(events) == [0]
    assert made.next_deadline_s() == 70.0, "what is sent now has a deadline of its own"


def test_what_is_let_pass_has_all_its_retries_again() -> None:
    made = exhausted()
    made.send(batch(1), 70.0)
    made.tick(93.0, jitter=0.0)
    (again,) = [event for event in made.acknowledged(ack(1), 94.0) if isinstance(event, Transmit)]
    assert again.attempt == 0


def test_silence_often_enough_opens_the_circuit_before_any_batch_has_used_up_its_retries() -> None:
    made = sent(2, threshold=2)
    made.tick(30.0, jitter=0.0)
    made.tick(31.0, jitter=0.0)
    events = made.tick(61.0, jitter=0.0)
    assert kinds(events) == ["CircuitMoved", "Parked", "Parked"]


def test_however_many_time_out_at_once_it_is_one_failure() -> None:
    made = sent(3, threshold=2)
    assert made.tick(30.0, jitter=0.0) == ()


def test_a_peer_that_keeps_breaking_the_protocol_opens_the_circuit() -> None:
    made = sent(1, threshold=2)
    assert made.violated(1.0) == ()
    assert made.violated(2.0) == (CircuitMoved(CircuitState.CLOSED, CircuitState.OPEN),)
    assert made.violated(3.0) == ()


def test_after_the_cool_down_with_nothing_parked_one_new_batch_is_the_probe() -> None:
    made = sent(2, replace(LIMITS, retries_max=0))
    made.tick(30.0, jitter=0.0)
    fresh: Sender[None] = Sender(LIMITS, made._breaker, 30.0)  # what a sending end that begins again does
    assert fresh.may_send_at(31.0) is None
    assert kinds(fresh.tick(90.0, jitter=0.0)) == ["CircuitMoved"]
    assert fresh.may_send_at(90.0) == 90.0
    fresh.send(batch(0), 90.0)
    assert fresh.may_send_at(90.0) is None, "one test request"
    assert kinds(fresh.acknowledged(ack(0), 91.0)) == ["Arrival", "CircuitMoved"]
    assert fresh.may_send_at(91.0) == 91.0


# --- each move -------------------------------------------------------------------------------------------------------

S, V = TransferState, TransferEvent


def waiting(made: Sender[None]) -> Sender[None]:
    made.tick(30.0, jitter=0.0)
    return made


MOVES: dict[tuple[TransferState, TransferEvent], Callable[[], object]] = {
    (S.SENT, V.ACK_RECEIVED): lambda: sent(1).acknowledged(ack(0), 1.0),
    (S.SENT, V.ANSWER): lambda: sent(1).acknowledged(ack(0, PROCESSED), 1.0),
    (S.SENT, V.ACK_TIMEOUT): lambda: waiting(sent(1)),
    (S.SENT, V.RETRIES_EXHAUSTED): lambda: parked(1),
    (S.SENT, V.CIRCUIT_OPENED): lambda: (made := exhausted(), made.send(batch(1), 92.0), made.tick(93.0, 0.0)),
    (S.WAITING, V.ACK_RECEIVED): lambda: waiting(sent(1)).acknowledged(ack(0), 30.5),
    (S.WAITING, V.ANSWER): lambda: waiting(sent(1)).acknowledged(ack(0, REJECTED), 30.5),
    (S.WAITING, V.BACKOFF_OVER): lambda: waiting(sent(1)).tick(31.0, 0.0),
    (S.WAITING, V.CIRCUIT_OPENED): lambda: waiting(sent(1, threshold=1)),
    (S.PARKED, V.ACK_RECEIVED): lambda: parked(1).acknowledged(ack(0), 31.0),
    (S.PARKED, V.ANSWER): lambda: parked(1).acknowledged(ack(0, PROCESSED), 31.0),
    (S.PARKED, V.PROBE): lambda: parked(1).tick(90.0, 0.0),
    (S.PARKED, V.CIRCUIT_CLOSED): lambda: parked(2).acknowledged(ack(0), 31.0),
    (S.RECEIVED, V.ACK_RECEIVED): lambda: [made.acknowledged(ack(0), 1.0) for made in [sent(1)] * 2],
    (S.RECEIVED, V.ANSWER): lambda: [made.acknowledged(ack(0, what), 1.0) for made in [sent(1)] for what in AckStatus],
}


@pytest.mark.parametrize("move", TRANSITIONS.rows, ids=str)
def test_each_row_of_the_table_is_a_move_that_can_happen(move: tuple[TransferState, TransferEvent]) -> None:
    before = TRANSITIONS.reached[move]
    MOVES[move]()
    assert TRANSITIONS.reached[move] > before


def test_every_state_can_be_reached_and_only_an_answered_batch_never_moves_again() -> None:
    assert {S.SENT, *TRANSITIONS.rows.values()} == set(TransferState)
    assert {state for state, _ in TRANSITIONS.rows} == set(TransferState) - {S.ANSWERED}
    assert {event for _, event in TRANSITIONS.rows} == set(TransferEvent)


# --- heartbeats ------------------------------------------------------------------------------------------------------

BEATING = replace(LIMITS, heartbeat_s=1.0)


def test_it_beats_once_per_heartbeat_however_late_it_is_called() -> None:
    made = sender(BEATING)
    assert made.next_deadline_s() == 1.0
    assert made.tick(0.9, jitter=0.0) == ()
    assert made.tick(1.0, jitter=0.0) == (Beat(),)
    assert made.tick(1.5, jitter=0.0) == ()
    assert made.next_deadline_s() == 2.0
    assert made.tick(2.7, jitter=0.0) == (Beat(),)
    assert made.next_deadline_s() == 3.7


def test_silence_is_told_once_until_something_is_heard_again() -> None:
    made = sender(BEATING)
    told = [kinds(made.tick(float(second), jitter=0.0)) for second in range(1, 7)]
    assert told == [["Beat"]] * SILENT_HEARTBEATS + [["Beat", "Silence"]] + [["Beat"]] * 2
    made.heard(6.5)
    assert [kinds(made.tick(float(second), jitter=0.0)) for second in range(7, 11)] == [["Beat"]] * 3 + [
        ["Beat", "Silence"]
    ]


def test_silence_says_how_long_it_has_lasted() -> None:
    made: Sender[None] = Sender(BEATING, Breaker(failure_threshold=5, reset_timeout_s=60.0), now_s=100.0)
    assert made.tick(110.0, jitter=0.0) == (Beat(), Silence(10.0))


# --- what cannot be true ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [-1, 2, 3, 1 << 62])
def test_an_answer_to_what_was_never_sent_is_a_violation(number: int) -> None:
    made = sent(2, credit_to=10)
    with pytest.raises(RemoteViolation, match="2 were sent") as caught:
        made.acknowledged(ack(number), 1.0)
    assert caught.value.kind.code == "INT_LINK_003"
    if number >= 0:
        with pytest.raises(RemoteViolation, match="2 were sent"):
            made.streamed_to(0, 0, (settled(number),), 1.0)


@pytest.mark.parametrize("status", list(AckStatus))
def test_an_answer_that_names_another_batch_by_the_number_is_a_violation(status: AckStatus) -> None:
    made = sent(1)
    with pytest.raises(RemoteViolation, match="batch other was acknowledged by the number of b0"):
        made.acknowledged(msgspec.structs.replace(ack(0, status), batch_id="other"), 1.0)
    assert made.in_flight == 1


def test_a_settled_range_that_is_not_the_messages_is_a_violation() -> None:
    made = sender(credit_to=5)
    made.send(batch(0, streaming=True), 0.0)
    with pytest.raises(RemoteViolation, match=r"\[0, 4\) was settled by the number of \[0, 5\)"):
        made.streamed_to(1, 5, (msgspec.structs.replace(settled(0), range=Range(0, 4)),), 1.0)


def test_more_received_than_was_sent_is_a_violation() -> None:
    with pytest.raises(RemoteViolation, match="3 messages were received of the 2 that were sent"):
        sent(2).confirmed(3, 0, 1.0)


@given(told=st.lists(st.tuples(st.integers(0, 2), st.sampled_from(AckStatus)), max_size=30))
def test_in_whatever_order_and_however_often_it_is_told_each_batch_arrives_and_is_answered_once(
    told: list[tuple[int, AckStatus]],
) -> None:
    made = sent(3)
    events = [event for number, status in told for event in made.acknowledged(ack(number, status), 1.0)]
    answered = [event.metadata.sequence_number for event in events if isinstance(event, Answered)]
    assert sorted(answered) == sorted({number for number, status in told if status is not RECEIVED})
    assert made.in_flight == 3 - len(answered)
