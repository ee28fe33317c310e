from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from penstock.connectors.sources.files import FileSource
from penstock.errors import UserMistake
from penstock.model.finding import Place
from penstock.model.pipeline import Connection, SourceTable
from penstock.model.schema import Field, parse_type
from penstock.model.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

CSV = b"id,name\n1,a\n"


def source(root: Path, *paths: str, where: str = "data", table: str = "orders") -> FileSource:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b'{"id": 1}\n' if "json" in path else CSV)
    connection = Connection("shop", "files", where)
    fields = (Field("id", parse_type("bigint")),)
    return FileSource(SourceTable(table, "public", "shop", connection, fields, Place("handoff.md")), root, Settings())


@pytest.mark.parametrize("name", ["orders.csv", "orders.jsonl", "orders.ndjson", "orders.CSV"])
def test_a_table_is_the_file_of_its_name_in_the_connections_folder(tmp_path: Path, name: str) -> None:
    files = source(tmp_path, f"data/{name}", "data/orders.old.csv", "data/orders.txt", "data/customers.csv")
    assert files.partitions() == (f"data/{name}",)
    (chunk,) = files.read(f"data/{name}", None)
    assert chunk.records.to_pylist() == [{"id": "1"}]


def test_the_folder_may_be_the_documents_own(tmp_path: Path) -> None:
    assert source(tmp_path, "orders.csv", where="").partitions() == ("orders.csv",)
    assert source(tmp_path, where=".").partitions() == ("orders.csv",)
    assert source(tmp_path, where="./").partitions() == ("orders.csv",)


def test_a_folder_of_the_tables_name_is_read_in_order_of_names(tmp_path: Path) -> None:
    files = source(
        tmp_path, "data/orders/b.csv", "data/orders/a.jsonl", "data/orders/_SUCCESS.csv", "data/orders/.x.csv"
    )
    (tmp_path / "data/orders/README.txt").write_text("not data")
    assert files.partitions() == ("data/orders/a.jsonl", "data/orders/b.csv")


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("in/{table}-*.csv", ("in/orders-1.csv", "in/orders-2.csv")),
        ("in/{table}-*", ("in/orders-1.csv", "in/orders-2.csv", "in/orders-3.jsonl")),
        ("in/**/{table}-*.csv", ("in/deep/er/orders-4.csv", "in/orders-1.csv", "in/orders-2.csv")),
        ("in/orders-2.csv", ("in/orders-2.csv",)),
        ("in/{table}-2.csv", ("in/orders-2.csv",)),
        ("in/deep/er", ("in/deep/er/orders/5.csv",)),
        ("in/deep/er/{table}", ("in/deep/er/orders/5.csv",)),
        ("in/deep/er/*.csv", ("in/deep/er/orders-4.csv",)),
    ],
)
def test_a_path_may_be_a_pattern(tmp_path: Path, where: str, expected: tuple[str, ...]) -> None:
    files = source(
        tmp_path,
        *("in/orders-1.csv", "in/orders-2.csv", "in/orders-3.jsonl", "in/customers-1.csv"),
        *("in/deep/er/orders-4.csv", "in/deep/er/orders/5.csv"),
        where=where,
    )
    assert files.partitions() == expected


def test_an_absolute_path_names_partitions_absolutely(tmp_path: Path) -> None:
    elsewhere = tmp_path / "else[where]"
    files = source(tmp_path, "else[where]/orders.csv", where=str(elsewhere).replace("[", "[[]"))
    assert files.partitions() == (str(elsewhere / "orders.csv"),)
    assert [chunk.records.num_rows for chunk in files.read(str(elsewhere / "orders.csv"), None)] == [1]


def test_a_tables_name_is_not_a_pattern(tmp_path: Path) -> None:
    assert source(tmp_path, "data/o[x].csv", "data/ox.csv", table="o[x]").partitions() == ("data/o[x].csv",)


@pytest.mark.parametrize(
    "paths",
    [
        ("data/orders.csv", "data/orders.jsonl"),
        ("data/orders.csv", "data/orders.csv.gz"),
        ("data/orders.csv", "data/orders/"),
        ("data/orders/1.csv", "data/orders/1.jsonl"),
    ],
)
def test_two_files_that_could_be_meant_are_an_error_that_names_both(tmp_path: Path, paths: tuple[str, str]) -> None:
    files = source(tmp_path, *(path + "1.csv" if path.endswith("/") else path for path in paths))
    with pytest.raises(UserMistake) as caught:
        files.partitions()
    assert str(caught.value) == (
        f"INT_ALPHA_015 table `orders` could be read from {paths[0]} or from {paths[1]}; "
        "keep one, or name it in the connection's path"
    )


def test_a_missing_file_is_an_error_that_says_what_was_looked_for(tmp_path: Path) -> None:
    files = source(tmp_path, "data/customers.csv", "data/Order.csv")
    with pytest.raises(UserMistake) as caught:
        files.partitions()
    assert str(caught.value) == (
        "INT_ALPHA_010 no file for table `orders`: looked for data/orders.csv, data/orders.jsonl, data/orders.ndjson "
        "(each also with .gz or .zst), data/orders.parquet, and files like these in data/orders/, "
        f"below {tmp_path}; did you mean Order.csv?; put the file there or name a connection"
    )
    with pytest.raises(UserMistake, match=f"looked for in/orders-\\*.csv.gz, below {tmp_path}"):
        source(tmp_path, where="in/{table}-*.csv.gz").partitions()
    with pytest.raises(UserMistake, match=f"there is no folder {tmp_path}/nowhere"):
        source(tmp_path, where="nowhere").partitions()
    with pytest.raises(UserMistake, match=r"INT_ALPHA_010 data/orders.csv is not there"):
        next(files.read("data/orders.csv", None))


def test_a_partition_of_another_kind_of_source_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserMistake, match="INT_ALPHA_010 id<1000 is no file that table `orders` can be read from"):
        source(tmp_path).reread("id<1000", [b"1,2"])


def test_a_folder_without_data_is_no_table(tmp_path: Path) -> None:
    (tmp_path / "data/orders").mkdir(parents=True)
    with pytest.raises(UserMistake, match="INT_ALPHA_010"):
        source(tmp_path).partitions()


def test_a_folder_where_a_file_should_be_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "data/orders.csv").mkdir(parents=True)
    files = source(tmp_path)
    with pytest.raises(UserMistake, match=r"INT_ALPHA_014 data/orders.csv is a folder where a file should be"):
        files.partitions()
    with pytest.raises(UserMistake, match="INT_ALPHA_014"):
        next(files.read("data/orders.csv", None))


def test_a_pipe_is_refused_because_it_cannot_be_read_again(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    os.mkfifo(tmp_path / "data/orders.csv")
    with pytest.raises(UserMistake, match="could not be read twice"):
        source(tmp_path).partitions()


def test_a_link_is_followed_and_a_link_to_nothing_is_an_error(tmp_path: Path) -> None:
    files = source(tmp_path, "elsewhere/x.csv")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/orders.csv").symlink_to(tmp_path / "elsewhere/x.csv")
    assert files.partitions() == ("data/orders.csv",)
    assert [chunk.records.num_rows for chunk in files.read("data/orders.csv", None)] == [1]
    (tmp_path / "elsewhere/x.csv").unlink()
    with pytest.raises(UserMistake, match=r"INT_ALPHA_010 data/orders.csv is not there, or is a link to nothing"):
        files.partitions()


def test_what_may_not_be_read_is_an_error_that_says_so(tmp_path: Path) -> None:
    files = source(tmp_path, "data/orders.csv")
    (tmp_path / "data/orders.csv").chmod(0)
    tester = os.geteuid()
    if tester == 0:  # root may read anything
        os.seteuid(65534)
    try:
        with pytest.raises(UserMistake, match=r"INT_ALPHA_014 data/orders.csv may not be read"):
            next(files.read("data/orders.csv", None))
    finally:
        os.seteuid(tester)


def test_every_file_is_checked_before_any_is_read(tmp_path: Path) -> None:
    files = source(tmp_path, "data/orders/1.csv", "data/orders/2.csv", "data/orders/3.jsonl")
    (tmp_path / "data/orders/2.csv").write_bytes(b"idd,more\n")
    with pytest.raises(UserMistake, match=r"data/orders/2.csv lacks `id` \(did you mean `idd`\?\)"):
        files.partitions()


def test_columns_that_the_document_does_not_declare_are_reported(tmp_path: Path) -> None:
    files = source(tmp_path, "data/orders/1.csv", "data/orders/2.csv", "data/orders/3.jsonl")
    (tmp_path / "data/orders/2.csv").write_bytes(b"more,id,name\n")
    (tmp_path / "data/orders/3.jsonl").write_bytes(
        b'\xef\xbb\xbf{"id": 1, "name": 2}\n{"key": {}}\nbroken\n{"last": 1}'
    )
    files.partitions()
    assert files.extra_columns == ("name", "more", "key", "last")
