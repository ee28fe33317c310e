from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pytest

from penstock.expressions import NotAnExpression, is_castable, read_value
from penstock.model.schema import DataType, Kind, parse_type


@pytest.mark.parametrize(
    ("value", "type_", "sql"),
    [
        (90, "numeric(10,2)", "CAST('90' AS DECIMAL(10, 2))"),
        (Decimal("1.50"), "numeric(10,1)", "CAST('1.50' AS DECIMAL(10, 1))"),
        ("it's", "text", "CAST('it''s' AS TEXT)"),
        (True, "boolean", "CAST('true' AS BOOLEAN)"),
        ("2024-02-29", "date", "CAST('2024-02-29' AS DATE)"),
        (dt.date(2024, 2, 29), "date", "CAST('2024-02-29' AS DATE)"),
        (None, "bigint", "CAST(NULL AS BIGINT)"),
        ("1e-3", "double", "CAST('1e-3' AS DOUBLE)"),
    ],
)
def test_a_value_becomes_sql_of_its_columns_type(value: object, type_: str, sql: str) -> None:
    assert read_value(value, parse_type(type_)) == sql


@pytest.mark.parametrize(
    ("value", "type_", "reason"),
    [
        ("many", "bigint", "`many` is no bigint"),
        ("2023-02-29", "date", "is no date"),
        (Decimal("0.125"), "numeric(10,2)", "more places"),
        (Decimal("1.5"), "integer", "more places"),
        (10**9, "numeric(5,2)", "is no decimal"),
        ("long text", "varchar(4)", "more than 4 characters"),
        ([1], "bigint", "no single value"),
    ],
)
def test_a_value_the_column_could_not_hold_unchanged_is_refused(value: object, type_: str, reason: str) -> None:
    with pytest.raises(NotAnExpression, match=reason):
        read_value(value, parse_type(type_))


def test_a_value_outside_the_columns_own_list_is_refused() -> None:
    status = DataType(Kind.TEXT, values=("new", "paid"))
    assert read_value("new", status) == "CAST('new' AS TEXT)"
    with pytest.raises(NotAnExpression, match="not among"):
        read_value("old", status)


@pytest.mark.parametrize(
    ("given", "wanted", "is_meant"),
    [
        ("bigint", "smallint", True),
        ("text", "numeric(3,1)", True),
        ("date", "timestamptz", True),
        ("time", "date", False),
        ("boolean", "integer", True),
        ("boolean", "numeric", False),
        ("bytea", "text", False),
        ("uuid", "text", True),
        ("timestamp", "bigint", False),
    ],
)
def test_types_convert_where_values_keep_their_meaning(given: str, wanted: str, is_meant: bool) -> None:  # noqa: FBT001 - the expectation
    assert is_castable(parse_type(given), parse_type(wanted)) is is_meant
