"""Finding the hand-off blocks of a file: a pure cut of its lines, before any YAML is read.

In Markdown a block is fenced code whose kind a heading above it names (`### SCHEMA_TO_STREAM_HANDOFF`), or a line of
its own inside (`## SCHEMA_TO_STREAM_HANDOFF`), or both. In a YAML file it is what follows such a line, or the whole.
Fences as in CommonMark 0.31, section 4.5, but indented as deep as one likes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from penstock.documents import codes
from penstock.documents.kinds import MODELS, HandoffKind
from penstock.documents.values import nearest
from penstock.model.finding import Finding, Place

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_LINE_END = re.compile(r"\r\n|\r|\n")
_FENCE = re.compile(r"(?P<indent>[ \t]*)(?P<ticks>`{3,}|~{3,})[ \t]*(?P<info>.*)")
_HEADING = re.compile(r" {0,3}(?P<marks>#{1,6})(?:[ \t]+(?P<text>.*?))?[ \t]*")
_UNDERLINE = re.compile(r" {0,3}(?:=+|-+)[ \t]*")
_NAME = re.compile(r"\b(?:[A-Z]+_TO_[A-Z_]+|NEXUS_HANDOFF|_STEP_COMPLETE)\b", re.IGNORECASE)
_INSIDE = re.compile(rf"#{{1,6}}[ \t]*(?:{_NAME.pattern}):?[ \t]*", re.IGNORECASE)
_TOP_KEY = re.compile(r"(?P<quote>[\"']?)(?P<key>[A-Za-z_][\w-]*)(?P=quote)[ \t]*:(?:[ \t].*)?")
_KINDS = {kind.value: kind for kind in HandoffKind}
_LIKENESS = 0.9
"""How like a kind a name must be to be a slip: high, for hand-offs between others have names like ours."""
_INFO_WORDS = frozenset({"yaml", "yml", "text", ""})
_PLAIN_INFO_WORDS = frozenset({"text", ""})


@dataclass(frozen=True, slots=True)
class OutputKind:
    """A document that goes out: recognised, and left alone."""

    name: str


@dataclass(frozen=True, slots=True)
class UnknownKind:
    """A name of the form of a kind that is none."""

    name: str


Named: TypeAlias = HandoffKind | OutputKind | UnknownKind


@dataclass(frozen=True, slots=True)
class Line:
    """One line without its end; `cut` characters of indentation were taken off before `text`."""

    number: int
    text: str
    cut: int = 0


@dataclass(frozen=True, slots=True)
class Piece:
    """Lines that are to be read as YAML. `kind` is None where no line names one: the keys must tell."""

    kind: HandoffKind | None
    lines: tuple[Line, ...]
    place: Place


_Found: TypeAlias = Piece | Finding | OutputKind


@dataclass(frozen=True, slots=True)
class Cut:
    """What a file was cut into. `outgoing`: it holds documents that go out. `announced`: a heading without its YAML."""

    pieces: tuple[Piece, ...]
    findings: tuple[Finding, ...]
    outgoing: bool
    announced: Place | None = None


def lines_of(text: str) -> tuple[Line, ...]:
    """Split at the line ends that editors count."""
    return tuple(Line(number, line) for number, line in enumerate(_LINE_END.split(text), start=1))


def kind_named(text: str) -> Named | None:
    """Return the kind that a heading names; None where it names none, or several."""
    names = {named for name in _NAME.findall(text) if (named := _kind(name))}
    return names.pop() if len(names) == 1 else None


def is_name(text: str) -> bool:
    """Tell whether `text` is the name of a kind and nothing else."""
    return _NAME.fullmatch(text) is not None and kind_named(text) is not None


def misnamed(named: Named, other: Named | None, place: Place, *, other_line: int = 0) -> Finding | None:
    """Return what is wrong with being called `named` at `place`, and `other` around it."""
    if other is not None and named != other:
        where = f"the heading in line {other_line}" if other_line else "the line above"
        return codes.TWO_KINDS.at(place, f"{where} calls this {_name(other)}, this line calls it {_name(named)}")
    if isinstance(named, UnknownKind):
        near = nearest(named.name.upper().removesuffix("_HANDOFF"), _KINDS)
        message = f"no kind of document is called {named.name}"
        return codes.UNKNOWN_KIND.at(place, message, remedy=f"did you mean `{near}`?" if near else "")
    return None


def _kind(written: str) -> Named | None:
    """Return what a name means; None for one that is none of ours, such as HOW_TO_BEGIN or SCHEMA_TO_BUILDER."""
    name = written.upper().removesuffix("_HANDOFF")
    if name in _KINDS:
        return _KINDS[name]
    if name.startswith("STREAM_TO_") or name in {"NEXUS", "_STEP_COMPLETE"}:
        return OutputKind(written)
    return UnknownKind(written) if "_TO_STREAM" in name or nearest(name, _KINDS, likeness=_LIKENESS) else None


# --- YAML files ---------------------------------------------------------------------------------------------------


def cut_yaml(path: str, lines: tuple[Line, ...]) -> Cut:
    """Cut a YAML file at its kind lines."""
    return _together(_inside(path, lines, Place(path, 1, 1), None), None)


# --- Markdown -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Section:
    """Below a heading that names a kind, up to the next heading of its rank or above."""

    named: Named
    rank: int
    place: Place


@dataclass(frozen=True, slots=True)
class _Fence:
    place: Place
    info: str
    lines: tuple[Line, ...]
    closed: bool


def cut_markdown(path: str, lines: tuple[Line, ...]) -> Cut:
    """Cut a Markdown file into the fenced blocks that a heading or a line inside names."""
    found: list[_Found] = []
    section: _Section | None = None
    section_is_empty = True
    announced: Place | None = None
    for item in _structure(path, lines):
        if isinstance(item, _Fence):
            of_fence = list(_of_fence(path, item, section, first=section_is_empty))
            section_is_empty = section_is_empty and not of_fence
            found += of_fence
            continue
        if section and item.rank <= section.rank:
            section = None
        if named := kind_named(item.text):
            section, section_is_empty = _Section(named, item.rank, item.place), True
            announced = announced or (item.place if isinstance(named, HandoffKind) else None)
    return _together(found, announced)


@dataclass(frozen=True, slots=True)
class _Heading:
    text: str
    rank: int
    place: Place


def _structure(path: str, lines: tuple[Line, ...]) -> Iterator[_Heading | _Fence]:
    """Walk through headings and fences in order; what a comment hides is not there."""
    at = 0
    hidden = False
    while at < len(lines):
        line = lines[at]
        place = Place(path, line.number, len(line.text) - len(line.text.lstrip()) + 1)
        if hidden or line.text.lstrip().startswith("<!--"):
            hidden = "-->" not in line.text
            at += 1
        elif opening := _opening(line.text):
            fence, at = _fence(place, opening, lines, at + 1)
            yield fence
        else:
            if heading := _HEADING.fullmatch(line.text):
                yield _Heading((heading["text"] or "").rstrip("# \t"), len(heading["marks"]), place)
            elif at + 1 < len(lines) and line.text.strip() and _UNDERLINE.fullmatch(lines[at + 1].text):
                yield _Heading(line.text.strip(), 1 if "=" in lines[at + 1].text else 2, place)
            at += 1


def _opening(text: str) -> re.Match[str] | None:
    match = _FENCE.fullmatch(text)
    return None if match is None or (match["ticks"][0] == "`" and "`" in match["info"]) else match


def _fence(place: Place, opening: re.Match[str], lines: tuple[Line, ...], at: int) -> tuple[_Fence, int]:
    """Read from the line after the opening to the closing line; return the fence and where to go on."""
    ticks, indent = opening["ticks"], len(opening["indent"])
    words = opening["info"].split()
    info = words[0].lower() if words else ""
    body: list[Line] = []
    while at < len(lines):
        text = lines[at].text
        closing = _FENCE.fullmatch(text)
        if closing and not closing["info"] and closing["ticks"].startswith(ticks):
            return _Fence(place, info, tuple(body), closed=True), at + 1
        cut = min(indent, len(text) - len(text.lstrip(" \t")))
        body.append(Line(lines[at].number, text[cut:], cut))
        at += 1
    return _Fence(place, info, tuple(body), closed=False), at


def _of_fence(path: str, fence: _Fence, section: _Section | None, *, first: bool) -> Iterator[_Found]:
    """Say what a fence is: pieces and findings, or nothing where it is none of ours."""
    if fence.info not in _INFO_WORDS:
        return
    names_itself = any(_kind_of_line(line) for line in fence.lines)
    if not names_itself and not _names_by_key(fence.lines) and not _is_meant(fence, section, first=first):
        return
    if not fence.closed:
        yield codes.OPEN_FENCE.at(fence.place, "the code that begins here does not end")
        return
    yield from _inside(path, fence.lines, fence.place, section)


def _names_by_key(lines: Iterable[Line]) -> bool:
    """Tell whether the code's outermost keys are names of kinds."""
    keys = _top_keys(lines)
    return bool(keys) and all(is_name(key) for key in keys)


def _outgoing_by_key(lines: Iterable[Line]) -> OutputKind | None:
    """Return the outgoing kind that the outermost keys name. Such a text need not be YAML, and is not read."""
    kinds = {kind_named(key) if is_name(key) else None for key in _top_keys(lines)}
    return next((kind for kind in kinds if isinstance(kind, OutputKind)), None) if len(kinds) == 1 else None


def _is_meant(fence: _Fence, section: _Section | None, *, first: bool) -> bool:
    """Tell whether a fence that does not name itself is the block that the heading announces.

    Under a heading, YAML always is. Other text is when it comes first, or has a key of that kind: what stands
    further down may well be a log or a listing.
    """
    if section is None:
        return False
    if fence.info not in _PLAIN_INFO_WORDS or first:
        return True
    return isinstance(section.named, HandoffKind) and bool(
        _top_keys(fence.lines) & MODELS[section.named].model_fields.keys()
    )


def _top_keys(lines: Iterable[Line]) -> set[str]:
    return {match["key"] for line in lines if (match := _TOP_KEY.fullmatch(line.text))}


# --- both ---------------------------------------------------------------------------------------------------------


def _inside(path: str, lines: tuple[Line, ...], place: Place, section: _Section | None) -> Iterator[_Found]:
    """Cut lines at the kind lines among them. `section` says what the heading above them calls them."""
    found = [(at, kind) for at, line in enumerate(lines) if (kind := _kind_of_line(line))]
    starts, named = [at for at, _ in found], [kind for _, kind in found]
    head = lines[: starts[0]] if starts else lines
    if not starts or _holds_content(head):
        yield from _piece(section.named if section else None, head, place, section.place if section else place)
    for at, kind, end in zip(starts, named, [*starts[1:], len(lines)][: len(starts)], strict=True):
        here = Place(path, lines[at].number, lines[at].cut + 1)
        if section and section.named not in named:
            wrong = misnamed(kind, section.named, here, other_line=section.place.line)
            assert wrong is not None, "the two differ"
            yield wrong
        else:
            yield from _piece(kind, lines[at + 1 : end], here, here)


def _kind_of_line(line: Line) -> Named | None:
    """Return the kind that a line such as `## SCHEMA_TO_STREAM_HANDOFF` inside a block names."""
    return kind_named(line.text) if _INSIDE.fullmatch(line.text) else None


def _piece(named: Named | None, lines: tuple[Line, ...], place: Place, name_place: Place) -> Iterator[_Found]:
    if wrong := misnamed(named, None, name_place) if named else None:
        yield wrong
    elif isinstance(named, OutputKind):
        yield named
    elif named is None and (outgoing := _outgoing_by_key(lines)):
        yield outgoing
    else:
        assert not isinstance(named, UnknownKind), "that is a finding"
        yield Piece(named, lines, place)


def _holds_content(lines: Iterable[Line]) -> bool:
    """Tell whether anything stands there but comments, directives and document markers."""
    return any(line.text.strip() and not line.text.lstrip().startswith(("#", "%", "---", "...")) for line in lines)


def _name(named: Named) -> str:
    return named.value if isinstance(named, HandoffKind) else named.name


def _together(found: Iterable[_Found], announced: Place | None) -> Cut:
    found = tuple(found)
    pieces = tuple(item for item in found if isinstance(item, Piece))
    findings = tuple(item for item in found if isinstance(item, Finding))
    outgoing = any(isinstance(item, OutputKind) for item in found)
    return Cut(pieces, findings, outgoing, None if found else announced)
