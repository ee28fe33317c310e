"""Time as the ledger writes it: ISO 8601, UTC, microseconds. Text order is time order."""

from __future__ import annotations

from datetime import UTC, datetime


def timestamp(time_s: float) -> str:
    """Write seconds since 1970-01-01 UTC down."""
    return datetime.fromtimestamp(time_s, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def moment(text: str) -> datetime:
    """Read what `timestamp` wrote."""
    return datetime.fromisoformat(text)
