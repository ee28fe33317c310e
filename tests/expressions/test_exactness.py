from __future__ import annotations

from decimal import ROUND_HALF_UP, Context, Decimal
from typing import TYPE_CHECKING

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from penstock.expressions import NotAnExpression, Scope, literal, open_engine, read_expression
from penstock.model.schema import DataType, Field, Kind, parse_type

if TYPE_CHECKING:
    from collections.abc import Iterator

    import duckdb

PLENTY = Context(prec=200, rounding=ROUND_HALF_UP)
"""Python's half up rounds the magnitude: halves away from zero, as the rule says."""


@pytest.fixture(scope="module")
def engine() -> Iterator[duckdb.DuckDBPyConnection]:
    opened = open_engine(64 << 20, threads=1)
    yield opened
    opened.close()


def computed(
    engine: duckdb.DuckDBPyConnection, text: str, types: tuple[DataType, DataType], values: tuple[Decimal, Decimal],
    wanted: DataType | None = None,
) -> object:  # fmt: skip
    scope = Scope((Field("a", types[0]), Field("b", types[1])))
    sql = read_expression(text, scope, wanted).sql
    record = ", ".join(
        f"CAST({literal(value)} AS {type_.sql}) AS {name}"
        for name, type_, value in zip("ab", types, values, strict=True)
    )
    query = f"SELECT {sql} FROM (SELECT {record})"  # noqa: S608 - SQL is what is tested
    return engine.sql(query).fetchall()[0][0]


@st.composite
def numbers(draw: st.DrawFn) -> tuple[DataType, Decimal]:
    """An exact type, and a value of it."""
    kind = draw(st.sampled_from([Kind.SMALLINT, Kind.INTEGER, Kind.BIGINT, Kind.DECIMAL, Kind.DECIMAL, Kind.DECIMAL]))
    if kind is not Kind.DECIMAL:
        bits = {Kind.SMALLINT: 15, Kind.INTEGER: 31, Kind.BIGINT: 63}[kind]
        return DataType(kind), Decimal(draw(st.integers(-(2**bits), 2**bits - 1)))
    precision = draw(st.integers(1, 18))
    scale = draw(st.integers(0, precision))
    unscaled = draw(st.integers(-(10**precision) + 1, 10**precision - 1))
    return DataType(kind, precision, scale), PLENTY.scaleb(Decimal(unscaled), -scale)


@given(left=numbers(), right=numbers(), places=st.integers(0, 9))
def test_a_division_is_the_true_quotient_rounded_once_halves_away_from_zero(
    engine: duckdb.DuckDBPyConnection, left: tuple[DataType, Decimal], right: tuple[DataType, Decimal], places: int
) -> None:
    wanted = DataType(Kind.DECIMAL, 38, places)
    true = PLENTY.divide(left[1], right[1]) if right[1] else Decimal(0)
    assume(right[1])
    assume(abs(true) < Decimal(10) ** (38 - places - 1))
    try:
        got = computed(engine, "a / b", (left[0], right[0]), (left[1], right[1]), wanted)
    except NotAnExpression as refused:
        assert "38" in refused.message  # noqa: PT017 - the other outcome that is right
        return
    exactly = PLENTY.divide(left[1], right[1])
    # 200 digits tell any quotient of 38-digit numbers from a half.
    assert got == exactly.quantize(Decimal(1).scaleb(-places), context=PLENTY)


@pytest.mark.parametrize(
    ("dividend", "divisor", "wanted", "quotient"),
    [
        ("1.00", "3.00", "numeric(10,2)", Decimal("0.33")),
        ("2.00", "3.00", "numeric(10,2)", Decimal("0.67")),
        ("1.00", "8.00", "numeric(10,2)", Decimal("0.13")),
        ("-1.00", "8.00", "numeric(10,2)", Decimal("-0.13")),
        ("0.05", "-0.10", "numeric(10,0)", Decimal(-1)),
        ("5.00", "2.00", "integer", 3),
        ("99999999.99", "0.01", "numeric(12,2)", Decimal("9999999999.00")),
    ],
)
def test_divisions_that_doubles_get_wrong_come_out_right(
    engine: duckdb.DuckDBPyConnection, dividend: str, divisor: str, wanted: str, quotient: object
) -> None:
    money = parse_type("numeric(10,2)")
    values = (Decimal(dividend), Decimal(divisor))
    assert computed(engine, "a / b", (money, money), values, parse_type(wanted)) == quotient


@pytest.mark.parametrize(
    ("text", "type_"),
    [
        ("cast(a / b as numeric(10,4))", "decimal(10,4)"),
        ("(a / b)::bigint", "bigint"),
        ("round(a / b, 3)", "decimal(13,3)"),
        ("round(a / b)", "decimal(10,0)"),
        ("cast(a / b as double) * 2", "double precision"),
        ("cast(a as double) / b", "double precision"),
        ("cast(a / b as numeric(10,4)) + cast(b / a as numeric(10,4))", "decimal(11,4)"),
    ],
)
def test_a_division_that_says_what_it_comes_to_is_taken(text: str, type_: str) -> None:
    money = parse_type("numeric(10,2)")
    assert str(read_expression(text, Scope((Field("a", money), Field("b", money)))).type) == type_


@pytest.mark.parametrize(
    "text",
    ["a / b", "a / b > 2", "1 - a / b", "floor(a / b)", "cast(1 - a / b as numeric(4,2))", "cast(a / b as text)"],
)
def test_a_division_that_does_not_say_to_how_many_places_is_refused(text: str) -> None:
    scope = Scope((Field("a", parse_type("numeric(10,2)")), Field("b", parse_type("bigint"))))
    with pytest.raises(NotAnExpression, match="how many places") as refused:
        read_expression(text, scope)
    assert "cast(a / b as numeric(10,2))" in refused.value.remedy
    assert text[refused.value.offset :].startswith("a / b")


@pytest.mark.parametrize(
    "text",
    [
        "a / b",
        "-(a / b)",
        "case when b = 0 then 0 else a / b end",
        "coalesce(a / nullif(b, 0), 0)",
        "if(b = 0, 0, a / b)",
    ],
)
def test_the_columns_type_reaches_a_division_through_what_only_passes_it_on(
    engine: duckdb.DuckDBPyConnection, text: str
) -> None:
    money, wanted = parse_type("numeric(10,2)"), parse_type("numeric(12,6)")
    got = computed(engine, text, (money, money), (Decimal(1), Decimal(3)), wanted)
    assert abs(Decimal(str(got))) == Decimal("0.333333")


def test_a_division_by_zero_is_an_error_of_the_record_not_a_null(engine: duckdb.DuckDBPyConnection) -> None:
    money = parse_type("numeric(10,2)")
    with pytest.raises(Exception, match="Division by zero"):
        computed(engine, "a / b", (money, money), (Decimal(1), Decimal(0)), money)


def test_a_division_too_wide_to_be_exact_is_refused() -> None:
    wide = parse_type("numeric(38,9)")
    with pytest.raises(NotAnExpression, match="48 digits"):
        read_expression("a / b", Scope((Field("a", wide), Field("b", wide))), wide)


@given(left=numbers(), right=numbers())
def test_a_product_keeps_every_digit(
    engine: duckdb.DuckDBPyConnection, left: tuple[DataType, Decimal], right: tuple[DataType, Decimal]
) -> None:
    assume({left[0].kind, right[0].kind} & {Kind.DECIMAL})
    got = computed(engine, "a * b", (left[0], right[0]), (left[1], right[1]))
    assert got == PLENTY.multiply(left[1], right[1])


def test_a_product_with_a_written_number_is_no_wider_than_it_must_be() -> None:
    scope = Scope((Field("a", parse_type("numeric(10,2)")),))
    assert read_expression("a * 100", scope).sql == '"a" * 100'
