"""What a user can meet (an error, a finding, a setting, a command, an option, a name of the API) stands in the docs."""

from __future__ import annotations

import argparse
import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import pytest

import penstock
from penstock import planning
from penstock.cli.commands import _parser
from penstock.documents import codes
from penstock.errors import KINDS
from penstock.ledger import DeadLetterFilter, LetterStatus, RequirementResult
from penstock.model.settings import SETTINGS
from penstock.observing.facts import CommitPoint, Fact
from penstock.orchestration.result import (
    DestinationAccount,
    ExitCode,
    HandOff,
    Left,
    RunResult,
    SourceAccount,
    SourceLatency,
    StageLatency,
    Status,
    Trouble,
)
from penstock.project import Project

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

DOCS = Path(__file__).resolve().parents[2] / "docs"
FAMILIES = sorted({name.partition("_")[0] for name in SETTINGS})
"""How settings begin. The records that a stage takes, say, are no setting."""


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def missing(names: Mapping[str, object] | set[str], text: str) -> list[str]:
    return [name for name in sorted(names) if f"`{name}`" not in text]


def test_every_error_code_has_its_row() -> None:
    assert missing(KINDS, page("errors.md")) == []


def test_every_setting_has_its_row() -> None:
    assert [name for name in SETTINGS if f"| `{name}`" not in page("settings.md")] == []


def test_every_finding_has_its_row() -> None:
    assert missing(codes.KINDS, page("findings.md")) == []
    assert missing(planning.KINDS, page("planning.md")) == []


@pytest.mark.parametrize("name", sorted(path.name for path in DOCS.glob("*.md")))
def test_a_page_names_no_code_and_no_setting_that_there_is_not(name: str) -> None:
    named = set(re.findall(r"\b(?:INT|DOC|PLAN)_(?:[A-Z]+_)?\d{3}\b", page(name)))
    assert named - {*KINDS, *codes.KINDS, *planning.KINDS} == set()
    words = set(re.findall(rf"`((?:{'|'.join(FAMILIES)})_[A-Z_]+)(?:=\w+)?`", page(name)))
    assert words - SETTINGS.keys() == set()


# --- the command line ---------------------------------------------------------------------------------------------


def commands(parser: argparse.ArgumentParser, name: str) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Yield every command by its full name."""
    below = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not below:
        yield name, parser
    for action in below:
        for word, command in action.choices.items():
            yield from commands(command, f"{name} {word}")


COMMANDS = dict(commands(_parser(), "penstock"))
"""argparse has no public way to ask a parser what it takes, so these tests read its private attributes."""


def section(command: str) -> str:
    """Return what the page says of a command."""
    _, heading, rest = page("cli.md").partition(f"\n## `{command}`\n")
    assert heading, f"{command} has no section"
    return rest.partition("\n## ")[0]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_of_a_command_stands_in_its_section_and_no_other(command: str) -> None:
    text = section(command)
    usage = re.match(r"\n((?:    .*\n)+)", text)
    assert usage is not None
    has = {option for action in COMMANDS[command]._actions for option in action.option_strings if option[:2] == "--"}
    shown = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", re.sub(r"```.*?```", "", text, flags=re.DOTALL)))
    assert shown - {"--rewind", "--accept"} <= has
    assert has - {"--help"} <= shown
    assert {option for option in has - {"--help"} if option not in usage[1]} == set()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_choice_of_an_option_stands_in_its_section(command: str) -> None:
    choices = {str(choice) for action in COMMANDS[command]._actions for choice in action.choices or ()}
    assert [choice for choice in choices if choice not in section(command)] == []


def test_every_exit_code_has_its_row() -> None:
    assert [code for code in ExitCode if f"\n| {code.value} | " not in page("cli.md")] == []


def test_every_command_is_in_the_first_table() -> None:
    first = page("cli.md").partition("\n## ")[0]
    assert [name for name in COMMANDS if f"[`{name.removeprefix('penstock ')}`]" not in first] == []


def test_every_field_of_a_result_is_explained() -> None:
    text = page("cli.md")
    structs = (RunResult, SourceAccount, DestinationAccount, Left, HandOff, SourceLatency, StageLatency, Trouble)
    assert {name for struct in (*structs, RequirementResult) for name in missing(struct.__annotations__, text)} == set()
    assert missing({*Status, *LetterStatus}, text) == []


# --- Python -------------------------------------------------------------------------------------------------------


def test_every_public_name_is_on_the_page() -> None:
    assert [name for name in penstock.__all__ if name not in page("python.md")] == []


def test_every_attribute_of_a_project_is_on_the_page() -> None:
    names = {name for name in dir(Project) if not name.startswith("_")}
    assert [name for name in sorted(names) if not re.search(rf"`(?:Project\.)?{name}\b", page("python.md"))] == []


def test_every_attribute_of_a_result_is_on_the_page() -> None:
    names = {name for name in dir(RunResult) if not name.startswith("_")}
    assert missing(names, page("python.md")) == []


def test_every_field_of_a_filter_is_on_the_page() -> None:
    assert missing(DeadLetterFilter.__annotations__, page("python.md")) == []


def test_every_fact_and_commit_point_is_on_the_page() -> None:
    assert missing({fact.__name__ for fact in get_args(Fact)} | set(CommitPoint), page("observing.md")) == []


# --- the code -----------------------------------------------------------------------------------------------------


def test_the_layers_on_the_page_are_those_that_the_test_holds() -> None:
    tree = ast.parse((DOCS.parent / "tests/test_layers.py").read_text(encoding="utf-8"))
    (layers,) = (
        node.value
        for node in tree.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == "LAYERS"
    )
    assert isinstance(layers, ast.Tuple)
    held = [set(ast.literal_eval(layer.args[0])) for layer in layers.elts if isinstance(layer, ast.Call)]
    _, _, rest = page("architecture.md").partition("\n## What may import what\n")
    shown = rest.partition("```\n")[2].partition("```")[0]
    assert [set(line.split(" | ")) for line in shown.splitlines()] == held


def test_every_package_is_on_the_page() -> None:
    text = page("architecture.md").partition("\n## What may import what\n")[0]
    parts = [path for path in (DOCS.parent / "src/penstock").iterdir() if path.is_dir() or path.suffix == ".py"]
    names = {path.name for path in parts if not path.name.startswith(("__", "."))}
    assert missing(names - {"ports.py"}, text) == []


def test_every_kind_of_document_is_on_its_page() -> None:
    assert missing({"SCHEMA_TO_STREAM", "PULSE_TO_STREAM", "BUILDER_TO_STREAM"}, page("documents.md")) == []
