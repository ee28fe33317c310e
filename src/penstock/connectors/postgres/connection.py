"""Opening a connection to PostgreSQL from what a document or the configuration says."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from penstock.connectors.postgres.trouble import explained, place_of
from penstock.connectors.secrets import resolve
from penstock.errors import UserMistake

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from penstock.connectors.postgres.trouble import Codes
    from penstock.model.pipeline import Connection

Session = psycopg.Connection[tuple[Any, ...]]
"""A connection as `open_connection` gives it: statements hold `$1`, `$2`, …, and `%` means nothing in them."""

_PATIENCE: Mapping[str, str] = {
    # Without these, a server that vanishes from the network is waited for as long as the kernel sees fit: hours.
    "connect_timeout": "10",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "60000",
}
"""Parameters of libpq that hold where the URL says nothing else, in seconds; `tcp_user_timeout` in milliseconds."""
_SETTINGS: tuple[str, ...] = (
    # How values are written as text must not depend on whose server it is.
    "SET client_encoding = 'UTF8'",
    "SET TimeZone = 'UTC'",
    "SET DateStyle = 'ISO, YMD'",
    "SET IntervalStyle = 'iso_8601'",
    "SET bytea_output = 'hex'",
    "SET extra_float_digits = 1",
    "SET standard_conforming_strings = on",
    # A name in our statements means what it says, and no function that somebody has put in the way.
    "SET search_path = pg_catalog, pg_temp",
    # Long statements are normal here. Whether the other side still lives is found out otherwise.
    "SET statement_timeout = 0",
    "SET idle_in_transaction_session_timeout = 0",
)
_SCHEMES = ("postgresql://", "postgres://")
_REFERENCE_ALONE = re.compile(r"\$\{[^{}]+\}")


def conninfo(connection: Connection, **parameters: str) -> str:
    """Return what libpq opens `connection` with: its URL with secrets in it, and `parameters`, which win.

    Never to be printed. Raises UserMistake where there is no URL, a secret cannot be had, or PostgreSQL cannot read it.
    """
    try:
        given = {name: str(value) for name, value in conninfo_to_dict(_resolved(connection)).items()}
    except psycopg.ProgrammingError:
        given = {}
    if not given or "@" in given.get("host", ""):
        # What the library says quotes what it could not read, or takes a part of the password for the host.
        raise UserMistake(
            "INT_PIPELINE_003",
            f"the url of connection `{connection.name}` is not one that PostgreSQL understands",
            remedy="write postgresql://user:${PASSWORD}@host:5432/database, special characters percent-encoded",
        )
    return make_conninfo(**{**_PATIENCE, "application_name": "penstock", **given, **parameters})


def _resolved(connection: Connection) -> str:
    url = connection.url
    if _REFERENCE_ALONE.fullmatch(url):  # the environment holds the whole of it, percent-encoded as it must be
        return resolve(url, connection)
    if not url.startswith(_SCHEMES):
        raise UserMistake(
            "INT_PIPELINE_003",
            f"connection `{connection.name}` is of kind `postgres`, and "
            + ("its url does not begin with postgresql://" if url else "has no url"),
            remedy="write url = postgresql://user:${PASSWORD}@host:5432/database",
        )
    return resolve(url, connection, lambda secret: quote(secret, safe=""))


def open_connection(connection: Connection, codes: Codes, **parameters: str) -> Session:
    """Open a connection in which each statement commits by itself, with settings that ours rely on.

    `parameters` are libpq's, and win over the URL. Raises UserMistake or Unavailable, by `codes`.
    """
    info = conninfo(connection, **parameters)
    with explained(place_of(connection), codes):
        session = psycopg.connect(info, autocommit=True, prepare_threshold=None, cursor_factory=psycopg.RawCursor)
        try:
            execute(session, "; ".join(_SETTINGS))  # at once: the server may be far away
        except BaseException:  # whatever it was, the connection would be left open; it is raised on
            session.close()
            raise
    return session


def execute(session: Session, statement: str, parameters: Sequence[object] | None = None) -> psycopg.Cursor[Any]:
    """Run one statement. Names in it must have passed `quote`; values stand as `$1`, `$2`, …."""
    return session.execute(statement.encode(), parameters)
