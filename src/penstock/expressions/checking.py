"""Is every part of a tree one that may be used? Names are resolved to their declared spelling on the way."""

from __future__ import annotations

from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from sqlglot import exp

from penstock.expressions.functions import (
    BY_NODE,
    COMPARISONS,
    FIELDS,
    FUNCTIONS,
    OPERATORS,
    PLAIN,
    UNITS,
    VOLATILE,
    Function,
)
from penstock.expressions.mistake import NotAnExpression, did_you_mean
from penstock.expressions.parsing import WRITTEN, Dialect
from penstock.model.schema import DECIMAL_DIGITS_MAX, DataType, Kind, UnknownType, parse_type

if TYPE_CHECKING:
    from collections.abc import Callable

    from penstock.expressions.scope import Scope

PAD_MAX = 1_000
"""Characters that `lpad` and `rpad` fill up to: one call must not eat the memory of a batch."""


def check(tree: exp.Expr, scope: Scope) -> exp.Expr:
    """Return `tree`, as parsed, with names resolved and quoted, types translated, and every operand in brackets.

    Raises NotAnExpression for the first part that may not be used.
    """
    root = exp.Paren(this=tree)
    for node in list(tree.walk(bfs=False)):
        _node_is_allowed(node)
        for shapes, check_shape in _SHAPES:
            if isinstance(node, shapes):
                check_shape(node)
        if isinstance(node, exp.Column):
            _resolve(node, scope)
    for node in list(tree.walk(bfs=False)):
        _bracket(node)
    checked: exp.Expr = root.this
    checked.pop()
    return checked


def offset_of(node: exp.Expr) -> int | None:
    """Return the 0-based character of the text at which a part begins, as far as the parser tells."""
    starts = [part.meta["start"] for part in node.walk() if "start" in part.meta]
    return min(starts, default=None)


def shown(node: exp.Expr) -> str:
    """Return a part as a person would write it."""
    plain = node.copy()
    for identifier in plain.find_all(exp.Identifier):
        identifier.set("quoted", False)
    return plain.sql(dialect=Dialect)


def _node_is_allowed(node: exp.Expr) -> None:
    function = BY_NODE.get(type(node))
    if function is not None:
        _call_is_allowed(node, function)
    elif type(node) not in PLAIN:
        raise _refusal(node)


def _call_is_allowed(node: exp.Expr, function: Function) -> None:
    extra = [name for name, value in node.args.items() if value and name not in function.arguments]
    if extra:
        raise NotAnExpression(f"`{function.name}` is called in a way that is not known", function.call, offset_of(node))
    for name in function.constants:
        argument = node.args.get(name)
        if argument is not None and not isinstance(argument, exp.Literal):
            raise NotAnExpression(
                f"`{function.name}` takes a plain value there, not `{shown(argument)}`",
                f"write `{function.call}`",
                offset_of(argument),
            )


def _refusal(node: exp.Expr) -> NotAnExpression:
    at, name = offset_of(node), _name(node)
    for shapes, what, remedy in _REFUSALS:
        if isinstance(node, shapes):
            return NotAnExpression(what.format(name=name), remedy, at)
    if name in VOLATILE:
        return NotAnExpression(
            f"`{name}` does not give the same answer again", "a record read again must turn out the same", at
        )
    if isinstance(node, exp.Func):
        known = [function.name for function in FUNCTIONS]
        remedy = did_you_mean(name, known, "docs/rules.md lists the functions that there are")
        return NotAnExpression(f"`{name}` is not a function that may be used", remedy, at)
    return NotAnExpression(f"`{shown(node)}` is not something an expression may hold", "see docs/rules.md", at)


_ONE_RECORD = "an expression sees one record at a time"
_REFUSALS: tuple[tuple[tuple[type[exp.Expr], ...], str, str], ...] = (
    ((exp.Query, exp.Exists, exp.Subquery), "a query inside an expression", "look rows up with `lookups` instead"),
    ((exp.Window,), "a window function looks at many records", _ONE_RECORD),
    ((exp.AggFunc,), "`{name}` looks at many records", _ONE_RECORD),
    ((exp.Star, exp.Columns), "`*` is not a value", "name the columns"),
    ((exp.Placeholder, exp.Parameter), "a parameter has no value here", "write the value"),
    (
        (exp.TryCast,),
        "`try_cast` turns bad values into nulls unseen",
        "use `cast`: what cannot be cast becomes a dead letter with its reason",
    ),
)


def _name(node: exp.Expr) -> str:
    if isinstance(node, exp.Func):
        return str(node.meta.get(WRITTEN) or node.sql_name().lower())
    return type(node).__name__.lower()


def _resolve(column: exp.Column, scope: Scope) -> None:
    at = offset_of(column)
    if column.args.get("db") or column.args.get("join_mark") or not isinstance(column.this, exp.Identifier):
        raise NotAnExpression(f"`{shown(column)}` is not a column", "write `column` or `lookup.column`", at)
    table, field = scope.find(column.name, column.table, at)
    identifier = column.this
    identifier.set("this", field.name)
    identifier.set("quoted", True)
    column.set("table", exp.to_identifier(table, quoted=True) if table else None)


def _bracket(node: exp.Expr) -> None:
    """Operands of operators go into brackets, so that no reader's precedence matters. AND and OR chains stay flat."""
    parent = node.parent
    if not (isinstance(node, OPERATORS) and isinstance(parent, OPERATORS)):
        return
    if isinstance(node, exp.And | exp.Or) and type(node) is type(parent):
        return
    brackets = exp.Paren()
    node.replace(brackets)
    brackets.set("this", node)


# --- shapes: what sqlglot reads more generously than we mean ------------------------------------------------------


def _comparison(node: exp.Expr) -> None:
    for child in node.iter_expressions():
        inner = child.this if isinstance(child, exp.Not) else child
        if isinstance(inner, COMPARISONS) and not isinstance(node, exp.Escape):
            raise NotAnExpression("one comparison inside another", "put brackets around the inner one", offset_of(node))


def _membership(node: exp.Expr) -> None:
    if node.args.get("query") or node.args.get("unnest"):
        raise NotAnExpression("a query inside an expression", "list the values", offset_of(node))
    if not node.expressions or node.args.get("field"):
        raise NotAnExpression("`in` without a list of values", "write `status in ('new', 'paid')`", offset_of(node))


def _between(node: exp.Expr) -> None:
    if node.args.get("symmetric"):
        raise NotAnExpression("`between symmetric` is not known everywhere", "order the bounds", offset_of(node))


def _is(node: exp.Expr) -> None:
    if not isinstance(node.expression, exp.Null | exp.Boolean):
        raise NotAnExpression(f"`is {shown(node.expression)}`", "use `=` or `is not distinct from`", offset_of(node))


def _number(node: exp.Expr) -> None:
    if not node.is_string and sum(character.isdigit() for character in node.name) > DECIMAL_DIGITS_MAX:
        raise NotAnExpression(
            f"a number of more than {DECIMAL_DIGITS_MAX} digits", "no column holds that", offset_of(node)
        )


def _cast(node: exp.Expr) -> None:
    if any(value for name, value in node.args.items() if name not in {"this", "to"}):
        raise NotAnExpression("a cast with more than a type", "write `cast(value as type)`", offset_of(node))
    to = type_of(node.args["to"], offset_of(node))
    node.set("to", exp.DataType.build(to.sql, dialect=Dialect))


def _unit(node: exp.Expr, unit: object, known: frozenset[str]) -> None:
    name = unit.name.upper() if isinstance(unit, exp.Var) else ""
    if name not in known:
        listed = ", ".join(sorted(known)).lower()
        raise NotAnExpression(f"`{shown(node)}` names no unit of time that is known", f"known: {listed}",
                              offset_of(node))  # fmt: skip


def _interval(node: exp.Expr) -> None:
    _unit(node, node.args.get("unit"), UNITS)
    if not isinstance(node.this, exp.Literal):
        raise NotAnExpression("an interval of a computed length", "multiply one: `n * interval '1 day'`",
                              offset_of(node))  # fmt: skip


def _truncation(node: exp.Expr) -> None:
    _unit(node, node.args.get("unit"), UNITS)


def _extraction(node: exp.Expr) -> None:
    _unit(node, node.this, FIELDS)


def _zone(node: exp.Expr) -> None:
    try:
        ZoneInfo(node.args["zone"].name)
    except (ZoneInfoNotFoundError, ValueError):
        raise NotAnExpression(
            f"no time zone is called `{node.args['zone'].name}`", "write one such as 'Europe/Paris'", offset_of(node)
        ) from None


def _padding(node: exp.Expr) -> None:
    count = node.expression.name
    if not count.isdecimal() or int(count) > PAD_MAX:
        raise NotAnExpression(f"filling up to `{count}` characters", f"at most {PAD_MAX:,}", offset_of(node))


_SHAPES: tuple[tuple[tuple[type[exp.Expr], ...], Callable[[exp.Expr], None]], ...] = (
    (COMPARISONS, _comparison),
    ((exp.In,), _membership),
    ((exp.Between,), _between),
    ((exp.Is,), _is),
    ((exp.Cast,), _cast),
    ((exp.Interval,), _interval),
    ((exp.TimestampTrunc,), _truncation),
    ((exp.Extract,), _extraction),
    ((exp.AtTimeZone,), _zone),
    ((exp.Pad,), _padding),
    ((exp.Literal,), _number),
)


def type_of(node: exp.Expr, offset: int | None = None) -> DataType:
    """Return our type for the one a cast names; NotAnExpression where no column could have it."""
    name = node.sql(dialect=Dialect)
    try:
        type_ = parse_type(name)
    except UnknownType as unknown:
        remedy = f"did you mean `{unknown.suggestion}`?" if unknown.suggestion else "see docs/documents.md"
        raise NotAnExpression(f"`{name.lower()}` is not a type that is known", remedy, offset) from None
    if type_.length:
        raise NotAnExpression("a cast to text of a length does not cut it", "use `left(text, count)`", offset)
    if node.expressions and type_.kind is not Kind.DECIMAL:
        raise NotAnExpression(f"`{name.lower()}`: only decimals take digits", "leave them out", offset)
    return type_
