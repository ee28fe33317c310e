"""Single values as documents write them, read into what they mean, or refused in words a person understands.

Every alias below is a type for a key in `kinds`: it carries its reader and, for editors, its JSON Schema.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, TypeAlias
from urllib.parse import urlsplit

import msgspec
from pydantic import (
    AfterValidator,
    BeforeValidator,
    PlainValidator,
    Strict,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic_core import InitErrorDetails, PydanticCustomError, core_schema

from penstock.documents import codes
from penstock.errors import UserMistake
from penstock.model.quantity import (
    Amount,
    Continuous,
    Deadline,
    Delay,
    Every,
    NotAQuantity,
    Period,
    Rate,
    Share,
    parse_frequency,
    parse_latency,
    parse_limit,
    parse_period,
    parse_rate,
)
from penstock.model.schema import DataType, Kind, UnknownType, parse_type
from penstock.model.settings import SETTINGS, Setting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from enum import StrEnum

    from penstock.model.finding import FindingKind

NAME_CHARACTERS_MAX = 255
"""What every warehouse we know of can still store as an identifier (Snowflake and BigQuery allow most)."""

QUANTITY_CHARACTERS_MAX = 100
"""Nothing that reads as a quantity, a type or a word to choose is longer; the patterns that read them can be slow."""

Scalar: TypeAlias = bool | int | Decimal | str | None
"""A single value: what a test puts in, what a lookup falls back to. Numbers with a point stay exact."""


class Refused(ValueError):
    """A value cannot be what its key wants. Becomes a finding of `kind` at the value, or at `path` below it."""

    def __init__(self, kind: FindingKind, message: str, *, remedy: str = "", path: tuple[str | int, ...] = ()) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.remedy = remedy or kind.remedy
        self.path = path


def nearest(word: str, words: Iterable[str], *, likeness: float = 0.6) -> str:
    """Return the one of `words` that `word` is probably a slip of, or nothing. `likeness` in [0, 1] is difflib's."""
    by_lower = {candidate.lower(): candidate for candidate in words}
    if len(word) > QUANTITY_CHARACTERS_MAX:
        return ""
    found = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=likeness)
    return by_lower[found[0]] if found else ""


def shown(value: object) -> str:
    """Return `value` as a short piece of a sentence."""
    match value:
        case None:
            return "nothing"
        case bool():
            return f"`{str(value).lower()}`"
        case dict():
            return "a mapping of keys"
        case list() | tuple():
            return "a list"
        case _:
            text = " ".join(str(value).split())
            return f"`{text if len(text) <= 60 else text[:57] + '...'}`"  # noqa: PLR2004 - fits a terminal's line


# --- text and names -----------------------------------------------------------------------------------------------


def _name(text: str) -> str:
    if len(text) > NAME_CHARACTERS_MAX:
        raise Refused(codes.NOT_A_NAME, f"a name of {len(text)} characters; {NAME_CHARACTERS_MAX} are the most")
    if not text.isprintable() or any(character in text for character in '/\\"`'):
        raise Refused(codes.NOT_A_NAME, f"{shown(text)} holds a slash, a quote or a character that does not print")
    if text in {".", ".."}:
        raise Refused(codes.NOT_A_NAME, f"{shown(text)} means a folder")
    return text


def _pipeline_name(text: str) -> str:
    if re.fullmatch(r"\w[\w.-]{0,99}", text) is None:
        raise Refused(
            codes.NOT_A_NAME,
            f"{shown(text)} cannot name a pipeline",
            remedy="use letters, digits, `_`, `-` and `.`, at most 100, a letter or digit first",
        )
    return text


def _url(text: str) -> str:
    try:
        parts = urlsplit(text)
        host, secret = parts.hostname, parts.password
    except ValueError:
        host = secret = None
        parts = urlsplit("")
    if parts.scheme not in {"http", "https"} or not host:
        raise Refused(
            codes.WRONG_SHAPE, f"{shown(text)} is not a URL", remedy="write it like `https://api.example.com`"
        )
    if secret is not None:
        raise Refused(codes.A_SECRET, "a password stands in the URL", remedy="take it out; say how under `auth`")
    return text


def _split(text: str, separators: str) -> list[str]:
    return [part.strip() for part in re.split(separators, text)]


def _one_or_more(value: object) -> object:
    return [value] if isinstance(value, str) else value


def filled(value: object) -> object:
    """Refuse an empty list. Counted before its entries are read, so that a wrong entry does not look like none."""
    if value in ([], ()):
        raise Refused(codes.EMPTY, "the list is empty", remedy="name at least one, or take the key out")
    return value


def _grain(value: object) -> object:
    return _split(value, r"[+,]") if isinstance(value, str) else value


def _delimiter(value: object) -> str:
    if not isinstance(value, str) or len(value) != 1 or value in '"\r\n':
        raise Refused(
            codes.WRONG_SHAPE,
            f"{shown(value)} is not a delimiter",
            remedy='give one character in quotes, such as "," or "\\t"',
        )
    return value


_TEXT = StringConstraints(strict=True, strip_whitespace=True, min_length=1)

Text: TypeAlias = Annotated[str, _TEXT]
Name: TypeAlias = Annotated[str, _TEXT, AfterValidator(_name)]
PipelineName: TypeAlias = Annotated[str, _TEXT, AfterValidator(_pipeline_name)]
Url: TypeAlias = Annotated[str, _TEXT, AfterValidator(_url)]
ExactText: TypeAlias = Annotated[str, Strict()]
"""Text in which blanks count and which may be empty."""
Delimiter: TypeAlias = Annotated[
    str, PlainValidator(_delimiter), WithJsonSchema({"type": "string", "minLength": 1, "maxLength": 1})
]
_NAMES_SCHEMA = {
    "anyOf": [{"type": "string", "minLength": 1}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]
}
Names: TypeAlias = Annotated[
    tuple[Name, ...], BeforeValidator(filled), BeforeValidator(_one_or_more), WithJsonSchema(_NAMES_SCHEMA)
]
"""A list of names; a single one may stand without the list."""
Grain: TypeAlias = Annotated[
    tuple[Name, ...], BeforeValidator(filled), BeforeValidator(_grain), WithJsonSchema(_NAMES_SCHEMA)
]
"""The columns that name a row: "date + store_id", or a list."""


class Reference(msgspec.Struct, frozen=True):
    """A column of another table: "customers.id". `schema` is empty where only table and column are named."""

    table: str
    column: str
    schema: str = ""

    def __str__(self) -> str:
        return ".".join(part for part in (self.schema, self.table, self.column) if part)


def _reference(value: object) -> Reference:
    parts = [part.strip() for part in value.split(".")] if isinstance(value, str) else []
    if not 2 <= len(parts) <= 3 or not all(parts):  # noqa: PLR2004 - [schema.]table.column
        raise Refused(
            codes.WRONG_SHAPE, f"{shown(value)} names no column of a table", remedy="write it like `customers.id`"
        )
    schema, table, column = ["", *parts][-3:]
    return Reference(_name(table), _name(column), _name(schema) if schema else "")


ForeignKey: TypeAlias = Annotated[
    Reference, PlainValidator(_reference), WithJsonSchema({"type": "string", "examples": ["customers.id"]})
]


# --- numbers and scalars ------------------------------------------------------------------------------------------


def _whole(value: object) -> int:
    """Read a count; `10_000_000` and `10,000,000` are text in YAML 1.2 and still what a person means."""
    if isinstance(value, str) and re.fullmatch(r"\d{1,3}(?:[_,]\d{3})+|\d{1,18}", value.strip()):
        return int(re.sub("[_,]", "", value))
    if isinstance(value, Decimal) and -(10**18) < value < 10**18 and value == int(value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise Refused(codes.WRONG_SHAPE, f"takes a whole number, not {shown(value)}", remedy="write it like `50000`")
    if not 0 <= value < 2**63:
        raise Refused(codes.OUT_OF_RANGE, f"{shown(value)} is not a count")
    return value


def _between(low: float, high: float, *, above_low: bool = False) -> Callable[[object], float]:
    """Return a reader of numbers from `low` to `high`; `above_low` leaves `low` itself out."""

    def read(value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | Decimal):
            raise Refused(codes.WRONG_SHAPE, f"takes a number, not {shown(value)}", remedy="write it without quotes")
        if not low <= value <= high or (above_low and value == low):
            start = f"more than {low:g}" if above_low else f"{low:g}"
            raise Refused(codes.OUT_OF_RANGE, f"{shown(value)} does not lie between {start} and {high:g}")
        return float(value)

    return read


def _scalar(value: object) -> Scalar:
    if value is None or isinstance(value, bool | int | Decimal | str):
        return value
    raise Refused(
        codes.WRONG_SHAPE,
        f"takes a single value, not {shown(value)}",
        remedy="write a text, a number, true, false or null",
    )


def _option(value: object) -> str:
    match _scalar(value):
        case None:
            raise Refused(codes.EMPTY, "an option without a value")
        case bool() as switch:
            return str(switch).lower()
        case scalar:
            return str(scalar)


_COUNT_SCHEMA = {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": "^[0-9_,]+$"}]}
Count: TypeAlias = Annotated[int, PlainValidator(_whole), WithJsonSchema(_COUNT_SCHEMA)]
Score: TypeAlias = Annotated[
    float, PlainValidator(_between(0, 1)), WithJsonSchema({"type": "number", "minimum": 0, "maximum": 1})
]
WEIGHT_MAX = 1_000_000
"""Beyond it a rule of weight 1 no longer shows in a score."""
Weight: TypeAlias = Annotated[
    float,
    PlainValidator(_between(0, WEIGHT_MAX, above_low=True)),
    WithJsonSchema({"type": "number", "exclusiveMinimum": 0, "maximum": WEIGHT_MAX}),
]
Switch: TypeAlias = Annotated[bool, Strict()]
ScalarValue: TypeAlias = Annotated[
    Scalar, PlainValidator(_scalar), WithJsonSchema({"type": ["string", "number", "boolean", "null"]})
]
Option: TypeAlias = Annotated[str, PlainValidator(_option), WithJsonSchema({"type": ["string", "number", "boolean"]})]


def _settings(value: object) -> dict[str, float]:
    """Read every setting by its own range, and refuse all that are wrong at once."""
    if not isinstance(value, dict):
        raise Refused(codes.WRONG_SHAPE, f"takes settings by name, not {shown(value)}", remedy="see docs/settings.md")
    if len(value) > 2 * len(SETTINGS):
        raise Refused(codes.NOT_A_SETTING, f"{len(value):,} settings; there are {len(SETTINGS)}")
    read: dict[str, float] = {}
    refused: list[InitErrorDetails] = []
    for name, given in value.items():
        try:
            read[name] = _setting(name, given)
        except Refused as reason:
            error = PydanticCustomError("value_error", "refused", {"error": reason})
            refused.append(InitErrorDetails(type=error, loc=(name,), input=given))
    if refused:
        raise ValidationError.from_exception_data("settings", refused)
    return read


def _setting(name: str, value: object) -> float:
    if name not in SETTINGS:
        near = nearest(name, SETTINGS)
        raise Refused(
            codes.NOT_A_SETTING, f"no setting is called `{name}`", remedy=f"did you mean `{near}`?" if near else ""
        )
    setting = SETTINGS[name]
    refused = dict | list | None if setting.is_switch else dict | list | bool | None
    if isinstance(value, refused) or len(str(value)) > QUANTITY_CHARACTERS_MAX:
        wanted = "true or false" if setting.is_switch else "a number"
        raise Refused(codes.WRONG_SHAPE, f"takes {wanted}, not {shown(value)}", remedy="see docs/settings.md")
    try:
        return setting.read(value)
    except UserMistake as mistake:
        raise Refused(codes.OUT_OF_RANGE, mistake.message, remedy=mistake.remedy) from None


def _setting_schema(setting: Setting) -> dict[str, object]:
    about = {"default": setting.default, "description": setting.what}
    if setting.is_switch:
        return {"type": "boolean", **about}
    kind = "integer" if setting.is_whole else "number"
    return {"type": kind, "minimum": setting.low, "maximum": setting.high, **about}


SettingsValue: TypeAlias = Annotated[
    dict[str, float],
    PlainValidator(_settings),
    WithJsonSchema(
        {
            "type": "object",
            "properties": {name: _setting_schema(setting) for name, setting in SETTINGS.items()},
            "additionalProperties": False,
        }
    ),
]


# --- choices ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OneOf:
    """Reads one of `words`, upper or lower case, and knows what a slip of the pen meant."""

    words: type[StrEnum]

    def read(self, value: object) -> StrEnum:
        """Return the word that `value` is; Refused where it is none."""
        if not isinstance(value, str):
            raise Refused(codes.NOT_A_CHOICE, f"{shown(value)} is not one of {self._every()}")
        for word in self.words:
            if value.strip().lower() == word.value.lower():
                return word
        near = nearest(value, [word.value for word in self.words])
        raise Refused(
            codes.NOT_A_CHOICE,
            f"{shown(value)} is not one of {self._every()}",
            remedy=f"did you mean `{near}`?" if near else "",
        )

    def _every(self) -> str:
        return ", ".join(word.value for word in self.words)

    def __get_pydantic_core_schema__(self, _source: object, _handler: object) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(self.read)

    def __get_pydantic_json_schema__(self, _schema: object, _handler: object) -> dict[str, object]:
        return {"type": "string", "enum": [word.value for word in self.words]}


# --- quantities and types -----------------------------------------------------------------------------------------


def _quantity(parse: Callable[[str], object]) -> PlainValidator:
    def read(value: object) -> object:
        if not isinstance(value, str) or len(value) > QUANTITY_CHARACTERS_MAX:
            return _reject(parse, value)
        try:
            return parse(value)
        except NotAQuantity as reason:
            raise Refused(codes.NOT_A_QUANTITY, str(reason)) from None

    return PlainValidator(read)


def _reject(parse: Callable[[str], object], value: object) -> object:
    """Say for a number, a list, a mapping or an essay what `parse` would have said for a text."""
    try:
        parse("")
    except NotAQuantity as reason:
        raise Refused(codes.NOT_A_QUANTITY, str(reason).replace("``", shown(value), 1)) from None
    raise Refused(codes.NOT_A_QUANTITY, f"{shown(value)} is not a text")


def _limit(value: object) -> Share | Amount:
    if isinstance(value, bool) or not isinstance(value, int | str) or len(str(value)) > QUANTITY_CHARACTERS_MAX:
        raise Refused(codes.NOT_A_QUANTITY, f"{shown(value)} is not a count such as `100` or a share such as `1%`")
    try:
        return parse_limit(value)
    except NotAQuantity as reason:
        raise Refused(codes.NOT_A_QUANTITY, str(reason)) from None


def _quoted(*examples: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "examples": list(examples)})


RateValue: TypeAlias = Annotated[Rate, _quantity(parse_rate), _quoted("100 rows/second", "100 requests/minute")]
PeriodValue: TypeAlias = Annotated[Period, _quantity(parse_period), _quoted("3 years", "last 90 days")]
LatencyValue: TypeAlias = Annotated[
    Delay | Deadline, _quantity(parse_latency), _quoted("< 1 minute delay", "available by 06:00 UTC")
]
FrequencyValue: TypeAlias = Annotated[
    Every | Continuous, _quantity(parse_frequency), _quoted("every 15 minutes", "once daily", "continuous")
]
LimitValue: TypeAlias = Annotated[
    Share | Amount,
    PlainValidator(_limit),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "examples": ["1%"]}]}),
]


def _type(value: object, info: ValidationInfo) -> DataType:
    """Read a type's name. `values` of the same column stands before `type` in its model, and is known here."""
    if not isinstance(value, str) or len(value) > QUANTITY_CHARACTERS_MAX:
        raise Refused(codes.NOT_A_TYPE, f"{shown(value)} is not a type", remedy="write it like `bigint`")
    values: tuple[str, ...] = info.data.get("values", ())
    if value.count("(") > value.count(")"):
        raise Refused(
            codes.NOT_A_TYPE,
            f"{shown(value)} lacks its closing bracket",
            remedy='between { and }, write it in quotes: "numeric(10,2)"',
        )
    try:
        read = parse_type(value, values)
    except UnknownType as reason:
        hint = f"did you mean `{reason.suggestion}`?" if reason.suggestion else ""
        raise Refused(codes.NOT_A_TYPE, str(reason), remedy=hint) from None
    if values and read.kind is not Kind.TEXT:
        message = f"`values` lists texts, but the type is {read}"
        raise Refused(codes.NOT_TOGETHER, message, remedy="make the type `enum`")
    return read


TypeValue: TypeAlias = Annotated[
    DataType, PlainValidator(_type), _quoted("bigint", "numeric(10,2)", "timestamp", "enum")
]
