"""Exact numbers stay exact: what division and multiplication of them are turned into.

DuckDB divides integers and decimals as doubles, and multiplies two decimals of up to 18 digits into no more than 18.
Here a division of exact numbers must say to how many places, and is then computed with whole numbers of 38 digits:
the quotient is cut one place further than wanted, and the cast that follows rounds that last place, halves away from
zero. Cutting first keeps it correct: whether a number lies at or above a half shows in its next digit alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlglot import exp

from penstock.expressions.binding import bind
from penstock.expressions.checking import offset_of, shown, type_of
from penstock.expressions.datatypes import digits, is_exact, type_of_engine
from penstock.expressions.mistake import NotAnExpression
from penstock.expressions.parsing import Dialect
from penstock.model.schema import DECIMAL_DIGITS_MAX, INTEGERS, DataType, Kind

if TYPE_CHECKING:
    from penstock.expressions.scope import Scope

INT64_DIGITS = 18
"""DuckDB computes decimals of up to so many digits in 64 bits."""


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What a division must come to: a type, or only so many places."""

    type: DataType | None = None
    places: int | None = None


_NOTHING = _Wanted()


def make_exact(tree: exp.Expr, wanted: DataType | None, scope: Scope) -> exp.Expr:
    """Return `tree` with divisions and multiplications of exact numbers made exact; the tree given is used up.

    `wanted` is the declared type of the whole. Raises NotAnExpression for a division that does not say what it must
    come to, or needs more than 38 digits.
    """
    return _exact(tree, _Wanted(wanted), scope)


def _exact(node: exp.Expr, wanted: _Wanted, scope: Scope) -> exp.Expr:
    for child in list(node.iter_expressions()):
        if not isinstance(child, exp.DataType):
            child.replace(_exact(child.copy(), _passed_down(node, child, wanted), scope))
    if isinstance(node, exp.Div):
        return _division(node, wanted, scope)
    if isinstance(node, exp.IntDiv):
        _whole_numbers_only(node, scope)
    if isinstance(node, exp.Mul):
        return _multiplication(node, scope)
    return node


def _passed_down(node: exp.Expr, child: exp.Expr, wanted: _Wanted) -> _Wanted:
    """What is wanted of `node` is wanted of those of its parts whose value it takes over."""
    takes_over = (
        isinstance(node, exp.Paren | exp.Neg | exp.Coalesce)
        or (isinstance(node, exp.Case) and child.arg_key in {"ifs", "default"})
        or (isinstance(node, exp.If) and child.arg_key in {"true", "false"})
    )
    if takes_over:
        return wanted
    if isinstance(node, exp.Cast):
        return _Wanted(type_of(node.args["to"]))
    if isinstance(node, exp.Round) and child.arg_key == "this":
        decimals = node.args.get("decimals")
        return _Wanted(places=int(decimals.name) if decimals is not None else 0)
    return _NOTHING


def _division(node: exp.Div, wanted: _Wanted, scope: Scope) -> exp.Expr:
    left, right = _types(node, scope)
    if not (is_exact(left) and is_exact(right)):
        return node
    assert left is not None
    assert right is not None
    if wanted.type is not None and wanted.type.kind in {Kind.REAL, Kind.DOUBLE}:
        return node
    to = wanted.type
    if wanted.places is not None and wanted.places >= 0:
        to = _type_of_quotient(left, right, wanted.places)
    if to is None or not is_exact(to):
        raise NotAnExpression(
            f"`{shown(node)}` divides exact numbers and does not say to how many places",
            f"write `cast({shown(node)} as numeric(10,2))` with your digits, or cast one side to double",
            offset_of(node),
        )
    return _quotient(node, left, right, to)


def _type_of_quotient(left: DataType, right: DataType, places: int) -> DataType:
    (precision, scale), (_, divisor_scale) = digits(left), digits(right)
    whole = max(precision - scale + divisor_scale, 1)
    return DataType(Kind.DECIMAL, precision=min(whole + places, DECIMAL_DIGITS_MAX), scale=places)


def _quotient(node: exp.Div, left: DataType, right: DataType, to: DataType) -> exp.Expr:
    """cut(left / right, places + 1) through HUGEINT, then rounded by the cast to `to`."""
    (left_digits, left_scale), (right_digits, right_scale) = digits(left), digits(right)
    _, places = digits(to)
    shift = places + 1 + right_scale - left_scale  # left/right = (L/R) * 10**(right_scale - left_scale)
    up, down = max(shift, 0), max(-shift, 0)
    needed = max(left_digits + max(up, left_scale), right_digits + max(down, right_scale), places + 1)
    if needed > DECIMAL_DIGITS_MAX:
        raise NotAnExpression(
            f"`{shown(node)}` needs {needed} digits to be exact, and there are {DECIMAL_DIGITS_MAX}",
            "cast both sides to fewer digits first",
            offset_of(node),
        )
    dividend = _times(_unscaled(node.left, left_scale), up)
    divisor = _times(_unscaled(node.right, right_scale), down)
    cut = exp.IntDiv(this=exp.paren(dividend, copy=False), expression=exp.paren(divisor, copy=False))
    one_place_more = exp.Mul(
        this=_cast(cut, f"DECIMAL({DECIMAL_DIGITS_MAX},0)"),
        expression=_cast(exp.Literal.number(f"{10**-(places + 1):.{places + 1}f}"),
                         f"DECIMAL({places + 2},{places + 1})"),
    )  # fmt: skip
    return _cast(one_place_more, to.sql)


def _unscaled(node: exp.Expr, scale: int) -> exp.Expr:
    """Return a decimal's digits as a HUGEINT: 12.34 becomes 1234."""
    if not scale:
        return _cast(node.copy(), "HUGEINT")
    wide = _cast(node.copy(), f"DECIMAL({DECIMAL_DIGITS_MAX},{scale})")
    return _cast(exp.Mul(this=wide, expression=_power_of_ten(scale, f"DECIMAL({DECIMAL_DIGITS_MAX},0)")), "HUGEINT")


def _times(node: exp.Expr, tens: int) -> exp.Expr:
    return exp.Mul(this=node, expression=_power_of_ten(tens, "HUGEINT")) if tens else node


def _power_of_ten(tens: int, type_: str) -> exp.Expr:
    return _cast(exp.Literal.number(10**tens), type_)


def _cast(node: exp.Expr, type_: str) -> exp.Cast:
    return exp.Cast(this=node, to=exp.DataType.build(type_, dialect=Dialect))


def _whole_numbers_only(node: exp.IntDiv, scope: Scope) -> None:
    if not all(type_ is not None and type_.kind in INTEGERS for type_ in _types(node, scope)):
        raise NotAnExpression(
            "`//` divides whole numbers only", "use `/` with a declared type, or `floor(...)`", offset_of(node)
        )


def _multiplication(node: exp.Mul, scope: Scope) -> exp.Expr:
    """Widen the left side where DuckDB would keep the product in 64 bits that cannot hold it."""
    left, right = _types(node, scope)
    if not (is_exact(left) and is_exact(right)) or {left, right} <= {DataType(kind) for kind in INTEGERS}:
        return node
    assert left is not None
    assert right is not None
    (left_digits, left_scale), (right_digits, _) = digits(left), digits(right)
    together = _digits_of(node.left, left_digits) + _digits_of(node.right, right_digits)
    if together > INT64_DIGITS >= max(left_digits, right_digits):
        room = min(together, DECIMAL_DIGITS_MAX)
        node.left.replace(_cast(node.left.copy(), f"DECIMAL({room},{left_scale})"))
    return node


def _digits_of(node: exp.Expr, of_type: int) -> int:
    """A whole number that is written out needs its own digits, not those of its type."""
    return len(node.name) if isinstance(node, exp.Literal) and node.is_int else of_type


def _types(node: exp.Binary, scope: Scope) -> tuple[DataType | None, DataType | None]:
    left, right = bind((node.left, node.right), scope)
    return type_of_engine(left), type_of_engine(right)
