from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.connectors.sources.files import FileSource
from penstock.errors import UserMistake
from penstock.model.finding import Place
from penstock.model.pipeline import Connection, SourceTable
from penstock.model.schema import Field, parse_type
from penstock.model.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from penstock.model.position import Position
    from penstock.ports import Chunk

PARTITION = "orders.jsonl"
TYPES = {"a": "text", "b": "numeric(38,9)", "c": "json"}


def source(root: Path, content: bytes | None = None, *, types: dict[str, str] = TYPES, **values: int) -> FileSource:
    if content is not None:
        (root / PARTITION).write_bytes(content)
    fields = tuple(Field(name, parse_type(type_)) for name, type_ in types.items())
    table = SourceTable("orders", "public", "shop", Connection("shop"), fields, Place("handoff.md"))
    return FileSource(table, root, Settings(values))


def read(files: FileSource, position: Position | None = None) -> list[Chunk]:
    return list(files.read(PARTITION, position))


def rows(chunks: Sequence[Chunk]) -> list[dict[str, str | None]]:
    return [row for chunk in chunks for row in chunk.records.to_pylist()]


def outcomes(chunks: Sequence[Chunk]) -> list[tuple[int, Any, bytes, int]]:
    found = []
    for chunk in chunks:
        good = range(chunk.start, chunk.end) if chunk.sequences is None else chunk.sequences.to_pylist()
        of = dict(zip(good, rows([chunk]), strict=True)) | {bad.sequence: bad.error for bad in chunk.bad}
        originals = chunk.originals(range(chunk.start, chunk.end))
        assert [bad.original for bad in chunk.bad] == list(chunk.originals([bad.sequence for bad in chunk.bad]))
        found += [
            (number, of[number], original.content, original.line)
            for number, original in zip(range(chunk.start, chunk.end), originals, strict=True)
        ]
    return found


def kept(line: bytes, limit: int) -> bytes:
    return line if len(line) <= limit else line[:limit] + b"\0[cut short]"


@pytest.mark.parametrize(
    "number",
    [
        "12.50",
        "12",
        "-0.0",
        "1e400",
        "1.0E+2",
        "12345678901234567890123456789.123456789",
        "18446744073709551616",
        "9" * 400,
    ],
)
def test_a_number_arrives_with_every_digit_that_was_written(tmp_path: Path, number: str) -> None:
    content = f'{{"a": {number}, "b": {number}, "c": {number}}}\n'.encode()
    assert rows(read(source(tmp_path, content))) == [{"a": number, "b": number, "c": number}]


@pytest.mark.parametrize(
    ("json", "text", "in_json_column"),
    [
        ('"x \\"y\\" \\u00e9"', 'x "y" é', '"x \\"y\\" \\u00e9"'),
        ('""', "", '""'),
        ("null", None, None),
        ("true", "true", "true"),
        ("false", "false", "false"),
        ('{"k": [1.50,  2]}', '{"k": [1.50,  2]}', '{"k": [1.50,  2]}'),
        ("[ ]", "[ ]", "[ ]"),
    ],
)
def test_every_kind_of_value_has_its_text(
    tmp_path: Path, json: str, text: str | None, in_json_column: str | None
) -> None:
    expected = {"a": text, "b": text, "c": in_json_column}
    line = f'{{"a": {json}, "b": {json}, "c": {json}}}\n'
    assert rows(read(source(tmp_path, line.encode()))) == [expected]
    # Among values of other kinds a column is put together in another way.
    mixed = [
        line,
        '{"a": "s", "b": 1, "c": 2}\n',
        '{"a": 1, "b": true}\n',
        '{"a": 0.10, "b": {"x": 1}}\n',
        line,
        "{}\n",
    ]
    assert rows(read(source(tmp_path, "".join(mixed).encode()))) == [
        expected,
        {"a": "s", "b": "1", "c": "2"},
        {"a": "1", "b": "true", "c": None},
        {"a": "0.10", "b": '{"x": 1}', "c": None},
        expected,
        {"a": None, "b": None, "c": None},
    ]


def test_a_missing_key_is_null_and_a_repeated_one_counts_last(tmp_path: Path) -> None:
    assert rows(read(source(tmp_path, b'{"z": 0}\n{"a": 1, "a": 2}\n'))) == [
        {"a": None, "b": None, "c": None},
        {"a": "2", "b": None, "c": None},
    ]


def test_an_empty_file_and_blank_lines_hold_no_records(tmp_path: Path) -> None:
    for content in (b"", b"\n\n", b"\xef\xbb\xbf", b" \t\r\n"):
        files = source(tmp_path, content)
        assert files.partitions() == (PARTITION,)
        assert read(files) == []
    chunks = read(source(tmp_path, b'\xef\xbb\xbf\n{"a":1}\r\n  \r\n\n{"a":2}'))
    assert [(number, row["a"], original, line) for number, row, original, line in outcomes(chunks)] == [
        (0, "1", b'{"a":1}', 2),
        (1, "2", b'{"a":2}', 5),
    ]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"{", "INT_ALPHA_001"),
        (b"[1]", "INT_ALPHA_001"),
        (b"7", "INT_ALPHA_001"),
        (b'{"a":1}{"a":2}', "INT_ALPHA_001"),
        (b'{"a":1,}', "INT_ALPHA_001"),
        (b'{"a":NaN}', "INT_ALPHA_001"),
        (b'{"a":01}', "INT_ALPHA_001"),
        (b'{"a":"\\ud800"}', "INT_ALPHA_001"),
        (b'{"a":"\t"}', "INT_ALPHA_001"),
        (b'{"a":' + b"9" * 5000 + b"}", "INT_ALPHA_001"),
        (b'{"a":' + b"[" * 4000 + b"]" * 4000 + b"}", "INT_ALPHA_001"),
        (b'{"a":"\xff"}', "INT_ALPHA_005"),
        (b'{"unread":"\xff"}', "INT_ALPHA_005"),
        (b'{"a":1}\0', "INT_ALPHA_005"),
        (b'{"a":"' + b"x" * 10_000 + b'"}', "INT_ALPHA_006"),
    ],
)
def test_a_broken_line_is_a_bad_record_and_nothing_else_is(tmp_path: Path, line: bytes, code: str) -> None:
    content = b'{"a":1}\n\n' + line + b'\r\n{"a":2}\n'
    for read_bytes in (64, 20_000):
        chunks = read(source(tmp_path, content, READ_BYTES=read_bytes, RECORD_BYTES_MAX=10_000))
        (first, refused, last) = outcomes(chunks)
        assert (first[1]["a"], last[1]["a"]) == ("1", "2")
        assert (refused[0], refused[1].code, refused[2], refused[3]) == (1, code, kept(line, 10_000), 3)


def test_a_name_that_json_must_escape_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserMistake, match="INT_ALPHA_011"):
        read(source(tmp_path, b"{}\n", types={'a"b': "text"}))
    assert rows(read(source(tmp_path, b'{"a.b $[0]": 1}\n', types={"a.b $[0]": "text"}))) == [{"a.b $[0]": "1"}]


def test_clean_data_is_never_looked_at_record_by_record(tmp_path: Path) -> None:
    content = "".join(f'{{"a": "é {number}", "b": {number}.50, "c": [{number}]}}\n' for number in range(5_000)).encode()
    files = source(tmp_path, content, READ_BYTES=4096, RECORD_BYTES_MAX=1000)
    assert sum(chunk.records.num_rows for chunk in read(files)) == 5_000
    assert files.blocks_triaged == 0


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
LINES = st.one_of(
    st.dictionaries(st.sampled_from("abcz"), VALUES, max_size=4).map(msgspec.json.encode),
    st.sampled_from([b"", b" \r", b"{", b'{"a":"\xff"}', b'{"a": 1}\r', b"x" * 300]),
)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(lines=st.lists(LINES, max_size=20), read_bytes=st.integers(64, 200))
def test_records_do_not_depend_on_where_blocks_end_or_reading_starts(
    tmp_path: Path, lines: list[bytes], read_bytes: int
) -> None:
    whole = outcomes(read(source(tmp_path, b"\n".join(lines), RECORD_BYTES_MAX=200)))
    assert [original for _, _, original, _ in whole] == [
        kept(line.removesuffix(b"\r"), 200) for line in lines if line.strip(b" \r")
    ]
    files = source(tmp_path, READ_BYTES=read_bytes, RECORD_BYTES_MAX=200)
    chunks = read(files)
    assert outcomes(chunks) == whole
    again = files.reread(PARTITION, [original for _, _, original, _ in whole])
    assert again.records.to_pylist() == rows(chunks)
    assert sorted(again.errors) == [number for number, value, _, _ in whole if not isinstance(value, dict)]
    for number, chunk in enumerate(chunks):
        assert outcomes(read(files, chunk.next)) == outcomes(chunks[number + 1 :])
