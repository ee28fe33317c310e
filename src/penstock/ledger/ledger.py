"""The ledger of a project: one SQLite file, and everything that is asked of it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Self
from uuid import uuid4

from penstock.ledger import (
    audit,
    dead_letters,
    evidence,
    marks,
    partitions,
    recalling,
    replays,
    rewinding,
    runs,
    settlements,
)
from penstock.ledger.database import Database
from penstock.ledger.entry import Entry, PartitionKey
from penstock.ledger.timestamps import timestamp

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    import pyarrow as pa

    from penstock.ledger.dead_letters import DeadLetterFilter, ErrorCount, LetterCount
    from penstock.ledger.evidence import RequirementResult
    from penstock.ledger.replays import Replay, ReplayItem
    from penstock.ledger.rewinding import Rewound
    from penstock.ledger.runs import Run, RunStatus
    from penstock.ledger.settlements import Totals
    from penstock.model.outcome import DeadLetter
    from penstock.model.position import Mark, Position
    from penstock.ports import Advance, Fate


class Ledger:
    """Positions, counts, dead letters, replays and evidence of every pipeline of a project.

    May be called from any thread: calls wait for one another. Every call is one transaction; one that writes is
    durable when it returns, and leaves nothing behind when it raises. Any call raises LedgerTrouble where the file
    cannot be used or is damaged. Only `hold` keeps two runs apart: whoever runs a pipeline holds it first.
    """

    def __init__(self, database: Database, *, time_s: Callable[[], float] = time.time) -> None:
        """Use `open` or `read_only`. `time_s` gives seconds since 1970 for what is written."""
        self._database = database
        self._time_s = time_s

    @classmethod
    def open(cls, folder: Path, *, time_s: Callable[[], float] = time.time) -> Self:
        """Open the ledger in the state folder `folder` (a project's `.penstock`), creating what is missing.

        Raises LedgerTrouble INT_LEDGER_001 where it cannot be written, INT_LEDGER_002 where it is damaged, newer than
        this program, or no ledger.
        """
        return cls(Database.open(folder), time_s=time_s)

    @classmethod
    def read_only(cls, folder: Path) -> Self:
        """Open the ledger to look at it, also while a run writes.

        Raises UserMistake INT_LEDGER_004 where there is none.
        """
        return cls(Database.read_only(folder))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Ledger {self._database.path}>"

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()

    # --- runs ---------------------------------------------------------------------------------------------------

    def begin_run(self, pipeline: str, fingerprint: str, document: bytes) -> str:
        """Note that a run begins, of `document` (UTF-8), and return its id. Earlier unfinished ones become interrupted.

        Compare with `last_run` before: afterwards this run is the last.
        """
        entry = self._entry(str(uuid4()), pipeline)
        with self._database.write() as connection:
            runs.begin(connection, entry, fingerprint, document)
        return entry.run_id

    def end_run(self, run_id: str, status: RunStatus) -> None:
        """Note how a run ended: anything but RUNNING."""
        with self._database.write() as connection:
            runs.end(connection, run_id, status, self._now())

    def last_run(self, pipeline: str) -> Run | None:
        """Return the run that began last, None before the first."""
        with self._database.read() as connection:
            return runs.last(connection, pipeline)

    def document(self, run_id: str) -> bytes:
        """Return the document that was run; KeyError where there is no such run."""
        with self._database.read() as connection:
            return runs.document(connection, run_id)

    # --- positions and counts -----------------------------------------------------------------------------------

    def partition_ordinals(self, pipeline: str, source: str, names: Sequence[str]) -> Mapping[str, int]:
        """Return each partition's ordinal; new ones get the next, in the order given.

        Ordinals rise in the order in which partitions of a source were met and never change. Replays take some.
        """
        with self._database.write() as connection:
            return partitions.register(connection, pipeline, source, names)

    def positions(self, pipeline: str, source: str) -> Mapping[str, Position]:
        """Return where to read next, by partition; those that were never settled are not in it. Replays are."""
        with self._database.read() as connection:
            return partitions.positions(connection, pipeline, source)

    def settle(self, run_id: str, pipeline: str, source: str, advances: Sequence[Advance]) -> None:
        """Move positions over settled ranges and count what became of their records, all of it or nothing.

        Raises Corruption INT_LEDGER_003 where a range does not follow the partition's last one, where a destination
        does not account for each of its records once, or where a dead-lettered record has no letter here. In a
        replay the letters of the range now say what became of them.
        """
        with self._database.write() as connection:
            settlements.settle(connection, self._entry(run_id, pipeline), source, advances)

    def totals(self, pipeline: str, run_id: str | None = None) -> Mapping[str, Totals]:
        """Return what was settled, by source: in one run, or (None) of all time. Rewound records do not count."""
        with self._database.read() as connection:
            return settlements.totals(connection, pipeline, run_id)

    def rewind(self, pipeline: str, source: str, partition: str, position: Position | None) -> Rewound:
        """Set a partition back to `position` (None: its beginning), or the border of settled ranges before it.

        What was counted from there on is forgotten; dead letters stay, withdrawn until their records fail again where
        no known mark covers them: call `record_marks` with what the destinations say before. A replay that is set
        back is given up: from there on its letters are open again, for every destination that it was for.
        """
        with self._database.write() as connection:
            return rewinding.rewind(connection, PartitionKey(pipeline, source, partition), position, self._now())

    def has_met_partitions(self, pipeline: str) -> bool:
        """Tell whether any run of the pipeline came as far as to name what it would read."""
        with self._database.read() as connection:
            return partitions.any_met(connection, pipeline)

    def renumber(self, pipeline: str, source: str, changed: Sequence[str]) -> None:
        """Give partitions whose content is another one the next ordinals: newer than all that was met before."""
        with self._database.write() as connection:
            for partition in changed:
                partitions.renumber(connection, PartitionKey(pipeline, source, partition))

    # --- marks --------------------------------------------------------------------------------------------------

    def record_marks(self, pipeline: str, destination: str, marks_: Sequence[Mark]) -> None:
        """Take note of marks that `destination` has committed; lower ones than are known change nothing."""
        with self._database.write() as connection:
            marks.record(connection, pipeline, destination, marks_, self._now())

    def marks(self, pipeline: str, destination: str) -> Mapping[tuple[str, str], Mark]:
        """Return what is known to be at `destination`, by (source, partition). One with lower marks is older."""
        with self._database.read() as connection:
            return marks.known(connection, pipeline, destination)

    def forget_marks(self, pipeline: str, destination: str) -> None:
        """Forget what is known of `destination`, before recording what it says itself."""
        with self._database.write() as connection:
            marks.forget(connection, pipeline, destination)

    def reconcile(
        self,
        pipeline: str,
        found: Mapping[str, Sequence[Mark]],
        rewind_to: Mapping[tuple[str, str], Position | None],
    ) -> Mapping[tuple[str, str], Rewound]:
        """Believe the destinations, in one transaction: know the marks `found` at each of them, and no others.

        Then set partitions back, by (source, partition), as `rewind` does. In several calls, a death in between could
        leave marks that agree and positions beyond them, and nobody would notice that records are lacking.
        """
        now = self._now()
        with self._database.write() as connection:
            for destination, marks_ in found.items():
                marks.forget(connection, pipeline, destination)
                marks.record(connection, pipeline, destination, marks_, now)
            # Replays first: they open letters again, and those of records that are read again must be withdrawn.
            keys = sorted(rewind_to, key=lambda key: replays.find(connection, PartitionKey(pipeline, *key)) is None)
            return {
                key: rewinding.rewind(connection, PartitionKey(pipeline, *key), rewind_to[key], now) for key in keys
            }

    def judge_anew(self, run_id: str, pipeline: str, source: str, marks_: Mapping[str, Mapping[str, int]]) -> None:
        """Take back what earlier runs noted of records that were never settled: they are read again, by this one.

        `marks_` holds, by partition and destination, below what everything is settled there (0: nothing is). Open
        letters are withdrawn until their records fail again, which they may not: a file can be mended meanwhile.
        """
        with self._database.write() as connection:
            for partition, by_destination in marks_.items():
                key = PartitionKey(pipeline, source, partition)
                recalling.judge_anew(connection, self._entry(run_id, pipeline), key, by_destination)

    def supersede(self, pipeline: str, destination: str, source: str, partition: str, sequences: Sequence[int]) -> None:
        """Note records that lost to a newer version of their key, before the commit that drops them."""
        with self._database.write() as connection:
            marks.supersede(connection, PartitionKey(pipeline, source, partition), destination, sequences)

    def recall(
        self, run_id: str, pipeline: str, destination: str, source: str, partition: str, mark: int
    ) -> Mapping[int, Fate]:
        """Return how records from the position to before `mark` were settled at `destination` if not delivered.

        Records below its mark are not written again, so only the ledger can say that they were superseded, or refused
        (perhaps by an earlier stage, which lets them pass now). What earlier runs noted from `mark` on is taken back:
        those records are judged anew, and their open letters withdrawn until they fail again.
        """
        key = PartitionKey(pipeline, source, partition)
        with self._database.write() as connection:
            return recalling.recall(connection, self._entry(run_id, pipeline), key, destination, mark)

    # --- dead letters -------------------------------------------------------------------------------------------

    def dead_letter(self, run_id: str, pipeline: str, letters: Sequence[DeadLetter]) -> None:
        """Keep records that left the pipeline. Written twice, there is one, and its status stays as it was.

        Letters of a replay's partition belong to the letters that are replayed. Raises Corruption INT_LEDGER_003
        where the replay does not wait for such a record.
        """
        if letters:
            with self._database.write() as connection:
                replays.keep(connection, self._entry(run_id, pipeline), letters)

    def dead_letters(self, pipeline: str, wanted: DeadLetterFilter) -> pa.Table:
        """Return letters as an Arrow table of `TABLE_SCHEMA`, in the order of their ids. Originals are unmasked."""
        with self._database.read() as connection:
            return dead_letters.table(connection, pipeline, wanted)

    def dead_letter_ids(self, pipeline: str, wanted: DeadLetterFilter) -> tuple[int, ...]:
        """Return the ids of letters, in order."""
        with self._database.read() as connection:
            return dead_letters.ids(connection, pipeline, wanted)

    def dead_letter_counts(self, pipeline: str) -> tuple[LetterCount, ...]:
        """Count letters by source, destination, stage, code and status."""
        with self._database.read() as connection:
            return dead_letters.counts(connection, pipeline)

    def error_counts(self, pipeline: str) -> tuple[ErrorCount, ...]:
        """Count every error of every letter that stands, by source, destination, code, field and what was expected."""
        with self._database.read() as connection:
            return dead_letters.error_counts(connection, pipeline)

    def discard(self, pipeline: str, ids: Sequence[int], reason: str) -> None:
        """Close open letters for good. Raises UserMistake INT_LEDGER_005, and discards none, if one is not open."""
        with self._database.write() as connection:
            dead_letters.discard(connection, pipeline, ids, reason)

    # --- replays ------------------------------------------------------------------------------------------------

    def begin_replay(self, pipeline: str, source: str, destination: str, ids: Sequence[int]) -> Replay:
        """Take up open letters of `source` that `destination` (empty: all of them) lacks, for reading once more.

        Raises UserMistake INT_LEDGER_005, and takes none, where one is not open or goes another way.
        """
        short = uuid4().hex[:12]
        replay = replays.Replay(short, source, destination, replays.PREFIX + short, items=0)
        with self._database.write() as connection:
            return replays.begin(connection, pipeline, replay, ids, self._now())

    def replay_partitions(self, pipeline: str, source: str) -> frozenset[str]:
        """Return the partitions that are replays of dead letters, finished or not."""
        with self._database.read() as connection:
            return replays.names(connection, pipeline, source)

    def unfinished_replays(self, pipeline: str) -> tuple[Replay, ...]:
        """Return the replays with records left to settle, the oldest first. They go on from their position."""
        with self._database.read() as connection:
            return replays.unfinished(connection, pipeline)

    def replay_items(self, replay_id: str, start: int, count: int) -> tuple[ReplayItem, ...]:
        """Return up to `count` records of a replay from `start` on; always the same ones, in the same order."""
        with self._database.read() as connection:
            return replays.items(connection, replay_id, start, count)

    # --- evidence -----------------------------------------------------------------------------------------------

    def record_evidence(self, run_id: str, rows: Sequence[RequirementResult]) -> None:
        """Keep what each requirement of the document came to in a run."""
        with self._database.write() as connection:
            evidence.record(connection, run_id, rows)

    def evidence(self, run_id: str) -> tuple[RequirementResult, ...]:
        """Return what each requirement came to in a run, in the order recorded."""
        with self._database.read() as connection:
            return evidence.recorded(connection, run_id)

    def check_conservation(self, pipeline: str) -> list[str]:
        """Return every way in which the ledger does not add up, as sentences; none is what there should be."""
        with self._database.read() as connection:
            return audit.problems(connection, pipeline)

    def _entry(self, run_id: str, pipeline: str) -> Entry:
        return Entry(run_id, pipeline, self._now())

    def _now(self) -> str:
        return timestamp(self._time_s())
