"""What is new by a cursor: a column that grows with every insert and update, such as `updated_at`.

Rows come in the order of the cursor, and then of the key. Reading begins again at the last value, or `look_back` before
it: rows with that same value may have come since, and transactions that were open may have brought older ones. What
was given already is known by its key and its cursor, as far as fingerprints are kept of it, and passed by.
"""

from __future__ import annotations

from collections import deque
from contextlib import closing
from hashlib import blake2b
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from penstock.connectors.postgres import execute, explained, place_of
from penstock.connectors.sources.files.columns import check_columns
from penstock.connectors.sources.postgres.bulk import begin, copy
from penstock.connectors.sources.postgres.catalog import CODES, open_session, text_literal
from penstock.connectors.sources.postgres.options import Way
from penstock.connectors.sources.postgres.positions import CursorToken, another_way, read_token, write_token
from penstock.connectors.sources.postgres.rows import Originals
from penstock.errors import UserMistake
from penstock.expressions import quote
from penstock.model.position import Position
from penstock.ports import Chunk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from penstock.connectors.postgres.connection import Session
    from penstock.connectors.sources.postgres.bulk import Block, Wanted
    from penstock.connectors.sources.postgres.options import HowToRead

FINGERPRINTS_MAX = 1_000
"""Rows that are recognised when they are read again. They travel with every position."""
FINGERPRINT_BYTES = 8
_TIMES = ("timestamp", "date")


def read_incremental(
    wanted: Callable[[], Wanted], how: HowToRead, partition: str, position: Position | None
) -> Iterator[Chunk]:
    """Yield what is new since `position`. Raises as ports.Source.read does."""
    token = read_token(position)
    if not isinstance(token, CursorToken | None):
        raise another_way(partition, Way.INCREMENTAL)
    table = wanted()
    cursor = how.cursor
    check_columns(partition, [column.name for column in table.relation.columns], [cursor])
    order = list(dict.fromkeys([cursor, *table.relation.key]))
    condition = mark = ""
    if token is not None:
        condition = f" WHERE {quote(cursor)} >= {_from(table, how, token.at)}"
        mark = f"{quote(cursor)} > {text_literal(token.at)}::{table.relation.column(cursor).type}"
    memory = _Memory(token, keeps_all=bool(how.look_back))
    start = position.sequence if position else 0
    with closing(open_session(table.table)) as session, explained(place_of(table.table.connection), CODES):
        begin(session, table.relation)
        _require_no_nulls(session, table, cursor)
        for block in copy(session, table, order, condition, mark):
            rows = memory.pass_by(block)
            if not rows.num_rows:
                continue
            end = start + rows.num_rows
            yield Chunk(
                start=start,
                end=end,
                records=rows,
                sequences=None,
                bad=(),
                next=Position(partition, end, write_token(memory.token)),
                originals=Originals(rows, start),
                size_bytes=block.size_bytes,
            )
            start = end


def _from(wanted: Wanted, how: HowToRead, at: str) -> str:
    """Return SQL for where reading begins again."""
    column = wanted.relation.column(how.cursor)
    value = f"{text_literal(at)}::{column.type}"
    if not how.look_back:
        return value
    is_time = column.type.startswith(_TIMES)
    if is_time is (how.look_back_s is None):
        raise UserMistake(
            "INT_PIPELINE_003",
            f"connection `{wanted.table.connection.name}`: look_back = {how.look_back}, and `{column.name}` is of type "
            f"{column.type}",
            remedy="it takes a span of time such as `5 minutes`" if is_time else "it takes a number",
        )
    return f"{value} - interval '{how.look_back_s} seconds'" if is_time else f"{value} - {how.look_back}"


def _require_no_nulls(session: Session, wanted: Wanted, cursor: str) -> None:
    """Refuse a table with rows that would never be read."""
    relation = wanted.relation
    if relation.column(cursor).not_null:
        return
    query = f"SELECT EXISTS (SELECT FROM {relation.sql} WHERE {quote(cursor)} IS NULL)"  # noqa: S608 - all quoted
    if execute(session, query).fetchall() == [(True,)]:
        raise UserMistake(
            "INT_ALPHA_015",
            f"{relation.partition} has rows without `{cursor}`, which would never be read",
            remedy="fill it and make it NOT NULL, or read the table's changes",
        )


class _Memory:
    """Knows the rows that were given last, and how far the cursor has come."""

    def __init__(self, token: CursorToken | None, *, keeps_all: bool) -> None:
        """`keeps_all`: rows with other values than the last may be read again, too."""
        self._at = token.at if token else ""
        seen = token.seen if token else b""
        parts = [seen[at : at + FINGERPRINT_BYTES] for at in range(0, len(seen), FINGERPRINT_BYTES)]
        self._known = frozenset(parts)
        self._last = deque(parts, FINGERPRINTS_MAX)
        self._keeps_all = keeps_all

    @property
    def token(self) -> CursorToken:
        """What is to be known when reading goes on."""
        return CursorToken(self._at, b"".join(self._last))

    def pass_by(self, block: Block) -> pa.RecordBatch:
        """Return the rows of `block` that were not given yet, and remember them."""
        rows, order = block.rows, block.order
        old = 0 if block.marked is None else rows.num_rows - (pc.sum(block.marked).as_py() or 0)
        if old:  # they come first, for they are in order
            fresh = [place for place, one in enumerate(_fingerprints(order.slice(0, old))) if one not in self._known]
            keep = pa.array([*fresh, *range(old, rows.num_rows)], pa.int64())
            rows, order = rows.take(keep), order.take(keep)
        if old < block.rows.num_rows and block.last[0] != self._at:
            self._at = block.last[0]
            if not self._keeps_all:
                self._last.clear()
        self._last.extend(_fingerprints(self._to_keep(order)))
        return rows

    def _to_keep(self, order: pa.RecordBatch) -> pa.RecordBatch:
        """Return the last rows, or those of them that have the cursor's last value."""
        last = order.slice(max(0, order.num_rows - FINGERPRINTS_MAX))
        return last if self._keeps_all else last.filter(pc.equal(last.column(0), self._at))


def _fingerprints(rows: pa.RecordBatch) -> Sequence[bytes]:
    """Return what tells each row from others."""
    values = zip(*(column.to_pylist() for column in rows.columns), strict=True)
    return [blake2b("\0".join(row).encode(), digest_size=FINGERPRINT_BYTES).digest() for row in values]
