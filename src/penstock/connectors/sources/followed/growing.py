"""Records out of a text that comes piece by piece, as chunks: what is not complete yet waits for its end."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Protocol

import pyarrow as pa

from penstock.connectors.sources.files.textformat import keep, length_error, length_without_break
from penstock.model.position import Position
from penstock.ports import BadRecord, Chunk, Original

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from penstock.connectors.sources.files.textformat import Refusal, Taken, TextFormat
    from penstock.model.outcome import RecordError


@dataclass(frozen=True, slots=True)
class Place:
    """Where a record begins: byte and 1-based line of the text, and the sequence that it gets."""

    offset: int
    line: int
    sequence: int


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is read at a time, and how long a record may be."""

    read_bytes: int
    record_bytes_max: int


class Marks(Protocol):
    """Writes the tokens of positions. Told of every byte that is passed by, in order."""

    def pass_by(self, block: bytes, end: int) -> None:
        """Move on over block[:end]."""

    def token(self, offset: int, line: int) -> str:
        """Return the token for the place that was moved to."""


@dataclass(slots=True)
class _OverLong:
    """A line that is too long, passed by without holding it: its beginning, its length so far, its last bytes."""

    kept: bytes
    length: int = 0
    last: bytes = b""


class GrowingText:
    """One text, from `place` on. Bytes are put in as they come, chunks taken out; the rest of a record stays inside.

    What is decided about a record is what the batch reader decides: the same format looks at it, and it decides the
    same wherever blocks end.
    """

    def __init__(self, text_format: TextFormat, place: Place, sizes: Sizes, marks: Marks) -> None:
        self._format = text_format
        self._limit = sizes.record_bytes_max
        self._read_bytes = sizes.read_bytes
        self._marks = marks
        self._buffer = b""
        self._may_hold_more = False
        self._over_long: _OverLong | None = None
        self._passed = place.offset
        self.place = place
        """Where the next record begins."""
        self.wanted_bytes = sizes.read_bytes
        """How much should be held at once: more than usual where a record is longer than that."""

    @property
    def end(self) -> int:
        """The offset of the next byte to be put in."""
        return self._passed + len(self._buffer)

    @property
    def begins(self) -> int:
        """The offset of the first byte that is held."""
        return self._passed

    @property
    def held(self) -> bytes:
        """What was put in and not yet taken."""
        return self._buffer

    def put(self, text: bytes) -> None:
        """Add what comes next, from `end` on."""
        self._buffer = self._buffer + text if self._buffer else text
        self._may_hold_more = True

    def put_again(self, text: bytes) -> None:
        """Hold `text`, from `begins` on, in the place of what is held, which it begins with."""
        self._buffer = text
        self._may_hold_more = True

    def take(self, partition: Callable[[], str], saw: Callable[[Taken], None], *, final: bool = False) -> Chunk | None:
        """Return the complete records that are held, None where there are none.

        `partition` is asked for the name once there is a record. When `final`, nothing will come any more: a last line
        without a line break is a record, too. `saw` is told of every block.
        """
        while self._may_hold_more or final:
            if self._over_long or self._first_line_is_over_long():
                return self._pass_over_long(partition, final=final)
            block = self._buffer
            if final and block and not block.endswith(b"\n"):
                block += b"\n"
            taken = self._format.take(block, final=final) if b"\n" in block else None
            if taken is None or not taken.used:
                self.wanted_bytes = max(self._read_bytes, 2 * len(block))
                break
            saw(taken)
            self.wanted_bytes = self._read_bytes
            if taken.count:
                return self._chunk(partition(), taken)
            self._pass_by(taken)
        self._may_hold_more = False
        return None

    def _chunk(self, partition: str, taken: Taken) -> Chunk:
        """Move past what was taken, and return it as a chunk."""
        block, begins = self._buffer, self.place
        end = begins.sequence + taken.count
        bad = tuple(self._bad_record(block, refusal) for refusal in taken.refusals)
        self._pass_by(taken)
        return Chunk(
            start=begins.sequence,
            end=end,
            records=taken.records,
            sequences=_sequences(begins.sequence, end, [record.sequence for record in bad]),
            bad=bad,
            next=self._position(partition),
            originals=_Originals(block, taken, self._format, begins, self._limit),
            size_bytes=len(block),
        )

    def _bad_record(self, block: bytes, refusal: Refusal) -> BadRecord:
        original = Original(keep(block[refusal.start : refusal.end], self._limit), self.place.line + refusal.line)
        return BadRecord(self.place.sequence + refusal.number, original, refusal.error)

    def _pass_by(self, taken: Taken) -> None:
        used = min(taken.used, len(self._buffer))  # a last line break may be ours
        self._move(used, self.place.line + taken.lines - (used < taken.used), self.place.sequence + taken.count)

    def _move(self, used: int, line: int, sequence: int) -> None:
        self._let_go(used)
        self.place = Place(self._passed, line, sequence)

    def _let_go(self, used: int) -> None:
        self._marks.pass_by(self._buffer, used)
        self._buffer = self._buffer[used:]
        self._passed += used

    def _position(self, partition: str) -> Position:
        place = self.place
        return Position(partition, place.sequence, self._marks.token(place.offset, place.line))

    def _first_line_is_over_long(self) -> bool:
        """Tell whether what is held begins with a line that is too long however it goes on."""
        beyond = self._limit + len(b"\r\n")
        return len(self._buffer) >= beyond and self._buffer.find(b"\n", 0, beyond) < 0

    def _pass_over_long(self, partition: Callable[[], str], *, final: bool) -> Chunk | None:
        """Let go of an over-long line as it comes; return it as a bad record once its end is there."""
        long = self._over_long = self._over_long or _OverLong(keep(self._buffer, self._limit))
        line_break = self._buffer.find(b"\n")
        used = line_break + 1 or len(self._buffer)
        last, length = (long.last + self._buffer[max(0, used - 2) : used])[-2:], long.length + used
        if line_break < 0 and not final:
            long.last, long.length = last, length
            self._let_go(used)
            self._may_hold_more = False
            return None
        name, begins = partition(), self.place
        self._move(used, begins.line + (line_break >= 0), begins.sequence + 1)
        self._over_long = None
        length -= len(last) - length_without_break(last)
        original, error = Original(long.kept, begins.line), length_error(length, self._limit)
        return bad_chunk(begins.sequence, original, error, self._position(name), self._format.schema)


def bad_chunk(sequence: int, original: Original, error: RecordError, after: Position, schema: pa.Schema) -> Chunk:
    """Return a chunk that is one bad record."""
    return Chunk(
        start=sequence,
        end=sequence + 1,
        records=pa.RecordBatch.from_pylist([], schema),
        sequences=pa.array([], pa.int64()),
        bad=(BadRecord(sequence, original, error),),
        next=after,
        originals=lambda sequences: [original for _ in sequences],
        size_bytes=len(original.content),
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

    def __init__(self, block: bytes, taken: Taken, text_format: TextFormat, begins: Place, limit: int) -> None:
        self._text = block
        self._end = taken.used
        self._format = text_format
        self._begins = begins
        self._limit = limit
        self._one_line_each = taken.lines == taken.count
        self._bounds: Sequence[tuple[int, int]] | None = None

    def __call__(self, sequences: Sequence[int]) -> Sequence[Original]:
        """Return the records with these sequences, which ascend. May be called from any thread."""
        if self._bounds is None:
            self._text = self._text[: self._end]
            self._bounds = self._lines() if self._one_line_each else tuple(self._format.bounds(self._text))
        originals, line, passed = [], self._begins.line, 0
        for sequence in sequences:
            start, end = self._bounds[sequence - self._begins.sequence]
            line += self._text.count(b"\n", passed, start)
            passed = start
            originals.append(Original(keep(self._text[start:end], self._limit), line))
        return originals

    def _lines(self) -> Sequence[tuple[int, int]]:
        """Every record is a line, which is quick to see."""
        lines = self._text.split(b"\n")
        starts = accumulate((len(line) + 1 for line in lines), initial=0)
        return [(start, start + length_without_break(line)) for start, line in zip(starts, lines, strict=False)]
