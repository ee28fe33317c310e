"""The error tree and its one table."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from penstock import errors
from penstock.errors import KINDS, PenstockError, Recoverability, Severity, UserMistake

SOURCES = Path(__file__).parents[1] / "src" / "penstock"
CODE = re.compile(r"INT_[A-Z]+_\d{3}")


def test_an_error_is_one_line_with_its_code_what_happened_and_what_to_do() -> None:
    error = UserMistake("INT_ALPHA_010", "data/orders.csv is missing")
    assert str(error) == "INT_ALPHA_010 data/orders.csv is missing; put the file there or name a connection"
    assert (error.message, error.kind.title) == ("data/orders.csv is missing", "source is missing")


def test_a_remedy_that_knows_more_replaces_the_tables() -> None:
    error = UserMistake("INT_ALPHA_010", "x is missing", remedy="run `make data`")
    assert error.remedy == "run `make data`"
    assert str(error).endswith("; run `make data`")


def test_a_code_that_is_not_in_the_table_cannot_be_raised() -> None:
    with pytest.raises(KeyError):
        UserMistake("INT_ALPHA_999", "x")


@pytest.mark.parametrize("code", KINDS)
def test_every_kind_says_what_it_is_and_what_to_do_in_one_line(code: str) -> None:
    kind = KINDS[code]
    assert CODE.fullmatch(code)
    assert kind.code == code
    for text in (kind.title, kind.remedy):
        assert text.strip() == text != ""
        assert "\n" not in text
        assert not text.endswith(".")


def test_titles_tell_kinds_apart() -> None:
    assert len({kind.title for kind in KINDS.values()}) == len(KINDS)


def test_what_only_a_person_can_mend_is_never_called_transient() -> None:
    critical = [kind for kind in KINDS.values() if kind.recoverability is Recoverability.UNKNOWN]
    assert critical == []
    assert {kind.severity for kind in KINDS.values()} == set(Severity)


def test_every_code_that_the_program_names_is_in_the_table() -> None:
    named = {code for path in SOURCES.rglob("*.py") for code in CODE.findall(path.read_text(encoding="utf-8"))}
    assert named - KINDS.keys() == set()


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    drawn = set(re.findall(r"[├└]── (\w+)", errors.__doc__ or ""))
    assert drawn == {each.__name__ for each in PenstockError.__subclasses__()}
