"""What the suites of sources and sinks have in common."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import msgspec
import pytest

from penstock.errors import PenstockError, Unavailable
from penstock.ports import Declaration
from penstock.testing.conformance.reporting import report_what_is_not_shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from penstock.model.pipeline import Connection
    from penstock.ports import Sink, SinkPromises, Source, SourcePromises
    from penstock.testing.conformance.harness import Harness

T = TypeVar("T")
NO_SUCH_OPTION = "colour_of_the_pipe"
_PAUSE_S = 0.05


class Suite:
    """The ground of both suites."""

    @pytest.fixture(autouse=True)
    def _reported(self, request: pytest.FixtureRequest) -> None:
        report_what_is_not_shown(request.config)


def declared_by(connector: Source | Sink) -> Declaration[SourcePromises] | Declaration[SinkPromises]:
    """Return what the connector's class declares."""
    declares = getattr(type(connector), "declares", None)
    assert isinstance(declares, Declaration), f"{type(connector)} declares nothing"
    return declares


@contextmanager
def refusing(harness: Harness, *errors: type[PenstockError]) -> Iterator[pytest.ExceptionInfo[PenstockError]]:
    """Expect one of `errors`, which says what to do, and gives away no secret; yield what will tell of it."""
    with pytest.raises(errors) as caught:
        yield caught
    error: BaseException | None = caught.value
    assert isinstance(error, PenstockError)
    assert error.remedy, f"nobody is told what to do: {error}"
    while error is not None:
        shown_to_people = f"{error} {error!r}"
        assert [secret for secret in harness.secrets if secret in shown_to_people] == [], "a secret is in a message"
        error = error.__cause__ or error.__context__


def patiently(attempt: Callable[[], T], patience_s: float) -> T:
    """Return what `attempt` returns, tried again while what is outside is not there, for so long at most."""
    until_s = time.monotonic() + patience_s
    while True:
        try:
            return attempt()
        except Unavailable:
            if time.monotonic() >= until_s:
                raise
        time.sleep(_PAUSE_S)


def with_unknown_option(connection: Connection) -> Connection:
    """Return a connection that also says what no connector knows."""
    return msgspec.structs.replace(connection, options={**connection.options, NO_SUCH_OPTION: "blue"})
