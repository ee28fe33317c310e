"""Connectors by name: the outside things that a connection's `kind` can mean, loaded only when a pipeline names one."""

from __future__ import annotations

import difflib
from importlib import import_module
from importlib.metadata import entry_points
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol, cast

from penstock.errors import UserMistake
from penstock.ledger.folder import STATE_FOLDER

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from penstock.model.pipeline import Model, SourceTable, Warehouse
    from penstock.model.settings import Settings
    from penstock.ports import Sink, Source

SOURCES: Mapping[str, str] = MappingProxyType({"files": "penstock.connectors.sources.followed:FollowedFiles"})
"""Kinds of source that come with Penstock, as module:class. Others come as entry points of SOURCE_GROUP."""
STANDARD_INPUT = "penstock.connectors.sources.stdin:StandardInput"
"""What reads a connection of kind `files` whose path is STANDARD_INPUT_PATH."""
STANDARD_INPUT_PATH = "-"
SINKS: Mapping[str, str] = MappingProxyType({"duckdb": "penstock.connectors.sinks.duckdb:DuckDBSink"})
"""Kinds of destination that come with Penstock, as module:class. Others come as entry points of SINK_GROUP."""
SOURCE_GROUP = "penstock.sources"
SINK_GROUP = "penstock.sinks"


class SourceClass(Protocol):
    """What makes a Source. `root` is the folder that a connection's path is relative to."""

    def __call__(self, table: SourceTable, root: Path, settings: Settings) -> Source:
        """Return a source for `table`. UserMistake where the connection does not say enough."""


class OurSourceClass(Protocol):
    """What makes a Source that comes with Penstock. `state` is the project's state folder, for what a source keeps."""

    def __call__(self, table: SourceTable, root: Path, settings: Settings, state: Path) -> Source:
        """Return a source for `table`. UserMistake where the connection does not say enough."""


class SinkClass(Protocol):
    """What makes a Sink. `root` is the folder that a connection's path is relative to."""

    def __call__(self, pipeline_name: str, model: Model, warehouse: Warehouse, root: Path, settings: Settings) -> Sink:
        """Return a sink for `model`. UserMistake where the connection does not say enough."""


def open_source(table: SourceTable, root: Path, settings: Settings, state: Path | None = None) -> Source:
    """Return the source that the kind of `table`'s connection names. UserMistake where there is no such kind.

    `root` is the folder that its path is relative to, `state` the state folder: that of `root` when nothing is said.
    """
    kind = table.connection.kind
    ours = SOURCES
    if kind == "files" and table.connection.path == STANDARD_INPUT_PATH:
        ours = {**SOURCES, kind: STANDARD_INPUT}
    make = _load("source", kind, ours, SOURCE_GROUP)
    if kind in ours:
        return cast("OurSourceClass", make)(table, root, settings, state or root / STATE_FOLDER)
    return cast("SourceClass", make)(table, root, settings)


def open_sink(pipeline_name: str, model: Model, warehouse: Warehouse, root: Path, settings: Settings) -> Sink:
    """Return the sink that the kind of `warehouse`'s connection names. UserMistake where there is no such kind."""
    make = cast("SinkClass", _load("destination", warehouse.connection.kind, SINKS, SINK_GROUP))
    return make(pipeline_name, model, warehouse, root, settings)


def _load(role: str, kind: str, ours: Mapping[str, str], group: str) -> object:
    known = {entry.name: entry.value for entry in entry_points(group=group)} | dict(ours)
    if kind not in known:
        near = difflib.get_close_matches(kind, known, n=1)
        raise UserMistake(
            "INT_PIPELINE_003",
            f"`{kind}` is not a kind of {role}",
            remedy=f"did you mean `{near[0]}`?" if near else f"take one of: {', '.join(sorted(known))}",
        )
    module, _, name = known[kind].partition(":")
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise UserMistake(
            "INT_PIPELINE_003",
            f"the {role} `{kind}` cannot be loaded from {known[kind]}: {error}",
            remedy="install what it needs, or name another kind",
        ) from error
