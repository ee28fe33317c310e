"""Several blocks of several files as one request: what is asked for, each thing once, each with its place."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from penstock.documents.kinds import BuilderToStream, PulseToStream, SchemaToStream
from penstock.planning import codes
from penstock.planning.notes import Described, Spot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from penstock.documents import Documents
    from penstock.documents.kinds import (
        AnalyticsRequirements,
        ApiIntegration,
        Connection,
        DataVolume,
        DestinationModel,
        DestinationRequirements,
        Rule,
        SourceModel,
    )
    from penstock.planning.notes import Notes

T = TypeVar("T")

_PIPELINE_NAME = re.compile(r"\w[\w.-]{0,99}")
NAMELESS = "pipeline"
"""What a pipeline is called when neither a document nor a file tells."""


@dataclass(frozen=True, slots=True)
class AskedModel:
    """A model, with the schema that its block delivers to."""

    described: Described[DestinationModel]
    schema: str


@dataclass(frozen=True, slots=True)
class Asked:
    """Everything that the documents ask for. `warehouse` is empty where no document names one."""

    name: str
    warehouse: str
    tables: tuple[Described[SourceModel], ...]
    models: tuple[AskedModel, ...]
    rules: tuple[Described[Rule], ...]
    volumes: tuple[Described[DataVolume], ...]
    analytics: tuple[Described[AnalyticsRequirements], ...]
    apis: tuple[Described[ApiIntegration], ...]
    connections: Mapping[str, Described[Connection]]
    settings: Mapping[str, object]
    schema: str
    """The schema that the first block delivers to: for models that no document describes."""
    whole: Spot
    """The first block, or the files as a whole where there is none."""


def ask(documents: Documents, name: str | None, whole: Spot, notes: Notes) -> Asked:
    """Bring the blocks together. What stands twice, or contradicts what stood before, is noted at the second."""
    schemas = list(_of(documents, SchemaToStream))
    destinations = list(_destinations(schemas))
    warehouse = _agreed("the warehouse", _warehouses(destinations), notes)
    pulses, builders = _of(documents, PulseToStream), _of(documents, BuilderToStream)
    return Asked(
        _name(documents, schemas, name, whole, notes),
        warehouse.part if warehouse is not None else "",
        tuple(_once("table", (table for schema in schemas for table in _tables(schema)), _table_name, notes)),
        tuple(_once("model", (model for to in destinations for model in _models(to)), _model_name, notes)),
        tuple(rule for schema in schemas for rule in _rules(schema)),
        tuple(_volumes(schemas)),
        tuple(
            Described(pulse.part.analytics_requirements, pulse.spot.down("analytics_requirements")) for pulse in pulses
        ),
        tuple(Described(builder.part.api_integration, builder.spot.down("api_integration")) for builder in builders),
        _connections(schemas, notes),
        _settings(schemas, notes),
        next((to.part.schema_ for to in destinations if to.part.schema_), ""),
        whole,
    )


# --- the parts of blocks ------------------------------------------------------------------------------------------


def _of(documents: Documents, kind: type[T]) -> Iterator[Described[T]]:
    for block in documents.blocks:
        if isinstance(block.document, kind):
            yield Described(block.document, Spot(block.places))


def _destinations(schemas: Iterable[Described[SchemaToStream]]) -> Iterator[Described[DestinationRequirements]]:
    for schema in schemas:
        if schema.part.destination_requirements is not None:
            yield Described(schema.part.destination_requirements, schema.spot.down("destination_requirements"))


def _warehouses(destinations: Iterable[Described[DestinationRequirements]]) -> Iterator[Described[str]]:
    for to in destinations:
        if to.part.warehouse:
            yield Described(to.part.warehouse, to.spot.down("warehouse"))


def _tables(schema: Described[SchemaToStream]) -> Iterator[Described[SourceModel]]:
    for index, table in enumerate(schema.part.source_models):
        yield Described(table, schema.spot.down("source_models", index))


def _models(to: Described[DestinationRequirements]) -> Iterator[AskedModel]:
    for index, model in enumerate(to.part.models):
        yield AskedModel(Described(model, to.spot.down("models", index)), to.part.schema_)


def _rules(schema: Described[SchemaToStream]) -> Iterator[Described[Rule]]:
    for index, rule in enumerate(schema.part.quality_requirements):
        yield Described(rule, schema.spot.down("quality_requirements", index))


def _volumes(schemas: Iterable[Described[SchemaToStream]]) -> Iterator[Described[DataVolume]]:
    for schema in schemas:
        if schema.part.data_volume is not None:
            yield Described(schema.part.data_volume, schema.spot.down("data_volume"))


def _table_name(table: Described[SourceModel]) -> Described[str]:
    return Described(table.part.table, table.spot.down("table"))


def _model_name(model: AskedModel) -> Described[str]:
    return Described(model.described.part.name, model.described.spot.down("name"))


# --- bringing them together ---------------------------------------------------------------------------------------


def _once(what: str, items: Iterable[T], name_of: Callable[[T], Described[str]], notes: Notes) -> Iterator[T]:
    """Yield the items whose names are new; names that differ in case alone are one name to most warehouses."""
    first: dict[str, Described[str]] = {}
    for item in items:
        name = name_of(item)
        before = first.setdefault(name.part.casefold(), name)
        if before is name:
            yield item
        else:
            notes.add(codes.DESCRIBED_TWICE, name.place, f"{what} `{name.part}` is described in {before.place} already")


def _agreed(what: str, values: Iterable[Described[T]], notes: Notes) -> Described[T] | None:
    """Return the first value; others must be equal to it."""
    first: Described[T] | None = None
    for value in values:
        first = first or value
        if value.part != first.part:
            notes.add(
                codes.DISAGREEMENT,
                value.place,
                f"{what} is `{value.part}` here and `{first.part}` in {first.place}",
            )
    return first


def _name(
    documents: Documents, schemas: Iterable[Described[SchemaToStream]], name: str | None, whole: Spot, notes: Notes
) -> str:
    """The argument, else what a document says, else the name of the only file with a SCHEMA block, else the folder."""
    said = [Described(schema.part.pipeline, schema.spot.down("pipeline")) for schema in schemas if schema.part.pipeline]
    agreed = _agreed("the pipeline's name", said, notes)
    if name is None and agreed is not None:
        return agreed.part
    files = {schema.place.path for schema in schemas}
    fallback = next(iter(files)).replace("\\", "/").rsplit("/", 1)[-1].rsplit(".", 1)[0] if len(files) == 1 else ""
    chosen = name or fallback or documents.root.resolve().name or NAMELESS
    if name is None:
        chosen = re.sub(r"[^\w.-]+", "_", chosen).lstrip(".-") or NAMELESS
    if _PIPELINE_NAME.fullmatch(chosen) is None:
        notes.add(codes.NOT_A_NAME, whole.at(), f"`{chosen}` cannot name a pipeline",
                  "use letters, digits, `_`, `-` and `.`, a letter or digit first")  # fmt: skip
    return chosen


def _connections(schemas: Iterable[Described[SchemaToStream]], notes: Notes) -> Mapping[str, Described[Connection]]:
    found: dict[str, list[Described[Connection]]] = {}
    for schema in schemas:
        for name, connection in schema.part.connections.items():
            found.setdefault(name, []).append(Described(connection, schema.spot.down("connections", name)))
    agreed = {name: _agreed(f"connection `{name}`", said, notes) for name, said in sorted(found.items())}
    return {name: connection for name, connection in agreed.items() if connection is not None}


def _settings(schemas: Iterable[Described[SchemaToStream]], notes: Notes) -> Mapping[str, object]:
    found: dict[str, list[Described[object]]] = {}
    for schema in schemas:
        for name, value in schema.part.settings.items():
            found.setdefault(name, []).append(Described(value, schema.spot.down("settings", name)))
    agreed = {name: _agreed(f"setting {name}", said, notes) for name, said in sorted(found.items())}
    return {name: setting.part for name, setting in agreed.items() if setting is not None}
