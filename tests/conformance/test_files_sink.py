"""Files as a destination, held to what they promise in each format."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.conformance.files_sink_harness import FilesSinkHarness

from penstock.connectors.sources.files.partitions import Encoding
from penstock.testing.conformance import SinkSuite

if TYPE_CHECKING:
    from pathlib import Path

    from penstock.testing.conformance import SinkHarness


class TestParquet(SinkSuite):
    @pytest.fixture
    def harness(self, open_root: Path) -> SinkHarness:
        return FilesSinkHarness(open_root, Encoding.PARQUET)


class TestCsv(SinkSuite):
    @pytest.fixture
    def harness(self, open_root: Path) -> SinkHarness:
        return FilesSinkHarness(open_root, Encoding.CSV)


class TestJsonLines(SinkSuite):
    @pytest.fixture
    def harness(self, open_root: Path) -> SinkHarness:
        return FilesSinkHarness(open_root, Encoding.JSON_LINES)
