"""What a document without mistakes means: every value typed, every short form written out."""

from __future__ import annotations

from collections.abc import Callable
from datetime import time
from decimal import Decimal
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.documents import BuilderToStream, Documents, PulseToStream, SchemaToStream, load
from penstock.documents.kinds import (
    ALL_THE_REST,
    Auth,
    ConnectionKind,
    DestinationModel,
    Method,
    Pagination,
    PartitionInterval,
    PartitionKind,
    ResponseFormat,
    Rule,
)
from penstock.documents.values import Reference
from penstock.model.pipeline import Masking, RuleSeverity, SchemaPolicy, WriteMode
from penstock.model.quantity import Amount, Continuous, Deadline, Delay, Every, Period, Rate, Share, Unit
from penstock.model.schema import DataType, Kind

Loaded = Callable[..., Documents]
DocumentT = TypeVar("DocumentT", SchemaToStream, PulseToStream, BuilderToStream)

HERE = Path(__file__).parent


def only(documents: Documents, kind: type[DocumentT]) -> DocumentT:
    assert [str(finding) for finding in documents.findings] == []
    (document,) = (block.document for block in documents.blocks if isinstance(block.document, kind))
    return document


@pytest.fixture
def model(loaded: Loaded) -> Callable[[str], DestinationModel]:
    """Load one model with these keys."""

    def load_model(keys: str) -> DestinationModel:
        text = f"destination_requirements: {{models: [{{name: m, {keys}}}]}}"
        requirements = only(loaded(text, "x.yaml"), SchemaToStream).destination_requirements
        assert requirements is not None
        return requirements.models[0]

    return load_model


def test_the_specified_schema_document_means_what_it_says() -> None:
    document = only(load([HERE / "spec_formats.md"]), SchemaToStream)
    (table,) = document.source_models
    assert (table.table, table.schema_, table.database) == ("orders", "public", "ecommerce")
    assert [(column.name, str(column.type), column.may_be_null) for column in table.columns] == [
        ("id", "bigint", False),
        ("customer_id", "bigint", True),
        ("total_amount", "decimal(10,2)", True),
        ("created_at", "timestamp", True),
        ("updated_at", "timestamp", True),
    ]
    assert table.columns[1].foreign_key == Reference("customers", "id")
    assert [index.columns for index in table.indexes] == [("customer_id",), ("created_at",)]
    assert (table.estimated_rows, table.daily_growth) == (10_000_000, 50_000)
    assert (table.schema_policy, table.format.null_values) == (SchemaPolicy.FREEZE, ("",))
    destination = document.destination_requirements
    assert destination is not None
    assert (destination.warehouse, destination.schema_) == ("snowflake", "analytics")
    (fact,) = destination.models
    assert (fact.name, fact.grain, fact.clustering, fact.write_mode) == (
        "fct_orders", ("order_id",), ("customer_id",), WriteMode.APPEND,
    )  # fmt: skip
    assert fact.partitioning is not None
    assert (fact.partitioning.column, fact.partitioning.interval) == ("created_at", PartitionInterval.DAILY)
    assert [column.is_rest for column in fact.columns] == [True]
    volume = document.data_volume
    assert volume is not None
    assert (volume.daily_rows, volume.peak_rate, volume.retention) == (
        50_000, Rate(Decimal(100), "rows", Unit.SECOND), Period(Decimal(3), Unit.YEAR),
    )  # fmt: skip
    assert document.quality_requirements == (
        Rule(rule="no duplicate order_id"), Rule(rule="total_amount >= 0"), Rule(rule="created_at not null"),
    )  # fmt: skip


def test_the_specified_pulse_document_means_what_it_says() -> None:
    analytics = only(load([HERE / "spec_formats.md"]), PulseToStream).analytics_requirements
    assert [(metric.name, metric.grain, metric.dimensions, metric.window) for metric in analytics.metrics] == [
        ("daily_revenue", "day", ("store_id", "product_category"), ""),
        ("customer_ltv", "customer", (), "lifetime"),
        ("order_frequency", "month", (), ""),
    ]
    assert analytics.metrics[2].aggregation == "COUNT(*) / COUNT(DISTINCT customer_id)"
    assert analytics.latency_requirements == {
        "daily_metrics": Deadline(time(6), "UTC"),
        "real_time_metrics": Delay(Period(Decimal(1), Unit.MINUTE), strict=True),
    }
    assert analytics.refresh_frequency == {
        "daily_metrics": Every(Period(Decimal(1), Unit.DAY)),
        "real_time_metrics": Continuous(),
    }
    assert analytics.data_sources == ("orders", "customers", "products")


def test_the_specified_builder_document_means_what_it_says() -> None:
    api = only(load([HERE / "spec_formats.md"]), BuilderToStream).api_integration
    assert (api.source_api.name, api.source_api.base_url) == ("payment_gateway", "https://api.payments.com")
    assert (api.source_api.auth, api.source_api.rate_limit) == (
        Auth.OAUTH2, Rate(Decimal(100), "requests", Unit.MINUTE),
    )  # fmt: skip
    (endpoint,) = api.endpoints
    assert (endpoint.path, endpoint.method, endpoint.pagination) == ("/transactions", Method.GET, Pagination.CURSOR)
    assert (endpoint.incremental_key, endpoint.response_format) == ("updated_at", ResponseFormat.JSON)
    assert api.data_contract is not None
    assert [field.type.kind for field in api.data_contract.fields] == [
        Kind.TEXT, Kind.DECIMAL, Kind.TEXT, Kind.TIMESTAMPTZ,
    ]  # fmt: skip
    assert api.data_contract.fields[2].type == DataType(Kind.TEXT, values=("pending", "completed", "failed"))
    assert api.sync_requirements is not None
    assert api.sync_requirements.frequency == Every(Period(Decimal(15), Unit.MINUTE))
    assert api.sync_requirements.initial_load == Period(Decimal(90), Unit.DAY)


@pytest.mark.parametrize(
    ("written", "names"),
    [("date + store_id", ("date", "store_id")), ("date, store_id", ("date", "store_id")), ("a", ("a",))],
)
def test_a_grain_is_names(model: Callable[[str], DestinationModel], written: str, names: tuple[str, ...]) -> None:
    assert model(f'grain: "{written}"').grain == names
    assert model(f"grain: [{', '.join(names)}]").grain == names


def test_a_partitioning_is_a_text_or_a_mapping(model: Callable[[str], DestinationModel]) -> None:
    short = model('partitioning: "created_at (monthly)"')
    assert short == model("partitioning: {column: created_at, interval: Monthly}")
    assert short == model("partitioning: {type: range, column: created_at, interval: monthly}")
    bare = model("partitioning: region").partitioning
    assert bare is not None
    assert (bare.type, bare.column, bare.interval) == (PartitionKind.RANGE, "region", None)


def test_the_columns_of_a_model_are_names_mappings_or_the_rest(model: Callable[[str], DestinationModel]) -> None:
    columns = model(
        'columns: ["*", a, {name: b, from: c}, {name: d, expression: "e + 1", mask: hash, type: text}]'
    ).columns
    assert [(column.name, column.from_, column.expression, column.mask) for column in columns] == [
        (ALL_THE_REST, "", "", None),
        ("a", "", "", None),
        ("b", "c", "", None),
        ("d", "", "e + 1", Masking.HASH),
    ]


@pytest.mark.parametrize(
    ("written", "on", "key"),
    [
        ("", (), ()),
        (", on: a", ("a",), ()),
        (", on: [a, b], key: [x, y]", ("a", "b"), ("x", "y")),
        (", on: {x: a, y: lower(b)}", ("a", "lower(b)"), ("x", "y")),
        (", on: a, key: x", ("a",), ("x",)),
    ],
)
def test_a_lookup_pairs_expressions_with_keys(
    model: Callable[[str], DestinationModel], written: str, on: tuple[str, ...], key: tuple[str, ...]
) -> None:
    (lookup,) = model(f"lookups: [{{table: customers{written}}}]").lookups
    assert (lookup.on, lookup.key, lookup.required) == (on, key, True)


def test_defaults_and_tests_keep_values_exact(model: Callable[[str], DestinationModel]) -> None:
    keys = "lookups: [{table: c, default: {a: null, b: 1.10, c: 'no', d: no, e: true}}]"
    assert model(keys).lookups[0].default == {"a": None, "b": Decimal("1.10"), "c": "no", "d": "no", "e": True}
    (test,) = model("tests: [{name: t, input: {a: 9.90}, expected: {b: 2024-01-01}}]").tests
    assert (str(test.input["a"]), test.expected) == ("9.90", {"b": "2024-01-01"})


def test_a_filter_is_a_predicate_with_or_without_a_reason(model: Callable[[str], DestinationModel]) -> None:
    filters = model("filters: [a = 1, {when: b = 2, reason: tests}]").filters
    assert [(one.when, one.reason) for one in filters] == [("a = 1", ""), ("b = 2", "tests")]


def test_limits_are_counts_or_shares(model: Callable[[str], DestinationModel]) -> None:
    assert model("max_dead_letters: 1%").max_dead_letters == Share(Decimal("0.01"))
    assert model("max_dead_letters: 10").max_dead_letters == Amount(10)
    assert model("max_dead_letters: '10'").max_dead_letters == Amount(10)


def test_a_rule_is_a_text_or_a_mapping(loaded: Loaded) -> None:
    text = "quality_requirements: [a > 0, {rule: b > 0, weight: 0.5, severity: Warning, name: b, max_dead_letters: 5}]"
    first, second = only(loaded(text, "x.yaml"), SchemaToStream).quality_requirements
    assert (first.rule, first.weight, first.severity) == ("a > 0", 1.0, RuleSeverity.ERROR)
    assert (second.weight, second.severity, second.max_dead_letters) == (0.5, RuleSeverity.WARNING, Amount(5))


@pytest.mark.parametrize("written", ["10000000", "10_000_000", "10,000,000", "'10000000'", "10000000.0", "0x989680"])
def test_a_count_is_written_as_people_write_it(loaded: Loaded, written: str) -> None:
    volume = only(loaded(f"data_volume:\n  daily_rows: {written}\n", "x.yaml"), SchemaToStream).data_volume
    assert volume is not None
    assert volume.daily_rows == 10_000_000


def test_connections_options_and_settings(loaded: Loaded) -> None:
    text = """
connections: {shop: {path: data, options: {a: 1, b: true, c: x}}, lake: {kind: duckdb, path: out.duckdb}}
settings: {ALPHA_BETA_BATCH_SIZE: 10, BACKPRESSURE_HIGH_WATERMARK: 0.9, STREAMING_MODE_ENABLED: true}
"""
    document = only(loaded(text, "x.yaml"), SchemaToStream)
    assert document.connections["shop"].kind is ConnectionKind.FILES
    assert document.connections["shop"].options == {"a": "1", "b": "true", "c": "x"}
    assert document.connections["lake"].kind is ConnectionKind.DUCKDB
    assert document.settings == {
        "ALPHA_BETA_BATCH_SIZE": 10,
        "BACKPRESSURE_HIGH_WATERMARK": 0.9,
        "STREAMING_MODE_ENABLED": True,
    }


def test_a_reference_may_name_the_schema(loaded: Loaded) -> None:
    text = (
        'source_models: [{table: t, columns: [{name: a, type: int, foreign_key: s.t.c}], format: {delimiter: "\\t"}}]'
    )
    (table,) = only(loaded(text, "x.yaml"), SchemaToStream).source_models
    assert table.columns[0].foreign_key == Reference("t", "c", "s")
    assert table.format.delimiter == "\t"


@given(st.decimals(0, 10**12, places=2), st.sampled_from(["rows", "requests"]), st.sampled_from(Unit))
def test_a_rate_written_is_the_rate_read(count: Decimal, things: str, unit: Unit) -> None:
    document = SchemaToStream.model_validate({"data_volume": {"peak_rate": f"{count} {things}/{unit}"}})
    assert document.data_volume is not None
    assert document.data_volume.peak_rate == Rate(count, things, unit)


def test_what_was_read_does_not_change(loaded: Loaded) -> None:
    document = only(loaded("pipeline: p\n", "x.yaml"), SchemaToStream)
    with pytest.raises(ValueError, match="frozen"):
        document.pipeline = "q"  # type: ignore[misc]
