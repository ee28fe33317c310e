"""An in-memory DuckDB that can only compute: no files, no network, no settings changed behind its owner's back."""

from __future__ import annotations

import duckdb

_CLOSED_DOORS: tuple[str, ...] = (
    # Global, or a cursor would run in the machine's time zone.
    "SET GLOBAL TimeZone = 'UTC'",
    # By default it would spill to `.tmp` where the user stands. What does not fit its memory is an error instead.
    "SET temp_directory = ''",
    "SET enable_external_access = false",
    # A Python variable that happens to be called like a table must not become one.
    "SET python_enable_replacements = false",
    "SET autoload_known_extensions = false",
    "SET autoinstall_known_extensions = false",
    # The order in which records were read is part of what they mean.
    "SET preserve_insertion_order = true",
    # What two expressions share would be computed outside of TRY, and fail there for every record.
    "SET GLOBAL disabled_optimizers = 'common_subexpressions'",
    "SET lock_configuration = true",
)


def open_engine(memory_bytes: int, threads: int) -> duckdb.DuckDBPyConnection:
    """Open a DuckDB held to `memory_bytes` and `threads`. Arrow tables come in through `register`.

    Its cursors share the limits. A query that needs more memory raises duckdb.OutOfMemoryException.
    """
    engine = duckdb.connect(":memory:", config={"memory_limit": f"{memory_bytes}B", "threads": threads})
    for statement in _CLOSED_DOORS:
        engine.execute(statement)
    return engine
