"""dlt, the fastest way it has: connectorx reads Arrow tables, Parquet is loaded into DuckDB, or PostgreSQL by ADBC.

Rows are copied as they are: nothing is checked and nothing derived, which the others do.

    python dlt_postgres.py SOURCE_URL DESTINATION

DESTINATION is the URL of a database, or the DuckDB file to make.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time

import dlt
from dlt.sources.sql_database import sql_table


def main(source: str, destination: str) -> None:
    """Do the job, then say how long it took."""
    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
    to_postgres = destination.startswith("postgresql://")
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as working:
        pipeline = dlt.pipeline(
            "orders",
            destination=(dlt.destinations.postgres if to_postgres else dlt.destinations.duckdb)(destination),
            dataset_name="bench",
            pipelines_dir=working,
        )
        table = sql_table(
            credentials=source.replace("://", "+psycopg2://", 1),
            table="orders",
            schema="public",
            backend="connectorx",
            backend_kwargs={"conn": source},
        )
        pipeline.run(table, write_disposition="append", loader_file_format="parquet").raise_on_failed_jobs()
    print(json.dumps({"seconds_inside": time.perf_counter() - started}))


if __name__ == "__main__":
    main(*sys.argv[1:])
