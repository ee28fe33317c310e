"""What a value may look like, type by type: the same alone in its chunk and among others that need a closer look."""

from __future__ import annotations

import datetime as dt
import math
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.ingestion.validation import Validated, Validator
from penstock.model.finding import Place
from penstock.model.pipeline import Connection, SourceTable
from penstock.model.position import Position
from penstock.model.schema import Field, parse_type
from penstock.model.settings import Settings
from penstock.ports import Chunk, Original

if TYPE_CHECKING:
    from collections.abc import Sequence

REFUSED = object()
UTC = dt.UTC
at = dt.datetime.fromisoformat


@cache
def validator(type_name: str) -> Validator:
    fields = (Field("value", parse_type(type_name)),)
    return Validator(SourceTable("things", "", "", Connection("here"), fields, Place("doc.md")), Settings())


def validate(type_name: str, column: pa.Array) -> Validated:
    chunk = Chunk(
        start=0,
        end=len(column),
        records=pa.record_batch({"value": column}),
        sequences=None,
        bad=(),
        next=Position("things.csv", len(column), ""),
        originals=lambda sequences: [Original(b"", sequence + 2) for sequence in sequences],
        size_bytes=0,
    )
    return validator(type_name).validate(chunk, 0)


def outcomes(type_name: str, column: pa.Array) -> list[object]:
    """The value that each record came to, or REFUSED."""
    validated = validate(type_name, column)
    found: list[object] = [REFUSED] * len(column)
    values = validated.batch.column("value").to_pylist()
    for sequence, value in zip(validated.batch.column("_sequence").to_pylist(), values, strict=True):
        found[sequence] = value
    refused = [sequence for sequence, value in enumerate(found) if value is REFUSED]
    assert [letter.sequence for letter in validated.letters] == refused
    return found


def texts(values: Sequence[str | None]) -> pa.Array:
    return pa.array(values, pa.string())


CASES: dict[str, dict[str, object]] = {
    "integer": {
        "5": 5, "+5": 5, "-5": -5, " 5 ": 5, "\t5\n": 5, "007": 7, "-0": 0, "5.0": 5, "5.": 5, "5.000": 5,
        "2147483647": 2147483647, "-2147483648": -2147483648, "0" * 40 + "5": 5,
        "2147483648": REFUSED, "12.7": REFUSED, "5.5": REFUSED, "1_000": REFUSED, "1,000": REFUSED, "0x1F": REFUSED,
        "0X1f": REFUSED, "0b11": REFUSED, "1e3": REFUSED, "1E3": REFUSED, "1e-1": REFUSED, "": REFUSED, " ": REFUSED,
        "+": REFUSED, "- 5": REFUSED, "--5": REFUSED, ".": REFUSED, "٣": REFUSED, "5\x00": REFUSED, "five": REFUSED,
        "nan": REFUSED, "true": REFUSED, ".0": REFUSED,
    },
    "smallint": {"32767": 32767, "32768": REFUSED, "-32768": -32768, "-32769": REFUSED},
    "bigint": {
        "9223372036854775807": 9223372036854775807, "9223372036854775807.00": 9223372036854775807,
        "9223372036854775808": REFUSED, "9007199254740993": 9007199254740993, "9007199254740993.0": 9007199254740993,
    },
    "decimal(10,2)": {
        "1.50": Decimal("1.50"), "1.5": Decimal("1.50"), "1.500": Decimal("1.50"), "1.5" + "0" * 60: Decimal("1.50"),
        "7": Decimal("7.00"), "7.": Decimal("7.00"), ".5": Decimal("0.50"), "-.5": Decimal("-0.50"),
        "+1.5": Decimal("1.50"), " 1.5 ": Decimal("1.50"), "-0.00": Decimal("0.00"), "00012.50": Decimal("12.50"),
        "99999999.99": Decimal("99999999.99"), "-99999999.99": Decimal("-99999999.99"),
        "100000000.00": REFUSED, "1.239": REFUSED, "1.001": REFUSED, "0.005": REFUSED, "99999999.995": REFUSED,
        "1e2": REFUSED, "1E2": REFUSED, "1.5e0": REFUSED, "1_0.5": REFUSED, "1,5": REFUSED, "nan": REFUSED,
        "inf": REFUSED, "": REFUSED, ".": REFUSED, "1.2.3": REFUSED, "--1": REFUSED, "0x1": REFUSED, "$5": REFUSED,
    },
    "decimal(5,0)": {"5.0": Decimal(5), "5.": Decimal(5), ".0": Decimal(0), "5.1": REFUSED, "100000": REFUSED},
    "decimal(38,0)": {"9" * 38: Decimal("9" * 38), "-" + "9" * 38: Decimal("-" + "9" * 38), "9" * 39: REFUSED},
    "decimal(38,10)": {
        "1234567890123456789012345678.0123456789": Decimal("1234567890123456789012345678.0123456789"),
        "1234567890123456789012345678.01234567891": REFUSED, "9" * 28: Decimal("9" * 28), "9" * 29: REFUSED,
        "9" * 37: REFUSED, "9" * 38: REFUSED, "9" * 60: REFUSED, "0." + "1" * 38: REFUSED, "0" * 40 + "1": Decimal(1),
    },
    "double precision": {
        "1.5": 1.5, "+1.5": 1.5, " 1.5 ": 1.5, ".5": 0.5, "5.": 5.0, "1e3": 1000.0, "1E-3": 0.001, "-1.5e+3": -1500.0,
        "0.1": 0.1, "1e-400": 0.0, "1.7976931348623157e308": 1.7976931348623157e308,
        "nan": REFUSED, "NaN": REFUSED, "-nan": REFUSED, "inf": REFUSED, "Infinity": REFUSED, "-inf": REFUSED,
        "1e400": REFUSED, "1_0": REFUSED, "0x1p3": REFUSED, "1.5f": REFUSED, "1e": REFUSED, "": REFUSED, "1d5": REFUSED,
    },
    "real": {"1.5": 1.5, "3.4e38": 3.3999999521443642e38, "1e39": REFUSED, "inf": REFUSED},
    "boolean": {
        "true": True, "TRUE": True, "tRuE": True, "t": True, "T": True, "yes": True, "Y": True, "1": True,
        "false": False, "f": False, "no": False, "N": False, "0": False, " true ": True,
        "on": REFUSED, "2": REFUSED, "1.0": REFUSED, "": REFUSED, "truee": REFUSED, "ja": REFUSED,
    },
    "date": {
        "2024-01-05": dt.date(2024, 1, 5), " 2024-01-05 ": dt.date(2024, 1, 5), "2024-02-29": dt.date(2024, 2, 29),
        "0001-01-01": dt.date(1, 1, 1), "9999-12-31": dt.date(9999, 12, 31),
        "2024-01-05 00:00:00": dt.date(2024, 1, 5), "2024-01-05T00:00": dt.date(2024, 1, 5),
        "2024-01-05 00:00:00.000": dt.date(2024, 1, 5),
        "2024-01-05 12:00:00": REFUSED, "2023-02-29": REFUSED, "2024-13-01": REFUSED, "2024-1-5": REFUSED,
        "2024/01/05": REFUSED, "05.01.2024": REFUSED, "24-01-05": REFUSED, "20240105": REFUSED, "0000-01-01": REFUSED,
        "10000-01-01": REFUSED, "-2024-01-01": REFUSED, "0044-03-15 (BC)": REFUSED, "infinity": REFUSED,
        "epoch": REFUSED, "today": REFUSED, "": REFUSED, "2024-01-05Z": REFUSED,
    },
    "time": {
        "12:00": dt.time(12), "12:00:01": dt.time(12, 0, 1), "00:00": dt.time(0), "23:59:59.999999":
        dt.time(23, 59, 59, 999999), "12:00:00.1": dt.time(12, 0, 0, 100000), " 12:00 ": dt.time(12),
        "12:00:00.123456000": dt.time(12, 0, 0, 123456),
        "12:00:00.1234567": REFUSED, "24:00:00": REFUSED, "23:59:60": REFUSED, "9:00": REFUSED, "12": REFUSED,
        "12:00:00+02": REFUSED, "12:00Z": REFUSED, "noon": REFUSED, "": REFUSED,
    },
    "timestamp": {
        "2024-01-05 10:00:00": at("2024-01-05 10:00:00"), "2024-01-05T10:00:00": at("2024-01-05 10:00:00"),
        "2024-01-05t10:00": at("2024-01-05 10:00:00"), "2024-01-05 10": at("2024-01-05 10:00:00"),
        "2024-01-05": at("2024-01-05 00:00:00"), " 2024-01-05 10:00 ": at("2024-01-05 10:00:00"),
        "2024-01-05 10:00:00.5": at("2024-01-05 10:00:00.500000"),
        "2024-01-05 10:00:00.123456": at("2024-01-05 10:00:00.123456"),
        "2024-01-05 10:00:00.123456000": at("2024-01-05 10:00:00.123456"),
        # An offset is applied and dropped: the column holds the time in UTC.
        "2024-01-05T10:00:00Z": at("2024-01-05 10:00:00"), "2024-01-05t10:00:00z": at("2024-01-05 10:00:00"),
        "2024-01-05T10:00:00+02:00": at("2024-01-05 08:00:00"), "2024-01-05 10:00:00-0530":
        at("2024-01-05 15:30:00"), "2024-01-05 00:30+01": at("2024-01-04 23:30:00"),
        "2024-01-05 10:00:00 +02:00": at("2024-01-05 08:00:00"),
        "0001-01-01 00:00:00": at("0001-01-01 00:00:00"), "9999-12-31 23:59:59.999999":
        at("9999-12-31 23:59:59.999999"), "0044-03-15 00:00:00Z": at("0044-03-15 00:00:00"),
        "2024-01-05 10:00:00.1234567": REFUSED, "2024-01-05 24:00:00": REFUSED, "2024-01-05 23:59:60": REFUSED,
        "2024-02-30 10:00": REFUSED, "2024-1-5 1:00": REFUSED, "10000-01-01 00:00": REFUSED, "0000-01-01": REFUSED,
        "9999-12-31T23:59:59-02:00": REFUSED, "0001-01-01T00:00:00+01:00": REFUSED,
        "2024-01-05 10:00:00 UTC": REFUSED, "2024-01-05 10:00 Europe/Berlin": REFUSED, "infinity": REFUSED,
        "epoch": REFUSED, "now": REFUSED, "2024-01-05T10:00:00+25:00": REFUSED, "1704448800": REFUSED, "": REFUSED,
        "2024-01-05T10:00:00,5": REFUSED, "2024-01-05Z": REFUSED,
    },
    "timestamptz": {
        "2024-01-05T10:00:00Z": dt.datetime(2024, 1, 5, 10, tzinfo=UTC),
        "2024-01-05 10:00:00+02:00": dt.datetime(2024, 1, 5, 8, tzinfo=UTC),
        "2024-01-05 10:00:00.5-0330": dt.datetime(2024, 1, 5, 13, 30, 0, 500000, tzinfo=UTC),
        # Without an offset it is taken to be in UTC.
        "2024-01-05 10:00:00": dt.datetime(2024, 1, 5, 10, tzinfo=UTC),
        "2024-01-05": dt.datetime(2024, 1, 5, tzinfo=UTC),
        "0044-03-15 00:00:00": dt.datetime(44, 3, 15, tzinfo=UTC),
        "2024-01-05 10:00:00 Europe/Berlin": REFUSED, "9999-12-31 23:00-02": REFUSED, "infinity": REFUSED,
    },
    "uuid": {
        "6ba7b810-9dad-11d1-80b4-00c04fd430c8": "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
        "6BA7B810-9DAD-11D1-80B4-00C04FD430C8": "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
        "{6ba7b810-9dad-11d1-80b4-00c04fd430c8}": "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
        "6ba7b8109dad11d180b400c04fd430c8": "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
        " 6ba7b810-9dad-11d1-80b4-00c04fd430c8 ": "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
        "6ba7-b8109dad11d180b400c04fd430c8": REFUSED, "6ba7b810-9dad-11d1-80b4-00c04fd430c": REFUSED,
        "{6ba7b810-9dad-11d1-80b4-00c04fd430c8": REFUSED, "g" * 32: REFUSED, "": REFUSED,
    },
    "json": {
        '{"a": 1}': '{"a": 1}', ' {"a" : [1, null]} ': ' {"a" : [1, null]} ', "1": "1", "null": "null", '"x"': '"x"',
        "1.0E+2": "1.0E+2", "[1,": REFUSED, "[1,]": REFUSED, "NaN": REFUSED, "[Infinity]": REFUSED, "{'a': 1}": REFUSED,
        "01": REFUSED, "": REFUSED, '{"a": 1} x': REFUSED, "\ufeff1": REFUSED,
    },
    "bytea": {
        r"\xDEADbeef": b"\xde\xad\xbe\xef", r"\x": b"", r" \x00 ": b"\x00",
        r"\xABC": REFUSED, "abc": REFUSED, r"\xZZ": REFUSED, "": REFUSED,
    },
    "text": {"": "", " a ": " a ", "é\n\x00": "é\n\x00", "NaN": "NaN"},
    "varchar(3)": {"abc": "abc"},
}  # fmt: skip


def same(found: object, wanted: object) -> bool:
    return found is wanted or (type(found) is type(wanted) and found == wanted)


@pytest.mark.parametrize("type_name", CASES)
def test_among_others_every_text_is_what_it_means_or_refused(type_name: str) -> None:
    cases = CASES[type_name]
    found = dict(zip(cases, outcomes(type_name, texts(list(cases))), strict=True))
    assert {text: value for text, value in found.items() if not same(value, cases[text])} == {}


@pytest.mark.parametrize("type_name", CASES)
def test_alone_every_text_is_what_it_means_or_refused(type_name: str) -> None:
    found = {text: outcomes(type_name, texts([text]))[0] for text in CASES[type_name]}
    assert {text: value for text, value in found.items() if not same(value, CASES[type_name][text])} == {}


@pytest.mark.parametrize("type_name", CASES)
def test_null_is_null_in_every_type(type_name: str) -> None:
    good = next(text for text, value in CASES[type_name].items() if value is not REFUSED)
    assert outcomes(type_name, texts([None, good, None]))[::2] == [None, None]
    assert outcomes(type_name, texts([None, None])) == [None, None]
    assert outcomes(type_name, pa.nulls(2)) == [None, None]
    assert outcomes(type_name, texts([])) == []


@pytest.mark.parametrize("type_name", CASES)
def test_the_batch_has_exactly_the_declared_type(type_name: str) -> None:
    for column in (texts([]), texts(list(CASES[type_name])), pa.nulls(1)):
        assert validate(type_name, column).batch.schema.field("value").type == parse_type(type_name).arrow


def test_a_refused_value_is_an_error_with_the_type_and_the_text() -> None:
    (letter,) = validate("integer", texts(["1", "12.7"])).letters
    (error,) = letter.errors
    assert (error.code, error.field, error.expected, error.actual) == ("INT_ALPHA_002", "value", "integer", "12.7")


def test_a_long_value_is_cut_in_the_error() -> None:
    (letter,) = validate("integer", texts(["x" * 5000])).letters
    assert letter.errors[0].actual == "x" * 199 + "…"


def test_a_slice_of_a_column_is_judged_by_its_own_values() -> None:
    whole = texts(["0x1", "1e5", "7", "8", "0x2"])
    assert outcomes("integer", whole.slice(2, 2)) == [7, 8]
    assert outcomes("decimal(10,2)", whole.slice(1, 2)) == [REFUSED, Decimal("7.00")]


NUMBERLIKE = st.one_of(
    st.text("0123456789+-. eExX_naif", max_size=12),
    st.integers().map(str),
    st.floats().map(repr),
    st.builds("{}.{}".format, st.text("0123456789", max_size=45), st.text("0123456789", max_size=45)),
)
TIMELIKE = st.one_of(
    st.text("0123456789-:T Z+.", max_size=30),
    st.datetimes().map(str),
    st.datetimes(timezones=st.timezones()).map(dt.datetime.isoformat),
    st.dates().map(str),
    st.builds(
        "{}{}{}{}".format,
        st.dates().map(str),
        st.sampled_from(["T", " ", "", "t"]),
        st.sampled_from(["10", "10:00", "1000", "23:59:59", "24:00", "10:00:00.1", "10:00:00.123456", "1:00"]),
        st.sampled_from(["", "Z", "z", "+02", "+0200", "+02:00", "-23:59", "+24:00", " +02", "+2", " UTC"]),
    ),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(NUMBERLIKE, min_size=1, max_size=5))
@pytest.mark.parametrize(
    "type_name", ["smallint", "bigint", "decimal(6,2)", "decimal(38,9)", "real", "double", "boolean"]
)
def test_a_number_means_the_same_alone_and_among_others(type_name: str, values: list[str]) -> None:
    together = outcomes(type_name, texts([*values, "?"]))[:-1]
    assert together == [outcomes(type_name, texts([value]))[0] for value in values]


@settings(max_examples=60, deadline=None)
@given(st.lists(TIMELIKE, min_size=1, max_size=5))
@pytest.mark.parametrize("type_name", ["date", "timestamp", "timestamptz"])
def test_a_time_means_the_same_alone_and_among_others(type_name: str, values: list[str]) -> None:
    together = outcomes(type_name, texts([*values, "?"]))[:-1]
    assert together == [outcomes(type_name, texts([value]))[0] for value in values]


@settings(max_examples=200, deadline=None)
@given(st.decimals(allow_nan=False, allow_infinity=False, places=9, min_value=-(10**28), max_value=10**28))
def test_a_decimal_keeps_every_digit(value: Decimal) -> None:
    assert outcomes("decimal(38,9)", texts([f"{value:f}"])) == [value]


DIGITS = st.integers(1, 38).flatmap(lambda digits: st.integers(-(10**digits) + 1, 10**digits - 1))


@settings(max_examples=200, deadline=None)
@given(st.lists(DIGITS, min_size=1, max_size=5), st.sampled_from(["string", "decimal", "wider decimal"]))
@pytest.mark.parametrize("places", [0, 2, 9, 17, 20, 30, 38])
def test_a_number_of_any_length_is_kept_or_refused(places: int, values: list[int], given_as: str) -> None:
    column = texts([str(value) for value in values])
    if given_as != "string":
        type_ = pa.decimal128(38, 0) if given_as == "decimal" else pa.decimal256(60, 0)
        column = pa.array([Decimal(value) for value in values], type_)
    wanted = [Decimal(value) if abs(value) < 10 ** (38 - places) else REFUSED for value in values]
    assert outcomes(f"decimal(38,{places})", column) == wanted


@settings(max_examples=200, deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_double_keeps_every_bit(value: float) -> None:
    (found,) = outcomes("double", texts([repr(value)]))
    assert isinstance(found, float)
    assert math.copysign(1, found) == math.copysign(1, value)
    assert found == value


def typed(*values: Any, as_: pa.DataType) -> pa.Array:  # noqa: ANN401 - whatever Arrow can hold
    return pa.array(values, as_)


MOMENT = at("2024-01-05 10:00:00")
TYPED: list[tuple[str, pa.Array, list[object]]] = [
    ("integer", typed(5, 2**31, None, as_=pa.int64()), [5, REFUSED, None]),
    ("integer", typed(5, -6, as_=pa.int8()), [5, -6]),
    ("bigint", typed(5, 2**63, as_=pa.uint64()), [5, REFUSED]),
    ("integer", typed(5.0, 5.5, float("nan"), 1e20, as_=pa.float64()), [5, REFUSED, REFUSED, REFUSED]),
    ("integer", typed(Decimal("5.00"), Decimal("5.01"), as_=pa.decimal128(5, 2)), [5, REFUSED]),
    ("integer", typed(True, as_=pa.bool_()), [REFUSED]),
    ("decimal(10,2)", typed(7, 10**8, as_=pa.int64()), [Decimal("7.00"), REFUSED]),
    ("decimal(10,2)", typed(0.1, 1.239, 1e-5, float("inf"), as_=pa.float64()), [Decimal("0.10"), *[REFUSED] * 3]),
    ("decimal(18,2)", typed(123456789012345.67, as_=pa.float64()), [Decimal("123456789012345.67")]),
    ("decimal(38,2)", typed(1e20, 1e-20, as_=pa.float64()), [Decimal("1e20"), REFUSED]),
    ("decimal(10,2)", typed(0.1, as_=pa.float32()), [Decimal("0.10")]),
    ("decimal(10,2)", typed(Decimal("1.2300"), Decimal("1.2345"), as_=pa.decimal128(8, 4)), [Decimal("1.23"), REFUSED]),
    ("decimal(10,2)", typed(Decimal("1.23"), as_=pa.decimal256(60, 2)), [Decimal("1.23")]),
    ("double", typed(1.5, float("nan"), float("inf"), as_=pa.float64()), [1.5, REFUSED, REFUSED]),
    ("double", typed(2**53 + 1, 5, as_=pa.int64()), [9007199254740992.0, 5.0]),
    ("double", typed(1.5, as_=pa.float16()), [1.5]),
    ("real", typed(0.5, 1e39, as_=pa.float64()), [0.5, REFUSED]),
    ("boolean", typed(1, 0, 2, as_=pa.int32()), [True, False, REFUSED]),
    ("boolean", typed(True, False, as_=pa.bool_()), [True, False]),
    ("date", typed(dt.date(2024, 1, 5), as_=pa.date32()), [dt.date(2024, 1, 5)]),
    ("date", pa.array([0, 10**7, -(10**7)], pa.int32()).cast(pa.date32()), [dt.date(1970, 1, 1), REFUSED, REFUSED]),
    ("date", typed(at("2024-01-05 00:00:00"), MOMENT, as_=pa.timestamp("us")), [dt.date(2024, 1, 5), REFUSED]),
    ("date", typed(19000, as_=pa.int32()), [REFUSED]),
    ("time", typed(dt.time(12), as_=pa.time32("s")), [dt.time(12)]),
    ("time", pa.array([1000, 1001], pa.time64("ns")), [dt.time(0, 0, 0, 1), REFUSED]),
    ("timestamp", typed(MOMENT, as_=pa.timestamp("s")), [MOMENT]),
    ("timestamp", pa.array([1000, 1001], pa.timestamp("ns")), [at("1970-01-01 00:00:00.000001"), REFUSED]),
    ("timestamp", typed(MOMENT, as_=pa.timestamp("us", tz="Europe/Berlin")), [MOMENT]),
    ("timestamp", typed(dt.date(2024, 1, 5), as_=pa.date32()), [at("2024-01-05 00:00:00")]),
    ("timestamp", pa.array([2**62], pa.timestamp("us")), [REFUSED]),
    ("timestamptz", typed(MOMENT, as_=pa.timestamp("ms")), [MOMENT.replace(tzinfo=UTC)]),
    ("timestamptz", pa.array([1000, 1001], pa.timestamp("ns", tz="UTC")),
     [dt.datetime(1970, 1, 1, 0, 0, 0, 1, tzinfo=UTC), REFUSED]),
    ("text", typed(5, as_=pa.int64()), ["5"]),
    ("text", typed(b"abc", b"\xff", as_=pa.binary()), ["abc", REFUSED]),
    ("text", typed(Decimal("1.50"), as_=pa.decimal128(5, 2)), ["1.50"]),
    ("text", typed("a", "b", "a", as_=pa.string()).dictionary_encode(), ["a", "b", "a"]),
    ("text", typed("a", as_=pa.large_string()), ["a"]),
    ("text", typed("a", as_=pa.string_view()), ["a"]),
    ("integer", typed("5", "x", as_=pa.string()).dictionary_encode(), [5, REFUSED]),
    ("integer", typed("5", "0x1", as_=pa.large_string()), [5, REFUSED]),
    ("bytea", typed(b"\x00\xff", as_=pa.large_binary()), [b"\x00\xff"]),
    ("bytea", typed(b"ab", as_=pa.binary(2)), [b"ab"]),
    ("json", typed({"a": 1}, as_=pa.struct({"a": pa.int64()})), ['{"a":1}']),
    ("json", typed([1, None], as_=pa.list_(pa.int64())), ["[1,null]"]),
    ("uuid", pa.ExtensionArray.from_storage(pa.uuid(), pa.array([bytes(range(16))], pa.binary(16))),
     ["00010203-0405-0607-0809-0a0b0c0d0e0f"]),
]  # fmt: skip


@pytest.mark.parametrize(("type_name", "column", "wanted"), TYPED, ids=lambda value: str(getattr(value, "type", value)))
def test_a_typed_value_means_what_it_reads_as(type_name: str, column: pa.Array, wanted: list[object]) -> None:
    found = outcomes(type_name, column)
    assert all(same(value, other) for value, other in zip(found, wanted, strict=True)), found
    # The same where a neighbour forces a closer look.
    refused_too = pa.concat_arrays([column, column])
    assert outcomes(type_name, refused_too) == [*found, *found]
