"""What was looked at before a run, as people read it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.cli.plain import plain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.text import Text

    from penstock.orchestration.doctor import Examined

WIDTH = 28


def examined_lines(each: Examined) -> Iterator[Text]:
    """Say in a line what was found, and in a second what to do about it."""
    mark, style = ("✓", "") if each.is_well else ("✗", "bold red")
    code = f"{each.trouble} " if each.trouble else ""
    yield plain(f"{mark} {each.what:<{WIDTH}} {code}{each.found}", style)
    if each.remedy:
        yield plain(f"  {'':<{WIDTH}} {each.remedy}")
