"""The PostgreSQL destination, held to what it promises."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.conformance.postgres_sink_harness import house_of_a_role

from penstock.testing.conformance import SinkSuite

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers.postgres import Database, Server

    from penstock.testing.conformance import SinkHarness


class TestPostgres(SinkSuite):
    @pytest.fixture
    def harness(self, postgres: Server, database: Database, tmp_path: Path) -> Iterator[SinkHarness]:
        with house_of_a_role(postgres, database, tmp_path) as harness:
            yield harness
