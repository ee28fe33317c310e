"""YAML as documents use it: what scalars mean, where mistakes are seen, what the limits are."""

from __future__ import annotations

import time
from collections.abc import Callable
from decimal import Decimal

import pytest

from penstock.documents import Documents, tree
from penstock.documents.blocks import lines_of
from penstock.documents.scalars import NUMBER_CHARACTERS_MAX, resolve

Loaded = Callable[..., Documents]


def value_of(text: str) -> tree.Value:
    (one,), findings = tree.read("x.yaml", lines_of(text))
    assert (one.findings, findings) == ((), ())
    return one.value


def said(text: str) -> list[tuple[int, int, str, str]]:
    trees, findings = tree.read("x.yaml", lines_of(text))
    every = [finding for one in trees for finding in one.findings] + list(findings)
    return [(finding.place.line, finding.place.column, finding.code, finding.message) for finding in every]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"), ("yes", "yes"), ("on", "on"), ("NO", "NO"), ("y", "y"),
        ("12:30", "12:30"), ("190:20:30", "190:20:30"), ("2024-01-01", "2024-01-01"), ("1_000", "1_000"),
        ("0b1", "0b1"), ("=", "="), (".inf", ".inf"), (".nan", ".nan"), ("1e9999", "1e9999"), ("nan", "nan"),
        ("", None),
        ("null", None), ("Null", None), ("NULL", None), ("~", None), ("nULL", "nULL"),
        ("true", True), ("True", True), ("TRUE", True), ("false", False), ("tRUE", "tRUE"),
        ("0", 0), ("007", 7), ("-5", -5), ("+5", 5), ("0o17", 15), ("0x1F", 31), ("-0x1F", "-0x1F"),
        ("1.50", Decimal("1.50")), (".5", Decimal("0.5")), ("1.", Decimal(1)), ("-1e3", Decimal("-1e3")), (".", "."),
        ("1" * NUMBER_CHARACTERS_MAX, int("1" * NUMBER_CHARACTERS_MAX)),
        ("1" * (NUMBER_CHARACTERS_MAX + 1), "1" * (NUMBER_CHARACTERS_MAX + 1)),
        ("١٢", "١٢"),
    ],
)  # fmt: skip
def test_plain_scalars_mean_what_yaml_1_2_says(text: str, value: object) -> None:
    assert resolve(text) == value
    assert type(resolve(text)) is type(value)


def test_what_stands_in_quotes_or_blocks_is_text() -> None:
    text = "a: 'null'\nb: \"1\"\nc: |\n  true\nd: !!str 5\ne: >-\n  1\n  2\nf: ! 7\n"
    assert value_of(text) == {"a": "null", "b": "1", "c": "true\n", "d": "5", "e": "1 2", "f": "7"}


def test_keys_are_text_whatever_they_look_like() -> None:
    assert value_of("1: a\nnull: b\ntrue: c\n2024-01-01: d\n") == {
        "1": "a",
        "null": "b",
        "true": "c",
        "2024-01-01": "d",
    }


def test_an_alias_stands_for_what_it_names() -> None:
    assert value_of("a: &x [1, &y {b: 2}]\nc: *x\n&z d: *y\ne: *z\n") == {
        "a": [1, {"b": 2}], "c": [1, {"b": 2}], "d": {"b": 2}, "e": "d",
    }  # fmt: skip


def test_every_value_and_key_has_its_place() -> None:
    (one,), _ = tree.read("x.yaml", lines_of("a:\n  - b: é1\n    'c' : [x, y]\n  -\nd:\ne: &n 1\nf: *n\n"))
    places = one.places
    down = places.at(), places.at("a"), places.at("a", 0), places.at("a", 0, "b")
    assert [(at.line, at.column) for at in down] == [(1, 1), (2, 3), (2, 5), (2, 8)]
    key, second, empty, alias = places.key("a", 0, "c"), places.at("a", 0, "c", 1), places.at("d"), places.at("f")
    assert [(at.line, at.column) for at in (key, second, empty, alias)] == [(3, 5), (3, 15), (5, 1), (7, 4)]
    assert places.at("a", 0, "unknown", 7) == places.at("a", 0)
    assert str(places.at("a", 0, "b")) == "x.yaml:2:8"


@pytest.mark.parametrize(
    ("text", "line", "column", "words"),
    [
        ("a:\n\tb: 1\n", 2, 1, "a tab stands in the indentation"),
        ("a:\n  b: 1\n \tc: 2\n", 3, 2, "a tab stands in the indentation"),
        ('a: 1\nb: "abc\nc: 1\n', 2, 4, "the quote that opens here is not closed"),
        ("a: 'abc\n", 1, 4, "the quote that opens here is not closed"),
        ("a: 'it's'\n", 1, 8, "does not fit what stands above"),
        ('a: "\\q"\n', 1, 5, "no such escape after a backslash"),
        ("a:\n  - x\n - y\n", 3, 2, "does not fit"),
        ("a:\n   b: 1\n  c: 2\n", 3, 3, "does not fit what stands above it"),
        ("a: x\n  b: 1\n", 2, 3, "this line does not fit the one above it"),
        ("name:orders\nb: 1\n", 1, 5, "no blank stands after the colon"),
        ("a: b: c\n", 1, 5, "a second `: ` stands in this line"),
        ("a: [x, y\nb: 1\n", 2, 2, "a comma or `]` is missing; it opened 1 line above"),
        ("a: {b: 1\n", 2, 1, "a comma or `}` is missing; it opened 1 line above"),
        ("columns: [*, a]\n", 1, 11, "a value cannot begin with a bare `*`"),
        ("columns:\n  - *\n", 2, 5, "a value cannot begin with a bare `*`"),
        ("a: *nobody\n", 1, 4, "nothing before this is marked `&nobody`"),
        ("rule: >= 0\n", 1, 7, "a value cannot begin with a bare `>` or `|`"),
        ("a: @x\n", 1, 4, "a value cannot begin with this character"),
        ("a: `x`\n", 1, 4, "a value cannot begin with this character"),
        ("a: }\n", 1, 4, "a value cannot begin with this character"),
        ("a: - b\n", 1, 4, "a list cannot begin here"),
        ("a: &\n", 1, 4, "a value cannot begin with a bare `&`"),
    ],
)
def test_what_is_not_yaml_is_one_finding_in_words(text: str, line: int, column: int, words: str) -> None:
    ((at_line, at_column, code, message),) = said(text)
    assert (at_line, at_column, code) == (line, column, "DOC_010"), message
    assert words in message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\nb: 2\na: 3\n", [(3, 1, "DOC_011")]),
        ("a: {b: 1, 'b': {b: 2}}\n", [(1, 11, "DOC_011")]),
        ("a: 1\na: {x: 1, x: 2}\n", [(2, 1, "DOC_011"), (2, 11, "DOC_011")]),
        ("base: &b {x: 1}\na:\n  <<: *b\n", [(3, 3, "DOC_012")]),
        ("? [a, b]\n: 1\n", [(1, 3, "DOC_012")]),
        ('{"": 1}\n', [(1, 2, "DOC_012")]),
        ("a: !!python/name:os.system x\nb: !x y\n", [(1, 4, "DOC_012"), (2, 4, "DOC_012")]),
    ],
)
def test_what_yaml_allows_and_documents_do_not_are_findings(text: str, expected: list[tuple[int, int, str]]) -> None:
    assert [found[:3] for found in said(text)] == expected


def test_of_a_key_that_stands_twice_the_first_counts_and_both_lines_are_named() -> None:
    (one,), _ = tree.read("x.yaml", lines_of("a: 1\n\na: 2\n"))
    assert one.value == {"a": 1}
    assert one.findings[0].message == "`a` stands here twice, first in line 1"


def test_a_block_that_is_not_yaml_leaves_the_others_whole(loaded: Loaded) -> None:
    good = 'quality_requirements: ["a > 0"]\n'
    documents = loaded(f"## SCHEMA_TO_STREAM\n{good}\n## SCHEMA_TO_STREAM\na: [\n## SCHEMA_TO_STREAM\n{good}", "x.yaml")
    assert [block.document is not None for block in documents.blocks] == [True, True]
    assert [finding.code for finding in documents.findings] == ["DOC_010"]


def test_places_after_other_line_ends_are_those_that_an_editor_shows() -> None:
    assert [found[:3] for found in said("a: 'x\u2028y\u0085z'\r\nb: @\r\n")] == [(1, 8, "DOC_002")]
    assert [found[:3] for found in said("a: 'x\u2028y'\r\nb: @\r\n")] == [(2, 4, "DOC_010")]


# --- limits -------------------------------------------------------------------------------------------------------


def test_nesting_has_a_limit() -> None:
    deep = tree.DEPTH_MAX
    assert said("[" * deep + "1" + "]" * deep) == []
    for opening in ("[", "{a: ", "- ", "? "):
        ((line, _, code, _),) = said(opening * 100_000)
        assert (line, code) == (1, "DOC_003"), opening


def test_a_block_has_a_limit_of_values() -> None:
    assert said("a: [" + "1," * (tree.NODES_MAX - 3) + "]") == []
    assert [found[2] for found in said("a: [" + "1," * (tree.NODES_MAX - 2) + "]")] == ["DOC_003"]


def test_a_billion_laughs_are_counted_before_they_are_laughed() -> None:
    lines = ["a0: &a0 [lol]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    started = time.perf_counter()
    ((line, _, code, message),) = said("\n".join(lines))
    assert (code, line) == ("DOC_003", 7)
    assert "values" in message
    assert time.perf_counter() - started < 5


def test_a_long_text_repeated_is_counted_as_often_as_it_stands_there() -> None:
    text = f"a: &a {'x' * (1 << 20)}\nb: [{', '.join(['*a'] * 20)}]\n"
    ((line, _, code, message),) = said(text)
    assert (line, code) == (2, "DOC_003")
    assert "characters" in message
