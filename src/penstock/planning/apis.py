"""APIs to read from: each endpoint as a source table, what a document leaves open about it, and the model it feeds.

What is open has a written default, which the note tells, or keeps the endpoint from being read. The configuration goes
before the document: an option of the API's connection is that of each endpoint, `TABLE.option` that of one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from penstock.documents.kinds import Auth, DestinationModel, Endpoint, Pagination, ResponseFormat
from penstock.expressions import TIMES, did_you_mean
from penstock.model.pipeline import Connection, Masking, SourceTable, WriteMode
from penstock.model.schema import NUMBERS
from penstock.planning import codes
from penstock.planning.asking import AskedModel
from penstock.planning.connections import API_KIND
from penstock.planning.models import source_of
from penstock.planning.naming import find, key_aliases
from penstock.planning.notes import Described
from penstock.planning.sources import checks_of, fields_of, foreign_keys_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from pydantic import BaseModel

    from penstock.documents.kinds import ApiIntegration, SourceColumn
    from penstock.planning.asking import Asked
    from penstock.planning.connections import Connections
    from penstock.planning.notes import Notes, Spot

_FROM_THE_ENVIRONMENT: Mapping[Auth, tuple[tuple[str, str], ...]] = MappingProxyType(
    {
        Auth.NONE: (),
        Auth.API_KEY: (("key", "API_KEY"),),
        Auth.BASIC: (("user", "USER"), ("password", "PASSWORD")),
        Auth.BEARER: (("token", "TOKEN"),),
        Auth.OAUTH2: (("client_id", "CLIENT_ID"), ("client_secret", "CLIENT_SECRET")),
    }
)
"""By way of signing in: options, and the end of the variable that each is taken from where nothing is said."""
_SECRETS = ("key", "password", "token", "client_secret", "refresh_token")
_TURNING: Mapping[Pagination, tuple[tuple[str, str], ...]] = MappingProxyType(
    {
        Pagination.NONE: (),
        Pagination.LINK: (),
        Pagination.CURSOR: (("cursor_field", "next_cursor"), ("cursor_parameter", "cursor")),
        Pagination.OFFSET: (("offset_parameter", "offset"),),
        Pagination.PAGE: (("page_parameter", "page"),),
    }
)
"""By pagination: options that tell how to turn pages, and what each is where nothing is said."""
_READ = frozenset({ResponseFormat.JSON, ResponseFormat.JSONL})
_SINCE = "since"
_VERSION = re.compile(r"v\d+(?:\.\d+)*", re.IGNORECASE)
_ENDING = re.compile(r"\.(?:json|jsonl|ndjson)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class EndpointTable:
    """An endpoint as a source table. `is_open`: it cannot be read before what is open about it is known."""

    table: SourceTable
    api: Described[ApiIntegration]
    endpoint: Described[Endpoint]
    is_open: bool

    @property
    def place(self) -> Spot:
        """Where the API is named."""
        return self.api.spot.down("source_api", "name")


def plan_apis(
    apis: Iterable[Described[ApiIntegration]], connections: Connections, taken: Iterable[str], notes: Notes
) -> tuple[EndpointTable, ...]:
    """Return every endpoint as the table it will be read as; `taken` are the names of other tables."""
    names = {name.casefold() for name in taken}
    planned: list[EndpointTable] = []
    for api in apis:
        source = api.part.source_api
        if not api.part.endpoints:
            note = f"`{source.name}` ({source.base_url}): nothing is asked of it"
            notes.add(codes.API, api.spot.at("source_api", "name"), note, "list `endpoints`")
        reached = connections.of_api(source.name, source.base_url)
        _note_plain_secrets(api, notes)
        for index, part in enumerate(api.part.endpoints):
            endpoint = Described(part, api.spot.down("endpoints", index))
            name = _table_name(api, endpoint, names, notes)
            names.add(name.casefold())
            planned.append(_plan(api, endpoint, name, reached, notes))
    return tuple(planned)


def with_models(
    asked: Asked, endpoints: Sequence[EndpointTable], tables: Mapping[str, SourceTable], notes: Notes, *, merging: bool
) -> Asked:
    """Return what is asked for with a model for each endpoint that feeds none, and models of endpoints merged by key.

    `tables` are all there are; `merging` tells whether the warehouse can. A model that is told how to write is left as
    it is.
    """
    by_name = {each.table.name: each for each in endpoints}
    models: list[AskedModel] = []
    fed = set()
    for model in asked.models:
        source = source_of(model.described, tables, notes) if endpoints else None
        each = by_name.get(source.name) if source is not None else None
        models.append(model if each is None else _merged(model, each, notes, merging=merging))
        fed |= {source.name} if source is not None else set()
        fed |= {name for lookup in model.described.part.lookups if (name := find(lookup.table, tables))}
    for each in endpoints:
        if each.table.name not in fed:
            taken = [model.described.part.name for model in models]
            default = _default_model(each, taken, notes, merging=merging)
            models.append(AskedModel(Described(default, each.endpoint.spot), asked.schema))
    return replace(asked, models=tuple(models))


# --- an endpoint --------------------------------------------------------------------------------------------------


def _plan(
    api: Described[ApiIntegration], endpoint: Described[Endpoint], name: str, reached: Connection, notes: Notes
) -> EndpointTable:
    contract = api.part.data_contract
    columns = _with_key(contract.fields if contract else (), name)
    spot = api.spot.down("data_contract", "fields")
    fields = fields_of(columns, name, spot, notes)
    _note_incremental_key(endpoint, [field.name for field in fields], notes)
    connection, is_open = reached, False
    if reached.kind == API_KIND:
        options = _options(api.part, endpoint.part, name, reached)
        blocked = [_note_sign_in(api, options, notes), _note_what_is_not_read(endpoint, notes)]
        _note_pages(endpoint, options, notes)
        url = reached.url or api.part.source_api.base_url
        connection = Connection(reached.name, API_KIND, endpoint.part.path, options, url)
        is_open = any(blocked)
    if contract is None:
        notes.add(codes.API_CONTRACT, endpoint.spot.at("path"), f"nothing says what a record of `{name}` holds")
        is_open = True
    table = SourceTable(
        name=name,
        schema="",
        database=api.part.source_api.name,
        connection=connection,
        fields=fields,
        place=endpoint.place,
        primary_key=tuple(column.name for column in columns if column.primary_key),
        foreign_keys=foreign_keys_of(columns, spot),
        checks=tuple(checks_of(fields)),
    )
    if is_open:
        notes.add(codes.API, api.spot.at("source_api", "name"), f"`{name}` is not read yet: {_summary(api, endpoint)}")
    return EndpointTable(table, api, endpoint, is_open)


def _table_name(
    api: Described[ApiIntegration], endpoint: Described[Endpoint], taken: Collection[str], notes: Notes
) -> str:
    """Return what the endpoint's records are called: as said, or the last word of its path, or both names."""
    part, owner = endpoint.part, _word(api.part.source_api.name)
    if part.table:
        if part.table.casefold() in taken:
            note = f"a table `{part.table}` is described already"
            notes.add(codes.DESCRIBED_TWICE, endpoint.spot.at("table"), note, "give the endpoint another `table`")
        return part.table
    steps = [step for step in part.path.partition("?")[0].split("/") if step and "{" not in step]
    words = [_word(_ENDING.sub("", step)) for step in steps if not _VERSION.fullmatch(step)]
    last = next((word for word in reversed(words) if word), owner)
    name = last if last.casefold() not in taken else f"{owner}_{last}"
    if name.casefold() in taken:
        note = f"a table `{name}` is described already"
        notes.add(codes.DESCRIBED_TWICE, endpoint.spot.at("path"), note, "give the endpoint a `table` of its own")
    return name


def _word(text: str) -> str:
    return re.sub(r"\W+", "_", text).strip("_")


def _with_key(columns: Sequence[SourceColumn], table: str) -> tuple[SourceColumn, ...]:
    """Return the fields with a primary key: as marked, else `id`, else `transaction_id` for `transactions`."""
    names = [column.name for column in columns]
    if not any(column.primary_key for column in columns):
        for candidate in ("id", *key_aliases(table, "id")):
            key = find(candidate, names)
            if key is not None and next(column for column in columns if column.name == key).nullable is not True:
                return tuple(
                    column.model_copy(update={"primary_key": True}) if column.name == key else column
                    for column in columns
                )
    return tuple(columns)


def _summary(api: Described[ApiIntegration], endpoint: Described[Endpoint]) -> str:
    sync = api.part.sync_requirements
    wishes = [str(wish) for wish in (sync.frequency, sync.initial_load) if wish] if sync else []
    source = api.part.source_api
    return ", ".join([f"{source.name}, {source.base_url}{endpoint.part.path}", *wishes])


# --- options ------------------------------------------------------------------------------------------------------


def _options(api: ApiIntegration, endpoint: Endpoint, table: str, reached: Connection) -> dict[str, str]:
    """Return what the document says, and then the configuration, as the options that are said."""
    source, sync = api.source_api, api.sync_requirements
    options = {"auth": source.auth.value}
    options |= _said(source, "rate_limit")
    if source.credentials is not None:
        options |= _said(source.credentials, *type(source.credentials).model_fields)
    if source.headers:
        options["headers"] = "\n".join(f"{name}: {value}" for name, value in source.headers.items())
    known = {"path", "table", "parameters"}
    options |= _said(endpoint, *(name for name in Endpoint.model_fields if name not in known))
    if endpoint.parameters:
        options["parameters"] = urlencode(endpoint.parameters)
    options |= _said(sync, "frequency", "initial_load") if sync is not None else {}
    options |= {name: value for name, value in reached.options.items() if "." not in name}
    own = f"{table}."
    options |= {name.removeprefix(own): value for name, value in reached.options.items() if name.startswith(own)}
    prefix = re.sub(r"\W+", "_", source.name).upper().strip("_")
    for option, ending in _FROM_THE_ENVIRONMENT.get(_auth(options), ()):
        options.setdefault(option, f"${{{prefix}_{ending}}}")
    return options


def _said(part: BaseModel, *names: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in names:
        value = getattr(part, name)
        if name in part.model_fields_set and value is not None:
            found[name] = str(value).lower() if isinstance(value, bool) else str(value)
    return found


def _auth(options: Mapping[str, str]) -> Auth:
    return next((auth for auth in Auth if auth.value == options["auth"]), Auth.NONE)


# --- what is open -------------------------------------------------------------------------------------------------


def _note_plain_secrets(api: Described[ApiIntegration], notes: Notes) -> None:
    credentials = api.part.source_api.credentials
    for name in _SECRETS if credentials is not None else ():
        value = str(getattr(credentials, name))
        if value and "${" not in value:
            place = api.spot.at("source_api", "credentials", name)
            notes.add(codes.PLAIN_SECRET, place, f"`{name}` of `{api.part.source_api.name}` is written out")


def _note_sign_in(api: Described[ApiIntegration], options: Mapping[str, str], notes: Notes) -> bool:
    """Note what is open about signing in; return whether that keeps the API from being read."""
    auth, place = _auth(options), api.spot.at("source_api", "auth")
    credentials = api.part.source_api.credentials
    said = credentials.model_fields_set if credentials is not None else frozenset()
    prefix = re.sub(r"\W+", "_", api.part.source_api.name).upper().strip("_")
    unsaid = [
        f"`{option}` (unsaid: `${{{prefix}_{ending}}}`)"
        for option, ending in _FROM_THE_ENVIRONMENT[auth]
        if option not in said and options[option] == f"${{{prefix}_{ending}}}"
    ]
    needs_url = auth is Auth.OAUTH2 and not options.get("token_url")
    open_ = [*(["the URL that hands out tokens"] if needs_url else []), *unsaid]
    if open_:
        remedy = "say `token_url` under `credentials`" if needs_url else "set the variable, or say `credentials`"
        notes.add(codes.API_AUTH, place, f"`{auth}` leaves open {', '.join(open_)}", remedy)
    return needs_url


def _note_what_is_not_read(endpoint: Described[Endpoint], notes: Notes) -> bool:
    part, spot = endpoint.part, endpoint.spot
    if part.response_format not in _READ:
        note = f"answers in {part.response_format} are not read"
        notes.add(codes.API, spot.at("response_format"), note, "ask for `json` or `jsonl`")
    if part.response_format is ResponseFormat.JSONL and part.pagination is Pagination.CURSOR:
        note = "an answer in JSON Lines has no place for a cursor"
        notes.add(codes.API, spot.at("pagination"), note, "take `link`, `offset` or `page`")
    if "{" in part.path:
        notes.add(codes.API, spot.at("path"), f"nothing fills what `{part.path}` leaves open", "write the path out")
    without_cursor = part.response_format is ResponseFormat.JSONL and part.pagination is Pagination.CURSOR
    return part.response_format not in _READ or without_cursor or "{" in part.path


def _note_pages(endpoint: Described[Endpoint], options: Mapping[str, str], notes: Notes) -> None:
    part, spot = endpoint.part, endpoint.spot
    unsaid = [f"`{name}` (unsaid: `{default}`)" for name, default in _TURNING[part.pagination] if name not in options]
    if unsaid:
        notes.add(codes.API_PAGES, spot.at("pagination"), f"`{part.pagination}` leaves open {', '.join(unsaid)}")
    if part.incremental_key and "since_parameter" not in options:
        note = f"what is new is asked for with `{_SINCE}`, the newest `{part.incremental_key}` less the look-back"
        notes.add(codes.API_SINCE, spot.at("incremental_key"), note)


def _note_incremental_key(endpoint: Described[Endpoint], fields: Sequence[str], notes: Notes) -> None:
    key = endpoint.part.incremental_key
    if key and fields and find(key, fields) is None:
        notes.add(
            codes.API_FIELD, endpoint.spot.at("incremental_key"),
            f"`{key}` is not among the fields of `data_contract`",
            did_you_mean(key, fields, codes.API_FIELD.remedy),
        )  # fmt: skip


# --- the model that an endpoint feeds -----------------------------------------------------------------------------


def _default_model(each: EndpointTable, taken: Sequence[str], notes: Notes, *, merging: bool) -> DestinationModel:
    table = each.table
    name = table.name if find(table.name, taken) is None else f"{_word(table.database)}_{table.name}"
    part = DestinationModel(name=name, source=table.name)
    how = "every record adds a row"
    if table.primary_key and merging:
        part = part.model_copy(update=_merging(table.primary_key, _version(each)))
        how = f"merged by {' + '.join(table.primary_key)}"
    elif table.fields:
        why = "the warehouse cannot merge" if table.primary_key else f"no field of `{table.name}` is its key"
        notes.add(codes.API_KEY, each.endpoint.place, f"{why}: `{name}` appends")
    note = f"`{table.name}` feeds no model: `{name}` copies every field, {how}"
    notes.add(codes.API_MODEL, each.place.at(), note, f"describe a model with `source: {table.name}`")
    return part


def _merged(model: AskedModel, each: EndpointTable, notes: Notes, *, merging: bool) -> AskedModel:
    """Return a model of an API's records that merges them by key, where nobody says how it is written."""
    part, spot = model.described.part, model.described.spot
    if part.write_mode is WriteMode.MERGE:
        return model
    columns = {key: _column_of(part, key) for key in each.table.primary_key}
    names = [name for name in columns.values() if name]
    grain = part.grain or tuple(names)
    has_key = bool(columns) and len(names) == len(columns)
    if "write_mode" in part.model_fields_set or not has_key or not merging:
        remedy = "say `write_mode: merge`" if has_key and merging else codes.API_KEY.remedy
        notes.add(
            codes.API_KEY, spot.at("name"), f"`{part.name}` appends what `{each.table.name}` may give again", remedy
        )
        return model
    version = part.version_by or _column_of(part, _version(each))
    changed = Described(part.model_copy(update=_merging(grain, version)), spot)
    return replace(model, described=changed)


def _merging(grain: Sequence[str], version: str) -> dict[str, object]:
    return {"write_mode": WriteMode.MERGE, "grain": tuple(grain), "version_by": version}


def _version(each: EndpointTable) -> str:
    """Return the field that tells versions of a record apart: the incremental key, where it is a time or a number."""
    wanted = each.endpoint.part.incremental_key
    kinds = TIMES | NUMBERS
    named = [field.name for field in each.table.fields if field.type.kind in kinds]
    return (find(wanted, named) if wanted else None) or ""


def _column_of(part: DestinationModel, field: str) -> str:
    """Return the column of a model that holds `field` of its source so that values stay apart; "" where none does."""
    if not field:
        return ""
    for column in part.columns:
        copied = column.from_ or ("" if column.expression else column.name)
        if copied.casefold() == field.casefold():
            return column.name if column.mask in {None, Masking.HASH} else ""
    return field if any(column.is_rest for column in part.columns) else ""


def not_built(endpoints: Iterable[EndpointTable]) -> Iterator[str]:
    """Yield the names of the tables that cannot be read yet."""
    return (each.table.name for each in endpoints if each.is_open)
