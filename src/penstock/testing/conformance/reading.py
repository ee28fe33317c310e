"""Reading a source to its end, by the contract: what came, and that every chunk is as `ports.Chunk` says."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

import msgspec
import pyarrow as pa

from penstock.expressions import Engine
from penstock.ingestion.casting import Caster
from penstock.model.batch import Op
from penstock.model.position import Position
from penstock.model.schema import arrow_schema

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from penstock.model.schema import Field
    from penstock.ports import BadRecord, Chunk, Source

ENGINE_BYTES = 256 << 20


@dataclass(slots=True)
class Taken:
    """What came out of a source: good records by partition and sequence, bad ones, and every position on the way."""

    fields: tuple[Field, ...]
    records: dict[str, dict[int, dict[str, object]]] = field(default_factory=dict)
    ops: dict[str, dict[int, Op]] = field(default_factory=dict)
    bad: list[BadRecord] = field(default_factory=list)
    positions: dict[str, list[Position]] = field(default_factory=dict)

    @property
    def last(self) -> dict[str, Position]:
        """Where to read on in each partition, as a ledger would give it back."""
        return {partition: kept(positions[-1]) for partition, positions in self.positions.items()}

    @property
    def rows(self) -> list[dict[str, object]]:
        """The good records of all partitions, in order within each."""
        return [records[sequence] for records in self.records.values() for sequence in sorted(records)]

    def values(self, column: str) -> list[object]:
        """Return a column of `rows`."""
        return [row[column] for row in self.rows]

    def rows_from(self, positions: Mapping[str, Position]) -> list[dict[str, object]]:
        """Return the good records that lie at or behind `positions`; all of a partition that has none."""
        return [
            row
            for partition, records in self.records.items()
            for sequence, row in sorted(records.items())
            if partition not in positions or sequence >= positions[partition].sequence
        ]

    def add(self, chunk: Chunk) -> None:
        """Take a chunk, and check what it says of itself."""
        partition = chunk.next.partition
        before = self.positions.get(partition)
        assert before is None or chunk.start == before[-1].sequence, (
            f"{partition}: a chunk begins at {chunk.start}, and the one before it ended at {before[-1].sequence}"
        )
        sequences = _check(chunk)
        for sequence, row in zip(sequences, exact(chunk.records, self.fields), strict=True):
            self.records.setdefault(partition, {})[sequence] = row
        self.ops.setdefault(partition, {}).update(zip(sequences, _ops_of(chunk), strict=True))
        self.bad.extend(chunk.bad)
        self.positions.setdefault(partition, []).append(chunk.next)


def read(source: Source, fields: Sequence[Field], positions: Mapping[str, Position] | None = None) -> Taken:
    """Read all partitions of `source` from `positions` on, each from its beginning where it has none."""
    taken = Taken(tuple(fields))
    known = positions or {}
    for partition in source.partitions():
        position = known.get(partition)
        if position is not None:
            taken.positions[partition] = [position]
        for chunk in source.read(partition, position):
            assert chunk.next.partition == partition, (chunk.next.partition, partition)
            taken.add(chunk)
    return taken


def kept(position: Position) -> Position:
    """Return a position after it has been written down and read again, as a ledger does."""
    return msgspec.json.decode(msgspec.json.encode(position), type=Position)


def exact(records: pa.RecordBatch, fields: Sequence[Field]) -> list[dict[str, object]]:
    """Return records with their values cast as ingestion casts them; a column that is not there is null.

    Raises AssertionError where a value is refused that was not null.
    """
    columns = [_cast(records, each) for each in fields]
    rows: list[dict[str, object]] = pa.table(columns, schema=arrow_schema(tuple(fields))).to_pylist()
    return rows


def originals_of(chunk: Chunk) -> dict[int, bytes]:
    """Return every record's original by its sequence."""
    wanted = list(range(chunk.start, chunk.end))
    given = chunk.originals(wanted)
    assert len(given) == len(wanted), f"asked for {len(wanted)} originals, given {len(given)}"
    return {sequence: original.content for sequence, original in zip(wanted, given, strict=True)}


@cache
def caster() -> Caster:
    """Return what casts values as ingestion does. Opening an engine for every chunk would take most of the time."""
    return Caster(Engine(ENGINE_BYTES, threads=1))


def _cast(records: pa.RecordBatch, declared: Field) -> pa.Array:
    if declared.name not in records.schema.names:
        return pa.nulls(records.num_rows, declared.type.arrow)
    given = records.column(declared.name)
    cast = caster().cast(given, declared.type)
    lost = [
        was for was, now in zip(given.to_pylist(), cast.to_pylist(), strict=True) if was is not None and now is None
    ]
    assert not lost, f"`{declared.name}`: no {declared.type}: {lost[:3]}"
    return cast


def _check(chunk: Chunk) -> Sequence[int]:
    """Check a chunk's counts; return the sequences of its good records."""
    assert chunk.next.sequence == chunk.end, (chunk.next, chunk.end)
    assert chunk.size_bytes >= 0, chunk.size_bytes
    bad = [record.sequence for record in chunk.bad]
    if chunk.sequences is None:
        assert not bad, f"records {bad} are bad, and all are said to be good"
        sequences: Sequence[int] = range(chunk.start, chunk.end)
    else:
        sequences = chunk.sequences.to_pylist()
    assert len(sequences) == chunk.records.num_rows, (len(sequences), chunk.records.num_rows)
    assert sorted([*sequences, *bad]) == list(range(chunk.start, chunk.end)), "not every record is good or bad"
    assert list(sequences) == sorted(sequences), "good records are not in their order"
    assert chunk.versions is None or len(chunk.versions) == len(sequences), "not every record has a version"
    return sequences


def _ops_of(chunk: Chunk) -> Iterable[Op]:
    """Return what each good record does to its row: inserts, where the chunk does not say."""
    if chunk.operations is None:
        return [Op.INSERT] * chunk.records.num_rows
    return [Op(operation) for operation in chunk.operations.to_pylist()]
