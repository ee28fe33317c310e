"""Reads a text file that is not where its partition's name says, from its position to its end, as the batch reader."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from penstock.connectors.sources.files.bytestream import Damaged, open_stream
from penstock.connectors.sources.files.reading import Start, read_text
from penstock.connectors.sources.followed.formats import GLANCE_BYTES
from penstock.connectors.sources.followed.marks import token_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from penstock.connectors.sources.files.partitions import Encoding
    from penstock.connectors.sources.files.reading import TextFile
    from penstock.connectors.sources.followed.formats import Formats
    from penstock.model.position import Position
    from penstock.ports import Chunk


def read_moved(formats: Formats, encoding: Encoding, file: TextFile, position: Position | None) -> Iterator[Chunk]:
    """Yield what follows `position` in `file`, whose partition is the name it goes by. Raises as `read_text` does."""
    beginning = formats.beginning(encoding, file, _glance(file))
    if beginning is None:  # not even a header
        return
    token = token_of(position)
    if token is None or position is None:
        start = Start(beginning.offset, beginning.line, 0)
    else:
        start = Start(token.offset, token.line, position.sequence, token)
    yield from read_text(file, start, lambda: formats.open(encoding, beginning.columns), formats.saw)


def _glance(file: TextFile) -> bytes:
    text, size = b"", file.record_bytes_max + GLANCE_BYTES
    with closing(open_stream(file.path, file.compression)) as stream:
        try:
            while len(text) < size and (piece := stream.read(size - len(text))):
                text += piece
        except Damaged:
            return text  # what is whole before the damage is still to be read, which then tells of it
    return text
