"""The source itself: one copy at a time of a file that is elsewhere, read by the files source."""

from __future__ import annotations

import shutil
from contextlib import contextmanager, suppress
from dataclasses import replace
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import quote

import msgspec

from penstock.connectors.sources.files import FileSource
from penstock.connectors.sources.files.partitions import Encoding, read_name
from penstock.connectors.sources.files.positions import RowToken, TextToken, changed
from penstock.connectors.sources.remote.finding import find_files
from penstock.errors import Unavailable, UserMistake
from penstock.ports import Declaration, Hard, Option, Replay, SourcePromises, Values

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from penstock.connectors.sources.remote.store import RemoteFile, Store
    from penstock.model.pipeline import Connection, SourceTable
    from penstock.model.position import Position
    from penstock.model.settings import Settings
    from penstock.ports import Chunk, Reread

_WITHOUT_NUL = frozenset({Hard.NUL_CHARACTER})
DECLARATION = Declaration(
    what="tables out of files that are elsewhere: what fsspec reaches, copied file by file",
    place="`url`: a folder, as `ftp://host/folder`; `path`: from there on; see [remote files](remote-files.md)",
    promises=(
        SourcePromises(Replay.EXACT, lacks=_WITHOUT_NUL, when="CSV"),
        SourcePromises(Replay.EXACT, lacks=_WITHOUT_NUL, when="JSON Lines"),
        SourcePromises(Replay.EXACT, values=Values.TYPED, when="Parquet"),
    ),
    options=(
        Option("username", "who signs in, where the URL does not say"),
        Option("password", "and how, as a reference"),
        Option("key", "access key of an object store"),
        Option("secret", "its secret, as a reference"),
        Option("token", "a token, as a reference"),
        Option("endpoint_url", "where the object store is, if not where its protocol says"),
    ),
)
_STORES: Mapping[str, tuple[str, str]] = MappingProxyType(dict.fromkeys(("http", "https"), ("web", "WebServer")))
_ANY_STORE = ("filesystem", "FileSystem")
"""Module and class of what reaches a protocol; those that are not named are fsspec's."""
COPIES = "remote"
"""The folder of the state folder in which copies lie while they are read."""


class RemoteToken(msgspec.Struct, frozen=True):
    """A place in a file that is elsewhere: the files source's token, and the version and size of the file it is in."""

    version: str
    size: int | None
    inner: str


class RemoteFiles:
    """Records of one table out of files that are elsewhere. Implements ports.Source; see docs/remote-files.md.

    A partition is a file, named by its path from the connection's URL on. What is read is a copy of one version; what
    was read to its end is not copied again until it has another version.
    """

    declares: ClassVar[Declaration[SourcePromises]] = DECLARATION
    replay: Replay = DECLARATION.promises[0].replay

    def __init__(self, table: SourceTable, root: Path, settings: Settings, state: Path) -> None:  # noqa: ARG002 - as all
        """`state` is the project's state folder. UserMistake where the connection's URL cannot be reached at all."""
        self._table = table
        self._store = open_store(table.connection)
        self._copies = state / COPIES / quote(table.name, safe="").replace(".", "%2E")
        self._local = FileSource(table, self._copies, settings)
        self._seen: Mapping[str, RemoteFile] = {}

    def partitions(self) -> Sequence[str]:
        """Return the files that are there, in order of their names. Their columns are looked at when they are read."""
        self._seen = find_files(self._store, self._table.name, self._table.connection.path)
        return tuple(self._seen)

    def read(self, partition: str, position: Position | None) -> Iterator[Chunk]:
        """Read a copy of the file as it is now from `position` on. See ports.Source."""
        token = _read_token(position)
        file = self._look(partition)
        if token is not None and token.version and token.version == file.version and _is_at_end(partition, token):
            return
        with self._copy_of(file):
            for chunk in self._local.read(partition, _inner(position, token)):
                yield replace(chunk, next=_outer(chunk.next, file))

    def size_bytes(self, partition: str, position: Position | None) -> int | None:
        """Return how much of the file is left, in bytes of the file itself; None where that is not known."""
        token, file = _read_token(position), self._seen.get(partition)
        if file is None or file.size is None:
            return None
        return file.size if token is None else max(0, file.size - _bytes_before(partition, token))

    def accept(self, position: Position) -> Position:
        """Return `position` for the file as it is now. See ports.Source."""
        token = _read_token(position)
        if token is None:
            return position
        file = self._look(position.partition)
        inner = _inner(position, token)
        assert inner is not None
        with self._copy_of(file):
            return _outer(self._local.accept(inner), file)

    def reread(self, partition: str, originals: Sequence[bytes]) -> Reread:
        """Parse originals again as records of `partition`. For CSV the file must be there: it has the header."""
        name = read_name(partition)
        if name is None or name.encoding is not Encoding.CSV:
            return self._local.reread(partition, originals)
        with self._copy_of(self._look(partition)):
            return self._local.reread(partition, originals)

    def examine(self) -> str:
        """Say what is there. Raises as `partitions` does."""
        return f"{self._store}, {len(self.partitions()):,} files of table `{self._table.name}`"

    def commit(self, position: Position) -> None:
        """Do nothing: files stay."""

    def close(self) -> None:
        """Remove what is left of copies."""
        self._local.close()
        self._store.close()
        shutil.rmtree(self._copies, ignore_errors=True)

    @property
    def extra_columns(self) -> tuple[str, ...]:
        """Columns that files have and the document does not declare, as far as files were read."""
        return self._local.extra_columns

    def _look(self, partition: str) -> RemoteFile:
        file = self._store.find(partition)
        if file is None:
            raise UserMistake("INT_ALPHA_010", f"{self._store.place(partition)} is not there")
        return file

    @contextmanager
    def _copy_of(self, file: RemoteFile) -> Iterator[None]:
        """Have a copy of just this version of `file` where the files source looks for it, for as long as it is read."""
        path, place = self._copies / file.path, self._store.place(file.path)
        try:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._store.copy(file.path, path)
                size = path.stat().st_size
            except OSError as error:  # the store's own are ours already
                raise Unavailable("INT_ALPHA_017", f"{place} cannot be copied: {error.strerror or error}") from error
            if self._store.find(file.path) != file:
                raise Unavailable("INT_ALPHA_014", f"{place} changed while it was copied", remedy="run again")
            if file.size is not None and size != file.size:
                what = f"{place} has {file.size:,} bytes, and {size:,} came"
                raise Unavailable("INT_ALPHA_014", what, remedy="run again")
            yield
        finally:
            with suppress(OSError):
                path.unlink(missing_ok=True)


def open_store(connection: Connection) -> Store:
    """Return what the protocol of the connection's URL leads to. UserMistake where it cannot be spoken here."""
    module, name = _STORES.get(connection.url.partition(":")[0].lower(), _ANY_STORE)
    try:
        # Loaded now that there is such a URL.
        store: Store = getattr(import_module(f"penstock.connectors.sources.remote.{module}"), name)(connection)
    except ModuleNotFoundError as error:
        what = f"connection `{connection.name}` needs `{error.name}`, which is not installed"
        raise UserMistake("INT_PIPELINE_008", what, remedy="pip install 'penstock[remote,rest]'") from error
    return store


def _read_token(position: Position | None) -> RemoteToken | None:
    if position is None or not position.token:
        return None
    try:
        return msgspec.json.decode(position.token, type=RemoteToken)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise changed(position.partition, f"its position does not fit such a file ({error})") from error


def _inner(position: Position | None, token: RemoteToken | None) -> Position | None:
    if position is None or token is None:
        return None
    return msgspec.structs.replace(position, token=token.inner)


def _outer(position: Position, file: RemoteFile) -> Position:
    token = RemoteToken(file.version, file.size, position.token)
    return msgspec.structs.replace(position, token=msgspec.json.encode(token).decode())


def _is_at_end(partition: str, token: RemoteToken) -> bool:
    """Return whether surely nothing of the token's version comes after it."""
    if _is_parquet(partition):
        rows = msgspec.json.decode(token.inner, type=RowToken)
        return rows.row >= rows.rows
    return token.size is not None and msgspec.json.decode(token.inner, type=TextToken).stored >= token.size


def _bytes_before(partition: str, token: RemoteToken) -> int:
    if not _is_parquet(partition):
        return msgspec.json.decode(token.inner, type=TextToken).stored
    rows = msgspec.json.decode(token.inner, type=RowToken)
    return (token.size or 0) * rows.row // max(1, rows.rows)


def _is_parquet(partition: str) -> bool:
    name = read_name(partition)
    return name is not None and name.encoding is Encoding.PARQUET
