"""A circuit breaker: CLOSED lets everything pass, OPEN nothing, HALF_OPEN one probe."""

from __future__ import annotations

from enum import StrEnum

from penstock.protocol.tables import Table


class CircuitState(StrEnum):
    """The spec's states."""

    CLOSED = "CLOSED"
    OPEN = "OPEN"
    HALF_OPEN = "HALF_OPEN"


class CircuitEvent(StrEnum):
    """What moves a circuit."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    FAILED_TOO_OFTEN = "failed too often"
    RETRIES_EXHAUSTED = "retries exhausted"
    COOLED_DOWN = "cooled down"


TRANSITIONS = Table(
    "circuit",
    {
        (CircuitState.CLOSED, CircuitEvent.SUCCEEDED): CircuitState.CLOSED,
        (CircuitState.CLOSED, CircuitEvent.FAILED): CircuitState.CLOSED,
        (CircuitState.CLOSED, CircuitEvent.FAILED_TOO_OFTEN): CircuitState.OPEN,
        (CircuitState.CLOSED, CircuitEvent.RETRIES_EXHAUSTED): CircuitState.OPEN,
        (CircuitState.OPEN, CircuitEvent.RETRIES_EXHAUSTED): CircuitState.OPEN,
        (CircuitState.HALF_OPEN, CircuitEvent.RETRIES_EXHAUSTED): CircuitState.OPEN,
        (CircuitState.OPEN, CircuitEvent.COOLED_DOWN): CircuitState.HALF_OPEN,
        (CircuitState.OPEN, CircuitEvent.SUCCEEDED): CircuitState.CLOSED,  # an answer that was late
        (CircuitState.OPEN, CircuitEvent.FAILED): CircuitState.OPEN,
        (CircuitState.HALF_OPEN, CircuitEvent.SUCCEEDED): CircuitState.CLOSED,
        (CircuitState.HALF_OPEN, CircuitEvent.FAILED): CircuitState.OPEN,
    },
)


class Breaker:
    """Counts failures in a row and remembers when to let a probe pass. `now_s` is monotonic seconds."""

    def __init__(self, *, failure_threshold: int, reset_timeout_s: float) -> None:
        self._threshold = failure_threshold
        self._reset_timeout_s = reset_timeout_s
        self.state = CircuitState.CLOSED
        self.failure_count = 0
        self.next_attempt_s: float | None = None

    def __repr__(self) -> str:
        return f"<Breaker {self.state} after {self.failure_count} failures>"

    def succeeded(self) -> None:
        """Take note of a success."""
        self.failure_count = 0
        self._move(CircuitEvent.SUCCEEDED)

    def failed(self, now_s: float) -> None:
        """Take note of a failure."""
        self.failure_count += 1
        too_often = self.state is CircuitState.CLOSED and self.failure_count >= self._threshold
        self._move(CircuitEvent.FAILED_TOO_OFTEN if too_often else CircuitEvent.FAILED)
        self._cool_down(now_s)

    def exhausted(self, now_s: float) -> None:
        """Take note that all retries of one thing failed: the circuit opens at once."""
        self.failure_count += 1
        self._move(CircuitEvent.RETRIES_EXHAUSTED)
        self._cool_down(now_s)

    def tick(self, now_s: float) -> bool:
        """Move on with time; True when a probe may pass now."""
        if self.state is CircuitState.OPEN and self.next_attempt_s is not None and now_s >= self.next_attempt_s:
            self._move(CircuitEvent.COOLED_DOWN)
            return True
        return False

    def _cool_down(self, now_s: float) -> None:
        if self.state is CircuitState.OPEN:
            self.next_attempt_s = now_s + self._reset_timeout_s

    def _move(self, event: CircuitEvent) -> None:
        self.state = TRANSITIONS.move(self.state, event)
        if self.state is not CircuitState.OPEN:
            self.next_attempt_s = None
