"""Both ends in one process: frames pass by reference, in order, without loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from penstock.links.inbox import Inbox

if TYPE_CHECKING:
    from penstock.observing.facts import Hop
    from penstock.ports import Transport
    from penstock.protocol.frames import Frame


class Connect(Protocol):
    """What makes the transport of a hop."""

    def __call__(self, hop: Hop, source: str) -> tuple[Transport, Transport]:
        """Return the sending module's end and the receiving module's, for the records of one source table."""


class MemoryTransport:
    """One end of a pair; what is sent here is received there."""

    def __init__(self, outbox: Inbox[Frame], inbox: Inbox[Frame]) -> None:
        self._outbox = outbox
        self._inbox = inbox

    def send(self, frame: Frame) -> None:
        """Put a frame on the way; one to an end that has been told of the close is lost, as on any network."""
        self._outbox.put(frame)

    async def receive(self, most: int) -> list[Frame]:
        """Wait for frames; return one to `most` of them, or none when the other end has closed."""
        return await self._inbox.take(most)

    def close(self) -> None:
        """Tell the other end that nothing more will come."""
        self._outbox.close()


def memory_pair() -> tuple[MemoryTransport, MemoryTransport]:
    """Return two connected ends."""
    there: Inbox[Frame] = Inbox()
    back: Inbox[Frame] = Inbox()
    return MemoryTransport(there, back), MemoryTransport(back, there)


def connect_in_memory(hop: Hop, source: str) -> tuple[Transport, Transport]:  # noqa: ARG001 - memory is everywhere
    """Connect the two ends of a hop in this process."""
    return memory_pair()
