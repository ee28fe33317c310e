"""A table that is followed in a folder of its own, and what it has given out."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from penstock.connectors.sources.followed import FollowedFiles, Pace
from penstock.model.finding import Place
from penstock.model.pipeline import Connection, SourceTable
from penstock.model.schema import Field, parse_type
from penstock.model.settings import Settings
from penstock.ports import BadRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from penstock.model.position import Position
    from penstock.ports import Chunk, Following

PACE = Pace(poll_s=0.002, quiet_s=0.1, stable_s=0.05)
PATIENCE_S = 30.0
"""For what must come. Nothing here takes long where it works."""
MOMENT_S = 0.02
"""For what must not come."""

Given = str | BadRecord


def table(path: str, **options: str) -> SourceTable:
    fields = (Field("id", parse_type("bigint")), Field("name", parse_type("text")))
    connection = Connection("shop", path=path, options=options)
    return SourceTable("orders", "public", "shop", connection, fields, Place("handoff.md"))


def names_of(chunk: Chunk) -> list[Given]:
    """Return the chunk's records in order, by their names."""
    names = iter(chunk.records.column("name").to_pylist())
    bad = {record.sequence: record for record in chunk.bad}
    return [bad[sequence] if sequence in bad else next(names) for sequence in range(chunk.start, chunk.end)]


class Follower:
    """Follows `orders` in `root`. `given` is all that came out, by partition and sequence, over any number of lives."""

    def __init__(self, root: Path, path: str = "orders.csv", pace: Pace = PACE, **settings: object) -> None:
        self.root = root
        self.given: dict[str, list[Given]] = {}
        self.settled: dict[str, Position] = {}
        self.last: dict[str, Position] = {}
        self.chunks: list[Chunk] = []
        self._make: Callable[[], FollowedFiles] = lambda: FollowedFiles(
            table(path), root, Settings(settings), root / ".penstock", pace=pace
        )
        self.source = self._make()
        self.following: Following | None = None
        self.expected: dict[str, int] = {}

    def start(self, positions: Mapping[str, Position] | None = None) -> Follower:
        """Begin to follow from the settled positions."""
        self.settled = dict(self.settled if positions is None else positions)
        self.expected = {partition: position.sequence for partition, position in self.settled.items()}
        self.last = {}
        self.following = self.source.follow(self.settled)
        return self

    # --- the writer's hands -------------------------------------------------------------------------------------------

    def append(self, text: str, path: str = "orders.csv") -> None:
        """Write at the end of a file, which is made where it is missing."""
        with (self.root / path).open("a", encoding="utf-8", newline="") as file:
            file.write(text)

    def add(self, *names: str, path: str = "orders.csv") -> None:
        """Append a record for each name, after a header where the file is empty or missing."""
        file = self.root / path
        is_new = not file.exists() or not file.stat().st_size
        header = "id,name\n" if is_new and path.endswith(".csv") else ""
        row = '{{"id": {}, "name": "{}"}}\n' if "json" in path else "{},{}\n"
        self.append(header + "".join(row.format(len(name), name) for name in names), path)

    def rename(self, old: str, new: str) -> None:
        (self.root / old).rename(self.root / new)

    def empty(self, path: str = "orders.csv") -> None:
        """Truncate a file, and leave it in its place."""
        os.truncate(self.root / path, 0)

    def copy(self, old: str, new: str) -> None:
        (self.root / new).write_bytes((self.root / old).read_bytes())

    # --- the reader's -------------------------------------------------------------------------------------------------

    def next(self, wait_s: float = MOMENT_S) -> list[Given]:
        """Return the names in the next chunk, none where nothing comes; check that it follows, or repeats exactly."""
        assert self.following is not None
        chunk = self.following.next(wait_s)
        if chunk is None:
            return []
        partition, names = chunk.next.partition, names_of(chunk)
        assert chunk.start == self.expected.get(partition, 0), (partition, chunk, self.expected)
        assert chunk.next.sequence == chunk.end
        self.expected[partition] = chunk.end
        all_given = self.given.setdefault(partition, [])
        again = all_given[chunk.start : chunk.end]
        assert [plain(name) for name in again] == [plain(name) for name in names[: len(again)]], (
            partition,
            chunk.start,
        )
        all_given.extend(names[len(again) :])
        self.last[partition] = chunk.next
        self.chunks.append(chunk)
        return names

    def read(self, wait_s: float = MOMENT_S) -> list[Given]:
        """Return all that comes until nothing comes for a moment."""
        found: list[Given] = []
        while names := self.next(wait_s):
            found += names
        return found

    def await_(self, count: int) -> list[Given]:
        """Return the next `count` records, however long they take, and check that no more came with them."""
        found: list[Given] = []
        until_s = time.monotonic() + PATIENCE_S
        while len(found) < count:
            assert time.monotonic() < until_s, (count, found)
            found += self.next()
        assert len(found) == count, found
        return found

    def stop_following(self) -> FollowedFiles:
        """Stop following and return the source, to be read as the batch reader reads it."""
        assert self.following is not None
        self.following.close()
        return self.source

    def settle(self) -> None:
        """Settle all that came out."""
        for position in self.last.values():
            self.settled[position.partition] = position
            self.source.commit(position)

    def stop(self) -> None:
        """Stop following, and close the source, as a process does that ends."""
        if self.following is not None:
            self.following.close()
        self.source.close()

    def restart(self) -> Follower:
        """Stop, and begin again from what is settled, as another process."""
        self.stop()
        self.source = self._make()
        return self.start()

    def restart_without_following(self) -> FollowedFiles:
        """Stop, and return the source as another process would open it."""
        self.stop()
        self.following = None
        self.source = self._make()
        return self.source

    def go_back(self) -> Follower:
        """Begin again from what is settled, within the process."""
        assert self.following is not None
        self.following.close()
        return self.start()


def plain(name: Given) -> str:
    return f"{name.error.code}: {name.original.content!r}" if isinstance(name, BadRecord) else name


@pytest.fixture
def follow(tmp_path: Path) -> Iterator[Callable[..., Follower]]:
    """Make followers of `orders` in a folder that the test has for itself."""
    made: list[Follower] = []

    def make(path: str = "orders.csv", **settings: object) -> Follower:
        made.append(Follower(tmp_path, path, **settings))  # type: ignore[arg-type]
        return made[-1].start()

    yield make
    for follower in made:
        follower.stop()
