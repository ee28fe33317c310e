"""What became of records: outcomes, tallies of them, and the error that sends one to the dead letters."""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable


class Outcome(StrEnum):
    """Where a record ended at one destination. Every settled record has exactly one per destination."""

    DELIVERED = "delivered"
    FILTERED = "filtered"
    DEAD_LETTERED = "dead_lettered"


class Stage(StrEnum):
    """The module that decided an outcome, in the field's words."""

    INGESTION = "ingestion"
    TRANSFORMATION = "transformation"
    DELIVERY = "delivery"


class Count(msgspec.Struct, frozen=True, order=True):
    """`records` records of one destination ended in `outcome`, decided by `stage`, because of `reason`.

    `reason` is empty for a delivery, the filter's name (or "duplicate", "superseded") for a filtered record, and
    an error code for a dead letter.
    """

    destination: str
    outcome: Outcome
    stage: Stage
    reason: str
    records: int


Tally: TypeAlias = tuple[Count, ...]
"""Counts with distinct keys, in sorted order. Two tallies of the same facts are equal."""


def add_up(counts: Iterable[Count]) -> Tally:
    """Merge counts of the same destination, outcome, stage and reason; drop the zeros."""
    total: Counter[tuple[str, Outcome, Stage, str]] = Counter()
    for count in counts:
        total[count.destination, count.outcome, count.stage, count.reason] += count.records
    return tuple(sorted(Count(*key, records) for key, records in total.items() if records))


def records_of(tally: Iterable[Count], destination: str) -> int:
    """Return how many records of `destination` the tally accounts for."""
    return sum(count.records for count in tally if count.destination == destination)


class RecordError(msgspec.Struct, frozen=True):
    """Why one record cannot go on: the spec's IntegrationError, for a record, without its envelope."""

    code: str
    field: str
    message: str
    expected: str = ""
    actual: str = ""


CITED_CHARS_MAX = 200
"""A value in an error is there to be recognised; the untouched record is kept beside it."""


def cited(text: str | None) -> str:
    """Return a value as an error cites it: `null` where it is missing, cut where it is long."""
    if text is None:
        return "null"
    return text if len(text) <= CITED_CHARS_MAX else text[: CITED_CHARS_MAX - 1] + "…"


class DeadLetter(msgspec.Struct, frozen=True):
    """A record that left the pipeline for a reason, as the ledger keeps it.

    Unique by (source, partition, sequence, stage, destination): written twice, there is one. `destination` is empty
    when ingestion refused the record, which concerns every destination. `original` is the untouched record as the
    source gave it; `line` is its 1-based line or row in the source, 0 when unknown.
    """

    source: str
    partition: str
    sequence: int
    stage: Stage
    destination: str
    errors: tuple[RecordError, ...]
    original: bytes
    line: int

    @property
    def record_id(self) -> str:
        """The record's name in messages: source/partition/sequence."""
        return f"{self.source}/{self.partition}/{self.sequence}"
