# ruff: noqa: S608 - every name in the statements below has passed `quote`
"""A table of a SQLite file as a destination: rows and marks in one transaction."""

from __future__ import annotations

import json
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from penstock.errors import UserMistake
from penstock.model.batch import OP, SEQUENCE, Op
from penstock.model.outcome import RecordError
from penstock.model.pipeline import RuleKind, RuleSeverity, WriteMode
from penstock.model.position import Mark, Position
from penstock.model.schema import INTEGERS, Kind
from penstock.ports import Declaration, Guarantee, SinkPromises, Written

from .database import explained, open_database, quote

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from penstock.model.pipeline import Model, Rule, Warehouse
    from penstock.model.schema import Field
    from penstock.model.settings import Settings
    from penstock.ports import Evidence

PROMISES = SinkPromises(Guarantee.TRANSACTIONAL, frozenset({WriteMode.APPEND}), keeps_keys=False, evidence=False)
_MARKS = '"_penstock_marks"'
_READERS: Mapping[Kind, Callable[[str], object]] = {Kind.UUID: uuid.UUID, Kind.JSON: json.loads}
"""Types that are text on the way, and what tells whether a text is one."""


class SQLiteSink:
    """Rows of one model, in a table called `schema.model`. It appends, and keeps no keys.

    A file has one writer at a time, and models may be written side by side: so rows are held until they are committed.
    """

    declares: ClassVar[Declaration[SinkPromises]] = Declaration(
        what="tables of a SQLite file", place="`path`: the file", promises=(PROMISES,)
    )
    guarantee = PROMISES.guarantee

    def __init__(
        self,
        pipeline_name: str,
        model: Model,
        warehouse: Warehouse,
        root: Path,
        settings: Settings,  # noqa: ARG002 - as sinks are made
    ) -> None:
        if model.write_mode not in PROMISES.write_modes:
            raise UserMistake("INT_GAMMA_011", f"`{model.name}`: a SQLite file cannot {model.write_mode}")
        if any(rule.kind is RuleKind.UNIQUE and rule.severity is RuleSeverity.ERROR for rule in model.rules):
            raise UserMistake("INT_GAMMA_011", f"`{model.name}`: a SQLite file keeps no keys that may occur once")
        self._owner = (pipeline_name, model.name)
        self._fields = model.fields
        self._table = quote(f"{model.schema}.{model.name}")
        self._file = root / warehouse.connection.path
        self._pending: list[tuple[object, ...]] = []
        self._connection = open_database(self._file, "rwc", "INT_GAMMA_011")

    def prepare(self) -> None:
        """Create the table where it is missing, compare it where it is there. See penstock.ports.Sink."""
        wanted = [(field.name, _storage(field), not field.nullable) for field in self._fields]
        with self._working() as connection:
            connection.execute(
                f"CREATE TABLE IF NOT EXISTS {_MARKS} (pipeline, model, source, part, sequence, position, token, "
                "PRIMARY KEY (pipeline, model, source, part))"
            )
            found = [
                (name, storage, bool(required))
                for _, name, storage, required, *_ in connection.execute(f"PRAGMA table_info({self._table})")
            ]
            if not found:
                columns = (f"{quote(name)} {storage}{' NOT NULL' * required}" for name, storage, required in wanted)
                connection.execute(f"CREATE TABLE {self._table} ({', '.join(columns)})")
                connection.execute(f"DELETE FROM {_MARKS} WHERE (pipeline, model) = (?, ?)", self._owner)
        if found and sorted(found) != sorted(wanted):
            raise UserMistake("INT_GAMMA_013", f"table {self._table} has the columns {found}, not {wanted}")

    def marks(self) -> Mapping[tuple[str, str], Mark]:
        """Return the committed marks. See penstock.ports.Sink."""
        query = f"SELECT source, part, sequence, position, token FROM {_MARKS} WHERE (pipeline, model) = (?, ?)"
        with self._working() as connection:
            rows = connection.execute(query, self._owner).fetchall()
        return {
            (source, part): Mark(source, part, sequence, Position(part, position, token))
            for source, part, sequence, position, token in rows
        }

    def forget(self, source: str, partition: str) -> None:
        """Drop the mark of a partition, durably."""
        with self._working() as connection:
            connection.execute(
                f"DELETE FROM {_MARKS} WHERE (pipeline, model, source, part) = (?, ?, ?, ?)",
                (*self._owner, source, partition),
            )

    def write(self, rows: pa.Table, partition: str) -> Written:  # noqa: ARG002 - sequences are enough to name rows
        """Add rows to the transaction. See penstock.ports.Sink."""
        # Where rows are appended, a truncate does nothing.
        rows = rows.filter(pc.not_equal(rows.column(OP), pa.scalar(int(Op.TRUNCATE), pa.int8())))
        refused = self._refused(rows)
        kept = rows.filter(pc.invert(pc.is_in(rows.column(SEQUENCE), pa.array(refused, pa.int64()))))
        columns = [[_kept(value) for value in kept.column(field.name).to_pylist()] for field in self._fields]
        self._pending.extend(zip(*columns, strict=True))
        return Written(refused)

    def commit(self, marks: Sequence[Mark]) -> None:
        """Make rows and marks durable in one transaction. See penstock.ports.Sink."""
        new = [(*self._owner, m.source, m.partition, m.sequence, m.position.sequence, m.position.token) for m in marks]
        names, places = ", ".join(quote(field.name) for field in self._fields), ", ".join("?" * len(self._fields))
        with self._working() as connection:
            connection.executemany(f"INSERT INTO {self._table} ({names}) VALUES ({places})", self._pending)
            connection.executemany(f"INSERT OR REPLACE INTO {_MARKS} VALUES (?, ?, ?, ?, ?, ?, ?)", new)
        self._pending.clear()

    def rollback(self) -> None:
        """Forget every row since the last commit."""
        self._pending.clear()

    def evidence(self, rule: Rule) -> Evidence | None:
        """Say nothing: rules are written in another dialect of SQL."""

    def close(self) -> None:
        """Roll back and let go."""
        self._connection.close()

    @contextmanager
    def _working(self) -> Iterator[sqlite3.Connection]:
        """Lend the connection in a transaction. After a failure nothing of it is left, and nothing is pending."""
        try:
            with explained(self._file, "INT_GAMMA_010"):
                self._connection.execute("BEGIN IMMEDIATE")
                with self._connection:  # commits, or rolls back
                    yield self._connection
        except BaseException:  # whatever it was; it is raised on
            self._pending.clear()
            raise

    def _refused(self, rows: pa.Table) -> dict[int, RecordError]:
        refused = {}
        sequences = rows.column(SEQUENCE).to_pylist()
        for field in self._fields:
            reads = _READERS.get(field.type.kind)
            if field.nullable and reads is None:
                continue
            for sequence, value in zip(sequences, rows.column(field.name).to_pylist(), strict=True):
                if not _fits(value, field, reads):
                    message = f"`{field.name}` cannot be stored as {field.type}"
                    refused[sequence] = RecordError("INT_GAMMA_001", field.name, message, str(field.type), str(value))
        return refused


def _fits(value: str | None, field: Field, reads: Callable[[str], object] | None) -> bool:
    if value is None:
        return field.nullable
    try:
        return reads is None or reads(value) is not NotImplemented
    except ValueError:
        return False


def _storage(field: Field) -> str:
    """Return the type of a column: what the engine has no type for is text."""
    match field.type.kind:
        case kind if kind in INTEGERS or kind is Kind.BOOLEAN:
            return "INTEGER"
        case Kind.REAL | Kind.DOUBLE:
            return "REAL"
        case Kind.BYTES:
            return "BLOB"
        case _:
            return "TEXT"


def _kept(value: object) -> object:
    """Return a value as the engine keeps it."""
    match value:
        case None | bool() | int() | float() | str() | bytes():
            return value
        case _ if hasattr(value, "isoformat"):
            return value.isoformat()
        case _:
            return format(value, "f")
