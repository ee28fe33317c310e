from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.expressions import is_reserved, literal, open_engine, quote

if TYPE_CHECKING:
    from collections.abc import Iterator

    import duckdb

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


@pytest.fixture(scope="module")
def engine() -> Iterator[duckdb.DuckDBPyConnection]:
    opened = open_engine(64 << 20, threads=1)
    yield opened
    opened.close()


@given(name=TEXT)
def test_any_text_can_be_a_quoted_name(engine: duckdb.DuckDBPyConnection, name: str) -> None:
    assert engine.sql(f"SELECT 1 AS {quote(name)}").columns == [name]


@given(
    value=TEXT
    | st.integers(-(2**63), 2**63 - 1)
    | st.booleans()
    | st.none()
    | st.binary()
    | st.dates()
    | st.decimals(allow_nan=False, allow_infinity=False, places=4, min_value=-(10**20), max_value=10**20)
    | st.floats(allow_nan=False)
    | st.datetimes()
    | st.times()
)
def test_a_literal_comes_back_as_the_value_it_was(engine: duckdb.DuckDBPyConnection, value: object) -> None:
    assert engine.sql(f"SELECT {literal(value)}").fetchall() == [(value,)]


def test_a_time_with_a_zone_stays_the_same_moment(engine: duckdb.DuckDBPyConnection) -> None:
    moment = dt.datetime(2024, 6, 1, 12, tzinfo=dt.timezone(dt.timedelta(hours=2)))
    got = engine.sql(f"SELECT epoch({literal(moment)})").fetchall()
    assert got == [(moment.timestamp(),)]


def test_what_sql_has_no_literal_of_is_our_mistake() -> None:
    with pytest.raises(TypeError, match="list"):
        literal([1])
    with pytest.raises(TypeError, match="Decimal"):
        literal(Decimal("NaN"))


def test_names_that_begin_with_an_underscore_are_reserved() -> None:
    assert is_reserved("_sequence")
    assert not is_reserved("sequence_")
