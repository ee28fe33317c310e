"""The sending end of one hop, without I/O: what is in flight, when to send again, when to stop trying.

One `Sender` lives for one incarnation of its end: it numbers from 0, and begins again as another. State of a batch or
streamed message in flight, and what moves it (`TRANSITIONS`; the docs draw it from there):

    SENT     waits for RECEIVED until its deadline
    WAITING  the deadline passed; it is sent again after the backoff
    PARKED   the circuit is open, because retries are exhausted or too much failed in a row; a probe or the circuit's
             closing sends it again
    RECEIVED the other end has it, its payload is released; waits for PROCESSED or REJECTED, without a timer
    ANSWERED settled or rejected, for good

What bounds it: batches by a window of unreceived ones and by back-pressure; streamed records by credit, which is
absolute; both by how many may be unsettled.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from itertools import takewhile
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar

from penstock.errors import RemoteViolation
from penstock.model.outcome import Outcome
from penstock.protocol.backoff import delay_s
from penstock.protocol.breaker import CircuitState
from penstock.protocol.messages import AcknowledgmentPayload, AckStatus, SignalType
from penstock.protocol.pacing import Pace
from penstock.protocol.tables import Table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from penstock.protocol.breaker import Breaker
    from penstock.protocol.messages import BatchMetadata, StreamedRange

SummaryT = TypeVar("SummaryT")

SILENT_HEARTBEATS = 3
"""Heartbeats without an answer after which a link is called silent: one may be lost, two are bad luck."""


@dataclass(frozen=True, slots=True)
class Outgoing(Generic[SummaryT]):
    """A batch ready to be handed over. `payload` is the Arrow IPC form of its records."""

    metadata: BatchMetadata
    payload: memoryview
    summary: SummaryT
    streaming: bool = False


@dataclass(frozen=True, slots=True)
class LinkLimits:
    """The settings of one hop, in seconds, batches and records."""

    ack_timeout_s: float
    retry_delay_s: float
    retries_max: int
    backoff_multiplier: float
    window_batches: int
    """Batches that may be unacknowledged at once: what a silent receiver can make us hold."""
    unsettled_batches: int = 8192
    """Batches and streamed messages that may be unsettled at once."""
    heartbeat_s: float = 1.0
    streaming_records: int = 1000
    """Most records of a streamed micro-batch."""
    streaming_budget_s: float = 0.1
    """How long the receiver may work on one."""


class TransferState(StrEnum):
    """Where a batch in flight stands."""

    SENT = "SENT"
    WAITING = "WAITING"
    PARKED = "PARKED"
    RECEIVED = "RECEIVED"
    ANSWERED = "ANSWERED"


class TransferEvent(StrEnum):
    """What can happen to it."""

    ACK_RECEIVED = "RECEIVED arrives"
    ANSWER = "PROCESSED or REJECTED arrives"
    ACK_TIMEOUT = "ack timeout"
    BACKOFF_OVER = "backoff over"
    RETRIES_EXHAUSTED = "retries exhausted"
    CIRCUIT_OPENED = "circuit opens"
    PROBE = "circuit half open"
    CIRCUIT_CLOSED = "circuit closes"


_S, _V = TransferState, TransferEvent
TRANSITIONS = Table(
    "transfer",
    {
        (_S.SENT, _V.ACK_RECEIVED): _S.RECEIVED,
        (_S.SENT, _V.ANSWER): _S.ANSWERED,  # RECEIVED was lost
        (_S.SENT, _V.ACK_TIMEOUT): _S.WAITING,
        (_S.SENT, _V.RETRIES_EXHAUSTED): _S.PARKED,
        (_S.SENT, _V.CIRCUIT_OPENED): _S.PARKED,
        (_S.WAITING, _V.ACK_RECEIVED): _S.RECEIVED,
        (_S.WAITING, _V.ANSWER): _S.ANSWERED,
        (_S.WAITING, _V.BACKOFF_OVER): _S.SENT,
        (_S.WAITING, _V.CIRCUIT_OPENED): _S.PARKED,
        (_S.PARKED, _V.ACK_RECEIVED): _S.RECEIVED,
        (_S.PARKED, _V.ANSWER): _S.ANSWERED,
        (_S.PARKED, _V.PROBE): _S.SENT,
        (_S.PARKED, _V.CIRCUIT_CLOSED): _S.SENT,
        (_S.RECEIVED, _V.ACK_RECEIVED): _S.RECEIVED,  # repeated by the network
        (_S.RECEIVED, _V.ANSWER): _S.ANSWERED,
    },
)


@dataclass(slots=True)
class _InFlight(Generic[SummaryT]):
    metadata: BatchMetadata
    outgoing: Outgoing[SummaryT] | None
    streaming: bool
    stream_offset: int
    sent_s: float
    deadline_s: float | None
    state: TransferState = TransferState.SENT
    attempt: int = 0

    def move(self, event: TransferEvent, deadline_s: float | None) -> None:
        self.state = TRANSITIONS.move(self.state, event)
        self.deadline_s = deadline_s


@dataclass(frozen=True, slots=True)
class Transmit(Generic[SummaryT]):
    """Put this batch on the wire. `attempt` is 0 the first time; `stream_offset` counts records streamed before it."""

    outgoing: Outgoing[SummaryT]
    attempt: int
    stream_offset: int


@dataclass(frozen=True, slots=True)
class Arrival:
    """The other end has the batch, `seconds` after it was sent first."""

    metadata: BatchMetadata
    seconds: float


@dataclass(frozen=True, slots=True)
class Answered:
    """The other end has settled or rejected the batch; `payload.tally` says what became of its records."""

    metadata: BatchMetadata
    payload: AcknowledgmentPayload
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Parked:
    """The batch is held as pending work."""

    metadata: BatchMetadata


@dataclass(frozen=True, slots=True)
class CircuitMoved:
    """The link's circuit changed its state."""

    previous: CircuitState
    new: CircuitState


@dataclass(frozen=True, slots=True)
class Beat:
    """Send a heartbeat."""


@dataclass(frozen=True, slots=True)
class Silence:
    """Nothing has come for so long."""

    seconds: float


SenderEvent: TypeAlias = "Transmit[SummaryT] | Arrival | Answered | Parked | CircuitMoved | Beat | Silence"


class Sender(Generic[SummaryT]):
    """One hop's sending end. `now_s` is monotonic seconds; `jitter` in [0, 1) is drawn by the caller.

    Every method that takes what the other end says raises RemoteViolation (INT_LINK_003) where that cannot be true.
    """

    def __init__(self, limits: LinkLimits, breaker: Breaker, now_s: float = 0.0) -> None:
        """`breaker` outlives this incarnation: that a peer keeps failing is not forgotten by beginning again."""
        self._limits = limits
        self._breaker = breaker
        self._in_flight: dict[int, _InFlight[SummaryT]] = {}
        self._unreceived: dict[int, _InFlight[SummaryT]] = {}
        self._window_used = 0
        self._gap_s = 0.0
        self._last_sent_s = float("-inf")
        self._last_heard_s = now_s
        self._silent = False
        self._next_beat_s = now_s + limits.heartbeat_s
        self.messages = 0
        """How many were sent, which is the number of the next."""
        self.streamed = 0
        """How many records were streamed."""
        self.credit_to = 0
        self.pace = Pace(limits.streaming_budget_s, limits.streaming_records)

    def __repr__(self) -> str:
        return (
            f"<Sender {len(self._in_flight)} in flight, {len(self._unreceived)} unreceived, "
            f"streamed {self.streamed:,} of {self.credit_to:,}, {self._breaker.state}>"
        )

    @property
    def in_flight(self) -> int:
        """Batches sent and not yet answered for good."""
        return len(self._in_flight)

    @property
    def answered_below(self) -> int:
        """Every batch numbered below it has been answered for good."""
        return next(iter(self._in_flight), self.messages)

    @property
    def parked(self) -> int:
        """Depth of the error queue: batches held until the circuit lets them pass."""
        return sum(entry.state is TransferState.PARKED for entry in self._unreceived.values())

    @property
    def is_full(self) -> bool:
        """Whether as much is unsettled as may be."""
        return self.messages - self.answered_below >= self._limits.unsettled_batches

    def may_send_at(self, now_s: float, records: int = 1, *, streaming: bool = False) -> float | None:
        """Return when so many records may be sent: `now_s` for at once, None when only the other end can tell."""
        if self.is_full or not self._circuit_lets_pass():
            return None
        if streaming:
            if self.streamed + records <= self.credit_to:
                return now_s
            self.pace.wanting(now_s)
            return None
        if self._window_used >= self._limits.window_batches:
            return None
        return max(now_s, self._last_sent_s + self._gap_s)

    def send(self, outgoing: Outgoing[SummaryT], now_s: float) -> tuple[SenderEvent[SummaryT], ...]:
        """Hand over a batch. Only when `may_send_at` allows it."""
        metadata = outgoing.metadata
        allowed_s = self.may_send_at(now_s, metadata.record_count, streaming=outgoing.streaming)
        assert allowed_s is not None, self
        assert allowed_s <= now_s, self
        assert metadata.sequence_number == self.messages, (metadata.sequence_number, self.messages)
        entry = _InFlight(
            metadata, outgoing, outgoing.streaming, self.streamed, now_s, now_s + self._limits.ack_timeout_s
        )
        self._in_flight[self.messages] = self._unreceived[self.messages] = entry
        self.messages += 1
        if outgoing.streaming:
            self.streamed += metadata.record_count
            self.pace.let_go(self.credit_to - self.streamed)
        else:
            self._window_used += 1
            self._last_sent_s = now_s
        return (Transmit(outgoing, 0, entry.stream_offset),)

    def heard(self, now_s: float) -> None:
        """Something came from the other end."""
        self._last_heard_s = now_s
        self._silent = False

    def acknowledged(self, payload: AcknowledgmentPayload, now_s: float) -> tuple[SenderEvent[SummaryT], ...]:
        """Take an acknowledgement. One for a batch that was answered before is late or repeated: it changes nothing."""
        entry = self._entry(payload.sequence_number)
        if entry is None:
            return ()
        if entry.metadata.batch_id != payload.batch_id:
            raise _violation(f"batch {payload.batch_id} was acknowledged by the number of {entry.metadata.batch_id}")
        if payload.status is AckStatus.RECEIVED:
            return self._arrived(entry, now_s)
        return self._answered(entry, payload, now_s)

    def streamed_to(
        self, received_below: int, credit_to: int, settled: tuple[StreamedRange, ...], now_s: float
    ) -> tuple[SenderEvent[SummaryT], ...]:
        """Take what a streaming acknowledgement says."""
        return (
            *self.confirmed(received_below, credit_to, now_s),
            *(event for each in settled for event in self._settled(each, now_s)),
        )

    def confirmed(self, received_below: int, credit_to: int, now_s: float) -> tuple[SenderEvent[SummaryT], ...]:
        """Take what stands in every heartbeat: it repeats what may have been lost."""
        if received_below > self.messages:
            raise _violation(f"{received_below} messages were received of the {self.messages} that were sent")
        if credit_to > self.credit_to:
            self.pace.granted(credit_to - self.credit_to, now_s)
            self.credit_to = credit_to
        arrived = list(takewhile(lambda number: number < received_below, self._unreceived))
        return tuple(event for number in arrived for event in self._arrived(self._in_flight[number], now_s))

    def signalled(self, signal: SignalType, recommended_delay_ms: int) -> None:
        """Obey back-pressure: while it is active, batches leave at least the recommended delay apart."""
        self._gap_s = recommended_delay_ms / 1000 if signal is SignalType.ACTIVATE else 0.0

    def violated(self, now_s: float) -> tuple[SenderEvent[SummaryT], ...]:
        """One of the two ends broke the protocol. Both begin again, and the circuit counts it: not without end."""
        before = self._breaker.state
        self._breaker.failed(now_s)
        return self._circuit_moved(before)

    def next_deadline_s(self) -> float:
        """Return when `tick` must be called next."""
        deadlines = [self._next_beat_s, self._breaker.next_attempt_s]
        deadlines += [entry.deadline_s for entry in self._unreceived.values()]
        return min(deadline_s for deadline_s in deadlines if deadline_s is not None)

    def tick(self, now_s: float, jitter: float) -> tuple[SenderEvent[SummaryT], ...]:
        """Do what time demands: retransmit, park, probe, show that we are here."""
        events: list[SenderEvent[SummaryT]] = []
        before = self._breaker.state
        events += self._retransmit(now_s, jitter)
        if self._breaker.tick(now_s):
            events += self._probe(now_s)
        return (*self._circuit_moved(before), *events, *self._beat(now_s))

    def _circuit_lets_pass(self) -> bool:
        """Tell whether the circuit is closed, or half open with nothing parked that could be its probe."""
        state = self._breaker.state
        return state is CircuitState.CLOSED or (state is CircuitState.HALF_OPEN and not self._unreceived)

    def _entry(self, number: int) -> _InFlight[SummaryT] | None:
        if not 0 <= number < self.messages:
            raise _violation(f"message {number} was answered, and {self.messages} were sent")
        return self._in_flight.get(number)

    def _settled(self, settled: StreamedRange, now_s: float) -> Iterator[SenderEvent[SummaryT]]:
        entry = self._entry(settled.sequence_number)
        if entry is None:
            return
        metadata = entry.metadata
        if settled.range != metadata.range:
            raise _violation(f"{settled.range} was settled by the number of {metadata.range}")
        dead = (each for each in settled.excepted if each.outcome is Outcome.DEAD_LETTERED)
        rejected = {sequence for each in dead for sequence in each.sequences}
        payload = AcknowledgmentPayload(
            metadata.batch_id,
            settled.status,
            max(0, metadata.record_count - len(rejected)),
            len(rejected),
            int((now_s - entry.sent_s) * 1000),
            settled.tally,
            settled.excepted,
            settled.sequence_number,
            settled.reason,
        )
        yield from self._answered(entry, payload, now_s)

    def _arrived(self, entry: _InFlight[SummaryT], now_s: float) -> tuple[SenderEvent[SummaryT], ...]:
        first = entry.state is not TransferState.RECEIVED
        entry.move(TransferEvent.ACK_RECEIVED, None)
        if not first:
            return ()
        self._release(entry)
        return (Arrival(entry.metadata, now_s - entry.sent_s), *self._circuit_succeeded(now_s))

    def _answered(
        self, entry: _InFlight[SummaryT], payload: AcknowledgmentPayload, now_s: float
    ) -> tuple[SenderEvent[SummaryT], ...]:
        if entry.state is not TransferState.RECEIVED:
            self._release(entry)
        entry.move(TransferEvent.ANSWER, None)
        del self._in_flight[entry.metadata.sequence_number]
        answered = Answered(entry.metadata, payload, now_s - entry.sent_s)
        return (*self._circuit_succeeded(now_s), answered)

    def _release(self, entry: _InFlight[SummaryT]) -> None:
        """The other end has it: nothing of it need be kept but what names it."""
        entry.outgoing = None
        del self._unreceived[entry.metadata.sequence_number]
        self._window_used -= not entry.streaming

    def _retransmit(self, now_s: float, jitter: float) -> Iterator[SenderEvent[SummaryT]]:
        was_open = self._breaker.state is CircuitState.OPEN
        timed_out = False
        for entry in tuple(self._unreceived.values()):
            if entry.deadline_s is None or entry.deadline_s > now_s:
                continue
            if entry.state is TransferState.WAITING:
                yield from self._transmit(entry, TransferEvent.BACKOFF_OVER, now_s)
            elif entry.attempt >= self._limits.retries_max:
                entry.move(TransferEvent.RETRIES_EXHAUSTED, None)
                self._breaker.exhausted(now_s)
                yield Parked(entry.metadata)
            else:
                timed_out = True
                entry.attempt += 1
                entry.move(TransferEvent.ACK_TIMEOUT, now_s + self._backoff_s(entry.attempt, jitter))
        if timed_out:
            self._breaker.failed(now_s)  # once, however many: it was one moment of silence
        if self._breaker.state is CircuitState.OPEN and not was_open:
            yield from self._park()

    def _backoff_s(self, attempt: int, jitter: float) -> float:
        limits = self._limits
        return delay_s(attempt, base_s=limits.retry_delay_s, multiplier=limits.backoff_multiplier, jitter=jitter)

    def _park(self) -> Iterator[SenderEvent[SummaryT]]:
        for entry in self._unreceived.values():
            if entry.state is not TransferState.PARKED:
                entry.move(TransferEvent.CIRCUIT_OPENED, None)
                yield Parked(entry.metadata)

    def _probe(self, now_s: float) -> Iterator[SenderEvent[SummaryT]]:
        parked = next((e for e in self._unreceived.values() if e.state is TransferState.PARKED), None)
        if parked is not None:
            yield from self._transmit(parked, TransferEvent.PROBE, now_s)

    def _beat(self, now_s: float) -> Iterator[SenderEvent[SummaryT]]:
        if now_s < self._next_beat_s:
            return
        self._next_beat_s = now_s + self._limits.heartbeat_s
        yield Beat()
        silent_s = now_s - self._last_heard_s
        if silent_s > SILENT_HEARTBEATS * self._limits.heartbeat_s and not self._silent:
            self._silent = True
            yield Silence(silent_s)

    def _circuit_succeeded(self, now_s: float) -> tuple[SenderEvent[SummaryT], ...]:
        before = self._breaker.state
        self._breaker.succeeded()
        events = list(self._circuit_moved(before))
        if events:
            for entry in self._unreceived.values():
                if entry.state is TransferState.PARKED:
                    entry.attempt = 0
                    events += self._transmit(entry, TransferEvent.CIRCUIT_CLOSED, now_s)
        return tuple(events)

    def _transmit(
        self, entry: _InFlight[SummaryT], why: TransferEvent, now_s: float
    ) -> tuple[SenderEvent[SummaryT], ...]:
        assert entry.outgoing is not None, entry.metadata.batch_id
        entry.move(why, now_s + self._limits.ack_timeout_s)
        return (Transmit(entry.outgoing, entry.attempt, entry.stream_offset),)

    def _circuit_moved(self, before: CircuitState) -> tuple[SenderEvent[SummaryT], ...]:
        return () if self._breaker.state is before else (CircuitMoved(before, self._breaker.state),)


def _violation(what: str) -> RemoteViolation:
    return RemoteViolation("INT_LINK_003", what)
