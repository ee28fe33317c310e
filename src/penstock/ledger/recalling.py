"""What a destination needs to know when it meets records again that it has settled already."""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.ledger import partitions, replays
from penstock.model.outcome import Outcome
from penstock.ports import Fate

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping

    from penstock.ledger.entry import Entry, PartitionKey

SUPERSEDED = Fate(Outcome.FILTERED, "superseded")


def recall(
    connection: sqlite3.Connection, entry: Entry, key: PartitionKey, destination: str, mark: int
) -> Mapping[int, Fate]:
    """Return the fates, other than delivery, that records between the position and `mark` found on the way there.

    Those that an earlier stage refused are among them: mended since, they arrive, and yet are not written below a mark.
    What earlier runs noted of records from `mark` on is taken back: the transaction that would have settled them
    never ended, so they are judged anew. Their letters stay, withdrawn, and are open again once they fail again.
    """
    position = partitions.sequence(connection, key)
    _take_back(connection, entry, key, destination, max(position, mark))
    span = (*key, destination, position, mark)
    superseded = connection.execute(
        """
        SELECT sequence FROM superseded_records
        WHERE pipeline = ? AND source = ? AND partition = ? AND destination = ? AND sequence >= ? AND sequence < ?
        """,
        span,
    )
    fates = dict.fromkeys((sequence for (sequence,) in superseded), SUPERSEDED)
    refused = connection.execute(
        """
        SELECT sequence, code FROM dead_letters
        WHERE pipeline = ? AND source = ? AND partition = ? AND destination IN ('', ?)
            AND sequence >= ? AND sequence < ? AND status <> 'withdrawn'
        UNION ALL
        SELECT sequence, code FROM replay_failures
        JOIN replays ON replays.id = replay_failures.replay_id
        WHERE pipeline = ? AND source = ? AND partition = ? AND replay_failures.destination IN ('', ?)
            AND sequence >= ? AND sequence < ?
        """,
        (*span, *span),
    )
    return fates | {sequence: Fate(Outcome.DEAD_LETTERED, code) for sequence, code in refused}


def judge_anew(connection: sqlite3.Connection, entry: Entry, key: PartitionKey, marks: Mapping[str, int]) -> None:
    """Take back what earlier runs noted of records that nobody has settled. `marks` by destination, 0 where none is.

    What ingestion refused below a mark stays as it was: there it is all that is left of the record.
    """
    position = partitions.sequence(connection, key)
    for destination, mark in marks.items():
        _take_back(connection, entry, key, destination, max(position, mark))
    _take_back(connection, entry, key, "", max(position, *marks.values()))


def _take_back(connection: sqlite3.Connection, entry: Entry, key: PartitionKey, destination: str, start: int) -> None:
    """Forget what earlier runs noted from `start` on; what this run has written already is the new judgement."""
    span = (*key, destination, start)
    connection.execute(
        """
        DELETE FROM superseded_records
        WHERE pipeline = ? AND source = ? AND partition = ? AND destination = ? AND sequence >= ?
        """,
        span,
    )
    connection.execute(
        """
        UPDATE dead_letters SET status = 'withdrawn', closed_because = 'its record is read again'
        WHERE pipeline = ? AND source = ? AND partition = ? AND destination = ? AND sequence >= ?
            AND status = 'open' AND run_id <> ?
        """,
        (*span, entry.run_id),
    )
    replay = replays.find(connection, key)
    if replay is not None:
        connection.execute(
            """
            DELETE FROM replay_failures
            WHERE replay_id = ? AND destination = ? AND sequence >= ? AND run_id <> ?
            """,
            (replay.id, destination, start, entry.run_id),
        )
