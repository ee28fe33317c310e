from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from penstock.connectors import SINKS, SOURCES, open_sink, open_source
from penstock.connectors.sources.files import FileSource
from penstock.errors import UserMistake
from penstock.model.finding import Place
from penstock.model.pipeline import Connection, Model, SourceTable, Warehouse
from penstock.model.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

    from penstock.ports import Source

PLACE = Place("handoff.md")


def table(kind: str) -> SourceTable:
    return SourceTable("orders", "public", "shop", Connection("shop", kind, "data"), (), PLACE)


def install(site: Path, monkeypatch: pytest.MonkeyPatch, entry_points: str) -> None:
    """Put a package with `entry_points` where Python finds installed ones."""
    information = site / "others-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: others\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(entry_points)
    monkeypatch.syspath_prepend(str(site))


def test_the_kind_of_a_connection_names_the_source(tmp_path: Path) -> None:
    assert isinstance(open_source(table("files"), tmp_path, Settings()), FileSource)


def test_an_unknown_kind_of_source_is_an_error_that_suggests_one(tmp_path: Path) -> None:
    with pytest.raises(UserMistake, match=r"`file` is not a kind of source; did you mean `files`\?"):
        open_source(table("file"), tmp_path, Settings())
    with pytest.raises(UserMistake, match=r"`oracle` is not a kind of source; take one of: .*files"):
        open_source(table("oracle"), tmp_path, Settings())


def test_an_unknown_kind_of_destination_is_an_error_that_suggests_one(tmp_path: Path) -> None:
    model = Model("fct_orders", "analytics", "orders", ("id",), (), PLACE)
    warehouse = Warehouse("snowflake", Connection("snowflake", "duckbd"))
    with pytest.raises(UserMistake, match=r"`duckbd` is not a kind of destination; did you mean `duckdb`\?"):
        open_sink("shop", model, warehouse, tmp_path, Settings())


def test_every_kind_of_the_tables_names_a_module_and_a_class() -> None:
    for kinds in (SOURCES, SINKS):
        for name in kinds.values():
            module, colon, class_ = name.partition(":")
            assert module.startswith("penstock.connectors.")
            assert colon
            assert class_.isidentifier()


def test_an_installed_package_may_bring_kinds_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, "[penstock.sources]\nlike_files = penstock.connectors.sources.files:FileSource\n")
    source: Source = open_source(table("like_files"), tmp_path, Settings())
    assert isinstance(source, FileSource)


def test_a_kind_that_cannot_be_loaded_is_an_error_that_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch, "[penstock.sources]\nlost = no_such_module:Source\nhollow = json:Source\n")
    with pytest.raises(UserMistake, match="`lost` cannot be loaded from no_such_module:Source: No module named"):
        open_source(table("lost"), tmp_path, Settings())
    with pytest.raises(UserMistake, match="`hollow` cannot be loaded from json:Source"):
        open_source(table("hollow"), tmp_path, Settings())
