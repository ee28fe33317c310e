"""The expressions of a model, each as later layers of its query see it: a value, and whether it could be computed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlglot import exp, parse_one

from penstock.expressions import quote
from penstock.model.pipeline import RuleKind
from penstock.model.schema import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from penstock.model.pipeline import Column, Filter, Model, Rule, SourceTable
    from penstock.model.schema import DataType, Field

NEVER = "FALSE"
"""SQL for a problem that cannot arise."""


@dataclass(frozen=True, slots=True)
class Name:
    """A column that an expression uses: the record's own, or one of a lookup."""

    column: str
    lookup: str = ""

    def __str__(self) -> str:
        return f"{self.lookup}.{self.column}" if self.lookup else self.column

    @property
    def sql(self) -> str:
        """The column as expressions write it."""
        return f"{quote(self.lookup)}.{quote(self.column)}" if self.lookup else quote(self.column)


@dataclass(frozen=True, slots=True)
class Guard:
    """One computation of a layer. Guarded, it gives a failure instead of failing the query.

    `sql` computes it; layers above read its `value`, and whether it `failed`.
    """

    name: str
    expression: str
    guarded: bool

    @property
    def sql(self) -> str:
        """The computation, named."""
        # A struct tells null from failure without computing twice.
        held = f"TRY(struct_pack(v := {self.expression}))" if self.guarded else self.expression
        return f"{held} AS {quote(self.name)}"

    @property
    def value(self) -> str:
        """Its result; null where it failed."""
        return f"{quote(self.name)}.v" if self.guarded else quote(self.name)

    @property
    def failed(self) -> str:
        """Whether the record is one for which it cannot be computed."""
        return f"{quote(self.name)} IS NULL" if self.guarded else NEVER


@dataclass(frozen=True, slots=True)
class Guards:
    """All that a model computes over rows of its source, guarded or not. `loads` tells whether lookups are joined."""

    model: Model
    source: SourceTable
    loads: bool
    guarded: bool

    def keys(self, number: int) -> list[Guard]:
        """Return what the record's key in the n-th lookup is made of."""
        parts = enumerate(self.model.lookups[number].on if self.loads else ())
        return [Guard(f"_on_{number}_{part}", f"({on})", self.guarded) for part, on in parts]

    def filters(self) -> list[tuple[Filter, Guard]]:
        """Return each filter with whether it leaves the record out."""
        return [
            (filter_, Guard(f"_filter_{number}", f"({filter_.predicate})", self.guarded))
            for number, filter_ in enumerate(self.model.filters)
        ]

    def columns(self) -> list[tuple[Column, Guard]]:
        """Return each column that the query needs with its value, unmasked. A copy that nothing looks at needs none."""
        looked_at = _folded(name.column for rule, _ in self.rules() for name in names_in(rule.predicate))
        return [
            (
                column,
                Guard(
                    f"_column_{number}",
                    f"CAST({column.expression} AS {column.type.sql})",
                    self.guarded and not self.is_copy(column),
                ),
            )
            for number, column in enumerate(self.model.columns)
            if not self.is_copy(column) or self.must_be_there(column) or column.name.casefold() in looked_at
        ]

    def fields(self) -> list[Field]:
        """Return the source's columns that the query needs."""
        expressions = [
            *(on for number, lookup in enumerate(self.model.lookups) for on in lookup.on if self.keys(number)),
            *(filter_.predicate for filter_, _ in self.filters()),
            *(column.expression for column, _ in self.columns()),
            *(rule.predicate for rule, _ in self.rules()),
        ]
        used = _folded(name.column for name in names_in(*expressions) if not name.lookup)
        return [field for field in self.source.fields if field.name.casefold() in used] or [*self.source.fields[:1]]

    def must_be_there(self, column: Column) -> bool:
        """Return whether the column takes no null."""
        return column.name in self.model.grain or not column.nullable

    def rules(self) -> list[tuple[Rule, Guard]]:
        """Return each rule with whether the record breaks it. Uniqueness cannot be broken before the destination."""
        return [
            (rule, Guard(f"_rule_{number}", f"({rule.predicate}) IS FALSE", self.guarded))
            for number, rule in enumerate(self.model.rules)
            if rule.kind is not RuleKind.UNIQUE
        ]

    def origin(self, column: Column) -> DataType | None:
        """Return the type of the source's column that `column` repeats, None where it is computed."""
        return next((field.type for field in self.source.fields if field.name == column.copied_from), None)

    def is_copy(self, column: Column) -> bool:
        """Return whether the column is, unchanged, one of the source's."""
        origin = self.origin(column)
        if origin is None or column.masking is not None or origin.arrow != column.type.arrow:
            return False
        return origin.kind == column.type.kind or column.type.kind is Kind.TEXT


def names_in(*expressions: str) -> tuple[Name, ...]:
    """Return the columns that expressions use, each once, in order."""
    return tuple(dict.fromkeys(name for expression in expressions for name in _names(expression)))


def _names(expression: str) -> Iterable[Name]:
    columns = parse_one(expression, read="duckdb").find_all(exp.Column, bfs=False)
    return (Name(column.name, column.table) for column in columns)


def _folded(names: Iterable[str]) -> frozenset[str]:
    return frozenset(name.casefold() for name in names)


def any_of(flags: Iterable[str]) -> str:
    """Return SQL that is true where one of `flags` is."""
    return " OR ".join(f"({flag})" for flag in flags if flag != NEVER) or NEVER
