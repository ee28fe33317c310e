"""What a connection says about the files to be written: format, compression, how large, and what reading anew does."""

from __future__ import annotations

from enum import StrEnum
from pathlib import PurePath
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeVar

import msgspec

from penstock.connectors.sources.files.partitions import TABLE, Encoding
from penstock.errors import UserMistake
from penstock.model.pipeline import without_password
from penstock.ports import Option

if TYPE_CHECKING:
    from collections.abc import Mapping

    from penstock.model.pipeline import Connection, Model

FOLDER_DEFAULT = "warehouse"
"""Where tables lie when the connection names no folder."""
SCHEMA = "{schema}"
"""Stands for the model's schema in a connection's path, as `{table}` does for its name."""


class Mode(StrEnum):
    """What becomes of the rows of a partition of the source that is read from its beginning again."""

    APPEND = "append"
    REPLACE = "replace"


class Packing(StrEnum):
    """How files are compressed."""

    NONE = "none"
    GZIP = "gzip"
    SNAPPY = "snappy"
    ZSTD = "zstd"


_ENDINGS: Mapping[Encoding, Mapping[Packing, str]] = MappingProxyType(
    {
        Encoding.CSV: {Packing.NONE: ".csv", Packing.GZIP: ".csv.gz", Packing.ZSTD: ".csv.zst"},
        Encoding.JSON_LINES: {Packing.NONE: ".jsonl", Packing.GZIP: ".jsonl.gz", Packing.ZSTD: ".jsonl.zst"},
        Encoding.PARQUET: dict.fromkeys(Packing, ".parquet"),
    }
)
_PACKING_DEFAULT: Mapping[Encoding, Packing] = MappingProxyType({Encoding.PARQUET: Packing.ZSTD})

OPTIONS = (
    Option("format", "`parquet`, `csv` or `jsonl`", "parquet"),
    Option("compression", "`zstd`, `gzip` or `none`; for Parquet also `snappy`", "zstd for Parquet, else none"),
    Option("mode", "`append`, or `replace`: a partition that is read anew takes the place of its rows", "append"),
    Option("file_rows", "a file is closed at so many rows", "5000000"),
    Option("file_bytes", "a file is closed at so many bytes, or soon after", "268435456"),
)
_DEFAULTS: Mapping[str, str] = MappingProxyType({option.name: option.default or "" for option in OPTIONS})

WordT = TypeVar("WordT", bound=StrEnum)


class Form(msgspec.Struct, frozen=True):
    """How files are written. A file is closed once it has `file_rows` rows, or `file_bytes` bytes or a bit more."""

    encoding: Encoding
    packing: Packing
    mode: Mode
    file_rows: int
    file_bytes: int

    @property
    def ending(self) -> str:
        """What names of files end with."""
        return _ENDINGS[self.encoding][self.packing]


def form_of(connection: Connection) -> Form:
    """Read the options of `connection`. UserMistake for a value that one does not take."""
    encoding = _word(connection, "format", Encoding)
    packing = _PACKING_DEFAULT.get(encoding, Packing.NONE)
    if "compression" in connection.options:
        packing = _word(connection, "compression", Packing)
    if packing not in _ENDINGS[encoding]:
        taken = ", ".join(f"`{each}`" for each in _ENDINGS[encoding])
        raise _mistake(connection, "compression", packing, f"for `{encoding}` take one of {taken}")
    return Form(
        encoding,
        packing,
        _word(connection, "mode", Mode),
        _count(connection, "file_rows"),
        _count(connection, "file_bytes"),
    )


def folder_of(connection: Connection, model: Model) -> PurePath:
    """Return the folder that the table of `model` is, as the connection's path says.

    UserMistake where it is elsewhere, where a pattern is meant, or where the table's name cannot name a folder.
    """
    if connection.url:
        raise _mistake(connection, "url", without_password(connection.url), "name a folder of this machine as its path")
    where = connection.path or FOLDER_DEFAULT
    for name in (model.name, model.schema):
        if "/" in name or "\0" in name or name in {".", ".."}:
            raise UserMistake("INT_GAMMA_011", f"`{name}` cannot be the name of a folder", remedy="rename the model")
    if "*" in where or "?" in where:
        raise _mistake(connection, "path", where, "name a folder, with {table} in it where tables differ")
    if TABLE not in where:
        where = f"{where}/{TABLE}"
    return PurePath(where.replace(TABLE, model.name).replace(SCHEMA, model.schema))


def _word(connection: Connection, option: str, words: type[WordT]) -> WordT:
    said = connection.options.get(option, _DEFAULTS[option])
    try:
        return words(said)
    except ValueError:
        raise _mistake(connection, option, said, f"take one of {', '.join(f'`{word}`' for word in words)}") from None


def _count(connection: Connection, option: str) -> int:
    said = connection.options.get(option, _DEFAULTS[option])
    if not (said.isascii() and said.isdigit() and int(said) > 0):
        raise _mistake(connection, option, said, "give a whole number from 1 on")
    return int(said)


def _mistake(connection: Connection, option: str, said: str, remedy: str) -> UserMistake:
    what = f"connection `{connection.name}` says `{option}: {said}`, which files cannot be written by"
    return UserMistake("INT_PIPELINE_003", what, remedy=remedy)
