"""Both ends of a hop, without I/O: one at a time by hand, then together over a hostile network."""

from __future__ import annotations

import heapq
import random
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.model.position import Position, Range
from penstock.protocol.messages import AcknowledgmentPayload, AckStatus, BatchMetadata, SignalType
from penstock.protocol.receiver import Acknowledge, Drop, DropReason, Hold, Queue, QueueLimits, Receiver, Signal
from penstock.protocol.sender import (
    Answered,
    CircuitMoved,
    LinkLimits,
    Outgoing,
    Parked,
    Sender,
    Transmit,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from penstock.protocol.receiver import ReceiverEvent
    from penstock.protocol.sender import SenderEvent

LIMITS = LinkLimits(
    ack_timeout_s=30.0,
    retry_delay_s=1.0,
    retries_max=2,
    backoff_multiplier=2.0,
    window_batches=3,
    failure_threshold=5,
    reset_timeout_s=60.0,
)
QUEUE = QueueLimits(capacity_batches=10, high_watermark=0.8, low_watermark=0.5)


def batch(number: int, records: int = 5) -> Outgoing[None]:
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
    return Outgoing(metadata, memoryview(b""), None)


def ack(number: int, status: AckStatus) -> AcknowledgmentPayload:
    return AcknowledgmentPayload(f"b{number}", status, 5, 0, 0)


def test_received_releases_the_payload_and_stops_retransmission() -> None:
    sender: Sender[None] = Sender(LIMITS)
    assert sender.send(batch(0), 0.0) == (Transmit(batch(0), 0),)
    assert sender.acknowledged(ack(0, AckStatus.RECEIVED), 1.0) == ()
    assert sender.next_deadline_s() is None
    assert sender.in_flight == 1
    (answered,) = sender.acknowledged(ack(0, AckStatus.PROCESSED), 500.0)
    assert isinstance(answered, Answered)
    assert sender.in_flight == 0


def test_processed_without_received_counts_as_both() -> None:
    sender: Sender[None] = Sender(LIMITS)
    sender.send(batch(0), 0.0)
    (answered,) = sender.acknowledged(ack(0, AckStatus.PROCESSED), 1.0)
    assert isinstance(answered, Answered)
    assert sender.acknowledged(ack(0, AckStatus.RECEIVED), 2.0) == ()
    assert sender.may_send_at(2.0) == 2.0


def test_the_window_closes_at_its_limit_and_opens_with_received() -> None:
    sender: Sender[None] = Sender(LIMITS)
    for number in range(3):
        sender.send(batch(number), 0.0)
    assert sender.may_send_at(0.0) is None
    sender.acknowledged(ack(1, AckStatus.RECEIVED), 0.5)
    assert sender.may_send_at(0.5) == 0.5


def test_retransmission_waits_for_the_timeout_and_then_backs_off() -> None:
    sender: Sender[None] = Sender(LIMITS)
    sender.send(batch(0), 0.0)
    assert sender.tick(29.9, jitter=0.0) == ()
    assert sender.tick(30.0, jitter=0.0) == ()
    assert sender.next_deadline_s() == 31.0
    assert sender.tick(31.0, jitter=0.0) == (Transmit(batch(0), 1),)
    sender.tick(61.0, jitter=0.0)
    assert sender.next_deadline_s() == 63.0
    assert sender.tick(63.0, jitter=0.0) == (Transmit(batch(0), 2),)


def test_jitter_only_shortens_the_wait() -> None:
    sender: Sender[None] = Sender(LIMITS)
    sender.send(batch(0), 0.0)
    sender.tick(30.0, jitter=0.999999)
    assert 30.5 <= (sender.next_deadline_s() or 0) < 31.0


def exhaust(sender: Sender[None]) -> tuple[SenderEvent[None], ...]:
    sender.send(batch(0), 0.0)
    for now_s in (30.0, 31.0, 61.0, 63.0):
        sender.tick(now_s, jitter=0.0)
    return sender.tick(93.0, jitter=0.0)


def test_exhausted_retries_park_the_batch_and_open_the_circuit() -> None:
    sender: Sender[None] = Sender(LIMITS)
    events = exhaust(sender)
    assert [type(event) for event in events] == [CircuitMoved, Parked]
    assert sender.parked == 1
    assert sender.may_send_at(94.0) is None
    assert sender.in_flight == 1


def test_a_probe_after_the_cool_down_sends_the_parked_batch_and_its_answer_closes_the_circuit() -> None:
    sender: Sender[None] = Sender(LIMITS)
    exhaust(sender)
    assert sender.next_deadline_s() == 153.0
    moved, probe = sender.tick(153.0, jitter=0.0)
    assert isinstance(moved, CircuitMoved)
    assert isinstance(probe, Transmit)
    (closed,) = sender.acknowledged(ack(0, AckStatus.RECEIVED), 154.0)
    assert isinstance(closed, CircuitMoved)
    assert sender.may_send_at(154.0) == 154.0


def test_a_failed_probe_opens_the_circuit_again() -> None:
    sender: Sender[None] = Sender(LIMITS)
    exhaust(sender)
    sender.tick(153.0, jitter=0.0)
    events = sender.tick(183.0, jitter=0.0)
    assert [type(event) for event in events] == [CircuitMoved, Parked]
    assert sender.next_deadline_s() == 243.0


def test_back_pressure_keeps_batches_the_recommended_delay_apart_until_it_ends() -> None:
    sender: Sender[None] = Sender(LIMITS)
    sender.send(batch(0), 10.0)
    sender.signalled(SignalType.ACTIVATE, 250)
    assert sender.may_send_at(10.1) == 10.25
    sender.signalled(SignalType.DEACTIVATE, 0)
    assert sender.may_send_at(10.1) == 10.1


def kinds(events: Iterable[ReceiverEvent]) -> list[type[ReceiverEvent]]:
    return [type(event) for event in events]


def test_an_intact_batch_is_held_acknowledged_and_queued() -> None:
    receiver = Receiver(QUEUE)
    assert kinds(receiver.received(batch(0).metadata, "sum0", 5)) == [Hold, Acknowledge, Queue]


def test_a_corrupt_frame_is_dropped_without_an_answer() -> None:
    receiver = Receiver(QUEUE)
    assert receiver.received(batch(0).metadata, "other", 5) == (Drop(batch(0).metadata, DropReason.CHECKSUM),)
    assert kinds(receiver.received(batch(0).metadata, "sum0", 5)) == [Hold, Acknowledge, Queue]


@pytest.mark.parametrize("found", [4, 6, None])
def test_a_false_record_count_is_dropped_without_an_answer(found: int | None) -> None:
    receiver = Receiver(QUEUE)
    (dropped,) = receiver.received(batch(0).metadata, "sum0", found)
    assert isinstance(dropped, Drop)
    assert dropped.reason is DropReason.RECORD_COUNT


def test_a_repeat_is_answered_as_before_and_not_queued_again() -> None:
    receiver = Receiver(QUEUE)
    receiver.received(batch(0).metadata, "sum0", 5)
    (again,) = receiver.received(batch(0).metadata, "sum0", 5)
    assert isinstance(again, Acknowledge)
    assert again.payload.status is AckStatus.RECEIVED
    receiver.answered(ack(0, AckStatus.PROCESSED))
    (final,) = receiver.received(batch(0).metadata, "sum0", 5)
    assert isinstance(final, Acknowledge)
    assert final.payload.status is AckStatus.PROCESSED


def test_an_early_batch_is_acknowledged_and_held_until_those_before_it_have_come() -> None:
    receiver = Receiver(QUEUE)
    assert kinds(receiver.received(batch(1).metadata, "sum1", 5)) == [Hold, Acknowledge]
    events = receiver.received(batch(0).metadata, "sum0", 5)
    assert [event.metadata.batch_id for event in events if isinstance(event, Queue)] == ["b0", "b1"]


def test_a_full_queue_drops_rather_than_grows() -> None:
    receiver = Receiver(QUEUE)
    for number in range(10):
        receiver.received(batch(number).metadata, f"sum{number}", 5)
    (dropped,) = receiver.received(batch(10).metadata, "sum10", 5)
    assert isinstance(dropped, Drop)
    assert dropped.reason is DropReason.QUEUE_FULL
    assert receiver.depth == 10


def test_early_batches_never_take_the_place_of_the_one_they_wait_for() -> None:
    receiver = Receiver(QUEUE)
    for number in range(1, 12):
        receiver.received(batch(number).metadata, f"sum{number}", 5)
    assert receiver.depth == 9
    events = receiver.received(batch(0).metadata, "sum0", 5)
    assert [event.metadata.batch_id for event in events if isinstance(event, Queue)] == [f"b{n}" for n in range(10)]


def test_the_watermarks_activate_and_deactivate_back_pressure_once_each() -> None:
    receiver = Receiver(QUEUE)
    signals = [
        event
        for number in range(9)
        for event in receiver.received(batch(number).metadata, f"sum{number}", 5)
        if isinstance(event, Signal)
    ]
    assert [(signal.signal_type, signal.depth) for signal in signals] == [(SignalType.ACTIVATE, 8)]
    assert receiver.taken(3, 1.0) == ()
    (relieved,) = receiver.taken(1, 2.0)
    assert isinstance(relieved, Signal)
    assert (relieved.signal_type, relieved.depth) == (SignalType.DEACTIVATE, 5)


def test_the_recommended_delay_is_the_time_that_one_batch_takes() -> None:
    receiver = Receiver(QUEUE)
    receiver.received(batch(0).metadata, "sum0", 5)
    receiver.received(batch(1).metadata, "sum1", 5)
    receiver.taken(1, 10.0)
    receiver.taken(1, 10.2)
    signals = [
        event
        for number in range(2, 10)
        for event in receiver.received(batch(number).metadata, f"sum{number}", 5)
        if isinstance(event, Signal)
    ]
    assert signals[0].recommended_delay_ms == pytest.approx(200, abs=1)


class Network:
    """Two ends joined by wires that lose, repeat, delay, reorder and corrupt, all drawn from one seed."""

    def __init__(self, seed: int, batches: int) -> None:
        self.chance = random.Random(seed)
        self.now_s = 0.0
        self.wire: list[tuple[float, int, str, object]] = []
        self.ticket = 0
        self.sender: Sender[None] = Sender(replace(LIMITS, retries_max=3, reset_timeout_s=5.0))
        self.receiver = Receiver(QUEUE)
        self.waiting = [batch(number) for number in range(batches)]
        self.queue: list[BatchMetadata] = []
        self.worked: list[str] = []
        self.answered: list[str] = []

    def post(self, way: str, item: object) -> None:
        for _ in range(self.chance.choices((0, 1, 2), (2, 6, 2))[0]):
            self.ticket += 1
            heapq.heappush(self.wire, (self.now_s + self.chance.expovariate(1.0), self.ticket, way, item))

    def sent(self, events: Iterable[SenderEvent[None]]) -> None:
        for event in events:
            if isinstance(event, Transmit):
                metadata = event.outgoing.metadata
                corrupt = self.chance.random() < 0.1
                self.post("there", msgspec.structs.replace(metadata, checksum="bad") if corrupt else metadata)
            elif isinstance(event, Answered):
                self.answered.append(event.metadata.batch_id)

    def received(self, events: Iterable[ReceiverEvent]) -> None:
        for event in events:
            if isinstance(event, Acknowledge):
                self.post("back", event.payload)
            elif isinstance(event, Signal):
                self.post("back", event)
            elif isinstance(event, Queue):
                self.queue.append(event.metadata)

    def step(self) -> None:
        at_s = self.sender.may_send_at(self.now_s)
        if self.waiting and at_s is not None and at_s <= self.now_s:
            self.sent(self.sender.send(self.waiting.pop(0), self.now_s))
        if self.queue and self.chance.random() < 0.5:
            metadata = self.queue.pop(0)
            self.received(self.receiver.taken(1, self.now_s))
            self.worked.append(metadata.batch_id)
            self.received(
                self.receiver.answered(AcknowledgmentPayload(metadata.batch_id, AckStatus.PROCESSED, 5, 0, 0))
            )
        self.now_s += 0.2
        while self.wire and self.wire[0][0] <= self.now_s:
            _, _, way, item = heapq.heappop(self.wire)
            self.arrive(way, item)
        deadline_s = self.sender.next_deadline_s()
        if deadline_s is not None and deadline_s <= self.now_s:
            self.sent(self.sender.tick(self.now_s, self.chance.random()))
        assert self.receiver.depth <= QUEUE.capacity_batches

    def arrive(self, way: str, item: object) -> None:
        if isinstance(item, BatchMetadata):
            self.received(self.receiver.received(item, f"sum{item.sequence_number}", 5))
        elif isinstance(item, AcknowledgmentPayload):
            self.sent(self.sender.acknowledged(item, self.now_s))
        elif isinstance(item, Signal):
            self.sender.signalled(item.signal_type, item.recommended_delay_ms)
        else:
            raise TypeError(way)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_over_a_hostile_network_every_batch_is_worked_on_once_and_in_order(seed: int) -> None:
    network = Network(seed, batches=25)
    for _ in range(40_000):
        network.step()
        if not network.waiting and network.receiver.depth == 0 and len(network.worked) == 25:
            break
    assert network.worked == [f"b{number}" for number in range(25)], f"seed {seed}"
    assert len(network.answered) == len(set(network.answered)), f"seed {seed}"
