# ruff: noqa: S608 - every name in the statements below has passed `quote`
"""The table that a model wants: creating it, and comparing it with the one that is there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from penstock.errors import UserMistake
from penstock.expressions import quote
from penstock.model.batch import RESERVED, VERSION
from penstock.model.pipeline import WriteMode
from penstock.model.schema import DataType, Field, Kind

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import duckdb

    from penstock.model.pipeline import Model

SCHEMA_DEFAULT = "main"
"""DuckDB's own default."""
_SCHEMAS_OF_THE_ENGINE = frozenset({"information_schema", "pg_catalog"})
_ROW_ID = "rowid"
"""The engine's name for the place of a row, by which merging deletes. A column of that name would hide it."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A table by name, and its columns in order."""

    schema: str
    name: str
    fields: tuple[Field, ...]

    def table_in(self, catalog: str) -> str:
        """Return the table's whole name, quoted. `catalog` is what the engine calls the file."""
        return f"{quote(catalog)}.{quote(self.schema)}.{quote(self.name)}"

    @property
    def names(self) -> tuple[str, ...]:
        """The columns' names, in order."""
        return tuple(field.name for field in self.fields)


def shape_of(model: Model) -> Shape:
    """Return the table that `model` wants: its columns, its score, and the version that a merge may have to keep.

    Raises UserMistake for a name that it cannot have.
    """
    fields = list(model.fields)
    if model.score_column:
        fields.append(Field(model.score_column, DataType(Kind.DOUBLE)))
    assert not {field.name for field in fields} & set(RESERVED), f"{model.name} names a reserved column"
    if model.schema.lower() in _SCHEMAS_OF_THE_ENGINE:
        raise UserMistake(
            "INT_GAMMA_013",
            f"`{model.name}` is to be in the schema `{model.schema}`, which is DuckDB's own",
            remedy="give the schema another name",
        )
    if model.write_mode is WriteMode.MERGE:
        if any(field.name.lower() == _ROW_ID for field in fields):
            raise UserMistake(
                "INT_GAMMA_013",
                f"`{model.name}` merges and has a column `{_ROW_ID}`: so DuckDB calls the place of a row",
                remedy="give the column another name",
            )
        if not model.version_by:
            fields.append(Field(VERSION, DataType(Kind.BIGINT)))
    return Shape(model.schema or SCHEMA_DEFAULT, model.name, tuple(fields))


def exists(connection: duckdb.DuckDBPyConnection, shape: Shape) -> bool:
    """Return whether there is a table or a view of this name. The engine does not tell upper case from lower."""
    found = connection.execute(
        "SELECT count(*) FROM information_schema.tables WHERE table_catalog = current_database() "
        "AND lower(table_schema) = lower(?) AND lower(table_name) = lower(?)",
        [shape.schema, shape.name],
    ).fetchone()
    return found != (0,)


def create(connection: duckdb.DuckDBPyConnection, catalog: str, shape: Shape) -> None:
    """Create the table and its schema.

    Without PRIMARY KEY or UNIQUE: their index is held in memory, and keys by the million exhaust it. Keys are
    compared by query when rows are written.
    """
    columns = ", ".join(
        f"{quote(field.name)} {field.type.sql}{'' if field.nullable else ' NOT NULL'}" for field in shape.fields
    )
    connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quote(catalog)}.{quote(shape.schema)}")
    connection.execute(f"CREATE TABLE {shape.table_in(catalog)} ({columns})")


@dataclass(frozen=True, slots=True)
class _Column:
    type: str
    nullable: bool


def compare(connection: duckdb.DuckDBPyConnection, catalog: str, shape: Shape, file: Path) -> None:
    """Raise UserMistake, naming every difference, where the table that is there is not the one that is wanted."""
    there = _columns(connection, shape)
    wanted = dict(zip((name.lower() for name in shape.names), shape.fields, strict=True))
    types = _engine_types(connection, shape)
    differences: list[str] = []
    mending: list[str] = []
    for key, field in wanted.items():
        difference, statement = _difference(field, types[field.name], there.get(key))
        if difference:
            differences.append(difference)
            mending.append(f"ALTER TABLE {shape.table_in(catalog)} {statement}")
    for key, column in there.items():
        if key not in wanted:
            differences.append(f"`{key}` is {column.type} in the table and missing in the document")
    differences += _constraints(connection, shape)
    if differences:
        raise UserMistake(
            "INT_GAMMA_013",
            f"`{shape.schema}.{shape.name}` in `{file}` is not the table that the document describes: "
            + "; ".join(differences),
            remedy="write the table's columns into the document, or give the model another name, or mend the table"
            + (f": {'; '.join(mending)}" if mending else ""),
        )


def _difference(field: Field, wanted: str, there: _Column | None) -> tuple[str, str]:
    """Return what is different, and what of ALTER TABLE would mend it; twice nothing where nothing is."""
    name = quote(field.name)
    if there is None:
        return f"`{field.name}` is missing in the table and {wanted} in the document", f"ADD COLUMN {name} {wanted}"
    if there.type != wanted:
        return (
            f"`{field.name}` is {there.type} in the table and {wanted} in the document",
            f"ALTER COLUMN {name} SET DATA TYPE {wanted}",
        )
    if field.nullable and not there.nullable:
        return (
            f"`{field.name}` is {there.type} NOT NULL in the table and {wanted}, which may be null, in the document",
            f"ALTER COLUMN {name} DROP NOT NULL",
        )
    return "", ""


def _columns(connection: duckdb.DuckDBPyConnection, shape: Shape) -> Mapping[str, _Column]:
    rows = connection.execute(
        "SELECT lower(column_name), data_type, is_nullable FROM duckdb_columns() "
        "WHERE database_name = current_database() AND lower(schema_name) = lower(?) AND lower(table_name) = lower(?) "
        "ORDER BY column_index",
        [shape.schema, shape.name],
    ).fetchall()
    return {name: _Column(data_type, nullable) for name, data_type, nullable in rows}


def _engine_types(connection: duckdb.DuckDBPyConnection, shape: Shape) -> Mapping[str, str]:
    """Return the wanted types in the engine's own spelling: REAL is FLOAT to it."""
    types = connection.execute(
        "SELECT " + ", ".join(f"typeof(CAST(NULL AS {field.type.sql}))" for field in shape.fields)
    ).fetchone()
    return dict(zip(shape.names, types or (), strict=True))


def _constraints(connection: duckdb.DuckDBPyConnection, shape: Shape) -> list[str]:
    """Return what else stands in the way of rows: an index or a condition that the document does not know of."""
    place = [shape.schema, shape.name]
    where = "database_name = current_database() AND lower(schema_name) = lower(?) AND lower({}) = lower(?)"
    views = connection.execute(
        f"SELECT 'it is a view' FROM duckdb_views() WHERE {where.format('view_name')}", place
    ).fetchall()
    constraints = connection.execute(
        "SELECT 'the table has the constraint ' || constraint_text FROM duckdb_constraints() "
        f"WHERE constraint_type <> 'NOT NULL' AND {where.format('table_name')} ORDER BY constraint_index",
        place,
    ).fetchall()
    indexes = connection.execute(
        "SELECT 'the table has the unique index ' || index_name FROM duckdb_indexes() "
        f"WHERE is_unique AND {where.format('table_name')} ORDER BY index_name",
        place,
    ).fetchall()
    return [text for (text,) in views + constraints + indexes]
