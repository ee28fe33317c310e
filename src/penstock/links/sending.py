"""Drives a `Sender` and its `Session` over a transport: one timer, one reader of replies."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar, assert_never

from penstock.errors import Corruption, PenstockError, RemoteViolation, Unavailable
from penstock.links.inbox import Inbox
from penstock.observing.facts import (
    BackPressure,
    BatchAnswered,
    BatchParked,
    BatchTransmitted,
    CircuitChanged,
    FrameDropped,
    Hop,
    LatencyStage,
    LinkFault,
    LinkSilent,
    Timed,
)
from penstock.ports import ReceiverIsNew
from penstock.protocol.breaker import Breaker
from penstock.protocol.frames import Close, Frame, Heartbeat, Hello
from penstock.protocol.messages import (
    Acknowledgment,
    ActionRequired,
    AlphaBetaBatchTransfer,
    BackPressureSignal,
    BetaGammaBatchTransfer,
    CircuitStateChange,
    DeliveryConfirmation,
    ErrorNotification,
    SignalType,
    StreamingAcknowledgment,
    StreamingHandoffMessage,
)
from penstock.protocol.sender import (
    Answered,
    Arrival,
    Beat,
    CircuitMoved,
    Parked,
    Sender,
    Silence,
    Transmit,
)
from penstock.protocol.session import Session, Verdict, fresh
from penstock.protocol.versions import agree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from penstock.links.envelope import Envelope
    from penstock.ports import RunContext, Transport
    from penstock.protocol.frames import Body
    from penstock.protocol.messages import BatchMetadata, Transfer
    from penstock.protocol.sender import LinkLimits, Outgoing, SenderEvent

SummaryT = TypeVar("SummaryT")
FRAMES_AT_ONCE = 1_024
"""Frames handled before the loop turns to others."""


@dataclass(frozen=True, slots=True)
class CircuitLimits:
    """When a link's circuit opens, and for how long."""

    failure_threshold: int
    reset_timeout_s: float


class SendingEnd(Generic[SummaryT]):
    """The sending end of a hop, live. `source` names the table whose records it carries."""

    def __init__(
        self,
        hop: Hop,
        source: str,
        limits: tuple[LinkLimits, CircuitLimits],
        transport: Transport,
        wrap: tuple[Envelope, Callable[[Transmit[SummaryT]], Transfer]],
        context: RunContext,
    ) -> None:
        self._hop = hop
        self._source = source
        self._limits, circuit = limits
        self._transport = transport
        self._envelope, self._wrap = wrap
        self._clock = context.clock
        self._chance = context.chance
        self._observer = context.observer
        self._breaker = Breaker(failure_threshold=circuit.failure_threshold, reset_timeout_s=circuit.reset_timeout_s)
        self._session = Session(self._fresh())
        self._machine = self._new_machine()
        self._begun = False
        self._beyond = 0
        self._broken: Exception | None = None
        self._closing = False
        self._close_is_known = False
        self._hurrying = False
        self._done = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._wakes_at_s = float("inf")
        self._moved = asyncio.Event()
        self._answers: Inbox[Answered] = Inbox()

    def __repr__(self) -> str:
        return f"<SendingEnd {self._hop} {self._session.state}, {self._machine}>"

    @property
    def micro_batch_records(self) -> int:
        """How many records a streamed message may hold now."""
        return self._machine.pace.size

    def begin(self) -> None:
        """Begin, or begin again as another incarnation."""
        if self._begun:
            self._session.begin_again(self._fresh(beyond=max(self._session.me, self._beyond)))
            self._machine = self._new_machine()
        self._begun = True
        self._broken = None
        self._closing = self._close_is_known = self._hurrying = False
        self._answers.reset()
        self._greet()

    async def send(self, outgoing: Outgoing[SummaryT]) -> None:
        """Hand a batch over as soon as session, window, credit, circuit and back-pressure allow it."""
        records, streaming = outgoing.metadata.record_count, outgoing.streaming
        starved = hurried = False
        while True:
            if self._broken is not None:
                raise self._broken
            now_s = self._clock.now_s()
            at_s = self._machine.may_send_at(now_s, records, streaming=streaming) if self._session.is_open else None
            if at_s is not None and at_s <= now_s:
                break
            if self._machine.is_full and not hurried:
                hurried = True
                self.hurry()  # or we would wait for what lingers there to be joined by what we may not send
            if streaming and not starved:
                starved = True
                self._observer.saw(BackPressure(self._hop, active=True, depth=records, recommended_delay_ms=0))
            await self._wait(None if at_s is None else at_s - now_s)
        if starved:
            self._observer.saw(BackPressure(self._hop, active=False, depth=records, recommended_delay_ms=0))
        self._perform(self._machine.send(outgoing, now_s))

    async def answered(self) -> Sequence[Answered]:
        """Wait for batches that are settled or rejected."""
        return await self._answers.take()

    def hurry(self) -> None:
        """Tell the receiver that we wait for what we have sent."""
        self._hurrying = True
        self._show()

    def close(self) -> None:
        """Say that no more batches will come. Answers still arrive."""
        self._closing = True
        self._show()

    def finish(self) -> None:
        """Leave: everything is answered, and nothing will begin again."""
        if self._broken is None:
            self._say(Close(self._machine.messages, final=True))
        self._done.set()

    async def run(self) -> None:
        """Handle replies until `finish`.

        Raises Unavailable (INT_LINK_011) where the other end closes before that.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                listening = tasks.create_task(self._listen())
                self._tick()
                await self._done.wait()
                listening.cancel()
        finally:
            self._disarm()
            self._answers.close()
            self._transport.close()

    async def _listen(self) -> None:
        while frames := await self._transport.receive(FRAMES_AT_ONCE):
            now_s = self._clock.now_s()
            greet, was_open = False, self._session.is_open
            for frame in frames:
                greet |= self._hear(frame, now_s)
            if greet:
                self._greet()
            if self._session.is_open and not was_open and (self._closing or self._hurrying):
                self._show()  # it was said to nobody
            self._moved.set()
            self._close_answers()
        if not self._is_all_answered:  # else there is nothing left that it could say
            raise Unavailable("INT_LINK_011", f"{self._source}: the receiving end of {self._hop} closed")

    def _hear(self, frame: Frame, now_s: float) -> bool:
        """Take a frame; return whether to greet in answer. Raises RemoteViolation for a version of no use."""
        if isinstance(frame.body, Hello):
            agree(frame.body.protocol_version)
        heard = self._session.received(frame)
        match heard.verdict:
            case Verdict.COUNTS if self._broken is None:
                try:
                    self._handle(frame.body, now_s)
                except RemoteViolation as error:
                    self._fault(error)
                    self._perform(self._machine.violated(now_s))
                    self._break(ReceiverIsNew(error.message))
            case Verdict.PEER_IS_NEW:
                self._break(ReceiverIsNew("the receiving end began again"))
            case Verdict.SUPERSEDED:
                self._beyond = max(self._beyond, frame.receiver)
                self._break(ReceiverIsNew("the receiving end has met a later incarnation"))
            case Verdict.MET:
                pass
            case Verdict.DROPPED | Verdict.COUNTS:
                self._observer.saw(FrameDropped(self._hop, "of another incarnation"))
            case _:
                assert_never(heard.verdict)
        return heard.greet

    def _handle(self, body: Body, now_s: float) -> None:
        machine = self._machine
        machine.heard(now_s)
        match body:
            case Hello():
                self._perform(machine.confirmed(0, body.credit_to, now_s))
            case Heartbeat():
                self._perform(machine.confirmed(body.received_below, body.credit_to, now_s))
            case Acknowledgment():
                self._perform(machine.acknowledged(body.payload, now_s))
            case StreamingAcknowledgment():
                self._perform(machine.streamed_to(body.received_below, body.credit_to, body.settled, now_s))
            case BackPressureSignal():
                machine.signalled(body.signal_type, body.recommended_delay_ms)
                active = body.signal_type is SignalType.ACTIVATE
                self._observer.saw(BackPressure(self._hop, active, body.current_queue_depth, body.recommended_delay_ms))
            case ErrorNotification():
                self._told_of_errors(body)
            case Close():
                self._close_is_known = body.messages == machine.messages
            case DeliveryConfirmation() | CircuitStateChange():
                pass  # the final acknowledgement carries what settles; these are for whoever listens
            case AlphaBetaBatchTransfer() | BetaGammaBatchTransfer() | StreamingHandoffMessage():
                raise RemoteViolation("INT_LINK_003", "a batch came from the receiving end")
            case _:
                assert_never(body)

    def _told_of_errors(self, notification: ErrorNotification) -> None:
        for error in notification.errors:
            self._observer.saw(LinkFault(self._hop, error.error_code, error.error_message))
        if notification.action_required is ActionRequired.INVESTIGATE:
            self._perform(self._machine.violated(self._clock.now_s()))
        if notification.action_required is ActionRequired.HALT:
            what = "; ".join(error.error_message for error in notification.errors)
            self._break(Corruption("INT_LINK_002", f"{self._source}: {what}"))

    def _perform(self, events: Iterable[SenderEvent[SummaryT]]) -> None:
        for event in events:
            match event:
                case Transmit():
                    self._say(self._wrap(event))
                    self._arm(self._clock.now_s() + self._limits.ack_timeout_s)
                    records = event.outgoing.metadata.record_count
                    if event.attempt:
                        self._late("INT_LINK_004", event.outgoing.metadata)
                    self._observer.saw(BatchTransmitted(self._hop, records, event.attempt, event.outgoing.streaming))
                case Arrival():
                    self._timed(LatencyStage.HAND_OFF, event.seconds, event.metadata.record_count)
                case Answered():
                    self._timed(LatencyStage.ACKNOWLEDGEMENT, event.seconds, event.metadata.record_count)
                    self._hurrying = False
                    self._observer.saw(BatchAnswered(self._hop, event.metadata.record_count))
                    self._answers.put(event)
                case Parked():
                    self._late("INT_LINK_001", event.metadata)
                    self._observer.saw(BatchParked(self._hop))
                case CircuitMoved():
                    self._say(self._envelope.circuit_change(f"{self._source}/{self._hop}", event))
                    self._observer.saw(CircuitChanged(self._hop, event.previous, event.new))
                case Beat():
                    self._show()
                case Silence():
                    self._observer.saw(LinkSilent(self._hop, event.seconds))
                case _:
                    assert_never(event)

    def _show(self) -> None:
        """Say that we are here, and what of us may have been lost."""
        if self._broken is not None or not self._session.is_open:
            self._greet()
        elif self._closing:
            self._say(Close(self._machine.messages))
        else:
            self._say(Heartbeat(flush=self._hurrying))

    def _timed(self, stage: LatencyStage, seconds: float, records: int) -> None:
        if self._hop is Hop.ALPHA_BETA:
            self._observer.saw(Timed(self._source, stage, seconds, records))

    def _late(self, code: str, metadata: BatchMetadata) -> None:
        what = f"batch {metadata.range} of {self._source}/{metadata.partition} is not known to have been received"
        self._observer.saw(LinkFault(self._hop, code, what))

    def _fault(self, error: PenstockError) -> None:
        self._observer.saw(LinkFault(self._hop, error.kind.code, error.message))

    def _greet(self) -> None:
        self._say(Hello())

    def _say(self, body: Body) -> None:
        session = self._session
        answered_below = 0 if self._broken is not None else self._machine.answered_below
        self._transport.send(Frame(session.me, session.peer, answered_below, body))

    def _break(self, why: Exception) -> None:
        """Stop here: the stage has to begin again, or to give up."""
        self._broken = why
        self._answers.interrupt(why)
        self._moved.set()

    @property
    def _is_all_answered(self) -> bool:
        return self._closing and self._close_is_known and self._broken is None and not self._machine.in_flight

    def _close_answers(self) -> None:
        if self._is_all_answered:
            self._answers.close()

    def _fresh(self, beyond: int = 0) -> int:
        return fresh(self._clock.time_s(), self._chance.fraction(), beyond=beyond)

    def _new_machine(self) -> Sender[SummaryT]:
        return Sender(self._limits, self._breaker, self._clock.now_s())

    async def _wait(self, at_most_s: float | None) -> None:
        self._moved.clear()
        try:
            async with asyncio.timeout(at_most_s):
                await self._moved.wait()
        except TimeoutError:
            return

    def _arm(self, at_s: float) -> None:
        """Wake at `at_s`, unless something else wakes us before."""
        if at_s >= self._wakes_at_s:
            return
        self._disarm()
        self._wakes_at_s = at_s
        wait_s = max(0.0, at_s - self._clock.now_s())
        self._timer = asyncio.get_running_loop().call_later(wait_s, self._tick)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._wakes_at_s = float("inf")

    def _tick(self) -> None:
        self._disarm()
        if self._broken is None:
            self._perform(self._machine.tick(self._clock.now_s(), self._chance.fraction()))
        else:
            self._greet()
        self._moved.set()
        at_s = self._clock.now_s() + self._limits.heartbeat_s if self._broken else self._machine.next_deadline_s()
        self._arm(at_s)
