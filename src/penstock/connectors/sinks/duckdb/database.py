"""The file: opening it, how its engine is set, and saying in people's words what goes wrong with it."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import duckdb

from penstock.errors import PenstockError, Unavailable, UserMistake

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROW_GROUP_ROWS = 122_880
"""DuckDB stores tables in groups of so many rows. A transaction of at least one group goes straight to its place in
the file; a smaller one is written twice: to the log beside the file, and from there by the next checkpoint."""

_SETTINGS: tuple[str, ...] = (
    # Global, or a cursor would run in the machine's time zone. Known only once the engine is up.
    "SET GLOBAL TimeZone = 'UTC'",
)


def open_database(file: Path, memory_bytes: int) -> duckdb.DuckDBPyConnection:
    """Open `file` for writing, creating it and its folder where they are missing.

    Connections that one process opens to one file share an engine, its memory limit and its settings, which
    must therefore be the same for all. Raises UserMistake where the file cannot be written or is not a DuckDB
    file, Unavailable where another process has it open.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserMistake("INT_GAMMA_011", f"`{file.parent}` cannot be made: {error.strerror}") from error
    check_folder(file)
    # Whether the file is one of DuckDB's is for the engine to find out: a handle of our own, closed again, would
    # give up the lock that another connection of this process holds on it (POSIX record locks belong to processes).
    with explained(file):
        connection = duckdb.connect(
            str(file),
            config={
                "memory_limit": f"{memory_bytes}B",
                "preserve_insertion_order": True,
                "temp_directory": f"{file}.tmp",
                # Merging half-filled row groups at every checkpoint costs bulk loads a third of their time. `tidy`
                # asks for it where it pays.
                "max_vacuum_tasks": 0,
                "autoload_known_extensions": False,
                "autoinstall_known_extensions": False,
                # A Python variable that happens to be called like a table must not become one.
                "python_enable_replacements": False,
            },
        )
        for statement in _SETTINGS:
            connection.execute(statement)
    return connection


def check_folder(file: Path) -> None:
    """Raise UserMistake where nothing may be written beside `file`, whose folder may be missing itself.

    A file that may be written is not enough: the engine keeps its log beside it, from the first commit on.
    """
    folder = next(parent for parent in file.parents if parent.exists())
    if not os.access(folder, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
        raise UserMistake("INT_GAMMA_011", f"`{folder}` may not be written to")


def sync_names(file: Path) -> None:
    """Make the names of `file` and of the log beside it survive a power cut: the engine syncs what is in them only."""
    try:
        descriptor = os.open(file.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise Unavailable("INT_GAMMA_010", f"`{file.parent}` cannot be synced: {error.strerror}") from error


def catalog_of(connection: duckdb.DuckDBPyConnection) -> str:
    """Return the engine's name for the file, which names in statements must begin with.

    Without it, a schema that is called like the file would be ambiguous, and one called `temp` would not be in it.
    """
    (name,) = connection.execute("SELECT current_database()").fetchone() or ("",)
    return str(name)


def tidy(connection: duckdb.DuckDBPyConnection, tasks: int) -> None:
    """Let checkpoints from now on merge row groups that are half empty, `tasks` merges at a time or more."""
    (now,) = connection.execute("SELECT current_setting('max_vacuum_tasks')").fetchone() or (0,)
    connection.execute(f"SET GLOBAL max_vacuum_tasks = {max(tasks, int(now)):d}")


@dataclass(frozen=True, slots=True)
class _Trouble:
    """How the engine puts a trouble, in lower case, and what we call it."""

    signs: tuple[str, ...]
    error: type[PenstockError]
    code: str
    what: str


_TROUBLES: tuple[_Trouble, ...] = (
    _Trouble(("set lock", "different configuration"), Unavailable, "INT_GAMMA_010", "is in use"),
    _Trouble(
        ("no space left", "file too large", "quota exceeded", "max_temp_directory_size"),
        Unavailable, "INT_GAMMA_012", "has no room to grow",
    ),
    _Trouble(
        ("permission denied", "read-only", "not permitted"), UserMistake, "INT_GAMMA_011", "may not be written to"
    ),
    _Trouble(("out of memory",), UserMistake, "INT_GAMMA_016", "needs more memory than it is given"),
    _Trouble(
        (
            "not a valid duckdb", "corrupt", "read enough bytes", "version number", "scanner.duckdb_extension",
            "is a directory", "not a directory",
        ),
        UserMistake, "INT_GAMMA_015", "is not a DuckDB file that can be read",
    ),
)  # fmt: skip
_OTHERWISE = _Trouble((), Unavailable, "INT_GAMMA_010", "cannot be reached")


@contextmanager
def explained(file: Path) -> Iterator[None]:
    """Turn the engine's errors about the file, the disk and the memory into ours; its others are defects of ours."""
    try:
        yield
    except duckdb.Error as error:
        # A damaged file comes as a bare duckdb.Error; statements, values and constraints have classes of their own.
        if type(error) is duckdb.Error or isinstance(error, (duckdb.OperationalError, duckdb.FatalException)):
            raise _explain(error, file) from error
        raise


def _explain(error: duckdb.Error, file: Path) -> PenstockError:
    # The first line says what happened, as in: IO Error: ... (PID 4711). See also https://...
    said = str(error).partition("\n")[0].partition(" See also ")[0].rstrip(".")
    lower = str(error).lower()
    trouble = next((each for each in _TROUBLES if any(sign in lower for sign in each.signs)), _OTHERWISE)
    return trouble.error(trouble.code, f"`{file}` {trouble.what}: {said}")
