"""From plain values to a document of its kind: every mistake at once, each at its line and column, in our words."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, get_args

from pydantic import ValidationError

from penstock.documents import codes
from penstock.documents.kinds import MODELS, HandoffKind, InputDocument, Part
from penstock.documents.values import Refused, nearest, shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pydantic_core import ErrorDetails

    from penstock.documents.places import Path, Places
    from penstock.documents.tree import Value
    from penstock.model.finding import Finding

FINDINGS_MAX = 100
"""Findings shown for one block. Whoever has more has one cause, or begins with these."""

ROUNDS_MAX = 5
"""How often slips of the pen are mended to look below them: slips within slips go no deeper than people do."""


@dataclass(frozen=True, slots=True)
class Checked:
    """A document of its kind, or None with the findings that say why not."""

    document: InputDocument | None
    findings: tuple[Finding, ...]


def check(kind: HandoffKind, value: Value, places: Places) -> Checked:
    """Read `value` as a document of `kind`.

    A key that is a slip of the pen is a finding, and is then read as what was meant: what stands below it is looked at
    too, and the key that was meant is not called missing.
    """
    findings: list[Finding] = []
    document, errors = _validated(kind, value)
    for _ in range(ROUNDS_MAX):
        slips = _slips(kind, errors, value)
        for path, meant in slips.items():
            place = places.key(*path)
            findings.append(codes.UNKNOWN_KEY.at(place, f"unknown key `{path[-1]}`", remedy=f"did you mean `{meant}`?"))
        if not slips:
            break
        value, places = _renamed(value, slips, ()), places.renamed(slips)
        document, errors = _validated(kind, value)
    findings += [
        *_same_names(kind, value, places),
        *_left_empty(MODELS[kind], value, (), places),
        *_translated(kind, errors, value, places),
    ]
    if value == {}:
        findings.append(codes.EMPTY.at(places.whole, f"the {kind} document is empty"))
    return Checked(None if findings else document, _shown(findings))


def _validated(kind: HandoffKind, value: Value) -> tuple[InputDocument | None, list[ErrorDetails]]:
    try:
        return MODELS[kind].model_validate(value), []
    except ValidationError as error:
        return None, error.errors(include_url=False)


def _shown(findings: list[Finding]) -> tuple[Finding, ...]:
    ordered = sorted(set(findings))
    if len(ordered) <= FINDINGS_MAX:
        return tuple(ordered)
    rest = len(ordered) - FINDINGS_MAX
    last = codes.TOO_LARGE.at(
        ordered[FINDINGS_MAX].place, f"and {rest:,} more from here on", remedy="mend the ones above first"
    )
    return (*ordered[:FINDINGS_MAX], last)


# --- slips of the pen ---------------------------------------------------------------------------------------------


def _slips(kind: HandoffKind, errors: list[ErrorDetails], value: Value) -> dict[Path, str]:
    """Return the unknown keys that are nearly a key which is not there, each with that key.

    Only so many are looked at: it takes time, and no more are shown.
    """
    slips: dict[Path, str] = {}
    taken: set[Path] = set()
    unknown = (error["loc"] for error in errors if error["type"] == "extra_forbidden")
    for path in itertools.islice(unknown, FINDINGS_MAX):
        meant = nearest(str(path[-1]), _absent(kind, path, value))
        if meant and (*path[:-1], meant) not in taken:
            taken.add((*path[:-1], meant))
            slips[path] = meant
    return slips


def _absent(kind: HandoffKind, path: Path, value: Value) -> list[str]:
    """Return the keys that could stand beside the one at the end of `path`, and do not."""
    present = _value_at(value, path[:-1])
    keys = _keys(_model_at(MODELS[kind], path[:-1]))
    return [key for key in keys if not isinstance(present, dict) or key not in present]


def _renamed(value: Value, slips: Mapping[Path, str], path: Path) -> Value:
    match value:
        case dict():
            return {slips.get((*path, key), key): _renamed(item, slips, (*path, key)) for key, item in value.items()}
        case list():
            return [_renamed(item, slips, (*path, index)) for index, item in enumerate(value)]
        case _:
            return value


# --- what pydantic found, in our words ----------------------------------------------------------------------------


def _translated(kind: HandoffKind, errors: list[ErrorDetails], value: Value, places: Places) -> Iterator[Finding]:
    return (_finding(kind, error, value, places) for error in errors)


def _finding(kind: HandoffKind, error: ErrorDetails, value: Value, places: Places) -> Finding:
    path, given = error["loc"], error["input"]
    of_a_key = path[-1:] == ("[key]",)
    path = path[:-1] if of_a_key else path
    at = places.key(*path) if of_a_key else places.at(*path)
    subject = f"`{path[-1]}` " if path and isinstance(path[-1], str) else ""
    reason = error.get("ctx", {}).get("error")
    match error["type"]:
        case "extra_forbidden":
            place = places.key(*path)
            return codes.UNKNOWN_KEY.at(place, f"unknown key {subject.strip()}", remedy=_belongs(kind, path, value))
        case "missing":
            return codes.MISSING_KEY.at(places.at(*path[:-1]), f"{subject}is missing", remedy=f"add {subject.strip()}")
        case _ if given is None:
            return codes.EMPTY.at(at, _empty(path))
        case _ if isinstance(reason, Refused):
            prefix = f"`{path[-1]}`: " if subject else ""
            place = places.key(*path, *reason.path) if reason.path else at
            return reason.kind.at(place, prefix + reason.message, remedy=reason.remedy)
        case "string_too_short":
            return codes.EMPTY.at(at, _empty(path))
        case name:
            wanted, remedy = _WANTED.get(name, ("something else", ""))
            if name == "model_type" and _model_at(MODELS[kind], path).bare:
                wanted = f"a text, or {wanted}"
            remedy = _blank_missing(given) or _switch_meant(name, given) or remedy
            return codes.WRONG_SHAPE.at(
                at, f"{subject or 'the entry '}takes {wanted}, not {shown(given)}", remedy=remedy
            )


def _empty(path: Path) -> str:
    return f"`{path[-1]}` is empty" if path and isinstance(path[-1], str) else "the entry is empty"


_WANTED: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "string_type": ("a text", "put it in quotes"),
        "bool_type": ("true or false", "write `true` or `false`"),
        "tuple_type": ("a list", "begin each entry with `- `"),
        "dict_type": ("keys with values", "write `key: value` lines"),
        "model_type": ("keys with values", "write `key: value` lines"),
    }
)
"""What is wanted where pydantic reports an error of that type, and how to write it."""


def _blank_missing(given: object) -> str:
    """Recognise `key:value`, which YAML reads as one text."""
    if isinstance(given, str) and re.match(r"[\w-]{1,50}:[^\s/]", given):
        return "add a blank after the colon"
    return ""


def _switch_meant(name: str, given: object) -> str:
    """Recognise words that older YAML took for true and false."""
    if name == "bool_type" and isinstance(given, str):
        word = given.lower()
        if word in {"yes", "on", "y", "true"}:
            return "did you mean `true`?"
        if word in {"no", "off", "n", "false"}:
            return "did you mean `false`?"
    return ""


def _belongs(kind: HandoffKind, path: Path, value: Value) -> str:
    """Say where the unknown key at the end of `path` belongs, or which keys there are instead."""
    key = str(path[-1])
    if key.count(")") > key.count("("):
        return 'put a value that holds a comma in quotes: "numeric(10,2)"'
    homes = [".".join(home[:-1]) for home in _HOMES[kind] if home[-1] == key]
    if "" in homes:
        return "it belongs at the top"
    if homes:
        return f"it belongs under {' or '.join(homes)}"
    return f"more keys here would be {', '.join(_absent(kind, path, value))}"


def _keys(model: type[Part]) -> dict[str, Any]:
    """Return the keys of a model as documents write them, with their types."""
    return {field.alias or name: field.annotation for name, field in model.model_fields.items()}


def _model_at(model: type[Part], path: Path) -> type[Part]:
    """Return the model that describes the mapping at `path`. Indexes and free names change nothing."""
    for step in path:
        inner = _model_in(_keys(model).get(str(step)))
        model = inner or model
    return model


def _model_in(annotation: Any) -> type[Part] | None:  # noqa: ANN401 - annotations have no common type
    """Return the model inside an annotation such as `tuple[Rule, ...]` or `dict[str, Connection]`."""
    if isinstance(annotation, type) and issubclass(annotation, Part):
        return annotation
    return next((inner for part in get_args(annotation) if (inner := _model_in(part))), None)


def _homes(model: type[Part], above: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Yield the path of every key of every model below `model`."""
    for key, annotation in _keys(model).items():
        yield (*above, key)
        if inner := _model_in(annotation):
            yield from _homes(inner, (*above, key))


_HOMES: Mapping[HandoffKind, tuple[tuple[str, ...], ...]] = MappingProxyType(
    {kind: tuple(sorted(_homes(model, ()))) for kind, model in MODELS.items()}
)


def _value_at(value: Value, path: Path) -> Value:
    for step in path:
        match value, step:
            case dict(), str() if step in value:
                value = value[step]
            case list(), int() if step < len(value):
                value = value[step]
            case _:
                return None
    return value


# --- what stands in no single value -------------------------------------------------------------------------------

_NAMED_LISTS: Mapping[HandoffKind, tuple[tuple[str, ...], ...]] = MappingProxyType(
    {
        HandoffKind.SCHEMA_TO_STREAM: (
            ("source_models", "*", "columns"),
            ("destination_requirements", "models", "*", "columns"),
            ("destination_requirements", "models", "*", "lookups"),
            ("destination_requirements", "models", "*", "tests"),
        ),
        HandoffKind.PULSE_TO_STREAM: (("analytics_requirements", "metrics"),),
        HandoffKind.BUILDER_TO_STREAM: (("api_integration", "data_contract", "fields"),),
    }
)
"""Lists whose entries must differ in `name`. Tables and models may stand in several blocks: planning compares them."""


def _left_empty(model: type[Part], value: Value, path: Path, places: Places) -> Iterator[Finding]:
    """A key with nothing behind its colon was not finished, even where it may be left out."""
    match value:
        case list():
            for index, item in enumerate(value):
                yield from _left_empty(model, item, (*path, index), places)
        case dict():
            keys = _keys(model)
            for key, item in value.items():
                here = (*path, key)
                if item is None and key in keys:
                    yield codes.EMPTY.at(places.at(*here), _empty(here))
                elif inner := _model_in(keys.get(key)):
                    yield from _left_empty(inner, item, here, places)
        case _:
            return


def _same_names(kind: HandoffKind, value: Value, places: Places) -> Iterator[Finding]:
    """Names are compared as SQL does, without regard to upper and lower case."""
    for pattern in _NAMED_LISTS[kind]:
        for path, items in _lists(value, pattern, ()):
            seen: dict[str, int] = {}
            for index, item in enumerate(items):
                name = item.get("name") if isinstance(item, dict) else item
                if not isinstance(name, str):
                    continue
                first = seen.setdefault(name.strip().casefold(), index)
                if first != index:
                    line = places.at(*path, first, "name").line
                    message = f"a second entry is called `{name}`, like the one in line {line}"
                    yield codes.SAME_NAME.at(places.at(*path, index, "name"), message)


def _lists(value: Value, pattern: tuple[str, ...], path: Path) -> Iterator[tuple[Path, list[Value]]]:
    """Yield every list that `pattern` leads to; `*` stands for each entry of a list."""
    match pattern, value:
        case (), list():
            yield path, value
        case ("*", *rest), list():
            for index, item in enumerate(value):
                yield from _lists(item, tuple(rest), (*path, index))
        case (str() as key, *rest), dict() if key in value:
            yield from _lists(value[key], tuple(rest), (*path, key))
