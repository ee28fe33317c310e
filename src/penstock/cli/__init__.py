"""The command line: a few lines over the public API."""

from penstock.cli.commands import main

__all__ = ["main"]
