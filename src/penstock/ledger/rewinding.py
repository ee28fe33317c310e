"""Going back: a position is set back, and what was counted from there on is forgotten, to be counted again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from penstock.ledger import partitions, replays
from penstock.model.position import Position

if TYPE_CHECKING:
    import sqlite3

    from penstock.ledger.entry import PartitionKey


@dataclass(frozen=True, slots=True)
class Rewound:
    """Where a partition stands after a rewind (None: at its beginning), and how many records are read again.

    Counts cannot be cut, so it goes back to the end of a settled range, at or before the sequence that was asked for.
    """

    asked: int
    position: Position | None
    records: int

    @property
    def sequence(self) -> int:
        """The sequence of the record that is read next."""
        return 0 if self.position is None else self.position.sequence


def rewind(connection: sqlite3.Connection, key: PartitionKey, to: Position | None, at: str) -> Rewound:
    """Set `key` back to `to` (None: its beginning) or the last border of a settled range before it.

    Dead letters stay. Those of records that no destination has settled, as far as the marks tell, are withdrawn until
    they fail again; so the marks must be recorded before. A replay ends here, and its letters are open again.
    """
    asked = 0 if to is None else to.sequence
    before = partitions.sequence(connection, key)
    if to is not None and asked >= before:
        return Rewound(asked, partitions.positions(connection, key.pipeline, key.source).get(key.partition), 0)
    position = _border(connection, key, asked)
    start = 0 if position is None else position.sequence
    partitions.move(connection, key, position)
    connection.execute(
        "DELETE FROM settlements WHERE pipeline = ? AND source = ? AND partition = ? AND start_sequence >= ?",
        (*key, start),  # their outcomes go with them
    )
    _withdraw(connection, key, start)
    replay = replays.find(connection, key)
    if replay is not None:
        replays.give_up(connection, replay, start, at)
    return Rewound(asked, position, before - start)


def _border(connection: sqlite3.Connection, key: PartitionKey, asked: int) -> Position | None:
    row = connection.execute(
        """
        SELECT end_sequence, token FROM settlements
        WHERE pipeline = ? AND source = ? AND partition = ? AND end_sequence <= ?
        ORDER BY end_sequence DESC LIMIT 1
        """,
        (*key, asked),
    ).fetchone()
    return None if row is None else Position(key.partition, *row)


def _withdraw(connection: sqlite3.Connection, key: PartitionKey, start: int) -> None:
    """Withdraw open letters from `start` on. What lies below a mark is not delivered again, so its letter stands."""
    connection.execute(
        """
        UPDATE dead_letters SET status = 'withdrawn', closed_because = 'its record is read again'
        WHERE pipeline = ?1 AND source = ?2 AND partition = ?3 AND sequence >= ?4 AND status = 'open'
            AND NOT EXISTS (
                SELECT 1 FROM marks
                WHERE marks.pipeline = ?1 AND marks.source = ?2 AND marks.partition = ?3
                    AND marks.sequence > dead_letters.sequence
                    AND dead_letters.destination IN ('', marks.destination)
            )
        """,
        (*key, start),
    )
