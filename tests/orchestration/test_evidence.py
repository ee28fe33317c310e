"""Every requirement has a result, and what speaks for it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, cast

import pytest

from penstock.ingestion.references import References
from penstock.ledger import Result
from penstock.model.finding import Place
from penstock.model.outcome import Count, Outcome, Stage
from penstock.model.pipeline import (
    Connection,
    Model,
    Pipeline,
    Requirement,
    RequirementKind,
    Rule,
    RuleKind,
    RuleSeverity,
    Warehouse,
)
from penstock.model.quantity import Amount, Quantity, Share, parse_latency, parse_rate
from penstock.observing.latency import Latency
from penstock.orchestration.evidence import Observed, check
from penstock.ports import Evidence

if TYPE_CHECKING:
    from penstock.ports import Sink

PLACE = Place("doc.md", 12, 5)


def rule(id_: str, severity: RuleSeverity = RuleSeverity.ERROR) -> Rule:
    return Rule(id_, "amount >= 0", RuleKind.PREDICATE, ("amount",), PLACE, '"amount" >= 0', severity=severity)


MODEL = Model("facts", "", "orders", ("id",), (), PLACE, rules=(rule("r1"), rule("r2", RuleSeverity.WARNING)))
PIPELINE = Pipeline("shop", (), (MODEL,), Warehouse("duckdb", Connection("wh", "duckdb")))


@dataclass
class Asked:
    """As much of a sink as answers for a rule."""

    found: Evidence

    def evidence(self, rule: Rule) -> Evidence:
        assert rule.id in {"r1", "r2"}
        return self.found


def observed(violations: int = 0, rows: int = 100, **more: Any) -> Observed:  # noqa: ANN401 - whatever was observed
    sink = cast("Sink", Asked(Evidence(violations, rows)))
    tally = (
        Count("facts", Outcome.DEAD_LETTERED, Stage.INGESTION, "INT_ALPHA_002", 3),
        Count("facts", Outcome.DEAD_LETTERED, Stage.DELIVERY, "INT_GAMMA_003", 2),
        Count("facts", Outcome.FILTERED, Stage.TRANSFORMATION, "test orders", 90),
        Count("now", Outcome.DEAD_LETTERED, Stage.DELIVERY, "INT_GAMMA_003", 50),
    )
    base = Observed(
        PIPELINE, {"facts": sink}, {"orders": 5_000}, {"orders": 1_000}, {"orders": tally}, {"r1": 4}, {}, 500.0
    )
    return replace(base, **more)


def judged(  # noqa: PLR0913 - what a requirement is made of
    kind: RequirementKind,
    seen: Observed,
    *,
    subject: str = "facts",
    quantity: Quantity | None = None,
    rule: str = "",
    applied: bool = True,
    sources: tuple[str, ...] = (),
) -> tuple[Result, str]:
    requirement = Requirement("q1", kind, "the text", PLACE, subject, quantity, rule, applied, sources)
    found = check(requirement, seen)
    assert (found.requirement, found.text, found.place) == ("q1", "the text", "doc.md:12:5")
    return found.result, found.evidence


@pytest.mark.parametrize(
    ("rule_id", "violations", "expected"),
    [
        ("r1", 0, (Result.PASS, "0 of 100 rows break it; 4 refused on the way")),
        ("r1", 2, (Result.FAIL, "2 of 100 rows break it; 4 refused on the way")),
        ("r2", 0, (Result.PASS, "0 of 100 rows break it")),
        ("r2", 2, (Result.WARNING, "2 of 100 rows break it")),
    ],
)
def test_a_rule_holds_when_it_holds_at_the_destination(
    rule_id: str, violations: int, expected: tuple[Result, str]
) -> None:
    assert judged(RequirementKind.RULE, observed(violations), rule=rule_id) == expected


@pytest.mark.parametrize(
    ("limit", "result"),
    [
        (Amount(5), Result.PASS),
        (Amount(4), Result.FAIL),
        (Share(Decimal("0.005")), Result.PASS),
        (Share(Decimal("0.0049")), Result.FAIL),
    ],
)
def test_dead_letters_of_a_model_are_held_against_its_limit(limit: Quantity, result: Result) -> None:
    found = judged(RequirementKind.DEAD_LETTERS, observed(), quantity=limit)
    assert found == (result, "5 of 1,000 records read")


def test_dead_letters_of_a_rule_are_those_that_it_refused() -> None:
    found = judged(RequirementKind.DEAD_LETTERS, observed(), quantity=Amount(3), rule="r1")
    assert found == (Result.FAIL, "4 of 1,000 records read")


def test_a_share_of_nothing_is_not_exceeded() -> None:
    nothing = observed(read_ever={}, tallies={}, refused_by_rule={})
    assert judged(RequirementKind.DEAD_LETTERS, nothing, quantity=Share(Decimal("0.01")))[0] is Result.PASS


def test_dangling_references_are_a_warning_about_the_source() -> None:
    seen = observed(references={"orders.customer_id": References(1_000, 3), "orders.shop_id": References(10, 0)})
    kind = RequirementKind.FOREIGN_KEY
    assert judged(kind, seen, subject="orders.customer_id") == (
        Result.WARNING,
        "3 of 1,000 references read lead nowhere",
    )
    assert judged(kind, seen, subject="orders.shop_id") == (Result.PASS, "0 of 10 references read lead nowhere")
    assert judged(kind, seen, subject="orders.other_id")[0] is Result.NOT_CHECKED


@pytest.mark.parametrize(
    ("needed", "result"),
    [("500 rows/second", Result.PASS), ("501 rows/second", Result.NOT_CHECKED), ("490 rows/s", Result.PASS)],
)
def test_a_rate_is_judged_over_enough_rows_only(needed: str, result: Result) -> None:
    assert judged(RequirementKind.RATE, observed(), quantity=parse_rate(needed))[0] is result


def test_a_pace_that_is_too_slow_fails() -> None:
    slow = observed(rows_per_s=99.9)
    found = judged(RequirementKind.RATE, slow, quantity=parse_rate("100 rows/second"))
    assert found == (Result.FAIL, "100 rows/s here, 100.00 needed")


def test_daily_rows_are_a_pace_too() -> None:
    found = judged(RequirementKind.VOLUME, observed(), quantity=Amount(86_400))
    assert found == (Result.PASS, "500 rows/s here, 1.00 needed")


def test_a_few_rows_say_nothing_about_pace() -> None:
    found = judged(RequirementKind.VOLUME, observed(read={"orders": 999}), quantity=Amount(1))
    assert found == (Result.NOT_CHECKED, "999 rows are too few to judge a pace by")


@pytest.mark.parametrize("kind", RequirementKind)
def test_what_is_not_applied_is_not_checked_and_says_so(kind: RequirementKind) -> None:
    assert judged(kind, observed(), applied=False) == (Result.NOT_CHECKED, "carried in the plan, not applied yet")


@pytest.mark.parametrize(
    "kind",
    [RequirementKind.RETENTION, RequirementKind.LATENCY, RequirementKind.FREQUENCY, RequirementKind.LAYOUT],
)
def test_what_nothing_measures_yet_never_passes(kind: RequirementKind) -> None:
    assert judged(kind, observed())[0] is Result.NOT_CHECKED


# --- latency ------------------------------------------------------------------------------------------------------

ORDERS = Latency(12_000, 0.02, 0.3, 0.5, 2.0)
RETURNS = Latency(99, 0.02, 0.3, 0.9, 2.0)
TOOK = "orders: p50 20.0 ms, p99 500 ms, longest 2.00 s from reading to settled, 12,000 records"


def judged_for(limit: str, seen: Observed, *sources: str) -> tuple[Result, str]:
    return judged(RequirementKind.LATENCY, seen, quantity=parse_latency(limit), sources=sources)


@pytest.mark.parametrize(
    ("limit", "result"),
    [("< 501 ms", Result.PASS), ("< 500 ms", Result.FAIL), ("<= 500 ms", Result.PASS), ("< 0.4 s", Result.FAIL)],
)
def test_a_delay_is_judged_by_the_99th_percentile_from_reading_to_settled(limit: str, result: Result) -> None:
    seen = observed(latencies={"orders": ORDERS}, following=True)
    assert judged_for(limit, seen, "orders") == (result, TOOK)


def test_the_slowest_of_several_sources_decides() -> None:
    slow = Latency(500, 0.02, 0.3, 61.0, 62.0)
    seen = observed(latencies={"orders": ORDERS, "items": slow, "other": Latency(500, 99.0, 99.0, 99.0, 99.0)})
    result, words = judged_for("< 1 minute", replace(seen, following=True), "orders", "items")
    assert (result, words.partition(":")[0]) == (Result.FAIL, "items")


def test_a_few_records_say_nothing_about_a_delay() -> None:
    few = observed(latencies={"returns": RETURNS}, following=True)
    result, words = judged_for("< 1 minute", few, "returns")
    assert (result, words.partition(":")[0]) == (Result.NOT_CHECKED, "too few records to judge by")
    both = observed(latencies={"orders": ORDERS, "returns": RETURNS}, following=True)
    assert judged_for("< 1 minute", both, "orders", "returns") == (
        Result.PASS,
        f"{TOOK}; too few records of returns",
    )


def test_what_was_read_at_rest_is_measured_and_not_judged() -> None:
    seen = observed(latencies={"orders": ORDERS})
    for limit in ("< 1 minute", "< 1 ms"):
        assert judged_for(limit, seen, "orders") == (
            Result.NOT_CHECKED,
            f"read at rest, so nobody can tell how old it was: {TOOK}",
        )


def test_where_nothing_was_read_there_is_no_delay_to_judge() -> None:
    seen = observed(latencies={"returns": RETURNS}, following=True)
    assert judged_for("< 1 minute", seen, "orders") == (Result.NOT_CHECKED, "nothing was read")


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        ("by 06:00 UTC", "runs are not started by the clock yet, so no time of day is watched"),
        ("< 1 minute", "no source that is read is what it is about"),
    ],
)
def test_a_latency_that_is_not_applied_says_why(limit: str, words: str) -> None:
    found = judged(RequirementKind.LATENCY, observed(), quantity=parse_latency(limit), applied=False)
    assert found == (Result.NOT_CHECKED, words)
