"""The plan in plain text, for people to read before they run it."""

from __future__ import annotations

import re
from decimal import Decimal
from itertools import chain
from types import MappingProxyType
from typing import TYPE_CHECKING

from penstock.model.finding import Level
from penstock.model.pipeline import RequirementKind, RuleKind, RuleSeverity, WriteMode, without_password
from penstock.model.quantity import SECONDS, Period, Unit
from penstock.model.settings import Settings
from penstock.planning.connections import API_KIND
from penstock.planning.streaming import mode_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from penstock.model.finding import Finding
    from penstock.model.pipeline import Column, Connection, Lookup, Model, Pipeline, Rule, SourceTable
    from penstock.model.schema import DataType

SQL_CHARS_MAX = 100
"""Longer SQL is cut: the plan tells what there is, `plan --json` has all of it."""

_GUARANTEES: Mapping[tuple[str, str], str] = MappingProxyType(
    {
        (
            "files",
            warehouse,
        ): "exactly once: files are read again exactly, and rows are committed together with the mark"
        for warehouse in ("duckdb", "postgres")
    }
)
"""What a path promises, by kind of source and of warehouse. For others, the connectors say it when they are opened."""
_ABOUT_MODELS = frozenset({RequirementKind.RULE, RequirementKind.LAYOUT, RequirementKind.DEAD_LETTERS})
_DEFAULTS = Settings()
_TYPED = re.compile(r"CAST\((?P<value>'.*'|NULL) AS [^']+\)", re.DOTALL)
_UNSAID = "as the connectors promise"


def describe(pipeline: Pipeline, findings: Iterable[Finding], settings: Settings = _DEFAULTS) -> str:
    """Return the plan as text: sources, models, rules and where each is checked, requirements, what is open.

    `settings` decide on streaming. The same plan gives the same text. It ends with a line break.
    """
    open_questions = [finding for finding in sorted(findings) if finding.level is Level.OPEN_QUESTION]
    sections: list[Iterable[str]] = [
        _heading(pipeline),
        *(_source(source, pipeline, settings) for source in pipeline.sources),
        *(_model(model, pipeline) for model in pipeline.models),
        _requirements(pipeline),
        _estimates(pipeline),
        _metrics(pipeline),
        _open(open_questions),
    ]
    return "\n\n".join(text for section in sections if (text := "\n".join(section))) + "\n"


def _heading(pipeline: Pipeline) -> Iterator[str]:
    warehouse = pipeline.warehouse
    yield f"Pipeline {pipeline.name}"
    yield f"  {_count(len(pipeline.sources), 'source')}, {_count(len(pipeline.models), 'model')}"
    yield f"  warehouse {warehouse.name}: {_where(warehouse.connection)}"


# --- sources ------------------------------------------------------------------------------------------------------


def _source(source: SourceTable, pipeline: Pipeline, settings: Settings) -> Iterator[str]:
    yield f"Source {_qualified(source.database, source.schema, source.name)}, {_where(source.connection)}"
    yield from _columns([(field.name, _typed(field.type, nullable=field.nullable), "") for field in source.fields])
    if source.primary_key:
        yield f"  primary key: {', '.join(source.primary_key)}"
    for reference in source.foreign_keys:
        yield f"  {reference.column} refers to {reference.table}.{reference.to_column}: violations are counted"
    if source.event_time:
        yield f"  event time: {source.event_time}"
    if source.critical:
        yield f"  CRITICAL, handed over at once: {_short(source.critical)}"
    if source.indexes:
        listed = "; ".join(", ".join(index.columns) for index in source.indexes)
        yield f"  indexes: {listed}"
    yield f"  other columns than these: {source.policy.value}"
    declared = [check for check in source.checks if not check.rule]
    yield f"  checked on arrival: types, {_count(len(declared), 'declaration')}, {_rules_on_arrival(source)}"
    feeds = [model.name for model in pipeline.models_of(source.name)]
    looked_up = [model.name for model in pipeline.models if source.name in {each.table for each in model.lookups}]
    yield "; ".join(
        [f"  feeds: {', '.join(feeds) or 'no model'}", *([f"looked up by {', '.join(looked_up)}"] if looked_up else [])]
    )
    if feeds:
        mode = mode_of(source, settings)
        yield f"  handed over {'in streaming mode' if mode.streaming else 'in batches'}: {mode.why}"


def _rules_on_arrival(source: SourceTable) -> str:
    rules = [check.expected for check in source.checks if check.rule]
    listed = f" ({'; '.join(rules)})" if rules else ""
    return _count(len(rules), "rule") + listed


# --- models -------------------------------------------------------------------------------------------------------


def _model(model: Model, pipeline: Pipeline) -> Iterator[str]:
    yield f"Model {_qualified(model.schema, model.name)}, from {model.source}"
    yield f"  one row is: {' + '.join(model.grain) or 'not said'}"
    yield f"  {_write_mode(model)}"
    source, warehouse = pipeline.source(model.source).connection, pipeline.warehouse.connection
    yield f"  delivered {_guarantee(model, source.kind, warehouse.kind)}"
    yield from _columns(
        [(column.name, _typed(column.type, nullable=column.nullable), _origin(column)) for column in model.columns]
    )
    for lookup in model.lookups:
        yield f"  lookup {lookup.name}: {_lookup(lookup)}"
    for filter_ in model.filters:
        yield f"  left out, as `{filter_.reason}`: {_short(filter_.predicate)}"
    for rule in model.rules:
        yield f"  rule: {rule.text}"
        yield f"    {_consequence(rule, model)}; checked {_checked(rule)}"
    if model.score_column or model.min_score is not None:
        yield f"  quality score{_score(model)}"
    if model.dead_letters_max is not None:
        yield f"  fails with more dead letters than {model.dead_letters_max}"
    if model.tests:
        yield f"  tests: {', '.join(test.name for test in model.tests)}"


def _guarantee(model: Model, source: str, warehouse: str) -> str:
    if source == API_KIND and model.write_mode is WriteMode.MERGE:
        return "once for each key: an API may give a record again, and then it takes the place of the one before"
    if source == API_KIND:
        return "at least once: an API may give a record again, and then it is added again"
    return _GUARANTEES.get((source, warehouse), _UNSAID)


def _write_mode(model: Model) -> str:
    if model.write_mode is WriteMode.APPEND:
        return "append: every record adds a row"
    newest = f"largest {model.version_by}" if model.version_by else "last one read"
    return f"merge: of the records of one row, the newest stays ({newest})"


def _origin(column: Column) -> str:
    masked = f", masked: {column.masking.value}" if column.masking else ""
    if column.copied_from == column.name and not masked:
        return ""
    return f"<- {_short(column.copied_from or column.expression)}{masked}"


def _lookup(lookup: Lookup) -> str:
    on = " and ".join(f"{key} = {_short(on)}" for key, on in zip(lookup.key, lookup.on, strict=True))
    columns = [field.name for field in lookup.columns]
    fetched = f", fetching {', '.join(columns)}" if columns else ""
    stand_in = ", ".join(f"{name} {_value(value)}" for name, value in lookup.defaults.items())
    if lookup.columns and set(columns) <= lookup.defaults.keys():
        otherwise = f"default {stand_in}"
    elif lookup.required:
        otherwise = "a dead letter"
    else:
        otherwise = f"default {stand_in}, null for the others" if stand_in else "null"
    return f"{lookup.table} where {on}{fetched}; no match: {otherwise}"


def _consequence(rule: Rule, model: Model) -> str:
    if rule.severity is RuleSeverity.WARNING:
        return f"a violation lowers the score (weight {rule.weight:g})"
    if rule.kind is RuleKind.UNIQUE:
        merges = model.write_mode is WriteMode.MERGE
        return "the newest stays" if merges else "the first stays, the second is a dead letter"
    return "a violation is a dead letter"


def _checked(rule: Rule) -> str:
    places = ["at the source"] * rule.at_source + ["after the transform"] * (rule.kind is not RuleKind.UNIQUE)
    return ", ".join([*places, *["at the destination"] * rule.at_destination])


def _score(model: Model) -> str:
    column = f" in column {model.score_column}" if model.score_column else ""
    return f"{column}{f'; below {model.min_score:g} a dead letter' if model.min_score is not None else ''}"


# --- the whole ----------------------------------------------------------------------------------------------------


def _requirements(pipeline: Pipeline) -> Iterator[str]:
    if not pipeline.requirements:
        return
    applied = [requirement for requirement in pipeline.requirements if requirement.applied]
    carried = [requirement for requirement in pipeline.requirements if not requirement.applied]
    yield f"Requirements: {len(applied)} checked by every run, {len(carried)} not yet"
    width = max(len(requirement.kind.value) for requirement in pipeline.requirements)
    for requirement in chain(applied, carried):
        about = f"{requirement.subject}: " if requirement.kind in _ABOUT_MODELS else ""
        mark = " " if requirement.applied else "-"
        when = " (judged while following)" if requirement.applied and requirement.sources else ""
        yield f"  {mark} {requirement.kind.value:<{width}}  {about}{requirement.text}{when}"


def _estimates(pipeline: Pipeline) -> Iterator[str]:
    sized = [source for source in pipeline.sources if source.estimated_rows or source.daily_growth]
    if not sized:
        return
    kept = next((each.quantity for each in pipeline.requirements if each.kind is RequirementKind.RETENTION), None)
    span = kept if isinstance(kept, Period) else Period(Decimal(1), Unit.YEAR)
    days = round(span.seconds / SECONDS[Unit.DAY])
    yield f"Estimates, by what the documents say of the sources ({span} are {days:,} days)"
    for source in sized:
        grown = source.daily_growth * days
        text = f"  {source.name}: {source.estimated_rows:,} rows now"
        if source.daily_growth:
            text += f", {source.daily_growth:,} more a day, {source.estimated_rows + grown:,} in {span}"
            text += f"; {grown:,} if older ones were deleted" if kept is not None else ""
        yield text


def _metrics(pipeline: Pipeline) -> Iterator[str]:
    if pipeline.metrics:
        yield "Metrics, carried and not computed"
    for metric in pipeline.metrics:
        by = f" by {', '.join(metric.dimensions)}" if metric.dimensions else ""
        yield f"  {metric.name}: {metric.aggregation}{f' per {metric.grain}' if metric.grain else ''}{by}"


def _open(findings: Sequence[Finding]) -> Iterator[str]:
    if findings:
        yield f"Open questions: {len(findings)}"
    for finding in findings:
        yield f"  {finding}"


# --- pieces of sentences ------------------------------------------------------------------------------------------


def _columns(rows: Sequence[tuple[str, str, str]]) -> Iterator[str]:
    """Lay columns out under one another: name, type, where from."""
    name_width = max((len(name) for name, _, _ in rows), default=0)
    type_width = max((len(type_) for _, type_, _ in rows), default=0)
    for name, type_, origin in rows:
        yield f"    {name:<{name_width}}  {type_:<{type_width}}  {origin}".rstrip()


def _typed(type_: DataType, *, nullable: bool) -> str:
    name = f"one of {', '.join(type_.values)}" if type_.values else str(type_)
    return name if nullable else f"{name}, not null"


def _qualified(*names: str) -> str:
    return ".".join(name for name in names if name)


def _where(connection: Connection) -> str:
    return f"{connection.kind} at {without_password(connection.url) or connection.path or '.'}"


def _count(count: int, thing: str) -> str:
    return f"{count} {thing}{'' if count == 1 else 's'}"


def _value(sql: str) -> str:
    """Return a typed literal without its type."""
    match = _TYPED.fullmatch(sql)
    return match["value"] if match else _short(sql)


def _short(sql: str) -> str:
    return sql if len(sql) <= SQL_CHARS_MAX else f"{sql[: SQL_CHARS_MAX - 1]}…"
