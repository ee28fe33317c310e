"""The first records of a source, as people and programs read them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich import box
from rich.table import Table

from penstock.cli.letters import HIDDEN, error_words
from penstock.cli.plain import plain

if TYPE_CHECKING:
    from rich.text import Text

    from penstock.model.outcome import DeadLetter
    from penstock.orchestration.preview import Preview

NULL = "∅"


def preview_table(found: Preview, masked: frozenset[str]) -> Table:
    """Lay out the good records, one a row, each column under its name and type; values of `masked` columns hidden."""
    table = Table(box=box.SIMPLE_HEAD)
    for field in found.rows.schema:
        table.add_column(plain(f"{field.name}\n{field.type}"), overflow="fold")
    for row in found.rows.to_pylist():
        table.add_row(*(_shown(name, value, masked) for name, value in row.items()))
    return table


def refused_line(letter: DeadLetter, masked: frozenset[str]) -> Text:
    """Say in a line why a record would be refused."""
    why = "; ".join(_why(letter, masked))
    return plain(f"refused: {letter.partition}, line {letter.line}: {why}", "yellow")


def preview_words(found: Preview, masked: frozenset[str]) -> dict[str, Any]:
    """Return the same as JSON can carry it: values as text, null as null."""
    return {
        "columns": [{"name": field.name, "type": str(field.type)} for field in found.rows.schema],
        "rows": [
            {name: None if value is None else HIDDEN if name in masked else _text(value) for name, value in row.items()}
            for row in found.rows.to_pylist()
        ],
        "refused": [
            {"partition": letter.partition, "line": letter.line, "errors": list(_why(letter, masked))}
            for letter in found.refused
        ],
    }


def _why(letter: DeadLetter, masked: frozenset[str]) -> list[str]:
    return [error_words(error, masked) for error in letter.errors]


def _shown(name: str, value: object, masked: frozenset[str]) -> Text:
    if value is None:
        return plain(NULL, "dim")
    return plain(HIDDEN if name in masked else _text(value))


def _text(value: object) -> str:
    return f"\\x{value.hex()}" if isinstance(value, bytes) else str(value)
