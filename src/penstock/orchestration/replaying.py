"""Dead letters as a source: a replay reads their untouched originals once more, as a partition of its own."""

from __future__ import annotations

import bisect
from collections import defaultdict
from typing import TYPE_CHECKING

import msgspec
import pyarrow as pa

from penstock.errors import UserMistake
from penstock.ledger import LetterStatus
from penstock.model.batch import Op, version_base
from penstock.model.position import Position
from penstock.ports import BadRecord, Chunk, Original, Replay

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from penstock.ledger import DeadLetterFilter, Ledger, ReplayItem
    from penstock.ledger import Replay as LedgerReplay
    from penstock.ports import Reread, Source

ITEMS_AT_ONCE = 10_000
"""Dead letters read into one chunk."""


def begin_replays(ledger: Ledger, pipeline: str, wanted: DeadLetterFilter) -> int:
    """Take up the open dead letters that are wanted, by source and destination; return how many.

    Letters of records that were never settled, because their run died, are left out: those records are read again
    anyway, and would come twice. Raises UserMistake where one that is named is such a one, or is not open.
    """
    if wanted.ids is None:
        wanted = msgspec.structs.replace(wanted, status=LetterStatus.OPEN)
    columns = ["source", "partition", "sequence", "destination", "id"]
    letters = ledger.dead_letters(pipeline, wanted).select(columns).to_pylist()
    settled = _settled_to(ledger, pipeline, {letter["source"] for letter in letters})
    ways: dict[tuple[str, str], list[int]] = defaultdict(list)
    for letter in letters:
        if letter["sequence"] < settled.get((letter["source"], letter["partition"]), 0):
            ways[letter["source"], letter["destination"]].append(letter["id"])
        elif wanted.ids is not None:
            message = f"the record of dead letter {letter['id']} was read by a run that did not end, and is not settled"
            raise UserMistake("INT_LEDGER_005", message, remedy="run the pipeline first: it reads that record again")
    for (source, destination), ids in ways.items():
        ledger.begin_replay(pipeline, source, destination, ids)
    return sum(map(len, ways.values()))


def _settled_to(ledger: Ledger, pipeline: str, sources: Iterable[str]) -> dict[tuple[str, str], int]:
    """Return, by source and partition, the sequence below which every record is settled."""
    return {
        (source, partition): position.sequence
        for source in sources
        for partition, position in ledger.positions(pipeline, source).items()
    }


class ReplaySource:
    """The items of one replay, parsed as their partitions' records are parsed now.

    Exact: the ledger keeps the items, in their order. A record's version is that of its place in the partition it
    came from, so that it never replaces a newer one.
    """

    replay: Replay = Replay.EXACT

    def __init__(self, origin: Source, replay: LedgerReplay, ledger: Ledger) -> None:
        self._origin = origin
        self._replay = replay
        self._ledger = ledger

    def partitions(self) -> Sequence[str]:
        """Return the one partition."""
        return (self._replay.partition,)

    def read(self, partition: str, position: Position | None) -> Iterator[Chunk]:
        """Read the items from `position` on."""
        start = position.sequence if position else 0
        while items := self._ledger.replay_items(self._replay.id, start, ITEMS_AT_ONCE):
            yield self._chunk(partition, items)
            start = items[-1].sequence + 1

    def size_bytes(self, partition: str, position: Position | None) -> int | None:  # noqa: ARG002 - there is one
        """Return how many items are left: as good a measure of progress as bytes."""
        return self._replay.items - (position.sequence if position else 0)

    def accept(self, position: Position) -> Position:
        """Return `position`: a replay never changes."""
        return position

    def reread(self, partition: str, originals: Sequence[bytes]) -> Reread:
        """Return what the origin says."""
        return self._origin.reread(partition, originals)

    def commit(self, position: Position) -> None:
        """Do nothing: the ledger knows."""

    def close(self) -> None:
        """Close the origin."""
        self._origin.close()

    def _chunk(self, partition: str, items: Sequence[ReplayItem]) -> Chunk:
        first, end = items[0].sequence, items[-1].sequence + 1
        parts: list[pa.RecordBatch] = []
        operations: list[int] = []
        good: list[ReplayItem] = []
        bad: list[BadRecord] = []
        for origin, own in _by_origin(items).items():
            reread = self._origin.reread(origin, [item.original for item in own])
            parts.append(reread.records)
            kept = reread.operations
            operations += [Op.INSERT] * reread.records.num_rows if kept is None else kept.to_pylist()
            good += [item for number, item in enumerate(own) if number not in reread.errors]
            bad += [BadRecord(own[number].sequence, _original(own[number]), e) for number, e in reread.errors.items()]
        order = sorted(range(len(good)), key=lambda number: good[number].sequence)
        rows = pa.Table.from_batches(parts).combine_chunks().take(order).combine_chunks().to_batches()
        in_order = [good[number] for number in order]
        return Chunk(
            start=first,
            end=end,
            records=rows[0] if rows else parts[0].slice(0, 0),
            sequences=pa.array([item.sequence for item in in_order], pa.int64()),
            bad=tuple(sorted(bad, key=lambda record: record.sequence)),
            next=Position(partition, end, str(end)),
            originals=lambda sequences: [_original(_find(items, sequence)) for sequence in sequences],
            size_bytes=sum(len(item.original) for item in items),
            operations=pa.array([operations[number] for number in order], pa.int8()) if any(operations) else None,
            versions=pa.array([version_base(i.origin_ordinal) + i.origin_sequence for i in in_order], pa.int64()),
        )


def _by_origin(items: Sequence[ReplayItem]) -> dict[str, list[ReplayItem]]:
    found: dict[str, list[ReplayItem]] = defaultdict(list)
    for item in items:
        found[item.origin_partition].append(item)
    return found


def _find(items: Sequence[ReplayItem], sequence: int) -> ReplayItem:
    return items[bisect.bisect_left(items, sequence, key=lambda item: item.sequence)]


def _original(item: ReplayItem) -> Original:
    return Original(item.original, item.line)
