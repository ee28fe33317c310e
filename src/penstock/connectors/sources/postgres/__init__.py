"""Tables of a PostgreSQL database: their rows, new rows by a cursor, or their changes out of the log."""

from penstock.connectors.sources.postgres.source import PostgresSource

__all__ = ["PostgresSource"]
