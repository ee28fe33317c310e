"""What names an entry of the ledger: who writes it, and about which partition."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Entry:
    """Who writes, and when (a timestamp of the ledger)."""

    run_id: str
    pipeline: str
    at: str


class PartitionKey(NamedTuple):
    """Names a partition within the ledger. A tuple, so that it stands in front of SQL parameters as it is."""

    pipeline: str
    source: str
    partition: str

    def __str__(self) -> str:
        return f"{self.source}/{self.partition}"
