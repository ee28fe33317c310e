"""A plan is a value: written and read back it is the same, and the same documents give the same bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.documents import load
from penstock.model.pipeline import Pipeline, decode, encode, fingerprint
from penstock.planning import describe, plan

if TYPE_CHECKING:
    from collections.abc import Callable

    from penstock.planning import Planned

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "examples/flights", ROOT / "examples/orders", ROOT / "tests/documents/spec_formats.md"]


def planned_from(path: Path) -> Pipeline:
    found = plan(load([path]))
    assert found.pipeline is not None
    return found.pipeline


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_a_plan_reads_back_as_what_it_was(path: Path) -> None:
    pipeline = planned_from(path)
    assert decode(encode(pipeline)) == pipeline


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_planning_twice_gives_the_same_bytes_and_the_same_words(path: Path) -> None:
    once, again = plan(load([path])), plan(load([path]))
    assert once.pipeline is not None
    assert again.pipeline is not None
    assert encode(once.pipeline) == encode(again.pipeline)
    assert describe(once.pipeline, once.findings) == describe(again.pipeline, again.findings)


COLUMNS = st.lists(
    st.fixed_dictionaries(
        {
            "name": st.sampled_from(["id", "total", "a b", "größe", "order", "x'y", "Name"]),
            "type": st.sampled_from(["bigint", "numeric(10,2)", "text", "varchar(5)", "date", "timestamptz", "uuid"]),
        },
        optional={"nullable": st.booleans()},
    ),
    min_size=1,
    max_size=6,
    unique_by=lambda column: str(column["name"]).casefold(),
)


@given(
    columns=COLUMNS,
    keys=st.integers(0, 2),
    write_mode=st.sampled_from(["append", "merge"]),
    limit=st.sampled_from([None, 5, "2.5%"]),
    volume=st.fixed_dictionaries(
        {},
        optional={"peak_rate": st.just("7 rows/minute"), "retention": st.just("18 months"), "daily_rows": st.just(3)},
    ),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
def test_any_plan_reads_back_as_what_it_was(
    planned: Callable[..., Planned],
    columns: list[dict[str, object]],
    keys: int,
    write_mode: str,
    limit: object,
    volume: dict[str, object],
) -> None:
    for column in columns[:keys]:
        column |= {"primary_key": True, "nullable": False}
    model = {"name": "fct_t", "write_mode": write_mode, "grain": [columns[0]["name"]], "max_dead_letters": limit}
    text = json.dumps(
        {
            "source_models": [{"table": "t", "columns": columns}],
            "destination_requirements": {"models": [{key: value for key, value in model.items() if value is not None}]},
            "data_volume": volume or {"daily_rows": 0},
            "quality_requirements": [f'no duplicate "{columns[-1]["name"]}"'],
        }
    )
    found = planned(("SCHEMA_TO_STREAM", text))
    assert found.pipeline is not None, found.findings
    assert decode(encode(found.pipeline)) == found.pipeline


def shuffled(value: object, draw: Callable[[list[str]], list[str]]) -> object:
    """The same YAML with keys in another order; lists keep theirs, for it means something."""
    match value:
        case dict():
            return {key: shuffled(value[key], draw) for key in draw(list(value))}
        case list():
            return [shuffled(item, draw) for item in value]
        case _:
            return value


BOOK = {
    "pipeline": "books",
    "settings": {"READ_BYTES": 8192, "COMMIT_RECORDS": 10},
    "connections": {"shop": {"kind": "files", "path": "x"}, "lake": {"kind": "duckdb", "path": "y"}},
    "source_models": [
        {
            "table": "orders",
            "database": "shop",
            "columns": [
                {"name": "id", "type": "bigint", "primary_key": True},
                {"name": "customer_id", "type": "bigint", "foreign_key": "customers.id"},
                {"name": "total", "type": "numeric(10,2)"},
            ],
            "event_time": "id",
        },
        {"table": "customers", "database": "shop", "columns": [{"name": "id", "type": "bigint", "primary_key": True}]},
    ],
    "destination_requirements": {
        "warehouse": "lake",
        "models": [
            {
                "name": "fct_orders",
                "grain": "order_id",
                "lookups": [{"name": "customer", "table": "customers", "default": {"id": 0}}],
                "columns": ["*", {"name": "buyer", "expression": "customer.id"}],
                "tests": [{"name": "t", "input": {"total": 1, "id": 2}, "expected": {"total": 1, "order_id": 2}}],
            }
        ],
    },
    "quality_requirements": [{"rule": "total >= 0", "weight": 2}, "no duplicate order_id"],
}


@given(data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25)
def test_the_order_of_keys_changes_nothing_but_places(planned: Callable[..., Planned], data: st.DataObject) -> None:
    document = json.loads(json.dumps(BOOK).replace('"event_time": "id"', '"daily_growth": 7'))
    reference = planned(("SCHEMA_TO_STREAM", json.dumps(document)))
    other = planned(("SCHEMA_TO_STREAM", json.dumps(shuffled(document, lambda keys: data.draw(st.permutations(keys))))))
    assert reference.pipeline is not None, reference.findings
    assert other.pipeline is not None, other.findings
    assert fingerprint(other.pipeline) == fingerprint(reference.pipeline)
    assert other.settings == reference.settings
