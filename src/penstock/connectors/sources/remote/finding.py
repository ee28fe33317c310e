"""Which files elsewhere a table means, by the rules of docs/files.md."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from penstock.connectors.sources.files.partitions import ENDINGS, TABLE, Compression, Encoding, read_name
from penstock.errors import UserMistake

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from penstock.connectors.sources.remote.store import RemoteFile, Store

_MAGIC = frozenset("*?[")


def find_files(store: Store, table: str, where: str) -> dict[str, RemoteFile]:
    """Return the files of `table` by their paths, in order of these. `where` is the connection's path.

    UserMistake where there is none, or where two could be meant.
    """
    pattern = _pattern(table, where)
    if not store.lists:
        names = [pattern] if read_name(pattern) else _possible(pattern)
        if _MAGIC & set(pattern):
            what = f"table `{table}` is to be read from {store.place(pattern)}, and HTTP does not tell what fits"
            raise UserMistake("INT_ALPHA_010", what, remedy="name a file, with {table} in it where tables differ")
        found = {name: [file] for name in names if (file := store.find(name)) is not None}
    elif _MAGIC & set(pattern):
        found = {"": list(_read(store.match(pattern)))}
    elif read_name(pattern):
        file = store.find(pattern)
        found = {"": [] if file is None else [file]}
    else:
        beside = _read(store.list(str(PurePosixPath(pattern).parent).removeprefix(".")))
        found = {file.path: [file] for file in beside if _stem(file) == pattern}
        inside = list(_read(store.list(pattern)))
        found |= {f"{pattern}/": inside} if inside else {}
    if len(found) > 1:
        raise UserMistake("INT_ALPHA_015", f"table `{table}` could be read from {' or from '.join(sorted(found))}")
    files = {file.path: file for several in found.values() for file in several}
    if not files:
        endings = ", ".join(f"`{ending}`" for ending in ENDINGS)
        looked = (
            pattern if read_name(pattern) else f"{pattern} with an ending of {endings}, and for files in {pattern}/"
        )
        raise UserMistake("INT_ALPHA_010", f"no file for table `{table}`: looked for {looked}, below {store}")
    return dict(sorted(files.items()))


def _possible(pattern: str) -> Iterator[str]:
    """Yield the names that the file of a table may have."""
    for ending, encoding in ENDINGS.items():
        for compression in Compression:
            if not (compression and encoding is Encoding.PARQUET):
                yield f"{pattern}{ending}{compression}"


def _pattern(table: str, where: str) -> str:
    if TABLE in where:
        return where.replace(TABLE, table).strip("/")
    return where.strip("/") if read_name(where) else str(PurePosixPath(where.strip("/")) / table)


def _read(files: Iterable[RemoteFile]) -> Iterator[RemoteFile]:
    """Leave out what is no data, other programs' notes, and names that would lead out of the folder of copies."""
    for file in files:
        parts = PurePosixPath(file.path).parts
        if read_name(file.path) and ".." not in parts and not parts[-1].startswith((".", "_")):
            yield file


def _stem(file: RemoteFile) -> str:
    name = read_name(file.path)
    assert name is not None, file
    return name.stem
