"""Follows a table by asking for what is new, again and again."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from penstock.model.position import Position
    from penstock.ports import Chunk


class Polled:
    """Implements ports.Following by reading to the end, and again from there after `poll_s`."""

    ended = False

    def __init__(
        self,
        read: Callable[[str, Position | None], Iterator[Chunk]],
        partition: str,
        position: Position | None,
        poll_s: float,
    ) -> None:
        self._read = read
        self._partition = partition
        self._position = position
        self._poll_s = poll_s
        self._chunks: Iterator[Chunk] | None = None
        self._due_s = time.monotonic()

    def next(self, wait_s: float) -> Chunk | None:
        """See ports.Following."""
        until_s = time.monotonic() + wait_s
        while True:
            left_s = self._due_s - time.monotonic()
            if self._chunks is None and left_s > 0:
                time.sleep(max(0.0, min(left_s, until_s - time.monotonic())))
                if time.monotonic() >= until_s:
                    return None
                continue
            chunk = self._next()
            if chunk is not None:
                return chunk

    def _next(self) -> Chunk | None:
        """Return what is next of what there is; at its end, say when to ask again."""
        if self._chunks is None:
            self._chunks = self._read(self._partition, self._position)
        chunk = next(self._chunks, None)
        if chunk is None:
            self._chunks = None
            self._due_s = time.monotonic() + self._poll_s
        else:
            self._position = chunk.next
        return chunk

    def close(self) -> None:
        """Drop what is being read."""
        chunks, self._chunks = self._chunks, None
        if chunks is not None:
            chunks.close()  # type: ignore[attr-defined] # a generator, whose connection is to be closed now
