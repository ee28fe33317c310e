"""Quantities as documents write them."""

from __future__ import annotations

from datetime import time
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.model.quantity import (
    Amount,
    Continuous,
    Deadline,
    Delay,
    Every,
    NotAQuantity,
    Period,
    Quantity,
    Rate,
    Share,
    Unit,
    parse_deadline,
    parse_delay,
    parse_frequency,
    parse_latency,
    parse_limit,
    parse_period,
    parse_rate,
)

if TYPE_CHECKING:
    from collections.abc import Callable


def period(count: str, unit: Unit) -> Period:
    return Period(Decimal(count), unit)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("100 rows/second", Rate(Decimal(100), "rows", Unit.SECOND)),
        ("1,500 events per minute", Rate(Decimal(1500), "events", Unit.MINUTE)),
        ("10_000 Rows / hour", Rate(Decimal(10_000), "rows", Unit.HOUR)),
        ("0.5/s", Rate(Decimal("0.5"), "rows", Unit.SECOND)),
        ("  3 requests/sec  ", Rate(Decimal(3), "requests", Unit.SECOND)),
    ],
)
def test_rates(text: str, expected: Rate) -> None:
    assert parse_rate(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3 years", period("3", Unit.YEAR)),
        ("last 90 days", period("90", Unit.DAY)),
        ("the last hour", period("1", Unit.HOUR)),
        ("1.5 h", period("1.5", Unit.HOUR)),
        ("2 quarters", period("2", Unit.QUARTER)),
        ("250 ms", period("250", Unit.MILLISECOND)),
    ],
)
def test_periods(text: str, expected: Period) -> None:
    assert parse_period(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("< 1 minute delay", Delay(period("1", Unit.MINUTE), strict=True)),
        ("<= 5 seconds", Delay(period("5", Unit.SECOND), strict=False)),
        ("≤ 5 s behind", Delay(period("5", Unit.SECOND), strict=False)),
        ("< 250 milliseconds delay", Delay(period("250", Unit.MILLISECOND), strict=True)),
        ("within 2 hours", Delay(period("2", Unit.HOUR), strict=False)),
        ("under a day", None),
        ("at most 1 day latency", Delay(period("1", Unit.DAY), strict=False)),
        ("by 06:00 UTC", Deadline(time(6), "UTC")),
        ("available by 6:30 Europe/Berlin", Deadline(time(6, 30), "Europe/Berlin")),
    ],
)
def test_latencies(text: str, expected: Delay | Deadline | None) -> None:
    if expected is None:
        with pytest.raises(NotAQuantity):
            parse_latency(text)
    else:
        assert parse_latency(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("every 15 minutes", Every(period("15", Unit.MINUTE))),
        ("every hour", Every(period("1", Unit.HOUR))),
        ("once daily", Every(period("1", Unit.DAY))),
        ("once a week", Every(period("1", Unit.WEEK))),
        ("Hourly", Every(period("1", Unit.HOUR))),
        ("continuous", Continuous()),
        ("real-time", Continuous()),
    ],
)
def test_frequencies(text: str, expected: Every | Continuous) -> None:
    assert parse_frequency(text) == expected


@pytest.mark.parametrize(
    ("given_", "expected"),
    [("1%", Share(Decimal("0.01"))), ("0.25 %", Share(Decimal("0.0025"))), ("100", Amount(100)), (0, Amount(0))],
)
def test_limits(given_: str | int, expected: Share | Amount) -> None:
    assert parse_limit(given_) == expected


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (parse_rate, "fast"),
        (parse_rate, "100 rows/fortnight"),
        (parse_rate, "-1 rows/s"),
        (parse_rate, "100"),
        (parse_period, "3"),
        (parse_period, "hourly"),
        (parse_period, ""),
        (parse_delay, "1 minute"),
        (parse_deadline, "by 06:00"),
        (parse_deadline, "by 24:00 UTC"),
        (parse_deadline, "by 06:60 UTC"),
        (parse_deadline, "by 06:00 Europe/Atlantis"),
        (parse_deadline, "by 06:00 /etc/passwd"),
        (parse_deadline, "by 06:00 America"),
        (parse_frequency, "now and then"),
        (parse_frequency, "15 minutes"),
        (parse_limit, "101%"),
        (parse_limit, "-1"),
        (parse_limit, -1),
        (parse_limit, "few"),
    ],
)
def test_what_is_not_a_quantity_is_said_to_be_none_and_quoted(parse: Callable[[Any], Quantity], text: object) -> None:
    with pytest.raises(NotAQuantity) as caught:
        parse(text)
    assert f"`{text}`" in str(caught.value)


def test_a_latency_with_a_wrong_zone_is_told_about_the_zone() -> None:
    with pytest.raises(NotAQuantity, match="no time zone is called `Europe/Atlantis`"):
        parse_latency("available by 06:00 Europe/Atlantis")


def test_lengths_of_time_in_seconds() -> None:
    assert period("1.5", Unit.MINUTE).seconds == 90.0
    assert period("4", Unit.QUARTER).seconds == period("12", Unit.MONTH).seconds == period("1", Unit.YEAR).seconds
    assert parse_rate("120 rows/minute").per_s == 2.0


@pytest.mark.parametrize(
    ("text", "seconds", "allowed"),
    [
        ("< 1 minute", 59.9, True),
        ("< 1 minute", 60.0, False),
        ("<= 1 minute", 60.0, True),
        ("<= 1 minute", 60.1, False),
        ("< 250 ms", 0.2, True),
    ],
)
def test_a_delay_tells_what_it_allows(text: str, seconds: float, *, allowed: bool) -> None:
    assert parse_delay(text).allows(seconds) is allowed


numbers = st.decimals(0, 10**12, places=3).map(
    lambda number: number.normalize() if number % 1 else number.to_integral()
)
periods = st.builds(Period, numbers, st.sampled_from(Unit))


@given(value=st.builds(Rate, numbers, st.from_regex("[a-z]+", fullmatch=True), st.sampled_from(Unit)))
def test_a_rate_prints_as_it_reads(value: Rate) -> None:
    assert parse_rate(str(value)) == value


@given(value=periods)
def test_a_period_prints_as_it_reads(value: Period) -> None:
    assert parse_period(str(value)) == value


@given(value=st.builds(Delay, periods, st.booleans()))
def test_a_delay_prints_as_it_reads(value: Delay) -> None:
    assert parse_latency(str(value)) == value


@given(value=st.builds(Every, periods) | st.just(Continuous()))
def test_a_frequency_prints_as_it_reads(value: Every | Continuous) -> None:
    assert parse_frequency(str(value)) == value


@given(hour=st.integers(0, 23), minute=st.integers(0, 59), zone=st.sampled_from(["UTC", "Asia/Kolkata", "Etc/GMT+3"]))
def test_a_deadline_prints_as_it_reads(hour: int, minute: int, zone: str) -> None:
    value = Deadline(time(hour, minute), zone)
    assert parse_latency(str(value)) == value


@given(value=st.builds(Share, st.decimals(0, 1, places=6)) | st.builds(Amount, st.integers(0, 10**15)))
def test_a_limit_prints_as_it_reads(value: Share | Amount) -> None:
    assert parse_limit(str(value)) == value


@given(value=periods | st.builds(Delay, periods, st.booleans()) | st.builds(Amount, st.integers(0, 10**9)))
def test_quantities_are_told_apart_when_they_are_read_from_a_plan(value: Quantity) -> None:
    assert msgspec.json.decode(msgspec.json.encode(value), type=Quantity) == value


@given(text=st.text(max_size=40))
def test_no_text_is_more_than_not_a_quantity(text: str) -> None:
    for parse in (parse_rate, parse_period, parse_latency, parse_frequency, parse_limit):
        try:
            parse(text)
        except NotAQuantity:
            continue
