"""Runs, their documents, and the evidence that they leave."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from penstock.ledger import Ledger, RequirementResult, Result, RunStatus

if TYPE_CHECKING:
    from pathlib import Path

    from tests.ledger.conftest import Hand

NOON = datetime(2025, 1, 1, 12, tzinfo=UTC)


def test_before_the_first_run_there_is_no_last_one(ledger: Ledger) -> None:
    assert ledger.last_run("shop") is None


def test_a_run_is_running_until_it_says_how_it_ended(ledger: Ledger) -> None:
    run_id = ledger.begin_run("shop", "abc", b"{}")
    run = ledger.last_run("shop")
    assert run is not None
    assert (run.id, run.fingerprint, run.status, run.started_at, run.ended_at) == (
        run_id,
        "abc",
        RunStatus.RUNNING,
        NOON,
        None,
    )
    assert run.is_unfinished
    ledger.end_run(run_id, RunStatus.COMPLETED)
    run = ledger.last_run("shop")
    assert run is not None
    assert (run.status, run.ended_at, run.is_unfinished) == (RunStatus.COMPLETED, NOON, False)


def test_a_run_that_was_killed_is_seen_as_unfinished_and_later_as_interrupted(folder: Path) -> None:
    with Ledger.open(folder) as ledger:
        killed = ledger.begin_run("shop", "abc", b"{}")
    with Ledger.open(folder) as ledger:
        last = ledger.last_run("shop")
        assert last is not None
        assert last.id == killed
        assert last.is_unfinished
        ledger.end_run(ledger.begin_run("shop", "abc", b"{}"), RunStatus.FAILED)
    with Ledger.open(folder) as ledger, ledger._database.read() as connection:  # the runs before the last are for SQL
        found = connection.execute("SELECT status, ended_at IS NULL FROM runs ORDER BY number").fetchall()
    assert found == [("interrupted", 1), ("failed", 0)]


def test_pipelines_of_one_project_have_their_own_last_run(ledger: Ledger) -> None:
    first = ledger.begin_run("shop", "abc", b"{}")
    ledger.begin_run("flights", "def", b"{}")
    last = ledger.last_run("shop")
    assert last is not None
    assert (last.id, last.status) == (first, RunStatus.RUNNING)


def test_the_document_of_a_run_comes_back_to_the_byte_and_is_kept_once(ledger: Ledger) -> None:
    document = '{"name": "Läden"}\n'.encode()
    runs = [ledger.begin_run("shop", "abc", document) for _ in range(3)]
    assert [ledger.document(run) for run in runs] == [document] * 3
    with ledger._database.read() as connection:  # how often it is kept shows in the table only
        assert connection.execute("SELECT count(*) FROM documents").fetchone() == (1,)


def test_a_run_that_never_was_has_no_document(ledger: Ledger) -> None:
    with pytest.raises(KeyError):
        ledger.document("no such run")


def test_evidence_comes_back_in_the_order_of_the_document(hand: Hand) -> None:
    rows = [
        RequirementResult("r2", "no duplicate order_id", "shop.md:9:5", Result.PASS, "0 of 100 rows break it"),
        RequirementResult("r1", "total_amount >= 0", "shop.md:10:5", Result.FAIL, "3 of 100 rows break it"),
        RequirementResult("r3", "latency < 1 minute", "shop.md:11:5", Result.NOT_CHECKED, ""),
    ]
    hand.ledger.record_evidence(hand.run_id, rows)
    assert hand.ledger.evidence(hand.run_id) == tuple(rows)
    assert hand.ledger.evidence(hand.again().run_id) == ()


def test_evidence_recorded_again_replaces_what_was_said(hand: Hand) -> None:
    first = RequirementResult("r1", "total_amount >= 0", "shop.md:10:5", Result.FAIL, "3 rows")
    second = RequirementResult("r1", "total_amount >= 0", "shop.md:10:5", Result.PASS, "0 rows")
    hand.ledger.record_evidence(hand.run_id, [first])
    hand.ledger.record_evidence(hand.run_id, [second])
    assert hand.ledger.evidence(hand.run_id) == (second,)
