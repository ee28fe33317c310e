# ruff: noqa: S608 - every name in the statements below has passed `quote`
"""What the order of keys tells for next to nothing: that none comes twice, and that none can be in the table.

Keys that rise, as numbers from a sequence do, are neither hashed nor compared with one another. What is not told here
is not known: then keys must be compared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.expressions import quote

if TYPE_CHECKING:
    import duckdb

    from penstock.connectors.sinks.duckdb.keys import Key


def rises(connection: duckdb.DuckDBPyConnection, relation: str, key: Key) -> bool:
    """Return whether each row of `relation` has a greater key than the one before it, which is to say another one.

    The order is the one in which the engine happens to read: if keys rise in any order, no two are equal. Reading ends
    with the first that does not rise.
    """
    value = f"row({key.list})" if len(key.columns) > 1 else key.list
    found = connection.execute(
        f"""
        SELECT 1 FROM (
            SELECT {value} > lag({value}) OVER () AS _rises FROM {relation} AS keyed WHERE {key.complete}
        ) WHERE NOT _rises LIMIT 1
        """
    )
    return not found.fetchall()


def overlap(connection: duckdb.DuckDBPyConnection, table: str, relation: str, key: Key) -> bool:
    """Return whether a row of `table` lies, column by column, between the least and the greatest of `relation`.

    If none does, no row of the one has its key in common with a row of the other. The engine looks only into row
    groups whose own least and greatest values allow it.
    """
    between = " AND ".join(_between(table, relation, quote(column)) for column in key.columns)
    return connection.execute(f"SELECT 1 FROM {table} AS stored WHERE {between} LIMIT 1").fetchall() != []


def _between(table: str, relation: str, column: str) -> str:
    # No row comes from the table, but its column's collation does: text must be ordered here as it is compared there.
    values = f"(SELECT {column} FROM {table} WHERE FALSE UNION ALL SELECT {column} FROM {relation})"
    return f"stored.{column} BETWEEN (SELECT min({column}) FROM {values}) AND (SELECT max({column}) FROM {values})"
