"""Rules after the transform: what they refuse, and the score, by hand."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from penstock.model.pipeline import Filter, RuleSeverity
from penstock.protocol.messages import QualitySummary
from penstock.transformation.apply import QualityFigures

Bench = Any  # the fixture's class; test folders are not packages
WARNING = RuleSeverity.WARNING


def test_a_record_that_breaks_rules_is_refused_with_all_of_them(bench: Bench) -> None:
    rules = bench.rule('"net" >= 0', RuleSeverity.ERROR, 1.0, "net"), bench.rule('"net" < "total"'), bench.rule("TRUE")
    model = bench.model(
        bench.column("net", '"total" - "discount"', "numeric(10,2)"), bench.column("total"), rules=rules
    )
    result = bench.transform(
        model, {"total": Decimal(5), "discount": Decimal(1)}, {"total": Decimal(-5), "discount": Decimal(0)}
    )
    assert result.rows.column("_sequence").to_pylist() == [0]
    assert [(error.code, error.field, error.expected, error.actual) for error in result.errors[1]] == [
        ("INT_BETA_004", "net", '"net" >= 0', "-5.00"),
        ("INT_BETA_004", "", '"net" < "total"', "net = -5.00, total = -5.00"),
    ]


def test_null_meets_a_rule_unless_it_asks_for_a_value(bench: Bench) -> None:
    model = bench.model(bench.column("total"), rules=(bench.rule('"total" >= 0'),))
    assert bench.transform(model, {"total": None}).errors == {}
    model = bench.model(
        bench.column("total"), rules=(bench.rule('"total" IS NOT NULL', RuleSeverity.ERROR, 1, "total"),)
    )
    assert bench.transform(model, {"total": None}).errors[0][0].actual == "null"


def test_a_rule_may_name_a_column_of_the_source_that_the_model_lacks(bench: Bench) -> None:
    model = bench.model(
        bench.column("total", '"total" * 10', "numeric(12,2)"), rules=(bench.rule('"total" > "discount"'),)
    )
    result = bench.transform(
        model, {"total": Decimal(1), "discount": Decimal(9)}, {"total": Decimal(1), "discount": Decimal(10)}
    )
    assert list(result.errors) == [1]  # 10 > 9, but not 10 > 10: the model's total, the source's discount
    assert result.errors[1][0].actual == "total = 10.00, discount = 10.00"


@pytest.mark.parametrize(
    ("weights", "broken", "wanted"),
    [
        ((1, 1, 1, 1), (0,), 0.75),
        ((2, 1, 1), (0,), 0.5),
        ((1, 1, 1), (), 1.0),
        ((1, 1, 1), (0, 1, 2), 0.0),
        ((0.1, 0.2, 0.7), (1,), 0.8),
        ((3, 7), (1,), 0.3),
        ((1,) * 10, tuple(range(9)), 0.1),
    ],
)
def test_the_score_is_the_share_of_weight_that_is_met(
    bench: Bench, weights: tuple[float, ...], broken: tuple[int, ...], wanted: float
) -> None:
    rules = tuple(
        bench.rule("FALSE" if number in broken else "TRUE", WARNING, weight) for number, weight in enumerate(weights)
    )
    result = bench.transform(bench.model(rules=rules, score_column="_quality_score"), {})
    assert result.rows.schema.field("_quality_score").type == pa.float64()
    assert result.rows.column("_quality_score").to_pylist() == [pytest.approx(wanted, abs=1e-15)]


def test_the_score_column_stands_between_the_model_s_columns_and_the_reserved_ones(bench: Bench) -> None:
    model = bench.model(bench.column("status"), score_column="quality")
    assert bench.transform(model, {}).rows.schema.names[:4] == ["id", "status", "quality", "_sequence"]


def test_uniqueness_counts_as_met_before_the_destination(bench: Bench) -> None:
    rules = bench.rule("", RuleSeverity.ERROR, 3.0, "id"), bench.rule("FALSE", WARNING)
    result = bench.transform(bench.model(rules=rules, score_column="score"), {})
    assert result.rows.column("score").to_pylist() == [0.75]


def test_below_the_minimum_a_record_is_refused_at_it_it_is_not(bench: Bench) -> None:
    rules = tuple(bench.rule(f'"total" > {limit}', WARNING) for limit in range(10))
    model = bench.model(rules=rules, min_score=0.1, score_column="score")
    result = bench.transform(model, {"total": Decimal(1)}, {"total": Decimal(0)}, {"total": Decimal(20)})
    assert result.rows.column("score").to_pylist() == [0.1, 1.0]
    (error,) = result.errors[1]
    assert (error.code, error.field, error.expected, error.actual) == (
        "INT_BETA_005", "score", "a score of at least 0.1", "0",
    )  # fmt: skip
    average = (0.1 + 0.0 + 1.0) / 3
    assert result.quality == QualityFigures(3, average, 0.0, 1.0, 1)
    assert result.quality.summary() == QualitySummary(average, 0.0, 1.0, 1)


def test_a_broken_rule_of_severity_error_is_named_rather_than_the_score(bench: Bench) -> None:
    model = bench.model(rules=(bench.rule("FALSE"),), min_score=0.9)
    result = bench.transform(model, {})
    assert [error.code for error in result.errors[0]] == ["INT_BETA_004"]
    assert result.quality == QualityFigures(1, 0.0, 0.0, 0.0, 1)


def test_only_records_that_could_be_mapped_have_a_score(bench: Bench) -> None:
    model = bench.model(
        bench.column("number", 'CAST("status" AS INTEGER)', "integer"),
        filters=(Filter("none", "\"status\" = '0'", bench.orders.place),),
        rules=(bench.rule('"number" > 1', WARNING),),
    )
    result = bench.transform(model, {"status": "x"}, {"status": "0"}, {"status": "1"}, {"status": "2"})
    assert result.quality == QualityFigures(2, 0.5, 0.0, 1.0, 0)


def test_a_rule_that_cannot_be_computed_fails_its_record_alone(bench: Bench) -> None:
    model = bench.model(
        bench.column("status"), rules=(bench.rule('CAST("status" AS INTEGER) > 1'), bench.rule("FALSE", WARNING))
    )
    result = bench.transform(model, {"status": "2"}, {"status": "x"}, {"status": "1"})
    assert result.rows.column("_sequence").to_pylist() == [0]
    assert {sequence: [error.code for error in errors] for sequence, errors in result.errors.items()} == {
        1: ["INT_BETA_002"],
        2: ["INT_BETA_004"],
    }
    assert result.errors[1][0].actual == "status = x"
