# ruff: noqa: S608 - every name in the statements below is a constant or has passed `quote`
"""Marks beside the rows: how far each partition is settled, in the same file and the same transaction."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from penstock.expressions import quote
from penstock.model.position import Mark, Position

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import duckdb

_SCHEMA = "_penstock"
_MINE = "pipeline = ? AND model = ?"


def create(connection: duckdb.DuckDBPyConnection, catalog: str) -> None:
    """Create the table of marks where it is missing. `catalog` is what the engine calls the file."""
    connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quote(catalog)}.{_SCHEMA}")
    # No primary key: an index would make two sinks that commit at once collide.
    connection.execute(
        f"""
        CREATE TABLE IF NOT EXISTS {_table(catalog)} (
            pipeline VARCHAR NOT NULL, model VARCHAR NOT NULL, source VARCHAR NOT NULL, "partition" VARCHAR NOT NULL,
            sequence BIGINT NOT NULL, position_sequence BIGINT NOT NULL, position_token VARCHAR NOT NULL,
            committed_at TIMESTAMP WITH TIME ZONE NOT NULL
        )
        """
    )


def read(
    connection: duckdb.DuckDBPyConnection, catalog: str, pipeline: str, model: str
) -> Mapping[tuple[str, str], Mark]:
    """Return the marks of `model` by (source, partition)."""
    rows = connection.execute(
        f'SELECT source, "partition", sequence, position_sequence, position_token FROM {_table(catalog)} WHERE {_MINE}',
        [pipeline, model],
    ).fetchall()
    return {
        (source, partition): Mark(source, partition, sequence, Position(partition, position_sequence, token))
        for source, partition, sequence, position_sequence, token in rows
    }


def forget(connection: duckdb.DuckDBPyConnection, catalog: str, pipeline: str, model: str) -> None:
    """Drop the marks of `model`: what they vouch for is gone."""
    connection.execute(f"DELETE FROM {_table(catalog)} WHERE {_MINE}", [pipeline, model])


def forget_partition(
    connection: duckdb.DuckDBPyConnection, catalog: str, pipeline: str, model: str, source: str, partition: str
) -> None:
    """Drop the mark of one partition: it will be read again as if it were new."""
    connection.execute(
        f'DELETE FROM {_table(catalog)} WHERE {_MINE} AND source = ? AND "partition" = ?',
        [pipeline, model, source, partition],
    )


def store(
    connection: duckdb.DuckDBPyConnection, catalog: str, pipeline: str, model: str, marks: Sequence[Mark]
) -> None:
    """Put `marks` in the place of those of the same source and partition."""
    now = datetime.now(UTC)
    for mark in marks:
        where = [pipeline, model, mark.source, mark.partition]
        moved = [mark.sequence, mark.position.sequence, mark.position.token, now]
        # Two plain statements cost half of one MERGE, and all but a partition's first mark need only the first.
        [(found,)] = connection.execute(
            f"UPDATE {_table(catalog)} SET sequence = ?, position_sequence = ?, position_token = ?, committed_at = ? "
            f'WHERE {_MINE} AND source = ? AND "partition" = ?',
            moved + where,
        ).fetchall()
        if not found:
            connection.execute(f"INSERT INTO {_table(catalog)} VALUES (?, ?, ?, ?, ?, ?, ?, ?)", where + moved)


def _table(catalog: str) -> str:
    return f"{quote(catalog)}.{_SCHEMA}.marks"
