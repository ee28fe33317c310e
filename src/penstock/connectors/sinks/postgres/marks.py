# ruff: noqa: S608 - every name in the statements below is a constant
"""Marks beside the rows: how far each partition is settled, in the same database and the same transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.connectors.postgres import execute
from penstock.model.position import Mark, Position

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from penstock.connectors.postgres.connection import Session

SCHEMA = "_penstock"
NAME = "marks"
_TABLE = f"{SCHEMA}.{NAME}"
_MINE = "pipeline = $1 AND model = $2"


def create(session: Session) -> None:
    """Create the table of marks where it is missing. Where it is there, no more than access to it is needed."""
    if execute(session, "SELECT to_regclass($1)", [_TABLE]).fetchone() != (None,):
        return
    if execute(session, "SELECT to_regnamespace($1)", [SCHEMA]).fetchone() == (None,):
        execute(session, f"CREATE SCHEMA {SCHEMA}")
    execute(
        session,
        f"""
        CREATE TABLE {_TABLE} (
            pipeline text, model text, source text, "partition" text,
            sequence bigint NOT NULL, position_sequence bigint NOT NULL, position_token text NOT NULL,
            committed_at timestamp with time zone NOT NULL,
            PRIMARY KEY (pipeline, model, source, "partition")
        )
        """,
    )


def read(session: Session, pipeline: str, model: str) -> Mapping[tuple[str, str], Mark]:
    """Return the marks of `model` by (source, partition)."""
    rows = execute(
        session,
        f'SELECT source, "partition", sequence, position_sequence, position_token FROM {_TABLE} WHERE {_MINE}',
        [pipeline, model],
    ).fetchall()
    return {
        (source, partition): Mark(source, partition, sequence, Position(partition, position_sequence, token))
        for source, partition, sequence, position_sequence, token in rows
    }


def forget(session: Session, pipeline: str, model: str) -> None:
    """Drop the marks of `model`: what they vouch for is gone."""
    execute(session, f"DELETE FROM {_TABLE} WHERE {_MINE}", [pipeline, model])


def forget_partition(session: Session, pipeline: str, model: str, source: str, partition: str) -> None:
    """Drop the mark of one partition: it will be read again as if it were new."""
    execute(
        session,
        f'DELETE FROM {_TABLE} WHERE {_MINE} AND source = $3 AND "partition" = $4',
        [pipeline, model, source, partition],
    )


def store(session: Session, pipeline: str, model: str, marks: Sequence[Mark]) -> None:
    """Put `marks` in the place of those of the same source and partition."""
    if not marks:
        return
    columns = [list(column) for column in zip(*map(_row, marks), strict=True)]
    execute(
        session,
        f"""
        INSERT INTO {_TABLE}
        SELECT $1, $2, given.*, now()
        FROM unnest($3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::text[]) AS given
        ON CONFLICT (pipeline, model, source, "partition") DO UPDATE SET
            sequence = excluded.sequence, position_sequence = excluded.position_sequence,
            position_token = excluded.position_token, committed_at = excluded.committed_at
        """,
        [pipeline, model, *columns],
    )


def _row(mark: Mark) -> tuple[str, str, int, int, str]:
    return mark.source, mark.partition, mark.sequence, mark.position.sequence, mark.position.token
