"""Which parts of a file are hand-off blocks, and of which kind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from penstock.documents import Documents, HandoffKind, load

Loaded = Callable[..., Documents]

BODY = 'quality_requirements: ["a > 0"]\n'
SCHEMA, PULSE, BUILDER = HandoffKind
HERE = Path(__file__).parent


def kinds(documents: Documents) -> list[HandoffKind]:
    assert not documents.findings, [str(finding) for finding in documents.findings]
    assert all(block.document is not None for block in documents.blocks)
    return [block.kind for block in documents.blocks]


def said(documents: Documents) -> list[tuple[int, int, str]]:
    return [(finding.place.line, finding.place.column, finding.code) for finding in documents.findings]


@pytest.mark.parametrize(
    "text",
    [
        f"### SCHEMA_TO_STREAM_HANDOFF\n\n```yaml\n{BODY}```\n",
        f"# SCHEMA_TO_STREAM\n\ntext\n\n```yml\n{BODY}```\n",
        f"## 3. The `SCHEMA_TO_STREAM_HANDOFF` (draft) ##\n~~~\n{BODY}~~~\n",
        f"SCHEMA_TO_STREAM_HANDOFF\n========================\n\n```text\n{BODY}```\n",
        f"```yaml\n## SCHEMA_TO_STREAM_HANDOFF\n{BODY}```\n",
        f"```\n# schema_to_stream\n{BODY}```\n",
        f'## SCHEMA_TO_STREAM\n```yaml title="orders"\n## SCHEMA_TO_STREAM_HANDOFF\n{BODY}```\n',
        f"## SCHEMA_TO_STREAM\n### What it says\n````yaml\n{BODY}````\n",
        f"1. SCHEMA\n\n    ## SCHEMA_TO_STREAM\n\n    ```yaml\n    ## SCHEMA_TO_STREAM\n    {BODY}    ```\n",
        f"```yaml\nSCHEMA_TO_STREAM_HANDOFF:\n  {BODY}```\n",
        f"## SCHEMA_TO_STREAM\r\n\r\n```yaml\r\n{BODY[:-1]}\r\n```\r\n",
    ],
)
def test_a_block_is_named_above_its_fence_inside_it_or_both(loaded: Loaded, text: str) -> None:
    assert kinds(loaded(text)) == [SCHEMA]


@pytest.mark.parametrize(
    "text",
    [
        f"## SCHEMA_TO_STREAM_HANDOFF\n{BODY}",
        f"# our orders\n---\n## SCHEMA_TO_STREAM\n{BODY}",
        f"## SCHEMA_TO_STREAM\n---\n{BODY}...\n",
        f"%YAML 1.2\n---\n{BODY}",
        BODY,
        f"SCHEMA_TO_STREAM_HANDOFF:\n  {BODY}",
        '{"SCHEMA_TO_STREAM": {"quality_requirements": ["a > 0"]}}',
    ],
)
def test_a_yaml_file_names_its_kind_in_a_line_in_a_key_or_by_its_keys(loaded: Loaded, text: str) -> None:
    assert kinds(loaded(text, "orders.yaml")) == [SCHEMA]


PULSE_BODY = "analytics_requirements: {data_sources: [orders]}\n"


@pytest.mark.parametrize(
    "text",
    [
        f"## SCHEMA_TO_STREAM\n{BODY}## PULSE_TO_STREAM\n{PULSE_BODY}",
        f"## SCHEMA_TO_STREAM\n{BODY}---\n## PULSE_TO_STREAM\n{PULSE_BODY}",
        f"{BODY}---\n{PULSE_BODY}",
        f"SCHEMA_TO_STREAM:\n  {BODY}PULSE_TO_STREAM_HANDOFF:\n  {PULSE_BODY}",
    ],
)
def test_a_yaml_file_holds_several_documents(loaded: Loaded, text: str) -> None:
    assert kinds(loaded(text, "orders.yml")) == [SCHEMA, PULSE]


def test_a_markdown_file_holds_several_documents_and_other_code(loaded: Loaded) -> None:
    text = f"""
## SCHEMA_TO_STREAM
```yaml
{BODY}```
```sql
select 1
```
```text
a log: of some run
```
```yaml
{BODY}```
## Notes
```yaml
services: {{db: {{image: "postgres"}}}}
```
```
## PULSE_TO_STREAM
{PULSE_BODY}## SCHEMA_TO_STREAM
{BODY}```
"""
    assert kinds(loaded(text)) == [SCHEMA, SCHEMA, PULSE, SCHEMA]


def test_a_comment_hides_what_it_holds(loaded: Loaded) -> None:
    hidden = "Comments begin with `<!--`.\n<!--\n## SCHEMA_TO_STREAM\n```yaml\nnonsense: 1\n```\n-->\n"
    text = f"{hidden}## SCHEMA_TO_STREAM\n```yaml\n{BODY}```\n"
    assert kinds(loaded(text)) == [SCHEMA]


def test_documents_that_go_out_are_left_alone(loaded: Loaded) -> None:
    text = f"""
## STREAM_TO_CANVAS_HANDOFF
```yaml
nodes: [
```
## NEXUS_HANDOFF
```text
- Step: [X/Y]
```
```text
_STEP_COMPLETE:
  Agent: : Stream
```
## What comes in
```yaml
## STREAM_TO_SCHEMA_HANDOFF
derived_models: *
## SCHEMA_TO_STREAM
{BODY}```
"""
    assert kinds(loaded(text)) == [SCHEMA]
    assert kinds(loaded("STREAM_TO_GEAR_HANDOFF:\n  x: 1\n", "out.yaml")) == []


def test_the_formats_as_specified_are_accepted_as_they_stand() -> None:
    documents = load([HERE / "spec_formats.md"])
    assert kinds(documents) == [SCHEMA, PULSE, BUILDER]
    assert [block.place.line for block in documents.blocks] == [10, 58, 96]


def test_heading_and_line_inside_must_agree(loaded: Loaded) -> None:
    documents = loaded(f"## SCHEMA_TO_STREAM\n\n```yaml\n## PULSE_TO_STREAM\n{BODY}```\n")
    assert said(documents) == [(4, 1, "DOC_005")]
    assert "line 1" in documents.findings[0].message
    documents = loaded(f"## SCHEMA_TO_STREAM\nPULSE_TO_STREAM:\n  {BODY}", "orders.yaml")
    assert said(documents) == [(2, 1, "DOC_005")]


@pytest.mark.parametrize(
    ("text", "at"),
    [
        (f"## SCHEMA_TO_STREM\n```yaml\n{BODY}```\n", (1, 1)),
        (f"```yaml\n## SCHEMA_TO_STREAM_HANDOF\n{BODY}```\n", (2, 1)),
        (f"```yaml\nSCHEMA_TO_STREAMS:\n  {BODY}```\n", (2, 1)),
    ],
)
def test_a_kind_nearly_spelled_right_is_recognised_as_a_slip(loaded: Loaded, text: str, at: tuple[int, int]) -> None:
    documents = loaded(text)
    assert said(documents) == [(*at, "DOC_007")]
    assert "did you mean `SCHEMA_TO_STREAM`?" in str(documents.findings[0])


def test_a_heading_about_something_else_is_no_kind(loaded: Loaded) -> None:
    names = ["HOW_TO_BEGIN", "SCHEMA_TO_BUILDER_HANDOFF", "SCHEMA_TO_STREAM and PULSE_TO_STREAM"]
    text = "".join(f"# {name}\n```yaml\na: 1\n```\n" for name in names)
    assert said(loaded(text)) == [(0, 0, "DOC_004")]


def test_a_fence_that_does_not_end_is_one_finding(loaded: Loaded) -> None:
    assert said(loaded(f"## SCHEMA_TO_STREAM\n\n  ```yaml\n{BODY}")) == [(3, 3, "DOC_006")]


def test_a_fence_that_does_not_end_and_is_none_of_ours_is_no_finding(loaded: Loaded) -> None:
    assert kinds(loaded(f"## SCHEMA_TO_STREAM\n```yaml\n{BODY}```\n# Else\n```python\nx = 1\n")) == [SCHEMA]


def test_a_heading_without_yaml_is_a_finding(loaded: Loaded) -> None:
    assert said(loaded(f"# Orders\n\n## SCHEMA_TO_STREAM\n\n{BODY}")) == [(3, 1, "DOC_004")]


@pytest.mark.parametrize("body", ["", "# nothing yet\n", "---\n", "~\n", "{}\n"])
def test_a_block_that_says_nothing_is_a_finding(loaded: Loaded, body: str) -> None:
    assert {code for _, _, code in said(loaded(f"## SCHEMA_TO_STREAM\n```yaml\n{body}```\n"))} == {"DOC_023"}


def test_places_count_the_indentation_of_the_fence(loaded: Loaded) -> None:
    text = '- item\n\n    ```yaml\n    ## SCHEMA_TO_STREAM\n    data_volume:\n      daily_rows: "é" \n    ```\n'
    assert said(loaded(text)) == [(6, 19, "DOC_022")]


def test_what_stands_before_the_first_kind_line_is_not_passed_over(loaded: Loaded) -> None:
    documents = loaded(f"name: x\n---\n## SCHEMA_TO_STREAM\n{BODY}", "orders.yaml")
    assert said(documents) == [(1, 1, "DOC_004")]
    assert [block.kind for block in documents.blocks] == [SCHEMA]


def test_a_key_beside_named_documents_is_a_finding(loaded: Loaded) -> None:
    assert said(loaded(f"SCHEMA_TO_STREAM:\n  {BODY}version: 2\n", "orders.yaml")) == [(3, 1, "DOC_020")]
