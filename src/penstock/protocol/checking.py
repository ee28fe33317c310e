"""Checks messages against their types and limits. A check is built once per type, from its fields; both ends run it.

What is built follows the declared fields, so a field that is added to a message is checked from that day on.
"""

from __future__ import annotations

from collections.abc import Callable, Sized
from datetime import UTC, datetime, timedelta
from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias

from msgspec import inspect

from penstock.protocol.limits import (
    NAME_CHARACTERS_MAX,
    NUMBERS,
    PARAMETER_DEPTH_MAX,
    PARAMETERS_MAX,
    SIZES,
    WHOLE_MAX,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Check: TypeAlias = Callable[[object], None]
"""Raises Breach."""

INFINITY = float("inf")
NO_OFFSET = timedelta(0)


class Fault(Enum):
    """What is wrong with a message."""

    SIZE = "larger than a limit"
    NUMBER = "a number, range or time that cannot be"
    SHAPE = "not built as the type says"


class Breach(Exception):
    """A value is not what its message may hold. `path` leads to it, innermost first."""

    def __init__(self, fault: Fault, what: str) -> None:
        super().__init__(what)
        self.fault = fault
        self.what = what
        self.path: list[str] = []

    def __str__(self) -> str:
        return f"{'.'.join(reversed(self.path))} {self.what}".lstrip()


def check_of(type_: object) -> Check:
    """Return the check of `type_`: a struct, or a union of tagged ones."""
    return _Builder().build(inspect.type_info(type_))


class _Builder:
    """Builds the checks of one tree of types, each struct's once."""

    def __init__(self) -> None:
        self._structs: dict[type, Check] = {}

    def build(self, kind: inspect.Type, struct: type = object, field: str = "") -> Check:
        """Return the check of what stands in `field` of `struct`."""
        match kind:
            case inspect.StructType():
                check = self._struct(kind)
            case inspect.UnionType():
                check = self._union(kind, struct, field)
            case inspect.VarTupleType(item_type=inspect.IntType()):
                check = _wholes(SIZES[struct, field])
            case inspect.VarTupleType(item_type=item):
                check = _items(SIZES[struct, field], self.build(item))
            case inspect.DictType(key_type=key, value_type=value):
                check = _entries(SIZES[struct, field], self.build(key), self.build(value))
            case _:
                check = _plain(kind, struct, field)
        return check

    def _struct(self, kind: inspect.StructType) -> Check:
        if kind.cls not in self._structs:
            fields = [(field.name, self.build(field.type, kind.cls, field.name)) for field in kind.fields]
            self._structs[kind.cls] = _fields(kind.cls, tuple(fields))
        return self._structs[kind.cls]

    def _union(self, kind: inspect.UnionType, struct: type, field: str) -> Check:
        parts = [part for part in kind.types if not isinstance(part, inspect.NoneType)]
        if len(parts) < len(kind.types):
            (only,) = parts
            return _optional(self.build(only, struct, field))
        return _one_of({part.cls: self.build(part) for part in parts if isinstance(part, inspect.StructType)})


def _plain(kind: inspect.Type, struct: type, field: str) -> Check:
    match kind:
        case inspect.StrType():
            check = _sized(str, SIZES.get((struct, field), NAME_CHARACTERS_MAX), "characters")
        case inspect.BytesType():
            check = _sized(bytes, SIZES[struct, field], "bytes")
        case inspect.IntType():
            check = _whole(*NUMBERS.get((struct, field), (0, WHOLE_MAX)))
        case inspect.EnumType(cls=cls):
            check = _instance(cls)
        case _:
            check = _SIMPLE[type(kind)]
    return check


# --- the checks ---------------------------------------------------------------------------------------------------


def _fields(struct: type, fields: tuple[tuple[str, Check], ...]) -> Check:
    def check(value: object) -> None:
        if type(value) is not struct:
            raise _misshapen(value, struct)
        name = ""
        try:
            for name, part in fields:
                part(getattr(value, name))
        except Breach as breach:
            breach.path.append(name)
            raise

    return check


def _one_of(choices: dict[type, Check]) -> Check:
    def check(value: object) -> None:
        part = choices.get(type(value))
        if part is None:
            raise Breach(Fault.SHAPE, f"is of the type {type(value).__name__}, which may not stand there")
        part(value)

    return check


def _optional(part: Check) -> Check:
    def check(value: object) -> None:
        if value is not None:
            part(value)

    return check


def _instance(cls: type) -> Check:
    def check(value: object) -> None:
        if type(value) is not cls:
            raise _misshapen(value, cls)

    return check


def _whole(low: int, high: int) -> Check:
    def check(value: object) -> None:
        if type(value) is not int:
            raise _misshapen(value, int)
        if not low <= value <= high:
            raise Breach(Fault.NUMBER, f"is no whole number from {low:,} to {high:,}")

    return check


def _real(value: object) -> None:
    if type(value) is not float and type(value) is not int:
        raise _misshapen(value, float)
    if not 0 <= value < INFINITY:
        raise Breach(Fault.NUMBER, "is no finite number from 0 on")


def _time(value: object) -> None:
    if not isinstance(value, datetime):
        raise _misshapen(value, datetime)
    if value.tzinfo is not UTC and value.utcoffset() != NO_OFFSET:
        raise Breach(Fault.NUMBER, "is not a time in UTC")


def _content(value: object) -> None:
    """Bytes that lie beside each other: they are copied and hashed as they lie."""
    if not isinstance(value, memoryview) or not value.c_contiguous:
        raise _misshapen(value, memoryview)


def _sized(cls: type[Sized], most: int, unit: str) -> Check:
    def check(value: object) -> None:
        if type(value) is not cls:
            raise _misshapen(value, cls)
        if len(value) > most:
            raise Breach(Fault.SIZE, f"has {len(value):,} {unit}, and {most:,} are allowed")

    return check


def _items(most: int, part: Check) -> Check:
    check_size = _sized(tuple, most, "items")

    def check(value: object) -> None:
        check_size(value)
        assert isinstance(value, tuple)
        for item in value:
            part(item)

    return check


def _wholes(most: int) -> Check:
    """A million of them may come at once: looked at without a step of the interpreter for each."""
    check_size = _sized(tuple, most, "items")

    def check(value: object) -> None:
        check_size(value)
        assert isinstance(value, tuple)
        if value and (set(map(type, value)) != {int} or min(value) < 0 or max(value) > WHOLE_MAX):
            raise Breach(Fault.NUMBER, f"has items that are no whole numbers from 0 to {WHOLE_MAX:,}")

    return check


def _entries(most: int, key_part: Check, value_part: Check) -> Check:
    check_size = _sized(dict, most, "entries")

    def check(value: object) -> None:
        check_size(value)
        assert isinstance(value, dict)
        for key, item in value.items():
            key_part(key)
            value_part(item)

    return check


# --- parameters of jobs: whatever JSON has ------------------------------------------------------------------------


def _parameter(value: object, depth: int = PARAMETER_DEPTH_MAX) -> None:
    """Check a value as JSON has them; `depth` lists and objects may still lie within each other."""
    match value:
        case None | bool():
            return
        case int():
            _signed(value)
        case float():
            _finite(value)
        case str():
            _text(value)
        case list():
            _nested(value, value, depth)
        case dict():
            _nested(value, value.values(), depth)
            for key in value:
                _text(key)
        case _:
            raise Breach(Fault.SHAPE, f"holds a {type(value).__name__}, which JSON has not")


def _nested(whole: list[object] | dict[object, object], parts: Iterable[object], depth: int) -> None:
    if depth == 0:
        raise Breach(Fault.SIZE, f"holds lists or objects more than {PARAMETER_DEPTH_MAX} deep")
    if len(whole) > PARAMETERS_MAX:
        raise Breach(Fault.SIZE, f"holds {len(whole):,} values, and {PARAMETERS_MAX:,} are allowed")
    for part in parts:
        _parameter(part, depth - 1)


def _finite(value: float) -> None:
    if not -INFINITY < value < INFINITY:
        raise Breach(Fault.NUMBER, "holds a number that is not finite")


_signed = _whole(-WHOLE_MAX - 1, WHOLE_MAX)
_text = _sized(str, NAME_CHARACTERS_MAX, "characters")


_SIMPLE: Mapping[type[inspect.Type], Check] = MappingProxyType(
    {
        inspect.AnyType: _parameter,
        inspect.BoolType: _instance(bool),
        inspect.DateTimeType: _time,
        inspect.FloatType: _real,
        inspect.MemoryViewType: _content,
    }
)
"""Checks that ask for no limit. A kind of field that has none here is a defect, found when this is imported."""


def _misshapen(value: object, expected: type) -> Breach:
    return Breach(Fault.SHAPE, f"is of the type {type(value).__name__}, and {expected.__name__} stands there")
