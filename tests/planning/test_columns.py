from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from penstock.model.finding import Level

if TYPE_CHECKING:
    from collections.abc import Callable

    from penstock.model.pipeline import Column, Model
    from penstock.planning import Planned


def model_of(planned: Planned) -> Model:
    assert planned.pipeline is not None, planned.findings
    return planned.pipeline.models[0]


def columns_of(planned: Planned) -> dict[str, Column]:
    return {column.name: column for column in model_of(planned).columns}


def errors_of(planned: Planned) -> list[tuple[str, str]]:
    return [(each.code, each.message) for each in planned.findings if each.level is Level.ERROR]


def test_without_a_list_every_source_column_is_copied(shop: Callable[..., Planned]) -> None:
    columns = columns_of(shop("- name: fct_orders"))
    assert list(columns) == ["id", "customer_id", "status", "total", "discount", "created_at", "updated_at"]
    assert columns["status"].type.values == ("new", "paid", "test")
    assert columns["created_at"].expression == '"created_at"'
    assert not columns["created_at"].nullable


def test_a_list_is_exact_and_keeps_its_order(shop: Callable[..., Planned]) -> None:
    columns = columns_of(shop("- {name: fct_orders, columns: [updated_at, {name: nr, from: ID}, total]}"))
    assert {name: column.copied_from for name, column in columns.items()} == {
        "updated_at": "updated_at",
        "nr": "id",
        "total": "total",
    }


def test_a_star_is_the_rest_and_replacements_after_it_take_their_place(shop: Callable[..., Planned]) -> None:
    columns = columns_of(
        shop(
            """\
- name: fct_orders
  columns:
    - updated_at
    - "*"
    - {name: net, expression: "total - discount"}
    - {name: status, expression: "upper(status)"}
    - {name: order_nr, from: id}
    - {name: placed, from: created_at}
"""
        )
    )
    assert list(columns) == ["updated_at", "order_nr", "customer_id", "status", "total", "discount", "placed", "net"]
    assert columns["status"].copied_from == ""
    assert columns["placed"].copied_from == "created_at"


@pytest.mark.parametrize(
    ("model", "rules"),
    [
        ("{name: fct_orders, grain: order_id}", "[]"),
        ("{name: fct_orders, clustering: [order_id]}", "[]"),
        ("{name: fct_orders}", '["no duplicate order_id"]'),
        ('{name: fct_orders, columns: [order_id, "*"]}', "[]"),
        ("{name: anything, source: orders, grain: ORDER_ID}", "[]"),
    ],
)
def test_the_key_goes_by_the_name_that_the_model_calls_it(shop: Callable[..., Planned], model: str, rules: str) -> None:
    columns = columns_of(shop(f"- {model}", rules))
    assert columns["order_id"].copied_from == "id"
    assert "id" not in columns


def test_the_key_keeps_its_name_when_nobody_calls_it_otherwise(shop: Callable[..., Planned]) -> None:
    assert "id" in columns_of(shop("- {name: fct_orders, grain: id}", '["no duplicate id"]'))
    taken = '- {name: fct_orders, grain: order_id, columns: ["*", {name: order_id, expression: "id + 1"}]}'
    assert list(columns_of(shop(taken)))[:2] == ["id", "customer_id"]


def test_a_declared_type_is_cast_to(shop: Callable[..., Planned]) -> None:
    columns = columns_of(
        shop('- {name: fct_orders, columns: [{name: total, type: "numeric(12,4)"}, {name: id, type: text}]}')
    )
    assert columns["total"].expression == 'CAST("total" AS DECIMAL(12, 4))'
    assert columns["total"].copied_from == ""
    assert columns["id"].expression == 'CAST("id" AS TEXT)'
    assert not columns["id"].nullable


def test_a_text_of_another_length_is_still_a_copy(shop: Callable[..., Planned]) -> None:
    column = columns_of(shop('- {name: dim_customers, columns: [{name: name, type: "varchar(9)"}]}'))["name"]
    assert column.copied_from == "name"
    assert column.type.length == 9


def test_a_division_takes_its_places_from_the_columns_type(shop: Callable[..., Planned]) -> None:
    column = '{name: share, expression: "discount / total"'
    assert errors_of(shop(f"- {{name: fct_orders, columns: [{column}}}]}}"))[0][0] == "PLAN_020"
    typed = columns_of(shop(f"- {{name: fct_orders, columns: [{column}, type: 'numeric(5,4)'}}]}}"))["share"]
    assert str(typed.type) == "decimal(5,4)"


def test_a_masked_column_is_text(shop: Callable[..., Planned]) -> None:
    columns = columns_of(
        shop("- {name: fct_orders, columns: [{name: customer_id, mask: hash}, {name: id, mask: partial}]}")
    )
    assert columns["customer_id"].type.kind == "text"
    assert columns["customer_id"].expression == 'CAST("customer_id" AS TEXT)'
    assert columns["customer_id"].copied_from == ""
    assert columns["id"].masking == "partial"


@pytest.mark.parametrize(
    ("model", "code", "says"),
    [
        ("columns: [{name: id, mask: hash, type: bigint}]", "PLAN_024", "masked, and so text"),
        ("grain: id, columns: [{name: id, mask: redact}]", "PLAN_024", "names a row"),
        (
            "grain: id, write_mode: merge, version_by: total, columns: [id, {name: total, mask: hash}]",
            "PLAN_024",
            "versions",
        ),
        ('columns: ["*", {name: total, from: discount}]', "PLAN_011", "a column `total` already"),
        ("columns: [{name: _id, from: id}]", "PLAN_010", "`_id`"),
        ("columns: [totl]", "PLAN_012", "`totl` is not a column of orders"),
        ("columns: [{name: x, from: totl}]", "PLAN_012", "`totl` is not a column of orders"),
        ('columns: [{name: x, expression: "totl + 1"}]', "PLAN_012", "`x`: `totl` is not a column of orders"),
        ('columns: [{name: x, expression: "sum(total)"}]', "PLAN_020", "`x`: `sum` looks at many records"),
        ("columns: [{name: created_at, type: bigint}]", "PLAN_021", "timestamp, and cannot be made bigint"),
        ('columns: [{name: x, expression: "created_at", type: boolean}]', "PLAN_020", "cannot be made boolean"),
        ("grain: nr", "PLAN_012", "`nr` is not a column"),
        ("clustering: [id, nr]", "PLAN_012", "`nr` is not a column"),
        ('partitioning: "created (daily)"', "PLAN_012", "`created` is not a column of fct_orders"),
        ('partitioning: "status (daily)"', "PLAN_022", "has no daily parts"),
        ("write_mode: merge", "PLAN_032", "does not say what a row is"),
        ("version_by: updated_at", "PLAN_033", "without `write_mode: merge`"),
        ("write_mode: merge, grain: id, version_by: changed_at", "PLAN_012", "`changed_at` is not a column"),
        ("score_column: total", "PLAN_011", "already"),
        ("source: orderz", "PLAN_013", "`orderz`"),
    ],
)
def test_what_does_not_fit_is_an_error(shop: Callable[..., Planned], model: str, code: str, says: str) -> None:
    found = errors_of(shop(f"- {{name: fct_orders, {model}}}"))
    assert [(got, says in message) for got, message in found] == [(code, True)], found


@pytest.mark.parametrize(
    ("name", "source"),
    [("fct_orders", "orders"), ("fact_order", "orders"), ("dim_customer", "customers"), ("STG_CUSTOMERS", "customers")],
)
def test_a_model_finds_its_source_by_its_name(shop: Callable[..., Planned], name: str, source: str) -> None:
    assert model_of(shop(f"- name: {name}")).source == source


def test_a_model_that_is_called_like_no_source_must_say_which(shop: Callable[..., Planned]) -> None:
    assert errors_of(shop("- name: fct_revenue"))[0][0] == "PLAN_015"
    assert model_of(shop("- {name: fct_revenue, source: Orders}")).source == "orders"


def test_columns_of_the_grain_are_never_null(shop: Callable[..., Planned]) -> None:
    columns = columns_of(shop("- {name: fct_orders, grain: customer_id + status}"))
    assert not columns["customer_id"].nullable
    assert not columns["status"].nullable
    assert columns["total"].nullable


def test_unit_tests_carry_typed_values(shop: Callable[..., Planned]) -> None:
    model = model_of(
        shop(
            """\
- name: fct_orders
  lookups: [{table: customers}]
  columns: [{name: net, expression: "total - discount"}, {name: who, expression: "customers.name"}]
  tests:
    - {name: t, input: {total: 100, Discount: 10.5, customers.name: Ada}, expected: {net: 89.5, who: null}}
"""
        )
    )
    assert model.tests[0].input == {
        "total": "CAST('100' AS DECIMAL(10, 2))",
        "discount": "CAST('10.5' AS DECIMAL(10, 2))",
        "customers.name": "CAST('Ada' AS TEXT)",
    }
    assert model.tests[0].expected == {"net": "CAST('89.5' AS DECIMAL(11, 2))", "who": None}


@pytest.mark.parametrize(
    ("test", "code", "says"),
    [
        ("input: {totl: 1}, expected: {total: 1}", "PLAN_012", "`totl` is not a column of the source"),
        ("input: {total: 1}, expected: {net: 1}", "PLAN_012", "`net` is not a column of the model"),
        ("input: {total: much}, expected: {total: 1}", "PLAN_023", "`much` is no decimal"),
        ("input: {total: 1.005}, expected: {total: 1}", "PLAN_023", "more places"),
        ("input: {status: old}, expected: {total: 1}", "PLAN_023", "not among the column's values"),
    ],
)
def test_unit_tests_name_columns_and_give_values_that_can_be(
    shop: Callable[..., Planned], test: str, code: str, says: str
) -> None:
    found = errors_of(shop(f"- {{name: fct_orders, tests: [{{name: t, {test}}}]}}"))
    assert [(got, says in message) for got, message in found] == [(code, True)], found
