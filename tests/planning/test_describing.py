"""The plan in words, compared whole. `penstock plan PATH`, run at the top of the repository, prints the same text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from penstock.documents import load
from penstock.planning import describe, plan

if TYPE_CHECKING:
    from collections.abc import Callable

    from penstock.planning import Planned

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("examples/flights", "flights.txt"),
        ("examples/orders", "orders.txt"),
        ("tests/documents/spec_formats.md", "spec.txt"),
    ],
)
def test_a_plan_reads_as_expected(path: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    planned = plan(load([Path(path)]))
    assert planned.pipeline is not None
    assert describe(planned.pipeline, planned.findings) == (HERE / expected).read_text(encoding="utf-8")


def test_a_plan_says_what_happens_to_a_record_in_every_case(shop: Callable[..., Planned]) -> None:
    planned = shop(
        """\
- name: fct_orders
  grain: order_id
  write_mode: merge
  version_by: updated_at
  min_score: 0.5
  score_column: _quality_score
  max_dead_letters: "1%"
  lookups: [{name: customer, table: customers, default: {name: it's nobody}}]
  columns:
    - "*"
    - {name: who, expression: "customer.name", mask: partial}
  filters: [{when: "status = 'test'", reason: tests}]
""",
        '["no duplicate order_id", {rule: "total >= 0", severity: warning}]',
    )
    assert planned.pipeline is not None
    text = describe(planned.pipeline, planned.findings)
    for sentence in (
        "merge: of the records of one row, the newest stays (largest updated_at)",
        "lookup customer: customers where id = \"customer_id\", fetching name; no match: default name 'it''s nobody'",
        "left out, as `tests`: \"status\" = 'test'",
        "the newest stays; checked at the destination",
        "a violation lowers the score (weight 1); checked after the transform, at the destination",
        "quality score in column _quality_score; below 0.5 a dead letter",
        "fails with more dead letters than 1%",
        "masked: partial",
        "one of new, paid, test",
        "handed over in batches: no delay is asked for",
    ):
        assert sentence in text


def test_a_plan_without_anything_is_still_a_plan(planned: Callable[..., Planned]) -> None:
    found = planned(("SCHEMA_TO_STREAM", "pipeline: nothing"))
    assert found.pipeline is not None
    text = describe(found.pipeline, found.findings)
    assert text.startswith("Pipeline nothing\n  0 sources, 0 models\n")
    assert "Open questions: 2" in text
