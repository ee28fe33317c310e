"""How long to wait before trying again."""

from __future__ import annotations

CEILING_S = 300.0
"""No wait is longer: after five minutes a person would rather see a try than a longer wait."""


def delay_s(attempt: int, *, base_s: float, multiplier: float, jitter: float, ceiling_s: float = CEILING_S) -> float:
    """Wait before retransmission `attempt` (1-based); `jitter` in [0, 1) is drawn by the caller and shortens it."""
    exponent = min(attempt - 1, 64)  # beyond that the ceiling has long been reached, and floats overflow
    return min(ceiling_s, base_s * multiplier**exponent) * (1.0 - jitter / 2)
