"""What a position's token holds, and how it is told that a file is still the one that was read."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, TypeVar

import msgspec

from penstock.errors import ContentChanged

if TYPE_CHECKING:
    from penstock.connectors.sources.files.bytestream import Windows
    from penstock.model.position import Position

WAYS_ON = (
    "restore the file as it was, or choose: --rewind reads it from its beginning again, "
    "--accept goes on from here without comparing"
)


class TextToken(msgspec.Struct, frozen=True, omit_defaults=True):
    """A place in a text file: `offset` in its (decompressed) text, and the 1-based number of the line there.

    `stored` counts bytes of the file itself, for progress. `sha256` is over the text's first WINDOW_BYTES and the last
    WINDOW_BYTES before `offset`. `accepted`: a person said that reading may go on inside a line.
    """

    offset: int
    line: int
    stored: int
    sha256: str
    accepted: bool = False


class RowToken(msgspec.Struct, frozen=True):
    """A place in a Parquet file: the 0-based `row`. `size` and `sha256` (of the footer) say which file it was."""

    row: int
    rows: int
    size: int
    sha256: str


Token = TypeVar("Token", TextToken, RowToken)


def write_token(token: TextToken | RowToken) -> str:
    """Serialise for a Position."""
    return msgspec.json.encode(token).decode()


def read_token(position: Position | None, kind: type[Token]) -> Token | None:
    """Return what `write_token` wrote, None for a partition's beginning. ContentChanged for what is none of ours."""
    if position is None or not position.token:
        return None
    try:
        return msgspec.json.decode(position.token, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise changed(position.partition, f"its position does not fit such a file ({error})") from error


def fingerprint(windows: Windows) -> str:
    """Return the SHA-256 that stands for all that was read. Does not depend on the file's size: files may grow."""
    return hashlib.sha256(windows.head + windows.tail).hexdigest()


def changed(partition: str, what: str) -> ContentChanged:
    """Return the error that says what is no longer as it was read, and the ways on."""
    return ContentChanged("INT_ALPHA_013", f"{partition}: {what}", remedy=WAYS_ON)
