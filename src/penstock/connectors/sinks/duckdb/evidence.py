# ruff: noqa: S608 - every name in the statements below has passed `quote`; predicates were checked when planned
"""Asking the table whether a rule holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from penstock.connectors.sinks.duckdb.keys import Key
from penstock.connectors.sinks.duckdb.order import rises
from penstock.model.pipeline import RuleKind
from penstock.ports import Evidence

if TYPE_CHECKING:
    import duckdb

    from penstock.model.pipeline import Rule

KEY_BYTES = 128
"""What one distinct key may cost while it is counted: its value, its hash, its count, and room to spare."""


def evidence(connection: duckdb.DuckDBPyConnection, table: str, rule: Rule, memory_bytes: int) -> Evidence:
    """Count the rows of `table`, and those that break `rule`."""
    match rule.kind:
        case RuleKind.PREDICATE:
            return _count(connection, table, f"NOT ({rule.predicate})")
        case RuleKind.NOT_NULL:
            return _count(connection, table, f"NOT ({Key(rule.columns).complete})")
        case RuleKind.UNIQUE:
            return _surplus(connection, table, Key(rule.columns), memory_bytes)
        case _:
            assert_never(rule.kind)


def _count(connection: duckdb.DuckDBPyConnection, table: str, broken: str) -> Evidence:
    # Where the condition is null, the row counts as sound: FILTER takes only what is true.
    counts = connection.execute(f"SELECT count(*) FILTER (WHERE {broken}), count(*) FROM {table}").fetchone()
    assert counts is not None
    return Evidence(*counts)


def _surplus(connection: duckdb.DuckDBPyConnection, table: str, key: Key, memory_bytes: int) -> Evidence:
    """Count the rows beyond the first of each key, in as many passes as it takes to stay within the memory.

    Where keys rise from row to row there are none, which one look at each tells.

    The engine could spill instead, and does where keys are long; but it needs far more memory to spill than a pass
    over a share of the keys needs altogether.
    """
    (rows,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone() or (0,)
    if rises(connection, table, key):
        return Evidence(0, rows)
    passes = rows * KEY_BYTES // memory_bytes + 1
    share = "" if passes == 1 else f" AND hash({key.list}) % {passes} = ?"
    surplus = 0
    for number in range(passes):
        found = connection.execute(
            f"""
            SELECT coalesce(sum(_rows - 1), 0) FROM (
                SELECT count(*) AS _rows FROM {table} WHERE {key.complete}{share}
                GROUP BY {key.list} HAVING count(*) > 1)
            """,
            [] if passes == 1 else [number],
        ).fetchone()
        surplus += int(found[0]) if found else 0
    return Evidence(surplus, rows)
