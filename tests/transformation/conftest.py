"""A bench to try models on: `orders` in memory, reference tables in files of their own."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from penstock.caching.memory import MemoryCache
from penstock.connectors import open_source
from penstock.ingestion.validation import Validator
from penstock.model.batch import RESERVED_FIELDS
from penstock.model.finding import Place
from penstock.model.pipeline import (
    Column,
    Connection,
    Lookup,
    Masking,
    Model,
    Rule,
    RuleKind,
    RuleSeverity,
    SourceTable,
)
from penstock.model.schema import Field, arrow_schema, parse_type
from penstock.model.settings import Settings
from penstock.transformation.apply import Transformed, Transformer
from penstock.transformation.lookups import Loaded, Lookups

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

PLACE = Place("doc.md")
ORDERS = {
    "id": "bigint",
    "total": "numeric(10,2)",
    "discount": "numeric(10,2)",
    "status": "text",
    "country": "text",
    "code": "uuid",
    "created_at": "timestamp",
    "amount": "numeric(38,10)",
}


@dataclass
class Bench:
    """Makes models over `orders`, and transforms records with them."""

    folder: Path
    settings: Settings = field(default_factory=Settings)
    opened: list[Transformer] = field(default_factory=list)
    tables: dict[str, SourceTable] = field(default_factory=dict)

    @property
    def orders(self) -> SourceTable:
        return self.table("orders", ORDERS)

    @staticmethod
    def table(name: str, columns: Mapping[str, str]) -> SourceTable:
        fields = tuple(Field(column, parse_type(type_)) for column, type_ in columns.items())
        return SourceTable(name, "", "", Connection("here", path="."), fields, PLACE)

    @staticmethod
    def column(name: str, expression: str = "", type_: str = "", masking: Masking | None = None) -> Column:
        """A column of a model: without an expression, the source's column of that name."""
        wanted = parse_type(type_ or ORDERS[name])
        is_copy = not expression and masking is None
        return Column(name, wanted, expression or f'"{name}"', name if is_copy else "", masking)

    def model(self, *columns: Column, **rest: Any) -> Model:  # noqa: ANN401 - whatever a model takes
        return Model("fct_orders", "", "orders", ("id",), (self.column("id"), *columns), PLACE, **rest)

    @staticmethod
    def rule(predicate: str, severity: RuleSeverity = RuleSeverity.ERROR, weight: float = 1.0, *columns: str) -> Rule:
        kind = RuleKind.PREDICATE if predicate else RuleKind.UNIQUE
        return Rule(predicate or "unique", predicate, kind, columns, PLACE, predicate, weight, severity)

    def reference(self, name: str, columns: Mapping[str, str], *rows: str) -> SourceTable:
        """A reference table in a CSV file."""
        text = "\n".join([",".join(columns), *rows])
        (self.folder / f"{name}.csv").write_text(text + "\n", encoding="utf-8")
        self.tables[name] = self.table(name, columns)
        return self.tables[name]

    def load(self, lookups: Lookups, lookup: Lookup) -> Loaded | None:
        table = self.tables[lookup.table]
        with (
            closing(open_source(table, self.folder, self.settings)) as source,
            closing(Validator(table, self.settings)) as validator,
        ):
            return lookups.load(lookup, table, source, validator)

    def lookups(self, *wanted: Lookup) -> Lookups:
        lookups = Lookups(MemoryCache(1 << 20), self.settings)
        for lookup in wanted:
            self.load(lookups, lookup)
        return lookups

    def transformer(self, model: Model, *, loads: bool = True) -> Transformer:
        lookups = self.lookups(*model.lookups) if loads else None
        self.opened.append(Transformer(model, self.orders, lookups, self.settings))
        return self.opened[-1]

    def rows(self, *records: Mapping[str, object], start: int = 0, given: Sequence[pa.Field] = ()) -> pa.Table:
        """Validated records of `orders`, numbered from `start`; an `id` that is not given is the sequence."""
        schema = arrow_schema(self.orders.fields, *RESERVED_FIELDS, *given)
        numbered = [
            {"id": sequence, "_sequence": sequence, "_op": 0, "_version": sequence, **record}
            for sequence, record in enumerate(records, start)
        ]
        return pa.Table.from_pylist(numbered, schema=schema)

    def transform(self, model: Model, *records: Mapping[str, object]) -> Transformed:
        return self.transformer(model).transform(self.rows(*records))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    for transformer in made.opened:
        transformer.close()
