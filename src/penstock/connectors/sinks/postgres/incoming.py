# ruff: noqa: S608 - every name in the statements below has passed `quote`
"""Rows on their way into the table: which of them it cannot take, and the rest of them beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pyarrow as pa
import pyarrow.compute as pc
from psycopg import copy as psycopg_copy

from penstock.connectors.postgres import execute
from penstock.connectors.postgres.trouble import said
from penstock.expressions import quote
from penstock.model.batch import OP, SEQUENCE, VERSION, Op
from penstock.model.outcome import RecordError, cited
from penstock.model.schema import TEXTUAL

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from penstock.connectors.postgres.connection import Session
    from penstock.connectors.sinks.postgres.rendering import Renderer
    from penstock.connectors.sinks.postgres.shape import Shape
    from penstock.model.schema import Field

STAGING = "pg_temp._penstock_incoming"
"""Rows beside the table: seen by this connection alone, gone with it, and not in the server's log."""
_ROWS_TO_BLAME = (psycopg.DataError, psycopg.IntegrityError, psycopg.errors.lookup("54000"))
"""What the server says of values that it cannot hold. The last: a row or an index entry is too large."""
_RESERVED = (SEQUENCE, OP, VERSION)


class Incoming:
    """Rows of one write, with what was refused and superseded of them so far."""

    def __init__(self, rows: pa.Table, shape: Shape, version_by: str = "") -> None:
        """`rows` holds at least the columns of `shape` and the reserved ones; `version_by` may order a merge."""
        self.rows = rows.select(list(dict.fromkeys([*shape.names, *_RESERVED])))
        self.refused: dict[int, RecordError] = {}
        self.superseded: set[int] = set()
        self._shape = shape
        self._version_by = version_by

    def has(self, op: Op) -> bool:
        """Return whether a record does `op`."""
        return bool(pc.any(self._does(op)).as_py())

    def keep(self, mask: pa.Array | pa.ChunkedArray) -> None:
        """Go on with the rows for which `mask` is true."""
        self.rows = self.rows.filter(mask)

    def drop(self, sequences: Collection[int]) -> None:
        """Go on without the rows of these sequences."""
        if sequences:
            self.keep(pc.invert(pc.is_in(self.rows.column(SEQUENCE), pa.array(sequences, pa.int64()))))

    def drop_truncates(self) -> bool:
        """Take out the records that empty the table; return whether there was one.

        Where rows are merged, all that came before the last of them is superseded by it.
        """
        if not self.has(Op.TRUNCATE):
            return False
        sequences = self.rows.column(SEQUENCE)
        if self._shape.grain is not None:
            last = pc.max(sequences.filter(self._does(Op.TRUNCATE)))
            self.superseded |= set(sequences.filter(pc.less(sequences, last)).to_pylist())
            self.keep(pc.greater(sequences, last))
        else:
            self.keep(pc.invert(self._does(Op.TRUNCATE)))
        return True

    def drop_unholdable(self) -> None:
        """Take out the rows that the table's columns can be seen not to hold. Earlier stages let few of them pass.

        Of a delete in a merge only what names its row is looked at: the rest of it may hold anything.
        """
        if self._shape.grain is not None and self.has(Op.DELETE):
            self._blank_deletes(self._shape.grain.columns)
        scope = pc.not_equal(self.rows.column(OP), pa.scalar(int(Op.DELETE), pa.int8()))
        for field in self._shape.fields:
            column = self.rows.column(field.name)
            if not field.nullable and column.null_count:
                missing = pc.is_null(column)
                self._refuse(field, pc.and_(missing, scope) if self._shape.grain is not None else missing)
            if field.type.kind in TEXTUAL:
                self._refuse(field, pc.fill_null(pc.match_substring(column, "\0"), False))
        self.drop(self.refused.keys())

    def _blank_deletes(self, names_the_row: Iterable[str]) -> None:
        kept = {*names_the_row, self._version_by, *_RESERVED}
        deletes = self._does(Op.DELETE)
        for place, name in enumerate(self.rows.column_names):
            if name not in kept:
                column = self.rows.column(name)
                self.rows = self.rows.set_column(place, name, pc.if_else(deletes, pa.scalar(None, column.type), column))

    def _refuse(self, field: Field, failing: pa.ChunkedArray) -> None:
        if not pc.any(failing).as_py():
            return
        rows = self.rows.filter(failing)
        for sequence, value in zip(rows.column(SEQUENCE).to_pylist(), rows.column(field.name).to_pylist(), strict=True):
            self.refused.setdefault(sequence, _unrenderable(field, value))

    def _does(self, op: Op) -> pa.ChunkedArray:
        return pc.equal(self.rows.column(OP), pa.scalar(int(op), pa.int8()))


class Loading:
    """Gets rows to the server, in the open transaction of one connection."""

    def __init__(self, session: Session, renderer: Renderer, shape: Shape) -> None:
        self._session = session
        self._renderer = renderer
        self._shape = shape
        self._staged = False

    def straight(self, incoming: Incoming) -> bool:
        """Copy `incoming` into the table, if the table takes all of it; else nothing of it is there.

        Constraints of the table must hold every key: one that comes in a second time is what stops it.
        """
        try:
            self._copy(self._shape.table, self._shape.names, incoming.rows)
        except _ROWS_TO_BLAME as error:
            _check_format(error)
            return False
        return True

    def stage(self, incoming: Incoming) -> None:
        """Put the rows into `STAGING`, in the place of others; refuse those that the server cannot hold."""
        if self._staged:
            execute(self._session, f"TRUNCATE {STAGING}")
        else:
            self._create_staging()
            self._staged = True
        refused = self._fill(incoming.rows)
        incoming.drop(refused.keys())
        incoming.refused |= refused

    def _create_staging(self) -> None:
        """Create it with the columns of the table, which then compare as they do there, and the reserved ones."""
        zeros = {SEQUENCE: "bigint", OP: "smallint", VERSION: "bigint"}
        more = "".join(
            f", CAST(0 AS {of_type}) AS {name}" for name, of_type in zeros.items() if name not in self._shape.names
        )
        execute(
            self._session,
            f"CREATE TEMPORARY TABLE IF NOT EXISTS {STAGING.removeprefix('pg_temp.')} ON COMMIT DELETE ROWS "
            f"AS SELECT {self._shape.columns}{more} FROM {self._shape.table} WITH NO DATA",
        )

    def _fill(self, rows: pa.Table) -> dict[int, RecordError]:
        """Copy rows into `STAGING`, halving them until those that it does not take stand alone."""
        try:
            self._copy(STAGING, rows.column_names, rows)
        except _ROWS_TO_BLAME as error:
            _check_format(error)
            if rows.num_rows == 1:
                (sequence,) = rows.column(SEQUENCE).to_pylist()
                return {sequence: self._blamed(rows, error)}
        else:
            return {}
        half = rows.num_rows // 2
        return self._fill(rows.slice(0, half)) | self._fill(rows.slice(half))

    def _copy(self, table: str, columns: Collection[str], rows: pa.Table) -> None:
        names = ", ".join(map(quote, columns))
        statement = f"COPY {table} ({names}) FROM STDIN (FORMAT csv)".encode()
        # A savepoint, so that a failure leaves the transaction open. Blocks are sent by a thread of their own.
        with self._session.transaction(), self._session.cursor() as cursor:
            writer = psycopg_copy.QueuedLibpqWriter(cursor)
            with cursor.copy(statement, writer=writer) as copying:
                for block in self._renderer.blocks(rows.select(list(columns)), self._shape.fields):
                    copying.write(block.to_pybytes())

    def _blamed(self, row: pa.Table, error: psycopg.Error) -> RecordError:
        """Return why the server does not take `row`: it names the column in the context of its error."""
        context = error.diag.context or ""
        for field in self._shape.fields:
            if f" {field.name}: " in context or field.name == error.diag.column_name:
                return _unrenderable(field, _shown(row.column(field.name)[0]))
        return RecordError("INT_GAMMA_001", field="", message=f"the record cannot be stored: {said(error)}")


def _check_format(error: psycopg.Error) -> None:
    """Raise what says that we have written CSV wrongly: no row is to blame for that."""
    if isinstance(error, psycopg.errors.BadCopyFileFormat):
        raise error


def _shown(value: pa.Scalar) -> object:
    try:
        return value.as_py()
    except (OverflowError, ValueError):  # Python's own dates end sooner
        return value.cast(pa.string()).as_py()


def _unrenderable(field: Field, value: object) -> RecordError:
    expected = f"{field.type}{'' if field.nullable else ', not null'}"
    return RecordError(
        "INT_GAMMA_001",
        field=field.name,
        message=f"`{field.name}` cannot be stored as {expected}",
        expected=expected,
        actual=cited(None if value is None else str(value)),
    )
