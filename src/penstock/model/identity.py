"""Fresh UUIDs of version 4 (RFC 9562), drawn from the operating system a few hundred at a time.

One system call for each would give the interpreter's lock away each time, thousands of times a second.
"""

from __future__ import annotations

import os
from collections import deque
from uuid import UUID

DRAWN_AT_ONCE = 256
_BYTES = 16

_drawn: deque[bytes] = deque()  # appending and popping are atomic: safe from any thread


def new_id() -> str:
    """Return a fresh UUID v4 as text."""
    while True:
        try:
            return str(UUID(bytes=_drawn.popleft(), version=4))
        except IndexError:
            chance = os.urandom(_BYTES * DRAWN_AT_ONCE)
            _drawn.extend(chance[start : start + _BYTES] for start in range(0, len(chance), _BYTES))


def _forget() -> None:
    """A forked child must not give out the ids of its parent."""
    _drawn.clear()


os.register_at_fork(after_in_child=_forget)
