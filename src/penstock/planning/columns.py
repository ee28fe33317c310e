"""The columns of a model: copied, renamed, computed, masked, and in which order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from penstock.expressions import NotAnExpression, is_castable, is_reserved, quote, read_expression
from penstock.model.pipeline import Column
from penstock.model.schema import DataType, Kind
from penstock.planning import codes
from penstock.planning.naming import find
from penstock.planning.sources import note_unknown_column

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from penstock.documents.kinds import DestinationModel, ModelColumn
    from penstock.expressions import Expression, Scope
    from penstock.model.pipeline import SourceTable
    from penstock.model.schema import Field
    from penstock.planning.notes import Described, Notes, Spot

TEXT = DataType(Kind.TEXT)


@dataclass(frozen=True, slots=True)
class Planned:
    """A column, the source column whose value it holds (masked or not; empty if computed), and what it looks up."""

    column: Column
    origin: str = ""
    looked_up: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class ColumnPlanner:
    """Plans the columns of one model. `aliases` maps other names of the source's key to it: order_id to id."""

    source: SourceTable
    aliases: Mapping[str, str]
    scope: Scope
    notes: Notes

    def plan(self, model: Described[DestinationModel]) -> tuple[Planned, ...]:
        """Return the columns in their order. Entries of the document stand where they are written.

        `*` stands for the rest in the source's order, and an entry after it that replaces one of the source's
        columns takes that column's place.
        """
        entries = [(entry, model.spot.down("columns", index)) for index, entry in enumerate(model.part.columns)]
        planned: dict[str, Planned] = {}
        for one, spot in self._in_order(entries):
            if one is None:
                continue
            if one.column.name.casefold() in planned:
                self.notes.add(
                    codes.COLUMN_TWICE, spot.at("name"), f"the model has a column `{one.column.name}` already"
                )
            planned.setdefault(one.column.name.casefold(), one)
        return tuple(planned.values())

    def _in_order(self, entries: list[tuple[ModelColumn, Spot]]) -> Iterator[tuple[Planned | None, Spot]]:
        stars = [index for index, (entry, _) in enumerate(entries) if entry.is_rest]
        star = stars[0] if stars else len(entries)
        for second in stars[1:]:
            self.notes.add(codes.COLUMN_TWICE, entries[second][1].at(), "`*` stands twice")
        replaced = self._replaced([entry for entry, _ in entries])
        moved = {index for index in replaced.values() if index > star}
        for index, (entry, spot) in enumerate(entries):
            if index == star:
                for field in self.source.fields:
                    if field.name not in replaced:
                        yield self._copy(self._name_of(field), field), spot
                    elif replaced[field.name] in moved:
                        yield self._entry(*entries[replaced[field.name]]), entries[replaced[field.name]][1]
            elif not entry.is_rest and index not in moved:
                yield self._entry(entry, spot), spot

    def _replaced(self, entries: list[ModelColumn]) -> dict[str, int]:
        """Map source columns to the first entry that stands in for each."""
        replaced: dict[str, int] = {}
        for index, entry in enumerate(entries):
            origin = None if entry.is_rest else self._origin(entry.from_ or entry.name)
            if origin is not None:
                replaced.setdefault(origin.name, index)
        return replaced

    def _origin(self, name: str) -> Field | None:
        names = {field.name: field for field in self.source.fields}
        found = find(name, names)
        if found is None and (alias := find(name, self.aliases)):
            found = self.aliases[alias]
        return names[found] if found is not None else None

    def _name_of(self, field: Field) -> str:
        return next((alias for alias, name in self.aliases.items() if name == field.name), field.name)

    def _entry(self, entry: ModelColumn, spot: Spot) -> Planned | None:
        if is_reserved(entry.name):
            self.notes.add(codes.RESERVED, spot.at("name"), f"column `{entry.name}`")
        if entry.expression:
            return self._computed(entry, spot)
        origin = self._origin(entry.from_ or entry.name)
        if origin is None:
            names = [field.name for field in self.source.fields]
            below = spot.down("from") if entry.from_ else spot.down("name")
            note_unknown_column(entry.from_ or entry.name, names, below, self.notes, self.source.name)
            return None
        return self._copied(entry, origin, spot)

    def _copy(self, name: str, field: Field) -> Planned:
        column = Column(name, field.type, quote(field.name), copied_from=field.name, nullable=field.nullable)
        return Planned(column, field.name)

    def _copied(self, entry: ModelColumn, origin: Field, spot: Spot) -> Planned | None:
        if entry.type is None and entry.mask is None:
            return self._copy(entry.name, origin)
        wanted = self._wanted(entry, spot) or origin.type
        if not is_castable(origin.type, wanted):
            self.notes.add(
                codes.NOT_A_CONVERSION,
                spot.at("type"),
                f"`{origin.name}` is {origin.type}, and cannot be made {wanted}",
            )
            return None
        return self._planned(entry, read_expression(quote(origin.name), self.scope, wanted), origin)

    def _computed(self, entry: ModelColumn, spot: Spot) -> Planned | None:
        try:
            expression = read_expression(entry.expression, self.scope, self._wanted(entry, spot))
        except NotAnExpression as why:
            self.notes.expression(spot.at("expression"), why, f"`{entry.name}`")
            return None
        origin = self._origin(expression.columns[0]) if expression.is_column else None
        return self._planned(entry, expression, origin)

    def _wanted(self, entry: ModelColumn, spot: Spot) -> DataType | None:
        """The type that the document declares; a masked value is text."""
        if entry.mask is None:
            return entry.type
        if entry.type is not None and entry.type != TEXT:
            self.notes.add(
                codes.NOT_MASKABLE, spot.at("type"), f"`{entry.name}` is masked, and so text, not {entry.type}",
                "leave the type out, or declare text",
            )  # fmt: skip
        return TEXT

    def _planned(self, entry: ModelColumn, expression: Expression, origin: Field | None) -> Planned:
        is_unchanged = origin is not None and entry.mask is None and expression.sql == quote(origin.name)
        type_ = expression.type
        if is_unchanged and origin is not None and entry.type is None:
            type_ = origin.type
        column = Column(
            entry.name,
            type_,
            expression.sql,
            copied_from=origin.name if is_unchanged and origin is not None else "",
            masking=entry.mask,
            nullable=origin.nullable if origin is not None else True,
        )
        return Planned(column, origin.name if origin is not None else "", expression.looked_up)
