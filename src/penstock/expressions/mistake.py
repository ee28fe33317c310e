"""Why a text is not an expression that can be used."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class NotAnExpression(ValueError):
    """The text cannot be used as it stands. `str()` says why, `remedy` what to do.

    `offset` is the 0-based character in the text where it goes wrong, None where only the whole can be meant.
    """

    def __init__(self, message: str, remedy: str, offset: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.offset = offset


LIKENESS_MIN = 0.76
"""Share of letters that a slip of the pen leaves in place. Lower, and `customers` would be taken for `fct_orders`."""


class UnknownName(NotAnExpression):
    """A name in the text means nothing here."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the known name that `name` most likely means, empty where none is near."""
    by_folded = {candidate.casefold(): candidate for candidate in known}
    near = difflib.get_close_matches(name.casefold(), by_folded, n=1, cutoff=LIKENESS_MIN)
    return by_folded[near[0]] if near else ""


def did_you_mean(name: str, known: Iterable[str], otherwise: str) -> str:
    """Return a remedy: the nearest known name as a question, or `otherwise`."""
    near = nearest(name, known)
    return f"did you mean `{near}`?" if near else otherwise
