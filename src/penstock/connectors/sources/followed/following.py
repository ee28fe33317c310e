"""Follows the files of one table: which of them to read next, and what to do when one takes another's place."""

from __future__ import annotations

import os
import time
from collections import OrderedDict, deque
from functools import partial
from typing import TYPE_CHECKING

from penstock.connectors.sources.files.partitions import Compression, read_name
from penstock.connectors.sources.followed.finding import is_whole, see
from penstock.connectors.sources.followed.gaps import UNKNOWN
from penstock.connectors.sources.followed.ground import compression_of
from penstock.connectors.sources.followed.known import Known
from penstock.connectors.sources.followed.marks import holds, token_of
from penstock.connectors.sources.followed.moved import read_moved
from penstock.connectors.sources.followed.placing import place
from penstock.connectors.sources.followed.registrar import Registrar
from penstock.connectors.sources.followed.tail import Gone, Kind, Tail
from penstock.connectors.sources.followed.trouble import reading
from penstock.connectors.sources.followed.whole import WholeFile, WholeFiles

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from penstock.connectors.sources.followed.finding import Seen
    from penstock.connectors.sources.followed.ground import Ground
    from penstock.model.position import Position
    from penstock.ports import Chunk

OPEN_FILES_MAX = 64
"""Files that are held open and looked at all the time. Others rest."""
RESTING_LOOKS = 32
"""Files at rest that are looked at each time, in turn."""
UNSURE_LOOKS = 4
"""Files without anything new that are compared each time with what was read of them, when following begins."""
LEFT_FILES_MAX = 32
"""Files that have gone from their folder, and are held open in case someone writes to them still."""
TURN_CHUNKS = 16
"""After so many chunks of one file the others get their turn."""


class FileFollowing:
    """Implements ports.Following. It never ends: more may always come.

    A file is *due* when there is something to read of it or to compare, *active* while it is open and looked at every
    time, and *resting* when it has been read to its end and others are busier.
    """

    ended = False

    def __init__(self, ground: Ground, positions: Mapping[str, Position]) -> None:
        """Raises as `next` does."""
        self._ground = ground
        self._registrar = Registrar(ground, positions)
        self._active: list[Known] = []
        self._due: deque[Known] = deque()
        self._unsure: deque[Known] = deque()
        self._resting: OrderedDict[Known, None] = OrderedDict()
        self._by_file: dict[tuple[int, int], Known] = {}
        self._at: dict[str, Known] = {}
        self._wholes = WholeFiles(self._read_whole, positions, ground.pace.stable_s)
        self._gaps: deque[Chunk] = deque()
        self._served: tuple[Known | None, int] = (None, 0)
        with reading(f"`{ground.table}`"):
            self._begin(positions, time.monotonic())

    def next(self, wait_s: float) -> Chunk | None:
        """See ports.Following."""
        until_s = time.monotonic() + wait_s
        with reading(f"`{self._ground.table}`"):
            while True:
                chunk = self._once(time.monotonic(), until_s)
                left_s = until_s - time.monotonic()
                if chunk is not None or left_s <= 0:
                    return chunk
                time.sleep(min(self._ground.pace.poll_s, left_s))

    def close(self) -> None:
        """See ports.Following."""
        for known in {*self._active, *self._due, *self._unsure}:
            if known.tail is not None and known.partition is not None and not known.tail.is_named():
                self._ground.shelf.keep(known.partition, known.tail.duplicate())
            known.close()
        self._wholes.close()

    # --- what there is ------------------------------------------------------------------------------------------------

    def _begin(self, positions: Mapping[str, Position], now_s: float) -> None:
        found = self._look(now_s)
        placed = place(self._ground, positions, found)
        self._gaps.extend(placed.gaps)
        for known in placed.files:
            if known.left_s is not None:
                known.left_s = now_s
            if known in placed.kept:
                known.tail = Tail(placed.kept[known], _kind(known, self._ground), known.position, known.size)
            self._add(known)
        self._see_wholes(found, now_s)

    def _look(self, now_s: float) -> Mapping[str, Seen]:
        found = self._ground.finder.look()
        self._ground.finder.looked(now_s, time.monotonic())
        return found

    def _add(self, known: Known) -> None:
        """Take up a file that is to be read, or at least compared."""
        self._by_file[known.file] = known
        if known.left_s is None:
            self._at[known.path] = known
        # Open at once, so that its name may go before its turn comes.
        is_closed = known.tail is None and compression_of(known.path) is Compression.NONE
        there_is_room = len(self._active) + len(self._due) + len(self._unsure) < OPEN_FILES_MAX
        if is_closed and there_is_room and not self._open_tail(known):
            return
        token = token_of(known.position)
        (self._unsure if token is not None and known.size == token.offset else self._due).append(known)

    def _look_around(self, now_s: float) -> None:
        """Find out which files have come, gone, or changed their names."""
        found = self._look(now_s)
        before, self._at, new = self._at, {}, []
        for path, seen in found.items():
            known = self._by_file.get(seen.file)
            if known is None:
                new.append(seen)
            elif known.path == path or found.get(known.path, seen).file != known.file:
                self._stands(known, seen)
        for known in before.values():
            if self._at.get(known.path) is not known:
                self._loses_place(known, now_s)
        for seen in new:
            name = read_name(seen.path)
            if name is not None and not is_whole(name):
                known = Known(name, seen.path, seen.file, size=seen.size, changed_ns=seen.changed_ns, is_sure=True)
                known.after = before.get(seen.path)
                self._add(known)
        self._see_wholes(found, now_s)

    def _stands(self, known: Known, seen: Seen) -> None:
        """Take note that a known file stands at a path of the table's, maybe another one than before."""
        if known.path != seen.path:
            self._registrar.move(known, seen)
        known.path, known.left_s = seen.path, None
        self._at[seen.path] = known
        if known in self._resting and (known.size, known.changed_ns) != (seen.size, seen.changed_ns):
            self._wake(known, seen)

    def _loses_place(self, known: Known, now_s: float) -> None:
        """Take note that a file is no longer where it was. What is not read of it is read all the same."""
        known.left_s = now_s
        if known in self._resting:
            self._find_again(known)
        else:
            known.is_drained = False

    def _find_again(self, known: Known) -> None:
        """Find a resting file that has left its place; it is over where it is nowhere in its folder."""
        seen = next(iter(self._ground.with_inode(known.path, known.file[1])), None)
        if seen is None:
            self._end(known)
        else:
            self._wake(known, seen)

    def _wake(self, known: Known, seen: Seen) -> None:
        known.path, known.size, known.changed_ns = seen.path, seen.size, seen.changed_ns
        known.is_drained = known.is_finished = False
        del self._resting[known]
        self._due.append(known)

    # --- what to read next --------------------------------------------------------------------------------------------

    def _once(self, now_s: float, until_s: float) -> Chunk | None:
        """Look at what is to be looked at, and return the first chunk that there is."""
        if self._gaps:
            return self._gaps.popleft()
        if self._ground.finder.is_due(now_s):
            self._look_around(now_s)
        for known in tuple(self._active):
            chunk = self._serve(known, now_s)
            if chunk is not None:
                self._take_turns(known)
                return chunk
        chunk = self._next_due(now_s, until_s) or self._wholes.next(now_s, until_s)
        if chunk is None and not self._gaps:
            self._look_at_resting()
        return self._gaps.popleft() if chunk is None and self._gaps else chunk

    def _take_turns(self, known: Known) -> None:
        """Let the others have their turn when one file has had many."""
        last, chunks = self._served
        self._served = (known, chunks + 1 if last is known else 1)
        if self._served[1] >= TURN_CHUNKS:
            self._served = (None, 0)
            if known in self._active:
                self._active.remove(known)
                self._active.append(known)
            if self._due:
                self._open(self._due.popleft(), first=True)

    def _next_due(self, now_s: float, until_s: float) -> Chunk | None:
        looks = UNSURE_LOOKS
        while self._due or (looks and self._unsure):
            looks -= not self._due
            known = (self._due or self._unsure).popleft()
            chunk = self._serve(known, now_s) if self._open(known) else None
            if chunk is not None or time.monotonic() >= until_s:
                return chunk
        return None

    def _open(self, known: Known, *, first: bool = False) -> bool:
        """Open a file and make it active; False where it is not there any more."""
        if known.tail is None and known.copy is None:
            if compression_of(known.path) is not Compression.NONE:
                self._open_copy(known)
            elif not self._open_tail(known):
                return False
        self._active.insert(0 if first else len(self._active), known)
        if len(self._active) > OPEN_FILES_MAX:
            self._rest_one(known)
        return True

    def _open_tail(self, known: Known) -> bool:
        if self._open_at(known, known.path):
            return True
        if any(self._open_at(known, seen.path) for seen in self._ground.with_inode(known.path, known.file[1])):
            return True
        token = token_of(known.position)
        chunk = self._registrar.lose(known, max(0, known.size - (token.offset if token else 0)), b"")
        self._forget(known)
        if chunk is not None:
            self._gaps.append(chunk)
        return False

    def _open_at(self, known: Known, path: str) -> bool:
        try:
            descriptor = os.open(self._ground.root / path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        tail = Tail(descriptor, _kind(known, self._ground), known.position, known.size)
        if tail.file() != known.file:
            tail.close()
            return False
        known.path, known.tail = path, tail
        return True

    def _open_copy(self, known: Known) -> None:
        """Read on in a compressed file, which is as it is."""
        seen, partition = see(known.path, self._ground.root), self._registrar.name(known)
        known.copy = WholeFile(partial(self._read_copy, known, partition), known.position, self._ground.pace.stable_s)
        if seen is not None:
            known.copy.see(seen, time.monotonic())

    def _rest_one(self, besides: Known) -> None:
        """Close the file that has been quiet for longest."""
        quiet = [known for known in self._active if known.is_drained and known.left_s is None and known is not besides]
        tails = [(known.tail.grew_s, known) for known in quiet if known.tail is not None and known.after is None]
        if tails:
            self._rest(min(tails, key=lambda each: each[0])[1])

    def _rest(self, known: Known) -> None:
        assert known.tail is not None
        known.size, known.changed_ns = known.tail.seen, known.tail.changed_ns()
        self._active.remove(known)
        known.close()
        self._resting[known] = None

    def _look_at_resting(self) -> None:
        for _ in range(min(RESTING_LOOKS, len(self._resting))):
            known = next(iter(self._resting))
            self._resting.move_to_end(known)
            seen = see(known.path, self._ground.root)
            if seen is not None and seen.file == known.file:
                if (seen.size, seen.changed_ns) != (known.size, known.changed_ns):
                    self._wake(known, seen)
            elif known.left_s is not None:
                self._find_again(known)

    # --- one file -----------------------------------------------------------------------------------------------------

    def _serve(self, known: Known, now_s: float) -> Chunk | None:
        """Return the next chunk of an open file."""
        try:
            if known.after is not None and not self._may_begin(known):
                if known.tail is not None:
                    known.tail.look(now_s)
                return None
            chunk = self._take(known, now_s)
        except Gone:
            return self._replace(known, now_s)
        known.is_sure = True
        known.is_drained = chunk is None and (known.copy is None or known.copy.is_done)
        if chunk is not None:
            self._registrar.read_to(known, chunk.next)
        elif known.is_drained and known.left_s is not None:
            chunk = self._leave(known, now_s)
        return chunk

    def _take(self, known: Known, now_s: float) -> Chunk | None:
        if known.copy is not None:
            return known.copy.take(now_s)
        assert known.tail is not None
        return known.tail.take(partial(self._registrar.name, known), now_s)

    def _may_begin(self, known: Known) -> bool:
        """Tell whether all was read of the file whose place this one took."""
        older = known.after
        if older is None or not (older.is_drained or older.is_over):
            return older is None
        known.after = None
        if older.tail is not None and known.tail is not None and not older.tail.is_named():
            self._go_on_in(known, older, older.tail, known.tail)
        return True

    def _go_on_in(self, known: Known, older: Known, before: Tail, now: Tail) -> None:
        """Make `known` the same partition where it is `older` written anew, with more behind: as rsync does it."""
        token = before.token
        if older.position is None or known.position is not None or token is None or not token.offset:
            return
        if older.partition is not None and holds(now.path(), Compression.NONE, token):
            self._ground.roll.move(older.partition, known.path, known.file[1])
            known.partition, known.position = older.partition, older.position
            known.tail = Tail(now.duplicate(), _kind(known, self._ground), known.position)
            now.close()
            self._forget(older)

    def _leave(self, known: Known, now_s: float) -> Chunk | None:
        """Finish a file that has lost its place, once it is quiet."""
        if known.tail is None:
            self._registrar.end_compressed(known)
            self._forget(known)
            return None
        if not known.is_finished:
            assert known.left_s is not None
            if now_s - max(known.left_s, known.tail.grew_s) < self._ground.pace.quiet_s:
                return None
            if any(other.after is known for other in (*self._active, *self._due, *self._unsure)):
                return None  # what took its place is to be compared with it first
            chunk = known.tail.finish(partial(self._registrar.name, known))
            if chunk is not None:
                self._registrar.read_to(known, chunk.next)
                return chunk
            known.is_finished = True
            seen = next(iter(self._ground.with_inode(known.path, known.file[1])), None)
            if seen is not None:
                known.path = seen.path
                self._rest(known)
                return None
        left = [other for other in self._active if other.is_finished]
        if not known.tail.is_named() or (len(left) > LEFT_FILES_MAX and left[0] is known):
            self._end(known)
        return None

    def _replace(self, known: Known, now_s: float) -> Chunk | None:
        """Go on with what is in a file now, in the place of what was read of it; return what is to be said of that."""
        tail = known.tail
        assert tail is not None
        copy, chunk = self._copy_of(known, tail), None
        if copy is None:
            chunk = self._registrar.lose(known, tail.unread_bytes if known.is_sure else UNKNOWN, tail.held)
        else:
            self._registrar.move(known, copy)
        name, now = read_name(known.path), None
        if known.left_s is None and name is not None:
            now = Known(name, known.path, known.file, is_sure=True)
            now.tail = Tail(tail.duplicate(), _kind(now, self._ground), None)
        self._forget(known)
        if copy is not None:
            older = Known(known.name, copy.path, copy.file, known.partition, known.position, copy.size)
            older.left_s, older.is_sure = now_s, True
            self._by_file[copy.file] = older
            self._due.appendleft(older)
            if now is not None:
                now.after = older
        if now is not None:
            self._by_file[now.file] = self._at[now.path] = now
            self._active.append(now)
        return chunk

    def _copy_of(self, known: Known, tail: Tail) -> Seen | None:
        """Find the file that a text was copied to before it was emptied, as logrotate's copytruncate does it."""
        token = tail.token
        if token is None or not token.offset or known.partition is None:
            return None

        def is_copy(seen: Seen) -> bool:
            return seen.file not in self._by_file and self._ground.holds(seen, token)

        return self._ground.relative(known.path, is_copy)

    def _end(self, known: Known) -> None:
        self._registrar.end(known)
        self._forget(known)

    def _forget(self, known: Known) -> None:
        known.is_over = True
        known.close()
        if self._by_file.get(known.file) is known:
            del self._by_file[known.file]
        if self._at.get(known.path) is known:
            del self._at[known.path]
        if known in self._active:
            self._active.remove(known)
        self._resting.pop(known, None)

    # --- whole files --------------------------------------------------------------------------------------------------

    def _see_wholes(self, found: Mapping[str, Seen], now_s: float) -> None:
        wholes = {}
        for path, seen in found.items():
            name = read_name(path)
            if name is not None and is_whole(name) and seen.file not in self._by_file:
                wholes[path] = seen
        self._wholes.see(wholes, now_s)

    def _read_whole(self, path: str, position: Position | None) -> Iterator[Chunk]:
        if position is None and compression_of(path) is not Compression.NONE:
            seen = see(path, self._ground.root)
            if seen is None or self._registrar.is_compressed(seen):
                return iter(())
        return self._ground.read_whole(path, position)

    def _read_copy(self, known: Known, partition: str, position: Position | None) -> Iterator[Chunk]:
        """Read on from `position` in a compressed file that holds the partition's text."""
        formats = self._ground.formats
        file = formats.text_file(self._ground.root / known.path, partition, compression_of(known.path))
        return read_moved(formats, known.name.encoding, file, position)


def _kind(known: Known, ground: Ground) -> Kind:
    return Kind(known.partition or known.name.path, known.name.encoding, ground.formats)
