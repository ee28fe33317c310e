"""Messages of the plug-in pgoutput, byte by byte as the manual has them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.connectors.sources.postgres.changes import Changes, Table
from penstock.connectors.sources.postgres.pgoutput import (
    UNSENT,
    Begin,
    Commit,
    Delete,
    Insert,
    NotDecodable,
    Relation,
    Truncate,
    Update,
    decode,
)
from penstock.connectors.sources.postgres.positions import StreamToken, lsn_of, lsn_text
from penstock.errors import ContentChanged, UserMistake

RELATION = b"R" + (7).to_bytes(4) + b"public\0orders\0d" + (2).to_bytes(2) + (
    b"\1id\0" + (20).to_bytes(4) + b"\xff\xff\xff\xff" + b"\0name\0" + (25).to_bytes(4) + b"\xff\xff\xff\xff"
)  # fmt: skip
TABLE = Table("public", "orders", ("name", "id"), ("id",))
START = StreamToken("slot", 100)


def begin(lsn: int) -> bytes:
    return b"B" + lsn.to_bytes(8) + (0).to_bytes(8) + (1).to_bytes(4)


def commit(lsn: int, end: int) -> bytes:
    return b"C\0" + lsn.to_bytes(8) + end.to_bytes(8) + (0).to_bytes(8)


def row(*values: str | None) -> bytes:
    parts = [b"n" if value is None else b"t" + len(value.encode()).to_bytes(4) + value.encode() for value in values]
    return len(values).to_bytes(2) + b"".join(parts)


def insert(*values: str | None, relation: int = 7) -> bytes:
    return b"I" + relation.to_bytes(4) + b"N" + row(*values)


def test_every_kind_of_message_is_read() -> None:
    assert decode(begin(0x16B374D848)) == Begin(0x16B374D848)
    assert decode(commit(5, 9)) == Commit(5, 9)
    assert decode(RELATION) == Relation(7, "public", "orders", ("id", "name"))
    assert decode(insert("1", None)) == Insert(7, ["1", None])
    assert decode(b"U" + (7).to_bytes(4) + b"N" + row("1", "\U0001f989")) == Update(7, ["1", "\U0001f989"], None, None)
    changed = b"U" + (7).to_bytes(4) + b"K" + row("1", None) + b"N" + (2).to_bytes(2) + b"t" + (1).to_bytes(4) + b"2u"
    assert decode(changed) == Update(7, ["2", UNSENT], None, ["1", None])
    whole = b"U" + (7).to_bytes(4) + b"O" + row("1", "a") + b"N" + row("1", "")
    assert decode(whole) == Update(7, ["1", ""], ["1", "a"], None)
    assert decode(b"D" + (7).to_bytes(4) + b"K" + row("1", None)) == Delete(7, ["1", None])
    assert decode(b"T" + (2).to_bytes(4) + b"\1" + (7).to_bytes(4) + (8).to_bytes(4)) == Truncate((7, 8))
    assert decode(b"O" + (1).to_bytes(8) + b"elsewhere\0") is None


@given(st.binary(max_size=80))
def test_whatever_comes_is_read_or_refused(data: bytes) -> None:
    for message in (data, b"U" + data, b"I" + data, b"R" + data, b"T" + data):
        try:
            decode(message)
        except NotDecodable as error:
            assert str(error)  # noqa: PT017 - either is right


@pytest.mark.parametrize("whole", [RELATION, insert("1", "name"), begin(1), commit(1, 2)], ids=["R", "I", "B", "C"])
def test_a_message_that_is_cut_short_is_refused(whole: bytes) -> None:
    for length in range(len(whole)):
        with pytest.raises(NotDecodable):
            decode(whole[:length])


@given(st.integers(0, (1 << 64) - 1))
def test_places_in_the_log_are_written_as_they_are_read(lsn: int) -> None:
    assert lsn_of(lsn_text(lsn)) == lsn


def test_a_position_in_the_middle_of_a_transaction_is_found_again_and_only_in_that_transaction() -> None:
    messages = [RELATION, begin(200), *(insert(str(n), f"n{n}") for n in range(5)), commit(200, 210)]
    changes = Changes(TABLE, START, lambda _: {})
    for message in messages[:4]:
        changes.take(message)
    given_ = changes.give()[0].to_pylist()
    token = changes.token
    assert (token.lsn, token.commit, token.done) == (100, 200, 2)
    again = Changes(TABLE, token, lambda _: {})
    for message in messages:
        again.take(message)
    assert given_ + again.give()[0].to_pylist() == [{"name": f"n{n}", "id": str(n)} for n in range(5)]
    assert again.token == StreamToken("slot", 210)
    other = Changes(TABLE, token, lambda _: {})
    with pytest.raises(ContentChanged, match="no longer has the transaction"):
        other.take(begin(201))
    shorter = Changes(TABLE, token, lambda _: {})
    for message in (RELATION, begin(200), insert("0", "n0")):
        shorter.take(message)
    with pytest.raises(ContentChanged, match="no longer has the transaction"):
        shorter.take(commit(200, 210))


def test_tables_of_others_and_transactions_without_ours_only_move_the_position() -> None:
    changes = Changes(TABLE, START, lambda _: {})
    for message in (begin(200), RELATION.replace(b"orders", b"others"), insert("1", "x"), commit(200, 210)):
        changes.take(message)
    assert changes.records == 0
    assert changes.token == StreamToken("slot", 210)


def test_what_is_not_understood_stops_reading_with_a_clear_word() -> None:
    changes = Changes(TABLE, START, lambda _: {})
    with pytest.raises(UserMistake, match=r"INT_ALPHA_012 public\.orders: the server's log is not understood"):
        changes.take(b"S" + bytes(9))
