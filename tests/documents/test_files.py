"""Paths, folders, bytes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from penstock.documents import Documents, load
from penstock.documents.load import FILE_BYTES_MAX, FILES_MAX

Loaded = Callable[..., Documents]

BLOCK = '## SCHEMA_TO_STREAM\n```yaml\nquality_requirements: ["a > 0"]\n```\n'


def said(documents: Documents) -> list[tuple[str, int, int, str]]:
    return [
        (Path(finding.place.path).name, finding.place.line, finding.place.column, finding.code)
        for finding in documents.findings
    ]


def test_a_folder_gives_its_markdown_and_yaml_in_order(tmp_path: Path) -> None:
    for name in ("b.md", "README.md", "a.yml"):
        (tmp_path / name).write_text(BLOCK if name.endswith("md") else 'quality_requirements: ["a > 0"]')
    for ignored in ("c.txt", ".hidden.md"):
        (tmp_path / ignored).write_text("## SCHEMA_TO_STREAM")
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "d.md").write_text("## SCHEMA_TO_STREAM")
    documents = load([tmp_path])
    assert documents.findings == ()
    assert [file.name for file in documents.files] == ["README.md", "a.yml", "b.md"]
    assert [Path(block.place.path).name for block in documents.blocks] == ["README.md", "a.yml", "b.md"]
    assert documents.root == tmp_path


def test_in_a_folder_prose_is_passed_over_and_other_yaml_is_an_open_question(tmp_path: Path) -> None:
    (tmp_path / "orders.md").write_text(BLOCK)
    (tmp_path / "notes.md").write_text("# Notes\n")
    (tmp_path / "README.md").write_text("# About SCHEMA_TO_STREAM\n")
    (tmp_path / "compose.yaml").write_text("services: {}\n")
    documents = load([tmp_path])
    assert said(documents) == [("compose.yaml", 1, 1, "DOC_008")]
    assert not documents.have_errors


def test_in_a_folder_a_heading_without_its_block_is_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "orders.md").write_text("# Orders\n## SCHEMA_TO_STREAM\n")
    assert said(load([tmp_path])) == [("orders.md", 2, 1, "DOC_004")]


def test_a_folder_without_a_block_is_a_finding(tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("# Notes\n")
    assert said(load([tmp_path])) == [(tmp_path.name, 0, 0, "DOC_004")]


def test_a_file_named_twice_is_read_once(tmp_path: Path) -> None:
    file = tmp_path / "orders.md"
    file.write_text(BLOCK)
    (tmp_path / "again.md").symlink_to(file)
    documents = load([file, tmp_path, tmp_path / "again.md"])
    assert (len(documents.blocks), documents.findings) == (1, ())


def test_the_root_is_the_folder_of_the_first_path(tmp_path: Path) -> None:
    (tmp_path / "orders.md").write_text(BLOCK)
    assert load([tmp_path / "orders.md"]).root == tmp_path


def test_what_cannot_be_read_is_a_finding(tmp_path: Path) -> None:
    loop = tmp_path / "loop.md"
    loop.symlink_to(loop)
    os.mkfifo(tmp_path / "pipe.md")
    paths = [tmp_path / "missing.md", loop, tmp_path / "pipe.md", Path("/dev/zero"), Path("nul\0.md")]
    assert [code for *_, code in said(load(paths))] == ["DOC_001"] * 5


@contextmanager
def anybody() -> Iterator[None]:
    """The superuser may read everything: be nobody meanwhile."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65_534)
    try:
        yield
    finally:
        os.seteuid(before)


def test_a_file_without_permission_is_a_finding(tmp_path: Path) -> None:
    file = tmp_path / "orders.md"
    file.write_text(BLOCK)
    file.chmod(0)
    with anybody():
        documents = load([file])
    assert [code for *_, code in said(documents)] == ["DOC_001"]


@pytest.mark.parametrize("name", ["empty.md", "empty.yaml"])
@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbf"])
def test_an_empty_file_is_a_finding(loaded: Loaded, name: str, content: bytes) -> None:
    documents = loaded(content, name)
    assert said(documents) == [(name, 0, 0, "DOC_004")]
    assert "empty" in documents.findings[0].message


def test_the_byte_order_mark_of_utf_8_counts_for_nothing(loaded: Loaded) -> None:
    documents = loaded(b"\xef\xbb\xbfdata_volume:\n  daily_rows: x\n", "orders.yaml")
    assert said(documents) == [("orders.yaml", 2, 15, "DOC_022")]


@pytest.mark.parametrize(
    ("content", "line", "column"),
    [
        ("data_volume: é".encode("latin-1"), 1, 14),
        (b"a: 1\r\nb: \xff", 2, 4),
        ("data_volume: 1".encode("utf-16"), 1, 1),
        (b"a: 1\nb: \0", 2, 4),
        (b"## SCHEMA_TO_STREAM\npipeline: \x1b[0m", 2, 11),
    ],
)
def test_bytes_that_are_no_text_are_a_finding_at_their_place(
    loaded: Loaded, content: bytes, line: int, column: int
) -> None:
    assert said(loaded(content, "orders.yaml")) == [("orders.yaml", line, column, "DOC_002")]


def test_a_file_beyond_the_limit_is_not_read(loaded: Loaded) -> None:
    assert said(loaded(b"#" * (FILE_BYTES_MAX + 1))) == [("orders.md", 0, 0, "DOC_003")]
    assert said(loaded(b" " * FILE_BYTES_MAX)) == [("orders.md", 0, 0, "DOC_004")]


def test_a_folder_beyond_the_limit_is_read_up_to_it(tmp_path: Path) -> None:
    for number in range(FILES_MAX + 5):
        (tmp_path / f"{number}.md").touch()
    (tmp_path / "00.md").write_text(BLOCK)
    documents = load([tmp_path])
    assert len(documents.files) == FILES_MAX
    assert said(documents) == [(tmp_path.name, 0, 0, "DOC_003")]


def test_no_path_gives_nothing() -> None:
    assert load([]) == Documents((), (), Path(), ())
