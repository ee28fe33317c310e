"""Whatever a file holds, loading it gives blocks and findings: nothing is raised, and nothing runs away."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from penstock.documents import Documents, load

if TYPE_CHECKING:
    import random

HERE = Path(__file__).parent
EXAMPLE = (HERE / "spec_formats.md").read_text(encoding="utf-8")
TEN_MISTAKES = (HERE / "ten_mistakes.md").read_text(encoding="utf-8")
WORDS = [
    "## SCHEMA_TO_STREAM", "### PULSE_TO_STREAM_HANDOFF", "```yaml", "```", "~~~", "---", "...", "%YAML 1.2", "<!--",
    "-->", "source_models:", "  - table: t", "    columns:", "      - {name: a, type: int}", "quality_requirements:",
    "  - a > 0", "settings: {A: 1}", "a: &a [*a]", "b: *a", "<<: *a", "? x", ": y", "\t- x", "- ", "'", '"', "[", "{",
    "!!str", "|", ">", "\ufeff", "\x00", "\u2028", "destination_requirements: {models: [{name: m, columns: ['*']}]}",
    "pipeline: p", "null",
]  # fmt: skip


def loaded(content: bytes, suffix: str) -> Documents:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"orders{suffix}"
        path.write_bytes(content)
        return load([path])


def assert_is_whole(documents: Documents, content: bytes) -> None:
    """Blocks without a document, and only those, have findings; every place lies in the file."""
    lines = content.decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    for finding in documents.findings:
        assert 0 <= finding.place.line <= len(lines), str(finding)
        assert finding.place.line == 0 or 1 <= finding.place.column <= len(lines[finding.place.line - 1]) + 1, str(
            finding
        )
        assert finding.message
        assert finding.remedy
        assert (finding.message + finding.remedy).isprintable()
        assert "pydantic" not in str(finding)
    if any(block.document is None for block in documents.blocks):
        assert documents.have_errors


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.binary(max_size=200), st.sampled_from([".md", ".yaml"]))
@example(b"\xef\xbb\xbf\xff", ".yaml")
def test_arbitrary_bytes(content: bytes, suffix: str) -> None:
    assert_is_whole(loaded(content, suffix), content)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(st.characters(codec="utf-8"), max_size=200), st.sampled_from([".md", ".yaml"]))
def test_arbitrary_text(text: str, suffix: str) -> None:
    content = f"## SCHEMA_TO_STREAM\n```yaml\n{text}".encode()
    assert_is_whole(loaded(content, suffix), content)


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.sampled_from(WORDS), max_size=25), st.sampled_from(["\n", "\r\n", " ", "\n  "]), st.booleans())
def test_arbitrary_arrangements_of_what_documents_are_made_of(words: list[str], between: str, is_yaml: bool) -> None:  # noqa: FBT001
    content = between.join(words).encode()
    assert_is_whole(loaded(content, ".yaml" if is_yaml else ".md"), content)


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(st.randoms(use_true_random=False), st.sampled_from([EXAMPLE, TEN_MISTAKES]))
def test_a_real_document_with_characters_changed(chance: random.Random, text: str) -> None:
    characters = list(text)
    for _ in range(chance.randint(1, 20)):
        characters[chance.randrange(len(characters))] = chance.choice("\n\t :-#[]{}'\"`*&!|>,%x5\u2028\x85é")
    content = "".join(characters).encode()
    assert_is_whole(loaded(content, ".md"), content)
    assert_is_whole(loaded(content, ".yaml"), content)


_KEYS = [
    "source_models", "table", "columns", "name", "type", "destination_requirements", "models", "lookups", "on", "key",
    "rule", "quality_requirements", "data_volume", "peak_rate", "settings", "colums", "format",
]  # fmt: skip
_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=10)
    | st.sampled_from(["a > 0", "3 years", "*", "int"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(_KEYS), inner, max_size=5),
    max_leaves=20,
)


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(["source_models", "destination_requirements", "quality_requirements"]), _VALUES))
def test_arbitrary_values_under_known_keys(value: dict[str, object]) -> None:
    content = f"## SCHEMA_TO_STREAM\n{_flow(value)}\n".encode()
    assert_is_whole(loaded(content, ".yaml"), content)


def _flow(value: object) -> str:
    """Write `value` in one line of YAML."""
    match value:
        case dict():
            return "{" + ", ".join(f"{key}: {_flow(item)}" for key, item in value.items()) + "}"
        case list():
            return "[" + ", ".join(_flow(item) for item in value) + "]"
        case str():
            return "'" + "".join(character for character in value if character.isprintable()).replace("'", "''") + "'"
        case None:
            return "null"
        case _:
            return str(value).lower()
