"""Which files a table means: names of partitions out of a connection's path."""

from __future__ import annotations

import difflib
import glob
import os
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path, PurePath
from types import MappingProxyType
from typing import TYPE_CHECKING

import msgspec

from penstock.errors import UserMistake

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

TABLE = "{table}"
"""Stands for the table's name in a connection's path."""


class Encoding(StrEnum):
    """How records lie in a file, before compression."""

    CSV = "csv"
    JSON_LINES = "jsonl"
    PARQUET = "parquet"


class Compression(StrEnum):
    """How a text file is compressed. Parquet compresses by itself."""

    NONE = ""
    GZIP = ".gz"
    ZSTD = ".zst"


ENDINGS: Mapping[str, Encoding] = MappingProxyType(
    {
        ".csv": Encoding.CSV,
        ".jsonl": Encoding.JSON_LINES,
        ".ndjson": Encoding.JSON_LINES,
        ".parquet": Encoding.PARQUET,
    }
)


class FileName(msgspec.Struct, frozen=True):
    """What a file's name says of it. `stem` is the path without the endings."""

    path: str
    stem: str
    encoding: Encoding
    compression: Compression


def read_name(path: str) -> FileName | None:
    """Read a file's endings, in either case; None where they are none of ours."""
    stem, compression = PurePath(path), Compression.NONE
    if stem.suffix.lower() in {Compression.GZIP, Compression.ZSTD}:
        stem, compression = stem.with_suffix(""), Compression(stem.suffix.lower())
    encoding = ENDINGS.get(stem.suffix.lower())
    if encoding is None or (encoding is Encoding.PARQUET and compression):
        return None
    return FileName(path, str(stem.with_suffix("")), encoding, compression)


def find_partitions(table: str, where: str, root: Path) -> tuple[str, ...]:
    """Return the files of `table`, sorted by name, as paths relative to `root` (absolute where `where` is).

    `where` is a connection's path: a folder, or a path with `{table}`, a glob or a file's ending in it. Raises
    UserMistake where there is none, where two could be meant, or where a folder stands in a file's place.
    """
    pattern = _pattern(table, where)
    named = _files(_matches(pattern, root) if read_name(pattern) else _with_endings(pattern, root))
    folders = [] if read_name(pattern) else [path for path in _matches(pattern, root) if (root / path).is_dir()]
    found = [*named, *(name for folder in folders for name in _files(_visible(folder, root)))]
    if not found:
        raise _missing(table, pattern, root)
    _refuse_ambiguity(table, found, folders)
    _refuse_what_is_no_file(found, root)
    return tuple(sorted(name.path for name in found))


def _pattern(table: str, where: str) -> str:
    escaped = glob.escape(table)
    if TABLE in where:
        pattern = where.replace(TABLE, escaped)
    elif read_name(where):
        pattern = where
    else:
        pattern = str(PurePath(where) / escaped)
    return os.path.normpath(pattern)


def _matches(pattern: str, root: Path) -> list[str]:
    return glob.glob(pattern, root_dir=root, recursive=True)  # noqa: PTH207 - Path.glob takes no absolute pattern


def _with_endings(pattern: str, root: Path) -> list[str]:
    """`orders` means orders.csv, and not orders.old.csv."""
    names = (read_name(path) for path in _matches(pattern + ".*", root))
    return [name.path for name in names if name and fnmatchcase(name.stem, pattern)]


def _visible(folder: str, root: Path) -> list[str]:
    """Names that begin with a dot or an underscore are other programs' notes, such as _SUCCESS."""
    names = (path.name for path in (root / folder).iterdir())
    return [str(PurePath(folder) / name) for name in names if not name.startswith((".", "_"))]


def _files(paths: Iterable[str]) -> list[FileName]:
    return [name for path in paths if (name := read_name(path)) is not None]


def _refuse_ambiguity(table: str, found: Sequence[FileName], folders: Sequence[str]) -> None:
    """One table's records are not read twice because they lie there in two forms."""
    by_stem: dict[str, list[str]] = {}
    for folder in folders:
        if any(PurePath(name.path).parent == PurePath(folder) for name in found):
            by_stem.setdefault(folder, []).append(folder + "/")
    for name in found:
        by_stem.setdefault(name.stem, []).append(name.path)
    for alternatives in by_stem.values():
        if len(alternatives) > 1:
            raise UserMistake(
                "INT_ALPHA_015", f"table `{table}` could be read from {' or from '.join(sorted(alternatives))}"
            )


def _refuse_what_is_no_file(found: Iterable[FileName], root: Path) -> None:
    for name in found:
        path = root / name.path
        if path.is_dir():
            raise UserMistake(
                "INT_ALPHA_014",
                f"{name.path} is a folder where a file should be",
                remedy=f"put a file there, or give the connection the path {name.path}/*",
            )
        if path.exists() and not path.is_file():
            raise UserMistake(
                "INT_ALPHA_014",
                f"{name.path} is neither a file nor a folder, and could not be read twice",
                remedy="put a file there",
            )


def _missing(table: str, pattern: str, root: Path) -> UserMistake:
    folder = root / PurePath(pattern).parent
    if read_name(pattern):
        looked = pattern
    else:
        texts = ", ".join(pattern + ending for ending, encoding in ENDINGS.items() if encoding is not Encoding.PARQUET)
        looked = f"{texts} (each also with .gz or .zst), {pattern}.parquet, and files like these in {pattern}/"
    message = f"no file for table `{table}`: looked for {looked}, below {root}"
    if glob.has_magic(str(folder)):
        return UserMistake("INT_ALPHA_010", message)
    if not folder.is_dir():
        return UserMistake("INT_ALPHA_010", f"{message}; there is no folder {folder}")
    if not os.access(folder, os.R_OK | os.X_OK):
        return UserMistake("INT_ALPHA_014", f"{message}; the folder {folder} may not be listed")
    there = {PurePath(name.stem).name: name.path for name in _files(path.name for path in folder.iterdir())}
    near = difflib.get_close_matches(table, there, n=1)
    return UserMistake("INT_ALPHA_010", message + (f"; did you mean {there[near[0]]}?" if near else ""))
