"""The public API does what its docstring shows, and says in values what the command line says in words."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from typing import TYPE_CHECKING

import msgspec
import pyarrow as pa
import pytest

import penstock
from penstock.observing.facts import AtCommitPoint, RangeSettled, RecordsRead
from penstock.observing.figures import Figures

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.runs.conftest import Shop

    from penstock.observing.facts import Fact


@pytest.fixture
def shop(make_shop: Callable[..., Shop], tmp_path: Path) -> Shop:
    return make_shop(tmp_path, 3, {"a.csv": 400})


def test_load_run_and_look_at_the_dead_letters(shop: Shop) -> None:
    project = penstock.load(str(shop.folder))
    assert project.findings == ()
    result = project.run()
    assert (result.status, result.read) == ("completed", 400)
    letters = project.dead_letters()
    assert isinstance(letters, pa.Table)
    assert letters.num_rows == len(shop.letters)
    assert Counter(letters["line"].to_pylist()) == Counter(letter.line for letter in shop.letters)
    shop.check()


def test_everything_public_is_there() -> None:
    assert sorted(name for name in penstock.__all__ if not hasattr(penstock, name)) == []
    assert {"load", "Project", "RunResult", "Status", "Resolution", "DeadLetterFilter", "PenstockError"} <= set(
        penstock.__all__
    )


def test_a_result_says_all_that_the_command_line_prints(shop: Shop) -> None:
    result = penstock.load(shop.folder).run()
    assert result.exit_code == 0
    assert result.trouble is None
    assert all(account.balances for account in result.account)
    assert result.all_time == result.account
    (account,) = result.account
    assert {to.destination: to.total for to in account.destinations} == {"fct_orders": 400, "orders_now": 400}
    assert {requirement.result for requirement in result.requirements} <= {"pass", "warning", "not checked"}
    assert msgspec.json.decode(msgspec.json.encode(result), type=penstock.RunResult) == result


def test_a_second_run_finds_nothing_new(shop: Shop) -> None:
    project = penstock.load(shop.folder)
    first, second = project.run(), project.run()
    assert second.read == 0
    assert second.all_time == first.all_time
    shop.check()


def test_dead_letters_can_be_chosen(shop: Shop) -> None:
    project = penstock.load(shop.folder)
    project.run()
    wanted = penstock.DeadLetterFilter(code="INT_GAMMA_003", limit=2)
    letters = project.dead_letters(wanted)
    assert letters["code"].to_pylist() == ["INT_GAMMA_003"] * 2
    assert all(isinstance(original, bytes) for original in letters["original"].to_pylist())


def test_dead_letters_of_a_pipeline_that_never_ran_are_an_error(shop: Shop) -> None:
    with pytest.raises(penstock.PenstockError, match="INT_LEDGER_004"):
        penstock.load(shop.folder).dead_letters()


def test_what_a_mended_document_takes_is_replayed(shop: Shop) -> None:
    penstock.load(shop.folder).run()
    overpaid = {letter for letter in shop.letters if letter.code == "INT_BETA_004"}
    document = shop.folder / "shop.md"
    document.write_text(document.read_text().replace("net_amount >= 0", "net_amount >= -1"))
    project = penstock.load(shop.folder)
    result = project.replay(penstock.DeadLetterFilter(code="INT_BETA_004"))
    assert (result.status, result.read) == ("completed", len(overpaid))
    (account,) = result.account
    assert [(to.destination, to.read, to.delivered) for to in account.destinations] == [
        ("fct_orders", len(overpaid), len(overpaid))
    ]
    statuses = project.dead_letters(penstock.DeadLetterFilter(code="INT_BETA_004"))["status"]
    assert set(statuses.to_pylist()) == {"delivered"}


def test_replays_for_one_destination_and_for_all_of_them_add_up_together(shop: Shop) -> None:
    """Letters of ingestion concern both models, those of delivery only one: nobody accounts for another's."""
    project = penstock.load(shop.folder)
    project.run()
    result = project.replay()
    assert result.exit_code == 0
    (account,) = result.account
    assert account.read == len(shop.letters)
    everybodys = sum(not letter.destination for letter in shop.letters)
    assert {to.destination: to.read for to in account.destinations} == {
        "fct_orders": len(shop.letters),
        "orders_now": everybodys,
    }
    assert all(account.balances for account in (*result.account, *result.all_time))


def test_discarded_letters_are_closed_for_good(shop: Shop) -> None:
    project = penstock.load(shop.folder)
    project.run()
    project.discard([1, 2], "not worth it")
    assert project.dead_letters()["status"].to_pylist()[:3] == ["discarded", "discarded", "open"]
    with pytest.raises(penstock.PenstockError, match="INT_LEDGER_005"):
        project.discard([3, 1], "again")
    assert project.dead_letters()["status"].to_pylist()[:3] == ["discarded", "discarded", "open"]


def test_a_mistake_in_a_document_is_a_finding_until_it_is_run(shop: Shop) -> None:
    document = shop.folder / "shop.md"
    document.write_text(document.read_text().replace('source: "orders"', 'source: "nowhere"'))
    project = penstock.load(shop.folder)
    assert project.pipeline is None
    assert project.errors
    with pytest.raises(penstock.PenstockError, match="INT_PIPELINE_003"):
        project.run()


def test_a_setting_out_of_range_is_raised_when_loading(shop: Shop) -> None:
    with pytest.raises(penstock.PenstockError, match="INT_PIPELINE_005"):
        penstock.load(shop.folder, settings={"COMMIT_RECORDS": 0})


def test_what_stops_a_run_is_in_its_result(shop: Shop) -> None:
    project = penstock.load(shop.folder)
    project.run()
    shop.warehouse.unlink()
    result = project.run()
    assert (result.status, result.exit_code) == ("failed", 3)
    assert result.trouble is not None
    assert result.trouble.code == "INT_GAMMA_014"
    again = project.run(resolution=penstock.Resolution.REWIND)
    assert again.status == "completed"
    shop.check()


def test_a_sample_is_run_and_thrown_away(shop: Shop) -> None:
    project = penstock.load(shop.folder)
    result = project.run(sample=50)
    assert (result.status, result.read) == ("completed", 50)
    assert not shop.state.exists()
    assert not shop.warehouse.exists()


def test_an_observer_hears_of_everything_and_figures_add_up(shop: Shop) -> None:
    facts: list[Fact] = []

    class Listener:
        def saw(self, fact: Fact) -> None:
            facts.append(fact)

    figures = Figures()
    penstock.load(shop.folder).run(observer=Listener(), figures=figures)
    assert sum(fact.records for fact in facts if isinstance(fact, RecordsRead)) == 400
    assert sum(len(fact.range) for fact in facts if isinstance(fact, RangeSettled)) == 400
    assert any(isinstance(fact, AtCommitPoint) for fact in facts)
    assert figures.read == figures.settled == 400


def test_it_runs_in_a_thread_that_is_not_the_main_one(shop: Shop) -> None:
    found: list[penstock.RunResult] = []
    thread = threading.Thread(target=lambda: found.append(penstock.load(shop.folder).run()))
    thread.start()
    thread.join()
    assert [result.status for result in found] == ["completed"]
    shop.check()


def test_it_runs_beside_an_event_loop_in_a_thread_of_its_own(shop: Shop) -> None:
    async def program() -> penstock.RunResult:
        return await asyncio.to_thread(penstock.load(shop.folder).run)

    assert asyncio.run(program()).status == "completed"
    shop.check()
