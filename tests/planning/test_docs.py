"""What must be documented is: every finding, every function, every phrase."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from penstock.documents import codes
from penstock.expressions import FUNCTIONS, NotAnExpression, Scope, read_expression, read_rule
from penstock.model.schema import Field, parse_type
from penstock.planning import KINDS

DOCS = Path(__file__).parents[2] / "docs"
PLANNING = (DOCS / "planning.md").read_text(encoding="utf-8")
RULES = (DOCS / "rules.md").read_text(encoding="utf-8")


def test_the_page_lists_exactly_the_findings_that_there_are() -> None:
    listed = [line for line in PLANNING.splitlines() if line.startswith("| `PLAN_")]
    assert listed == [f"| `{each.code}` | {each.level} | {each.title} | {each.remedy} |" for each in KINDS.values()]


def test_codes_are_in_order_and_open_questions_come_after_errors() -> None:
    assert list(KINDS) == sorted(KINDS)
    assert {each.level for code, each in KINDS.items() if code < "PLAN_101"} == {"error"}
    assert {each.level for code, each in KINDS.items() if code >= "PLAN_101"} == {"open question"}
    assert not KINDS.keys() & codes.KINDS.keys()


def test_every_finding_is_provoked_by_some_test() -> None:
    tests = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    assert [code for code in KINDS if f'"{code}"' not in tests and f" {code} " not in tests] == []


def test_the_page_lists_exactly_the_functions_that_there_are() -> None:
    table = RULES.partition("| call | gives |")[2].partition("\n\n")[0]
    assert table.splitlines()[2:] == [f"| `{each.call}` | {each.gives} |" for each in FUNCTIONS]


SCOPE = Scope(
    tuple(
        Field(name, parse_type(type_))
        for name, type_ in {
            "order_id": "bigint", "a": "bigint", "b": "bigint", "c": "boolean", "total_amount": "numeric(10,2)",
            "total": "numeric(10,2)", "discount": "numeric(10,2)", "created_at": "timestamp", "status": "text",
            "odd name": "text",
        }.items()
    ),
    {"customer": (Field("name", parse_type("text")),)},
    "orders",
)  # fmt: skip


@pytest.mark.parametrize("row", [line for line in RULES.splitlines() if line.startswith("| `")][:3])
def test_every_rule_that_the_page_shows_is_understood(row: str) -> None:
    written = re.findall(r"`([^`]+)`", row.split("|")[1])
    assert written
    for text in written:
        assert read_rule(text, SCOPE).columns


@pytest.mark.parametrize(
    ("text", "is_taken"),
    [
        ('orders.total_amount || "odd name" || customer.name', True),
        ("(a = b) = c", True),
        ("a = b = c", False),
        ("cast(discount / total as numeric(5,4))", True),
        ("round(discount / total, 4)", True),
        ("1 - discount / total", False),
        ("now()", False),
        ("random()", False),
    ],
)
def test_what_the_page_says_of_expressions_is_so(text: str, is_taken: bool) -> None:  # noqa: FBT001 - the expectation
    def taken() -> bool:
        try:
            read_expression(text, SCOPE)
        except NotAnExpression:
            return False
        return True

    assert taken() is is_taken
    assert all(part in RULES for part in re.findall(r"[\w.]+(?:\(\))?", text) if part not in {"4", "5"})
