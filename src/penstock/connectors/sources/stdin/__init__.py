"""Standard input as a source: journalled first, then read like any other. See docs/following.md."""

from penstock.connectors.sources.stdin.source import StandardInput

__all__ = ["StandardInput"]
