"""What connectors declare: all of them do, once, and an option that nobody declared is refused."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

import pytest

from penstock.connectors import (
    REMOTE_FILES,
    SINKS,
    SOURCES,
    STANDARD_INPUT,
    declared_by_sink,
    declared_by_source,
    open_sink,
    open_source,
)
from penstock.errors import UserMistake
from penstock.model.finding import Place
from penstock.model.pipeline import Connection, SourceTable, Warehouse
from penstock.model.settings import Settings
from penstock.ports import SinkPromises, SourcePromises
from penstock.testing.conformance.records import model_of

if TYPE_CHECKING:
    from pathlib import Path

ALL = {
    **{f"source {kind}": place for kind, place in SOURCES.items()},
    "standard input": STANDARD_INPUT,
    "remote files": REMOTE_FILES,
    **{f"destination {kind}": place for kind, place in SINKS.items()},
}


def table(connection: Connection) -> SourceTable:
    return SourceTable("orders", "", "shop", connection, (), Place("handoff.md"))


@pytest.mark.parametrize("name", ALL)
def test_every_connector_declares_what_it_promises_once(name: str) -> None:
    module, _, class_name = ALL[name].partition(":")
    connector = getattr(import_module(module), class_name)
    kind = SinkPromises if name.startswith("destination") else SourcePromises
    assert connector.declares.promises
    assert {type(promises) for promises in connector.declares.promises} == {kind}
    ways = [promises.when for promises in connector.declares.promises]
    assert len(set(ways)) == len(ways)
    assert all(ways) or len(ways) == 1, "which way is which cannot be told"
    options = [option.name for option in connector.declares.options]
    assert len(set(options)) == len(options)
    assert all(option.what for option in connector.declares.options)


def test_what_a_kind_declares_can_be_asked_without_opening_anything() -> None:
    files, duckdb = declared_by_source("files"), declared_by_sink("duckdb")
    assert files is not None
    assert [promises.when for promises in files.promises] == ["CSV", "JSON Lines", "Parquet"]
    assert duckdb is not None
    assert duckdb.what == "tables of a DuckDB file"
    with pytest.raises(UserMistake, match="`duckbd` is not a kind of destination"):
        declared_by_sink("duckbd")


def test_an_option_that_is_nearly_one_is_named_with_what_was_meant(tmp_path: Path) -> None:
    connection = Connection("shop", path="-", options={"fromat": "csv"})
    with pytest.raises(UserMistake, match=r"connection `shop` has the option `fromat`.*did you mean `format`\?"):
        open_source(table(connection), tmp_path, Settings())


def test_an_option_of_a_kind_without_options_is_refused(tmp_path: Path) -> None:
    warehouse = Warehouse("house", Connection("house", "duckdb", options={"threads": "4"}))
    with pytest.raises(UserMistake, match="option `threads`, which kind `duckdb` does not have; remove it"):
        open_sink("shop", model_of({"id": "bigint"}), warehouse, tmp_path, Settings())
