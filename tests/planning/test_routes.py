"""Records shared out among models by `route`, planned and run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import penstock
from penstock.model.finding import Level
from penstock.planning.routes import ELSEWHERE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from penstock.planning import Planned

LINE_OF_MODEL = 19
EUROPE = "- {name: fct_europe, source: orders, route: \"status = 'new'\"}"
AMERICA = "- {name: fct_america, source: orders, route: \"status = 'paid' AND total > 10\"}"
ALL = "- {name: fct_all, source: orders}"


def test_a_route_leaves_what_it_does_not_take_to_the_other_models(shop: Callable[..., Planned]) -> None:
    pipeline = shop(f"{EUROPE}\n{AMERICA}").pipeline
    assert pipeline is not None
    (europe, america) = pipeline.models
    assert [(one.reason, one.predicate) for one in europe.filters] == [(ELSEWHERE, "(\"status\" = 'new') IS NOT TRUE")]
    assert [one.reason for one in america.filters] == [ELSEWHERE]


def test_a_record_without_a_route_is_checked_for_at_the_source(shop: Callable[..., Planned]) -> None:
    pipeline = shop(f"{EUROPE}\n{AMERICA}").pipeline
    assert pipeline is not None
    (check,) = [check for check in pipeline.source("orders").checks if check.code == "INT_GAMMA_002"]
    assert check.field == "status"
    assert check.expected == "status = 'new' or status = 'paid' AND total > 10"


def test_where_one_model_takes_everything_every_record_has_a_destination(shop: Callable[..., Planned]) -> None:
    pipeline = shop(f"{EUROPE}\n{ALL}").pipeline
    assert pipeline is not None
    assert all(check.code != "INT_GAMMA_002" for check in pipeline.source("orders").checks)


@pytest.mark.parametrize("route", ["stauts = 'new'", "total", "customer.name = 'x'"])
def test_a_route_that_is_no_predicate_over_the_source_is_an_error(shop: Callable[..., Planned], route: str) -> None:
    found = shop(f'- {{name: fct_orders, route: "{route}"}}')
    assert found.pipeline is None
    (line,) = {finding.place.line for finding in found.findings if finding.level is Level.ERROR}
    assert line == LINE_OF_MODEL


DOCUMENT = """\
## SCHEMA_TO_STREAM_HANDOFF
pipeline: shares
source_models:
  - table: orders
    columns:
      - {name: id, type: bigint, primary_key: true}
      - {name: region, type: text}
destination_requirements:
  models:
    - {name: fct_europe, source: orders, route: "region = 'EU'"}
    - {name: fct_america, source: orders, route: "region = 'US'"}
"""


def test_every_record_goes_where_its_route_leads_and_one_without_is_a_dead_letter(tmp_path: Path) -> None:
    (tmp_path / "shares.yaml").write_text(DOCUMENT, encoding="utf-8")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "orders.csv").write_text("id,region\n1,EU\n2,US\n3,EU\n4,ASIA\n5,\n", encoding="utf-8")
    project = penstock.load(tmp_path)
    result = project.run()
    assert result.exit_code == 0, result
    (account,) = result.account
    delivered = {
        each.destination: (each.delivered, {left.reason: left.records for left in each.filtered})
        for each in account.destinations
    }
    letters = project.dead_letters().select(["sequence", "code", "field", "actual"]).to_pylist()
    assert [(letter["sequence"], letter["code"], letter["field"], letter["actual"]) for letter in letters] == [
        (3, "INT_GAMMA_002", "region", "ASIA"),
        (4, "INT_GAMMA_002", "region", "null"),
    ]
    assert delivered == {"fct_europe": (2, {ELSEWHERE: 1}), "fct_america": (1, {ELSEWHERE: 2})}
