# ruff: noqa: S608 - every name in the statements below has passed `quote`
"""The table that a model wants: creating it, and comparing it with the one that is there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from penstock.connectors.postgres import execute, type_name
from penstock.connectors.sinks.keys import Key, keys_kept
from penstock.errors import UserMistake
from penstock.expressions import quote
from penstock.model.batch import RESERVED, VERSION
from penstock.model.pipeline import WriteMode
from penstock.model.schema import DataType, Field, Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from penstock.connectors.postgres.connection import Session
    from penstock.model.pipeline import Model

SCHEMA_DEFAULT = "public"
"""PostgreSQL's own default."""
NAME_BYTES_MAX = 63
"""PostgreSQL cuts a name that is longer, without an error: two of them could become one."""
_SCHEMA_OF_THE_ENGINE = "information_schema"
_PREFIX_OF_THE_ENGINE = "pg_"
_COLUMNS_OF_THE_ENGINE = frozenset({"tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"})
_TABLES = frozenset({"r", "p"})
"""What `pg_class.relkind` says of a table, and of one that is partitioned."""
_OTHERS = {"v": "view", "m": "materialized view", "f": "foreign table", "S": "sequence", "i": "index"}


@dataclass(frozen=True, slots=True)
class Shape:
    """A table by name, its columns in order, and the keys that may occur once: `grain`, where it merges, and `keys`."""

    schema: str
    name: str
    fields: tuple[Field, ...]
    grain: Key | None
    keys: tuple[Key, ...]

    @property
    def table(self) -> str:
        """The table's whole name, quoted."""
        return f"{quote(self.schema)}.{quote(self.name)}"

    @property
    def names(self) -> tuple[str, ...]:
        """The columns' names, in order."""
        return tuple(field.name for field in self.fields)

    @property
    def columns(self) -> str:
        """The columns' names, quoted, between commas."""
        return ", ".join(map(quote, self.names))

    @property
    def all_keys(self) -> tuple[Key, ...]:
        """The grain of a merge, then the keys besides it."""
        return self.keys if self.grain is None else (self.grain, *self.keys)

    def indexed(self, key: Key) -> bool:
        """Return whether an index can hold `key`: json has no order."""
        return not any(field.type.kind is Kind.JSON for field in self.fields if field.name in key.columns)

    def value(self, row: str, column: str) -> str:
        """Return `column` of the row called `row` as it can be compared."""
        field = next(field for field in self.fields if field.name == column)
        return f"{row}.{quote(column)}{'::text' if field.type.kind is Kind.JSON else ''}"

    def equal(self, key: Key, left: str, right: str) -> str:
        """Return the condition that the rows called `left` and `right` have `key` in common."""
        return " AND ".join(f"{self.value(left, each)} = {self.value(right, each)}" for each in key.columns)

    def list_of(self, key: Key, row: str) -> str:
        """Return the values of `key` in the row called `row`, between commas."""
        return ", ".join(self.value(row, column) for column in key.columns)


def shape_of(model: Model, schema_default: str = SCHEMA_DEFAULT) -> Shape:
    """Return the table that `model` wants: its columns, its score, and the version that a merge may have to keep.

    Raises UserMistake for a name that it cannot have.
    """
    fields = list(model.fields)
    if model.score_column:
        fields.append(Field(model.score_column, DataType(Kind.DOUBLE)))
    assert not {field.name for field in fields} & set(RESERVED), f"{model.name} names a reserved column"
    merges = model.write_mode is WriteMode.MERGE
    if merges and not model.version_by:
        fields.append(Field(VERSION, DataType(Kind.BIGINT)))
    names = tuple(field.name for field in fields)
    schema = model.schema or schema_default
    _check_names(model.name, schema, names)
    grain = Key(model.grain) if merges else None
    return Shape(schema, model.name, tuple(fields), grain, tuple(keys_kept(model, names)))


def _check_names(table: str, schema: str, columns: Iterable[str]) -> None:
    if schema == _SCHEMA_OF_THE_ENGINE or schema.startswith(_PREFIX_OF_THE_ENGINE):
        raise _cannot_be_called(f"`{table}` is to be in the schema `{schema}`, which is PostgreSQL's own", "schema")
    for kind, names in (("schema", (schema,)), ("table", (table,)), ("column", columns)):
        for name in names:
            if not 0 < len(name.encode()) <= NAME_BYTES_MAX or "\0" in name:
                raise _cannot_be_called(
                    f"`{name}` cannot name a {kind}: PostgreSQL takes 1 to {NAME_BYTES_MAX} bytes", kind
                )
            if kind == "column" and name in _COLUMNS_OF_THE_ENGINE:
                raise _cannot_be_called(
                    f"`{table}` has a column `{name}`: so PostgreSQL calls one of its own, in every table", kind
                )


def _cannot_be_called(what: str, kind: str) -> UserMistake:
    return UserMistake("INT_GAMMA_013", what, remedy=f"give the {kind} another name")


def exists(session: Session, shape: Shape) -> bool:
    """Return whether there is a table, or something in its place, of this name."""
    return _kind_of(session, shape) is not None


def create(session: Session, shape: Shape) -> None:
    """Create the table and its schema, with a constraint for each key that must be unique."""
    if execute(session, "SELECT to_regnamespace($1)", [quote(shape.schema)]).fetchone() == (None,):
        execute(session, f"CREATE SCHEMA {quote(shape.schema)}")
    parts = [
        f"{quote(field.name)} {type_name(field.type)}{'' if field.nullable else ' NOT NULL'}" for field in shape.fields
    ]
    execute(session, f"CREATE TABLE {shape.table} ({', '.join([*parts, *_constraints_of(shape)])})")


def _constraints_of(shape: Shape) -> list[str]:
    nullable = {field.name for field in shape.fields if field.nullable}
    made: list[Key] = []
    constraints = []
    for key in shape.all_keys:
        if shape.indexed(key) and not any(set(other.columns) <= set(key.columns) for other in made):
            primary = key is shape.grain and not nullable.intersection(key.columns)
            constraints.append(f"{'PRIMARY KEY' if primary else 'UNIQUE'} ({key.list})")
            made.append(key)
    return constraints


def unguarded(session: Session, shape: Shape) -> list[Key]:
    """Return the keys of `shape` that no constraint of the table holds."""
    held = [set(index.columns) for index in _unique_indexes(session, shape) if index.plain]
    return [key for key in shape.all_keys if not any(columns <= set(key.columns) for columns in held)]


@dataclass(frozen=True, slots=True)
class _Column:
    type: str
    nullable: bool
    made_by_the_table: bool


@dataclass(frozen=True, slots=True)
class _Index:
    """A unique index. It is `plain` where it holds for all rows at once, null being no value, by columns alone."""

    name: str
    columns: tuple[str, ...]
    plain: bool


def compare(session: Session, shape: Shape, place: str) -> None:
    """Raise UserMistake, naming every difference, where the table that is there is not the one that is wanted."""
    kind = _kind_of(session, shape)
    assert kind is not None, "it is there"
    if kind not in _TABLES:
        raise _another(shape, place, [f"it is a {_OTHERS.get(kind, 'thing of another kind')}"], [])
    there = _columns(session, shape)
    differences: list[str] = []
    mending: list[str] = []
    for field in shape.fields:
        difference, statement = _difference(field, there.get(field.name))
        if difference:
            differences.append(difference)
            mending.append(f"ALTER TABLE {shape.table} {statement}")
    for name, column in there.items():
        if name not in shape.names:
            differences.append(f"`{name}` is {column.type} in the table and missing in the document")
    differences += _indexes_in_the_way(session, shape)
    differences += _in_the_way(session, shape)
    if differences:
        raise _another(shape, place, differences, mending)


def _another(shape: Shape, place: str, differences: Sequence[str], mending: Sequence[str]) -> UserMistake:
    return UserMistake(
        "INT_GAMMA_013",
        f"`{shape.schema}.{shape.name}` in `{place}` is not the table that the document describes: "
        + "; ".join(differences),
        remedy="write the table's columns into the document, or give the model another name, or mend the table"
        + (f": {'; '.join(mending)}" if mending else ""),
    )


def _difference(field: Field, there: _Column | None) -> tuple[str, str]:
    """Return what is different, and what of ALTER TABLE would mend it; twice nothing where nothing is."""
    name, wanted = quote(field.name), type_name(field.type)
    if there is None:
        return f"`{field.name}` is missing in the table and {wanted} in the document", f"ADD COLUMN {name} {wanted}"
    if not _holds(there.type, field.type):
        return (
            f"`{field.name}` is {there.type} in the table and {wanted} in the document",
            f"ALTER COLUMN {name} SET DATA TYPE {wanted}",
        )
    if there.made_by_the_table:
        return f"`{field.name}` is filled by the table itself", f"ALTER COLUMN {name} DROP IDENTITY"
    if field.nullable and not there.nullable:
        return (
            f"`{field.name}` is {there.type} NOT NULL in the table and {wanted}, which may be null, in the document",
            f"ALTER COLUMN {name} DROP NOT NULL",
        )
    return "", ""


def _holds(there: str, wanted: DataType) -> bool:
    """Return whether a column of type `there` holds every value of type `wanted` as it is.

    A table that others have made may bound the length of its text, where the document bounds it likewise, and may keep
    JSON taken apart.
    """
    if there == type_name(wanted):
        return True
    match wanted.kind:
        case Kind.TEXT:
            bounded = there.removeprefix("character varying(").removesuffix(")")
            fits = bounded.isdecimal() and 0 < wanted.length <= int(bounded)
            return there == "character varying" or fits
        case Kind.JSON:
            return there == "jsonb"
        case _:
            return False


_THE_TABLE = "(SELECT oid FROM pg_class WHERE relname = $2 AND relnamespace = to_regnamespace(quote_ident($1)))"


_IN_THE_WAY: tuple[str, ...] = (
    f"""
    SELECT 'the table has the constraint ' || conname || ' ' || pg_get_constraintdef(oid) FROM pg_constraint
    WHERE conrelid = {_THE_TABLE} AND contype IN ('c', 'f', 'x') AND conparentid = 0 ORDER BY 1
    """,
    # A trigger before a row (2) or in its place (64) may change or drop it; one that is deferred may fail a commit.
    f"""
    SELECT 'the table has the trigger ' || tgname FROM pg_trigger
    WHERE tgrelid = {_THE_TABLE} AND NOT tgisinternal AND tgenabled <> 'D' AND (tgtype & 66 <> 0 OR tgdeferrable)
    ORDER BY 1
    """,
    f"""
    SELECT 'the table has the rule ' || rulename FROM pg_rewrite
    WHERE ev_class = {_THE_TABLE} AND ev_enabled <> 'D' ORDER BY 1
    """,
    f"""
    SELECT 'policies hide or stop rows of it (row-level security)' FROM pg_class
    WHERE oid = {_THE_TABLE} AND row_security_active(oid)
    """,
    f"""
    SELECT 'it is unlogged: PostgreSQL empties it after a crash' FROM pg_class
    WHERE oid = {_THE_TABLE} AND relpersistence <> 'p'
    """,
)
"""What would stop rows, alter them, or lose them, put in words."""


def _kind_of(session: Session, shape: Shape) -> str | None:
    found = execute(
        session, f"SELECT relkind::text FROM pg_class WHERE oid = {_THE_TABLE}", [shape.schema, shape.name]
    ).fetchone()
    return None if found is None else str(found[0])


def _columns(session: Session, shape: Shape) -> Mapping[str, _Column]:
    rows = execute(
        session,
        "SELECT attname, format_type(atttypid, atttypmod), NOT attnotnull, attgenerated <> '' OR attidentity = 'a' "
        f"FROM pg_attribute WHERE attrelid = {_THE_TABLE} AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
        [shape.schema, shape.name],
    ).fetchall()
    return {name: _Column(of_type, nullable, made) for name, of_type, nullable, made in rows}


def _unique_indexes(session: Session, shape: Shape) -> list[_Index]:
    rows = execute(
        session,
        f"""
        SELECT i.indexrelid::regclass::text,
               ARRAY(SELECT attname::text FROM unnest(i.indkey[0:i.indnkeyatts - 1]) AS place
                     JOIN pg_attribute ON attrelid = i.indrelid AND attnum = place),
               i.indimmediate AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
                   AND NOT i.indnullsnotdistinct
        FROM pg_index AS i WHERE i.indrelid = {_THE_TABLE} AND i.indisunique ORDER BY 1
        """,
        [shape.schema, shape.name],
    ).fetchall()
    return [_Index(name, tuple(columns), plain) for name, columns, plain in rows]


def _indexes_in_the_way(session: Session, shape: Shape) -> list[str]:
    """Return the unique indexes that would stop rows which no key of the document stops."""
    return [
        f"the table has the unique index {index.name}"
        + (f" over {', '.join(index.columns)}, and the document says nothing of the kind" if index.plain else "")
        for index in _unique_indexes(session, shape)
        if not (index.plain and any(set(key.columns) <= set(index.columns) for key in shape.all_keys))
    ]


def _in_the_way(session: Session, shape: Shape) -> list[str]:
    """Return what else would stop rows, alter them, or lose them: of none of it the document knows."""
    place = [shape.schema, shape.name]
    return [text for statement in _IN_THE_WAY for (text,) in execute(session, statement, place).fetchall()]
