"""What a run looks like in a terminal, compared whole."""

from __future__ import annotations

from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest
from rich.console import Console

from penstock.cli.progress import progress
from penstock.cli.report import run_report
from penstock.ledger import RequirementResult, Result
from penstock.model.outcome import Count, Outcome, Stage
from penstock.observing.facts import (
    BatchAnswered,
    BatchTransmitted,
    DeadLettered,
    Hop,
    LatencyStage,
    ModeChanged,
    RecordsRead,
    SourceOpened,
    Timed,
)
from penstock.observing.figures import Figures
from penstock.orchestration.result import (
    HandOff,
    RunResult,
    SourceLatency,
    StageLatency,
    Status,
    Trouble,
    account_of,
)

if TYPE_CHECKING:
    from rich.console import RenderableType

GOLDEN = Path(__file__).parent
DELIVERED = Outcome.DELIVERED, Stage.DELIVERY, ""
TALLY = (
    Count("facts", Outcome.DEAD_LETTERED, Stage.INGESTION, "INT_ALPHA_002", 20),
    Count("facts", Outcome.DEAD_LETTERED, Stage.TRANSFORMATION, "INT_BETA_004", 7),
    Count("facts", Outcome.DEAD_LETTERED, Stage.DELIVERY, "INT_GAMMA_003", 3),
    Count("facts", *DELIVERED, 11_670),
    Count("facts", Outcome.FILTERED, Stage.TRANSFORMATION, "test orders", 300),
    Count("now", Outcome.DEAD_LETTERED, Stage.INGESTION, "INT_ALPHA_002", 20),
    Count("now", *DELIVERED, 11_000),
    Count("now", Outcome.FILTERED, Stage.DELIVERY, "superseded", 980),
)
BOTH = {"facts": 12_000, "now": 12_000}
COMPLETED = RunResult(
    pipeline="shop",
    run_id="r1",
    status=Status.COMPLETED,
    seconds=1.5,
    account=(account_of("orders", 12_000, 12_000, BOTH, TALLY),),
    all_time=(account_of("orders", 12_000, 12_000, BOTH, TALLY),),
    hand_offs=(HandOff("alpha_beta", 12, 11_980, 0, 0), HandOff("beta_gamma", 48, 23_653, 0, 1)),
    requirements=(
        RequirementResult(
            "q1", "total >= 0", "/home/ada/shop/orders.md:12:5", Result.PASS, "0 of 11,670 rows break it"
        ),
        RequirementResult("q2", "no duplicate id", "orders.md:13:5", Result.FAIL, "2 of 11,670 rows break it"),
        RequirementResult("q3", "email is known", "orders.md:14:5", Result.WARNING, "9 of 11,670 rows break it"),
        RequirementResult(
            "q4", "3 years", "orders.md:20:14", Result.NOT_CHECKED, "carried in the plan, not applied yet"
        ),
    ),
    warehouse="/home/ada/shop/warehouse.duckdb",
    notes=("lookup customer: 3 of 500 records could not be read and match nothing",),
    latencies=(
        SourceLatency(
            "orders",
            streaming=False,
            asked_s=60.0,
            stages=(
                StageLatency(LatencyStage.VALIDATION, 12_000, 0.004, 0.0065, 0.0091, 0.0118),
                StageLatency(LatencyStage.END_TO_END, 12_000, 0.212, 0.633, 1.234, 1.402),
            ),
        ),
        SourceLatency(
            "clicks",
            streaming=True,
            asked_s=None,
            stages=(StageLatency(LatencyStage.END_TO_END, 5, 0.0002, 0.0004, 0.0004, 0.0004),),
        ),
        SourceLatency(
            "nobody asks",
            streaming=False,
            asked_s=None,
            stages=(StageLatency(LatencyStage.END_TO_END, 5, 0.2, 0.2, 0.2, 0.2),),
        ),
    ),
)
STOPPED = RunResult(
    pipeline="shop",
    run_id="r2",
    status=Status.FAILED,
    seconds=0.5,
    account=(account_of("orders", 500, 400, {"facts": 400}, (Count("facts", *DELIVERED, 399),)),),
    all_time=(account_of("orders", 12_400, 12_400, {"facts": 12_400}, (Count("facts", *DELIVERED, 12_400),)),),
    hand_offs=(HandOff("alpha_beta", 5, 500, 1, 0), HandOff("beta_gamma", 9, 450, 1, 0)),
    requirements=(),
    warehouse="/home/ada/shop/warehouse.duckdb",
    trouble=Trouble(
        "INT_GAMMA_012", "CRITICAL", "/home/ada/shop/warehouse.duckdb: no space left", "free space, run again"
    ),
)


def text_of(shown: RenderableType) -> str:
    console = Console(width=140, file=StringIO(), color_system=None)
    console.print(shown)
    assert isinstance(console.file, StringIO)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines()) + "\n"


@pytest.mark.parametrize(("name", "result"), [("completed", COMPLETED), ("stopped", STOPPED)])
def test_a_run_is_shown_as_the_golden_text_has_it(name: str, result: RunResult) -> None:
    assert text_of(run_report(result)) == (GOLDEN / f"{name}.txt").read_text(encoding="utf-8")


HOSTILE = "[/i] :x: [b]x[/]"


def test_what_documents_and_data_hold_is_shown_and_never_obeyed() -> None:
    """Rich reads [words in brackets] as styles, and stops at one that it cannot close."""
    count = Count(HOSTILE, Outcome.FILTERED, Stage.TRANSFORMATION, HOSTILE, 5)
    account = (account_of(HOSTILE, 5, 5, {HOSTILE: 5}, (count,)),)
    result = msgspec.structs.replace(
        COMPLETED,
        pipeline=HOSTILE,
        account=account,
        all_time=account,
        requirements=(RequirementResult("q1", HOSTILE, "orders.md:1:1", Result.PASS, HOSTILE),),
        warehouse=HOSTILE,
        notes=(HOSTILE,),
        trouble=Trouble("INT_ALPHA_010", "ERROR", HOSTILE, HOSTILE),
    )
    shown = text_of(run_report(result))
    assert shown.count(HOSTILE) == 14


def test_what_a_terminal_would_obey_is_made_harmless() -> None:
    result = msgspec.structs.replace(COMPLETED, pipeline="shop\x1b[2J", notes=("a\rb\x9bc",))
    shown = text_of(run_report(result))
    assert "shop\N{REPLACEMENT CHARACTER}[2J completed" in shown
    assert "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}c" in shown


# --- while it runs ------------------------------------------------------------------------------------------------


@dataclass
class Terminal:
    """A console whose output is kept."""

    is_terminal: bool

    def watch(self, figures: Figures) -> str:
        console = Console(width=140, file=StringIO(), force_terminal=self.is_terminal, color_system=None)
        with progress(console, figures):
            pass
        assert isinstance(console.file, StringIO)
        return console.file.getvalue()


def figures() -> Figures:
    seen = Figures()
    for fact in (
        SourceOpened("orders", {"a": 1_000}),
        RecordsRead("orders", "a", 1_500, 2, 750),
        BatchTransmitted(Hop.ALPHA_BETA, 1_000, 0),
        BatchTransmitted(Hop.ALPHA_BETA, 500, 0),
        BatchAnswered(Hop.ALPHA_BETA, 1_000),
        DeadLettered("orders", Stage.INGESTION, {"INT_ALPHA_002": 2}),
    ):
        seen.saw(fact)
    return seen


def test_a_terminal_shows_what_was_read_what_is_in_flight_and_how_long_it_will_take() -> None:
    shown = Terminal(is_terminal=True).watch(figures())
    for words in ("1,500 rows", "rows/s", "1 hand-offs in flight", "2 dead letters", "s left"):
        assert words in shown


def test_in_streaming_mode_a_terminal_shows_how_long_records_take() -> None:
    seen = figures()
    seen.saw(Timed("orders", LatencyStage.END_TO_END, 0.25, 1_000))
    assert "end to end" not in Terminal(is_terminal=True).watch(seen)
    seen.saw(ModeChanged("orders", streaming=True))
    assert "p99 250 ms end to end" in Terminal(is_terminal=True).watch(seen)


@pytest.mark.parametrize("seen", [Figures(), figures()])
def test_elsewhere_a_short_run_says_nothing_while_it_runs(seen: Figures) -> None:
    assert Terminal(is_terminal=False).watch(seen) == ""


def test_before_anything_is_read_a_terminal_shows_that_it_is_reading() -> None:
    assert "reading" in Terminal(is_terminal=True).watch(Figures())
