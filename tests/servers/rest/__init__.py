"""A misbehaving REST API in a process of its own, as tests start it and look at it."""

from __future__ import annotations

import json
import subprocess
import sys
from bisect import bisect_left
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import httpx

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

PROGRAM = Path(__file__).with_name("misbehaving.py")


class RestApi:
    """A server that runs, at `url`: how to tell it what to do, and what it has seen."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._client = httpx.Client(base_url=url)

    def __reduce__(self) -> tuple[type[RestApi], tuple[str]]:
        return RestApi, (self.url,)

    def configure(self, **changes: Any) -> None:  # noqa: ANN401 - see misbehaving.Configuration
        """Change how it behaves from now on."""
        self._client.post("/_configure", json=changes).raise_for_status()

    def reset(self) -> None:
        """Forget all that was told, and all that was seen."""
        self._client.post("/_reset").raise_for_status()

    def fault(self, *faults: str) -> None:
        """Let these befall the next requests, one each; "" is none."""
        self._client.post("/_faults", json=faults).raise_for_status()

    @property
    def log(self) -> list[dict[str, Any]]:
        """Every request so far, in order of arrival."""
        found: list[dict[str, Any]] = self._client.get("/_log").json()
        return found

    def most_in(self, window_s: float) -> int:
        """Return the most requests that it saw in any window of so many seconds, its end left out."""
        times = sorted(entry["at_s"] for entry in self.log)
        return max((bisect_left(times, at_s + window_s) - place for place, at_s in enumerate(times)), default=0)

    def create(self, table: str) -> None:
        """Make a table at `/table/NAME`, without records."""
        self._client.post("/_create", json=table).raise_for_status()

    def add(self, table: str, rows: Sequence[tuple[str, str]]) -> None:
        """Add records, as they are to be written, each with when it was changed, or ""."""
        self._client.post("/_add", json=[table, rows]).raise_for_status()


class RestServer(RestApi):
    """Starts a server. A context manager; the process ends with the block."""

    def __init__(self, **configuration: Any) -> None:  # noqa: ANN401 - see misbehaving.Configuration
        self._process = subprocess.Popen(
            [sys.executable, str(PROGRAM), json.dumps(configuration)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        super().__init__(f"http://127.0.0.1:{int(self._process.stdout.readline())}")

    def close(self) -> None:
        """End the process."""
        self._client.close()
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        finally:
            self._process.kill()
            self._process.wait()
            if self._process.stdout is not None:
                self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
