"""The tables of the ledger. They are meant to be read with SQL; `docs/ledger.md` explains every column."""

from __future__ import annotations

APPLICATION_ID = 0x50454E53
"""Stands in the file's header and spells PENS: what lacks it is not a ledger."""
VERSION = 1
"""Version of the tables, kept as `user_version`. A program reads its own version and no newer one."""

TABLES: tuple[str, ...] = (
    """
    CREATE TABLE documents (
        sha256 TEXT PRIMARY KEY,
        content TEXT NOT NULL
    ) STRICT
    """,
    """
    CREATE TABLE runs (
        number INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        pipeline TEXT NOT NULL,
        fingerprint TEXT NOT NULL,
        document TEXT NOT NULL REFERENCES documents (sha256),
        status TEXT NOT NULL CHECK (status IN ('running', 'completed', 'failed', 'interrupted')),
        started_at TEXT NOT NULL,
        ended_at TEXT
    ) STRICT
    """,
    """
    CREATE TABLE partitions (
        pipeline TEXT NOT NULL,
        source TEXT NOT NULL,
        partition TEXT NOT NULL,
        ordinal INTEGER NOT NULL CHECK (ordinal >= 0),
        sequence INTEGER NOT NULL DEFAULT 0 CHECK (sequence >= 0),
        token TEXT,
        PRIMARY KEY (pipeline, source, partition),
        UNIQUE (pipeline, source, ordinal)
    ) STRICT
    """,
    """
    CREATE TABLE settlements (
        id INTEGER PRIMARY KEY,
        run_id TEXT NOT NULL REFERENCES runs (id),
        pipeline TEXT NOT NULL,
        source TEXT NOT NULL,
        partition TEXT NOT NULL,
        start_sequence INTEGER NOT NULL,
        end_sequence INTEGER NOT NULL CHECK (end_sequence > start_sequence),
        token TEXT NOT NULL,
        batches INTEGER NOT NULL,
        checksum TEXT NOT NULL,
        replay_id TEXT REFERENCES replays (id),
        settled_at TEXT NOT NULL,
        UNIQUE (pipeline, source, partition, start_sequence),
        FOREIGN KEY (pipeline, source, partition) REFERENCES partitions (pipeline, source, partition)
    ) STRICT
    """,
    "CREATE INDEX settlements_by_run ON settlements (run_id)",
    """
    CREATE TABLE outcomes (
        settlement_id INTEGER NOT NULL REFERENCES settlements (id) ON DELETE CASCADE,
        destination TEXT NOT NULL,
        outcome TEXT NOT NULL CHECK (outcome IN ('delivered', 'filtered', 'dead_lettered')),
        stage TEXT NOT NULL CHECK (stage IN ('ingestion', 'transformation', 'delivery')),
        reason TEXT NOT NULL,
        records INTEGER NOT NULL CHECK (records > 0),
        PRIMARY KEY (settlement_id, destination, outcome, stage, reason)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE marks (
        pipeline TEXT NOT NULL,
        destination TEXT NOT NULL,
        source TEXT NOT NULL,
        partition TEXT NOT NULL,
        sequence INTEGER NOT NULL,
        position_sequence INTEGER NOT NULL,
        position_token TEXT NOT NULL,
        recorded_at TEXT NOT NULL,
        PRIMARY KEY (pipeline, destination, source, partition)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE superseded_records (
        pipeline TEXT NOT NULL,
        destination TEXT NOT NULL,
        source TEXT NOT NULL,
        partition TEXT NOT NULL,
        sequence INTEGER NOT NULL,
        PRIMARY KEY (pipeline, source, partition, sequence, destination)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE dead_letters (
        id INTEGER PRIMARY KEY,
        pipeline TEXT NOT NULL,
        source TEXT NOT NULL,
        partition TEXT NOT NULL,
        sequence INTEGER NOT NULL,
        stage TEXT NOT NULL CHECK (stage IN ('ingestion', 'transformation', 'delivery')),
        destination TEXT NOT NULL,
        status TEXT NOT NULL CHECK (status IN ('open', 'replaying', 'delivered', 'discarded', 'withdrawn')),
        code TEXT NOT NULL,
        field TEXT NOT NULL,
        expected TEXT NOT NULL,
        actual TEXT NOT NULL,
        message TEXT NOT NULL,
        errors TEXT NOT NULL,
        original BLOB NOT NULL,
        line INTEGER NOT NULL,
        attempts INTEGER NOT NULL,
        first_seen_at TEXT NOT NULL,
        last_seen_at TEXT NOT NULL,
        run_id TEXT NOT NULL REFERENCES runs (id),
        replay_id TEXT REFERENCES replays (id),
        closed_because TEXT NOT NULL DEFAULT '',
        UNIQUE (pipeline, source, partition, sequence, stage, destination),
        FOREIGN KEY (pipeline, source, partition) REFERENCES partitions (pipeline, source, partition)
    ) STRICT
    """,
    "CREATE INDEX dead_letters_by_status ON dead_letters (pipeline, status, code)",
    """
    CREATE TABLE replays (
        id TEXT PRIMARY KEY,
        pipeline TEXT NOT NULL,
        source TEXT NOT NULL,
        destination TEXT NOT NULL,
        partition TEXT NOT NULL,
        items INTEGER NOT NULL CHECK (items > 0),
        begun_at TEXT NOT NULL,
        ended_at TEXT,
        UNIQUE (pipeline, source, partition),
        FOREIGN KEY (pipeline, source, partition) REFERENCES partitions (pipeline, source, partition)
    ) STRICT
    """,
    """
    CREATE TABLE replay_items (
        replay_id TEXT NOT NULL REFERENCES replays (id),
        sequence INTEGER NOT NULL,
        dead_letter_id INTEGER NOT NULL REFERENCES dead_letters (id),
        result TEXT CHECK (result IN ('delivered', 'failed', 'given up')),
        PRIMARY KEY (replay_id, sequence),
        UNIQUE (replay_id, dead_letter_id)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE replay_failures (
        replay_id TEXT NOT NULL,
        sequence INTEGER NOT NULL,
        stage TEXT NOT NULL,
        destination TEXT NOT NULL,
        code TEXT NOT NULL,
        field TEXT NOT NULL,
        expected TEXT NOT NULL,
        actual TEXT NOT NULL,
        message TEXT NOT NULL,
        errors TEXT NOT NULL,
        seen_at TEXT NOT NULL,
        run_id TEXT NOT NULL REFERENCES runs (id),
        PRIMARY KEY (replay_id, sequence, stage, destination),
        FOREIGN KEY (replay_id, sequence) REFERENCES replay_items (replay_id, sequence)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE evidence (
        run_id TEXT NOT NULL REFERENCES runs (id),
        requirement TEXT NOT NULL,
        text TEXT NOT NULL,
        place TEXT NOT NULL,
        result TEXT NOT NULL CHECK (result IN ('pass', 'warning', 'fail', 'not checked')),
        evidence TEXT NOT NULL,
        PRIMARY KEY (run_id, requirement)
    ) STRICT
    """,
)

NAMES = frozenset(
    {
        "documents",
        "runs",
        "partitions",
        "settlements",
        "outcomes",
        "marks",
        "superseded_records",
        "dead_letters",
        "replays",
        "replay_items",
        "replay_failures",
        "evidence",
    }
)
"""The tables that a ledger of this version has."""
