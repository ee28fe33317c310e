from __future__ import annotations

import gzip
import itertools
import re
from typing import TYPE_CHECKING

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from penstock.connectors.sources.files import FileSource
from penstock.errors import ContentChanged, UserMistake
from penstock.model.finding import Place
from penstock.model.pipeline import Connection, SourceTable
from penstock.model.position import Position
from penstock.model.schema import Field, parse_type
from penstock.model.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from penstock.ports import Chunk

HEADER = b"id,name\n"
ROWS = b"".join(b"%d,%s\n" % (number, b"x" * 50) for number in range(5_000))


def source(root: Path) -> FileSource:
    fields = (Field("id", parse_type("bigint")), Field("name", parse_type("text")))
    table = SourceTable("orders", "public", "shop", Connection("shop"), fields, Place("handoff.md"))
    return FileSource(table, root, Settings({"READ_BYTES": 4096}))


def read(root: Path, partition: str, position: Position | None = None) -> list[Chunk]:
    return list(source(root).read(partition, position))


def names(chunks: Sequence[Chunk]) -> list[str]:
    return [name for chunk in chunks for name in chunk.records.column("name").to_pylist()]


def as_it_is(content: bytes) -> bytes:
    return content


FORMS: dict[str, Callable[[bytes], bytes]] = {"orders.csv": as_it_is, "orders.csv.gz": gzip.compress}


@pytest.fixture(params=FORMS)
def partition(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def write(root: Path, partition: str, content: bytes) -> None:
    (root / partition).write_bytes(FORMS[partition](content))


def assert_changed(root: Path, partition: str, position: Position, what: str) -> None:
    with pytest.raises(ContentChanged) as caught:
        read(root, partition, position)
    message = str(caught.value)
    assert message.startswith(f"INT_ALPHA_013 {partition}: ")
    assert re.search(what, message), message
    assert "--rewind reads it from its beginning again, --accept goes on from here without comparing" in message


def test_a_file_that_grew_is_gone_on_with(tmp_path: Path, partition: str) -> None:
    write(tmp_path, partition, HEADER + ROWS)
    end = read(tmp_path, partition)[-1].next
    assert read(tmp_path, partition, end) == []
    write(tmp_path, partition, HEADER + ROWS + b"5000,new\n")
    (chunk,) = read(tmp_path, partition, end)
    assert names([chunk]) == ["new"]
    assert (chunk.start, chunk.end) == (5_000, 5_001)
    assert [original.line for original in chunk.originals([5_000])] == [5_002]


def test_a_gzip_file_may_grow_by_a_member(tmp_path: Path) -> None:
    write(tmp_path, "orders.csv.gz", HEADER + b"1,a\n")
    end = read(tmp_path, "orders.csv.gz")[-1].next
    with (tmp_path / "orders.csv.gz").open("ab") as file:
        file.write(gzip.compress(b"2,b\n"))
    assert names(read(tmp_path, "orders.csv.gz", end)) == ["b"]


def test_a_last_line_without_a_line_break_may_get_one_later(tmp_path: Path, partition: str) -> None:
    for line_break in (b"\n", b"\r\n"):
        write(tmp_path, partition, HEADER + b"1,a")
        end = read(tmp_path, partition)[-1].next
        assert read(tmp_path, partition, end) == []
        write(tmp_path, partition, HEADER + b"1,a" + line_break)
        assert read(tmp_path, partition, end) == []
        write(tmp_path, partition, HEADER + b"1,a" + line_break + b"2,b\n")
        (chunk,) = read(tmp_path, partition, end)
        assert names([chunk]) == ["b"]
        assert chunk.originals([1])[0].line == 3


def test_a_last_line_that_was_half_written_is_noticed_when_it_goes_on(tmp_path: Path, partition: str) -> None:
    write(tmp_path, partition, HEADER + b"1,a")
    end = read(tmp_path, partition)[-1].next
    write(tmp_path, partition, HEADER + b"1,abc\n2,d\n")
    assert_changed(tmp_path, partition, end, "line 2 was read when it had no line break, and has gone on since")


def test_a_file_that_became_shorter_is_noticed(tmp_path: Path, partition: str) -> None:
    write(tmp_path, partition, HEADER + ROWS)
    end = read(tmp_path, partition)[-1].next
    write(tmp_path, partition, HEADER + ROWS[:-3])
    size = len(HEADER + ROWS)
    assert_changed(tmp_path, partition, end, f"it now ends after {size - 3:,} bytes of text, but {size:,} were read")
    write(tmp_path, partition, b"")
    assert_changed(tmp_path, partition, end, "it now ends after 0 bytes of text")


def test_another_file_in_the_place_of_the_first_is_noticed(tmp_path: Path, partition: str) -> None:
    write(tmp_path, partition, HEADER + ROWS)
    position = read(tmp_path, partition)[3].next
    write(tmp_path, partition, HEADER + ROWS.replace(b"x", b"y"))
    assert_changed(tmp_path, partition, position, r"what was read before, up to line \d+, is no longer the same")
    write(tmp_path, partition, HEADER.upper() + ROWS)
    assert_changed(tmp_path, partition, position, "is no longer the same")


def test_a_line_put_in_or_taken_out_before_the_position_is_noticed(tmp_path: Path, partition: str) -> None:
    write(tmp_path, partition, HEADER + ROWS)
    position = read(tmp_path, partition)[-2].next
    lines = ROWS.splitlines(keepends=True)
    for changed in ([*lines[:2_000], lines[7], *lines[2_000:]], [*lines[:2_000], *lines[2_001:], *lines[-9:]]):
        write(tmp_path, partition, HEADER + b"".join(changed))
        assert_changed(tmp_path, partition, position, "is no longer the same")


def test_a_change_at_the_beginning_alone_is_noticed(tmp_path: Path, partition: str) -> None:
    write(tmp_path, partition, HEADER + ROWS)
    end = read(tmp_path, partition)[-1].next
    write(tmp_path, partition, HEADER + b"1" + ROWS[1:])
    assert_changed(tmp_path, partition, end, "is no longer the same")


def test_what_lies_after_the_position_may_change(tmp_path: Path, partition: str) -> None:
    write(tmp_path, partition, HEADER + ROWS)
    position = read(tmp_path, partition)[3].next
    lines = ROWS.splitlines(keepends=True)
    write(tmp_path, partition, HEADER + b"".join(lines[: position.sequence]) + b"7,other\n")
    assert names(read(tmp_path, partition, position)) == ["other"]


def test_a_changed_file_can_be_accepted_and_is_gone_on_with(tmp_path: Path, partition: str) -> None:
    write(tmp_path, partition, HEADER + ROWS)
    position = read(tmp_path, partition)[3].next
    write(tmp_path, partition, HEADER + ROWS.replace(b"x", b"y"))
    accepted = source(tmp_path).accept(position)
    assert (accepted.partition, accepted.sequence) == (partition, position.sequence)
    chunks = read(tmp_path, partition, accepted)
    assert chunks[0].start == position.sequence
    assert set(names(chunks)) == {"y" * 50}
    assert chunks[-1].end == 5_000
    assert read(tmp_path, partition, chunks[-1].next) == []


def test_a_half_line_can_be_accepted_and_its_rest_is_a_record_of_its_own(tmp_path: Path, partition: str) -> None:
    write(tmp_path, partition, HEADER + b"1,a")
    end = read(tmp_path, partition)[-1].next
    write(tmp_path, partition, HEADER + b"1,abc\n2,d\n")
    (chunk,) = read(tmp_path, partition, source(tmp_path).accept(end))
    assert [(bad.original.content, bad.original.line) for bad in chunk.bad] == [(b"bc", 2)]
    assert names([chunk]) == ["d"]


def test_a_shorter_file_can_be_accepted_and_is_gone_on_with_at_its_end(tmp_path: Path, partition: str) -> None:
    write(tmp_path, partition, HEADER + ROWS)
    end = read(tmp_path, partition)[-1].next
    write(tmp_path, partition, HEADER + b"1,a\n2,b\n")
    accepted = source(tmp_path).accept(end)
    assert read(tmp_path, partition, accepted) == []
    write(tmp_path, partition, HEADER + b"1,a\n2,b\n3,c\n")
    (chunk,) = read(tmp_path, partition, accepted)
    assert names([chunk]) == ["c"]
    assert (chunk.start, chunk.originals([5_000])[0].line) == (5_000, 4)


def test_a_position_of_another_kind_of_file_is_not_trusted(tmp_path: Path) -> None:
    write(tmp_path, "orders.csv", HEADER + ROWS)
    for token in ("{}", "7", "not json", '{"row": 1}'):
        assert_changed(tmp_path, "orders.csv", Position("orders.csv", 7, token), "its position does not fit")


def test_a_position_without_a_token_is_the_beginning(tmp_path: Path, partition: str) -> None:
    write(tmp_path, partition, HEADER + ROWS)
    assert names(read(tmp_path, partition, Position(partition, 0, ""))) == names(read(tmp_path, partition))


def test_a_file_that_grows_while_it_is_read_ends_where_it_ended_when_opened(tmp_path: Path) -> None:
    write(tmp_path, "orders.csv", HEADER + ROWS)
    chunks = source(tmp_path).read("orders.csv", None)
    first = next(chunks)
    with (tmp_path / "orders.csv").open("ab") as file:
        file.write(b"5000,new\n")
    rest = list(chunks)
    assert rest[-1].end == 5_000
    assert names(read(tmp_path, "orders.csv", rest[-1].next)) == ["new"]
    assert first.start == 0


def test_a_file_that_shrinks_while_it_is_read_does_not_look_finished(tmp_path: Path) -> None:
    write(tmp_path, "orders.csv", HEADER + ROWS)
    chunks = source(tmp_path).read("orders.csv", None)
    for _ in range(5):
        next(chunks)
    write(tmp_path, "orders.csv", HEADER)
    with pytest.raises(ContentChanged, match="it lost its end while it was read, and has no more than"):
        list(chunks)


def test_a_file_that_vanishes_while_it_is_read_is_read_to_its_end(tmp_path: Path) -> None:
    write(tmp_path, "orders.csv", HEADER + ROWS)
    chunks = source(tmp_path).read("orders.csv", None)
    first = next(chunks)
    (tmp_path / "orders.csv").unlink()
    assert len(names([first, *chunks])) == 5_000
    with pytest.raises(UserMistake, match=r"INT_ALPHA_010 orders.csv is not there"):
        read(tmp_path, "orders.csv", first.next)


def test_what_is_left_goes_down_to_nothing(tmp_path: Path, partition: str) -> None:
    write(tmp_path, partition, HEADER + ROWS)
    files = source(tmp_path)
    left = [files.size_bytes(partition, position) for position in [None, *(c.next for c in read(tmp_path, partition))]]
    assert left[0] == (tmp_path / partition).stat().st_size
    assert left[-1] == 0
    assert all(a is not None and b is not None and a >= b for a, b in itertools.pairwise(left))
    assert files.size_bytes("orders.jsonl", None) is None


def test_a_source_drops_an_iterator_without_leaving_the_file_open(tmp_path: Path, partition: str) -> None:
    write(tmp_path, partition, HEADER + ROWS)
    files = source(tmp_path)
    chunks = files.read(partition, None)
    files.commit(next(chunks).next)
    del chunks  # a file left open would be a ResourceWarning, and so an error
    files.close()


# --- Parquet ------------------------------------------------------------------------------------------------------


def write_parquet(root: Path, rows: int, name: str = "n") -> None:
    table = pa.table({"id": range(rows), "name": [f"{name}{number}" for number in range(rows)]})
    pq.write_table(table, root / "orders.parquet", row_group_size=1_000)


def test_rows_of_parquet_are_the_same_from_any_position(tmp_path: Path) -> None:
    write_parquet(tmp_path, 5_000)
    chunks = read(tmp_path, "orders.parquet")
    assert len(chunks) > 10
    for number, chunk in enumerate(chunks):
        again = read(tmp_path, "orders.parquet", chunk.next)
        assert names(again) == names(chunks[number + 1 :])
        assert [other.start for other in again][:1] == [other.start for other in chunks[number + 1 :]][:1]


def test_another_parquet_file_is_noticed_and_can_be_accepted(tmp_path: Path) -> None:
    write_parquet(tmp_path, 5_000)
    position = read(tmp_path, "orders.parquet")[3].next
    row = msgspec.json.decode(position.token)["row"]
    write_parquet(tmp_path, 4_000, name="m")
    assert_changed(tmp_path, "orders.parquet", position, f"it is another file than the one read up to row {row:,}")
    accepted = source(tmp_path).accept(position)
    assert names(read(tmp_path, "orders.parquet", accepted))[0] == f"m{row}"
    write_parquet(tmp_path, 10)
    accepted = source(tmp_path).accept(position)
    assert read(tmp_path, "orders.parquet", accepted) == []
    assert source(tmp_path).size_bytes("orders.parquet", accepted) == 0
