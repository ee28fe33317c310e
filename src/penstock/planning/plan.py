"""The whole way from documents to a `Pipeline`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

import msgspec

from penstock.documents.places import Places
from penstock.expressions import did_you_mean
from penstock.model.finding import Level, Place
from penstock.model.pipeline import Pipeline
from penstock.planning import codes, requirements
from penstock.planning.apis import not_built, plan_apis, with_models
from penstock.planning.asking import ask
from penstock.planning.connections import APPENDING_KINDS, LAYING_OUT_KINDS, Connections, note_merging
from penstock.planning.metrics import plan_metrics
from penstock.planning.models import plan_model
from penstock.planning.naming import find
from penstock.planning.notes import Notes, Spot
from penstock.planning.routes import check_routes
from penstock.planning.rules import checks_at_source, plan_rules, texts_about
from penstock.planning.sources import plan_source

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from penstock.documents import Documents
    from penstock.model.finding import Finding
    from penstock.model.pipeline import Check, Connection, Model, Requirement, SourceTable, Warehouse
    from penstock.planning.asking import Asked
    from penstock.planning.models import Draft
    from penstock.planning.rules import Ruled

_NOTHING: Mapping[str, Connection] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Planned:
    """What came of documents. `pipeline` is None where a finding is an error.

    `findings` are those of the documents and those of planning, in the order of the documents. `settings` are what
    the documents set, by name.
    """

    pipeline: Pipeline | None
    findings: tuple[Finding, ...]
    settings: Mapping[str, object]


def plan(documents: Documents, name: str | None = None, overrides: Mapping[str, Connection] = _NOTHING) -> Planned:
    """Turn documents into a pipeline, or say everything that is wrong with them.

    `name` goes before the name that a document gives; `overrides` (by name of database or warehouse) before the
    connections that documents describe. Never raises for what documents say.
    """
    notes = Notes()
    asked = ask(documents, name, _whole(documents), notes)
    connections = Connections(asked.connections, overrides, notes)
    sources = {table.part.table: plan_source(table, connections, notes) for table in asked.tables}
    endpoints = plan_apis(asked.apis, connections, sources, notes)
    sources |= {each.table.name: each.table for each in endpoints}
    described = frozenset(model.described.part.name for model in asked.models)
    warehouse = connections.of_warehouse(asked.warehouse)
    asked = with_models(asked, endpoints, sources, notes, merging=warehouse.connection.kind not in APPENDING_KINDS)
    drafts = [draft for draft in _drafts(asked, sources, notes) if draft is not None]
    connections.note_unused()
    note_merging(warehouse, drafts, notes)
    ruled = plan_rules(asked.rules, drafts, notes)
    open_ = frozenset(not_built(endpoints))
    if open_:  # planned all the same, so that whatever is wrong with what they feed is said at once
        sources = {name: source for name, source in sources.items() if name not in open_}
        drafts = [draft for draft in drafts if _is_built(draft, open_, described, notes)]
        asked = _without_models(asked, drafts)
        ruled = tuple(one for one in ruled if one.draft in drafts)
    checks = {source: checks_at_source(source, ruled, drafts) for source in sources}
    models = [_with_rules(draft, ruled, checks) for draft in drafts]
    known = [_with_known_references(source, sources, notes) for source in sources.values()]
    tables = [_with_checks(source, checks, check_routes(source, drafts)) for source in known]
    metrics = tuple(plan_metrics(asked.analytics, tables, models, notes))
    required = tuple(_requirements(asked, list(sources.values()), known, drafts, ruled, warehouse, notes))
    for check in CHECKS:
        check(asked, tables, models, notes)
    findings = tuple(sorted({*documents.findings, *_worth_saying(documents, notes.findings)}))
    fresh = tuple(_with_freshness(table, required) for table in tables)
    pipeline = Pipeline(asked.name, fresh, tuple(models), warehouse, required, metrics)
    has_errors = any(finding.level is Level.ERROR for finding in findings)
    return Planned(None if has_errors else pipeline, findings, asked.settings)


def _worth_saying(documents: Documents, findings: Iterable[Finding]) -> Iterator[Finding]:
    unsaid = codes.ABOUT_WHAT_IS_MISSING if documents.have_errors else frozenset()
    return (finding for finding in findings if finding.code not in unsaid)


def _whole(documents: Documents) -> Spot:
    first = next(iter(documents.blocks), None)
    if first is not None:
        return Spot(first.places)
    return Spot(Places(Place.of(next(iter(documents.files), documents.root))))


def _drafts(asked: Asked, sources: Mapping[str, SourceTable], notes: Notes) -> Iterator[Draft | None]:
    for model in asked.models:
        yield plan_model(model, sources, texts_about(model.described.part.name, asked.rules), notes)


def _is_built(draft: Draft, open_: Collection[str], described: Collection[str], notes: Notes) -> bool:
    """Tell whether all that a model is made of can be read; note it where something cannot, for a described model."""
    needed = [draft.source.name, *(lookup.table for lookup in draft.model.lookups)]
    missing = next((name for name in needed if name in open_), None)
    if missing is not None and draft.model.name in described:
        place = draft.spot.at("name")
        notes.add(codes.API, place, f"`{draft.model.name}` is not built: `{missing}` is not read yet")
    return missing is None


def _without_models(asked: Asked, drafts: Sequence[Draft]) -> Asked:
    """Return what is asked for, but for the models that are not built for want of their source."""
    built = {draft.model.name for draft in drafts}
    return replace(asked, models=tuple(model for model in asked.models if model.described.part.name in built))


def _with_rules(draft: Draft, ruled: Sequence[Ruled], checks: Mapping[str, Mapping[int, object]]) -> Model:
    early = checks[draft.source.name]
    rules = tuple(
        msgspec.structs.replace(one.rule, at_source=one.number in early) for one in ruled if one.draft is draft
    )
    return msgspec.structs.replace(draft.model, rules=rules)


def _with_checks(
    source: SourceTable, checks: Mapping[str, Mapping[int, object]], routes: Sequence[Check]
) -> SourceTable:
    return msgspec.structs.replace(source, checks=(*source.checks, *checks[source.name].values(), *routes))


def _with_known_references(source: SourceTable, sources: Mapping[str, SourceTable], notes: Notes) -> SourceTable:
    """Return the source with the foreign keys that lead to described columns; the others are noted."""
    known = []
    for reference in source.foreign_keys:
        table = find(reference.table, sources)
        names = [field.name for field in sources[table].fields] if table is not None else []
        column = find(reference.to_column, names)
        if table is not None and column is not None:
            known.append(msgspec.structs.replace(reference, table=table, to_column=column))
            continue
        where = f"`{source.name}.{reference.column}`"
        missing = f"{table}.{reference.to_column}" if table is not None else reference.table
        wanted, near = (reference.to_column, names) if table is not None else (reference.table, list(sources))
        notes.add(
            codes.NO_SUCH_REFERENCE, reference.place,
            f"{where} refers to `{missing}`, which no document describes: not checked",
            did_you_mean(wanted, near, codes.NO_SUCH_REFERENCE.remedy),
        )  # fmt: skip
    return msgspec.structs.replace(source, foreign_keys=tuple(known))


def _with_freshness(source: SourceTable, required: Iterable[Requirement]) -> SourceTable:
    return msgspec.structs.replace(source, freshness=requirements.freshness_of(source.name, required))


def _requirements(  # noqa: PLR0913, PLR0917 - whatever asks for something
    asked: Asked,
    written: Sequence[SourceTable],
    known: Sequence[SourceTable],
    drafts: Sequence[Draft],
    ruled: Sequence[Ruled],
    warehouse: Warehouse,
    notes: Notes,
) -> Iterator[Requirement]:
    yield from requirements.of_rules(ruled)
    laid_out = warehouse.connection.kind in LAYING_OUT_KINDS
    yield from requirements.of_models(drafts, notes, laid_out=laid_out)
    yield from requirements.of_foreign_keys(written, known, {draft.source.name for draft in drafts})
    yield from requirements.of_volumes(asked.volumes, notes)
    fed = {draft.model.name: draft.source.name for draft in drafts}
    yield from requirements.of_analytics(asked.analytics, fed, notes)
    yield from requirements.of_apis(asked.apis)


# --- checks of the whole ------------------------------------------------------------------------------------------


def something_is_read(asked: Asked, tables: Sequence[SourceTable], models: Sequence[Model], notes: Notes) -> None:  # noqa: ARG001 - one of CHECKS
    """Documents without a source say what is wanted, and not of what."""
    if not tables:
        notes.add(codes.NOTHING_TO_READ, asked.whole.at(), "no document describes a source: nothing is built")


def something_is_delivered(asked: Asked, tables: Sequence[SourceTable], models: Sequence[Model], notes: Notes) -> None:  # noqa: ARG001 - one of CHECKS
    """Sources without a model are not read."""
    if not asked.models:
        notes.add(codes.NOTHING_TO_DELIVER, asked.whole.at(), "no document asks for a model: nothing is delivered")


def every_source_feeds_something(
    asked: Asked, tables: Sequence[SourceTable], models: Sequence[Model], notes: Notes
) -> None:
    """A source feeds a model, is looked up, or is what a foreign key refers to."""
    used = {model.source for model in models} | {lookup.table for model in models for lookup in model.lookups}
    used |= {reference.table for table in tables if table.name in used for reference in table.foreign_keys}
    for described in asked.tables:
        if asked.models and described.part.table not in used:
            place = described.spot.at("table")
            notes.add(codes.FEEDS_NOTHING, place, f"`{described.part.table}` feeds no model: it is not read")


def scores_can_fall(asked: Asked, tables: Sequence[SourceTable], models: Sequence[Model], notes: Notes) -> None:  # noqa: ARG001 - one of CHECKS
    """A score that no rule lowers is always 1, and a limit on it never met."""
    for asked_model in asked.models:
        part, spot = asked_model.described.part, asked_model.described.spot
        rules = next((model.rules for model in models if model.name == part.name), None)
        if part.min_score is not None and rules == ():
            notes.add(codes.NOTHING_TO_SCORE, spot.at("min_score"), f"no rule is about `{part.name}`: every score is 1")


CHECKS = (something_is_read, something_is_delivered, every_source_feeds_something, scores_can_fall)
"""What is asked of the plan as a whole."""
