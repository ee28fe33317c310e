from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from penstock.model.finding import Level

if TYPE_CHECKING:
    from collections.abc import Callable

    from penstock.model.pipeline import Lookup
    from penstock.planning import Planned


def lookup_of(planned: Planned) -> Lookup:
    assert planned.pipeline is not None, planned.findings
    return planned.pipeline.models[0].lookups[0]


def with_lookup(lookup: str, expression: str = "customer.name", more: str = "") -> str:
    return f"""\
- name: fct_orders
  lookups: [{lookup}]
  columns: [id, {{name: x, expression: "{expression}"}}]
  {more}
"""


def test_a_foreign_key_tells_how_to_look_up(shop: Callable[..., Planned]) -> None:
    lookup = lookup_of(shop(with_lookup("{name: customer, table: customers}")))
    assert lookup.table == "customers"
    assert lookup.on == ('"customer_id"',)
    assert lookup.key == ("id",)
    assert [field.name for field in lookup.columns] == ["name"]
    assert lookup.required


def test_a_lookup_is_called_like_its_table_unless_it_is_named(shop: Callable[..., Planned]) -> None:
    assert lookup_of(shop(with_lookup("{table: Customers}", "customers.segment"))).name == "customers"


@pytest.mark.parametrize(
    ("lookup", "on", "key"),
    [
        ("{name: customer, table: customers, on: customer_id}", ('"customer_id"',), ("id",)),
        ("{name: customer, table: customers, on: [customer_id], key: [ID]}", ('"customer_id"',), ("id",)),
        ("{name: customer, table: customers, on: {id: customer_id}}", ('"customer_id"',), ("id",)),
        (
            '{name: customer, table: customers, on: {segment: "upper(status)", id: customer_id}}',
            ('UPPER("status")', '"customer_id"'),
            ("segment", "id"),
        ),
        ('{name: customer, table: customers, on: "customer_id + 0"}', ('"customer_id" + 0',), ("id",)),
    ],
)
def test_the_key_is_what_the_document_says_or_the_tables_own(
    shop: Callable[..., Planned], lookup: str, on: tuple[str, ...], key: tuple[str, ...]
) -> None:
    found = lookup_of(shop(with_lookup(lookup)))
    assert (found.on, found.key) == (on, key)


def test_columns_are_those_that_expressions_and_filters_use_and_defaults_fill(shop: Callable[..., Planned]) -> None:
    used = with_lookup("{name: customer, table: customers}", more="filters: [\"customer.segment = 'test'\"]")
    assert [field.name for field in lookup_of(shop(used)).columns] == ["name", "segment"]
    filled = with_lookup("{name: customer, table: customers, default: {segment: none}}")
    lookup = lookup_of(shop(filled))
    assert [field.name for field in lookup.columns] == ["name", "segment"]
    assert lookup.defaults == {"segment": "CAST('none' AS TEXT)"}


def test_chosen_columns_are_fetched_even_unused_and_no_others_can_be_named(shop: Callable[..., Planned]) -> None:
    chosen = "{name: customer, table: customers, columns: [segment, name]}"
    assert [field.name for field in lookup_of(shop(with_lookup(chosen))).columns] == ["name", "segment"]
    planned = shop(with_lookup("{name: customer, table: customers, columns: [segment]}"))
    assert [finding.code for finding in planned.findings] == ["PLAN_012"]


@pytest.mark.parametrize(
    ("lookup", "code", "says"),
    [
        ("{name: customer, table: custmers}", "PLAN_013", "did you mean `customers`?"),
        ("{name: status, table: customers}", "PLAN_031", "`status` is a column of `orders` as well"),
        ("{name: orders, table: customers}", "PLAN_031", "the model's own source"),
        ("{table: customers}, {table: customers}", "PLAN_031", "two lookups are called `customers`"),
        ("{name: customer, table: customers, on: custmer_id}", "PLAN_012", "did you mean `customer_id`?"),
        ("{name: customer, table: customers, on: customer_id, key: nr}", "PLAN_012", "`nr` is not a column"),
        ("{name: customer, table: customers, on: {nr: customer_id}}", "PLAN_012", "`nr` is not a column"),
        ("{name: customer, table: customers, on: [customer_id, status]}", "PLAN_030", "no primary key of 2 columns"),
        ("{name: customer, table: customers, on: status, key: id}", "PLAN_021", "cast(status as bigint)"),
        ("{name: customer, table: customers, on: 'sum(id)'}", "PLAN_020", "many records"),
        ("{name: customer, table: customers, default: {nam: x}}", "PLAN_012", "did you mean `name`?"),
        ("{name: customer, table: customers, columns: [nam]}", "PLAN_012", "did you mean `name`?"),
    ],
)
def test_a_lookup_that_cannot_be_is_an_error(shop: Callable[..., Planned], lookup: str, code: str, says: str) -> None:
    planned = shop(with_lookup(lookup, "1"))
    found = [(each.code, says in f"{each.message}; {each.remedy}") for each in planned.findings]
    assert found == [(code, True)], planned.findings


def test_without_a_foreign_key_the_document_must_say_on(shop: Callable[..., Planned]) -> None:
    planned = shop(
        """\
- name: dim_customers
  lookups: [{name: last_order, table: orders}]
  columns: [id, {name: x, expression: "last_order.total"}]
"""
    )
    assert [(each.code, each.message) for each in planned.findings] == [
        ("PLAN_030", "no foreign key leads from `customers` to `orders`")
    ]


def test_a_default_must_be_of_the_columns_type(shop: Callable[..., Planned]) -> None:
    planned = shop(with_lookup("{name: customer, table: customers, default: {id: none}}"))
    assert [(each.code, each.level) for each in planned.findings] == [("PLAN_023", Level.ERROR)]


def test_a_lookup_with_a_mistake_makes_no_second_finding_of_what_uses_it(shop: Callable[..., Planned]) -> None:
    planned = shop(
        with_lookup("{name: customer, table: customers, on: custmer_id}", "customer.name || customer.segment")
    )
    assert [each.code for each in planned.findings] == ["PLAN_012"]
