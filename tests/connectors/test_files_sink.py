"""Files as a destination: what is seen when, marks, keys, folders, sizes, and what it answers about rules."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec
import pyarrow.parquet as pq
import pytest
from tests.connectors.files_sink import (
    IDS,
    UNIQUE_IDS,
    asked,
    laid_out,
    manifest,
    mark,
    model_of,
    numbered,
    open_at,
    rows_of,
    rule,
    seen_by_manifest,
    seen_by_pattern,
    sequence_of,
    sink_at,
    unfinished,
)

from penstock.connectors import open_sink
from penstock.connectors.sinks.files import FilesSink
from penstock.errors import UserMistake
from penstock.model.batch import Op
from penstock.model.pipeline import Connection, Partitioning, RuleKind, Warehouse, WriteMode
from penstock.model.settings import Settings
from penstock.ports import Evidence, Guarantee, Sink

if TYPE_CHECKING:
    from pathlib import Path

    from penstock.model.pipeline import Model

FORMATS = ("parquet", "csv", "jsonl")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """The folder that the table is, where the sink's folder is `tmp_path`."""
    return tmp_path / "out" / "orders"


# --- what is seen when -------------------------------------------------------------------------------------------


def test_it_is_loaded_by_its_kind_and_is_a_sink(tmp_path: Path) -> None:
    warehouse = Warehouse("lake", Connection("lake", "files", "out"))
    sink: Sink = open_sink("shop", IDS, warehouse, tmp_path, Settings())
    assert isinstance(sink, FilesSink)
    assert sink.guarantee is Guarantee.TRANSACTIONAL


def test_an_option_that_there_is_not_is_refused_by_name(tmp_path: Path) -> None:
    warehouse = Warehouse("lake", Connection("lake", "files", "out", {"fromat": "csv"}))
    with pytest.raises(UserMistake, match=r"`fromat`.*did you mean `format`"):
        open_sink("shop", IDS, warehouse, tmp_path, Settings())


@pytest.mark.parametrize("file_format", FORMATS)
def test_what_is_written_is_seen_by_nobody_until_it_is_committed_and_by_all_after(
    tmp_path: Path, table: Path, file_format: str
) -> None:
    sink = open_at(tmp_path, format=file_format)
    assert (seen_by_manifest(table), seen_by_pattern(table), sink.marks()) == ([], [], {})
    sink.write(numbered(0, 10), "a.csv")
    sink.write(numbered(10, 20), "a.csv")
    assert (seen_by_manifest(table), seen_by_pattern(table), sink.marks()) == ([], [], {})
    assert len(unfinished(table)) == 1
    sink.commit([mark(20)])
    assert seen_by_manifest(table) == seen_by_pattern(table) == [f"part-00000001-0001.{file_format}"]
    assert asked(table, "count(*), sum(id)", file_format=file_format) == [(20, 190)]
    assert sink.marks() == {("orders", "a.csv"): mark(20)}
    assert unfinished(table) == []
    sink.close()


def test_each_commit_adds_files_and_moves_its_marks_and_leaves_those_of_others(tmp_path: Path, table: Path) -> None:
    sink = open_at(tmp_path)
    sink.write(numbered(0, 5), "a.csv")
    sink.write(numbered(5, 7), "b.csv")
    sink.commit([mark(5), mark(2, "b.csv")])
    sink.write(numbered(7, 9), "b.csv")
    sink.commit([mark(4, "b.csv")])
    sink.close()
    again = open_at(tmp_path)
    assert again.marks() == {("orders", "a.csv"): mark(5), ("orders", "b.csv"): mark(4, "b.csv")}
    again.close()
    assert len(seen_by_manifest(table)) == len(seen_by_pattern(table)) == 2
    assert manifest(table)["rows"] == 9


def test_marks_can_move_without_rows(tmp_path: Path, table: Path) -> None:
    sink = open_at(tmp_path)
    sink.commit([mark(7)])
    sink.close()
    again = open_at(tmp_path)
    assert sequence_of(again) == 7
    again.close()
    assert seen_by_pattern(table) == []


def test_what_was_rolled_back_is_gone_and_what_follows_is_whole(tmp_path: Path, table: Path) -> None:
    sink = open_at(tmp_path, UNIQUE_IDS)
    sink.write(numbered(0, 10), "a.csv")
    sink.rollback()
    assert unfinished(table) == []
    assert sink.write(numbered(0, 3), "a.csv").refused == {}
    sink.commit([mark(3)])
    assert asked(table, "count(*), sum(id)") == [(3, 3)]
    sink.write(numbered(3, 4), "a.csv")
    sink.close()
    assert asked(table, "count(*)") == [(3,)]
    assert unfinished(table) == []


def test_marks_of_another_pipeline_and_of_another_source_are_not_mixed_up(tmp_path: Path) -> None:
    sink = open_at(tmp_path)
    sink.commit([mark(7)])
    sink.close()
    warehouse = Warehouse("lake", Connection("lake", "files", "out"))
    other = FilesSink("another", IDS, warehouse, tmp_path, Settings())
    other.prepare()
    assert other.marks() == {}
    other.commit([mark(2)])
    other.close()
    again = open_at(tmp_path)
    assert sequence_of(again) == 7
    again.forget("others", "a.csv")
    assert sequence_of(again) == 7
    again.forget("orders", "a.csv")
    assert again.marks() == {}
    again.close()


def test_every_record_is_a_row_whatever_it_does_at_its_source(tmp_path: Path, table: Path) -> None:
    sink = open_at(tmp_path)
    sink.write(rows_of(IDS, (1, "new")), "a.csv")
    sink.write(rows_of(IDS, (1, "gone"), first=1, op=Op.DELETE), "a.csv")
    sink.commit([mark(2)])
    sink.close()
    assert asked(table, "id, name") == [(1, "new"), (1, "gone")]


def test_a_score_is_a_column_like_others(tmp_path: Path, table: Path) -> None:
    model = msgspec.structs.replace(IDS, score_column="score")
    sink = open_at(tmp_path, model)
    rows = numbered(0, 1)
    sink.write(rows.add_column(2, "score", [[0.5]]), "a.csv")
    sink.commit([mark(1)])
    sink.close()
    assert asked(table, "id, name, score") == [(0, "name 0", 0.5)]


# --- reading anew ------------------------------------------------------------------------------------------------


def test_appending_keeps_the_rows_of_a_partition_whose_mark_is_forgotten(tmp_path: Path, table: Path) -> None:
    sink = open_at(tmp_path)
    sink.write(numbered(0, 3), "a.csv")
    sink.commit([mark(3)])
    sink.forget("orders", "a.csv")
    sink.close()
    assert asked(table, "count(*)") == [(3,)]


def test_replacing_drops_the_rows_of_a_partition_with_its_mark_and_no_others(tmp_path: Path, table: Path) -> None:
    sink = open_at(tmp_path, mode="replace")
    sink.write(numbered(0, 3), "a.csv")
    sink.write(numbered(10, 12), "b.csv")
    sink.commit([mark(3), mark(2, "b.csv")])
    sink.forget("orders", "a.csv")
    assert asked(table, "list(id ORDER BY id)") == [([10, 11],)]
    assert seen_by_manifest(table) == seen_by_pattern(table)
    assert sink.marks() == {("orders", "b.csv"): mark(2, "b.csv")}
    sink.write(numbered(100, 101), "a.csv")
    sink.commit([mark(1)])
    sink.close()
    assert asked(table, "list(id ORDER BY id)") == [([10, 11, 100],)]


# --- keys --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_key_is_refused_the_second_time_in_a_write_in_a_transaction_and_across_runs(
    tmp_path: Path, file_format: str
) -> None:
    sink = open_at(tmp_path, UNIQUE_IDS, format=file_format)
    within = sink.write(rows_of(UNIQUE_IDS, (1, "a"), (2, "b"), (1, "c")), "a.csv")
    assert {sequence: error.code for sequence, error in within.refused.items()} == {2: "INT_GAMMA_003"}
    across = sink.write(rows_of(UNIQUE_IDS, (2, "d"), (3, "e"), (None, "f"), first=3), "a.csv")
    assert list(across.refused) == [3]
    sink.commit([mark(6)])
    sink.close()
    again = open_at(tmp_path, UNIQUE_IDS, format=file_format)
    later = again.write(rows_of(UNIQUE_IDS, (None, "g"), (3, "h"), (4, "i"), first=6), "b.csv")
    assert list(later.refused) == [7]
    again.commit([mark(9)])
    assert again.evidence(rule(RuleKind.UNIQUE, "id")) == Evidence(0, 6)
    again.close()


def test_a_key_is_compared_by_its_value_in_every_type_and_format(tmp_path: Path) -> None:
    columns = {
        "at": ("timestamptz", datetime(2024, 1, 31, 12, tzinfo=UTC)),
        "day": ("date", date(1, 1, 1)),
        "part": ("bytea", b"\0\xff"),
        "code": ("uuid", "6d1e6dcf-60a8-4d3a-b7a2-7d8bfdc9d3b1"),
        "text": ("text", '""\n'),
        "share": ("double precision", 0.1),
    }
    for file_format in FORMATS:
        for name, (of_type, value) in columns.items():
            model = model_of({name: of_type, "other": "bigint"}, unique=[(name,)])
            sink = open_at(tmp_path, model, f"{file_format}/{name}", format=file_format)
            assert sink.write(rows_of(model, (value, 1)), "a.csv").refused == {}
            sink.commit([mark(1)])
            assert list(sink.write(rows_of(model, (value, 2), first=1), "a.csv").refused) == [1], (file_format, name)
            sink.close()


# --- what it answers ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file_format", FORMATS)
def test_it_answers_for_each_kind_of_rule_from_committed_rows_alone(tmp_path: Path, file_format: str) -> None:
    model = model_of({"id": "bigint", "total": "decimal(10,2)", "note": "text"})
    sink = open_at(tmp_path, model, format=file_format)
    positive = rule(RuleKind.PREDICATE, "total", predicate='"total" >= 0')
    assert sink.evidence(positive) == Evidence(0, 0)
    sink.write(
        rows_of(model, (1, Decimal("1.50"), ""), (1, Decimal("-0.01"), None), (None, None, "x"), (2, 0, "")), "a.csv"
    )
    sink.commit([mark(4)])
    sink.write(rows_of(model, (2, -5, None), first=4), "a.csv")
    assert sink.evidence(positive) == Evidence(1, 4)
    assert sink.evidence(rule(RuleKind.NOT_NULL, "note")) == Evidence(1, 4)
    assert sink.evidence(rule(RuleKind.NOT_NULL, "id", "note")) == Evidence(2, 4)
    assert sink.evidence(rule(RuleKind.UNIQUE, "id")) == Evidence(1, 4)
    assert sink.evidence(rule(RuleKind.UNIQUE, "id", "note")) == Evidence(0, 4)
    sink.commit([mark(5)])
    assert sink.evidence(positive) == Evidence(2, 5)
    sink.close()


# --- folders and sizes -------------------------------------------------------------------------------------------

MOMENTS = model_of({"id": "bigint", "at": "timestamptz"})
MOMENT = datetime(2024, 5, 9, 23, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("interval", "folder"),
    [
        ("hourly", "at_hour=2024-05-09T23"),
        ("daily", "at_day=2024-05-09"),
        ("weekly", "at_week=2024-05-06"),
        ("monthly", "at_month=2024-05"),
        ("quarterly", "at_quarter=2024-Q2"),
        ("yearly", "at_year=2024"),
    ],
)
def test_a_range_of_time_makes_a_folder_for_each_of_its_parts_in_utc(
    tmp_path: Path, table: Path, interval: str, folder: str
) -> None:
    sink = open_at(tmp_path, laid_out(MOMENTS, "at", interval))
    sink.write(rows_of(MOMENTS, (1, MOMENT), (2, None), (3, MOMENT)), "a.csv")
    sink.commit([mark(3)])
    sink.close()
    names = {path.partition("/")[0] for path in seen_by_manifest(table)}
    assert names == {folder, f"{folder.partition('=')[0]}=__HIVE_DEFAULT_PARTITION__"}
    assert pq.read_table(next(table.glob(f"{folder}/*.parquet")), partitioning=None).to_pylist() == [
        {"id": 1, "at": MOMENT},
        {"id": 3, "at": MOMENT},
    ]


AWKWARD = [
    "de",
    "../../etc",
    "a/b",
    "a b=c",
    "",
    "ü",
    "x" * 300,
    "x" * 301,
    "é" * 300,
    ".",
    "100%",
    "~",
    "*",
    None,
    "\n",
]


def test_values_name_folders_in_quotes_that_nothing_can_escape_from(tmp_path: Path, table: Path) -> None:
    model = laid_out(IDS, "name", kind="list")
    sink = open_at(tmp_path, model)
    sink.write(rows_of(IDS, *enumerate(AWKWARD)), "a.csv")
    sink.commit([mark(len(AWKWARD))])
    sink.close()
    paths = seen_by_manifest(table)
    assert len(paths) == len({path.partition("/")[0] for path in paths}) == len(AWKWARD)
    assert all(re.fullmatch(r"name_is=[A-Za-z0-9_%~-]*/part-\d{8}-\d{4}\.parquet", path) for path in paths), paths
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]
    found = dict(asked(table, "id, name"))
    assert found == dict(enumerate(AWKWARD))


def test_a_hash_makes_sixteen_folders_that_other_engines_can_name_too(tmp_path: Path, table: Path) -> None:
    sink = open_at(tmp_path, laid_out(IDS, "id", kind="hash"))
    sink.write(numbered(0, 500), "a.csv")
    sink.commit([mark(500)])
    sink.close()
    assert len(seen_by_manifest(table)) == 16
    assert asked(table, "count(*)") == [(500,)]
    assert asked(table, "count(*) FILTER (WHERE left(md5(CAST(id AS VARCHAR)), 1) <> id_hash)") == [(0,)]


def test_too_many_folders_at_once_are_refused_with_what_to_do(tmp_path: Path, table: Path) -> None:
    sink = open_at(tmp_path, laid_out(IDS, "id", kind="list"))
    with pytest.raises(UserMistake, match=r"1,001 folders at once.*fewer values") as caught:
        sink.write(numbered(0, 1001), "a.csv")
    assert caught.value.kind.code == "INT_GAMMA_011"
    sink.rollback()
    sink.close()
    assert (seen_by_pattern(table), unfinished(table)) == ([], [])


def test_many_folders_at_once_need_no_more_than_a_few_open_files(tmp_path: Path, table: Path) -> None:
    sink = open_at(tmp_path, laid_out(IDS, "id", kind="list"), format="csv")
    sink.write(numbered(0, 100), "a.csv")
    sink.write(numbered(0, 100), "a.csv")
    sink.commit([mark(100)])
    sink.close()
    assert asked(table, "count(*), sum(id)", file_format="csv") == [(200, 9900)]
    assert len(seen_by_manifest(table)) <= 200


@pytest.mark.parametrize("file_format", FORMATS)
def test_files_are_closed_at_so_many_rows(tmp_path: Path, table: Path, file_format: str) -> None:
    sink = open_at(tmp_path, format=file_format, file_rows="400")
    sink.write(numbered(0, 1000), "a.csv")
    sink.write(numbered(1000, 1100), "a.csv")
    sink.commit([mark(1100)])
    sink.close()
    assert [file["rows"] for file in manifest(table)["files"]] == [400, 400, 300]
    assert asked(table, "count(*), sum(id)", file_format=file_format) == [(1100, 1100 * 1099 // 2)]


def test_files_are_closed_at_so_many_bytes_and_grow_little_beyond(tmp_path: Path, table: Path) -> None:
    sink = open_at(tmp_path, format="csv", file_bytes="10000")
    for start in range(0, 2000, 100):
        sink.write(numbered(start, start + 100), "a.csv")
    sink.commit([mark(2000)])
    sink.close()
    sizes = [file["bytes"] for file in manifest(table)["files"]]
    assert len(sizes) > 2
    assert all(10_000 <= size <= 12_500 for size in sizes[:-1]), sizes
    assert asked(table, "count(*), sum(id)", file_format="csv") == [(2000, 1999 * 1000)]


def test_rows_lie_sorted_in_each_file_where_the_document_clusters(tmp_path: Path, table: Path) -> None:
    model = model_of({"id": "bigint", "name": "text"}, clustering=("name", "id"))
    sink = open_at(tmp_path, model)
    sink.write(rows_of(model, (2, "b"), (1, "b"), (9, "a"), (3, None)), "a.csv")
    sink.commit([mark(4)])
    sink.close()
    found = pq.read_table(table / "part-00000001-0001.parquet").to_pylist()
    assert [row["id"] for row in found] == [9, 1, 2, 3]


@pytest.mark.parametrize(
    ("options", "ending", "magic"),
    [
        ({"format": "csv", "compression": "gzip"}, "csv.gz", b"\x1f\x8b"),
        ({"format": "csv", "compression": "zstd"}, "csv.zst", b"\x28\xb5\x2f\xfd"),
        ({"format": "jsonl", "compression": "gzip"}, "jsonl.gz", b"\x1f\x8b"),
        ({"format": "jsonl", "compression": "zstd"}, "jsonl.zst", b"\x28\xb5\x2f\xfd"),
        ({"compression": "gzip"}, "parquet", b"PAR1"),
        ({"compression": "snappy"}, "parquet", b"PAR1"),
        ({"compression": "none"}, "parquet", b"PAR1"),
    ],
)
def test_files_are_compressed_as_asked_and_their_names_say_so(
    tmp_path: Path, table: Path, options: dict[str, str], ending: str, magic: bytes
) -> None:
    sink = open_at(tmp_path, UNIQUE_IDS, **options)
    sink.write(numbered(0, 1000), "a.csv")
    sink.commit([mark(1000)])
    assert list(sink.write(numbered(999, 1001), "a.csv").refused) == [999]
    sink.close()
    (path,) = seen_by_manifest(table)
    assert path == f"part-00000001-0001.{ending}"
    assert (table / path).read_bytes().startswith(magic)
    assert asked(table, "count(*), sum(id)", file_format=options.get("format", "parquet")) == [(1000, 499_500)]
    if ending == "parquet":
        found = pq.read_metadata(table / path).row_group(0).column(0).compression
        assert found.lower() == options["compression"].replace("none", "uncompressed")


def test_types_are_exact_in_parquet(tmp_path: Path, table: Path) -> None:
    columns = {
        "id": "bigint", "small": "smallint", "whole": "integer", "d": "decimal(38,9)", "r": "real", "f": "double",
        "ok": "boolean", "t": "text", "b": "bytea", "day": "date", "clock": "time", "at": "timestamp",
        "zoned": "timestamptz", "u": "uuid", "j": "json",
    }  # fmt: skip
    model = model_of(columns, not_null=["id"])
    sink = open_at(tmp_path, model)
    sink.write(rows_of(model, (1, *[None] * (len(columns) - 1))), "a.csv")
    sink.commit([mark(1)])
    sink.close()
    schema = pq.read_schema(table / "part-00000001-0001.parquet")
    assert [str(field.type) for field in schema] == [
        "int64", "int16", "int32", "decimal128(38, 9)", "float", "double", "bool", "string", "binary",
        "date32[day]", "time64[us]", "timestamp[us]", "timestamp[us, tz=UTC]", "string", "string",
    ]  # fmt: skip
    assert [field.nullable for field in schema] == [False, *[True] * (len(columns) - 1)]


def test_what_a_column_cannot_hold_is_refused_by_name_and_the_rest_goes_on(tmp_path: Path, table: Path) -> None:
    model = model_of({"id": "bigint", "j": "json", "u": "uuid"}, not_null=["id"])
    sink = open_at(tmp_path, model)
    written = sink.write(rows_of(model, (1, "{}", None), (2, "{", None), (None, None, None), (4, None, "no")), "a.csv")
    assert {key: (error.code, error.field) for key, error in written.refused.items()} == {
        1: ("INT_GAMMA_001", "j"),
        2: ("INT_GAMMA_001", "id"),
        3: ("INT_GAMMA_001", "u"),
    }
    sink.commit([mark(4)])
    sink.close()
    assert asked(table, "id") == [(1,)]


# --- what it does not take ---------------------------------------------------------------------------------------


def test_a_model_that_merges_is_refused_with_what_to_do_instead(tmp_path: Path) -> None:
    merging = msgspec.structs.replace(IDS, write_mode=WriteMode.MERGE)
    with pytest.raises(
        UserMistake, match="`orders` merges, and files can only be added to; append, and take"
    ) as caught:
        sink_at(tmp_path, merging)
    assert caught.value.kind.code == "INT_PIPELINE_003"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "path", "message"),
    [
        ({"format": "xml"}, "out", "`format: xml`.*take one of `csv`, `jsonl`, `parquet`"),
        ({"format": "csv", "compression": "snappy"}, "out", "`compression: snappy`.*for `csv` take one of"),
        ({"mode": "merge"}, "out", "`mode: merge`.*`append`, `replace`"),
        ({"file_rows": "0"}, "out", "`file_rows: 0`.*whole number"),
        ({"file_bytes": "1e9"}, "out", "`file_bytes: 1e9`.*whole number"),
        ({}, "out/*.parquet", r"`path: out/\*.parquet`.*name a folder"),
    ],
)
def test_what_a_connection_may_not_say_is_said_by_name(
    tmp_path: Path, options: dict[str, str], path: str, message: str
) -> None:
    with pytest.raises(UserMistake, match=message) as caught:
        sink_at(tmp_path, IDS, path, **options)
    assert caught.value.kind.code == "INT_PIPELINE_003"


@pytest.mark.parametrize(
    ("path", "folder"),
    [
        ("", "warehouse/orders"),
        ("lake", "lake/orders"),
        ("lake/{table}/v1", "lake/orders/v1"),
        ("{schema}/{table}", "analytics/orders"),
    ],
)
def test_the_path_says_which_folder_a_table_is(tmp_path: Path, path: str, folder: str) -> None:
    open_at(tmp_path, path=path).close()
    assert (tmp_path / folder / "_penstock" / "manifest.json").is_file()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (model_of({"id": "bigint"}), "`name` is text in the files and missing in the document"),
        (model_of({"id": "bigint", "name": "text", "more": "date"}), "`more` is missing in the files and date"),
        (model_of({"id": "integer", "name": "text"}), "`id` is bigint in the files and integer in the document"),
        (
            model_of({"id": "bigint", "name": "text"}, not_null=["name"]),
            "`name` may be null in the files and may not in the document",
        ),
        (
            model_of({"id": "bigint", "name": "text"}, partitioning=Partitioning("id", "", "hash")),
            "they are partitioned by nothing, not by hash of id",
        ),
    ],
)
def test_files_of_another_shape_are_left_alone_and_every_difference_is_named(
    tmp_path: Path, table: Path, changed: Model, message: str
) -> None:
    sink = open_at(tmp_path)
    sink.write(numbered(0, 3), "a.csv")
    sink.commit([mark(3)])
    sink.close()
    before = manifest(table)
    with pytest.raises(UserMistake, match=re.escape(message)) as caught:
        open_at(tmp_path, changed)
    assert caught.value.kind.code == "INT_GAMMA_013"
    with pytest.raises(UserMistake, match="they are parquet, not csv"):
        open_at(tmp_path, format="csv")
    assert manifest(table) == before
    open_at(tmp_path, compression="none").close()


def test_a_folder_that_is_elsewhere_is_refused_without_a_word_of_its_password(tmp_path: Path) -> None:
    there = Connection("lake", "files", url="s3://me:${SESAME}@bucket/lake")
    with pytest.raises(UserMistake, match=r"`url: s3://me@bucket/lake`.*name a folder of this machine") as caught:
        FilesSink("shop", IDS, Warehouse("lake", there), tmp_path, Settings())
    assert caught.value.kind.code == "INT_PIPELINE_003"
