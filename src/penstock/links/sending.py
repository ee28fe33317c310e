"""Drives a `Sender` over a transport: one timer, one reader of replies."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Generic, TypeVar, assert_never

from penstock.links.inbox import Inbox
from penstock.observing.facts import BackPressure, BatchAnswered, BatchParked, BatchTransmitted, CircuitChanged
from penstock.protocol.messages import (
    Acknowledgment,
    BackPressureSignal,
    DeliveryConfirmation,
    SignalType,
)
from penstock.protocol.sender import Answered, CircuitMoved, Parked, Sender, Transmit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from penstock.observing.facts import Hop
    from penstock.ports import RunContext, Transport
    from penstock.protocol.messages import Reply, Transfer
    from penstock.protocol.sender import LinkLimits, Outgoing, SenderEvent

SummaryT = TypeVar("SummaryT")
REPLIES_AT_ONCE = 1_024
"""Replies handled before the loop turns to others."""


class SendingEnd(Generic[SummaryT]):
    """The sending end of a hop, live. `answers` yields each batch once it is settled or rejected at the other end."""

    def __init__(
        self,
        hop: Hop,
        limits: LinkLimits,
        transport: Transport[Transfer, Reply],
        wrap: Callable[[Outgoing[SummaryT]], Transfer],
        context: RunContext,
    ) -> None:
        self._hop = hop
        self._machine: Sender[SummaryT] = Sender(limits)
        self._transport = transport
        self._wrap = wrap
        self._clock = context.clock
        self._observer = context.observer
        self._chance = random.Random()  # noqa: S311 - spreads retries, guards nothing
        self._ack_timeout_s = limits.ack_timeout_s
        self._timer: asyncio.TimerHandle | None = None
        self._wakes_at_s = float("inf")
        self._moved = asyncio.Event()
        self.answers: Inbox[Answered] = Inbox()

    async def send(self, outgoing: Outgoing[SummaryT]) -> None:
        """Hand a batch over as soon as window, circuit and back-pressure allow it."""
        while True:
            now_s = self._clock.now_s()
            at_s = self._machine.may_send_at(now_s)
            if at_s is not None and at_s <= now_s:
                break
            await self._wait(None if at_s is None else at_s - now_s)
        self._perform(self._machine.send(outgoing, now_s))

    async def run(self) -> None:
        """Handle replies until the other end closes."""
        try:
            while replies := await self._transport.receive(REPLIES_AT_ONCE):
                now_s = self._clock.now_s()
                for reply in replies:
                    self._handle(reply, now_s)
                self._moved.set()
        finally:
            self._disarm()
            self.answers.close()

    def close(self) -> None:
        """Tell the other end that no more batches will come. Answers still arrive."""
        self._transport.close()

    async def _wait(self, at_most_s: float | None) -> None:
        self._moved.clear()
        try:
            async with asyncio.timeout(at_most_s):
                await self._moved.wait()
        except TimeoutError:
            return

    def _handle(self, reply: Reply, now_s: float) -> None:
        match reply:
            case Acknowledgment():
                self._perform(self._machine.acknowledged(reply.payload, now_s))
            case BackPressureSignal():
                self._machine.signalled(reply.signal_type, reply.recommended_delay_ms)
                active = reply.signal_type is SignalType.ACTIVATE
                self._observer.saw(
                    BackPressure(self._hop, active, reply.current_queue_depth, reply.recommended_delay_ms)
                )
            case DeliveryConfirmation():
                pass  # the PROCESSED acknowledgement carries the tally; per-record results are for whoever listens
            case _:
                assert_never(reply)

    def _perform(self, events: Iterable[SenderEvent[SummaryT]]) -> None:
        for event in events:
            match event:
                case Transmit():
                    self._transport.send(self._wrap(event.outgoing))
                    self._arm(self._clock.now_s() + self._ack_timeout_s)
                    records = event.outgoing.metadata.record_count
                    self._observer.saw(BatchTransmitted(self._hop, records, event.attempt))
                case Answered():
                    self._observer.saw(BatchAnswered(self._hop, event.metadata.record_count))
                    self.answers.put(event)
                case Parked():
                    self._observer.saw(BatchParked(self._hop))
                case CircuitMoved():
                    self._observer.saw(CircuitChanged(self._hop, event.previous, event.new))
                case _:
                    assert_never(event)

    def _arm(self, at_s: float | None) -> None:
        """Wake at `at_s`, unless something else wakes us before."""
        if at_s is None or at_s >= self._wakes_at_s:
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
        self._perform(self._machine.tick(self._clock.now_s(), self._chance.random()))
        self._moved.set()
        self._arm(self._machine.next_deadline_s())
