"""What a connection's options say about how a table is read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from penstock.errors import UserMistake
from penstock.model.quantity import NotAQuantity, parse_period
from penstock.ports import Option

if TYPE_CHECKING:
    from penstock.model.pipeline import Connection, SourceTable


class Way(StrEnum):
    """How a table is read."""

    SNAPSHOT = "snapshot"
    INCREMENTAL = "incremental"
    CHANGES = "changes"


OPTIONS = (
    Option("read", "`snapshot`, `incremental` or `changes`", "incremental where `cursor` is named, else snapshot"),
    Option("cursor", "column that grows with every insert and update", "the document's event time"),
    Option("look_back", "how far before the last cursor value reading begins again: `5 minutes`, or a number"),
    Option(
        "poll", "how often a table that is followed without `changes` is asked", "1 second; 1 minute for a snapshot"
    ),
    Option(
        "slot", "replication slot to make and keep; `{table}` stands for the table", "penstock_{table}_ and a number"
    ),
    Option("publication", "publication that somebody else keeps, with the table in it", "one of its own"),
)

_POLL_DEFAULT = {Way.SNAPSHOT: "1 minute", Way.INCREMENTAL: "1 second", Way.CHANGES: "1 second"}
_TABLE = "{table}"
_SLOT = re.compile(r"[a-z0-9_]{1,63}")


@dataclass(frozen=True, slots=True)
class HowToRead:
    """The options, understood. Empty text: nothing was said.

    `look_back` is as written where the cursor is a number, `look_back_s` in seconds where it is a time.
    """

    way: Way
    cursor: str
    look_back: str
    look_back_s: float | None
    poll_s: float
    slot: str
    publication: str

    @classmethod
    def of(cls, table: SourceTable) -> HowToRead:
        """Read the options of `table`'s connection. UserMistake where one makes no sense."""
        connection = table.connection
        options = connection.options
        way = _way(connection)
        cursor = options.get("cursor", "") or table.event_time
        if way is Way.INCREMENTAL and not cursor:
            raise UserMistake(
                "INT_PIPELINE_003",
                f"table `{table.name}` is to be read by `read = incremental`, and nothing says by which column",
                remedy="name one by `cursor`, or an `event_time` in the document",
            )
        slot = options.get("slot", "").replace(_TABLE, re.sub(r"[^a-z0-9_]", "_", table.name.lower()))
        if slot and not _SLOT.fullmatch(slot):
            raise _senseless(connection, "slot", slot, "up to 63 of a-z, 0-9 and _")
        look_back = options.get("look_back", "")
        return cls(
            way=way,
            cursor=cursor,
            look_back=look_back,
            look_back_s=_seconds(connection, "look_back", look_back)
            if look_back and not _is_number(look_back)
            else None,
            poll_s=_seconds(connection, "poll", options.get("poll", "") or _POLL_DEFAULT[way]),
            slot=slot,
            publication=options.get("publication", ""),
        )


def _way(connection: Connection) -> Way:
    said = connection.options.get("read", "")
    if not said:
        return Way.INCREMENTAL if connection.options.get("cursor") else Way.SNAPSHOT
    try:
        return Way(said)
    except ValueError:
        raise _senseless(connection, "read", said, ", ".join(way.value for way in Way)) from None


def _seconds(connection: Connection, name: str, text: str) -> float:
    try:
        return parse_period(text).seconds
    except NotAQuantity as why:
        raise _senseless(connection, name, text, f"a span of time such as `5 minutes` ({why})") from None


def _is_number(text: str) -> bool:
    return re.fullmatch(r"\d+(\.\d+)?", text) is not None


def _senseless(connection: Connection, name: str, value: str, takes: str) -> UserMistake:
    return UserMistake(
        "INT_PIPELINE_003", f"connection `{connection.name}`: {name} = {value}", remedy=f"it takes {takes}"
    )
