"""A connection that streams the log: slots made and dropped, messages taken, what is settled told to the server.

psycopg has no replication of its own, so this speaks the "Streaming Replication Protocol" of the manual over libpq:

    from the server   w  int64 where the change lies, int64 the same, int64 the time, the plug-in's message
                      k  int64 where the log was sent to, int64 the time, int8 whether an answer is wanted
    to the server     r  int64 written, int64 flushed, int64 applied to, int64 the time, int8 whether one is wanted

Times are in microseconds since 2000-01-01 UTC.
"""

from __future__ import annotations

import select
import time
from dataclasses import dataclass
from struct import Struct
from threading import Lock
from typing import TYPE_CHECKING

import psycopg
from psycopg import pq
from psycopg.errors import error_from_result

from penstock.connectors.postgres import conninfo, explained, place_of
from penstock.connectors.sources.postgres.catalog import CODES
from penstock.connectors.sources.postgres.positions import lsn_of, lsn_text
from penstock.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from penstock.model.pipeline import Connection

_DATA = Struct("!xQQq")
_KEEPALIVE = Struct("!xQqB")
_STATUS = Struct("!cQQQqB")
_EPOCH_S = 946_684_800
"""2000-01-01 UTC in seconds since 1970-01-01."""
STATUS_S = 5.0
"""At least so often the server is told how far we are."""
CREATE_S = 60.0
"""A slot begins where no transaction is open that began before it. So long is waited for those that are."""
BUSY_S = 10.0
"""The server takes a moment to notice that whoever read the slot before is gone."""
BUSY_POLL_S = 0.05
FAREWELL_S = 2.0
"""For the server to take our last word before the connection is closed."""
_SESSION = (
    "-c client_encoding=UTF8 -c TimeZone=UTC -c DateStyle=ISO,YMD -c IntervalStyle=iso_8601 -c bytea_output=hex "
    "-c extra_float_digits=1 -c statement_timeout=0 -c wal_sender_timeout=300000"
)
"""Values are written in this session. And a reader that waits for its destination is not a dead one."""
OBJECT_IN_USE = "55006"


@dataclass(frozen=True, slots=True)
class Made:
    """A slot that was made: its changes begin at `lsn`, and `snapshot` shows the rows as they were there."""

    lsn: int
    snapshot: str


class Wire:
    """One replication connection. Read from one thread; `settle` may be called from any."""

    def __init__(self, connection: Connection) -> None:
        """Connect. Raises Unavailable or UserMistake INT_ALPHA_014."""
        self._place = place_of(connection)
        self._lock = Lock()  # libpq's connection is one thread's at a time
        self._settled = 0
        self._told = 0
        self._told_s = time.monotonic()
        self._taken = 0
        self.idle_end = 0
        """All that ends before this was sent, as the server said when it had no more."""
        self.is_waited_for = False
        """Whether the server wants to know how far we are: when it shuts down, it waits until we are at the end."""
        self.streaming = False
        info = conninfo(connection, replication="database", options=_SESSION)
        with explained(self._place, CODES):
            self._libpq = pq.PGconn.connect(info.encode())
            if self._libpq.status != pq.ConnStatus.OK:
                raise psycopg.OperationalError(self._libpq.get_error_message())

    # --- commands -----------------------------------------------------------------------------------------------------

    def create(self, slot: str) -> Made:
        """Make a slot. Its snapshot is there until the next command. Unavailable where transactions stay open."""
        row = self._command(f'CREATE_REPLICATION_SLOT "{slot}" LOGICAL pgoutput EXPORT_SNAPSHOT', CREATE_S)
        return Made(lsn_of(row[1]), row[2])

    def start(self, slot: str, publication: str, lsn: int, settled: int) -> None:
        """Begin to stream what ends behind `lsn`, where all before `settled` may be forgotten.

        Waits a while for whoever reads the slot to let go of it. Raises Unavailable.
        """
        quoted = publication.replace('"', '""').replace("'", "''")
        options = f"(proto_version '1', publication_names '\"{quoted}\"')"
        until_s = time.monotonic() + BUSY_S
        while True:
            try:
                self._command(f'START_REPLICATION SLOT "{slot}" LOGICAL {lsn_text(lsn)} {options}', BUSY_S)
            except _InUse as error:
                if time.monotonic() > until_s:
                    raise Unavailable(
                        "INT_ALPHA_014",
                        f"`{self._place}`: {error}",
                        remedy="end what else reads the slot, run again",
                    ) from error
                time.sleep(BUSY_POLL_S)
            else:
                break
        self.streaming = True
        self._settled = self._told = settled

    def _command(self, command: str, wait_s: float) -> Sequence[str]:
        """Run a command and return its row, if it gives one."""
        with explained(self._place, CODES), self._lock:
            self._libpq.send_query(command.encode())
            until_s = time.monotonic() + wait_s
            while self._libpq.is_busy():
                left_s = until_s - time.monotonic()
                if left_s <= 0:
                    self._libpq.get_cancel().cancel()
                    raise psycopg.errors.QueryCanceled(
                        "transactions that began before are still open: a replication slot has to wait for their end"
                    )
                self._wait(left_s)
                self._libpq.consume_input()
            return self._row()

    def _row(self) -> Sequence[str]:
        row: list[str] = []
        while (result := self._libpq.get_result()) is not None:
            if result.status == pq.ExecStatus.COPY_BOTH:
                return row
            if result.status == pq.ExecStatus.FATAL_ERROR:
                error = error_from_result(result)
                while self._libpq.get_result() is not None:
                    pass
                if error.sqlstate == OBJECT_IN_USE:
                    raise _InUse(error.diag.message_primary or "in use")
                raise error
            if result.ntuples:
                row = [(result.get_value(0, number) or b"").decode() for number in range(result.nfields)]
        return row

    # --- the stream ---------------------------------------------------------------------------------------------------

    def take(self, wait_s: float) -> bytes | None:
        """Return the next message of the plug-in; None where none came in `wait_s`, or only the log grew.

        Raises as psycopg does: whoever takes many explains an error once.
        """
        data = self._receive()
        if data is None and wait_s > 0:
            self._wait(wait_s)
            data = self._receive()
        if data is None:
            return None
        if data[:1] == b"w":
            self._taken = max(self._taken, _DATA.unpack_from(data)[0])
            return data[_DATA.size :]
        self.idle_end, _, wants_answer = _KEEPALIVE.unpack_from(data)
        if wants_answer:
            self.is_waited_for = True
            self.tell()
        return None

    def _receive(self) -> bytes | None:
        with self._lock:
            size, data = self._libpq.get_copy_data(1)
            if size == 0:
                self._libpq.consume_input()
                size, data = self._libpq.get_copy_data(1)
            if size > 0:
                return bytes(data)
            if size == 0:
                return None
            result = self._libpq.get_result()
            if result is not None and result.status == pq.ExecStatus.FATAL_ERROR:
                raise error_from_result(result)
            raise psycopg.OperationalError(self._libpq.get_error_message() or "the server ended the stream")

    def ask(self) -> None:
        """Ask the server to say where its log ends."""
        self.tell(wants_answer=True)

    def settle(self, lsn: int) -> None:
        """Let the server forget what ends before `lsn`. Never fails: a connection that is lost says so when read."""
        self._settled = max(self._settled, lsn)
        self.tell()

    def tell_in_time(self) -> None:
        """Tell the server how far we are, where that is new or was told long ago."""
        if self._told < self._settled or time.monotonic() - self._told_s > STATUS_S:
            self.tell()

    def tell(self, *, wants_answer: bool = False) -> None:
        """Tell the server how far everything is settled, whatever else we have taken."""
        if not self.streaming:
            return
        now_us = int((time.time() - _EPOCH_S) * 1_000_000)
        settled = self._settled
        message = _STATUS.pack(b"r", max(settled, self._taken), settled, settled, now_us, wants_answer)
        with self._lock:
            try:
                self._libpq.put_copy_data(message)
                self._libpq.flush()
            except psycopg.Error:
                return
        self._told, self._told_s = settled, time.monotonic()

    def close(self) -> None:
        """Say the last word, and let go."""
        if self.streaming:
            self.tell()
            self._say_farewell()
        with self._lock:
            self._libpq.finish()
        self.streaming = False

    def _say_farewell(self) -> None:
        """End the stream in order: a connection closed on unread data might take our last word with it."""
        until_s = time.monotonic() + FAREWELL_S
        with self._lock:
            try:
                self._libpq.put_copy_end()
                self._libpq.flush()
                while time.monotonic() < until_s:
                    size, _ = self._libpq.get_copy_data(1)
                    if size < 0:
                        return
                    if size == 0:
                        self._wait(until_s - time.monotonic())
                        self._libpq.consume_input()
            except psycopg.Error:
                return

    def _wait(self, wait_s: float) -> None:
        """Wait until something comes from the server."""
        poll = select.poll()
        poll.register(self._libpq.socket, select.POLLIN)
        poll.poll(max(0.0, wait_s) * 1000)


class _InUse(Exception):
    """Somebody else reads the slot."""
