"""The DuckDB destination, held to what it promises."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.conformance.duckdb_harness import DuckDBHarness

from penstock.testing.conformance import SinkSuite

if TYPE_CHECKING:
    from pathlib import Path

    from penstock.testing.conformance import SinkHarness


class TestDuckDB(SinkSuite):
    @pytest.fixture
    def harness(self, open_root: Path) -> SinkHarness:
        return DuckDBHarness(open_root)
