"""What can keep a record of a model from being delivered, and its quality score: SQL and the words for errors."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

from penstock.expressions import literal, quote
from penstock.model.pipeline import RuleSeverity
from penstock.transformation.guards import NEVER, Name, any_of, names_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from penstock.model.pipeline import Column, Lookup
    from penstock.transformation.guards import Guards


class Step(IntEnum):
    """Where a problem shows. The errors of a record are those of the first step at which it has any."""

    LOOKUP = 1
    FILTER = 2
    EXPRESSION = 3
    MAPPING = 4
    JUDGING = 5
    RULE = 6
    SCORE = 7


@dataclass(frozen=True, slots=True)
class Shown:
    """A value that an error cites: one that the record brings along, or one of the model's column, computed."""

    name: Name
    is_of_model: bool = False


@dataclass(frozen=True, slots=True)
class Problem:
    """One way to fail. `flag` is SQL over the judged record for whether it does."""

    step: Step
    flag: str
    code: str
    field: str
    message: str
    expected: str
    shows: tuple[Shown, ...] = ()


def found_flag(number: int) -> str:
    """Return the name of the column that says whether the n-th lookup matched."""
    return f"_found_{number}"


def problems_of(guards: Guards) -> tuple[Problem, ...]:
    """Return all that can arise, in the order of deciding."""
    found = (
        *_lookups(guards),
        *_filters(guards),
        *_expressions(guards),
        *_mapping(guards),
        *_judging(guards),
        *_rules(guards),
        *_score(guards),
    )
    return tuple(problem for problem in found if problem.flag != NEVER)


def score_of(guards: Guards) -> str:
    """Return SQL for 1 - Σ weights of broken rules / Σ weights of all rules, divided once to be rounded once."""
    total = float(sum(rule.weight for rule in guards.model.rules))
    weights = [(guard, literal(float(rule.weight))) for rule, guard in guards.rules()]
    broken = [f"CASE WHEN {guard.value} THEN {weight} ELSE 0 END" for guard, weight in weights]
    if not total or not broken:
        return literal(1.0)
    return f"({literal(total)} - ({' + '.join(broken)})) / {literal(total)}"


def _lookups(guards: Guards) -> Iterator[Problem]:
    for number, lookup in enumerate(guards.model.lookups):
        failed = any_of(key.failed for key in guards.keys(number))
        shows = _brought(*lookup.on) if guards.loads else ()
        yield _cannot_compute(Step.LOOKUP, failed, lookup.name, ", ".join(lookup.on), shows)
        if _needs_match(lookup):
            missing = f"NOT ({quote(found_flag(number))} OR ({failed}))"
            message = f"lookup `{lookup.name}` found no match"
            expected = f"a row of {lookup.table} with this {', '.join(lookup.key)}"
            yield Problem(Step.LOOKUP, missing, "INT_BETA_003", lookup.name, message, expected, shows)


def _needs_match(lookup: Lookup) -> bool:
    has_all_defaults = lookup.defaults.keys() >= {field.name for field in lookup.columns}
    return lookup.required and not (lookup.columns and has_all_defaults)


def _filters(guards: Guards) -> Iterator[Problem]:
    for filter_, guard in guards.filters():
        yield _cannot_compute(Step.FILTER, guard.failed, "", filter_.predicate, _brought(filter_.predicate))


def _expressions(guards: Guards) -> Iterator[Problem]:
    for column, guard in guards.columns():
        shows = _brought(column.expression)
        yield _cannot_compute(Step.EXPRESSION, guard.failed, column.name, column.expression, shows)


def _mapping(guards: Guards) -> Iterator[Problem]:
    for column, _ in guards.columns():
        message, shows = f"`{column.name}` cannot take this value", (Shown(Name(column.name), is_of_model=True),)
        for flag, expected in _limits(guards, column):
            yield Problem(Step.MAPPING, flag, "INT_BETA_001", column.name, message, expected, shows)


def _limits(guards: Guards, column: Column) -> Iterator[tuple[str, str]]:
    """Yield SQL for what a column cannot take, with what it takes. A source's own bounds were checked on arrival."""
    name, type_ = quote(column.name), column.type
    if guards.must_be_there(column):
        yield f"{name} IS NULL", "not null"
    if type_ == guards.origin(column):
        return
    if type_.length:
        yield f"coalesce(length({name}) > {type_.length}, FALSE)", f"at most {type_.length} characters"
    if type_.values:
        values = ", ".join(literal(value) for value in type_.values)
        yield f"coalesce({name} NOT IN ({values}), FALSE)", f"one of {', '.join(type_.values)}"


def _judging(guards: Guards) -> Iterator[Problem]:
    for rule, guard in guards.rules():
        shows = _judged(guards, rule.predicate)
        yield _cannot_compute(Step.JUDGING, guard.failed, ", ".join(rule.columns), rule.predicate, shows)


def _rules(guards: Guards) -> Iterator[Problem]:
    for rule, guard in guards.rules():
        if rule.severity is RuleSeverity.ERROR:
            field, message = ", ".join(rule.columns), f"violates `{rule.text}`"
            shows = _judged(guards, rule.predicate)
            yield Problem(Step.RULE, guard.value, "INT_BETA_004", field, message, rule.text, shows)


def _score(guards: Guards) -> Iterator[Problem]:
    minimum = guards.model.min_score
    if minimum is not None:
        flag = f"{score_of(guards)} < {literal(float(minimum))}"
        field, message = guards.model.score_column, "QUALITY_BELOW_THRESHOLD"
        yield Problem(Step.SCORE, flag, "INT_BETA_005", field, message, f"a score of at least {minimum:g}")


def _cannot_compute(step: Step, flag: str, field: str, expression: str, shows: tuple[Shown, ...]) -> Problem:
    return Problem(step, flag, "INT_BETA_002", field, "the expression cannot be computed", expression, shows)


def _brought(*expressions: str) -> tuple[Shown, ...]:
    return tuple(Shown(name) for name in names_in(*expressions))


def _judged(guards: Guards, predicate: str) -> tuple[Shown, ...]:
    """A rule names columns of the model, or else of its source."""
    names = {column.name.casefold() for column in guards.model.columns}
    return tuple(Shown(name, name.column.casefold() in names) for name in names_in(predicate))
