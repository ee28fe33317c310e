"""Bytewax: one Python object per record, one Python call per record and step, batches into DuckDB.

What a Python stream processor costs when every record passes through Python. Bytewax's own CSV source yields a
dictionary per record; `parse` casts, checks and derives; the sink collects columns and hands them to DuckDB as Arrow
tables, which is much faster than `executemany`. Larger batches from the source were tried and change nothing. One
worker in one process: a second would have nothing to read, as a file is one partition.

What this way does not do: a record that fails a check is dropped without a trace, and there is no recovery store, so
a crash means starting over. Repeated keys are found by holding every key in memory.

    python bytewax_rows.py ORDERS.csv OUT.duckdb
"""

from __future__ import annotations

import json
import sys
import time
from datetime import date
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import bytewax.operators as op
import duckdb
import pyarrow as pa
from bytewax.connectors.files import CSVSource
from bytewax.dataflow import Dataflow
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.testing import run_main

if TYPE_CHECKING:
    from collections.abc import Mapping

SCHEMA = pa.schema(
    {
        "o_orderkey": pa.int64(),
        "o_custkey": pa.int64(),
        "o_orderstatus": pa.string(),
        "o_totalprice": pa.decimal128(15, 2),
        "o_orderdate": pa.date32(),
        "o_orderpriority": pa.string(),
        "o_clerk": pa.string(),
        "o_shippriority": pa.int32(),
        "o_comment": pa.string(),
        "o_orderyear": pa.int64(),
        "o_discounted": pa.decimal128(15, 2),
    }
)
CENT = Decimal("0.01")
NINE_TENTHS = Decimal("0.9")

INSERT_RECORDS = 122_880
"""One DuckDB row group."""

RESULT = "SELECT count(*), sum(o_totalprice)::VARCHAR, sum(o_discounted)::VARCHAR FROM orders"


class Order(NamedTuple):
    """One row, in the order of `SCHEMA`."""

    o_orderkey: int
    o_custkey: int
    o_orderstatus: str
    o_totalprice: Decimal
    o_orderdate: date
    o_orderpriority: str
    o_clerk: str
    o_shippriority: int
    o_comment: str
    o_orderyear: int
    o_discounted: Decimal


class Parser:
    """Casts, checks and derives one record at a time, and remembers which keys it has seen."""

    def __init__(self) -> None:
        self._seen: set[int] = set()

    def parse(self, record: Mapping[str, str]) -> Order | None:
        """The order, or None when it fails a check."""
        try:
            order = _cast(record)
        except (ValueError, InvalidOperation):
            return None
        if order.o_totalprice < 0 or order.o_orderkey in self._seen:
            return None
        self._seen.add(order.o_orderkey)
        return order


def _cast(record: Mapping[str, str]) -> Order:
    price = Decimal(record["o_totalprice"])
    ordered = date.fromisoformat(record["o_orderdate"])
    return Order(
        int(record["o_orderkey"]),
        int(record["o_custkey"]),
        record["o_orderstatus"],
        price,
        ordered,
        record["o_orderpriority"],
        record["o_clerk"],
        int(record["o_shippriority"]),
        record["o_comment"],
        ordered.year,
        (price * NINE_TENTHS).quantize(CENT, ROUND_HALF_UP),
    )


class DuckDBPartition(StatelessSinkPartition[Order]):
    """Collects orders and inserts them many at a time, in one transaction that ends with the stream."""

    def __init__(self, destination: str) -> None:
        self._orders: list[Order] = []
        self._connection = duckdb.connect(destination)
        empty = SCHEMA.empty_table()
        self._connection.register("empty", empty)
        self._connection.execute("BEGIN")
        self._connection.execute("CREATE TABLE orders AS SELECT * FROM empty")

    def write_batch(self, items: list[Order]) -> None:
        """Take a batch; insert when enough have come together."""
        self._orders.extend(items)
        if len(self._orders) >= INSERT_RECORDS:
            self._insert()

    def close(self) -> None:
        """Insert the rest and commit."""
        if self._orders:
            self._insert()
        self._connection.execute("COMMIT")
        self._connection.close()

    def _insert(self) -> None:
        columns = zip(*self._orders, strict=True)
        arrays = [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)]
        self._connection.register("batch", pa.Table.from_arrays(arrays, schema=SCHEMA))
        self._connection.execute("INSERT INTO orders SELECT * FROM batch")
        self._connection.unregister("batch")
        self._orders.clear()


class DuckDBSink(DynamicSink[Order]):
    """Gives the only worker its partition."""

    def __init__(self, destination: str) -> None:
        self._destination = destination

    def build(self, step_id: str, worker_index: int, worker_count: int) -> DuckDBPartition:  # noqa: ARG002 (Bytewax passes them)
        """Open the destination."""
        return DuckDBPartition(self._destination)


def flow(source: str, destination: str) -> Dataflow:
    """File → parse → DuckDB."""
    dataflow = Dataflow("orders")
    records = op.input("read", dataflow, CSVSource(Path(source)))
    orders = op.filter_map("parse", records, Parser().parse)
    op.output("write", orders, DuckDBSink(destination))
    return dataflow


def main(source: str, destination: str) -> None:
    """Do the job, then print what arrived as one line of JSON."""
    started = time.perf_counter()
    run_main(flow(source, destination))
    seconds = time.perf_counter() - started
    with duckdb.connect(destination, read_only=True) as connection:
        ((rows, total, discounted),) = connection.execute(RESULT).fetchall()
    print(json.dumps({"rows": rows, "sum_totalprice": total, "sum_discounted": discounted, "seconds_inside": seconds}))


if __name__ == "__main__":
    main(*sys.argv[1:])
