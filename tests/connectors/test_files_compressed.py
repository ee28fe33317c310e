from __future__ import annotations

import gzip
import random
import tracemalloc
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from penstock.connectors.sources.files import FileSource
from penstock.errors import UserMistake
from penstock.model.finding import Place
from penstock.model.pipeline import Connection, SourceTable
from penstock.model.schema import Field, parse_type
from penstock.model.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from penstock.ports import Chunk


def zstd(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]


COMPRESS: dict[str, Callable[[bytes], bytes]] = {".gz": gzip.compress, ".zst": zstd}
CHANCE = random.Random(7)
ROWS = [f"{number},{CHANCE.random()}" for number in range(50_000)]
CSV = ("id,name\n" + "\n".join(ROWS) + "\n").encode()
JSON_LINES = "".join(f'{{"id": {number}, "name": {CHANCE.random()}}}\n' for number in range(500)).encode()


@pytest.fixture(params=COMPRESS)
def ending(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def source(root: Path, **values: int) -> FileSource:
    fields = (Field("id", parse_type("bigint")), Field("name", parse_type("text")))
    table = SourceTable("orders", "public", "shop", Connection("shop"), fields, Place("handoff.md"))
    return FileSource(table, root, Settings(values))


def ids(chunks: list[Chunk]) -> list[int]:
    return [int(number) for chunk in chunks for number in chunk.records.column("id").to_pylist()]


def read_until_error(files: FileSource, partition: str) -> tuple[list[Chunk], str]:
    chunks: list[Chunk] = []
    with pytest.raises(UserMistake) as caught:
        chunks.extend(files.read(partition, None))
    return chunks, str(caught.value)


@pytest.mark.parametrize("read_bytes", [64, 5_000, 8 << 20])
def test_a_compressed_file_gives_the_records_of_the_plain_one(tmp_path: Path, ending: str, read_bytes: int) -> None:
    (tmp_path / "orders.jsonl").write_bytes(JSON_LINES)
    plain = list(source(tmp_path, READ_BYTES=read_bytes).read("orders.jsonl", None))
    (tmp_path / "orders.jsonl").unlink()
    partition = f"orders.jsonl{ending}"
    (tmp_path / partition).write_bytes(COMPRESS[ending](JSON_LINES))
    files = source(tmp_path, READ_BYTES=read_bytes)
    assert files.partitions() == (partition,)
    chunks = list(files.read(partition, None))
    assert ids(chunks) == ids(plain) == list(range(500))
    assert [chunk.end for chunk in chunks] == [chunk.end for chunk in plain]


def test_reading_again_from_any_chunk_gives_the_rest(tmp_path: Path, ending: str) -> None:
    (tmp_path / f"orders.csv{ending}").write_bytes(COMPRESS[ending](CSV))
    files = source(tmp_path, READ_BYTES=100_000)
    chunks = list(files.read(f"orders.csv{ending}", None))
    assert len(chunks) > 5
    for number, chunk in enumerate(chunks):
        again = list(files.read(f"orders.csv{ending}", chunk.next))
        assert [other.next.sequence for other in again] == [other.next.sequence for other in chunks[number + 1 :]]
        assert ids(again) == list(range(chunk.end, 50_000))


def test_several_members_are_one_text(tmp_path: Path, ending: str) -> None:
    cut = len(CSV) // 3
    members = [CSV[:cut], b"", CSV[cut : cut + 7], CSV[cut + 7 :]]
    padding = b"\0" * 40_000 if ending == ".gz" else b""
    (tmp_path / f"orders.csv{ending}").write_bytes(b"".join(map(COMPRESS[ending], members)) + padding)
    assert ids(list(source(tmp_path).read(f"orders.csv{ending}", None))) == list(range(50_000))


@pytest.mark.parametrize("part", [0.3, 0.5, 0.9])
def test_a_file_cut_short_gives_its_whole_records_and_then_an_error(tmp_path: Path, ending: str, part: float) -> None:
    compressed = COMPRESS[ending](CSV)
    partition = f"orders.csv{ending}"
    (tmp_path / partition).write_bytes(compressed[: int(len(compressed) * part)])
    files = source(tmp_path, READ_BYTES=10_000)
    assert files.partitions() == (partition,)
    chunks, message = read_until_error(files, partition)
    numbers = ids(chunks)
    assert numbers == list(range(len(numbers)))
    assert len(numbers) > 50_000 * (part - 0.2)
    assert not any(chunk.bad for chunk in chunks)
    offset = len("id,name\n") + sum(len(row) + 1 for row in ROWS[: len(numbers)])
    assert message.startswith(f"INT_ALPHA_012 {partition}: its ")
    assert f"in line {len(numbers) + 2:,} or after, with {offset:,} bytes of whole records before it" in message
    assert "replace the file by a whole one" in message
    # The whole file in its place is gone on with where the whole records ended.
    (tmp_path / partition).write_bytes(compressed)
    assert ids(list(files.read(partition, chunks[-1].next))) == list(range(len(numbers), 50_000))


def test_a_gzip_file_cut_short_by_a_byte_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "orders.csv.gz").write_bytes(gzip.compress(CSV)[:-1])
    chunks, message = read_until_error(source(tmp_path), "orders.csv.gz")
    assert ids(chunks) == list(range(50_000))
    assert "its gzip stream breaks off" in message


def test_a_line_that_was_not_whole_before_the_damage_is_not_a_record(tmp_path: Path) -> None:
    noise = CHANCE.randbytes(100_000).hex().encode()
    (tmp_path / "orders.csv.gz").write_bytes(gzip.compress(b"id,name\n1,a\n2," + noise + b"\n")[:-1_000])
    chunks, message = read_until_error(source(tmp_path, READ_BYTES=4_096, RECORD_BYTES_MAX=1_000), "orders.csv.gz")
    assert [chunk.end for chunk in chunks] == [1]
    assert ids(chunks) == [1]
    assert "in line 3 or after, with 12 bytes of whole records before it" in message


def test_a_damaged_gzip_file_is_noticed(tmp_path: Path) -> None:
    compressed = bytearray(gzip.compress(CSV))
    compressed[len(compressed) // 2] ^= 0xFF
    (tmp_path / "orders.csv.gz").write_bytes(compressed)
    _, message = read_until_error(source(tmp_path, READ_BYTES=10_000), "orders.csv.gz")
    assert "its gzip stream is damaged near compressed byte" in message


@pytest.mark.parametrize("content", [b"", b"\x1f\x8b", b"plain,text\n"])
def test_what_is_not_compressed_at_all_is_an_error(tmp_path: Path, ending: str, content: bytes) -> None:
    (tmp_path / f"orders.csv{ending}").write_bytes(content)
    with pytest.raises(UserMistake, match=f"INT_ALPHA_012 orders.csv{ending}: .* in its header"):
        source(tmp_path).partitions()
    (tmp_path / f"orders.csv{ending}").rename(tmp_path / f"orders.jsonl{ending}")
    assert read_until_error(source(tmp_path), f"orders.jsonl{ending}")[0] == []


def test_trailing_garbage_is_not_taken_for_the_end(tmp_path: Path, ending: str) -> None:
    (tmp_path / f"orders.csv{ending}").write_bytes(COMPRESS[ending](CSV) + b"garbage")
    chunks, message = read_until_error(source(tmp_path, READ_BYTES=10_000), f"orders.csv{ending}")
    assert len(ids(chunks)) > 49_000
    assert message.startswith("INT_ALPHA_012")


def test_a_text_that_compresses_to_nothing_does_not_fill_memory(tmp_path: Path, ending: str) -> None:
    text = b"id,name\n" + b"\n" * 10 + b"1," + b"x" * 50_000_000 + b"\n2,b\n"
    (tmp_path / f"orders.csv{ending}").write_bytes(COMPRESS[ending](text))
    del text
    files = source(tmp_path, READ_BYTES=65_536, RECORD_BYTES_MAX=10_000)
    tracemalloc.start()
    chunks = list(files.read(f"orders.csv{ending}", None))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [bad.error.code for chunk in chunks for bad in chunk.bad] == ["INT_ALPHA_006"]
    assert ids(chunks) == [2]
    assert peak < 4_000_000
