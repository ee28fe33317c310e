"""Text to tree, within limits. No name is looked at here."""

from __future__ import annotations

import sqlglot
from sqlglot import exp
from sqlglot.dialects.duckdb import DuckDB
from sqlglot.errors import ParseError, TokenError
from sqlglot.parsers.duckdb import DuckDBParser
from sqlglot.tokenizer_core import Token, TokenType

from penstock.expressions.mistake import NotAnExpression

TEXT_MAX = 10_000
"""Characters of one expression. Longer ones are not written by hand, and every plan carries them."""
NESTING_MAX = 20
"""Brackets inside brackets. The parser calls itself for each, and Python's stack is finite."""
DEPTH_MAX = 80
"""Levels of the tree, for the same reason: `a + b + c` counts one for each operator."""

WRITTEN = "written"
"""Key of a call's `meta`: the function's name as the text has it, in lower case."""

_OPENING = frozenset({TokenType.L_PAREN, TokenType.L_BRACKET, TokenType.L_BRACE})
_CLOSING = frozenset({TokenType.R_PAREN, TokenType.R_BRACKET, TokenType.R_BRACE})


class Dialect(DuckDB):
    """DuckDB's SQL, except that type names mean in an expression what they mean in a column's declaration."""

    class Tokenizer(DuckDB.Tokenizer):
        """`float` is double precision, as in PostgreSQL, not DuckDB's four bytes."""

        KEYWORDS = {**DuckDB.Tokenizer.KEYWORDS, "FLOAT": TokenType.DOUBLE, "FLOAT8": TokenType.DOUBLE}  # noqa: RUF012 - the base class is written so

    class Parser(DuckDBParser):
        """`numeric` without digits stays so, to be given our digits, not DuckDB's (18,3)."""

        TYPE_CONVERTERS = {}  # noqa: RUF012 - the base class is written so


def parse(text: str) -> exp.Expr:
    """Return the syntax tree of one scalar expression; NotAnExpression for anything else."""
    _tokens_are_plain(_tokens(text))
    try:
        tree = sqlglot.parse_one(text, dialect=Dialect, into=exp.Condition)
    except ParseError as error:
        raise _unreadable(text, error) from None
    except RecursionError:
        raise _too_deep() from None
    if _depth(tree) > DEPTH_MAX:
        raise _too_deep()
    for node in tree.find_all(exp.Func):
        if "start" in node.meta:
            node.meta[WRITTEN] = text[node.meta["start"] : node.meta["end"] + 1].lower()
    return tree


def _tokens(text: str) -> list[Token]:
    if len(text) > TEXT_MAX:
        raise NotAnExpression(f"an expression of {len(text):,} characters", f"stay below {TEXT_MAX:,}")
    try:
        tokens = Dialect().tokenize(text)
    except TokenError:
        raise NotAnExpression("a quote is opened and not closed", "close it; a quote inside is written twice") from None
    if not tokens:
        raise NotAnExpression("the expression is empty", "write one, such as `total_amount >= 0`")
    return tokens


def _tokens_are_plain(tokens: list[Token]) -> None:
    open_brackets: list[Token] = []
    for token in tokens:
        if token.comments:
            raise NotAnExpression("a comment inside an expression", "say it beside the expression", token.start)
        if token.token_type is TokenType.SEMICOLON:
            raise NotAnExpression("a `;`: an expression is no statement", "take it out", token.start)
        if token.token_type in _OPENING:
            open_brackets.append(token)
        if token.token_type in _CLOSING and open_brackets:
            open_brackets.pop()
        if len(open_brackets) > NESTING_MAX:
            raise _too_deep()
    if open_brackets:
        raise NotAnExpression("a bracket is opened and not closed", "close it", open_brackets[-1].start)


def _unreadable(text: str, error: ParseError) -> NotAnExpression:
    found = error.errors[0] if error.errors else {}
    at, word = str(found.get("start_context") or ""), str(found.get("highlight") or "")
    offset = text.find(at + word) + len(at) if word and at + word in text else None
    if "missing for" in str(found.get("description")):
        return NotAnExpression("the expression ends too early" if not found.get("end_context") else
                               f"something is missing after `{word}`", "complete it", offset)  # fmt: skip
    what = f"cannot be read from `{word}` on" if word else "cannot be read"
    return NotAnExpression(what, "write one SQL expression, such as `total_amount - discount`", offset)


def _too_deep() -> NotAnExpression:
    return NotAnExpression("nested too deeply", "split it: make a column of the inner part and name that")


def _depth(tree: exp.Expr) -> int:
    deepest, todo = 0, [(tree, 1)]
    while todo:
        node, depth = todo.pop()
        deepest = max(deepest, depth)
        todo.extend((child, depth + 1) for child in node.iter_expressions())
    return deepest
