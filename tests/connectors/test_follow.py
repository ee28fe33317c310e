"""Files that are followed while they grow, within one process."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from penstock.errors import ContentChanged, UserMistake
from penstock.ports import BadRecord

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.connectors.conftest import Follower

    Follow = Callable[..., Follower]


def open_files() -> int:
    return sum(1 for _ in Path("/dev/fd").iterdir())


# --- one file that grows ----------------------------------------------------------------------------------------------


def test_what_is_appended_comes_at_once(follow: Follow) -> None:
    orders = follow()
    orders.add("a", "b")
    assert orders.await_(2) == ["a", "b"]
    orders.add("c")
    assert orders.await_(1) == ["c"]
    assert orders.read() == []
    assert orders.given == {"orders.csv": ["a", "b", "c"]}


def test_a_file_that_is_not_there_yet_is_waited_for(follow: Follow) -> None:
    orders = follow("in/{table}")
    assert orders.read() == []
    (orders.root / "in").mkdir()
    assert orders.read() == []
    orders.add("a", path="in/orders.csv")
    assert orders.await_(1) == ["a"]


def test_half_a_line_is_no_record_until_its_end_comes(follow: Follow) -> None:
    orders = follow()
    orders.add("a")
    orders.append("1,b")
    assert orders.await_(1) == ["a"]
    orders.append("bb")
    assert orders.read() == []
    orders.append("\n1,c")
    assert orders.await_(1) == ["bbb"]


def test_half_a_header_is_no_header_until_its_end_comes(follow: Follow) -> None:
    orders = follow()
    orders.append("id,na")
    assert orders.read() == []
    orders.append('me,"more')
    assert orders.read() == []
    orders.append('"\n1,a,x\n')
    assert orders.await_(1) == ["a"]
    assert orders.source.extra_columns == ("more",)


def test_a_quoted_line_break_at_the_growing_end_waits_for_the_closing_quote(follow: Follow) -> None:
    orders = follow()
    orders.add("a")
    orders.append('1,"b\n')
    assert orders.await_(1) == ["a"]
    orders.append("and more\n")
    assert orders.read() == []
    orders.append('and the end"\n1,c\n')
    assert orders.await_(2) == ["b\nand more\nand the end", "c"]


def test_a_line_may_end_in_two_steps(follow: Follow) -> None:
    orders = follow()
    orders.append("id,name\r\n1,a\r")
    assert orders.read() == []
    orders.append("\n1,b\r\n")
    assert orders.await_(2) == ["a", "b"]


def test_json_lines_are_followed_too_with_a_byte_order_mark_or_without(follow: Follow) -> None:
    orders = follow("{table}*")
    orders.append('\ufeff{"id": 1, "name": "a"}\n{"id"', "orders.jsonl")
    orders.add("x", path="orders_2.ndjson")
    assert orders.await_(2) == ["a", "x"]
    orders.append(': 2, "name": "b", "more": 1}\n', "orders.jsonl")
    assert orders.await_(1) == ["b"]
    assert orders.given == {"orders.jsonl": ["a", "b"], "orders_2.ndjson": ["x"]}


def test_bad_records_have_their_sequence_their_line_and_their_original(follow: Follow) -> None:
    orders = follow()
    orders.add("a")
    orders.append("1,2,3\n\n1,b\n")
    a, bad, b = orders.await_(3)
    assert (a, b) == ("a", "b")
    assert isinstance(bad, BadRecord)
    assert (bad.sequence, bad.original.content, bad.original.line) == (1, b"1,2,3", 3)
    orders.append("1,c\n9\n")
    assert orders.await_(2)[0] == "c"
    (bad,) = orders.chunks[-1].bad
    assert (bad.sequence, bad.original.content, bad.original.line) == (4, b"9", 7)


def test_originals_are_given_back_with_their_lines(follow: Follow) -> None:
    orders = follow()
    orders.append('id,name\n1,a\n\n2,"b\nb"\n3,c\n')
    orders.await_(3)
    originals = orders.chunks[-1].originals([0, 1, 2])
    assert [original.content for original in originals] == [b"1,a", b'2,"b\nb"', b"3,c"]
    assert [original.line for original in originals] == [2, 4, 6]


def test_an_over_long_line_is_passed_by_as_it_comes_and_is_one_bad_record(follow: Follow) -> None:
    orders = follow(RECORD_BYTES_MAX=100, READ_BYTES=64)
    orders.add("a")
    orders.append("1," + "x" * 150)
    assert orders.await_(1) == ["a"]
    for _ in range(5):
        orders.append("y" * 150)
        assert orders.read() == []
    orders.append("z\n1,b\n")
    bad, b = orders.await_(2)
    assert b == "b"
    assert isinstance(bad, BadRecord)
    assert bad.error.code == "INT_ALPHA_006"
    assert bad.error.actual == "903 bytes"
    assert bad.original.content == b"1," + 98 * b"x" + b"\0[cut short]"
    assert bad.original.line == 3


def test_a_chunk_is_no_larger_than_what_is_read_at_a_time(follow: Follow) -> None:
    orders = follow(READ_BYTES=4096)
    names = [f"name{number:04}" for number in range(2_000)]
    orders.add(*names)
    assert orders.await_(2_000) == names
    assert max(chunk.size_bytes for chunk in orders.chunks) <= 4096
    assert len(orders.chunks) < 12


def test_a_file_without_a_declared_column_is_a_mistake(follow: Follow) -> None:
    orders = follow()
    orders.append("id,nme\n")
    with pytest.raises(UserMistake, match=r"INT_ALPHA_011 orders.csv lacks `name` \(did you mean `nme`\?\)"):
        orders.await_(1)


def test_a_header_that_cannot_be_read_is_a_mistake_after_a_while(follow: Follow) -> None:
    orders = follow()
    (orders.root / "orders.csv").write_bytes("id,name\n1,a\n".encode("utf-16"))
    with pytest.raises(UserMistake, match=r"INT_ALPHA_012 orders\.csv is UTF-16"):
        orders.await_(1)


def test_what_the_batch_reader_takes_is_gone_on_with_and_the_other_way_round(follow: Follow) -> None:
    orders = follow()
    orders.add("a", "b")
    (chunk,) = orders.source.read("orders.csv", None)
    orders.stop_following()
    orders.start({"orders.csv": chunk.next})
    orders.given["orders.csv"] = ["a", "b"]
    orders.add("c")
    assert orders.await_(1) == ["c"]
    orders.add("d")
    (chunk,) = orders.source.read("orders.csv", orders.last["orders.csv"])
    assert (chunk.start, chunk.records.column("name").to_pylist()) == (3, ["d"])
    assert orders.source.partitions() == ("orders.csv",)


def test_a_last_line_that_the_batch_reader_took_without_its_end_must_not_go_on(follow: Follow) -> None:
    orders = follow()
    orders.append("id,name\n1,a")
    (chunk,) = orders.source.read("orders.csv", None)
    orders.start({"orders.csv": chunk.next})
    orders.given["orders.csv"] = ["a"]
    assert orders.read() == []
    orders.append("\r")
    assert orders.read() == []
    orders.append("\n1,b\n")
    assert orders.await_(1) == ["b"]
    (orders.root / "orders.csv").write_text("id,name\n1,abc\n")
    orders.start({"orders.csv": chunk.next})
    with pytest.raises(ContentChanged, match="line 2 was read when it had no line break, and has gone on since"):
        orders.read()


def test_the_end_of_all_is_never_reached(follow: Follow) -> None:
    orders = follow()
    assert orders.following is not None
    assert orders.following.ended is False


# --- rotation, truncation, replacement, deletion ----------------------------------------------------------------------


def test_a_rotated_file_is_read_to_its_end_before_the_new_one(follow: Follow) -> None:
    orders = follow()
    orders.add("a")
    orders.await_(1)
    orders.add("b")
    orders.rename("orders.csv", "orders.csv.1")
    orders.add("late", path="orders.csv.1")
    orders.add("new")
    assert orders.await_(3) == ["b", "late", "new"]
    orders.add("later", path="orders.csv.1")
    orders.add("newer")
    assert set(orders.await_(2)) == {"later", "newer"}
    assert orders.given == {"orders.csv": ["a", "b", "late", "later"], "orders.csv@2": ["new", "newer"]}


def test_a_rotated_file_may_be_written_to_for_long(follow: Follow) -> None:
    orders = follow()
    orders.add("a")
    orders.await_(1)
    orders.rename("orders.csv", "orders.csv.1")
    orders.add("new")
    orders.await_(1)
    orders.read(wait_s=0.3)
    for _ in range(2):
        orders.add("later", path="orders.csv.1")
        assert orders.await_(1) == ["later"]
        orders.rename("orders.csv.1", "orders.csv.2")
        orders.read()
        orders.rename("orders.csv.2", "orders.csv.1")
    assert orders.given == {"orders.csv": ["a", "later", "later"], "orders.csv@2": ["new"]}


def test_the_last_line_of_a_rotated_file_is_a_record_when_nobody_writes_to_it_any_more(follow: Follow) -> None:
    orders = follow()
    orders.add("a")
    orders.append("1,half")
    orders.await_(1)
    orders.rename("orders.csv", "orders.csv.1")
    orders.add("new")
    assert orders.await_(2) == ["new", "half"]
    assert orders.given == {"orders.csv": ["a", "half"], "orders.csv@2": ["new"]}


def test_many_rotations_between_two_looks_lose_only_what_was_never_seen(follow: Follow) -> None:
    orders = follow()
    orders.add("a")
    orders.await_(1)
    orders.rename("orders.csv", "orders.csv.1")
    orders.add("b")
    orders.read()
    orders.rename("orders.csv.1", "orders.csv.2")
    orders.rename("orders.csv", "orders.csv.1")
    orders.add("c")
    assert orders.read() == ["c"]
    assert orders.given == {"orders.csv": ["a"], "orders.csv@2": ["b"], "orders.csv@3": ["c"]}


def test_a_file_renamed_within_its_folder_is_the_same_partition(follow: Follow) -> None:
    orders = follow("in")
    (orders.root / "in/orders").mkdir(parents=True)
    orders.add("a", path="in/orders/current.csv")
    orders.await_(1)
    orders.rename("in/orders/current.csv", "in/orders/2024-01-01.csv")
    orders.add("b", path="in/orders/2024-01-01.csv")
    orders.add("c", path="in/orders/current.csv")
    assert orders.await_(2) == ["b", "c"]
    assert orders.given == {"in/orders/current.csv": ["a", "b"], "in/orders/current.csv@2": ["c"]}


def test_an_emptied_file_begins_anew(follow: Follow) -> None:
    orders = follow()
    orders.add("a", "b")
    orders.await_(2)
    orders.empty()
    orders.add("c")
    assert orders.await_(1) == ["c"]
    orders.empty()
    assert orders.read() == []
    orders.add("d")
    assert orders.await_(1) == ["d"]
    assert orders.given == {"orders.csv": ["a", "b"], "orders.csv@2": ["c"], "orders.csv@3": ["d"]}


def test_a_file_emptied_and_filled_further_than_before_between_two_looks_is_noticed(follow: Follow) -> None:
    orders = follow()
    orders.add("a", "b")
    orders.await_(2)
    orders.empty()
    orders.add("c", "d", "e", "f", "g")
    assert orders.await_(5) == ["c", "d", "e", "f", "g"]
    assert orders.given == {"orders.csv": ["a", "b"], "orders.csv@2": ["c", "d", "e", "f", "g"]}


def test_what_is_lost_when_a_file_is_emptied_is_one_bad_record_that_says_how_much(follow: Follow) -> None:
    orders = follow(READ_BYTES=64)
    orders.add(*(f"name{number}" for number in range(20)))
    names = orders.next()
    orders.empty()
    assert orders.read()[:-1] == []
    bad = orders.given["orders.csv"][-1]
    assert isinstance(bad, BadRecord)
    assert (bad.sequence, bad.error.code) == (len(names), "INT_ALPHA_016")
    size = len("id,name\n") + sum(len(f"{len(name)},{name}\n") for name in (f"name{n}" for n in range(20)))
    read = len("id,name\n") + sum(len(f"{len(str(name))},{name}\n") for name in names)
    assert bad.error.message.startswith(f"{size - read:,} bytes from line {len(names) + 2} on are gone")
    orders.add("z")
    assert orders.await_(1) == ["z"]


def test_half_a_line_that_is_cut_off_is_kept_as_the_bad_records_original(follow: Follow) -> None:
    orders = follow()
    orders.add("a")
    orders.append("1,hal")
    orders.await_(1)
    orders.read()
    orders.empty()
    (bad,) = orders.await_(1)
    assert isinstance(bad, BadRecord)
    assert (bad.error.code, bad.original.content, bad.original.line) == ("INT_ALPHA_016", b"1,hal", 3)


def test_the_copy_beside_a_truncated_file_is_read_to_its_end_so_nothing_is_lost(follow: Follow) -> None:
    orders = follow()
    orders.add("a")
    orders.await_(1)
    orders.add("unread")
    orders.copy("orders.csv", "orders.csv.1")
    orders.empty()
    orders.add("new")
    assert orders.await_(2) == ["unread", "new"]
    assert orders.given == {"orders.csv": ["a", "unread"], "orders.csv@2": ["new"]}


def test_so_is_a_copy_that_is_compressed_already(follow: Follow) -> None:
    orders = follow()
    orders.add("a")
    orders.await_(1)
    orders.add("unread")
    (orders.root / "orders-1.csv.gz").write_bytes(gzip.compress((orders.root / "orders.csv").read_bytes()))
    orders.empty()
    orders.add("new")
    assert orders.await_(2) == ["unread", "new"]
    assert orders.given == {"orders.csv": ["a", "unread"], "orders.csv@2": ["new"]}


def test_another_file_in_its_place_is_another_partition_and_the_first_is_read_to_its_end(follow: Follow) -> None:
    orders = follow()
    orders.add("a")
    orders.await_(1)
    orders.add("b")
    orders.add("c", path="new.csv")
    orders.rename("new.csv", "orders.csv")
    assert orders.await_(2) == ["b", "c"]
    assert orders.given == {"orders.csv": ["a", "b"], "orders.csv@2": ["c"]}


def test_a_file_written_anew_with_more_behind_is_the_same_partition(follow: Follow) -> None:
    orders = follow()
    orders.add("a", "b")
    orders.await_(2)
    orders.copy("orders.csv", "new.csv")
    orders.add("c", path="new.csv")
    orders.rename("new.csv", "orders.csv")
    assert orders.await_(1) == ["c"]
    assert orders.given == {"orders.csv": ["a", "b", "c"]}


def test_a_deleted_file_is_read_to_its_end(follow: Follow) -> None:
    orders = follow(READ_BYTES=64)
    names = [f"name{number}" for number in range(20)]
    orders.add(*names)
    orders.append("1,last")
    first = orders.next()
    (orders.root / "orders.csv").unlink()
    assert first + orders.read(wait_s=0.3) == [*names, "last"]
    orders.add("again")
    assert orders.await_(1) == ["again"]
    assert orders.given == {"orders.csv": [*names, "last"], "orders.csv@2": ["again"]}


def test_a_file_without_records_gives_no_name_away(follow: Follow) -> None:
    orders = follow()
    orders.append("id,name\n")
    assert orders.read() == []
    orders.add("a", path="new.csv")
    orders.rename("new.csv", "orders.csv")
    assert orders.await_(1) == ["a"]
    assert list(orders.given) == ["orders.csv"]


def test_a_link_that_is_set_to_another_file_is_a_rotation(follow: Follow) -> None:
    orders = follow("current.csv")
    orders.add("a", path="log-1.csv")
    (orders.root / "current.csv").symlink_to("log-1.csv")
    assert orders.await_(1) == ["a"]
    orders.add("b", path="log-1.csv")
    orders.add("c", path="log-2.csv")
    (orders.root / "next.csv").symlink_to("log-2.csv")
    orders.rename("next.csv", "current.csv")
    assert orders.await_(2) == ["b", "c"]


def test_a_folder_where_a_file_should_be_is_a_mistake(follow: Follow) -> None:
    orders = follow("orders.csv")
    (orders.root / "orders.csv").mkdir()
    with pytest.raises(UserMistake, match=r"INT_ALPHA_014 orders\.csv is a folder"):
        orders.read()


# --- many files -------------------------------------------------------------------------------------------------------


def test_new_files_are_found_in_a_folder_and_read_in_the_order_of_their_names(follow: Follow) -> None:
    orders = follow("in")
    (orders.root / "in/orders").mkdir(parents=True)
    for name in ("b", "a", "c"):
        orders.add(name, path=f"in/orders/{name}.csv")
    (orders.root / "in/orders/_notes.csv").write_text("no")
    (orders.root / "in/orders/.hidden.csv").write_text("no")
    assert orders.await_(3) == ["a", "b", "c"]
    orders.add("d", path="in/orders/d.jsonl")
    assert orders.await_(1) == ["d"]


def test_new_folders_are_found_by_a_pattern(follow: Follow) -> None:
    orders = follow("in/**/{table}-*.csv")
    (orders.root / "in/2024/01").mkdir(parents=True)
    orders.add("a", path="in/2024/01/orders-1.csv")
    orders.add("x", path="in/2024/01/others-1.csv")
    assert orders.await_(1) == ["a"]
    (orders.root / "in/2025").mkdir()
    orders.add("b", path="in/2025/orders-1.csv")
    assert orders.await_(1) == ["b"]


def test_more_files_than_may_be_open_are_followed_all_the_same(follow: Follow) -> None:
    orders = follow("in")
    (orders.root / "in/orders").mkdir(parents=True)
    files = [f"in/orders/{number:03}.csv" for number in range(150)]
    for file in files:
        orders.add("first", path=file)
    assert orders.await_(150) == ["first"] * 150
    assert open_files() < 120
    for number, file in enumerate(files):
        orders.add(str(number), path=file)
    assert set(orders.await_(150)) == {str(number) for number in range(150)}
    orders.empty(files[0])
    orders.add("anew", path=files[0])
    assert orders.await_(1) == ["anew"]
    assert list(orders.given)[-1] == "in/orders/000.csv@2"


def test_one_busy_file_does_not_keep_the_others_waiting(follow: Follow) -> None:
    orders = follow("in", READ_BYTES=64)
    (orders.root / "in/orders").mkdir(parents=True)
    orders.add(*("busy" for _ in range(1_000)), path="in/orders/a.csv")
    assert orders.next() != []
    orders.add("other", path="in/orders/b.csv")
    orders.read()
    names = [orders.chunks[place].next.partition for place in range(60)]
    assert "in/orders/b.csv" in names


# --- files that cannot be read before they are whole ------------------------------------------------------------------


def test_a_compressed_or_parquet_file_is_read_once_it_stands_still(follow: Follow) -> None:
    orders = follow("in")
    (orders.root / "in/orders").mkdir(parents=True)
    whole = gzip.compress(b"id,name\n1,a\n2,b\n")
    (orders.root / "in/orders/1.csv.gz").write_bytes(whole[:12])
    assert orders.read() == []
    (orders.root / "in/orders/1.csv.gz").write_bytes(whole)
    assert orders.await_(2) == ["a", "b"]
    pq.write_table(pa.table({"id": [1], "name": ["c"]}), orders.root / "in/orders/2.parquet")
    assert orders.await_(1) == ["c"]
    with (orders.root / "in/orders/1.csv.gz").open("ab") as file:
        file.write(gzip.compress(b"3,d\n"))
    assert orders.await_(1) == ["d"]
    orders.settle()
    orders.restart()
    assert orders.read() == []
    assert orders.given == {"in/orders/1.csv.gz": ["a", "b", "d"], "in/orders/2.parquet": ["c"]}


def test_a_followed_file_that_is_compressed_afterwards_is_not_read_again(follow: Follow) -> None:
    orders = follow("in")
    (orders.root / "in/orders").mkdir(parents=True)
    orders.add("a", path="in/orders/1.csv")
    orders.await_(1)
    text = (orders.root / "in/orders/1.csv").read_bytes()
    (orders.root / "in/orders/1.csv.gz").write_bytes(gzip.compress(text))
    (orders.root / "in/orders/1.csv").unlink()
    assert orders.read(wait_s=0.5) == []
    orders.settle()
    orders.restart()
    assert orders.read(wait_s=0.5) == []
    assert orders.given == {"in/orders/1.csv": ["a"]}


def test_a_whole_file_that_was_replaced_is_a_change(follow: Follow) -> None:
    orders = follow("orders.parquet")
    pq.write_table(pa.table({"id": [1], "name": ["a"]}), orders.root / "orders.parquet")
    orders.await_(1)
    pq.write_table(pa.table({"id": [1, 2], "name": ["a", "b"]}), orders.root / "orders.parquet")
    with pytest.raises(ContentChanged, match=r"INT_ALPHA_013 orders\.parquet: it is another file"):
        orders.await_(1)
