"""A table as the server's catalog knows it: its columns, what names its rows, and how rows are found again by that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from penstock.connectors.postgres import Codes, execute, explained, open_connection, place_of
from penstock.connectors.sources.files.columns import check_columns
from penstock.errors import UserMistake
from penstock.expressions import quote

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from penstock.connectors.postgres.connection import Session
    from penstock.connectors.sources.postgres.positions import Key
    from penstock.model.pipeline import SourceTable

CODES = Codes(
    away="INT_ALPHA_014",
    denied="INT_ALPHA_014",
    missing="INT_ALPHA_010",
    full="INT_ALPHA_014",
    wrong="INT_ALPHA_011",
)
"""What goes wrong with PostgreSQL, as a source says it."""
SCHEMA_DEFAULT = "public"

_COLUMNS = """
    SELECT attname, format_type(atttypid, atttypmod), attnotnull, typnamespace::regnamespace::text,
           atttypid = 'money'::regtype, attgenerated <> ''
    FROM pg_attribute JOIN pg_type ON pg_type.oid = atttypid
    WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped ORDER BY attnum
"""
_TABLE = """
    SELECT pg_class.oid, relkind::text, relreplident::text
    FROM pg_class JOIN pg_namespace ON relnamespace = pg_namespace.oid
    WHERE nspname = $1 AND relname = $2 AND relkind IN ('r', 'p', 'v', 'm', 'f')
"""
_INDEX_COLUMNS = """
    SELECT attname FROM pg_index, unnest(indkey) WITH ORDINALITY AS part (attnum, place)
    JOIN pg_attribute USING (attnum)
    WHERE indrelid = $1 AND attrelid = $1 AND {which} AND place <= indnkeyatts ORDER BY place
"""
_SIMILAR = """
    SELECT nspname || '.' || relname FROM pg_class JOIN pg_namespace ON relnamespace = pg_namespace.oid
    WHERE relkind IN ('r', 'p', 'v', 'm', 'f') AND (lower(relname) = lower($1)) ORDER BY 1 LIMIT 3
"""


@dataclass(frozen=True, slots=True)
class Column:
    """A column, its type as SQL writes it, and the schema that the type's operators are in."""

    name: str
    type: str
    not_null: bool
    type_schema: str
    is_money: bool
    is_generated: bool

    @property
    def sql(self) -> str:
        """The value as SQL, so that its text does not depend on the server's locale."""
        return f"{quote(self.name)}::numeric" if self.is_money else quote(self.name)


@dataclass(frozen=True, slots=True)
class Relation:
    """A table or view. `key` names its rows; `identity` is what a logged update or delete tells of the old row.

    `identity` is None for all of it, empty for nothing.
    """

    oid: int
    schema: str
    name: str
    kind: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    identity: tuple[str, ...] | None

    @property
    def sql(self) -> str:
        """Its name as SQL."""
        return f"{quote(self.schema)}.{quote(self.name)}"

    @property
    def partition(self) -> str:
        """What the one partition of the source is called."""
        return f"{self.schema}.{self.name}"

    def column(self, name: str) -> Column:
        """Return the column called `name`, which is there."""
        return next(column for column in self.columns if column.name == name)

    def selected(self, names: Sequence[str]) -> str:
        """Return the columns called `names` for a SELECT."""
        return ", ".join(self.column(name).sql for name in names)

    def listed(self, names: Sequence[str]) -> str:
        """Return the columns called `names` as a list to compare or to order by."""
        return ", ".join(quote(name) for name in names)

    def behind(self, names: Sequence[str], values: Key) -> str:
        """Return the condition that a row's `names` are greater than `values`."""
        return f"({self.listed(names)}) > ({', '.join(self.values(names, values))})"

    def values(self, names: Sequence[str], values: Key) -> Iterator[str]:
        """Yield `values` as constants of the types of `names`."""
        for name, value in zip(names, values, strict=True):
            yield f"{text_literal(value)}::{self.column(name).type}"


def text_literal(text: str) -> str:
    """Return `text` as a constant; the session has `standard_conforming_strings` on."""
    return "'" + text.replace("'", "''") + "'"


def open_session(table: SourceTable) -> Session:
    """Open a connection to where `table` lies. Raises Unavailable or UserMistake INT_ALPHA_014."""
    return open_connection(table.connection, CODES)


def look_up(session: Session, table: SourceTable) -> Relation:
    """Return what the catalog says of `table`, and let the session find the operators of its key.

    Raises UserMistake INT_ALPHA_010 where it is not there, INT_ALPHA_011 where it lacks a column.
    """
    schema = table.schema or SCHEMA_DEFAULT
    with explained(place_of(table.connection), CODES):
        found = execute(session, _TABLE, [schema, table.name]).fetchall()
        if not found:
            raise _missing(session, schema, table)
        ((oid, kind, identity),) = found
        columns = tuple(Column(*row) for row in execute(session, _COLUMNS, [oid]))
        declared = [field.name for field in table.fields]
        check_columns(f"{schema}.{table.name}", [column.name for column in columns], [*declared, *table.primary_key])
        own_key = _index_columns(session, oid, "indisprimary")
        relation = Relation(
            oid, schema, table.name, kind, columns,
            key=own_key or table.primary_key,
            identity=_identity(session, oid, identity, own_key),
        )  # fmt: skip
        schemas = dict.fromkeys(["pg_catalog", *(column.type_schema for column in columns)])
        execute(session, f"SET search_path = {', '.join(schemas)}, pg_temp")
    return relation


def _identity(session: Session, oid: int, identity: str, own_key: tuple[str, ...]) -> tuple[str, ...] | None:
    match identity:
        case "f":
            return None
        case "i":
            return _index_columns(session, oid, "indisreplident")
        case "d":
            return own_key
        case _:
            return ()


def _index_columns(session: Session, oid: int, which: str) -> tuple[str, ...]:
    return tuple(name for (name,) in execute(session, _INDEX_COLUMNS.format(which=which), [oid]))


def _missing(session: Session, schema: str, table: SourceTable) -> UserMistake:
    similar = [name for (name,) in execute(session, _SIMILAR, [table.name])]
    place = place_of(table.connection)
    return UserMistake(
        "INT_ALPHA_010",
        f"there is no table `{schema}.{table.name}` at `{place}`",
        remedy=f"did you mean {' or '.join(f'`{name}`' for name in similar)}?"
        if similar
        else "create it, or name another",
    )


def require_key(relation: Relation) -> tuple[str, ...]:
    """Return the columns that name a row. UserMistake INT_ALPHA_015 where there are none."""
    if not relation.key:
        raise UserMistake(
            "INT_ALPHA_015",
            f"{relation.partition} has no primary key, so that nothing says how far it has been read",
            remedy="give it one, or declare in the document which columns name a row (`primary_key: true`)",
        )
    return relation.key
