"""Called from many threads at once, calls wait for one another and none is lost."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from penstock.ledger import DeadLetterFilter, Ledger, LetterStatus

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.ledger.conftest import Hand


def test_threads_may_write_and_read_at_once(hand: Hand) -> None:
    def work(partition: str) -> None:
        for start in range(0, 200, 10):
            hand.refuse(start, start + 1, partition=partition)
            hand.settle(start, start + 10, partition=partition, dead=2)
            hand.book.confirm("facts", [hand.mark(start + 10, partition=partition)])
            assert hand.sequence(partition) == start + 10

    names = [f"part-{number}" for number in range(6)]
    with ThreadPoolExecutor(len(names)) as pool:
        for done in [pool.submit(work, name) for name in names]:
            done.result(timeout=60)
    assert hand.ledger.totals("shop")["orders"].read == 6 * 200
    assert len(hand.ids()) == 6 * 40
    assert sorted(mark.partition for mark in hand.ledger.marks("shop", "facts").values()) == names
    assert hand.problems() == []


def test_two_connections_wait_for_each_other_and_neither_is_turned_away(
    folder: Path, hand_on: Callable[[Ledger], Hand]
) -> None:
    """As two processes would: a run, and a person who sees to its dead letters meanwhile."""
    with Ledger.open(folder) as one, Ledger.open(folder) as other:
        run = hand_on(one)

        def settle() -> None:
            for start in range(0, 1000, 10):
                run.refuse(start)
                run.settle(start, start + 10, dead=1)

        def discard() -> None:
            for _ in range(100):
                letters = other.dead_letter_ids("shop", DeadLetterFilter(status=LetterStatus.OPEN))
                other.discard("shop", letters, "seen to")
                other.partition_ordinals("shop", "customers", [f"part-{len(letters)}"])

        with ThreadPoolExecutor(2) as pool:
            for done in [pool.submit(settle), pool.submit(discard)]:
                done.result(timeout=60)
        assert (run.sequence(), len(run.ids())) == (1000, 100)
        assert run.problems() == []
