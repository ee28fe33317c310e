"""Files and folders into documents. Whatever is wrong with them becomes a finding; nothing is raised."""

from __future__ import annotations

import stat
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.documents import codes, tree
from penstock.documents.blocks import (
    Cut,
    Named,
    Piece,
    cut_markdown,
    cut_yaml,
    is_name,
    kind_named,
    lines_of,
    misnamed,
)
from penstock.documents.kinds import MODELS, HandoffKind, InputDocument
from penstock.documents.tree import DOCUMENTS_MAX
from penstock.documents.validation import check
from penstock.documents.values import nearest
from penstock.model.finding import Finding, Level, Place

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from penstock.documents.places import Places
    from penstock.documents.tree import Tree, Value

FILE_BYTES_MAX = 4 << 20
"""A file is read whole before it is cut. Three hundred tables of a hundred columns take less than half of it."""
FILES_MAX = 1_000
"""Files read in one go: a folder with more was meant for something else."""

_MARKDOWN = frozenset({".md", ".markdown"})
_YAML = frozenset({".yaml", ".yml", ".json"})
_IN_FOLDERS = frozenset({".md", ".yaml", ".yml"})


@dataclass(frozen=True, slots=True)
class Block:
    """One hand-off document: its kind, what it says (None where it has errors), and where everything in it stands."""

    kind: HandoffKind
    document: InputDocument | None
    place: Place
    places: Places


@dataclass(frozen=True, slots=True)
class Documents:
    """All that was read. `root` is the folder that `data/` and `.penstock/` lie in."""

    blocks: tuple[Block, ...]
    findings: tuple[Finding, ...]
    root: Path
    files: tuple[Path, ...]

    @property
    def have_errors(self) -> bool:
        """Whether anything in them stops a run."""
        return any(finding.level is Level.ERROR for finding in self.findings)


@dataclass(frozen=True, slots=True)
class _Read:
    blocks: tuple[Block, ...] = ()
    findings: tuple[Finding, ...] = ()


def load(paths: Sequence[Path]) -> Documents:
    """Read files, and the `*.md`, `*.yaml` and `*.yml` directly in folders. Never raises for what it finds there.

    In a folder, Markdown without a block is prose and passed over; a YAML file without one is an open question.
    """
    blocks: list[Block] = []
    findings: list[Finding] = []
    files: dict[Path, Path] = {}
    for path in paths:
        repeated = False
        before = len(blocks), len(findings)
        for file in _files_of(path, findings):
            identity = _identity(file)
            if identity in files:
                repeated = True
            elif len(files) == FILES_MAX:
                findings.append(codes.TOO_LARGE.at(Place.of(path), f"more than {FILES_MAX:,} files"))
                break
            else:
                files[identity] = file
                read = _read(file, in_folder=file != path)
                blocks += read.blocks
                findings += read.findings
        if _is_folder(path) and not repeated and (len(blocks), len(findings)) == before:
            findings.append(codes.NO_BLOCK.at(Place.of(path), "no file in this folder holds a hand-off block"))
    return Documents(tuple(blocks), tuple(sorted(findings)), _root(paths), tuple(files.values()))


def _root(paths: Sequence[Path]) -> Path:
    if not paths:
        return Path()
    return paths[0] if _is_folder(paths[0]) else paths[0].parent


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def _identity(path: Path) -> Path:
    """Return the same for every name of one file."""
    try:
        return path.resolve()
    except (OSError, ValueError, RuntimeError):  # RuntimeError: a symbolic link that leads to itself, before 3.13
        return path


def _files_of(path: Path, findings: list[Finding]) -> Iterator[Path]:
    """Yield the files that `path` means; what cannot be looked at becomes a finding."""
    if not _is_folder(path):
        yield path
        return
    try:
        names = sorted(path.iterdir())
    except OSError as error:
        findings.append(_unreadable(path, error))
        return
    yield from (name for name in names if name.suffix.lower() in _IN_FOLDERS and not name.name.startswith("."))


def _read(path: Path, *, in_folder: bool) -> _Read:
    """Read one file; `in_folder` says that nobody named it."""
    whole = Place.of(path)
    content = _content(path)
    if isinstance(content, Finding):
        return _Read(findings=(content,))
    text = _text(path, content)
    if isinstance(text, Finding):
        return _Read(findings=(text,))
    is_yaml = path.suffix.lower() in _YAML
    lines = lines_of(text)
    cut = (cut_yaml if is_yaml else cut_markdown)(str(path), lines)
    read = _read_cut(cut, str(path), in_folder=in_folder)
    if read.blocks or read.findings or cut.outgoing:
        return read
    if in_folder and (path.stem.lower() == "readme" or not (is_yaml or cut.announced)):
        return _Read()
    return _Read(findings=(_nothing_found(cut.announced or whole, text, is_yaml=is_yaml, in_folder=in_folder),))


def _nothing_found(place: Place, text: str, *, is_yaml: bool, in_folder: bool) -> Finding:
    if is_yaml:
        kind = codes.NOT_READ if in_folder else codes.NO_BLOCK
        return kind.at(place, "the file holds nothing" if text.strip() else "the file is empty")
    remedy = "put the YAML in a ```yaml fence below a heading such as `## SCHEMA_TO_STREAM_HANDOFF`"
    if place.line:
        return codes.NO_BLOCK.at(place, "no YAML follows this heading", remedy=remedy)
    return codes.NO_BLOCK.at(
        place, "no hand-off block in this file" if text.strip() else "the file is empty", remedy=remedy
    )


# --- bytes to text ------------------------------------------------------------------------------------------------


def _content(path: Path) -> bytes | Finding:
    """Read a regular file, up to the limit. Anything else could block for ever, or never end."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return codes.UNREADABLE.at(Place.of(path), "this is not a file", remedy="name a file or a folder")
        with path.open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
    except (OSError, ValueError) as error:
        return _unreadable(path, error)
    if len(content) > FILE_BYTES_MAX:
        return codes.TOO_LARGE.at(Place.of(path), f"the file is larger than {FILE_BYTES_MAX:,} bytes")
    return content


def _unreadable(path: Path, error: OSError | ValueError) -> Finding:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return codes.UNREADABLE.at(Place.of(path), f"cannot be read: {reason.lower()}")


def _text(path: Path, content: bytes) -> str | Finding:
    """Decode UTF-8. The mark some editors put before it says nothing and is dropped."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return codes.NOT_TEXT.at(Place(str(path), 1, 1), "the file is UTF-16")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = lines_of(content[: error.start].decode("utf-8-sig"))
        place = Place(str(path), len(before), len(before[-1].text) + 1)
        return codes.NOT_TEXT.at(place, f"the byte 0x{content[error.start]:02x} here is not UTF-8")
    if "\0" in text:
        before = lines_of(text[: text.index("\0")])
        place = Place(str(path), len(before), len(before[-1].text) + 1)
        return codes.NOT_TEXT.at(place, "a NUL character stands here", remedy="delete it; text files hold none")
    return text


# --- pieces to blocks ---------------------------------------------------------------------------------------------


def _read_cut(cut: Cut, path: str, *, in_folder: bool) -> _Read:
    read = [_Read(findings=cut.findings)]
    read += [_of_piece(piece, path, in_folder=in_folder) for piece in cut.pieces[:DOCUMENTS_MAX]]
    for piece in cut.pieces[DOCUMENTS_MAX : DOCUMENTS_MAX + 1]:
        read.append(_Read(findings=(codes.TOO_LARGE.at(piece.place, f"more than {DOCUMENTS_MAX:,} documents"),)))
    return _together(read)


def _together(parts: Iterable[_Read]) -> _Read:
    every = tuple(parts)
    return _Read(
        tuple(block for part in every for block in part.blocks),
        tuple(finding for part in every for finding in part.findings),
    )


def _of_piece(piece: Piece, path: str, *, in_folder: bool) -> _Read:
    trees, broken = tree.read(path, piece.lines)
    if not trees and not broken and piece.kind:
        return _Read(findings=(codes.EMPTY.at(piece.place, f"the {piece.kind} document is empty"),))
    return _together([_Read(findings=broken), *(_of_tree(piece, one, in_folder=in_folder) for one in trees)])


def _of_tree(piece: Piece, one: Tree, *, in_folder: bool) -> _Read:
    if named := _named_by_key(one):
        return _of_named_keys(piece, one, named)
    if kind := piece.kind or _recognised(one.value):
        return _of_kind(kind, one)
    what = codes.NOT_READ if in_folder else codes.NO_BLOCK
    return _Read(findings=(what.at(one.places.whole, "nothing here says which hand-off this is"),))


def _of_kind(kind: HandoffKind, one: Tree) -> _Read:
    checked = check(kind, one.value, one.places)
    findings = (*one.findings, *checked.findings)
    block = Block(kind, None if findings else checked.document, one.places.whole, one.places)
    return _Read((block,), findings)


def _named_by_key(one: Tree) -> tuple[tuple[str, Named], ...]:
    """Return the outermost keys that are names of kinds, with the kinds."""
    if not isinstance(one.value, dict):
        return ()
    return tuple((key, named) for key in one.value if (named := kind_named(key)) and is_name(key))


def _of_named_keys(piece: Piece, one: Tree, named: tuple[tuple[str, Named], ...]) -> _Read:
    """Read a mapping from names of kinds to documents."""
    assert isinstance(one.value, dict), "only a mapping has keys"
    blocks: list[Block] = []
    findings = list(one.findings)
    findings += [
        codes.UNKNOWN_KEY.at(one.places.key(key), f"unknown key `{key}` beside a hand-off")
        for key in one.value.keys() - dict(named).keys()
    ]
    for key, kind in named:
        if isinstance(kind, HandoffKind) and piece.kind in (None, kind):
            read = _of_kind(kind, tree.Tree(one.value[key], one.places.under(key), ()))
            blocks += read.blocks
            findings += read.findings
        elif finding := misnamed(kind, piece.kind, one.places.key(key)):
            findings.append(finding)
    if one.findings:
        blocks = [replace(block, document=None) for block in blocks]
    return _Read(tuple(blocks), tuple(findings))


def _recognised(value: Value) -> HandoffKind | None:
    """Return the kind whose keys these are, or are meant to be."""
    if not isinstance(value, dict):
        return None
    for meant in (False, True):
        for kind, model in MODELS.items():
            if any(key in model.model_fields or (meant and nearest(key, model.model_fields)) for key in value):
                return kind
    return None
