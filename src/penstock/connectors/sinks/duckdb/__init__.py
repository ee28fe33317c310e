"""A DuckDB file as a destination: rows and marks in one transaction. See docs/warehouse.md."""

from penstock.connectors.sinks.duckdb.sink import DuckDBSink

__all__ = ["DuckDBSink"]
