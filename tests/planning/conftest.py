from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import pytest

from penstock.documents import load
from penstock.planning import plan

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from penstock.planning import Planned

SOURCES = """\
source_models:
  - table: orders
    columns:
      - {name: id, type: bigint, primary_key: true}
      - {name: customer_id, type: bigint, foreign_key: customers.id}
      - {name: status, type: enum, values: [new, paid, test]}
      - {name: total, type: "numeric(10,2)"}
      - {name: discount, type: "numeric(10,2)"}
      - {name: created_at, type: timestamp, nullable: false}
      - {name: updated_at, type: timestamp}
  - table: customers
    columns:
      - {name: id, type: bigint, primary_key: true}
      - {name: name, type: "varchar(40)"}
      - {name: segment, type: text}
"""


@pytest.fixture
def planned(tmp_path: Path) -> Callable[..., Planned]:
    """Plan documents given as texts, each a block of its own kind: `planned("a: 1", "SCHEMA_TO_STREAM")`."""

    def of(*blocks: tuple[str, str]) -> Planned:
        for number, (kind, text) in enumerate(blocks):
            (tmp_path / f"{number}.yaml").write_text(f"## {kind}_HANDOFF\n{text}")
        return plan(load([tmp_path]))

    return of


@pytest.fixture
def shop(planned: Callable[..., Planned]) -> Callable[..., Planned]:
    """Plan models and rules over orders and customers: `shop("- {name: fct_orders}", '["total >= 0"]')`."""

    def of(models: str, rules: str = "[]", more: str = "") -> Planned:
        wanted = f"destination_requirements:\n  models:\n{textwrap.indent(models, '    ')}\n"
        return planned(("SCHEMA_TO_STREAM", f"{SOURCES}{wanted}quality_requirements: {rules}\n{more}"))

    return of
