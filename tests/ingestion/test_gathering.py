"""Pieces of one partition that are handed over together."""

from __future__ import annotations

import pyarrow as pa
import pytest

from penstock.ingestion.gathering import Gathered, Piece
from penstock.model.batch import RESERVED_FIELDS, SEQUENCE
from penstock.model.outcome import DeadLetter, RecordError, Stage
from penstock.model.position import Position, Range

SCHEMA = pa.schema([pa.field("id", pa.int64()), *RESERVED_FIELDS])


def letter(sequence: int) -> DeadLetter:
    return DeadLetter("orders", "a", sequence, Stage.INGESTION, "", (RecordError("INT_ALPHA_002", "", ""),), b"", 1)


def piece(
    start: int,
    end: int,
    *,
    bad: tuple[int, ...] = (),
    critical: bool = False,
    partition: str = "a",
    read_at_s: float = 0,
) -> Piece:
    good = [{"id": number, SEQUENCE: number} for number in range(start, end) if number not in bad]
    return Piece(
        partition,
        Range(start, end),
        Position(partition, start, f"byte {start}"),
        pa.RecordBatch.from_pylist(good, schema=SCHEMA),
        tuple(letter(sequence) for sequence in bad),
        critical,
        read_at_s,
    )


def gathered(*pieces: Piece) -> Gathered:
    made = Gathered()
    for number, each in enumerate(pieces):
        assert made.takes(each)
        made.add(each, 10.0 + number)
    return made


def test_pieces_are_one_range_of_all_they_account_for() -> None:
    whole = gathered(piece(5, 8, bad=(6,)), piece(8, 9, bad=(8,)), piece(9, 12))
    assert (whole.partition, whole.range, whole.begins) == ("a", Range(5, 12), Position("a", 5, "byte 5"))
    assert whole.rows.column("id").to_pylist() == [5, 7, 9, 10, 11]
    assert [each.sequence for each in whole.letters] == [6, 8]
    assert whole.records == 5


def test_a_single_piece_is_not_copied() -> None:
    one = piece(0, 3)
    assert gathered(one).rows is one.rows


def test_waiting_is_counted_from_the_first_piece() -> None:
    assert gathered(piece(0, 1), piece(1, 2), piece(2, 3)).since_s == 10.0


def test_a_piece_of_another_partition_may_not_join() -> None:
    whole = gathered(piece(0, 1))
    assert whole.takes(piece(1, 2))
    assert not whole.takes(piece(0, 1, partition="b"))
    assert Gathered().takes(piece(0, 1, partition="b"))


@pytest.mark.parametrize("critical", [(False, False), (True, False), (False, True)])
def test_one_critical_piece_makes_all_critical(critical: tuple[bool, bool]) -> None:
    first, second = critical
    assert gathered(piece(0, 1, critical=first), piece(1, 2, critical=second)).critical is any(critical)


@pytest.mark.parametrize("pieces", [[piece(3, 3)], [piece(3, 4, bad=(3,))], [piece(3, 3), piece(3, 5, bad=(3, 4))]])
def test_where_nothing_good_is_left_there_are_no_rows_and_a_range_all_the_same(pieces: list[Piece]) -> None:
    whole = gathered(*pieces)
    assert whole.rows.num_rows == whole.records == 0
    assert whole.range == Range(3, pieces[-1].range.end)
