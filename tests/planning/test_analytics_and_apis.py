from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from penstock.connectors import open_source
from penstock.connectors.sources.rest import RestSource
from penstock.connectors.sources.rest.options import RestOptions
from penstock.documents import kinds, load
from penstock.model.finding import Level
from penstock.model.pipeline import Connection, WriteMode
from penstock.model.settings import Settings
from penstock.planning import describe, plan

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from penstock.model.pipeline import Pipeline
    from penstock.planning import Planned

ORDERS = """\
source_models: [{table: orders, columns: [{name: id, type: bigint}, {name: total, type: bigint}]}]
destination_requirements: {models: [{name: fct_orders, columns: [id, {name: doubled, expression: "total * 2"}]}]}
"""


def questions(planned: Planned) -> list[tuple[str, int, str]]:
    assert all(each.level is Level.OPEN_QUESTION for each in planned.findings), planned.findings
    return [(each.code, each.place.line, each.remedy) for each in planned.findings]


def test_metrics_may_use_columns_of_sources_and_of_models(planned: Callable[..., Planned]) -> None:
    pulse = """\
analytics_requirements:
  metrics:
    - {name: a, aggregation: "SUM(Total) / COUNT(*)", dimensions: [ID, doubled]}
  data_sources: [orders, fct_orders]
"""
    assert [code for code, _, _ in questions(planned(("SCHEMA_TO_STREAM", ORDERS), ("PULSE_TO_STREAM", pulse)))] == [
        "PLAN_120"
    ]


def test_what_a_metric_needs_and_nothing_has_is_asked_for_at_its_place(planned: Callable[..., Planned]) -> None:
    pulse = """\
analytics_requirements:
  metrics:
    - {name: a, aggregation: "SUM(totla)"}
    - {name: b, aggregation: "SUM((", dimensions: [region]}
  data_sources: [ordrs]
"""
    assert questions(planned(("SCHEMA_TO_STREAM", ORDERS), ("PULSE_TO_STREAM", pulse))) == [
        ("PLAN_120", 3, "query the delivered tables"),
        ("PLAN_121", 4, "did you mean `total`?"),
        ("PLAN_122", 5, "close it"),
        ("PLAN_121", 5, "which table holds it? describe it"),
        ("PLAN_123", 6, "did you mean `orders`?"),
    ]


# --- APIs ---------------------------------------------------------------------------------------------------------

API = """\
api_integration:
  source_api:
    {{name: pay gate, base_url: "https://api.example.com", auth: {auth}{more}}}
  endpoints:
    - {{path: /v1/transactions, {endpoint}}}
  data_contract: {{fields: [{{name: transaction_id, type: text}}, {{name: total, type: bigint}}]}}
  sync_requirements: {{frequency: hourly, initial_load: last 90 days}}
"""


def api(auth: str = "none", more: str = "", endpoint: str = "response_format: json") -> tuple[str, str]:
    return "BUILDER_TO_STREAM", API.format(auth=auth, more=more, endpoint=endpoint)


def built(planned: Planned) -> Pipeline:
    assert planned.pipeline is not None, planned.findings
    return planned.pipeline


def test_an_api_asks_for_all_that_its_document_leaves_open(planned: Callable[..., Planned]) -> None:
    builder = """\
api_integration:
  source_api: {name: pay, base_url: "https://api.example.com", auth: oauth2}
  endpoints:
    - {path: /a, pagination: page, incremental_key: id}
    - {path: /b, pagination: link}
    - {path: /c, incremental_key: idd, response_format: xml}
    - {path: "/d/{user}"}
  data_contract: {fields: [{name: id, type: text}]}
"""
    found = planned(("SCHEMA_TO_STREAM", ORDERS), ("BUILDER_TO_STREAM", builder))
    assert [(code, line) for code, line, _ in questions(found)] == [
        *[("PLAN_130", 3)] * 4,  # nobody can sign in, so none is read
        *[("PLAN_134", 3)] * 4,
        ("PLAN_131", 3),
        ("PLAN_132", 5),
        ("PLAN_136", 5),
        ("PLAN_133", 7),
        ("PLAN_136", 7),
        ("PLAN_130", 7),
        ("PLAN_130", 8),
    ]
    assert [source.name for source in built(found).sources] == ["orders"]


def test_an_endpoint_is_a_table_that_a_model_of_its_own_merges_by_key(planned: Callable[..., Planned]) -> None:
    endpoint = "pagination: page, page_parameter: p, incremental_key: total, since_parameter: from"
    found = planned(api(endpoint=endpoint))
    assert questions(found) == [("PLAN_134", 4, "describe a model with `source: transactions`")]
    (source,) = built(found).sources
    assert (source.name, source.database, source.primary_key) == ("transactions", "pay gate", ("transaction_id",))
    assert [(field.name, field.nullable) for field in source.fields] == [("transaction_id", False), ("total", True)]
    assert [check.valid for check in source.checks] == ['"transaction_id" IS NOT NULL']
    assert source.connection == Connection(
        "pay gate", "rest", "/v1/transactions",
        {
            "auth": "none", "pagination": "page", "incremental_key": "total", "page_parameter": "p",
            "since_parameter": "from", "frequency": "every 1 hour", "initial_load": "90 days",
        },
        "https://api.example.com",
    )  # fmt: skip
    (model,) = built(found).models
    assert (model.name, model.source, model.grain) == ("transactions", "transactions", ("transaction_id",))
    assert (model.write_mode, model.version_by) == (WriteMode.MERGE, "total")
    assert [column.name for column in model.columns] == ["transaction_id", "total"]
    assert "once for each key" in describe(built(found), found.findings)


def test_what_the_plan_says_is_what_the_connector_takes(planned: Callable[..., Planned], tmp_path: Path) -> None:
    credentials = "{key: '${K}', key_in: parameter, key_name: k, scope: a, client_auth: body, token_url: 'https://a.b'}"
    endpoint = (
        "method: POST, idempotent: true, pagination: cursor, cursor_field: a.b, cursor_parameter: c, records: d.e, "
        "offset_parameter: o, page_parameter: p, first_page: 0, size_parameter: s, page_size: 50, since_format: epoch, "
        "look_back: 5 minutes, parameters: {x: 1, 'y z': true}, response_format: JSON"
    )
    more = f", rate_limit: 100 requests/minute, credentials: {credentials}, headers: {{X-A: '1', X-B: '${{B}}'}}"
    found = planned(api("api_key", more, endpoint))
    (source,) = built(found).sources
    opened = open_source(source, tmp_path, Settings())
    opened.close()
    assert source.connection.options == {
        "auth": "api_key", "key": "${K}", "key_in": "parameter", "key_name": "k", "scope": "a", "client_auth": "body",
        "token_url": "https://a.b", "rate_limit": "100 requests/minute", "headers": "X-A: 1\nX-B: ${B}",
        "method": "POST", "idempotent": "true",
        "pagination": "cursor", "cursor_field": "a.b", "cursor_parameter": "c", "records": "d.e",
        "offset_parameter": "o", "page_parameter": "p", "first_page": "0", "size_parameter": "s", "page_size": "50",
        "since_format": "epoch", "look_back": "5 minutes", "parameters": "x=1&y+z=true", "response_format": "json",
        "frequency": "every 1 hour", "initial_load": "90 days",
    }  # fmt: skip


def test_documents_offer_every_option_that_the_connector_has() -> None:
    parts = (kinds.SourceApi, kinds.Credentials, kinds.Endpoint, kinds.SyncRequirements)
    offered = {name for part in parts for name in part.model_fields}
    ours = {"retries", "retry_delay_ms", "timeout_ms", "answer_bytes_max", "repeated_pages"}
    assert {option.name for option in RestSource.declares.options} == offered - {
        "name", "base_url", "credentials", "path", "table",
    } | ours  # fmt: skip
    assert {option.name: option.default for option in RestSource.declares.options} == {
        field: str(default).lower() if isinstance(default, bool) else str(default)
        for field, default in zip(RestOptions.__struct_fields__, RestOptions.__struct_defaults__, strict=True)
    }


@pytest.mark.parametrize(
    ("auth", "taken"),
    [
        ("api_key", {"key": "${PAY_GATE_API_KEY}"}),
        ("basic", {"user": "${PAY_GATE_USER}", "password": "${PAY_GATE_PASSWORD}"}),
        ("bearer", {"token": "${PAY_GATE_TOKEN}"}),
    ],
)
def test_secrets_that_nobody_names_come_from_the_environment(
    planned: Callable[..., Planned], auth: str, taken: dict[str, str]
) -> None:
    found = planned(api(auth))
    assert [code for code, _, _ in questions(found)] == ["PLAN_134", "PLAN_131"]
    options = built(found).sources[0].connection.options
    assert {name: options[name] for name in taken} == taken
    message = next(each.message for each in found.findings if each.code == "PLAN_131")
    assert [value for value in taken.values() if value not in message] == []


def test_the_configuration_answers_what_is_open_and_goes_before_the_document(tmp_path: Path) -> None:
    (tmp_path / "pay.md").write_text("## BUILDER_TO_STREAM_HANDOFF\n```yaml\n" + api("oauth2")[1] + "```\n")
    options = {
        "token_url": "https://auth.example.com/token", "client_id": "me", "client_secret": "${S}",
        "page_size": "10", "transactions.page_size": "20", "other.page_size": "30", "frequency": "daily",
    }  # fmt: skip
    overrides = {"Pay Gate": Connection("Pay Gate", "rest", "", options, "https://staging.example.com")}
    found = plan(load([tmp_path]), overrides=overrides)
    assert [code for code, _, _ in questions(found)] == ["PLAN_134"]
    connection = built(found).sources[0].connection
    assert connection.url == "https://staging.example.com"
    assert {name: connection.options[name] for name in ("page_size", "frequency", "client_id")} == {
        "page_size": "20", "frequency": "daily", "client_id": "me",
    }  # fmt: skip
    assert not [name for name in connection.options if "." in name]


def test_answers_that_lie_as_files_are_read_as_files(tmp_path: Path) -> None:
    (tmp_path / "pay.md").write_text("## BUILDER_TO_STREAM_HANDOFF\n```yaml\n" + api("oauth2")[1] + "```\n")
    files = Connection("pay gate", "files", "landed")
    found = plan(load([tmp_path]), overrides={"pay gate": files})
    assert [code for code, _, _ in questions(found)] == ["PLAN_134"]
    assert built(found).sources[0].connection == files


def test_a_model_that_names_an_endpoint_gets_its_records_merged(planned: Callable[..., Planned]) -> None:
    models = """\
destination_requirements:
  schema: mart
  models:
    - {name: fct_pay, source: transactions, columns: [{name: no, from: transaction_id}, total]}
    - {name: fct_transactions, write_mode: append}
    - {name: sums, source: transactions, columns: [total]}
    - {name: fct_orders, columns: [id]}
source_models: [{table: orders, columns: [{name: id, type: bigint}]}]
"""
    found = planned(("SCHEMA_TO_STREAM", models), api())
    assert questions(found) == [
        ("PLAN_137", 6, "say `write_mode: merge`"),
        ("PLAN_137", 7, "mark a `primary_key` in `data_contract`, and merge"),
    ]
    assert [(model.name, model.source, model.write_mode, model.grain) for model in built(found).models] == [
        ("fct_pay", "transactions", WriteMode.MERGE, ("no",)),
        ("fct_transactions", "transactions", WriteMode.APPEND, ()),
        ("sums", "transactions", WriteMode.APPEND, ()),
        ("fct_orders", "orders", WriteMode.APPEND, ()),
    ]


def test_a_table_that_is_only_looked_up_needs_no_model(planned: Callable[..., Planned]) -> None:
    models = """\
source_models: [{table: orders, columns: [{name: id, type: bigint}, {name: pay, type: text}]}]
destination_requirements:
  models:
    - {name: fct_orders, source: orders, lookups: [{table: transactions, on: pay}]}
"""
    found = planned(("SCHEMA_TO_STREAM", models), api())
    assert questions(found) == []
    assert [model.name for model in built(found).models] == ["fct_orders"]


def test_what_is_made_of_an_endpoint_that_cannot_be_read_is_not_built_and_says_so(
    planned: Callable[..., Planned],
) -> None:
    models = """\
source_models: [{table: orders, columns: [{name: id, type: bigint}, {name: pay, type: text}]}]
destination_requirements:
  models:
    - {name: fct_pay, source: transactions}
    - {name: fct_orders, source: orders, lookups: [{table: transactions, on: pay}]}
    - {name: fct_plain, source: orders, columns: [id]}
quality_requirements: ["total >= 0"]
"""
    found = planned(("SCHEMA_TO_STREAM", models), api("oauth2"))
    assert [(code, line) for code, line, _ in questions(found)] == [
        ("PLAN_130", 5), ("PLAN_130", 6), ("PLAN_130", 4), ("PLAN_131", 4),
    ]  # fmt: skip
    assert [source.name for source in built(found).sources] == ["orders"]
    assert [model.name for model in built(found).models] == ["fct_plain"]


@pytest.mark.parametrize(
    ("path", "more", "name"),
    [
        ("/transactions", "", "transactions"),
        ("/v2.1/{id}/Line-Items.json?x=1", "", "Line_Items"),
        ("/", "", "pay_gate"),
        ("/orders", "", "pay_gate_orders"),
        ("/orders", ", table: bought", "bought"),
    ],
)
def test_a_table_is_called_like_the_end_of_its_path(
    planned: Callable[..., Planned], path: str, more: str, name: str
) -> None:
    builder = f"""\
api_integration:
  source_api: {{name: pay gate, base_url: "https://api.example.com"}}
  endpoints: [{{path: "{path}"{more}}}]
  data_contract: {{fields: [{{name: id, type: text}}]}}
"""
    found = planned(("SCHEMA_TO_STREAM", ORDERS), ("BUILDER_TO_STREAM", builder))
    assert f"`{name}` feeds no model" in next(each.message for each in found.findings if each.code == "PLAN_134")


def test_a_name_that_is_taken_twice_is_an_error_and_so_is_a_secret_that_is_written_out(
    planned: Callable[..., Planned],
) -> None:
    tables = "source_models: [{table: orders, columns: [{name: id, type: bigint}]}]\n"
    found = planned(("SCHEMA_TO_STREAM", tables), api("bearer", ", credentials: {token: abcdef}", "table: orders"))
    assert found.pipeline is None
    assert [each.code for each in found.findings if each.level is Level.ERROR] == ["PLAN_006", "PLAN_002"]
    assert "abcdef" not in str(found.findings)


def test_without_a_contract_or_a_key_it_says_what_is_missing(planned: Callable[..., Planned]) -> None:
    without = """\
api_integration:
  source_api: {name: pay, base_url: "https://api.example.com"}
  endpoints: [{path: /a}]
"""
    found = planned(("SCHEMA_TO_STREAM", ORDERS), ("BUILDER_TO_STREAM", without))
    assert [code for code, _, _ in questions(found)] == ["PLAN_130", "PLAN_134", "PLAN_135"]
    keyless = without + "  data_contract: {fields: [{name: x, type: text}]}\n"
    found = planned(("SCHEMA_TO_STREAM", ORDERS), ("BUILDER_TO_STREAM", keyless))
    assert [code for code, _, _ in questions(found)] == ["PLAN_134", "PLAN_137"]
    assert built(found).model("a").write_mode is WriteMode.APPEND


def test_where_the_warehouse_cannot_merge_records_are_added_and_it_says_so(planned: Callable[..., Planned]) -> None:
    lake = """\
connections: {lake: {kind: files, path: out}}
source_models: [{table: orders, columns: [{name: id, type: bigint}]}]
destination_requirements: {warehouse: lake, models: [{name: fct_pay, source: transactions}, {name: fct_orders}]}
"""
    found = planned(("SCHEMA_TO_STREAM", lake), api())
    assert [code for code, _, _ in questions(found)] == ["PLAN_137"]
    assert built(found).model("fct_pay").write_mode is WriteMode.APPEND
    assert "at least once" in describe(built(found), found.findings)
