"""Text to `Expression`: parsed, checked, made exact, typed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlglot
from sqlglot import exp

from penstock.expressions.binding import UNTYPED, Unbound, bind
from penstock.expressions.checking import check, offset_of, shown
from penstock.expressions.datatypes import family_of_engine, is_castable, name_in_engine, type_of_engine
from penstock.expressions.exactness import make_exact
from penstock.expressions.functions import COMPARISONS, LOGIC
from penstock.expressions.mistake import NotAnExpression
from penstock.expressions.parsing import Dialect, parse
from penstock.model.schema import DataType, Kind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from penstock.expressions.scope import Scope

BOOLEAN = DataType(Kind.BOOLEAN)


@dataclass(frozen=True, slots=True)
class Expression:
    """One scalar expression that may run. `text` is as written, `sql` is what DuckDB runs, every name quoted.

    `columns` are the record's own columns that it reads, `looked_up` the (lookup, column) pairs, both in their
    declared spelling and in order of first appearance.
    """

    text: str
    sql: str
    type: DataType
    columns: tuple[str, ...]
    looked_up: tuple[tuple[str, str], ...] = ()
    is_column: bool = False
    """True when it is one of the record's own columns and nothing more."""


def read_expression(text: str, scope: Scope, wanted: DataType | None = None) -> Expression:
    """Read one scalar expression over `scope`. With `wanted`, the result is of that type.

    Raises NotAnExpression, which says why, what to do, and where in the text.
    """
    tree = check(parse(text), scope)
    columns, looked_up = _names(tree)
    is_column = isinstance(tree, exp.Column) and not tree.table
    given = _types_fit(tree, scope)
    try:
        tree, type_ = _typed(make_exact(tree, wanted, scope), given, wanted, scope)
    except Unbound as why:
        raise NotAnExpression(f"it can never be computed: {why}", "cast its parts to smaller types") from None
    return Expression(text, _sql(tree), type_, columns, looked_up, is_column)


def _typed(tree: exp.Expr, given: str, wanted: DataType | None, scope: Scope) -> tuple[exp.Expr, DataType]:
    """Return `tree`, cast where that is needed, and its type. `given` is what it came to before it was made exact."""
    given = bind((tree,), scope)[0] if tree.find(exp.Mul, exp.IntDiv) else given
    if wanted is None and given == UNTYPED:
        raise NotAnExpression("a bare null has no type", "write `cast(null as text)`, or declare the column's type")
    found = wanted if given == UNTYPED else type_of_engine(given)
    if found is None:
        raise NotAnExpression(f"it comes to {given.lower()}, which no column can hold", "cast it to a column's type")
    if wanted is not None and not is_castable(found, wanted):
        raise NotAnExpression(f"it is {found}, and cannot be made {wanted}", "declare another type, or convert it")
    type_ = wanted or found
    if given != name_in_engine(type_):
        tree = exp.cast(tree, exp.DataType.build(type_.sql, dialect=Dialect), copy=False)
        bind((tree,), scope)
    return tree, type_


def read_predicate(text: str, scope: Scope) -> Expression:
    """Read a condition: an expression that is true, false or null. Raises NotAnExpression."""
    expression = read_expression(text, scope)
    if expression.type != BOOLEAN:
        raise NotAnExpression(
            f"it is {expression.type}, not true or false", "write a condition, such as `total_amount >= 0`"
        )
    return expression


def read_names(text: str) -> tuple[str, ...]:
    """Return the columns that a piece of SQL names, aggregates included, as written. Raises NotAnExpression."""
    columns = sorted(parse(text).find_all(exp.Column), key=lambda column: offset_of(column) or 0)
    return tuple(dict.fromkeys(column.name for column in columns))


def rewrite(sql: str, names: Mapping[str, str]) -> str:
    """Return the SQL of an `Expression` with the record's own columns renamed; names not in `names` stay."""
    if all(name == to for name, to in names.items()):
        return sql
    tree = sqlglot.parse_one(sql, dialect=Dialect, into=exp.Condition)
    for column in tree.find_all(exp.Column):
        if not column.table and column.name in names:
            column.this.set("this", names[column.name])
    return _sql(tree)


def _sql(tree: exp.Expr) -> str:
    return tree.sql(dialect=Dialect, comments=False)


def _names(tree: exp.Expr) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    columns = sorted(tree.find_all(exp.Column), key=lambda column: offset_of(column) or 0)
    own = dict.fromkeys(column.name for column in columns if not column.table)
    looked_up = dict.fromkeys((column.table, column.name) for column in columns if column.table)
    return tuple(own), tuple(looked_up)


def _types_fit(tree: exp.Expr, scope: Scope) -> str:
    """Bind the whole, and name the smallest part that does not bind. Return DuckDB's name of its type."""
    try:
        given = bind((tree,), scope)[0]
    except Unbound as why:
        part = _smallest_unbound(tree, scope)
        raise _misfit(part, f"`{shown(part)}`: {why}", "cast one side, or name another column") from None
    for node in tree.find_all(*LOGIC):
        _operands_are_conditions(node, scope)
    for node in tree.find_all(*COMPARISONS):
        if not isinstance(node, exp.Like | exp.ILike | exp.Escape):
            _operands_are_alike(node, scope)
    return given


def _operands_are_conditions(node: exp.Expr, scope: Scope) -> None:
    operands = list(node.iter_expressions())
    for operand, type_ in zip(operands, bind(operands, scope), strict=True):
        if type_ not in {"BOOLEAN", UNTYPED}:
            raise _misfit(operand, f"`{shown(operand)}` is {type_.lower()}, not true or false", "compare it")


def _operands_are_alike(node: exp.Expr, scope: Scope) -> None:
    """Compared values are of one family. DuckDB would read a text as a number, and fail at the first that is none."""
    operands = list(node.iter_expressions())
    types = list(zip(operands, bind(operands, scope), strict=True))
    texts = [operand for operand in operands if isinstance(operand, exp.Literal) and operand.is_string]
    typed = [(operand, type_) for operand, type_ in types if operand not in texts and type_ != UNTYPED]
    for operand, type_ in typed[1:]:
        if family_of_engine(type_) != family_of_engine(typed[0][1]):
            what = f"`{shown(node)}` compares {typed[0][1].lower()} with {type_.lower()}"
            raise _misfit(operand, what, "cast one side")
    _texts_can_be(texts, node, {type_ for _, type_ in typed}, scope)


def _texts_can_be(texts: list[exp.Literal], node: exp.Expr, types: set[str], scope: Scope) -> None:
    """A text that is compared with a number or a time is read as one, here already: over nulls nobody would see."""
    for type_ in sorted(types - {"VARCHAR"} if texts else ()):
        to = exp.DataType.build(type_, dialect=Dialect)
        try:
            bind([exp.cast(text, to) for text in texts], scope)
        except Unbound as why:
            raise _misfit(texts[0], f"`{shown(node)}`: {why}", "compare values of one type") from None


def _misfit(part: exp.Expr, message: str, remedy: str) -> NotAnExpression:
    return NotAnExpression(message, remedy, offset_of(part))


def _smallest_unbound(tree: exp.Expr, scope: Scope) -> exp.Expr:
    parts = [node for node in tree.walk(bfs=False) if isinstance(node, exp.Condition | exp.Paren)]
    for part in reversed(parts):
        try:
            bind((part,), scope)
        except Unbound:
            return part
    return tree
