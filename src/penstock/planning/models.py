"""Models: from which source, with which columns, into what shape."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from penstock.expressions import TIMES, NotAnExpression, Scope, did_you_mean, read_predicate, read_value
from penstock.model.pipeline import Filter, Masking, Model, Partitioning, UnitTest, WriteMode
from penstock.planning import codes
from penstock.planning.columns import ColumnPlanner
from penstock.planning.connections import API_KIND
from penstock.planning.lookups import plan_lookups
from penstock.planning.naming import find, key_aliases, likely_source
from penstock.planning.routes import elsewhere, read_route
from penstock.planning.sources import known_columns, note_unknown_column

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from penstock.documents.kinds import DestinationModel, Example
    from penstock.expressions import Expression
    from penstock.model.pipeline import Column, Lookup, SourceTable
    from penstock.model.schema import Field
    from penstock.planning.asking import AskedModel
    from penstock.planning.columns import Planned
    from penstock.planning.lookups import Found
    from penstock.planning.notes import Described, Notes, Spot

CHANGES = "changes"
"""What the option `read` of a connection says where updates and deletes come, too."""
LOOK_ALIKE = frozenset({Masking.REDACT, Masking.PARTIAL})
"""Maskings that give different values one look, so that a row can no longer be told by them."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A model without its rules. `origins` maps columns to the source column whose value they hold, masked or not.

    `filters_at_source` is SQL over source columns for what the filters leave out; None where a filter looks rows up.
    `route` is SQL over source columns for the records that come here, None where all do.
    """

    model: Model
    source: SourceTable
    spot: Spot
    origins: Mapping[str, str]
    filters_at_source: tuple[str, ...] | None
    route: Expression | None


def plan_model(
    asked: AskedModel, tables: Mapping[str, SourceTable], rules: Iterable[str], notes: Notes
) -> Draft | None:
    """Return the model as it will be delivered, without rules; None where its source is not known.

    `rules` are the texts of the rules that are about it: they may call the source's key by its other name.
    """
    described = asked.described
    source = source_of(described, tables, notes)
    if source is None:
        return None
    lookups = plan_lookups(described, source, tables, notes)
    scope = Scope(source.fields, {lookup.name: lookup.visible for lookup in lookups}, source.name)
    planned = ColumnPlanner(source, _aliases(described.part, source, rules), scope, notes).plan(described)
    route = read_route(described, source, notes)
    filters = [*([] if route is None else [elsewhere(described, route)]), *_filters(described, scope, notes)]
    model = _Shape(described, tuple(one.column for one in planned), notes).model(asked.schema, source.name)
    model = msgspec.structs.replace(
        model,
        lookups=tuple(_with_columns(lookups, planned, [expression for _, expression in filters])),
        filters=tuple(filter_ for filter_, _ in filters),
        tests=tuple(_tests(described, source, lookups, model, notes)),
    )
    if model.version_by and source.connection.options.get("read") == CHANGES:
        place = described.spot.at("version_by")
        what = f"changes of `{source.name}` come in their order, and a delete brings no `{model.version_by}`"
        notes.add(codes.NO_EFFECT, place, what, "take `version_by` out")
    looks_up = any(expression.looked_up for _, expression in filters)
    return Draft(
        model,
        source,
        described.spot,
        {one.column.name: one.origin for one in planned if one.origin},
        None if looks_up else tuple(filter_.predicate for filter_, _ in filters),
        route,
    )


def source_of(
    model: Described[DestinationModel], tables: Mapping[str, SourceTable], notes: Notes
) -> SourceTable | None:
    """Return the table that feeds `model`: the one it names, or is called like, or the only one that is described.

    An endpoint of an API is the only one where there is no other table. None, with a note, where nothing tells.
    """
    part, spot = model.part, model.spot
    if part.source:
        name = find(part.source, tables)
        if name is None:
            remedy = did_you_mean(part.source, tables, codes.UNKNOWN_TABLE.remedy)
            notes.add(codes.UNKNOWN_TABLE, spot.at("source"), f"no source table is called `{part.source}`", remedy)
        return tables[name] if name is not None else None
    name = likely_source(part.name, tables)
    own = [key for key, table in tables.items() if table.connection.kind != API_KIND] or list(tables)
    if name is None and len(own) == 1:
        name = own[0]
    if name is None:
        listed = ", ".join(f"`{table}`" for table in tables)
        remedy = f"say `source:` with one of {listed}" if tables else "describe one in `source_models`"
        notes.add(codes.UNKNOWN_SOURCE, spot.at("name"), f"`{part.name}` is called like no source table", remedy)
        return None
    return tables[name]


def _aliases(part: DestinationModel, source: SourceTable, rules: Iterable[str]) -> Mapping[str, str]:
    """Map the other name of the source's key to it, when the model calls it so: `order_id` for the `id` of `orders`."""
    if len(source.primary_key) != 1 or find(source.primary_key[0], [column.from_ for column in part.columns]):
        return {}
    key = source.primary_key[0]
    words = {word.casefold() for text in rules for word in re.findall(r"\w+", text)}
    words |= {name.casefold() for name in (*part.grain, *part.clustering, part.version_by)}
    words |= {part.partitioning.column.casefold()} if part.partitioning else set()
    words |= {column.name.casefold() for column in part.columns if not column.from_ and not column.expression}
    defined = [field.name for field in source.fields]
    defined += [column.name for column in part.columns if column.from_ or column.expression]
    for alias in key_aliases(source.name, key):
        if alias.casefold() in words and find(alias, defined) is None:
            return {alias: key}
    return {}


def _filters(model: Described[DestinationModel], scope: Scope, notes: Notes) -> Iterator[tuple[Filter, Expression]]:
    for index, part in enumerate(model.part.filters):
        place = model.spot.at("filters", index, "when")
        try:
            expression = read_predicate(part.when, scope)
        except NotAnExpression as why:
            notes.expression(place, why, "filter")
        else:
            yield Filter(part.reason or part.when, expression.sql, model.spot.at("filters", index)), expression


def _with_columns(
    lookups: Iterable[Found], planned: Iterable[Planned], filters: Iterable[Expression]
) -> Iterator[Lookup]:
    used = {pair for one in planned for pair in one.looked_up} | {pair for one in filters for pair in one.looked_up}
    for lookup in lookups:
        yield lookup.fetching(column for table, column in used if table == lookup.name)


@dataclass(frozen=True, slots=True)
class _Shape:
    """How the model's rows lie at the destination: everything that names its columns."""

    described: Described[DestinationModel]
    columns: tuple[Column, ...]
    notes: Notes

    def model(self, schema: str, source: str) -> Model:
        part = self.described.part
        grain = self._grain()
        return Model(
            name=part.name,
            schema=schema,
            source=source,
            grain=grain,
            columns=tuple(self._not_null(column, grain) for column in self.columns),
            place=self.described.place,
            write_mode=part.write_mode,
            version_by=self._version_by(),
            min_score=part.min_score,
            score_column=self._score_column(),
            partitioning=self._partitioning(),
            clustering=tuple(self._known(part.clustering, "clustering")),
            dead_letters_max=part.max_dead_letters,
        )

    @property
    def _names(self) -> list[str]:
        return [column.name for column in self.columns]

    def _spot(self, *path: str | int) -> Spot:
        return self.described.spot.down(*path)

    def _known(self, names: Iterable[str], key: str) -> Iterator[str]:
        return known_columns(names, self._names, self._spot(key), self.notes)

    def _one(self, name: str, *path: str | int) -> Column | None:
        found = find(name, self._names)
        if found is None:
            note_unknown_column(name, self._names, self._spot(*path), self.notes, self.described.part.name)
            return None
        return next(column for column in self.columns if column.name == found)

    def _grain(self) -> tuple[str, ...]:
        part = self.described.part
        if part.write_mode is WriteMode.MERGE and not part.grain:
            place = self._spot("write_mode").at()
            self.notes.add(codes.NO_GRAIN, place, f"`{part.name}` merges, and does not say what a row is")
        grain = tuple(self._known(part.grain, "grain"))
        for column in self.columns:
            if column.name in grain and column.masking in LOOK_ALIKE:
                self.notes.add(
                    codes.NOT_MASKABLE, self._spot("grain").at(),
                    f"`{column.name}` is masked so that different values look alike, and names a row",
                    "mask it by `hash`",
                )  # fmt: skip
        return grain

    @staticmethod
    def _not_null(column: Column, grain: tuple[str, ...]) -> Column:
        return msgspec.structs.replace(column, nullable=column.nullable and column.name not in grain)

    def _version_by(self) -> str:
        part = self.described.part
        if not part.version_by:
            return ""
        if part.write_mode is not WriteMode.MERGE:
            place = self._spot("version_by").at()
            self.notes.add(codes.NO_EFFECT, place, "`version_by` without `write_mode: merge`", "merge, or take it out")
        column = self._one(part.version_by, "version_by")
        if column is not None and column.masking is not None:
            self.notes.add(
                codes.NOT_MASKABLE,
                self._spot("version_by").at(),
                f"`{column.name}` is masked, and tells versions apart",
            )
        return column.name if column is not None else ""

    def _score_column(self) -> str:
        name = self.described.part.score_column
        if name and find(name, self._names):
            self.notes.add(
                codes.COLUMN_TWICE, self._spot("score_column").at(), f"the model has a column `{name}` already"
            )
        return name

    def _partitioning(self) -> Partitioning | None:
        wanted = self.described.part.partitioning
        if wanted is None:
            return None
        column = self._one(wanted.column, "partitioning", "column")
        if column is None:
            return None
        if wanted.interval is not None and column.type.kind not in TIMES:
            self.notes.add(
                codes.NOT_A_TIME, self._spot("partitioning").at(),
                f"`{column.name}` is {column.type}, which has no {wanted.interval.value} parts",
            )  # fmt: skip
        return Partitioning(column.name, wanted.interval.value if wanted.interval else "", wanted.type.value)


# --- unit tests ---------------------------------------------------------------------------------------------------


def _tests(
    described: Described[DestinationModel], source: SourceTable, lookups: Iterable[Found], model: Model, notes: Notes
) -> Iterator[UnitTest]:
    inputs = {field.name: field for field in source.fields}
    inputs |= {f"{lookup.name}.{field.name}": field for lookup in lookups for field in lookup.visible}
    outputs = {field.name: field for field in model.fields}
    if described.part.tests:
        notes.add(codes.UNIT_TESTS, described.spot.key("tests"), f"tests of `{model.name}` are not run yet")
    for index, example in enumerate(described.part.tests):
        spot = described.spot.down("tests", index)
        yield UnitTest(
            example.name,
            example.description,
            dict(_values(example, "input", inputs, spot, notes)),
            dict(_values(example, "expected", outputs, spot, notes)),
            spot.at(),
        )


def _values(
    example: Example, side: str, fields: Mapping[str, Field], spot: Spot, notes: Notes
) -> Iterator[tuple[str, str | None]]:
    given = example.input if side == "input" else example.expected
    for written, value in given.items():
        place = spot.down(side, written)
        name = find(written, fields)
        if name is None:
            what = "a column of the source or of a lookup" if side == "input" else "a column of the model"
            notes.add(
                codes.UNKNOWN_COLUMN, spot.key(side, written), f"`{written}` is not {what}",
                did_you_mean(written, fields, codes.UNKNOWN_COLUMN.remedy),
            )  # fmt: skip
            continue
        try:
            yield name, None if value is None else read_value(value, fields[name].type)
        except NotAnExpression as why:
            notes.add(codes.NOT_A_VALUE, place.at(), f"`{name}`: {why.message}", why.remedy)
