"""A run with faults on purpose, `python -m penstock.testing.rehearse PATH …`: what becomes of your pipeline if it dies.

    python -m penstock.testing.rehearse shop --harm drop=0.02,repeat=0.02 --seed 7 --wire-log wire.jsonl

Run it, then `penstock run` on the same documents, and compare. `--help` lists the faults.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.errors import PenstockError
from penstock.links.memory import connect_in_memory
from penstock.observing.facts import CommitPoint, Everyone, Moment
from penstock.orchestration.plan import Resolution
from penstock.orchestration.result import ExitCode
from penstock.project import load
from penstock.testing.faults import KillAt, MomentLog, SlowDestination
from penstock.testing.wire import HARMLESS, BadLinks, Harm, WireLog, read_harm

if TYPE_CHECKING:
    from collections.abc import Sequence

    from penstock.observing.facts import Observer
    from penstock.orchestration.result import RunResult


def main(arguments: Sequence[str] | None = None) -> int:
    """Run with faults; return the run's exit code, if it lives."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.replay and _has_links(options):
        parser.error("--harm and --wire-log go with a run, not with --replay")
    log = WireLog()
    try:
        result = _run(options, log)
    except PenstockError as error:
        print(f"penstock: {error}", file=sys.stderr)  # noqa: T201 - a command talks to its user
        return ExitCode.STOPPED
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    finally:
        if options.wire_log:
            log.write(options.wire_log)
    print(result.status, result.read, result.trouble or "")  # noqa: T201 - likewise
    if _has_links(options):
        print(f"{log}; seed {options.seed}")  # noqa: T201 - likewise
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
    parser.add_argument(
        "--harm",
        type=_harm,
        default=HARMLESS,
        metavar="NAME=SHARE,…",
        help="let the links between the modules drop, repeat, flip or hold_back so many of their frames, from 0 to 1",
    )
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="decides which frames (default: 1)")
    parser.add_argument(
        "--wire-log",
        type=_file,
        metavar="FILE",
        help="write every frame to a file, a line of JSON each, when all is over",
    )
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting")
    parser.add_argument("--replay", action="store_true", help="replay dead letters instead of reading sources")
    parser.add_argument("--resolution", type=Resolution, default=Resolution.REFUSE, help="refuse, rewind or accept")
    return parser


def _harm(text: str) -> Harm:
    try:
        return read_harm(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _file(text: str) -> Path:
    """Return a file that can be written, emptied: that it cannot be should be found out before the run."""
    path = Path(text)
    try:
        path.write_bytes(b"")
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{path}: {error.strerror}") from error
    return path


def _has_links(options: argparse.Namespace) -> bool:
    return options.harm != HARMLESS or options.wire_log is not None


def _run(options: argparse.Namespace, log: WireLog) -> RunResult:
    project = load(options.path, settings=dict(pair.split("=", 1) for pair in options.set))
    observer = Everyone(*_observers(options))
    if options.replay:
        return project.replay(resolution=options.resolution, observer=observer)
    connect = BadLinks(options.seed, options.harm, log) if _has_links(options) else connect_in_memory
    return project.run(resolution=options.resolution, observer=observer, connect=connect)


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
