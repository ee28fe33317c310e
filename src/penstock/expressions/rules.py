"""Quality rules as people write them: "no duplicate order_id", "created_at not null", "total_amount >= 0"."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from penstock.expressions.mistake import NotAnExpression
from penstock.expressions.names import quote
from penstock.expressions.reading import read_predicate
from penstock.model.pipeline import RuleKind

if TYPE_CHECKING:
    from penstock.expressions.scope import Scope

UNDERSTOOD = "understood are `no duplicate order_id`, `created_at not null`, and conditions such as `total_amount >= 0`"

_NAME = r'(?:"[^"]+"|[A-Za-z_]\w*)'
_NAMES = rf"(?:{_NAME}(?:\s*(?:,|\+|\band\b)\s*{_NAME})*)"
_COLUMNS = rf"(?P<columns>\(\s*{_NAMES}\s*\)|{_NAMES})"
_BE = r"(?:(?:is|are|must\s+be|should\s+be)\s+)?"
_PHRASES: tuple[tuple[RuleKind, re.Pattern[str]], ...] = tuple(
    (kind, re.compile(pattern, re.IGNORECASE))
    for kind, pattern in (
        (RuleKind.UNIQUE, rf"no\s+duplicates?(?:\s+(?:of|in|on|by))?\s+{_COLUMNS}"),
        (RuleKind.UNIQUE, rf"unique(?:\s+on)?\s*{_COLUMNS}"),
        (RuleKind.UNIQUE, rf"{_COLUMNS}\s+{_BE}unique"),
        (RuleKind.NOT_NULL, rf"no\s+nulls?(?:\s+(?:of|in))?\s+{_COLUMNS}"),
        (RuleKind.NOT_NULL, rf"not\s+null\s+{_COLUMNS}"),
        (RuleKind.NOT_NULL, rf"{_COLUMNS}\s+{_BE}(?:not|never)\s+null"),
    )
)
"""The phrases, tried in this order; whatever fits none is read as SQL. docs/rules.md shows them."""
_WORD = re.compile(_NAME)


@dataclass(frozen=True, slots=True)
class RuleText:
    """A rule, understood. `columns` are in their declared spelling; `predicate` is SQL, empty for UNIQUE.

    A null predicate counts as met, as in SQL's CHECK.
    """

    kind: RuleKind
    columns: tuple[str, ...]
    predicate: str


def read_rule(text: str, scope: Scope) -> RuleText:
    """Read a rule over the columns of `scope`.

    Raises NotAnExpression with what would be understood, or the nearest name of a column that is not there.
    """
    phrase = _phrase(text)
    if phrase is None:
        return _condition(text, scope)
    kind, written = phrase
    columns = tuple(dict.fromkeys(scope.find(name, offset=offset)[1].name for name, offset in written))
    if kind is RuleKind.UNIQUE:
        return RuleText(kind, columns, "")
    return RuleText(kind, columns, " AND ".join(f"{quote(column)} IS NOT NULL" for column in columns))


def read_columns(text: str) -> tuple[tuple[str, int], ...]:
    """Read a list such as "date + store_id" into names, each with its 0-based offset. NotAnExpression otherwise."""
    match = re.fullmatch(rf"\s*{_COLUMNS}\s*", text, re.IGNORECASE)
    if match is None:
        raise NotAnExpression(f"`{text}` is not a list of columns", "write `order_id` or `date + store_id`")
    return _listed(match)


def _phrase(text: str) -> tuple[RuleKind, tuple[tuple[str, int], ...]] | None:
    stripped = text.strip().rstrip(".")
    shift = len(text) - len(text.lstrip())
    for kind, pattern in _PHRASES:
        if match := pattern.fullmatch(stripped):
            return kind, tuple((name, offset + shift) for name, offset in _listed(match))
    return None


def _listed(match: re.Match[str]) -> tuple[tuple[str, int], ...]:
    start = match.start("columns")
    words = ((word[0], start + word.start()) for word in _WORD.finditer(match["columns"]))
    return tuple((word.strip('"'), offset) for word, offset in words if word.lower() != "and")


def _condition(text: str, scope: Scope) -> RuleText:
    try:
        expression = read_predicate(text, scope)
    except NotAnExpression as why:
        if why.offset is None or "cannot be read" in why.message:
            raise NotAnExpression(f"`{text}` is no rule that is understood: {why.message}", UNDERSTOOD,
                                  why.offset) from None  # fmt: skip
        raise
    if not expression.columns:
        raise NotAnExpression(f"`{text}` names no column", UNDERSTOOD)
    return RuleText(RuleKind.PREDICATE, expression.columns, expression.sql)
