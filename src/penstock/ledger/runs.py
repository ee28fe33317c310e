"""Runs: which document was run, when, and how it ended."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from penstock.ledger.timestamps import moment

if TYPE_CHECKING:
    import sqlite3
    from datetime import datetime

    from penstock.ledger.entry import Entry


class RunStatus(StrEnum):
    """How a run stands. One that was killed stays RUNNING until the next one begins, which calls it INTERRUPTED."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a pipeline. `ended_at` is None while it runs, and for ever where it was killed."""

    id: str
    fingerprint: str
    status: RunStatus
    started_at: datetime
    ended_at: datetime | None

    @property
    def is_unfinished(self) -> bool:
        """Tell whether the run never said that it ended: it is running now, or it was killed."""
        return self.ended_at is None


def begin(connection: sqlite3.Connection, entry: Entry, fingerprint: str, document: bytes) -> None:
    """Note that run `entry.run_id` begins. Earlier ones that never ended were killed: there is one run at a time."""
    sha256 = hashlib.sha256(document).hexdigest()
    connection.execute("INSERT OR IGNORE INTO documents (sha256, content) VALUES (?, ?)", (sha256, document.decode()))
    connection.execute(
        "UPDATE runs SET status = 'interrupted' WHERE pipeline = ? AND status = 'running'", (entry.pipeline,)
    )
    connection.execute(
        "INSERT INTO runs (id, pipeline, fingerprint, document, status, started_at) VALUES (?, ?, ?, ?, 'running', ?)",
        (entry.run_id, entry.pipeline, fingerprint, sha256, entry.at),
    )


def end(connection: sqlite3.Connection, run_id: str, status: RunStatus, at: str) -> None:
    """Note how a run ended."""
    assert status is not RunStatus.RUNNING, status
    changed = connection.execute("UPDATE runs SET status = ?, ended_at = ? WHERE id = ?", (status, at, run_id)).rowcount
    assert changed == 1, run_id


def last(connection: sqlite3.Connection, pipeline: str) -> Run | None:
    """Return the run of `pipeline` that began last."""
    row = connection.execute(
        """
        SELECT id, fingerprint, status, started_at, ended_at FROM runs
        WHERE pipeline = ? ORDER BY number DESC LIMIT 1
        """,
        (pipeline,),
    ).fetchone()
    if row is None:
        return None
    run_id, fingerprint, status, started_at, ended_at = row
    ended = None if ended_at is None else moment(ended_at)
    return Run(run_id, fingerprint, RunStatus(status), moment(started_at), ended)


def document(connection: sqlite3.Connection, run_id: str) -> bytes:
    """Return the document that was run; KeyError where there is no such run."""
    row = connection.execute(
        "SELECT content FROM documents JOIN runs ON runs.document = documents.sha256 WHERE runs.id = ?", (run_id,)
    ).fetchone()
    if row is None:
        raise KeyError(run_id)
    return str(row[0]).encode()
