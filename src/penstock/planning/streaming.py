"""Batches or streaming: how the records of a source are handed over, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from penstock.model.pipeline import SourceTable
    from penstock.model.settings import Settings

SWITCH = "STREAMING_MODE_ENABLED"
WAITS = ("ALPHA_BETA_FLUSH_TIMEOUT_MS", "BETA_GAMMA_FLUSH_TIMEOUT_MS", "COMMIT_INTERVAL_MS")
"""What a record may wait for in batch mode before anything is done with it: two batches, and a transaction."""


@dataclass(frozen=True, slots=True)
class Mode:
    """How a source's records are handed over, and why, in words."""

    streaming: bool
    why: str


def mode_of(table: SourceTable, settings: Settings) -> Mode:
    """Choose for one source table: what the setting says, else what leaves time for the shortest delay asked for."""
    if settings.given(SWITCH):
        streaming = settings.switch(SWITCH)
        return Mode(streaming, f"{SWITCH} = {str(streaming).lower()}")
    waits_s = batch_waits_s(settings)
    if table.freshness is None:
        return Mode(streaming=False, why="no delay is asked for")
    asked = f"{table.freshness.subject} asks for {table.freshness.delay}"
    if table.freshness.delay.limit.seconds > waits_s:
        return Mode(streaming=False, why=f"{asked}, and a record waits {waits_s:g} s at most")
    return Mode(streaming=True, why=f"{asked}, and in batches a record may wait {waits_s:g} s")


def streaming_of(table: SourceTable, settings: Settings) -> bool:
    """Tell whether the records of a source table are handed over in streaming mode."""
    return mode_of(table, settings).streaming


def batch_waits_s(settings: Settings) -> float:
    """Return how long, in seconds, a record may wait in batch mode."""
    return sum(settings.seconds(name) for name in WAITS)
