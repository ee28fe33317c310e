"""Files that are elsewhere: over FTP, from a real server that misbehaves when told to, and in fsspec's memory."""

from __future__ import annotations

import gzip
import os
import uuid
from typing import TYPE_CHECKING, Any

import fsspec  # type: ignore[import-untyped]  # it ships no types
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.connectors.ftp_server import ftp_server

from penstock import load
from penstock.connectors import open_source
from penstock.connectors.sources.remote import RemoteFiles
from penstock.errors import ContentChanged, Unavailable, UserMistake
from penstock.model.finding import Place
from penstock.model.pipeline import Connection, SourceTable
from penstock.model.schema import Field, parse_type
from penstock.model.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.connectors.ftp_server import FtpServer

    from penstock.model.position import Position

FIELDS = (Field("id", parse_type("bigint")), Field("name", parse_type("text")))
Make = "Callable[..., RemoteFiles]"


@pytest.fixture
def there(tmp_path: Path) -> Path:
    """The folder that the server shows as `/`."""
    folder = tmp_path / "there"
    folder.mkdir()
    return folder


@pytest.fixture
def server(there: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FtpServer]:
    with ftp_server(there) as started:
        monkeypatch.setenv("SESAME", started.password)
        yield started


@pytest.fixture
def source(server: FtpServer, tmp_path: Path) -> Iterator[Callable[..., RemoteFiles]]:
    """Make sources of table `orders` on the server, that are closed in the end."""
    made: list[RemoteFiles] = []

    def make(path: str = "", *, url: str = "", **settings: object) -> RemoteFiles:
        connection = Connection("shop", path=path, url=url or f"ftp://me:${{SESAME}}@{server.address}/")
        table = SourceTable("orders", "public", "shop", connection, FIELDS, Place("test"))
        found = open_source(table, tmp_path, Settings(settings), tmp_path / ".penstock")
        assert isinstance(found, RemoteFiles)
        made.append(found)
        return found

    yield make
    for each in made:
        each.close()
    assert not list((tmp_path / ".penstock" / "remote").glob("*")), "copies are left"


def lines(start: int, end: int) -> str:
    return "".join(f"{number},name {number}\n" for number in range(start, end))


def read(source: RemoteFiles, partition: str, position: Position | None = None) -> tuple[list[int], Position | None]:
    """Return the ids read, and the last position."""
    ids: list[int] = []
    for chunk in source.read(partition, position):
        assert chunk.bad == ()
        ids += [int(number) for number in chunk.records.column("id").to_pylist()]
        position = chunk.next
    return ids, position


def gzipped(path: Path, text: str) -> None:
    path.write_bytes(gzip.compress(text.encode()))


def as_parquet(path: Path, start: int, end: int) -> None:
    pq.write_table(pa.table({"id": range(start, end), "name": [f"name {n}" for n in range(start, end)]}), path)


# --- which files -------------------------------------------------------------------------------------------------


def test_a_table_is_a_file_or_a_folder_or_a_pattern_there_as_it_would_be_here(
    there: Path, source: Callable[..., RemoteFiles]
) -> None:
    for path in ("orders.csv", "in/orders/b.csv", "in/orders/a.jsonl", "in/orders/_note.csv", "in/orders/note.txt"):
        (there / path).parent.mkdir(parents=True, exist_ok=True)
        (there / path).write_text("id,name\n")
    (there / "in" / "orders" / "deeper").mkdir()
    assert source().partitions() == ("orders.csv",)
    assert source("in").partitions() == ("in/orders/a.jsonl", "in/orders/b.csv")
    assert source("in/{table}/*.csv").partitions() == ("in/orders/b.csv",)
    assert source("in/orders/b.csv").partitions() == ("in/orders/b.csv",)


@pytest.mark.parametrize(("path", "code"), [("nowhere", "INT_ALPHA_010"), ("both", "INT_ALPHA_015")])
def test_no_file_and_two_that_could_be_meant_are_the_users_to_mend(
    there: Path, source: Callable[..., RemoteFiles], path: str, code: str
) -> None:
    (there / "both" / "orders").mkdir(parents=True)
    (there / "both" / "orders.csv").write_text("id,name\n")
    (there / "both" / "orders" / "a.csv").write_text("id,name\n")
    with pytest.raises(UserMistake) as caught:
        source(path).partitions()
    assert caught.value.kind.code == code


# --- reading -----------------------------------------------------------------------------------------------------


def make_csv(there: Path, count: int) -> str:
    (there / "orders.csv").write_text("id,name\n" + lines(0, count))
    return "orders.csv"


def make_gzip(there: Path, count: int) -> str:
    gzipped(there / "orders.csv.gz", "id,name\n" + lines(0, count))
    return "orders.csv.gz"


def make_jsonl(there: Path, count: int) -> str:
    (there / "orders.jsonl").write_text("".join(f'{{"id": {n}, "name": "name {n}"}}\n' for n in range(count)))
    return "orders.jsonl"


def make_parquet(there: Path, count: int) -> str:
    as_parquet(there / "orders.parquet", 0, count)
    return "orders.parquet"


@pytest.mark.parametrize("make", [make_csv, make_gzip, make_jsonl, make_parquet])
def test_reading_goes_on_from_any_position_and_gives_the_same_records_and_sequences(
    there: Path, source: Callable[..., RemoteFiles], make: Callable[[Path, int], str]
) -> None:
    partition = make(there, 2000)
    reading = source(READ_BYTES=2048)
    assert reading.partitions() == (partition,)
    chunks = [
        (chunk.start, chunk.end, chunk.next, chunk.records.column("id").to_pylist())
        for chunk in reading.read(partition, None)
    ]
    assert len(chunks) > 3
    assert [int(number) for *_, ids in chunks for number in ids] == list(range(2000))
    for start, end, position, _ in chunks:
        assert (position.partition, position.sequence) == (partition, end)
        ids, _ = read(source(READ_BYTES=4096), partition, position)
        assert ids == list(range(end, 2000)), start


@pytest.mark.parametrize("make", [make_csv, make_jsonl, make_parquet])
def test_what_was_read_to_its_end_is_not_fetched_again_until_it_has_another_version(
    there: Path, server: FtpServer, source: Callable[..., RemoteFiles], make: Callable[[Path, int], str]
) -> None:
    partition = make(there, 100)
    ids, position = read(source(), partition)
    assert ids == list(range(100))
    assert read(source(), partition, position) == ([], position)
    assert server.sent == [partition]
    os.utime(there / partition, ns=(0, 0))
    assert read(source(), partition, position)[0] == []
    assert server.sent == [partition, partition]


def test_a_file_that_grew_is_read_on_and_one_that_was_replaced_is_said_to_be_another(
    there: Path, source: Callable[..., RemoteFiles]
) -> None:
    partition = make_csv(there, 10)
    _, position = read(source(), partition)
    with (there / partition).open("a") as more:
        more.write(lines(10, 15))
    ids, after = read(source(), partition, position)
    assert ids == list(range(10, 15))
    assert after is not None
    (there / partition).write_text("id,name\n" + lines(100, 120))
    with pytest.raises(ContentChanged, match=r"orders\.csv") as caught:
        read(source(), partition, after)
    assert caught.value.kind.code == "INT_ALPHA_013"
    accepted = source().accept(after)
    assert accepted.sequence == after.sequence
    assert read(source(), partition, accepted)[0] != []


def test_bad_records_have_their_originals_and_can_be_parsed_again(
    there: Path, source: Callable[..., RemoteFiles]
) -> None:
    (there / "orders.csv").write_text("id,name\n1,a\n2\n3,c\n")
    reading = source()
    (chunk,) = reading.read("orders.csv", None)
    assert [(bad.sequence, bad.original.content, bad.original.line) for bad in chunk.bad] == [(1, b"2", 3)]
    assert [each.content for each in chunk.originals([0, 2])] == [b"1,a", b"3,c"]
    again = reading.reread("orders.csv", [b"3,c", b"4"])
    assert again.records.to_pylist() == [{"id": "3", "name": "c"}]
    assert list(again.errors) == [1]


def test_a_reading_that_is_dropped_leaves_no_copy(
    there: Path, tmp_path: Path, source: Callable[..., RemoteFiles]
) -> None:
    partition = make_csv(there, 5000)
    reading = source(READ_BYTES=1024).read(partition, None)
    next(reading)
    assert list((tmp_path / ".penstock" / "remote").rglob("*.csv"))
    reading.close()  # type: ignore[attr-defined]  # it is a generator
    assert not list((tmp_path / ".penstock" / "remote").rglob("*.csv"))


def test_how_much_is_left_is_known_in_bytes(there: Path, source: Callable[..., RemoteFiles]) -> None:
    partition = make_csv(there, 100)
    size = (there / partition).stat().st_size
    reading = source()
    reading.partitions()
    assert reading.size_bytes(partition, None) == size
    assert reading.size_bytes(partition, read(reading, partition)[1]) == 0


# --- trouble -----------------------------------------------------------------------------------------------------


def test_a_transfer_that_breaks_off_gives_no_records_and_may_be_tried_again(
    there: Path, server: FtpServer, source: Callable[..., RemoteFiles]
) -> None:
    partition = make_csv(there, 1000)
    server.break_off_after = 500
    with pytest.raises(Unavailable, match=r"orders\.csv cannot be reached: 426 broke off") as caught:
        read(source(), partition)
    assert caught.value.kind.code == "INT_ALPHA_014"
    server.break_off_after = None
    assert read(source(), partition)[0] == list(range(1000))


def test_a_file_that_changes_while_it_is_fetched_gives_no_records_and_may_be_tried_again(
    there: Path, server: FtpServer, source: Callable[..., RemoteFiles]
) -> None:
    partition = make_csv(there, 1000)

    def rewrite() -> None:
        (there / partition).write_text("id,name\n" + lines(0, 1001))

    server.while_sending = rewrite
    with pytest.raises(Unavailable, match=r"orders\.csv changed while it was copied"):
        read(source(), partition)
    assert read(source(), partition)[0] == list(range(1001))


def test_who_may_not_sign_in_is_told_so_without_a_word_of_the_password(
    server: FtpServer, source: Callable[..., RemoteFiles], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SESAME", "wrong/w@rd")
    with pytest.raises(UserMistake, match=rf"ftp://me@{server.address}/ may not be read: 530 not \*\*\*") as caught:
        source()
    assert caught.value.kind.code == "INT_ALPHA_014"
    assert "wrong" not in str(caught.value)


def test_a_server_that_is_away_may_be_back_later(there: Path, source: Callable[..., RemoteFiles]) -> None:
    with ftp_server(there, password="x") as other:  # noqa: S106 - of a server that is gone at once
        gone = other.address
    with pytest.raises(Unavailable, match="cannot be reached") as caught:
        source(url=f"ftp://me:${{SESAME}}@{gone}/")
    assert caught.value.kind.code == "INT_ALPHA_014"


@pytest.mark.parametrize("url", ["nonsense://there", "s3://bucket/lake"])
def test_a_protocol_that_there_is_not_or_whose_client_is_not_installed_is_said_to_be(
    source: Callable[..., RemoteFiles], url: str
) -> None:
    with pytest.raises(UserMistake, match=f"cannot reach `{url}`") as caught:
        source(url=url)
    assert caught.value.kind.code == "INT_PIPELINE_008"


def test_a_file_that_goes_away_is_missed_by_name(there: Path, source: Callable[..., RemoteFiles]) -> None:
    partition = make_csv(there, 1)
    reading = source()
    reading.partitions()
    (there / partition).unlink()
    with pytest.raises(UserMistake, match=r"/orders\.csv is not there") as caught:
        read(reading, partition)
    assert caught.value.kind.code == "INT_ALPHA_010"


# --- elsewhere again, and a whole run ------------------------------------------------------------------------------


def test_another_protocol_of_fsspec_is_read_in_the_same_way(source: Callable[..., RemoteFiles]) -> None:
    memory, folder = fsspec.filesystem("memory"), f"/{uuid.uuid4()}"
    memory.pipe_file(f"{folder}/orders/a.csv", b"id,name\n" + lines(0, 5).encode())
    memory.pipe_file(f"{folder}/orders/b.jsonl", b'{"id": 5}\n')
    try:
        reading = source(url=f"memory:/{folder}")
        assert reading.partitions() == ("orders/a.csv", "orders/b.jsonl")
        assert [read(reading, partition)[0] for partition in reading.partitions()] == [[0, 1, 2, 3, 4], [5]]
        _ids, position = read(reading, "orders/a.csv")
        assert read(reading, "orders/a.csv", position) == ([], position)
    finally:
        memory.rm(folder, recursive=True)


DOCUMENT = """\
## SCHEMA_TO_STREAM_HANDOFF

```yaml
pipeline: "shop"
connections:
  shop: {{kind: files, url: "ftp://me:${{SESAME}}@{address}/", path: "in"}}
  lake: {{kind: files, path: "lake", options: {{format: csv}}}}
source_models:
  - table: "orders"
    database: "shop"
    columns:
      - {{name: "id", type: "bigint", primary_key: true}}
      - {{name: "name", type: "text"}}
destination_requirements:
  warehouse: "lake"
  models:
    - {{name: "fct_orders", source: "orders", grain: "id", columns: ["id", "name"]}}
```
"""


def test_a_run_reads_from_there_and_a_second_one_fetches_only_what_is_new(
    there: Path, tmp_path: Path, server: FtpServer
) -> None:
    def ids() -> list[Any]:
        rows = "".join(path.read_text() for path in sorted((tmp_path / "lake" / "fct_orders").glob("*.csv")))
        return sorted(int(row.partition(",")[0]) for row in rows.splitlines() if not row.startswith('"'))

    (there / "in" / "orders").mkdir(parents=True)
    (there / "in" / "orders" / "a.csv").write_text("id,name\n" + lines(0, 500) + "broken,x\n")
    (tmp_path / "handoff.md").write_text(DOCUMENT.format(address=server.address))
    assert load(tmp_path / "handoff.md").run().status == "completed"
    assert ids() == list(range(500))
    (there / "in" / "orders" / "b.csv").write_text("id,name\n" + lines(500, 600))
    result = load(tmp_path / "handoff.md").run()
    assert (result.status, result.trouble) == ("completed", None)
    assert ids() == list(range(600))
    assert server.sent == ["in/orders/a.csv", "in/orders/b.csv"]
    assert server.password not in (tmp_path / ".penstock" / "ledger.sqlite").read_bytes().decode(errors="replace")
