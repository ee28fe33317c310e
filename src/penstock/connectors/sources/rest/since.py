"""The incremental key: the newest value seen, and how the API is asked for what came after it.

A value is an instant (ISO 8601; without an offset, in UTC), a number, or text that sorts as it stands. Which of them a
field holds is told by its values: all of them must be of one kind to count as it.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable

    from penstock.connectors.sources.rest.options import Access

EPOCH_UNITS = {"epoch": Decimal(1), "epoch_ms": Decimal(1000)}
"""Formats in which an instant is a number, and how much of it a second is."""
Value: TypeAlias = datetime | Decimal | str


def newest(values: Iterable[str], before: str | None, began_s: float) -> str | None:
    """Return the greatest of `values` and `before`, as written; None where there is none.

    An instant after `began_s`, when the pass began, counts as that: one wrong clock at the source must not make us
    pass by everything that comes until then.
    """
    written = sorted({*values, *([before] if before is not None else [])})
    if not written:
        return None
    read = _read_all(written)
    newest_one, text = max(zip(read, written, strict=True))
    began = datetime.fromtimestamp(began_s, UTC)
    if isinstance(newest_one, datetime) and newest_one > began:
        return began.isoformat()
    return text


def lower_bound(access: Access, since: str | None, began_s: float) -> str | None:
    """Return the value of the parameter that asks for what is new; None where all is to be asked for.

    `since` is the newest value of the last pass; where there was none, the window of the first load counts from
    `began_s`.
    """
    options = access.options
    if not options.incremental_key or not options.since_parameter:
        return None
    if since is None:
        if access.initial_s is None:
            return None
        first = datetime.fromtimestamp(max(0.0, began_s - access.initial_s), UTC)
        return _instant(first.replace(microsecond=0), options.since_format)
    value = _read_all([since])[0]
    if isinstance(value, datetime):
        return _instant(_earlier(value, access.look_back_s), options.since_format)
    if isinstance(value, Decimal) and options.since_format in EPOCH_UNITS:
        return f"{value - Decimal(str(access.look_back_s)) * EPOCH_UNITS[options.since_format]:f}"
    return since


def _read_all(texts: list[str]) -> list[datetime] | list[Decimal] | list[str]:
    """Read texts as instants if all of them are, else as numbers if all of them are, else as they are."""
    try:
        return [_number(text) for text in texts]
    except (InvalidOperation, ValueError):
        pass
    try:
        return [_as_instant(text) for text in texts]
    except ValueError:
        return texts


def _number(text: str) -> Decimal:
    number = Decimal(text.strip())
    if not number.is_finite():
        raise ValueError(text)
    return number


def _as_instant(text: str) -> datetime:
    found = datetime.fromisoformat(text.strip())
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)


def _earlier(instant: datetime, seconds: float) -> datetime:
    try:
        return instant - timedelta(seconds=seconds)
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC)


def _instant(value: datetime, written_as: str) -> str:
    if written_as == "date":
        return value.date().isoformat()
    if written_as in EPOCH_UNITS:
        seconds = Decimal(str(value.timestamp()))
        return f"{(seconds * EPOCH_UNITS[written_as]).to_integral_value(rounding='ROUND_FLOOR'):f}"
    return value.isoformat().replace("+00:00", "Z")
