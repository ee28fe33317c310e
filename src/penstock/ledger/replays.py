"""Replays: open dead letters sent through the pipeline once more, as a partition of their own.

A replay is an ordered, durable list of letters: item 0 to n-1, which are the sequences of its partition. It is read,
delivered, marked and settled like any partition, so it can be killed anywhere and goes on from its position. What
fails again is set aside until its range is settled; only then, in the transaction that moves the position, do the
letters say what became of them. So a letter is never open and replaying at once, and no failure is counted twice.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from penstock.errors import Corruption, UserMistake
from penstock.ledger import dead_letters, partitions
from penstock.ledger.entry import PartitionKey

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Sequence

    from penstock.ledger.entry import Entry
    from penstock.model.outcome import DeadLetter
    from penstock.model.position import Range

PREFIX = "replay/"
"""How the name of a replay's partition begins, for people. The ledger knows a replay by the name as a whole."""


@dataclass(frozen=True, slots=True)
class Replay:
    """Letters of `source` on their way to `destination` (empty: to all), as `items` records of `partition`."""

    id: str
    source: str
    destination: str
    partition: str
    items: int


@dataclass(frozen=True, slots=True)
class ReplayItem:
    """Record `sequence` of a replay: the untouched original, and where it came from.

    `origin_ordinal` is the ordinal of the partition it came from: with `origin_sequence` it makes the record's
    version, so that a replay never puts an older row over a newer one.
    """

    sequence: int
    dead_letter_id: int
    original: bytes
    origin_partition: str
    origin_sequence: int
    origin_ordinal: int
    line: int


@dataclass(frozen=True, slots=True)
class _Failure:
    """One way in which an item failed again. `columns` are those of `dead_letters.error_columns`."""

    stage: str
    destination: str
    columns: tuple[str, ...]


class _Letter(NamedTuple):
    """A letter as it stands."""

    id: int
    stage: str
    destination: str


_ERROR_COLUMNS = ("code", "field", "expected", "actual", "message", "errors")


def names(connection: sqlite3.Connection, pipeline: str, source: str) -> frozenset[str]:
    """Return the partitions of every replay there ever was."""
    query = "SELECT partition FROM replays WHERE pipeline = ? AND source = ?"
    return frozenset(name for (name,) in connection.execute(query, (pipeline, source)))


def begin(connection: sqlite3.Connection, pipeline: str, replay: Replay, chosen: Sequence[int], at: str) -> Replay:
    """Take up open letters for `replay`, in the order in which their records were read; return it with its `items`.

    Raises UserMistake where there are none, where one is not there or not open, or is of another source or
    destination: what one destination has must not be sent to it again because another still lacks it.
    """
    if not chosen:
        raise UserMistake("INT_LEDGER_005", "no dead letter was chosen")
    dead_letters.check_open(connection, pipeline, chosen)
    _check_same_way(connection, replay, chosen)
    numbers = json.dumps(list(chosen))
    _withdraw_siblings(connection, numbers)
    partitions.register(connection, pipeline, replay.source, [replay.partition])
    (items,) = connection.execute(
        "SELECT count(*) FROM dead_letters WHERE id IN (SELECT value FROM json_each(?)) AND status = 'open'", (numbers,)
    ).fetchone()
    connection.execute(
        """
        INSERT INTO replays (id, pipeline, source, destination, partition, items, begun_at)
        VALUES (?, ?, ?, ?, ?, ?, ?)
        """,
        (replay.id, pipeline, replay.source, replay.destination, replay.partition, items, at),
    )
    connection.execute(
        """
        INSERT INTO replay_items (replay_id, sequence, dead_letter_id)
        SELECT ?, row_number() OVER (ORDER BY partitions.ordinal, dead_letters.sequence) - 1, dead_letters.id
        FROM dead_letters JOIN partitions USING (pipeline, source, partition)
        WHERE dead_letters.id IN (SELECT value FROM json_each(?)) AND dead_letters.status = 'open'
        """,
        (replay.id, numbers),
    )
    connection.execute(
        """
        UPDATE dead_letters SET status = 'replaying', replay_id = ?1
        WHERE id IN (SELECT dead_letter_id FROM replay_items WHERE replay_id = ?1)
        """,
        (replay.id,),
    )
    return replace(replay, items=items)


def _withdraw_siblings(connection: sqlite3.Connection, numbers: str) -> None:
    """Leave one open letter, the last, of each record among the chosen: it must not be sent twice.

    There are several only where a run was killed and the next one refused the record at another stage.
    """
    connection.execute(
        """
        UPDATE dead_letters SET status = 'withdrawn', closed_because = 'continues as dead letter ' || last.id
        FROM (
            SELECT max(id) AS id, pipeline, source, partition, sequence, destination FROM dead_letters
            WHERE id IN (SELECT value FROM json_each(?))
            GROUP BY pipeline, source, partition, sequence, destination
        ) AS last
        WHERE dead_letters.pipeline = last.pipeline
            AND dead_letters.source = last.source
            AND dead_letters.partition = last.partition
            AND dead_letters.sequence = last.sequence
            AND dead_letters.destination = last.destination
            AND dead_letters.id <> last.id
            AND dead_letters.status = 'open'
        """,
        (numbers,),
    )


def _check_same_way(connection: sqlite3.Connection, replay: Replay, chosen: Sequence[int]) -> None:
    row = connection.execute(
        """
        SELECT id, source, destination FROM dead_letters
        WHERE id IN (SELECT value FROM json_each(?)) AND (source <> ? OR destination <> ?) LIMIT 1
        """,
        (json.dumps(list(chosen)), replay.source, replay.destination),
    ).fetchone()
    if row is not None:
        letter, source, destination = row
        raise UserMistake(
            "INT_LEDGER_005",
            f"dead letter {letter} goes from `{source}` to {_named(destination)}, "
            f"not from `{replay.source}` to {_named(replay.destination)}",
            remedy="replay the letters of each source and destination by themselves",
        )


def _named(destination: str) -> str:
    return f"`{destination}`" if destination else "every destination"


def find(connection: sqlite3.Connection, key: PartitionKey) -> Replay | None:
    """Return the replay whose partition this is, None where it is an ordinary one."""
    row = connection.execute(
        """
        SELECT id, source, destination, partition, items FROM replays
        WHERE pipeline = ? AND source = ? AND partition = ?
        """,
        key,
    ).fetchone()
    return None if row is None else Replay(*row)


def unfinished(connection: sqlite3.Connection, pipeline: str) -> tuple[Replay, ...]:
    """Return the replays that have items left to settle, in the order in which they were begun."""
    rows = connection.execute(
        """
        SELECT id, source, destination, partition, items FROM replays
        WHERE pipeline = ? AND ended_at IS NULL ORDER BY begun_at, rowid
        """,
        (pipeline,),
    )
    return tuple(Replay(*row) for row in rows)


def items(connection: sqlite3.Connection, replay_id: str, start: int, count: int) -> tuple[ReplayItem, ...]:
    """Return `count` items from `start` on, fewer at the end: always the same ones."""
    rows = connection.execute(
        """
        SELECT replay_items.sequence, dead_letters.id, original, partition, dead_letters.sequence, ordinal, line
        FROM replay_items
        JOIN dead_letters ON dead_letters.id = dead_letter_id
        JOIN partitions USING (pipeline, source, partition)
        WHERE replay_items.replay_id = ? AND replay_items.sequence >= ? AND replay_items.sequence < ?
        ORDER BY replay_items.sequence
        """,
        (replay_id, start, start + count),
    )
    return tuple(ReplayItem(*row) for row in rows)


def keep(connection: sqlite3.Connection, entry: Entry, letters: Sequence[DeadLetter]) -> None:
    """Keep dead letters: those of a replay are set aside for their range, the others are upserted."""
    for (source, partition), group in groupby(
        sorted(letters, key=lambda letter: (letter.source, letter.partition)),
        key=lambda letter: (letter.source, letter.partition),
    ):
        key = PartitionKey(entry.pipeline, source, partition)
        replay = find(connection, key)
        if replay is not None:
            _set_aside(connection, entry, replay, list(group))
        else:
            partitions.register(connection, entry.pipeline, source, [partition])
            dead_letters.upsert(connection, entry, group)


def _set_aside(connection: sqlite3.Connection, entry: Entry, replay: Replay, letters: Sequence[DeadLetter]) -> None:
    sequences = {letter.sequence for letter in letters}
    (waiting,) = connection.execute(
        """
        SELECT count(*) FROM replay_items
        WHERE replay_id = ? AND result IS NULL AND sequence IN (SELECT value FROM json_each(?))
        """,
        (replay.id, json.dumps(sorted(sequences))),
    ).fetchone()
    if waiting != len(sequences):
        raise Corruption(
            "INT_LEDGER_003", f"{replay.partition}: {len(sequences)} records failed, of which it waits for {waiting}"
        )
    connection.executemany(
        """
        INSERT OR REPLACE INTO replay_failures (
            replay_id, sequence, stage, destination, code, field, expected, actual, message, errors, seen_at, run_id
        )
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
        """,
        [
            (
                replay.id,
                letter.sequence,
                letter.stage,
                # Ingestion refuses a record for all; here it is refused for the one destination that lacks it.
                replay.destination or letter.destination,
                *dead_letters.error_columns(letter.errors),
                entry.at,
                entry.run_id,
            )
            for letter in letters
        ],
    )


def number_failed(connection: sqlite3.Connection, replay_id: str, range_: Range) -> int:
    """Return how many items of `range_` have failed again."""
    (number,) = connection.execute(
        """
        SELECT count(DISTINCT sequence) FROM replay_failures
        WHERE replay_id = ? AND sequence >= ? AND sequence < ?
        """,
        (replay_id, range_.start, range_.end),
    ).fetchone()
    return int(number)


def settle(connection: sqlite3.Connection, entry: Entry, replay: Replay, range_: Range) -> None:
    """Let the letters of a settled range say what became of them; end the replay with its last item.

    Raises Corruption where the replay does not wait for every item of the range.
    """
    span = (replay.id, range_.start, range_.end)
    waiting = connection.execute(
        """
        UPDATE replay_items SET result = iif(
            EXISTS (
                SELECT 1 FROM replay_failures
                WHERE replay_failures.replay_id = replay_items.replay_id
                    AND replay_failures.sequence = replay_items.sequence
            ), 'failed', 'delivered')
        WHERE replay_id = ? AND sequence >= ? AND sequence < ? AND result IS NULL
        """,
        span,
    ).rowcount
    if waiting != len(range_):
        raise Corruption(
            "INT_LEDGER_003", f"{replay.partition}: {range_} was settled, of which it waits for {waiting} records"
        )
    connection.execute(
        """
        UPDATE dead_letters SET status = 'delivered', closed_because = 'replayed'
        WHERE id IN (
            SELECT dead_letter_id FROM replay_items
            WHERE replay_id = ? AND sequence >= ? AND sequence < ? AND result = 'delivered'
        )
        """,
        span,
    )
    for letter, failures in _failures(connection, span):
        _fail_again(connection, entry, letter, failures)
    connection.execute("DELETE FROM replay_failures WHERE replay_id = ? AND sequence >= ? AND sequence < ?", span)
    if range_.end == replay.items:
        connection.execute("UPDATE replays SET ended_at = ? WHERE id = ?", (entry.at, replay.id))


def _failures(
    connection: sqlite3.Connection, span: tuple[str, int, int]
) -> Iterator[tuple[_Letter, Sequence[_Failure]]]:
    rows = connection.execute(
        """
        SELECT
            dead_letters.id, dead_letters.stage, dead_letters.destination,
            replay_failures.stage, replay_failures.destination, replay_failures.code, replay_failures.field,
            replay_failures.expected, replay_failures.actual, replay_failures.message, replay_failures.errors
        FROM replay_failures
        JOIN replay_items USING (replay_id, sequence)
        JOIN dead_letters ON dead_letters.id = replay_items.dead_letter_id
        WHERE replay_failures.replay_id = ? AND replay_failures.sequence >= ? AND replay_failures.sequence < ?
        ORDER BY replay_failures.sequence, replay_failures.destination, replay_failures.stage
        """,
        span,
    ).fetchall()
    for letter, group in groupby(rows, key=lambda row: _Letter(*row[:3])):
        yield letter, [_Failure(row[3], row[4], row[5:]) for row in group]


def _fail_again(connection: sqlite3.Connection, entry: Entry, letter: _Letter, failures: Sequence[_Failure]) -> None:
    """Reopen `letter` with the failure that is nearest to its own; a further destination's gets a letter as usual."""
    nearest = min(
        failures, key=lambda failure: (failure.destination != letter.destination, failure.stage != letter.stage)
    )
    for failure in failures:
        if failure is nearest:
            target = _moved(connection, letter, failure.stage, failure.destination)
        else:
            target = _beside(connection, entry, letter, failure.stage, failure.destination)
        connection.execute(
            """
            UPDATE dead_letters SET
                status = iif(status = 'replaying' AND id <> :letter, status, 'open'), closed_because = '',
                code = :code, field = :field, expected = :expected, actual = :actual, message = :message,
                errors = :errors, attempts = attempts + 1, last_seen_at = :at, run_id = :run
            WHERE id = :target
            """,
            {
                **dict(zip(_ERROR_COLUMNS, failure.columns, strict=True)),
                "letter": letter.id,
                "target": target,
                "at": entry.at,
                "run": entry.run_id,
            },
        )


def _moved(connection: sqlite3.Connection, letter: _Letter, stage: str, destination: str) -> int:
    """Let `letter` say another stage and destination; return its id, or that of the letter that says so already."""
    there = _sibling(connection, letter, stage, destination)
    if there is None:
        connection.execute(
            "UPDATE dead_letters SET stage = ?, destination = ? WHERE id = ?", (stage, destination, letter.id)
        )
        return letter.id
    if there != letter.id:
        _withdraw(connection, letter.id, there)
    return there


def _beside(connection: sqlite3.Connection, entry: Entry, letter: _Letter, stage: str, destination: str) -> int:
    """Return the id of the letter of the same record for another stage and destination, writing it if need be."""
    there = _sibling(connection, letter, stage, destination)
    if there is not None:
        return there
    (number,) = connection.execute(
        """
        INSERT INTO dead_letters (
            pipeline, source, partition, sequence, stage, destination, status,
            code, field, expected, actual, message, errors, original, line,
            attempts, first_seen_at, last_seen_at, run_id
        )
        SELECT
            pipeline, source, partition, sequence, :stage, :destination, 'open',
            code, field, expected, actual, message, errors, original, line,
            0, :at, :at, :run
        FROM dead_letters WHERE id = :letter
        RETURNING id
        """,
        {"stage": stage, "destination": destination, "letter": letter.id, "at": entry.at, "run": entry.run_id},
    ).fetchone()
    return int(number)


def _sibling(connection: sqlite3.Connection, letter: _Letter, stage: str, destination: str) -> int | None:
    """Return the id of the letter of the same record (or `letter` itself) with this stage and destination."""
    row = connection.execute(
        """
        SELECT sibling.id FROM dead_letters AS letter
        JOIN dead_letters AS sibling USING (pipeline, source, partition, sequence)
        WHERE letter.id = ? AND sibling.stage = ? AND sibling.destination = ?
        """,
        (letter.id, stage, destination),
    ).fetchone()
    return None if row is None else int(row[0])


def _withdraw(connection: sqlite3.Connection, letter_id: int, continues_as: int) -> None:
    connection.execute(
        "UPDATE dead_letters SET status = 'withdrawn', closed_because = ? WHERE id = ?",
        (f"continues as dead letter {continues_as}", letter_id),
    )


def give_up(connection: sqlite3.Connection, replay: Replay, start: int, at: str) -> None:
    """End `replay` before item `start`: the letters from there on are open again, for all that it was for.

    Letters that a later replay has taken up since are that one's affair, and discarded ones stay discarded.
    """
    letters = connection.execute(
        """
        SELECT dead_letters.id, stage, destination FROM replay_items
        JOIN dead_letters ON dead_letters.id = replay_items.dead_letter_id
        WHERE replay_items.replay_id = ? AND replay_items.sequence >= ?
            AND dead_letters.replay_id = replay_items.replay_id
            AND dead_letters.status IN ('open', 'replaying', 'delivered')
        """,
        (replay.id, start),
    ).fetchall()
    for letter in map(_Letter._make, letters):
        target = _moved(connection, letter, letter.stage, replay.destination)
        if not replay.destination:
            _withdraw_others(connection, target)
        connection.execute("UPDATE dead_letters SET status = 'open', closed_because = '' WHERE id = ?", (target,))
    connection.execute(
        "UPDATE replay_items SET result = 'given up' WHERE replay_id = ? AND sequence >= ?", (replay.id, start)
    )
    connection.execute("DELETE FROM replay_failures WHERE replay_id = ? AND sequence >= ?", (replay.id, start))
    connection.execute("UPDATE replays SET ended_at = ? WHERE id = ?", (at, replay.id))


def _withdraw_others(connection: sqlite3.Connection, letter_id: int) -> None:
    """Withdraw the open letters of a record for single destinations: `letter_id` stands for all of them again."""
    connection.execute(
        """
        UPDATE dead_letters SET status = 'withdrawn', closed_because = 'continues as dead letter ' || letter.id
        FROM (SELECT id, pipeline, source, partition, sequence FROM dead_letters WHERE id = ?) AS letter
        WHERE dead_letters.pipeline = letter.pipeline
            AND dead_letters.source = letter.source
            AND dead_letters.partition = letter.partition
            AND dead_letters.sequence = letter.sequence
            AND dead_letters.id <> letter.id
            AND dead_letters.status = 'open'
        """,
        (letter_id,),
    )
