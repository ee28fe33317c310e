"""Drives a `Receiver` and its `Session` over a transport: checks what arrives, queues it, carries the answers back."""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, assert_never

import pyarrow as pa

from penstock.errors import Corruption, RemoteViolation
from penstock.links.inbox import Inbox
from penstock.observing.facts import FrameDropped, LinkFault
from penstock.ports import Arrived, SenderIsNew, Taken
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
    StreamingAcknowledgment,
    StreamingHandoffMessage,
)
from penstock.protocol.receiver import Acknowledge, Drop, DropReason, Halt, Hold, Queue, Receiver, Signal
from penstock.protocol.session import Session, Verdict, fresh
from penstock.protocol.versions import agree
from penstock.threads import to_its_end

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from penstock.errors import PenstockError
    from penstock.links.envelope import Envelope
    from penstock.model.position import Range
    from penstock.observing.facts import Hop
    from penstock.ports import RunContext, Transport
    from penstock.protocol.frames import Body
    from penstock.protocol.messages import (
        AcknowledgmentPayload,
        BatchMetadata,
        RecordDeliveryResult,
        Transfer,
    )
    from penstock.protocol.receiver import QueueLimits, ReceiverEvent

FRAMES_AT_ONCE = 256
"""Frames checked in one go: enough to keep a thread busy, few enough that the first ones are not held up."""
INLINE_BYTES = 64 << 10
"""Less than this is checked on the loop: handing it to a thread would cost more than the check."""
LINGER_HEARTBEATS = 5
"""Heartbeats of silence after which an end whose answers are all confirmed leaves: only a farewell was lost."""
UNCONFIRMED_HEARTBEATS = 60
"""The same where some are not: the sender may lack them, and a network can be silent for longer than a few beats."""


@dataclass(frozen=True, slots=True)
class EndLimits:
    """What a receiving end holds: its queue, and whole frames for which the queue has no place yet."""

    queue: QueueLimits
    window_batches: int
    heartbeat_s: float


@dataclass(frozen=True, slots=True)
class _Checked:
    transfer: Transfer
    digest: str
    records: pa.RecordBatch | None


def check(transfer: Transfer, schema: pa.Schema | None) -> _Checked:
    """Compute the digest of a transfer's records and decode them; a `schema` of None says that nobody expects it."""
    digest = hashlib.sha256(transfer.records).hexdigest()
    if digest != transfer.metadata.checksum or schema is None:
        return _Checked(transfer, digest, None)
    try:
        return _Checked(transfer, digest, pa.ipc.read_record_batch(pa.py_buffer(transfer.records), schema))
    except (pa.ArrowInvalid, OSError):
        return _Checked(transfer, digest, None)


class ReceivingEnd:
    """The receiving end of a hop, live.

    `schema_of` names the schema of a batch by its metadata, None for one that is not for us.
    """

    def __init__(
        self,
        hop: Hop,
        limits: EndLimits,
        transport: Transport,
        schema_of: Callable[[BatchMetadata], pa.Schema | None],
        envelope: Envelope,
        context: RunContext,
    ) -> None:
        self._hop = hop
        self._limits = limits
        self._transport = transport
        self._schema_of = schema_of
        self._envelope = envelope
        self._clock = context.clock
        self._chance = context.chance
        self._observer = context.observer
        self._session = Session(fresh(self._clock.time_s(), self._chance.fraction()))
        self._machine = Receiver(limits.queue)
        self._queue: Inbox[Arrived] = Inbox()
        self._held: dict[int, Arrived] = {}
        self._waiting: deque[_Checked] = deque()
        self._hurry = False
        self._closing = False
        self._done = asyncio.Event()
        self._linger: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<ReceivingEnd {self._hop} {self._session.state}, {self._machine}>"

    @property
    def depth(self) -> int:
        """Batches received and not yet taken."""
        return self._machine.depth

    def begin(self) -> None:
        """Begin again as another incarnation: the sender will go back, unless it has left for good."""
        self._stay()
        self._begin_beyond(self._session.me)
        if self._done.is_set():
            self._queue.close()

    async def run(self) -> None:
        """Receive until the sender leaves."""
        try:
            async with asyncio.TaskGroup() as tasks:
                listening = tasks.create_task(self._listen())
                self._greet()
                await self._done.wait()
                listening.cancel()
        finally:
            if self._linger is not None:
                self._linger.cancel()
            self._queue.close()
            self._transport.close()

    async def take(self, most: int | None = None) -> Taken:
        """Wait until there is something, and take up to `most` batches to work on."""
        self._stay()
        if not self._hurry:
            await self._queue.wait()
        arrived = self._queue.take_now(most)
        if arrived:
            streamed = [each for each in arrived if isinstance(each.transfer, StreamingHandoffMessage)]
            records = sum(each.metadata.record_count for each in streamed)
            self._perform(self._machine.taken(len(arrived) - len(streamed), records, self._clock.now_s()))
            self._admit_waiting()
            self._speak()
        is_all = not self._queue
        hurry = self._hurry and is_all
        self._hurry &= not is_all
        return Taken(arrived, hurry, closed=self._queue.closed and is_all)

    def answer(self, payloads: Sequence[AcknowledgmentPayload]) -> None:
        """Tell the other end that batches are settled or rejected."""
        now_s = self._clock.now_s()
        for payload in payloads:
            self._perform(self._machine.answered(payload, now_s))
        self._speak()

    def confirm(
        self, batch_id: str, exceptions: tuple[RecordDeliveryResult, ...], delivered: tuple[Range, ...]
    ) -> None:
        """Tell the other end what became of each record of a batch."""
        self._say(self._envelope.confirmation(batch_id, exceptions, delivered))

    def close(self) -> None:
        """Say that everything has been answered."""
        self._closing = True
        self._linger_on()

    async def finished(self) -> None:
        """Wait until the sender leaves, or has been silent for long."""
        await self._queue.interrupted(self._done)

    async def _listen(self) -> None:
        while frames := await self._transport.receive(FRAMES_AT_ONCE):
            checked = await self._check([frame.body for frame in frames])
            greet = False
            for frame, found in zip(frames, checked, strict=True):
                greet |= self._hear(frame, found)
            if greet:
                self._greet()
            self._speak()
        self._finish()

    async def _check(self, bodies: Sequence[Body]) -> list[_Checked | None]:
        transfers = [
            body
            if isinstance(body, AlphaBetaBatchTransfer | BetaGammaBatchTransfer | StreamingHandoffMessage)
            else None
            for body in bodies
        ]
        if sum(len(transfer.records) for transfer in transfers if transfer is not None) < INLINE_BYTES:
            return self._check_all(transfers)
        return await to_its_end(self._check_all, transfers)

    def _check_all(self, transfers: Sequence[Transfer | None]) -> list[_Checked | None]:
        return [
            None if transfer is None else check(transfer, self._schema_of(transfer.metadata)) for transfer in transfers
        ]

    def _hear(self, frame: Frame, checked: _Checked | None) -> bool:
        """Take a frame; return whether to greet in answer. Raises RemoteViolation for a version of no use."""
        if isinstance(frame.body, Hello):
            agree(frame.body.protocol_version)
        heard = self._session.received(frame)
        match heard.verdict:
            case Verdict.COUNTS:
                try:
                    self._handle(frame, checked)
                except RemoteViolation as error:
                    self._refuse(error)
            case Verdict.PEER_IS_NEW:
                self._forget(SenderIsNew("the sending end began again"))
            case Verdict.SUPERSEDED:
                self._begin_beyond(frame.receiver)
                self._queue.interrupt(SenderIsNew("the sending end has met a later incarnation"))
            case Verdict.MET:
                pass
            case Verdict.DROPPED:
                self._observer.saw(FrameDropped(self._hop, "of another incarnation"))
            case _:
                assert_never(heard.verdict)
        return heard.greet

    def _handle(self, frame: Frame, checked: _Checked | None) -> None:
        self._machine.confirmed(frame.settled_below)
        if self._closing:
            self._linger_on()
        match frame.body:
            case Hello():
                self._greet()  # ours was lost, or it would not ask: it repeats what we said, and we keep no timer
            case CircuitStateChange():
                pass
            case Heartbeat(flush=hurry):
                self._repeat()
                if hurry:
                    self._hurry = True
                    self._queue.wake()
            case Close(messages=messages, final=final):
                self._repeat()
                self._machine.closing(messages)
                self._say(Close(messages))
                self._close_if_complete()
                if final:
                    self._finish()
            case AlphaBetaBatchTransfer() | BetaGammaBatchTransfer() | StreamingHandoffMessage():
                assert checked is not None
                self._admit(checked)
            case (
                Acknowledgment()
                | StreamingAcknowledgment()
                | BackPressureSignal()
                | DeliveryConfirmation()
                | ErrorNotification()
            ):
                raise RemoteViolation("INT_LINK_003", "an answer came from the sending end")
            case _:
                assert_never(frame.body)

    def _refuse(self, error: RemoteViolation) -> None:
        """The other end broke the protocol: tell it, and begin again."""
        self._observer.saw(LinkFault(self._hop, error.kind.code, error.message))
        self._say(self._envelope.error(error, ActionRequired.INVESTIGATE))
        self._begin_beyond(self._session.me)
        self._queue.interrupt(SenderIsNew(error.message))

    def _repeat(self) -> None:
        self._perform(self._machine.heartbeat(self._clock.now_s(), self._limits.heartbeat_s))
        machine = self._machine
        self._say(Heartbeat(dict(machine.settled_to), machine.received_below, machine.credit_to))

    def _admit(self, checked: _Checked) -> None:
        self._perform(self._received(checked), checked)
        self._close_if_complete()

    def _received(self, checked: _Checked) -> tuple[ReceiverEvent, ...]:
        transfer = checked.transfer
        found = None if checked.records is None else checked.records.num_rows
        offset = transfer.stream_offset if isinstance(transfer, StreamingHandoffMessage) else None
        return self._machine.received(transfer.metadata, checked.digest, found, offset)

    def _admit_waiting(self) -> None:
        try:
            for _ in range(len(self._waiting)):
                self._admit(self._waiting.popleft())
        except RemoteViolation as error:
            self._refuse(error)

    def _wait_for_room(self, checked: _Checked) -> None:
        """Keep a frame until the queue has a place: as many as the sender may have under way, and no more."""
        if len(self._waiting) < self._limits.window_batches:
            self._waiting.append(checked)
        else:
            self._observer.saw(FrameDropped(self._hop, DropReason.QUEUE_FULL))

    def _perform(self, events: Iterable[ReceiverEvent], checked: _Checked | None = None) -> None:
        for event in events:
            match event:
                case Hold():
                    assert checked is not None
                    assert checked.records is not None
                    metadata = event.metadata
                    self._held[metadata.sequence_number] = Arrived(
                        metadata, checked.records, checked.transfer, self._clock.now_s()
                    )
                case Queue():
                    self._queue.put(self._held.pop(event.metadata.sequence_number))
                case Acknowledge():
                    self._say(self._envelope.acknowledgment(event.payload))
                case Signal():
                    self._say(self._envelope.signal(event))
                case Drop(reason=DropReason.QUEUE_FULL):
                    assert checked is not None
                    self._wait_for_room(checked)
                case Drop():
                    self._observer.saw(FrameDropped(self._hop, event.reason))
                case Halt():
                    self._halt(event.metadata)
                case _:
                    assert_never(event)

    def _halt(self, metadata: BatchMetadata) -> None:
        what = f"batch {metadata.range} of {metadata.partition} keeps coming with other records than it says"
        error = Corruption("INT_LINK_002", what)
        self._fault(error)
        self._say(self._envelope.error(error, ActionRequired.HALT, metadata.batch_id))

    def _fault(self, error: PenstockError) -> None:
        self._observer.saw(LinkFault(self._hop, error.kind.code, error.message))

    def _close_if_complete(self) -> None:
        if self._machine.is_complete:
            self._queue.close()

    def _forget(self, why: Exception | None) -> None:
        """Let go of all that came and is not answered. Where nothing has come there is nothing to tell the stage."""
        had_come = self._machine.messages_seen
        self._machine = Receiver(self._limits.queue)
        self._held.clear()
        self._waiting.clear()
        self._hurry = False
        if why is None:
            self._queue.reset()
        elif had_come:
            self._queue.interrupt(why)

    def _begin_beyond(self, beyond: int) -> None:
        self._session.begin_again(fresh(self._clock.time_s(), self._chance.fraction(), beyond=beyond))
        self._forget(None)
        self._greet()

    def _greet(self) -> None:
        machine = self._machine
        self._say(Hello(dict(machine.settled_to), machine.credit_to))

    def _speak(self) -> None:
        answer = self._machine.streaming_answer()
        if answer is not None:
            self._say(self._envelope.streaming_acknowledgment(answer))

    def _say(self, body: Body) -> None:
        session = self._session
        self._transport.send(Frame(session.me, session.peer, self._machine.settled_below, body))

    def _linger_on(self) -> None:
        """Stay as long as the sender is heard: it may have missed an answer."""
        if self._linger is not None:
            self._linger.cancel()
        loop = asyncio.get_running_loop()
        heartbeats = UNCONFIRMED_HEARTBEATS if self._machine.kept else LINGER_HEARTBEATS
        self._linger = loop.call_at(loop.time() + heartbeats * self._limits.heartbeat_s, self._leave)

    def _stay(self) -> None:
        """Whoever takes, or begins again, has not closed, whatever was said before."""
        self._closing = False
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None

    def _leave(self) -> None:
        """Finish, unless it was we who slept: then there may be something to hear."""
        assert self._linger is not None
        if asyncio.get_running_loop().time() - self._linger.when() > self._limits.heartbeat_s:
            self._linger_on()
        else:
            self._finish()

    def _finish(self) -> None:
        self._done.set()
        self._queue.wake()
