"""What a suite does not show: because it is not promised, or because the outside thing cannot be brought to do it.

pytest calls both skipped; here they are called what they are, and listed with their reasons, whatever its options.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

import pytest

from penstock.testing.conformance.harness import Cannot

if TYPE_CHECKING:
    from collections.abc import Iterator

NOT_PROMISED = "not promised"
CANNOT_BE_SHOWN = "cannot be shown"
_PLUGIN = "penstock-conformance"


def not_promised(what: str) -> NoReturn:
    """End a test because the connector does not declare `what`."""
    pytest.skip(f"{NOT_PROMISED}: {what}")


@contextmanager
def shown() -> Iterator[None]:
    """End a test because its harness cannot do what it needs."""
    try:
        yield
    except Cannot as error:
        pytest.skip(f"{CANNOT_BE_SHOWN}: {error}")


class Reporting:
    """A plug-in of pytest that tells the two from what is skipped otherwise."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(self, report: pytest.CollectReport | pytest.TestReport) -> tuple[str, str, str] | None:
        """See pytest."""
        reason = _reason(report)
        if reason is None:
            return None
        word = NOT_PROMISED if reason.startswith(NOT_PROMISED) else CANNOT_BE_SHOWN
        return word, word[0], word.upper()

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """See pytest."""
        for word in (NOT_PROMISED, CANNOT_BE_SHOWN):
            reports = terminalreporter.stats.get(word, [])
            if reports:
                terminalreporter.write_sep("=", f"conformance: {word}")
            for report in reports:
                terminalreporter.write_line(f"{report.nodeid}: {_reason(report)}")


def report_what_is_not_shown(config: pytest.Config) -> None:
    """Have pytest tell, from now on, what is not shown."""
    if not config.pluginmanager.has_plugin(_PLUGIN):
        config.pluginmanager.register(Reporting(), _PLUGIN)


def _reason(report: pytest.CollectReport | pytest.TestReport) -> str | None:
    if not report.skipped or not isinstance(report.longrepr, tuple):
        return None
    reason = report.longrepr[2].removeprefix("Skipped: ")
    return reason if reason.startswith((NOT_PROMISED, CANNOT_BE_SHOWN)) else None
