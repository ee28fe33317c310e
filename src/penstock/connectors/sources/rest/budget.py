"""How many requests an API has had lately, kept on the disk before each of them, so that no restart forgets any.

The file is a ring of the last `rate.requests` requests. A request may go out when the one that many before it has been
over for a whole window. A request counts from when its answer had come, at which time the server had surely seen it,
to when the next one is sent, which the server cannot have seen yet: so the rate holds as the server sees it, whatever
the network does to either. A request that never came to an end, because its process died, counts as of the next start.

Layout, little-endian: requests in the ring (u64), requests ever made (u64), earliest time of the next one (f64), a
spare word, then the ring: for each request the time when it was over (f64, seconds since 1970), or minus the time when
it was sent while it is under way.
"""

from __future__ import annotations

import fcntl
import os
import struct
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from penstock.errors import Unavailable
from penstock.ledger.folder import make_file, make_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from penstock.connectors.sources.rest.options import Rate

_HEADER = struct.Struct("<QQdd")
_TIME = struct.Struct("<d")
UNANSWERED_S = 1.0
"""How much later than we gave up a server may still come to see a request that it had not answered."""
DURABLE_WINDOW_S = 10.0
"""A power cut takes longer than windows shorter than this, so they need no fsync."""
UNDER_WAY_S = 0.05
"""How soon to look again where the request that must be over first is still under way in another thread."""
_EPOCH_S = time.time() - time.monotonic()


def steady_time_s() -> float:
    """Return seconds since 1970 that do not jump while this process lives, whoever sets the clock."""
    return _EPOCH_S + time.monotonic()


class Budget:
    """The requests to one API. Several may share the file, in threads or processes. Methods raise Unavailable."""

    def __init__(self, path: Path, rate: Rate | None, time_s: Callable[[], float] = steady_time_s) -> None:
        """Open the file at `path`, made where it is missing. Without a `rate` only what the server asks for counts."""
        self._path = path
        self._requests = rate.requests if rate else 1
        self._window_s = rate.window_s if rate else 0.0
        self._unanswered_s = UNANSWERED_S if rate else 0.0
        self._time_s = time_s
        with self._locked() as file:
            self._adopt(file)

    def take(self) -> float | int:
        """Take the next turn and return its number (int); or, as a float, the seconds after which to ask again.

        Once this has returned a number the request counts, and `over` must be called with it whatever becomes of it.
        """
        with self._locked() as file:
            _, made, earliest_s, _ = self._header(file)
            now_s = self._time_s()
            slot_s = self._slot(file, made)
            if slot_s < 0:
                return UNDER_WAY_S
            ready_s = slot_s + self._window_s if slot_s else 0.0
            ready_s = max(
                min(ready_s, now_s + self._window_s), earliest_s
            )  # a clock set back must not stop us for ever
            if ready_s > now_s:
                return ready_s - now_s
            self._set_slot(file, made, -now_s)
            self._set_header(file, made + 1, 0.0)
            self._sync(file)
            return made

    def over(self, turn: int, *, answered: bool) -> None:
        """Say that the request of a turn is over, and whether the server has answered."""
        with self._locked() as file:
            if self._header(file)[1] - turn <= self._requests:
                self._set_slot(file, turn, self._time_s() + (0.0 if answered else self._unanswered_s))

    def hold(self, seconds: float) -> None:
        """Ask for nothing for so long, in this life or the next."""
        with self._locked() as file:
            _, made, earliest_s, _ = self._header(file)
            self._set_header(file, made, max(earliest_s, self._time_s() + seconds))
            self._sync(file)

    def _adopt(self, file: int) -> None:
        """Take over what earlier lives left, at another rate perhaps. What they had under way counts as of now."""
        late_s = self._time_s() + self._unanswered_s
        left = os.fstat(file).st_size - _HEADER.size
        capacity, made, earliest_s, _ = self._header(file) if left >= 0 else (0, 0, 0.0, 0.0)
        if capacity == self._requests and left == capacity * _TIME.size:
            for place in range(min(capacity, made)):
                if self._read_time(file, place) < 0:
                    self._set_slot(file, place, late_s)
        else:
            whole = min(capacity, max(0, left) // _TIME.size)
            turns = (turn for turn in range(max(0, made - capacity), made) if turn % capacity < whole)
            times = [self._read_time(file, turn % capacity) for turn in turns][-self._requests :]
            ring = [time_s if time_s > 0 else late_s for time_s in times]
            ring += [0.0] * (self._requests - len(times))
            os.pwrite(file, b"".join(map(_TIME.pack, ring)), _HEADER.size)
            os.ftruncate(file, _HEADER.size + len(ring) * _TIME.size)
            os.pwrite(file, _HEADER.pack(self._requests, len(times), earliest_s, 0.0), 0)
        os.fsync(file)

    def _header(self, file: int) -> tuple[int, int, float, float]:
        found: tuple[int, int, float, float] = _HEADER.unpack(os.pread(file, _HEADER.size, 0))
        return found

    def _set_header(self, file: int, made: int, earliest_s: float) -> None:
        os.pwrite(file, _HEADER.pack(self._requests, made, earliest_s, 0.0), 0)

    def _slot(self, file: int, turn: int) -> float:
        return self._read_time(file, turn % self._requests)

    def _read_time(self, file: int, place: int) -> float:
        (found,) = _TIME.unpack(os.pread(file, _TIME.size, _HEADER.size + place * _TIME.size))
        return float(found)

    def _set_slot(self, file: int, turn: int, time_s: float) -> None:
        os.pwrite(file, _TIME.pack(time_s), _HEADER.size + turn % self._requests * _TIME.size)

    def _sync(self, file: int) -> None:
        if self._window_s >= DURABLE_WINDOW_S:
            os.fdatasync(file)

    @contextmanager
    def _locked(self) -> Iterator[int]:
        try:
            make_folder(self._path.parent)
            make_file(self._path)
            file = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(file, fcntl.LOCK_EX)
                yield file
            finally:
                os.close(file)
        except OSError as error:
            raise Unavailable("INT_ALPHA_017", f"{self._path}: {error.strerror or error}") from error
