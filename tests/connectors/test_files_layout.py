"""Blocks of CSV that need no second look: which they are, and that nothing is missed in those that only seem so."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from pyarrow import csv

from penstock.connectors.sources.files import FileSource
from penstock.connectors.sources.files.header import Dialect
from penstock.connectors.sources.files.layout import RECORDS_LOOKED_AT, Layout
from penstock.model.finding import Place
from penstock.model.pipeline import Connection, FileFormat, SourceTable
from penstock.model.schema import Field, parse_type
from penstock.model.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

PARTITION = "orders.csv"


def is_regular(block: bytes, null_values: tuple[str, ...] = ("",), end: int | None = None) -> bool:
    """Parse a block of three columns as the source does, and ask whether it is regular."""
    end = len(block) if end is None else end
    names = ["a", "b", "c"]
    table = csv.read_csv(
        pa.BufferReader(block[:end]),
        csv.ReadOptions(column_names=names, use_threads=False),
        csv.ParseOptions(newlines_in_values=True),
        csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()),
            null_values=list(null_values),
            strings_can_be_null=bool(null_values),
            quoted_strings_can_be_null=False,
        ),
    )
    columns = [column.combine_chunks() for column in table.columns]
    return Layout.of(Dialect.of(FileFormat(null_values=null_values))).is_regular(block, end, columns)


@pytest.mark.parametrize(
    "block",
    [
        b"1,2,3\n4,5,6\n",
        b"1,2,3\r\n4,5,6\r\n",
        b'1,"2",3\n4,"5",6\n',
        b'"1","2","3"\r\n"4","5","6"\r\n',
        b'1,"a, b",3\n4,", ",6\n',
        b'1,"",3\n4,"5",6\n',
        b'1,,"3"\n,"5","6"\n',
        b',,\n1,"2",\n',
        "1,é,3\n4,日本,6\n".encode(),
        b'1,",",3\n' * 1000,
    ],
)
def test_a_line_for_each_record_and_columns_quoted_or_not_is_regular(block: bytes) -> None:
    assert is_regular(block)


@pytest.mark.parametrize(
    "block",
    [
        b"\n1,2,3\n",
        b"1,2,3\n\n4,5,6\n",
        b"1,2,3\r\n\r\n4,5,6\r\n",
        b"1,2,3\r\n4,5,6\n",
        b"1,2,3\n4,5,6\r\n",
        b"1,2,3\r4,5,6\n",
        b'1,"2",3\n4,5,6\n',
        b'1,"2"x,3\n4,"5",6\n',
        b'1,x"2",3\n4,"5",6\n',
        b'1,"2""",3\n4,"5",6\n',
        b'1,"2\n",3\n4,"5",6\n',
        b'1,"2\r",3\n4,"5",6\n',
        # As long as it should be, but not in these places.
        b'1,"2",3\n4,5,6\n\n\n',
        b'1,"2",3\n\n\n4,5,6\n',
        b'1,"2",3\n4,5,"6"\n',
        b'1,"2",3\n4,"5"6,7\n',
        b'1,"2"3,4\n5,"6",7\n',
        b'1,"2",3\n4,5,"6"7\n',
        b"1,2,3\r\n4,5,6\n7,8,9\n\n",
        b'1,2,3\r\n4,"5",6\n\n',
    ],
)
def test_anything_else_is_looked_at_again(block: bytes) -> None:
    assert not is_regular(block)
    assert not is_regular(b'1,"2",3\n' * RECORDS_LOOKED_AT + block)


def test_only_what_lies_before_the_end_counts() -> None:
    assert is_regular(b'1,"2",3\n4,"5",6\n7,"8', end=16)


def test_nulls_are_as_long_as_they_are_written() -> None:
    block = b'1,NA,3\n4,"NA",NA\nNA,"5",6\n'
    assert is_regular(block, ("NA",))
    assert is_regular(block.replace(b"NA,3", b"--,3"), ("NA", "--"))
    assert not is_regular(block, ("NA", ""))  # it is not known which was written
    assert is_regular(b"1,2,3\n", ("NA", ""))
    assert is_regular(b"1,NA,\n", ())


def read(root: Path, content: bytes, columns: str, read_bytes: int) -> list[object]:
    """Return all that reading gives: every record's sequence, values or error, and original."""
    (root / PARTITION).write_bytes(content)
    fields = tuple(Field(name, parse_type("text")) for name in columns)
    table = SourceTable("orders", "public", "shop", Connection("shop", "files", "."), fields, Place("handoff.md"))
    files = FileSource(table, root, Settings({"READ_BYTES": read_bytes}))
    told: list[object] = []
    for chunk in files.read(PARTITION, None):
        sequences = range(chunk.start, chunk.end)
        told.append((sequences, chunk.next, chunk.bad, chunk.originals(sequences)))
        told.append(chunk.sequences and chunk.sequences.to_pylist())
        told.extend(chunk.records.select(["a", "b"]).to_pylist())
    return [*told, files.blocks_triaged]


def regular(chance: random.Random) -> bytearray:
    """Return records, most of them regular: every column is quoted always or never."""
    quotes = [chance.random() < 0.5 for _ in range(3)]
    values = ["", "1", "abc", "a,b", ",", "é", "x" * 30]
    line_break = chance.choice(["\n", "\r\n"])
    lines = []
    for _ in range(chance.randrange(1, 60)):
        fields = [chance.choice(values) if quoted else chance.choice(values).replace(",", ".") for quoted in quotes]
        written = (f'"{field}"' if quoted else field for field, quoted in zip(fields, quotes, strict=True))
        lines.append(",".join(written) + line_break)
    return bytearray("".join(lines).encode())


@pytest.mark.parametrize("seed", range(100))
def test_reading_all_columns_finds_the_same_trouble_as_reading_some(tmp_path: Path, seed: int) -> None:
    """Where a column is passed by, values cannot account for the block, and all of it is looked at again."""
    chance = random.Random(seed)
    content = regular(chance)
    for _ in range(chance.randrange(4)):
        at = chance.randrange(len(content) + 1)
        near = content.find(chance.choice([b'"', b",", b"\n"]), at)
        at = max(0, near + chance.choice([-1, 0, 1])) if chance.random() < 0.5 else at
        content[at : at + chance.randrange(3)] = chance.choice([b'"', b",", b"\n", b"\r", b"x", b'""', b"\n\n", b"\0"])
    read_bytes = chance.choice([64, 300, 100_000])
    whole, part = (read(tmp_path, b"a,b,c\n" + content, columns, read_bytes) for columns in ("abc", "ab"))
    assert whole == part, (seed, bytes(content))
