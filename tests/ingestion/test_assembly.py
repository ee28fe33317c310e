"""A validated chunk, cut into batches: every record and every refused one lies in exactly one of them."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from penstock.ingestion.assembly import cut
from penstock.model.batch import RESERVED_FIELDS, SEQUENCE
from penstock.model.outcome import Count, DeadLetter, Outcome, RecordError, Stage
from penstock.model.position import Position, Range
from penstock.protocol.batches import Covers, Stamps

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
    first, second, third = cut(rows(100, 102, 103, 105, 106, 108), letters, covers(100, 110), 2, stamps())
    assert [piece.range for piece in (first, second, third)] == [Range(100, 103), Range(103, 106), Range(106, 110)]
    assert first.refused == (refused(1),)
    assert second.refused == (refused(1, "INT_ALPHA_003"),)
    assert third.refused == (refused(2),)


def test_a_batch_says_what_it_holds() -> None:
    (piece,) = cut(rows(100, 102), [letter(101)], covers(100, 103), 10, stamps())
    assert piece.outgoing is not None
    metadata = piece.outgoing.metadata
    assert (metadata.batch_id, metadata.sequence_number, metadata.record_count) == ("b0", 0, 2)
    assert (metadata.partition, metadata.range, metadata.position) == ("a", Range(100, 103), BEGINS)
    assert metadata.checksum == hashlib.sha256(piece.outgoing.payload).hexdigest()
    summary = piece.outgoing.summary
    assert (summary.total_records_validated, summary.records_passed, summary.records_failed) == (3, 2, 1)
    assert pa.ipc.read_record_batch(pa.py_buffer(piece.outgoing.payload), SCHEMA).equals(rows(100, 102))


def test_where_all_records_are_refused_nothing_is_sent_and_all_are_counted() -> None:
    (piece,) = cut(rows(), [letter(100), letter(101)], covers(100, 102), 10, stamps())
    assert piece.outgoing is None
    assert piece.range == Range(100, 102)
    assert piece.refused == (refused(2),)


@given(good=st.lists(st.booleans(), max_size=40), size=st.integers(1, 9), start=st.integers(0, 5))
def test_ranges_follow_one_another_and_account_for_every_record(good: list[bool], size: int, start: int) -> None:
    sequences = range(start, start + len(good))
    passed = [sequence for sequence, is_good in zip(sequences, good, strict=True) if is_good]
    letters = [letter(sequence) for sequence in sequences if sequence not in passed]
    whole = Range(start, start + len(good))
    pieces = list(cut(rows(*passed), letters, Covers("a", whole, BEGINS), size, stamps()))
    assert [piece.range.start for piece in pieces] == [start, *(piece.range.end for piece in pieces[:-1])]
    assert pieces[-1].range.end == whole.end
    for piece in pieces:
        sent = piece.outgoing.metadata.record_count if piece.outgoing else 0
        assert sent <= size
        assert sent + sum(count.records for count in piece.refused) == len(piece.range)
    numbers = [piece.outgoing.metadata.sequence_number for piece in pieces if piece.outgoing]
    assert numbers == list(range(len(numbers)))
