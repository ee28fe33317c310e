"""How large a micro-batch may be: as large as allowed, unless the receiver is found to be slow."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.model.position import Position, Range
from penstock.protocol.breaker import Breaker
from penstock.protocol.messages import BatchMetadata
from penstock.protocol.pacing import SMOOTHING, Pace
from penstock.protocol.sender import LinkLimits, Outgoing, Sender

BUDGET_S = 0.1
MOST = 1000


@pytest.fixture
def pace() -> Pace:
    return Pace(BUDGET_S, MOST)


def test_a_receiver_that_was_never_waited_for_gets_the_most(pace: Pace) -> None:
    assert pace.size == MOST
    pace.granted(10, 1.0)
    pace.granted(10, 2.0)
    assert pace.size == MOST


def test_while_something_waits_grants_tell_how_fast_the_receiver_works(pace: Pace) -> None:
    pace.wanting(10.0)
    pace.granted(500, 11.0)
    assert pace.records_per_s == 500.0
    assert pace.size == 50


def test_it_is_measured_from_when_something_began_to_wait(pace: Pace) -> None:
    pace.wanting(10.0)
    pace.wanting(10.9)
    pace.granted(500, 11.0)
    assert pace.records_per_s == 500.0


def test_each_grant_is_measured_from_the_one_before_it(pace: Pace) -> None:
    pace.wanting(0.0)
    pace.granted(100, 1.0)
    pace.granted(200, 2.0)
    assert pace.records_per_s == pytest.approx(100 + SMOOTHING * 100)


def test_however_slow_the_receiver_one_record_at_least_is_sent(pace: Pace) -> None:
    pace.wanting(0.0)
    pace.granted(1, 3_600.0)
    assert pace.size == 1


def test_two_grants_at_one_time_measure_nothing(pace: Pace) -> None:
    pace.wanting(1.0)
    pace.granted(5, 1.0)
    assert pace.records_per_s is None


def test_the_time_in_which_nothing_waited_does_not_count(pace: Pace) -> None:
    """An hour in which the source was silent says nothing about the receiver."""
    pace.wanting(0.0)
    pace.granted(1_000, 1.0)
    pace.let_go(0)
    pace.wanting(3_600.0)
    pace.granted(1_000, 3_601.0)
    assert pace.records_per_s == 1_000.0


def test_once_there_is_credit_to_spare_it_gets_the_most_again(pace: Pace) -> None:
    pace.wanting(0.0)
    pace.granted(10, 1.0)
    pace.let_go(MOST - 1)
    assert pace.size == 1
    pace.let_go(MOST)
    assert pace.size == MOST


@given(grants=st.lists(st.tuples(st.integers(1, 10**6), st.floats(1e-9, 1e6)), max_size=20))
def test_whatever_is_measured_the_size_lies_within_its_limits(grants: list[tuple[int, float]]) -> None:
    pace = Pace(BUDGET_S, MOST)
    now_s = 0.0
    for records, seconds in grants:
        pace.wanting(now_s)
        now_s += seconds
        pace.granted(records, now_s)
        assert 1 <= pace.size <= MOST


def message(number: int, start: int, records: int) -> Outgoing[None]:
    metadata = BatchMetadata(
        f"b{number}",
        number,
        records,
        "",
        datetime(2026, 1, 1, tzinfo=UTC),
        "p",
        Range(start, start + records),
        Position("p", 0, ""),
    )
    return Outgoing(metadata, memoryview(b""), None, streaming=True)


@pytest.mark.parametrize("records_per_s", [200, 2_000, 7_000])
def test_a_sender_that_always_has_more_comes_to_send_what_the_receiver_does_within_its_budget(
    records_per_s: int,
) -> None:
    limits = LinkLimits(30.0, 1.0, 5, 2.0, 64, streaming_records=MOST, streaming_budget_s=BUDGET_S)
    sender: Sender[None] = Sender(limits, Breaker(failure_threshold=5, reset_timeout_s=60.0))
    credit, sizes = 3_000, []
    sender.confirmed(0, credit, 0.0)
    for turn in range(200):
        now_s = turn * 0.05
        while sender.may_send_at(now_s, size := sender.pace.size, streaming=True) is not None:
            sender.send(message(sender.messages, sender.streamed, size), now_s)
            sizes.append(size)
        sender.confirmed(sender.messages, credit + int(now_s * records_per_s), now_s + 0.05)
    wanted = records_per_s * BUDGET_S
    assert sizes[0] == MOST
    assert all(wanted / 2 <= size <= wanted * 2 for size in sizes[-5:]), sizes[-5:]
