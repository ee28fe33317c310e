"""A pipeline in small, on a real ledger and a real destination. If asked to, it dies at commit points by chance.

Two hundred records of one file: every seventh is refused by ingestion, every eleventh by delivery, and every fifth of
the others by the transformation the first time it comes by; then everything that was refused is replayed once. The
destination is an SQLite file that takes rows and mark in one transaction and cannot take a row twice.
"""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.ledger import DeadLetterFilter, Ledger, LetterStatus, RunBook, RunStatus, hold
from penstock.model.outcome import Count, DeadLetter, Outcome, RecordError, Stage, add_up
from penstock.model.position import Mark, Position, Range
from penstock.ports import Advance

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from penstock.ports import Fate

RECORDS = 200
AT_A_TIME = 9
DEATHS_MAX = 200


class Fuse:
    """Kills the process after so many commit points; never, when `seed` is 0."""

    def __init__(self, seed: int) -> None:
        self._left = random.Random(seed).randrange(1, 40) if seed else -1

    def passed(self, what: str) -> None:
        sys.stdout.write(f"{what}\n")
        sys.stdout.flush()
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


class Destination:
    """Rows and marks of one model."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.executescript(
            """
            CREATE TABLE IF NOT EXISTS facts (sequence INTEGER PRIMARY KEY);
            CREATE TABLE IF NOT EXISTS marks (partition TEXT PRIMARY KEY, sequence INTEGER);
            """
        )

    def mark(self, partition: str) -> int:
        row = self._connection.execute("SELECT sequence FROM marks WHERE partition = ?", (partition,)).fetchone()
        return 0 if row is None else int(row[0])

    def commit(self, rows: Sequence[int], partition: str, mark: int) -> None:
        self._connection.execute("BEGIN")
        self._connection.executemany("INSERT INTO facts VALUES (?)", [(row,) for row in rows])
        self._connection.execute("INSERT OR REPLACE INTO marks VALUES (?, ?)", (partition, mark))
        self._connection.execute("COMMIT")


class Pipeline:
    """Reads one partition to its end, in the order of commit points that a run keeps to."""

    def __init__(self, book: RunBook, destination: Destination, fuse: Fuse) -> None:
        self._book = book
        self._destination = destination
        self._fuse = fuse

    def pour(self, partition: str, start: int, origins: Sequence[int], *, replayed: bool) -> None:
        """Bring the records on their way; record `n` of the partition is record `origins[n]` of the file."""
        mark = self._destination.mark(partition)
        fates = self._book.recall("facts", "orders", partition, mark)
        self._fuse.passed("recalled")
        for begin in range(start, len(origins), AT_A_TIME):
            range_ = Range(begin, min(begin + AT_A_TIME, len(origins)))
            self._settle(partition, range_, origins, mark, fates, replayed=replayed)

    def _settle(
        self,
        partition: str,
        range_: Range,
        origins: Sequence[int],
        mark: int,
        fates: Mapping[int, Fate],
        *,
        replayed: bool,
    ) -> None:
        verdicts = {s: verdict(origins[s], replayed=replayed) for s in range(range_.start, range_.end)}
        early = [s for s, found in verdicts.items() if found and found[0] is not Stage.DELIVERY]
        self._keep(partition, early, verdicts)
        arrived = [s for s in verdicts if s not in early]
        fresh = [s for s in arrived if s >= mark]
        self._keep(partition, [s for s in fresh if verdicts[s]], verdicts)
        position = Position(partition, range_.end, str(range_.end))
        if range_.end > mark:
            self._destination.commit([origins[s] for s in fresh if not verdicts[s]], partition, range_.end)
            self._fuse.passed("committed")
            self._book.confirm("facts", [Mark("orders", partition, range_.end, position)])
            self._fuse.passed("marked")
        refused = [(found[0], found[1]) for s in [*early, *fresh] if (found := verdicts[s])]
        # What lies below the mark is counted as it was settled, and only the ledger knows how.
        refused += [(Stage.DELIVERY, fates[s].reason) for s in arrived if s < mark and s in fates]
        counts = [Count("facts", Outcome.DEAD_LETTERED, stage, code, 1) for stage, code in refused]
        counts.append(Count("facts", Outcome.DELIVERED, Stage.DELIVERY, "", len(range_) - len(refused)))
        self._book.advance("orders", [Advance(partition, range_, position, add_up(counts), 1, "c" * 64)])
        self._fuse.passed(f"settled {partition} {range_.end}")

    def _keep(self, partition: str, sequences: Sequence[int], verdicts: Mapping[int, tuple[Stage, str] | None]) -> None:
        letters = [
            letter(partition, sequence, *found) for sequence in sequences if (found := verdicts[sequence]) is not None
        ]
        self._book.dead_letter(letters)
        self._fuse.passed("kept")


def verdict(origin: int, *, replayed: bool) -> tuple[Stage, str] | None:
    """Return which stage refuses a record, and why; None for one that passes."""
    if origin % 7 == 0:
        return Stage.INGESTION, "INT_ALPHA_001"
    if origin % 11 == 0:
        return Stage.DELIVERY, "INT_GAMMA_001"
    if origin % 5 == 0 and not replayed:
        return Stage.TRANSFORMATION, "INT_BETA_002"
    return None


def letter(partition: str, sequence: int, stage: Stage, code: str) -> DeadLetter:
    destination = "" if stage is Stage.INGESTION else "facts"
    error = RecordError(code, "amount", "is refused")
    return DeadLetter("orders", partition, sequence, stage, destination, (error,), b"%d" % sequence, sequence + 1)


def main(folder: Path, destination: Path, seed: int) -> None:
    fuse = Fuse(seed)
    with hold(folder, "shop"), Ledger.open(folder) as ledger:
        run_id = ledger.begin_run("shop", "f", b"{}")
        fuse.passed("begun")
        pipeline = Pipeline(RunBook(ledger, run_id, "shop"), Destination(destination), fuse)
        position = ledger.positions("shop", "orders").get("a.csv")
        pipeline.pour("a.csv", position.sequence if position else 0, range(RECORDS), replayed=False)
        replay_all(ledger, pipeline, fuse)
        ledger.end_run(run_id, RunStatus.COMPLETED)


def replay_all(ledger: Ledger, pipeline: Pipeline, fuse: Fuse) -> None:
    """Replay, once, everything that was refused: letters that were never replayed, and replays that were killed."""
    letters = ledger.dead_letters("shop", DeadLetterFilter(status=LetterStatus.OPEN)).to_pylist()
    for destination in ("", "facts"):
        ids = [row["id"] for row in letters if row["replay_id"] is None and row["destination"] == destination]
        if ids:
            ledger.begin_replay("shop", "orders", destination, ids)
            fuse.passed("replay begun")
    for replay in ledger.unfinished_replays("shop"):
        position = ledger.positions("shop", "orders").get(replay.partition)
        origins = [item.origin_sequence for item in ledger.replay_items(replay.id, 0, replay.items)]
        pipeline.pour(replay.partition, position.sequence if position else 0, origins, replayed=True)


def until_it_ends(folder: Path, destination: Path, seed: int) -> None:
    """Run it in children, each with a fuse of its own, until one comes to the end; say how many died."""
    for deaths in range(DEATHS_MAX):
        child = os.fork()
        if child == 0:
            sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115 - ends with the process
            main(folder, destination, seed * DEATHS_MAX + deaths)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status == 0:
            sys.stdout.write(f"{deaths}\n")
            return
        assert os.WIFSIGNALED(status), status
        assert os.WTERMSIG(status) == signal.SIGKILL, status
    raise AssertionError("never came to an end")


if __name__ == "__main__":
    paths = Path(sys.argv[1]), Path(sys.argv[2])
    if len(sys.argv) > 3:
        until_it_ends(*paths, int(sys.argv[3]))
    else:
        main(*paths, seed=0)
