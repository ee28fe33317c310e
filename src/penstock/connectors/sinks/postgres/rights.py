"""What the role that connects may do, found out without doing it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.connectors.postgres import execute
from penstock.connectors.sinks.postgres import marks as marks_table
from penstock.expressions import quote

if TYPE_CHECKING:
    from penstock.connectors.postgres.connection import Session
    from penstock.connectors.sinks.postgres.shape import Shape


def missing_rights(session: Session, shape: Shape) -> list[str]:
    """Return, in words, which rights are missing to write rows and marks, or to create where to write them."""
    appending = ("SELECT", "INSERT")
    merging = (*appending, "UPDATE", "DELETE")
    return [
        *_on_table(session, shape.schema, shape.name, appending if shape.grain is None else merging),
        *_on_table(session, marks_table.SCHEMA, marks_table.NAME, merging),
        *_lacking(session, "has_database_privilege(current_database(), $1)", [], ["TEMPORARY"], "in the database"),
    ]


def _on_table(session: Session, schema: str, name: str, rights: tuple[str, ...]) -> list[str]:
    """Return what is missing on a table where it is there, else on its schema, else on the database."""
    table, place = f"{quote(schema)}.{quote(name)}", f"`{schema}.{name}`"
    if execute(session, "SELECT to_regnamespace($1)", [quote(schema)]).fetchone() == (None,):
        return _lacking(
            session, "has_database_privilege(current_database(), $1)", [], ["CREATE"], f"in the database, for {place}"
        )
    in_schema = _lacking(session, "has_schema_privilege($2, $1)", [schema], ["USAGE"], f"in the schema `{schema}`")
    if in_schema:
        return in_schema
    if execute(session, "SELECT to_regclass($1)", [table]).fetchone() == (None,):
        return _lacking(session, "has_schema_privilege($2, $1)", [schema], ["CREATE"], f"in the schema `{schema}`")
    return _lacking(session, "has_table_privilege($2, $1)", [table], rights, f"on {place}")


def _lacking(
    session: Session, question: str, about: list[str], rights: list[str] | tuple[str, ...], where: str
) -> list[str]:
    return [
        f"{right} {where}"
        for right in rights
        if execute(session, f"SELECT {question}", [right, *about]).fetchone() != (True,)
    ]
