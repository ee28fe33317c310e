"""Following again from what is settled: after a restart, whatever happened meanwhile, and within one process."""

from __future__ import annotations

import gzip
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from penstock.connectors.sources.followed import roll
from penstock.errors import ContentChanged, Unavailable
from penstock.ports import BadRecord

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.connectors.conftest import Follower

    Follow = Callable[..., Follower]


def open_files() -> int:
    return sum(1 for _ in Path("/dev/fd").iterdir())


def assert_is_gap(record: object, message: str = "") -> None:
    assert isinstance(record, BadRecord), record
    assert record.error.code == "INT_ALPHA_016"
    assert message in record.error.message


def test_what_was_not_settled_comes_again_with_the_same_sequences(follow: Follow) -> None:
    orders = follow()
    orders.add("a")
    orders.await_(1)
    orders.settle()
    orders.add("b", "c")
    orders.await_(2)
    assert orders.restart().await_(2) == ["b", "c"]
    orders.settle()
    assert orders.restart().read() == []
    orders.add("d")
    assert orders.await_(1) == ["d"]
    assert orders.given == {"orders.csv": ["a", "b", "c", "d"]}


def test_a_file_rotated_meanwhile_is_read_to_its_end_first(follow: Follow) -> None:
    orders = follow()
    orders.add("a")
    orders.await_(1)
    orders.settle()
    orders.add("b")
    orders.rename("orders.csv", "orders.csv.1")
    orders.add("c")
    assert orders.restart().await_(2) == ["b", "c"]
    assert orders.given == {"orders.csv": ["a", "b"], "orders.csv@2": ["c"]}


def test_a_file_rotated_before_anything_of_it_was_settled_keeps_its_name(follow: Follow) -> None:
    orders = follow()
    orders.add("a", "b")
    orders.await_(2)
    orders.rename("orders.csv", "orders.csv.1")
    orders.add("c")
    assert orders.restart().await_(3) == ["a", "b", "c"]
    assert orders.given == {"orders.csv": ["a", "b"], "orders.csv@2": ["c"]}


def test_several_rotations_meanwhile_are_gone_through_in_order_where_they_are_numbered(follow: Follow) -> None:
    orders = follow()
    orders.add("a")
    orders.await_(1)
    orders.settle()
    orders.stop()
    for name in ("b", "c", "d"):
        for number in (2, 1):
            if (orders.root / f"orders.csv.{number}").exists():
                orders.rename(f"orders.csv.{number}", f"orders.csv.{number + 1}")
        orders.rename("orders.csv", "orders.csv.1")
        orders.add(name)
    orders.add("late", path="orders.csv.3")
    assert orders.restart().await_(4) == ["late", "b", "c", "d"]
    assert orders.given == {
        "orders.csv": ["a", "late"],
        "orders.csv@2": ["b"],
        "orders.csv@3": ["c"],
        "orders.csv@4": ["d"],
    }
    assert orders.restart().await_(4) == ["late", "b", "c", "d"]
    orders.settle()
    assert orders.restart().read() == []


def test_a_file_copied_and_truncated_meanwhile_is_found_in_its_copy(follow: Follow) -> None:
    orders = follow()
    orders.add("a")
    orders.await_(1)
    orders.settle()
    orders.add("b")
    orders.copy("orders.csv", "orders.csv.1")
    orders.empty()
    orders.add("c")
    assert orders.restart().await_(2) == ["b", "c"]
    assert orders.restart().await_(2) == ["b", "c"]
    orders.settle()
    assert orders.restart().read() == []
    assert orders.given == {"orders.csv": ["a", "b"], "orders.csv@2": ["c"]}


def test_so_is_one_of_which_nothing_was_settled(follow: Follow) -> None:
    orders = follow()
    orders.add("a")
    orders.await_(1)
    orders.copy("orders.csv", "orders.csv.1")
    orders.empty()
    orders.add("c", "d")
    assert orders.restart().await_(3) == ["a", "c", "d"]
    assert orders.given == {"orders.csv": ["a"], "orders.csv@2": ["c", "d"]}


def test_a_file_compressed_meanwhile_is_read_on_in_what_became_of_it(follow: Follow) -> None:
    orders = follow()
    orders.add("a")
    orders.await_(1)
    orders.settle()
    orders.add("b")
    (orders.root / "orders.csv.1.gz").write_bytes(gzip.compress((orders.root / "orders.csv").read_bytes()))
    (orders.root / "orders.csv").unlink()
    orders.add("c")
    assert orders.restart().await_(2) == ["b", "c"]
    assert orders.restart().await_(2) == ["b", "c"]
    orders.settle()
    assert orders.restart().read() == []
    assert orders.given == {"orders.csv": ["a", "b"], "orders.csv@2": ["c"]}


def test_a_file_emptied_meanwhile_without_a_copy_is_said_to_be_lost_once(follow: Follow) -> None:
    orders = follow()
    orders.add("a", "b")
    orders.await_(2)
    orders.settle()
    orders.empty()
    orders.add("c")
    for _ in range(2):  # not settled: said again, as the same record
        gap, c = orders.restart().await_(2)
        assert_is_gap(gap, "what was written from line 4 on, if anything was, is gone")
        assert c == "c"
    orders.settle()
    assert orders.restart().read() == []
    assert list(orders.given) == ["orders.csv", "orders.csv@2"]


def test_so_is_a_file_replaced_meanwhile_by_one_of_the_same_size(follow: Follow) -> None:
    orders = follow()
    orders.add("a")
    orders.await_(1)
    orders.settle()
    orders.stop()
    (orders.root / "orders.csv").unlink()
    orders.add("b")  # maybe with the same inode
    gap, b = orders.restart().await_(2)
    assert_is_gap(gap)
    assert b == "b"
    assert orders.given["orders.csv@2"] == ["b"]


def test_a_file_taken_away_meanwhile_is_not_missed(follow: Follow) -> None:
    orders = follow()
    orders.add("a")
    orders.await_(1)
    orders.settle()
    (orders.root / "orders.csv").unlink()
    assert orders.restart().read() == []
    orders.add("b")
    assert orders.await_(1) == ["b"]
    assert orders.given == {"orders.csv": ["a"], "orders.csv@2": ["b"]}


def test_one_of_which_something_was_read_and_nothing_settled_is(follow: Follow) -> None:
    orders = follow()
    orders.add("a")
    orders.await_(1)
    orders.stop()
    (orders.root / "orders.csv").unlink()
    orders.given.clear()
    (gap,) = orders.restart().await_(1)
    assert_is_gap(gap)


def test_what_was_read_of_an_emptied_file_and_not_settled_is_said_to_be_lost_after_a_restart(follow: Follow) -> None:
    orders = follow()
    orders.add("a")
    orders.await_(1)
    orders.settle()
    orders.add("bbbb")
    orders.await_(1)
    orders.empty()
    orders.add("c")
    orders.await_(1)
    orders.given["orders.csv"].pop()
    gap, c = orders.restart().await_(2)
    assert_is_gap(gap, "7 bytes from line 3 on are gone")
    assert c == "c"


def test_going_back_within_a_process_finds_even_a_deleted_file(follow: Follow) -> None:
    orders = follow()
    orders.add("a")
    orders.await_(1)
    orders.settle()
    orders.add("b")
    orders.await_(1)
    (orders.root / "orders.csv").unlink()
    orders.add("c")
    assert orders.await_(1) == ["c"]
    for wait_s in (0.05, 0.3, 0.05):  # also after it was found to be at its end
        assert orders.go_back().read(wait_s) == ["b", "c"]
    orders.settle()
    assert orders.go_back().read() == []
    assert orders.restart().read() == []


def test_a_settled_file_that_nothing_leads_to_is_let_go(follow: Follow) -> None:
    orders = follow()
    before = open_files()
    for number in range(5):
        orders.add(f"name{number}")
        orders.await_(1)
        (orders.root / "orders.csv").unlink()
        orders.read(wait_s=0.3)
    orders.stop_following()
    assert open_files() == before + 5 + 1  # and the roll
    orders.settle()
    assert open_files() <= before + 1


def test_a_position_of_the_batch_readers_is_found_again_after_a_rotation(follow: Follow) -> None:
    orders = follow()
    orders.add("a")
    (chunk,) = orders.source.read("orders.csv", None)
    orders.given["orders.csv"] = ["a"]
    orders.add("b")
    orders.rename("orders.csv", "orders-1.csv")
    orders.add("c")
    assert orders.start({"orders.csv": chunk.next}).await_(2) == ["b", "c"]
    assert orders.restart().await_(2) == ["b", "c"]
    assert orders.given == {"orders.csv": ["a", "b"], "orders.csv@2": ["c"]}


def test_the_batch_reader_knows_the_partitions_that_following_made(follow: Follow) -> None:
    orders = follow()
    orders.add("a")
    orders.await_(1)
    orders.rename("orders.csv", "orders.csv.1")
    orders.add("b")
    orders.await_(1)
    orders.settle()
    orders.add("late", path="orders.csv.1")
    orders.add("c")
    orders.restart().stop_following()
    assert orders.source.partitions() == ("orders.csv", "orders.csv@2")
    for partition, name in (("orders.csv", "late"), ("orders.csv@2", "c")):
        assert orders.source.size_bytes(partition, orders.settled[partition]) in {None, 7, 4}
        (chunk,) = orders.source.read(partition, orders.settled[partition])
        assert (chunk.start, chunk.records.column("name").to_pylist()) == (1, [name])
        assert chunk.next.partition == partition
        orders.given[partition].append(name)
        orders.settled[partition] = chunk.next
    orders.add("d")
    assert orders.restart().await_(1) == ["d"]


def test_the_batch_reader_names_what_came_while_nobody_followed(follow: Follow) -> None:
    orders = follow()
    orders.add("a")
    orders.await_(1)
    orders.settle()
    orders.stop()
    orders.rename("orders.csv", "orders.csv.1")
    orders.add("b")
    orders.restart_without_following()
    assert orders.source.partitions() == ("orders.csv", "orders.csv@2")
    (chunk,) = orders.source.read("orders.csv@2", None)
    orders.rename("orders.csv", "orders.csv.2")
    orders.add("c")
    orders.given["orders.csv@2"] = ["b"]
    assert orders.restart().await_(2) == ["b", "c"]
    assert chunk.next.partition == "orders.csv@2"


def test_the_batch_reader_says_what_is_gone_too(follow: Follow) -> None:
    orders = follow()
    orders.add("a")
    orders.await_(1)
    orders.settle()
    orders.stop()
    orders.empty()
    orders.add("b")
    source = orders.restart_without_following()
    assert source.partitions() == ("orders.csv", "orders.csv@2")
    (chunk,) = source.read("orders.csv", orders.settled["orders.csv"])
    assert_is_gap(chunk.bad[0], "what was written from line 3 on, if anything was, is gone")
    assert list(source.read("orders.csv", chunk.next)) == []
    (newer,) = source.read("orders.csv@2", None)
    assert newer.records.column("name").to_pylist() == ["b"]
    source.commit(chunk.next)
    assert source.partitions() == ("orders.csv@2",)
    orders.start({"orders.csv": chunk.next, "orders.csv@2": newer.next})
    orders.given.update({"orders.csv": ["a", chunk.bad[0]], "orders.csv@2": ["b"]})
    assert orders.read() == []


def test_the_batch_reader_finds_the_copy_of_a_truncated_file(follow: Follow) -> None:
    orders = follow()
    orders.add("a")
    orders.await_(1)
    orders.settle()
    orders.stop()
    orders.add("b")
    orders.copy("orders.csv", "orders.csv.1")
    orders.empty()
    orders.add("c")
    source = orders.restart_without_following()
    assert source.partitions() == ("orders.csv", "orders.csv@2")
    (chunk,) = source.read("orders.csv", orders.settled["orders.csv"])
    assert (chunk.start, chunk.records.column("name").to_pylist()) == (1, ["b"])


def test_a_change_that_a_person_accepted_is_gone_on_with(follow: Follow) -> None:
    orders = follow()
    orders.add("a", "b")
    orders.await_(2)
    orders.settle()
    orders.stop()
    (orders.root / "orders.csv").write_text("id,name\n1,x\n1,b\n1,c\n")
    orders.restart().stop_following()
    accepted = orders.source.accept(orders.settled["orders.csv"])
    assert orders.start({"orders.csv": accepted}).await_(1) == ["c"]


def test_originals_of_a_rotated_file_are_parsed_by_the_header_that_it_had(follow: Follow) -> None:
    orders = follow()
    orders.append("name,id\na,1\n")
    orders.await_(1)
    orders.rename("orders.csv", "orders.csv.1")
    orders.append("id,name\n2,b\n")
    orders.await_(1)
    (orders.root / "orders.csv.1").unlink()
    orders.restart()
    for partition, original in (("orders.csv", b"z,9"), ("orders.csv@2", b"9,z")):
        assert orders.source.reread(partition, [original]).records.to_pylist() == [{"id": "9", "name": "z"}]


def test_a_position_that_is_none_of_a_text_file_is_a_change(follow: Follow) -> None:
    orders = follow()
    orders.add("a")
    orders.await_(1)
    wrong = orders.last["orders.csv"].__class__("orders.csv", 1, '{"row": 1}')
    with pytest.raises(ContentChanged, match=r"INT_ALPHA_013 orders\.csv: its position does not fit"):
        orders.start({"orders.csv": wrong})


def test_positions_of_other_things_than_files_are_left_alone(follow: Follow) -> None:
    orders = follow()
    orders.add("a")
    orders.await_(1)
    position = orders.last["orders.csv"]
    others = {name: position.__class__(name, 5, "{}") for name in ("replay/1", "elsewhere/orders.csv", "orders.txt@2")}
    assert orders.start({"orders.csv": position, **others}).read() == []


# --- the roll ---------------------------------------------------------------------------------------------------------


def rolls(root: Path) -> Path:
    return root / ".penstock/following/orders.jsonl"


def test_the_roll_is_its_owners_alone(follow: Follow) -> None:
    orders = follow()
    orders.add("a")
    orders.await_(1)
    assert stat.S_IMODE(rolls(orders.root).stat().st_mode) == 0o600
    assert stat.S_IMODE(rolls(orders.root).parent.stat().st_mode) == 0o700


def test_a_power_cut_in_the_middle_of_a_line_of_the_roll_costs_that_line(follow: Follow) -> None:
    orders = follow()
    orders.add("a")
    orders.await_(1)
    with rolls(orders.root).open("ab") as file:
        file.write(b'{"type":"met","partition":"ord')
    assert orders.restart().await_(1) == ["a"]
    orders.rename("orders.csv", "orders.csv.1")
    orders.add("b")
    assert orders.await_(1) == ["b"]
    assert orders.restart().await_(2) == ["a", "b"]


def test_a_roll_that_cannot_be_written_holds_the_records_back(follow: Follow) -> None:
    orders = follow()
    rolls(orders.root).mkdir(parents=True)
    orders.add("a")
    with pytest.raises(Unavailable, match=r"INT_ALPHA_017 .*orders.jsonl: Is a directory"):
        orders.restart()
    rolls(orders.root).rmdir()
    assert orders.restart().await_(1) == ["a"]


def test_a_long_roll_is_written_anew_and_remembers_what_counts(follow: Follow, monkeypatch: pytest.MonkeyPatch) -> None:
    orders = follow()
    for number in range(10):
        orders.add(f"name{number}")
        orders.await_(1)
        orders.settle()
        orders.empty()
        orders.read()
    size = rolls(orders.root).stat().st_size
    monkeypatch.setattr(roll, "LINES_KEPT_MIN", 5)
    orders.restart()
    orders.add("last")
    assert orders.await_(1) == ["last"]
    assert list(orders.given)[-1] == "orders.csv@11"
    assert rolls(orders.root).stat().st_size < size / 2
    assert orders.restart().await_(1) == ["last"]
