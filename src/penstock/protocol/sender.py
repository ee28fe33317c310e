"""The sending end of one hop, without I/O: what is in flight, when to send again, when to stop trying.

State of a batch in flight, and what moves it (`TRANSITIONS`; the docs draw it from there):

    SENT     waits for RECEIVED until its deadline
    WAITING  the deadline passed; it is sent again after the backoff
    PARKED   retries are exhausted, the circuit is open; a probe or the circuit's closing sends it again
    RECEIVED the other end has it, its payload is released; waits for PROCESSED or REJECTED, without a timer
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar

from penstock.protocol.backoff import delay_s
from penstock.protocol.breaker import Breaker, CircuitState
from penstock.protocol.messages import AckStatus, SignalType

if TYPE_CHECKING:
    from collections.abc import Mapping

    from penstock.protocol.messages import AcknowledgmentPayload, BatchMetadata

SummaryT = TypeVar("SummaryT")


@dataclass(frozen=True, slots=True)
class Outgoing(Generic[SummaryT]):
    """A batch ready to be handed over. `payload` is the Arrow IPC form of its records."""

    metadata: BatchMetadata
    payload: memoryview
    summary: SummaryT


@dataclass(frozen=True, slots=True)
class LinkLimits:
    """The settings of one hop, in seconds and batches."""

    ack_timeout_s: float
    retry_delay_s: float
    retries_max: int
    backoff_multiplier: float
    window_batches: int
    """Batches that may be unacknowledged at once: what a silent receiver can make us hold."""
    failure_threshold: int
    reset_timeout_s: float


class TransferState(StrEnum):
    """Where a batch in flight stands."""

    SENT = "SENT"
    WAITING = "WAITING"
    PARKED = "PARKED"
    RECEIVED = "RECEIVED"


class TransferEvent(StrEnum):
    """What can happen to it."""

    ACK_RECEIVED = "RECEIVED arrives"
    ACK_TIMEOUT = "ack timeout"
    BACKOFF_OVER = "backoff over"
    RETRIES_EXHAUSTED = "retries exhausted"
    PROBE = "circuit half open"
    CIRCUIT_CLOSED = "circuit closes"


_S, _V = TransferState, TransferEvent
TRANSITIONS: Mapping[tuple[TransferState, TransferEvent], TransferState] = MappingProxyType(
    {
        (_S.SENT, _V.ACK_RECEIVED): _S.RECEIVED,
        (_S.SENT, _V.ACK_TIMEOUT): _S.WAITING,
        (_S.SENT, _V.RETRIES_EXHAUSTED): _S.PARKED,
        (_S.WAITING, _V.ACK_RECEIVED): _S.RECEIVED,
        (_S.WAITING, _V.BACKOFF_OVER): _S.SENT,
        (_S.PARKED, _V.ACK_RECEIVED): _S.RECEIVED,
        (_S.PARKED, _V.PROBE): _S.SENT,
        (_S.PARKED, _V.CIRCUIT_CLOSED): _S.SENT,
        (_S.RECEIVED, _V.ACK_RECEIVED): _S.RECEIVED,  # repeated by the network
    }
)


@dataclass(slots=True)
class _InFlight(Generic[SummaryT]):
    metadata: BatchMetadata
    outgoing: Outgoing[SummaryT] | None
    deadline_s: float | None
    state: TransferState = TransferState.SENT
    attempt: int = 0

    def move(self, event: TransferEvent, deadline_s: float | None) -> None:
        self.state = TRANSITIONS[self.state, event]
        self.deadline_s = deadline_s


@dataclass(frozen=True, slots=True)
class Transmit(Generic[SummaryT]):
    """Put this batch on the wire. `attempt` is 0 the first time."""

    outgoing: Outgoing[SummaryT]
    attempt: int


@dataclass(frozen=True, slots=True)
class Answered:
    """The other end has settled or rejected the batch; `payload.tally` says what became of its records."""

    metadata: BatchMetadata
    payload: AcknowledgmentPayload


@dataclass(frozen=True, slots=True)
class Parked:
    """Retries are exhausted: the batch is held as pending work."""

    metadata: BatchMetadata


@dataclass(frozen=True, slots=True)
class CircuitMoved:
    """The link's circuit changed its state."""

    previous: CircuitState
    new: CircuitState


SenderEvent: TypeAlias = "Transmit[SummaryT] | Answered | Parked | CircuitMoved"


class Sender(Generic[SummaryT]):
    """One hop's sending end. `now_s` is monotonic seconds; `jitter` in [0, 1) is drawn by the caller."""

    def __init__(self, limits: LinkLimits) -> None:
        self._limits = limits
        self._in_flight: dict[str, _InFlight[SummaryT]] = {}
        self._unreceived = 0
        self._gap_s = 0.0
        self._last_sent_s = float("-inf")
        self._breaker = Breaker(failure_threshold=limits.failure_threshold, reset_timeout_s=limits.reset_timeout_s)

    def __repr__(self) -> str:
        return f"<Sender {len(self._in_flight)} in flight, {self._unreceived} unreceived, {self._breaker.state}>"

    @property
    def in_flight(self) -> int:
        """Batches sent and not yet answered for good."""
        return len(self._in_flight)

    @property
    def parked(self) -> int:
        """Depth of the error queue: batches whose retries are exhausted."""
        return sum(entry.state is TransferState.PARKED for entry in self._in_flight.values())

    def may_send_at(self, now_s: float) -> float | None:
        """Return when the next batch may be sent: `now_s` for at once, None when only an answer can tell."""
        if self._unreceived >= self._limits.window_batches or self._breaker.state is not CircuitState.CLOSED:
            return None
        return max(now_s, self._last_sent_s + self._gap_s)

    def send(self, outgoing: Outgoing[SummaryT], now_s: float) -> tuple[SenderEvent[SummaryT], ...]:
        """Hand over a batch. Only when `may_send_at` allows it."""
        allowed_s = self.may_send_at(now_s)
        assert allowed_s is not None, self
        assert allowed_s <= now_s, self
        batch_id = outgoing.metadata.batch_id
        assert batch_id not in self._in_flight, batch_id
        deadline_s = now_s + self._limits.ack_timeout_s
        self._in_flight[batch_id] = _InFlight(outgoing.metadata, outgoing, deadline_s)
        self._unreceived += 1
        self._last_sent_s = now_s
        return (Transmit(outgoing, attempt=0),)

    def acknowledged(self, payload: AcknowledgmentPayload, now_s: float) -> tuple[SenderEvent[SummaryT], ...]:
        """Take an acknowledgement. One for a batch that is not in flight is late or repeated, and changes nothing."""
        entry = self._in_flight.get(payload.batch_id)
        if entry is None:
            return ()
        if entry.state is not TransferState.RECEIVED:
            self._unreceived -= 1
        entry.move(TransferEvent.ACK_RECEIVED, None)
        entry.outgoing = None
        events = self._circuit_succeeded(now_s)
        if payload.status is not AckStatus.RECEIVED:
            del self._in_flight[payload.batch_id]
            events = (*events, Answered(entry.metadata, payload))
        return events

    def signalled(self, signal: SignalType, recommended_delay_ms: int) -> None:
        """Obey back-pressure: while it is active, batches leave at least the recommended delay apart."""
        self._gap_s = recommended_delay_ms / 1000 if signal is SignalType.ACTIVATE else 0.0

    def next_deadline_s(self) -> float | None:
        """Return when `tick` must be called next, None when nothing is timed."""
        deadlines = [entry.deadline_s for entry in self._in_flight.values() if entry.deadline_s is not None]
        if self._breaker.next_attempt_s is not None:
            deadlines.append(self._breaker.next_attempt_s)
        return min(deadlines, default=None)

    def tick(self, now_s: float, jitter: float) -> tuple[SenderEvent[SummaryT], ...]:
        """Do what time demands: retransmit, park, probe."""
        events: list[SenderEvent[SummaryT]] = []
        before = self._breaker.state
        for entry in tuple(self._in_flight.values()):
            if entry.deadline_s is not None and entry.deadline_s <= now_s:
                events += self._due(entry, now_s, jitter)
        if self._breaker.tick(now_s):
            events += self._probe(now_s)
        return (*self._circuit_moved(before), *events)

    def _due(self, entry: _InFlight[SummaryT], now_s: float, jitter: float) -> tuple[SenderEvent[SummaryT], ...]:
        if entry.state is TransferState.WAITING:
            return self._transmit(entry, TransferEvent.BACKOFF_OVER, now_s)
        if entry.attempt >= self._limits.retries_max:
            entry.move(TransferEvent.RETRIES_EXHAUSTED, None)
            self._breaker.exhausted(now_s)
            return (Parked(entry.metadata),)
        entry.attempt += 1
        wait_s = delay_s(
            entry.attempt,
            base_s=self._limits.retry_delay_s,
            multiplier=self._limits.backoff_multiplier,
            jitter=jitter,
        )
        entry.move(TransferEvent.ACK_TIMEOUT, now_s + wait_s)
        return ()

    def _probe(self, now_s: float) -> tuple[SenderEvent[SummaryT], ...]:
        parked = next((e for e in self._in_flight.values() if e.state is TransferState.PARKED), None)
        return () if parked is None else self._transmit(parked, TransferEvent.PROBE, now_s)

    def _circuit_succeeded(self, now_s: float) -> tuple[SenderEvent[SummaryT], ...]:
        before = self._breaker.state
        self._breaker.succeeded()
        events = list(self._circuit_moved(before))
        if events:
            for entry in self._in_flight.values():
                if entry.state is TransferState.PARKED:
                    entry.attempt = 0
                    events += self._transmit(entry, TransferEvent.CIRCUIT_CLOSED, now_s)
        return tuple(events)

    def _transmit(
        self, entry: _InFlight[SummaryT], why: TransferEvent, now_s: float
    ) -> tuple[SenderEvent[SummaryT], ...]:
        assert entry.outgoing is not None, entry.metadata.batch_id
        entry.move(why, now_s + self._limits.ack_timeout_s)
        return (Transmit(entry.outgoing, entry.attempt),)

    def _circuit_moved(self, before: CircuitState) -> tuple[SenderEvent[SummaryT], ...]:
        return () if self._breaker.state is before else (CircuitMoved(before, self._breaker.state),)
