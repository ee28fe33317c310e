"""`penstock …`: arguments in, exit code out. Everything else is the public API."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from rich.console import Console

from penstock.cli.examinations import examined_lines
from penstock.cli.letters import letters_table, letters_words
from penstock.cli.previews import preview_table, preview_words, refused_line
from penstock.cli.progress import progress
from penstock.cli.report import run_report
from penstock.documents.json_schema import json_schema
from penstock.errors import PenstockError, UserMistake
from penstock.ledger import DeadLetterFilter, LetterStatus
from penstock.model.finding import Level
from penstock.model.pipeline import encode
from penstock.observing.figures import Figures
from penstock.orchestration.plan import Resolution
from penstock.orchestration.result import ExitCode
from penstock.project import load

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from penstock.orchestration.doctor import Examined
    from penstock.orchestration.result import RunResult
    from penstock.project import Project

    Command = Callable[[argparse.Namespace], ExitCode]

PIPE_WIDTH = 140
ROWS_SHOWN = 20
LETTERS_SHOWN = 50
"""Dead letters listed unless told otherwise: a screenful."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 1 findings, 2 usage, 3 stopped on an error, 130 interrupted."""
    options = _parser().parse_args(arguments)
    command: Command = options.command
    try:
        return command(options)
    except PenstockError as error:
        return _say(error, options)
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()  # whoever read us has gone; nothing is left to be said to anyone
        return ExitCode.STOPPED


def _say(error: PenstockError, options: argparse.Namespace) -> ExitCode:
    if getattr(options, "format", "text") == "json":
        trouble = {"code": error.kind.code, "message": error.message, "remedy": error.remedy}
        print(json.dumps({"error": trouble}, indent=2))
    else:
        print(f"penstock: {error}", file=sys.stderr)
    return ExitCode.FINDINGS if error.kind.code == "INT_PIPELINE_003" else ExitCode.STOPPED


# --- commands -----------------------------------------------------------------------------------------------------


def check(options: argparse.Namespace) -> ExitCode:
    """Print every finding."""
    project = _project(options)
    if options.format == "json":
        print(json.dumps([msgspec.to_builtins(finding) for finding in project.findings], indent=2, ensure_ascii=False))
    else:
        for finding in project.findings:
            mark = "" if finding.level is Level.ERROR else " (open question)"
            print(f"{finding}{mark}")
        errors = len(project.errors)
        print(f"{errors} errors, {len(project.findings) - errors} open questions")
    return ExitCode.FINDINGS if project.errors else ExitCode.DONE


def plan(options: argparse.Namespace) -> ExitCode:
    """Print the plan."""
    project = _project(options)
    if project.errors or project.pipeline is None:
        return check(options)
    print(encode(project.pipeline).decode() if options.format == "json" else project.describe())
    return ExitCode.DONE


def run(options: argparse.Namespace) -> ExitCode:
    """Run what there is to read now, or what comes until it is stopped."""
    project = _project(options)
    return _watched(
        options,
        lambda figures: project.run(
            sample=options.sample, follow=options.follow, resolution=_resolution(options), figures=figures
        ),
    )


def preview(options: argparse.Namespace) -> ExitCode:
    """Print the first records of a source, and what ingestion would refuse of them."""
    project = _project(options)
    found = project.preview(options.source, options.rows)
    if options.format == "json":
        print(json.dumps(preview_words(found, project.masked_columns), indent=2, ensure_ascii=False))
    else:
        _console().print(preview_table(found, project.masked_columns))
        for letter in found.refused:
            _console().print(refused_line(letter, project.masked_columns), soft_wrap=True)
    return ExitCode.DONE


def doctor(options: argparse.Namespace) -> ExitCode:
    """Look at everything a run will need, and say what is not as it should be."""
    found: list[Examined] = []
    for each in _project(options).examine():
        found.append(each)
        if options.format == "text":
            for words in examined_lines(each):
                _console().print(words, soft_wrap=True)
    if options.format == "json":
        print(json.dumps([asdict(each) for each in found], indent=2, ensure_ascii=False))
    return ExitCode.DONE if all(each.is_well for each in found) else ExitCode.FINDINGS


def replay(options: argparse.Namespace) -> ExitCode:
    """Run dead letters once more."""
    project = _project(options)
    wanted = _wanted(options, status=None)
    return _watched(options, lambda figures: project.replay(wanted, resolution=_resolution(options), figures=figures))


def list_letters(options: argparse.Namespace) -> ExitCode:
    """Print dead letters, a line each; originals masked."""
    status = None if options.status == "all" else LetterStatus(options.status)
    project = _project(options)
    letters = project.dead_letters(_wanted(options, status=status, limit=options.limit))
    if options.format == "json":
        print(json.dumps(letters_words(letters, project.masked_columns, reveal=False), indent=2, ensure_ascii=False))
    else:
        _console().print(letters_table(letters, project.masked_columns))
    return ExitCode.DONE


def show_letters(options: argparse.Namespace) -> ExitCode:
    """Print dead letters in full; originals masked unless revealed."""
    project = _project(options)
    letters = project.dead_letters(DeadLetterFilter(ids=tuple(options.ids)))
    found = letters_words(letters, project.masked_columns, reveal=options.reveal)
    missing = sorted(set(options.ids) - {letter["id"] for letter in found})
    if missing:
        raise UserMistake("INT_LEDGER_005", f"there is no dead letter {missing[0]}", remedy="list them first")
    print(json.dumps(found, indent=2, ensure_ascii=False))
    return ExitCode.DONE


def discard(options: argparse.Namespace) -> ExitCode:
    """Close dead letters for good."""
    _project(options).discard(options.ids, options.reason)
    print(f"{len(options.ids)} discarded")
    return ExitCode.DONE


def schema(_: argparse.Namespace) -> ExitCode:
    """Print the JSON Schema of the documents."""
    print(json.dumps(json_schema(), indent=2, ensure_ascii=False))
    return ExitCode.DONE


def _project(options: argparse.Namespace) -> Project:
    return load(*options.paths, settings=dict(getattr(options, "set", None) or ()), profile=options.profile)


def _resolution(options: argparse.Namespace) -> Resolution:
    if options.rewind:
        return Resolution.REWIND
    return Resolution.ACCEPT if options.accept else Resolution.REFUSE


def _wanted(options: argparse.Namespace, status: LetterStatus | None, limit: int | None = None) -> DeadLetterFilter:
    return DeadLetterFilter(
        status=status,
        source=options.source,
        code=options.code,
        field=options.field,
        ids=tuple(options.ids) if options.ids else None,
        limit=limit,
    )


def _watched(options: argparse.Namespace, work: Callable[[Figures], RunResult]) -> ExitCode:
    """Do `work` with its progress on standard error, then print its result on standard output."""
    figures = Figures()
    if options.quiet:
        result = work(figures)
    else:
        with progress(Console(stderr=True), figures):
            result = work(figures)
    if options.format == "json":
        print(msgspec.json.format(msgspec.json.encode(result), indent=2).decode())
    else:
        _console().print(run_report(result))
        _say_what_next(result, options)
    return result.exit_code


def _console() -> Console:
    """A pipe has no width of its own; eighty columns would fold every table."""
    return Console() if sys.stdout.isatty() else Console(width=PIPE_WIDTH)


def _say_what_next(result: RunResult, options: argparse.Namespace) -> None:
    if getattr(options, "sample", None):
        return  # its ledger is thrown away
    path = " ".join(map(str, options.paths))
    if any(left.records for account in result.all_time for to in account.destinations for left in to.dead_lettered):
        print(f"\nNext: penstock dead-letters list {path}")


# --- arguments ----------------------------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="penstock",
        description="Turns a hand-off document into a running pipeline in which every record is accounted for.",
        epilog="Exit codes: 0 done, and requirements hold; 1 findings, or a failed requirement; 2 usage; "
        "3 stopped on an error; 130 interrupted.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _command(commands, "check", check, "print every finding in the documents", _paths, _format)
    _command(commands, "plan", plan, "show what the documents mean", _paths, _format)
    _command(commands, "run", run, "run what there is to read now", _paths, _format, _running, _reading)
    _command(
        commands, "preview", preview, "show the first records of a source; touch nothing", _paths, _format, _looking
    )
    _command(commands, "doctor", doctor, "look at everything a run will need", _paths, _format, _settings)
    _command(commands, "schema", schema, "print a JSON Schema of the documents, for editors")
    letters = commands.add_parser("dead-letters", help="look at records that left the pipeline, replay or discard them")
    actions = letters.add_subparsers(required=True, metavar="ACTION")
    _command(actions, "list", list_letters, "list them, a line each", _paths, _format, _settings, _choosing, _listing)
    _command(actions, "show", show_letters, "show some in full", _paths, _settings, _ids, _reveal)
    _command(actions, "replay", replay, "run open ones once more", _paths, _format, _running, _choosing)
    _command(actions, "discard", discard, "close some for good", _paths, _settings, _ids, _reason)
    return parser


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    command: Command,
    what: str,
    *arguments: Callable[[argparse.ArgumentParser], None],
) -> None:
    parser = commands.add_parser(name, help=what, description=what)
    parser.set_defaults(command=command)
    for add in arguments:
        add(parser)


def _paths(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", metavar="PATH", nargs="+", type=Path, help="a document, or a folder of documents")
    parser.add_argument("--profile", metavar="NAME", help="a profile of penstock.toml (default: PENSTOCK_PROFILE)")


def _format(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--format", choices=("text", "json"), default="text", help="how to print (default: text)")


def _settings(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--set", metavar="NAME=VALUE", action="append", type=_assignment, help="a setting; see docs/settings.md"
    )


def _running(parser: argparse.ArgumentParser) -> None:
    _settings(parser)
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    way = parser.add_mutually_exclusive_group()
    way.add_argument("--rewind", action="store_true", help="read again what a destination lacks or a source changed")
    way.add_argument("--accept", action="store_true", help="go on from the ledger's position, whatever changed")


def _reading(parser: argparse.ArgumentParser) -> None:
    how_much = parser.add_mutually_exclusive_group()
    how_much.add_argument("--follow", action="store_true", help="go on with what comes, until stopped by Ctrl-C")
    how_much.add_argument(
        "--sample", metavar="N", type=_positive, help="the first N records of each source; touch nothing"
    )


def _looking(parser: argparse.ArgumentParser) -> None:
    _settings(parser)
    parser.add_argument("--source", required=True, help="the source table")
    parser.add_argument(
        "--rows", metavar="N", type=_positive, default=ROWS_SHOWN, help=f"how many records (default: {ROWS_SHOWN})"
    )


def _choosing(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--source", help="only those of this source table")
    parser.add_argument("--code", help="only those with this error code")
    parser.add_argument("--field", help="only those with this field at fault")
    parser.add_argument("--id", dest="ids", metavar="ID", type=int, nargs="+", help="only these")


def _listing(parser: argparse.ArgumentParser) -> None:
    choices = (*LetterStatus, "all")
    parser.add_argument("--status", choices=choices, default=LetterStatus.OPEN, help="only those (default: open)")
    parser.add_argument("--limit", type=_positive, default=LETTERS_SHOWN, help=f"how many (default: {LETTERS_SHOWN})")


def _ids(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--id", dest="ids", metavar="ID", type=int, nargs="+", required=True, help="which")


def _reveal(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--reveal", action="store_true", help="show originals unmasked")


def _reason(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--reason", default="", help="why, for the record")


def _assignment(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"`{text}` is not NAME=VALUE")
    return name.strip(), value.strip()


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"`{text}` is not a number of at least 1")
    return int(text)
