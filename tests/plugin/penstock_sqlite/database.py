"""Opening a SQLite file, and saying in people's words what goes wrong with it."""

from __future__ import annotations

import os
import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING

from penstock.errors import PenstockError, Unavailable, UserMistake

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BUSY_S = 1.0
"""How long the engine waits for another's lock before it says so."""
_PASSING = ("locked", "busy", "disk i/o", "full")
"""What trying later may help with, in the engine's words."""


def open_database(file: Path, mode: str, code: str) -> sqlite3.Connection:
    """Open `file`, read-only (`ro`) or to write, made where it is missing (`rwc`). Errors have the code `code`."""
    if not os.access(file if file.exists() else file.parent, os.R_OK if mode == "ro" else os.W_OK):
        raise UserMistake(code, f"`{file}` is not there or may not be opened")
    with explained(file, code):
        return sqlite3.connect(
            f"file:{file}?mode={mode}", uri=True, timeout=BUSY_S, isolation_level=None, check_same_thread=False
        )


@contextmanager
def explained(file: Path, code: str) -> Iterator[None]:
    """Turn the engine's errors into Penstock's."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        if isinstance(error, (sqlite3.IntegrityError, sqlite3.ProgrammingError)):
            raise  # a defect of ours
        kind: type[PenstockError] = Unavailable if any(sign in str(error) for sign in _PASSING) else UserMistake
        raise kind(code, f"`{file}`: {error}") from error


def quote(name: str) -> str:
    """Return a name as SQL has it."""
    return '"' + name.replace('"', '""') + '"'
