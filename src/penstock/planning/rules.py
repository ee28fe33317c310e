"""Quality requirements: which models each is about, and where it is checked.

A rule names columns of the model or, where the model has none of the name, of its source. It is checked after the
transform; at the source as well, when it can be told there that every model would refuse the record; and by a query
at the destination, when the destination holds what it names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from penstock.expressions import NotAnExpression, RuleText, Scope, UnknownName, did_you_mean, read_rule, rewrite
from penstock.model.pipeline import Check, Masking, Rule, RuleKind, RuleSeverity
from penstock.planning import codes
from penstock.planning.naming import find, slug

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from penstock.documents import kinds
    from penstock.model.pipeline import Column
    from penstock.model.schema import Field
    from penstock.planning.models import Draft
    from penstock.planning.notes import Described, Notes


@dataclass(frozen=True, slots=True)
class Ruled:
    """A rule of one model. `number` tells which of the documents' rules it is; several models may share it.

    `source_predicate` is the rule as SQL over source columns; None where the source does not hold what it names.
    """

    number: int
    draft: Draft
    rule: Rule
    source_predicate: str | None


def texts_about(model: str, rules: Iterable[Described[kinds.Rule]]) -> tuple[str, ...]:
    """Return the texts of the rules that may be about `model`."""
    return tuple(rule.part.rule for rule in rules if not rule.part.model or find(rule.part.model, [model]))


def plan_rules(rules: Iterable[Described[kinds.Rule]], drafts: Sequence[Draft], notes: Notes) -> tuple[Ruled, ...]:
    """Return every rule of every model, in the documents' order. Ids are unique, and keep while texts keep."""
    taken: dict[str, int] = {}
    ruled = []
    for number, rule in enumerate(rules):
        for draft, text in _readings(rule, drafts, notes):
            one = _rule(number, rule, draft, text)
            taken[one.rule.id] = taken.get(one.rule.id, 0) + 1
            if taken[one.rule.id] > 1:
                one = _renamed(one, f"{one.rule.id}_{taken[one.rule.id]}")
            ruled.append(one)
    return tuple(ruled)


def checks_at_source(source: str, ruled: Sequence[Ruled], drafts: Sequence[Draft]) -> Mapping[int, Check]:
    """Return, by rule number, the checks that ingestion can make of a source's records before any model sees them.

    A record that a filter leaves out is no violation, so it passes here and is filtered where it belongs.
    """
    fed = [draft for draft in drafts if draft.source.name == source]
    checks = {}
    for number in dict.fromkeys(one.number for one in ruled):
        group = [one for one in ruled if one.number == number and one.draft.source.name == source]
        predicates = {one.source_predicate for one in group}
        if len(group) == len(fed) and len(predicates) == 1 and all(_is_for_the_source(one) for one in group):
            filters = [f"({left_out}) IS TRUE" for draft in fed for left_out in draft.filters_at_source or ()]
            valid = " OR ".join([f"({predicates.pop()})", *dict.fromkeys(filters)])
            rule, origin = group[0].rule, group[0].draft.origins
            field = origin.get(rule.columns[0], rule.columns[0])
            checks[number] = Check("INT_ALPHA_004", valid if filters else valid[1:-1], field, rule.text, rule.id)
    return checks


def _is_for_the_source(one: Ruled) -> bool:
    return (
        one.source_predicate is not None
        and one.rule.kind is not RuleKind.UNIQUE
        and one.rule.severity is RuleSeverity.ERROR
        and one.draft.filters_at_source is not None
    )


# --- which models a rule is about ---------------------------------------------------------------------------------


def _readings(rule: Described[kinds.Rule], drafts: Sequence[Draft], notes: Notes) -> Iterator[tuple[Draft, RuleText]]:
    """Yield the models a rule is about: those with all its columns, else those whose source has the rest."""
    asked = _asked(rule, drafts, notes)
    try:
        found = _read_each(rule, asked, _of_model) or _read_each(rule, asked, _of_model_and_source)
        if asked and not found:
            # Nobody has all of it: read it once more over everything, for the nearest name.
            read_rule(rule.part.rule, Scope(_all_fields(asked)))
            notes.add(codes.NOBODY_HAS_IT, rule.spot.at("rule"), f"no model has all columns of `{rule.part.rule}`")
    except UnknownName as why:
        notes.add(codes.NOBODY_HAS_IT, rule.spot.at("rule"), why.message, why.remedy)
    except NotAnExpression as why:
        notes.add(codes.NOT_A_RULE, rule.spot.at("rule"), why.message, why.remedy)
    else:
        delivered = [(draft, _as_delivered(draft, text)) for draft, text in found]
        meant = delivered if rule.part.model else _of_that_grain(delivered)
        yield from (one for one in meant if _holds_what_it_needs(rule, *one, notes))


def _asked(rule: Described[kinds.Rule], drafts: Sequence[Draft], notes: Notes) -> Sequence[Draft]:
    if not rule.part.model:
        return drafts
    names = {draft.model.name: draft for draft in drafts}
    name = find(rule.part.model, names)
    if name is None:
        remedy = did_you_mean(rule.part.model, names, codes.UNKNOWN_MODEL.remedy)
        notes.add(codes.UNKNOWN_MODEL, rule.spot.at("model"), f"no model is called `{rule.part.model}`", remedy)
    return [names[name]] if name is not None else []


def _read_each(
    rule: Described[kinds.Rule], drafts: Iterable[Draft], scope_of: Callable[[Draft], Scope]
) -> list[tuple[Draft, RuleText]]:
    found = []
    for draft in drafts:
        try:
            found.append((draft, read_rule(rule.part.rule, scope_of(draft))))
        except UnknownName:
            continue
    return found


def _of_model(draft: Draft) -> Scope:
    return Scope(draft.model.fields, name=draft.model.name)


def _of_model_and_source(draft: Draft) -> Scope:
    return Scope(_all_fields([draft]), name=draft.model.name)


def _all_fields(drafts: Iterable[Draft]) -> tuple[Field, ...]:
    """All columns of models, then of their sources; the first of a name counts."""
    fields: dict[str, Field] = {}
    for draft in drafts:
        for field in (*draft.model.fields, *draft.source.fields):
            fields.setdefault(field.name.casefold(), field)
    return tuple(fields.values())


def _of_that_grain(found: list[tuple[Draft, RuleText]]) -> list[tuple[Draft, RuleText]]:
    """Uniqueness of `order_id` is about orders, not about their items, which have the column as well.

    So where some model's grain is what must be unique, the rule is about the models of that grain.
    """
    return [
        (draft, text)
        for draft, text in found
        if text.kind is RuleKind.UNIQUE and set(text.columns) == set(draft.model.grain)
    ] or found


def _as_delivered(draft: Draft, text: RuleText) -> RuleText:
    """Call source columns that the model delivers under another name by that name."""
    names = {column.name for column in draft.model.columns}
    renamed = {column.copied_from: column.name for column in reversed(draft.model.columns) if column.copied_from}
    renamed = {origin: renamed[origin] for origin in text.columns if origin in renamed and origin not in names}
    columns = tuple(renamed.get(name, name) for name in text.columns)
    return RuleText(text.kind, columns, rewrite(text.predicate, renamed) if text.predicate else "")


def _holds_what_it_needs(rule: Described[kinds.Rule], draft: Draft, text: RuleText, notes: Notes) -> bool:
    missing = [name for name in text.columns if name not in {column.name for column in draft.model.columns}]
    if missing and text.kind is RuleKind.UNIQUE:
        notes.add(
            codes.NOT_AT_DESTINATION, rule.spot.at("rule"),
            f"`{missing[0]}` is not delivered to `{draft.model.name}`, where duplicates are found",
        )  # fmt: skip
        return False
    return True


# --- the rule itself ----------------------------------------------------------------------------------------------


def _rule(number: int, rule: Described[kinds.Rule], draft: Draft, text: RuleText) -> Ruled:
    columns = {column.name: column for column in draft.model.columns}
    is_held = all(name in columns and _shows(columns[name], text.kind) for name in text.columns)
    planned = Rule(
        id=f"{draft.model.name}.{slug(rule.part.rule)}",
        text=f"{rule.part.name}: {rule.part.rule}" if rule.part.name else rule.part.rule,
        kind=text.kind,
        columns=text.columns,
        place=rule.place,
        predicate=text.predicate,
        weight=rule.part.weight,
        severity=rule.part.severity,
        at_destination=is_held,
        dead_letters_max=rule.part.max_dead_letters,
    )
    return Ruled(number, draft, planned, _over_source(draft, text))


def _shows(column: Column, kind: RuleKind) -> bool:
    """Tell whether a query at the destination can judge the column: a masked value is there, but not readable.

    Hashes of different values differ; the other maskings make them alike.
    """
    if column.masking is None or kind is RuleKind.NOT_NULL:
        return True
    return column.masking is Masking.HASH and kind is RuleKind.UNIQUE


def _over_source(draft: Draft, text: RuleText) -> str | None:
    """Return the predicate over source columns, where the model's columns are theirs unchanged or only masked."""
    columns = {column.name: column for column in draft.model.columns}
    types = {field.name: field.type.sql for field in draft.source.fields}
    renamed = {}
    for name in text.columns:
        if name not in columns:
            continue
        origin = draft.origins.get(name)
        if origin is None or (columns[name].type.sql != types[origin]):
            return None
        renamed[name] = origin
    return rewrite(text.predicate, renamed) if text.predicate else None


def _renamed(one: Ruled, id_: str) -> Ruled:
    return Ruled(one.number, one.draft, msgspec.structs.replace(one.rule, id=id_), one.source_predicate)
