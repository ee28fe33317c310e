"""Compares the columns that a file has with those that the document declares."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from penstock.errors import UserMistake

if TYPE_CHECKING:
    from collections.abc import Sequence

NAMES_SHOWN_MAX = 20
"""A header in an error message is for people to look at."""
DELIMITERS = ";\t|,"
"""What people divide fields by."""


def check_columns(partition: str, there: Sequence[str], needed: Sequence[str], delimiter: str = "") -> None:
    """Raise UserMistake where a needed column is not there, or is there twice. `delimiter` is empty for Parquet."""
    missing = [name for name in needed if name not in there]
    if missing:
        shown = ", ".join(there[:NAMES_SHOWN_MAX]) + (", ..." if len(there) > NAMES_SHOWN_MAX else "")
        raise UserMistake(
            "INT_ALPHA_011",
            f"{partition} lacks {', '.join(_with_suggestion(name, there) for name in missing)}; it has: {shown}",
            remedy=_other_delimiter(there, delimiter),
        )
    twice = [name for name in needed if there.count(name) > 1]
    if twice:
        raise UserMistake("INT_ALPHA_011", f"{partition} has two columns called `{twice[0]}`")


def _with_suggestion(name: str, there: Sequence[str]) -> str:
    folded = {other.strip().casefold(): other for other in there}
    near = difflib.get_close_matches(name.casefold(), folded, n=1)
    return f"`{name}` (did you mean `{folded[near[0]]}`?)" if near else f"`{name}`"


def _other_delimiter(there: Sequence[str], delimiter: str) -> str | None:
    """A header that is one column, with another usual delimiter in it, is the commonest reason of all."""
    if len(there) > 1 or not delimiter:
        return None
    other = next((other for other in DELIMITERS if other != delimiter and other in there[0]), None)
    return other and f"the header is not divided by {delimiter!r}: is the delimiter {other!r}?"
