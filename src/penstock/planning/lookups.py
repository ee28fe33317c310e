"""Lookups: which row of which table belongs to a record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from penstock.expressions import TIMES, NotAnExpression, Scope, did_you_mean, read_expression, read_value
from penstock.model.pipeline import Lookup
from penstock.model.schema import NUMBERS, DataType, Field
from penstock.planning import codes
from penstock.planning.naming import find
from penstock.planning.sources import known_columns, note_unknown_column

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from penstock.documents import kinds
    from penstock.model.pipeline import ForeignKey, SourceTable
    from penstock.planning.notes import Described, Notes, Spot


@dataclass(frozen=True, slots=True)
class Found:
    """A lookup whose table and key are known. `visible` is what expressions may name of its row."""

    name: str
    table: str
    on: tuple[str, ...]
    key: tuple[str, ...]
    visible: tuple[Field, ...]
    is_chosen: bool
    defaults: Mapping[str, str]
    required: bool
    spot: Spot

    def fetching(self, used: Iterable[str]) -> Lookup:
        """Return the lookup with the columns that the document chose, or else those that are used."""
        wanted = {*used, *self.defaults}
        columns = tuple(field for field in self.visible if self.is_chosen or field.name in wanted)
        return Lookup(
            self.name, self.table, self.on, self.key, columns, dict(self.defaults), self.required, self.spot.at()
        )


@dataclass(frozen=True, slots=True)
class _Planner:
    """One lookup of one model, while it is planned."""

    part: kinds.Lookup
    spot: Spot
    source: SourceTable
    table: SourceTable
    notes: Notes

    @property
    def reference(self) -> ForeignKey | None:
        """The only foreign key of the source to the table."""
        leading = _leading_to(self.source, self.table)
        return leading[0] if len(leading) == 1 else None

    def on(self) -> tuple[str, ...] | None:
        """Return what is looked up, as the document says or as the foreign key does."""
        if self.part.on:
            return self.part.on
        if self.reference is not None:
            return (self.reference.column,)
        many = len(_leading_to(self.source, self.table)) > 1
        self.notes.add(
            codes.NO_KEY, self.spot.at(),
            f"{'several foreign keys lead' if many else 'no foreign key leads'} from `{self.source.name}` "
            f"to `{self.table.name}`",
            f"say `on:` with a column of `{self.source.name}`",
        )  # fmt: skip
        return None

    def key(self, on: tuple[str, ...]) -> tuple[str, ...] | None:
        """Return the columns that the row is found by."""
        names = [field.name for field in self.table.fields]
        if self.part.key:
            key = tuple(
                known_columns(self.part.key, names, self.spot.down("key" if self._has_key else "on"), self.notes)
            )
            return key if len(key) == len(self.part.key) else None
        if len(on) == 1:
            column = find(on[0], [field.name for field in self.source.fields])
            named = [fk.to_column for fk in _leading_to(self.source, self.table) if fk.column == column]
            if named and (known := find(named[0], names)):
                return (known,)
        if self.table.primary_key and len(self.table.primary_key) == len(on):
            return self.table.primary_key
        self.notes.add(
            codes.NO_KEY, self.spot.at("on"),
            f"`{self.table.name}` has no primary key of {len(on)} column{'s' if len(on) != 1 else ''}",
            f"say `key:` with columns of `{self.table.name}`",
        )  # fmt: skip
        return None

    @property
    def _has_key(self) -> bool:
        """False where `on` is a mapping, whose keys are the key."""
        return self.spot.at("key") != self.spot.at()

    def keys_read(self, on: tuple[str, ...], key: tuple[str, ...]) -> tuple[str, ...] | None:
        """Return `on` as SQL over the source's columns, each comparable with its key column."""
        scope = Scope(self.source.fields, name=self.source.name)
        types = {field.name: field.type for field in self.table.fields}
        read = []
        for index, (text, column) in enumerate(zip(on, key, strict=True)):
            place = self.spot.at("on", index) if not self._is_mapping(column) else self.spot.at("on", column)
            try:
                expression = read_expression(text, scope)
            except NotAnExpression as why:
                self.notes.expression(place, why, "on")
                continue
            if not _are_comparable(expression.type, types[column]):
                self.notes.add(
                    codes.NOT_A_CONVERSION, place,
                    f"`{text}` is {expression.type}, and `{self.table.name}.{column}` is {types[column]}",
                    f"write `cast({text} as {types[column]})`",
                )  # fmt: skip
            read.append(expression.sql)
        return tuple(read) if len(read) == len(on) else None

    def _is_mapping(self, column: str) -> bool:
        return self.spot.at("on", column) != self.spot.at("on")

    def visible(self) -> tuple[Field, ...]:
        """Return the row's columns that expressions may name."""
        if not self.part.columns:
            return self.table.fields
        names = [field.name for field in self.table.fields]
        chosen = set(known_columns(self.part.columns, names, self.spot.down("columns"), self.notes))
        return tuple(field for field in self.table.fields if field.name in chosen)

    def defaults(self, visible: tuple[Field, ...]) -> Iterator[tuple[str, str]]:
        """Yield the values that stand in where nothing matches, as SQL of their columns' types."""
        fields = {field.name: field for field in visible}
        for written, value in self.part.default.items():
            spot = self.spot.down("default", written)
            name = find(written, fields)
            if name is None:
                note_unknown_column(written, fields, spot, self.notes, self.table.name)
                continue
            try:
                yield name, read_value(value, fields[name].type)
            except NotAnExpression as why:
                self.notes.add(codes.NOT_A_VALUE, spot.at(), why.message, why.remedy)


def plan_lookups(
    model: Described[kinds.DestinationModel], source: SourceTable, tables: Mapping[str, SourceTable], notes: Notes
) -> tuple[Found, ...]:
    """Return the model's lookups; what is wrong with one leaves it out, and is noted."""
    found: list[Found] = []
    for index, part in enumerate(model.part.lookups):
        spot = model.spot.down("lookups", index)
        table = find(part.table, tables)
        if table is None:
            remedy = did_you_mean(part.table, tables, codes.UNKNOWN_TABLE.remedy)
            notes.add(codes.UNKNOWN_TABLE, spot.at("table"), f"no source table is called `{part.table}`", remedy)
            continue
        name = part.name or table
        _name_is_free(name, spot, source, [other.name for other in found], notes)
        planned = _plan_lookup(name, _Planner(part, spot, source, tables[table], notes))
        if planned is not None:
            found.append(planned)
    return tuple(found)


def _plan_lookup(name: str, planner: _Planner) -> Found | None:
    visible = planner.visible()
    defaults = dict(planner.defaults(visible))
    on = planner.on()
    key = planner.key(on) if on is not None else None
    read = planner.keys_read(on, key) if on is not None and key is not None else None
    # An unfinished lookup still lends its names to expressions, or each of them would be a finding of its own.
    return Found(
        name, planner.table.name, read or (), key or (), visible, bool(planner.part.columns), defaults,
        planner.part.required, planner.spot,
    )  # fmt: skip


def _name_is_free(name: str, spot: Spot, source: SourceTable, others: list[str], notes: Notes) -> None:
    place = spot.at("name") if spot.at("name") != spot.at() else spot.at("table")
    if find(name, [field.name for field in source.fields]):
        notes.add(codes.LOOKUP_NAME, place, f"`{name}` is a column of `{source.name}` as well")
    elif name.casefold() == source.name.casefold():
        notes.add(codes.LOOKUP_NAME, place, f"`{name}` is the model's own source as well")
    elif find(name, others):
        notes.add(codes.LOOKUP_NAME, place, f"two lookups are called `{name}`")


def _leading_to(source: SourceTable, table: SourceTable) -> list[ForeignKey]:
    return [fk for fk in source.foreign_keys if fk.table.casefold() == table.name.casefold()]


def _are_comparable(one: DataType, other: DataType) -> bool:
    kinds_ = {one.kind, other.kind}
    return len(kinds_) == 1 or kinds_ <= NUMBERS or kinds_ <= TIMES
