"""Dead letters as people and programs read them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from rich import box
from rich.table import Table

from penstock.cli.plain import plain
from penstock.ledger import mask

if TYPE_CHECKING:
    import pyarrow as pa

    from penstock.model.outcome import RecordError

COLUMNS = ("id", "source", "line", "stage", "code", "field", "message", "actual", "status")


HIDDEN = "***"


def letters_table(letters: pa.Table, masked: frozenset[str]) -> Table:
    """Lay out letters, one a row; values of `masked` columns hidden."""
    table = Table(box=box.SIMPLE_HEAD)
    for name in COLUMNS:
        table.add_column(name, overflow="fold", no_wrap=name in {"id", "line", "code"})
    for letter in letters.select(COLUMNS).to_pylist():
        shown = _hide(letter, masked)
        table.add_row(*(plain(str(shown[name])) for name in COLUMNS))
    return table


def letters_words(letters: pa.Table, masked: frozenset[str], *, reveal: bool) -> list[dict[str, Any]]:
    """Return letters as JSON can carry them; unless `reveal`, originals are masked and `masked` columns hidden."""
    found = []
    for letter in letters.to_pylist():
        shown = letter | {"errors": msgspec.json.decode(letter["errors"])}
        if reveal:
            shown["original"] = letter["original"].decode("utf-8", "backslashreplace")
        else:
            errors = [_hide(error, masked) for error in shown["errors"]]
            shown = _hide(shown, masked) | {"errors": errors, "original": mask(letter["original"])}
        found.append({name: str(value) if hasattr(value, "isoformat") else value for name, value in shown.items()})
    return found


def error_words(error: RecordError, masked: frozenset[str]) -> str:
    """Say in a line what is wrong with a record; a value of a masked column hidden."""
    shown = _hide({name: getattr(error, name) for name in ("code", "field", "message", "actual")}, masked)
    cites = f", which is {shown['actual']}" if shown["actual"] not in {"", HIDDEN} else ""
    return f"{shown['code']}: {shown['message']}{cites}"


def _hide(error: dict[str, Any], masked: frozenset[str]) -> dict[str, Any]:
    """Hide the value at fault where it is, or cites, one of a masked column; the message may cite it too."""
    names = {error["field"], *(cited.partition(" = ")[0] for cited in error["actual"].split(", "))}
    if masked.isdisjoint(names):
        return error
    return error | {"actual": HIDDEN, "message": f"`{error['field']}`: {HIDDEN}"}
