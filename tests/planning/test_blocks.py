"""Several blocks over several files are one pipeline."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from penstock.documents import load
from penstock.model.finding import Level
from penstock.model.pipeline import Connection
from penstock.planning import plan

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from penstock.planning import Planned

ORDERS = "source_models: [{table: orders, database: shop, columns: [{name: id, type: bigint, primary_key: true}]}]\n"
STORES = "source_models: [{table: stores, columns: [{name: id, type: bigint, primary_key: true}]}]\n"
FACTS = "destination_requirements: {warehouse: lake, schema: facts, models: [{name: fct_orders}]}\n"
DIMENSIONS = "destination_requirements: {schema: dimensions, models: [{name: dim_stores}]}\n"


def schema(text: str) -> tuple[str, str]:
    return ("SCHEMA_TO_STREAM", text)


def errors_of(planned: Planned) -> list[tuple[str, str, int]]:
    return [
        (each.code, each.place.path.rsplit("/", 1)[-1], each.place.line)
        for each in planned.findings
        if each.level is Level.ERROR
    ]


def test_a_model_may_stand_in_another_file_than_its_source(planned: Callable[..., Planned]) -> None:
    found = planned(
        schema(ORDERS), schema(FACTS), schema(STORES + DIMENSIONS), schema('quality_requirements: ["id > 0"]')
    )
    assert found.pipeline is not None
    assert [(model.schema, model.name, model.source) for model in found.pipeline.models] == [
        ("facts", "fct_orders", "orders"),
        ("dimensions", "dim_stores", "stores"),
    ]
    assert [len(model.rules) for model in found.pipeline.models] == [1, 1]
    assert found.pipeline.warehouse.name == "lake"


def test_what_is_described_twice_is_an_error_at_the_second(planned: Callable[..., Planned]) -> None:
    twice = planned(schema(ORDERS + FACTS), schema(ORDERS.replace("orders", "Orders")), schema(FACTS))
    assert errors_of(twice) == [("PLAN_002", "1.yaml", 2), ("PLAN_002", "2.yaml", 2)]


@pytest.mark.parametrize(
    ("one", "other", "line"),
    [
        ("pipeline: a\n", "pipeline: b\n", 2),
        ("settings: {READ_BYTES: 8192}\n", "settings: {READ_BYTES: 4096}\n", 2),
        ("connections: {shop: {path: a}}\n" + ORDERS, "connections: {shop: {path: b}}\n", 2),
        ("destination_requirements: {warehouse: a}\n", "destination_requirements:\n  warehouse: b\n", 3),
        ("data_volume: {daily_rows: 1}\n", "data_volume:\n  daily_rows: 2\n", 3),
    ],
)
def test_blocks_that_contradict_each_other_are_an_error_at_the_second(
    planned: Callable[..., Planned], one: str, other: str, line: int
) -> None:
    assert errors_of(planned(schema(one), schema(other))) == [("PLAN_001", "1.yaml", line)]
    assert errors_of(planned(schema(one), schema(one.replace(ORDERS, "")))) == []


def test_a_requirement_that_two_blocks_state_alike_is_one(planned: Callable[..., Planned]) -> None:
    found = planned(schema("data_volume: {daily_rows: 5}"), schema("data_volume: {daily_rows: 5}"))
    assert found.pipeline is not None
    assert [each.id for each in found.pipeline.requirements] == ["volume/daily_rows"]


def test_settings_of_all_blocks_are_handed_on(planned: Callable[..., Planned]) -> None:
    found = planned(schema("settings: {READ_BYTES: 8192}"), schema("settings: {COMMIT_RECORDS: 10, READ_BYTES: 8192}"))
    assert found.settings == {"COMMIT_RECORDS": 10, "READ_BYTES": 8192}


def test_documents_without_a_source_build_nothing_and_say_so(planned: Callable[..., Planned]) -> None:
    found = planned(("PULSE_TO_STREAM", "analytics_requirements: {latency_requirements: {daily: 'by 06:00 UTC'}}"))
    assert found.pipeline is not None
    assert (found.pipeline.sources, found.pipeline.models) == ((), ())
    assert [each.code for each in found.findings if each.code < "PLAN_103"] == ["PLAN_101", "PLAN_102"]


def test_a_source_that_nothing_uses_is_a_question(planned: Callable[..., Planned]) -> None:
    found = planned(schema(ORDERS + FACTS), schema(STORES))
    assert [(each.code, each.level) for each in found.findings] == [("PLAN_103", Level.OPEN_QUESTION)]


# --- names --------------------------------------------------------------------------------------------------------


def test_the_pipelines_name_is_the_argument_then_the_documents_then_the_files(tmp_path: Path) -> None:
    path = tmp_path / "web shop.yaml"
    path.write_text("## SCHEMA_TO_STREAM_HANDOFF\n" + ORDERS)
    named = tmp_path / "named.yaml"
    named.write_text("## SCHEMA_TO_STREAM_HANDOFF\npipeline: tills\n" + STORES)
    names = [
        found.pipeline.name
        for found in (plan(load([path])), plan(load([named])), plan(load([named]), name="mine"))
        if found.pipeline is not None
    ]
    assert names == ["web_shop", "tills", "mine"]


def test_several_files_without_a_name_are_called_like_their_folder(tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    folder.mkdir()
    for name, text in (("a.yaml", ORDERS), ("b.yaml", STORES)):
        (folder / name).write_text("## SCHEMA_TO_STREAM_HANDOFF\n" + text)
    found = plan(load([folder]))
    assert found.pipeline is not None
    assert found.pipeline.name == "shop"


def test_a_name_that_cannot_be_one_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("## SCHEMA_TO_STREAM_HANDOFF\n" + ORDERS)
    assert [each.code for each in plan(load([path]), name="../up").findings if each.level is Level.ERROR] == [
        "PLAN_005"
    ]


# --- connections --------------------------------------------------------------------------------------------------


def test_a_connection_is_what_the_configuration_says_then_the_document_then_the_default(
    planned: Callable[..., Planned], tmp_path: Path
) -> None:
    described = "connections: {shop: {path: exports, options: {glob: '*.csv'}}, lake: {kind: duckdb, path: lake.db}}\n"
    found = planned(schema(described + ORDERS + FACTS))
    assert found.pipeline is not None
    assert found.pipeline.source("orders").connection == Connection("shop", "files", "exports", {"glob": "*.csv"})
    assert found.pipeline.warehouse.connection == Connection("lake", "duckdb", "lake.db")
    overrides = {"shop": Connection("shop", "s3", "bucket"), "lake": Connection("lake", "duckdb", "/srv/lake.db")}
    configured = plan(load([tmp_path]), overrides=overrides)
    assert configured.pipeline is not None
    assert configured.pipeline.source("orders").connection == overrides["shop"]
    assert configured.pipeline.warehouse.connection == overrides["lake"]


@pytest.mark.parametrize(
    ("connections", "code"),
    [
        ("{shop: {kind: duckdb}}", "PLAN_004"),
        ("{shoop: {path: x}}", "PLAN_003"),
        ("{lake: {kind: postgres, url: 'postgresql://me:sesame@db/lake'}}", "PLAN_006"),
    ],
)
def test_a_connection_that_cannot_serve_is_an_error(
    planned: Callable[..., Planned], connections: str, code: str
) -> None:
    assert errors_of(planned(schema(f"connections: {connections}\n{ORDERS}{FACTS}"))) == [(code, "0.yaml", 2)]


def test_a_model_cannot_merge_where_rows_can_only_be_added(planned: Callable[..., Planned]) -> None:
    merging = FACTS.replace("{name: fct_orders}", "{name: fct_orders, grain: id, write_mode: merge}")
    assert errors_of(planned(schema(f"connections: {{lake: {{kind: files}}}}\n{ORDERS}{merging}"))) == [
        ("PLAN_034", "0.yaml", 4)
    ]
    assert errors_of(planned(schema(f"connections: {{lake: {{kind: files}}}}\n{ORDERS}{FACTS}"))) == []
