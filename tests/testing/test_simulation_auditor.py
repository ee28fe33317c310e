"""Each invariant by itself: what breaks it is noticed, and told by name."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING

import pytest

from penstock.model.outcome import DeadLetter, RecordError, Stage
from penstock.model.position import Mark, Position, Range
from penstock.ports import Advance
from penstock.protocol.frames import Frame, Heartbeat, Hello
from penstock.protocol.messages import (
    Acknowledgment,
    AcknowledgmentPayload,
    AckStatus,
    AlphaBetaBatchTransfer,
    BatchMetadata,
    MessageHeader,
    MessageType,
    Module,
    StreamingHandoffMessage,
    ValidationSummary,
    Variant,
)
from penstock.testing.simulation.auditor import Auditor, Trace
from penstock.testing.simulation.ledger import Advanced, Confirmed, Disk, Ledger, Lettered, Moved, Superseded
from penstock.testing.simulation.overhearing import Overhearing
from penstock.testing.simulation.records import SOURCE, AtDestination, AtIngestion, Partition, World
from penstock.testing.simulation.warehouse import Warehouse

if TYPE_CHECKING:
    from collections.abc import Sequence

DELIVERED, FILTERED, UNTRANSFORMED, SUPERSEDED, INVALID = (
    int(AtDestination.DELIVERED) * 8,
    int(AtDestination.TOO_SMALL) * 8,
    int(AtDestination.UNTRANSFORMED) * 8,
    int(AtDestination.SUPERSEDED) * 8,
    int(AtIngestion.INVALID),
)
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Bench:
    """One partition, one destination, and an auditor who watches both."""

    def __init__(self, *plans: int) -> None:
        partition = Partition("p", plans, [0.0] * len(plans))
        self.world = World(MappingProxyType({"p": partition}), ("facts",))
        self.auditor = Auditor(self.world, Trace(lambda: 0.0))
        self.ledger = Ledger(Disk(random.Random(1)))
        self.warehouse = Warehouse("facts", 0, self.auditor)
        self.auditor.ledger, self.auditor.warehouses = self.ledger, {"facts": self.warehouse}

    @property
    def broken(self) -> str:
        return "" if self.auditor.broken is None else str(self.auditor.broken).partition(":")[0]

    def commit(self, rows: Sequence[int], mark: int, position: int = 0) -> None:
        self.warehouse.commit({"p": rows}, [Mark(SOURCE, "p", mark, Position("p", position, str(position)))])

    def letter(self, sequence: int, stage: Stage, destination: str) -> None:
        error = RecordError("INT_BETA_002", "plan", "cannot be computed")
        self.ledger.write(Lettered(1, (DeadLetter(SOURCE, "p", sequence, stage, destination, (error,), b"", 1),)))

    def advance(self, start: int, end: int, *, before: int | None = None, token: str | None = None) -> None:
        range_ = Range(start, end)
        position = Position("p", end, str(end) if token is None else token)
        advance = Advance("p", range_, position, self.world.tally("p", range_), 1, "")
        self.auditor.advanced(start if before is None else before, advance)


def test_a_run_without_fault_breaks_nothing() -> None:
    bench = Bench(DELIVERED, FILTERED, UNTRANSFORMED, SUPERSEDED, INVALID, DELIVERED)
    bench.letter(2, Stage.TRANSFORMATION, "facts")
    bench.letter(4, Stage.INGESTION, "")
    bench.ledger.write(Superseded("facts", "p", (3,)))
    bench.commit([0], 2)
    bench.commit([5], 6, position=2)
    bench.advance(0, 6)
    bench.ledger.write(Advanced((Moved(Position("p", 6, "6"), bench.world.tally("p", Range(0, 6))),)))
    bench.auditor.at_the_end()
    assert bench.auditor.broken is None


def test_a_row_that_comes_again_is_noticed() -> None:
    bench = Bench(DELIVERED, DELIVERED)
    bench.commit([0], 1)
    bench.commit([0, 1], 2)
    assert bench.broken == "nothing twice"


def test_a_row_that_comes_before_its_time_is_noticed() -> None:
    bench = Bench(DELIVERED, DELIVERED)
    bench.commit([1, 0], 2)
    assert bench.broken == "order per partition"


def test_a_row_that_was_to_be_filtered_is_noticed() -> None:
    bench = Bench(FILTERED)
    bench.commit([0], 1)
    assert bench.broken == "nothing is delivered that was refused"


@pytest.mark.parametrize("plan", [DELIVERED, UNTRANSFORMED, SUPERSEDED, INVALID])
def test_a_mark_that_passes_what_is_not_settled_is_noticed(plan: int) -> None:
    bench = Bench(plan, DELIVERED)
    bench.commit([1], 2)
    assert bench.broken == "no mark passes what is not settled"


def test_a_row_beyond_its_mark_is_noticed() -> None:
    bench = Bench(DELIVERED, DELIVERED)
    bench.commit([0, 1], 1)
    assert bench.broken == "no row without its mark"


def test_a_mark_that_goes_back_is_noticed() -> None:
    bench = Bench(FILTERED, FILTERED)
    bench.commit([], 2)
    bench.commit([], 1)
    assert bench.broken == "a mark never goes back"


def test_a_mark_whose_position_lies_beyond_it_is_noticed() -> None:
    bench = Bench(FILTERED, FILTERED)
    bench.commit([], 1, position=2)
    assert bench.broken == "a mark's position is at or before it"


def test_a_ledger_that_knows_of_more_than_was_committed_is_noticed() -> None:
    bench = Bench(DELIVERED)
    mark = Mark(SOURCE, "p", 1, Position("p", 0, "0"))
    bench.auditor.confirmed("facts", [mark])
    assert bench.broken == "the ledger is never ahead of a mark"


@pytest.mark.parametrize("plan", [DELIVERED, UNTRANSFORMED, SUPERSEDED, INVALID])
def test_a_position_that_passes_what_is_not_settled_is_noticed(plan: int) -> None:
    bench = Bench(plan)
    bench.advance(0, 1)
    assert bench.broken == "nothing lost"


def test_a_position_that_leaves_a_gap_is_noticed() -> None:
    bench = Bench(FILTERED, FILTERED)
    bench.advance(1, 2, before=0)
    assert bench.broken == "positions move without gap"


def test_a_position_that_the_source_never_gave_is_noticed() -> None:
    bench = Bench(FILTERED)
    bench.advance(0, 1, token="7")  # noqa: S106 - where to read next
    assert bench.broken == "a position is one that the source gave"


def test_counts_that_are_not_those_of_the_plans_are_noticed() -> None:
    bench = Bench(FILTERED, FILTERED)
    wrong = bench.world.tally("p", Range(0, 1))
    bench.auditor.advanced(0, Advance("p", Range(0, 2), Position("p", 2, "2"), wrong, 1, ""))
    assert bench.broken == "conservation"


def test_a_source_that_is_told_too_early_is_noticed() -> None:
    bench = Bench(FILTERED)
    bench.auditor.pruned(Position("p", 1, "1"))
    assert bench.broken == "a source is told after the ledger"


def test_a_record_that_nobody_settled_is_noticed_at_the_end() -> None:
    bench = Bench(FILTERED)
    bench.auditor.at_the_end()
    assert bench.broken == "all is settled at the end"


def test_a_dead_letter_too_many_is_noticed_at_the_end() -> None:
    bench = Bench(FILTERED)
    bench.letter(0, Stage.TRANSFORMATION, "facts")
    bench.advance(0, 1)
    bench.ledger.write(Advanced((Moved(Position("p", 1, "1"), bench.world.tally("p", Range(0, 1))),)))
    bench.auditor.at_the_end()
    assert bench.broken == "dead letters are those of the plans"


def test_the_first_thing_that_broke_is_what_is_told() -> None:
    bench = Bench(FILTERED)
    bench.auditor.fail("first", "this")
    bench.auditor.fail("second", "that")
    assert str(bench.auditor.broken) == "first: this"


# --- what is said on a link --------------------------------------------------------------------------------------


class Line:
    """A link that is overheard: a sender with incarnation 7, a receiver with 9."""

    def __init__(self, window: int = 2, unsettled: int = 3) -> None:
        self.bench = Bench(DELIVERED)
        self.overhearing = Overhearing("alpha_beta", window, unsettled, 1, self.bench.auditor)

    @property
    def broken(self) -> str:
        return self.bench.broken

    def batch(self, number: int, records: int = 1, *, offset: int | None = None, batch_id: str = "b") -> None:
        metadata = BatchMetadata(
            batch_id, number, records, "", NOON, "p", Range(number * 10, number * 10 + 10), Position("p", 0, "")
        )
        summary = ValidationSummary(10, records, 10 - records, 1.0)
        header = MessageHeader("m", "c", Module.ALPHA, Module.BETA, MessageType.BATCH_TRANSFER, NOON)
        body = (
            AlphaBetaBatchTransfer(header, metadata, memoryview(b""), summary)
            if offset is None
            else StreamingHandoffMessage(header, metadata, Variant.MICRO_BATCH, offset, memoryview(b""), summary)
        )
        self.overhearing.sender_says(Frame(7, 9, 0, body))

    def acknowledge(self, number: int, status: AckStatus = AckStatus.RECEIVED) -> Frame:
        header = MessageHeader("m", "c", Module.BETA, Module.ALPHA, MessageType.ACKNOWLEDGMENT, NOON)
        return Frame(
            9, 7, 0, Acknowledgment(header, AcknowledgmentPayload("b", status, 1, 0, 0, sequence_number=number))
        )

    def grant(self, credit_to: int, received_below: int = 0) -> None:
        self.overhearing.sender_hears(Frame(9, 7, 0, Heartbeat(received_below=received_below, credit_to=credit_to)))


def test_a_window_is_used_up_and_opened_again_by_what_arrives_at_the_sender() -> None:
    line = Line(window=2)
    line.batch(0)
    line.batch(1)
    line.overhearing.sender_hears(line.acknowledge(0))
    line.batch(2)
    assert line.broken == ""


def test_a_batch_beyond_the_window_is_noticed() -> None:
    line = Line(window=2)
    for number in range(3):
        line.batch(number)
    assert line.broken == "the window is never exceeded"


def test_a_batch_beyond_what_may_be_unsettled_is_noticed() -> None:
    line = Line(window=9, unsettled=3)
    for number in range(4):
        line.batch(number)
    assert line.broken == "what is unsettled is bounded"


def test_records_streamed_within_the_credit_are_fine_and_those_beyond_it_are_noticed() -> None:
    line = Line()
    line.overhearing.sender_says(Frame(7, 0, 0, Hello()))
    line.grant(10)
    line.batch(0, 10, offset=0)
    assert line.broken == ""
    line.batch(1, 1, offset=10)
    assert line.broken == "credit is never exceeded"


def test_a_gap_in_the_numbers_is_noticed() -> None:
    line = Line()
    line.batch(1)
    assert line.broken == "batches are numbered without gap"


def test_another_batch_of_the_same_number_is_noticed() -> None:
    line = Line()
    line.batch(0)
    line.batch(0, batch_id="another")
    assert line.broken == "a batch sent again is the same"


def test_an_answer_to_nothing_is_noticed() -> None:
    line = Line()
    line.overhearing.receiver_says(line.acknowledge(0, AckStatus.PROCESSED))
    assert line.broken == "nothing is answered that was not sent"


def test_an_answer_that_leaves_records_out_is_noticed() -> None:
    line = Line()
    line.batch(0)
    line.overhearing.receiver_says(line.acknowledge(0, AckStatus.PROCESSED))
    assert line.broken == "conservation at a hop"


def test_a_receipt_for_what_was_never_sent_is_noticed() -> None:
    line = Line()
    line.batch(0)
    line.overhearing.receiver_says(Frame(9, 7, 0, Heartbeat(received_below=2)))
    assert line.broken == "nothing is received that was not sent"


def test_marks_that_the_ledger_knows_only_grow() -> None:
    bench = Bench(FILTERED)
    for sequence in (2, 1):
        bench.ledger.write(Confirmed("facts", (Mark(SOURCE, "p", sequence, Position("p", 0, "")),)))
    assert [mark.sequence for mark in bench.ledger.marks().values()] == [2]
