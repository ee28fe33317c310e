"""What is shown of a record without --reveal."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.ledger import mask


@pytest.mark.parametrize(
    ("original", "masked"),
    [
        (b"17,Ada Lovelace,2024-01-31", "99,xxxx xxxxxxxx,9999-99-99"),
        (b'"O\'Hara";-3.50|\tn/a', '"x\'xxxx";-9.99|\\tx/x'),
        ("Łódź,ß,東京都".encode(), "xxxx,x,xxxx"),
        (b'{"id": 123456789}\r\n', '{"xx": 9999999999999999}\\r\\n'),
        (b"A1B22", "x9x99"),
        (b"\x00\x1b[31m\x7f", "??[99x?"),
        (b"\xff\xfe", "xx"),
        (b"", ""),
    ],
)
def test_letters_and_digits_are_hidden_and_what_separates_them_stays(original: bytes, masked: str) -> None:
    assert mask(original) == masked


@pytest.mark.parametrize(("length", "shown"), [(1, 1), (2, 2), (3, 4), (4, 4), (5, 8), (9, 16), (16, 16), (400, 16)])
def test_a_run_shows_only_how_long_it_is_about(length: int, shown: int) -> None:
    assert mask(b"a" * length) == "x" * shown


def test_of_a_long_record_the_beginning_is_shown_and_the_rest_is_counted() -> None:
    assert mask(b"ab," * 2000).startswith("xx,xx,")
    assert mask(b"ab," * 2000).endswith(" ... and 1904 bytes more")


@given(st.binary(max_size=300))
def test_nothing_but_punctuation_gets_through(original: bytes) -> None:
    masked = mask(original)
    assert masked.isascii()
    assert masked.isprintable() or not masked
    hidden = masked.replace("\\t", "").replace("\\n", "").replace("\\r", "")
    assert not set(hidden) & set(string.ascii_letters + string.digits) - {"x", "9"}


@given(st.text(alphabet=string.ascii_lowercase, min_size=1, max_size=16), st.integers(0, 10**12))
def test_what_looks_alike_cannot_be_told_apart(word: str, number: int) -> None:
    assert mask(f"{word},{number}".encode()) == mask(f"{'q' * len(word)},{'5' * len(str(number))}".encode())
