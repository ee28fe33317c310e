"""Every line of the documents that must have evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.model.pipeline import Freshness, Requirement, RequirementKind
from penstock.model.quantity import Amount, Deadline, Delay
from penstock.planning import codes
from penstock.planning.naming import find, slug

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from penstock.documents.kinds import AnalyticsRequirements, ApiIntegration, DataVolume
    from penstock.model.finding import FindingKind, Place
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


def of_models(drafts: Iterable[Draft], notes: Notes, *, laid_out: bool) -> Iterator[Requirement]:
    """Yield limits on dead letters, and wishes about layout, noted as not applied unless the warehouse does that."""
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
            applied = laid_out and (wanted.interval != "" or wanted.kind != "range")
            if not applied:
                notes.add(codes.PARTITIONING, place, f"`{model.name}` {text}: carried, not applied yet")
            yield _layout(f"layout/{model.name}/partitioning", text, place, model, applied=applied)
        if model.clustering:
            text, place = f"clustered by {', '.join(model.clustering)}", spot.at("clustering")
            if not laid_out:
                notes.add(codes.CLUSTERING, place, f"`{model.name}` {text}: carried, not applied yet")
            yield _layout(f"layout/{model.name}/clustering", text, place, model, applied=laid_out)


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


def of_analytics(
    analytics: Iterable[Described[AnalyticsRequirements]], fed: Mapping[str, str], notes: Notes
) -> Iterator[Requirement]:
    """Yield how fresh and how often classes of metrics are wanted. `fed` says which source feeds each model.

    A delay is applied to the sources it is about; a time of day and a frequency are not acted upon yet.
    """
    for asked in analytics:
        fresh, often = asked.part.latency_requirements, asked.part.refresh_frequency
        for subject, quantity in fresh.items():
            place = asked.spot.at("latency_requirements", subject)
            sources = _sources_of(subject, asked.part.data_sources, fed) if isinstance(quantity, Delay) else ()
            yield Requirement(
                f"{RequirementKind.LATENCY}/{slug(subject)}", RequirementKind.LATENCY, f"{subject}: {quantity}", place,
                subject, quantity, applied=bool(sources), sources=sources,
            )  # fmt: skip
        for subject, every in often.items():
            id_, place = f"{RequirementKind.FREQUENCY}/{slug(subject)}", asked.spot.at("refresh_frequency", subject)
            yield _not_applied(RequirementKind.FREQUENCY, id_, subject, every, place)
        deadlines = {subject: quantity for subject, quantity in fresh.items() if isinstance(quantity, Deadline)}
        _note_carried(codes.DEADLINE, asked.spot.key("latency_requirements"), deadlines, notes)
        _note_carried(codes.FREQUENCY, asked.spot.key("refresh_frequency"), often, notes)


def freshness_of(source: str, requirements: Iterable[Requirement]) -> Freshness | None:
    """Return the shortest delay that is asked for of what `source` feeds; the first of those that are as short."""
    asked = [
        Freshness(each.subject, each.quantity, each.place)
        for each in requirements
        if source in each.sources and isinstance(each.quantity, Delay)
    ]
    return min(asked, key=lambda one: (one.delay.limit.seconds, not one.delay.strict), default=None)


def _sources_of(subject: str, listed: Sequence[str], fed: Mapping[str, str]) -> tuple[str, ...]:
    """Return the sources, of those that feed models, that a class of metrics is about.

    It may be called like a model or a source; otherwise it is about what its document lists, or about all of them.
    """
    own = _source_of(subject, fed)
    if own is not None:
        return (own,)
    meant = (_source_of(name, fed) for name in listed) if listed else fed.values()
    return tuple(dict.fromkeys(source for source in meant if source is not None))


def _source_of(name: str, fed: Mapping[str, str]) -> str | None:
    """Return the source that is called `name`, or that feeds the model that is."""
    model = find(name, fed)
    return fed[model] if model is not None else find(name, fed.values())


def _note_carried(kind: FindingKind, place: Place, wanted: Mapping[str, Quantity], notes: Notes) -> None:
    if wanted:
        listed = ", ".join(f"{subject} {quantity}" for subject, quantity in wanted.items())
        notes.add(kind, place, f"{listed}: {kind.title}")


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


def _layout(id_: str, text: str, place: Place, model: Model, *, applied: bool) -> Requirement:
    return Requirement(id_, RequirementKind.LAYOUT, text, place, model.name, applied=applied)
