"""The Arrow batch that travels from parse to delivery, and its reserved columns."""

from __future__ import annotations

from enum import IntEnum

import pyarrow as pa


class Op(IntEnum):
    """What a record does to its row at the destination.

    A DELETE needs no more than the columns that name its row. A TRUNCATE has no columns at all: every row that was
    written before it goes.
    """

    INSERT = 0
    UPDATE = 1
    DELETE = 2
    TRUNCATE = 3


SEQUENCE = "_sequence"
"""int64: the record's place in its partition."""
OP = "_op"
"""int8: an `Op`."""
EVENT_TIME = "_event_time"
"""timestamp[us, UTC]: when it happened, null when the document names no event time."""
VERSION = "_version"
"""int64: orders two versions of one key as they were read, across partitions; see `version_base`."""

RESERVED = (SEQUENCE, OP, EVENT_TIME, VERSION)
RESERVED_FIELDS: tuple[pa.Field, ...] = (
    pa.field(SEQUENCE, pa.int64()),
    pa.field(OP, pa.int8()),
    pa.field(EVENT_TIME, pa.timestamp("us", tz="UTC")),
    pa.field(VERSION, pa.int64()),
)

SEQUENCE_BITS = 40
"""A partition may hold 2**40 records; 2**23 partitions fit beside that in the 63 bits of a version."""


def version_base(ordinal: int) -> int:
    """Return what is added to a sequence to make a version: a partition met later is newer.

    `ordinal` is the partition's 0-based number in the order in which the ledger first met it.
    """
    assert 0 <= ordinal < 1 << (63 - SEQUENCE_BITS), ordinal
    return ordinal << SEQUENCE_BITS


def sequences_of(rows: pa.RecordBatch) -> memoryview:
    """Return the sequences of `rows` as a view of int64, without copying."""
    column = rows.column(SEQUENCE)
    data = column.buffers()[1]
    if data is None:
        return memoryview(b"").cast("q")
    return memoryview(data).cast("B").cast("q")[column.offset : column.offset + len(column)]
