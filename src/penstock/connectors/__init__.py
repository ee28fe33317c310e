"""Connectors by name: the outside things that a connection's `kind` can mean, loaded only when a pipeline names one."""

from __future__ import annotations

import difflib
from importlib import import_module
from importlib.metadata import entry_points
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol, cast

import msgspec

from penstock.errors import UserMistake
from penstock.ledger.folder import STATE_FOLDER

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from penstock.model.pipeline import Connection, Model, SourceTable, Warehouse
    from penstock.model.settings import Settings
    from penstock.ports import Declaration, Sink, SinkPromises, Source, SourcePromises

SOURCES: Mapping[str, str] = MappingProxyType(
    {
        "files": "penstock.connectors.sources.followed:FollowedFiles",
        "postgres": "penstock.connectors.sources.postgres:PostgresSource",
        "rest": "penstock.connectors.sources.rest:RestSource",
    }
)
"""Kinds of source that come with Penstock, as module:class. Others come as entry points of SOURCE_GROUP."""
STANDARD_INPUT = "penstock.connectors.sources.stdin:StandardInput"
"""What reads a connection of kind `files` whose path is STANDARD_INPUT_PATH."""
STANDARD_INPUT_PATH = "-"
REMOTE_FILES = "penstock.connectors.sources.remote:RemoteFiles"
"""What reads a connection of kind `files` that has a URL."""
SINKS: Mapping[str, str] = MappingProxyType(
    {
        "duckdb": "penstock.connectors.sinks.duckdb:DuckDBSink",
        "files": "penstock.connectors.sinks.files:FilesSink",
        "postgres": "penstock.connectors.sinks.postgres:PostgresSink",
    }
)
"""Kinds of destination that come with Penstock, as module:class. Others come as entry points of SINK_GROUP."""
EXTRAS: Mapping[str, str] = MappingProxyType({"postgres": "postgres", "rest": "rest"})
"""The optional extra of this package that brings a kind's client."""
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
    elif kind == "files" and table.connection.url:
        ours = {**SOURCES, kind: REMOTE_FILES}
    make = _load("source", kind, ours, SOURCE_GROUP)
    _check_options(table.connection, make)
    if kind in ours:
        return cast("OurSourceClass", make)(table, root, settings, state or root / STATE_FOLDER)
    return cast("SourceClass", make)(table, root, settings)


def at_rest(table: SourceTable) -> SourceTable:
    """Return `table` to be read once, as a whole, and leave nothing behind where it lies: no replication slot."""
    connection = table.connection
    if connection.kind == "rest":  # with an incremental key, what is read first may be the newest records alone
        options = {name: value for name, value in connection.options.items() if name != "incremental_key"}
        return msgspec.structs.replace(table, connection=msgspec.structs.replace(connection, options=options))
    if connection.kind != "postgres" or connection.options.get("read") != "changes":
        return table
    looking = msgspec.structs.replace(connection, options={**connection.options, "read": "snapshot"})
    return msgspec.structs.replace(table, connection=looking)


def open_sink(pipeline_name: str, model: Model, warehouse: Warehouse, root: Path, settings: Settings) -> Sink:
    """Return the sink that the kind of `warehouse`'s connection names. UserMistake where there is no such kind."""
    make = cast("SinkClass", _load("destination", warehouse.connection.kind, SINKS, SINK_GROUP))
    _check_options(warehouse.connection, make)
    return make(pipeline_name, model, warehouse, root, settings)


def declared_by_source(kind: str) -> Declaration[SourcePromises] | None:
    """Return what a kind of source declares, None where that is nothing. UserMistake where there is no such kind."""
    return cast("Declaration[SourcePromises] | None", _declared(_load("source", kind, SOURCES, SOURCE_GROUP)))


def declared_by_sink(kind: str) -> Declaration[SinkPromises] | None:
    """Return what a kind of destination declares, likewise."""
    return cast("Declaration[SinkPromises] | None", _declared(_load("destination", kind, SINKS, SINK_GROUP)))


def _declared(connector: object) -> Declaration[SourcePromises] | Declaration[SinkPromises] | None:
    return getattr(connector, "declares", None)


def _check_options(connection: Connection, connector: object) -> None:
    """Raise UserMistake where `connection` has an option that `connector` does not declare: it would do nothing."""
    declaration = _declared(connector)
    if declaration is None:
        return
    known = [option.name for option in declaration.options]
    unknown = next((name for name in connection.options if name not in known), None)
    if unknown is not None:
        near = difflib.get_close_matches(unknown, known, n=1)
        offered = f"take one of: {', '.join(known)}" if known else "remove it: this kind has no options"
        raise UserMistake(
            "INT_PIPELINE_003",
            f"connection `{connection.name}` has the option `{unknown}`, which kind `{connection.kind}` does not have",
            remedy=f"did you mean `{near[0]}`?" if near else offered,
        )


def _load(role: str, kind: str, ours: Mapping[str, str], group: str) -> object:
    known = dict(ours)
    if kind not in known:  # entry points are read from the disk: only where one may be meant
        known = {entry.name: entry.value for entry in entry_points(group=group)} | known
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
    except ModuleNotFoundError as error:
        extra = EXTRAS.get(kind) if kind in ours else None
        if extra is None:
            raise _not_loaded(role, kind, known[kind], error) from error
        raise UserMistake(
            "INT_PIPELINE_008",
            f"the {role} `{kind}` needs `{error.name}`, which is not installed",
            remedy=f"pip install 'penstock[{extra}]'",
        ) from error
    except (ImportError, AttributeError) as error:
        raise _not_loaded(role, kind, known[kind], error) from error


def _not_loaded(role: str, kind: str, place: str, error: Exception) -> UserMistake:
    return UserMistake(
        "INT_PIPELINE_003",
        f"the {role} `{kind}` cannot be loaded from {place}: {error}",
        remedy="install what it needs, or name another kind",
    )
