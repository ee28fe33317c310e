"""Which way records are handed over, and what the plan says of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from penstock.model.settings import Settings
from penstock.planning import describe
from penstock.planning.streaming import batch_waits_s, mode_of, streaming_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from penstock.model.pipeline import Pipeline
    from penstock.planning import Planned

TABLES = """\
source_models:
  - {table: orders, columns: [{name: id, type: bigint, primary_key: true}, {name: shop, type: bigint}]}
  - {table: shops, columns: [{name: id, type: bigint, primary_key: true}]}
  - {table: colours, columns: [{name: id, type: bigint, primary_key: true}]}
destination_requirements:
  models:
    - {name: fct_orders}
    - name: dim_shops
      lookups: [{name: colour, table: colours, on: id, key: id}]
"""


@pytest.fixture
def pipeline(planned: Callable[..., Planned]) -> Callable[..., Pipeline]:
    """Plan orders, shops and colours, the last of which feeds no model, with what analysts ask for."""

    def of(latency: str = "", listed: str = "") -> Pipeline:
        keys = {"latency_requirements": latency, "data_sources": listed, "refresh_frequency": "{all: hourly}"}
        asked = ", ".join(f"{key}: {value}" for key, value in keys.items() if value)
        found = planned(("SCHEMA_TO_STREAM", TABLES), ("PULSE_TO_STREAM", f"analytics_requirements: {{{asked}}}"))
        assert found.pipeline is not None, found.findings
        return found.pipeline

    return of


def asked_of(pipeline: Pipeline) -> dict[str, tuple[str, str]]:
    return {
        table.name: (table.freshness.subject, str(table.freshness.delay))
        for table in pipeline.sources
        if table.freshness is not None
    }


@pytest.mark.parametrize(
    ("latency", "listed", "sources"),
    [
        ("{live: < 5 s}", "", {"orders", "shops"}),
        ("{live: < 5 s}", "[shops]", {"shops"}),
        ("{live: < 5 s}", "[FCT_ORDERS, colours]", {"orders"}),
        ("{live: < 5 s}", "[colours, elsewhere]", set()),
        ("{fct_orders: < 5 s}", "[shops]", {"orders"}),
        ("{Shops: < 5 s}", "[orders]", {"shops"}),
        ("{live: 'by 06:00 UTC'}", "", set()),
    ],
)
def test_a_delay_is_about_what_it_is_named_after_or_what_its_document_lists_or_everything(
    pipeline: Callable[..., Pipeline], latency: str, listed: str, sources: set[str]
) -> None:
    found = pipeline(latency, listed)
    assert asked_of(found).keys() == sources
    (requirement,) = (each for each in found.requirements if each.kind == "latency")
    assert (set(requirement.sources), requirement.applied) == (sources, bool(sources))


def test_of_several_delays_the_shortest_counts(pipeline: Callable[..., Pipeline]) -> None:
    found = pipeline("{slow: < 1 minute, exact: <= 5 s, quick: < 5 s, other: < 5 s, shops: < 2 s}", "[orders, shops]")
    assert asked_of(found) == {"orders": ("quick", "< 5 seconds delay"), "shops": ("shops", "< 2 seconds delay")}


def test_a_record_may_wait_for_two_batches_and_a_transaction() -> None:
    assert batch_waits_s(Settings()) == 11.0
    assert batch_waits_s(Settings({"ALPHA_BETA_FLUSH_TIMEOUT_MS": 0, "BETA_GAMMA_FLUSH_TIMEOUT_MS": 500})) == 1.5


QUICKLY = {"ALPHA_BETA_FLUSH_TIMEOUT_MS": 0, "BETA_GAMMA_FLUSH_TIMEOUT_MS": 0}


@pytest.mark.parametrize(
    ("latency", "settings", "streaming", "why"),
    [
        ("", {}, False, "no delay is asked for"),
        ("{orders: < 12 s}", {}, False, "orders asks for < 12 seconds delay, and a record waits 11 s at most"),
        ("{orders: < 11 s}", {}, True, "orders asks for < 11 seconds delay, and in batches a record may wait 11 s"),
        ("{orders: < 2 s}", QUICKLY, False, "orders asks for < 2 seconds delay, and a record waits 1 s at most"),
        ("{orders: < 2 s}", {"STREAMING_MODE_ENABLED": "no"}, False, "STREAMING_MODE_ENABLED = false"),
        ("", {"STREAMING_MODE_ENABLED": "1"}, True, "STREAMING_MODE_ENABLED = true"),
    ],
)
def test_streaming_is_for_delays_that_batches_leave_no_time_for_unless_the_setting_says_otherwise(
    pipeline: Callable[..., Pipeline], latency: str, settings: Mapping[str, object], why: str, *, streaming: bool
) -> None:
    found = pipeline(latency)
    table, values = found.source("orders"), Settings(settings)
    mode = mode_of(table, values)
    assert (mode.streaming, mode.why, streaming_of(table, values)) == (streaming, why, streaming)
    way = "in streaming mode" if streaming else "in batches"
    assert f"  feeds: fct_orders\n  handed over {way}: {why}\n" in describe(found, (), values)


def test_a_plan_says_the_way_of_sources_that_feed_models_only(pipeline: Callable[..., Pipeline]) -> None:
    text = describe(pipeline(), ())
    assert text.count("handed over") == 2
    assert "  feeds: no model; looked up by dim_shops\n\n" in text


def test_a_delay_is_judged_while_following_and_a_time_of_day_not_yet(pipeline: Callable[..., Pipeline]) -> None:
    text = describe(pipeline("{live: < 5 s, nightly: 'by 06:00 UTC'}"), ())
    assert "    latency    live: < 5 seconds delay (judged while following)\n" in text
    assert "  - latency    nightly: available by 06:00 UTC\n" in text
