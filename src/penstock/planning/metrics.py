"""What analysts ask for: carried as metrics, with a question at every column that nothing has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.expressions import NotAnExpression, did_you_mean, read_names
from penstock.model.pipeline import Metric
from penstock.planning import codes
from penstock.planning.naming import find

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from penstock.documents import kinds
    from penstock.model.pipeline import Model, SourceTable
    from penstock.planning.notes import Described, Notes, Spot


def plan_metrics(
    analytics: Iterable[Described[kinds.AnalyticsRequirements]],
    sources: Sequence[SourceTable],
    models: Sequence[Model],
    notes: Notes,
) -> Iterator[Metric]:
    """Yield the metrics as asked for. Nothing computes them yet, and the plan says so once per block."""
    described: tuple[SourceTable | Model, ...] = (*sources, *models)
    columns = [field.name for table in described for field in table.fields]
    tables = [table.name for table in described]
    for asked in analytics:
        for index, metric in enumerate(asked.part.metrics):
            spot = asked.spot.down("metrics", index)
            _names_are_known(metric, columns, spot, notes)
            yield Metric(
                metric.name, metric.description, metric.aggregation, metric.grain, metric.dimensions, metric.window,
                spot.at(),
            )  # fmt: skip
        if asked.part.metrics:
            listed = ", ".join(f"`{metric.name}`" for metric in asked.part.metrics)
            notes.add(codes.METRICS, asked.spot.key("metrics"), f"{listed}: carried, not computed yet")
        for index, table in enumerate(asked.part.data_sources):
            if find(table, tables) is None:
                notes.add(
                    codes.DATA_SOURCE, asked.spot.at("data_sources", index), f"no document describes `{table}`",
                    did_you_mean(table, tables, codes.DATA_SOURCE.remedy),
                )  # fmt: skip


def _names_are_known(metric: kinds.Metric, columns: Sequence[str], spot: Spot, notes: Notes) -> None:
    try:
        aggregated = read_names(metric.aggregation)
    except NotAnExpression as why:
        notes.add(codes.METRIC_SQL, spot.at("aggregation"), f"`{metric.name}`: {why.message}", why.remedy)
        aggregated = ()
    named = [(name, spot.down("aggregation")) for name in aggregated]
    named += [(name, spot.down("dimensions", index)) for index, name in enumerate(metric.dimensions)]
    for name, at in named:
        if find(name, columns) is None:
            notes.add(
                codes.METRIC_COLUMN, at.at(), f"`{metric.name}` needs `{name}`, which no source and no model has",
                did_you_mean(name, columns, codes.METRIC_COLUMN.remedy),
            )  # fmt: skip
