"""YAML text into plain values, with the place of every one of them, within limits.

Built from the parser's events, not by a loader: so a key that stands twice is seen, an alias is counted before it is
expanded, and every value keeps its line and column.
"""

from __future__ import annotations

import bisect
import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import yaml

from penstock.documents import codes
from penstock.documents.places import Path, Places
from penstock.documents.scalars import resolve
from penstock.documents.syntax import Explained, explain
from penstock.documents.values import Scalar, shown
from penstock.model.finding import Finding, FindingKind, Place

if TYPE_CHECKING:
    from collections.abc import Iterator

    from penstock.documents.blocks import Line

DOCUMENTS_MAX = 1_000
"""Documents in one file. Whoever writes more has a program write them, which can as well write more files."""
DEPTH_MAX = 32
"""Levels of nesting. Our documents need nine; every level costs a call."""
NODES_MAX = 250_000
"""Values in one block, keys counted and aliases expanded: three hundred tables of a hundred columns."""
EXPANDED_CHARACTERS_MAX = 16 << 20
"""Text in one block, aliases expanded: four times what a file may hold."""

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_STR_TAG = "tag:yaml.org,2002:str"

Value: TypeAlias = "Scalar | list[Value] | dict[str, Value]"


@dataclass(frozen=True, slots=True)
class Tree:
    """One YAML document: its value, where everything stands, and what is wrong with the writing of it."""

    value: Value
    places: Places
    findings: tuple[Finding, ...]


def read(path: str, lines: tuple[Line, ...]) -> tuple[tuple[Tree, ...], tuple[Finding, ...]]:
    """Read every YAML document among `lines` that is not empty; one that does not parse ends with a finding."""
    text = _Text(path, lines)
    trees: list[Tree] = []
    try:
        _refuse_controls(text)
        for one in _documents(text):
            trees.append(one)  # noqa: PERF402 - what was read before a _Stop stays
    except _Stop as stop:
        return tuple(trees), (stop.finding,)
    return tuple(trees), ()


def _documents(text: _Text) -> Iterator[Tree]:
    events = _Events(text)
    starts = (event for event in events if isinstance(event, yaml.DocumentStartEvent))
    for number, one in enumerate(filter(None, (_Builder(text, events).document() for _ in starts))):
        if number == DOCUMENTS_MAX:
            raise _Stop(codes.TOO_LARGE.at(one.places.whole, f"more than {DOCUMENTS_MAX:,} documents"))
        yield one


class _Stop(Exception):
    """Reading of the block ends here, with one finding."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(str(finding))
        self.finding = finding


class _Text:
    """Lines joined for the parser, and the way back from its character index to line and column of the file."""

    def __init__(self, path: str, lines: tuple[Line, ...]) -> None:
        self.path = path
        self.lines = lines
        self.whole = "\n".join(line.text for line in lines)
        self._starts = list(itertools.accumulate((len(line.text) + 1 for line in lines), initial=0))

    def place(self, index: int) -> Place:
        """Return the place of the character at `index` of `whole`."""
        at = min(bisect.bisect_right(self._starts, index) - 1, len(self.lines) - 1)
        if at < 0:
            return Place(self.path, 1, 1)
        line = self.lines[at]
        return Place(self.path, line.number, index - self._starts[at] + line.cut + 1)


def _refuse_controls(text: _Text) -> None:
    """Stop at a character that YAML does not allow, which a person cannot see."""
    for index, character in enumerate(text.whole):
        if (character < " " and character not in "\t\n") or character == "\x7f" or "\x80" <= character <= "\x9f":
            raise _Stop(
                codes.NOT_TEXT.at(
                    text.place(index), f"the character U+{ord(character):04X} does not print", remedy="delete it"
                )
            )


class _Events:
    """The parser's events; what it cannot parse becomes a finding."""

    def __init__(self, text: _Text) -> None:
        self._text = text
        self._events = yaml.parse(text.whole, Loader=_LOADER)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:  # noqa: ANN401 - one of PyYAML's event classes
        try:
            return next(self._events)
        except yaml.MarkedYAMLError as error:
            raise self._stop(explain(error, self._text.whole)) from None
        except yaml.YAMLError as error:
            raise self._stop(Explained(getattr(error, "position", 0), f"not YAML: {error}", "")) from None

    def _stop(self, explained: Explained) -> _Stop:
        place = self._text.place(explained.index)
        return _Stop(codes.NOT_YAML.at(place, explained.message, remedy=explained.remedy))


@dataclass(frozen=True, slots=True)
class _Size:
    nodes: int
    characters: int


@dataclass(slots=True)
class _Builder:
    """Builds one document out of events, one call per level of nesting."""

    text: _Text
    events: _Events
    values: dict[Path, Place] = field(default_factory=dict)
    keys: dict[Path, Place] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    anchors: dict[str, tuple[Value, _Size]] = field(default_factory=dict)
    nodes: int = 0
    characters: int = 0

    def document(self) -> Tree | None:
        """Read up to the end of the document; None for an empty one."""
        first = next(self.events)
        value = self._node(first, ())
        next(self.events)
        if value is None and not self.findings:
            return None
        return Tree(value, Places(self._place(first), self.values, self.keys), tuple(self.findings))

    def _node(self, event: Any, path: Path, place: Place | None = None) -> Value:  # noqa: ANN401 - as above
        """Read the node that begins with `event`. `place` is where to point when nothing is written there."""
        if len(path) > DEPTH_MAX:
            raise self._too_large(event, f"more than {DEPTH_MAX} levels of nesting")
        here = self._place(event)
        before = _Size(self.nodes, self.characters)
        if isinstance(event, yaml.AliasEvent):
            self.values[path] = here
            return self._alias(event)
        self._count(event, _Size(1, 0))
        self._refuse_tag(event)
        match event:
            case yaml.ScalarEvent():
                self._count(event, _Size(0, len(event.value)))
                self.values[path] = here if event.value or not event.implicit[0] else place or here
                is_plain = event.implicit[0] and not event.style and event.tag is None
                value: Value = resolve(event.value) if is_plain else event.value
            case yaml.SequenceStartEvent():
                self.values[path] = here
                value = self._list(path)
            case _:
                self.values[path] = here
                value = self._mapping(path)
        if event.anchor:
            size = _Size(self.nodes - before.nodes, self.characters - before.characters)
            self.anchors[event.anchor] = (value, size)
        return value

    def _list(self, path: Path) -> list[Value]:
        items: list[Value] = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            items.append(self._node(event, (*path, len(items))))
        return items

    def _mapping(self, path: Path) -> dict[str, Value]:
        """Read keys and values. The first of two equal keys counts; the second is read and left out."""
        mapping: dict[str, Value] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            place = self._place(event)
            key = self._key(event, place, path)
            if key is None or key in mapping:
                if key is not None:
                    self._report(codes.TWICE, place, f"`{key}` stands here twice", path=(*path, key))
                self._unrecorded(next(self.events), (*path, key or ""))
                continue
            self.keys[*path, key] = place
            mapping[key] = self._node(next(self.events), (*path, key), place)
        return mapping

    def _key(self, event: Any, place: Place, path: Path) -> str | None:  # noqa: ANN401 - as above
        """Return a key as it is written, whatever it looks like; None with a finding where it cannot be one."""
        self._count(event, _Size(1, 0))
        if not isinstance(event, yaml.ScalarEvent):
            self._unrecorded(event, (*path, ""))
            self._report(codes.NOT_USED, place, "this key is not a name")
            return None
        self._count(event, _Size(0, len(event.value)))
        if event.anchor:
            self.anchors[event.anchor] = (event.value, _Size(1, len(event.value)))
        if event.value == "<<" and not event.style:
            self._report(codes.NOT_USED, place, "`<<` is not part of YAML 1.2", remedy="write the keys out")
            return None
        if not event.value.strip():
            self._report(codes.NOT_USED, place, "the key before the colon is empty", remedy="name it")
            return None
        return str(event.value)

    def _unrecorded(self, event: Any, path: Path) -> None:  # noqa: ANN401 - as above
        """Read a node that does not count, leaving no trace of its places."""
        values, keys = self.values, self.keys
        self.values, self.keys = {}, {}
        self._node(event, path)
        self.values, self.keys = values, keys

    def _alias(self, event: Any) -> Value:  # noqa: ANN401 - as above
        if event.anchor not in self.anchors:
            place = self._place(event)
            message = f"nothing before this is marked `&{event.anchor}`"
            raise _Stop(codes.NOT_YAML.at(place, message, remedy="put a text that begins with `*` in quotes"))
        value, size = self.anchors[event.anchor]
        self._count(event, size)
        return value

    def _refuse_tag(self, event: Any) -> None:  # noqa: ANN401 - as above
        if event.tag not in (None, "!", _STR_TAG):
            tag = event.tag.replace("tag:yaml.org,2002:", "!!")
            remedy = "take the tag out, or put a text that begins with `!` in quotes"
            self._report(codes.NOT_USED, self._place(event), f"the tag {shown(tag)} is not used", remedy=remedy)

    def _count(self, event: Any, size: _Size) -> None:  # noqa: ANN401 - as above
        self.nodes += size.nodes
        self.characters += size.characters
        if self.nodes > NODES_MAX:
            raise self._too_large(event, f"more than {NODES_MAX:,} values")
        if self.characters > EXPANDED_CHARACTERS_MAX:
            raise self._too_large(event, f"more than {EXPANDED_CHARACTERS_MAX:,} characters with aliases expanded")

    def _too_large(self, event: Any, message: str) -> _Stop:  # noqa: ANN401 - as above
        return _Stop(codes.TOO_LARGE.at(self._place(event), message))

    def _report(
        self, kind: FindingKind, place: Place, message: str, *, remedy: str = "", path: Path | None = None
    ) -> None:
        if path in self.keys and path is not None:
            message += f", first in line {self.keys[path].line}"
        self.findings.append(kind.at(place, message, remedy=remedy))

    def _place(self, event: Any) -> Place:  # noqa: ANN401 - as above
        return self.text.place(event.start_mark.index)
