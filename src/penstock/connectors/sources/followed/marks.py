"""What of a file's text is remembered, to tell whether it is still the text that was read."""

from __future__ import annotations

import hashlib
from contextlib import closing, suppress
from typing import TYPE_CHECKING

import msgspec

from penstock.connectors.sources.files.bytestream import WINDOW_BYTES, Damaged, EndsBefore, Windows, open_stream
from penstock.connectors.sources.files.positions import TextToken, changed, fingerprint, write_token

if TYPE_CHECKING:
    from pathlib import Path

    from penstock.connectors.sources.files.partitions import Compression
    from penstock.model.position import Position

HEAD_BYTES = 4 << 10
"""How much of a file's beginning is noted when it is met."""


class FollowedToken(TextToken, frozen=True, omit_defaults=True):
    """The batch reader's token. `ended` says that nothing of the partition will ever come after it."""

    ended: bool = False


class Head(msgspec.Struct, frozen=True):
    """The first `size_bytes` of a text, up to HEAD_BYTES, by their SHA-256."""

    size_bytes: int
    sha256: str

    @classmethod
    def of(cls, text: bytes) -> Head:
        """Return the head of a text that begins like this."""
        head = text[:HEAD_BYTES]
        return cls(len(head), hashlib.sha256(head).hexdigest())


class FileMarks:
    """The windows that a position's fingerprint is over, moved along. Implements growing.Marks."""

    def __init__(self, windows: Windows) -> None:
        self._head = windows.head
        self.tail = windows.tail
        """The last bytes before the place, up to WINDOW_BYTES."""
        self._hashed_head = hashlib.sha256(windows.head)

    @property
    def head(self) -> bytes:
        """The first bytes of the text, up to WINDOW_BYTES, as far as they were passed by."""
        return self._head

    def pass_by(self, block: bytes, end: int) -> None:
        """Move on over block[:end]."""
        more = block[: min(end, WINDOW_BYTES - len(self._head))]
        if more:
            self._head += more
            self._hashed_head.update(more)
        last = block[max(0, end - WINDOW_BYTES) : end]
        self.tail = (self.tail + last)[-WINDOW_BYTES:]

    def token(self, offset: int, line: int) -> str:
        """Return the token that the batch reader would write."""
        return write_token(self.at(offset, line))

    def at(self, offset: int, line: int, *, ended: bool = False) -> FollowedToken:
        """Return the token as a value."""
        hashed = self._hashed_head.copy()
        hashed.update(self.tail)
        return FollowedToken(offset, line, offset, hashed.hexdigest(), ended=ended)


def token_of(position: Position | None) -> FollowedToken | None:
    """Read a position's token, a batch reader's too; None for a partition's beginning.

    Raises ContentChanged for what is none of a text file.
    """
    if position is None or not position.token:
        return None
    try:
        return msgspec.json.decode(position.token, type=FollowedToken)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise changed(position.partition, f"its position does not fit such a file ({error})") from error


def head_at(path: Path, compression: Compression) -> Head:
    """Return the head of the text at `path`. Raises OSError."""
    text = b""
    with closing(open_stream(path, compression)) as stream, suppress(Damaged):
        while len(text) < HEAD_BYTES and (piece := stream.read(HEAD_BYTES - len(text))):
            text += piece
    return Head.of(text)


def windows_at(path: Path, compression: Compression, offset: int) -> Windows | None:
    """Return what lies before `offset` in the text at `path`, None where it is not that long. Raises OSError."""
    with closing(open_stream(path, compression)) as stream:
        try:
            return stream.skip_to(offset)
        except (EndsBefore, Damaged):
            return None


def holds(path: Path, compression: Compression, token: TextToken) -> bool:
    """Tell whether the text at `path` is, up to the token's place, the one that was read. Raises OSError."""
    windows = windows_at(path, compression, token.offset)
    return windows is not None and fingerprint(windows) == token.sha256
