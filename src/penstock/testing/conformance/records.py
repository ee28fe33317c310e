"""The records that suites are run with: orders by number, and values of every type that are hard to keep."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import pyarrow as pa

from penstock.expressions import quote
from penstock.model.batch import RESERVED_FIELDS, Op
from penstock.model.pipeline import Column, Model, Rule, RuleKind, WriteMode
from penstock.model.position import Mark, Position
from penstock.model.schema import Field, Kind, arrow_schema, parse_type
from penstock.ports import Hard
from penstock.testing.conformance.harness import CURSOR, HERE, KEY, TABLE, SinkHarness

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from penstock.model.schema import DataType

BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)
"""When record 0 changed; record n did so n seconds later."""


def fields_of(**columns: str) -> tuple[Field, ...]:
    """Return fields by name and type, of which KEY is never null."""
    return tuple(Field(name, parse_type(of_type), nullable=name != KEY) for name, of_type in columns.items())


ORDERS = fields_of(**{KEY: "bigint", "name": "text", CURSOR: "timestamptz"})
"""The fields of the plain table."""


def name_of(number: int) -> str:
    """Return the name of a plain record."""
    return f"order {number}"


def orders(numbers: Iterable[int], *, name: str = "order {}", at_s: int | None = None) -> pa.Table:
    """Return plain records by number, all changed at the same second where `at_s` is given."""
    ids = list(numbers)
    changed = [BEGINNING + timedelta(seconds=number if at_s is None else at_s) for number in ids]
    return pa.table([ids, [name.format(number) for number in ids], changed], schema=arrow_schema(ORDERS))


# --- every type ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Case:
    """Values of one type that must come out as they went in; `hard` where not everything outside can hold them."""

    name: str
    type: DataType
    values: tuple[object, ...]
    hard: Hard | None = None

    @property
    def fields(self) -> tuple[Field, ...]:
        """A key, and the values."""
        return (*fields_of(**{KEY: "bigint"}), Field("value", self.type), *fields_of(**{CURSOR: "timestamptz"}))

    @property
    def column(self) -> pa.Array:
        """The values, then a null."""
        return pa.array([*self.values, None], self.type.arrow)

    @property
    def rows(self) -> pa.Table:
        """The table of `fields`."""
        count = len(self.values) + 1
        changed = [BEGINNING + timedelta(seconds=number) for number in range(count)]
        return pa.table([list(range(count)), self.column, changed], schema=arrow_schema(self.fields))


def _case(name: str, of_type: str, *values: object, hard: Hard | None = None) -> Case:
    return Case(name, parse_type(of_type), values, hard)


def _day(year: int, month: int, day: int, at: time = time(0)) -> datetime:
    return datetime.combine(date(year, month, day), at, UTC)


_FIRST, _LAST = date(1, 1, 1), date(9999, 12, 31)
_MIDNIGHT, _LAST_MOMENT = time(0), time(23, 59, 59, 999_999)
CASES: tuple[Case, ...] = (
    _case("boolean", "boolean", True, False),
    _case("smallint", "smallint", 0, -(2**15), 2**15 - 1),
    _case("integer", "integer", 0, -(2**31), 2**31 - 1),
    _case("bigint", "bigint", 0, -(2**63), 2**63 - 1, 2**53 + 1),
    _case("decimal", "decimal(12,2)", Decimal("0.00"), Decimal("-0.01"), Decimal("9999999999.99"), Decimal("12.50")),
    _case("long decimal", "decimal(18,6)", Decimal("123456789012.345678"), Decimal("-0.000001")),
    _case("widest integer", "decimal(38,0)", Decimal(10**38 - 1), Decimal(1 - 10**38), hard=Hard.WIDE_DECIMAL),
    _case("widest fraction", "decimal(38,38)", Decimal("0." + "9" * 38), Decimal("-1e-38"), hard=Hard.WIDE_DECIMAL),
    _case("widest money", "decimal(38,9)", Decimal("12345678901234567890123456789.123456789"), hard=Hard.WIDE_DECIMAL),
    _case("real", "real", 0.0, 1.5, -0.10000000149011612, 3.4028234663852886e38, 1.1754943508222875e-38),
    _case("double", "double", 0.0, 0.1, 1.7976931348623157e308, 2.2250738585072014e-308, 5e-324, 9007199254740993.0),
    _case("text", "text", "plain", " blanks around ", "null", "NULL", "\\N", "0", "a\tb", 'say "so"', "a,b;c|d"),
    _case("escapes", "text", "\\", "\\n", "%s %(a)s {} ${A}", "'; DROP TABLE orders; --", "<a>&amp;</a>", "$$"),
    _case("control characters", "text", "\x01", "\x1b[0m", "\x7f"),
    _case("unicode", "text", "ü", "u\u0308", "e\u0301\u0323", "日本語", "עברית\u200f", "\ufeffmark", "ﬃ\u200d", "İıß"),
    _case("astral", "text", "😀", "👩\u200d👩\u200d👧", "\U0001d518\U0001d52b", "\U0010fffd", "a\U0001f1e9\U0001f1eab"),
    _case("long text", "text", "x" * 100_000, "ü" * 50_000),
    _case("bounded text", "varchar(5)", "12345", "😀" * 5),
    _case("empty text", "text", "", "not empty", hard=Hard.EMPTY_TEXT),
    _case("line breaks", "text", "a\nb", "a\r\nb", "a\rb", "\n", "a\u2028b\u2029c\u0085d\x0be", hard=Hard.LINE_BREAKS),
    _case("NUL", "text", "a\x00b", "\x00", hard=Hard.NUL_CHARACTER),
    _case("bytes", "bytea", b"bytes", bytes(range(256)), b"\x00", b"\xff\xfe", b"\\x00", b"", hard=Hard.BYTES),
    _case("date", "date", date(1970, 1, 1), date(2024, 2, 29), date(1969, 12, 31), date(1900, 3, 1)),
    _case("far dates", "date", _FIRST, _LAST, hard=Hard.FAR_DATES),
    _case("time", "time", _MIDNIGHT, _LAST_MOMENT, time(12, 34, 56)),
    _case("timestamp", "timestamp", datetime(1970, 1, 1), datetime(2024, 2, 29, 23, 59, 59, 999_999)),  # noqa: DTZ001 - without a zone
    _case("far timestamps", "timestamp", datetime.combine(_FIRST, _MIDNIGHT), datetime.combine(_LAST, _LAST_MOMENT),
          hard=Hard.FAR_DATES),
    _case("timestamptz", "timestamptz", _day(1970, 1, 1), _day(2024, 2, 29, time(23, 59, 59, 999_999)),
          _day(2026, 3, 29, time(1, 30)), _day(1969, 12, 31, time(23, 59, 59, 1))),
    _case("far timestamptz", "timestamptz", datetime.combine(_FIRST, _MIDNIGHT, UTC),
          datetime.combine(_LAST, _LAST_MOMENT, UTC), hard=Hard.FAR_DATES),
    _case("uuid", "uuid", "00000000-0000-0000-0000-000000000000", "f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
          "ffffffff-ffff-ffff-ffff-ffffffffffff"),
    _case("json", "json", '{"a": 1}', "[]", '"text"', "12", "true", '{"": {}, "ü": "😀", "e": "\\u00e9\\n"}'),
    _case("nested json", "json", '{"a": [1, 2.50, null, {"b": [[], {}]}], "c": {"d": {"e": "f"}}}',
          "[12345678901234567890, 1.10, -0.5]"),
)  # fmt: skip
"""What a value can be. A null is added to every one of them."""


def told(values: Sequence[object], case: Case) -> list[object]:
    """Return values to be compared: JSON by what it says, with every digit, the rest as it is."""
    if case.type.kind is not Kind.JSON:
        return list(values)
    return [json.loads(value, parse_float=Decimal) if isinstance(value, str) else value for value in values]


# --- what sinks are given -----------------------------------------------------------------------------------------


def model_of(
    columns: Mapping[str, str],
    *,
    name: str = TABLE,
    mode: WriteMode = WriteMode.APPEND,
    version_by: str = "",
    unique: Sequence[tuple[str, ...]] = (),
    not_null: Sequence[str] = (),
) -> Model:
    """Return a model with these columns by name and type. It merges by KEY."""
    made = tuple(
        Column(column, parse_type(of_type), quote(column), nullable=column not in not_null)
        for column, of_type in columns.items()
    )
    rules = tuple(unique_rule(*key) for key in unique)
    return Model(
        name, SinkHarness.SCHEMA, TABLE, (KEY,), made, HERE, write_mode=mode, version_by=version_by, rules=rules
    )


def unique_rule(*columns: str) -> Rule:
    """Return the rule that no two rows are the same in `columns`."""
    return Rule(f"unique {columns}", f"no duplicate {' + '.join(columns)}", RuleKind.UNIQUE, columns, HERE)


def rows_of(
    model: Model, *rows: Sequence[object], first: int = 0, ops: Sequence[Op] = (), versions: Sequence[int] = ()
) -> pa.Table:
    """Return rows as delivery hands them over, from sequence `first` on; their versions are their sequences."""
    schema = arrow_schema(model.fields, *RESERVED_FIELDS)
    numbers = range(first, first + len(rows))
    reserved = (numbers, ops or [Op.INSERT] * len(rows), [None] * len(rows), versions or numbers)
    columns = [*(zip(*rows, strict=True) if rows else [()] * len(model.fields)), *reserved]
    arrays = [pa.array(map(_plain, column), field.type) for column, field in zip(columns, schema, strict=True)]
    return pa.table(arrays, schema=schema)


def mark_at(sequence: int, partition: str = "p") -> Mark:
    """Return the mark that everything below `sequence` is settled."""
    return Mark(TABLE, partition, sequence, Position(partition, sequence, f"at {sequence}, ü"))


def _plain(value: object) -> object:
    return int(value) if isinstance(value, Op) else value
