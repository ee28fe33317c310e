"""Secrets by reference: documents and configuration name them, and only who opens a connection learns them.

    ${NAME}            the environment variable NAME
    ${file:/a/path}    what a file holds, without blanks around it: how containers hand secrets over

What was resolved is never printed: whoever reports an error about a connection names the reference.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.errors import UserMistake

if TYPE_CHECKING:
    from collections.abc import Callable

    from penstock.model.pipeline import Connection

_REFERENCE = re.compile(r"\$\{(?:(file):)?([^{}]+)\}")
_FILE_BYTES_MAX = 64 << 10


def resolve(text: str, connection: Connection, quoted: Callable[[str], str] = str) -> str:
    """Return `text`, which `connection` says, with every reference replaced by what it refers to, as `quoted` puts it.

    Raises UserMistake where a variable is not set or a file cannot be read.
    """

    def found(reference: re.Match[str]) -> str:
        is_file, name = reference.groups()
        return quoted(_from_file(Path(name), connection) if is_file else _from_environment(name, connection))

    return _REFERENCE.sub(found, text)


def _from_environment(name: str, connection: Connection) -> str:
    try:
        return os.environ[name]
    except KeyError:
        raise UserMistake(
            "INT_PIPELINE_007",
            f"connection `{connection.name}` refers to `${{{name}}}`, and there is no such environment variable",
            remedy=f"set {name}",
        ) from None


def _from_file(path: Path, connection: Connection) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            return file.read(_FILE_BYTES_MAX).strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        raise UserMistake(
            "INT_PIPELINE_007", f"connection `{connection.name}` refers to `{path}`, which cannot be read: {why}"
        ) from error
