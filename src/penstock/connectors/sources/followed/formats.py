"""How the text of one table's files is read, and what is told of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from penstock.connectors.sources.files.columns import check_columns
from penstock.connectors.sources.files.delimited import Delimited
from penstock.connectors.sources.files.header import BYTE_ORDER_MARK, Dialect, Header, read_header
from penstock.connectors.sources.files.jsonlines import JsonLines, keys_of
from penstock.connectors.sources.files.partitions import Compression, Encoding
from penstock.connectors.sources.files.reading import TextFile
from penstock.connectors.sources.followed.growing import Sizes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from penstock.connectors.sources.files.textformat import Taken, TextFormat
    from penstock.model.pipeline import SourceTable
    from penstock.model.settings import Settings

GLANCE_BYTES = 64 << 10
"""How much of a text is looked at to find where its records begin, and for keys that the document does not declare."""


@dataclass(frozen=True, slots=True)
class Beginning:
    """Where a text's first record begins, and the columns of its header, none where it has none."""

    offset: int
    line: int
    columns: tuple[str, ...] = ()


class Formats:
    """The formats that a table's text can have. `note_extra` and `saw` are told what was met."""

    def __init__(
        self,
        table: SourceTable,
        settings: Settings,
        note_extra: Callable[[Sequence[str]], None],
        saw: Callable[[Taken], None],
    ) -> None:
        self._fields = table.fields
        self._columns = tuple(field.name for field in table.fields)
        self._dialect = Dialect.of(table.format)
        self._note_extra = note_extra
        self._json_lines: JsonLines | None = None
        self.sizes = Sizes(settings.whole("READ_BYTES"), settings.whole("RECORD_BYTES_MAX"))
        self.saw = saw
        self.schema = pa.schema([pa.field(name, pa.string()) for name in self._columns])

    def text_file(self, path: Path, partition: str, compression: Compression = Compression.NONE) -> TextFile:
        """Return what the batch reader calls a text file."""
        return TextFile(path, partition, compression, self.sizes.read_bytes, self.sizes.record_bytes_max)

    def beginning(self, encoding: Encoding, file: TextFile, glance: bytes) -> Beginning | None:
        """Find where records begin in a text that begins with `glance`; None where more of it must come first.

        Raises UserMistake where the header cannot be read or lacks a column.
        """
        text = glance.removeprefix(BYTE_ORDER_MARK)
        if encoding is Encoding.JSON_LINES:
            self._note_extra(keys_of(text[: text.rfind(b"\n") + 1]))
            return Beginning(len(glance) - len(text), 1)
        if b"\n" not in text.lstrip(b"\r\n") and len(glance) <= self.sizes.record_bytes_max:
            return None
        header = read_header(file, self._dialect)
        if header.end > len(glance) or not glance.endswith(b"\n", 0, header.end):
            return None
        check_columns(file.partition, header.names, self._columns, self._dialect.delimiter)
        self._note_extra(header.names)
        return Beginning(header.end, header.line, header.names)

    def open(self, encoding: Encoding, columns: Sequence[str]) -> TextFormat:
        """Return the format of text with these columns in its header."""
        if encoding is Encoding.CSV:
            return Delimited(Header(tuple(columns), 0, 1), self._columns, self._dialect, self.sizes.record_bytes_max)
        if self._json_lines is None:
            self._json_lines = JsonLines(self._fields, self.sizes.record_bytes_max)
        return self._json_lines
