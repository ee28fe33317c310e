# ruff: noqa: S608 - every name in the statements below has passed `quote`
"""Keys that may occur once: which staged rows would bring one in a second time, found by query."""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.connectors.postgres import execute
from penstock.connectors.sinks.keys import Claim, refuse
from penstock.connectors.sinks.postgres.incoming import STAGING
from penstock.expressions import quote
from penstock.model.batch import SEQUENCE

if TYPE_CHECKING:
    from penstock.connectors.postgres.connection import Session
    from penstock.connectors.sinks.keys import Key
    from penstock.connectors.sinks.postgres.shape import Shape
    from penstock.model.outcome import RecordError


def refused_for_keys(session: Session, shape: Shape) -> dict[int, RecordError]:
    """Return which staged rows must be refused so that the table has each of its keys once, by sequence.

    In a merge, a stored row that equals the staged one in the grain does not count: the two are one row.
    """
    return refuse(claim for key in shape.keys for claim in _claims(session, shape, key))


def _claims(session: Session, shape: Shape, key: Key) -> list[Claim]:
    """Return the staged rows whose key another of them, or a row of the table, has too."""
    others = "" if shape.grain is None else f" AND ({shape.equal(shape.grain, 'stored', 'incoming')}) IS NOT TRUE"
    shown = ", ".join(f"incoming.{quote(column)}::text" for column in key.columns)
    complete = " AND ".join(f"incoming.{quote(column)} IS NOT NULL" for column in key.columns)
    group = f"OVER (PARTITION BY {shape.list_of(key, 'incoming')})"
    found = execute(
        session,
        f"""
        SELECT _sequence, _group, _taken, _shown FROM (
            SELECT incoming.{SEQUENCE} AS _sequence, min(incoming.{SEQUENCE}) {group} AS _group,
                   count(*) {group} AS _rows, taken.{SEQUENCE} IS NOT NULL AS _taken, concat_ws(', ', {shown}) AS _shown
            FROM {STAGING} AS incoming LEFT JOIN (
                SELECT DISTINCT incoming.{SEQUENCE} FROM {STAGING} AS incoming
                JOIN {shape.table} AS stored ON {shape.equal(key, "stored", "incoming")}{others}
            ) AS taken ON taken.{SEQUENCE} = incoming.{SEQUENCE}
            WHERE {complete}
        ) AS claims WHERE _taken OR _rows > 1
        """,
    ).fetchall()
    return [Claim(sequence, key, group, taken, shown) for sequence, group, taken, shown in found]
