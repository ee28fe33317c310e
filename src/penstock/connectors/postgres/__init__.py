"""What PostgreSQL as a source and as a destination have in common: connections, names of types, what goes wrong."""

from penstock.connectors.postgres.connection import conninfo, execute, open_connection
from penstock.connectors.postgres.trouble import Codes, explained, place_of
from penstock.connectors.postgres.types import type_name

__all__ = ["Codes", "conninfo", "execute", "explained", "open_connection", "place_of", "type_name"]
