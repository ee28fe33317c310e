"""Every requirement of the document, checked after a run: pass, fail, or not checked and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, assert_never

from penstock.ledger import RequirementResult, Result
from penstock.model.outcome import Outcome
from penstock.model.pipeline import RequirementKind, RuleSeverity
from penstock.model.quantity import Amount, Rate, Share

if TYPE_CHECKING:
    from collections.abc import Mapping
    from decimal import Decimal

    from penstock.ingestion.references import References
    from penstock.model.outcome import Tally
    from penstock.model.pipeline import Pipeline, Requirement
    from penstock.ports import Sink

SECONDS_PER_DAY = 86_400
SECONDS_TO_JUDGE = 10
"""A rate is judged over at least this many seconds' worth of rows: less says more about starting up than about pace."""

_Finding = tuple[Result, str]


@dataclass(frozen=True, slots=True)
class Observed:
    """What a run has seen, for judging requirements. `read` counts this run's records by source, tallies all time's."""

    pipeline: Pipeline
    sinks: Mapping[str, Sink]
    read: Mapping[str, int]
    read_ever: Mapping[str, int]
    tallies: Mapping[str, Tally]
    refused_by_rule: Mapping[str, int]
    references: Mapping[str, References]
    rows_per_s: float


def check(requirement: Requirement, observed: Observed) -> RequirementResult:
    """Judge one requirement."""
    result, evidence = _judge(requirement, observed) if requirement.applied else _not_yet(requirement)
    return RequirementResult(requirement.id, requirement.text, str(requirement.place), result, evidence)


def _not_yet(_: Requirement) -> _Finding:
    return Result.NOT_CHECKED, "carried in the plan, not applied yet"


def _judge(requirement: Requirement, observed: Observed) -> _Finding:
    match requirement.kind:
        case RequirementKind.RULE:
            return _rule(requirement, observed)
        case RequirementKind.DEAD_LETTERS:
            return _dead_letters(requirement, observed)
        case RequirementKind.FOREIGN_KEY:
            return _foreign_key(requirement, observed)
        case RequirementKind.VOLUME | RequirementKind.RATE:
            return _pace(requirement, observed)
        case RequirementKind.RETENTION | RequirementKind.LATENCY | RequirementKind.FREQUENCY | RequirementKind.LAYOUT:
            return _not_yet(requirement)
        case _:
            assert_never(requirement.kind)


def _rule(requirement: Requirement, observed: Observed) -> _Finding:
    """The destination is asked, over all its rows: a rule holds when it holds there."""
    rule = next(rule for rule in observed.pipeline.model(requirement.subject).rules if rule.id == requirement.rule)
    refused = observed.refused_by_rule.get(rule.id, 0)
    if not rule.at_destination and rule.severity is RuleSeverity.ERROR:
        return Result.PASS, f"{refused:,} refused on the way; the destination lacks what it would take to ask there"
    if not rule.at_destination:
        return Result.NOT_CHECKED, "only scored: the destination lacks what it would take to ask there"
    found = observed.sinks[requirement.subject].evidence(rule)
    words = f"{found.violations:,} of {found.rows:,} rows break it"
    if refused:
        words += f"; {refused:,} refused on the way"
    if found.violations == 0:
        return Result.PASS, words
    return (Result.FAIL if rule.severity is RuleSeverity.ERROR else Result.WARNING), words


def _dead_letters(requirement: Requirement, observed: Observed) -> _Finding:
    """All dead letters of a model, or of one rule of it, against the limit, over all time."""
    source = observed.pipeline.model(requirement.subject).source
    read = observed.read_ever.get(source, 0)
    if requirement.rule:
        letters = observed.refused_by_rule.get(requirement.rule, 0)
    else:
        letters = sum(
            count.records
            for count in observed.tallies.get(source, ())
            if count.destination == requirement.subject and count.outcome is Outcome.DEAD_LETTERED
        )
    allowed: Decimal | int
    match requirement.quantity:
        case Share(share):
            allowed = share * read
        case Amount(count):
            allowed = count
        case _:
            raise AssertionError(requirement)
    words = f"{letters:,} of {read:,} records read"
    return (Result.PASS if letters <= allowed else Result.FAIL), words


def _foreign_key(requirement: Requirement, observed: Observed) -> _Finding:
    """A dangling reference is a warning about the source, not a reason to refuse a record."""
    found = observed.references.get(requirement.subject)
    if found is None:
        return Result.NOT_CHECKED, "nothing was read, or the table it refers to is too large to keep"
    words = f"{found.dangling:,} of {found.records:,} references read lead nowhere"
    return (Result.WARNING if found.dangling else Result.PASS), words


def _pace(requirement: Requirement, observed: Observed) -> _Finding:
    match requirement.quantity:
        case Rate():
            needed_per_s = requirement.quantity.per_s
        case Amount(count):
            needed_per_s = count / SECONDS_PER_DAY
        case _:
            raise AssertionError(requirement)
    read = sum(observed.read.values())
    if read < max(1_000.0, needed_per_s * SECONDS_TO_JUDGE):
        return Result.NOT_CHECKED, f"{read:,} rows are too few to judge a pace by"
    words = f"{observed.rows_per_s:,.0f} rows/s here, {needed_per_s:,.2f} needed"
    return (Result.PASS if observed.rows_per_s >= needed_per_s else Result.FAIL), words
