"""Both ends in one process: messages pass by reference, in order, without loss."""

from __future__ import annotations

from typing import Generic, TypeVar

from penstock.links.inbox import Inbox

SentT = TypeVar("SentT")
ReceivedT = TypeVar("ReceivedT")


class MemoryTransport(Generic[SentT, ReceivedT]):
    """One end of a pair; what is sent here is received there."""

    def __init__(self, outbox: Inbox[SentT], inbox: Inbox[ReceivedT]) -> None:
        self._outbox = outbox
        self._inbox = inbox

    def send(self, message: SentT) -> None:
        """Put a message on the way; one to an end that has been told of the close is lost, as on any network."""
        self._outbox.put(message)

    async def receive(self, most: int) -> list[ReceivedT]:
        """Wait for messages; return one to `most` of them, or none when the other end has closed."""
        return await self._inbox.take(most)

    def close(self) -> None:
        """Tell the other end that nothing more will come."""
        self._outbox.close()


def memory_pair() -> tuple[MemoryTransport[SentT, ReceivedT], MemoryTransport[ReceivedT, SentT]]:
    """Return two connected ends."""
    there: Inbox[SentT] = Inbox()
    back: Inbox[ReceivedT] = Inbox()
    return MemoryTransport(there, back), MemoryTransport(back, there)
