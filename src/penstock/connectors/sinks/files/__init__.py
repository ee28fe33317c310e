"""Files as a destination: Parquet, CSV or JSON Lines, and a manifest that says which. See docs/file-destinations.md."""

from penstock.connectors.sinks.files.sink import FilesSink

__all__ = ["FilesSink"]
