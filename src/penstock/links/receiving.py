"""Drives a `Receiver` over a transport: checks what arrives, queues it, carries the answers back."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, assert_never

import pyarrow as pa

from penstock.links.inbox import Inbox
from penstock.observing.facts import FrameDropped
from penstock.ports import Arrived
from penstock.protocol.receiver import Acknowledge, Drop, Hold, Queue, Receiver, Signal
from penstock.threads import to_its_end

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from penstock.links.envelope import Envelope
    from penstock.model.position import Range
    from penstock.observing.facts import Hop
    from penstock.ports import RunContext, Transport
    from penstock.protocol.messages import (
        AcknowledgmentPayload,
        BatchMetadata,
        RecordDeliveryResult,
        Reply,
        Transfer,
    )
    from penstock.protocol.receiver import QueueLimits, ReceiverEvent

INLINE_BYTES = 64 << 10
"""Less than this is checked on the loop: handing it to a thread would cost more than the check."""


@dataclass(frozen=True, slots=True)
class _Checked:
    transfer: Transfer
    digest: str
    records: pa.RecordBatch | None


def check(transfer: Transfer, schema: pa.Schema) -> _Checked:
    """Compute the digest of a transfer's records and decode them."""
    digest = hashlib.sha256(transfer.records).hexdigest()
    if digest != transfer.metadata.checksum:
        return _Checked(transfer, digest, None)
    try:
        return _Checked(transfer, digest, pa.ipc.read_record_batch(pa.py_buffer(transfer.records), schema))
    except (pa.ArrowInvalid, OSError):
        return _Checked(transfer, digest, None)


class ReceivingEnd:
    """The receiving end of a hop, live. `schema_of` names the schema of a batch by its metadata."""

    def __init__(
        self,
        hop: Hop,
        limits: QueueLimits,
        transport: Transport[Reply, Transfer],
        schema_of: Callable[[BatchMetadata], pa.Schema],
        envelope: Envelope,
        context: RunContext,
    ) -> None:
        self._hop = hop
        self._machine = Receiver(limits)
        self._transport = transport
        self._schema_of = schema_of
        self._envelope = envelope
        self._clock = context.clock
        self._observer = context.observer
        self._room = asyncio.Event()
        self._queue: Inbox[Arrived] = Inbox()
        self._held: dict[str, Arrived] = {}

    @property
    def depth(self) -> int:
        """Batches waiting to be worked on."""
        return self._machine.depth

    async def run(self) -> None:
        """Receive until the other end closes."""
        try:
            while transfers := await self._transport.receive(await self._wait_for_room()):
                for checked in await self._check(transfers):
                    self._admit(checked)
        finally:
            self._queue.close()

    async def take(self, most: int | None = None) -> list[Arrived]:
        """Wait for batches and take up to `most` of them to work on; none when no more will come."""
        arrived = await self._queue.take(most)
        self._perform(self._machine.taken(len(arrived), self._clock.now_s()))
        self._room.set()
        return arrived

    def answer(self, payloads: Sequence[AcknowledgmentPayload]) -> None:
        """Tell the other end that batches are settled or rejected."""
        for payload in payloads:
            self._perform(self._machine.answered(payload))

    def confirm(
        self, batch_id: str, exceptions: tuple[RecordDeliveryResult, ...], delivered: tuple[Range, ...]
    ) -> None:
        """Tell the other end what became of each record of a batch."""
        self._transport.send(self._envelope.confirmation(batch_id, exceptions, delivered))

    def close(self) -> None:
        """Say that no more answers will come."""
        self._transport.close()

    async def _wait_for_room(self) -> int:
        while self._machine.room <= 0:
            self._room.clear()
            await self._room.wait()
        return self._machine.room

    async def _check(self, transfers: Sequence[Transfer]) -> list[_Checked]:
        if sum(len(transfer.records) for transfer in transfers) < INLINE_BYTES:
            return self._check_all(transfers)
        return await to_its_end(self._check_all, transfers)

    def _check_all(self, transfers: Sequence[Transfer]) -> list[_Checked]:
        return [check(transfer, self._schema_of(transfer.metadata)) for transfer in transfers]

    def _admit(self, checked: _Checked) -> None:
        found = None if checked.records is None else checked.records.num_rows
        self._perform(self._machine.received(checked.transfer.metadata, checked.digest, found), checked)

    def _perform(self, events: Iterable[ReceiverEvent], checked: _Checked | None = None) -> None:
        for event in events:
            match event:
                case Hold():
                    assert checked is not None
                    assert checked.records is not None
                    self._held[event.metadata.batch_id] = Arrived(event.metadata, checked.records, checked.transfer)
                case Queue():
                    self._queue.put(self._held.pop(event.metadata.batch_id))
                case Acknowledge():
                    self._transport.send(self._envelope.acknowledgment(event.payload))
                case Signal():
                    self._transport.send(self._envelope.signal(event))
                case Drop():
                    self._observer.saw(FrameDropped(self._hop, event.reason))
                case _:
                    assert_never(event)
