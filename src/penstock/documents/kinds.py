"""The three kinds of document that come in, as frozen values: what each key is called, takes and means.

A key that may be left out and is a text is "" when absent; a quantity or a number is None; a list is ().
Rules and expressions are text here: `planning` understands them.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Any, ClassVar, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from penstock.documents import codes
from penstock.documents.values import (
    NAME_CHARACTERS_MAX,
    Count,
    Delimiter,
    ExactText,
    ForeignKey,
    FrequencyValue,
    Grain,
    LatencyValue,
    LimitValue,
    Name,
    Names,
    OneOf,
    Option,
    PeriodValue,
    PipelineName,
    RateValue,
    Refused,
    ScalarValue,
    Score,
    SettingsValue,
    Switch,
    Text,
    TypeValue,
    Url,
    Weight,
    filled,
)
from penstock.model.pipeline import Masking, RuleSeverity, SchemaPolicy, WriteMode

ALL_THE_REST = "*"
"""As an entry of a model's columns: every source column that no other entry names or copies."""


class HandoffKind(StrEnum):
    """The documents that come in."""

    SCHEMA_TO_STREAM = "SCHEMA_TO_STREAM"
    PULSE_TO_STREAM = "PULSE_TO_STREAM"
    BUILDER_TO_STREAM = "BUILDER_TO_STREAM"


class ConnectionKind(StrEnum):
    """The connectors a document can name."""

    FILES = "files"
    DUCKDB = "duckdb"
    POSTGRES = "postgres"


class PartitionKind(StrEnum):
    """How a table is cut into partitions."""

    RANGE = "range"
    LIST = "list"
    HASH = "hash"


class PartitionInterval(StrEnum):
    """The span of time of one partition."""

    HOURLY = "hourly"
    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"
    QUARTERLY = "quarterly"
    YEARLY = "yearly"


class Auth(StrEnum):
    """How an API is told who asks."""

    NONE = "none"
    API_KEY = "api_key"
    BASIC = "basic"
    BEARER = "bearer"
    OAUTH2 = "oauth2"


class Method(StrEnum):
    """How an endpoint is asked."""

    GET = "GET"
    POST = "POST"


class Pagination(StrEnum):
    """How an endpoint hands out more than one page."""

    NONE = "none"
    CURSOR = "cursor"
    OFFSET = "offset"
    PAGE = "page"
    LINK = "link"


class ResponseFormat(StrEnum):
    """What an endpoint answers in."""

    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"
    XML = "xml"


class KeyPlace(StrEnum):
    """Where an API looks for its key."""

    HEADER = "header"
    PARAMETER = "parameter"


class ClientAuth(StrEnum):
    """Where an authorisation server looks for the client's credentials."""

    HEADER = "header"
    BODY = "body"


class SinceFormat(StrEnum):
    """How an API is told the time from which on it is asked."""

    ISO8601 = "iso8601"
    DATE = "date"
    EPOCH = "epoch"
    EPOCH_MS = "epoch_ms"


class Part(BaseModel):
    """A mapping of the document. Unknown keys are findings; what was read does not change."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bare: ClassVar[str] = ""
    """The key that a text in place of the mapping stands for; none: the mapping is the only form."""

    @model_validator(mode="before")
    @classmethod
    def _bare_text(cls, value: Any) -> Any:  # noqa: ANN401 - whatever the document holds
        return {cls.bare: value} if cls.bare and isinstance(value, str) else value


# --- SCHEMA_TO_STREAM ---------------------------------------------------------------------------------------------


class Connection(Part):
    """What a database name, or the warehouse, means on this machine."""

    kind: Annotated[ConnectionKind, OneOf(ConnectionKind)] = Field(
        default=ConnectionKind.FILES, description="the connector: `files`, `duckdb` or `postgres`"
    )
    path: ExactText = Field(default="", description="folder or file, relative to the document")
    url: ExactText = Field(default="", description="where it is on the network; a password only as `${NAME}`")
    options: dict[str, Option] = Field(default_factory=dict, description="the connector's own options, as text")


class SourceColumn(Part):
    """A column of a source table, or a field of a data contract."""

    name: Name = Field(description="the column's name")
    values: tuple[ExactText, ...] = Field(default=(), description="for an `enum`: every value that is allowed")
    type: TypeValue = Field(description="the SQL type, such as `bigint`, `numeric(10,2)` or `enum`")
    primary_key: Switch = Field(default=False, description="part of the table's primary key")
    nullable: Switch | None = Field(
        default=None, description="whether it may be empty; default: true, and false for a primary key"
    )
    foreign_key: ForeignKey | None = Field(
        default=None, description="the column it refers to, such as `customers.id`; violations are counted"
    )
    description: Text = Field(default="", description="what the column holds, for people")

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> SourceColumn:
        if self.primary_key and self.nullable:
            raise Refused(
                codes.NOT_TOGETHER,
                f"`{self.name}` is a primary key and nullable",
                remedy="take out `nullable`",
                path=("nullable",),
            )
        return self

    @property
    def may_be_null(self) -> bool:
        """Whether null is allowed: as said, otherwise unless it is a primary key."""
        return not self.primary_key if self.nullable is None else self.nullable


class Index(Part):
    """Columns that the source keeps an index on; a bare name is an index on that column."""

    bare = "columns"

    columns: Names = Field(description="the indexed columns, in order")


class TextFormat(Part):
    """How text files of a table are written."""

    delimiter: Delimiter = Field(default=",", description="what stands between two values: one character")
    null_values: tuple[ExactText, ...] = Field(
        default=("",), description="texts that mean null; default: the empty one"
    )


class Priority(Part):
    """Which records are handed over at once, instead of waiting for a full batch."""

    critical: Text = Field(description="SQL predicate: records for which it is true are CRITICAL")


class SourceModel(Part):
    """A table to read."""

    table: Name = Field(description="the table's name; for files, the name of the file without its ending")
    schema_: Name = Field(default="", alias="schema", description="the schema it lies in")
    database: Name = Field(default="", description="the database, as named under `connections`")
    columns: Annotated[tuple[SourceColumn, ...], BeforeValidator(filled)] = Field(
        description="the columns, in the table's order"
    )
    indexes: tuple[Index, ...] = Field(default=(), description="indexes that the source has")
    estimated_rows: Count | None = Field(default=None, description="how many rows there are now, about")
    daily_growth: Count | None = Field(default=None, description="how many rows are added in a day, about")
    format: TextFormat = Field(default_factory=TextFormat, description="how text files of the table are written")
    event_time: Name = Field(default="", description="the column that says when the event happened")
    priority: Priority | None = Field(default=None, description="which records are handed over at once")
    schema_policy: Annotated[SchemaPolicy, OneOf(SchemaPolicy)] = Field(
        default=SchemaPolicy.FREEZE, description="what happens when the source's columns are not these"
    )
    description: Text = Field(default="", description="what the table holds, for people")


class ModelColumn(Part):
    """A column of a model; a bare name copies the source column of that name, `*` all that are left."""

    bare = "name"

    name: Name = Field(description="the column's name in the destination, or `*`")
    from_: Name = Field(default="", alias="from", description="the source column it copies; default: the same name")
    expression: Text = Field(default="", description="SQL over source columns and looked-up columns (`customer.name`)")
    type: TypeValue | None = Field(default=None, description="the type to cast to; default: what comes out")
    mask: Annotated[Masking, OneOf(Masking)] | None = Field(
        default=None, description="make the value unreadable: `hash`, `redact` or `partial`"
    )
    description: Text = Field(default="", description="what the column holds, for people")

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> ModelColumn:
        if self.from_ and self.expression:
            raise Refused(codes.NOT_TOGETHER, f"`{self.name}` has both `from` and `expression`", path=("expression",))
        if self.is_rest and len(self.model_fields_set) > 1:
            raise Refused(codes.NOT_TOGETHER, "`*` stands for many columns and takes no other key")
        return self

    @property
    def is_rest(self) -> bool:
        """True for `*`: every source column that no other entry names or copies."""
        return self.name == ALL_THE_REST


_ON_SCHEMA = {
    "anyOf": [
        {"type": "string", "minLength": 1},
        {"type": "array", "items": {"type": "string"}, "minItems": 1},
        {"type": "object", "additionalProperties": {"type": "string"}, "minProperties": 1},
    ]
}


class Lookup(Part):
    """Join each record with one row of another source table.

    `on` and `key` run in parallel: record's expression, key column. Each is () where the document leaves it out.
    """

    name: Name = Field(default="", description="what expressions call the row; default: the table's name")
    table: Name = Field(description="the source table to look in")
    on: Annotated[tuple[Text, ...], BeforeValidator(filled), WithJsonSchema(_ON_SCHEMA)] = Field(
        default=(),
        description="a column, a list, or a mapping of key column to expression; default: the foreign key to the table",
    )
    key: Names = Field(default=(), description="the columns to find it by; default: the table's primary key")
    columns: Names = Field(default=(), description="the columns to fetch; default: those that expressions use")
    default: dict[Name, ScalarValue] = Field(
        default_factory=dict, description="values that stand in, by column, where nothing matches"
    )
    required: Switch = Field(
        default=True, description="true: no match and no default is a dead letter; false: it is null"
    )

    @model_validator(mode="before")
    @classmethod
    def _keys_in_parallel(cls, value: Any) -> Any:  # noqa: ANN401 - whatever the document holds
        match value:
            case {"on": dict(), "key": _}:
                raise Refused(
                    codes.NOT_TOGETHER, "`on` maps key columns already, and `key` names them again", path=("key",)
                )
            case {"on": dict() as pairs}:
                return value | {"on": list(pairs.values()), "key": list(pairs)}
            case {"on": str() as column}:
                return value | {"on": [column]}
            case _:
                return value

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Lookup:
        if self.on and self.key and len(self.on) != len(self.key):
            raise Refused(
                codes.NOT_TOGETHER,
                f"`on` has {len(self.on)} and `key` {len(self.key)} entries",
                remedy="name one key column for each entry of `on`",
                path=("key",),
            )
        return self


class Filter(Part):
    """Records to leave out; a bare text is the predicate. `reason` is "" where the predicate itself is the reason."""

    bare = "when"

    when: Text = Field(description="SQL predicate: records for which it is true are left out")
    reason: Text = Field(default="", description="what they are counted as; default: the predicate")


class Example(Part):
    """One record in, and what must come out: a unit test of a model."""

    name: Text = Field(description="what the test shows")
    description: Text = Field(default="", description="the same at length, for people")
    input: dict[Name, ScalarValue] = Field(description="source columns and their values; others are null")
    expected: dict[Name, ScalarValue] = Field(description="model columns and the values they must have")


_PARTITIONING = re.compile(r"(?P<column>[^()]+)\((?P<interval>[^()]+)\)")
_PARTITIONING_MAX = 2 * NAME_CHARACTERS_MAX
"""A name, and room for the interval."""


class Partitioning(Part):
    """How the destination lays the table out: "created_at (daily)", or a mapping."""

    bare = "column"

    type: Annotated[PartitionKind, OneOf(PartitionKind)] = Field(
        default=PartitionKind.RANGE, description="`range`, `list` or `hash`"
    )
    column: Name = Field(description="the column that decides the partition")
    interval: Annotated[PartitionInterval, OneOf(PartitionInterval)] | None = Field(
        default=None, description="the span of one partition: `hourly` to `yearly`"
    )

    @model_validator(mode="before")
    @classmethod
    def _bare_text(cls, value: Any) -> Any:  # noqa: ANN401 - whatever the document holds
        if not isinstance(value, str):
            return value
        match = _PARTITIONING.fullmatch(value[:_PARTITIONING_MAX].strip())
        return match.groupdict() if match else {"column": value}


class DestinationModel(Part):
    """A table to deliver."""

    name: Name = Field(description="the table's name in the destination")
    source: Name = Field(
        default="", description="the source table; default: the name without `fct_` or `dim_`, or the only source"
    )
    grain: Grain = Field(default=(), description='the columns that name a row: `"date + store_id"`, or a list')
    partitioning: Partitioning | None = Field(default=None, description="how the table is laid out")
    clustering: Names = Field(default=(), description="the columns that rows are sorted or clustered by")
    write_mode: Annotated[WriteMode, OneOf(WriteMode)] = Field(
        default=WriteMode.APPEND, description="`append` adds rows, `merge` keeps the newest per grain"
    )
    version_by: Name = Field(
        default="", description="merge: the column that says which version is newer; default: order of reading"
    )
    columns: Annotated[tuple[ModelColumn, ...], BeforeValidator(filled)] = Field(
        default=(ModelColumn(name=ALL_THE_REST),),
        description="exactly these columns, in this order; default: every source column",
    )
    lookups: tuple[Lookup, ...] = Field(default=(), description="rows of other source tables to join")
    route: Text = Field(
        default="", description="SQL predicate: the records that come here; one that no model takes is a dead letter"
    )
    filters: tuple[Filter, ...] = Field(default=(), description="records to leave out, and why")
    min_score: Score | None = Field(
        default=None, description="quality score, 0 to 1, below which a record is a dead letter"
    )
    score_column: Name = Field(default="", description="a column to write the quality score to")
    max_dead_letters: LimitValue | None = Field(
        default=None, description="count (`100`) or share (`1%`) of dead letters above which the run fails"
    )
    tests: tuple[Example, ...] = Field(default=(), description="records in, and what must come out")
    description: Text = Field(default="", description="what a row means, for people")


class DestinationRequirements(Part):
    """Where data ends, and as which tables."""

    warehouse: Name = Field(default="", description="the destination, as named under `connections`")
    schema_: Name = Field(default="", alias="schema", description="the schema the tables lie in")
    models: tuple[DestinationModel, ...] = Field(default=(), description="the tables to deliver")


class DataVolume(Part):
    """How much there is, how fast it comes, how long it stays."""

    daily_rows: Count | None = Field(default=None, description="rows in a day")
    peak_rate: RateValue | None = Field(default=None, description="rows at the busiest moment, per unit of time")
    retention: PeriodValue | None = Field(default=None, description="how long rows are kept")


class Rule(Part):
    """A quality requirement; a bare text is the rule."""

    bare = "rule"

    rule: Text = Field(description="`no duplicate X`, `X not null`, or a SQL predicate")
    model: Name = Field(default="", description="the model it is about; default: every model that has its columns")
    weight: Weight = Field(default=1.0, description="its weight in the quality score")
    severity: Annotated[RuleSeverity, OneOf(RuleSeverity)] = Field(
        default=RuleSeverity.ERROR, description="`error`: a dead letter; `warning`: only a lower score"
    )
    max_dead_letters: LimitValue | None = Field(
        default=None, description="count or share of violations above which the run fails"
    )
    name: Text = Field(default="", description="what the rule is called; default: its text")


class SchemaToStream(Part):
    """What the sources look like, what the destination must hold, how clean, how much."""

    pipeline: PipelineName = Field(
        default="", description="the pipeline's name, which its state hangs on; default: the folder's or file's name"
    )
    connections: dict[Name, Connection] = Field(
        default_factory=dict, description="what the names of databases and of the warehouse mean here"
    )
    settings: SettingsValue = Field(default_factory=dict, description="settings by name, see docs/settings.md")
    source_models: tuple[SourceModel, ...] = Field(default=(), description="the tables to read")
    destination_requirements: DestinationRequirements | None = Field(
        default=None, description="where data ends, and as which tables"
    )
    data_volume: DataVolume | None = Field(default=None, description="how much, how fast, kept how long")
    quality_requirements: tuple[Rule, ...] = Field(default=(), description="rules that what is delivered meets")


# --- PULSE_TO_STREAM ----------------------------------------------------------------------------------------------


class Metric(Part):
    """A figure that somebody wants to read."""

    name: Name = Field(description="what the figure is called")
    description: Text = Field(default="", description="what it says, for people")
    aggregation: Text = Field(description="SQL aggregate, such as `SUM(total_amount)`")
    grain: Text = Field(default="", description="what one figure is for: `day`, `customer`")
    dimensions: Names = Field(default=(), description="columns it is broken down by")
    window: Text = Field(default="", description="the span of time it covers, such as `lifetime`")


class AnalyticsRequirements(Part):
    """Which figures, how fresh, out of which tables."""

    metrics: tuple[Metric, ...] = Field(default=(), description="the figures")
    latency_requirements: dict[Name, LatencyValue] = Field(
        default_factory=dict, description="for a class of metrics: a delay (`< 1 minute delay`) or a time of day"
    )
    refresh_frequency: dict[Name, FrequencyValue] = Field(
        default_factory=dict, description="for a class of metrics: `once daily`, `every 15 minutes`, `continuous`"
    )
    data_sources: Names = Field(default=(), description="the source tables they are made of")


class PulseToStream(Part):
    """What analysts want to read, and how fresh."""

    analytics_requirements: AnalyticsRequirements = Field(description="figures, freshness, tables")


# --- BUILDER_TO_STREAM --------------------------------------------------------------------------------------------


class Credentials(Part):
    """Who asks an API, and by which secrets: references all of them, as `${NAME}` or `${file:/a/path}`."""

    key: ExactText = Field(default="", description="`api_key`: the key; default: `${API_KEY}` after the API's name")
    key_in: Annotated[KeyPlace, OneOf(KeyPlace)] = Field(
        default=KeyPlace.HEADER, description="`api_key`: where it goes, `header` or `parameter`"
    )
    key_name: ExactText = Field(default="X-API-Key", description="`api_key`: the header's or parameter's name")
    user: ExactText = Field(default="", description="`basic`: the user; default: `${USER}` after the API's name")
    password: ExactText = Field(
        default="", description="`basic`: the password; default: `${PASSWORD}` after the API's name"
    )
    token: ExactText = Field(default="", description="`bearer`: the token; default: `${TOKEN}` after the API's name")
    token_url: Url | None = Field(default=None, description="`oauth2`: the URL that hands out tokens")
    client_id: ExactText = Field(
        default="", description="`oauth2`: the client; default: `${CLIENT_ID}` after the API's name"
    )
    client_secret: ExactText = Field(
        default="", description="`oauth2`: its secret; default: `${CLIENT_SECRET}` after the API's name"
    )
    client_auth: Annotated[ClientAuth, OneOf(ClientAuth)] = Field(
        default=ClientAuth.HEADER, description="`oauth2`: where both go, `header` (HTTP Basic) or `body`"
    )
    refresh_token: ExactText = Field(
        default="", description="`oauth2`: the first refresh token; default: none, the client asks for itself"
    )
    scope: ExactText = Field(default="", description="`oauth2`: the scope to ask for")


class SourceApi(Part):
    """An API to read from."""

    name: Name = Field(description="what the API is called here")
    base_url: Url = Field(description="where it is: `https://api.example.com`")
    auth: Annotated[Auth, OneOf(Auth)] = Field(default=Auth.NONE, description="how it is told who asks")
    rate_limit: RateValue | None = Field(default=None, description="the most requests it takes")
    credentials: Credentials | None = Field(default=None, description="where the secrets come from, see docs/rest.md")
    headers: dict[Name, ExactText] = Field(default_factory=dict, description="further headers of every request")


class Endpoint(Part):
    """One thing the API can be asked for."""

    path: Text = Field(description="path below the base URL")
    method: Annotated[Method, OneOf(Method)] = Field(default=Method.GET, description="`GET` or `POST`")
    pagination: Annotated[Pagination, OneOf(Pagination)] = Field(
        default=Pagination.NONE, description="how more than one page is handed out"
    )
    incremental_key: Name = Field(default="", description="the field that says what is new since the last time")
    response_format: Annotated[ResponseFormat, OneOf(ResponseFormat)] = Field(
        default=ResponseFormat.JSON, description="what it answers in"
    )
    table: Name = Field(
        default="", description="what its records are called as a source; default: the path's last word"
    )
    records: Text = Field(
        default="", description="path to the list of records, as `data.items`; default: the answer, or its one list"
    )
    parameters: dict[Name, Option] = Field(default_factory=dict, description="further parameters of every request")
    idempotent: Switch = Field(default=False, description="`POST`: whether it may be sent again if its answer is lost")
    cursor_field: Text = Field(default="", description="`cursor`: path to the next one; default: `next_cursor`")
    cursor_parameter: Text = Field(default="", description="`cursor`: the parameter for it; default: `cursor`")
    offset_parameter: Text = Field(default="", description="`offset`: the parameter for it; default: `offset`")
    page_parameter: Text = Field(default="", description="`page`: the parameter for its number; default: `page`")
    first_page: Count | None = Field(default=None, description="`page`: the number of the first one; default: 1")
    size_parameter: Text = Field(default="", description="the parameter for the size of a page; default: `limit`")
    page_size: Count | None = Field(default=None, description="records of a page to ask for; default: the API decides")
    since_parameter: Text = Field(default="", description="the parameter that asks for what is new; default: `since`")
    since_format: Annotated[SinceFormat, OneOf(SinceFormat)] = Field(
        default=SinceFormat.ISO8601, description="how a time is written there"
    )
    look_back: PeriodValue | None = Field(
        default=None, description="how much of what was seen is asked for again; default: `1 hour`"
    )


class DataContract(Part):
    """What a record of the API holds."""

    fields: Annotated[tuple[SourceColumn, ...], BeforeValidator(filled)] = Field(
        description="the fields, as columns of a source"
    )


class SyncRequirements(Part):
    """How often to ask, and how far back to begin."""

    frequency: FrequencyValue | None = Field(default=None, description="how often: `every 15 minutes`")
    initial_load: PeriodValue | None = Field(default=None, description="how far back to begin: `last 90 days`")


class ApiIntegration(Part):
    """An API, what to ask it, and what it answers."""

    source_api: SourceApi = Field(description="the API")
    endpoints: tuple[Endpoint, ...] = Field(default=(), description="what to ask it for")
    data_contract: DataContract | None = Field(default=None, description="what a record holds")
    sync_requirements: SyncRequirements | None = Field(default=None, description="how often, and from when on")


class BuilderToStream(Part):
    """An API that somebody built, to be read regularly."""

    api_integration: ApiIntegration = Field(description="the API, what to ask it, what it answers")


InputDocument: TypeAlias = SchemaToStream | PulseToStream | BuilderToStream

MODELS: dict[HandoffKind, type[InputDocument]] = {
    HandoffKind.SCHEMA_TO_STREAM: SchemaToStream,
    HandoffKind.PULSE_TO_STREAM: PulseToStream,
    HandoffKind.BUILDER_TO_STREAM: BuilderToStream,
}
