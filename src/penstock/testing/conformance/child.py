"""A process to be killed: it does one thing with a connector, says how far it is, and is gone in the middle of it.

    with child(writes_on, harness, model) as process:
        process.said()
        process.kill()

The function and its arguments are pickled, so that they must be known by name in the other process, too.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, ParamSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

P = ParamSpec("P")


class Child:
    """A process that runs a function, and what it says."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def said(self) -> str:
        """Wait for the next line that it says. AssertionError where it ends without one: its errors are on stderr."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the process ended before it came so far"
        return line.decode().strip()

    def kill(self, after_s: float = 0.0) -> None:
        """Kill it with SIGKILL, `after_s` from now, and wait until it is gone."""
        try:
            self._process.wait(after_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._process.wait()


@contextmanager
def child(function: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> Iterator[Child]:
    """Run `function` in a process of its own, which is killed in the end."""
    work = pickle.dumps((function, args, kwargs))
    command = [sys.executable, "-m", __name__]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=_environment()) as process:  # noqa: S603 - ourselves
        assert process.stdin is not None
        process.stdin.write(pickle.dumps(sys.path) + work)
        process.stdin.flush()
        try:
            yield Child(process)
        finally:
            process.kill()


def say(what: object) -> None:
    """Tell the process that waits for us."""
    print(what, flush=True)  # noqa: T201 - it is how the two speak


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def main() -> None:
    """Do what comes in at standard input."""
    sys.path[:] = pickle.load(sys.stdin.buffer)  # noqa: S301 - whoever started us wrote it, through a pipe of ours
    function, args, kwargs = pickle.load(sys.stdin.buffer)  # noqa: S301 - likewise
    function(*args, **kwargs)


if __name__ == "__main__":
    main()
