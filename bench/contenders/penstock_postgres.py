"""Penstock: PostgreSQL to DuckDB or PostgreSQL by a hand-off document, nothing tuned.

    python penstock_postgres.py SOURCE_URL DESTINATION

DESTINATION is the URL of a database, or the DuckDB file to make.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path

import penstock

DOCUMENT = Path(__file__).parent / "penstock_orders" / "orders.md"
CONFIGURATION = """\
[connections.tpch]
kind = "postgres"
url = "${SOURCE_URL}"
[connections.duckdb]
"""
TO_POSTGRES = 'kind = "postgres"\nurl = "${DESTINATION_URL}"\n'
TO_DUCKDB = 'kind = "duckdb"\npath = "warehouse.duckdb"\n'


def main(source: str, destination: str) -> None:
    """Do the job, then say how long it took."""
    to_postgres = destination.startswith("postgresql://")
    os.environ["SOURCE_URL"], os.environ["DESTINATION_URL"] = source, destination
    with tempfile.TemporaryDirectory(dir=None if to_postgres else Path(destination).parent) as name:
        folder = Path(name)
        document = DOCUMENT.read_text(encoding="utf-8").replace('schema: "main"', 'schema: "bench"')
        (folder / "orders.md").write_text(document, encoding="utf-8")
        (folder / "penstock.toml").write_text(
            CONFIGURATION + (TO_POSTGRES if to_postgres else TO_DUCKDB), encoding="utf-8"
        )
        started = time.perf_counter()
        result = penstock.load(folder).run()
        seconds = time.perf_counter() - started
        if result.exit_code:
            raise SystemExit(f"{result}")
        if not to_postgres:
            (folder / "warehouse.duckdb").rename(destination)
    print(json.dumps({"seconds_inside": seconds}))


if __name__ == "__main__":
    main(*sys.argv[1:])
