"""Marks: what the ledger knows to be at the destinations. Compared at start with what they say themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.model.position import Mark, Position

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping, Sequence

    from penstock.ledger.entry import PartitionKey


def record(connection: sqlite3.Connection, pipeline: str, destination: str, marks: Sequence[Mark], at: str) -> None:
    """Take note of marks that the destination has committed; lower ones than are known change nothing."""
    connection.executemany(
        """
        INSERT INTO marks
            (pipeline, destination, source, partition, sequence, position_sequence, position_token, recorded_at)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT DO UPDATE SET
            sequence = excluded.sequence,
            position_sequence = excluded.position_sequence,
            position_token = excluded.position_token,
            recorded_at = excluded.recorded_at
        WHERE excluded.sequence >= marks.sequence
        """,
        [
            (
                pipeline,
                destination,
                mark.source,
                mark.partition,
                mark.sequence,
                mark.position.sequence,
                mark.position.token,
                at,
            )
            for mark in marks
        ],
    )


def known(connection: sqlite3.Connection, pipeline: str, destination: str) -> Mapping[tuple[str, str], Mark]:
    """Return the marks of a destination by (source, partition)."""
    rows = connection.execute(
        """
        SELECT source, partition, sequence, position_sequence, position_token FROM marks
        WHERE pipeline = ? AND destination = ?
        """,
        (pipeline, destination),
    )
    return {
        (source, partition): Mark(source, partition, sequence, Position(partition, position_sequence, token))
        for source, partition, sequence, position_sequence, token in rows
    }


def forget(connection: sqlite3.Connection, pipeline: str, destination: str) -> None:
    """Know nothing of a destination any more."""
    connection.execute("DELETE FROM marks WHERE pipeline = ? AND destination = ?", (pipeline, destination))


def supersede(connection: sqlite3.Connection, key: PartitionKey, destination: str, sequences: Sequence[int]) -> None:
    """Take note of records that lost to a newer version of their key at the destination."""
    connection.executemany(
        """
        INSERT OR IGNORE INTO superseded_records (pipeline, source, partition, destination, sequence)
        VALUES (?, ?, ?, ?, ?)
        """,
        [(*key, destination, sequence) for sequence in sequences],
    )
