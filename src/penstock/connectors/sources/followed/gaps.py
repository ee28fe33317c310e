"""What is said where content is gone before it was read: one bad record, in the place of what it would have been."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from penstock.connectors.sources.files.positions import write_token
from penstock.connectors.sources.files.textformat import keep
from penstock.connectors.sources.followed.growing import bad_chunk
from penstock.connectors.sources.followed.marks import FollowedToken, token_of
from penstock.model.outcome import RecordError
from penstock.model.position import Position
from penstock.ports import Original

if TYPE_CHECKING:
    from penstock.connectors.sources.followed.formats import Formats
    from penstock.connectors.sources.followed.roll import Ended
    from penstock.ports import Chunk

UNKNOWN = -1
"""How many bytes were lost, where nobody can know."""


def lost_after(position: Position | None, ended: Ended | None) -> int:
    """Return how much is lost of a partition whose file is gone, and of which `position` is settled."""
    if ended is None or ended.lost == UNKNOWN:
        return UNKNOWN
    token = token_of(position)
    return ended.end + ended.lost - (token.offset if token else 0)


def gap(partition: str, position: Position | None, lost: int, held: bytes, formats: Formats) -> Chunk:
    """Return the chunk that says that `lost` bytes after `position` are gone, which began with `held`.

    It ends the partition: nothing can come after it.
    """
    token = token_of(position) or FollowedToken(0, 1, 0, "")
    sequence = position.sequence if position else 0
    ended = msgspec.structs.replace(token, ended=True)
    if lost == UNKNOWN:
        message = (
            f"what was written from line {token.line:,} on, if anything was, is gone: the file was emptied or replaced "
            "while nobody followed it"
        )
    else:
        message = f"{lost:,} bytes from line {token.line:,} on are gone: the file was emptied or taken away"
    error = RecordError("INT_ALPHA_016", "", message, expected="the rest of the file", actual="other content, or none")
    original = Original(keep(held, formats.sizes.record_bytes_max), token.line)
    return bad_chunk(sequence, original, error, Position(partition, sequence + 1, write_token(ended)), formats.schema)
