# ruff: noqa: S608 - every name in the statements below has passed `quote`
"""Keys that may occur once: which rows would bring one in a second time.

Null never equals null, as in SQL: a row with a null in its key meets no other. Keys are compared by query: first
whether there is any duplicate at all, the cheapest question first, and only if so which. Where keys of the table must
be looked at, the engine prunes them by the least and greatest key that come in, and by a Bloom filter of them.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from penstock.connectors.sinks.duckdb.order import overlap, rises
from penstock.expressions import quote
from penstock.model.batch import SEQUENCE
from penstock.model.outcome import RecordError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import duckdb

    from penstock.connectors.sinks.duckdb.incoming import Incoming


@dataclass(frozen=True, slots=True)
class Key:
    """Columns whose values together may occur once."""

    columns: tuple[str, ...]

    @property
    def list(self) -> str:
        """The columns, quoted, between commas."""
        return ", ".join(quote(column) for column in self.columns)

    @property
    def complete(self) -> str:
        """The condition that no column is null."""
        return " AND ".join(f"{quote(column)} IS NOT NULL" for column in self.columns)

    def equal(self, left: str, right: str) -> str:
        """Return the condition that the rows called `left` and `right` have this key in common."""
        return " AND ".join(f"{left}.{quote(column)} = {right}.{quote(column)}" for column in self.columns)


@dataclass(frozen=True, slots=True)
class Claim:
    """A row that may not be the only one with its key.

    `group` names the key: the least sequence among the incoming rows that have it. `taken` tells that the table
    has it already.
    """

    sequence: int
    key: Key
    group: int
    taken: bool
    shown: str


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


def refuse(claims: Iterable[Claim]) -> dict[int, RecordError]:
    """Decide which rows are refused, and why, by sequence.

    A key belongs to the table, then to the first that claims it. A row that is refused for one key holds none of its
    others.
    """
    by_sequence: dict[int, list[Claim]] = defaultdict(list)
    for claim in claims:
        by_sequence[claim.sequence].append(claim)
    held: set[tuple[Key, int]] = set()
    refused: dict[int, RecordError] = {}
    for sequence in sorted(by_sequence):
        own = by_sequence[sequence]
        lost = next((claim for claim in own if claim.taken or (claim.key, claim.group) in held), None)
        if lost is None:
            held |= {(claim.key, claim.group) for claim in own}
        else:
            refused[sequence] = _duplicate(lost)
    return refused


def refused_for(
    connection: duckdb.DuckDBPyConnection, table: str, incoming: Incoming, keys: Sequence[Key], grain: Key | None = None
) -> dict[int, RecordError]:
    """Return which incoming rows must be refused so that `table` has each of `keys` once, by sequence."""
    return refuse(claim for key in keys for claim in claims(connection, table, incoming, key, grain))


def _duplicate(claim: Claim) -> RecordError:
    columns = " + ".join(claim.key.columns)
    where = "the destination" if claim.taken else "an earlier record"
    return RecordError(
        "INT_GAMMA_003",
        field=", ".join(claim.key.columns),
        message=f"{columns} {claim.shown} is in {where} already",
        expected=f"no duplicate {columns}",
        actual=claim.shown,
    )
