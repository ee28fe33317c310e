"""Files that are elsewhere: what fsspec reaches, read as files are read that are here. See docs/remote-files.md."""

from penstock.connectors.sources.remote.source import RemoteFiles

__all__ = ["RemoteFiles"]
