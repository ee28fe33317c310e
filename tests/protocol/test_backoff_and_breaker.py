"""How long to wait, and when not to try at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.protocol.backoff import CEILING_S, delay_s
from penstock.protocol.breaker import TRANSITIONS, Breaker, CircuitEvent, CircuitState
from penstock.protocol.tables import Table

CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN


# --- backoff ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attempt", "jitter", "expected"),
    [(1, 0.0, 1.0), (2, 0.0, 2.0), (3, 0.0, 4.0), (3, 0.5, 3.0), (9, 0.0, 256.0), (10, 0.0, 300.0), (10, 0.5, 225.0)],
)
def test_waits_grow_to_a_ceiling_and_jitter_shortens_them(attempt: int, jitter: float, expected: float) -> None:
    assert delay_s(attempt, base_s=1.0, multiplier=2.0, jitter=jitter) == expected


@given(
    attempt=st.integers(1, 10**9),
    base_s=st.floats(0.0, 3600.0),
    multiplier=st.floats(1.0, 100.0),
    jitter=st.floats(0.0, 1.0, exclude_max=True),
)
def test_no_wait_is_negative_or_longer_than_the_ceiling(
    attempt: int, base_s: float, multiplier: float, jitter: float
) -> None:
    assert 0.0 <= delay_s(attempt, base_s=base_s, multiplier=multiplier, jitter=jitter) <= CEILING_S


def test_a_multiplier_of_one_waits_the_same_every_time() -> None:
    assert {delay_s(attempt, base_s=3.0, multiplier=1.0, jitter=0.0) for attempt in range(1, 100)} == {3.0}


# --- breaker ------------------------------------------------------------------------------------------------------


def breaker(failures: int = 0) -> Breaker:
    made = Breaker(failure_threshold=3, reset_timeout_s=60.0)
    for _ in range(failures):
        made.failed(0.0)
    return made


def test_it_opens_at_the_threshold_of_failures_in_a_row() -> None:
    assert breaker(2).state is CLOSED
    assert breaker(3).state is OPEN


def test_a_success_in_between_starts_the_count_again() -> None:
    made = breaker(2)
    made.succeeded()
    made.failed(1.0)
    made.failed(1.0)
    assert made.state is CLOSED
    assert made.failure_count == 2


def test_exhausted_retries_open_it_at_once() -> None:
    made = breaker()
    made.exhausted(5.0)
    assert made.state is OPEN
    assert made.next_attempt_s == 65.0


def test_one_probe_passes_after_the_cool_down() -> None:
    made = breaker(3)
    assert not made.tick(59.9)
    assert made.tick(60.0)
    assert made.state is HALF_OPEN
    assert not made.tick(1000.0)
    assert made.next_attempt_s is None


def test_a_probe_that_succeeds_closes_it() -> None:
    made = breaker(3)
    made.tick(60.0)
    made.succeeded()
    assert (made.state, made.failure_count) == (CLOSED, 0)


@pytest.mark.parametrize("how", ["failed", "exhausted"])
def test_a_probe_that_fails_opens_it_again_for_the_whole_cool_down(how: str) -> None:
    made = breaker(3)
    made.tick(60.0)
    getattr(made, how)(70.0)
    assert (made.state, made.next_attempt_s) == (OPEN, 130.0)


def test_a_late_answer_closes_an_open_circuit() -> None:
    made = breaker(3)
    made.succeeded()
    assert made.state is CLOSED
    assert made.next_attempt_s is None


steps = st.lists(st.sampled_from(["failed", "exhausted", "succeeded", "tick"]), max_size=40)


@given(steps=steps)
def test_whatever_happens_it_knows_what_to_do_and_only_an_open_circuit_waits(steps: list[str]) -> None:
    made = breaker()
    for number, step in enumerate(steps):
        now_s = number * 25.0
        before = made.state
        if step == "succeeded":
            made.succeeded()
            assert made.state is CLOSED
        elif step == "tick":
            assert made.tick(now_s) == (before is OPEN and made.state is HALF_OPEN)
        else:
            getattr(made, step)(now_s)
            assert made.state is OPEN or (before is CLOSED and made.failure_count < 3)
        assert (made.next_attempt_s is not None) == (made.state is OPEN)


def test_a_late_answer_and_exhausted_retries_are_known_in_every_state_in_which_they_can_come() -> None:
    before = TRANSITIONS.reached.copy()
    cold = breaker(3)
    cold.failed(1.0)
    cold.exhausted(2.0)
    cold.tick(100.0)
    cold.exhausted(101.0)
    cold.tick(200.0)
    cold.failed(201.0)
    cold.tick(300.0)
    cold.succeeded()
    cold.succeeded()
    cold.exhausted(301.0)
    cold.succeeded()
    assert set(TRANSITIONS.reached - before) == set(TRANSITIONS.rows)


def test_every_state_can_be_reached_and_left() -> None:
    assert {state for state, _ in TRANSITIONS.rows} == set(CircuitState)
    assert set(TRANSITIONS.rows.values()) == set(CircuitState)
    assert {event for _, event in TRANSITIONS.rows} == set(CircuitEvent)


# --- tables -----------------------------------------------------------------------------------------------------------


def test_a_table_counts_its_moves_and_knows_no_others() -> None:
    table = Table("door", {(CLOSED, CircuitEvent.COOLED_DOWN): OPEN})
    assert table.move(CLOSED, CircuitEvent.COOLED_DOWN) is OPEN
    assert table.reached == {(CLOSED, CircuitEvent.COOLED_DOWN): 1}
    with pytest.raises(KeyError):
        table.move(OPEN, CircuitEvent.COOLED_DOWN)
