"""Penstock: the hand-off document beside this script, run in a folder of its own, and nothing tuned.

Everything that a run does is in the figure: both hand-offs with their checksums and acknowledgements, the ledger, the
marks, the rules at the source, after the transform and at the destination, and the report at the end.

    python penstock_run.py ORDERS.csv OUT.duckdb
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

import duckdb

import penstock

DOCUMENT = Path(__file__).parent / "penstock_orders" / "orders.md"
RESULT = "SELECT count(*), sum(o_totalprice)::VARCHAR, sum(o_discounted)::VARCHAR FROM orders"


def main(source: str, destination: str) -> None:
    """Do the job, then print what arrived as one line of JSON."""
    with tempfile.TemporaryDirectory(dir=Path(destination).parent) as name:
        folder = Path(name)
        shutil.copy(DOCUMENT, folder)
        (folder / "data").mkdir()
        (folder / "data" / "orders.csv").symlink_to(Path(source).resolve())
        started = time.perf_counter()
        result = penstock.load(folder).run()
        seconds = time.perf_counter() - started
        if result.exit_code:
            raise SystemExit(f"{result}")
        (folder / "warehouse.duckdb").rename(destination)
    with duckdb.connect(destination, read_only=True) as connection:
        ((rows, total, discounted),) = connection.execute(RESULT).fetchall()
    print(json.dumps({"rows": rows, "sum_totalprice": total, "sum_discounted": discounted, "seconds_inside": seconds}))


if __name__ == "__main__":
    main(*sys.argv[1:])
