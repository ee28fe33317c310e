"""DuckDB by itself: the whole job as one statement. This is the limit the others are measured against.

One `CREATE TABLE AS SELECT` casts, checks and derives everything at once, with all processors, in one transaction.
There is no hand-off, no acknowledgement, no position to resume from; a record that fails a check is dropped without
a trace.

    python duckdb_alone.py ORDERS.csv OUT.duckdb
"""

from __future__ import annotations

import json
import sys
import time

import duckdb

JOB = """
    CREATE TABLE orders AS
    SELECT * EXCLUDE (o_occurrence)
    FROM (
        SELECT
            try_cast(o_orderkey AS BIGINT) AS o_orderkey,
            try_cast(o_custkey AS BIGINT) AS o_custkey,
            o_orderstatus,
            try_cast(o_totalprice AS DECIMAL(15, 2)) AS o_totalprice,
            try_cast(o_orderdate AS DATE) AS o_orderdate,
            o_orderpriority,
            o_clerk,
            try_cast(o_shippriority AS INTEGER) AS o_shippriority,
            o_comment,
            year(try_cast(o_orderdate AS DATE)) AS o_orderyear,
            CAST(try_cast(o_totalprice AS DECIMAL(15, 2)) * 0.9 AS DECIMAL(15, 2)) AS o_discounted,
            row_number() OVER (PARTITION BY try_cast(o_orderkey AS BIGINT)) AS o_occurrence
        FROM read_csv(?, all_varchar = true, header = true)
    )
    WHERE o_orderkey IS NOT NULL AND o_totalprice >= 0 AND o_orderdate IS NOT NULL AND o_occurrence = 1
"""

RESULT = "SELECT count(*), sum(o_totalprice)::VARCHAR, sum(o_discounted)::VARCHAR FROM orders"


def main(source: str, destination: str) -> None:
    """Do the job, then print what arrived as one line of JSON."""
    started = time.perf_counter()
    with duckdb.connect(destination) as connection:
        connection.execute(JOB, [source])
    seconds = time.perf_counter() - started
    with duckdb.connect(destination, read_only=True) as connection:
        ((rows, total, discounted),) = connection.execute(RESULT).fetchall()
    print(json.dumps({"rows": rows, "sum_totalprice": total, "sum_discounted": discounted, "seconds_inside": seconds}))


if __name__ == "__main__":
    main(*sys.argv[1:])
