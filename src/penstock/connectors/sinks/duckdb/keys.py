# ruff: noqa: S608 - every name in the statements below has passed `quote`
"""Keys that may occur once: which rows would bring one in a second time.

Null never equals null, as in SQL: a row with a null in its key meets no other. Keys are compared by query: first
whether there is any duplicate at all, the cheapest question first, and only if so which. Where keys of the table must
be looked at, the engine prunes them by the least and greatest key that come in, and by a Bloom filter of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.connectors.sinks.duckdb.order import overlap, rises
from penstock.connectors.sinks.keys import Claim, Key, refuse
from penstock.expressions import quote
from penstock.model.batch import SEQUENCE

if TYPE_CHECKING:
    from collections.abc import Sequence

    import duckdb

    from penstock.connectors.sinks.duckdb.incoming import Incoming
    from penstock.model.outcome import RecordError

__all__ = ["Claim", "Key", "claims", "has_doubles", "may_meet", "refuse", "refused_for"]


def has_doubles(connection: duckdb.DuckDBPyConnection, incoming: Incoming, key: Key) -> bool:
    """Return whether two incoming rows have the same key."""
    if incoming.rows.num_rows < 2 or rises(connection, incoming.relation, key):  # noqa: PLR2004 - it takes two
        return False
    distinct = incoming.tells_apart(key.columns)
    if distinct is not None:
        return not distinct
    found = connection.execute(
        f"SELECT 1 FROM {incoming.relation} AS incoming WHERE {key.complete} "
        f"GROUP BY {key.list} HAVING count(*) > 1 LIMIT 1"
    )
    return found.fetchall() != []


def may_meet(connection: duckdb.DuckDBPyConnection, table: str, incoming: Incoming, key: Key) -> bool:
    """Return whether `table` may have the key of an incoming row: where not, no key needs to be compared.

    Columns that the engine parses on every reading are compared at once: to find their range costs as much.
    """
    return incoming.is_cast(key.columns) or overlap(connection, table, incoming.relation, key)


def claims(
    connection: duckdb.DuckDBPyConnection, table: str, incoming: Incoming, key: Key, grain: Key | None = None
) -> list[Claim]:
    """Return the incoming rows whose key another of them, or a row of `table`, has too.

    With `grain`, a row of `table` that equals the incoming one there does not count: the two are one row.
    """
    relation = incoming.relation
    meets = key.equal("stored", "incoming")
    if grain is not None:
        meets += f" AND ({grain.equal('stored', 'incoming')}) IS NOT TRUE"
    meeting = f"FROM {table} AS stored JOIN {relation} AS incoming ON {meets}"
    if not has_doubles(connection, incoming, key) and not (
        may_meet(connection, table, incoming, key)
        and connection.execute(f"SELECT 1 {meeting} LIMIT 1").fetchall() != []
    ):
        return []
    shown = ", ".join(f"CAST(incoming.{quote(column)} AS VARCHAR)" for column in key.columns)
    found = connection.execute(
        f"""
        WITH doubled AS (
            SELECT {key.list} FROM {relation} AS incoming WHERE {key.complete} GROUP BY {key.list} HAVING count(*) > 1
        ), taken AS (SELECT DISTINCT incoming.{SEQUENCE} {meeting})
        SELECT incoming.{SEQUENCE}, min(incoming.{SEQUENCE}) OVER (PARTITION BY {key.list}),
               taken.{SEQUENCE} IS NOT NULL, concat_ws(', ', {shown})
        FROM {relation} AS incoming LEFT JOIN taken ON taken.{SEQUENCE} = incoming.{SEQUENCE}
        WHERE taken.{SEQUENCE} IS NOT NULL
            OR EXISTS (SELECT 1 FROM doubled WHERE {key.equal("doubled", "incoming")})
        """
    ).fetchall()
    return [Claim(sequence, key, group, taken, shown) for sequence, group, taken, shown in found]


def refused_for(
    connection: duckdb.DuckDBPyConnection, table: str, incoming: Incoming, keys: Sequence[Key], grain: Key | None = None
) -> dict[int, RecordError]:
    """Return which incoming rows must be refused so that `table` has each of `keys` once, by sequence."""
    return refuse(claim for key in keys for claim in claims(connection, table, incoming, key, grain))
