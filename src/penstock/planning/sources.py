"""Source tables: fields, and what every record must meet on arrival."""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.expressions import (
    TIMES,
    NotAnExpression,
    Scope,
    did_you_mean,
    is_reserved,
    literal,
    quote,
    read_predicate,
)
from penstock.model.pipeline import Check, FileFormat, ForeignKey, Index, SchemaPolicy, SourceTable
from penstock.model.schema import Field
from penstock.planning import codes
from penstock.planning.naming import find

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from penstock.documents.kinds import SourceColumn, SourceModel
    from penstock.planning.connections import Connections
    from penstock.planning.notes import Described, Notes, Spot


def plan_source(table: Described[SourceModel], connections: Connections, notes: Notes) -> SourceTable:
    """Return the table as it will be read; foreign keys as written, wherever they lead."""
    part, spot = table.part, table.spot
    fields = fields_of(part.columns, part.table, spot.down("columns"), notes)
    names = [field.name for field in fields]
    if part.schema_policy in {SchemaPolicy.EVOLVE, SchemaPolicy.QUARANTINE}:
        notes.add(codes.POLICY, spot.at("schema_policy"), f"`{part.table}`: {part.schema_policy} is not applied yet")
    return SourceTable(
        name=part.table,
        schema=part.schema_,
        database=part.database,
        connection=connections.of_table(part.database),
        fields=fields,
        place=table.place,
        primary_key=tuple(column.name for column in part.columns if column.primary_key),
        foreign_keys=foreign_keys_of(part.columns, spot.down("columns")),
        indexes=tuple(
            Index(tuple(known_columns(index.columns, names, spot.down("indexes", number, "columns"), notes)))
            for number, index in enumerate(part.indexes)
        ),
        format=FileFormat(part.format.delimiter, part.format.null_values),
        estimated_rows=part.estimated_rows or 0,
        daily_growth=part.daily_growth or 0,
        event_time=_event_time(table, fields, notes),
        critical=_critical(table, fields, notes),
        policy=part.schema_policy,
        checks=tuple(checks_of(fields)),
    )


def known_columns(names: Iterable[str], known: Iterable[str], spot: Spot, notes: Notes) -> Iterator[str]:
    """Yield `names` in their declared spelling; those that are not there are noted, each at its place."""
    known = tuple(known)
    for index, name in enumerate(names):
        found = find(name, known)
        if found is None:
            note_unknown_column(name, known, spot.down(index), notes)
        else:
            yield found


def note_unknown_column(name: str, known: Iterable[str], spot: Spot, notes: Notes, of: str = "") -> None:
    """Note that there is no column of that name, and which one may be meant."""
    what = f"`{name}` is not a column{f' of {of}' if of else ''}"
    notes.add(codes.UNKNOWN_COLUMN, spot.at(), what, did_you_mean(name, known, codes.UNKNOWN_COLUMN.remedy))


def fields_of(columns: Iterable[SourceColumn], table: str, spot: Spot, notes: Notes) -> tuple[Field, ...]:
    """Return the columns of `table`, described at `spot`, as fields."""
    fields: dict[str, Field] = {}
    for index, column in enumerate(columns):
        place = spot.at(index, "name")
        if is_reserved(column.name):
            notes.add(codes.RESERVED, place, f"column `{column.name}` of `{table}`")
        if column.name.casefold() in fields:
            notes.add(codes.COLUMN_TWICE, place, f"`{table}` has a column `{column.name}` already")
        fields.setdefault(column.name.casefold(), Field(column.name, column.type, column.may_be_null))
    return tuple(fields.values())


def foreign_keys_of(columns: Iterable[SourceColumn], spot: Spot) -> tuple[ForeignKey, ...]:
    """Return the references of columns that are described at `spot`, as written, wherever they lead."""
    return tuple(
        ForeignKey(
            column.name,
            column.foreign_key.table,
            column.foreign_key.column,
            spot.at(index, "foreign_key"),
        )
        for index, column in enumerate(columns)
        if column.foreign_key is not None
    )


def _event_time(table: Described[SourceModel], fields: tuple[Field, ...], notes: Notes) -> str:
    wanted, spot = table.part.event_time, table.spot.down("event_time")
    if not wanted:
        return ""
    found = next((field for field in fields if field.name.casefold() == wanted.casefold()), None)
    if found is None:
        note_unknown_column(wanted, [field.name for field in fields], spot, notes, table.part.table)
        return ""
    if found.type.kind not in TIMES:
        near = [field.name for field in fields if field.type.kind in TIMES]
        notes.add(
            codes.NOT_A_TIME, spot.at(), f"`{found.name}` is {found.type}",
            f"dates and times are in {', '.join(f'`{name}`' for name in near)}" if near else "",
        )  # fmt: skip
    return found.name


def _critical(table: Described[SourceModel], fields: tuple[Field, ...], notes: Notes) -> str:
    if table.part.priority is None:
        return ""
    try:
        return read_predicate(table.part.priority.critical, Scope(fields, name=table.part.table)).sql
    except NotAnExpression as why:
        notes.expression(table.spot.at("priority", "critical"), why, "critical")
        return ""


def checks_of(fields: tuple[Field, ...]) -> Iterator[Check]:
    """Yield what the columns' declarations promise; that values are of their types, casting checks."""
    for field in fields:
        name, type_ = quote(field.name), field.type
        if not field.nullable:
            yield Check("INT_ALPHA_003", f"{name} IS NOT NULL", field.name, "a value")
        if type_.length:
            longest = f"at most {type_.length} characters"
            yield Check("INT_ALPHA_002", f"length({name}) <= {type_.length}", field.name, longest)
        if type_.values:
            values = ", ".join(literal(value) for value in type_.values)
            yield Check("INT_ALPHA_002", f"{name} IN ({values})", field.name, f"one of {', '.join(type_.values)}")
