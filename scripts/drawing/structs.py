"""Tables of what is said on the wire: structures and their fields, enums and their values, and what of it is ours."""

from __future__ import annotations

import tomllib
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import inspect

from penstock import errors
from penstock.model import outcome, position
from penstock.model.settings import SETTINGS
from penstock.protocol import (
    breaker,
    cache_messages,
    codec,
    frames,
    health_messages,
    job_messages,
    messages,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

HERE = Path(__file__).parent
WORDS: Mapping[str, Any] = tomllib.loads((HERE / "words.toml").read_text(encoding="utf-8"))
SPECIFIED: Mapping[str, Any] = tomllib.loads((HERE / "specified.toml").read_text(encoding="utf-8"))

PLACES = (messages, frames, health_messages, cache_messages, job_messages, breaker, outcome, position, errors)
"""Where structures and enums of messages live."""
NOT_SAID = frozenset({"RecordError", "DeadLetter", "Mark", "CircuitEvent"})
"""What lives there beside them."""


def _found(kind: type) -> Mapping[str, Any]:
    return MappingProxyType(
        {
            name: value
            for place in PLACES
            for name, value in vars(place).items()
            if isinstance(value, type) and issubclass(value, kind) and value.__module__ == place.__name__
            if name not in NOT_SAID
        }
    )


STRUCTS: Mapping[str, type[msgspec.Struct]] = _found(msgspec.Struct)
ENUMS: Mapping[str, type[StrEnum]] = _found(StrEnum)
RECORDS: Mapping[str, str] = MappingProxyType(
    {
        "AlphaBetaBatchTransfer": "list<ValidatedRecord>",
        "BetaGammaBatchTransfer": "list<TransformedRecord>",
        "StreamingHandoffMessage": "list<ValidatedRecord>",
    }
)
"""What `records` stands for."""
PLAIN: Mapping[type[inspect.Type], str] = MappingProxyType(
    {
        inspect.StrType: "string",
        inspect.IntType: "integer",
        inspect.FloatType: "float",
        inspect.BoolType: "boolean",
        inspect.DateTimeType: "datetime",
        inspect.BytesType: "bytes",
        inspect.AnyType: "any",
        inspect.NoneType: "null",
    }
)


# --- structures ---------------------------------------------------------------------------------------------------


def structs(*names: str) -> str:
    """Return a heading, a sentence and a table of fields for each structure."""
    return "\n\n".join(map(_struct, names))


def _struct(name: str) -> str:
    struct = STRUCTS[name]
    what = " ".join((struct.__doc__ or "").partition("\n\n")[0].split())
    rows = [_field(name, field) for field in _fields(struct)]
    return "\n".join(
        [f"#### {name}{_star(name)}", "", what, "", "| field | type | default | meaning |", "|---|---|---|---|", *rows]
    )


def _fields(struct: type[msgspec.Struct]) -> tuple[inspect.Field, ...]:
    info = inspect.type_info(struct)
    assert isinstance(info, inspect.StructType)
    return info.fields


def _field(owner: str, field: inspect.Field) -> str:
    meaning = WORDS["fields"].get(owner, {}).get(field.name, "")
    if field.name == "header":
        meaning = "see [MessageHeader](#messageheader)"
    star = "" if _star(owner) else _star(owner, field.name)
    return f"| `{field.name}`{star} | {_cell(_type(owner, field.type))} | {_default(field)} | {meaning} |"


def _type(owner: str, kind: inspect.Type) -> str:
    match kind:
        case inspect.MemoryViewType():
            name = RECORDS[owner]
        case inspect.EnumType(cls=cls):
            name = f"enum {cls.__name__}"
        case inspect.StructType(cls=cls):
            name = cls.__name__
        case inspect.VarTupleType(item_type=item):
            name = f"list<{_type(owner, item)}>"
        case inspect.DictType(key_type=key, value_type=value):
            name = f"map<{_type(owner, key)}, {_type(owner, value)}>"
        case inspect.UnionType(types=types):
            name = _union(owner, types)
        case _:
            name = PLAIN[type(kind)]
    return name


def _union(owner: str, types: tuple[inspect.Type, ...]) -> str:
    said = [kind for kind in types if isinstance(kind, inspect.StructType) and kind.cls in codec.MESSAGE_TYPES]
    others = [_type(owner, kind) for kind in types if kind not in said]
    if len(said) > 1:
        return " or ".join(["a message of a hop", *others])
    return " or ".join(_type(owner, kind) for kind in types)


def _cell(text: str) -> str:
    return f"`{text}`" if "<" in text else text


def _default(field: inspect.Field) -> str:
    if field.required:
        return ""
    value = field.default_factory() if field.default is msgspec.NODEFAULT else field.default
    match value:
        case None:
            text = "null"
        case bool():
            text = str(value).lower()
        case "" | b"":
            text = '""'
        case ():
            text = "[]"
        case _:
            text = str(value)
    return f"`{text}`"


# --- enums --------------------------------------------------------------------------------------------------------


def enums(*names: str) -> str:
    """Return a table of the values of enums."""
    return "\n".join(["| enum | value | |", "|---|---|---|", *(row for name in names for row in _values(name))])


def _values(name: str) -> Iterator[str]:
    words = WORDS["values"].get(name, {})
    shown = f"`{name}`{_star(name)}"
    for value in ENUMS[name]:
        star = "" if _star(name) else _star(name, value.name)
        yield f"| {shown} | `{value}`{star} | {words.get(value.name, '')} |"
        shown = ""


def said() -> str:
    """Return a table of the messages: of which type, from whom to whom, and what comes of them."""
    rows = []
    for message, kind in codec.MESSAGE_TYPES.items():
        name = message.__name__
        speaker, listener, today = WORDS["says"].get(name, ("", "", ""))
        star = _star("MessageType", kind.name)
        rows.append(f"| [{name}](#{name.lower()}){_star(name)} | `{kind}`{star} | {speaker} | {listener} | {today} |")
    return "\n".join(["| message | `message_type` | from | to | today |", "|---|---|---|---|---|", *rows])


# --- what is ours -------------------------------------------------------------------------------------------------


def additions() -> str:
    """Return the table of everything that the specification, version 1.0.0, does not have."""
    why: Mapping[str, str] = WORDS["why"]
    rows = [f"| {what} | `{name}` | {why.get(name, '')} |" for what, name in _added()]
    types = ", ".join(f"`{kind}`" for kind in messages.MessageType if _star("MessageType", kind.name))
    rows.append(f"| values | `MessageType`: {types} | {why.get('MessageType', '')} |")
    settings = ", ".join(f"`{setting.name}`" for setting in SETTINGS.values() if setting.ours)
    rows.append(f"| settings | {settings} | limits and times that have to have a name |")
    rows += [f"| behaviour | {name} | {reason} |" for name, reason in WORDS["further"].items()]
    return "\n".join(["| | addition | why |", "|---|---|---|", *rows])


def _added() -> Iterator[tuple[str, str]]:
    """Yield what is ours: its kind, and its name."""
    ours = [name for name in STRUCTS if _star(name)]
    yield from (("message" if STRUCTS[name] in codec.MESSAGE_TYPES else "structure", name) for name in ours)
    for name, struct in STRUCTS.items():
        if name not in ours:
            yield from (("field", f"{name}.{field.name}") for field in _fields(struct) if _star(name, field.name))
    for name, enum in ENUMS.items():
        if _star(name):
            yield "enum", name
        elif enum is not messages.MessageType:  # one row for all of them
            yield from (("value", f"{name}.{value.name}") for value in enum if _star(name, value.name))


def _star(owner: str, name: str = "") -> str:
    """Return a star for what the specification does not have."""
    known = SPECIFIED["structs"].get(owner, SPECIFIED["enums"].get(owner))
    if not name:
        return "" if known is not None else "*"
    return "" if known is None or name in known else "*"
