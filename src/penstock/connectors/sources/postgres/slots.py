"""Replication slots and publications: made, looked after, and taken away again."""

from __future__ import annotations

import hashlib
import os
import re
import time
from secrets import token_hex
from typing import TYPE_CHECKING

import msgspec

from penstock.connectors.postgres import execute, explained, place_of
from penstock.connectors.sources.postgres.catalog import CODES
from penstock.connectors.sources.postgres.positions import changed, lsn_of, lsn_text
from penstock.connectors.sources.postgres.wire import BUSY_POLL_S, BUSY_S
from penstock.errors import ContentChanged, Unavailable, UserMistake
from penstock.expressions import quote
from penstock.ledger.folder import make_folder, sync

if TYPE_CHECKING:
    from pathlib import Path

    from penstock.connectors.postgres.connection import Session
    from penstock.connectors.sources.postgres.catalog import Relation
    from penstock.connectors.sources.postgres.options import HowToRead
    from penstock.model.pipeline import SourceTable

PREFIX = "penstock_"
"""What slots and publications of ours are called by."""
FOLDER = "postgres"
"""Where the names of slots are kept, in the state folder."""
_TABLE_CHARACTERS_MAX = 40

_SLOT = """
    SELECT confirmed_flush_lsn::text, plugin, wal_status, slot_type, database = current_database()
    FROM pg_replication_slots WHERE slot_name = $1
"""
_HELD = """
    SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), coalesce(restart_lsn, pg_current_wal_lsn()))::bigint
    FROM pg_replication_slots WHERE slot_name = $1
"""
_MAY_REPLICATE = "SELECT rolreplication OR rolsuper FROM pg_roles WHERE rolname = current_user"
_PUBLICATION = """
    SELECT pubinsert AND pubupdate AND pubdelete AND pubtruncate,
           EXISTS (SELECT FROM pg_publication_tables WHERE pg_publication_tables.pubname = pg_publication.pubname
                   AND schemaname = $2 AND tablename = $3)
    FROM pg_publication WHERE pubname = $1
"""


class Note(msgspec.Struct, frozen=True):
    """What is remembered of a table: its slot, and where the changes begin that the slot holds, 0 before it is made.

    `empties`: rows of an earlier slot may be at the destination, which is to be emptied before those of this one come.
    """

    slot: str = ""
    lsn: int = 0
    empties: bool = False


class Notebook:
    """The note of one table, in the state folder: synced before a slot is made, so that none is forgotten."""

    def __init__(self, state: Path, table: SourceTable) -> None:
        where = f"{table.connection.name}\0{table.schema}\0{table.name}"
        self._file = state / FOLDER / f"{_plain(table.name)}-{hashlib.sha256(where.encode()).hexdigest()[:8]}.json"
        self.note = self._read()

    def write(self, note: Note) -> None:
        """Remember `note` durably. Raises Unavailable INT_ALPHA_017."""
        if note == self.note:
            return
        try:
            make_folder(self._file.parent)
            new = self._file.with_suffix(".new")
            with new.open("wb") as file:
                file.write(msgspec.json.encode(note))
                file.flush()
                os.fsync(file.fileno())
            new.replace(self._file)
            sync(self._file.parent)
        except OSError as error:
            raise Unavailable("INT_ALPHA_017", f"{self._file}: {error.strerror or error}") from error
        self.note = note

    def _read(self) -> Note:
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=Note)
        except (OSError, msgspec.DecodeError):
            return Note()  # a slot that it may have named is listed by its prefix, and is not in the way of another


def slot_name(table: SourceTable) -> str:
    """Return a fresh name for a slot."""
    return f"{PREFIX}{_plain(table.name)}_{token_hex(4)}"


def publication_of(relation: Relation, how: HowToRead) -> str:
    """Return the name of the publication that a table's changes are read through."""
    if how.publication:
        return how.publication
    digest = hashlib.sha256(relation.partition.encode()).hexdigest()[:8]
    return f"{PREFIX}{_plain(relation.name)}_{digest}"


def check_server(session: Session, table: SourceTable) -> None:
    """Raise UserMistake INT_ALPHA_014 where the server's log does not tell changes."""
    with explained(place_of(table.connection), CODES):
        ((level,),) = execute(session, "SELECT current_setting('wal_level')").fetchall()
    if level != "logical":
        raise UserMistake(
            "INT_ALPHA_014",
            f"`{place_of(table.connection)}` keeps no log of changes: its wal_level is {level}",
            remedy="set wal_level = logical there and restart it",
        )


def check_identity(relation: Relation, table: SourceTable) -> None:
    """Raise UserMistake INT_ALPHA_015 where the log would not say which row was updated or deleted."""
    if relation.kind not in {"r", "p"}:
        raise UserMistake("INT_ALPHA_015", f"{relation.partition} is no table: only those of tables are logged")
    generated = next((field.name for field in table.fields if relation.column(field.name).is_generated), None)
    if generated is not None:
        raise UserMistake(
            "INT_ALPHA_011",
            f"the log does not tell the generated column `{generated}` of {relation.partition}",
            remedy="take it out of the document, and compute it in the model",
        )
    if relation.identity is None:
        return
    missing = [name for name in table.primary_key if name not in relation.identity]
    if not relation.identity or missing:
        what = f"without `{missing[0]}`" if relation.identity else "nothing"
        raise UserMistake(
            "INT_ALPHA_015",
            f"the log tells {what} of the rows of {relation.partition} that are updated or deleted",
            remedy=f"ALTER TABLE {relation.sql} REPLICA IDENTITY FULL, or give it a primary key",
        )


def make_publication(session: Session, table: SourceTable, relation: Relation, how: HowToRead) -> str:
    """Return the name of the publication, made or mended where it is ours.

    Raises UserMistake INT_ALPHA_010 where one that is somebody else's will not do.
    """
    name = publication_of(relation, how)
    wrong = _wrong_with(session, table, relation, name)
    if wrong and how.publication:
        raise UserMistake(
            "INT_ALPHA_010",
            f"publication `{name}` {wrong}, and {relation.partition} is to be read through it",
            remedy="let it publish insert, update, delete and truncate of the table, or leave `publication` out",
        )
    if wrong:
        drop_publication(session, table, name)
        with explained(place_of(table.connection), CODES):
            execute(
                session,
                f"CREATE PUBLICATION {quote(name)} FOR TABLE {relation.sql} "
                "WITH (publish = 'insert, update, delete, truncate', publish_via_partition_root = true)",
            )
    return name


def check_publication(session: Session, table: SourceTable, relation: Relation, how: HowToRead) -> str:
    """Return the name of the publication. Raises ContentChanged INT_ALPHA_013 where it no longer does what it did."""
    name = publication_of(relation, how)
    wrong = _wrong_with(session, table, relation, name)
    if wrong:
        raise changed(
            relation.partition, f"its publication `{name}` {wrong}, so that the log does not tell what changed"
        )
    return name


def _wrong_with(session: Session, table: SourceTable, relation: Relation, name: str) -> str:
    with explained(place_of(table.connection), CODES):
        found = execute(session, _PUBLICATION, [name, relation.schema, relation.name]).fetchall()
    if not found:
        return "is not there"
    ((publishes_all, has_table),) = found
    return "" if publishes_all and has_table else "lacks the table" if publishes_all else "does not publish all"


def check_slot(session: Session, table: SourceTable, slot: str, lsn: int, partition: str) -> None:
    """Raise ContentChanged INT_ALPHA_013 where `slot` no longer holds everything that ends behind `lsn`."""
    with explained(place_of(table.connection), CODES):
        found = execute(session, _SLOT, [slot]).fetchall()
    if not found:
        raise changed(partition, f"its replication slot `{slot}` is gone, and with it what changed since")
    ((confirmed, plugin, status, kind, is_here),) = found
    if kind != "logical" or plugin != "pgoutput" or not is_here:
        raise changed(partition, f"`{slot}` is another replication slot than the one that it was read through")
    if status == "lost" or confirmed is None:
        raise changed(partition, f"the server has invalidated its replication slot `{slot}` and thrown its log away")
    if lsn_of(confirmed) > lsn:
        raise changed(
            partition,
            f"its replication slot `{slot}` stands at {confirmed}, behind {lsn_text(lsn)} where reading is to go on: "
            "somebody else has read from it, or made it anew",
        )


def holds(session: Session, table: SourceTable, relation: Relation, how: HowToRead, note: Note) -> bool:
    """Tell whether the log still has everything for us that ends behind `note.lsn`, and its slot for us."""
    try:
        check_publication(session, table, relation, how)
        check_slot(session, table, note.slot, note.lsn, relation.partition)
    except ContentChanged:
        return False
    return True


def slot_state(session: Session, table: SourceTable, slot: str) -> str:
    """Say in words how a slot is. Raises UserMistake INT_ALPHA_014 where there is none and none may be made."""
    with explained(place_of(table.connection), CODES):
        found = execute(session, _HELD, [slot]).fetchall() if slot else []
        ((may,),) = execute(session, _MAY_REPLICATE).fetchall()
    if not may:
        raise UserMistake(
            "INT_ALPHA_014",
            f"`{place_of(table.connection)}`: the user may not read the log",
            remedy="ALTER ROLE … REPLICATION",
        )
    if not found:
        return "no replication slot yet"
    return f"slot {slot} holds {found[0][0]:,} bytes of the log"


def drop_slot(session: Session, table: SourceTable, slot: str) -> None:
    """Take a slot away, if it is there. Waits a while for whoever reads it; else Unavailable."""
    until_s = time.monotonic() + BUSY_S
    while True:
        with explained(place_of(table.connection), CODES):
            found = execute(
                session, "SELECT active_pid FROM pg_replication_slots WHERE slot_name = $1", [slot]
            ).fetchall()
            if not found:
                return
            if found == [(None,)]:
                execute(session, "SELECT pg_drop_replication_slot($1)", [slot])
                return
        if time.monotonic() > until_s:
            raise Unavailable("INT_ALPHA_014", f"process {found[0][0]} reads replication slot `{slot}`")
        time.sleep(BUSY_POLL_S)


def drop_publication(session: Session, table: SourceTable, name: str) -> None:
    """Take a publication away, if it is there."""
    with explained(place_of(table.connection), CODES):
        execute(session, f"DROP PUBLICATION IF EXISTS {quote(name)}")


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9_]", "_", name.lower())[:_TABLE_CHARACTERS_MAX]
