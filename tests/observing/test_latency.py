"""Histograms of how long things took."""

from __future__ import annotations

import math
import sys
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.observing.latency import CEILING_S, FLOOR_S, PARTS, Histogram, Latency, shown

seconds = st.floats(FLOOR_S, CEILING_S, exclude_max=True)
SHARES = (0.0, 0.001, 0.5, 0.9, 0.95, 0.99, 1.0)


def histogram_of(*values: float) -> Histogram:
    found = Histogram()
    for value in values:
        found.add(value)
    return found


def exact_s(values: list[float], share: float) -> float:
    """Return the smallest value that at least `share` of all values do not exceed."""
    return sorted(values)[max(1, math.ceil(share * len(values))) - 1]


@given(values=st.lists(seconds, min_size=1, max_size=50), share=st.sampled_from(SHARES))
def test_a_quantile_is_never_too_low_and_at_most_a_sixty_fourth_too_high(values: list[float], share: float) -> None:
    found, exact = histogram_of(*values).quantile_s(share), exact_s(values, share)
    assert exact <= found <= exact * (1 + 1 / PARTS)


@pytest.mark.parametrize("exponent", range(-17, 17))
def test_the_borders_of_an_octave_are_held_as_well_as_what_lies_between(exponent: int) -> None:
    border = 2.0**exponent
    for value in (border, math.nextafter(border, 0), math.nextafter(border, math.inf), 1.5 * border):
        found = histogram_of(value, CEILING_S).quantile_s(0.5)
        assert value <= found <= max(FLOOR_S, value * (1 + 1 / PARTS))


@pytest.mark.parametrize("share", SHARES)
def test_many_values_are_as_exact_as_few(share: float) -> None:
    chance = Random(7)
    values = [chance.lognormvariate(-4, 2) for _ in range(20_000)]
    exact = exact_s(values, share)
    assert exact <= histogram_of(*values).quantile_s(share) <= exact * (1 + 1 / PARTS)


def test_the_largest_value_is_exact_and_no_quantile_exceeds_it() -> None:
    found = histogram_of(0.1, 0.2, 0.3337)
    assert found.latency() == Latency(3, found.quantile_s(0.5), 0.3337, 0.3337, 0.3337)


def test_one_value_is_every_quantile_exactly() -> None:
    assert histogram_of(1.234).latency() == Latency(1, 1.234, 1.234, 1.234, 1.234)


def test_of_nothing_everything_is_zero() -> None:
    assert Histogram().latency() == Latency(0, 0.0, 0.0, 0.0, 0.0)


@given(values=st.lists(st.tuples(seconds, st.integers(1, 9)), max_size=20))
def test_a_weight_is_as_many_values(values: list[tuple[float, int]]) -> None:
    weighted = Histogram()
    for value, records in values:
        weighted.add(value, records)
    assert weighted.latency() == histogram_of(*(v for v, records in values for _ in range(records))).latency()


@given(one=st.lists(seconds, max_size=20), other=st.lists(seconds, max_size=20))
def test_two_merged_are_one_of_both(one: list[float], other: list[float]) -> None:
    merged = histogram_of(*one)
    merged.merge(histogram_of(*other))
    assert merged.latency() == histogram_of(*one, *other).latency()


@pytest.mark.parametrize("value", [0.0, -1.0, 1e-9, FLOOR_S, math.nan, -math.inf])
def test_what_is_too_short_to_tell_is_counted_all_the_same(value: float) -> None:
    found = histogram_of(value)
    assert found.records == 1
    assert 0.0 <= found.quantile_s(0.99) <= FLOOR_S


@pytest.mark.parametrize("value", [CEILING_S, 1e9, math.inf])
def test_what_takes_longer_than_anyone_waits_is_the_largest_value(value: float) -> None:
    assert histogram_of(1.0, value).quantile_s(0.99) == value


def test_its_size_does_not_depend_on_what_it_holds() -> None:
    found = Histogram()
    before = sys.getsizeof(found._buckets)  # there is no other way to ask for it
    chance = Random(3)
    for _ in range(10_000):
        found.add(chance.expovariate(0.01), chance.randrange(1_000_000))
    assert sys.getsizeof(found._buckets) == before < 20_000


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.0, "0.00 ms"),
        (0.000_25, "0.25 ms"),
        (0.012_34, "12.3 ms"),
        (0.123_4, "123 ms"),
        (0.999_9, "1,000 ms"),
        (1.0, "1.00 s"),
        (59.99, "60.0 s"),
        (4_000.0, "4,000 s"),
    ],
)
def test_a_duration_is_shown_to_about_three_digits(value: float, words: str) -> None:
    assert shown(value) == words


def test_a_histogram_says_how_much_it_holds() -> None:
    assert repr(histogram_of(0.5, 0.25)) == "<Histogram 2 records, longest 500 ms>"
