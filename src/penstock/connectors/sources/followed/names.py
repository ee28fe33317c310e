"""Names of partitions: a file's path for what lay there first, and a number behind it for what came later."""

from __future__ import annotations

import re

from penstock.connectors.sources.files.partitions import read_name

_NUMBERED = re.compile(r"(?P<path>.+)@(?P<number>[1-9]\d*)", re.DOTALL)


def name(path: str, number: int) -> str:
    """Return the name of what came as the `number`th, from 1 on, at `path`."""
    return path if number == 1 else f"{path}@{number}"


def split(partition: str) -> tuple[str, int]:
    """Return path and number of a name. A file's own name cannot be taken for a number: its ending is another."""
    match = _NUMBERED.fullmatch(partition)
    if match and read_name(match["path"]):
        return match["path"], int(match["number"])
    return partition, 1
