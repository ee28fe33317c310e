from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.model.finding import Level

if TYPE_CHECKING:
    from collections.abc import Callable

    from penstock.planning import Planned

ORDERS = """\
source_models: [{table: orders, columns: [{name: id, type: bigint}, {name: total, type: bigint}]}]
destination_requirements: {models: [{name: fct_orders, columns: [id, {name: doubled, expression: "total * 2"}]}]}
"""


def questions(planned: Planned) -> list[tuple[str, int, str]]:
    assert all(each.level is Level.OPEN_QUESTION for each in planned.findings), planned.findings
    return [(each.code, each.place.line, each.remedy) for each in planned.findings]


def test_metrics_may_use_columns_of_sources_and_of_models(planned: Callable[..., Planned]) -> None:
    pulse = """\
analytics_requirements:
  metrics:
    - {name: a, aggregation: "SUM(Total) / COUNT(*)", dimensions: [ID, doubled]}
  data_sources: [orders, fct_orders]
"""
    assert [code for code, _, _ in questions(planned(("SCHEMA_TO_STREAM", ORDERS), ("PULSE_TO_STREAM", pulse)))] == [
        "PLAN_120"
    ]


def test_what_a_metric_needs_and_nothing_has_is_asked_for_at_its_place(planned: Callable[..., Planned]) -> None:
    pulse = """\
analytics_requirements:
  metrics:
    - {name: a, aggregation: "SUM(totla)"}
    - {name: b, aggregation: "SUM((", dimensions: [region]}
  data_sources: [ordrs]
"""
    assert questions(planned(("SCHEMA_TO_STREAM", ORDERS), ("PULSE_TO_STREAM", pulse))) == [
        ("PLAN_120", 3, "query the delivered tables"),
        ("PLAN_121", 4, "did you mean `total`?"),
        ("PLAN_122", 5, "close it"),
        ("PLAN_121", 5, "which table holds it? describe it"),
        ("PLAN_123", 6, "did you mean `orders`?"),
    ]


def test_an_api_asks_for_all_that_its_document_leaves_open(planned: Callable[..., Planned]) -> None:
    builder = """\
api_integration:
  source_api: {name: pay, base_url: "https://api.example.com", auth: bearer}
  endpoints:
    - {path: /a, pagination: page, incremental_key: id}
    - {path: /b, pagination: link}
    - {path: /c, incremental_key: idd}
  data_contract: {fields: [{name: id, type: text}]}
"""
    found = planned(("SCHEMA_TO_STREAM", ORDERS), ("BUILDER_TO_STREAM", builder))
    assert [(code, line) for code, line, _ in questions(found)] == [
        ("PLAN_130", 3),
        ("PLAN_134", 3),
        ("PLAN_131", 3),
        ("PLAN_132", 5),
        ("PLAN_133", 7),
    ]
