"""Does the ledger add up? Every check is a query whose rows are the problems, as sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3

_UNACCOUNTED = """
    SELECT printf('%s/%s: `%s` accounts for %d of the %d records of [%d, %d)',
        source, partition, destination, sum(records), end_sequence - start_sequence, start_sequence, end_sequence)
    FROM settlements JOIN outcomes ON outcomes.settlement_id = settlements.id
    WHERE pipeline = :pipeline
    GROUP BY settlements.id, destination HAVING sum(records) <> end_sequence - start_sequence
    """
_UNCOUNTED = """
    SELECT printf('%s/%s: no destination accounts for [%d, %d)', source, partition, start_sequence, end_sequence)
    FROM settlements
    WHERE pipeline = :pipeline
        AND NOT EXISTS (SELECT 1 FROM outcomes WHERE outcomes.settlement_id = settlements.id)
    """
_UNEVEN = """
    SELECT printf('%s: run %s counts `%s` in %d of its %d ranges',
        source, run_id, destination, count(DISTINCT settlements.id), ranges)
    FROM settlements
    JOIN outcomes ON outcomes.settlement_id = settlements.id
    JOIN (
        SELECT run_id, source, coalesce(replay_id, '') AS replay, count(*) AS ranges
        FROM settlements WHERE pipeline = :pipeline GROUP BY 1, 2, 3
    ) AS whole USING (run_id, source)
    WHERE pipeline = :pipeline AND replay = coalesce(replay_id, '')
    GROUP BY run_id, source, replay, destination HAVING count(DISTINCT settlements.id) <> ranges
    """
_GAPS = """
    SELECT printf('%s/%s: [%d, %d) does not follow the range before it, which ends at %d',
        source, partition, start_sequence, end_sequence, before)
    FROM (
        SELECT source, partition, start_sequence, end_sequence,
            lag(end_sequence, 1, 0) OVER (PARTITION BY source, partition ORDER BY start_sequence) AS before
        FROM settlements WHERE pipeline = :pipeline
    )
    WHERE start_sequence <> before
    """
_POSITIONS = """
    SELECT printf('%s/%s: the position is %d, and what was counted ends at %d', source, partition, sequence, counted)
    FROM (
        SELECT partitions.source, partitions.partition, sequence, coalesce(max(end_sequence), 0) AS counted
        FROM partitions LEFT JOIN settlements USING (pipeline, source, partition)
        WHERE pipeline = :pipeline GROUP BY partitions.source, partitions.partition
    )
    WHERE sequence <> counted
    """
_LETTERS = """
    SELECT printf('%s/%s: %d records of [%d, %d) were dead-lettered, and there are letters of %d',
        source, partition, refused, start_sequence, end_sequence, letters)
    FROM (
        SELECT counted.*, (
            SELECT count(DISTINCT sequence) FROM dead_letters
            WHERE dead_letters.pipeline = :pipeline AND dead_letters.source = counted.source
                AND dead_letters.partition = counted.partition
                AND sequence >= start_sequence AND sequence < end_sequence
        ) AS letters
        FROM (
            SELECT source, partition, start_sequence, end_sequence, max(records) AS refused
            FROM settlements JOIN (
                SELECT settlement_id, destination, sum(records) AS records
                FROM outcomes WHERE outcome = 'dead_lettered' GROUP BY settlement_id, destination
            ) AS dead ON dead.settlement_id = settlements.id
            WHERE pipeline = :pipeline AND replay_id IS NULL GROUP BY settlements.id
        ) AS counted
    )
    WHERE letters < refused
    """
_REPLAYED = """
    SELECT printf('%s/%s: the position is %d, and %d of its records say what became of them',
        source, partition, sequence, settled)
    FROM (
        SELECT replays.source, replays.partition, partitions.sequence,
            count(*) FILTER (WHERE result IN ('delivered', 'failed')) AS settled
        FROM replays
        JOIN partitions USING (pipeline, source, partition)
        JOIN replay_items ON replay_items.replay_id = replays.id
        WHERE pipeline = :pipeline GROUP BY replays.id
    )
    WHERE sequence <> settled
    """
_ENDED = """
    SELECT printf('%s/%s: %s with %d records left', replays.source, replays.partition,
        iif(ended_at IS NULL, 'has not ended', 'has ended'), count(*) FILTER (WHERE result IS NULL))
    FROM replays JOIN replay_items ON replay_items.replay_id = replays.id
    WHERE pipeline = :pipeline
    GROUP BY replays.id HAVING (ended_at IS NULL) <> (count(*) FILTER (WHERE result IS NULL) > 0)
    """
_UNDER_WAY = """
    SELECT printf('dead letter %d is %s, and %s', dead_letters.id, status,
        iif(status = 'replaying', 'no replay waits for it', 'a replay waits for it'))
    FROM dead_letters
    LEFT JOIN replay_items ON replay_items.replay_id = dead_letters.replay_id
        AND replay_items.dead_letter_id = dead_letters.id AND result IS NULL
    WHERE pipeline = :pipeline AND (status = 'replaying') <> (replay_items.sequence IS NOT NULL)
    """

CHECKS: tuple[str, ...] = (
    _UNACCOUNTED,
    _UNCOUNTED,
    _UNEVEN,
    _GAPS,
    _POSITIONS,
    _LETTERS,
    _REPLAYED,
    _ENDED,
    _UNDER_WAY,
)


def problems(connection: sqlite3.Connection, pipeline: str) -> list[str]:
    """Return what does not add up for `pipeline`, and what SQLite finds wrong with the file."""
    found = [f"the file is damaged: {text}" for (text,) in connection.execute("PRAGMA integrity_check") if text != "ok"]
    found += [
        f"row {row} of `{table}` refers to a row of `{parent}` that is not there"
        for table, row, parent, _ in connection.execute("PRAGMA foreign_key_check")
    ]
    for check in CHECKS:
        found += [sentence for (sentence,) in connection.execute(check, {"pipeline": pipeline})]
    return found
