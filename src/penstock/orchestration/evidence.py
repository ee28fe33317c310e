"""Every requirement of the document, checked after a run: pass, fail, or not checked and why."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, assert_never

from penstock.ledger import RequirementResult, Result
from penstock.model.outcome import Outcome
from penstock.model.pipeline import RequirementKind, RuleSeverity
from penstock.model.quantity import Amount, Deadline, Delay, Rate, Share
from penstock.observing.latency import shown

if TYPE_CHECKING:
    from collections.abc import Mapping
    from decimal import Decimal

    from penstock.ingestion.references import References
    from penstock.model.outcome import Tally
    from penstock.model.pipeline import Pipeline, Requirement
    from penstock.observing.latency import Latency
    from penstock.ports import Sink

SECONDS_PER_DAY = 86_400
SECONDS_TO_JUDGE = 10
"""A rate is judged over at least this many seconds' worth of rows: less says more about starting up than about pace."""

RECORDS_TO_JUDGE = 100
"""Of fewer, the slowest one alone would decide about a 99th percentile."""

_Finding = tuple[Result, str]


@dataclass(frozen=True, slots=True)
class Observed:
    """What a run has seen, for judging requirements. `read` counts this run's records by source, tallies all time's.

    `latencies` has, by source, how long this run's records took from being read to being settled. `following` tells
    whether it read them as they came; otherwise it took what was there.
    """

    pipeline: Pipeline
    sinks: Mapping[str, Sink]
    read: Mapping[str, int]
    read_ever: Mapping[str, int]
    tallies: Mapping[str, Tally]
    refused_by_rule: Mapping[str, int]
    references: Mapping[str, References]
    rows_per_s: float
    latencies: Mapping[str, Latency] = field(default_factory=dict)
    following: bool = False


def check(requirement: Requirement, observed: Observed) -> RequirementResult:
    """Judge one requirement."""
    result, evidence = _judge(requirement, observed) if requirement.applied else _not_yet(requirement)
    return RequirementResult(requirement.id, requirement.text, str(requirement.place), result, evidence)


def _not_yet(requirement: Requirement) -> _Finding:
    match requirement.quantity:
        case Deadline():
            return Result.NOT_CHECKED, "runs are not started by the clock yet, so no time of day is watched"
        case Delay():
            return Result.NOT_CHECKED, "no source that is read is what it is about"
        case _ if requirement.applied and requirement.kind is RequirementKind.LAYOUT:
            return Result.NOT_CHECKED, "the destination lays its rows out so; nothing measures it"
        case _:
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
        case RequirementKind.LATENCY:
            return _latency(requirement, observed)
        case RequirementKind.RETENTION | RequirementKind.FREQUENCY | RequirementKind.LAYOUT:
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
    if found is None:
        return Result.NOT_CHECKED, f"{refused:,} refused on the way; the destination cannot be asked"
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


def _latency(requirement: Requirement, observed: Observed) -> _Finding:
    """The slowest of the sources decides, by the 99th percentile of what was seen of it while it was followed."""
    if not isinstance(requirement.quantity, Delay):
        return _not_yet(requirement)
    seen = {name: observed.latencies[name] for name in requirement.sources if name in observed.latencies}
    if not seen:
        return Result.NOT_CHECKED, "nothing was read"
    slowest = max(seen, key=lambda name: seen[name].p99_s)
    if not observed.following:
        return Result.NOT_CHECKED, f"read at rest, so nobody can tell how old it was: {_took(slowest, seen[slowest])}"
    enough = {name: found for name, found in seen.items() if found.records >= RECORDS_TO_JUDGE}
    if not enough:
        return Result.NOT_CHECKED, f"too few records to judge by: {_took(slowest, seen[slowest])}"
    judged = max(enough, key=lambda name: enough[name].p99_s)
    holds = requirement.quantity.allows(enough[judged].p99_s)
    others = [name for name in requirement.sources if name not in enough]
    unjudged = f"; too few records of {', '.join(others)}" if others else ""
    return (Result.PASS if holds else Result.FAIL), _took(judged, enough[judged]) + unjudged


def _took(source: str, latency: Latency) -> str:
    times = f"p50 {shown(latency.p50_s)}, p99 {shown(latency.p99_s)}, longest {shown(latency.max_s)}"
    return f"{source}: {times} from reading to settled, {latency.records:,} records"
