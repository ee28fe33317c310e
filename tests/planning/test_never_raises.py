"""Whatever stands in a document becomes a pipeline or findings, never an exception."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Callable

    from penstock.planning import Planned

NAMES = st.sampled_from(
    ["id", "ID", "total", "order_id", "customers", "orders", "customer.name", "nobody", "_x", "*", "ö b"]
)
TEXTS = NAMES | st.sampled_from(
    ["total / id", "no duplicate id", "id not null", "total >= 0", "sum(id)", "null", "(", "'", "id = name", "count(*)"]
)
SQL = TEXTS | st.text(alphabet="id toalnme()'\"+-*/<>=.,;0123", max_size=20)
COLUMN = st.fixed_dictionaries(
    {"name": NAMES},
    optional={
        "expression": SQL,
        "type": st.sampled_from(["bigint", "text", "date", "numeric(38,9)", "varchar(2)", "uuid", "boolean"]),
        "mask": st.sampled_from(["hash", "redact", "partial"]),
    },
)
LOOKUP = st.fixed_dictionaries(
    {"table": NAMES},
    optional={
        "name": NAMES, "on": SQL, "key": NAMES, "columns": st.lists(NAMES, min_size=1, max_size=2),
        "default": st.dictionaries(NAMES, TEXTS, max_size=2), "required": st.booleans(),
    },
)  # fmt: skip
MODEL = st.fixed_dictionaries(
    {"name": st.sampled_from(["fct_orders", "dim_customer", "other"])},
    optional={
        "source": NAMES, "grain": NAMES, "write_mode": st.sampled_from(["append", "merge"]), "version_by": NAMES,
        "columns": st.lists(COLUMN | NAMES, min_size=1, max_size=4), "lookups": st.lists(LOOKUP, max_size=2),
        "filters": st.lists(SQL, max_size=2), "partitioning": NAMES, "clustering": st.lists(NAMES, max_size=2),
        "min_score": st.just(0.5), "score_column": NAMES,
        "tests": st.lists(
            st.fixed_dictionaries(
                {
                    "name": st.just("t"),
                    "input": st.dictionaries(NAMES, TEXTS, max_size=2),
                    "expected": st.dictionaries(NAMES, TEXTS, max_size=2),
                }
            ),
            max_size=1,
        ),
    },
)  # fmt: skip
SOURCES = [
    {
        "table": "orders",
        "columns": [
            {"name": "id", "type": "bigint", "primary_key": True},
            {"name": "customer_id", "type": "bigint", "foreign_key": "customers.id"},
            {"name": "total", "type": "numeric(10,2)"},
        ],
    },
    {
        "table": "customers",
        "columns": [{"name": "id", "type": "bigint", "primary_key": True}, {"name": "name", "type": "text"}],
    },
]


@given(
    models=st.lists(MODEL, min_size=1, max_size=2),
    rules=st.lists(SQL | st.fixed_dictionaries({"rule": SQL, "model": NAMES | st.just("fct_orders")}), max_size=3),
    critical=SQL,
)
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None, max_examples=150
)
def test_planning_never_raises(
    planned: Callable[..., Planned], models: list[object], rules: list[object], critical: str
) -> None:
    document = {
        "source_models": [SOURCES[0] | {"priority": {"critical": critical}}, SOURCES[1]],
        "destination_requirements": {"models": models},
        "quality_requirements": rules,
    }
    pulse = {"analytics_requirements": {"metrics": [{"name": "m", "aggregation": critical}]}}
    found = planned(("SCHEMA_TO_STREAM", json.dumps(document)), ("PULSE_TO_STREAM", json.dumps(pulse)))
    assert (found.pipeline is None) == any(each.level == "error" for each in found.findings)
