"""Rows cut to size, named and checksummed."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.model.batch import RESERVED_FIELDS, SEQUENCE
from penstock.model.position import Position, Range
from penstock.protocol.batches import Covers, Stamps, outgoing, slices
from penstock.protocol.messages import BatchErrorSummary, Priority

SCHEMA = pa.schema([pa.field("name", pa.string()), *RESERVED_FIELDS])
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def rows(*sequences: int) -> pa.RecordBatch:
    made = [{"name": f"n{sequence}", SEQUENCE: sequence} for sequence in sequences]
    return pa.RecordBatch.from_pylist(made, schema=SCHEMA)


def cut(batch: pa.RecordBatch, covered: Range, size: int) -> list[tuple[Range, list[int]]]:
    return [(range_, part.column(SEQUENCE).to_pylist()) for range_, part in slices(batch, covered, size)]


def test_parts_take_in_the_records_that_are_missing_between_them() -> None:
    assert cut(rows(11, 13, 16), Range(10, 20), 2) == [(Range(10, 16), [11, 13]), (Range(16, 20), [16])]


def test_a_range_without_rows_is_one_part() -> None:
    assert cut(rows(), Range(10, 20), 2) == [(Range(10, 20), [])]


def test_rows_that_fill_the_last_part_leave_no_empty_one() -> None:
    assert cut(rows(0, 1, 2, 3), Range(0, 4), 2) == [(Range(0, 2), [0, 1]), (Range(2, 4), [2, 3])]


def test_a_slice_of_rows_is_cut_by_its_own_sequences() -> None:
    assert cut(rows(0, 1, 2, 3).slice(2), Range(2, 4), 1) == [(Range(2, 3), [2]), (Range(3, 4), [3])]


@given(
    present=st.lists(st.booleans(), max_size=50),
    start=st.integers(0, 1 << 40),
    size=st.integers(1, 12),
)
def test_parts_lie_side_by_side_and_lose_nothing(present: list[bool], start: int, size: int) -> None:
    covered = Range(start, start + len(present))
    sequences = [start + number for number, is_there in enumerate(present) if is_there]
    parts = cut(rows(*sequences), covered, size)
    assert [number for _, part in parts for number in part] == sequences
    assert [range_.start for range_, _ in parts] == [covered.start, *(range_.end for range_, _ in parts[:-1])]
    assert parts[-1][0].end == covered.end
    assert all(number in range_ for range_, part in parts for number in part)
    assert all(len(part) <= size for _, part in parts)


def test_a_batch_is_named_counted_and_checksummed() -> None:
    ids = iter(["x", "y"])
    stamps = Stamps(lambda: next(ids), lambda: NOON)
    covers = Covers("a", Range(0, 5), Position("a", 0, "byte 0"), "facts")
    first, second = (outgoing(rows(0, 3), "summary", covers, stamps()) for _ in range(2))
    assert (first.metadata.batch_id, second.metadata.batch_id) == ("x", "y")
    assert (first.metadata.sequence_number, second.metadata.sequence_number) == (0, 1)
    assert (first.metadata.record_count, first.metadata.range, first.metadata.destination) == (2, Range(0, 5), "facts")
    assert (first.metadata.position, first.metadata.created_at) == (Position("a", 0, "byte 0"), NOON)
    assert first.metadata.checksum == hashlib.sha256(first.payload).hexdigest()
    assert first.summary == "summary"


@pytest.mark.parametrize("offset", [0, 1])
def test_the_payload_is_what_the_rows_were_also_of_a_slice(offset: int) -> None:
    covers = Covers("a", Range(offset, 4), Position("a", 0, ""))
    sent = outgoing(rows(0, 1, 2, 3).slice(offset), None, covers, Stamps(lambda: "x", lambda: NOON)())
    found = pa.ipc.read_record_batch(pa.py_buffer(sent.payload), SCHEMA)
    assert found.column("name").to_pylist() == [f"n{number}" for number in range(offset, 4)]


def test_a_batch_carries_how_it_is_to_be_treated_and_what_was_refused_before_it() -> None:
    errors = BatchErrorSummary(1, {"INT_ALPHA_004": 1}, ("orders/a/3",))
    covers = Covers("a", Range(0, 5), Position("a", 0, ""), "", Priority.CRITICAL, flush=True, errors=errors)
    sent = outgoing(rows(0, 1), None, covers, Stamps(lambda: "x", lambda: NOON)(), streaming=True)
    assert sent.streaming
    assert (sent.metadata.priority, sent.metadata.flush, sent.metadata.errors) == (Priority.CRITICAL, True, errors)
    assert sent.metadata.urgent


def test_a_batch_is_not_urgent_unless_it_is_said_to_be() -> None:
    covers = Covers("a", Range(0, 5), Position("a", 0, ""))
    sent = outgoing(rows(0), None, covers, Stamps(lambda: "x", lambda: NOON)())
    assert not sent.streaming
    assert not sent.metadata.urgent
    assert (sent.metadata.errors, sent.metadata.destination) == (None, "")
