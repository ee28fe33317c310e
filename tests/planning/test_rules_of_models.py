from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from penstock.model.finding import Level
from penstock.model.pipeline import RequirementKind, RuleSeverity

if TYPE_CHECKING:
    from collections.abc import Callable

    from penstock.model.pipeline import Pipeline, Rule
    from penstock.planning import Planned


def pipeline_of(planned: Planned) -> Pipeline:
    assert planned.pipeline is not None, planned.findings
    return planned.pipeline


def rules_of(planned: Planned, model: str = "fct_orders") -> list[Rule]:
    return list(pipeline_of(planned).model(model).rules)


def checks_of(planned: Planned, source: str = "orders") -> list[str]:
    return [check.valid for check in pipeline_of(planned).source(source).checks if check.rule]


BOTH = "- {name: fct_orders}\n- {name: big_orders, source: orders}"


def test_a_rule_is_about_every_model_that_has_its_columns(shop: Callable[..., Planned]) -> None:
    planned = shop(f"{BOTH}\n- {{name: dim_customers}}", '["total >= 0"]')
    assert [rule.id for model in pipeline_of(planned).models for rule in model.rules] == [
        "fct_orders.total_at_least_0",
        "big_orders.total_at_least_0",
    ]


def test_uniqueness_is_about_the_models_of_that_grain(shop: Callable[..., Planned]) -> None:
    models = (
        "- {name: fct_orders, grain: customer_id + status}\n- {name: by_customer, source: orders, grain: customer_id}"
    )
    planned = shop(models, '["no duplicate customer_id", "no duplicate id"]')
    assert [rule.columns for rule in rules_of(planned)] == [("id",)]
    assert [rule.columns for rule in rules_of(planned, "by_customer")] == [("customer_id",), ("id",)]
    insisted = shop(models, '[{rule: "no duplicate customer_id", model: fct_orders}]')
    assert [rule.columns for rule in rules_of(insisted)] == [("customer_id",)]


def test_a_rule_may_name_its_model(shop: Callable[..., Planned]) -> None:
    planned = shop(BOTH, '[{rule: "total >= 0", model: BIG_orders}]')
    assert rules_of(planned) == []
    assert len(rules_of(planned, "big_orders")) == 1


def test_what_the_document_says_of_a_rule_is_kept(shop: Callable[..., Planned]) -> None:
    rule = '{rule: "total >= 0", weight: 2, severity: warning, max_dead_letters: "1%", name: no refunds}'
    planned = shop("- name: fct_orders", f"[{rule}]")
    found = rules_of(planned)[0]
    assert (found.text, found.weight, found.severity) == ("no refunds: total >= 0", 2.0, RuleSeverity.WARNING)
    assert str(found.dead_letters_max) == "1%"
    limits = [each for each in pipeline_of(planned).requirements if each.kind is RequirementKind.DEAD_LETTERS]
    assert [(each.rule, str(each.quantity)) for each in limits] == [(found.id, "1%")]


def test_rules_of_one_wording_get_ids_of_their_own(shop: Callable[..., Planned]) -> None:
    planned = shop("- name: fct_orders", '["total > 0", {rule: "total > 0", severity: warning}]')
    assert [rule.id for rule in rules_of(planned)] == ["fct_orders.total_above_0", "fct_orders.total_above_0_2"]


def test_a_rule_over_plain_copies_is_checked_at_the_source_too_by_the_sources_names(
    shop: Callable[..., Planned],
) -> None:
    planned = shop("- {name: fct_orders, columns: [order_id, {name: net, from: total}]}", '["net > order_id"]')
    assert checks_of(planned) == ['"total" > "id"']
    assert rules_of(planned)[0].at_source


@pytest.mark.parametrize(
    ("models", "rules"),
    [
        ('- {name: fct_orders, columns: [id, {name: total, expression: "total - discount"}]}', '["total >= 0"]'),
        ('- {name: fct_orders, columns: [id, {name: total, type: "numeric(12,2)"}]}', '["total >= 0"]'),
        ("- {name: fct_orders}", '["no duplicate id"]'),
        ("- {name: fct_orders}", '[{rule: "total >= 0", severity: warning}]'),
        (BOTH, '[{rule: "total >= 0", model: fct_orders}]'),
        (
            "- {name: fct_orders}\n- {name: other, source: orders, columns: [{name: total, from: discount}]}",
            '["total > 0"]',
        ),
    ],
)
def test_a_rule_stays_off_the_source_where_it_cannot_speak_for_all(
    shop: Callable[..., Planned], models: str, rules: str
) -> None:
    planned = shop(models, rules)
    assert checks_of(planned) == []
    assert not rules_of(planned)[0].at_source


def test_a_record_that_a_filter_leaves_out_violates_nothing_at_the_source(shop: Callable[..., Planned]) -> None:
    planned = shop("- {name: fct_orders, filters: [\"status = 'test'\"]}", '["total >= 0"]')
    assert checks_of(planned) == ['("total" >= 0) OR ("status" = \'test\') IS TRUE']


def test_a_filter_that_looks_rows_up_keeps_rules_off_the_source(shop: Callable[..., Planned]) -> None:
    model = """\
- name: fct_orders
  lookups: [{name: customer, table: customers}]
  filters: ["customer.segment = 'test'"]
"""
    assert checks_of(shop(model, '["total >= 0"]')) == []


def test_a_rule_may_name_a_source_column_that_the_model_lacks(shop: Callable[..., Planned]) -> None:
    planned = shop("- {name: fct_orders, columns: [id, total]}", '["discount <= total"]')
    rule = rules_of(planned)[0]
    assert rule.predicate == '"discount" <= "total"'
    assert not rule.at_destination
    assert rule.at_source


def test_a_source_column_that_is_delivered_under_another_name_is_found_there(shop: Callable[..., Planned]) -> None:
    planned = shop("- {name: fct_orders, grain: order_id}", '["no duplicate id", "id > 0"]')
    assert [(rule.columns, rule.at_destination) for rule in rules_of(planned)] == [
        (("order_id",), True),
        (("order_id",), True),
    ]
    assert rules_of(planned)[1].predicate == '"order_id" > 0'
    assert checks_of(planned) == ['"id" > 0']


def test_the_destination_is_not_asked_what_a_mask_hides(shop: Callable[..., Planned]) -> None:
    model = (
        "- {name: fct_orders, columns: [id, {name: status, mask: hash}, {name: who, from: customer_id, mask: redact}]}"
    )
    rules = ["status <> ''", "status not null", "no duplicate status", "no duplicate who"]
    planned = shop(model, str(rules))
    assert [rule.at_destination for rule in rules_of(planned)] == [False, True, True, False]
    assert checks_of(planned) == ["\"status\" <> ''", '"status" IS NOT NULL']


@pytest.mark.parametrize(
    ("rules", "code", "says"),
    [
        ('["totl >= 0"]', "PLAN_041", "did you mean `total`?"),
        ('["no duplicate segmnt"]', "PLAN_041", "did you mean `segment`?"),
        ('["total >= segment"]', "PLAN_040", "compares|cannot compare"),
        ('["name = total"]', "PLAN_040", "compares"),
        ('["orders are fine"]', "PLAN_040", "understood are"),
        ('["sum(total) > 0"]', "PLAN_040", "many records"),
        ('["total"]', "PLAN_040", "not true or false"),
        ('[{rule: "total > 0", model: fct_order}]', "PLAN_014", "did you mean `fct_orders`?"),
    ],
)
def test_a_rule_that_nothing_can_check_is_an_error(
    shop: Callable[..., Planned], rules: str, code: str, says: str
) -> None:
    planned = shop("- {name: fct_orders}\n- {name: dim_customers}", rules)
    found = [(each.code, f"{each.message}; {each.remedy}") for each in planned.findings if each.level is Level.ERROR]
    assert [got for got, _ in found] == [code], found
    assert any(part in found[0][1] for part in says.split("|")), found


def test_columns_that_no_single_model_has_together_are_an_error(shop: Callable[..., Planned]) -> None:
    planned = shop("- {name: fct_orders}\n- {name: dim_customers}", '["segment <> status"]')
    assert [(each.code, each.message) for each in planned.findings] == [
        ("PLAN_041", "no model has all columns of `segment <> status`")
    ]


def test_uniqueness_needs_the_column_at_the_destination(shop: Callable[..., Planned]) -> None:
    planned = shop("- {name: fct_orders, columns: [id, total]}", '["no duplicate customer_id"]')
    assert [each.code for each in planned.findings] == ["PLAN_042"]


def test_a_limit_on_the_score_without_a_rule_is_a_question(shop: Callable[..., Planned]) -> None:
    planned = shop("- {name: fct_orders, min_score: 0.8, score_column: _quality_score}")
    assert [(each.code, each.level) for each in planned.findings] == [("PLAN_105", Level.OPEN_QUESTION)]
    model = pipeline_of(planned).models[0]
    assert (model.min_score, model.score_column) == (0.8, "_quality_score")
    assert shop("- {name: fct_orders, min_score: 0.8}", '["total > 0"]').findings == ()
