"""Lives of a writer of files, each killed by SIGKILL at another line between its first write and the end of its commit.

`python -m tests.connectors.files_sink_killed FOLDER WORK STEP FORMAT` lets WORK ("append" or "replace") be done in a
process of its own, which kills itself at the n-th line of the sink that it comes to, for n = 1, 1 + STEP, ... until one
lives to the end. After each death another process looks at what is left with every reader's eyes, takes the work up,
and looks again. Prints how many were killed, and in how many of the cases the commit had happened.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from tests.connectors.files_sink import (
    HALVES,
    asked,
    halved,
    mark,
    open_at,
    seen_by_manifest,
    seen_by_pattern,
    sequence_of,
    unfinished,
)

from penstock.connectors import sinks

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from _typeshed import TraceFunction

    from penstock.connectors.sinks.files import FilesSink

WATCHED = str(Path(next(iter(sinks.__path__))) / "files") + "/"
BEFORE, BETWEEN, AFTER = 100, 130, 160
"""Sequences that commits end at."""
CAME_TO_ITS_END = 0
FAILED = 3


class Writer:
    """The table in `root`, as every process opens it."""

    def __init__(self, root: Path, work: str, file_format: str) -> None:
        self.root = root
        self.table = root / "out" / "orders"
        self.work = work
        self.format = file_format

    def open(self) -> FilesSink:
        return open_at(self.root, HALVES, mode=self.work, format=self.format)

    def begin(self) -> None:
        """Make the table with what is there before the work."""
        sink = self.open()
        sink.write(halved(0, BEFORE), "a.csv")
        sink.write(halved(1000, 1010), "b.csv")
        sink.commit([mark(BEFORE), mark(10, "b.csv")])
        sink.close()

    def do(self, sink: FilesSink) -> None:
        """Do the work: from where the mark is, or from its beginning again where files replace."""
        if self.work == "replace":
            sink.forget("orders", "a.csv")
        done = sequence_of(sink)
        sink.write(halved(done, BETWEEN), "a.csv")
        sink.write(halved(BETWEEN, AFTER), "a.csv")
        sink.commit([mark(AFTER)])

    def ids_seen(self) -> list[int]:
        """Return the ids of partition a.csv that a reader finds by pattern."""
        return self._ids(seen_by_pattern(self.table))

    def ids_named(self) -> list[int]:
        """Return those that a reader finds by the manifest, all of whose files must be what they were."""
        return self._ids(seen_by_manifest(self.table))

    def _ids(self, files: list[str]) -> list[int]:
        found = asked(self.table, "id", file_format=self.format, files=files) if files else []
        return sorted(number for (number,) in found if number < 1000)

    def look(self) -> int:
        """Look at what a death has left, take it up, and look again; return the mark that was found."""
        named, seen = self.ids_named(), self.ids_seen()
        whole = {0: [], BEFORE: list(range(BEFORE)), AFTER: list(range(AFTER))}
        assert named in list(whole.values()), ("the manifest names a part of a commit", named)
        assert len(set(seen)) == len(seen), ("a pattern finds a row twice", seen)
        if self.work == "append":
            assert set(named) <= set(seen) <= set(whole[AFTER]), ("a pattern misses rows", named, seen)
        sink = self.open()
        found = sequence_of(sink)
        assert self.ids_named() == self.ids_seen() == whole[found], (found, self.ids_named(), self.ids_seen())
        assert set(seen) <= set(whole[found]) or self.work == "replace", ("a pattern found what is not committed", seen)
        assert unfinished(self.table) == []
        if found < AFTER:
            self.do(sink)
        sink.close()
        assert self.ids_named() == self.ids_seen() == whole[AFTER]
        assert asked(self.table, "count(*), sum(id)", file_format=self.format) == [
            (AFTER + 10, AFTER * (AFTER - 1) // 2 + 10_045)
        ]
        return found


def die_at(line: int) -> TraceFunction:
    """Return a trace function that kills this process at the `line`-th line of the sink."""
    left = line

    def trace(frame: FrameType, event: str, _: object) -> TraceFunction | None:
        nonlocal left
        if not frame.f_code.co_filename.startswith(WATCHED):
            return None
        if event == "line":
            left -= 1
            if left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    return trace


def child(work: Callable[[], object]) -> int:
    """Do `work` in a fork of this process, which has started no thread; return how it ended."""
    process = os.fork()
    if not process:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - said, and told by the exit code
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)  # noqa: T201
            os._exit(FAILED)
        os._exit(CAME_TO_ITS_END)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def main(folder: Path, work: str, step: int, file_format: str) -> None:
    import_module("pyarrow.parquet")
    base = Writer(folder / "base", work, file_format)
    base.root.mkdir()
    assert child(base.begin) == CAME_TO_ITS_END
    line, killed, committed = 1, 0, 0
    while True:
        writer = Writer(folder / f"line {line}", work, file_format)
        shutil.copytree(base.root, writer.root)

        def life(writer: Writer = writer, line: int = line) -> None:
            sink = writer.open()
            sys.settrace(die_at(line))
            writer.do(sink)
            sys.settrace(None)

        def after(writer: Writer = writer) -> None:
            (writer.root / "found").write_text(str(writer.look()))

        ended = child(life)
        assert ended in {CAME_TO_ITS_END, -signal.SIGKILL}, f"line {line}: {ended}"
        assert child(after) == CAME_TO_ITS_END, f"after line {line}"
        if ended == CAME_TO_ITS_END:
            break
        killed += 1
        committed += int((writer.root / "found").read_text()) == AFTER
        shutil.rmtree(writer.root)
        line += step
    print(json.dumps({"killed": killed, "committed": committed}))  # noqa: T201 - the answer


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4])
