"""Tables of a PostgreSQL database as a destination: rows and marks in one transaction. See docs/postgres.md."""

from penstock.connectors.sinks.postgres.sink import PostgresSink

__all__ = ["PostgresSink"]
