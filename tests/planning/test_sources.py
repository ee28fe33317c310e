from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.model.finding import Level

if TYPE_CHECKING:
    from collections.abc import Callable

    from penstock.planning import Planned

MODEL = "destination_requirements: {models: [{name: fct, source: orders}]}\n"


def source(columns: str, more: str = "") -> tuple[str, str]:
    return ("SCHEMA_TO_STREAM", f"source_models: [{{table: orders, columns: [{columns}]{more}}}]\n{MODEL}")


def test_what_columns_promise_becomes_checks_on_arrival(planned: Callable[..., Planned]) -> None:
    found = planned(
        source(
            "{name: id, type: bigint, primary_key: true}, {name: at, type: date, nullable: false},"
            "{name: code, type: varchar(3)}, {name: status, type: enum, values: [new, it's]}"
        )
    )
    assert found.pipeline is not None
    assert [(each.code, each.valid, each.field, each.expected) for each in found.pipeline.sources[0].checks] == [
        ("INT_ALPHA_003", '"id" IS NOT NULL', "id", "a value"),
        ("INT_ALPHA_003", '"at" IS NOT NULL', "at", "a value"),
        ("INT_ALPHA_002", 'length("code") <= 3', "code", "at most 3 characters"),
        ("INT_ALPHA_002", "\"status\" IN ('new', 'it''s')", "status", "one of new, it's"),
    ]


def test_what_else_is_said_of_a_source_is_carried(planned: Callable[..., Planned]) -> None:
    found = planned(
        source(
            "{name: id, type: bigint, primary_key: true}, {name: at, type: timestamp}, {name: total, type: bigint}",
            ', event_time: AT, priority: {critical: "total > 10"}, schema_policy: quarantine, estimated_rows: 10,'
            ' daily_growth: 1, indexes: [{columns: [At]}], format: {delimiter: ";", null_values: ["-"]}',
        )
    )
    assert found.pipeline is not None
    table = found.pipeline.sources[0]
    assert (table.event_time, table.critical, table.policy.value) == ("at", '"total" > 10', "quarantine")
    assert (table.estimated_rows, table.daily_growth, table.indexes[0].columns) == (10, 1, ("at",))
    assert (table.format.delimiter, table.format.null_values) == (";", ("-",))
    assert table.primary_key == ("id",)


def test_names_that_penstock_keeps_for_itself_are_refused(planned: Callable[..., Planned]) -> None:
    found = planned(source("{name: _sequence, type: bigint}"))
    assert [each.code for each in found.findings if each.level is Level.ERROR] == ["PLAN_010"]


def test_a_foreign_key_leads_to_described_columns_or_is_a_question(planned: Callable[..., Planned]) -> None:
    found = planned(
        source(
            "{name: id, type: bigint, primary_key: true}, {name: parent, type: bigint, foreign_key: ORDERS.ID},"
            "{name: other, type: bigint, foreign_key: orders.idd}, {name: store, type: bigint, foreign_key: stores.id}"
        )
    )
    assert found.pipeline is not None
    assert [(fk.column, fk.table, fk.to_column) for fk in found.pipeline.sources[0].foreign_keys] == [
        ("parent", "orders", "id")
    ]
    assert [(each.code, each.message.partition(",")[0]) for each in found.findings] == [
        ("PLAN_104", "`orders.other` refers to `orders.idd`"),
        ("PLAN_104", "`orders.store` refers to `stores`"),
    ]
    applied = {each.subject: each.applied for each in found.pipeline.requirements}
    assert applied == {"orders.parent": True, "orders.other": False, "orders.store": False}


def test_what_is_carried_and_not_applied_yet_is_asked_about_at_its_line(planned: Callable[..., Planned]) -> None:
    found = planned(
        (
            "SCHEMA_TO_STREAM",
            """\
source_models:
  - table: orders
    columns: [{name: id, type: bigint, primary_key: true}]
    priority: {critical: "id > 10"}
    schema_policy: evolve
destination_requirements:
  models:
    - name: fct
      source: orders
      tests: [{name: one, input: {id: 1}, expected: {id: 1}}]
""",
        )
    )
    asked = [(each.place.line, each.code) for each in found.findings if each.level is Level.OPEN_QUESTION]
    assert asked == [(6, "PLAN_116"), (11, "PLAN_117")]
