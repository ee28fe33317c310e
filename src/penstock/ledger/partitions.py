"""Partitions of sources: the order in which they were met, and where each has been read to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.model.position import Position

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Mapping

    from penstock.ledger.entry import PartitionKey


def register(connection: sqlite3.Connection, pipeline: str, source: str, names: Iterable[str]) -> Mapping[str, int]:
    """Return the 0-based ordinal of each partition; one that is new gets the next, in the order given."""
    return {name: _ordinal(connection, pipeline, source, name) for name in names}


def _ordinal(connection: sqlite3.Connection, pipeline: str, source: str, name: str) -> int:
    row = connection.execute(
        "SELECT ordinal FROM partitions WHERE pipeline = ? AND source = ? AND partition = ?", (pipeline, source, name)
    ).fetchone()
    if row is None:
        row = connection.execute(
            """
            INSERT INTO partitions (pipeline, source, partition, ordinal)
            SELECT :pipeline, :source, :partition, coalesce(max(ordinal) + 1, 0)
            FROM partitions WHERE pipeline = :pipeline AND source = :source
            RETURNING ordinal
            """,
            {"pipeline": pipeline, "source": source, "partition": name},
        ).fetchone()
    return int(row[0])


def positions(connection: sqlite3.Connection, pipeline: str, source: str) -> Mapping[str, Position]:
    """Return where to read next, for every partition that has been read at all."""
    rows = connection.execute(
        """
        SELECT partition, sequence, token FROM partitions
        WHERE pipeline = ? AND source = ? AND token IS NOT NULL ORDER BY ordinal
        """,
        (pipeline, source),
    )
    return {partition: Position(partition, sequence, token) for partition, sequence, token in rows}


def any_met(connection: sqlite3.Connection, pipeline: str) -> bool:
    """Tell whether any partition of the pipeline was ever about to be read."""
    (found,) = connection.execute("SELECT EXISTS (SELECT 1 FROM partitions WHERE pipeline = ?)", (pipeline,)).fetchone()
    return bool(found)


def renumber(connection: sqlite3.Connection, key: PartitionKey) -> None:
    """Make a partition the newest of its source: what it holds now is newer than everything met before."""
    connection.execute(
        """
        UPDATE partitions SET ordinal = (
            SELECT max(ordinal) + 1 FROM partitions AS others
            WHERE others.pipeline = partitions.pipeline AND others.source = partitions.source
        )
        WHERE pipeline = ? AND source = ? AND partition = ?
        """,
        key,
    )


def sequence(connection: sqlite3.Connection, key: PartitionKey) -> int:
    """Return the sequence that the partition's next record will get: 0 for one that was never read."""
    row = connection.execute(
        "SELECT sequence FROM partitions WHERE pipeline = ? AND source = ? AND partition = ?", key
    ).fetchone()
    return 0 if row is None else int(row[0])


def move(connection: sqlite3.Connection, key: PartitionKey, position: Position | None) -> None:
    """Set where to read next; None is the partition's beginning."""
    to = (0, None) if position is None else (position.sequence, position.token)
    connection.execute(
        "UPDATE partitions SET sequence = ?, token = ? WHERE pipeline = ? AND source = ? AND partition = ?", (*to, *key)
    )
