"""What an expression may name."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from penstock.expressions.mistake import UnknownName, did_you_mean, nearest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from penstock.model.schema import Field


@dataclass(frozen=True, slots=True)
class Scope:
    """The columns of one record, and the columns of the rows looked up for it, by the lookup's name.

    `name` is what the record's own table is called; it may stand before a column. Names are found without regard to
    case and answered in their declared spelling. A lookup is never called like a column.
    """

    columns: tuple[Field, ...]
    tables: Mapping[str, tuple[Field, ...]] = field(default_factory=dict)
    name: str = ""

    def find(self, name: str, table: str = "", offset: int | None = None) -> tuple[str, Field]:
        """Return the lookup (empty: the record itself) and the field that a name means.

        Raises UnknownName, with the nearest name, for one that means nothing.
        """
        owner, fields = ("", self.columns) if self._is_own(table) else self._table(table, offset)
        for candidate in fields:
            if candidate.name.casefold() == name.casefold():
                return owner, candidate
        written = f"{table}.{name}" if table else name
        raise UnknownName(
            f"`{written}` is not a column{f' of {owner or self.name}' if owner or self.name else ''}",
            self._remedy(name, owner, fields),
            offset,
        )

    def _remedy(self, name: str, owner: str, fields: tuple[Field, ...]) -> str:
        own = nearest(name, _names(fields))
        if own or owner:
            prefix = f"{owner}." if owner else ""
            return f"did you mean `{prefix}{own}`?" if own else f"it has {_listed(_names(fields))}"
        elsewhere = {f"{table}.{other.name}": other.name for table, others in self.tables.items() for other in others}
        for full, short in elsewhere.items():
            if short.casefold() == name.casefold():
                return f"did you mean `{full}`?"
        return f"there is {_listed(_names(fields))}" if fields else "no column is known here"

    def _is_own(self, table: str) -> bool:
        return not table or (table.casefold() == self.name.casefold() and self._lookup(table) is None)

    def _lookup(self, table: str) -> str | None:
        return next((name for name in self.tables if name.casefold() == table.casefold()), None)

    def _table(self, table: str, offset: int | None) -> tuple[str, tuple[Field, ...]]:
        found = self._lookup(table)
        if found is None:
            known = [*self.tables, *([self.name] if self.name else [])]
            remedy = did_you_mean(table, known, "describe it under `lookups` of the model")
            raise UnknownName(f"no lookup is called `{table}`", remedy, offset)
        return found, self.tables[found]


LISTED_MAX = 8
"""More names than this in a message hide the message."""


def _listed(names: Iterable[str]) -> str:
    quoted = [f"`{name}`" for name in names]
    more = [f"{len(quoted) - LISTED_MAX} more"] if len(quoted) > LISTED_MAX else []
    return ", ".join(quoted[:LISTED_MAX] + more) or "none"


def _names(fields: Iterable[Field]) -> list[str]:
    return [field.name for field in fields]
