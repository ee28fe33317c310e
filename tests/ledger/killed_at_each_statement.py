"""Do one operation on copies of a ledger, each in a process that is killed before its first, second, ... statement.

Prints how many statements there were; the copy after that is one on which nobody was killed.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.ledger import Ledger
from penstock.model.outcome import Count, DeadLetter, Outcome, RecordError, Stage
from penstock.model.position import Mark, Position, Range
from penstock.ports import Advance

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LETTERS = [
    DeadLetter("orders", "a.csv", sequence, Stage.INGESTION, "", (RecordError("INT_ALPHA_002", "x", "y"),), b"z", 1)
    for sequence in (2, 21, 22, 23)
]


def advance(partition: str, start: int, end: int) -> Advance:
    tally = (Count("facts", Outcome.DELIVERED, Stage.DELIVERY, "", end - start),)
    return Advance(partition, Range(start, end), Position(partition, end, "there"), tally, 1, "c")


def settle(ledger: Ledger, run_id: str) -> None:
    ledger.settle(run_id, "shop", "orders", [advance("a.csv", 20, 30), advance("b.csv", 0, 5)])


def settle_replay(ledger: Ledger, run_id: str) -> None:
    (replay,) = ledger.unfinished_replays("shop")
    tally = (
        Count("facts", Outcome.DEAD_LETTERED, Stage.INGESTION, "INT_ALPHA_002", 1),
        Count("facts", Outcome.DELIVERED, Stage.DELIVERY, "", 2),
    )
    position = Position(replay.partition, 3, "there")
    ledger.settle(run_id, "shop", "orders", [Advance(replay.partition, Range(0, 3), position, tally, 1, "c")])


OPERATIONS: Mapping[str, Callable[[Ledger, str], object]] = {
    "begin_run": lambda ledger, _: ledger.begin_run("shop", "another", b'{"name": "another"}'),
    "dead_letter": lambda ledger, run_id: ledger.dead_letter(run_id, "shop", LETTERS),
    "settle": settle,
    "rewind": lambda ledger, _: ledger.rewind("shop", "orders", "a.csv", Position("a.csv", 15, "")),
    "reconcile": lambda ledger, _: ledger.reconcile(
        "shop",
        {"facts": [Mark("orders", "a.csv", 12, Position("a.csv", 12, "there"))]},
        {("orders", "a.csv"): Position("a.csv", 12, "there")},
    ),
    "begin_replay": lambda ledger, _: ledger.begin_replay("shop", "orders", "", [4, 5]),
    "settle_replay": settle_replay,
    "discard": lambda ledger, _: ledger.discard("shop", [4, 5], "seen to"),
}


class Killer:
    """Kills this process before statement `fatal` (from 1 on) of a connection."""

    def __init__(self, fatal: int) -> None:
        self.left = fatal

    def __call__(self, _: str) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def survives(folder: Path, operation: str, fatal: int) -> bool:
    """Do it in a child; tell whether the child came through."""
    child = os.fork()
    if child == 0:
        ledger = Ledger.open(folder, time_s=lambda: 60.0)
        last = ledger.last_run("shop")
        assert last is not None
        killer = Killer(fatal)
        ledger._database._connection.set_trace_callback(killer)  # only the connection itself sees its statements
        OPERATIONS[operation](ledger, last.id)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return False
    assert status == 0, status
    return True


def main(folder: Path, copy: str, operation: str) -> None:
    statements = 0
    while True:
        target = Path(f"{copy}-{statements + 1}")
        shutil.copytree(folder, target)
        if survives(target, operation, statements + 1):
            break
        statements += 1
    sys.stdout.write(f"{statements}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
