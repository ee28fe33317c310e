"""What PostgreSQL and its client say went wrong, in people's words: whose fault it is, and whether waiting helps.

Statements fail with an SQLSTATE: https://www.postgresql.org/docs/current/errcodes-appendix.html. Attempts to connect
fail with words alone.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

import psycopg

from penstock.errors import PenstockError, Unavailable, UserMistake
from penstock.model.pipeline import without_password

if TYPE_CHECKING:
    from collections.abc import Iterator

    from penstock.model.pipeline import Connection


@dataclass(frozen=True, slots=True)
class Codes:
    """Which of our codes stands for which trouble, at one end of a pipeline.

    `away`: it cannot be reached, is busy or ends. `denied`: it does not let us. `missing`: there is no such database,
    schema or table. `full`: it has no room. `wrong`: a table is not what it was taken for.
    """

    away: str
    denied: str
    missing: str
    full: str
    wrong: str


class _Trouble(Enum):
    AWAY = auto()
    DENIED = auto()
    MISSING = auto()
    FULL = auto()
    WRONG = auto()
    OURS = auto()
    """A defect of ours: raised on as it is."""


_STATES: tuple[tuple[str, _Trouble], ...] = (
    # The longest beginning of an SQLSTATE that is listed tells.
    ("08", _Trouble.AWAY),  # connection
    ("22", _Trouble.OURS),  # data: who writes refuses the row
    ("23", _Trouble.OURS),  # constraints: likewise
    ("25", _Trouble.AWAY),  # transaction state: ended because it was idle, and the like
    ("25006", _Trouble.DENIED),  # a server that can only be read
    ("28", _Trouble.DENIED),  # who we are
    ("3D", _Trouble.MISSING),  # database
    ("3F", _Trouble.MISSING),  # schema
    ("40", _Trouble.AWAY),  # rolled back: deadlock and the like
    ("42", _Trouble.WRONG),  # names and types that are not there, or other ones
    ("42501", _Trouble.DENIED),
    ("42601", _Trouble.OURS),  # syntax
    ("42P01", _Trouble.MISSING),  # table
    ("53", _Trouble.AWAY),  # memory, connections
    ("53100", _Trouble.FULL),
    ("55", _Trouble.AWAY),  # in use, locked
    ("57", _Trouble.AWAY),  # shut down, cancelled
    ("58", _Trouble.AWAY),  # the server's own disk and files
    ("F0", _Trouble.AWAY),
    ("XX", _Trouble.AWAY),  # within the server
)
_ON_CONNECTING: tuple[tuple[str, _Trouble], ...] = (
    ("password authentication failed", _Trouble.DENIED),
    ("no password supplied", _Trouble.DENIED),
    ("authentication failed", _Trouble.DENIED),
    ("no pg_hba.conf entry", _Trouble.DENIED),
    ("permission denied", _Trouble.DENIED),
    ("is not permitted to log in", _Trouble.DENIED),
    ("certificate", _Trouble.DENIED),
    ("does not support ssl", _Trouble.DENIED),
    ('role "', _Trouble.DENIED),  # FATAL: role "x" does not exist
    ("does not exist", _Trouble.MISSING),  # FATAL: database "x" does not exist
)
_NO_ROOM = ("no space left", "disk quota exceeded", "file too large")
_MARGIN = re.compile(r"^connection failed: ", re.IGNORECASE)


@contextmanager
def explained(place: str, codes: Codes) -> Iterator[None]:
    """Turn errors of PostgreSQL and of the way to it into ours. Those about values and of our making pass unchanged."""
    try:
        yield
    except psycopg.Error as error:
        explanation = _explain(error, place, codes)
        if explanation is None:
            raise
        raise explanation from error


def place_of(connection: Connection) -> str:
    """Return where `connection` leads, as messages call it: nothing in it is secret."""
    return without_password(connection.url)


def said(error: psycopg.Error) -> str:
    """Return what the server or the client said, in one line, without the values that it may have cited."""
    text = error.diag.message_primary or str(error)
    lines = [line.strip(" \t-") for line in _MARGIN.sub("", text).splitlines()]
    # The first line says what happened. Where one announces the attempts on several hosts, they follow it.
    more = lines[1:] if lines[0].endswith(":") else []
    return " ".join([lines[0], "; ".join(more)]).rstrip(". ")


def _explain(error: psycopg.Error, place: str, codes: Codes) -> PenstockError | None:
    what = f"`{place}`: {said(error)}"
    match _trouble(error):
        case _Trouble.AWAY:
            return Unavailable(codes.away, what, remedy="see that the server is up and can be reached, run again")
        case _Trouble.DENIED:
            return UserMistake(codes.denied, what, remedy="mend user, password or permission, run again")
        case _Trouble.MISSING:
            return UserMistake(codes.missing, what, remedy="create it, or name another")
        case _Trouble.FULL:
            return Unavailable(codes.full, what)
        case _Trouble.WRONG:
            return UserMistake(codes.wrong, what)
        case _Trouble.OURS:
            return None


def _trouble(error: psycopg.Error) -> _Trouble:
    lower = str(error).lower()
    if any(sign in lower for sign in _NO_ROOM):
        return _Trouble.FULL
    if error.sqlstate is not None:
        fitting = [(prefix, trouble) for prefix, trouble in _STATES if error.sqlstate.startswith(prefix)]
        return max(fitting, key=lambda found: len(found[0]))[1] if fitting else _Trouble.OURS
    if not isinstance(error, psycopg.OperationalError):
        return _Trouble.OURS
    return next((trouble for sign, trouble in _ON_CONNECTING if sign in lower), _Trouble.AWAY)
