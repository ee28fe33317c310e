"""Reads a text file into chunks: block after block, each cut where a record ends."""

from __future__ import annotations

from array import array
from contextlib import closing
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pyarrow as pa

from penstock.connectors.sources.files.bytestream import Damaged, EndsBefore, Windows, open_stream
from penstock.connectors.sources.files.partitions import Compression
from penstock.connectors.sources.files.positions import TextToken, changed, fingerprint, write_token
from penstock.connectors.sources.files.textformat import Refusal, Taken, keep, length_error, length_without_break
from penstock.errors import UserMistake
from penstock.model.position import Position
from penstock.ports import BadRecord, Chunk, Original

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from penstock.connectors.sources.files.bytestream import ByteStream
    from penstock.connectors.sources.files.textformat import TextFormat

BEFORE_POSITION = "in what was read before"


class TextFile(msgspec.Struct, frozen=True):
    """A text file to read, and how much of it at a time."""

    path: Path
    partition: str
    compression: Compression
    read_bytes: int
    record_bytes_max: int


class Start(msgspec.Struct, frozen=True):
    """Where reading starts: byte and 1-based line of the text, and the sequence of the next record.

    `token` is the position's; None where the file is read from its beginning, with nothing to compare.
    """

    offset: int
    line: int
    sequence: int
    token: TextToken | None = None


def read_text(
    file: TextFile, start: Start, open_format: Callable[[], TextFormat], saw: Callable[[Taken], None]
) -> Iterator[Chunk]:
    """Yield the file's records from `start` to its end.

    `open_format` is called once it is clear that what was read before is still there; `saw` is told of every block.

    Raises ContentChanged where what was read before is not there any more, UserMistake where the file is damaged,
    after all whole records before the damage; OSError as the operating system does.
    """
    with closing(open_stream(file.path, file.compression)) as stream:
        reading = _Reading(file, stream, start)
        reading.go_to(start)
        yield from reading.chunks(open_format(), saw)


def stand_at(file: TextFile, token: TextToken) -> TextToken:
    """Return `token` for the file as it is now, or for its end where it has become shorter."""
    with closing(open_stream(file.path, file.compression)) as stream:
        try:
            windows = stream.skip_to(token.offset)
        except EndsBefore as end:
            return _stand_at_end(file, end.offset)
        except Damaged as damage:
            raise damaged(file.partition, damage, BEFORE_POSITION) from damage
        return TextToken(token.offset, token.line, stream.stored, fingerprint(windows), accepted=True)


def damaged(partition: str, damage: Damaged, where: str) -> UserMistake:
    """Return the error for a file that breaks off or does not decompress; `where` in its text."""
    return UserMistake("INT_ALPHA_012", f"{partition}: {damage.what}, {where}")


def _stand_at_end(file: TextFile, end: int) -> TextToken:
    windows, lines, passed = Windows(), 0, 0
    with closing(open_stream(file.path, file.compression)) as stream:
        while passed < end and (text := stream.read(min(file.read_bytes, end - passed))):
            windows.pass_by(text, len(text))
            lines += text.count(b"\n")
            passed += len(text)
        return TextToken(passed, lines + 1, stream.stored, fingerprint(windows), accepted=True)


class _Reading:
    """One pass over a file: what is read and not yet taken, and the place in the text where that begins."""

    def __init__(self, file: TextFile, stream: ByteStream, start: Start) -> None:
        self._file = file
        self._stream = stream
        self._limit = file.record_bytes_max
        self._buffer = b""
        self._final = False
        self._damage: Damaged | None = None
        self._windows = Windows()
        self._offset = start.offset
        self._line = start.line
        self._sequence = start.sequence

    def go_to(self, start: Start) -> None:
        """Skip what was read before, comparing it with the position's fingerprint where there is one."""
        token = start.token
        try:
            self._windows = self._stream.skip_to(start.offset)
        except EndsBefore as end:
            raise self._changed(
                f"it now ends after {end.offset:,} bytes of text, but {start.offset:,} were read before"
            ) from end
        except Damaged as damage:
            raise damaged(self._file.partition, damage, BEFORE_POSITION) from damage
        if token is None:
            return
        if not token.accepted and fingerprint(self._windows) != token.sha256:
            raise self._changed(f"what was read before, up to line {token.line:,}, is no longer the same")
        self._fill(self._file.read_bytes)
        if not token.accepted and self._goes_on_inside_a_line():
            raise self._changed(f"line {token.line:,} was read when it had no line break, and has gone on since")

    def chunks(self, text_format: TextFormat, saw: Callable[[Taken], None]) -> Iterator[Chunk]:
        """Yield chunk after chunk; a block of blank lines gives none."""
        size = self._file.read_bytes
        while True:
            self._fill(size)
            if self._first_line_is_over_long():
                yield from self._skip_over_long(text_format)
                continue
            taken = self._take(text_format)
            if taken.used:
                saw(taken)
                chunk = self._chunk(taken, text_format)
                if taken.count:
                    yield chunk
                size = self._file.read_bytes
            elif self._final or self._damage:
                break
            else:
                size = max(self._file.read_bytes, 2 * len(self._buffer))
        if self._damage:
            where = f"in line {self._line:,} or after, with {self._offset:,} bytes of whole records before it"
            raise damaged(self._file.partition, self._damage, where) from self._damage

    def _changed(self, what: str) -> Exception:
        return changed(self._file.partition, what)

    def _goes_on_inside_a_line(self) -> bool:
        inside = not self._windows.tail.endswith(b"\n") and self._windows.tail != b""
        return inside and self._buffer != b"" and not self._buffer.startswith((b"\n", b"\r\n"))

    def _fill(self, size: int) -> None:
        """Read until `size` bytes are there, or there are no more."""
        if len(self._buffer) >= size or self._final or self._damage:
            return
        # What is left over is mostly a part of one record: to read it again costs less than to copy a block behind it.
        kept = self._stream.unread(self._buffer)
        pieces, there = [kept] if kept else [], len(kept)
        while there < size and not self._final and not self._damage:
            try:
                piece = self._stream.read(size - there)
            except Damaged as damage:
                self._damage = damage
                break
            except EndsBefore as end:
                what = f"it lost its end while it was read, and has no more than {end.offset:,} bytes now"
                raise self._changed(what) from end
            self._final = not piece
            pieces.append(piece)
            there += len(piece)
        self._buffer = b"".join(pieces)

    def _take(self, text_format: TextFormat) -> Taken:
        if self._final and self._buffer and not self._buffer.endswith(b"\n"):
            return text_format.take(self._buffer + b"\n", final=True)
        return text_format.take(self._buffer, final=self._final)

    def _chunk(self, taken: Taken, text_format: TextFormat) -> Chunk:
        """Move past what was taken, and return it as a chunk."""
        block, used = self._buffer, min(taken.used, len(self._buffer))
        self._buffer = block[used:]
        start, end, line = self._sequence, self._sequence + taken.count, self._line
        bad = tuple(self._bad_record(block, refusal) for refusal in taken.refusals)
        self._pass_by(block, used, taken.lines - (used < taken.used))
        self._sequence = end
        return Chunk(
            start=start,
            end=end,
            records=taken.records,
            sequences=_sequences(start, end, [record.sequence for record in bad]),
            bad=bad,
            next=self._position(),
            originals=_Originals(block, taken, text_format, start, line, self._limit),
            size_bytes=len(block),
        )

    def _bad_record(self, text: bytes, refusal: Refusal) -> BadRecord:
        original = Original(keep(text[refusal.start : refusal.end], self._limit), self._line + refusal.line)
        return BadRecord(self._sequence + refusal.number, original, refusal.error)

    def _pass_by(self, text: bytes, end: int, lines: int) -> None:
        """Move past text[:end]."""
        self._windows.pass_by(text, end)
        self._offset += end
        self._line += lines

    def _position(self) -> Position:
        stored = self._offset if self._file.compression is Compression.NONE else self._stream.stored
        token = TextToken(self._offset, self._line, stored, fingerprint(self._windows))
        return Position(self._file.partition, self._sequence, write_token(token))

    def _first_line_is_over_long(self) -> bool:
        """Tell whether the buffer begins with a line that is too long however it goes on."""
        beyond = self._limit + 2
        return len(self._buffer) >= beyond and self._buffer.find(b"\n", 0, beyond) < 0

    def _skip_over_long(self, text_format: TextFormat) -> Iterator[Chunk]:
        """Pass by an over-long line without holding it; its beginning is kept as the bad record's original."""
        kept, length = keep(self._buffer, self._limit), 0
        offset, line, last = self._offset, self._line, b""
        while (line_break := self._buffer.find(b"\n")) < 0 and self._buffer:
            length += len(self._buffer)
            last = self._buffer
            self._pass_by(self._buffer, len(self._buffer), 0)
            self._buffer = b""
            self._fill(self._file.read_bytes)
        if self._damage and line_break < 0:
            self._offset = offset
            return
        rest = self._buffer[: line_break + 1]
        self._buffer = self._buffer[line_break + 1 :]
        self._pass_by(rest, len(rest), len(rest) > 0)
        ending = (last[-1:] + rest)[-2:]
        length += len(rest) - (len(ending) - length_without_break(ending))
        original = Original(kept, line)
        bad = BadRecord(self._sequence, original, length_error(length, self._limit))
        self._sequence += 1
        yield Chunk(
            start=bad.sequence,
            end=bad.sequence + 1,
            records=pa.RecordBatch.from_pylist([], text_format.schema),
            sequences=pa.array([], pa.int64()),
            bad=(bad,),
            next=self._position(),
            originals=lambda sequences: [original for _ in sequences],
            size_bytes=len(kept),
        )


def _sequences(start: int, end: int, bad: Sequence[int]) -> pa.Int64Array | None:
    """Name the good ones of start..end; None where all are."""
    if not bad:
        return None
    good = array("q")
    for first, beyond in zip([start - 1, *bad], [*bad, end], strict=True):
        good.extend(range(first + 1, beyond))
    return pa.Array.from_buffers(pa.int64(), len(good), [None, pa.py_buffer(good)])


class _Originals:
    """Gives the untouched records of one chunk back. Where they begin is found out when first asked."""

    def __init__(self, block: bytes, taken: Taken, text_format: TextFormat, start: int, line: int, limit: int) -> None:
        self._text = block
        self._end = taken.used
        self._format = text_format
        self._start = start
        self._line = line
        self._limit = limit
        self._one_line_each = taken.lines == taken.count
        self._bounds: tuple[array[int], array[int]] | None = None

    def __call__(self, sequences: Sequence[int]) -> Sequence[Original]:
        """Return the records with these sequences, which ascend. May be called from any thread."""
        if self._bounds is None:
            self._text = self._text[: self._end]
            self._bounds = self._lines() if self._one_line_each else self._records()
        starts, ends = self._bounds
        originals, line, passed = [], self._line, 0
        for sequence in sequences:
            number = sequence - self._start
            start, end = starts[number], ends[number]
            line += self._text.count(b"\n", passed, start)
            passed = start
            originals.append(Original(keep(self._text[start:end], self._limit), line))
        return originals

    def _lines(self) -> tuple[array[int], array[int]]:
        """Every record is a line, which is quick to see."""
        lines = self._text.split(b"\n")
        if not lines[-1]:
            lines.pop()
        starts = array("q", accumulate((len(line) + 1 for line in lines), initial=0))
        ends = array("q", map(_end_of_line, lines, starts))
        return starts, ends

    def _records(self) -> tuple[array[int], array[int]]:
        starts, ends = array("q"), array("q")
        for start, end in self._format.bounds(self._text):
            starts.append(start)
            ends.append(end)
        return starts, ends


def _end_of_line(line: bytes, start: int) -> int:
    return start + length_without_break(line)
