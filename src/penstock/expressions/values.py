"""Values that documents give for columns: test inputs, defaults of lookups."""

from __future__ import annotations

from datetime import date, datetime, time
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING

from sqlglot import exp

from penstock.expressions.binding import Unbound, bind
from penstock.expressions.mistake import NotAnExpression
from penstock.expressions.parsing import Dialect
from penstock.expressions.scope import Scope
from penstock.model.schema import INTEGERS, Kind

if TYPE_CHECKING:
    from penstock.model.schema import DataType

_EMPTY = Scope(())


def read_value(value: object, type_: DataType) -> str:
    """Return a document's value as SQL of type `type_`; null becomes a typed NULL.

    Raises NotAnExpression for a value that the type cannot hold, or could hold only rounded.
    """
    if value is None:
        return _cast(exp.null(), type_).sql(dialect=Dialect)
    text = _text(value)
    _nothing_is_lost(text, type_)
    cast = _cast(exp.Literal.string(text), type_)
    try:
        bind((cast,), _EMPTY)
    except Unbound as why:
        raise NotAnExpression(f"`{text}` is no {type_}: {why}", "write a value of that type") from None
    return cast.sql(dialect=Dialect)


def _cast(node: exp.Expr, type_: DataType) -> exp.Cast:
    return exp.Cast(this=node, to=exp.DataType.build(type_.sql, dialect=Dialect))


def _text(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str():
            return value
        case int() | float() | Decimal():
            return str(value)
        case datetime() | date() | time():
            return value.isoformat()
        case _:
            raise NotAnExpression(f"`{value}` is no single value", "write one value")


def _nothing_is_lost(text: str, type_: DataType) -> None:
    if type_.values and text not in type_.values:
        raise NotAnExpression(f"`{text}` is not among the column's values", f"known: {', '.join(type_.values)}")
    if type_.length and len(text) > type_.length:
        raise NotAnExpression(f"`{text}` has more than {type_.length} characters", "shorten it")
    if type_.kind not in INTEGERS and type_.kind is not Kind.DECIMAL:
        return
    try:
        number = Decimal(text)
    except InvalidOperation:
        return  # DuckDB says it better.
    if number.is_finite() and number != round(number, type_.scale):
        raise NotAnExpression(f"`{text}` has more places than {type_} holds", "round it yourself")
