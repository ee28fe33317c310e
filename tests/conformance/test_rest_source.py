"""APIs as a source, held to what they promise."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.conformance.rest_harness import TOKEN, TOKEN_VARIABLE, RestHarness
from tests.servers.rest import RestServer

from penstock.testing.conformance import SourceSuite

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from penstock.testing.conformance import SourceHarness


@pytest.fixture(scope="module")
def server() -> Iterator[RestServer]:
    with RestServer(auth="bearer", page_size=500) as running:
        yield running


class TestRest(SourceSuite):
    @pytest.fixture
    def harness(self, server: RestServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SourceHarness:
        monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
        return RestHarness(server, tmp_path)
