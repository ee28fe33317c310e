"""Every printed figure is what happened: it moves by exactly what a source gained, and by nothing else."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from penstock.ledger import DeadLetterFilter, Ledger

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.runs.conftest import Ended, Program, Shop

pytestmark = pytest.mark.slow

FLIGHTS = Path(__file__).resolve().parents[2] / "examples" / "flights" / "flights.md"
Figures = Counter[tuple[str, ...]]


def figures(accounts: list[dict[str, Any]]) -> Figures:
    """Lay printed accounts out as (source, destination, outcome, reason): records."""
    found: Figures = Counter()
    for account in accounts:
        found[account["source"], "read"] = account["read"]
        for to in account["destinations"]:
            way = account["source"], to["destination"]
            found[*way, "delivered"] = to["delivered"]
            found[*way, "in flight"] = to["in_flight"]
            for outcome in ("filtered", "dead_lettered"):
                for left in to[outcome]:
                    found[*way, outcome, left["reason"]] += left["records"]
    return found


def moved(before: Figures, after: Figures) -> dict[tuple[str, ...], int]:
    """Return the figures that are not the same, and by how much."""
    return {key: after[key] - before[key] for key in before.keys() | after.keys() if after[key] != before[key]}


def test_what_is_printed_is_what_became_of_every_order(
    program: Program, make_shop: Callable[..., Shop], tmp_path: Path
) -> None:
    shop = make_shop(tmp_path, 4, {"a.csv": 700})
    before: Counter[tuple[str, str, str]] = Counter()
    for more in ("b.csv", "b.csv", "c.csv"):
        before = Counter(shop.expected_counts())
        ended = program.run("run", "--quiet", "--format", "json", tmp_path)
        assert ended.code == 0, ended
        shop.check()
        assert destinations(ended.said["all_time"]) == before
        shop.add(more, 300)
    ended = program.run("run", "--quiet", "--format", "json", tmp_path)
    assert destinations(ended.said["account"]) == Counter(shop.expected_counts()) - before
    assert ended.said["account"][0]["read"] == 300


def destinations(accounts: list[dict[str, Any]]) -> Counter[tuple[str, str, str]]:
    """The printed figures in the shop's terms, in which a superseded record counts as delivered."""
    found: Counter[tuple[str, str, str]] = Counter()
    for (_, *key), records in figures(accounts).items():
        match key:
            case [destination, "filtered", "superseded"]:
                found[destination, "delivered", ""] += records
            case [destination, "delivered"]:
                found[destination, "delivered", ""] += records
            case [destination, outcome, reason]:
                found[destination, outcome, reason] += records
            case _:
                assert key == ["read"] or records == 0, (key, records)
    return found


# --- real flights -------------------------------------------------------------------------------------------------

GOOD = tuple(
    f"2014,1,{day},517,515,2,830,819,11,UA,9001,N14228,EWR,IAH,227,1400,5,15,2014-01-01T10:00:00Z" for day in (1, 2, 3)
)
CANCELLED = ("2014,1,4,NA,515,NA,NA,819,NA,UA,9001,N14228,EWR,IAH,NA,1400,5,15,2014-01-04T10:00:00Z",)
BROKEN: tuple[tuple[str, str, str], ...] = (
    ("INT_ALPHA_001", "ingestion", "2014,1,5,517,515"),
    ("INT_ALPHA_002", "ingestion", GOOD[0].replace("1400", "far")),
    ("INT_ALPHA_003", "ingestion", GOOD[0].replace("2014,", "NA,", 1)),
    ("INT_ALPHA_004", "ingestion", GOOD[0].replace("1400", "0")),
    ("INT_BETA_003", "transformation", GOOD[0].replace("UA", "ZZ")),
    ("INT_GAMMA_003", "delivery", GOOD[0]),
)


@dataclass
class Flights:
    """The pipeline of the flights in a folder of its own, run once."""

    program: Program
    folder: Path
    first: Ended

    @property
    def file(self) -> Path:
        return self.folder / "data" / "flights.csv"

    def run(self) -> dict[str, Any]:
        ended = self.program.run("run", "--quiet", "--format", "json", self.folder)
        assert ended.code == 0, ended
        return ended.said

    def letters(self) -> list[tuple[str, str, str, int]]:
        with Ledger.read_only(self.folder / ".penstock") as ledger:
            assert ledger.check_conservation("flights") == []
            found = ledger.dead_letters("flights", DeadLetterFilter()).to_pylist()
        return [(letter["source"], letter["code"], letter["stage"], letter["line"]) for letter in found]


@pytest.fixture(scope="module")
def flights(program: Program, flights_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Flights:
    folder = tmp_path_factory.mktemp("flights")
    shutil.copy(FLIGHTS, folder)
    shutil.copytree(flights_data, folder / "data")
    return Flights(program, folder, program.run("run", "--quiet", "--format", "json", folder))


WAREHOUSE = (
    "SELECT count(*), sum(distance), count(DISTINCT (flight_date, carrier, flight, origin)) FROM analytics.fct_flights",
    """
    SELECT (SELECT count(*) FROM analytics.dim_planes), (SELECT count(*) FROM analytics.dim_airports),
        (SELECT count(*) FROM analytics.dim_airlines), (SELECT count(*) FROM analytics.fct_weather)
    """,
)


def test_real_flights_are_all_accounted_for(flights: Flights, ask: Callable[..., Any]) -> None:
    assert flights.first.code == 0, flights.first
    account = figures(flights.first.said["account"])
    assert account["flights", "read"] == 336_776
    assert account["flights", "fct_flights", "filtered", "cancelled"] == 8_255
    ((rows, _, distinct),), ((planes, airports, airlines, weather),) = ask(
        flights.folder / "warehouse.duckdb", *WAREHOUSE
    )
    assert rows == distinct == account["flights", "fct_flights", "delivered"]
    assert (planes, airports, airlines) == (3_322, 1_458, 16)
    assert weather == account["weather", "fct_weather", "delivered"]
    letters = Counter(source for source, *_ in flights.letters())
    assert letters["flights"] + rows + 8_255 == 336_776
    assert letters["weather"] + weather == 26_115


def test_a_run_with_nothing_new_moves_nothing(flights: Flights, ask: Callable[..., Any]) -> None:
    before, letters = ask(flights.folder / "warehouse.duckdb", *WAREHOUSE), flights.letters()
    said = flights.run()
    assert set(figures(said["account"]).values()) == {0}
    assert figures(said["all_time"]) == figures(flights.first.said["all_time"])
    assert ask(flights.folder / "warehouse.duckdb", *WAREHOUSE) == before
    assert flights.letters() == letters


def test_good_and_broken_flights_move_every_figure_by_exactly_as_many(
    flights: Flights, ask: Callable[..., Any]
) -> None:
    before = flights.run()
    (((rows, distance, distinct),), others), letters = (
        ask(flights.folder / "warehouse.duckdb", *WAREHOUSE),
        flights.letters(),
    )
    lines = flights.file.read_bytes().count(b"\n")
    with flights.file.open("a") as file:
        file.writelines(f"{line}\n" for line in (*GOOD, *CANCELLED, *(line for *_, line in BROKEN)))
    after = flights.run()
    way = ("flights", "fct_flights")
    expected: Mapping[tuple[str, ...], int] = {
        ("flights", "read"): len(GOOD) + len(CANCELLED) + len(BROKEN),
        (*way, "delivered"): len(GOOD),
        (*way, "filtered", "cancelled"): len(CANCELLED),
        **{(*way, "dead_lettered", code): 1 for code, *_ in BROKEN},
    }
    assert moved(figures(before["all_time"]), figures(after["all_time"])) == expected
    assert moved(Counter(), figures(after["account"])) == expected
    first_broken = lines + len(GOOD) + len(CANCELLED) + 1
    assert flights.letters() == letters + [
        ("flights", code, stage, first_broken + number) for number, (code, stage, _) in enumerate(BROKEN)
    ]
    good = len(GOOD)
    assert ask(flights.folder / "warehouse.duckdb", *WAREHOUSE) == [
        [[rows + good, distance + 1400 * good, distinct + good]],
        others,
    ]
    assert figures(flights.run()["all_time"]) == figures(after["all_time"])
