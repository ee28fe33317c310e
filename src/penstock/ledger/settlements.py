"""Settlement: positions move, and what became of the records is counted in the same transaction."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from penstock.errors import Corruption
from penstock.ledger import dead_letters, partitions, replays
from penstock.ledger.entry import PartitionKey
from penstock.model.outcome import Count, Outcome, Stage, add_up

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping, Sequence

    from penstock.ledger.entry import Entry
    from penstock.model.outcome import Tally
    from penstock.model.position import Range
    from penstock.ports import Advance


@dataclass(frozen=True, slots=True)
class Totals:
    """What became of one source's records. Per destination, `tally` adds up to `read`.

    Records replayed out of the dead letters are counted by themselves: they were read, and counted, before.
    """

    read: int = 0
    tally: Tally = ()
    replayed: int = 0
    replay_tally: Tally = ()
    replayed_for: Mapping[str, int] = field(default_factory=dict)
    """The replayed ones by the destination that lacked them; empty: every one. Nobody else accounts for them."""


def settle(connection: sqlite3.Connection, entry: Entry, source: str, advances: Sequence[Advance]) -> None:
    """Move positions over settled ranges and count them. Raises Corruption where anything does not add up."""
    for advance in advances:
        _check_counts(source, advance)
        _advance(connection, entry, PartitionKey(entry.pipeline, source, advance.partition), advance)


def _check_counts(source: str, advance: Advance) -> None:
    """Check what can be checked without the ledger: every destination accounts for every record, once."""
    name, range_ = f"{source}/{advance.partition}", advance.range
    if advance.position.sequence != range_.end or advance.position.partition != advance.partition:
        raise Corruption("INT_LEDGER_003", f"{name}: {range_} was settled, and the position after it is not its end")
    if add_up(advance.tally) != tuple(sorted(advance.tally)) or any(count.records < 0 for count in advance.tally):
        raise Corruption("INT_LEDGER_003", f"{name}: the tally of {range_} counts something twice, or below zero")
    found: Counter[str] = Counter()
    for count in advance.tally:
        found[count.destination] += count.records
    if len(range_) and not found:
        raise Corruption("INT_LEDGER_003", f"{name}: no destination accounts for {range_}")
    for destination, records in found.items():
        if records != len(range_):
            raise Corruption(
                "INT_LEDGER_003",
                f"{name}: {destination} accounts for {records:,} of the {len(range_):,} records of {range_}",
            )


def _advance(connection: sqlite3.Connection, entry: Entry, key: PartitionKey, advance: Advance) -> None:
    partitions.register(connection, key.pipeline, key.source, [key.partition])
    expected = partitions.sequence(connection, key)
    if advance.range.start != expected:
        raise Corruption("INT_LEDGER_003", f"{key}: {advance.range} was settled where {expected} had to follow")
    partitions.move(connection, key, advance.position)
    if not len(advance.range):
        return  # the source moved on without meeting a record: nothing to count
    replay = replays.find(connection, key)
    _check_letters(connection, key, advance, replay)
    _count(connection, entry, key, advance, replay)
    if replay is not None:
        replays.settle(connection, entry, replay, advance.range)
    connection.execute(
        "DELETE FROM superseded_records WHERE pipeline = ? AND source = ? AND partition = ? AND sequence < ?",
        (*key, advance.range.end),  # counted now; they were kept for the case that it would not come to that
    )


def _check_letters(
    connection: sqlite3.Connection, key: PartitionKey, advance: Advance, replay: replays.Replay | None
) -> None:
    """A position never passes a record whose dead letter is not here."""
    refused: Counter[str] = Counter()
    for count in advance.tally:
        refused[count.destination] += count.records if count.outcome is Outcome.DEAD_LETTERED else 0
    needed = max(refused.values())
    if not needed:
        return
    kept = _letters(connection, key, advance.range, replay)
    if kept < needed:
        raise Corruption(
            "INT_LEDGER_003",
            f"{key}: {needed:,} records of {advance.range} were dead-lettered, and there are letters of {kept:,}",
        )


def _letters(connection: sqlite3.Connection, key: PartitionKey, range_: Range, replay: replays.Replay | None) -> int:
    if replay is not None:
        return replays.number_failed(connection, replay.id, range_)
    return dead_letters.number_between(connection, key, range_.start, range_.end)


def _count(
    connection: sqlite3.Connection, entry: Entry, key: PartitionKey, advance: Advance, replay: replays.Replay | None
) -> None:
    (settlement_id,) = connection.execute(
        """
        INSERT INTO settlements (
            run_id, pipeline, source, partition, start_sequence, end_sequence, token, batches, checksum,
            replay_id, settled_at
        )
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
        RETURNING id
        """,
        (
            entry.run_id,
            *key,
            advance.range.start,
            advance.range.end,
            advance.position.token,
            advance.batches,
            advance.checksum,
            None if replay is None else replay.id,
            entry.at,
        ),
    ).fetchone()
    connection.executemany(
        """
        INSERT INTO outcomes (settlement_id, destination, outcome, stage, reason, records) VALUES (?, ?, ?, ?, ?, ?)
        """,
        [
            (settlement_id, count.destination, count.outcome, count.stage, count.reason, count.records)
            for count in advance.tally
        ],
    )


def totals(connection: sqlite3.Connection, pipeline: str, run_id: str | None) -> Mapping[str, Totals]:
    """Return what was settled of each source, in one run or (None) of all time."""
    parameters = {"pipeline": pipeline, "run": run_id}
    records: Counter[tuple[str, bool]] = Counter()
    for source, is_replay, number in connection.execute(
        """
        SELECT source, replay_id IS NOT NULL, sum(end_sequence - start_sequence) FROM settlements
        WHERE pipeline = :pipeline AND (:run IS NULL OR run_id = :run)
        GROUP BY 1, 2
        """,
        parameters,
    ):
        records[source, bool(is_replay)] = number
    replayed_for: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for source, destination, number in connection.execute(
        """
        SELECT settlements.source, replays.destination, sum(end_sequence - start_sequence) FROM settlements
        JOIN replays ON replays.id = settlements.replay_id
        WHERE settlements.pipeline = :pipeline AND (:run IS NULL OR run_id = :run)
        GROUP BY 1, 2
        """,
        parameters,
    ):
        replayed_for[source][destination] = number
    counts: defaultdict[tuple[str, bool], list[Count]] = defaultdict(list)
    for source, is_replay, destination, outcome, stage, reason, number in connection.execute(
        """
        SELECT source, replay_id IS NOT NULL, destination, outcome, stage, reason, sum(records)
        FROM settlements JOIN outcomes ON outcomes.settlement_id = settlements.id
        WHERE pipeline = :pipeline AND (:run IS NULL OR run_id = :run)
        GROUP BY 1, 2, 3, 4, 5, 6
        """,
        parameters,
    ):
        counts[source, bool(is_replay)].append(Count(destination, Outcome(outcome), Stage(stage), reason, number))
    return {
        source: Totals(
            records[source, False],
            add_up(counts[source, False]),
            records[source, True],
            add_up(counts[source, True]),
            replayed_for[source],
        )
        for source in sorted({source for source, _ in records})
    }
