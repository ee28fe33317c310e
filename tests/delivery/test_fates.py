"""The answer to a batch accounts for every record of it."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from penstock.delivery.fates import REJECTED, Answer, Fates, answer_for, rejected
from penstock.model.outcome import Count, Outcome, Stage
from penstock.model.position import Position, Range
from penstock.ports import Fate
from penstock.protocol.messages import AckStatus, BatchMetadata, DeliveryStatus
from penstock.protocol.ranges import RangeSet

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
DUPLICATE = Fate(Outcome.DEAD_LETTERED, "INT_GAMMA_003")
SUPERSEDED = Fate(Outcome.FILTERED, "superseded")


def answer(start: int, end: int, exceptions: dict[int, Fate], records: int | None = None) -> Answer:
    count = end - start if records is None else records
    metadata = BatchMetadata("b0", 4, count, "", NOON, "a", Range(start, end), Position("a", 0, ""), "facts")
    return answer_for(metadata, sorted(exceptions.items()), source="orders", duration_ms=7, delivered_at=NOON)


def test_fates_are_found_by_range_in_order() -> None:
    fates = Fates({9: DUPLICATE, 3: SUPERSEDED, 5: DUPLICATE})
    assert fates.within(Range(3, 9)) == [(3, SUPERSEDED), (5, DUPLICATE)]
    assert fates.within(Range(9, 10)) == [(9, DUPLICATE)]
    assert fates.within(Range(6, 6)) == []


def test_a_batch_without_exceptions_is_delivered_as_one_range() -> None:
    whole = answer(10, 20, {})
    assert whole.delivered == (Range(10, 20),)
    assert whole.exceptions == ()
    assert (whole.payload.status, whole.payload.records_accepted, whole.payload.records_rejected) == (
        AckStatus.PROCESSED,
        10,
        0,
    )
    assert whole.payload.tally == (Count("facts", Outcome.DELIVERED, Stage.DELIVERY, "", 10),)


def test_refused_and_superseded_records_are_named_and_counted_by_reason() -> None:
    found = answer(10, 20, {10: DUPLICATE, 14: SUPERSEDED, 15: DUPLICATE})
    assert found.delivered == (Range(11, 14), Range(16, 20))
    assert [(result.record_id, result.status) for result in found.exceptions] == [
        ("orders/a/10", DeliveryStatus.DLQ),
        ("orders/a/14", DeliveryStatus.DELIVERED),
        ("orders/a/15", DeliveryStatus.DLQ),
    ]
    assert found.payload.tally == (
        Count("facts", Outcome.DEAD_LETTERED, Stage.DELIVERY, "INT_GAMMA_003", 2),
        Count("facts", Outcome.DELIVERED, Stage.DELIVERY, "", 7),
        Count("facts", Outcome.FILTERED, Stage.DELIVERY, "superseded", 1),
    )
    assert (found.payload.records_accepted, found.payload.records_rejected) == (8, 2)


def test_exceptions_are_named_by_sequence_in_the_answer_that_settles() -> None:
    payload = answer(10, 20, {10: DUPLICATE, 14: SUPERSEDED, 15: DUPLICATE}).payload
    assert {(each.destination, each.outcome, each.stage, each.reason, each.sequences) for each in payload.excepted} == {
        ("facts", Outcome.DEAD_LETTERED, Stage.DELIVERY, "INT_GAMMA_003", (10, 15)),
        ("facts", Outcome.FILTERED, Stage.DELIVERY, "superseded", (14,)),
    }
    assert (payload.batch_id, payload.sequence_number, payload.processing_duration_ms) == ("b0", 4, 7)


def test_a_batch_that_is_refused_as_a_whole_is_answered_rejected_with_why() -> None:
    refused = Fate(Outcome.DEAD_LETTERED, REJECTED)
    before = answer(0, 2, {0: refused, 1: refused})
    after = rejected(before, "no such table")
    assert (after.payload.status, after.payload.reason) == (AckStatus.REJECTED, "no such table")
    assert (after.payload.tally, after.payload.excepted) == (before.payload.tally, before.payload.excepted)
    assert (after.exceptions, after.delivered) == (before.exceptions, ())


def test_where_nothing_is_delivered_no_delivery_is_counted() -> None:
    found = answer(0, 2, {0: DUPLICATE, 1: DUPLICATE})
    assert found.delivered == ()
    assert found.payload.tally == (Count("facts", Outcome.DEAD_LETTERED, Stage.DELIVERY, "INT_GAMMA_003", 2),)


@given(fates=st.lists(st.sampled_from([None, DUPLICATE, SUPERSEDED]), min_size=1, max_size=30), start=st.integers(0, 9))
def test_every_record_is_in_one_delivered_range_or_one_exception(fates: list[Fate | None], start: int) -> None:
    exceptions = {start + number: fate for number, fate in enumerate(fates) if fate is not None}
    found = answer(start, start + len(fates), exceptions)
    seen = RangeSet()
    for range_ in (*found.delivered, *(Range(sequence, sequence + 1) for sequence in exceptions)):
        assert len(range_) > 0
        assert not seen.overlaps(range_)
        seen.add(range_)
    assert list(seen) == [Range(start, start + len(fates))]
    assert sum(count.records for count in found.payload.tally) == len(fates)
