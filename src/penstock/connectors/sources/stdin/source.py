"""Standard input as a source. Each process that reads it reads another input, which is a partition of its own."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import quote

import msgspec

from penstock.connectors.sources.files.partitions import Encoding
from penstock.connectors.sources.files.positions import changed
from penstock.connectors.sources.followed.formats import Beginning, Formats
from penstock.connectors.sources.followed.growing import GrowingText, Place
from penstock.connectors.sources.stdin.copying import Copier
from penstock.connectors.sources.stdin.journal import HEADER, PART, Journal, JournalLimits, write_aside
from penstock.errors import Unavailable, UserMistake
from penstock.ledger.folder import make_folder
from penstock.ports import Declaration, Hard, Option, Replay, SourcePromises

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from penstock.connectors.sources.files.textformat import Taken, TextFormat
    from penstock.model.pipeline import SourceTable
    from penstock.model.position import Position
    from penstock.model.settings import Settings
    from penstock.ports import Chunk, Following, Reread

FOLDER = "journal"
"""Inside the state folder."""
NAME = "stdin@"
"""How partitions are called, with the moment when the process began to read, in UTC."""
OPTION = "format"
"""The connection's option that says how records are written."""
STANDARD_INPUT = 0
FORMATS = (Encoding.CSV, Encoding.JSON_LINES)
WAIT_S = 60.0
"""A batch reader waits for its writer, in pieces of this."""
PROMISES = SourcePromises(Replay.EXACT, follows=True, prunes=True, lacks=frozenset({Hard.NUL_CHARACTER}))
DECLARATION = Declaration(
    what="one table out of what another program writes to standard input, through a journal",
    place="`path`: `-`; see [following](following.md)",
    promises=(PROMISES,),
    options=(Option(OPTION, f"how records are written: `{'` or `'.join(FORMATS)}`", None),),
)


class JournalToken(msgspec.Struct, frozen=True):
    """A place in an input's text: byte and 1-based line."""

    offset: int
    line: int


class _Marks:
    """Implements growing.Marks: nobody but us writes a journal, so there is nothing to compare."""

    def pass_by(self, block: bytes, end: int) -> None:
        """Do nothing."""

    def token(self, offset: int, line: int) -> str:
        return msgspec.json.encode(JournalToken(offset, line)).decode()


class StandardInput:
    """Records of one table out of what comes in at `descriptor`. Implements ports.Follows; see docs/following.md.

    Nothing is read from the pipe before somebody reads or follows. `extra_columns` and `blocks_triaged` are as those of
    the FileSource.
    """

    declares: ClassVar[Declaration[SourcePromises]] = DECLARATION
    replay: Replay = PROMISES.replay

    def __init__(
        self,
        table: SourceTable,
        root: Path,  # noqa: ARG002 - the folder that paths are relative to: as every source of ours is made
        settings: Settings,
        state: Path,
        *,
        descriptor: int = STANDARD_INPUT,
        limits: JournalLimits | None = None,
    ) -> None:
        """`state` is the project's state folder. UserMistake where the connection does not name a format."""
        self._table = table
        self._encoding = _encoding(table)
        self._formats = Formats(table, settings, self._met_columns, self._took)
        self._state = state
        self._folder = state / FOLDER / quote(table.name, safe="").replace(".", "%2E")
        self._descriptor = descriptor
        self._limits = limits or JournalLimits()
        self._began = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}"
        self._copier: Copier | None = None
        self._journals: dict[str, Journal] = {}
        self.extra_columns: tuple[str, ...] = ()
        self.blocks_triaged = 0

    def partitions(self) -> Sequence[str]:
        """Return the inputs of earlier processes that are not settled, and this one's. See ports.Source."""
        with _keeping(self._folder):
            return [*self._past(), NAME + self._began]

    def read(self, partition: str, position: Position | None) -> Iterator[Chunk]:
        """Read an input from `position` to its end, waiting for it. See ports.Source."""
        with _keeping(self._folder):
            journal = self._journal(partition)
        reader = _InputReader(partition, journal, self._formats, self._encoding, position)
        while not reader.is_over:
            with _keeping(self._folder):
                chunk = reader.next(time.monotonic() + WAIT_S)
            if chunk is not None:
                yield chunk

    def follow(self, positions: Mapping[str, Position]) -> Following:
        """Begin to follow: what earlier processes left in the journal first. See ports.Follows."""
        readers = []
        with _keeping(self._folder):
            for partition in self.partitions():
                journal, position = self._journal(partition), positions.get(partition)
                if journal.is_removed:
                    continue
                if position is not None:
                    journal.prune(_token(position).offset)
                readers.append(_InputReader(partition, journal, self._formats, self._encoding, position))
        return _InputFollowing(readers, self._folder)

    def size_bytes(self, partition: str, position: Position | None) -> int | None:
        """Return how much of what was journalled is left; None where that says nothing, or is not known."""
        journal = self._journals.get(partition)
        if journal is None or not journal.ended:
            return None
        return max(0, journal.size - (_token(position).offset if position else 0))

    def accept(self, position: Position) -> Position:
        """Return `position`: a journal does not change."""
        return position

    def reread(self, partition: str, originals: Sequence[bytes]) -> Reread:
        """Parse originals again. See ports.Source. Once an input is settled, the newest header says what fields are."""
        columns: tuple[str, ...] = ()
        if self._encoding is Encoding.CSV:
            folder = self._folder / partition.removeprefix(NAME)
            columns = self._kept_columns(folder / HEADER) or self._kept_columns(self._folder / HEADER)
            if not columns:
                raise UserMistake("INT_ALPHA_010", f"{partition}: nobody knows its header any more")
        return self._formats.open(self._encoding, columns).reread(originals)

    def commit(self, position: Position) -> None:
        """Remove what is settled from the journal. See ports.Source."""
        journal = self._journals.get(position.partition)
        if journal is not None:
            with _keeping(self._folder):
                journal.prune(_token(position).offset)

    def close(self) -> None:
        """Stop taking from the pipe. What is journalled and not settled stays for the next process."""
        if self._copier is not None:
            self._copier.close()
            self._copier = None

    def _past(self) -> Iterator[str]:
        """Yield the inputs of earlier processes that are still in the journal, oldest first."""
        for folder in sorted(self._folder.glob("*/")):
            if folder.name != self._began and any(folder.glob(f"*{PART}")):
                yield NAME + folder.name

    def _journal(self, partition: str) -> Journal:
        """Return an input's journal; this process's begins to be written."""
        journal = self._journals.get(partition)
        if journal is None:
            is_past = partition != NAME + self._began
            journal = Journal(self._folder / partition.removeprefix(NAME), self._limits, is_past=is_past)
            self._journals[partition] = journal
        if self._copier is None and partition == NAME + self._began and not journal.ended:
            self._copier = self._copy(journal)
        return journal

    def _copy(self, journal: Journal) -> Copier:
        if self._descriptor == STANDARD_INPUT and sys.__stdin__ is None:
            raise UserMistake("INT_ALPHA_010", f"table `{self._table.name}`: standard input is closed")
        make_folder(self._state)
        make_folder(self._folder.parent)
        make_folder(self._folder)
        return Copier(self._descriptor, journal, self._formats.sizes.record_bytes_max)

    def _kept_columns(self, header: Path) -> tuple[str, ...]:
        try:
            beginning = _beginning_of(header, self._formats, header.read_bytes())
        except FileNotFoundError:
            return ()
        return beginning.columns if beginning else ()

    def _met_columns(self, names: Sequence[str]) -> None:
        known = {*(field.name for field in self._table.fields), *self.extra_columns}
        self.extra_columns += tuple(dict.fromkeys(name for name in names if name not in known))

    def _took(self, taken: Taken) -> None:
        self.blocks_triaged += taken.triaged


class _InputReader:
    """Reads one input's journal. Methods raise OSError."""

    def __init__(
        self, partition: str, journal: Journal, formats: Formats, encoding: Encoding, position: Position | None
    ) -> None:
        self._partition = partition
        self._journal = journal
        self._formats = formats
        self._encoding = encoding
        self._position = position
        self._text: GrowingText | None = None
        self.is_over = False
        """Whether nothing more will come of it."""

    def next(self, until_s: float) -> Chunk | None:
        """Return what comes next, None where nothing comes until then, or nothing any more."""
        while not self.is_over:
            journal, ended = self._journal, self._journal.ended  # asked before its size: after it nothing is added
            text = self._text or self._begin(ended=ended)
            read_to = text.end if text else 0
            chunk = text.take(self._name, self._formats.saw) if text else None
            if chunk is None and text and read_to < journal.size:
                self._read(text)
                continue
            if chunk is None and ended:
                chunk = text.take(self._name, self._formats.saw, final=True) if text else None
                self.is_over = chunk is None
                if self.is_over:
                    journal.finish(_token(self._position).offset if self._position else 0)
            if chunk is not None:
                self._position = chunk.next
                return chunk
            left_s = until_s - time.monotonic()
            if self.is_over or left_s <= 0:
                return None
            journal.wait(read_to if text else journal.size, left_s)
            if journal.trouble is not None and journal.size <= read_to:
                raise journal.trouble
        return None

    def _name(self) -> str:
        return self._partition

    def _read(self, text: GrowingText) -> None:
        text.put(self._journal.read(text.end, text.wanted_bytes - len(text.held)))
        self._journal.have_read(text.end)

    def _begin(self, *, ended: bool) -> GrowingText | None:
        """Find the place to read from, None where the header has not come yet."""
        journal, position = self._journal, self._position
        if self._encoding is Encoding.CSV and journal.header.exists():
            beginning = _beginning_of(journal.header, self._formats, journal.header.read_bytes())
        elif position is not None and self._encoding is Encoding.JSON_LINES:
            beginning = Beginning(0, 1)
        else:
            beginning = self._find_beginning(ended=ended)
        if beginning is None:
            return None
        token = _token(position) if position is not None else JournalToken(beginning.offset, beginning.line)
        place = Place(token.offset, token.line, position.sequence if position else 0)
        text_format: TextFormat = self._formats.open(self._encoding, beginning.columns)
        self._text = GrowingText(text_format, place, self._formats.sizes, _Marks())
        return self._text

    def _find_beginning(self, *, ended: bool) -> Beginning | None:
        """Find where records begin, and keep the header durably."""
        glance = self._journal.read(0, self._formats.sizes.record_bytes_max)
        if not glance:
            return None
        try:
            beginning = _beginning_of(self._journal.first(), self._formats, glance, self._encoding)
        except UserMistake:
            if glance.count(b'"') % 2 and not ended:  # a quoted name may go on in the next line
                return None
            raise
        if beginning is not None and self._encoding is Encoding.CSV:
            for path in (self._journal.header, self._journal.folder.parent / HEADER):
                write_aside(path, glance[: beginning.offset])
        return beginning


class _InputFollowing:
    """One input after another, the last of which is this process's."""

    def __init__(self, readers: Sequence[_InputReader], folder: Path) -> None:
        self._readers = list(readers)
        self._folder = folder
        self.ended = not readers

    def next(self, wait_s: float) -> Chunk | None:
        """See ports.Following."""
        until_s = time.monotonic() + wait_s
        while self._readers:
            with _keeping(self._folder):
                chunk = self._readers[0].next(until_s)
            if chunk is not None or not self._readers[0].is_over:
                return chunk
            self._readers.pop(0)
        self.ended = True
        return None

    def close(self) -> None:
        """Do nothing: the copying goes on, for whoever follows next."""


def _encoding(table: SourceTable) -> Encoding:
    named = table.connection.options.get(OPTION, "")
    try:
        encoding = Encoding(named.lower())
    except ValueError:
        encoding = None
    if encoding not in FORMATS:
        raise UserMistake(
            "INT_PIPELINE_003",
            f"connection `{table.connection.name}` is standard input, whose format nothing tells"
            + (f": `{named}` is none that can be read from it" if named else ""),
            remedy=f"give the connection the option `{OPTION}`: {' or '.join(FORMATS)}",
        )
    return encoding


def _token(position: Position) -> JournalToken:
    try:
        return msgspec.json.decode(position.token, type=JournalToken)
    except msgspec.DecodeError as error:
        raise changed(position.partition, f"its position does not fit a journal ({error})") from error


def _beginning_of(path: Path, formats: Formats, glance: bytes, encoding: Encoding = Encoding.CSV) -> Beginning | None:
    return formats.beginning(encoding, formats.text_file(path, "standard input"), glance)


@contextmanager
def _keeping(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unavailable("INT_ALPHA_017", f"{folder}: {error.strerror or error}") from error
