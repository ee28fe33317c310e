"""What may be asked of a run under way, from any thread."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable


class Steered(Protocol):
    """A run, as its control sees it. Called on the run's loop only."""

    def stop(self) -> None:
        """Read no further; settle what is under way."""

    def switch(self, *, streaming: bool | None) -> None:
        """Hand over in the other mode from now on; None: as settings and plan say."""


class Control:
    """Steers a run. What is asked before it begins is done when it does; after its end nothing happens."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._asked: list[Callable[[Steered], None]] = []
        self._run: Steered | None = None

    def stop(self) -> None:
        """Read no further; what is under way is settled, and the run ends."""
        self._ask(lambda run: run.stop())

    def switch(self, *, streaming: bool | None) -> None:
        """Hand over record by record (or in batches) from now on. None: as settings and plan say."""
        self._ask(lambda run: run.switch(streaming=streaming))

    def take_up(self, run: Steered, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to steer `run`, on its loop."""
        with self._lock:
            self._run, self._loop = run, loop
            asked, self._asked = self._asked, []
        for each in asked:
            each(run)

    def let_go(self) -> None:
        """The run is over."""
        with self._lock:
            self._run = self._loop = None

    def _ask(self, asked: Callable[[Steered], None]) -> None:
        with self._lock:
            if self._loop is None or self._run is None:
                self._asked.append(asked)
            else:
                self._loop.call_soon_threadsafe(asked, self._run)
