"""Words of documents and data, shown as they are."""

from __future__ import annotations

from rich.text import Text


def plain(words: str, style: str = "") -> Text:
    """Return `words` with no markup read in them, and nothing left that a terminal would obey."""
    shown = (each if each.isprintable() or each == "\n" else "\N{REPLACEMENT CHARACTER}" for each in words)
    return Text("".join(shown), style)
