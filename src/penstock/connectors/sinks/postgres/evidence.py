# ruff: noqa: S608 - every name in the statements below has passed `quote`; predicates were checked when planned
"""Asking the table whether a rule holds.

Rules are written in DuckDB's SQL. The server is asked where a rule is made of parts that mean the same to it, and that
is most of them. For others the columns are read back, and DuckDB is asked.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, assert_never

import psycopg
import pyarrow as pa
from pyarrow import csv
from sqlglot import exp, parse_one

from penstock.connectors.postgres import execute
from penstock.expressions import open_engine, quote
from penstock.model.pipeline import RuleKind
from penstock.model.schema import TEXTUAL, Kind
from penstock.ports import Evidence

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from penstock.connectors.postgres.connection import Session
    from penstock.connectors.sinks.postgres.shape import Shape
    from penstock.model.pipeline import Rule
    from penstock.model.schema import Field

_BLOCK_BYTES = 16 << 20
"""What is read back at once; a single value may be as long."""
_THE_SAME: tuple[type[exp.Expr], ...] = (
    exp.And, exp.Or, exp.Not, exp.Paren, exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.Between, exp.In, exp.Is,
    exp.Null, exp.Boolean, exp.Literal, exp.Neg, exp.Column, exp.Identifier,
)  # fmt: skip
"""Parts of expressions that PostgreSQL reads as DuckDB does."""
_BY_ORDER = (exp.GT, exp.GTE, exp.LT, exp.LTE, exp.Between)
_COMPARED_OTHERWISE = frozenset({Kind.REAL, Kind.JSON, Kind.BYTES})
"""Types whose values the two compare with others in different ways, or not at all."""
_REREAD = {
    Kind.BYTES: "unhex(substr({}, 3))",
    **dict.fromkeys(
        (Kind.DATE, Kind.TIMESTAMP, Kind.TIMESTAMPTZ), "regexp_replace({}, '^(\\S+)(.*) BC$', '\\1 (BC)\\2')"
    ),
}
"""Texts in which PostgreSQL writes values, as DuckDB reads them."""


def evidence(session: Session, shape: Shape, rule: Rule, memory_bytes: int) -> Evidence:
    """Count the rows of the table, and those that break `rule`."""
    match rule.kind:
        case RuleKind.PREDICATE:
            fields = [field for field in shape.fields if field.name in rule.columns]
            if _means_the_same(rule.predicate, fields):
                # A literal that is no value of its column's type to the server may be one to DuckDB.
                with suppress(psycopg.DataError, psycopg.ProgrammingError):
                    return _count(session, shape, f"NOT ({_translated(rule.predicate)})")
            return _reread(session, shape, rule.predicate, fields or shape.fields[:1], memory_bytes)
        case RuleKind.NOT_NULL:
            return _count(session, shape, " OR ".join(f"{quote(column)} IS NULL" for column in rule.columns))
        case RuleKind.UNIQUE:
            return _surplus(session, shape, rule.columns)
        case _:
            assert_never(rule.kind)


def _count(session: Session, shape: Shape, broken: str) -> Evidence:
    # Where the condition is null, the row counts as sound: FILTER takes only what is true.
    counts = execute(session, f"SELECT count(*) FILTER (WHERE {broken}), count(*) FROM {shape.table}").fetchone()
    assert counts is not None
    return Evidence(*counts)


def _surplus(session: Session, shape: Shape, columns: Sequence[str]) -> Evidence:
    """Count the rows beyond the first of each key."""
    complete = " AND ".join(f"{quote(column)} IS NOT NULL" for column in columns)
    grouped = ", ".join(shape.value("stored", column) for column in columns)
    counts = execute(
        session,
        f"""
        SELECT (SELECT coalesce(sum(_rows - 1), 0)::bigint FROM (
                    SELECT count(*) AS _rows FROM {shape.table} AS stored WHERE {complete}
                    GROUP BY {grouped} HAVING count(*) > 1) AS surplus),
               (SELECT count(*) FROM {shape.table})
        """,
    ).fetchone()
    assert counts is not None
    return Evidence(*counts)


def _translated(predicate: str) -> str:
    return parse_one(predicate, read="duckdb").sql("postgres")


def _means_the_same(predicate: str, fields: Sequence[Field]) -> bool:
    kinds = {field.name: field.type.kind for field in fields}
    tree = parse_one(predicate, read="duckdb")
    if not all(isinstance(node, _THE_SAME) for node in tree.walk()):
        return False
    if any(kinds.get(column.name) in _COMPARED_OTHERWISE for column in tree.find_all(exp.Column)):
        return False
    # In which order texts come depends on the language of the database.
    return not any(_is_textual(node, kinds) for by_order in tree.find_all(*_BY_ORDER) for node in by_order.walk())


def _is_textual(node: exp.Expr, kinds: dict[str, Kind]) -> bool:
    if isinstance(node, exp.Literal):
        return bool(node.is_string)
    return isinstance(node, exp.Column) and kinds.get(node.name) in TEXTUAL


def _reread(session: Session, shape: Shape, predicate: str, fields: Sequence[Field], memory_bytes: int) -> Evidence:
    names = ", ".join(quote(field.name) for field in fields)
    values = ", ".join(f"CAST({_reading(field)} AS {field.type.sql}) AS {quote(field.name)}" for field in fields)
    broken = f"SELECT count(*) FILTER (WHERE NOT ({predicate})), count(*) FROM (SELECT {values} FROM given)"
    violations = rows = 0
    engine = open_engine(memory_bytes, threads=1)
    try:
        for batch in _texts(session, f"COPY (SELECT {names} FROM {shape.table}) TO STDOUT (FORMAT csv)", fields):
            engine.register("given", batch)
            found = engine.execute(broken).fetchone()
            assert found is not None
            violations, rows = violations + found[0], rows + found[1]
    finally:
        engine.close()
    return Evidence(violations, rows)


def _reading(field: Field) -> str:
    return _REREAD.get(field.type.kind, "{}").format(quote(field.name))


def _texts(session: Session, statement: str, fields: Sequence[Field]) -> Iterator[pa.Table]:
    """Return the rows that `statement` copies out, block by block, every value as text."""
    with session.cursor() as cursor, cursor.copy(statement.encode()) as copying:
        blocks = _Blocks(copying)
        if not blocks.more():
            return
        reader = csv.open_csv(
            pa.PythonFile(blocks, mode="r"),
            csv.ReadOptions(column_names=[field.name for field in fields], block_size=_BLOCK_BYTES, use_threads=False),
            csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
            csv.ConvertOptions(
                column_types={field.name: pa.string() for field in fields},
                null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=False,
            ),
        )  # fmt: skip
        for batch in reader:
            yield pa.Table.from_batches([batch])


class _Blocks:
    """What a COPY gives, as a file."""

    closed = False

    def __init__(self, copying: psycopg.Copy) -> None:
        self._copying = copying
        self._held = bytearray()

    def more(self) -> bool:
        """Return whether there is anything left."""
        return bool(self._held) or self._fill(1)

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes; none at the end."""
        self._fill(size)
        size = len(self._held) if size < 0 else size
        taken = bytes(self._held[:size])
        del self._held[:size]
        return taken

    def close(self) -> None:
        """Whoever opened the COPY closes it."""

    def _fill(self, size: int) -> bool:
        while size < 0 or len(self._held) < size:
            block = self._copying.read()
            if not block:
                break
            self._held += block
        return bool(self._held)
