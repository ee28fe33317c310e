"""The account of a run, and the exit code that goes with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import UserMistake
from penstock.ledger import RequirementResult, Result
from penstock.model.finding import Place
from penstock.model.outcome import Count, Outcome, Stage
from penstock.model.pipeline import Connection, Freshness, Pipeline, SourceTable, Warehouse
from penstock.model.quantity import parse_delay
from penstock.observing.facts import LatencyStage, ModeChanged, SourceOpened, Timed
from penstock.observing.figures import Figures
from penstock.orchestration.reporting import latencies, trouble_of
from penstock.orchestration.result import ExitCode, RunResult, SourceLatency, StageLatency, Status, account_of

if TYPE_CHECKING:
    from penstock.observing.facts import Fact

DELIVERED = Outcome.DELIVERED, Stage.DELIVERY, ""
TALLY = (
    Count("facts", Outcome.DEAD_LETTERED, Stage.INGESTION, "INT_ALPHA_002", 1),
    Count("facts", Outcome.DEAD_LETTERED, Stage.DELIVERY, "INT_GAMMA_003", 2),
    Count("facts", *DELIVERED, 5),
    Count("facts", Outcome.FILTERED, Stage.TRANSFORMATION, "test orders", 2),
    Count("now", *DELIVERED, 10),
)


BOTH = {"facts": 10, "now": 10}


def result(status: Status = Status.COMPLETED, *results: Result, settled: int = 10, seconds: float = 2.0) -> RunResult:
    requirements = tuple(RequirementResult(f"q{n}", "text", "doc.md:1:1", found, "") for n, found in enumerate(results))
    account = (account_of("orders", 10, 10, {"facts": settled, "now": 10}, TALLY),)
    return RunResult("shop", "r1", status, seconds, account, account, (), requirements, "warehouse.duckdb")


def test_an_account_says_where_every_record_is() -> None:
    account = account_of("orders", 12, 10, BOTH, TALLY)
    facts, now = account.destinations
    assert (facts.delivered, facts.in_flight, facts.total) == (5, 2, 12)
    assert [(left.reason, left.records) for left in facts.filtered] == [("test orders", 2)]
    assert [left.records for left in facts.dead_lettered] == [1, 2]
    assert (now.delivered, now.filtered, now.dead_lettered, now.total) == (10, (), (), 12)
    assert account.in_flight == 2
    assert account.balances


def test_an_account_follows_records_from_stage_to_stage() -> None:
    facts = account_of("orders", 10, 10, {"facts": 10}, TALLY).destinations[0]
    assert [facts.received_by(stage) for stage in Stage] == [10, 9, 7]


def test_a_record_that_is_lacking_somewhere_is_seen() -> None:
    assert not account_of("orders", 11, 11, dict.fromkeys(BOTH, 11), TALLY).balances
    assert not account_of("orders", 10, 10, BOTH, TALLY[:-1]).balances


def test_records_read_again_for_one_destination_concern_no_other() -> None:
    account = account_of("orders", 10, 10, {"facts": 10, "now": 0}, TALLY[:-1])
    assert account.balances
    assert [to.read for to in account.destinations] == [10, 0]


@given(parts=st.lists(st.tuples(st.sampled_from(Outcome), st.sampled_from(Stage), st.integers(0, 9)), max_size=9))
def test_what_is_read_and_not_settled_is_in_flight_everywhere(parts: list[tuple[Outcome, Stage, int]]) -> None:
    tally = tuple(Count("facts", outcome, stage, "why", records) for outcome, stage, records in parts)
    settled = sum(count.records for count in tally)
    account = account_of("orders", settled + 4, settled, {"facts": settled}, tally)
    assert account.balances
    assert account.destinations[0].in_flight == 4


@pytest.mark.parametrize(
    ("found", "code"),
    [
        (result(), ExitCode.DONE),
        (result(Status.COMPLETED, Result.PASS, Result.WARNING, Result.NOT_CHECKED), ExitCode.DONE),
        (result(Status.COMPLETED, Result.PASS, Result.FAIL), ExitCode.FINDINGS),
        (result(settled=11), ExitCode.FINDINGS),
        (result(Status.FAILED, Result.FAIL), ExitCode.STOPPED),
        (result(Status.INTERRUPTED, Result.FAIL), ExitCode.INTERRUPTED),
    ],
)
def test_the_exit_code_says_how_it_ended(found: RunResult, code: ExitCode) -> None:
    assert found.exit_code is code


def test_the_pace_is_records_read_by_wall_time() -> None:
    assert result().read == 10
    assert result().rows_per_s == 5.0
    assert result(seconds=0.0).rows_per_s == 0.0


def test_latency_is_reported_by_source_and_stage_beside_the_delay_that_is_asked_for() -> None:
    place = Place("doc.md", 3, 1)
    fresh = Freshness("live", parse_delay("< 250 ms"), place)
    tables = (
        SourceTable("orders", "", "", Connection("here"), (), place, freshness=fresh),
        SourceTable("items", "", "", Connection("here"), (), place),
        SourceTable("idle", "", "", Connection("here"), (), place, freshness=fresh),
    )
    figures = Figures()
    for table in tables:
        figures.saw(SourceOpened(table.name, {}))
    facts: tuple[Fact, ...] = (
        ModeChanged("orders", streaming=True),
        ModeChanged("orders", streaming=False),
        Timed("orders", LatencyStage.END_TO_END, 0.5, 7),
        Timed("orders", LatencyStage.VALIDATION, 0.25, 7),
        Timed("items", LatencyStage.DELIVERY, 2.0, 3),
    )
    for fact in facts:
        figures.saw(fact)
    pipeline = Pipeline("shop", tables, (), Warehouse("duckdb", Connection("wh", "duckdb")))
    assert latencies(pipeline, figures) == (
        SourceLatency(
            "orders",
            streaming=True,
            asked_s=0.25,
            stages=(
                StageLatency(LatencyStage.VALIDATION, 7, 0.25, 0.25, 0.25, 0.25),
                StageLatency(LatencyStage.END_TO_END, 7, 0.5, 0.5, 0.5, 0.5),
            ),
        ),
        SourceLatency("items", False, None, (StageLatency(LatencyStage.DELIVERY, 3, 2.0, 2.0, 2.0, 2.0),)),
    )


def test_a_result_is_the_same_after_writing_and_reading() -> None:
    stage = StageLatency(LatencyStage.END_TO_END, 7, 0.5, 0.5, 0.5, 0.5)
    timed = (SourceLatency("orders", streaming=True, asked_s=None, stages=(stage,)),)
    found = msgspec.structs.replace(result(Status.FAILED, Result.FAIL), latencies=timed)
    assert msgspec.json.decode(msgspec.json.encode(found), type=RunResult) == found


def test_what_stopped_a_run_keeps_its_code_and_its_remedy() -> None:
    trouble = trouble_of(UserMistake("INT_ALPHA_010", "orders.csv is missing"))
    assert (trouble.code, trouble.severity, trouble.message) == ("INT_ALPHA_010", "ERROR", "orders.csv is missing")
    assert trouble.remedy == "put the file there or name a connection"
