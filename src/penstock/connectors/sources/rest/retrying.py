"""Whether a request that failed may be sent again, and when. Pure: what happened is given, time and chance are too."""

from __future__ import annotations

from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

NEVER_WORKED_ON = frozenset({408, 425, 429})
"""Statuses that say that nothing was done: RFC 9110 15.5.9, RFC 8470 5.2, RFC 6585 4."""
SERVER_ERRORS = range(500, 600)
CEILING_S = 60.0
"""No wait of our own choosing is longer; what a server asks for may be."""
NOT_FOR_US = frozenset({501, 505, 511})
"""Server errors that trying again does not mend."""


class Lost(Enum):
    """Ways to have no answer."""

    NEVER_SENT = "no connection"
    NO_ANSWER = "no whole answer"


def may_repeat(failure: Lost | int, *, idempotent: bool) -> bool:
    """Tell whether a request that ended in `failure`, a status where it is a number, may be sent once more.

    One that is not idempotent may not, unless the server surely has not worked on it.
    """
    if failure is Lost.NEVER_SENT or failure in NEVER_WORKED_ON:
        return True
    if failure is Lost.NO_ANSWER:
        return idempotent
    return idempotent and failure in SERVER_ERRORS and failure not in NOT_FOR_US


def backoff_s(attempt: int, *, base_s: float, jitter: float) -> float:
    """Return the wait before try `attempt` + 1 (1-based), doubled each time; `jitter` in [0, 1) shortens it by half."""
    return float(min(CEILING_S, base_s * 2.0 ** min(attempt - 1, 32)) * (1.0 - jitter / 2))


def retry_after_s(headers: Mapping[str, str], time_s: float) -> float | None:
    """Return the seconds that `Retry-After` (RFC 9110 10.2.3) asks for; None where it says nothing we understand.

    A date is compared with the server's own `Date`, where it tells it: its clock need not be ours.
    """
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    at_s = date_s(text)
    if at_s is None:
        return None
    now_s = date_s(headers.get("date", ""))
    return max(0.0, at_s - (time_s if now_s is None else now_s))


def date_s(text: str) -> float | None:
    """Return an HTTP date (RFC 9110 5.6.7) in seconds since 1970, None where it is none."""
    try:
        found = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
