"""What a run reads: each source table with models, from where, and for which of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from penstock.connectors import at_rest, open_source
from penstock.errors import ContentChanged, UserMistake
from penstock.ingestion.reading import Start, replay_from
from penstock.orchestration.plan import Resolution
from penstock.orchestration.replaying import ReplaySource
from penstock.orchestration.sampling import SampledSource
from penstock.ports import Replay

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from penstock.ledger import Ledger
    from penstock.model.pipeline import Model, SourceTable
    from penstock.model.position import Mark, Position
    from penstock.orchestration.plan import Plan
    from penstock.ports import Sink, Source


@dataclass(frozen=True, slots=True)
class Reading:
    """One source table, opened: where each partition begins, and the models that get its records.

    `register` numbers a partition that appears later; where there is none, the source is read as it is now.
    """

    table: SourceTable
    source: Source
    starts: tuple[Start, ...]
    models: tuple[Model, ...]
    register: Callable[[str], Start] | None = None


def open_readings(plan: Plan, ledger: Ledger, sinks: Mapping[str, Sink]) -> tuple[Reading, ...]:
    """Open every source that feeds a model. Raises UserMistake, naming it, where one is missing or not as declared."""
    readings = []
    for table in plan.pipeline.sources:
        models = plan.pipeline.models_of(table.name)
        if models:
            looked_at = table if plan.sample is None else at_rest(table)
            source = open_source(looked_at, plan.root, plan.settings, plan.state)
            own = {model.name: sinks[model.name] for model in models}
            starts = _starts(plan, ledger, table.name, source, own)
            starts = _again_by_key(plan, ledger, table.name, source, starts, own)
            register = _registering(plan, ledger, table.name) if plan.follow else None
            readings.append(Reading(table, _sampled(source, plan.sample), starts, models, register))
    if not readings:
        raise UserMistake("INT_PIPELINE_006", f"pipeline `{plan.pipeline.name}` has no model with a source")
    return tuple(readings)


def open_replays(plan: Plan, ledger: Ledger) -> tuple[Reading, ...]:
    """Open every replay of dead letters that is not finished."""
    name = plan.pipeline.name
    readings = []
    for replay in ledger.unfinished_replays(name):
        table = plan.pipeline.source(replay.source)
        models = plan.pipeline.models_of(table.name)
        wanted = tuple(model for model in models if replay.destination in {"", model.name})
        source = ReplaySource(open_source(table, plan.root, plan.settings, plan.state), replay, ledger)
        ordinal = ledger.partition_ordinals(name, table.name, [replay.partition])[replay.partition]
        position = ledger.positions(name, table.name).get(replay.partition)
        readings.append(Reading(table, source, (Start(replay.partition, ordinal, position),), wanted))
    return tuple(readings)


def _registering(plan: Plan, ledger: Ledger, table: str) -> Callable[[str], Start]:
    def register(partition: str) -> Start:
        name = plan.pipeline.name
        ordinal = ledger.partition_ordinals(name, table, [partition])[partition]
        return Start(partition, ordinal, ledger.positions(name, table).get(partition))

    return register


def _sampled(source: Source, records: int | None) -> Source:
    return source if records is None else SampledSource(source, records)


def _starts(plan: Plan, ledger: Ledger, table: str, source: Source, sinks: Mapping[str, Sink]) -> tuple[Start, ...]:
    if plan.follow and plan.resolution is Resolution.REFUSE:
        return _known(plan, ledger, table)
    partitions = source.partitions()
    ledger.partition_ordinals(plan.pipeline.name, table, partitions)
    positions = dict(ledger.positions(plan.pipeline.name, table))
    if plan.resolution is Resolution.ACCEPT:
        positions = {
            partition: source.accept(positions[partition]) for partition in partitions if partition in positions
        }
    elif plan.resolution is Resolution.REWIND:
        changed = tuple(_changed(source, partitions, positions))
        _read_anew(ledger, plan.pipeline.name, table, changed, sinks)
        positions = {partition: position for partition, position in positions.items() if partition not in changed}
    ordinals = ledger.partition_ordinals(plan.pipeline.name, table, partitions)
    return tuple(Start(partition, ordinals[partition], positions.get(partition)) for partition in partitions)


def _known(plan: Plan, ledger: Ledger, table: str) -> tuple[Start, ...]:
    """Return what has a position. Nothing else need be there when following begins: it may come later."""
    name = plan.pipeline.name
    replays = ledger.replay_partitions(name, table)
    positions = {key: position for key, position in ledger.positions(name, table).items() if key not in replays}
    ordinals = ledger.partition_ordinals(name, table, list(positions))
    return tuple(Start(partition, ordinals[partition], position) for partition, position in positions.items())


def _again_by_key(
    plan: Plan, ledger: Ledger, table: str, source: Source, starts: tuple[Start, ...], sinks: Mapping[str, Sink]
) -> tuple[Start, ...]:
    """Let what is read again by key take the place of what a dead run delivered beyond the settled position.

    Other records may come under those sequences now. So the marks there are dropped, or they would be trimmed; and the
    partition is numbered anew, or older versions of a row might count as newer. The ledger forgets first: a mark that
    it does not know of does no harm.
    """
    name = plan.pipeline.name
    replays = ledger.replay_partitions(name, table)
    positions = {**ledger.positions(name, table), **{start.partition: start.position for start in starts}}
    stale = {
        (destination, partition)
        for destination, sink in sinks.items()
        for (read_from, partition), mark in sink.marks().items()
        if read_from == table and partition not in replays and _is_stale(mark, positions.get(partition), source)
    }
    if not stale:
        return starts
    left = {
        destination: [
            mark
            for (read_from, partition), mark in sink.marks().items()
            if read_from != table or (destination, partition) not in stale
        ]
        for destination, sink in sinks.items()
    }
    ledger.renumber(name, table, sorted({partition for _, partition in stale}))
    ledger.reconcile(name, left, {})
    for destination, partition in sorted(stale):
        sinks[destination].forget(table, partition)
    ordinals = ledger.partition_ordinals(name, table, [start.partition for start in starts])
    return tuple(Start(start.partition, ordinals[start.partition], start.position) for start in starts)


def _is_stale(mark: Mark, position: Position | None, source: Source) -> bool:
    return replay_from(source, position) is Replay.BY_KEY and mark.sequence > (position.sequence if position else 0)


def _read_anew(ledger: Ledger, pipeline: str, table: str, changed: Sequence[str], sinks: Mapping[str, Sink]) -> None:
    """Set changed partitions back to their beginning, everywhere.

    The destinations forget first: if we die before the ledger does, they are found to be older than it. The other way
    round their marks would trim records that they never had.
    """
    if changed:
        ledger.renumber(pipeline, table, changed)  # first: newer ordinals than need be do no harm
        for sink in sinks.values():
            for partition in changed:
                sink.forget(table, partition)
        left = {name: tuple(sink.marks().values()) for name, sink in sinks.items()}
        ledger.reconcile(pipeline, left, {(table, partition): None for partition in changed})


def _changed(source: Source, partitions: Sequence[str], positions: Mapping[str, Position]) -> Iterator[str]:
    """Yield the partitions that are no longer what was read of them."""
    for partition in partitions:
        if partition in positions:
            try:
                next(source.read(partition, positions[partition]), None)
            except ContentChanged:
                yield partition
