"""Sender, receiver and their sessions together, over a network that does what it likes, with ends that die and go back.

Random walks of hypothesis drive them: one over faults of the network alone, one with faults of the ends as well. The
bounds must hold at every step. At the end the network carries everything again, and all must come to be settled, once
and in order.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import Enum
from itertools import count, cycle, takewhile
from typing import TYPE_CHECKING, Any

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from penstock.model.position import Position, Range
from penstock.protocol.breaker import Breaker
from penstock.protocol.frames import Close, Frame, Heartbeat, Hello
from penstock.protocol.messages import AcknowledgmentPayload, AckStatus, BatchMetadata
from penstock.protocol.receiver import Acknowledge, Drop, Hold, Queue, QueueLimits, Receiver, Signal, StreamingAnswer
from penstock.protocol.sender import Answered, Arrival, Beat, LinkLimits, Outgoing, Sender, Transmit
from penstock.protocol.session import Session, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from penstock.protocol.receiver import ReceiverEvent
    from penstock.protocol.sender import SenderEvent

LINK = LinkLimits(
    ack_timeout_s=3.0,
    retry_delay_s=1.0,
    retries_max=2,
    backoff_multiplier=2.0,
    window_batches=4,
    unsettled_batches=12,
    heartbeat_s=1.0,
    streaming_records=4,
)
QUEUE = QueueLimits(capacity_batches=5, high_watermark=0.8, low_watermark=0.4, credit_records=10, unsettled_batches=12)
COPIES_MAX = 400
"""Frames under way at once: a walk that repeats more is no longer about the ends."""


@dataclass(frozen=True)
class Carried:
    """A batch on the wire. `whole` is False where the network damaged it."""

    outgoing: Outgoing[None]
    stream_offset: int | None
    whole: bool = True


class Fate(Enum):
    """What the network does to a frame."""

    CARRIED = "carried"
    LOST = "lost"
    REPEATED = "carried, and again later"
    HELD = "carried later"
    DAMAGED = "damaged"


def damaged(frame: Frame) -> Frame:
    """Return a frame with records as it arrives damaged. Another does not even parse: it is as good as lost."""
    body: Any = frame.body
    return msgspec.structs.replace(frame, body=replace(body, whole=False))


FATES = st.lists(st.sampled_from([Fate.CARRIED, Fate.CARRIED, Fate.CARRIED, *Fate]), min_size=1, max_size=8)


@dataclass
class Network:
    """Frames under way in both directions."""

    there: list[Frame] = field(default_factory=list)
    back: list[Frame] = field(default_factory=list)


def frame(session: Session, settled_below: int, body: Any) -> Frame:  # noqa: ANN401 - carries whatever the ends say
    return Frame(session.me, session.peer, settled_below, body)


@dataclass
class SendingSide:
    """A sending end and its stage: it hands over items in order, and goes back to `position` when it must."""

    sizes: Sequence[int]
    wire: list[Frame]
    session: Session
    breaker: Breaker
    position: int = 0
    """Durable: all items before it are settled."""

    def __post_init__(self) -> None:
        self.beyond = 0
        self.begin(0.0)

    def begin(self, now_s: float) -> None:
        self.sender: Sender[None] = Sender(LINK, self.breaker, now_s)
        self.broken = self.closing = self.close_is_known = False
        self.base = self.next_item = self.position
        self.answered: set[int] = set()
        self.answered_numbers: set[int] = set()
        self.arrived: set[int] = set()
        self.say(Hello())

    def begin_again(self, now_s: float) -> None:
        self.session.begin_again(max(self.session.me, self.beyond) + 1_000)
        self.begin(now_s)

    def say(self, body: Any) -> None:  # noqa: ANN401 - see above
        self.wire.append(frame(self.session, 0 if self.broken else self.sender.answered_below, body))

    def may_send(self, now_s: float, *, streaming: bool) -> bool:
        if self.broken or self.closing or self.next_item >= len(self.sizes) or not self.session.is_open:
            return False
        at_s = self.sender.may_send_at(now_s, self.sizes[self.next_item], streaming=streaming)
        return at_s is not None and at_s <= now_s

    def send(self, now_s: float, *, streaming: bool) -> None:
        item = self.next_item
        start, records = sum(self.sizes[:item]), self.sizes[item]
        metadata = BatchMetadata(
            f"{self.session.me} {item}",
            self.sender.messages,
            records,
            f"sum {item}",
            datetime(2026, 1, 1, tzinfo=UTC),
            "p",
            Range(start, start + records),
            Position("p", item, ""),
        )
        self.perform(self.sender.send(Outgoing(metadata, memoryview(b""), None, streaming), now_s))
        self.next_item += 1

    def close(self) -> None:
        self.closing = True
        self.say(Close(self.sender.messages))

    def tick(self, now_s: float) -> None:
        if self.broken:
            self.say(Hello())
        else:
            self.perform(self.sender.tick(now_s, 0.5))

    def perform(self, events: Iterable[SenderEvent[None]]) -> None:
        for event in events:
            match event:
                case Transmit(outgoing=outgoing, stream_offset=offset):
                    self.say(Carried(outgoing, offset if outgoing.streaming else None))
                case Arrival(metadata=metadata):
                    assert metadata.sequence_number not in self.arrived
                    self.arrived.add(metadata.sequence_number)
                case Answered(metadata=metadata):
                    self.answered_numbers.add(metadata.sequence_number)
                    self.settled(self.base + metadata.sequence_number)
                case Beat() if not self.session.is_open:
                    self.say(Hello())
                case Beat():
                    self.say(Close(self.sender.messages) if self.closing else Heartbeat())
                case _:
                    pass  # for whoever watches

    def settled(self, item: int) -> None:
        assert item not in self.answered, f"{item} was answered twice"
        self.answered.add(item)
        while self.position in self.answered:
            self.position += 1

    def hear(self, frame: Frame, now_s: float) -> None:
        heard = self.session.received(frame)
        if heard.verdict is Verdict.COUNTS and not self.broken:
            self.handle(frame.body, now_s)
        elif heard.verdict is Verdict.PEER_IS_NEW:
            self.broken = True
        elif heard.verdict is Verdict.SUPERSEDED:
            self.beyond = max(self.beyond, frame.receiver)
            self.broken = True
        if heard.greet:
            self.say(Hello())

    def handle(self, body: object, now_s: float) -> None:
        self.sender.heard(now_s)
        match body:
            case Hello():
                self.perform(self.sender.confirmed(0, body.credit_to, now_s))
            case Heartbeat():
                self.perform(self.sender.confirmed(body.received_below, body.credit_to, now_s))
            case AcknowledgmentPayload():
                self.perform(self.sender.acknowledged(body, now_s))
            case StreamingAnswer():
                self.perform(self.sender.streamed_to(body.received_below, body.credit_to, body.settled, now_s))
            case Signal():
                self.sender.signalled(body.signal_type, body.recommended_delay_ms)
            case Close():
                self.close_is_known = body.messages == self.sender.messages
            case _:
                raise TypeError(body)

    @property
    def is_done(self) -> bool:
        return self.closing and self.close_is_known and not self.broken and not self.sender.in_flight


@dataclass
class ReceivingSide:
    """A receiving end and its stage, which delivers what it takes in order, and answers in whatever order it likes."""

    wire: list[Frame]
    session: Session
    delivered: int = 0
    """Durable: so many items are at the destination."""

    def __post_init__(self) -> None:
        self.forget()
        self.greet()

    def forget(self) -> None:
        self.receiver = Receiver(QUEUE)
        self.held: dict[int, BatchMetadata] = {}
        self.offsets: dict[int, int | None] = {}
        self.queue: list[BatchMetadata] = []
        self.work: list[BatchMetadata] = []
        self.unanswered: list[BatchMetadata] = []
        self.answered: set[int] = set()
        self.expected: int | None = None

    def begin_beyond(self, beyond: int) -> None:
        self.session.begin_again(max(self.session.me, beyond) + 1_000)
        self.forget()
        self.greet()

    def say(self, body: Any) -> None:  # noqa: ANN401 - see above
        self.wire.append(frame(self.session, self.receiver.settled_below, body))

    def greet(self) -> None:
        self.say(Hello(dict(self.receiver.settled_to), self.receiver.credit_to))

    def hear(self, frame: Frame, now_s: float) -> None:
        heard = self.session.received(frame)
        if heard.verdict is Verdict.COUNTS:
            self.handle(frame, now_s)
        elif heard.verdict is Verdict.PEER_IS_NEW:
            self.forget()
        elif heard.verdict is Verdict.SUPERSEDED:
            self.begin_beyond(frame.receiver)
        if heard.greet:
            self.greet()
        self.speak()

    def handle(self, frame: Frame, now_s: float) -> None:
        self.receiver.confirmed(frame.settled_below)
        body: object = frame.body
        match body:
            case Hello():
                self.greet()
            case Heartbeat():
                self.repeat(now_s)
            case Close(messages=messages):
                self.repeat(now_s)
                self.receiver.closing(messages)
                self.say(Close(messages))
            case Carried():
                metadata = body.outgoing.metadata
                digest = metadata.checksum if body.whole else "damaged"
                records = metadata.record_count
                events = self.receiver.received(metadata, digest, records, body.stream_offset)
                assert body.whole or [type(event) for event in events] == [Drop], "what is damaged is never believed"
                self.perform(events)
            case _:
                raise TypeError(body)

    def repeat(self, now_s: float) -> None:
        self.perform(self.receiver.heartbeat(now_s, LINK.heartbeat_s))
        receiver = self.receiver
        self.say(Heartbeat(dict(receiver.settled_to), receiver.received_below, receiver.credit_to))

    def perform(self, events: Iterable[ReceiverEvent]) -> None:
        for event in events:
            match event:
                case Hold(metadata=metadata):
                    assert metadata.sequence_number not in self.held
                    self.held[metadata.sequence_number] = metadata
                case Queue(metadata=metadata):
                    self.queue.append(self.held.pop(metadata.sequence_number))
                case Acknowledge(payload=payload):
                    self.say(payload)
                case Signal():
                    self.say(event)
                case _:
                    assert isinstance(event, Drop), event

    def speak(self) -> None:
        answer = self.receiver.streaming_answer()
        if answer is not None:
            self.say(answer)

    def take(self, most: int, streamed: Iterable[str], now_s: float) -> None:
        taken, self.queue = self.queue[:most], self.queue[most:]
        streaming = [metadata for metadata in taken if metadata.batch_id in streamed]
        records = sum(metadata.record_count for metadata in streaming)
        self.perform(self.receiver.taken(len(taken) - len(streaming), records, now_s))
        self.work += taken
        self.speak()

    def deliver(self) -> None:
        """Put the oldest taken item at the destination; one that is there already is passed over."""
        metadata = self.work.pop(0)
        item = metadata.position.sequence
        assert self.expected in {None, item}, f"{item} came where {self.expected} had to follow"
        self.expected = item + 1
        assert item <= self.delivered, f"{item} came, and {self.delivered} is missing"
        self.delivered = max(self.delivered, item + 1)
        self.unanswered.append(metadata)

    def answer(self, which: int, now_s: float) -> None:
        metadata = self.unanswered.pop(which % len(self.unanswered))
        payload = AcknowledgmentPayload(
            metadata.batch_id,
            AckStatus.PROCESSED,
            metadata.record_count,
            0,
            0,
            sequence_number=metadata.sequence_number,
        )
        self.perform(self.receiver.answered(payload, now_s))
        self.answered.add(metadata.sequence_number)
        self.speak()

    @property
    def settled_below(self) -> int:
        return next(number for number in count() if number not in self.answered)


class NetworkFaults(RuleBasedStateMachine):
    """Both ends live on; the network does what it likes."""

    @initialize(sizes=st.lists(st.integers(1, 4), min_size=4, max_size=14))
    def start(self, sizes: list[int]) -> None:
        self.now_s = 100.0
        self.network = Network()
        breaker = Breaker(failure_threshold=3, reset_timeout_s=5.0)
        self.sending = SendingSide(sizes, self.network.there, Session(2_000_000), breaker)
        self.receiving = ReceivingSide(self.network.back, Session(2_000_000))
        self.streamed: set[str] = set()
        self.carry_all(back=False)
        self.carry_all(back=True)

    # The network.

    @rule(fates=FATES, back=st.booleans())
    def carry(self, fates: list[Fate], *, back: bool) -> None:
        """Do to each frame under way, one after the other, what `fates` say, over and over."""
        wire = self.network.back if back else self.network.there
        under_way = wire[:]
        wire.clear()
        for each, fate in zip(under_way, cycle(fates), strict=False):
            if fate in {Fate.HELD, Fate.REPEATED} and len(wire) < COPIES_MAX:
                wire.append(each)
            if fate in {Fate.CARRIED, Fate.REPEATED}:
                self.arrive(each, back=back)
            elif fate is Fate.DAMAGED and isinstance(each.body, Carried):
                self.arrive(damaged(each), back=back)

    @rule(which=st.integers(0, COPIES_MAX), back=st.booleans())
    def carry_one(self, which: int, *, back: bool) -> None:
        wire = self.network.back if back else self.network.there
        if wire:
            self.arrive(wire.pop(which % len(wire)), back=back)

    def carry_all(self, *, back: bool) -> None:
        wire = self.network.back if back else self.network.there
        for _ in range(len(wire)):
            self.arrive(wire.pop(0), back=back)

    def arrive(self, frame: Frame, *, back: bool) -> None:
        (self.sending if back else self.receiving).hear(frame, self.now_s)

    # The ends.

    @rule(batches=st.integers(1, 4), streaming=st.booleans(), there=FATES, back=FATES, answers=st.integers(0, 4))
    def flow(self, batches: int, there: list[Fate], back: list[Fate], answers: int, *, streaming: bool) -> None:
        """Let a few batches go all the way there, and answers all the way back."""
        self.send(batches, streaming=streaming)
        self.carry(there, back=False)
        self.work(batches, [0] * answers)
        self.carry(back, back=True)

    @rule(batches=st.integers(1, 4), streaming=st.booleans())
    def send(self, batches: int, *, streaming: bool) -> None:
        for _ in range(batches):
            if self.sending.may_send(self.now_s, streaming=streaming):
                self.sending.send(self.now_s, streaming=streaming)
                metadata = self.sending.sender._in_flight[self.sending.sender.messages - 1].metadata
                if streaming:
                    self.streamed.add(metadata.batch_id)

    @rule(seconds=st.sampled_from([0.1, 1.0, 4.0, 30.0]))
    def pass_time(self, seconds: float) -> None:
        self.now_s += seconds
        self.sending.tick(self.now_s)

    @rule(most=st.integers(1, 6), answers=st.lists(st.integers(0, 5), max_size=6))
    def work(self, most: int, answers: list[int]) -> None:
        self.receiving.take(most, self.streamed, self.now_s)
        while self.receiving.work:
            self.receiving.deliver()
        for which in answers:
            if self.receiving.unanswered:
                self.receiving.answer(which, self.now_s)

    @precondition(lambda self: self.sending.next_item == len(self.sending.sizes) and not self.sending.broken)
    @rule()
    def close(self) -> None:
        self.sending.close()

    # What holds at every step.

    @invariant()
    def nothing_exceeds_its_limit(self) -> None:
        sender, receiver = self.sending.sender, self.receiving.receiver
        assert sender.streamed <= max(sender.credit_to, 0)
        assert sender.messages - sender.answered_below <= LINK.unsettled_batches
        assert sender._window_used <= LINK.window_batches
        assert receiver.depth <= QUEUE.capacity_batches
        assert receiver.depth_records <= QUEUE.credit_records
        assert receiver.kept <= QUEUE.unsettled_batches
        assert len(self.receiving.held) + len(self.receiving.queue) <= QUEUE.capacity_batches + QUEUE.credit_records

    @invariant()
    def the_ends_never_disagree_about_what_is_certain(self) -> None:
        sending, receiving = self.sending, self.receiving
        assert sending.position <= receiving.delivered
        assert receiving.receiver.settled_below == receiving.settled_below
        assert sending.sender.answered_below == sum(
            1 for _ in takewhile(sending.answered_numbers.__contains__, count())
        )
        in_session = (sending.session.me, sending.session.peer) == (receiving.session.peer, receiving.session.me)
        if in_session and not sending.broken:
            assert sending.sender.answered_below <= receiving.receiver.settled_below
            assert receiving.receiver.received_below <= sending.sender.messages
            assert sending.sender.credit_to <= receiving.receiver.credit_to

    # What holds at the end.

    def teardown(self) -> None:
        if not hasattr(self, "sending"):
            return
        for turn in range(400):
            if self.sending.broken:
                self.sending.begin_again(self.now_s)
            while self.sending.may_send(self.now_s, streaming=False):
                self.sending.send(self.now_s, streaming=False)
            if self.sending.next_item == len(self.sending.sizes) and not self.sending.closing:
                self.sending.close()
            self.carry_all(back=False)
            self.receiving.take(100, self.streamed, self.now_s)
            while self.receiving.work:
                self.receiving.deliver()
            while self.receiving.unanswered:
                self.receiving.answer(0, self.now_s)
            self.carry_all(back=True)
            self.nothing_exceeds_its_limit()
            self.the_ends_never_disagree_about_what_is_certain()
            if self.sending.is_done:
                break
            self.pass_time(1.0 if turn % 10 else 10.0)
        else:
            raise AssertionError(f"never done: {self.sending.session} {self.sending.sender} {self.receiving.receiver}")
        assert self.sending.position == self.receiving.delivered == len(self.sending.sizes)
        assert self.receiving.receiver.is_complete
        self.carry_all(back=False)
        assert self.receiving.receiver.kept <= 1 or self.sending.sender.answered_below


class FaultsOfTheEnds(NetworkFaults):
    """The ends die, begin again by themselves, and start anew by clocks that jump."""

    processes = 0

    def new_process(self, jump: int) -> Session:
        """No two processes draw the same incarnation, wherever the clock jumps."""
        self.processes += 1
        return Session((2_000 + jump) * 1_000 + self.processes)

    @rule(what=st.integers(0, 7), jump=st.integers(-300, 300))
    def something_happens_to_an_end(self, what: int, jump: int) -> None:
        """Half of the time nothing does: an end that never lives long never gets anywhere."""
        sending, receiving = self.sending, self.receiving
        if what == 0:
            breaker = Breaker(failure_threshold=3, reset_timeout_s=5.0)
            process = self.new_process(jump)
            self.sending = SendingSide(sending.sizes, sending.wire, process, breaker, position=sending.position)
        elif what == 1:
            self.receiving = ReceivingSide(receiving.wire, self.new_process(jump), delivered=receiving.delivered)
        elif what == 2:
            receiving.begin_beyond(0)
        if self.sending.broken and what != 3:
            self.sending.begin_again(self.now_s)


WALKS = settings(max_examples=80, stateful_step_count=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
TestNetworkFaults = NetworkFaults.TestCase
TestNetworkFaults.settings = WALKS
TestFaultsOfTheEnds = FaultsOfTheEnds.TestCase
TestFaultsOfTheEnds.settings = WALKS
