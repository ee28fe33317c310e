"""What type an expression has: asked of a real DuckDB, over a record of nulls."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING

import duckdb
from sqlglot import exp

from penstock.expressions.engine import open_engine
from penstock.expressions.names import quote
from penstock.expressions.parsing import Dialect

if TYPE_CHECKING:
    from collections.abc import Sequence

    from penstock.expressions.scope import Scope

BINDER_BYTES = 64 << 20
"""Memory of the DuckDB that is asked. It sees one record of nulls at a time."""
UNTYPED = '"NULL"'
"""What DuckDB calls the type of a bare NULL."""

_NO_FUNCTION = re.compile(r"No function matches the given name and argument types '(?P<call>[^']*)'")


class Unbound(ValueError):
    """DuckDB refuses the expression. `str()` is its reason in one line."""


def bind(nodes: Sequence[exp.Expr], scope: Scope) -> tuple[str, ...]:
    """Return DuckDB's name of each expression's type. Raises Unbound.

    Looked-up rows are bound as structs, so that `customer.name` and a column `name` never meet.
    """
    values = ", ".join(node.sql(dialect=Dialect) for node in nodes)
    record = _record_of_nulls(nodes, scope)
    query = f"SELECT {values} FROM (SELECT {record})" if record else f"SELECT {values}"  # noqa: S608 - names are quoted
    cursor = _engine().cursor()
    try:
        relation = cursor.sql(query)
        types = tuple(str(type_) for type_ in relation.types)
        relation.to_arrow_table()  # Runs it: constants that cannot be computed show only now.
    except duckdb.Error as error:
        raise Unbound(_in_one_line(str(error))) from None
    finally:
        cursor.close()
    return types


@functools.cache
def _engine() -> duckdb.DuckDBPyConnection:
    return open_engine(BINDER_BYTES, threads=1)


def _record_of_nulls(nodes: Sequence[exp.Expr], scope: Scope) -> str:
    """Return SQL for the columns that are used, each null. Wide records would take longer to write than to bind."""
    used = {(column.table, column.name) for node in nodes for column in node.find_all(exp.Column)}
    own = [field for field in scope.columns if ("", field.name) in used]
    nulls = [f"CAST(NULL AS {field.type.sql}) AS {quote(field.name)}" for field in own]
    for table, fields in scope.tables.items():
        parts = [f"{quote(field.name)} {field.type.sql}" for field in fields if (table, field.name) in used]
        if parts:
            nulls.append(f"CAST(NULL AS STRUCT({', '.join(parts)})) AS {quote(table)}")
    return ", ".join(nulls)


def _in_one_line(message: str) -> str:
    first = message.splitlines()[0].split("Error: ", maxsplit=1)[-1]
    if match := _NO_FUNCTION.match(first):
        first = f"there is no {match['call']}"
    first = first.replace("INTEGER_LITERAL", "INTEGER").replace("STRING_LITERAL", "VARCHAR").rstrip(".! ")
    return first[:1].lower() + first[1:]
