"""Random histories of a followed file, drawn from a seed, compared record by record; and real writers and deaths."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from penstock.model.position import Position
from penstock.ports import BadRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tests.connectors.conftest import Follower

    Follow = Callable[..., Follower]

STEPS = 60
PATIENCE_S = 60.0


class History:
    """What a writer and its surroundings do to orders.csv. Every record has a name of its own."""

    def __init__(self, orders: Follower, seed: int) -> None:
        self.orders = orders
        self.chance = random.Random(seed)
        self.written: list[str] = []
        self.half = ""
        self.copies = 0
        self.is_followed = True

    def add(self) -> None:
        self.finish_half()
        names = [self.new_name() for _ in range(self.chance.randint(1, 5))]
        self.orders.add(*names)
        self.written += names

    def begin_half(self) -> None:
        self.finish_half()
        self.add()
        self.half = self.new_name()
        self.orders.append(f"7,{self.half}")

    def finish_half(self, path: str = "orders.csv") -> None:
        if self.half:
            self.orders.append("-whole\n", path)
            self.written.append(f"{self.half}-whole")
            self.half = ""

    def rotate(self) -> None:
        """Number the old ones, the newest 1. Half a line gets its end in its file, or stays as it is."""
        if not (self.orders.root / "orders.csv").exists():
            self.add()
        self.catch_up()
        number = 1
        while (self.orders.root / f"orders.csv.{number}").exists():
            number += 1
        for older in range(number, 1, -1):
            self.orders.rename(f"orders.csv.{older - 1}", f"orders.csv.{older}")
        self.orders.rename("orders.csv", "orders.csv.1")
        if self.chance.random() < 0.5:
            self.finish_half("orders.csv.1")
        elif self.half:
            self.written.append(self.half)
            self.half = ""

    def copy_and_truncate(self) -> None:
        self.add()
        self.catch_up()
        self.add()
        self.copies += 1
        self.orders.copy("orders.csv", f"orders-{self.copies}.csv")
        self.orders.empty()

    def replace(self) -> None:
        """Write it anew, with more behind, and put that in its place."""
        self.add()
        self.catch_up()
        self.add()
        self.orders.copy("orders.csv", "new.csv")
        self.orders.rename("new.csv", "orders.csv")
        self.add()

    def read(self) -> None:
        for _ in range(self.chance.randint(1, 4)):
            self.orders.next(0.01)

    def catch_up(self, besides: Sequence[str] = ()) -> None:
        """Let the follower see what there is: of a file that nobody ever saw nobody can say that it is lost."""
        until_s = time.monotonic() + PATIENCE_S
        while self.is_followed and time.monotonic() < until_s:
            self.orders.read(wait_s=0.01)
            if set(self.written) <= {*names_of(self.orders), *besides}:
                return
        assert not self.is_followed, set(self.written) - {*names_of(self.orders), *besides}

    def settle(self) -> None:
        for partition in sorted(self.orders.last):
            if self.chance.random() < 0.7:
                position = self.orders.last[partition]
                self.orders.settled[partition] = position
                self.orders.source.commit(position)

    def go_back(self) -> None:
        self.orders.go_back()

    def die(self) -> None:
        """Die, and come back after more has happened."""
        self.orders.stop()
        self.is_followed = False
        for step in self.chance.choices((self.add, self.begin_half, self.rotate), k=self.chance.randint(0, 4)):
            step()
        self.orders.restart()
        self.is_followed = True

    def new_name(self) -> str:
        return f"name{self.chance.randint(0, 10**9)}"


def names_of(orders: Follower) -> list[str]:
    return [name for names in orders.given.values() for name in names if isinstance(name, str)]


@pytest.mark.parametrize("seed", range(6))
def test_whatever_happens_every_record_comes_once_and_again_where_it_was(follow: Follow, seed: int) -> None:
    orders = follow(READ_BYTES=random.Random(seed).choice([64, 512, 1 << 20]))
    history = History(orders, seed)
    history.add()
    orders.read()
    steps = (
        *(4 * (history.add,)), *(2 * (history.begin_half,)), *(4 * (history.read,)), *(2 * (history.settle,)),
        *(2 * (history.rotate,)), history.copy_and_truncate, history.replace, history.go_back, history.die,
    )  # fmt: skip
    for step in history.chance.choices(steps, k=STEPS):
        step()
    history.finish_half()
    until_s = time.monotonic() + PATIENCE_S
    while len(names_of(orders)) < len(history.written) and time.monotonic() < until_s:
        orders.read()
    orders.read(wait_s=0.2)
    assert sorted(names_of(orders)) == sorted(history.written), f"seed {seed}"
    assert not any(isinstance(name, BadRecord) for names in orders.given.values() for name in names), f"seed {seed}"
    place = {name: number for number, name in enumerate(history.written)}
    for names in orders.given.values():
        places = [place[name] for name in names if isinstance(name, str)]
        assert places == sorted(places), f"seed {seed}"


@pytest.mark.parametrize("seed", range(2))
def test_what_is_missing_after_truncations_and_deletions_was_said_to_be_lost(follow: Follow, seed: int) -> None:
    orders = follow(READ_BYTES=64)
    history = History(orders, seed)
    lost: list[str] = []
    gaps = 0
    for _ in range(15):
        history.begin_half()
        history.catch_up(besides=lost)
        history.add()
        if history.chance.random() < 0.6:
            orders.next(0.01)  # sees it all, and reads a part
        else:
            history.catch_up(besides=lost)
        rest = [name for name in history.written if name not in {*names_of(orders), *lost}]
        if history.chance.random() < 0.7:
            orders.empty()
            lost += rest
            gaps += bool(rest)
        else:
            (orders.root / "orders.csv").unlink()  # what is open is read to its end
        history.catch_up(besides=lost)
        said = sum(isinstance(name, BadRecord) for names in orders.given.values() for name in names)
        assert said == gaps, f"seed {seed}"
    assert sorted(names_of(orders)) == sorted(set(history.written) - set(lost)), f"seed {seed}"
    assert lost, "the test loses nothing"


WRITER = """
import os, sys, time
folder, count, way = sys.argv[1], int(sys.argv[2]), sys.argv[3]
path = os.path.join(folder, "orders.csv")
file, rotated = open(path, "a"), 0
for number in range(count):
    if file.tell() == 0:
        file.write("id,name\\n")
    file.write(f"{number},name")
    if number % 7 == 0:
        file.flush()
    file.write(f"{number}\\n")
    if number % 50 == 0:
        file.flush()
        time.sleep(0.005)
    if number % 400 == 399:
        file.flush()
        rotated += 1
        if way == "rename":
            for older in range(rotated, 1, -1):
                os.rename(f"{path}.{older - 1}", f"{path}.{older}")
            os.rename(path, f"{path}.1")
            file.write(f"{number},late{number}\\n")
            file.close()
            file = open(path, "a")
        else:
            with open(path, "rb") as old, open(f"{path}.{rotated}", "wb") as copy:
                copy.write(old.read())
            file.truncate(0)
            file.seek(0)
        time.sleep(0.05)
"""


@pytest.mark.parametrize("way", ["rename", "copytruncate"])
def test_a_process_that_writes_and_rotates_is_followed_record_by_record(follow: Follow, way: str) -> None:
    orders, count = follow(), 2_400
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(orders.root), str(count), way])
    expected = count + (count // 400 if way == "rename" else 0)
    until_s = time.monotonic() + PATIENCE_S
    while len(names_of(orders)) < expected and time.monotonic() < until_s:
        orders.read(wait_s=0.01)
    assert writer.wait(PATIENCE_S) == 0
    assert orders.read() == []
    assert len(names_of(orders)) == expected
    numbers = [int(name.removeprefix("name")) for name in names_of(orders) if name.startswith("name")]
    assert numbers == list(range(count))
    assert len(orders.given) == count // 400


FOLLOWER = """
import json, sys
from pathlib import Path
from penstock.connectors.sources.followed import FollowedFiles
from penstock.model.finding import Place
from penstock.model.pipeline import Connection, SourceTable
from penstock.model.position import Position
from penstock.model.schema import Field, parse_type
from penstock.model.settings import Settings

root, fields = Path(sys.argv[1]), (Field("id", parse_type("bigint")), Field("name", parse_type("text")))
table = SourceTable("orders", "public", "shop", Connection("shop", path="orders.csv"), fields, Place("handoff.md"))
source = FollowedFiles(table, root, Settings({"READ_BYTES": 4096}), root / ".penstock")
following = source.follow({p: Position(p, s, t) for p, (s, t) in json.loads(sys.argv[2]).items()})
while True:
    chunk = following.next(0.1)
    if chunk is not None:
        next_ = chunk.next
        names = chunk.records.column("name").to_pylist()
        print(json.dumps([next_.partition, chunk.start, next_.sequence, next_.token, names]), flush=True)
"""


def test_a_follower_that_is_killed_goes_on_where_it_was_settled(tmp_path: Path) -> None:
    (tmp_path / "orders.csv").write_text("id,name\n0,first\n")
    writer: subprocess.Popen[bytes] | None = None
    given: dict[str, dict[int, str]] = {}
    settled: dict[str, Position] = {}
    chance = random.Random(7)
    expected = 1 + 2_000 + 2_000 // 400
    until_s = time.monotonic() + PATIENCE_S
    while sum(map(len, given.values())) < expected and time.monotonic() < until_s:
        arguments = json.dumps({name: (position.sequence, position.token) for name, position in settled.items()})
        command = [sys.executable, "-c", FOLLOWER, str(tmp_path), arguments]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as follower:
            assert follower.stdout is not None
            is_settled = dict.fromkeys(settled, True)
            for _ in range(chance.randint(15, 40)):
                partition, start, end, token, names = json.loads(follower.stdout.readline())
                for sequence, name in enumerate(names, start):
                    assert given.setdefault(partition, {}).setdefault(sequence, name) == name
                is_settled[partition] = is_settled.get(partition, True) and chance.random() < 0.8
                if is_settled[partition]:
                    settled[partition] = Position(partition, end, token)
                if writer is None:  # the first file was met
                    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), "2000", "rename"])
                if sum(map(len, given.values())) == expected:
                    break
            follower.kill()
    assert writer is not None
    assert writer.wait(PATIENCE_S) == 0
    names = [name for records in given.values() for name in records.values()]
    assert sorted(name for name in names if name.startswith("name")) == sorted(f"name{n}" for n in range(2_000))
    assert len(names) == len(set(names)) == expected
    for records in given.values():
        assert list(records) == list(range(len(records)))
