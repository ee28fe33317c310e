"""A validated chunk, cut into batches: every record and every refused one lies in exactly one of them."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from penstock.ingestion.assembly import Shape, cut
from penstock.model.batch import RESERVED_FIELDS, SEQUENCE
from penstock.model.outcome import Count, DeadLetter, Outcome, RecordError, Stage
from penstock.model.position import Position, Range
from penstock.protocol.batches import Covers, Stamps
from penstock.protocol.messages import AFFECTED_IDS_MAX, BatchErrorSummary, Priority

SCHEMA = pa.schema([pa.field("id", pa.int64()), *RESERVED_FIELDS])
BEGINS = Position("a", 100, "byte 7")


def rows(*sequences: int) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([{"id": sequence, SEQUENCE: sequence} for sequence in sequences], schema=SCHEMA)


def letter(sequence: int, code: str = "INT_ALPHA_002") -> DeadLetter:
    return DeadLetter("orders", "a", sequence, Stage.INGESTION, "", (RecordError(code, "id", "bad"),), b"x", 1)


def stamps() -> Stamps:
    numbers = iter(range(1_000))
    return Stamps(lambda: f"b{next(numbers)}", lambda: datetime(2026, 1, 1, tzinfo=UTC))


def covers(start: int, end: int) -> Covers:
    return Covers("a", Range(start, end), BEGINS)


def refused(records: int, code: str = "INT_ALPHA_002") -> Count:
    return Count("", Outcome.DEAD_LETTERED, Stage.INGESTION, code, records)


def test_refused_records_are_counted_in_the_range_they_lie_in() -> None:
    letters = [letter(101), letter(104, "INT_ALPHA_003"), letter(107), letter(109)]
    first, second, third = cut(rows(100, 102, 103, 105, 106, 108), letters, covers(100, 110), Shape(2), stamps())
    assert [piece.range for piece in (first, second, third)] == [Range(100, 103), Range(103, 106), Range(106, 110)]
    assert first.refused == (refused(1),)
    assert second.refused == (refused(1, "INT_ALPHA_003"),)
    assert third.refused == (refused(2),)


def test_a_batch_says_what_it_holds() -> None:
    (piece,) = cut(rows(100, 102), [letter(101)], covers(100, 103), Shape(10), stamps())
    assert piece.outgoing is not None
    metadata = piece.outgoing.metadata
    assert (metadata.batch_id, metadata.sequence_number, metadata.record_count) == ("b0", 0, 2)
    assert (metadata.partition, metadata.range, metadata.position) == ("a", Range(100, 103), BEGINS)
    assert metadata.checksum == hashlib.sha256(piece.outgoing.payload).hexdigest()
    summary = piece.outgoing.summary
    assert (summary.total_records_validated, summary.records_passed, summary.records_failed) == (3, 2, 1)
    assert pa.ipc.read_record_batch(pa.py_buffer(piece.outgoing.payload), SCHEMA).equals(rows(100, 102))


def test_where_all_records_are_refused_nothing_is_sent_and_all_are_counted() -> None:
    (piece,) = cut(rows(), [letter(100), letter(101)], covers(100, 102), Shape(10), stamps())
    assert piece.outgoing is None
    assert piece.range == Range(100, 102)
    assert piece.refused == (refused(2),)


def test_a_streamed_message_is_cut_like_a_batch_and_says_that_it_is_one() -> None:
    pieces = list(cut(rows(100, 101, 102), [], covers(100, 103), Shape(2, streaming=True), stamps()))
    assert [piece.outgoing.streaming for piece in pieces if piece.outgoing] == [True, True]
    (whole,) = cut(rows(100), [], covers(100, 101), Shape(2), stamps())
    assert whole.outgoing is not None
    assert not whole.outgoing.streaming


def test_only_the_last_batch_of_a_range_says_that_nothing_more_is_at_hand() -> None:
    asked = replace(covers(100, 106), flush=True)
    pieces = list(cut(rows(100, 101, 103, 104), [letter(102), letter(105)], asked, Shape(2), stamps()))
    assert [piece.outgoing.metadata.flush for piece in pieces if piece.outgoing] == [False, True]
    silent = cut(rows(100, 101, 103, 104), [], covers(100, 106), Shape(2), stamps())
    assert [piece.outgoing.metadata.flush for piece in silent if piece.outgoing] == [False, False]


def test_every_batch_of_a_critical_range_is_critical() -> None:
    asked = replace(covers(100, 104), priority=Priority.CRITICAL)
    pieces = cut(rows(100, 101, 102, 103), [], asked, Shape(2), stamps())
    assert [piece.outgoing.metadata.priority for piece in pieces if piece.outgoing] == [Priority.CRITICAL] * 2


def test_a_batch_tells_of_the_records_of_its_range_that_were_refused() -> None:
    letters = [letter(101), letter(104, "INT_ALPHA_003"), letter(105)]
    first, second, third = cut(rows(100, 102, 103, 106, 107), letters, covers(100, 108), Shape(2), stamps())
    assert first.outgoing is not None
    assert second.outgoing is not None
    assert third.outgoing is not None
    assert first.outgoing.metadata.errors == BatchErrorSummary(1, {"INT_ALPHA_002": 1}, ("orders/a/101",))
    assert second.outgoing.metadata.errors == BatchErrorSummary(
        2, {"INT_ALPHA_002": 1, "INT_ALPHA_003": 1}, ("orders/a/104", "orders/a/105")
    )
    assert third.outgoing.metadata.errors is None


def test_of_very_many_refused_records_all_are_counted_and_the_first_are_named() -> None:
    count = AFFECTED_IDS_MAX + 20
    letters = [letter(sequence) for sequence in range(100, 100 + count)]
    (piece,) = cut(rows(99), letters, covers(99, 100 + count), Shape(10), stamps())
    assert piece.outgoing is not None
    errors = piece.outgoing.metadata.errors
    assert errors is not None
    assert (errors.upstream_errors, errors.error_breakdown) == (count, {"INT_ALPHA_002": count})
    assert errors.affected_record_ids == tuple(f"orders/a/{sequence}" for sequence in range(100, 200))


@given(good=st.lists(st.booleans(), max_size=40), size=st.integers(1, 9), start=st.integers(0, 5))
def test_ranges_follow_one_another_and_account_for_every_record(good: list[bool], size: int, start: int) -> None:
    sequences = range(start, start + len(good))
    passed = [sequence for sequence, is_good in zip(sequences, good, strict=True) if is_good]
    letters = [letter(sequence) for sequence in sequences if sequence not in passed]
    whole = Range(start, start + len(good))
    pieces = list(cut(rows(*passed), letters, Covers("a", whole, BEGINS), Shape(size), stamps()))
    assert [piece.range.start for piece in pieces] == [start, *(piece.range.end for piece in pieces[:-1])]
    assert pieces[-1].range.end == whole.end
    for piece in pieces:
        sent = piece.outgoing.metadata.record_count if piece.outgoing else 0
        assert sent <= size
        assert sent + sum(count.records for count in piece.refused) == len(piece.range)
    numbers = [piece.outgoing.metadata.sequence_number for piece in pieces if piece.outgoing]
    assert numbers == list(range(len(numbers)))
