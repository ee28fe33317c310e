"""What a connection of kind `rest` says, read and checked: see docs/rest.md, which lists every option."""

from __future__ import annotations

from typing import Literal
from urllib.parse import parse_qsl, urlsplit

import msgspec

from penstock.errors import UserMistake
from penstock.model.pipeline import Connection
from penstock.model.quantity import SECONDS, Continuous, NotAQuantity, parse_frequency, parse_period, parse_rate

CONTINUOUS_S = 10.0
"""What `continuous` means to an API that can only be asked."""
PAGED_IN_THE_BODY = "cursor"


class RestOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The options as written, with their defaults. Those that may hold secrets hold references to them."""

    auth: Literal["none", "api_key", "basic", "bearer", "oauth2"] = "none"
    key: str = ""
    key_in: Literal["header", "parameter"] = "header"
    key_name: str = "X-API-Key"
    user: str = ""
    password: str = ""
    token: str = ""
    token_url: str = ""
    client_id: str = ""
    client_secret: str = ""
    client_auth: Literal["header", "body"] = "header"
    refresh_token: str = ""
    scope: str = ""
    method: Literal["GET", "POST"] = "GET"
    idempotent: bool = False
    headers: str = ""
    parameters: str = ""
    response_format: Literal["json", "jsonl"] = "json"
    records: str = ""
    pagination: Literal["none", "cursor", "offset", "page", "link"] = "none"
    cursor_field: str = ""
    cursor_parameter: str = "cursor"
    offset_parameter: str = "offset"
    page_parameter: str = "page"
    first_page: int = 1
    size_parameter: str = "limit"
    page_size: int = 0
    repeated_pages: Literal["refuse", "take"] = "refuse"
    incremental_key: str = ""
    since_parameter: str = "since"
    since_format: Literal["iso8601", "date", "epoch", "epoch_ms"] = "iso8601"
    look_back: str = "1 hour"
    initial_load: str = ""
    frequency: str = "1 minute"
    rate_limit: str = ""
    retries: int = 8
    retry_delay_ms: int = 500
    timeout_ms: int = 30_000
    answer_bytes_max: int = 64 << 20


class Rate(msgspec.Struct, frozen=True):
    """At most `requests` in any `window_s` seconds."""

    requests: int
    window_s: float


class Access(msgspec.Struct, frozen=True):
    """One endpoint, and how to ask it. Lengths of time are in seconds; None where nothing is said."""

    connection: Connection
    url: str
    options: RestOptions
    rate: Rate | None
    look_back_s: float
    initial_s: float | None
    every_s: float
    parameters: tuple[tuple[str, str], ...]
    headers: tuple[tuple[str, str], ...]


def read_access(connection: Connection) -> Access:
    """Return what `connection` says. Raises UserMistake INT_PIPELINE_005 where that cannot be."""
    try:
        options = msgspec.convert(connection.options, RestOptions, strict=False)
        return _access(connection, options)
    except (msgspec.ValidationError, NotAQuantity, ValueError) as error:
        raise refused(connection, str(error)) from error


def refused(connection: Connection, why: str, remedy: str = "see docs/rest.md") -> UserMistake:
    """Return the error for a connection that says what cannot be, or too little."""
    return UserMistake("INT_PIPELINE_005", f"connection `{connection.name}`: {why}", remedy=remedy)


def _access(connection: Connection, options: RestOptions) -> Access:
    if urlsplit(connection.url).scheme not in {"http", "https"} or not urlsplit(connection.url).hostname:
        raise refused(connection, "its url is neither http nor https", "write it like `https://api.example.com`")
    if options.response_format == "jsonl" and options.pagination == PAGED_IN_THE_BODY:
        raise refused(
            connection, "an answer in JSON Lines has no place for a cursor", "take `link`, `offset` or `page`"
        )
    for name, value, least in (
        ("retries", options.retries, 0), ("retry_delay_ms", options.retry_delay_ms, 1),
        ("timeout_ms", options.timeout_ms, 1), ("answer_bytes_max", options.answer_bytes_max, 1),
        ("page_size", options.page_size, 0),
    ):  # fmt: skip
        if value < least:
            raise refused(connection, f"`{name}` is {value}, and at least {least} is needed")
    return Access(
        connection=connection,
        url=connection.url.rstrip("/") + "/" + connection.path.lstrip("/") if connection.path else connection.url,
        options=options,
        rate=_rate(options.rate_limit),
        look_back_s=parse_period(options.look_back).seconds,
        initial_s=parse_period(options.initial_load).seconds if options.initial_load else None,
        every_s=_every_s(options.frequency),
        parameters=tuple(
            parse_qsl(options.parameters, keep_blank_values=True, strict_parsing=bool(options.parameters))
        ),
        headers=tuple(_headers(options.headers)),
    )


def _rate(text: str) -> Rate | None:
    """Read a rate; less than one in a unit is one in so many of them."""
    if not text:
        return None
    rate = parse_rate(text)
    if rate.count <= 0:
        raise NotAQuantity(f"`{text}` lets nothing through")
    requests = max(1, int(rate.count))
    return Rate(requests, SECONDS[rate.per] if rate.count >= 1 else float(SECONDS[rate.per] / float(rate.count)))


def _every_s(text: str) -> float:
    frequency = parse_frequency(text if text.strip().lower().startswith(("every", "each", "cont", "once", "real"))
                                else f"every {text}")  # fmt: skip
    return CONTINUOUS_S if isinstance(frequency, Continuous) else frequency.period.seconds


def _headers(text: str) -> list[tuple[str, str]]:
    found = []
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            raise ValueError(f"`headers` takes `Name: value`, one on a line, not `{name.strip()[:40]}`")
        found.append((name.strip(), value.strip()))
    return found
