from __future__ import annotations

import csv
import io
import random
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from penstock.connectors.sources.files import FileSource
from penstock.errors import UserMistake
from penstock.model.finding import Place
from penstock.model.pipeline import Connection, FileFormat, SourceTable
from penstock.model.schema import Field, parse_type
from penstock.model.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from penstock.model.position import Position
    from penstock.ports import Chunk

PARTITION = "data/orders.csv"
LIMIT = 64
CUT_SHORT = b"\0[cut short]"


def source(
    root: Path, content: bytes | None = None, columns: str = "id name amount", **settings_: int | FileFormat
) -> FileSource:
    if content is not None:
        (root / "data").mkdir(exist_ok=True)
        (root / PARTITION).write_bytes(content)
    format_ = settings_.pop("format", FileFormat())
    assert isinstance(format_, FileFormat)
    table = SourceTable(
        name="orders",
        schema="public",
        database="shop",
        connection=Connection("shop", "files", "data"),
        fields=tuple(Field(name, parse_type("text")) for name in columns.split()),
        place=Place("handoff.md"),
        format=format_,
    )
    return FileSource(table, root, Settings(settings_))


def read(source: FileSource, position: Position | None = None) -> list[Chunk]:
    return list(source.read(PARTITION, position))


def rows(chunks: Sequence[Chunk]) -> list[tuple[str | None, ...]]:
    return [tuple(row.values()) for chunk in chunks for row in chunk.records.to_pylist()]


def outcomes(chunks: Sequence[Chunk]) -> Iterator[tuple[int, tuple[str | None, ...] | str, bytes, int]]:
    """Every record of `chunks`: sequence, values or error code, original, line."""
    for chunk in chunks:
        good = range(chunk.start, chunk.end) if chunk.sequences is None else chunk.sequences.to_pylist()
        assert len(good) == chunk.records.num_rows
        of: dict[int, tuple[str | None, ...] | str] = dict(zip(good, rows([chunk]), strict=True))
        of |= {bad.sequence: bad.error.code for bad in chunk.bad}
        assert sorted(of) == list(range(chunk.start, chunk.end))
        originals = dict(zip(sorted(of), chunk.originals(sorted(of)), strict=True))
        for bad in chunk.bad:
            assert bad.original == originals[bad.sequence]
        yield from ((number, of[number], originals[number].content, originals[number].line) for number in sorted(of))


def bad(chunks: Sequence[Chunk]) -> list[tuple[int, str, bytes, str]]:
    return [
        (bad.original.line, bad.error.code, bad.original.content, bad.error.message)
        for chunk in chunks
        for bad in chunk.bad
    ]


def kept(record: bytes, limit: int) -> bytes:
    return record if len(record) <= limit else record[:limit] + CUT_SHORT


# --- what a record is ---------------------------------------------------------------------------------------------


def test_every_declared_column_arrives_as_text_in_the_documents_order(tmp_path: Path) -> None:
    files = source(tmp_path, b"amount,id,note,name\n1.50,007,x,Ann\n,2,,\n")
    (chunk,) = read(files)
    assert chunk.records.schema == pa.schema([("id", pa.string()), ("name", pa.string()), ("amount", pa.string())])
    assert rows([chunk]) == [("007", "Ann", "1.50"), ("2", None, None)]
    assert (chunk.start, chunk.end, chunk.sequences, chunk.bad) == (0, 2, None, ())
    assert files.extra_columns == ("note",)


def test_quotes_hold_delimiters_quotes_and_line_breaks(tmp_path: Path) -> None:
    files = source(tmp_path, b'id,name,amount\n1,"a,b","c""d"\n2,"two\r\nlines",""\n3,5" pipe,x"\n')
    assert rows(read(files)) == [("1", "a,b", 'c"d'), ("2", "two\r\nlines", ""), ("3", '5" pipe', 'x"')]


def test_null_values_count_where_they_are_not_quoted(tmp_path: Path) -> None:
    content = b'id,name,amount\n1,NA,"NA"\n2,,""\n'
    assert rows(read(source(tmp_path, content, format=FileFormat(null_values=("", "NA"))))) == [
        ("1", None, "NA"),
        ("2", None, ""),
    ]
    assert rows(read(source(tmp_path, content, format=FileFormat(null_values=())))) == [
        ("1", "NA", "NA"),
        ("2", "", ""),
    ]


@pytest.mark.parametrize("delimiter", [";", "\t", "|", "^", "]", "\\", "-", " "])
def test_any_ascii_character_can_divide_fields(tmp_path: Path, delimiter: str) -> None:
    content = 'id,name,amount\n1,"a,b",c\n2,d\n3,"e,\n,f",\n'.replace(",", delimiter).encode()
    chunks = read(source(tmp_path, content, format=FileFormat(delimiter=delimiter)))
    assert rows(chunks) == [("1", f"a{delimiter}b", "c"), ("3", f"e{delimiter}\n{delimiter}f", None)]
    assert [line for line, *_ in bad(chunks)] == [3]


@pytest.mark.parametrize("delimiter", ["", ",,", "é", '"', "\n"])
def test_what_cannot_be_a_delimiter_is_refused(tmp_path: Path, delimiter: str) -> None:
    with pytest.raises(UserMistake, match="cannot be a delimiter"):
        source(tmp_path, format=FileFormat(delimiter=delimiter))


@pytest.mark.parametrize(
    "content",
    [
        b"id,name,amount\r\n1,a,b\r\n2,c,d\r\n",
        b"id,name,amount\n1,a,b\n2,c,d",
        b"id,name,amount\r\n1,a,b\n2,c,d\r",
        b"\xef\xbb\xbfid,name,amount\n1,a,b\n2,c,d\n",
        b'\n\r\n"id",name,"amount"\n\n\n1,a,b\n\r\n2,c,d\n\n\n',
    ],
)
def test_line_breaks_blank_lines_and_byte_order_marks_are_not_records(tmp_path: Path, content: bytes) -> None:
    chunks = read(source(tmp_path, content))
    assert rows(chunks) == [("1", "a", "b"), ("2", "c", "d")]
    assert [original for _, _, original, _ in outcomes(chunks)] == [b"1,a,b", b"2,c,d"]


def test_line_numbers_count_blank_lines_and_lines_inside_quotes(tmp_path: Path) -> None:
    content = b'id,name,amount\n\n1,"a\n\nb",c\n\n2,d,e\nbroken\n3,f,g\n'
    assert [(value, line) for _, value, _, line in outcomes(read(source(tmp_path, content)))] == [
        (("1", "a\n\nb", "c"), 3),
        (("2", "d", "e"), 7),
        ("INT_ALPHA_001", 8),
        (("3", "f", "g"), 9),
    ]


def test_a_single_column_has_no_delimiters_and_still_no_blank_records(tmp_path: Path) -> None:
    chunks = read(source(tmp_path, b'id\na\n\n""\nb,c\n"d\ne"\n', columns="id"))
    assert rows(chunks) == [("a",), ("",), ("d\ne",)]
    assert bad(chunks) == [(5, "INT_ALPHA_001", b"b,c", "expected 1 field, found 2")]


def test_a_header_alone_is_a_file_without_records(tmp_path: Path) -> None:
    for content in (b"id,name,amount\n", b"id,name,amount", b"id,name,amount\r\n\r\n"):
        files = source(tmp_path, content)
        assert files.partitions() == (PARTITION,)
        assert read(files) == []


# --- headers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\r\n"])
def test_a_file_without_a_header_is_said_to_be_empty(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(UserMistake, match=r"INT_ALPHA_012 data/orders.csv is empty: it does not even have a header"):
        source(tmp_path, content).partitions()


def test_a_header_without_declared_columns_names_them_and_suggests(tmp_path: Path) -> None:
    files = source(tmp_path, b"id,Name,ammount,note\n1,a,b,c\n", columns="id name amount zzz")
    message = (
        "INT_ALPHA_011 data/orders.csv lacks `name` (did you mean `Name`?), `amount` (did you mean `ammount`?), `zzz`; "
        "it has: id, Name, ammount, note; mend the header or the document"
    )
    with pytest.raises(UserMistake) as caught:
        files.partitions()
    assert str(caught.value) == message
    with pytest.raises(UserMistake) as caught:
        read(files)
    assert str(caught.value) == message


def test_a_header_with_another_delimiter_is_recognised(tmp_path: Path) -> None:
    with pytest.raises(UserMistake, match=r"is the delimiter ';'\?"):
        source(tmp_path, b"id;name;amount\n1;2;3\n").partitions()


def test_a_declared_column_that_is_there_twice_is_refused_and_another_is_not(tmp_path: Path) -> None:
    with pytest.raises(UserMistake, match="two columns called `id`"):
        source(tmp_path, b"id,id,name,amount\n").partitions()
    assert rows(read(source(tmp_path, b"id,x,name,x,amount\n1,2,3,4,5\n"))) == [("1", "3", "5")]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("id,name,amount\n".encode("utf-16"), "is UTF-16; save it as UTF-8"),
        (b"id,na\xffme\n", "does not begin with a header"),
        (b'id,"name\n1,2\n', "does not begin with a header"),
        (b"id,name\r1,2\r", "does not begin with a header"),
        (b"id" * 1_000, "does not begin with a header"),
    ],
)
def test_a_header_that_cannot_be_read_is_an_error_for_people(tmp_path: Path, content: bytes, why: str) -> None:
    with pytest.raises(UserMistake, match=f"INT_ALPHA_012 .*{why}"):
        source(tmp_path, content, RECORD_BYTES_MAX=1000).partitions()


# --- broken records -----------------------------------------------------------------------------------------------

DEFECTS: dict[str, tuple[bytes, str, str]] = {
    "too few fields": (b"7,short", "INT_ALPHA_001", "expected 3 fields, found 2"),
    "too many fields": (b"7,too,long,by", "INT_ALPHA_001", "expected 3 fields, found 4"),
    "white space": (b"  ", "INT_ALPHA_001", "expected 3 fields, found 1"),
    "text after a quote": (b'7,"a"b,c', "INT_ALPHA_001", "field 2 goes on after its closing quote"),
    "a quote inside a quote": (b'7,"a "big" b",c', "INT_ALPHA_001", "field 2 goes on after its closing quote"),
    "an open quote": (b'7,"open,c', "INT_ALPHA_001", "the quote that opens field 2 is not closed"),
    "an open last quote": (b'7,b,"open', "INT_ALPHA_001", "the quote that opens field 3 is not closed"),
    "a lone CR": (b"7,a\rb,c", "INT_ALPHA_001", "field 2 is followed by a carriage return without a line feed"),
    "another encoding": (b"7,M\xfcller,c", "INT_ALPHA_005", "not UTF-8 text: byte 0xfc at byte 4 of the record"),
    "a NUL": (b"7,a\0b,c", "INT_ALPHA_005", "not UTF-8 text: NUL byte at byte 4 of the record"),
    "too long": (
        b"7," + b"x" * 100 + b",c",
        "INT_ALPHA_006",
        "longer than a record may be: 104 bytes, at most 64",
    ),
}


@pytest.mark.parametrize("around", [b"%d,plain,row\n", b'%d,"quoted, row","x"\n', b'%d,"over\nlines",x\r\n'])
@pytest.mark.parametrize("defect", DEFECTS)
@pytest.mark.parametrize("read_bytes", [64, 100, 4096])
def test_a_defect_costs_its_own_line_and_nothing_else(
    tmp_path: Path, defect: str, around: bytes, read_bytes: int
) -> None:
    line, code, message = DEFECTS[defect]
    before = b"".join(around % number for number in range(20))
    after = b"".join(around % number for number in range(20, 40))
    content = b"id,name,amount\n" + before + line + b"\n" + after
    chunks = read(source(tmp_path, content, READ_BYTES=read_bytes, RECORD_BYTES_MAX=LIMIT))
    assert bad(chunks) == [(2 + before.count(b"\n"), code, kept(line, LIMIT), message)]
    assert [row[0] for row in rows(chunks)] == [str(number) for number in range(40)]
    assert [bad.sequence for chunk in chunks for bad in chunk.bad] == [20]


def test_a_quote_that_is_never_closed_does_not_swallow_the_file(tmp_path: Path) -> None:
    content = b'id,name,amount\n1,"never closed,2\n' + b"".join(b"%d,a,b\n" % number for number in range(50_000))
    chunks = read(source(tmp_path, content))
    assert bad(chunks) == [
        (2, "INT_ALPHA_001", b'1,"never closed,2', "the quote that opens field 2 is not closed"),
    ]
    assert sum(chunk.records.num_rows for chunk in chunks) == 50_000


def test_an_endless_line_is_passed_by_without_being_held(tmp_path: Path) -> None:
    content = b"id,name,amount\n1,a,b\n" + b"x" * 3_000_000 + b"\r\n2,c,d\n"
    chunks = read(source(tmp_path, content, READ_BYTES=4096, RECORD_BYTES_MAX=1000))
    message = "longer than a record may be: 3,000,000 bytes, at most 1,000"
    assert bad(chunks) == [(3, "INT_ALPHA_006", b"x" * 1000 + CUT_SHORT, message)]
    assert rows(chunks) == [("1", "a", "b"), ("2", "c", "d")]
    assert [line for *_, line in outcomes(chunks)] == [2, 3, 4]
    assert all(chunk.size_bytes < 10_000 for chunk in chunks)


def test_an_endless_line_at_the_end_is_one_bad_record(tmp_path: Path) -> None:
    for ending in (b"", b"\n", b"\r\n"):
        content = b"id,name,amount\n" + b"x" * 10_000 + ending
        chunks = read(source(tmp_path, content, READ_BYTES=4096, RECORD_BYTES_MAX=1000))
        message = "longer than a record may be: 10,000 bytes, at most 1,000"
        assert bad(chunks) == [(2, "INT_ALPHA_006", b"x" * 1000 + CUT_SHORT, message)]


@pytest.mark.parametrize("length", [998, 999, 1000, 1001, 1002, 1003])
@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b""])
@pytest.mark.parametrize("form", [b"1,%s,c", b'1,"%s",c', b'1,"\n%s",c'])
@pytest.mark.parametrize("read_bytes", [64, 999, 1000, 1001, 5000])
def test_the_limit_is_exact_however_a_record_is_met(
    tmp_path: Path, length: int, ending: bytes, form: bytes, read_bytes: int
) -> None:
    record = form % (b"x" * (length - len(form) + 2))
    assert len(record) == length
    content = b"id,name,amount\n0,a,b" + (ending or b"\n") + record + ending
    chunks = read(source(tmp_path, content, READ_BYTES=read_bytes, RECORD_BYTES_MAX=1000))
    codes = [bad.error.code for chunk in chunks for bad in chunk.bad]
    assert rows(chunks)[0] == ("0", "a", "b")
    assert (len(rows(chunks)) == 2) == (length <= 1000)
    assert bool(codes) == (length > 1000)


def test_the_limit_counts_columns_that_are_not_read(tmp_path: Path) -> None:
    unread = b'"' + (b"x" * 90 + b"\n") * 20 + b'"'
    content = b"id,name,amount,unread\n" + b'1,"a\nb",c,d\n' * 200 + b"2,a,b," + unread + b"\n" + b"3,a,b,c\n"
    chunks = read(source(tmp_path, content, RECORD_BYTES_MAX=1000))
    assert [row[0] for row in rows(chunks)] == ["1"] * 200 + ["3"]
    assert {line for line, *_ in bad(chunks)} == set(range(402, 423))


# --- the same records however they are read -----------------------------------------------------------------------


UNPARSED = "cannot be parsed, or is too long"


def reference(text: bytes, fields: int) -> Iterator[tuple[list[bytes] | str, bytes, int]]:
    """The grammar of docs/files.md, character by character: values or error code, original, line of each record."""
    text += b"" if text.endswith(b"\n") else b"\n"
    at = 0
    while at < len(text):
        line = text.count(b"\n", 0, at) + 1
        if text.startswith((b"\n", b"\r\n"), at):
            at = text.index(b"\n", at) + 1
            continue
        values, end = reference_record(text, at)
        if len(values) == fields and end - at <= LIMIT:
            following = end + (2 if text.startswith(b"\r\n", end) else 1)
        else:
            end = following = text.index(b"\n", at) + 1
            end -= 2 if text[at:end].endswith(b"\r\n") else 1
            values = []
        record = text[at:end]
        try:
            is_text = record.decode() is not None and b"\0" not in record
        except UnicodeDecodeError:
            is_text = False
        code = UNPARSED if is_text or len(record) > LIMIT else "INT_ALPHA_005"
        yield values if values and is_text else code, kept(record, LIMIT), line
        at = following


def reference_record(text: bytes, at: int) -> tuple[list[bytes], int]:
    """Values and end of the record at `at`; no values where there is none."""
    values = []
    while True:
        value = b""
        if text[at : at + 1] == b'"':
            at += 1
            while text[at : at + 2] == b'""' or (at < len(text) and text[at : at + 1] != b'"'):
                value += text[at : at + 1]
                at += 2 if text[at : at + 2] == b'""' else 1
            if at == len(text):
                return [], at
            at += 1
        else:
            while text[at : at + 1] not in (b",", b"\r", b"\n"):
                value += text[at : at + 1]
                at += 1
        values.append(value)
        if text[at : at + 1] == b",":
            at += 1
        elif text.startswith((b"\n", b"\r\n"), at):
            return values, at
        else:
            return [], at


PIECES = st.one_of(
    st.sampled_from([b"a", b"bc", b",", b",", b",", b'"', b'"', b'""', b"\n", b"\n", b"\r\n", b"\r", b" "]),
    st.sampled_from([b"1,2,3\n", b'1,"2,\n3",4\n', b'"x","y","z"\r\n', b'1,"z\n', b"x" * 30, b"y" * 70]),
    st.sampled_from(["é".encode(), b"\xff", b"\0"]),
)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    pieces=st.lists(PIECES, max_size=60),
    read_bytes=st.integers(64, 200) | st.just(4096),
    columns=st.sampled_from(["b", "abc"]),
)
@example(pieces=[b'a,"b', b"\n" * 3, b'"x","y","z"\r\n'], read_bytes=64, columns="abc")
def test_records_are_those_of_the_grammar_wherever_blocks_and_runs_end(
    tmp_path: Path, pieces: list[bytes], read_bytes: int, columns: str
) -> None:
    text = b"".join(pieces)
    header = ",".join(columns).encode() + b"\n"
    files = source(
        tmp_path, header + text, columns=" ".join(columns[::-1]), READ_BYTES=read_bytes, RECORD_BYTES_MAX=LIMIT
    )
    chunks = read(files)
    expected = [
        (number, values if isinstance(values, str) else tuple(value.decode() or None for value in values[::-1]), *rest)
        for number, (values, *rest) in enumerate(reference(text, len(columns)))
    ]
    # A quoted empty field is text and an empty one is null: told apart in a test of its own.
    met = [
        (
            number,
            (value if value == "INT_ALPHA_005" else UNPARSED)
            if isinstance(value, str)
            else tuple(item or None for item in value),
            original,
            line - 1,
        )
        for number, value, original, line in outcomes(chunks)
    ]
    assert met == expected
    for number, chunk in enumerate(chunks):
        again = read(
            source(tmp_path, columns=" ".join(columns[::-1]), READ_BYTES=97, RECORD_BYTES_MAX=LIMIT), chunk.next
        )
        assert list(outcomes(again)) == list(outcomes(chunks[number + 1 :]))
        assert [chunk.next.sequence for chunk in again][-1:] == [chunk.next.sequence for chunk in chunks[number + 1 :]][
            -1:
        ]


@pytest.mark.parametrize("share", [1.0, 0.5, 0.001])
def test_large_blocks_give_the_records_that_any_reader_of_csv_gives(tmp_path: Path, share: float) -> None:
    chance = random.Random(7)
    texts = ["line\n" * 500, 'a "quoted"\nword', ",\n,", "plain", "é" * 300]
    expected = [
        (str(number), chance.choice(texts) if chance.random() < share else "plain", "12.50") for number in range(20_000)
    ]
    content = io.StringIO()
    csv.writer(content, lineterminator="\n").writerows([("id", "name", "amount"), *expected])
    assert len(content.getvalue()) > 300_000
    files = source(tmp_path, content.getvalue().encode())
    assert rows(read(files)) == expected
    assert files.blocks_triaged == 0


def test_reading_again_from_any_chunk_gives_the_same_chunks(tmp_path: Path) -> None:
    chance = random.Random(7)
    fields = ["a", 'qu""ote', "new\nline", "comma,", "", "é", "x" * 40]
    lines = [",".join(f'"{chance.choice(fields)}"' for _ in range(3)) for _ in range(300)]
    lines[chance.randrange(300)] = "broken"
    files = source(tmp_path, ("id,name,amount\n" + "\n".join(lines) + "\n").encode(), READ_BYTES=200)
    chunks = read(files)
    assert len(chunks) > 40
    assert chunks[-1].end == 300
    for number, chunk in enumerate(chunks):
        again = read(files, chunk.next)
        assert [other.next for other in again] == [other.next for other in chunks[number + 1 :]]
        assert list(outcomes(again)) == list(outcomes(chunks[number + 1 :]))


# --- originals, read again ----------------------------------------------------------------------------------------


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(pieces=st.lists(PIECES, max_size=60), columns=st.sampled_from(["b", "abc"]))
def test_originals_read_again_give_the_records_they_were(tmp_path: Path, pieces: list[bytes], columns: str) -> None:
    content = ",".join(columns).encode() + b"\n" + b"".join(pieces)
    files = source(tmp_path, content, columns=" ".join(columns), RECORD_BYTES_MAX=LIMIT)
    met = list(outcomes(read(files)))
    again = files.reread(PARTITION, [original for _, _, original, _ in met])
    good = iter(again.records.to_pylist())
    values = [again.errors[at].code if at in again.errors else tuple(next(good).values()) for at in range(len(met))]
    assert next(good, None) is None
    # What is wrong is said of the whole file's text at first, and of the one record's later.
    unparsed = {"INT_ALPHA_001", "INT_ALPHA_006"}
    assert [UNPARSED if value in unparsed else value for value in values] == [
        UNPARSED if value in unparsed else value for _, value, _, _ in met
    ]


def test_an_original_is_parsed_as_records_are_parsed_now(tmp_path: Path) -> None:
    (chunk,) = read(source(tmp_path, b"id,name,amount\n1;2;3\n4;5\n"))
    originals = [bad.original.content for bad in chunk.bad]
    files = source(tmp_path, b"amount;id;name\n", format=FileFormat(delimiter=";"))
    again = files.reread(PARTITION, originals)
    assert again.records.to_pylist() == [{"id": "2", "name": "3", "amount": "1"}]
    assert [(at, error.message) for at, error in again.errors.items()] == [(1, "expected 3 fields, found 2")]


def test_an_original_that_was_cut_short_is_never_taken_for_whole(tmp_path: Path) -> None:
    (chunk,) = read(source(tmp_path, b"id,name,amount\n1,a," + b"x" * 100, RECORD_BYTES_MAX=LIMIT))
    again = source(tmp_path).reread(PARTITION, [chunk.bad[0].original.content])
    assert again.records.num_rows == 0
    assert again.errors[0].code == "INT_ALPHA_006"


def test_what_is_more_or_less_than_one_record_is_refused(tmp_path: Path) -> None:
    again = source(tmp_path, b"id,name,amount\n").reread(PARTITION, [b"1,2,3\n4,5,6", b"", b"7,8,9", b"\n1,2,3"])
    assert again.records.to_pylist() == [{"id": "7", "name": "8", "amount": "9"}]
    assert sorted(again.errors) == [0, 1, 3]


def test_originals_cannot_be_read_again_without_the_files_header(tmp_path: Path) -> None:
    files = source(tmp_path, b"id,name,amount\n")
    (tmp_path / PARTITION).unlink()
    with pytest.raises(UserMistake, match=r"INT_ALPHA_010 data/orders.csv is not there"):
        files.reread(PARTITION, [b"1,2,3"])


# --- speed and memory ---------------------------------------------------------------------------------------------


def test_clean_data_is_never_looked_at_record_by_record(tmp_path: Path) -> None:
    chance = random.Random(7)
    names = ["plain", "comma, dot", 'a ""quote""', "é", "", ",", ",x,", "two\nlines", "or\neven\nthree"]
    lines = [f'{number},"{chance.choice(names)}",{"a tail in which blocks end" * 3}' for number in range(5_000)]
    for line_break in ("\n", "\r\n"):
        content = ("id,name,amount\n" + "\n".join(lines)).replace("\n", line_break).encode()
        files = source(tmp_path, content, READ_BYTES=4096, RECORD_BYTES_MAX=1000)
        assert sum(chunk.records.num_rows for chunk in read(files)) == 5_000
        assert files.blocks_triaged == 0


def test_only_the_block_with_the_trouble_is_looked_at_record_by_record(tmp_path: Path) -> None:
    lines = [f"{number},plain,12.50" for number in range(5_000)]
    lines[2_500] = "broken"
    files = source(tmp_path, ("id,name,amount\n" + "\n".join(lines)).encode(), READ_BYTES=4096)
    read(files)
    assert files.blocks_triaged == 1


def test_a_chunk_says_what_holding_its_originals_costs(tmp_path: Path) -> None:
    (chunk,) = read(source(tmp_path, b"id,name,amount\n" + b"1,abc,x\n" * 1_000))
    assert chunk.size_bytes == 8_000
