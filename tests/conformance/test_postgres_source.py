"""PostgreSQL as a source, held to what it promises in each way of reading it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.conformance.postgres_source_harness import shop_of_a_role

from penstock.testing.conformance import SourceSuite
from penstock.testing.conformance.harness import CURSOR

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers.postgres import Database, Server

    from penstock.testing.conformance import SourceHarness


class TestSnapshot(SourceSuite):
    @pytest.fixture
    def harness(self, postgres: Server, database: Database, tmp_path: Path) -> Iterator[SourceHarness]:
        with shop_of_a_role(postgres, database, tmp_path, poll="20 ms") as harness:
            yield harness


class TestIncremental(SourceSuite):
    @pytest.fixture
    def harness(self, postgres: Server, database: Database, tmp_path: Path) -> Iterator[SourceHarness]:
        with shop_of_a_role(postgres, database, tmp_path, cursor=CURSOR, poll="20 ms") as harness:
            yield harness


class TestChanges(SourceSuite):
    @pytest.fixture
    def harness(self, postgres: Server, database: Database, tmp_path: Path) -> Iterator[SourceHarness]:
        with shop_of_a_role(postgres, database, tmp_path, read="changes") as harness:
            yield harness
