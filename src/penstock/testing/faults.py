"""Observers that do harm at commit points: the process killed, the destination slowed, the moments written down."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING

from penstock.observing.facts import AtCommitPoint, CommitPoint, Moment

if TYPE_CHECKING:
    from pathlib import Path

    from penstock.observing.facts import Fact


@dataclass(slots=True)
class KillAt:
    """Kills this process (SIGKILL) at the `occurrence`-th time (1-based) that it stands at the moment."""

    point: CommitPoint
    moment: Moment
    occurrence: int
    _seen: int = 0
    _lock: Lock = field(default_factory=Lock)

    def saw(self, fact: Fact) -> None:
        """Count the moment, and die when it is time."""
        if isinstance(fact, AtCommitPoint) and (fact.point, fact.moment) == (self.point, self.moment):
            with self._lock:
                self._seen += 1
                if self._seen == self.occurrence:
                    os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True, slots=True)
class SlowDestination:
    """Makes every commit of a destination take `seconds` longer, so that what comes before it piles up."""

    seconds: float

    def saw(self, fact: Fact) -> None:
        """Wait before rows and mark are committed."""
        if isinstance(fact, AtCommitPoint) and (fact.point, fact.moment) == (CommitPoint.ROWS_AND_MARK, Moment.BEFORE):
            time.sleep(self.seconds)


class MomentLog:
    """Writes each moment to a file as a line `before rows and mark: fct_orders`, in one write each, unbuffered."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def saw(self, fact: Fact) -> None:
        """Write a moment down."""
        if isinstance(fact, AtCommitPoint):
            os.write(self._descriptor, f"{fact.moment} {fact.point}: {fact.subject}\n".encode())
