"""dlt, the fastest way it has: blocks of CSV become Arrow tables, dlt loads them into DuckDB.

pyarrow reads the file in blocks and casts while it parses; checks and derivations run in Arrow's compute functions;
dlt receives whole tables, writes them to Parquet in its working folder and has DuckDB read that. No Python object
exists per record. Other block sizes, larger buffers and several Parquet files were tried and were not faster.

What this way cannot do, and the others do:

- A value that does not cast stops the whole load: Arrow has no `try_cast`. There is no record to set aside.
- A repeated `o_orderkey` goes through. Finding it would take a merge by primary key, which is far slower.

Both are to dlt's advantage here, as the benchmark's data has neither.

    python dlt_arrow.py ORDERS.csv OUT.duckdb
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from decimal import Decimal
from typing import TYPE_CHECKING

import dlt
import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

if TYPE_CHECKING:
    from collections.abc import Iterator

MONEY = pa.decimal128(15, 2)
COLUMNS = {
    "o_orderkey": pa.int64(),
    "o_custkey": pa.int64(),
    "o_orderstatus": pa.string(),
    "o_totalprice": MONEY,
    "o_orderdate": pa.date32(),
    "o_orderpriority": pa.string(),
    "o_clerk": pa.string(),
    "o_shippriority": pa.int32(),
    "o_comment": pa.string(),
}
BLOCK_BYTES = 16 << 20
NINE_TENTHS = pa.scalar(Decimal("0.9"), pa.decimal128(2, 1))

RESULT = "SELECT count(*), sum(o_totalprice)::VARCHAR, sum(o_discounted)::VARCHAR FROM bench.orders"


def tables(source: str) -> Iterator[pa.Table]:
    """The orders in blocks: cast, checked and derived."""
    reader = pyarrow.csv.open_csv(
        source,
        read_options=pyarrow.csv.ReadOptions(block_size=BLOCK_BYTES),
        convert_options=pyarrow.csv.ConvertOptions(column_types=COLUMNS, strings_can_be_null=False),
    )
    for batch in reader:
        yield derive(check(pa.Table.from_batches([batch])))


def check(orders: pa.Table) -> pa.Table:
    """Only the orders with a price that is not negative, and a date."""
    priced = pc.greater_equal(orders["o_totalprice"], pa.scalar(Decimal(0), MONEY))
    return orders.filter(pc.and_kleene(priced, orders["o_orderdate"].is_valid()))


def derive(orders: pa.Table) -> pa.Table:
    """Add the year, and nine tenths of the price, rounded as DuckDB rounds a decimal: halves away from zero."""
    exact = pc.multiply(orders["o_totalprice"], NINE_TENTHS)
    discounted = pc.round(exact, 2, round_mode="half_towards_infinity").cast(MONEY)
    return orders.append_column("o_orderyear", pc.year(orders["o_orderdate"])).append_column("o_discounted", discounted)


def main(source: str, destination: str) -> None:
    """Do the job, then print what arrived as one line of JSON."""
    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as working:
        pipeline = dlt.pipeline(
            "orders",
            destination=dlt.destinations.duckdb(destination),
            dataset_name="bench",
            pipelines_dir=working,
        )
        pipeline.run(
            tables(source), table_name="orders", write_disposition="append", loader_file_format="parquet"
        ).raise_on_failed_jobs()
    seconds = time.perf_counter() - started
    with duckdb.connect(destination, read_only=True) as connection:
        ((rows, total, discounted),) = connection.execute(RESULT).fetchall()
    print(json.dumps({"rows": rows, "sum_totalprice": total, "sum_discounted": discounted, "seconds_inside": seconds}))


if __name__ == "__main__":
    main(*sys.argv[1:])
