"""The manifest of a table: every data file of it, and the marks. It is replaced as a whole: all of a commit or nothing.

It is JSON, in `_penstock/manifest.json` of the table's folder; docs/file-destinations.md says what each key means.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import msgspec

from penstock.errors import UserMistake
from penstock.model.position import Mark

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from penstock.model.pipeline import Partitioning
    from penstock.model.schema import Field

FORMAT = 1
"""Version of the manifest's form. A program reads its own version and no newer one."""


class DataFile(msgspec.Struct, frozen=True):
    """A data file: its path from the table's folder on, what is in it, and the SHA-256 (hex) of its bytes.

    `partition` is the source's whose rows it holds, empty where it may hold those of several.
    """

    path: str
    rows: int
    bytes: int
    sha256: str
    partition: str = ""


class KeptMark(msgspec.Struct, frozen=True):
    """A mark, of `model` of `pipeline`."""

    pipeline: str
    model: str
    mark: Mark


class KeptColumn(msgspec.Struct, frozen=True):
    """A column as the document declares it."""

    name: str
    type: str
    nullable: bool


class Manifest(msgspec.Struct, frozen=True):
    """What a table is. `commit` counts commits, `files` are in the order in which they were written.

    `retired` are files that the commit took out: nobody who reads this will look for them, and they are removed.
    `checksum` is the SHA-256 (hex) of this manifest with an empty checksum.
    """

    format: int
    commit: int
    encoding: str
    columns: tuple[KeptColumn, ...]
    partitioning: str
    rows: int
    files: tuple[DataFile, ...]
    marks: tuple[KeptMark, ...]
    retired: tuple[str, ...] = ()
    checksum: str = ""

    def marks_of(self, pipeline: str, model: str) -> Mapping[tuple[str, str], Mark]:
        """Return the marks of one model by (source, partition)."""
        mine = (kept.mark for kept in self.marks if (kept.pipeline, kept.model) == (pipeline, model))
        return {(mark.source, mark.partition): mark for mark in mine}

    def after(self, new: Sequence[DataFile], marks: Iterable[KeptMark]) -> Manifest:
        """Return the manifest of the next commit, which adds files and moves marks."""
        moved = {_key(kept): kept for kept in (*self.marks, *marks)}
        return self._next((*self.files, *new), tuple(moved.values()))

    def without(self, marks: Iterable[KeptMark], paths: Iterable[str]) -> Manifest:
        """Return the manifest of the next commit, which drops marks and retires files."""
        dropped, retired = {_key(kept) for kept in marks}, tuple(paths)
        gone = set(retired)
        left = tuple(kept for kept in self.marks if _key(kept) not in dropped)
        return self._next(tuple(file for file in self.files if file.path not in gone), left, retired)

    def _next(
        self, files: tuple[DataFile, ...], marks: tuple[KeptMark, ...], retired: tuple[str, ...] = ()
    ) -> Manifest:
        rows = sum(file.rows for file in files)
        return msgspec.structs.replace(
            self, commit=self.commit + 1, rows=rows, files=files, marks=marks, retired=retired, checksum=""
        )


def first_manifest(encoding: str, fields: Sequence[Field], partitioning: Partitioning | None) -> Manifest:
    """Return the manifest of a table without rows."""
    columns = tuple(KeptColumn(field.name, str(field.type), field.nullable) for field in fields)
    return Manifest(FORMAT, 0, encoding, columns, partitioning_text(partitioning), 0, (), ())


def partitioning_text(partitioning: Partitioning | None) -> str:
    """Return how a table is laid out as the manifest says it, such as `range of created_at (daily)`."""
    if partitioning is None:
        return ""
    interval = f" ({partitioning.interval})" if partitioning.interval else ""
    return f"{partitioning.kind} of {partitioning.column}{interval}"


def encode(manifest: Manifest) -> bytes:
    """Write a manifest, with its checksum."""
    plain = msgspec.structs.replace(manifest, checksum="")
    sealed = msgspec.structs.replace(plain, checksum=hashlib.sha256(_bytes(plain)).hexdigest())
    return msgspec.json.format(_bytes(sealed), indent=1) + b"\n"


def decode(content: bytes, name: str) -> Manifest:
    """Read what `encode` wrote. UserMistake, which calls it `name`, where it is damaged or of a newer Penstock."""
    try:
        said = msgspec.json.decode(content, type=dict[str, msgspec.Raw]).get("format")
        found = msgspec.json.decode(said, type=int) if said is not None else 0
        if found > FORMAT:
            raise UserMistake(
                "INT_GAMMA_015",
                f"`{name}` is of format {found}, and this Penstock reads up to {FORMAT}",
                remedy="use the Penstock that wrote it, or a newer one",
            )
        manifest = msgspec.json.decode(content, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _damaged(name, str(error)) from error
    plain = msgspec.structs.replace(manifest, checksum="")
    if hashlib.sha256(_bytes(plain)).hexdigest() != manifest.checksum:
        raise _damaged(name, "its checksum is another")
    return manifest


def _damaged(name: str, why: str) -> UserMistake:
    return UserMistake(
        "INT_GAMMA_015",
        f"`{name}` is damaged or was edited: {why}",
        remedy="restore the folder from a backup; or move it away, and read everything again with --rewind",
    )


def _bytes(manifest: Manifest) -> bytes:
    return msgspec.json.encode(manifest, order="deterministic")


def _key(kept: KeptMark) -> tuple[str, str, str, str]:
    return kept.pipeline, kept.model, kept.mark.source, kept.mark.partition
