from __future__ import annotations

import pytest

from penstock.expressions import NotAnExpression, RuleText, Scope, UnknownName, read_columns, read_rule
from penstock.model.pipeline import RuleKind


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("no duplicate id", ("id",)),
        ("No duplicates of ID, Status", ("id", "status")),
        ("no duplicates in id and status", ("id", "status")),
        ("no duplicate (id, status)", ("id", "status")),
        ("unique id + status", ("id", "status")),
        ("unique(id)", ("id",)),
        ("id is unique.", ("id",)),
        ("id and status must be unique", ("id", "status")),
        ('no duplicate "order"', ("order",)),
        ("no duplicate id, ID", ("id",)),
    ],
)
def test_uniqueness_is_understood(orders: Scope, text: str, columns: tuple[str, ...]) -> None:
    assert read_rule(text, orders) == RuleText(RuleKind.UNIQUE, columns, "")


@pytest.mark.parametrize(
    "text",
    [
        "created_at not null",
        "created_at is not null",
        "Created_At IS NOT NULL",
        "created_at must be not null",
        "created_at is never null",
        "no nulls in created_at",
        "not null created_at",
    ],
)
def test_presence_is_understood(orders: Scope, text: str) -> None:
    assert read_rule(text, orders) == RuleText(RuleKind.NOT_NULL, ("created_at",), '"created_at" IS NOT NULL')


def test_presence_of_several_columns_is_one_condition(orders: Scope) -> None:
    rule = read_rule("id, status are not null", orders)
    assert rule.columns == ("id", "status")
    assert rule.predicate == '"id" IS NOT NULL AND "status" IS NOT NULL'


@pytest.mark.parametrize(
    ("text", "predicate"),
    [
        ("total_amount >= 0", '"total_amount" >= 0'),
        ("status in ('new', 'paid')", "\"status\" IN ('new', 'paid')"),
        ("total_amount between 0 and 100", '"total_amount" BETWEEN 0 AND 100'),
        ("id is not null and status is not null", '(NOT ("id" IS NULL)) AND (NOT ("status" IS NULL))'),
        ("is_paid", '"is_paid"'),
    ],
)
def test_anything_else_is_a_sql_condition(orders: Scope, text: str, predicate: str) -> None:
    rule = read_rule(text, orders)
    assert rule.kind is RuleKind.PREDICATE
    assert rule.predicate == predicate


@pytest.mark.parametrize(
    "text",
    ["customers are happy", "no duplicates", "id must be positive", "total_amount", "1 = 1", "freshness < 1 day"],
)
def test_what_is_not_understood_is_answered_with_what_would_be(orders: Scope, text: str) -> None:
    with pytest.raises(NotAnExpression) as refused:
        read_rule(text, orders)
    assert "`no duplicate order_id`" in refused.value.remedy
    assert text in refused.value.message


@pytest.mark.parametrize(
    ("text", "nearest", "offset"),
    [
        ("no duplicate custmer_id", "customer_id", 13),
        ("  no duplicates of id, statsu", "status", 23),
        ("creatd_at not null", "created_at", 0),
        ("0 <= totl_amount", "total_amount", 5),
    ],
)
def test_a_misspelt_column_is_found_in_every_kind_of_rule(orders: Scope, text: str, nearest: str, offset: int) -> None:
    with pytest.raises(UnknownName) as refused:
        read_rule(text, orders)
    assert refused.value.remedy == f"did you mean `{nearest}`?"
    assert refused.value.offset == offset


def test_a_list_of_columns_tells_where_each_stands() -> None:
    assert read_columns("date + store_id") == (("date", 0), ("store_id", 7))
    assert read_columns(" (a, b) ") == (("a", 2), ("b", 5))
    with pytest.raises(NotAnExpression):
        read_columns("date plus store")
