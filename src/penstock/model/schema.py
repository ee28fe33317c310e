"""The one type table: SQL type names as documents write them, as DuckDB runs them, as Arrow carries them."""

from __future__ import annotations

import difflib
import re
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

import msgspec
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Mapping

DECIMAL_DIGITS_MAX = 38
"""What DuckDB, Arrow's decimal128 and Snowflake all hold."""
DECIMAL_DEFAULT = (38, 9)
"""`numeric` without digits: wide enough for money in any currency, with nine places after the point."""


class Kind(StrEnum):
    """A type without its parameters. The value is the name that DuckDB and PostgreSQL both read."""

    BOOLEAN = "boolean"
    SMALLINT = "smallint"
    INTEGER = "integer"
    BIGINT = "bigint"
    DECIMAL = "decimal"
    REAL = "real"
    DOUBLE = "double precision"
    TEXT = "text"
    BYTES = "bytea"
    DATE = "date"
    TIME = "time"
    TIMESTAMP = "timestamp"
    TIMESTAMPTZ = "timestamp with time zone"
    UUID = "uuid"
    JSON = "json"


INTEGERS = frozenset({Kind.SMALLINT, Kind.INTEGER, Kind.BIGINT})
NUMBERS = INTEGERS | {Kind.DECIMAL, Kind.REAL, Kind.DOUBLE}
TEXTUAL = frozenset({Kind.TEXT, Kind.JSON, Kind.UUID})

_NAMES: Mapping[str, Kind] = MappingProxyType(
    {
        "bool": Kind.BOOLEAN, "boolean": Kind.BOOLEAN,
        "smallint": Kind.SMALLINT, "int2": Kind.SMALLINT, "smallserial": Kind.SMALLINT, "tinyint": Kind.SMALLINT,
        "int": Kind.INTEGER, "integer": Kind.INTEGER, "int4": Kind.INTEGER, "serial": Kind.INTEGER,
        "bigint": Kind.BIGINT, "int8": Kind.BIGINT, "bigserial": Kind.BIGINT, "long": Kind.BIGINT,
        "numeric": Kind.DECIMAL, "decimal": Kind.DECIMAL, "number": Kind.DECIMAL, "money": Kind.DECIMAL,
        "real": Kind.REAL, "float4": Kind.REAL,
        "float": Kind.DOUBLE, "float8": Kind.DOUBLE, "double": Kind.DOUBLE, "double precision": Kind.DOUBLE,
        "text": Kind.TEXT, "string": Kind.TEXT, "varchar": Kind.TEXT, "character varying": Kind.TEXT,
        "char": Kind.TEXT, "character": Kind.TEXT, "enum": Kind.TEXT, "citext": Kind.TEXT,
        "bytea": Kind.BYTES, "blob": Kind.BYTES, "binary": Kind.BYTES, "bytes": Kind.BYTES,
        "date": Kind.DATE,
        "time": Kind.TIME, "time without time zone": Kind.TIME,
        "timestamp": Kind.TIMESTAMP, "datetime": Kind.TIMESTAMP, "timestamp without time zone": Kind.TIMESTAMP,
        "timestamp_ntz": Kind.TIMESTAMP,
        "timestamptz": Kind.TIMESTAMPTZ, "timestamp with time zone": Kind.TIMESTAMPTZ,
        "timestamp_tz": Kind.TIMESTAMPTZ, "iso8601": Kind.TIMESTAMPTZ,
        "uuid": Kind.UUID,
        "json": Kind.JSON, "jsonb": Kind.JSON,
    }
)  # fmt: skip

_ARROW: Mapping[Kind, pa.DataType] = MappingProxyType(
    {
        Kind.BOOLEAN: pa.bool_(), Kind.SMALLINT: pa.int16(), Kind.INTEGER: pa.int32(), Kind.BIGINT: pa.int64(),
        Kind.REAL: pa.float32(), Kind.DOUBLE: pa.float64(), Kind.TEXT: pa.string(), Kind.BYTES: pa.binary(),
        Kind.DATE: pa.date32(), Kind.TIME: pa.time64("us"), Kind.TIMESTAMP: pa.timestamp("us"),
        Kind.TIMESTAMPTZ: pa.timestamp("us", tz="UTC"), Kind.UUID: pa.string(), Kind.JSON: pa.string(),
    }
)  # fmt: skip

_SHAPE = re.compile(r"\s*(?P<name>[a-z_][a-z0-9_ ]*?)\s*(?:\(\s*(?P<first>\d+)\s*(?:,\s*(?P<second>\d+)\s*)?\))?"
                    r"(?P<zone>\s+with(?:out)? time zone)?\s*", re.IGNORECASE)  # fmt: skip


class UnknownType(ValueError):
    """The text names no type we know. `suggestion` is the nearest name, or empty."""

    def __init__(self, text: str, why: str, suggestion: str = "") -> None:
        super().__init__(why)
        self.text = text
        self.suggestion = suggestion


class DataType(msgspec.Struct, frozen=True):
    """A column's type. `precision` and `scale` are set for decimals, `length` for bounded text, `values` for enums."""

    kind: Kind
    precision: int = 0
    scale: int = 0
    length: int = 0
    values: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.kind is Kind.DECIMAL:
            return f"decimal({self.precision},{self.scale})"
        if self.length:
            return f"varchar({self.length})"
        return self.kind.value

    @property
    def sql(self) -> str:
        """The type as DuckDB writes it. Bounds on length and values are checks, not types."""
        if self.kind is Kind.DECIMAL:
            return f"DECIMAL({self.precision},{self.scale})"
        return {Kind.BYTES: "BLOB", Kind.TEXT: "VARCHAR", Kind.DOUBLE: "DOUBLE"}.get(self.kind, self.kind.value.upper())

    @property
    def arrow(self) -> pa.DataType:
        """The type as Arrow carries it between stages."""
        if self.kind is Kind.DECIMAL:
            return pa.decimal128(self.precision, self.scale)
        return _ARROW[self.kind]


def parse_type(text: str, values: tuple[str, ...] = ()) -> DataType:
    """Read a SQL type name such as `numeric(10,2)`, `varchar(20)` or `timestamp with time zone`.

    Raises UnknownType with the nearest known name.
    """
    match = _SHAPE.fullmatch(text)
    name = " ".join((match["name"] + (match["zone"] or "")).lower().split()) if match else text.strip().lower()
    kind = _NAMES.get(name)
    if match is None or kind is None:
        near = difflib.get_close_matches(name, _NAMES, n=1)
        raise UnknownType(text, f"`{text}` is not a type we know", near[0] if near else "")
    numbers = tuple(int(part) for part in (match["first"], match["second"]) if part is not None)
    if kind is Kind.DECIMAL:
        return _decimal(text, name, numbers)
    if kind is Kind.TEXT:
        if len(numbers) > 1:
            raise UnknownType(text, f"`{text}`: text takes one length")
        return DataType(kind, length=numbers[0] if numbers else 0, values=values)
    if len(numbers) > 1 or (numbers and kind not in {Kind.TIME, Kind.TIMESTAMP, Kind.TIMESTAMPTZ}):
        raise UnknownType(text, f"`{text}`: {name} takes no length")
    return DataType(kind)


def _decimal(text: str, name: str, numbers: tuple[int, ...]) -> DataType:
    default = (19, 2) if name == "money" else DECIMAL_DEFAULT
    precision, scale = (*numbers, 0)[:2] if numbers else default
    if not 1 <= precision <= DECIMAL_DIGITS_MAX or scale > precision:
        raise UnknownType(text, f"`{text}`: digits go from 1 to {DECIMAL_DIGITS_MAX}, places up to the digits")
    return DataType(Kind.DECIMAL, precision=precision, scale=scale)


class Field(msgspec.Struct, frozen=True):
    """A named, typed column."""

    name: str
    type: DataType
    nullable: bool = True


def arrow_schema(fields: tuple[Field, ...], *more: pa.Field) -> pa.Schema:
    """Return the Arrow schema of `fields`, followed by `more`."""
    return pa.schema([pa.field(field.name, field.type.arrow) for field in fields] + list(more))
