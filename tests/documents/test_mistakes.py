"""What is wrong with a document: all of it at once, each where it stands, in words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from penstock.documents import Documents, load
from penstock.documents.codes import KINDS
from penstock.documents.validation import FINDINGS_MAX

Loaded = Callable[..., Documents]

HERE = Path(__file__).parent


def test_ten_planted_mistakes_are_ten_findings_each_at_its_place() -> None:
    documents = load([HERE / "ten_mistakes.md"])
    found = [(finding.place.line, finding.place.column, finding.code) for finding in documents.findings]
    assert found == [
        (10, 5, "DOC_020"),  # colums
        (13, 14, "DOC_022"),  # indexes is a mapping
        (14, 21, "DOC_027"),  # estimated_rows below zero
        (18, 15, "DOC_026"),  # bigit
        (19, 22, "DOC_022"),  # primary_key: yes
        (20, 9, "DOC_021"),  # a column without a type
        (27, 19, "DOC_024"),  # marge
        (29, 36, "DOC_029"),  # from and expression
        (30, 7, "DOC_011"),  # grain stands twice
        (33, 14, "DOC_025"),  # fast
    ]
    assert [block.document for block in documents.blocks] == [None]


def test_a_finding_reads_as_file_line_column_code_what_and_what_to_do() -> None:
    path = HERE / "ten_mistakes.md"
    texts = [str(finding) for finding in load([path]).findings]
    assert texts[0] == f"{path}:10:5 DOC_020 unknown key `colums`; did you mean `columns`?"
    assert texts[3] == f"{path}:18:15 DOC_026 `type`: `bigit` is not a type we know; did you mean `bigint`?"
    assert texts[6] == (
        f"{path}:27:19 DOC_024 `write_mode`: `marge` is not one of append, merge; did you mean `merge`?"
    )


SOURCE = "source_models:\n  - table: t\n    columns:\n      - "
MODEL = "destination_requirements:\n  models:\n    - name: m\n      "

MISTAKES: tuple[tuple[str, str, tuple[int, int], str], ...] = (
    ("pipeline: a/b\n", "DOC_028", (1, 11), "`a/b` cannot name a pipeline"),
    (SOURCE + "{name: a/b, type: int}\n", "DOC_028", (4, 16), "`a/b` holds a slash"),
    (SOURCE + '{name: "a\\nb", type: int}\n', "DOC_028", (4, 16), "a character that does not print"),
    (SOURCE + f"{{name: {'x' * 256}, type: int}}\n", "DOC_028", (4, 16), "255 are the most"),
    ("source_models: [{table: .., columns: [{name: a, type: int}]}]\n", "DOC_028", (1, 25), "means a folder"),
    (SOURCE + "{name: a, type: 5}\n", "DOC_026", (4, 25), "`5` is not a type"),
    (SOURCE + "{name: a, type: numeric(10}\n", "DOC_026", (4, 25), "lacks its closing bracket"),
    (SOURCE + "{name: a, type: int, values: [x]}\n", "DOC_029", (4, 25), "the type is integer"),
    (SOURCE + "{name: a, type: enum, values: [x, 1]}\n", "DOC_022", (4, 43), "takes a text, not `1`"),
    (SOURCE + "{name: a, type: int, primary_key: true, nullable: true}\n", "DOC_029", (4, 49), "and nullable"),
    (SOURCE + "{name: a, type: int, foreign_key: customers}\n", "DOC_022", (4, 43), "no column of a table"),
    (SOURCE + "{name: a, type: int}\n      - {name: A, type: int}\n", "DOC_030", (5, 16), "like the one in line 4"),
    ("source_models: [{table: t, columns: []}]\n", "DOC_023", (1, 37), "the list is empty"),
    ("source_models: [{table: t, columns: }]\n", "DOC_023", (1, 28), "`columns` is empty"),
    ("source_models: [{table: '', columns: [{name: a, type: int}]}]\n", "DOC_023", (1, 25), "`table` is empty"),
    ("source_models:\n  table: t\n", "DOC_022", (2, 3), "takes a list, not a mapping"),
    ("source_models:\n  - table:t\n", "DOC_022", (2, 5), "the entry takes keys with values, not `table:t`"),
    ("source_models:\n  -\n", "DOC_023", (2, 4), "the entry is empty"),
    (MODEL + "write_mode: 7\n", "DOC_024", (4, 19), "`7` is not one of append, merge"),
    (MODEL + "lookups: [{table: c, on: [a, b], key: [x]}]\n", "DOC_029", (4, 40), "2 and `key` 1 entries"),
    (MODEL + "lookups: [{table: c, on: {x: a}, key: y}]\n", "DOC_029", (4, 40), "`key` names them again"),
    (MODEL + "lookups: [{table: c, default: {x: [1]}}]\n", "DOC_022", (4, 41), "takes a single value, not a list"),
    (MODEL + "columns: [{name: '*', from: a}]\n", "DOC_029", (4, 17), "`*` stands for many columns"),
    (MODEL + "columns: [{name: a, mask: sha}]\n", "DOC_024", (4, 33), "not one of hash, redact, partial"),
    (MODEL + "partitioning: created_at (day)\n", "DOC_024", (4, 21), "`day` is not one of hourly, daily"),
    (MODEL + "min_score: 80\n", "DOC_027", (4, 18), "does not lie between 0 and 1"),
    (MODEL + "min_score: high\n", "DOC_022", (4, 18), "takes a number, not `high`"),
    (MODEL + "max_dead_letters: 0.01\n", "DOC_025", (4, 25), "not a count such as `100` or a share"),
    (MODEL + "max_dead_letters: 101%\n", "DOC_025", (4, 25), "more than all"),
    (MODEL + "retention: 3 years\n", "DOC_020", (4, 7), "it belongs under data_volume"),
    (MODEL + "pipeline: p\n", "DOC_020", (4, 7), "it belongs at the top"),
    ("data_volume: {xyzzy: 1}\n", "DOC_020", (1, 15), "more keys here would be daily_rows, peak_rate, retention"),
    (SOURCE + "{name: a, type: int, 2): }\n", "DOC_020", (4, 30), "holds a comma in quotes"),
    ("data_volume: {retention: 5}\n", "DOC_025", (1, 26), "`5` is not a length of time such as `3 years`"),
    ("data_volume: {retention: }\n", "DOC_023", (1, 15), "`retention` is empty"),
    ("quality_requirements: [{rule: a > 0, weight: 0}]\n", "DOC_027", (1, 46), "more than 0"),
    ("quality_requirements: [{rule: a > 0, weight: true}]\n", "DOC_022", (1, 46), "takes a number, not `true`"),
    ("quality_requirements: [a > 0, '']\n", "DOC_023", (1, 31), "`rule` is empty"),
    ("quality_requirements: [5]\n", "DOC_022", (1, 24), "the entry takes a text, or keys with values, not `5`"),
    ("settings: {ALPHA_BETA_BATCHSIZE: 5}\n", "DOC_031", (1, 34), "did you mean `ALPHA_BETA_BATCH_SIZE`?"),
    ("settings: {ALPHA_BETA_BATCH_SIZE: 0}\n", "DOC_027", (1, 35), "a whole number from 1 to 1,000,000"),
    ("settings: {ALPHA_BETA_BATCH_SIZE: [1]}\n", "DOC_022", (1, 35), "takes a number, not a list"),
    ("settings: {ALPHA_BETA_BATCH_SIZE: true}\n", "DOC_022", (1, 35), "takes a number, not `true`"),
    ("settings: {STREAMING_MODE_ENABLED: [1]}\n", "DOC_022", (1, 36), "takes true or false, not a list"),
    ("settings: {STREAMING_MODE_ENABLED: perhaps}\n", "DOC_027", (1, 36), "it takes true or false (or yes"),
    ("settings: {ALPHA_BETA_BATCH_SIZE: }\n", "DOC_023", (1, 12), "`ALPHA_BETA_BATCH_SIZE` is empty"),
    ("connections: {shop: {kind: file}}\n", "DOC_024", (1, 28), "did you mean `files`?"),
    ("connections: {a/b: {kind: files}}\n", "DOC_028", (1, 15), "holds a slash"),
    ("connections: {shop: {options: {x: {y: z}}}}\n", "DOC_022", (1, 35), "takes a single value"),
    ("connections: [shop]\n", "DOC_022", (1, 14), "takes keys with values, not a list"),
)


@pytest.mark.parametrize(("text", "code", "at", "words"), MISTAKES, ids=[text[-40:].strip() for text, *_ in MISTAKES])
def test_one_mistake_is_one_finding(loaded: Loaded, text: str, code: str, at: tuple[int, int], words: str) -> None:
    (finding,) = loaded(text, "x.yaml").findings
    assert (finding.code, (finding.place.line, finding.place.column)) == (code, at), str(finding)
    assert words in str(finding)


@pytest.mark.parametrize(
    ("text", "code", "at", "words"),
    [
        ("latency_requirements: {daily: soon}", "DOC_025", (1, 56), "`< 1 minute delay` or `available by 06:00 UTC`"),
        ("latency_requirements: {daily: by 06:00 XYZ}", "DOC_025", (1, 56), "no time zone is called `XYZ`"),
        ("refresh_frequency: {daily: [daily]}", "DOC_025", (1, 53), "a list is not a frequency such as"),
        ("metrics: [{name: a, aggregation: }]", "DOC_023", (1, 46), "`aggregation` is empty"),
        ("metrics: [{name: a, aggregation: x}, {name: A, aggregation: y}]", "DOC_030", (1, 70), "called `A`"),
    ],
)
def test_mistakes_about_metrics(loaded: Loaded, text: str, code: str, at: tuple[int, int], words: str) -> None:
    (finding,) = loaded(f"analytics_requirements: {{{text}}}", "x.yaml").findings
    assert (finding.code, (finding.place.line, finding.place.column)) == (code, at), str(finding)
    assert words in str(finding)


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("{name: a, base_url: api.example.com}", "DOC_022", "is not a URL"),
        ("{name: a, base_url: 'http://[::1'}", "DOC_022", "is not a URL"),
        ("{name: a, base_url: 'https://u:secret@api.example.com'}", "DOC_032", "a password stands in the URL"),
        ("{name: a, base_url: 'https://a.example', auth: oauth}", "DOC_024", "did you mean `oauth2`?"),
        ("{name: a, base_url: 'https://a.example', rate_limit: 5}", "DOC_025", "`5` is not a rate such as"),
    ],
)
def test_mistakes_about_an_api(loaded: Loaded, text: str, code: str, words: str) -> None:
    (finding,) = loaded(f"api_integration:\n  source_api: {text}\n", "x.yaml").findings
    assert finding.code == code
    assert words in str(finding)
    assert "secret@" not in str(finding)


def test_what_a_finding_quotes_is_harmless_in_a_terminal(loaded: Loaded) -> None:
    text = 'data_volume: {retention: "1\\e[31m\\nyears", "\\a' + "k" * 900 + '": 1}\n'
    documents = loaded(text, "x.yaml")
    assert len(documents.findings) == 2
    assert all(str(finding).isprintable() and len(str(finding)) < 1_500 for finding in documents.findings)


def test_below_a_misspelled_key_mistakes_are_found_all_the_same(loaded: Loaded) -> None:
    text = "source_modles:\n  - tabel: t\n    colums:\n      - {name: a, type: bigit}\n"
    found = [(finding.place.line, finding.code) for finding in loaded(text, "x.yaml").findings]
    assert found == [(1, "DOC_020"), (2, "DOC_020"), (3, "DOC_020"), (4, "DOC_026")]


def test_two_slips_for_one_key_are_two_findings_and_one_meaning(loaded: Loaded) -> None:
    documents = loaded("pipelin: a\npipelines: b\n", "x.yaml")
    assert [(finding.place.line, finding.code) for finding in documents.findings] == [(1, "DOC_020"), (2, "DOC_020")]


def test_more_mistakes_than_anybody_reads_are_cut_and_counted(loaded: Loaded) -> None:
    documents = loaded("quality_requirements: [" + "5, " * 250 + "]\n", "x.yaml")
    assert len(documents.findings) == FINDINGS_MAX + 1
    assert "and 150 more from here on" in str(documents.findings[-1])


def test_a_document_with_mistakes_in_one_block_leaves_the_other_blocks_whole(loaded: Loaded) -> None:
    documents = loaded("pipeline: 5\n---\npipeline: orders\n", "x.yaml")
    assert [block.document is None for block in documents.blocks] == [True, False]
    assert documents.have_errors


def test_every_code_is_in_the_docs_as_the_table_says_it() -> None:
    page = (HERE.parents[1] / "docs" / "findings.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| `DOC_")]
    assert rows == [f"| `{kind.code}` | {kind.level} | {kind.title} | {kind.remedy} |" for kind in KINDS.values()]


def test_every_code_is_given_by_something_these_tests_load() -> None:
    tests = "".join(path.read_text(encoding="utf-8") for path in HERE.glob("test_*.py"))
    assert [code for code in KINDS if f'"{code}"' not in tests] == []
