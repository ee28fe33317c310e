"""One source table's way to its models: all of it, whatever goes wrong in the middle, and once."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from penstock.errors import Corruption, LedgerTrouble, Unavailable, UserMistake
from penstock.observing.facts import AtCommitPoint, CommitPoint, Hop, Moment, RangeSettled, RecordsRead

if TYPE_CHECKING:
    from tests.orchestration.conftest import Order, Works

    from penstock.observing.facts import Fact
    from penstock.orchestration.flow import Flow
    from penstock.ports import Sink

AWAY = Unavailable("INT_GAMMA_010", "the warehouse is locked")
MANY = 180


def orders(count: int, start: int = 0) -> list[Order]:
    return [(number, number * 10, "paid") for number in range(start, start + count)]


def write_mixed(works: Works, file: str = "a.csv") -> None:
    """180 records: 18 test orders, 9 without id, 3 with a bad amount, 6 negative, 9 duplicates; the rest are plain."""
    lines: list[Order | str] = []
    for number in range(MANY):
        match number % 20:
            case 3 | 13:
                lines.append((number, 1, "test"))
            case 7:
                lines.append(f",{number},paid")
            case 9 if number % 60 != 9:
                lines.append((number, -1, "paid"))
            case 11:
                lines.append((number - 1, number, "paid"))
            case 15 if number % 60 == 15:
                lines.append(f"{number},not a number,paid")
            case _:
                lines.append((number, number, "paid"))
    works.write(file, *lines)


MIXED = {
    ("facts", "dead_lettered", "INT_ALPHA_002"): 3,
    ("facts", "dead_lettered", "INT_ALPHA_003"): 9,
    ("facts", "dead_lettered", "INT_BETA_004"): 6,
    ("facts", "dead_lettered", "INT_GAMMA_003"): 9,
    ("facts", "delivered", ""): 135,
    ("facts", "filtered", "test orders"): 18,
    ("now", "dead_lettered", "INT_ALPHA_002"): 3,
    ("now", "dead_lettered", "INT_ALPHA_003"): 9,
}


def check_mixed(works: Works) -> None:
    """Compare tables, counts, dead letters and positions with what must have become of the 180 records."""
    counts = works.counts()
    # Which of two versions that meet in one transaction is superseded, and which replaced, is up to the commits.
    now = {key: records for key, records in counts.items() if key[0] == "now" and key[1] != "dead_lettered"}
    assert {key: records for key, records in counts.items() if key not in now} == MIXED
    assert sum(now.values()) == MANY - 12
    assert now.keys() <= {("now", "delivered", ""), ("now", "filtered", "superseded")}
    facts, latest = works.rows("facts"), works.rows("now", "id")
    assert len(facts) == len({row[0] for row in facts}) == 135
    assert [row[0] for row in facts] == sorted(row[0] for row in facts)
    assert len(latest) == 159
    assert [row for row in latest if row[0] % 20 == 10] == [(n, n + 1, "paid") for n in range(10, MANY, 20)]
    assert Counter(code for _, _, code, _ in works.letters()) == {
        "INT_ALPHA_002": 3,
        "INT_ALPHA_003": 9,
        "INT_BETA_004": 6,
        "INT_GAMMA_003": 9,
    }
    assert works.position() == MANY


def test_every_record_is_accounted_for_at_every_destination(works: Works) -> None:
    write_mixed(works)
    works.run()
    check_mixed(works)
    assert works.mark(works.facts) == works.mark(works.now) == MANY
    assert works.figures.read == works.figures.settled == MANY
    assert all(hop.in_flight == 0 for hop in works.figures.hops.values())


def test_rows_arrive_in_the_order_in_which_they_were_read_over_many_small_batches(works: Works) -> None:
    works.write("a.csv", *orders(MANY))
    works.write("b.csv", *orders(50, 1000))
    works.run()
    assert works.rows("facts") == orders(MANY) + orders(50, 1000)
    assert works.position("orders/a.csv") == MANY
    assert works.position("orders/b.csv") == 50
    assert works.figures.hops[Hop.ALPHA_BETA].batches > 30
    assert works.figures.hops[Hop.BETA_GAMMA].retransmitted == 0


def test_a_dead_letter_names_the_line_of_its_record_whichever_stage_refuses_it(works: Works) -> None:
    works.write("a.csv", (1, 1, "paid"), "x,2,paid", (3, -3, "paid"), (1, 4, "paid"), (5, 5, "paid"))
    works.run()
    assert sorted(works.letters()) == [
        ("delivery", "facts", "INT_GAMMA_003", 5),
        ("ingestion", "", "INT_ALPHA_002", 3),
        ("transformation", "facts", "INT_BETA_004", 4),
    ]


def test_nothing_to_read_is_a_flow_that_ends(works: Works) -> None:
    works.write("a.csv")
    works.run()
    assert works.counts() == {}
    works.write("a.csv", *orders(5))
    works.run()
    works.run()
    assert works.rows("facts") == orders(5)


def test_a_file_all_of_whose_records_are_refused_settles(works: Works) -> None:
    works.write("a.csv", *["no,no,no"] * 40)
    works.run()
    assert works.counts() == {
        ("facts", "dead_lettered", "INT_ALPHA_002"): 40,
        ("now", "dead_lettered", "INT_ALPHA_002"): 40,
    }
    assert works.position() == 40
    assert works.mark(works.facts) == 0


# --- models that filter everything --------------------------------------------------------------------------------


def test_a_model_that_filters_everything_holds_nobody_up(works: Works) -> None:
    works.models = (works.facts, works.nothing)
    works.write("a.csv", *orders(120))
    works.run()
    assert works.counts() == {("facts", "delivered", ""): 120, ("nothing", "filtered", "everything"): 120}
    assert works.position() == 120
    assert works.mark(works.facts) == 120
    assert works.mark(works.nothing) == 0


def test_a_mark_that_stays_behind_because_nothing_came_is_no_error_later(works: Works) -> None:
    works.write("a.csv", *orders(20), *[(number, 1, "test") for number in range(20, 80)])
    works.run()
    assert works.mark(works.facts) < works.position() == works.mark(works.now) == 80
    works.write("a.csv", *orders(30, 80))
    works.run()
    assert works.mark(works.facts) == works.mark(works.now) == 110
    assert works.rows("facts") == orders(20) + orders(30, 80)
    assert works.counts()["facts", "delivered", ""] == 50


# --- read again after a crash -------------------------------------------------------------------------------------


def crash(works: Works, call: str, number: int) -> None:
    """Run until the ledger refuses a call for the n-th time."""
    error = LedgerTrouble("INT_LEDGER_001", "the disk is full")
    with pytest.raises(LedgerTrouble) as caught:
        works.run(works.faults(book=lambda book: works.watched_book(book, before=works.nth(call, number, error))))
    assert caught.value is error


@pytest.mark.parametrize("number", [1, 2, 3])
def test_what_a_crash_leaves_between_commit_and_position_is_trimmed_and_counted_exactly(
    works: Works, number: int
) -> None:
    write_mixed(works)
    crash(works, "advance", number)
    assert works.position() < works.mark(works.facts)
    works.run()
    check_mixed(works)


@pytest.mark.parametrize("call", ["dead letter from ingestion", "dead letter from transformation", "confirm"])
@pytest.mark.parametrize("number", [1, 3])
def test_whatever_the_ledger_does_not_take_a_second_run_completes_exactly(works: Works, call: str, number: int) -> None:
    write_mixed(works)
    crash(works, call, number)
    works.run()
    check_mixed(works)


def test_one_crash_after_another_changes_nothing_in_what_comes_of_it(works: Works) -> None:
    write_mixed(works)
    for call, number in (("advance", 2), ("recall", 1), ("recall", 2), ("confirm", 2)):
        crash(works, call, number)
    works.run()
    check_mixed(works)


def test_refused_duplicates_and_superseded_rows_are_recalled_not_judged_again(works: Works) -> None:
    works.set(COMMIT_RECORDS=1000, COMMIT_IDLE_MS=200, COMMIT_INTERVAL_MS=5000)
    works.write("a.csv", (1, 1, "paid"), (1, 2, "paid"), (2, 3, "paid"), (1, 4, "paid"))
    crash(works, "advance", 1)
    assert works.mark(works.facts) == works.mark(works.now) == 4
    assert works.counts() == {}
    calls: list[str] = []
    works.run(works.faults(sink=lambda _, sink: works.watched_sink(sink, calls)))
    assert "write" not in calls
    assert works.counts() == {
        ("facts", "dead_lettered", "INT_GAMMA_003"): 2,
        ("facts", "delivered", ""): 2,
        ("now", "delivered", ""): 2,
        ("now", "filtered", "superseded"): 2,
    }
    assert works.rows("facts") == [(1, 1, "paid"), (2, 3, "paid")]
    assert works.rows("now", "id") == [(1, 4, "paid"), (2, 3, "paid")]


@pytest.mark.parametrize(
    ("call", "number", "model"),
    [("write", 1, "facts"), ("write", 3, "now"), ("commit", 1, "now"), ("commit", 3, "facts")],
)
def test_a_sink_that_fails_leaves_nothing_half_done_and_a_second_run_completes_exactly(
    works: Works, call: str, number: int, model: str
) -> None:
    write_mixed(works)
    calls: list[str] = []
    fault = works.nth(call, number, AWAY)

    def breaking(name: str, sink: Sink) -> Sink:
        return works.watched_sink(sink, calls, before=fault) if name == model else sink

    with pytest.raises(Unavailable) as caught:
        works.run(works.faults(sink=breaking))
    assert caught.value is AWAY
    assert calls[-5:] == [call, "rollback", "rollback returned", "close", "close returned"]
    assert works.counts().get(("facts", "delivered", ""), 0) <= len(works.rows("facts"))
    assert works.counts().get(("now", "delivered", ""), 0) <= len(works.rows("now"))
    works.run()
    check_mixed(works)


def test_a_commit_that_succeeded_and_said_it_failed_leaves_one_copy(works: Works) -> None:
    write_mixed(works)
    fault = works.nth("commit", 2, AWAY)
    with pytest.raises(Unavailable):
        works.run(works.faults(sink=lambda _, sink: works.watched_sink(sink, [], after=fault)))
    works.run()
    check_mixed(works)


@pytest.mark.parametrize("chunks", [0, 4])
def test_a_source_that_breaks_in_the_middle_has_the_rest_settled_and_ends_the_flow_with_its_error(
    works: Works, chunks: int
) -> None:
    write_mixed(works)
    error = UserMistake("INT_ALPHA_012", "orders/a.csv breaks off")
    with pytest.raises(UserMistake) as caught:
        works.run(works.faults(source=lambda source: works.breaking_source(source, chunks, error)))
    assert caught.value is error
    assert works.figures.read == works.figures.settled == works.position() < MANY
    assert bool(chunks) == bool(works.position())
    works.run()
    check_mixed(works)


def test_the_source_is_told_of_positions_only_after_the_ledger_has_them(works: Works) -> None:
    works.write("a.csv", *orders(100))
    told: list[int] = []
    error = LedgerTrouble("INT_LEDGER_001", "the disk is full")
    with pytest.raises(LedgerTrouble):
        works.run(
            works.faults(
                source=lambda source: works.breaking_source(source, MANY, AWAY, told=told),
                book=lambda book: works.watched_book(book, before=works.nth("advance", 2, error)),
            )
        )
    assert told == sorted(told)
    assert told[-1] == works.position() < 100


# --- how it ends --------------------------------------------------------------------------------------------------


def test_a_flow_that_fails_returns_only_when_its_threads_have_let_go_of_what_is_closed_next(works: Works) -> None:
    works.write("a.csv", *orders(MANY))
    committing = threading.Event()
    calls: list[str] = []

    def slowly(name: str) -> None:
        if name == "commit":
            committing.set()
            time.sleep(0.3)

    error = UserMistake("INT_ALPHA_012", "orders/a.csv breaks off")
    with pytest.raises(UserMistake) as caught:
        works.run(
            works.faults(
                source=lambda source: works.breaking_source(source, 6, error, wait=lambda: committing.wait(10)),
                sink=lambda name, sink: works.watched_sink(sink, calls, slowly) if name == "facts" else sink,
            )
        )
    assert caught.value is error
    assert calls[-4:] == ["commit", "commit returned", "close", "close returned"]
    works.run()
    assert works.rows("facts") == orders(MANY)


def test_stop_reads_no_further_and_settles_everything_under_way(works: Works) -> None:
    works.write("a.csv", *orders(MANY))
    works.write("b.csv", *orders(50, 1000))

    class StopsAfterTwoCommits:
        """Stops the flow from a worker thread, as a signal handler would from the loop."""

        def __init__(self) -> None:
            self.flow: list[Flow] = []
            self.left = 2

        def saw(self, fact: Fact) -> None:
            if isinstance(fact, AtCommitPoint) and (fact.point, fact.moment) == (
                CommitPoint.ROWS_AND_MARK,
                Moment.AFTER,
            ):
                self.left -= 1
                if self.left == 0:
                    self.flow[0].stop()

    observer = StopsAfterTwoCommits()
    works.run(works.faults(observer=observer, started=observer.flow.append))
    read = works.figures.read
    assert 0 < read < MANY
    assert works.figures.settled == read == works.position() == works.mark(works.facts)
    assert works.rows("facts") == orders(read)
    assert works.position("orders/b.csv") == 0
    works.run()
    assert works.rows("facts") == orders(MANY) + orders(50, 1000)


def test_a_flow_that_is_stopped_before_it_runs_reads_nothing(works: Works) -> None:
    works.write("a.csv", *orders(MANY))
    works.run(works.faults(started=lambda flow: flow.stop()))
    assert works.figures.read == 0
    assert works.counts() == {}


def test_a_flow_that_is_cancelled_leaves_nothing_half_done(works: Works) -> None:
    write_mixed(works)

    async def run_and_cancel() -> None:
        running = asyncio.current_task()
        assert running is not None
        loop = asyncio.get_running_loop()

        def cancel(name: str) -> None:
            if name == "advance":
                loop.call_soon_threadsafe(running.cancel)

        await works.run_in_loop(works.faults(book=lambda book: works.watched_book(book, before=cancel)))

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(run_and_cancel())
    works.run()
    check_mixed(works)


# --- bounds -------------------------------------------------------------------------------------------------------


class Unsettled:
    """Follows how much has been read, and is not settled."""

    def __init__(self) -> None:
        self.most = 0
        self._now = 0
        self._lock = threading.Lock()

    def saw(self, fact: Fact) -> None:
        with self._lock:
            if isinstance(fact, RecordsRead):
                self._now += fact.records
            elif isinstance(fact, RangeSettled):
                self._now -= len(fact.range)
            self.most = max(self.most, self._now)


def test_a_slow_sink_slows_the_source_and_the_window_stays_bounded(works: Works) -> None:
    works.write("a.csv", *orders(MANY))
    unsettled = Unsettled()

    def slowly(name: str) -> None:
        if name == "commit":
            time.sleep(0.02)

    works.run(works.faults(sink=lambda _, sink: works.watched_sink(sink, [], slowly), observer=unsettled))
    assert works.rows("facts") == orders(MANY)
    # The window, and as much again that has left it and is being noted in the ledger.
    assert 30 < unsettled.most <= 120


def test_a_chunk_that_is_larger_than_the_window_passes(works: Works) -> None:
    works.set(WINDOW_RECORDS=1)
    works.write("a.csv", *orders(100))
    works.run()
    assert works.rows("facts") == orders(100)


# --- counts that would not add up ---------------------------------------------------------------------------------


def test_a_position_that_runs_ahead_of_the_ledger_is_corruption(works: Works) -> None:
    """The ledger refuses a range that does not follow its last one: a hole is never counted as read."""
    works.write("a.csv", *orders(100))
    with pytest.raises(Corruption, match="had to follow"):
        works.run(works.faults(source=lambda source: works.skipping_source(source, 1)))
    assert works.position() == 0
