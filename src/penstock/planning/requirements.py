"""Every line of the documents that must have evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.model.pipeline import Requirement, RequirementKind
from penstock.model.quantity import Amount
from penstock.planning import codes
from penstock.planning.naming import slug

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from penstock.documents.kinds import AnalyticsRequirements, ApiIntegration, DataVolume
    from penstock.model.finding import Place
    from penstock.model.pipeline import Model, SourceTable
    from penstock.model.quantity import Quantity
    from penstock.planning.models import Draft
    from penstock.planning.notes import Described, Notes
    from penstock.planning.rules import Ruled


def of_rules(ruled: Iterable[Ruled]) -> Iterator[Requirement]:
    """Yield one requirement per rule and model, and one per limit on a rule's dead letters."""
    for one in ruled:
        rule, model = one.rule, one.draft.model.name
        yield Requirement(f"rule/{rule.id}", RequirementKind.RULE, rule.text, rule.place, model, rule=rule.id)
        if rule.dead_letters_max is not None:
            text = f"at most {rule.dead_letters_max} dead letters by `{rule.text}`"
            yield Requirement(
                f"dead_letters/{rule.id}", RequirementKind.DEAD_LETTERS, text, rule.place, model,
                rule.dead_letters_max, rule.id,
            )  # fmt: skip


def of_models(drafts: Iterable[Draft], notes: Notes) -> Iterator[Requirement]:
    """Yield limits on dead letters, and wishes about layout, which are noted as not applied."""
    for draft in drafts:
        model, spot = draft.model, draft.spot
        if model.dead_letters_max is not None:
            text = f"at most {model.dead_letters_max} dead letters"
            yield Requirement(
                f"dead_letters/{model.name}", RequirementKind.DEAD_LETTERS, text, spot.at("max_dead_letters"),
                model.name, model.dead_letters_max,
            )  # fmt: skip
        if model.partitioning is not None:
            wanted, place = model.partitioning, spot.at("partitioning")
            text = f"partitioned by {wanted.column}{f' ({wanted.interval})' if wanted.interval else ''}"
            notes.add(codes.PARTITIONING, place, f"`{model.name}` {text}: carried, not applied yet")
            yield _layout(f"layout/{model.name}/partitioning", text, place, model)
        if model.clustering:
            text, place = f"clustered by {', '.join(model.clustering)}", spot.at("clustering")
            notes.add(codes.CLUSTERING, place, f"`{model.name}` {text}: carried, not applied yet")
            yield _layout(f"layout/{model.name}/clustering", text, place, model)


def of_foreign_keys(
    written: Iterable[SourceTable], known: Iterable[SourceTable], fed: Collection[str]
) -> Iterator[Requirement]:
    """Yield one requirement per foreign key as written.

    Not applied are those that lead to nothing described (not among the `known`), and those of sources outside `fed`,
    which are not read.
    """
    for source, checked in zip(written, known, strict=True):
        followed = {reference.column for reference in checked.foreign_keys} if source.name in fed else set()
        for reference in source.foreign_keys:
            subject = f"{source.name}.{reference.column}"
            text = f"{subject} refers to {reference.table}.{reference.to_column}"
            yield Requirement(
                f"foreign_key/{subject}", RequirementKind.FOREIGN_KEY, text, reference.place, subject,
                applied=reference.column in followed,
            )  # fmt: skip


def of_volumes(volumes: Iterable[Described[DataVolume]], notes: Notes) -> Iterator[Requirement]:
    """Yield what the documents say of volume. Two blocks must say the same, and say it once."""
    said: dict[str, Requirement] = {}
    for volume in volumes:
        for requirement in _of_volume(volume):
            before = said.setdefault(requirement.id, requirement)
            if before.quantity != requirement.quantity:
                notes.add(
                    codes.DISAGREEMENT, requirement.place,
                    f"`{requirement.text}` here and `{before.text}` in {before.place}",
                )  # fmt: skip
            elif before.kind is RequirementKind.RETENTION:
                notes.add(
                    codes.RETENTION, before.place, f"{before.text}: carried, not applied yet, so nothing is deleted"
                )
    yield from said.values()


def _of_volume(volume: Described[DataVolume]) -> Iterator[Requirement]:
    part, spot = volume.part, volume.spot
    if part.daily_rows is not None:
        rows = Amount(part.daily_rows)
        text = f"{part.daily_rows:,} rows a day"
        yield Requirement("volume/daily_rows", RequirementKind.VOLUME, text, spot.at("daily_rows"), quantity=rows)
    if part.peak_rate is not None:
        text = f"{part.peak_rate} at peak"
        yield Requirement("rate/peak", RequirementKind.RATE, text, spot.at("peak_rate"), quantity=part.peak_rate)
    if part.retention is not None:
        text = f"rows kept for {part.retention}"
        place = spot.at("retention")
        yield Requirement("retention", RequirementKind.RETENTION, text, place, quantity=part.retention, applied=False)


def of_analytics(analytics: Iterable[Described[AnalyticsRequirements]], notes: Notes) -> Iterator[Requirement]:
    """Yield how fresh and how often classes of metrics are wanted; none of it is acted upon yet."""
    for asked in analytics:
        for kind, code, key, wanted in (
            (RequirementKind.LATENCY, codes.LATENCY, "latency_requirements", asked.part.latency_requirements),
            (RequirementKind.FREQUENCY, codes.FREQUENCY, "refresh_frequency", asked.part.refresh_frequency),
        ):
            for subject, quantity in wanted.items():
                yield _not_applied(kind, f"{kind}/{slug(subject)}", subject, quantity, asked.spot.at(key, subject))
            if wanted:
                listed = ", ".join(f"{subject} {quantity}" for subject, quantity in wanted.items())
                notes.add(code, asked.spot.key(key), f"{listed}: {code.title}")


def of_apis(apis: Iterable[Described[ApiIntegration]]) -> Iterator[Requirement]:
    """Yield how fast and how often APIs may be read; none is read yet."""
    for asked in apis:
        name, sync = asked.part.source_api.name, asked.part.sync_requirements
        if asked.part.source_api.rate_limit is not None:
            yield _not_applied(
                RequirementKind.RATE, f"rate/{slug(name)}", name, asked.part.source_api.rate_limit,
                asked.spot.at("source_api", "rate_limit"),
            )  # fmt: skip
        if sync is not None and sync.frequency is not None:
            place = asked.spot.at("sync_requirements", "frequency")
            yield _not_applied(RequirementKind.FREQUENCY, f"frequency/{slug(name)}", name, sync.frequency, place)


def _not_applied(kind: RequirementKind, id_: str, subject: str, quantity: Quantity, place: Place) -> Requirement:
    return Requirement(id_, kind, f"{subject}: {quantity}", place, subject, quantity, applied=False)


def _layout(id_: str, text: str, place: Place, model: Model) -> Requirement:
    return Requirement(id_, RequirementKind.LAYOUT, text, place, model.name, applied=False)
