"""Decodes what the plug-in `pgoutput` sends, protocol version 1: "Logical Replication Message Formats" of the manual.

All numbers are big-endian. A message begins with a letter:

    B  begin       int64 the LSN of the commit, int64 its time, int32 the transaction's number
    C  commit      int8 flags, int64 the LSN of the commit, int64 where the transaction ends, int64 its time
    R  relation    int32 its number, text its schema, text its name, int8 replica identity, int16 columns; of each
                   int8 flags, text its name, int32 its type, int32 the type's modifier
    I  insert      int32 relation, `N`, tuple
    U  update      int32 relation, perhaps `K` or `O` and the old tuple, `N`, tuple
    D  delete      int32 relation, `K` or `O`, the old tuple
    T  truncate    int32 relations, int8 options, int32 each
    O  origin, Y  type: of no interest here

A tuple is int16 columns, and of each a letter: `n` null, `u` an unchanged value that is stored out of line and not
sent, `t` int32 length and text. A text between messages ends with a zero byte.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeAlias

_BEGIN = struct.Struct("!xqqi")
_COMMIT = struct.Struct("!xbqqq")
_INT16, _INT32 = struct.Struct("!H"), struct.Struct("!I")
_COLUMN_TAIL_BYTES = 8
_NULL, _UNCHANGED, _TEXT = b"nut"
_KEY, _OLD, _NEW = b"KON"


class NotDecodable(ValueError):
    """A message is not built as the manual has it, or is of a kind that was not asked for."""


class Unsent(Enum):
    """What stands for a value that is not sent, because it did not change and is stored out of line."""

    UNSENT = "unsent"


UNSENT: Final = Unsent.UNSENT
Value: TypeAlias = str | Unsent | None
Tuple: TypeAlias = list[Value]


@dataclass(frozen=True, slots=True)
class Begin:
    """A transaction begins, whose commit lies at `commit_lsn`."""

    commit_lsn: int


@dataclass(frozen=True, slots=True)
class Commit:
    """A transaction ends; what comes after it lies at `end_lsn` or later."""

    commit_lsn: int
    end_lsn: int


@dataclass(frozen=True, slots=True)
class Relation:
    """A table as the messages after this one mean it."""

    id: int
    schema: str
    name: str
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Insert:
    """A row came."""

    relation: int
    new: Tuple


@dataclass(frozen=True, slots=True)
class Update:
    """A row changed. `old` is what it was, `key` its key where that changed; None where neither was sent."""

    relation: int
    new: Tuple
    old: Tuple | None
    key: Tuple | None


@dataclass(frozen=True, slots=True)
class Delete:
    """A row went. `old` has null outside of the key, unless the replica identity is full."""

    relation: int
    old: Tuple


@dataclass(frozen=True, slots=True)
class Truncate:
    """All rows of some tables went."""

    relations: tuple[int, ...]


Message: TypeAlias = Begin | Commit | Relation | Insert | Update | Delete | Truncate


def decode(data: bytes) -> Message | None:
    """Return the message that `data` is, None for one that is of no interest. Raises NotDecodable."""
    try:
        return _decode(data)
    except (IndexError, ValueError) as error:
        raise NotDecodable(f"message {data[:1]!r} of {len(data)} bytes: {error}") from error
    except struct.error as error:
        raise NotDecodable(f"message {data[:1]!r} of {len(data)} bytes is cut short: {error}") from error


def _decode(data: bytes) -> Message | None:  # noqa: PLR0911 - one return for each kind of message
    match data[:1]:
        case b"I":
            return Insert(_relation(data), _whole(data, 5, _NEW))
        case b"U":
            return _update(data)
        case b"D":
            return Delete(_relation(data), _whole(data, 5, _KEY, _OLD))
        case b"B":
            return Begin(_BEGIN.unpack_from(data)[0])
        case b"C":
            _, commit_lsn, end_lsn, _ = _COMMIT.unpack_from(data)
            return Commit(commit_lsn, end_lsn)
        case b"R":
            return _columns(data)
        case b"T":
            count = _relation(data)
            return Truncate(tuple(_INT32.unpack_from(data, 6 + 4 * number)[0] for number in range(count)))
        case b"O" | b"Y":
            return None
        case _:
            raise NotDecodable("nothing that was asked for")


def _relation(data: bytes) -> int:
    return int(_INT32.unpack_from(data, 1)[0])


def _update(data: bytes) -> Update:
    old, key, place = None, None, 5
    if data[place] == _KEY:
        key, place = _tuple(data, place + 1)
    elif data[place] == _OLD:
        old, place = _tuple(data, place + 1)
    return Update(_relation(data), _whole(data, place, _NEW), old, key)


def _columns(data: bytes) -> Relation:
    schema, place = _string(data, 5)
    name, place = _string(data, place)
    (count,) = _INT16.unpack_from(data, place + 1)
    place += 3
    columns = []
    for _ in range(count):
        column, place = _string(data, place + 1)
        columns.append(column)
        place += _COLUMN_TAIL_BYTES
    _require(place == len(data), "too long")
    return Relation(_relation(data), schema, name, tuple(columns))


def _string(data: bytes, place: int) -> tuple[str, int]:
    end = data.index(0, place)
    return data[place:end].decode(), end + 1


def _whole(data: bytes, place: int, *wanted: int) -> Tuple:
    """Return the tuple that is the rest of a message."""
    _require(data[place] in wanted, f"a tuple of kind {chr(data[place])!r}")
    values, end = _tuple(data, place + 1)
    _require(end == len(data), "too long")
    return values


def _tuple(data: bytes, place: int) -> tuple[Tuple, int]:
    (count,) = _INT16.unpack_from(data, place)
    place += 2
    values: Tuple = []
    for _ in range(count):
        kind = data[place]
        place += 1
        if kind == _TEXT:
            (length,) = _INT32.unpack_from(data, place)
            place += 4
            end = place + length
            _require(end <= len(data), "cut short")
            values.append(data[place:end].decode())
            place = end
        elif kind == _NULL:
            values.append(None)
        else:
            _require(kind == _UNCHANGED, f"a value of kind {chr(kind)!r}")
            values.append(UNSENT)
    return values, place


def _require(holds: bool, what: str) -> None:  # noqa: FBT001 - reads as a sentence where it is called
    if not holds:
        raise NotDecodable(what)
