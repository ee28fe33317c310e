# ruff: noqa: S608 - every name in the statements below has passed `quote`
"""Merging by key: the newest version of a row wins, among what comes in and against what is there.

Versions are ordered by the model's version column, null oldest, where it names one, and by the order of reading where
it does not. Of equal versions the one that is written later wins: with a version column it was read later, and without
one it is the same record read again, perhaps after it was mended.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from penstock.connectors.sinks.duckdb.keys import has_doubles, may_meet, refused_for
from penstock.expressions import quote
from penstock.model.batch import OP, SEQUENCE, VERSION, Op
from penstock.ports import Written

if TYPE_CHECKING:
    from collections.abc import Sequence

    import duckdb

    from penstock.connectors.sinks.duckdb.incoming import Incoming
    from penstock.connectors.sinks.duckdb.keys import Key

_TRUNCATE = pa.scalar(int(Op.TRUNCATE), pa.int8())
_REPLACED = "_penstock_replaced"
_NO_MEETINGS = pa.schema([("sequence", pa.int64()), ("stored", pa.int64()), ("newer", pa.bool_())]).empty_table()


def empty(connection: duckdb.DuckDBPyConnection, table: str, rows: pa.Table) -> tuple[pa.Table, frozenset[int]]:
    """Empty `table` where one of `rows` says so; return the rows after the last that does, and who went with the table.

    Those are the sequences of the rows before it.
    """
    places = pc.indices_nonzero(pc.equal(rows.column(OP), _TRUNCATE))
    if not len(places):
        return rows, frozenset()
    connection.execute(f"DELETE FROM {table}")
    last = places[-1].as_py()
    gone = rows.slice(0, last)
    superseded = gone.filter(pc.not_equal(gone.column(OP), _TRUNCATE)).column(SEQUENCE).to_pylist()
    return rows.slice(last + 1), frozenset(superseded)


def without_truncates(rows: pa.Table) -> pa.Table:
    """Return the rows that are rows where a model appends: what was written stays."""
    truncates = pc.equal(rows.column(OP), _TRUNCATE)
    return rows.filter(pc.invert(truncates)) if pc.any(truncates).as_py() else rows


def merge(
    connection: duckdb.DuckDBPyConnection,
    incoming: Incoming,
    table: str,
    grain: Key,
    version_by: str,
    keys: Sequence[Key],
) -> tuple[Written, int]:
    """Merge `incoming` into the table; return what became of it, and how many stored rows went.

    `keys` may occur once besides the grain. Whoever loses for one of them is refused, and the row that it would
    have replaced stays. That row's key is not free for others in the same write, even if it is replaced in it.
    """
    older = _older_within(connection, incoming, grain, version_by)
    incoming.drop(older)
    met = _meetings(connection, table, incoming, grain, version_by)
    stale = frozenset(met.filter(pc.invert(met.column("newer"))).column("sequence").to_pylist())
    incoming.drop(stale)
    _drop_deletes(incoming)
    refused = refused_for(connection, table, incoming, keys, grain)
    incoming.drop(refused.keys())
    lost = pa.array([*stale, *refused], pa.int64())
    replaced = met.filter(pc.invert(pc.is_in(met.column("sequence"), lost))).column("stored")
    _delete(connection, table, replaced)
    incoming.insert_into(table)
    return Written(refused, stale.union(older)), len(replaced)


def _older_within(connection: duckdb.DuckDBPyConnection, incoming: Incoming, grain: Key, version_by: str) -> list[int]:
    """Return the sequences of incoming rows that a newer one with the same key makes superfluous."""
    if not has_doubles(connection, incoming, grain):
        return []
    newest_first = [f"{quote(version_by)} DESC NULLS LAST"] if version_by else []
    newest_first += [f"{VERSION} DESC", f"{SEQUENCE} DESC"]
    found = connection.execute(
        f"""
        SELECT {SEQUENCE} FROM {incoming.relation} AS incoming WHERE {grain.complete}
        QUALIFY row_number() OVER (PARTITION BY {grain.list} ORDER BY {", ".join(newest_first)}) > 1
        """
    ).fetchall()
    return [sequence for (sequence,) in found]


def _meetings(
    connection: duckdb.DuckDBPyConnection, table: str, incoming: Incoming, grain: Key, version_by: str
) -> pa.Table:
    """Return where incoming rows meet rows of `table`: `sequence`, the `stored` row's id, and which is newer.

    `newer` is true where the incoming row is to take the place of the stored one: it is newer, or as new.
    """
    if not may_meet(connection, table, incoming, grain):
        return _NO_MEETINGS
    version = quote(version_by or VERSION)
    newer = f"stored.{version} IS NULL OR coalesce(incoming.{version} >= stored.{version}, FALSE)"
    return connection.sql(
        f"SELECT incoming.{SEQUENCE} AS sequence, stored.rowid AS stored, {newer} AS newer "
        f"FROM {table} AS stored JOIN {incoming.relation} AS incoming ON {grain.equal('stored', 'incoming')}"
    ).to_arrow_table()


def _drop_deletes(incoming: Incoming) -> None:
    """Take out the records that delete their key: they leave no row."""
    deletes = pc.equal(incoming.rows.column(OP), pa.scalar(int(Op.DELETE), pa.int8()))
    if pc.any(deletes).as_py():
        incoming.keep(pc.invert(deletes))


def _delete(connection: duckdb.DuckDBPyConnection, table: str, stored: pa.ChunkedArray) -> None:
    """Delete rows by their ids.

    Deleting and inserting anew is several times faster than MERGE INTO, which updates in place and so rewrites the
    blocks of every column.
    """
    if len(stored):
        connection.register(_REPLACED, pa.table({"stored": stored}))
        connection.execute(f"DELETE FROM {table} WHERE rowid IN (SELECT stored FROM {_REPLACED})")
        connection.unregister(_REPLACED)
