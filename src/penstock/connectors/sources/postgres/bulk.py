"""Rows in bulk: one COPY, in the order of a key, in chunks that reading can be taken up behind."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow.compute as pc

from penstock.connectors.postgres import explained, place_of
from penstock.connectors.sources.postgres.catalog import CODES, open_session, require_key
from penstock.connectors.sources.postgres.rows import parse_rows
from penstock.errors import UserMistake
from penstock.expressions import quote

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    import pyarrow as pa

    from penstock.connectors.postgres.connection import Session
    from penstock.connectors.sources.postgres.catalog import Relation
    from penstock.connectors.sources.postgres.positions import Key
    from penstock.model.pipeline import SourceTable

_MARK = "_mark"
"""No declared column begins with `_`."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which columns of which table, and about how many bytes at a time."""

    table: SourceTable
    relation: Relation
    columns: tuple[str, ...]
    read_bytes: int


@dataclass(frozen=True, slots=True)
class Block:
    """Rows that follow one another, and the values that order the last of them. `size_bytes` is that of their text.

    `order` holds the columns that order them. `marked` is where the row is one for which the mark is true.
    """

    rows: pa.RecordBatch
    order: pa.RecordBatch
    last: Key
    size_bytes: int
    marked: pa.BooleanArray | None = None


def read_rows(wanted: Wanted, after: Key | None, snapshot: str = "") -> Generator[Block]:
    """Yield the rows behind the key `after` (None: all) in the order of the key, as they are at one moment.

    The moment is that of the exported `snapshot`, where one is named. Raises UserMistake INT_ALPHA_015 where rows have
    no key, and as connections do.
    """
    key = require_key(wanted.relation)
    condition = "" if after is None else f" WHERE {wanted.relation.behind(key, after)}"
    with closing(open_session(wanted.table)) as session, explained(place_of(wanted.table.connection), CODES):
        begin(session, wanted.relation, snapshot)
        yield from copy(session, wanted, key, condition)


def begin(session: Session, relation: Relation, snapshot: str = "") -> None:
    """Look at one moment, and find the operators of the key's types."""
    schemas = dict.fromkeys(["pg_catalog", *(column.type_schema for column in relation.columns)])
    session.execute(f"SET search_path = {', '.join(schemas)}, pg_temp".encode())
    session.execute(b"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    if snapshot:
        session.execute(f"SET TRANSACTION SNAPSHOT '{snapshot}'".encode())


def copy(session: Session, wanted: Wanted, order: Sequence[str], condition: str, mark: str = "") -> Iterator[Block]:
    """Yield the rows for which `condition` (` WHERE …`, or empty) holds, by `order`. Raises as psycopg does.

    `mark` is SQL for a condition that each row is to be marked by; empty for none.
    """
    relation = wanted.relation
    extra = [name for name in order if name not in wanted.columns]
    names = [*wanted.columns, *extra]
    marking = f", ({mark}) AS {quote(_MARK)}" if mark else ""
    query = (
        f"COPY (SELECT {relation.selected(names)}{marking} FROM {relation.sql}{condition} "  # noqa: S608 - all quoted
        f"ORDER BY {relation.listed(order)}) TO STDOUT (FORMAT csv)"
    )
    columns = [*names, _MARK] if mark else names
    text = bytearray()
    with session.cursor().copy(query.encode()) as data:
        for piece in data:  # whole rows, as the server sends them
            text += piece
            if len(text) >= wanted.read_bytes:
                yield _block(bytes(text), columns, order, wanted)
                text.clear()
    if text:
        yield _block(bytes(text), columns, order, wanted)


def _block(text: bytes, columns: Sequence[str], order: Sequence[str], wanted: Wanted) -> Block:
    rows = parse_rows(text, columns)
    ordering = rows.select([columns.index(name) for name in order])
    for name, values in zip(order, ordering.columns, strict=True):
        if values.null_count:
            raise UserMistake(
                "INT_ALPHA_015",
                f"{wanted.relation.partition} has a null in `{name}`, which is to say how far it has been read",
                remedy="fill it, or name rows by columns that are never null",
            )
    return Block(
        rows=rows.select(list(range(len(wanted.columns)))),
        order=ordering,
        last=tuple(values[-1].as_py() for values in ordering.columns),
        size_bytes=len(text),
        marked=pc.equal(rows.column(len(columns) - 1), "t") if columns[-1] == _MARK else None,
    )
