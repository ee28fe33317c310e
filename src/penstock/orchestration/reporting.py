"""Draws up what came of a run from the ledger, the figures and the destinations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.ledger import Totals
from penstock.model.pipeline import RuleKind
from penstock.observing.facts import LatencyStage
from penstock.orchestration.evidence import Observed, check
from penstock.orchestration.result import HandOff, SourceAccount, SourceLatency, StageLatency, Trouble, account_of

REPLAYED = "{} (dead letters)"
"""What the account of a source's replays is called."""

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from penstock.errors import PenstockError
    from penstock.ingestion.references import References
    from penstock.ledger import ErrorCount, Ledger, RequirementResult
    from penstock.model.outcome import Tally
    from penstock.model.pipeline import Model, Pipeline, Rule
    from penstock.observing.figures import Figures
    from penstock.observing.latency import Latency
    from penstock.ports import Sink


def accounts_of_run(
    pipeline: Pipeline, ledger: Ledger, run_id: str, figures: Figures, *, replay: bool
) -> tuple[SourceAccount, ...]:
    """Draw up the account of each source that a run read, or whose dead letters it replayed."""
    totals = ledger.totals(pipeline.name, run_id)
    found = []
    for name, live in figures.sources.items():
        total = totals.get(name, Totals())
        settled, tally = (total.replayed, total.replay_tally) if replay else (total.read, total.tally)
        label = REPLAYED.format(name) if replay else name
        settled_at = _settled_at(_destinations(pipeline, name, tally), total, replay=replay)
        found.append(account_of(label, max(live.read, settled), settled, settled_at, tally))
    return tuple(found)


def accounts_of_all_time(pipeline: Pipeline, ledger: Ledger) -> tuple[SourceAccount, ...]:
    """Draw up the account of each source since the beginning; replays, which were read before, stand by themselves."""
    found = []
    totals = ledger.totals(pipeline.name)
    described = [table.name for table in pipeline.sources if table.name in totals]
    for name in (*described, *sorted(totals.keys() - described)):  # sources that left the document count as well
        total = totals[name]
        for label, replay, records, tally in (
            (name, False, total.read, total.tally),
            (REPLAYED.format(name), True, total.replayed, total.replay_tally),
        ):
            if records:
                settled_at = _settled_at(_destinations(pipeline, name, tally), total, replay=replay)
                found.append(account_of(label, records, records, settled_at, tally))
    return tuple(found)


def _settled_at(destinations: Sequence[str], total: Totals, *, replay: bool) -> dict[str, int]:
    """Return how many records each destination has to account for: a replay may be for one of them alone."""
    if not replay:
        return dict.fromkeys(destinations, total.read)
    for_all = total.replayed_for.get("", 0)
    return {name: for_all + total.replayed_for.get(name, 0) for name in destinations}


def _destinations(pipeline: Pipeline, source: str, tally: Tally) -> list[str]:
    named = {count.destination for count in tally}
    models = [model.name for model in pipeline.models_of(source)]
    return [name for name in models if name in named or not named] + sorted(named.difference(models))


def hand_offs(figures: Figures) -> tuple[HandOff, ...]:
    """Return what went over each hop."""
    return tuple(
        HandOff(hop, found.batches, found.records, found.in_flight, found.retransmitted)
        for hop, found in figures.hops.items()
    )


def latencies(pipeline: Pipeline, figures: Figures) -> tuple[SourceLatency, ...]:
    """Return how long the records of each source took, as far as that was timed."""
    asked_s = {
        table.name: table.freshness.delay.limit.seconds for table in pipeline.sources if table.freshness is not None
    }
    found = []
    for name, live in figures.sources.items():
        timed = figures.latencies(name)
        stages = tuple(_stage(stage, timed[stage]) for stage in LatencyStage if stage in timed)
        if stages:
            found.append(SourceLatency(name, live.streamed, asked_s.get(name), stages))
    return tuple(found)


def _stage(stage: LatencyStage, took: Latency) -> StageLatency:
    return StageLatency(stage, took.records, took.p50_s, took.p95_s, took.p99_s, took.max_s)


def judge(  # noqa: PLR0913 - all that a run has seen
    pipeline: Pipeline,
    ledger: Ledger,
    sinks: Mapping[str, Sink],
    references: Mapping[str, References],
    figures: Figures,
    seconds: float,
    *,
    following: bool = False,
) -> tuple[RequirementResult, ...]:
    """Check every requirement of the documents; `following` tells whether the run read what came as it came."""
    ever = ledger.totals(pipeline.name)
    timed = {name: figures.latencies(name) for name in figures.sources}
    observed = Observed(
        pipeline=pipeline,
        sinks=sinks,
        read={name: source.read for name, source in figures.sources.items()},
        read_ever={name: total.read for name, total in ever.items()},
        tallies={name: total.tally for name, total in ever.items()},
        refused_by_rule=_refused_by_rule(pipeline, ledger.error_counts(pipeline.name)),
        references=references,
        rows_per_s=figures.read / seconds if seconds else 0.0,
        latencies={
            name: found[LatencyStage.END_TO_END] for name, found in timed.items() if LatencyStage.END_TO_END in found
        },
        following=following,
    )
    return tuple(check(requirement, observed) for requirement in pipeline.requirements)


def _refused_by_rule(pipeline: Pipeline, counts: Sequence[ErrorCount]) -> dict[str, int]:
    """Count the records that each rule sent to the dead letters, at whatever stage it was checked first."""
    return {
        rule.id: sum(count.records for count in counts if _is_of(count, model, rule))
        for model in pipeline.models
        for rule in model.rules
    }


def _is_of(count: ErrorCount, model: Model, rule: Rule) -> bool:
    if rule.kind is RuleKind.UNIQUE:
        is_duplicate = count.code == "INT_GAMMA_003" and count.field == ", ".join(rule.columns)
        return is_duplicate and count.destination == model.name
    is_violation = count.code in {"INT_ALPHA_004", "INT_BETA_004"} and count.expected == rule.text
    return is_violation and count.destination in {"", model.name} and count.source == model.source


def trouble_of(error: PenstockError) -> Trouble:
    """Return an error as a result carries it."""
    return Trouble(error.kind.code, error.kind.severity, error.message, error.remedy)
