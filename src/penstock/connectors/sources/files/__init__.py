"""Files as a source: CSV, JSON Lines and Parquet, alone or in folders, plain or compressed. See docs/files.md."""

from penstock.connectors.sources.files.source import FileSource

__all__ = ["FileSource"]
