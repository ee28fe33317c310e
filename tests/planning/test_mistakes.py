from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from penstock.documents import load
from penstock.model.finding import Level
from penstock.planning import plan

if TYPE_CHECKING:
    from collections.abc import Callable

    from penstock.planning import Planned

CONDITION = "write a condition, such as `total_amount >= 0`"
INEXACT = (
    "`total_amount / 30` divides exact numbers and does not say to how many places; "
    "write `cast(total_amount / 30 as numeric(10,2))` with your digits, or cast one side to double"
)


def test_ten_mistakes_are_found_at_once_each_at_its_line_and_column() -> None:
    planned = plan(load([Path(__file__).parent / "ten_mistakes.md"]))
    assert planned.pipeline is None
    assert [
        f"{each.place.line}:{each.place.column} {each.code} {each.message}; {each.remedy}"
        for each in planned.findings
        if each.level is Level.ERROR
    ] == [
        "7:3 PLAN_003 nothing uses connection `ecomerce`; did you mean `ecommerce`?",
        "11:17 PLAN_022 `status` is text; dates and times are in `created_at`",
        f"18:26 PLAN_020 critical: it is decimal(10,2), not true or false; {CONDITION}",
        "19:26 PLAN_012 `custmer_id` is not a column; did you mean `customer_id`?",
        "29:15 PLAN_013 no source table is called `order`; did you mean `orders`?",
        "31:19 PLAN_032 `dim_customers` merges, and does not say what a row is; say `grain:`",
        "36:11 PLAN_030 no foreign key leads from `orders` to `customers`; say `on:` with a column of `orders`",
        f"39:41 PLAN_020 `per_day`: {INEXACT}",
        "40:47 PLAN_012 `customer_name`: `customer.nme` is not a column of customer; did you mean `customer.name`?",
        "43:5 PLAN_041 `total_amont` is not a column; did you mean `total_amount`?",
    ]


def test_what_a_broken_block_may_hold_is_not_called_missing(planned: Callable[..., Planned]) -> None:
    model = "destination_requirements: {models: [{name: x, source: orders}]}\n"
    table = "source_models: [{table: stores, columns: [{name: _id, type: bigint}]}]\n"
    broken = ("SCHEMA_TO_STREAM", "source_models: [{table: orders}]")
    found = planned(("SCHEMA_TO_STREAM", model + table), broken)
    assert found.pipeline is None
    assert [each.code for each in found.findings] == ["PLAN_010", "DOC_021"]


def test_no_document_at_all_is_no_pipeline(tmp_path: Path) -> None:
    planned = plan(load([tmp_path]))
    assert planned.pipeline is None
    assert "DOC_004" in {each.code for each in planned.findings}
