"""What a position's token holds, for each way of reading a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import msgspec

from penstock.errors import ContentChanged

if TYPE_CHECKING:
    from penstock.model.position import Position

WAYS_ON = "--rewind reads the table from its beginning again; --accept goes on from what is there now"

Key: TypeAlias = tuple[str, ...]
"""The values of a row's key, as the server writes them."""


class KeyToken(msgspec.Struct, frozen=True, tag="key"):
    """Every row up to `key` was given; the next has a greater one. Without a key: all were, and may be read again."""

    key: Key


class CursorToken(msgspec.Struct, frozen=True, tag="cursor"):
    """Rows were given in the order of the cursor, up to the value `at`.

    `seen` holds fingerprints, of FINGERPRINT_BYTES each, of the last rows that were given: those of them that are read
    again are passed by.
    """

    at: str
    seen: bytes = b""


class SnapshotToken(msgspec.Struct, frozen=True, tag="snapshot"):
    """Before the changes come the rows that there were: given up to `key`. The changes begin at `lsn` of `slot`."""

    slot: str
    lsn: int
    key: Key


class StreamToken(msgspec.Struct, frozen=True, tag="stream", omit_defaults=True):
    """Every transaction that ends before `lsn` was given.

    And `done` records of the one whose commit lies at `commit`, where that is not 0. `anew`: a person said that reading
    goes on here, whatever came before.
    """

    slot: str
    lsn: int
    commit: int = 0
    done: int = 0
    anew: bool = False


Token: TypeAlias = KeyToken | CursorToken | SnapshotToken | StreamToken
_DECODER: msgspec.json.Decoder[Token] = msgspec.json.Decoder(KeyToken | CursorToken | SnapshotToken | StreamToken)


def write_token(token: Token) -> str:
    """Serialise for a Position."""
    return msgspec.json.encode(token).decode()


def read_token(position: Position | None) -> Token | None:
    """Return what `write_token` wrote, None for a partition's beginning. ContentChanged for what is none of ours."""
    if position is None or not position.token:
        return None
    try:
        return _DECODER.decode(position.token)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise changed(position.partition, f"its position does not fit a table ({error})") from error


def changed(partition: str, what: str) -> ContentChanged:
    """Return the error that says what is no longer as it was read, and the ways on."""
    return ContentChanged("INT_ALPHA_013", f"{partition}: {what}", remedy=WAYS_ON)


def another_way(partition: str, way: str) -> ContentChanged:
    """Return the error for a position that another way of reading has left."""
    return changed(partition, f"it was read in another way than `read = {way}` before")


def lsn_of(text: str) -> int:
    """Read a place in the log as the server writes it: two hexadecimal numbers, `16/B374D848`."""
    high, _, low = text.partition("/")
    return int(high, 16) << 32 | int(low, 16)


def lsn_text(lsn: int) -> str:
    """Write a place in the log as the server reads it."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"
