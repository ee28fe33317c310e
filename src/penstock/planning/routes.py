"""Which model a record goes to, where models of one source share its records out among them.

A model with a `route` takes the records for which that is true, and leaves the others to the other models. Where every
model of a source has one, a record that none of them takes has no destination, and ingestion refuses it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.expressions import NotAnExpression, Scope, read_predicate
from penstock.model.pipeline import Check, Filter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from penstock.documents.kinds import DestinationModel
    from penstock.expressions import Expression
    from penstock.model.pipeline import SourceTable
    from penstock.planning.models import Draft
    from penstock.planning.notes import Described, Notes

NO_ROUTE = "INT_GAMMA_002"
ELSEWHERE = "routed elsewhere"
"""What records are counted as that a model leaves to the others."""


def read_route(model: Described[DestinationModel], source: SourceTable, notes: Notes) -> Expression | None:
    """Return a model's route over its source's columns, None where it takes everything; noted where it is wrong."""
    if not model.part.route:
        return None
    try:
        return read_predicate(model.part.route, Scope(source.fields, name=source.name))
    except NotAnExpression as why:
        notes.expression(model.spot.at("route"), why, "route")
        return None


def elsewhere(model: Described[DestinationModel], route: Expression) -> tuple[Filter, Expression]:
    """Return the route as a filter: whatever it is not true for is left out."""
    return Filter(ELSEWHERE, f"({route.sql}) IS NOT TRUE", model.spot.at("route")), route


def check_routes(source: SourceTable, drafts: Sequence[Draft]) -> tuple[Check, ...]:
    """Return the check that some model takes a record; nothing where one takes them all."""
    fed = [draft for draft in drafts if draft.source.name == source.name]
    routes = [draft.route for draft in fed if draft.route is not None]
    if not routes or len(routes) < len(fed):
        return ()
    columns = dict.fromkeys(column for route in routes for column in route.columns)
    taken = " OR ".join(f"({route.sql}) IS TRUE" for route in routes)
    return (Check(NO_ROUTE, taken, next(iter(columns), ""), " or ".join(route.text for route in routes)),)
