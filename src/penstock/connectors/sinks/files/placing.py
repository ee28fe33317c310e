# ruff: noqa: S608 - every name in the statements below has passed `quote`
"""Which folder of a table a row belongs into, by the document's partitioning, and in which order rows lie in a file.

Folders are named as Hive does it, `key=value`. The key is never the column's own name, and the column stays in the
files: what a reader makes of a folder's name can neither hide nor change a value.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import quote as percent

import pyarrow as pa
import pyarrow.compute as pc

from penstock.errors import UserMistake
from penstock.expressions import quote

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import duckdb

    from penstock.connectors.sinks.duckdb.incoming import Incoming
    from penstock.model.pipeline import Model, Partitioning

FOLDERS_MAX = 1_000
"""Most folders that one transaction may write into: each is a file at least, and files by the million help nobody."""
NAME_BYTES_MAX = 100
"""File systems take names of 255 bytes. A longer value is cut, and told from others by its hash."""
NOTHING = "__HIVE_DEFAULT_PARTITION__"
"""What Hive calls the folder of nulls."""

_INTERVALS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "hourly": ("hour", "strftime({}, '%Y-%m-%dT%H')"),
        "daily": ("day", "strftime({}, '%Y-%m-%d')"),
        "weekly": ("week", "strftime(date_trunc('week', {}), '%Y-%m-%d')"),
        "monthly": ("month", "strftime({}, '%Y-%m')"),
        "quarterly": ("quarter", "strftime({0}, '%Y-Q') || quarter({0})"),
        "yearly": ("year", "strftime({}, '%Y')"),
    }
)
"""By interval: what the key's name ends with, and SQL for a value's part of the time. A week is named by its Monday."""
_DATE = "CAST({} AS TIMESTAMP)"
"""Dates and instants alike; the engine's time zone is UTC."""


@dataclass(frozen=True, slots=True)
class Share:
    """Rows of one write that belong into one folder; `folder` is empty for the table's own."""

    folder: str
    rows: pa.Table


@dataclass(frozen=True, slots=True)
class Placing:
    """`key` names the folders; `value` is SQL for what a row's is called. Both are empty where all lie in one."""

    key: str = ""
    value: str = ""
    sort_by: tuple[str, ...] = ()

    def shares(self, connection: duckdb.DuckDBPyConnection, incoming: Incoming, rows: pa.Table) -> Iterator[Share]:
        """Divide `rows`, which are those of `incoming` in fewer columns, by folder; in their order, or as clustered.

        Raises UserMistake where that makes too many folders.
        """
        if not self.key:
            if rows.num_rows:
                yield Share("", rows.sort_by([(name, "ascending") for name in self.sort_by]) if self.sort_by else rows)
            return
        values = connection.sql(f"SELECT {self.value} AS value FROM {incoming.relation}").to_arrow_table().column(0)
        # Arrow's sort is stable: within a folder, rows stay in the order in which they came.
        by = pa.table({"value": values, **{name: rows.column(name) for name in self.sort_by}})
        order = pc.sort_indices(by, [(name, "ascending") for name in by.column_names])
        runs = pc.run_end_encode(values.take(order).combine_chunks())
        if len(runs.values) > FOLDERS_MAX:
            raise UserMistake(
                "INT_GAMMA_011",
                f"partitioning by `{self.key}` would write into {len(runs.values):,} folders at once, "
                f"at most {FOLDERS_MAX:,} are taken",
                remedy="partition by a column with fewer values, or by a longer interval",
            )
        sorted_rows, start = rows.take(order), 0
        for value, end in zip(runs.values.to_pylist(), runs.run_ends.to_pylist(), strict=True):
            yield Share(f"{self.key}={_name_of(value)}", sorted_rows.slice(start, end - start))
            start = end


def placing_of(model: Model) -> Placing:
    """Return how the rows of `model` are laid out. A range without an interval has no bounds, and makes no folders."""
    wanted = model.partitioning
    if wanted is None:
        return Placing(sort_by=model.clustering)
    suffix, value = _part(wanted)
    return Placing(f"{_escaped(wanted.column)}_{suffix}" if suffix else "", value, model.clustering)


def _part(wanted: Partitioning) -> tuple[str, str]:
    column = quote(wanted.column)
    if wanted.interval:
        suffix, value = _INTERVALS[wanted.interval]
        return suffix, value.format(_DATE.format(column))
    if wanted.kind == "list":
        return "is", f"CAST({column} AS VARCHAR)"
    if wanted.kind == "hash":
        # Sixteen parts. Of hash functions this is one that every version of the engine, and others, agree on.
        return "hash", f"left(md5(CAST({column} AS VARCHAR)), 1)"
    return "", ""


def _name_of(value: str | None) -> str:
    if value is None:
        return NOTHING
    name = _escaped(value)
    if len(name) <= NAME_BYTES_MAX:
        return name
    return f"{name[:NAME_BYTES_MAX].rpartition('%')[0] or name[:NAME_BYTES_MAX]}~{_digest(value)}"


def _escaped(text: str) -> str:
    """Return `text` as part of a name that means nothing to a shell, a file system or a pattern."""
    return percent(text, safe="").replace(".", "%2E").replace("~", "%7E")


def _digest(value: str) -> str:
    return hashlib.sha256(value.encode(errors="surrogateescape")).hexdigest()[:32]
