"""What tests may need beside Python. Continuous integration must have it; elsewhere a test that lacks it is skipped."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

pytest_plugins = ("tests.servers.postgres",)

ROOT = Path(__file__).resolve().parent.parent


def _lacking(what: str) -> None:
    """Fail where everything must be there, skip elsewhere."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what}, and continuous integration must have it")
    pytest.skip(what)


@pytest.fixture(scope="session")
def tool() -> Callable[[str], str]:
    """Find a program that is no part of Python, such as strace."""

    def find(name: str) -> str:
        found = shutil.which(name)
        if found is None:
            _lacking(f"{name} is not installed")
        return str(found)

    return find


@pytest.fixture(scope="session")
def flights_data() -> Path:
    """The folder of the fetched flights: `make data` puts them there."""
    folder = ROOT / "examples" / "flights" / "data"
    if not (folder / "flights.csv").is_file():
        _lacking("the flights are not fetched")
    return folder
