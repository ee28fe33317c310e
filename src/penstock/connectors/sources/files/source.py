"""The file source: which files a table is, and each of them from any position on."""

from __future__ import annotations

from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, ClassVar, assert_never

import msgspec

from penstock.connectors.sources.files.bytestream import Damaged, open_stream
from penstock.connectors.sources.files.columns import check_columns
from penstock.connectors.sources.files.delimited import Delimited
from penstock.connectors.sources.files.header import BYTE_ORDER_MARK, Dialect, read_header
from penstock.connectors.sources.files.jsonlines import JsonLines, keys_of
from penstock.connectors.sources.files.parquet import RowFile, read_rows, read_schema, stand_at_row
from penstock.connectors.sources.files.partitions import Encoding, find_partitions, read_name
from penstock.connectors.sources.files.positions import RowToken, TextToken, read_token, write_token
from penstock.connectors.sources.files.reading import Start, TextFile, read_text, stand_at
from penstock.errors import Unavailable, UserMistake
from penstock.ports import Declaration, Hard, Replay, SourcePromises, Values

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from penstock.connectors.sources.files.header import Header
    from penstock.connectors.sources.files.partitions import FileName
    from penstock.connectors.sources.files.textformat import Taken, TextFormat
    from penstock.model.pipeline import SourceTable
    from penstock.model.position import Position
    from penstock.model.settings import Settings
    from penstock.ports import Chunk, Reread

GLANCE_BYTES = 64 << 10
"""How much of a JSON Lines file is looked at for keys that the document does not declare."""


_WITHOUT_NUL = frozenset({Hard.NUL_CHARACTER})
DECLARATION = Declaration(
    what="tables out of CSV, JSON Lines and Parquet files, compressed or not",
    place="`path`: a folder, a file, or a pattern; see [files](files.md)",
    promises=(
        SourcePromises(Replay.EXACT, follows=True, lacks=_WITHOUT_NUL, when="CSV"),
        SourcePromises(Replay.EXACT, follows=True, when="JSON Lines"),
        SourcePromises(Replay.EXACT, follows=True, values=Values.TYPED, when="Parquet"),
    ),
)


class FileSource:
    """Records of one table out of CSV, JSON Lines or Parquet files. Implements ports.Source; see docs/files.md.

    A partition is a file, named by its path. `extra_columns` are those that files have and the document does not
    declare, as far as files were looked at; they are passed by. `blocks_triaged` counts blocks of text that were
    looked at record by record, which clean data never is.
    """

    declares: ClassVar[Declaration[SourcePromises]] = DECLARATION
    replay: Replay = DECLARATION.promises[0].replay

    def __init__(self, table: SourceTable, root: Path, settings: Settings) -> None:
        """`root` is the folder that the connection's path is relative to. UserMistake for an impossible delimiter."""
        self._table = table
        self._root = root
        self._dialect = Dialect.of(table.format)
        self._columns = tuple(field.name for field in table.fields)
        self._read_bytes = settings.whole("READ_BYTES")
        self._record_bytes_max = settings.whole("RECORD_BYTES_MAX")
        self.extra_columns: tuple[str, ...] = ()
        self.blocks_triaged = 0

    def partitions(self) -> Sequence[str]:
        """Return the files that are there, in order of their names. See ports.Source."""
        where = self._table.connection.path
        with _reading(f"{self._root / where}"):
            found = find_partitions(self._table.name, where, self._root)
        for partition in found:
            with _reading(partition):
                self._look_at(self._name(partition))
        return found

    def read(self, partition: str, position: Position | None) -> Iterator[Chunk]:
        """Read a file from `position` to what is now its end. See ports.Source."""
        assert position is None or position.partition == partition, (position, partition)
        name = self._name(partition)
        with _reading(partition):
            if name.encoding is Encoding.PARQUET:
                yield from self._read_rows(name, position)
            else:
                yield from self._read_text(name, position)

    def size_bytes(self, partition: str, position: Position | None) -> int | None:
        """Return how much of the file is left, in bytes of the file itself; None where it cannot be seen."""
        try:
            size = (self._root / partition).stat().st_size
        except OSError:
            return None
        if self._name(partition).encoding is Encoding.PARQUET:
            row = read_token(position, RowToken)
            return size if row is None else size * (row.rows - row.row) // max(1, row.rows)
        token = read_token(position, TextToken)
        return size if token is None else max(0, size - token.stored)

    def accept(self, position: Position) -> Position:
        """Return `position` for the file as it is now, whatever it was: a person said that reading goes on there.

        A file that has become shorter is gone on with at its end.
        """
        partition = position.partition
        name = self._name(partition)
        with _reading(partition):
            if name.encoding is Encoding.PARQUET:
                row = read_token(position, RowToken)
                now = row and stand_at_row(self._root / partition, partition, row.row)
                return msgspec.structs.replace(position, token=write_token(now)) if now else position
            token = read_token(position, TextToken)
            if token is None:
                return position
            return msgspec.structs.replace(position, token=write_token(stand_at(self._text_file(name), token)))

    def reread(self, partition: str, originals: Sequence[bytes]) -> Reread:
        """Parse originals again as records of `partition`. See ports.Source.

        For CSV the file must still be there: its header says what the fields are. A row of Parquet is read as the JSON
        that it is as an original.
        """
        name = self._name(partition)
        with _reading(partition):
            return self._format(name).reread(originals)

    def commit(self, position: Position) -> None:
        """Do nothing: files stay."""

    def close(self) -> None:
        """Do nothing: a file is closed by whoever reads it."""

    def _name(self, partition: str) -> FileName:
        name = read_name(partition)
        if name is None:  # a ledger may know partitions from before the connection meant files
            raise UserMistake(
                "INT_ALPHA_010", f"{partition} is no file that table `{self._table.name}` can be read from"
            )
        return name

    def _text_file(self, name: FileName) -> TextFile:
        path = self._root / name.path
        return TextFile(path, name.path, name.compression, self._read_bytes, self._record_bytes_max)

    def _look_at(self, name: FileName) -> None:
        """Check a file's columns against the document's."""
        match name.encoding:
            case Encoding.CSV:
                self._header(self._text_file(name))
            case Encoding.JSON_LINES:
                self._note_extra(keys_of(_glance(self._text_file(name)).removeprefix(BYTE_ORDER_MARK)))
            case Encoding.PARQUET:
                columns = tuple(read_schema(self._root / name.path, name.path).names)
                check_columns(name.path, columns, self._columns)
                self._note_extra(columns)
            case _:
                assert_never(name.encoding)

    def _read_rows(self, name: FileName, position: Position | None) -> Iterator[Chunk]:
        file = RowFile(self._root / name.path, name.path, self._columns, self._read_bytes)
        yield from read_rows(file, read_token(position, RowToken), position.sequence if position else 0)

    def _read_text(self, name: FileName, position: Position | None) -> Iterator[Chunk]:
        file, token = self._text_file(name), read_token(position, TextToken)
        sequence = position.sequence if position else 0
        if token is not None:
            start = Start(token.offset, token.line, sequence, token)
        elif name.encoding is Encoding.CSV:
            header = self._header(file)
            start = Start(header.end, header.line, sequence)
        else:
            start = Start(len(BYTE_ORDER_MARK) if _glance(file).startswith(BYTE_ORDER_MARK) else 0, 1, sequence)
        yield from read_text(file, start, lambda: self._format(name), self._saw)

    def _format(self, name: FileName) -> TextFormat:
        """Return how the text of a file's records is read."""
        if name.encoding is Encoding.CSV:
            header = self._header(self._text_file(name))
            return Delimited(header, self._columns, self._dialect, self._record_bytes_max)
        return JsonLines(self._table.fields, self._record_bytes_max)

    def _header(self, file: TextFile) -> Header:
        header = read_header(file, self._dialect)
        check_columns(file.partition, header.names, self._columns, self._dialect.delimiter)
        self._note_extra(header.names)
        return header

    def _note_extra(self, names: Sequence[str]) -> None:
        known = {*self._columns, *self.extra_columns}
        self.extra_columns += tuple(dict.fromkeys(name for name in names if name not in known))

    def _saw(self, taken: Taken) -> None:
        self.blocks_triaged += taken.triaged


def _glance(file: TextFile) -> bytes:
    """Return the whole lines among the first bytes of a file's text."""
    text = b""
    with closing(open_stream(file.path, file.compression)) as stream:
        try:
            while len(text) < GLANCE_BYTES and (piece := stream.read(GLANCE_BYTES - len(text))):
                text += piece
        except Damaged:
            return text  # what is whole before the damage is still to be read, which then tells of it
    return text


@contextmanager
def _reading(partition: str) -> Iterator[None]:
    """Say in whose hands it is when the operating system refuses."""
    try:
        yield
    except FileNotFoundError as error:
        raise UserMistake("INT_ALPHA_010", f"{partition} is not there, or is a link to nothing") from error
    except IsADirectoryError as error:
        raise UserMistake("INT_ALPHA_014", f"{partition} is a folder", remedy="put a file there") from error
    except PermissionError as error:
        remedy = "let the user who runs this read it"
        raise UserMistake("INT_ALPHA_014", f"{partition} may not be read", remedy=remedy) from error
    except OSError as error:
        raise Unavailable("INT_ALPHA_014", f"{partition}: {error.strerror or error}") from error
