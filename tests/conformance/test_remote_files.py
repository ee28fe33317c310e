"""Files that are elsewhere as a source, held to what they promise in each encoding."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.conformance.remote_harness import (
    PASSWORD,
    PASSWORD_VARIABLE,
    RemoteCsvHarness,
    RemoteJsonLinesHarness,
    RemoteParquetHarness,
)
from tests.connectors.ftp_server import ftp_server

from penstock.testing.conformance import SourceSuite

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from penstock.testing.conformance import SourceHarness


@pytest.fixture
def address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Where the server is that shows what is in the folder `data`."""
    monkeypatch.setenv(PASSWORD_VARIABLE, PASSWORD)
    with ftp_server(tmp_path / "data", password=PASSWORD) as server:
        yield server.address


class TestCsv(SourceSuite):
    @pytest.fixture
    def harness(self, tmp_path: Path, address: str) -> SourceHarness:
        return RemoteCsvHarness(tmp_path, address=address)


class TestJsonLines(SourceSuite):
    @pytest.fixture
    def harness(self, tmp_path: Path, address: str) -> SourceHarness:
        return RemoteJsonLinesHarness(tmp_path, address=address)


class TestParquet(SourceSuite):
    @pytest.fixture
    def harness(self, tmp_path: Path, address: str) -> SourceHarness:
        return RemoteParquetHarness(tmp_path, address=address)
