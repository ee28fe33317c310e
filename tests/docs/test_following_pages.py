"""Pages of the documentation, followed as a reader does: files written, commands typed, snippets run, in their order.

In a page, a comment that nobody sees says what a block of code is:

    <!-- file: NAME -->   before a block: its content is the file NAME
    <!-- uses: PAGE -->   the files of that page are there, too

A block marked `console` is a session: what follows `$ ` is typed, and the rest is what comes of it, where `...` alone
in a line stands for any lines. A block marked `text` in a page with snippets is what the blocks marked `python` since
the last one print.
"""

from __future__ import annotations

import difflib
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
TIMEOUT_S = 100
LEFT_OUT = "..."
NEXT = "\x1e"
"""Printed between snippets, to tell their outputs apart."""

SESSIONS = (
    "README.md",
    "docs/cli.md",
    "docs/guarantees.md",
    "docs/observing.md",
    "docs/python.md",
    "examples/flights/README.md",
    "examples/orders/README.md",
)
SNIPPETS = ("docs/observing.md", "docs/python.md")
NEEDS_FLIGHTS = frozenset({"README.md", "examples/flights/README.md"})
OURS = re.compile(r"(?:^|\s)penstock(?:\s|\.)|^make demo$")
"""Commands that are ours."""
STANDS_FOR = {"make demo": "penstock run examples/flights"}
"""What is typed instead: all of `make demo` that is not installing and fetching."""

_BLOCK = re.compile(
    r"(?:^<!-- file: (?P<file>\S+) -->\n)?^(?P<fence>`{3,})(?P<language>[\w-]*)\n(?P<text>.*?)^(?P=fence)$",
    re.MULTILINE | re.DOTALL,
)
_USES = re.compile(r"^<!-- uses: (\S+) -->$", re.MULTILINE)
_VOLATILE = (
    (re.compile(r"\b[\d,.]+ s\b"), "# s"),
    (re.compile(r"\b[\d,.]+ rows/s\b"), "# rows/s"),
    (re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"), "#id"),
    (re.compile(r"\b\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+\+00:00"), "#time"),
    (re.compile(r'"seconds": [\d.]+'), '"seconds": #'),
    (re.compile(r"/\S*penstock-sample-\w+"), "/#sample"),
    (re.compile(r"─+"), "─"),
    (re.compile(r"[ \t]+"), " "),
)
"""What differs from run to run, and the widths that follow from it."""
_NOT_SHOWN = re.compile(r"[\d,]+ rows · |bash: line \d+: +\d+ Killed")
"""Progress, which a terminal wipes away; and what the shell has to say of a process that was killed."""


@dataclass(frozen=True)
class Block:
    """A fenced block of code; `file` is the name of the file that it is."""

    language: str
    text: str
    file: str


@dataclass(frozen=True)
class Typed:
    """A command of a session, and the lines that are shown of what comes of it."""

    command: str
    shown: tuple[str, ...]


@dataclass(frozen=True)
class Page:
    name: str

    @property
    def text(self) -> str:
        return (ROOT / self.name).read_text(encoding="utf-8")

    @property
    def blocks(self) -> list[Block]:
        return [Block(match["language"], match["text"], match["file"] or "") for match in _BLOCK.finditer(self.text)]

    @property
    def session(self) -> list[Typed]:
        return [step for block in self.blocks if block.language == "console" for step in typed(block.text)]

    @property
    def files(self) -> list[Block]:
        pages = [*map(Page, _USES.findall(self.text)), self]
        return [block for page in pages for block in page.blocks if block.file]


def typed(session: str) -> Iterator[Typed]:
    """Take a session apart."""
    command, shown = "", list[str]()
    for line in session.splitlines():
        if not line.startswith("$ "):
            assert command, f"output without a command: {line}"
            shown.append(line)
            continue
        if command:
            yield Typed(command, tuple(shown))
        command, shown = line[2:], []
    yield Typed(command, tuple(shown))


def steady(lines: Sequence[str]) -> list[str]:
    """Return what is the same whenever the same is done; blank lines are left out."""
    found = []
    for line in lines:
        if not _NOT_SHOWN.match(line):
            for pattern, instead in _VOLATILE:
                line = pattern.sub(instead, line)  # noqa: PLW2901 - step by step
            found.append(line.strip())
    return [line for line in found if line]


def assert_shown(shown: Sequence[str], came: str, what: str) -> None:
    """Check that `shown` is what came, where nothing is left out."""
    wanted, found = steady(shown), steady(came.splitlines())
    pattern = "".join(r"(?:.*\n)*?" if line == LEFT_OUT else re.escape(f"{line}\n") for line in wanted)
    if not re.fullmatch(pattern, "".join(f"{line}\n" for line in found)):
        difference = "\n".join(difflib.unified_diff(wanted, found, "shown", "came", lineterm="", n=1))
        pytest.fail(f"{what}\n{difference}", pytrace=False)


@dataclass(frozen=True)
class Reader:
    """Someone who follows pages, in a folder of their own with the examples in it."""

    folder: Path

    def write_files(self, page: Page) -> None:
        for block in page.files:
            path = self.folder / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")

    def type(self, command: str) -> str:
        return self._run("bash", "-c", STANDS_FOR.get(command, command)).stdout

    def run_snippets(self, snippets: Sequence[str]) -> list[str]:
        """Run snippets as one program; return what each prints."""
        script = self.folder / "snippets.py"
        script.write_text(f"\nprint({NEXT!r})\n".join(snippets), encoding="utf-8")
        done = self._run(sys.executable, "-W", "error", script.name)
        assert done.returncode == 0, done.stdout
        return done.stdout.split(NEXT)

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            arguments,
            cwd=self.folder,
            env={**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "200"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=TIMEOUT_S,
        )


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    """A reader with the examples as they are kept: without data, and without what runs have left."""
    left_by_runs = shutil.ignore_patterns(".penstock", "warehouse.duckdb*", "data", "__pycache__")
    shutil.copytree(ROOT / "examples", tmp_path / "examples", ignore=left_by_runs)
    return Reader(tmp_path)


@pytest.mark.parametrize("name", SESSIONS)
def test_commands_of_a_page_do_what_it_shows(name: str, reader: Reader, request: pytest.FixtureRequest) -> None:
    if name in NEEDS_FLIGHTS:
        shutil.copytree(request.getfixturevalue("flights_data"), reader.folder / "examples/flights/data")
    page = Page(name)
    reader.write_files(page)
    for step in page.session:
        assert_shown(step.shown, reader.type(step.command), f"{name}: $ {step.command}")


@pytest.mark.parametrize("name", SNIPPETS)
def test_snippets_of_a_page_print_what_it_shows(name: str, reader: Reader) -> None:
    page = Page(name)
    reader.write_files(page)
    blocks = [block for block in page.blocks if block.language in {"python", "text"} and not block.file]
    came = iter(reader.run_snippets([block.text for block in blocks if block.language == "python"]))
    printed = ""
    for block in blocks:
        if block.language == "python":
            printed += next(came)
        else:
            assert_shown(block.text.splitlines(), printed, name)
            printed = ""
    assert printed.strip() == "", f"{name} does not show what its last snippets print"


def test_every_page_with_a_session_of_penstock_or_a_snippet_is_followed() -> None:
    paths = [ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md"), ROOT / "bench/README.md"]
    pages = [Page(path.relative_to(ROOT).as_posix()) for path in paths]
    with_session = {page.name for page in pages for step in page.session if OURS.search(step.command)}
    with_snippet = {page.name for page in pages for block in page.blocks if block.language == "python"}
    assert with_session - set(SESSIONS) == set()
    assert with_snippet - set(SNIPPETS) == set()


def test_the_demo_is_what_its_page_says_it_is() -> None:
    recipes = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert f"\n\t$(BIN)/{STANDS_FOR['make demo']}\n" in recipes


@pytest.mark.parametrize(
    ("shown", "came", "matches"),
    [
        ("a\nb", "a\nb", True),
        ("a", "a\nb", False),
        ("a\n...", "a\nb\nc", True),
        ("...\nc", "a\nb\nc", True),
        ("a\n...\nc", "a\nc", True),
        ("a\n...\nd", "a\nb\nc", False),
        ("in 0.7 s: 7 rows read, 10 rows/s", "in 12.3 s: 7 rows read, 1,234 rows/s", True),
        ("in 0.7 s: 7 rows read, 10 rows/s", "in 0.7 s: 8 rows read, 10 rows/s", False),
        ("│ 1 │", "│    1 │\n7 rows · 3 rows/s", True),
    ],
)
def test_what_is_left_out_may_be_anything_and_nothing_else_may(shown: str, came: str, *, matches: bool) -> None:
    try:
        assert_shown(shown.splitlines(), came, "")
    except pytest.fail.Exception:
        assert not matches
    else:
        assert matches
