r"""Exact casts: a value becomes its column's type without loss, or it is refused.

A typed value means what it reads as text, so one table of rules serves text files and Parquet alike:

    integers     `5`, `+5`, ` 5 `, `5.0`; not `12.7`, `1e3`, `1_000`, `0x1F`
    decimal      digits with at most the declared places, further ones only if zero; no exponent in text. A float is
                 the shortest decimal that reads back as it, so 0.1 is `0.1`
    real, double any finite number, exponents too, rounded to the nearest value as these types are; not `nan`, `inf`
    boolean      `true`, `t`, `yes`, `y`, `1` and their opposites, in any case
    date         `2024-01-31`; with a time only if that is midnight
    time         `23:59`, `23:59:58.123456`; no zone
    timestamp    ISO 8601 with `T` or a space, microseconds at most, and an offset or none. Without one it is in UTC.
                 A column without time zone holds the time in UTC and drops the offset. Zone names are refused
    uuid         32 hexadecimal digits, with or without hyphens and braces; lower case comes out
    json         as RFC 8259 has it, kept as written; no NaN, no trailing comma
    bytea        `\x` and pairs of hexadecimal digits

Years go from 1 to 9999, what every destination holds. Blanks around a value are dropped except in text and json.

Arrow's own cast takes a fifth of the time and is as strict on most values, so it goes first, on the whole column.
Where it refuses, or might be laxer, the rules decide value by value.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from penstock.expressions import literal, quote
from penstock.model.schema import DECIMAL_DIGITS_MAX, INTEGERS, DataType, Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from penstock.expressions import Engine


_FLOATS = frozenset({Kind.REAL, Kind.DOUBLE})
_DAYS = (-719_162, 2_932_896)
"""0001-01-01 and 9999-12-31 in days since 1970-01-01."""
_DAY_US = 86_400_000_000
_BOUNDS: Mapping[Kind, tuple[pa.DataType, int, int]] = MappingProxyType(
    {
        Kind.DATE: (pa.int32(), *_DAYS),
        Kind.TIME: (pa.int64(), 0, _DAY_US - 1),
        Kind.TIMESTAMP: (pa.int64(), _DAYS[0] * _DAY_US, (_DAYS[1] + 1) * _DAY_US - 1),
        Kind.TIMESTAMPTZ: (pa.int64(), _DAYS[0] * _DAY_US, (_DAYS[1] + 1) * _DAY_US - 1),
    }
)
"""How a temporal type is stored, and the least and the greatest value let through."""

_INTEGER, _FLOATING = pa.types.is_integer, pa.types.is_floating
_INSTANT_OR_DAY = (pa.types.is_timestamp, pa.types.is_date)
_STRICT: Mapping[Kind, tuple[Callable[[pa.DataType], bool], ...]] = MappingProxyType(
    dict.fromkeys(INTEGERS, (_INTEGER,))
    | dict.fromkeys(_FLOATS, (_INTEGER, _FLOATING))
    | dict.fromkeys((Kind.TIMESTAMP, Kind.TIMESTAMPTZ), _INSTANT_OR_DAY)
    | {
        Kind.DECIMAL: (pa.types.is_decimal128,),
        Kind.TIME: (pa.types.is_time,),
        Kind.BYTES: (pa.types.is_large_binary, pa.types.is_fixed_size_binary),
    }
)
"""Types of a typed source from which Arrow's cast refuses what does not fit."""

_LAX_BYTES: Mapping[Kind, bytes] = MappingProxyType(dict.fromkeys(INTEGERS, b"xX") | {Kind.DECIMAL: b"eE"})
"""Text that holds one of these may pass Arrow's cast and not our rules: hexadecimal integers, exponents."""

_NAIVE, _ZONED = pa.timestamp("us"), pa.timestamp("us", tz="UTC")
_VALUE, _TEXT = quote("value"), quote("text")


class Caster:
    """Casts columns. Used from one thread at a time."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def cast(self, column: pa.Array, to: DataType) -> pa.Array:
        """Return `column` as `to.arrow`, null where it was null and where the value is refused."""
        plain = _plain(column)
        quick = _cast_as_a_whole(plain, to)
        return self._cast_each(plain, to) if quick is None else quick

    def texts(self, column: pa.Array) -> list[str | None]:
        """Return the values as a person would read them."""
        plain = _plain(column)
        found: list[str | None] = self._select(plain, f"CAST({_VALUE} AS VARCHAR)").to_pylist()
        return found

    def _cast_each(self, column: pa.Array, to: DataType) -> pa.Array:
        text = _text_of(column.type)
        if to.kind is Kind.JSON:
            return _only_json(self._select(column, text))
        rule = _RULES[to.kind](to)
        if pa.types.is_floating(column.type) and to.kind in {*INTEGERS, Kind.DECIMAL}:
            rule = f"CASE WHEN contains({_TEXT}, 'e') THEN {_same_float(to, column.type)} ELSE {rule} END"
        return _in_bounds_only(self._select(column, text, rule).cast(to.arrow), to.kind)

    def _select(self, column: pa.Array, text: str, rule: str = _TEXT) -> pa.Array:
        """Compute `rule` for every value; it may name the value and its text."""
        over = f"casting {column.type}"  # for each type one, and one plan for each cast of it
        query = f"SELECT {rule} FROM (SELECT {_VALUE}, {text} AS {_TEXT} FROM {quote(over)})"  # noqa: S608 - all quoted
        return self._engine.compute(query, pa.table({"value": column}), over).column(0).combine_chunks()


def _plain(column: pa.Array) -> pa.Array:
    """Undo encodings that say nothing about the values."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _plain(column.dictionary_decode())
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind) or pa.types.is_decimal256(kind):
        return column.cast(pa.string())
    if pa.types.is_float16(kind):
        return column.cast(pa.float32())
    return column


def _cast_as_a_whole(column: pa.Array, to: DataType) -> pa.Array | None:
    """Cast with Arrow; None unless every value is certain to be what the rules would make of it."""
    if _may_go_wrong(column, to):
        return None
    for way in _strict_ways(column.type, to):
        try:
            result = column.cast(way).cast(to.arrow)
        except pa.ArrowInvalid:  # some value is refused, or written in another of the allowed ways
            continue
        return result if _in_bounds_only(result, to.kind) is result else None
    return None


def _strict_ways(given: pa.DataType, to: DataType) -> tuple[pa.DataType, ...]:
    """Return the types to go through, in the order of trying, where Arrow's cast follows our rules."""
    if pa.types.is_null(given):
        return (to.arrow,)
    if to.kind in {Kind.UUID, Kind.JSON}:
        return ()
    if pa.types.is_string(given):
        return _ways_from_text(to)
    return (to.arrow,) if given == to.arrow or _is_strict(given, to.kind) else ()


def _ways_from_text(to: DataType) -> tuple[pa.DataType, ...]:
    match to.kind:
        case Kind.TIMESTAMP:
            return (_NAIVE, _ZONED)
        case Kind.TIMESTAMPTZ:
            return (_ZONED, _NAIVE)
        case Kind.BYTES | Kind.TIME:
            return ()
        case _:
            return (to.arrow,)


def _is_strict(given: pa.DataType, to: Kind) -> bool:
    """Return whether Arrow's cast between two different types refuses what does not fit."""
    return any(is_one(given) for is_one in _STRICT.get(to, ()))


def _may_go_wrong(column: pa.Array, to: DataType) -> bool:
    """Return whether Arrow might take a text that the rules refuse, or more digits than it can hold."""
    if to.kind is Kind.DECIMAL and _digits_to_scale(column, to.scale) > DECIMAL_DIGITS_MAX:
        return True  # scaled up in 128 bits, they overflow without a word, into some other number
    return bool(pa.types.is_string(column.type)) and _holds_any(column, _LAX_BYTES.get(to.kind, b""))


def _digits_to_scale(column: pa.Array, scale: int) -> int:
    """Return the most digits that a value may have once it is given `scale` places."""
    if pa.types.is_string(column.type):
        longest = pc.max(pc.binary_length(column)).as_py()
        return int(longest or 0) + scale
    if pa.types.is_decimal(column.type):
        precision, places = int(column.type.precision), int(column.type.scale)
        return precision + max(0, scale - places)
    return 0


def _holds_any(column: pa.Array, wanted: bytes) -> bool:
    """Return whether some text of a string column holds one of the ASCII letters `wanted`."""
    _, offsets, data = column.buffers()
    if not wanted or data is None or len(column) == 0:
        return False
    places = memoryview(offsets).cast("B").cast("i")
    content = memoryview(data)[places[column.offset] : places[column.offset + len(column)]].tobytes()
    return any(content.find(letter) >= 0 for letter in wanted)


def _in_bounds_only(column: pa.Array, kind: Kind) -> pa.Array:
    """Return `column` itself where every value lies in its type's bounds, else with null for those that do not."""
    if kind in _FLOATS:
        inside = pc.is_finite(column)
    elif kind in _BOUNDS:
        stored, low, high = _BOUNDS[kind]
        count = column.view(stored)
        inside = pc.and_(pc.greater_equal(count, pa.scalar(low, stored)), pc.less_equal(count, pa.scalar(high, stored)))
    else:
        return column
    return column if pc.all(inside).as_py() is not False else pc.if_else(inside, column, pa.scalar(None, column.type))


def _only_json(texts: pa.Array) -> pa.Array:
    decoder = msgspec.json.Decoder()

    def kept(text: str | None) -> str | None:
        try:
            decoder.decode(text or "")
        except msgspec.MsgspecError:
            return None
        return text

    return pa.array([kept(text) for text in texts.to_pylist()], pa.string())


def _text_of(given: pa.DataType) -> str:
    """Return SQL for the text that a value of type `given` reads as."""
    types = pa.types
    if types.is_string(given):
        return _VALUE
    if types.is_binary(given) or types.is_large_binary(given) or types.is_fixed_size_binary(given):
        return f"TRY(decode({_VALUE}))"
    if types.is_nested(given):
        return f"CAST(to_json({_VALUE}) AS VARCHAR)"
    return f"CAST({_VALUE} AS VARCHAR)"


def _when(pattern: str, then: str) -> str:
    """Return SQL for `then` where the whole text, but for blanks around it, matches `pattern`; null elsewhere."""
    whole = literal(rf"\s*(?:{pattern})\s*")
    return f"CASE WHEN regexp_full_match({_TEXT}, {whole}) THEN {then} END"


def _number(pattern: str, to: DataType) -> str:
    return _when(rf"[+-]?(?:{pattern})", f"TRY_CAST({_TEXT} AS {to.sql})")


def _integer(to: DataType) -> str:
    return _number(r"\d+(?:\.0*)?", to)


def _decimal(to: DataType) -> str:
    without_whole_part = rf"\.\d{{1,{to.scale}}}0*" if to.scale else r"\.0+"
    return _number(rf"\d+(?:\.\d{{0,{to.scale}}}0*)?|{without_whole_part}", to)


def _float(to: DataType) -> str:
    return _number(r"(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", to)


def _same_float(to: DataType, given: pa.DataType) -> str:
    """Return SQL for the float as an exact number where that reads back as the same float."""
    name = "FLOAT" if pa.types.is_float32(given) else "DOUBLE"
    exact = f"TRY_CAST({_VALUE} AS {to.sql})"
    return f"CASE WHEN CAST({exact} AS {name}) = {_VALUE} THEN {exact} END"


def _boolean(_to: DataType) -> str:
    return f"coalesce({_when('(?i:true|t|yes|y|1)', 'TRUE')}, {_when('(?i:false|f|no|n|0)', 'FALSE')})"


_DATE_PATTERN = r"\d{4}-\d{2}-\d{2}"
_TIME_PATTERN = r"(?:[01]\d|2[0-3]):[0-5]\d(?::[0-5]\d(?:\.\d{0,6}0*)?)?"
_HOUR_PATTERN = r"(?:[01]\d|2[0-3])"
_ZONE_PATTERN = r"[Zz]|[+-](?:[01]\d|2[0-3])(?::?[0-5]\d)?"
_TIMESTAMP_PATTERN = rf"({_DATE_PATTERN})(?:[Tt ]({_TIME_PATTERN}|{_HOUR_PATTERN})\s*({_ZONE_PATTERN})?)?"


def _date(_to: DataType) -> str:
    pattern = rf"{_DATE_PATTERN}(?:[Tt ]00:00(?::00(?:\.0*)?)?)?"
    found = f"TRY_CAST(regexp_extract({_TEXT}, {literal(_DATE_PATTERN)}) AS DATE)"
    return _when(pattern, found)


def _time(to: DataType) -> str:
    found = f"TRY_CAST(regexp_extract({_TEXT}, {literal(_TIME_PATTERN)}) AS {to.sql})"
    return _when(_TIME_PATTERN, found)


def _timestamp(_to: DataType) -> str:
    """Cast to the instant in UTC; the caller drops the zone where the column has none."""
    pattern = literal(rf"\s*{_TIMESTAMP_PATTERN}")
    day, clock, zone = (f"regexp_extract({_TEXT}, {pattern}, {group})" for group in (1, 2, 3))
    written = (
        f"{day} || ' ' || CASE length({clock}) WHEN 0 THEN '00:00' WHEN 2 THEN {clock} || ':00' ELSE {clock} END"
        f" || CASE upper({zone}) WHEN '' THEN '+00' WHEN 'Z' THEN '+00' ELSE {zone} END"
    )
    return _when(_TIMESTAMP_PATTERN, f"TRY_CAST({written} AS TIMESTAMPTZ)")


def _uuid(_to: DataType) -> str:
    digits = r"[0-9a-fA-F]{8}-?(?:[0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}"
    found = f"TRY_CAST(regexp_extract({_TEXT}, {literal(digits)}) AS UUID)"
    return _when(rf"{digits}|\{{{digits}\}}", f"CAST({found} AS VARCHAR)")


def _bytes(_to: DataType) -> str:
    digits = f"regexp_extract({_TEXT}, {literal(r'x([0-9a-fA-F]*)')}, 1)"
    return _when(r"\\x(?:[0-9a-fA-F]{2})*", f"unhex({digits})")


def _any_text(_to: DataType) -> str:
    return _TEXT


_RULES: Mapping[Kind, Callable[[DataType], str]] = MappingProxyType(
    {
        Kind.BOOLEAN: _boolean,
        Kind.SMALLINT: _integer,
        Kind.INTEGER: _integer,
        Kind.BIGINT: _integer,
        Kind.DECIMAL: _decimal,
        Kind.REAL: _float,
        Kind.DOUBLE: _float,
        Kind.TEXT: _any_text,
        Kind.BYTES: _bytes,
        Kind.DATE: _date,
        Kind.TIME: _time,
        Kind.TIMESTAMP: _timestamp,
        Kind.TIMESTAMPTZ: _timestamp,
        Kind.UUID: _uuid,
    }
)
"""SQL over the text of a value, null where it is refused."""
