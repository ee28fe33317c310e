"""Names and values as DuckDB writes them. Every identifier and literal of generated SQL passes through here."""

from __future__ import annotations

import math
from datetime import date, datetime, time
from decimal import Decimal
from functools import cache

from sqlglot import exp

RESERVED_PREFIX = "_"
"""Names that begin so belong to Penstock: `_sequence`, `_op`, `_event_time`, `_version` and what may follow."""


@cache
def quote(name: str) -> str:
    """Return `name` as a quoted identifier. Any text is safe."""
    return exp.to_identifier(name, quoted=True).sql(dialect="duckdb")


def is_reserved(name: str) -> bool:
    """Return whether a document may not declare a column of this name."""
    return name.startswith(RESERVED_PREFIX)


def literal(value: object) -> str:  # noqa: C901, PLR0911 - one case for each type
    """Return a value as a SQL literal of its own type; floats keep every bit.

    Raises TypeError for a type that SQL has no literal of.
    """
    match value:
        case None:
            return "NULL"
        case bool():
            return "TRUE" if value else "FALSE"
        case int():
            return str(value)
        case Decimal() if value.is_finite():
            return f"{value:f}"
        case float():
            return f"CAST({_string(repr(value) if math.isfinite(value) else str(value))} AS DOUBLE)"
        case str():
            return _string(value)
        case bytes():
            return f"unhex({_string(value.hex())})"
        case datetime():
            kind = "TIMESTAMP" if value.tzinfo is None else "TIMESTAMPTZ"
            return f"CAST({_string(value.isoformat(' '))} AS {kind})"
        case date():
            return f"CAST({_string(value.isoformat())} AS DATE)"
        case time():
            return f"CAST({_string(value.isoformat())} AS TIME)"
        case _:
            raise TypeError(f"SQL has no literal of {type(value).__name__}")


def _string(text: str) -> str:
    return exp.Literal.string(text).sql(dialect="duckdb")
