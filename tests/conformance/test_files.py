"""Files as a source, held to what they promise: at rest and followed, in every encoding."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.conformance.files_harness import CsvHarness, JsonLinesHarness, ParquetHarness
from tests.conformance.stdin_harness import StdinHarness

from penstock.testing.conformance import SourceSuite

if TYPE_CHECKING:
    from pathlib import Path

    from penstock.testing.conformance import SourceHarness


class TestCsv(SourceSuite):
    @pytest.fixture
    def harness(self, open_root: Path) -> SourceHarness:
        return CsvHarness(open_root)


class TestJsonLines(SourceSuite):
    @pytest.fixture
    def harness(self, open_root: Path) -> SourceHarness:
        return JsonLinesHarness(open_root)


class TestStandardInput(SourceSuite):
    @pytest.fixture
    def harness(self, tmp_path: Path) -> SourceHarness:
        return StdinHarness(tmp_path)


class TestParquet(SourceSuite):
    @pytest.fixture
    def harness(self, open_root: Path) -> SourceHarness:
        return ParquetHarness(open_root)
