"""Quantities as documents write them, read into values: "100 rows/second", "< 1 minute delay", "3 years".

Each value prints back as the shortest text that reads as itself: `parse_x(str(value)) == value`.
"""

from __future__ import annotations

import re
from datetime import time
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class NotAQuantity(ValueError):
    """The text does not read as the quantity that is wanted. `str()` says what would."""


class Unit(StrEnum):
    """A unit of time. Months and years are calendar units; `SECONDS` gives their mean length."""

    MILLISECOND = "millisecond"
    SECOND = "second"
    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    QUARTER = "quarter"
    YEAR = "year"


SECONDS: Mapping[Unit, float] = MappingProxyType(
    {
        Unit.MILLISECOND: 0.001,
        Unit.SECOND: 1.0,
        Unit.MINUTE: 60.0,
        Unit.HOUR: 3_600.0,
        Unit.DAY: 86_400.0,
        Unit.WEEK: 604_800.0,
        Unit.MONTH: 2_629_746.0,  # a year / 12
        Unit.QUARTER: 7_889_238.0,
        Unit.YEAR: 31_556_952.0,  # 365.2425 days, the Gregorian mean
    }
)

_UNIT_NAMES: Mapping[str, Unit] = MappingProxyType(
    {unit.value: unit for unit in Unit}
    | {unit.value + "s": unit for unit in Unit}
    | {
        "ms": Unit.MILLISECOND, "msec": Unit.MILLISECOND,
        "s": Unit.SECOND, "sec": Unit.SECOND, "secs": Unit.SECOND, "min": Unit.MINUTE, "mins": Unit.MINUTE,
        "h": Unit.HOUR, "hr": Unit.HOUR, "hrs": Unit.HOUR, "d": Unit.DAY,
        "hourly": Unit.HOUR, "daily": Unit.DAY, "weekly": Unit.WEEK, "monthly": Unit.MONTH,
        "quarterly": Unit.QUARTER, "yearly": Unit.YEAR, "annually": Unit.YEAR,
    }
)  # fmt: skip


class Rate(msgspec.Struct, frozen=True, tag="rate"):
    """`count` things per `per`: "100 rows/second"."""

    count: Decimal
    things: str
    per: Unit

    @property
    def per_s(self) -> float:
        """The rate in things per second."""
        return float(self.count) / SECONDS[self.per]

    def __str__(self) -> str:
        return f"{self.count} {self.things}/{self.per}"


class Period(msgspec.Struct, frozen=True, tag="period"):
    """A length of time: "3 years", "last 90 days"."""

    count: Decimal
    unit: Unit

    @property
    def seconds(self) -> float:
        """The length in seconds; months and years by their mean."""
        return float(self.count) * SECONDS[self.unit]

    def __str__(self) -> str:
        return f"{self.count} {self.unit}{'' if self.count == 1 else 's'}"


class Delay(msgspec.Struct, frozen=True, tag="delay"):
    """How late a result may be: "< 1 minute delay". `strict` tells < from <=."""

    limit: Period
    strict: bool

    def allows(self, seconds: float) -> bool:
        """Tell whether a result may be so late."""
        return seconds < self.limit.seconds or (not self.strict and seconds == self.limit.seconds)

    def __str__(self) -> str:
        return f"{'<' if self.strict else '<='} {self.limit} delay"


class Every(msgspec.Struct, frozen=True, tag="every"):
    """How often: "every 15 minutes", "once daily"."""

    period: Period

    def __str__(self) -> str:
        return f"every {self.period}"


class Continuous(msgspec.Struct, frozen=True, tag="continuous"):
    """All the time: "continuous"."""

    def __str__(self) -> str:
        return "continuous"


class Deadline(msgspec.Struct, frozen=True, tag="deadline"):
    """A time of day by which something is there: "available by 06:00 UTC"."""

    at: time
    zone: str

    def __str__(self) -> str:
        return f"available by {self.at:%H:%M} {self.zone}"


class Share(msgspec.Struct, frozen=True, tag="share"):
    """A share of all, in [0, 1]: "1%"."""

    share: Decimal

    def __str__(self) -> str:
        return f"{(self.share * 100).normalize():f}%"


class Amount(msgspec.Struct, frozen=True, tag="amount"):
    """A number of things: 50000."""

    count: int

    def __str__(self) -> str:
        return str(self.count)


Quantity: TypeAlias = Rate | Period | Delay | Every | Continuous | Deadline | Share | Amount

_NUMBER = r"(?P<count>\d[\d_,]*(?:\.\d+)?)"
_RATE = re.compile(rf"{_NUMBER}\s*(?P<things>[a-z]+)?\s*(?:/|per)\s*(?P<unit>[a-z]+)", re.IGNORECASE)
_PERIOD = re.compile(rf"(?:(?:the\s+)?last\s+)?{_NUMBER}?\s*(?P<unit>[a-z]+)", re.IGNORECASE)
_DELAY = re.compile(
    r"(?P<sign><=|<|≤|under|within|at most)\s*(?P<period>.+?)(?:\s+(?:delay|latency|behind))?", re.IGNORECASE
)
_EVERY = re.compile(r"(?:every|each)\s+(?P<period>.+)", re.IGNORECASE)
_DAILY = re.compile(r"(?:once\s+)?(?:(?:a|per|every)\s+)?(?P<unit>[a-z]+)", re.IGNORECASE)
_DEADLINE = re.compile(r"(?:available\s+)?by\s+(?P<hour>\d{1,2}):(?P<minute>\d{2})\s+(?P<zone>[\w/+-]+)", re.IGNORECASE)
_SHARE = re.compile(r"(?P<count>\d+(?:\.\d+)?)\s*%")
_CALENDAR = ("secondly", "hourly", "daily", "weekly", "monthly", "quarterly", "yearly", "annually")


def parse_rate(text: str) -> Rate:
    """Read "100 rows/second" or "100 requests per minute"."""
    match = _RATE.fullmatch(text.strip())
    unit = _UNIT_NAMES.get(match["unit"].lower()) if match else None
    if match is None or unit is None:
        raise NotAQuantity(f"`{text}` is not a rate such as `100 rows/second`")
    return Rate(_number(match["count"]), (match["things"] or "rows").lower(), unit)


def parse_period(text: str) -> Period:
    """Read "3 years", "90 days", "last 90 days"."""
    match = _PERIOD.fullmatch(text.strip())
    unit = _UNIT_NAMES.get(match["unit"].lower()) if match else None
    if match is None or unit is None or match["unit"].lower() in _CALENDAR:
        raise NotAQuantity(f"`{text}` is not a length of time such as `3 years`")
    return Period(_number(match["count"] or "1"), unit)


def parse_delay(text: str) -> Delay:
    """Read "< 1 minute delay" or "within 5 seconds"."""
    match = _DELAY.fullmatch(text.strip())
    if match is None:
        raise NotAQuantity(f"`{text}` is not a delay such as `< 1 minute delay`")
    return Delay(parse_period(match["period"]), strict=match["sign"].lower() in {"<", "under"})


def parse_deadline(text: str) -> Deadline:
    """Read "available by 06:00 UTC". The zone is a name of the IANA time zone database."""
    match = _DEADLINE.fullmatch(text.strip())
    if match is None:
        raise NotAQuantity(f"`{text}` is not a deadline such as `available by 06:00 UTC`")
    try:
        at, zone = time(int(match["hour"]), int(match["minute"])), ZoneInfo(match["zone"]).key
    except ValueError as error:
        raise NotAQuantity(f"`{text}`: {error}") from None
    except ZoneInfoNotFoundError:
        raise NotAQuantity(f"`{text}`: no time zone is called `{match['zone']}`") from None
    return Deadline(at, zone)


def parse_latency(text: str) -> Delay | Deadline:
    """Read a delay or a deadline."""
    return _first(text, "a latency such as `< 1 minute delay` or `available by 06:00 UTC`", parse_delay, parse_deadline)


def parse_frequency(text: str) -> Every | Continuous:
    """Read "every 15 minutes", "once daily", "hourly", "continuous"."""
    stripped = text.strip().lower()
    if stripped in {"continuous", "continuously", "real-time", "realtime"}:
        return Continuous()
    if match := _EVERY.fullmatch(stripped):
        return Every(parse_period(match["period"]))
    match = _DAILY.fullmatch(stripped)
    unit = _UNIT_NAMES.get(match["unit"]) if match else None
    if unit is None:
        raise NotAQuantity(f"`{text}` is not a frequency such as `every 15 minutes`, `once daily` or `continuous`")
    return Every(Period(Decimal(1), unit))


def parse_limit(text: str | int) -> Share | Amount:
    """Read a count (100) or a share ("1%")."""
    if isinstance(text, int):
        if text < 0:
            raise NotAQuantity(f"`{text}` is less than none")
        return Amount(text)
    if match := _SHARE.fullmatch(text.strip()):
        share = Decimal(match["count"]) / 100
        if share > 1:
            raise NotAQuantity(f"`{text}` is more than all")
        return Share(share)
    if text.strip().isdecimal():
        return Amount(int(text))
    raise NotAQuantity(f"`{text}` is not a count such as `100` or a share such as `1%`")


def _number(text: str) -> Decimal:
    return Decimal(text.replace(",", "").replace("_", ""))


def _first(text: str, wanted: str, *readers: Callable[[str], Delay | Deadline]) -> Delay | Deadline:
    reasons = []
    for reader in readers:
        try:
            return reader(text)
        except NotAQuantity as reason:
            reasons.append(str(reason))
    detail = next((reason for reason in reasons if ": " in reason), f"`{text}` is not {wanted}")
    raise NotAQuantity(detail)
