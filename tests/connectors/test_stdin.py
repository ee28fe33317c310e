"""Standard input, journalled: what comes out, what comes again, what is pruned, and what a death costs."""

from __future__ import annotations

import json
import os
import random
import stat
import subprocess
import sys
import threading
import time
from typing import IO, TYPE_CHECKING

import pytest

from penstock.connectors import open_source
from penstock.connectors.sources.stdin import StandardInput
from penstock.connectors.sources.stdin.journal import Journal, JournalLimits
from penstock.errors import Unavailable, UserMistake
from penstock.model.finding import Place
from penstock.model.pipeline import Connection, SourceTable
from penstock.model.position import Position
from penstock.model.schema import Field, parse_type
from penstock.model.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from penstock.ports import Following

PATIENCE_S = 60.0
FIELDS = (Field("id", parse_type("bigint")), Field("name", parse_type("text")))


def table(**options: str) -> SourceTable:
    connection = Connection("shop", path="-", options=options)
    return SourceTable("orders", "public", "shop", connection, FIELDS, Place("handoff.md"))


class Piped:
    """A table that is read from a pipe, and the pipe's other end. `given` is what came out, by partition."""

    def __init__(self, root: Path, form: str, limits: JournalLimits | None, settings: dict[str, object]) -> None:
        self.root = root
        self.given: dict[str, list[str]] = {}
        self.settled: dict[str, Position] = {}
        self.last: dict[str, Position] = {}
        self._make: Callable[[int], StandardInput] = lambda descriptor: StandardInput(
            table(format=form), root, Settings(settings), root / ".penstock", descriptor=descriptor, limits=limits
        )
        self.following: Following | None = None
        self.begin()

    def begin(self) -> None:
        """Be another process with another pipe."""
        self._read_end, self._write_end = os.pipe()
        self.source = self._make(self._read_end)
        self.follow()

    def follow(self) -> None:
        self.expected = {partition: position.sequence for partition, position in self.settled.items()}
        self.last = {}
        self.following = self.source.follow(self.settled)

    def write(self, text: str) -> None:
        os.write(self._write_end, text.encode())

    def end_input(self) -> None:
        os.close(self._write_end)
        self._write_end = -1

    def next(self, wait_s: float = 0.02) -> list[str]:
        assert self.following is not None
        chunk = self.following.next(wait_s)
        if chunk is None:
            return []
        partition = chunk.next.partition
        names = [str(name) for name in chunk.records.column("name").to_pylist()]
        names += [record.error.code for record in chunk.bad]
        assert chunk.start == self.expected.get(partition, 0)
        given = self.given.setdefault(partition, [])
        assert given[chunk.start : chunk.end] == names[: len(given) - chunk.start]
        given[chunk.start :] = [*names, *given[chunk.end :]]
        self.expected[partition] = chunk.end
        self.last[partition] = chunk.next
        return names

    def await_(self, count: int) -> list[str]:
        found: list[str] = []
        until_s = time.monotonic() + PATIENCE_S
        while len(found) < count:
            assert time.monotonic() < until_s, (count, found)
            found += self.next()
        assert len(found) == count
        return found

    def await_end(self) -> list[str]:
        assert self.following is not None
        found: list[str] = []
        until_s = time.monotonic() + PATIENCE_S
        while not self.following.ended:
            assert time.monotonic() < until_s, found
            found += self.next()
        return found

    def settle(self) -> None:
        for partition, position in self.last.items():
            self.settled[partition] = position
            self.source.commit(position)

    def die(self) -> None:
        """End the process, as far as another thread can."""
        self.source.close()
        for descriptor in {self._read_end, self._write_end} - {-1}:
            os.close(descriptor)
        self._read_end = self._write_end = -1

    def segments(self) -> list[str]:
        return sorted(path.name for path in self.root.rglob("*.part"))


@pytest.fixture
def pipe(tmp_path: Path) -> Iterator[Callable[..., Piped]]:
    made: list[Piped] = []

    def make(form: str = "jsonl", limits: JournalLimits | None = None, **settings: object) -> Piped:
        made.append(Piped(tmp_path, form, limits, settings))
        return made[-1]

    yield make
    for piped in made:
        piped.die()


def lines(*names: str) -> str:
    return "".join(f'{{"id": 1, "name": "{name}"}}\n' for name in names)


def test_lines_come_as_they_are_written_and_then_the_end(pipe: Callable[..., Piped]) -> None:
    piped = pipe()
    piped.write(lines("a", "b"))
    assert piped.await_(2) == ["a", "b"]
    piped.write('{"id": 1, "na')
    assert piped.next() == []
    piped.write('me": "c"}\n{"id": 1, "name": "d"}')
    assert piped.await_(1) == ["c"]
    piped.end_input()
    assert piped.await_end() == ["d"]
    (partition,) = piped.given
    assert partition.startswith("stdin@20")


def test_an_input_without_anything_just_ends(pipe: Callable[..., Piped]) -> None:
    for form in ("csv", "jsonl"):
        piped = pipe(form)
        piped.end_input()
        assert piped.await_end() == []
        assert piped.segments() == []


def test_csv_has_its_header_first_and_quoted_line_breaks_are_text(pipe: Callable[..., Piped]) -> None:
    piped = pipe("csv")
    piped.write('name,"id\n')
    assert piped.next() == []
    piped.write('",id\na,0,1\n"b\n')
    assert piped.await_(1) == ["a"]
    piped.write('b",0,2\n1,2\n')
    assert piped.await_(2) == ["b\nb", "INT_ALPHA_001"]
    assert piped.source.extra_columns == ("id\n",)


def test_a_csv_without_a_declared_column_is_a_mistake(pipe: Callable[..., Piped]) -> None:
    piped = pipe("csv")
    piped.write("id,nme\n1,a\n")
    with pytest.raises(UserMistake, match="INT_ALPHA_011"):
        piped.await_(1)


def test_what_was_journalled_and_not_settled_comes_again_in_another_process(pipe: Callable[..., Piped]) -> None:
    piped = pipe("csv")
    piped.write("id,name\n1,a\n2,b\n")
    piped.await_(2)
    piped.settle()
    piped.write("3,c\n4,d\n")
    piped.await_(2)
    piped.follow()
    assert piped.await_(2) == ["c", "d"]
    piped.die()
    piped.begin()
    piped.write("name,id\nx,1\n")
    assert piped.await_(3) == ["c", "d", "x"]
    piped.settle()
    first, second = piped.given
    assert piped.given == {first: ["a", "b", "c", "d"], second: ["x"]}
    assert len(piped.segments()) == 1  # what is left of the input that has not ended
    assert piped.source.reread(second, [b"y,2"]).records.to_pylist() == [{"id": "2", "name": "y"}]


def test_an_over_long_line_is_refused_and_passes_through_in_pieces(pipe: Callable[..., Piped]) -> None:
    piped = pipe(RECORD_BYTES_MAX=100)
    for _ in range(5):
        piped.write("x" * 80)
        time.sleep(0.01)
    piped.write("\n" + lines("a"))
    assert piped.await_(2) == ["INT_ALPHA_006", "a"]


def test_the_journal_is_in_segments_of_which_settled_ones_are_removed(pipe: Callable[..., Piped]) -> None:
    piped = pipe(limits=JournalLimits(segment_bytes=200))
    for number in range(20):
        piped.write(lines(f"name{number:03}"))
        piped.await_(1)
    assert len(piped.segments()) > 3
    piped.settle()
    assert len(piped.segments()) == 1
    piped.write(lines("last"))
    piped.await_(1)
    piped.die()
    piped.begin()
    assert piped.await_(1) == ["last"]
    piped.settle()
    piped.end_input()
    assert piped.await_end() == []
    assert piped.segments() == []
    assert [path.name for path in (piped.root / ".penstock/journal/orders").iterdir()] == []


def test_a_settled_input_is_forgotten_and_going_back_in_it_is_the_end(pipe: Callable[..., Piped]) -> None:
    piped = pipe("csv")
    piped.write("id,name\n1,a\n\n\n")
    piped.end_input()
    assert piped.await_end() == ["a"]
    piped.settle()
    assert piped.segments() == []
    piped.follow()
    assert piped.await_end() == []


def test_the_journal_is_its_owners_alone(pipe: Callable[..., Piped]) -> None:
    piped = pipe("csv")
    piped.write("id,name\n1,a\n")
    piped.await_(1)
    for path in (piped.root / ".penstock").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_the_writer_waits_when_the_journal_is_far_enough_ahead(pipe: Callable[..., Piped]) -> None:
    piped = pipe(limits=JournalLimits(ahead_bytes=100_000), READ_BYTES=65_536)
    line, written = lines("x" * 1_000), threading.Event()

    def write() -> None:
        for _ in range(10_000):
            piped.write(line)
        written.set()

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    size = -1
    while size != (size := sum(path.stat().st_size for path in piped.root.rglob("*.part"))):
        time.sleep(0.3)
    assert not written.is_set()
    assert 100_000 <= size < 100_000 + (8 << 20)  # and one group
    assert len(piped.await_(10_000)) == 10_000
    writer.join(PATIENCE_S)


def test_a_journal_that_cannot_be_written_is_said_and_nothing_is_lost(pipe: Callable[..., Piped]) -> None:
    piped = pipe()
    journal = piped.root / ".penstock/journal/orders"
    journal.rmdir()
    journal.write_text("in the way")
    piped.write(lines("a"))
    with pytest.raises(Unavailable, match="INT_ALPHA_017"):
        piped.await_(1)
    journal.unlink()
    until_s = time.monotonic() + PATIENCE_S
    found: list[str] = []
    while not found and time.monotonic() < until_s:
        try:
            found = piped.next()
        except Unavailable:
            time.sleep(0.01)
    assert found == ["a"]


def test_a_group_that_failed_half_way_is_written_anew(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "input", JournalLimits(), is_past=False)
    journal.append(b"first\n")
    (segment,) = (tmp_path / "input").iterdir()
    with segment.open("ab") as file:
        file.write(b"torn")
    assert journal._descriptor is not None
    os.close(journal._descriptor)
    journal._descriptor = os.open(segment, os.O_RDONLY)  # what the next write meets: an error of the file system
    with pytest.raises(OSError, match="Bad file descriptor"):
        journal.append(b"second\n")
    journal.append(b"second\n")
    journal.stop()
    assert journal.read(0, 100) == b"first\n"
    assert journal.read(6, 100) == b"second\n"
    past = Journal(tmp_path / "input", JournalLimits(), is_past=True)
    assert past.size == len(b"first\nsecond\n")
    assert past.read(0, 100) == b"first\n"


def test_half_a_line_at_the_end_of_a_dead_processs_journal_was_never_there(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "input", JournalLimits(segment_bytes=8), is_past=False)
    for text in (b"one\n", b"two\n", b"three", b"three"):
        journal.append(text)
    journal.stop()
    assert len(list((tmp_path / "input").iterdir())) == 3
    assert Journal(tmp_path / "input", JournalLimits(), is_past=True).size == len(b"one\ntwo\n")


def test_two_tables_cannot_both_be_read_from_it(pipe: Callable[..., Piped]) -> None:
    piped = pipe()
    other = StandardInput(table(format="csv"), piped.root, Settings(), piped.root / "other", descriptor=piped._read_end)
    with pytest.raises(UserMistake, match="INT_ALPHA_015 two tables cannot both be read from standard input"):
        other.follow({})


def test_a_connection_whose_path_is_a_dash_is_standard_input_and_names_its_format(tmp_path: Path) -> None:
    source = open_source(table(format="JSONL"), tmp_path, Settings(), tmp_path / "state")
    assert isinstance(source, StandardInput)
    assert not (tmp_path / "state").exists()
    with pytest.raises(UserMistake, match=r"standard input, whose format nothing tells; .*`format`: csv or jsonl"):
        open_source(table(), tmp_path, Settings())
    with pytest.raises(UserMistake, match="`parquet` is none that can be read from it"):
        open_source(table(format="parquet"), tmp_path, Settings())


def test_the_batch_reader_reads_to_the_end_of_the_input(pipe: Callable[..., Piped]) -> None:
    piped = pipe()
    piped.write(lines("a", "b"))
    piped.end_input()
    (partition,) = piped.source.partitions()
    assert piped.source.size_bytes(partition, None) in {None, len(lines("a", "b"))}
    chunks = list(piped.source.read(partition, None))
    assert [name for chunk in chunks for name in chunk.records.column("name").to_pylist()] == ["a", "b"]
    assert list(piped.source.read(partition, chunks[-1].next)) == []


# --- a real process, killed -------------------------------------------------------------------------------------------

READER = """
import json, sys
from pathlib import Path
from penstock.connectors.sources.stdin import StandardInput
from penstock.connectors.sources.stdin.journal import JournalLimits
from penstock.model.finding import Place
from penstock.model.pipeline import Connection, SourceTable
from penstock.model.position import Position
from penstock.model.schema import Field, parse_type
from penstock.model.settings import Settings

root, fields = Path(sys.argv[1]), (Field("id", parse_type("bigint")), Field("name", parse_type("text")))
connection = Connection("shop", path="-", options={"format": "csv"})
table = SourceTable("orders", "public", "shop", connection, fields, Place("handoff.md"))
limits = JournalLimits(segment_bytes=4096)
source = StandardInput(table, root, Settings({"READ_BYTES": 1024}), root / ".penstock", limits=limits)
positions = {p: Position(p, s, t) for p, (s, t) in json.loads(sys.argv[2]).items()}
for position in positions.values():
    source.commit(position)
following = source.follow(positions)
while not following.ended:
    chunk = following.next(0.1)
    if chunk is not None:
        next_ = chunk.next
        names = chunk.records.column("name").to_pylist()
        print(json.dumps([next_.partition, chunk.start, next_.sequence, next_.token, names]), flush=True)
print("null", flush=True)
"""


def feed(pipe: IO[bytes], life: int, count: int) -> None:
    pipe.write(b"id,name\n")
    for number in range(count):
        pipe.write(b"%d,life%d-%d\n" % (number, life, number))
        if number % 10 == 0:
            pipe.flush()
    pipe.flush()


def test_what_a_killed_process_had_given_out_comes_again_and_nothing_in_between_is_missing(tmp_path: Path) -> None:
    chance = random.Random(3)
    given: dict[str, dict[int, str]] = {}
    settled: dict[str, Position] = {}
    for life in range(4):
        arguments = json.dumps({name: (position.sequence, position.token) for name, position in settled.items()})
        command = [sys.executable, "-c", READER, str(tmp_path), arguments]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as reader:
            assert reader.stdin is not None
            assert reader.stdout is not None
            feed(reader.stdin, life, 300 if life < 3 else 400)
            if life == 3:
                reader.stdin.close()
            earlier = set(given)
            while (read := json.loads(reader.stdout.readline())) is not None:
                partition, start, end, token, names = read
                for sequence, name in enumerate(names, start):
                    assert given.setdefault(partition, {}).setdefault(sequence, name) == name
                if chance.random() < 0.3:
                    settled[partition] = Position(partition, end, token)
                if life < 3 and partition not in earlier:  # something of its own input was journalled, and more may be
                    break
            reader.kill()
    assert list(given) == sorted(given)
    for life, records in enumerate(given.values()):
        assert [records[sequence] for sequence in range(len(records))] == [
            f"life{life}-{number}" for number in range(len(records))
        ]
    assert len(given) == 4
    assert len(records) == 400
