"""Never faster than the document says, as the server sees it, and never before it says that we may."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.servers.rest import RestServer
from tests.servers.rest.reading import Reader, ids

from penstock.connectors.sources.rest.budget import UNANSWERED_S, UNDER_WAY_S, Budget
from penstock.connectors.sources.rest.options import Rate
from penstock.connectors.sources.rest.retrying import CEILING_S, Lost, backoff_s, may_repeat, retry_after_s
from penstock.connectors.sources.rest.since import newest
from penstock.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Clock:
    """Time as a test says it."""

    def __init__(self) -> None:
        self.now_s = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="module")
def running() -> Iterator[RestServer]:
    with RestServer(records=500, page_size=10) as server:
        yield server


@pytest.fixture
def server(running: RestServer) -> RestServer:
    running.reset()
    return running


def turn(budget: Budget) -> int:
    found = budget.take()
    assert isinstance(found, int), found
    return found


# --- the budget ---------------------------------------------------------------------------------------------------


def test_a_request_goes_out_a_window_after_the_end_of_the_one_so_many_before_it(tmp_path: Path, clock: Clock) -> None:
    budget = Budget(tmp_path / "state" / "budget", Rate(2, 60.0), clock)
    first = turn(budget)
    clock.now_s += 5  # an answer may take its time: the server saw the request somewhen in it
    budget.over(first, answered=True)
    budget.over(turn(budget), answered=True)
    assert budget.take() == 60.0
    clock.now_s += 59.5
    assert budget.take() == 0.5
    clock.now_s += 0.5
    budget.over(turn(budget), answered=True)


def test_a_restart_forgets_no_request_not_even_one_under_way(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "budget"
    budget = Budget(path, Rate(2, 60.0), clock)
    budget.over(turn(budget), answered=True)
    turn(budget)  # and now it is killed
    clock.now_s += 10
    another = Budget(path, Rate(2, 60.0), clock)
    assert another.take() == 50.0
    clock.now_s += 50
    another.over(turn(another), answered=True)
    assert another.take() == pytest.approx(60 + UNANSWERED_S - 50)  # what was under way may have been seen at the start


def test_a_request_without_an_answer_counts_from_a_little_later(tmp_path: Path, clock: Clock) -> None:
    budget = Budget(tmp_path / "budget", Rate(1, 60.0), clock)
    budget.over(turn(budget), answered=False)
    clock.now_s += 60
    assert budget.take() == pytest.approx(UNANSWERED_S)


def test_sources_of_one_api_share_its_rate(tmp_path: Path, clock: Clock) -> None:
    one, other = (Budget(tmp_path / "budget", Rate(1, 60.0), clock) for _ in range(2))
    mine = turn(one)
    assert other.take() == UNDER_WAY_S
    one.over(mine, answered=True)
    assert other.take() == 60.0


@pytest.mark.parametrize("requests", [1, 2, 3, 7])
def test_another_rate_takes_over_what_was_made_at_the_one_before(tmp_path: Path, clock: Clock, requests: int) -> None:
    path = tmp_path / "budget"
    before = Budget(path, Rate(3, 60.0), clock)
    for _ in range(5):
        while isinstance(wait := before.take(), float):
            clock.now_s += wait
        before.over(wait, answered=True)
    # Made at 0, 0, 0, 60 and 60: the last three are known.
    after = Budget(path, Rate(requests, 60.0), clock)
    taken = 0
    while isinstance(number := after.take(), int):
        after.over(number, answered=True)
        taken += 1
    assert taken == {1: 0, 2: 0, 3: 1, 7: 5}[requests]


def test_a_clock_that_was_set_back_stops_nothing_for_longer_than_a_window(tmp_path: Path, clock: Clock) -> None:
    budget = Budget(tmp_path / "budget", Rate(1, 60.0), clock)
    budget.over(turn(budget), answered=True)
    clock.now_s -= 1_000_000
    assert budget.take() == 60.0


def test_what_the_server_asks_for_holds_for_the_next_life_too(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "budget"
    budget = Budget(path, None, clock)
    budget.over(turn(budget), answered=True)
    budget.hold(30)
    assert Budget(path, Rate(100, 1.0), clock).take() == 30.0
    assert Budget(path, None, clock).take() == 30.0
    clock.now_s += 30
    turn(Budget(path, None, clock))


def test_a_budget_that_cannot_be_kept_lets_nothing_through(tmp_path: Path) -> None:
    (tmp_path / "budget").mkdir()
    with pytest.raises(Unavailable, match="INT_ALPHA_017"):
        Budget(tmp_path / "budget", None)


# --- as the server sees it ----------------------------------------------------------------------------------------


def test_the_server_never_sees_more_than_the_document_says(server: RestServer, tmp_path: Path) -> None:
    server.configure(faults={"status 500": 0.1, "slow": 0.1, "reset": 0.1}, slow_s=0.1)
    with Reader(server, tmp_path, "/cursor", rate_limit="30 requests/second") as reader:
        assert reader.all() == ids(500)
    assert 20 < server.most_in(1.0) <= 30


def test_while_it_waits_there_are_chunks_without_records_at_which_a_run_can_be_stopped(
    server: RestServer, tmp_path: Path
) -> None:
    server.configure(retry_after=3)
    server.fault("", "429")
    with Reader(server, tmp_path, "/cursor") as reader:
        assert reader.all() == ids(500)
    empty = [chunk for chunk in reader.chunks if chunk.end == chunk.start]
    assert len(empty) >= 2
    assert {chunk.next for chunk in empty} == {reader.chunks[0].next}


@pytest.mark.parametrize("how", ["429", "429 date"])
def test_retry_after_is_obeyed_in_seconds_and_as_a_date(server: RestServer, tmp_path: Path, how: str) -> None:
    server.configure(retry_after=2)
    server.fault("", how)
    with Reader(server, tmp_path, "/cursor") as reader:
        assert reader.all() == ids(500)
    refused, again = server.log[1:3]
    assert 2.0 <= again["at_s"] - refused["at_s"] < 6.0


def test_each_try_waits_longer_than_the_one_before(server: RestServer, tmp_path: Path) -> None:
    server.fault("", "status 500", "reset", "429 bare")
    with Reader(server, tmp_path, "/cursor", retry_delay_ms="200") as reader:
        assert reader.all() == ids(500)
    times = [entry["at_s"] for entry in server.log[1:5]]
    waits = [later - earlier for earlier, later in pairwise(times)]
    assert [wait > least for wait, least in zip(waits, (0.1, 0.2, 0.4), strict=True)] == [True] * 3, waits


def test_a_wait_that_is_too_long_for_a_run_ends_it_and_the_next_one_does_not_ask_at_all(
    server: RestServer, tmp_path: Path
) -> None:
    server.fault("", "429 7200")
    for _ in range(2):
        with (
            Reader(server, tmp_path, "/cursor") as reader,
            pytest.raises(Unavailable, match=r"another 7,\d{3} seconds"),
        ):
            reader.all(reader.at)
    assert len(server.log) == 2


# --- decisions ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"retry-after": "120"}, 120.0),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": " 5 "}, 5.0),
        ({}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "\u0663"}, None),
        ({"retry-after": "Tue, 14 Nov 2023 22:13:50 GMT"}, 30.0),
        ({"retry-after": "Tue, 14 Nov 2023 22:13:50 GMT", "date": "Tue, 14 Nov 2023 22:13:10 GMT"}, 40.0),
        ({"retry-after": "Tue, 14 Nov 2023 20:13:50 GMT"}, 0.0),
        ({"retry-after": "Tuesday, 14-Nov-23 22:13:50 GMT"}, 30.0),
        ({"retry-after": "Tue, 99 Nov 2023 22:13:50 GMT"}, None),
    ],
)
def test_retry_after_is_read_as_rfc_9110_has_it(headers: dict[str, str], expected: float | None) -> None:
    assert retry_after_s(headers, 1_700_000_000.0) == expected


@given(st.integers(-10_000, 10_000))
def test_a_date_that_anyone_writes_is_read_back(seconds: int) -> None:
    at = datetime.fromtimestamp(1_700_000_000, UTC) + timedelta(seconds=seconds)
    headers = {"retry-after": format_datetime(at, usegmt=True)}
    assert retry_after_s(headers, 1_700_000_000.0) == max(0, seconds)


@pytest.mark.parametrize("failure", [*Lost, 408, 425, 429, 500, 501, 502, 503, 504, 400, 404, 409, 422])
def test_only_what_may_be_is_sent_again(failure: Lost | int) -> None:
    anyway = {Lost.NEVER_SENT, 408, 425, 429}
    assert may_repeat(failure, idempotent=False) is (failure in anyway)
    assert may_repeat(failure, idempotent=True) is (failure in anyway | {Lost.NO_ANSWER, 500, 502, 503, 504})


def test_waits_double_up_to_a_ceiling_and_are_spread() -> None:
    assert [backoff_s(attempt, base_s=0.5, jitter=0.0) for attempt in (1, 2, 3, 8, 1000)] == [0.5, 1, 2, CEILING_S, 60]
    assert backoff_s(3, base_s=0.5, jitter=0.99) == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize(
    ("values", "before", "expected"),
    [
        ([], None, None),
        ([], "5", "5"),
        (["9", "10"], None, "10"),
        (["9", "10.5"], "100", "100"),
        (["2023-05-05T00:00:00+02:00", "2023-05-04T23:00:00Z"], None, "2023-05-04T23:00:00Z"),
        (["2023-05-05"], "2023-05-04T23:59:59.5", "2023-05-05"),
        (["2999-01-01T00:00:00Z", "2023-05-05"], None, "2023-11-14T22:13:20+00:00"),  # no later than the pass began
        (["b", "a"], "10", "b"),
    ],
)
def test_the_newest_value_is_told_by_what_the_values_are(
    values: list[str], before: str | None, expected: str | None
) -> None:
    assert newest(values, before, 1_700_000_000.0) == expected


def test_the_clock_of_the_budget_moves_with_time(tmp_path: Path) -> None:
    budget = Budget(tmp_path / "budget", Rate(1, 0.05))
    budget.over(turn(budget), answered=True)
    wait_s = budget.take()
    assert isinstance(wait_s, float)
    time.sleep(wait_s)
    turn(budget)
