"""The REST source: one endpoint, pass after pass over its pages, each page a chunk."""

from __future__ import annotations

import hashlib
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, ClassVar, TypeVar

import httpx
import msgspec
import pyarrow as pa

from penstock.connectors.sources.files.jsonlines import JsonLines
from penstock.connectors.sources.files.textformat import keep
from penstock.connectors.sources.rest.answers import Page, read_page
from penstock.connectors.sources.rest.budget import steady_time_s
from penstock.connectors.sources.rest.declared import DECLARATION, PROMISES
from penstock.connectors.sources.rest.exchange import Exchange, Repeated
from penstock.connectors.sources.rest.options import read_access
from penstock.connectors.sources.rest.paging import (
    check_cursor,
    first_page,
    next_page,
    parameters_of,
    url_of,
    without_parameter,
)
from penstock.connectors.sources.rest.positions import Token, read_token, write_token
from penstock.connectors.sources.rest.signing import Signer
from penstock.connectors.sources.rest.since import EPOCH_UNITS, lower_bound, newest
from penstock.errors import UserMistake
from penstock.ledger.folder import STATE_FOLDER
from penstock.model.position import Position
from penstock.model.schema import NUMBERS, Field, parse_type
from penstock.ports import BadRecord, Chunk, Original, Reread

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping, Sequence
    from pathlib import Path

    from penstock.connectors.sources.rest.exchange import Answer, Steps
    from penstock.connectors.sources.rest.options import Access
    from penstock.model.pipeline import SourceTable
    from penstock.model.settings import Settings
    from penstock.ports import Declaration, Replay, SourcePromises

T = TypeVar("T")

SIGN_OF_LIFE_S = 1.0
"""While a run waits, so often there is a chunk without records, at which it can be stopped."""
_PARTITION = "all"
"""What the one partition of an endpoint without a path is called."""


class RestSource:
    """Records of one table out of an API's endpoint. Implements ports.Follows; see docs/rest.md.

    There is one partition, named by the endpoint's path. A position is a page to ask for, in a pass over all pages; a
    pass that is over is followed by one for what is new since then. The same position may give other records another
    time, since an API's pages are what they are when they are asked for: hence `replay` is by key.
    """

    declares: ClassVar[Declaration[SourcePromises]] = DECLARATION
    replay: Replay = PROMISES.replay

    def __init__(self, table: SourceTable, root: Path, settings: Settings, state: Path) -> None:  # noqa: ARG002 - below
        """Nothing is asked of the API yet. UserMistake for a connection that says what cannot be.

        Tokens and budget lie in the state folder of `root` even where `state` is another, one that is thrown away: a
        sample uses up the same refresh tokens and the same rate as any run.
        """
        self._table = table
        self._access = _with_window(read_access(table.connection), table.fields)
        self._options = self._access.options
        folder = root / STATE_FOLDER / "rest" / _file_name(table.connection.name)
        self._exchange = Exchange(self._access, folder)
        self._signer = Signer(self._access, self._exchange, folder)
        self._partition = table.connection.path.strip("/") or _PARTITION
        self._where = f"`{table.connection.name}` ({table.connection.path or '/'})"
        self._limit = settings.whole("RECORD_BYTES_MAX")
        self._format = JsonLines(table.fields, self._limit)
        key = self._options.incremental_key
        self._keys = JsonLines([Field(key, parse_type("text"))], self._limit) if key else None

    def partitions(self) -> Sequence[str]:
        """Return the one partition. See ports.Source."""
        return (self._partition,)

    def read(self, partition: str, position: Position | None) -> Iterator[Chunk]:
        """Read pages from `position` to the last one of a pass that began after this was called. See ports.Source.

        With an incremental key that means: what is left of a pass that was broken off, and then what is new. Where
        there is none, what is left is all: a further pass would read everything again.

        While it waits, for its rate or for the API, there is a chunk without records every while.
        """
        assert partition == self._partition, (partition, self._partition)
        alive_s = time.monotonic()
        at = position or Position(partition, 0, "")
        for chunk in self._chunks(at, ends=True):
            if chunk is not None:
                at = chunk.next
            elif time.monotonic() - alive_s < SIGN_OF_LIFE_S:
                continue
            alive_s = time.monotonic()
            yield chunk or self._nothing_at(at)

    def follow(self, positions: Mapping[str, Position]) -> RestFollowing:
        """Begin to read pass after pass, as often as the connection says. See ports.Follows."""
        position = positions.get(self._partition) or Position(self._partition, 0, "")
        return RestFollowing(self._chunks(position, ends=False))

    def size_bytes(self, partition: str, position: Position | None) -> int | None:
        """Return None: an API does not tell how much there is."""

    def accept(self, position: Position) -> Position:
        """Return `position`: pages are compared with nothing."""
        return position

    def reread(self, partition: str, originals: Sequence[bytes]) -> Reread:  # noqa: ARG002 - all records are alike
        """Parse records again. See ports.Source."""
        return self._format.reread(originals)

    def commit(self, position: Position) -> None:
        """Do nothing: an API forgets nothing for us."""

    def close(self) -> None:
        """Close connections."""
        self._exchange.close()

    def examine(self) -> str:
        """Ask for the first page and say how it looks. Raises as `read` does, and uses up a request of the rate."""
        page, following = _result(self._page(self._begin(Token()), set(), set()))
        more = "more follow" if following is not None else "no more follow"
        signed = f"signed in by {self._options.auth}" if self._options.auth != "none" else "nobody signs in"
        return f"{self._access.url} answers, {signed}: {len(page.records):,} records on the first page, {more}"

    def clock_s(self) -> float | None:
        """Return what time the API last said it was, in seconds since 1970; None where it never said."""
        return self._exchange.server_time_s

    # --- passes and pages -----------------------------------------------------------------------------------------

    def _chunks(self, position: Position, *, ends: bool) -> Iterator[Chunk | None]:
        """Yield page after page, and None every while that none has come."""
        token, sequence = read_token(position), position.sequence
        is_enough = False
        while not (ends and is_enough and token.page is None):
            if token.page is None:
                if token.began_s and not ends:
                    yield from self._exchange.pause(token.began_s + self._access.every_s - steady_time_s())
                token = self._begin(token)
                is_enough = True
            token, sequence = yield from self._pages(token, sequence)
            is_enough = is_enough or not self._options.incremental_key

    def _begin(self, last: Token) -> Token:
        since = last.newest if last.newest is not None else last.since
        return Token(first_page(self._options), since=since, newest=since, began_s=steady_time_s())

    def _pages(self, token: Token, sequence: int) -> Generator[Chunk | None, None, tuple[Token, int]]:
        """Read a pass to its end; return the token of its end, and the sequence of the next record."""
        seen, asked = {token.digest} - {""}, set[str]()
        while token.page is not None:
            asked.add(token.page)
            page, following = yield from self._page(token, asked, seen)
            digest = _digest(page)
            seen |= {digest} - {""}
            token = msgspec.structs.replace(
                token, page=following, newest=self._newest(page, token), digest=digest or token.digest
            )
            chunk = self._chunk(page, sequence, token)
            sequence = chunk.end
            yield chunk
        return token, sequence

    def _page(self, token: Token, asked: set[str], seen: set[str]) -> Steps[tuple[Page, str | None]]:
        """Ask for the page that `token` leads to; return it, and what leads on from it."""
        assert token.page is not None
        pointer = token.page

        def build(target: httpx.URL | None) -> Steps[httpx.Request]:
            return self._signer.sign(self._request(token, target))

        def read(answer: Answer) -> tuple[Page, str | None]:
            is_empty = answer.status == HTTPStatus.NO_CONTENT
            page = Page(()) if is_empty else read_page(answer.body, self._options, self._where)
            check_cursor(self._options, pointer, page, self._where)
            following = next_page(self._options, pointer, page, answer.links)
            following = following and self._as_kept(following, answer.url)
            if following in asked:
                raise Repeated("the page leads to one that was there before, and so in a circle")
            if self._options.repeated_pages == "refuse" and _digest(page) in seen:
                raise Repeated("the page holds the same records as one before it")
            return page, following

        idempotent = self._options.method == "GET" or self._options.idempotent
        return self._exchange.persist(build, read, idempotent=idempotent, where=self._where, refused=self._signer.renew)

    def _as_kept(self, following: str, asked: httpx.URL) -> str:
        """Return what leads on as a position keeps it: a URL whole, and without our key."""
        if url_of(self._options, following) is None:
            return following
        try:
            url = asked.join(following)
        except httpx.InvalidURL:
            url = httpx.URL("")
        if url.scheme not in {"http", "https"} or (asked.scheme == "https" and url.scheme == "http"):
            raise UserMistake("INT_ALPHA_020", f"{self._where}: the next page is neither at http nor at https")
        return without_parameter(url, self._signer.hidden_parameter)

    def _request(self, token: Token, target: httpx.URL | None) -> httpx.Request:
        assert token.page is not None
        options = self._options
        url = str(target) if target is not None else url_of(options, token.page)
        if url is not None:
            request = self._exchange.request("GET" if target is not None else options.method, url)
        else:
            request = self._with_parameters(token)
        request.headers["Accept"] = "application/x-ndjson" if options.response_format == "jsonl" else "application/json"
        return request

    def _with_parameters(self, token: Token) -> httpx.Request:
        """Return the request for a page: parameters in the URL, or as a JSON object where the method is POST."""
        assert token.page is not None
        since = lower_bound(self._access, token.since, token.began_s)
        parameters = dict(self._access.parameters) | parameters_of(self._options, token.page)
        parameters |= {self._options.since_parameter: since} if since is not None else {}
        if self._options.method == "GET":
            url = httpx.URL(self._access.url)
            return self._exchange.request("GET", url.copy_with(params=url.params.merge(parameters)))
        return self._exchange.request("POST", self._access.url, json=parameters)

    # --- chunks ---------------------------------------------------------------------------------------------------

    def _newest(self, page: Page, token: Token) -> str | None:
        if self._keys is None or not page.records:
            return token.newest
        values = self._keys.reread(page.records).records.column(0).unique().drop_null().to_pylist()
        return newest(values, token.newest, token.began_s)

    def _chunk(self, page: Page, start: int, token: Token) -> Chunk:
        reread = self._format.reread(page.records)
        records, end = page.records, start + len(page.records)
        bad = tuple(
            BadRecord(start + number, Original(keep(records[number], self._limit), start + number + 1), error)
            for number, error in sorted(reread.errors.items())
        )
        good = [start + number for number in range(len(records)) if number not in reread.errors] if bad else None
        return Chunk(
            start=start,
            end=end,
            records=reread.records,
            sequences=None if good is None else pa.array(good, pa.int64()),
            bad=bad,
            next=Position(self._partition, end, write_token(token)),
            originals=lambda wanted: [Original(records[each - start], each + 1) for each in wanted],
            size_bytes=sum(map(len, records)),
        )

    def _nothing_at(self, position: Position) -> Chunk:
        nothing = self._format.reread(())
        return Chunk(position.sequence, position.sequence, nothing.records, None, (), position, lambda _: (), 0)


class RestFollowing:
    """Reads pass after pass. Implements ports.Following."""

    def __init__(self, chunks: Iterator[Chunk | None]) -> None:
        self._chunks = chunks
        self.ended = False

    def next(self, wait_s: float) -> Chunk | None:
        """Return the next page; None where none came in about `wait_s`. See ports.Following."""
        until_s = time.monotonic() + wait_s
        for chunk in self._chunks:
            if chunk is not None or time.monotonic() >= until_s:
                return chunk
        return None

    def close(self) -> None:
        """Do nothing: the source closes what is open."""


def _with_window(access: Access, fields: Sequence[Field]) -> Access:
    """Return `access` without a window of the first load where the incremental key is a number that is no time."""
    options = access.options
    numbers = {field.name.casefold() for field in fields if field.type.kind in NUMBERS}
    is_time = options.since_format in EPOCH_UNITS or options.incremental_key.casefold() not in numbers
    return access if is_time else msgspec.structs.replace(access, initial_s=None)


def _result(steps: Steps[T]) -> T:
    """Go through all steps and return what they lead to."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result


def _digest(page: Page) -> str:
    """Return what tells the records of a page, in any order, from others; "" for none, which may come often."""
    if not page.records:
        return ""
    digest = hashlib.sha256()
    for record in sorted(page.records):
        digest.update(b"%d:" % len(record))
        digest.update(record)
    return digest.hexdigest()[:32]


def _file_name(name: str) -> str:
    """Return a connection's name as that of a folder."""
    plain = "".join(character if character.isalnum() or character in "-_" else "_" for character in name)
    return plain if plain == name else f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
