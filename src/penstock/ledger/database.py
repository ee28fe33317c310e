"""The SQLite file under the ledger: opened, made safe, and used one transaction at a time.

One connection serves all threads, one call at a time: SQLite has one writer anyway, and a queue in front of it is
fairer than its busy timeout. Other processes may read, and write for moments, at any time.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
import threading
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.errors import LedgerTrouble, UserMistake
from penstock.ledger.folder import close_to_others, make_folder, sync
from penstock.ledger.schema import APPLICATION_ID, NAMES, TABLES, VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Preparation = Callable[[sqlite3.Connection, Path], None]

FILE_NAME = "ledger.sqlite"
BUSY_TIMEOUT_S = 10.0
"""How long to wait for another process's transaction. Ours take milliseconds; a person's may be forgotten open."""
JOURNAL_BYTES_MAX = 64 << 20
"""What the write-ahead log keeps of the disk after an uncommonly large transaction."""

_CANNOT_BE_USED = frozenset(
    {
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_AUTH,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_NOLFS,
    }
)
_HELD = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})

_PRAGMAS = (
    "PRAGMA synchronous = FULL",  # what a promise rests on is on the disk when the call returns
    "PRAGMA fullfsync = ON",  # the same on macOS, where fsync alone stops at the drive's cache
    "PRAGMA foreign_keys = ON",
    f"PRAGMA journal_size_limit = {JOURNAL_BYTES_MAX}",
    "PRAGMA temp_store = MEMORY",  # originals of dead letters stay out of files that others may read
    "PRAGMA trusted_schema = OFF",
    "PRAGMA cell_size_check = ON",  # notice damage where it is read
)


class Database:
    """One connection to a ledger's file. Every use of it is a transaction of its own; calls wait for one another."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection
        self._turn = threading.Lock()

    @classmethod
    def open(cls, folder: Path) -> Database:
        """Open the ledger in the state folder, creating both where they are missing. Raises LedgerTrouble."""
        path = folder / FILE_NAME
        with _trouble(path):
            try:
                make_folder(folder)
                if not path.exists():
                    _create(path)
                close_to_others(path)
            except OSError as error:
                raise LedgerTrouble("INT_LEDGER_001", f"{path}: {error}") from error
            return cls(path, _opened(path, _prepare_to_write, mode="rw"))

    @classmethod
    def read_only(cls, folder: Path) -> Database:
        """Open the ledger to look at it. Raises UserMistake where there is none, LedgerTrouble."""
        path = folder / FILE_NAME
        try:
            path.stat()
        except (FileNotFoundError, NotADirectoryError):
            raise UserMistake("INT_LEDGER_004", f"{folder} holds no ledger") from None
        except OSError as error:
            raise LedgerTrouble("INT_LEDGER_001", f"{path}: {error}") from error
        with _trouble(path):
            return cls(path, _opened(path, _prepare_to_read, mode="ro"))

    def close(self) -> None:
        """Let go of the file. Waits for a call that is under way."""
        with self._turn, _trouble(self.path):
            self._connection.close()

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """Do everything inside in one transaction, durable at the end; an error leaves nothing of it.

        Raises LedgerTrouble where the file cannot be written or is damaged.
        """
        with self._turn, _trouble(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            with _all_or_nothing(self._connection):
                yield self._connection

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """Read one state of the ledger, whatever others write meanwhile. Raises LedgerTrouble."""
        with self._turn, _trouble(self.path):
            self._connection.execute("BEGIN")
            with _all_or_nothing(self._connection):
                yield self._connection


@contextmanager
def _all_or_nothing(connection: sqlite3.Connection) -> Iterator[None]:
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:  # whatever it was, an interrupt too: nothing of the transaction may stay; it is raised on
        if connection.in_transaction:  # SQLite has rolled back already where the disk is full
            connection.execute("ROLLBACK")
        raise


@contextmanager
def _trouble(path: Path) -> Iterator[None]:
    """Turn what SQLite says of the file into an error for people. Anything else is a mistake of ours."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF  # the rest of it is detail
        if code in _CANNOT_BE_USED:
            raise LedgerTrouble("INT_LEDGER_001", f"{path}: {error}") from error
        if code in _HELD:
            remedy = "end the transaction of the other program that has it open, run again"
            message = f"{path}: held by another program for more than {BUSY_TIMEOUT_S:g} seconds"
            raise LedgerTrouble("INT_LEDGER_001", message, remedy=remedy) from error
        if code in _DAMAGED:
            raise LedgerTrouble("INT_LEDGER_002", f"{path}: {error}") from error
        raise


def _opened(path: Path, prepare: Preparation, *, mode: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=BUSY_TIMEOUT_S,
        isolation_level=None,  # transactions are begun and ended here, and nowhere else
        check_same_thread=False,  # the lock of Database sees to it
    )
    try:
        prepare(connection, path)
    except BaseException:  # whatever it was, the file must not stay open; it is raised on
        connection.close()
        raise
    return connection


def _create(path: Path) -> None:
    """Make a ledger beside `path` and put it there whole, so that nobody, in any process, ever sees half of one."""
    descriptor, name = tempfile.mkstemp(prefix="ledger.", suffix=".new", dir=path.parent)
    os.close(descriptor)
    try:
        with closing(sqlite3.connect(name, isolation_level=None)) as connection:
            connection.execute("BEGIN")
            for statement in TABLES:
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {VERSION}")
            connection.execute("COMMIT")
            connection.execute("PRAGMA journal_mode = WAL")  # here, where nobody can be in the way
        with suppress(FileExistsError):  # another process was first
            os.link(name, path)
    finally:
        Path(name).unlink()
    sync(path.parent)


def _prepare_to_write(connection: sqlite3.Connection, path: Path) -> None:
    _check_version(connection, path)  # before anything is changed in a file that may not be ours to change
    connection.execute("PRAGMA journal_mode = WAL")
    for pragma in _PRAGMAS:
        connection.execute(pragma)


def _prepare_to_read(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("PRAGMA query_only = ON")
    connection.execute("PRAGMA temp_store = MEMORY")
    _check_version(connection, path)


def _check_version(connection: sqlite3.Connection, path: Path) -> None:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION_ID:
        raise LedgerTrouble("INT_LEDGER_002", f"{path} is not a ledger of Penstock's", remedy="move it away")
    if version > VERSION:
        message = f"{path} is of version {version}, and this program knows versions up to {VERSION}"
        raise LedgerTrouble("INT_LEDGER_002", message, remedy="upgrade Penstock")
    names = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    if missing := sorted(NAMES - names):
        raise LedgerTrouble("INT_LEDGER_002", f"{path} lacks the table `{missing[0]}`", remedy="restore it")
