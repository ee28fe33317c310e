"""Turns a model into the SQL that transforms a chunk of records. Pure: model in, text out.

Each layer is a query over the one before it, in the order in which a record's fate is decided:

    read      the source's columns, in the types that expressions were checked with
    join      for each lookup a struct of its name, with its defaults where nothing matches
    compute   filters and column expressions
    map       the model's columns; the source's others stay for the rules
    judge     which rules the record breaks
    decide    its fate, its score, and the computed columns, masked
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from penstock.errors import UserMistake
from penstock.expressions import literal, quote
from penstock.model.pipeline import Masking
from penstock.model.schema import TEXTUAL, Kind
from penstock.transformation.guards import Guards, any_of, names_in
from penstock.transformation.problems import Step, found_flag, problems_of, score_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from penstock.model.pipeline import Column, Lookup, Model, SourceTable
    from penstock.model.schema import DataType
    from penstock.transformation.problems import Problem, Shown

# Documents cannot declare a name that begins with `_`: these clash with no column.
ROWS = "_rows"
ROW, FATE, SCORE, FOUND = "_row", "_fate", "_score", "_found"

DELIVERED = 0
"""Fate of a record that goes on. A filtered one has its filter's number, from 1."""
FAILED = -1
"""Fate of a record that could not be mapped, and so has no score."""
REFUSED = -2
"""Fate of a record that was scored and refused."""

REDACTED = "***"
PARTIAL_CHARS = 4
"""What a partial masking leaves readable, at the end of longer texts."""

_STORED_AS_TEXT = TEXTUAL - {Kind.TEXT}
"""Types that Arrow carries as text and the engine has types of its own for."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The SQL of a model. It reads table `ROWS`, and `lookup_table(n)` for the model's n-th lookup.

    `fast` and `guarded` give FATE, SCORE, FOUND (how many lookups matched) and the `computed` columns; one record that
    cannot be computed fails all of `fast`, and in `guarded` only itself. `explain`, for records that are not
    delivered, gives SCORE, `flag_column(n)` for each of `problems` and the text `shown_column(n)` for each of `shown`.
    `copied` maps the model's other columns to the source's columns that they are. Unless the plan `keeps_order`,
    `ROWS` needs a column ROW, which all three give back.
    """

    fast: str
    guarded: str
    explain: str
    problems: tuple[Problem, ...]
    shown: tuple[Shown, ...]
    computed: tuple[str, ...]
    copied: Mapping[str, str]
    keeps_order: bool


def compile_model(model: Model, source: SourceTable, *, loads: bool = True) -> Plan:
    """Return the plan of `model` over rows of `source`.

    With `loads` false no lookup is joined: rows bring looked-up columns along, named by `given_column`, and a lookup
    whose columns are all null has no match. Raises UserMistake where a masking does not suit its column.
    """
    straight, careful = (_Compiler(Guards(model, source, loads, guarded)) for guarded in (False, True))
    problems = problems_of(careful.guards)
    shown = tuple(dict.fromkeys(value for problem in problems for value in problem.shows))
    copied = {column.name: column.copied_from for column in model.columns if straight.guards.is_copy(column)}
    return Plan(
        fast=straight.decide(),
        guarded=careful.decide(),
        explain=careful.explain(problems, shown),
        problems=problems,
        shown=shown,
        computed=tuple(column.name for column in model.columns if column.name not in copied),
        copied=copied,
        keeps_order=not straight.row,
    )


def lookup_table(number: int) -> str:
    """Return the name of the engine's table with the n-th lookup's columns and, before them, its `key_column`s."""
    return f"_lookup_{number}"


def key_column(number: int) -> str:
    """Return the name of the n-th key column in a lookup's table."""
    return f"_key_{number}"


def given_column(lookup: Lookup, column: str) -> str:
    """Return the name under which rows bring a looked-up column along, where nothing is loaded."""
    return f"{lookup.name}.{column}"


def flag_column(number: int) -> str:
    """Return the name of the column that says whether a record has the n-th problem."""
    return f"_flag_{number}"


def shown_column(number: int) -> str:
    """Return the name of the column with the text of the n-th shown value."""
    return f"_shown_{number}"


def in_engine(name: str, type_: DataType) -> str:
    """Return SQL for column `name` in the type that expressions are checked with."""
    return f"CAST({quote(name)} AS {type_.sql})" if type_.kind in _STORED_AS_TEXT else quote(name)


def lookup_rows(lookup: Lookup) -> str:
    """Return the query that makes a lookup's table of its rows in `ROWS`."""
    key = [f"{quote(name)} AS {quote(key_column(part))}" for part, name in enumerate(lookup.key)]
    columns = [f"{in_engine(field.name, field.type)} AS {quote(field.name)}" for field in lookup.columns]
    return _select([*key, *columns], quote(ROWS))


@dataclass(frozen=True, slots=True)
class _Compiler:
    """Writes the layers for one set of guards."""

    guards: Guards

    @property
    def model(self) -> Model:
        return self.guards.model

    @property
    def row(self) -> list[str]:
        """The row's number, carried along where a join may change the order."""
        return [quote(ROW)] if self.model.lookups and self.guards.loads else []

    def read(self) -> str:
        columns = {field.name: field.type for field in self.guards.fields()}
        if not self.guards.loads:
            for lookup in self.model.lookups:
                columns |= {given_column(lookup, field.name): field.type for field in lookup.columns}
        read = [f"{in_engine(name, type_)} AS {quote(name)}" for name, type_ in columns.items()]
        return _select([*self.row, *read], quote(ROWS))

    def join(self) -> str:
        query = self.read()
        for number, lookup in enumerate(self.model.lookups):
            query = (self._matched if self.guards.loads else self._given)(query, number, lookup)
        return query

    def _matched(self, query: str, number: int, lookup: Lookup) -> str:
        keys = self.guards.keys(number)
        keyed = _select(["*", *(key.sql for key in keys)], f"({query})")
        matches = [f"_match.{quote(key_column(part))} = {key.value}" for part, key in enumerate(keys)]
        found = f"_match.{quote(key_column(0))} IS NOT NULL"
        columns = {field.name: f"_match.{quote(field.name)}" for field in lookup.columns}
        return _select(
            ["_record.*", *_looked_up(number, lookup, found, columns)],
            f"({keyed}) AS _record LEFT JOIN {quote(lookup_table(number))} AS _match ON {' AND '.join(matches)}",
        )

    def _given(self, query: str, number: int, lookup: Lookup) -> str:
        columns = {field.name: quote(given_column(lookup, field.name)) for field in lookup.columns}
        found = any_of(f"{column} IS NOT NULL" for column in columns.values())
        return _select(["*", *_looked_up(number, lookup, found, columns)], f"({query})")

    def compute(self, shown: Sequence[tuple[int, Shown]]) -> str:
        computed = [guard.sql for _, guard in (*self.guards.filters(), *self.guards.columns())]
        texts = [f"{_text(value.name.sql)} AS {quote(shown_column(number))}" for number, value in _brought(shown)]
        return _select(["*", *computed, *texts], f"({self.join()})")

    def map(self, shown: Sequence[tuple[int, Shown]]) -> str:
        taken = {column.name.casefold() for column in self.model.columns}
        results = [f"{guard.value} AS {quote(column.name)}" for column, guard in self.guards.columns()]
        others = [field.name for field in self.guards.fields() if field.name.casefold() not in taken]
        texts = [shown_column(number) for number, _ in _brought(shown)]
        kept = [quote(name) for name in (*self._kept(), *texts, *others)]
        # A model of nothing but copies needs no column from here on, and SQL wants one.
        columns = [*self.row, *kept, *results] or [quote(self.guards.fields()[0].name)]
        return _select(columns, f"({self.compute(shown)})")

    def _kept(self) -> Iterable[str]:
        """Yield the names of what deciding needs of the first layers."""
        for number in range(len(self.model.lookups)):
            yield found_flag(number)
            yield from (key.name for key in self.guards.keys(number))
        yield from (guard.name for _, guard in self.guards.filters())
        yield from (guard.name for _, guard in self.guards.columns() if guard.guarded)

    def judge(self, shown: Sequence[tuple[int, Shown]] = ()) -> str:
        return _select(["*", *(guard.sql for _, guard in self.guards.rules())], f"({self.map(shown)})")

    def decide(self) -> str:
        found = [f"CAST({quote(found_flag(number))} AS TINYINT)" for number in range(len(self.model.lookups))]
        decided = [f"{self._fate()} AS {FATE}", f"{score_of(self.guards)} AS {SCORE}", f"{_sum(found)} AS {FOUND}"]
        columns = [column for column in self.model.columns if not self.guards.is_copy(column)]
        computed = [f"{self._masked(column)} AS {quote(column.name)}" for column in columns]
        return _select([*self.row, *decided, *computed], f"({self.judge()})")

    def explain(self, problems: Iterable[Problem], shown: Iterable[Shown]) -> str:
        numbered = tuple(enumerate(shown))
        flags = [f"({problem.flag}) AS {quote(flag_column(number))}" for number, problem in enumerate(problems)]
        texts = [f"{self._disguised(number, value)} AS {quote(shown_column(number))}" for number, value in numbered]
        score = f"{score_of(self.guards)} AS {SCORE}"
        return _select([*self.row, score, *flags, *texts], f"({self.judge(numbered)})")

    def _fate(self) -> str:
        """Return SQL for what becomes of a record: the first step at which something decides."""
        problems = problems_of(self.guards)

        def refuses(fate: int, *steps: Step) -> str:
            return f"WHEN {any_of(problem.flag for problem in problems if problem.step in steps)} THEN {fate}"

        filters = [
            f"WHEN {guard.failed} THEN {FAILED} WHEN {guard.value} THEN {number}"
            for number, (_, guard) in enumerate(self.guards.filters(), start=1)
        ]
        cases = [
            refuses(FAILED, Step.LOOKUP),
            *filters,
            refuses(FAILED, Step.EXPRESSION, Step.MAPPING, Step.JUDGING),
            refuses(REFUSED, Step.RULE, Step.SCORE),
        ]
        return f"CAST(CASE {' '.join(cases)} ELSE {DELIVERED} END AS INTEGER)"

    def _masked(self, column: Column) -> str:
        """Return SQL for the column as it leaves, null where it is null."""
        name = quote(column.name)
        match column.masking:
            case None:
                return _text(name) if column.type.kind in _STORED_AS_TEXT else name
            case Masking.REDACT if column.type.kind is not Kind.TEXT:
                self._require(column, not self.guards.must_be_there(column), "may be null")
                return f"CAST(NULL AS {'VARCHAR' if column.type.kind in _STORED_AS_TEXT else column.type.sql})"
            case Masking.REDACT:
                return f"CASE WHEN {name} IS NOT NULL THEN {literal(REDACTED)} END"
            case Masking.HASH:
                self._require(column, column.type.kind is Kind.TEXT, "is text")
                return f"sha256({name})"
            case Masking.PARTIAL:
                self._require(column, column.type.kind is Kind.TEXT, "is text")
                return (
                    f"CASE WHEN length({name}) > {PARTIAL_CHARS}"
                    f" THEN repeat('*', length({name}) - {PARTIAL_CHARS}) || right({name}, {PARTIAL_CHARS})"
                    f" ELSE repeat('*', length({name})) END"
                )

    def _require(self, column: Column, suits: bool, what: str) -> None:  # noqa: FBT001 - read at three places above
        if not suits:
            raise UserMistake(
                "INT_PIPELINE_003",
                f"{self.model.name}.{column.name}: masking `{column.masking}` needs a column that {what}",
                remedy="declare its type as text, or mask it another way",
            )

    def _disguised(self, number: int, value: Shown) -> str:
        """Return SQL for the text of a shown value, unreadable where the document masks it or what it goes into."""
        text = _text(value.name.sql) if value.is_of_model else quote(shown_column(number))
        masked = [column for column in self.model.columns if column.masking is not None]
        if value.is_of_model:
            is_masked = value.name.column in {column.name for column in masked}
        else:
            is_masked = value.name in names_in(*(column.expression for column in masked))
        return f"CASE WHEN {text} IS NOT NULL THEN {literal(REDACTED)} END" if is_masked else text


def _looked_up(number: int, lookup: Lookup, found: str, columns: Mapping[str, str]) -> list[str]:
    """Return SQL for whether the n-th lookup matched, and for its columns as a struct of its name."""
    flag = f"({found}) AS {quote(found_flag(number))}"
    parts = [
        f"{literal(field.name)}: CASE WHEN {found} THEN {columns[field.name]}"
        f" ELSE CAST({lookup.defaults.get(field.name, 'NULL')} AS {field.type.sql}) END"
        for field in lookup.columns
    ]
    return [flag, f"{{{', '.join(parts)}}} AS {quote(lookup.name)}"] if parts else [flag]


def _brought(shown: Sequence[tuple[int, Shown]]) -> list[tuple[int, Shown]]:
    """Return those of the values that the record brings along; the others are there when it is mapped."""
    return [(number, value) for number, value in shown if not value.is_of_model]


def _select(columns: Iterable[str], source: str) -> str:
    return f"SELECT {', '.join(columns)} FROM {source}"  # noqa: S608 - names are quoted, expressions were checked


def _text(sql: str) -> str:
    return f"CAST({sql} AS VARCHAR)"


def _sum(terms: Sequence[str]) -> str:
    return " + ".join(terms) or "CAST(0 AS TINYINT)"
