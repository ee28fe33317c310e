"""Rows in memory, within a limit of bytes."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING

from penstock.errors import UserMistake

if TYPE_CHECKING:
    import pyarrow as pa


class MemoryCache:
    """A `ports.Cache` that lasts as long as the process. Safe to use from several threads."""

    def __init__(self, bytes_max: int) -> None:
        """Keep up to `bytes_max` bytes of rows, counted as Arrow's buffers."""
        self._bytes_max = bytes_max
        self._tables: dict[str, pa.Table] = {}
        self._lock = Lock()

    @property
    def size_bytes(self) -> int:
        """What the rows kept now take."""
        with self._lock:
            return self._sum_bytes()

    def table(self, namespace: str) -> pa.Table | None:
        """Return all rows kept under `namespace`, None where there are none."""
        with self._lock:
            return self._tables.get(namespace)

    def put(self, namespace: str, rows: pa.Table) -> None:
        """Keep `rows`, replacing what was there. Raises UserMistake, and changes nothing, when they do not fit."""
        with self._lock:
            size = self._sum_bytes(without=namespace) + rows.nbytes
            if size > self._bytes_max:
                raise UserMistake(
                    "INT_EPSILON_001",
                    f"{rows.num_rows:,} rows of {rows.nbytes:,} bytes would make the cache hold {size:,} bytes, "
                    f"and its limit is {self._bytes_max:,}",
                )
            self._tables[namespace] = rows

    def _sum_bytes(self, without: str = "") -> int:
        return sum(rows.nbytes for namespace, rows in self._tables.items() if namespace != without)
