from __future__ import annotations

import datetime as dt
import decimal
from typing import TYPE_CHECKING

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from penstock.connectors.sources.files import FileSource
from penstock.errors import UserMistake
from penstock.model.finding import Place
from penstock.model.pipeline import Connection, SourceTable
from penstock.model.schema import Field, parse_type
from penstock.model.settings import Settings
from penstock.ports import Original

if TYPE_CHECKING:
    from pathlib import Path

    from penstock.ports import Chunk

PARTITION = "orders.parquet"


def source(root: Path, columns: str = "id amount", **values: int) -> FileSource:
    fields = tuple(Field(name, parse_type("text")) for name in columns.split())
    table = SourceTable("orders", "public", "shop", Connection("shop"), fields, Place("handoff.md"))
    return FileSource(table, root, Settings(values))


def test_columns_keep_their_types_and_come_in_the_documents_order(tmp_path: Path) -> None:
    amounts = pa.array([decimal.Decimal("12.50"), None], pa.decimal128(12, 2))
    pq.write_table(pa.table({"amount": amounts, "note": ["x", "y"], "id": [1, 2]}), tmp_path / PARTITION)
    files = source(tmp_path)
    assert files.partitions() == (PARTITION,)
    assert files.extra_columns == ("note",)
    (chunk,) = files.read(PARTITION, None)
    assert chunk.records.schema == pa.schema([("id", pa.int64()), ("amount", pa.decimal128(12, 2))])
    assert chunk.records.column("amount").equals(amounts)
    assert (chunk.start, chunk.end, chunk.sequences, chunk.bad) == (0, 2, None, ())
    assert chunk.size_bytes == chunk.records.nbytes


def test_row_groups_are_read_a_bounded_piece_at_a_time(tmp_path: Path) -> None:
    table = pa.table({"id": range(20_000), "amount": [f"{number:0100}" for number in range(20_000)]})
    pq.write_table(table, tmp_path / PARTITION, row_group_size=7_000, use_dictionary=False)
    chunks = list(source(tmp_path, READ_BYTES=100_000).read(PARTITION, None))
    assert len(chunks) > 20
    assert max(chunk.size_bytes for chunk in chunks) < 200_000
    assert [number for chunk in chunks for number in chunk.records.column("id").to_pylist()] == list(range(20_000))
    assert [chunk.start for chunk in chunks] == [0, *(chunk.end for chunk in chunks[:-1])]


def test_narrow_rows_do_not_make_one_giant_chunk(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": range(200_000), "amount": [0] * 200_000}), tmp_path / PARTITION)
    assert max(chunk.end - chunk.start for chunk in source(tmp_path).read(PARTITION, None)) == 65_536


def test_values_stored_as_a_dictionary_are_values(tmp_path: Path) -> None:
    codes = pa.array(["a", "b", "a"]).dictionary_encode()
    pq.write_table(pa.table({"id": [1, 2, 3], "amount": codes}), tmp_path / PARTITION)
    (chunk,) = source(tmp_path).read(PARTITION, None)
    assert chunk.records.column("amount").equals(pa.array(["a", "b", "a"]))


def test_an_original_is_the_row_as_json_with_every_digit(tmp_path: Path) -> None:
    table = pa.table(
        {
            "id": [1, 2, 3],
            "amount": pa.array([None, decimal.Decimal("12345678901234567890.123456789"), None], pa.decimal128(38, 9)),
            "at": pa.array([None, dt.datetime(2026, 1, 2, tzinfo=dt.UTC), None]),
            "tags": [None, ["a", "b"], []],
        }
    )
    pq.write_table(table, tmp_path / PARTITION)
    (chunk,) = source(tmp_path, "id amount at tags").read(PARTITION, None)
    second, third = chunk.originals([1, 2])
    assert (second.line, third.line) == (2, 3)
    row = msgspec.json.decode(second.content)
    assert row == {"id": 2, "amount": "12345678901234567890.123456789", "at": row["at"], "tags": ["a", "b"]}
    assert row["at"].startswith("2026-01-02")
    assert third == Original(b'{"id":3,"amount":null,"at":null,"tags":[]}', 3)


def test_text_that_is_not_utf_8_is_a_bad_record(tmp_path: Path) -> None:
    raw = pa.array([b"fine", b"M\xfcller", "Müller".encode()], pa.binary())
    text = pa.Array.from_buffers(pa.string(), 3, raw.buffers())
    pq.write_table(pa.table({"id": [1, 2, 3], "amount": text}), tmp_path / PARTITION)
    (chunk,) = source(tmp_path).read(PARTITION, None)
    assert chunk.records.to_pylist() == [{"id": 1, "amount": "fine"}, {"id": 3, "amount": "Müller"}]
    assert chunk.sequences is not None
    assert chunk.sequences.to_pylist() == [0, 2]
    (bad,) = chunk.bad
    assert (bad.sequence, bad.error.code, bad.error.field, bad.original.line) == (1, "INT_ALPHA_005", "amount", 2)
    assert bad.original.content == b'{"id":2,"amount":"M\xfcller"}'
    assert [error.code for error in source(tmp_path).reread(PARTITION, [bad.original.content]).errors.values()] == [
        "INT_ALPHA_005"
    ]


def test_a_list_with_text_that_is_not_utf_8_is_a_bad_record(tmp_path: Path) -> None:
    raw = pa.array([b"fine", b"\xff"], pa.binary())
    lists = pa.ListArray.from_arrays([0, 1, 2], pa.Array.from_buffers(pa.string(), 2, raw.buffers()))
    pq.write_table(pa.table({"id": [1, 2], "amount": lists}), tmp_path / PARTITION)
    (chunk,) = source(tmp_path).read(PARTITION, None)
    assert chunk.records.to_pylist() == [{"id": 1, "amount": ["fine"]}]
    assert source(tmp_path).reread(PARTITION, [chunk.bad[0].original.content]).errors[0].code == "INT_ALPHA_005"


def test_an_original_read_again_is_the_row_as_text(tmp_path: Path) -> None:
    columns = {
        "id": pa.array([1, 2**62]),
        "amount": pa.array([decimal.Decimal("0.10"), None], pa.decimal128(38, 2)),
        "rate": pa.array([float("nan"), 1e300]),
        "ok": pa.array([True, None]),
        "at": pa.array([1_700_000_000_123_456_789, None], pa.timestamp("ns")),
        "text": pa.array(['a "quote", \0 and é', ""]),
    }
    pq.write_table(pa.table(columns), tmp_path / PARTITION)
    files = source(tmp_path, " ".join(columns))
    (chunk,) = files.read(PARTITION, None)
    again = files.reread(PARTITION, [original.content for original in chunk.originals([0, 1])])
    assert again.errors == {}
    first, second = again.records.to_pylist()
    assert first == {
        "id": "1",
        "amount": "0.10",
        "rate": "nan",
        "ok": "true",
        "at": "2023-11-14 22:13:20.123456789",
        "text": 'a "quote", \0 and é',
    }
    assert float(second["rate"]) == 1e300
    assert second | {"rate": ""} == {"id": str(2**62), "amount": None, "rate": "", "ok": None, "at": None, "text": ""}


def test_a_file_without_rows_gives_no_chunks(tmp_path: Path) -> None:
    pq.write_table(
        pa.table({"id": pa.array([], pa.int64()), "amount": pa.array([], pa.string())}), tmp_path / PARTITION
    )
    files = source(tmp_path)
    assert files.partitions() == (PARTITION,)
    assert list(files.read(PARTITION, None)) == []


def test_a_missing_column_is_named_with_a_suggestion(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": [1], "Amount": [2]}), tmp_path / PARTITION)
    message = r"INT_ALPHA_011 orders.parquet lacks `amount` \(did you mean `Amount`\?\); it has: id, Amount"
    with pytest.raises(UserMistake, match=message):
        source(tmp_path).partitions()
    with pytest.raises(UserMistake, match=message):
        next(source(tmp_path).read(PARTITION, None))


def test_a_file_cut_short_is_not_a_whole_parquet_file(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": range(1_000), "amount": range(1_000)}), tmp_path / PARTITION)
    whole = (tmp_path / PARTITION).read_bytes()
    for size in (0, 3, 100, len(whole) - 1):
        (tmp_path / PARTITION).write_bytes(whole[:size])
        with pytest.raises(UserMistake, match=r"INT_ALPHA_012 orders.parquet is not a whole Parquet file: "):
            source(tmp_path).partitions()
        with pytest.raises(UserMistake, match="INT_ALPHA_012"):
            next(source(tmp_path).read(PARTITION, None))


def test_damage_inside_is_noticed_after_the_rows_before_it(tmp_path: Path) -> None:
    table = pa.table({"id": range(4_000), "amount": [f"{number:050}" for number in range(4_000)]})
    pq.write_table(table, tmp_path / PARTITION, row_group_size=1_000, use_dictionary=False, write_page_checksum=True)
    content = bytearray((tmp_path / PARTITION).read_bytes())
    group = pq.ParquetFile(tmp_path / PARTITION).metadata.row_group(2).column(1)
    middle = group.data_page_offset + group.total_compressed_size // 2
    content[middle : middle + 40] = b"\xff" * 40
    (tmp_path / PARTITION).write_bytes(content)
    chunks: list[Chunk] = []
    with pytest.raises(UserMistake, match="INT_ALPHA_012"):
        chunks.extend(source(tmp_path, READ_BYTES=10_000).read(PARTITION, None))
    assert 1_500 < chunks[-1].end <= 2_000
