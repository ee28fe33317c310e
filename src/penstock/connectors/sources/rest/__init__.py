"""Reads records from HTTP APIs that answer in JSON: page after page, within a rate, with credentials that expire."""

from penstock.connectors.sources.rest.source import RestSource

__all__ = ["RestSource"]
