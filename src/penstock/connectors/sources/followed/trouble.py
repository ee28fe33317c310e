"""Says in whose hands it is when the operating system refuses."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from penstock.errors import Unavailable, UserMistake

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Turn an OSError into Unavailable, or UserMistake where only a person can mend it."""
    try:
        yield
    except PermissionError as error:
        remedy = "let the user who runs this read it"
        raise UserMistake("INT_ALPHA_014", f"{_named(error, what)} may not be read", remedy=remedy) from error
    except OSError as error:
        raise Unavailable("INT_ALPHA_014", f"{_named(error, what)}: {error.strerror or error}") from error


def _named(error: OSError, what: str) -> str:
    return f"{what}: {error.filename}" if error.filename else what
