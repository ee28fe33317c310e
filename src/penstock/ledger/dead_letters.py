"""Dead letters: records that left the pipeline, why, and what became of them since."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa

from penstock.errors import UserMistake
from penstock.model.outcome import RecordError, Stage

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence

    from penstock.ledger.entry import Entry, PartitionKey
    from penstock.model.outcome import DeadLetter


class LetterStatus(StrEnum):
    """How a dead letter stands. Failing again opens a withdrawn one and leaves every other as it is."""

    OPEN = "open"
    REPLAYING = "replaying"
    DELIVERED = "delivered"
    DISCARDED = "discarded"
    WITHDRAWN = "withdrawn"
    """Its record is about to be read again, or continues as another letter; `closed_because` says which."""


class DeadLetterFilter(msgspec.Struct, frozen=True):
    """Which dead letters are meant: those that agree with everything given. None asks for nothing.

    `limit` keeps the first so many in the order of their ids. An empty `destination` means the letters that concern
    every destination.
    """

    status: LetterStatus | None = None
    source: str | None = None
    code: str | None = None
    field: str | None = None
    destination: str | None = None
    ids: tuple[int, ...] | None = None
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class ErrorCount:
    """How many records had this error, one of perhaps several, when they left: letters that stand, delivered or not."""

    source: str
    destination: str
    code: str
    field: str
    expected: str
    records: int


@dataclass(frozen=True, slots=True)
class LetterCount:
    """How many dead letters there are of one kind and status."""

    source: str
    destination: str
    stage: Stage
    code: str
    status: LetterStatus
    letters: int


TABLE_SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("source", pa.string()),
        ("partition", pa.string()),
        ("sequence", pa.int64()),
        ("line", pa.int64()),
        ("stage", pa.string()),
        ("destination", pa.string()),
        ("status", pa.string()),
        ("code", pa.string()),
        ("field", pa.string()),
        ("expected", pa.string()),
        ("actual", pa.string()),
        ("message", pa.string()),
        ("errors", pa.string()),
        ("original", pa.binary()),
        ("attempts", pa.int64()),
        ("first_seen_at", pa.timestamp("us", tz="UTC")),
        ("last_seen_at", pa.timestamp("us", tz="UTC")),
        ("run_id", pa.string()),
        ("replay_id", pa.string()),
        ("closed_because", pa.string()),
    ]
)
"""The columns that `table` gives, in their order."""

_UPSERT = """
    INSERT INTO dead_letters (
        pipeline, source, partition, sequence, stage, destination, status,
        code, field, expected, actual, message, errors, original, line,
        attempts, first_seen_at, last_seen_at, run_id
    )
    VALUES (?, ?, ?, ?, ?, ?, 'open', ?, ?, ?, ?, ?, ?, ?, ?, 1, ?, ?, ?)
    ON CONFLICT DO UPDATE SET
        status = iif(status = 'withdrawn', 'open', status),
        closed_because = iif(status = 'withdrawn', '', closed_because),
        code = excluded.code,
        field = excluded.field,
        expected = excluded.expected,
        actual = excluded.actual,
        message = excluded.message,
        errors = excluded.errors,
        original = excluded.original,
        line = excluded.line,
        last_seen_at = excluded.last_seen_at,
        run_id = excluded.run_id
    """


def upsert(connection: sqlite3.Connection, entry: Entry, letters: Iterable[DeadLetter]) -> None:
    """Keep dead letters. Their partitions must be registered."""
    connection.executemany(
        _UPSERT,
        [
            (
                entry.pipeline,
                letter.source,
                letter.partition,
                letter.sequence,
                letter.stage,
                letter.destination,
                *error_columns(letter.errors),
                letter.original,
                letter.line,
                entry.at,
                entry.at,
                entry.run_id,
            )
            for letter in letters
        ],
    )


def error_columns(errors: Sequence[RecordError]) -> tuple[str, str, str, str, str, str]:
    """Return the values of code, field, expected, actual, message (of the first error) and errors (all, as JSON)."""
    first = _storable(errors[0])
    every = (first, *map(_storable, errors[1:]))
    text = msgspec.json.encode(every).decode()
    return first.code, first.field, first.expected, first.actual, first.message, text


def _storable(error: RecordError) -> RecordError:
    """Return `error` with what is not text (half a surrogate pair) written as an escape: SQLite keeps text only."""
    texts = (error.code, error.field, error.message, error.expected, error.actual)
    if all(text.isascii() for text in texts):
        return error
    return RecordError(*(text.encode("utf-8", "backslashreplace").decode() for text in texts))


def number_between(connection: sqlite3.Connection, key: PartitionKey, start: int, end: int) -> int:
    """Return of how many records from `start` to before `end` there is a letter that stands."""
    (number,) = connection.execute(
        """
        SELECT count(DISTINCT sequence) FROM dead_letters
        WHERE pipeline = ? AND source = ? AND partition = ? AND sequence >= ? AND sequence < ?
            AND status <> 'withdrawn'
        """,
        (*key, start, end),
    ).fetchone()
    return int(number)


def table(connection: sqlite3.Connection, pipeline: str, wanted: DeadLetterFilter) -> pa.Table:
    """Return the letters that are meant as an Arrow table of `TABLE_SCHEMA`, in the order of their ids."""
    rows = _select(connection, ", ".join(TABLE_SCHEMA.names), pipeline, wanted)
    columns = zip(*rows, strict=True) if rows else [[]] * len(TABLE_SCHEMA)
    arrays = [_array(column, field.type) for column, field in zip(columns, TABLE_SCHEMA, strict=True)]
    return pa.Table.from_arrays(arrays, schema=TABLE_SCHEMA)


def ids(connection: sqlite3.Connection, pipeline: str, wanted: DeadLetterFilter) -> tuple[int, ...]:
    """Return the ids of the letters that are meant, without their weight."""
    return tuple(number for (number,) in _select(connection, "id", pipeline, wanted))


def counts(connection: sqlite3.Connection, pipeline: str) -> tuple[LetterCount, ...]:
    """Count a pipeline's letters by source, destination, stage, code and status."""
    rows = connection.execute(
        """
        SELECT source, destination, stage, code, status, count(*) FROM dead_letters
        WHERE pipeline = ? GROUP BY source, destination, stage, code, status
        ORDER BY source, destination, stage, code, status
        """,
        (pipeline,),
    )
    return tuple(
        LetterCount(source, destination, Stage(stage), code, LetterStatus(status), letters)
        for source, destination, stage, code, status, letters in rows
    )


def error_counts(connection: sqlite3.Connection, pipeline: str) -> tuple[ErrorCount, ...]:
    """Count every error of a pipeline's letters, also those that are not a record's first."""
    rows = connection.execute(
        """
        SELECT source, destination, json_extract(error.value, '$.code'), json_extract(error.value, '$.field'),
            json_extract(error.value, '$.expected'), count(*)
        FROM dead_letters, json_each(dead_letters.errors) AS error
        WHERE pipeline = ? AND status <> 'withdrawn'
        GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5
        """,
        (pipeline,),
    )
    return tuple(ErrorCount(*row) for row in rows)


def discard(connection: sqlite3.Connection, pipeline: str, chosen: Sequence[int], reason: str) -> None:
    """Close open letters for good. Raises UserMistake, and discards none, where one is not there or not open."""
    check_open(connection, pipeline, chosen)
    connection.execute(
        """
        UPDATE dead_letters SET status = 'discarded', closed_because = ?
        WHERE id IN (SELECT value FROM json_each(?))
        """,
        (reason, json.dumps(list(chosen))),
    )


def check_open(connection: sqlite3.Connection, pipeline: str, chosen: Sequence[int]) -> None:
    """Raise UserMistake, naming the first, where a chosen letter is not there or not open."""
    row = connection.execute(
        """
        SELECT chosen.value, dead_letters.status
        FROM json_each(?) AS chosen
        LEFT JOIN dead_letters ON dead_letters.id = chosen.value AND dead_letters.pipeline = ?
        WHERE dead_letters.status IS NOT 'open'
        ORDER BY chosen.key LIMIT 1
        """,
        (json.dumps(list(chosen)), pipeline),
    ).fetchone()
    if row is not None:
        letter, status = row
        what = f"there is no dead letter {letter}" if status is None else f"dead letter {letter} is {status}, not open"
        raise UserMistake("INT_LEDGER_005", what)


def _select(
    connection: sqlite3.Connection, columns: str, pipeline: str, wanted: DeadLetterFilter
) -> list[tuple[Any, ...]]:
    chosen = None if wanted.ids is None else json.dumps(list(wanted.ids))
    asked = (
        ("pipeline = ?", pipeline),
        ("status = ?", wanted.status),
        ("source = ?", wanted.source),
        ("code = ?", wanted.code),
        ("field = ?", wanted.field),
        ("destination = ?", wanted.destination),
        ("id IN (SELECT value FROM json_each(?))", chosen),
    )
    conditions = " AND ".join(condition for condition, value in asked if value is not None)
    values = [value for _, value in asked if value is not None]
    limit = -1 if wanted.limit is None else wanted.limit
    # Columns and conditions are the constants of this module; every value is a parameter.
    statement = f"SELECT {columns} FROM dead_letters WHERE {conditions} ORDER BY id LIMIT ?"  # noqa: S608
    return connection.execute(statement, [*values, limit]).fetchall()


def _array(values: Iterable[object], type_: pa.DataType) -> pa.Array:
    if pa.types.is_timestamp(type_):
        return pa.array(values, pa.string()).cast(type_)
    return pa.array(values, type_)
