"""Every relative link in the documentation leads somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("examples/*/*.md"),
        ROOT / "bench/README.md",
    )
)

_FENCE = re.compile(r"^(`{3,}|~{3,}).*?^\1`*$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`[^`\n]+`")
_LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} +(?P<title>.+?) *$", re.MULTILINE)
_PAGE_IN_CODE = re.compile(r"`(docs/[\w./-]+\.md)`")
_PAGE_IN_SOURCE = re.compile(r"\bdocs/[\w./-]+\.md\b")


def prose(text: str) -> str:
    """Return a page without its blocks of code."""
    return _FENCE.sub("", text)


def anchors(path: Path) -> set[str]:
    """Return what a page can be entered by, as GitHub makes it of headings."""
    found: list[str] = []
    for heading in _HEADING.finditer(prose(path.read_text(encoding="utf-8"))):
        title = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading["title"].replace("`", ""))
        anchor = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        found.append(f"{anchor}-{found.count(anchor)}" if anchor in found else anchor)
    return set(found)


def targets(page: str) -> list[str]:
    text = _CODE.sub("", prose((ROOT / page).read_text(encoding="utf-8")))
    return [match["target"] for match in _LINK.finditer(text)]


def leads_somewhere(page: str, target: str) -> bool:
    if target.startswith(("https://", "mailto:")):
        return True
    name, _, anchor = target.partition("#")
    path = ((ROOT / page).parent / name) if name else ROOT / page
    if not path.exists():
        return False
    return not anchor or anchor in anchors(path)


@pytest.mark.parametrize("page", PAGES)
def test_every_link_of_a_page_leads_somewhere(page: str) -> None:
    assert [target for target in targets(page) if not leads_somewhere(page, target)] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_page_that_a_page_names_is_there(page: str) -> None:
    named = _PAGE_IN_CODE.findall((ROOT / page).read_text(encoding="utf-8"))
    assert [name for name in named if not (ROOT / name).is_file()] == []


def test_every_page_that_the_program_names_is_there() -> None:
    named = {
        name
        for path in sorted((ROOT / "src").glob("**/*.py"))
        for name in _PAGE_IN_SOURCE.findall(path.read_text(encoding="utf-8"))
    }
    assert {name for name in named if not (ROOT / name).is_file()} == set()


def test_every_page_can_be_found_from_the_first() -> None:
    reached, waiting = set[str](), ["README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached:
            continue
        reached.add(page)
        for target in targets(page):
            path = ((ROOT / page).parent / target.partition("#")[0]).resolve()
            if path.suffix == ".md" and path.is_file() and path.is_relative_to(ROOT):
                waiting.append(path.relative_to(ROOT).as_posix())
    assert [page for page in PAGES if page not in reached] == []


def test_the_check_of_links_sees_what_it_must(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# One `two`, three\n\n```\n# no heading [no](link.md)\n```\n\n## One two three\n", encoding="utf-8"
    )
    assert anchors(page) == {"one-two-three", "one-two-three-1"}
    assert leads_somewhere("README.md", "docs/guarantees.md#limits")
    assert not leads_somewhere("README.md", "docs/guarantees.md#no-such-heading")
    assert not leads_somewhere("README.md", "docs/no-such-page.md")
    assert prose("a\n````md\n```\n[x](y)\n```\n````\nb") == "a\n\nb"
