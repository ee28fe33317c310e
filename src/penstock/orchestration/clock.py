"""The machine's clock."""

from __future__ import annotations

import time


class SystemClock:
    """Monotonic and wall time of this machine."""

    def now_s(self) -> float:
        """Return monotonic seconds."""
        return time.monotonic()

    def time_s(self) -> float:
        """Return seconds since 1970-01-01 UTC."""
        return time.time()
