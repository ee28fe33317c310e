"""Fresh UUIDs of version 4 (RFC 9562), drawn from the operating system a few hundred at a time.

One system call for each would give the interpreter's lock away each time, thousands of times a second.
"""

from __future__ import annotations

import os
from collections import deque

DRAWN_AT_ONCE = 256
_BYTES = 16
_DIGITS = 2 * _BYTES
_VARIANTS = "89ab"

_drawn: deque[str] = deque()  # appending and popping are atomic: safe from any thread


def new_id() -> str:
    """Return a fresh UUID v4 as text."""
    while True:
        try:
            digits = _drawn.popleft()
        except IndexError:
            chance = os.urandom(_BYTES * DRAWN_AT_ONCE).hex()
            _drawn.extend(chance[start : start + _DIGITS] for start in range(0, len(chance), _DIGITS))
        else:
            variant = _VARIANTS[int(digits[16], 16) & 3]
            return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


def _forget() -> None:
    """A forked child must not give out the ids of its parent."""
    _drawn.clear()


os.register_at_fork(after_in_child=_forget)
