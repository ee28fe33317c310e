"""The one waist: everything before it is text and findings, everything after it runs it or writes it down.

A `Pipeline` is a frozen value. `encode` is deterministic to the byte, so two plans can be compared as text.
Expressions in it are SQL in DuckDB's dialect, already checked, with column names quoted.
"""

from __future__ import annotations

import hashlib
import re
from enum import StrEnum
from typing import NoReturn
from urllib.parse import urlsplit

import msgspec

from penstock.model.finding import Place
from penstock.model.quantity import Delay, Quantity
from penstock.model.schema import DataType, Field

_PASSWORD = re.compile(r"(?<=://)([^:/@]*):.*@", re.DOTALL)
"""To the last `@`: of a password that is not written as it must be, no part may be left."""
FORMAT = 1
"""Version of the serialised form."""


class WriteMode(StrEnum):
    """How rows meet rows that are already there."""

    APPEND = "append"
    MERGE = "merge"


class SchemaPolicy(StrEnum):
    """What happens when the source's columns are not the document's."""

    EVOLVE = "evolve"
    FREEZE = "freeze"
    QUARANTINE = "quarantine"
    IGNORE = "ignore"


class RuleKind(StrEnum):
    """What a quality rule says."""

    UNIQUE = "unique"
    NOT_NULL = "not_null"
    PREDICATE = "predicate"


class RuleSeverity(StrEnum):
    """An error sends the record to the dead letters; a warning only lowers its quality score."""

    ERROR = "error"
    WARNING = "warning"


class Masking(StrEnum):
    """How a value is made unreadable before it leaves the transformation."""

    HASH = "hash"
    REDACT = "redact"
    PARTIAL = "partial"


class Connection(msgspec.Struct, frozen=True):
    """What a database name of the documents means.

    `kind` names a connector ("files", "duckdb", "postgres"); `options` are its own, in the order written. `path` is
    relative to the folder of the document, `url` is for what is reached over a network. Secrets are references, as
    `${NAME}`: see `penstock.connectors.secrets`.
    """

    name: str
    kind: str = "files"
    path: str = ""
    options: dict[str, str] = {}
    url: str = ""


def holds_password(url: str) -> bool:
    """Return whether a connection's URL has a password in it, rather than a reference to one."""
    return urlsplit(url).password not in {None, ""} and "${" not in (urlsplit(url).password or "")


def without_password(url: str) -> str:
    """Return a connection's URL as it may be shown: without password, references to one, and parameters."""
    return _PASSWORD.sub(r"\1@", url).partition("?")[0]


class FileFormat(msgspec.Struct, frozen=True):
    """How text files of a table are to be read."""

    delimiter: str = ","
    null_values: tuple[str, ...] = ("",)


class ForeignKey(msgspec.Struct, frozen=True):
    """`column` of a source refers to `to_column` of source table `table`. Violations are counted and shown."""

    column: str
    table: str
    to_column: str
    place: Place


class Index(msgspec.Struct, frozen=True):
    """Columns that the source has an index on. Planning uses it to choose how to read."""

    columns: tuple[str, ...]


class Check(msgspec.Struct, frozen=True):
    """A condition that a record must meet; null counts as met, as in SQL's CHECK.

    `valid` is the condition as SQL over the columns of the stage that checks it. `rule` is the id of the rule it
    comes from, empty for one that comes from the column's own declaration (type bounds, enum values, primary key).
    """

    code: str
    valid: str
    field: str
    expected: str
    rule: str = ""


class Freshness(msgspec.Struct, frozen=True):
    """How late what a source table feeds may be, and for what (`subject`): the shortest delay that is asked for."""

    subject: str
    delay: Delay
    place: Place


class SourceTable(msgspec.Struct, frozen=True):
    """A table to read: what the document says of it, and what every record of it must meet on arrival.

    `critical` is SQL for records that are handed over at once. Whether records are handed over in streaming mode
    follows from `freshness` and the settings.
    """

    name: str
    schema: str
    database: str
    connection: Connection
    fields: tuple[Field, ...]
    place: Place
    primary_key: tuple[str, ...] = ()
    foreign_keys: tuple[ForeignKey, ...] = ()
    indexes: tuple[Index, ...] = ()
    format: FileFormat = FileFormat()
    estimated_rows: int = 0
    daily_growth: int = 0
    event_time: str = ""
    critical: str = ""
    freshness: Freshness | None = None
    policy: SchemaPolicy = SchemaPolicy.FREEZE
    checks: tuple[Check, ...] = ()


class Column(msgspec.Struct, frozen=True):
    """A column of a model. `expression` is SQL over source columns and looked-up columns."""

    name: str
    type: DataType
    expression: str
    copied_from: str = ""
    masking: Masking | None = None
    nullable: bool = True


class Lookup(msgspec.Struct, frozen=True):
    """Join each record with the one row of source table `table` whose `key` equals the record's `on` expressions.

    The row's columns are visible to expressions as `name`.`column`. `defaults` stand in, per column, where nothing
    matches; a column without one sends the record to the dead letters when `required`, and is null otherwise.
    """

    name: str
    table: str
    on: tuple[str, ...]
    key: tuple[str, ...]
    columns: tuple[Field, ...]
    defaults: dict[str, str] = {}
    required: bool = True
    place: Place = Place("")


class Filter(msgspec.Struct, frozen=True):
    """Records for which `predicate` is true are left out, counted under `reason`."""

    reason: str
    predicate: str
    place: Place


class Rule(msgspec.Struct, frozen=True):
    """A quality requirement, understood. `predicate` is SQL over the model's columns, empty for UNIQUE.

    `at_source` tells that the same rule already stands among the source's checks. `at_destination` is False where a
    query there cannot tell: the rule names a column of the source that the model does not have, or one it masks.
    """

    id: str
    text: str
    kind: RuleKind
    columns: tuple[str, ...]
    place: Place
    predicate: str = ""
    weight: float = 1.0
    severity: RuleSeverity = RuleSeverity.ERROR
    at_source: bool = False
    at_destination: bool = True
    dead_letters_max: Quantity | None = None


class Partitioning(msgspec.Struct, frozen=True):
    """How the destination should lay the table out, as asked for. Applied where the destination can."""

    column: str
    interval: str
    kind: str = "range"


class UnitTest(msgspec.Struct, frozen=True):
    """One record in, the columns expected of it out. Values are SQL literals as text; null is None."""

    name: str
    description: str
    input: dict[str, str | None]
    expected: dict[str, str | None]
    place: Place


class Model(msgspec.Struct, frozen=True):
    """A table to deliver, and the way from one source table to it."""

    name: str
    schema: str
    source: str
    grain: tuple[str, ...]
    columns: tuple[Column, ...]
    place: Place
    write_mode: WriteMode = WriteMode.APPEND
    version_by: str = ""
    lookups: tuple[Lookup, ...] = ()
    filters: tuple[Filter, ...] = ()
    rules: tuple[Rule, ...] = ()
    min_score: float | None = None
    score_column: str = ""
    partitioning: Partitioning | None = None
    clustering: tuple[str, ...] = ()
    dead_letters_max: Quantity | None = None
    tests: tuple[UnitTest, ...] = ()

    @property
    def fields(self) -> tuple[Field, ...]:
        """The columns as the destination sees them."""
        return tuple(Field(column.name, column.type, column.nullable) for column in self.columns)


class Warehouse(msgspec.Struct, frozen=True):
    """Where models end. `name` is the document's word; `connection` what it means here."""

    name: str
    connection: Connection


class RequirementKind(StrEnum):
    """Which part of the document a requirement comes from."""

    RULE = "rule"
    DEAD_LETTERS = "dead_letters"
    FOREIGN_KEY = "foreign_key"
    VOLUME = "volume"
    RATE = "rate"
    RETENTION = "retention"
    LATENCY = "latency"
    FREQUENCY = "frequency"
    LAYOUT = "layout"


class Requirement(msgspec.Struct, frozen=True):
    """One line of a document that must have evidence.

    `subject` says what it is about (a model, `source.column`, a metrics class); `rule` is a rule's id; `sources` names
    the source tables whose records must be in time. `applied` is False for what is carried and not yet acted upon: a
    run reports it as not checked.
    """

    id: str
    kind: RequirementKind
    text: str
    place: Place
    subject: str = ""
    quantity: Quantity | None = None
    rule: str = ""
    applied: bool = True
    sources: tuple[str, ...] = ()


class Metric(msgspec.Struct, frozen=True):
    """An aggregation that a document asks for. Carried; computed by later work."""

    name: str
    description: str
    aggregation: str
    grain: str
    dimensions: tuple[str, ...]
    window: str
    place: Place


class Pipeline(msgspec.Struct, frozen=True):
    """What the documents mean: sources, models, and every requirement."""

    name: str
    sources: tuple[SourceTable, ...]
    models: tuple[Model, ...]
    warehouse: Warehouse
    requirements: tuple[Requirement, ...] = ()
    metrics: tuple[Metric, ...] = ()
    format: int = FORMAT

    def source(self, name: str) -> SourceTable:
        """Return the source table called `name`; KeyError where there is none."""
        return next((source for source in self.sources if source.name == name), None) or _no_such("source", name)

    def model(self, name: str) -> Model:
        """Return the model called `name`; KeyError where there is none."""
        return next((model for model in self.models if model.name == name), None) or _no_such("model", name)

    def models_of(self, source: str) -> tuple[Model, ...]:
        """Return the models fed by source table `source`, in the document's order."""
        return tuple(model for model in self.models if model.source == source)


def _no_such(what: str, name: str) -> NoReturn:
    raise KeyError(f"no {what} `{name}`")


def encode(pipeline: Pipeline) -> bytes:
    """Serialise to indented JSON, the same bytes for the same value."""
    return msgspec.json.format(msgspec.json.encode(pipeline, order="deterministic"), indent=2) + b"\n"


def decode(text: bytes) -> Pipeline:
    """Read what `encode` wrote. Raises msgspec.ValidationError for anything else."""
    return msgspec.json.decode(text, type=Pipeline)


def fingerprint(pipeline: Pipeline) -> str:
    """Return a SHA-256 over what a run depends on. Places are left out: moving a line changes nothing."""
    value = _without_places(msgspec.to_builtins(pipeline))
    return hashlib.sha256(msgspec.json.encode(value, order="deterministic")).hexdigest()


def _without_places(value: object) -> object:
    match value:
        case dict():
            return {key: _without_places(item) for key, item in value.items() if key != "place"}
        case list() | tuple():
            return [_without_places(item) for item in value]
        case _:
            return value
