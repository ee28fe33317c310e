"""Hide what a record says and keep how it is built, so that it can be shown, logged and talked about."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Final

SHOWN_BYTES_MAX = 4096
"""Of longer records only the beginning is masked and shown: what is wrong is seen there, or not at all by eye."""

_LENGTHS: Final = (1, 2, 4, 8, 16)
_ESCAPES: Final = {"\t": "\\t", "\n": "\\n", "\r": "\\r"}
_PARTS: Final = re.compile(r"(?P<digits>[0-9]+)|(?P<letters>(?:[A-Za-z]|[^\x00-\x7f])+)|(?P<control>[\x00-\x1f\x7f])")


def mask(original: bytes) -> str:
    r"""Return `original` with its content hidden: one line of printable ASCII, fit for a terminal.

    Digits become `9`; letters, and everything beyond ASCII, become `x`. A run of either is shown 1, 2, 4, 8 or 16
    long, whichever is next above its length, so that lengths give nothing away. ASCII punctuation and spaces stay:
    they separate fields. Tab, line feed and carriage return are written `\t`, `\n`, `\r`; other control characters
    become `?`. What lies beyond `SHOWN_BYTES_MAX` is left out and said by its size.
    """
    shown = original[:SHOWN_BYTES_MAX].decode("utf-8", errors="replace")
    masked = _PARTS.sub(_hide, shown)
    rest = len(original) - SHOWN_BYTES_MAX
    return f"{masked} ... and {rest} bytes more" if rest > 0 else masked


def _hide(part: re.Match[str]) -> str:
    text = part.group()
    if part.lastgroup == "control":
        return _ESCAPES.get(text, "?")
    return ("9" if part.lastgroup == "digits" else "x") * _shown_length(len(text))


def _shown_length(length: int) -> int:
    return next((known for known in _LENGTHS if length <= known), _LENGTHS[-1])
