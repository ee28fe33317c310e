"""DuckDB's type names and ours, and which type may be turned into which."""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING

from penstock.model.schema import INTEGERS, NUMBERS, TEXTUAL, DataType, Kind

if TYPE_CHECKING:
    from collections.abc import Mapping

DIGITS: Mapping[Kind, int] = MappingProxyType({Kind.SMALLINT: 5, Kind.INTEGER: 10, Kind.BIGINT: 19})
"""Digits that hold every value of an integer type."""

TIMES: frozenset[Kind] = frozenset({Kind.DATE, Kind.TIMESTAMP, Kind.TIMESTAMPTZ})
"""Types that say on which day something happened."""

_PLAIN: Mapping[str, Kind] = MappingProxyType(
    {
        "BOOLEAN": Kind.BOOLEAN, "TINYINT": Kind.SMALLINT, "UTINYINT": Kind.SMALLINT, "SMALLINT": Kind.SMALLINT,
        "USMALLINT": Kind.INTEGER, "INTEGER": Kind.INTEGER, "INTEGER_LITERAL": Kind.INTEGER,
        "UINTEGER": Kind.BIGINT, "BIGINT": Kind.BIGINT, "FLOAT": Kind.REAL, "DOUBLE": Kind.DOUBLE,
        "VARCHAR": Kind.TEXT, "STRING_LITERAL": Kind.TEXT, "BLOB": Kind.BYTES, "DATE": Kind.DATE, "TIME": Kind.TIME,
        "TIMESTAMP": Kind.TIMESTAMP, "TIMESTAMP_S": Kind.TIMESTAMP, "TIMESTAMP_MS": Kind.TIMESTAMP,
        "TIMESTAMP_NS": Kind.TIMESTAMP, "TIMESTAMP WITH TIME ZONE": Kind.TIMESTAMPTZ,
        "UUID": Kind.UUID, "JSON": Kind.JSON,
    }
)  # fmt: skip
_DECIMAL = re.compile(r"DECIMAL\((?P<precision>\d+),\s*(?P<scale>\d+)\)")
_WIDE_INTEGERS = frozenset({"HUGEINT", "UBIGINT"})

_CASTS: frozenset[tuple[Kind, Kind]] = frozenset(
    {
        (Kind.DATE, Kind.TIMESTAMP), (Kind.DATE, Kind.TIMESTAMPTZ),
        (Kind.TIMESTAMP, Kind.DATE), (Kind.TIMESTAMP, Kind.TIME), (Kind.TIMESTAMP, Kind.TIMESTAMPTZ),
        (Kind.TIMESTAMPTZ, Kind.DATE), (Kind.TIMESTAMPTZ, Kind.TIME), (Kind.TIMESTAMPTZ, Kind.TIMESTAMP),
    }
)  # fmt: skip


def type_of_engine(name: str) -> DataType | None:
    """Return our type for the name DuckDB gives a result's type; None for one that no column can have."""
    if decimal := _DECIMAL.fullmatch(name):
        return DataType(Kind.DECIMAL, precision=int(decimal["precision"]), scale=int(decimal["scale"]))
    if name in _WIDE_INTEGERS:
        return DataType(Kind.DECIMAL, precision=38)
    kind = _PLAIN.get(name)
    return None if kind is None else DataType(kind)


def family_of_engine(name: str) -> str:
    """Return what the values of a type can be compared with: numbers with numbers, times with times."""
    type_ = type_of_engine(name)
    if type_ is None:
        return name
    families = (("numbers", NUMBERS), ("times", TIMES))
    return next((family for family, kinds in families if type_.kind in kinds), type_.kind.value)


def name_in_engine(type_: DataType) -> str:
    """Return the name DuckDB gives a result of type `type_`."""
    return "FLOAT" if type_.kind is Kind.REAL else type_.sql


def is_castable(given: DataType, wanted: DataType) -> bool:
    """Return whether values of one type can be meant as another. A single value may still refuse at run time."""
    a, b = given.kind, wanted.kind
    if a == b or (a in NUMBERS and b in NUMBERS) or (a, b) in _CASTS:
        return True
    if Kind.BYTES in {a, b}:
        return False
    if Kind.BOOLEAN in {a, b}:
        return bool({a, b} & (INTEGERS | {Kind.TEXT}))
    return Kind.TEXT in {a, b} or (a in TEXTUAL and b in TEXTUAL)


def is_exact(type_: DataType | None) -> bool:
    """Return whether arithmetic on the type keeps every digit."""
    return type_ is not None and (type_.kind in INTEGERS or type_.kind is Kind.DECIMAL)


def digits(type_: DataType) -> tuple[int, int]:
    """Return (all digits, digits after the point) that hold every value of an exact type."""
    assert is_exact(type_), type_
    return (type_.precision, type_.scale) if type_.kind is Kind.DECIMAL else (DIGITS[type_.kind], 0)
