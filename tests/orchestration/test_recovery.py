"""Where ledger and destinations disagree before a run, and the ways on that a person has."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import duckdb
import pytest

import penstock
from penstock.orchestration.plan import Resolution

if TYPE_CHECKING:
    from pathlib import Path

MODELS = "    - {name: facts, source: orders, grain: order_id}\n"
DOCUMENT = """## SCHEMA_TO_STREAM_HANDOFF
pipeline: shop
source_models:
  - table: orders
    columns: [{name: id, type: bigint, primary_key: true}, {name: amount, type: "numeric(10,2)"}]
destination_requirements:
  schema: main
  models:
"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "orders.csv").write_text("id,amount\n1,1.00\n2,2.00\n3,3.00\n")
    (tmp_path / "shop.yaml").write_text(DOCUMENT + MODELS)
    assert penstock.load(tmp_path).run().exit_code == 0
    return tmp_path


def rows(shop: Path, table: str = "facts") -> list[tuple[int]]:
    with duckdb.connect(str(shop / "warehouse.duckdb"), read_only=True) as connection:
        return connection.execute(f"SELECT order_id FROM {table} ORDER BY 1").fetchall()  # noqa: S608 - ours


@pytest.mark.parametrize("attempts", [1, 2])
def test_a_destination_that_remembers_a_pipeline_this_folder_never_ran_is_refused(shop: Path, attempts: int) -> None:
    shutil.rmtree(shop / ".penstock")
    for _ in range(attempts):
        result = penstock.load(shop).run()
        assert result.trouble is not None
        assert result.trouble.code == "INT_GAMMA_017"
    assert penstock.load(shop).run(resolution=Resolution.ACCEPT).exit_code == 0
    assert rows(shop) == [(1,), (2,), (3,)]
    assert penstock.load(shop).run().exit_code == 0


def test_two_folders_with_one_pipeline_name_do_not_trim_each_others_records(shop: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    (other / "data").mkdir(parents=True)
    (other / "data" / "orders.csv").write_text("id,amount\n7,7.00\n")
    connection = '[connections.default]\nkind = "duckdb"\npath = "../warehouse.duckdb"\n'
    (other / "shop.yaml").write_text(DOCUMENT.replace("  schema: main", "  warehouse: shared\n  schema: main") + MODELS)
    (other / "penstock.toml").write_text(connection.replace("default", "shared"))
    result = penstock.load(other).run()
    assert result.trouble is not None
    assert result.trouble.code == "INT_GAMMA_017"
    (other / "shop.yaml").write_text((other / "shop.yaml").read_text().replace("pipeline: shop", "pipeline: other"))
    assert penstock.load(other).run().exit_code == 0
    assert rows(shop) == [(1,), (2,), (3,), (7,)]


def test_a_model_that_comes_late_is_refused_until_somebody_says_what_it_shall_get(shop: Path) -> None:
    (shop / "shop.yaml").write_text(DOCUMENT + MODELS + "    - {name: late, source: orders, grain: order_id}\n")
    result = penstock.load(shop).run()
    assert result.trouble is not None
    assert result.trouble.code == "INT_GAMMA_014"
    rewound = penstock.load(shop).run(resolution=Resolution.REWIND)
    assert rewound.exit_code == 0
    assert all(account.balances for account in rewound.all_time)
    assert rows(shop) == rows(shop, "late") == [(1,), (2,), (3,)]
    assert penstock.load(shop).run().exit_code == 0


def test_a_model_that_comes_late_can_begin_with_what_comes_next(shop: Path) -> None:
    (shop / "shop.yaml").write_text(DOCUMENT + MODELS + "    - {name: late, source: orders, grain: order_id}\n")
    with (shop / "data" / "orders.csv").open("a") as file:
        file.write("4,4.00\n")
    assert penstock.load(shop).run(resolution=Resolution.ACCEPT).status == "completed"
    assert rows(shop) == [(1,), (2,), (3,), (4,)]
    assert rows(shop, "late") == [(4,)]
    assert penstock.load(shop).run().status == "completed"
