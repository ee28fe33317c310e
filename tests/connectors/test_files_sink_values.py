"""Values written to files and read back by Penstock's own source: the same, in every format; or refused by name."""

from __future__ import annotations

import json
import math
import tempfile
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.connectors.files_sink import laid_out, mark, model_of, open_at, read_back, rows_of, rule

from penstock.connectors.sinks.files import text
from penstock.model.pipeline import RuleKind
from penstock.ports import Evidence

if TYPE_CHECKING:
    from collections.abc import Sequence

COLUMNS = {
    "id": "bigint", "small": "smallint", "whole": "integer", "d": "decimal(38,9)", "cents": "decimal(5,0)",
    "r": "real", "f": "double", "ok": "boolean", "t": "text", "odd name, é": "text", "b": "bytea", "day": "date",
    "clock": "time", "at": "timestamp", "zoned": "timestamptz", "u": "uuid", "j": "json",
}  # fmt: skip
MODEL = model_of(COLUMNS)
FORMATS: tuple[dict[str, str], ...] = (
    {"format": "parquet"},
    {"format": "csv"},
    {"format": "csv", "compression": "gzip"},
    {"format": "jsonl"},
    {"format": "jsonl", "compression": "zstd"},
)
IDS = ["-".join(options.values()) for options in FORMATS]

FIRST, LAST = datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999_999)  # noqa: DTZ001 - a timestamp without zone
EXTREMES: tuple[Sequence[object], ...] = (
    (2**63 - 1, 2**15 - 1, 2**31 - 1, Decimal("99999999999999999999999999999.999999999"), 99999, 3.4028234663852886e38,
     1.7976931348623157e308, True, "a\r\nb\tc\"d'e,f\\g\u2028h\ufeff", "\\N", b"\0\xff\\x", date(9999, 12, 31),
     time(23, 59, 59, 999_999), LAST, LAST.replace(tzinfo=UTC),
     "ffffffff-ffff-ffff-ffff-ffffffffffff", '{"k": [1.10]}'),
    (-(2**63), -(2**15), -(2**31), Decimal("-99999999999999999999999999999.999999999"), -99999, 1.401298464324817e-45,
     5e-324, False, "", "", b"", date(1, 1, 1), time(0), FIRST, FIRST.replace(tzinfo=UTC),
     "00000000-0000-0000-0000-000000000000", '"text"'),
    (0, 0, 0, Decimal("0E-9"), 0, -0.0, 0.1, None, "null", "NULL", b"\n", date(1970, 1, 1), time(0, 0, 0, 1),
     datetime(1969, 12, 31, 23, 59, 59, 999_999), None, None, "12345678901234567890.10"),  # noqa: DTZ001 - likewise
    (None,) * len(COLUMNS),
    (1, None, None, None, None, None, None, None, '"', "=1+1", None, None, None, None, None, None, "[\n 1,\r\n 2 ]"),
)  # fmt: skip


def whole(bits: int) -> st.SearchStrategy[int]:
    return st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def of_digits(precision: int, scale: int) -> st.SearchStrategy[Decimal]:
    most = 10**precision - 1
    return st.integers(-most, most).map(lambda digits: Decimal(f"{digits}e-{scale}"))


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
JSON = st.recursive(
    st.booleans() | st.integers() | TEXT, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner)
).map(lambda value: json.dumps(value, indent=1))
ROW = st.tuples(
    *(
        st.none() | values
        for values in (
            whole(64), whole(16), whole(32), of_digits(38, 9), of_digits(5, 0),
            st.floats(width=32, allow_nan=False, allow_infinity=False),
            st.floats(allow_nan=False, allow_infinity=False),
            st.booleans(), TEXT, TEXT, st.binary(max_size=20), st.dates(), st.times(), st.datetimes(),
            st.datetimes(timezones=st.just(UTC)), st.uuids().map(str), JSON,
        )
    )
)  # fmt: skip


def round_trip(rows: Sequence[Sequence[object]], options: dict[str, str]) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        sink = open_at(root, MODEL, **options)
        table = rows_of(MODEL, *rows)
        assert sink.write(table, "a.csv").refused == {}
        sink.commit([mark(len(rows))])
        assert sink.evidence(rule(RuleKind.NOT_NULL, "id")) == Evidence(sum(row[0] is None for row in rows), len(rows))
        sink.close()
        found = expected(read_back(root, MODEL), options)
        assert found == expected(table.select(list(COLUMNS)).to_pylist(), options)
        return found


def expected(rows: list[dict[str, Any]], options: dict[str, str]) -> list[dict[str, Any]]:
    """JSON Lines keeps the value of a JSON text, not where it breaks its lines; the sign of zero counts."""
    for row in rows:
        if options["format"] == "jsonl" and row["j"] is not None:
            row["j"] = row["j"].replace("\n", " ").replace("\r", " ")
        for name in ("r", "f"):
            row[name] = row[name] if row[name] is None else (math.copysign(1, row[name]), row[name])
    return rows


@pytest.mark.parametrize("options", FORMATS, ids=IDS)
def test_extremes_come_back_as_they_were(options: dict[str, str]) -> None:
    assert len(round_trip(EXTREMES, options)) == len(EXTREMES)


@pytest.mark.parametrize("options", FORMATS, ids=IDS)
@settings(max_examples=15, deadline=None)
@given(rows=st.lists(ROW, min_size=1, max_size=20))
def test_any_values_come_back_as_they_were(options: dict[str, str], rows: list[tuple[object, ...]]) -> None:
    round_trip(rows, options)


@pytest.mark.parametrize("file_format", ["csv", "jsonl"])
def test_what_text_cannot_say_is_refused_by_name_and_the_rest_is_written(tmp_path: Path, file_format: str) -> None:
    model = model_of({"id": "bigint", "f": "double", "r": "real", "t": "text", "day": "date"})
    sink = open_at(tmp_path, model, format=file_format)
    rows = [
        (0, math.nan, None, None, None),
        (1, None, math.inf, None, None),
        (2, None, None, "a\0b", None),
        (3, None, None, "x" * (text.ROW_BYTES_MAX + 1), None),
        (4, None, None, "x" * (text.ROW_BYTES_MAX - 2), None),
        (5, 1.5, 1.5, "ok", date(2024, 2, 29)),
    ]
    refused = sink.write(rows_of(model, *rows), "a.csv").refused
    fields = {0: "f", 1: "r", 3: "t"} | ({2: "t"} if file_format == "csv" else {})
    assert {sequence: error.field for sequence, error in refused.items()} == fields
    assert {error.code for error in refused.values()} == {"INT_GAMMA_001"}
    assert all(len(error.actual) <= 200 for error in refused.values())
    sink.commit([mark(6)])
    assert sink.evidence(rule(RuleKind.NOT_NULL, "t")) == Evidence(0, 6 - len(fields))
    sink.close()


def test_parquet_holds_what_text_cannot_say(tmp_path: Path) -> None:
    model = model_of({"id": "bigint", "f": "double", "t": "text"})
    sink = open_at(tmp_path, model)
    assert sink.write(rows_of(model, (0, math.inf, "a\0b")), "a.csv").refused == {}
    sink.commit([mark(1)])
    sink.close()
    assert read_back(tmp_path, model_of({"id": "bigint", "t": "text"})) == [{"id": 0, "t": "a\0b"}]


def test_a_null_that_is_all_of_a_row_is_refused_where_it_would_be_a_blank_line(tmp_path: Path) -> None:
    model = model_of({"t": "text"})
    sink = open_at(tmp_path, model, format="csv")
    assert list(sink.write(rows_of(model, ("",), (None,), ("x",)), "a.csv").refused) == [1]
    sink.commit([mark(3)])
    sink.close()
    assert read_back(tmp_path, model) == [{"t": ""}, {"t": "x"}]


@pytest.mark.parametrize("options", FORMATS, ids=IDS)
def test_a_table_in_folders_is_read_back_by_a_pattern(tmp_path: Path, options: dict[str, str]) -> None:
    model = laid_out(model_of({"id": "bigint", "at": "timestamptz"}), "at", "yearly")
    sink = open_at(tmp_path, model, **options)
    rows = [(year, datetime(year, 6, 1, tzinfo=UTC)) for year in range(2000, 2040)]
    sink.write(rows_of(model, *rows), "a.csv")
    sink.commit([mark(40)])
    sink.close()
    ending = ".".join(options.values()).replace("zstd", "zst").replace("gzip", "gz")
    found = read_back(tmp_path, model, f"out/{{table}}/*/*.{ending}")
    assert [(row["id"], row["at"]) for row in found] == rows
