"""Whether what was promised was on the disk by then: judges what strace saw of a run with a moment log.

`strace_command` goes before `python -m penstock.testing.rehearse PATH --log FILE`; `judge` reads what it left behind. A
write counts as durable once an fsync or fdatasync of its file that began after it has returned; a new name, once its
folder was synced. Paths must be absolute, and the run must begin without ledger and warehouse.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from penstock.observing.facts import CommitPoint, Moment

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_SYSTEM_CALLS = ",".join(
    (
        *("write", "writev", "pwrite64", "pwritev", "ftruncate"),
        *("fsync", "fdatasync"),
        *("openat", "link", "linkat", "rename", "renameat", "renameat2", "unlink", "unlinkat"),
    )
)
_TEXT_CHARS = 256
"""A moment must be there whole; a model's name has 63 characters at most."""


class _Store(Enum):
    """Where something is made durable, by whose writes: the ledger has several writers at a time, a warehouse one."""

    LEDGER_BY_THIS_THREAD = "ledger"
    LEDGER_BY_THE_COMMITTING_THREAD = "ledger, confirming"
    WAREHOUSE = "warehouse"


_DURABLE_AT: Mapping[tuple[Moment, CommitPoint], tuple[_Store, ...]] = MappingProxyType(
    {
        (Moment.AFTER, CommitPoint.DEAD_LETTER): (_Store.LEDGER_BY_THIS_THREAD,),
        # A mark never passes a record whose dead letter is not durable.
        (Moment.BEFORE, CommitPoint.ROWS_AND_MARK): (_Store.LEDGER_BY_THIS_THREAD,),
        (Moment.AFTER, CommitPoint.ROWS_AND_MARK): (_Store.WAREHOUSE,),
        (Moment.BEFORE, CommitPoint.ACKNOWLEDGEMENT): (_Store.WAREHOUSE, _Store.LEDGER_BY_THE_COMMITTING_THREAD),
        (Moment.AFTER, CommitPoint.POSITION): (_Store.LEDGER_BY_THIS_THREAD,),
    }
)
"""What must be durable at which moment."""

_WRITES = frozenset({"write", "writev", "pwrite64", "pwritev", "ftruncate"})
_SYNCS = frozenset({"fsync", "fdatasync"})
_LOG_ENDINGS = ("-wal", ".wal")
_CALL = re.compile(r"(?P<thread>\d+) +(?P<call>\w+)\((?P<arguments>.*)")
_RESUMED = re.compile(r"(?P<thread>\d+) +<\.\.\. (?P<call>\w+) resumed>.*= 0$")
_DESCRIPTOR = re.compile(r"\d+<(?P<path>[^>]*)>")
_OPENED = re.compile(r"O_CREAT.*= \d+<(?P<path>[^>]*)>$")
_NAMES = re.compile(r'"(?P<name>[^"]*)"')
_MOMENT = re.compile(r'"(?P<moment>before|after) (?P<point>[a-z ]+): (?P<subject>[^"\\]*)\\n"')


@dataclass(frozen=True, slots=True)
class Watched:
    """The files of a run: ledger and warehouse (each with its log beside it), and the moment log."""

    ledger: Path
    warehouse: Path
    moments: Path


@dataclass(frozen=True, slots=True)
class Judgement:
    """`violations` in words, one each; `moments` counts what was looked at."""

    violations: tuple[str, ...]
    moments: Mapping[str, int]


class _Write(NamedTuple):
    number: int
    thread: str
    path: str


def strace_command(trace: Path) -> tuple[str, ...]:
    """Return the command that runs another under watch and leaves in `trace` what `judge` wants to see."""
    return ("strace", "-f", "-y", "-s", f"{_TEXT_CHARS}", "-e", f"trace={_SYSTEM_CALLS}", "-o", f"{trace}")


def judge(trace: Iterable[str], watched: Watched) -> Judgement:
    """Go through the lines of a trace and say what was promised before it was durable."""
    judge_ = _Judge(watched)
    violations = tuple(found for number, line in enumerate(trace, 1) for found in judge_.saw(number, line.rstrip("\n")))
    return Judgement(violations, judge_.moments)


@dataclass(slots=True)
class _Judge:
    watched: Watched
    moments: Counter[str] = field(default_factory=Counter)
    _writes: list[_Write] = field(default_factory=list)
    _names: dict[str, int] = field(default_factory=dict)
    """Created or moved, and not yet safe, with the line that did it."""
    _safe: set[str] = field(default_factory=set)
    _syncing: dict[str, tuple[int, str]] = field(default_factory=dict)
    _committing: dict[str, str] = field(default_factory=dict)
    """The thread that committed last, by destination."""

    def saw(self, number: int, line: str) -> Iterator[str]:
        """Take note of one line; yield what is wrong with it."""
        resumed = _RESUMED.match(line)
        if resumed is not None and resumed["call"] in _SYNCS and resumed["thread"] in self._syncing:
            self._synced(*self._syncing.pop(resumed["thread"]))
            return
        call = _CALL.match(line)
        if call is None:
            return
        thread, arguments = call["thread"], call["arguments"]
        target = _DESCRIPTOR.match(arguments)
        path = "" if target is None else target["path"]
        if call["call"] in _WRITES and path == str(self.watched.moments):
            yield from self._stands(number, thread, arguments)
        elif call["call"] in _WRITES:
            self._wrote(_Write(number, thread, path))
        elif call["call"] in _SYNCS and arguments.endswith("<unfinished ...>"):
            self._syncing[thread] = (number, path)
        elif call["call"] in _SYNCS:
            self._synced(number, path)
        else:
            yield from self._named(number, call["call"], arguments)

    def _wrote(self, write: _Write) -> None:
        if self._store_of(write.path) is not None:
            self._writes.append(write)

    def _synced(self, began: int, path: str) -> None:
        self._writes = [write for write in self._writes if write.path != path or write.number > began]
        for name in [name for name, since in self._names.items() if str(Path(name).parent) == path and since < began]:
            del self._names[name]
            self._safe.add(name)

    def _named(self, number: int, call: str, arguments: str) -> Iterator[str]:
        """Follow files as they get, change and lose their names."""
        if call == "openat":
            opened = _OPENED.search(arguments)
            if opened is not None and self._store_of(opened["path"]) is not None and opened["path"] not in self._safe:
                self._names.setdefault(opened["path"], number)
            return
        names = _NAMES.findall(arguments) if arguments.endswith("= 0") else []
        if call.startswith("unlink") and names:
            yield from self._unlinked(number, names[0])
        elif call.startswith(("link", "rename")) and names and self._store_of(names[-1]) is not None:
            self._names[names[-1]] = number
            self._safe.discard(names[-1])

    def _unlinked(self, number: int, name: str) -> Iterator[str]:
        self._names.pop(name, None)
        self._safe.discard(name)
        self._writes = [write for write in self._writes if write.path != name]
        main = next((name.removesuffix(ending) for ending in _LOG_ENDINGS if name.endswith(ending)), None)
        if main is not None and any(write.path == main for write in self._writes):
            yield f"line {number}: {name} was removed before what it held was synced to {main}"

    def _stands(self, number: int, thread: str, arguments: str) -> Iterator[str]:
        """Judge one moment."""
        said = _MOMENT.search(arguments)
        assert said is not None, arguments
        moment, point, subject = Moment(said["moment"]), CommitPoint(said["point"]), said["subject"]
        self.moments[f"{moment} {point}"] += 1
        if (moment, point) == (Moment.AFTER, CommitPoint.ROWS_AND_MARK):
            self._committing[subject] = thread
        for store in _DURABLE_AT.get((moment, point), ()):
            by = self._committing.get(subject) if store is _Store.LEDGER_BY_THE_COMMITTING_THREAD else thread
            late = Counter(write.path for write in self._writes if self._concerns(write, store, by))
            what = f"line {number}: {moment} {point}: {subject}"
            yield from (f"{what}: {count} writes to {path} are not synced" for path, count in late.items())
            kind = _Store.WAREHOUSE if store is _Store.WAREHOUSE else _Store.LEDGER_BY_THIS_THREAD
            names = [name for name in self._names if self._store_of(name) is kind]
            yield from (f"{what}: the name of {name} is not synced" for name in names)

    def _concerns(self, write: _Write, store: _Store, thread: str | None) -> bool:
        if store is _Store.WAREHOUSE:
            return self._store_of(write.path) is _Store.WAREHOUSE
        return self._store_of(write.path) is _Store.LEDGER_BY_THIS_THREAD and write.thread == thread

    def _store_of(self, path: str) -> _Store | None:
        """Tell which store a file belongs to. SQLite's -shm is made anew after a crash, and need not be safe."""
        main = next((path.removesuffix(ending) for ending in _LOG_ENDINGS if path.endswith(ending)), path)
        if main == str(self.watched.ledger):
            return _Store.LEDGER_BY_THIS_THREAD
        return _Store.WAREHOUSE if main == str(self.watched.warehouse) else None
