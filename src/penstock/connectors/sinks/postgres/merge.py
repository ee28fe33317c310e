# ruff: noqa: S608 - every name in the statements below has passed `quote`
"""Merging by key: the newest version of a row wins, among what is staged and against what is there.

Versions are ordered by the model's version column, null oldest, where it names one, and by the order of reading where
it does not. Of equal versions the one that is written later wins: with a version column it was read later, and without
one it is the same record read again, perhaps after it was mended.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.connectors.postgres import execute
from penstock.connectors.sinks.postgres.incoming import STAGING
from penstock.expressions import quote
from penstock.model.batch import OP, SEQUENCE, VERSION, Op
from penstock.model.schema import TEXTUAL

if TYPE_CHECKING:
    from penstock.connectors.postgres.connection import Session
    from penstock.connectors.sinks.keys import Key
    from penstock.connectors.sinks.postgres.shape import Shape


def drop_superseded(session: Session, shape: Shape, version_by: str) -> set[int]:
    """Take out the staged rows to which a newer one of their key is staged or stored; return their sequences."""
    assert shape.grain is not None
    return _drop_older(session, shape, shape.grain, version_by) | _drop_stale(session, shape, shape.grain, version_by)


def merge(session: Session, shape: Shape, *, guarded: bool) -> None:
    """Put the staged rows, none of them older than what is stored, in their places.

    `guarded` tells that a constraint holds the grain. Without one, several stored rows may have a key in common; then
    all of them make room for the one that comes.
    """
    assert shape.grain is not None
    matches = shape.equal(shape.grain, "stored", "incoming")
    if guarded:
        _merge_in_place(session, shape, matches)
        return
    execute(session, f"DELETE FROM {shape.table} AS stored USING {STAGING} AS incoming WHERE {matches}")
    execute(
        session,
        f"INSERT INTO {shape.table} ({shape.columns}) "
        f"SELECT {shape.columns} FROM {STAGING} WHERE {OP} <> {Op.DELETE:d}",
    )


def _merge_in_place(session: Session, shape: Shape, matches: str) -> None:
    moved = ", ".join(f"{quote(name)} = incoming.{quote(name)}" for name in shape.names)
    values = ", ".join(f"incoming.{quote(name)}" for name in shape.names)
    execute(
        session,
        f"""
        MERGE INTO {shape.table} AS stored USING {STAGING} AS incoming ON {matches}
        WHEN MATCHED AND incoming.{OP} = {Op.DELETE:d} THEN DELETE
        WHEN MATCHED THEN UPDATE SET {moved}
        WHEN NOT MATCHED AND incoming.{OP} <> {Op.DELETE:d} THEN INSERT ({shape.columns}) VALUES ({values})
        """,
    )


def _drop_older(session: Session, shape: Shape, grain: Key, version_by: str) -> set[int]:
    newest_first = [f"{_ordered(shape, 'incoming', version_by)} DESC NULLS LAST"] if version_by else []
    newest_first += [f"{VERSION} DESC", f"{SEQUENCE} DESC"]
    found = execute(
        session,
        f"""
        DELETE FROM {STAGING} WHERE ctid IN (
            SELECT ctid FROM (
                SELECT ctid, row_number() OVER (
                    PARTITION BY {shape.list_of(grain, "incoming")} ORDER BY {", ".join(newest_first)}) AS _rank
                FROM {STAGING} AS incoming WHERE {grain.complete}
            ) AS ranked WHERE _rank > 1
        ) RETURNING {SEQUENCE}
        """,
    ).fetchall()
    return {sequence for (sequence,) in found}


def _drop_stale(session: Session, shape: Shape, grain: Key, version_by: str) -> set[int]:
    version = version_by or VERSION
    stored, incoming = _ordered(shape, "stored", version), _ordered(shape, "incoming", version)
    newer = f"{stored} IS NULL OR coalesce({incoming} >= {stored}, FALSE)"
    found = execute(
        session,
        f"DELETE FROM {STAGING} AS incoming USING {shape.table} AS stored "
        f"WHERE {shape.equal(grain, 'stored', 'incoming')} AND NOT ({newer}) RETURNING incoming.{SEQUENCE}",
    ).fetchall()
    return {sequence for (sequence,) in found}


def _ordered(shape: Shape, row: str, column: str) -> str:
    """Return a column in the order that versions have: text by its bytes, in whatever language the database sorts."""
    field = next((field for field in shape.fields if field.name == column), None)
    textual = field is not None and field.type.kind in TEXTUAL
    return f'{row}.{quote(column)}::text COLLATE "C"' if textual else f"{row}.{quote(column)}"
