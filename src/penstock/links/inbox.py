"""A queue within one event loop that gives all it has at once: work is done on whatever has arrived."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Inbox(Generic[T]):
    """Items in order. Not bounded by itself: whoever puts is bounded by the protocol's limits."""

    def __init__(self) -> None:
        self._items: deque[T] = deque()
        self._changed = asyncio.Event()
        self._error: Exception | None = None
        self.closed = False

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: T) -> None:
        """Add an item. After `close` it is dropped."""
        if not self.closed:
            self._items.append(item)
            self._changed.set()

    def close(self) -> None:
        """Say that nothing more will come."""
        self.closed = True
        self._changed.set()

    def interrupt(self, error: Exception) -> None:
        """Drop what is there, and let the next `take` raise `error`; then it goes on, also where it was closed."""
        self._items.clear()
        self.closed = False
        self._error = error
        self._changed.set()

    def reset(self) -> None:
        """Drop what is there, an error that nobody has met, and the close."""
        self._items.clear()
        self.closed = False
        self._error = None

    def wake(self) -> None:
        """Let whoever waits look again, though nothing has come."""
        self._changed.set()

    async def take(self, most: int | None = None) -> list[T]:
        """Wait for items and return up to `most` of them; none when the inbox is closed and empty."""
        while not (found := self.take_now(most)) and not self.closed:
            self._changed.clear()
            await self._changed.wait()
        return found

    async def interrupted(self, over: asyncio.Event) -> None:
        """Wait until `over` is set, of which `wake` must tell; raises what `interrupt` says before that."""
        while not over.is_set():
            self.take_now(0)
            self._changed.clear()
            await self._changed.wait()

    async def wait(self) -> None:
        """Wait until something happens: an item, an error, the close, or a `wake`."""
        if not (self._items or self._error or self.closed):
            self._changed.clear()
            await self._changed.wait()

    def take_now(self, most: int | None = None) -> list[T]:
        """Return up to `most` items of those that are there. Raises what `interrupt` said."""
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        count = len(self._items) if most is None else min(most, len(self._items))
        return [self._items.popleft() for _ in range(count)]
