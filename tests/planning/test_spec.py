"""The spec's own document plans as it is: nothing in it is an error, and what it leaves open is said at its line."""

from __future__ import annotations

from pathlib import Path

from penstock.documents import load
from penstock.model.finding import Level
from penstock.model.pipeline import Pipeline, RequirementKind, RuleKind, WriteMode
from penstock.planning import plan

SPEC = Path(__file__).parents[1] / "documents" / "spec_formats.md"


def pipeline() -> Pipeline:
    planned = plan(load([SPEC]))
    assert planned.pipeline is not None
    return planned.pipeline


def test_nothing_in_it_is_an_error() -> None:
    assert [finding for finding in plan(load([SPEC])).findings if finding.level is Level.ERROR] == []


def test_every_open_question_stands_at_its_line_and_column() -> None:
    findings = plan(load([SPEC])).findings
    assert [(finding.place.line, finding.place.column, finding.code) for finding in findings] == [
        (20, 22, "PLAN_104"),  # customers.id is described nowhere
        (39, 21, "PLAN_110"),  # partitioning
        (40, 19, "PLAN_111"),  # clustering
        (45, 14, "PLAN_112"),  # retention
        (59, 3, "PLAN_120"),  # metrics
        (64, 20, "PLAN_121"),  # store_id
        (64, 32, "PLAN_121"),  # product_category
        (77, 3, "PLAN_113"),  # a time of day
        (81, 3, "PLAN_114"),  # refresh
        (87, 7, "PLAN_123"),  # customers
        (88, 7, "PLAN_123"),  # products
        (98, 11, "PLAN_130"),  # the API
        (98, 11, "PLAN_134"),  # whose records go nowhere
        (100, 11, "PLAN_131"),  # token URL
        (106, 19, "PLAN_132"),  # cursor field
        (107, 24, "PLAN_133"),  # updated_at is no field of the contract
        (107, 24, "PLAN_136"),  # and there is no telling how to ask for it
    ]


def test_the_id_of_orders_becomes_order_id_in_its_place() -> None:
    model = pipeline().model("fct_orders")
    assert [(column.name, column.copied_from) for column in model.columns] == [
        ("order_id", "id"),
        ("customer_id", "customer_id"),
        ("total_amount", "total_amount"),
        ("created_at", "created_at"),
        ("updated_at", "updated_at"),
    ]
    assert model.grain == ("order_id",)
    assert model.write_mode is WriteMode.APPEND
    assert [column.name for column in model.columns if not column.nullable] == ["order_id"]


def test_the_three_rules_are_understood_and_checked_where_they_can_be() -> None:
    rules = {rule.text: rule for rule in pipeline().model("fct_orders").rules}
    assert {text: (rule.kind, rule.columns, rule.at_source) for text, rule in rules.items()} == {
        "no duplicate order_id": (RuleKind.UNIQUE, ("order_id",), False),
        "total_amount >= 0": (RuleKind.PREDICATE, ("total_amount",), True),
        "created_at not null": (RuleKind.NOT_NULL, ("created_at",), True),
    }
    assert all(rule.at_destination for rule in rules.values())
    checks = pipeline().source("orders").checks
    assert [(check.code, check.valid, check.rule) for check in checks] == [
        ("INT_ALPHA_003", '"id" IS NOT NULL', ""),
        ("INT_ALPHA_004", '"total_amount" >= 0', "fct_orders.total_amount_at_least_0"),
        ("INT_ALPHA_004", '"created_at" IS NOT NULL', "fct_orders.created_at_not_null"),
    ]


def test_every_line_that_wants_something_is_a_requirement() -> None:
    requirements = pipeline().requirements
    assert [(each.kind, each.applied, str(each.quantity or each.subject)) for each in requirements] == [
        (RequirementKind.RULE, True, "fct_orders"),
        (RequirementKind.RULE, True, "fct_orders"),
        (RequirementKind.RULE, True, "fct_orders"),
        (RequirementKind.LAYOUT, False, "fct_orders"),
        (RequirementKind.LAYOUT, False, "fct_orders"),
        (RequirementKind.FOREIGN_KEY, False, "orders.customer_id"),
        (RequirementKind.VOLUME, True, "50000"),
        (RequirementKind.RATE, True, "100 rows/second"),
        (RequirementKind.RETENTION, False, "3 years"),
        (RequirementKind.LATENCY, False, "available by 06:00 UTC"),
        (RequirementKind.LATENCY, True, "< 1 minute delay"),
        (RequirementKind.FREQUENCY, False, "every 1 day"),
        (RequirementKind.FREQUENCY, False, "continuous"),
        (RequirementKind.RATE, False, "100 requests/minute"),
        (RequirementKind.FREQUENCY, False, "every 15 minutes"),
    ]
    assert len({each.id for each in requirements}) == len(requirements)


def test_metrics_are_carried_as_written() -> None:
    metrics = pipeline().metrics
    assert [(metric.name, metric.grain, metric.dimensions) for metric in metrics] == [
        ("daily_revenue", "day", ("store_id", "product_category")),
        ("customer_ltv", "customer", ()),
        ("order_frequency", "month", ()),
    ]


def test_files_and_a_local_warehouse_stand_in_for_what_is_not_configured() -> None:
    assert pipeline().source("orders").connection.path == "data"
    assert pipeline().source("orders").connection.kind == "files"
    assert pipeline().warehouse.name == "snowflake"
    assert pipeline().warehouse.connection.kind == "duckdb"
    assert pipeline().warehouse.connection.path == "warehouse.duckdb"
