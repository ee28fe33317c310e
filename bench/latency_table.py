"""Tables in Markdown, ready to be pasted into docs/."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], note: str) -> str:
    """Return a table, the first column to the left and the others to the right, with a note below it."""
    lines = [_line(columns), f"|---{'|---:' * (len(columns) - 1)}|", *map(_line, rows)]
    return "\n".join([*lines, "", note])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
