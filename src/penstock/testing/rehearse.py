"""A run with faults on purpose, `python -m penstock.testing.rehearse PATH …`: what becomes of your pipeline if it dies.

Run it, then `penstock run` on the same documents, and compare. `--help` lists the faults.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.errors import PenstockError
from penstock.observing.facts import CommitPoint, Everyone, Moment
from penstock.orchestration.plan import Resolution
from penstock.orchestration.result import ExitCode
from penstock.project import load
from penstock.testing.faults import KillAt, MomentLog, SlowDestination

if TYPE_CHECKING:
    from collections.abc import Sequence

    from penstock.observing.facts import Observer
    from penstock.orchestration.result import RunResult


def main(arguments: Sequence[str] | None = None) -> int:
    """Run with faults; return the run's exit code, if it lives."""
    options = _parser().parse_args(arguments)
    try:
        result = _run(options)
    except PenstockError as error:
        print(f"penstock: {error}", file=sys.stderr)  # noqa: T201 - a command talks to its user
        return ExitCode.STOPPED
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    print(result.status, result.read, result.trouble or "")  # noqa: T201 - likewise
    return result.exit_code


def _parser() -> argparse.ArgumentParser:
    points = ", ".join(f'"{point}"' for point in CommitPoint)
    parser = argparse.ArgumentParser(
        prog="python -m penstock.testing.rehearse",
        description="Run a pipeline with faults on purpose.",
        epilog=f"POINT is one of {points}; MOMENT is before or after.",
    )
    parser.add_argument("path", type=Path, help="a document, or a folder of documents")
    parser.add_argument(
        "--kill", nargs=3, metavar=("POINT", "MOMENT", "N"), help="die (SIGKILL) the N-th time it stands there"
    )
    parser.add_argument("--slow", type=float, default=0.0, metavar="SECONDS", help="make each commit so much slower")
    parser.add_argument("--log", type=Path, metavar="FILE", help="write every moment to a file, one a line")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting")
    parser.add_argument("--replay", action="store_true", help="replay dead letters instead of reading sources")
    parser.add_argument("--resolution", type=Resolution, default=Resolution.REFUSE, help="refuse, rewind or accept")
    return parser


def _run(options: argparse.Namespace) -> RunResult:
    project = load(options.path, settings=dict(pair.split("=", 1) for pair in options.set))
    observer = Everyone(*_observers(options))
    if options.replay:
        return project.replay(resolution=options.resolution, observer=observer)
    return project.run(resolution=options.resolution, observer=observer)


def _observers(options: argparse.Namespace) -> list[Observer]:
    observers: list[Observer] = []
    if options.log:
        observers.append(MomentLog(options.log))  # first, so that the moment of a death is in it
    if options.kill:
        point, moment, occurrence = options.kill
        observers.append(KillAt(CommitPoint(point), Moment(moment), int(occurrence)))
    if options.slow:
        observers.append(SlowDestination(options.slow))
    return observers


if __name__ == "__main__":
    sys.exit(main())
