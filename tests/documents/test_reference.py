"""The reference says what the code says, and its examples load."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock.documents import Documents, kinds, tree
from penstock.documents.json_schema import DIALECT, json_schema
from penstock.documents.kinds import MODELS
from penstock.documents.load import FILE_BYTES_MAX, FILES_MAX
from penstock.documents.scalars import NUMBER_CHARACTERS_MAX
from penstock.documents.validation import FINDINGS_MAX
from penstock.documents.values import NAME_CHARACTERS_MAX

Loaded = Callable[..., Documents]

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "documents.md").read_text(encoding="utf-8")
SCHEMA = json_schema()


def takes(described: dict[str, Any]) -> str:  # noqa: PLR0911 - one for each shape
    """Say in words which values a key of the JSON Schema takes."""
    match described:
        case {"$ref": str() as reference}:
            name = reference.rpartition("/")[2]
            return f"[{name}](#{name.lower()})"
        case {"enum": list() as words}:
            return ", ".join(f"`{word}`" for word in words)
        case {"anyOf": list() as either}:
            return " or ".join(takes(one) for one in either)
        case {"type": "array", "items": items}:
            return f"list of {takes(items)}"
        case {"type": "object", "additionalProperties": dict() as values}:
            return f"mapping to {takes(values)}"
        case {"type": "object"}:
            return "mapping"
        case {"type": "string", "examples": [example, *_]}:
            return f'text: `"{example}"`'
        case {"type": list() as types}:
            return " or ".join(NAMES[name] for name in types)
        case {"type": str() as name}:
            return NAMES[name]
        case _:
            raise AssertionError(described)


NAMES = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false", "null": "null"}


def tables() -> Iterator[tuple[str, list[str]]]:
    """Yield the name of every mapping with a row for each of its keys, as the page must have them."""
    for name, definition in SCHEMA["$defs"].items():
        mapping = definition["anyOf"][1] if "anyOf" in definition else definition
        rows = []
        for key, described in mapping["properties"].items():
            default = described.get("default", "")
            shown = default if isinstance(default, str) else json.dumps(default)
            shown = "required" if key in mapping.get("required", ()) else f"`{shown}`" if shown else "-"
            rows.append(f"| `{key}` | {takes(described)} | {shown} | {described['description']} |")
        yield name, rows


@pytest.mark.parametrize(("name", "rows"), list(tables()))
def test_every_key_stands_in_the_reference_as_it_is(name: str, rows: list[str]) -> None:
    section = re.search(rf"^#+ {name}$(.*?)(?=^#|\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert section, f"no section {name}"
    assert [line for line in section[1].splitlines() if line.startswith("| `")] == rows


def test_every_mapping_and_every_field_of_the_models_is_in_the_tables() -> None:
    models = {
        name: part for name, part in vars(kinds).items() if isinstance(part, type) and issubclass(part, kinds.Part)
    }
    del models["Part"]
    described = {name: len(rows) for name, rows in tables()}
    assert described == {name: len(part.model_fields) for name, part in models.items()}


def test_every_word_to_choose_is_in_the_reference() -> None:
    words = re.findall(r'"enum": \[(.*?)\]', json.dumps(SCHEMA))
    assert len(words) > 8
    assert [word for word in json.loads(f"[{', '.join(words)}]") if f"`{word}`" not in PAGE] == []


def test_the_examples_of_the_reference_load_without_findings(loaded: Loaded) -> None:
    examples = re.findall(r"^(````?)(?:markdown|yaml)\n(.*?)^\1$", PAGE, re.MULTILINE | re.DOTALL)
    assert len(examples) > 5
    for ticks, text in examples:
        documents = loaded(text, "x.md" if ticks == "````" else "x.yaml")
        assert [str(finding) for finding in documents.findings] == [], text
        assert documents.blocks


def test_the_limits_of_the_reference_are_those_of_the_code() -> None:
    for limit in (
        FILE_BYTES_MAX, FILES_MAX, tree.DOCUMENTS_MAX, tree.DEPTH_MAX, tree.NODES_MAX, tree.EXPANDED_CHARACTERS_MAX,
        NAME_CHARACTERS_MAX, NUMBER_CHARACTERS_MAX, FINDINGS_MAX,
    ):  # fmt: skip
        assert f" {limit:,} " in PAGE, limit


def test_the_json_schema_is_one_and_refers_to_nothing_outside() -> None:
    assert SCHEMA["$schema"] == DIALECT
    assert json_schema() == SCHEMA
    references = set(re.findall(r'"\$ref": "#/\$defs/(\w+)"', json.dumps(SCHEMA)))
    assert references == set(SCHEMA["$defs"])
    assert json.dumps(SCHEMA).count('"$ref": "') == len(re.findall(r'"\$ref": "#/\$defs/', json.dumps(SCHEMA)))
    assert {model.__name__ for model in MODELS.values()} <= references


def test_the_json_schema_describes_every_mapping_and_key() -> None:
    for name, definition in SCHEMA["$defs"].items():
        assert definition["description"], name
        mapping = definition["anyOf"][1] if "anyOf" in definition else definition
        assert mapping["additionalProperties"] is False
        for key, described in mapping["properties"].items():
            assert described["description"], f"{name}.{key}"


def test_a_text_may_stand_for_some_mappings() -> None:
    bare = {name for name, definition in SCHEMA["$defs"].items() if "anyOf" in definition}
    assert bare == {"Filter", "Index", "ModelColumn", "Partitioning", "Rule"}
