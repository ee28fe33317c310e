"""The one type table."""

from __future__ import annotations

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.model.schema import DataType, Field, Kind, UnknownType, arrow_schema, parse_type

EVERY_KIND = [DataType(kind, precision=12, scale=2) if kind is Kind.DECIMAL else DataType(kind) for kind in Kind]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("BIGINT", DataType(Kind.BIGINT)),
        ("  int4 ", DataType(Kind.INTEGER)),
        ("numeric(10,2)", DataType(Kind.DECIMAL, 10, 2)),
        ("decimal( 5 )", DataType(Kind.DECIMAL, 5, 0)),
        ("numeric", DataType(Kind.DECIMAL, 38, 9)),
        ("money", DataType(Kind.DECIMAL, 19, 2)),
        ("varchar(20)", DataType(Kind.TEXT, length=20)),
        ("character varying(20)", DataType(Kind.TEXT, length=20)),
        ("double  precision", DataType(Kind.DOUBLE)),
        ("timestamp(6) with time zone", DataType(Kind.TIMESTAMPTZ)),
        ("timestamp without time zone", DataType(Kind.TIMESTAMP)),
        ("time(3)", DataType(Kind.TIME)),
        ("jsonb", DataType(Kind.JSON)),
    ],
)
def test_names_of_types(text: str, expected: DataType) -> None:
    assert parse_type(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "bigint(20)", "numeric(39,2)", "numeric(5,6)", "numeric(0)", "varchar(1,2)", "int; drop table x", "date(3)"],
)
def test_what_is_no_type_is_refused_and_quoted(text: str) -> None:
    with pytest.raises(UnknownType, match="`"):
        parse_type(text)


@pytest.mark.parametrize(("text", "near"), [("bigitn", "bigint"), ("strnig", "string"), ("timestmap", "timestamp")])
def test_a_misspelt_type_suggests_the_nearest(text: str, near: str) -> None:
    with pytest.raises(UnknownType) as caught:
        parse_type(text)
    assert caught.value.suggestion == near


@pytest.mark.parametrize("type_", EVERY_KIND, ids=str)
def test_every_type_prints_as_it_reads_and_is_known_to_the_engine(type_: DataType) -> None:
    assert parse_type(str(type_)) == type_
    with duckdb.connect() as engine:
        engine.execute(f"CREATE TABLE t (x {type_.sql})")
        engine.register("given", pa.table({"x": pa.nulls(1, type_.arrow)}))
        engine.execute("INSERT INTO t SELECT * FROM given")


@given(digits=st.integers(1, 38), data=st.data())
def test_a_decimal_prints_as_it_reads(digits: int, data: st.DataObject) -> None:
    type_ = DataType(Kind.DECIMAL, digits, data.draw(st.integers(0, digits)))
    assert parse_type(str(type_)) == type_
    assert type_.arrow == pa.decimal128(type_.precision, type_.scale)


@given(text=st.text(max_size=30).filter(lambda text: "(" not in text and not text.isascii()))
def test_no_text_is_more_than_an_unknown_type(text: str) -> None:
    with pytest.raises(UnknownType) as caught:
        parse_type(text)
    assert caught.value.text == text


def test_an_arrow_schema_has_the_fields_in_order_and_then_the_rest() -> None:
    fields = (Field("b", parse_type("text")), Field("a", parse_type("date")))
    schema = arrow_schema(fields, pa.field("_sequence", pa.int64()))
    assert schema == pa.schema([("b", pa.string()), ("a", pa.date32()), ("_sequence", pa.int64())])
