"""What a YAML parser's complaint means for the person who wrote the line."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import yaml


@dataclass(frozen=True, slots=True)
class Explained:
    """A complaint in words: at which character of the text, what is wrong, what to do ("" for the usual)."""

    index: int
    message: str
    remedy: str


@dataclass(frozen=True, slots=True)
class _Row:
    """A complaint is known by words of its context and its problem. `at_context` points to where the trouble began."""

    context: str
    problem: str
    at_context: bool
    message: str
    remedy: str


_QUOTE_IT = "put the value in quotes"

_COMPLAINTS: tuple[_Row, ...] = (
    _Row("quoted scalar", "unexpected end", True, "the quote that opens here is not closed", "close it"),
    _Row("quoted scalar", "document indicator", True, "the quote that opens here is not closed", "close it"),
    _Row("quoted scalar", "escape", False, "no such escape after a backslash", "double the backslash"),
    _Row("quoted scalar", "", True, "this text in quotes cannot be read", "look at its backslashes"),
    _Row("scanning an alias", "", True, "a value cannot begin with a bare `*`", 'put it in quotes: "*"'),
    _Row("scanning an anchor", "", True, "a value cannot begin with a bare `&`", _QUOTE_IT),
    _Row("scanning a tag", "", True, "a value cannot begin with a bare `!`", _QUOTE_IT),
    _Row("parsing a tag", "", True, "a value cannot begin with a bare `!`", _QUOTE_IT),
    _Row("block scalar", "", True, "a value cannot begin with a bare `>` or `|`", _QUOTE_IT),
    _Row("directive", "", True, "a line cannot begin with a bare `%`", _QUOTE_IT),
    _Row("simple key", "", True, "a colon is missing after this, or it is indented wrongly", "mend the line"),
    _Row("", "cannot start any token", False, "a value cannot begin with this character", _QUOTE_IT),
    _Row("flow sequence", "", False, "a comma or `]` is missing", "close the list, or put a text with `:` in quotes"),
    _Row("flow mapping", "", False, "a comma or `}` is missing", "close the braces, or put a text with `:` in quotes"),
    _Row("flow node", "", False, "the brackets are not closed", "close them"),
    _Row("", "sequence entries are not allowed", False, "a list cannot begin here", "begin it on a line of its own"),
    _Row("block collection", "", False, "this line does not fit the list above it", "indent it like the other entries"),
    _Row("block mapping", "", False, "this does not fit what stands above it", "indent it like its neighbours"),
    _Row("block node", "", False, "a value cannot begin with this character", _QUOTE_IT),
    _Row("", "document start", False, "this does not fit what stands above it", "indent it like its neighbours"),
)

_BLANK_MISSING = re.compile(r"\s*(?:- +)*[\w-]+:[^\s:/][^:]*")


def explain(error: yaml.MarkedYAMLError, text: str) -> Explained:
    """Say in words what `error` complains about in `text`."""
    problem_at = error.problem_mark.index if error.problem_mark else 0
    start = text.rfind("\n", 0, problem_at) + 1
    indentation = re.match(r"[ \t]*", text[start : problem_at + 1])
    assert indentation is not None, "the pattern matches nothing, too"
    if "\t" in indentation[0]:
        at = start + indentation[0].index("\t")
        return Explained(at, "a tab stands in the indentation", "indent with blanks")
    if "mapping values are not allowed" in (error.problem or ""):
        return _colon(text, start, problem_at)
    for row in _COMPLAINTS:
        if row.context in (error.context or "") and row.problem in (error.problem or ""):
            at = error.context_mark.index if row.at_context and error.context_mark else problem_at
            return Explained(at, row.message + _opened(error, row), row.remedy)
    return Explained(problem_at, f"not YAML: {error.problem or error.context or 'it cannot be read'}", "")


def _opened(error: yaml.MarkedYAMLError, row: _Row) -> str:
    """For brackets that are not closed, say which."""
    if not row.context.startswith("flow") or error.context_mark is None or error.problem_mark is None:
        return ""
    lines_ago = error.problem_mark.line - error.context_mark.line
    return f"; it opened {lines_ago} line{'' if lines_ago == 1 else 's'} above" if lines_ago else ""


def _colon(text: str, start: int, problem_at: int) -> Explained:
    """A colon that cannot be: the second in its line, or the first in a line that does not fit the one above."""
    before = text[start:problem_at]
    if ": " in before:
        return Explained(problem_at, "a second `: ` stands in this line", "put all after the first one in quotes")
    above_start = text.rfind("\n", 0, max(start - 1, 0)) + 1
    above = text[above_start : max(start - 1, 0)]
    if _BLANK_MISSING.fullmatch(above) and ": " not in above:
        return Explained(above_start + above.index(":"), "no blank stands after the colon", "add one")
    at = start + len(before) - len(before.lstrip())
    return Explained(at, "this line does not fit the one above it", "indent it like its neighbours")
