"""Plain scalars by the core schema of YAML 1.2.2, section 10.3.2: null, true, false and numbers; all else is text.

So `no` is the country, `12:30` a time as written, `2024-01-01` a date as written, and `007` seven.
"""

from __future__ import annotations

import re
from decimal import Decimal
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from penstock.documents.values import Scalar

NUMBER_CHARACTERS_MAX = 100
"""A longer run of digits is text: no count or amount has it, and reading it takes time that grows with its square."""

_WORDS: Mapping[str, bool | None] = MappingProxyType(
    dict.fromkeys(("", "~", "null", "Null", "NULL"))
    | dict.fromkeys(("true", "True", "TRUE"), True)
    | dict.fromkeys(("false", "False", "FALSE"), False)
)
_WHOLE = re.compile(r"[-+]?[0-9]+")
_BASED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_POINTED = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]{1,3})?")


def resolve(text: str) -> Scalar:
    """Return what a plain scalar means. Numbers with a point stay exact; infinity and NaN, which no key takes, text."""
    if text in _WORDS:
        return _WORDS[text]
    if len(text) > NUMBER_CHARACTERS_MAX:
        return text
    if _WHOLE.fullmatch(text):
        return int(text)
    if _BASED.fullmatch(text):
        return int(text, 0)
    if _POINTED.fullmatch(text):
        return Decimal(text)
    return text
