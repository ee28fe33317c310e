"""Requests and answers: within the rate, with retries on what may be retried, and nothing secret in what is said.

What may take long is written as a generator that yields None every while (`Steps`), so that whoever drives it can stop
in between; it returns what it was asked for.
"""

from __future__ import annotations

import base64
import logging
import random
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, TypeAlias, TypeVar
from urllib.parse import quote, quote_plus
from weakref import WeakSet

import httpx
import msgspec

from penstock.connectors.sources.rest.answers import Unreadable
from penstock.connectors.sources.rest.budget import Budget, steady_time_s
from penstock.connectors.sources.rest.retrying import Lost, backoff_s, date_s, may_repeat, retry_after_s
from penstock.errors import PenstockError, Unavailable, UserMistake
from penstock.model.outcome import cited

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from penstock.connectors.sources.rest.options import Access

T = TypeVar("T")
Steps: TypeAlias = "Generator[None, None, T]"

TICK_S = 0.2
"""Longest sleep between two steps."""
PATIENCE_S = 3600.0
"""A longer wait is not for a run to sit out: it ends, and the next one waits for what is left."""
REDIRECTS_MAX = 5
RENEWALS_MAX = 3
"""Times in a row that a request may be refused for its credentials, each time with fresh ones."""
REPEATS_MAX = 3
"""Times that a page is asked for again because it is one that was there before."""
ANSWER_TIMEOUTS = 4
"""A whole answer may take so many times as long as the wait for its next byte."""
SECRET_CHARACTERS_MIN = 4
"""Shorter texts are not hidden in messages: they are in too many words."""
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)
_NO_ANSWER = (httpx.TransportError, httpx.DecodingError, httpx.StreamError)


class Repeated(Unreadable):
    """An answer is one that was there before: asked again, it may be the next."""


class Answer(msgspec.Struct, frozen=True):
    """A whole answer."""

    status: int
    headers: httpx.Headers
    body: bytes
    url: httpx.URL
    links: dict[str | None, dict[str, str]]


class Secrets:
    """Texts that no message may show."""

    def __init__(self) -> None:
        self._shapes: set[str] = set()

    def add(self, *secrets: str) -> None:
        """Hide these from now on, as they are and as requests carry them."""
        for secret in secrets:
            if len(secret) >= SECRET_CHARACTERS_MIN:
                encoded = base64.b64encode(secret.encode()).decode()
                self._shapes |= {secret, quote(secret), quote(secret, safe=""), quote_plus(secret), encoded}

    def hidden(self, text: str) -> str:
        """Return `text` with every secret in it replaced."""
        for shape in sorted(self._shapes, key=len, reverse=True):
            text = text.replace(shape, "***")
        return text


class _Hiding(logging.Filter):
    """Takes secrets out of what the HTTP client logs: addresses with a key in them, and headers that repeat it."""

    def __init__(self) -> None:
        super().__init__()
        self.secrets = WeakSet[Secrets]()

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        for secrets in tuple(self.secrets):
            text = secrets.hidden(text)
        record.msg, record.args = text, ()
        return True


_HIDING = _Hiding()
_CLIENT_LOGGERS = ("httpx", "httpcore.connection", "httpcore.http11", "httpcore.proxy")


class Exchange:
    """Talks to one API. Used from one thread at a time."""

    def __init__(self, access: Access, state: Path) -> None:
        """`state` is the folder of the API's budget; it is made when the first request is."""
        options = access.options
        self._access = access
        self._path = state / "budget"
        self._budget: Budget | None = None
        self._random = random.Random()  # noqa: S311 - it spreads retries and guards nothing
        self._timeout_s = options.timeout_ms / 1000
        self.server_time_s: float | None = None
        """What `Date` the last answer had, in seconds since 1970."""
        self.secrets = Secrets()
        _HIDING.secrets.add(self.secrets)
        for name in _CLIENT_LOGGERS:
            logging.getLogger(name).addFilter(_HIDING)
        self._client = httpx.Client(follow_redirects=False, timeout=self._timeout_s, headers={"User-Agent": "penstock"})

    def request(self, method: str, url: httpx.URL | str, json: dict[str, str] | None = None) -> httpx.Request:
        """Return a request with the client's headers, with `json` as its body."""
        return self._client.build_request(method, url, json=json)

    def close(self) -> None:
        """Close connections."""
        self._client.close()

    def persist(
        self,
        build: Callable[[httpx.URL | None], Steps[httpx.Request]],
        read: Callable[[Answer], T],
        *,
        idempotent: bool,
        where: str,
        refused: Callable[[Answer], bool] = lambda _: False,
    ) -> Steps[T]:
        """Send what `build` makes, again and again where that may help, until `read` takes the answer.

        `build` is called for every try, so that each has the credentials that hold then; with a URL where the API
        leads to another place. `read` may raise Unreadable. `refused` is told of a 401, and returns whether there may
        be other credentials. Raises Unavailable where trying later may help, UserMistake where it will not.
        """
        tries = renewals = hops = repeats = 0
        target: httpx.URL | None = None
        while True:
            answer = yield from self._send((yield from build(target)))
            if isinstance(answer, Answer) and answer.status in _REDIRECTS and "location" in answer.headers:
                hops += 1
                target = self._target(answer, hops, where)
                continue
            if isinstance(answer, Answer) and answer.status == HTTPStatus.UNAUTHORIZED and refused(answer):
                renewals += 1
                if renewals <= RENEWALS_MAX:
                    continue
            failure, error = self._judge(answer, where)
            if isinstance(answer, Answer) and failure is None:
                try:
                    return read(answer)
                except Unreadable as why:
                    repeats += isinstance(why, Repeated)
                    failure, error = Lost.NO_ANSWER, _unreadable(why, where)
            assert failure is not None
            tries += 1
            target, hops = None, 0
            may = may_repeat(failure, idempotent=idempotent) and repeats <= REPEATS_MAX
            if not may or tries > self._access.options.retries:
                raise error
            yield from self._wait_before(tries, answer, error)

    def pause(self, seconds: float) -> Steps[None]:
        """Wait, step by step."""
        until_s = time.monotonic() + seconds
        while (left_s := until_s - time.monotonic()) > 0:
            time.sleep(min(left_s, TICK_S))
            yield None

    def _send(self, request: httpx.Request) -> Steps[Answer | Lost]:
        budget, turn = yield from self._turn()
        answered = False
        try:
            response = self._client.send(request, stream=True)
            answered = True
            try:
                body = self._body(response)
            finally:
                response.close()
        except _NEVER_SENT as error:
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                message = f"`{self._access.connection.name}`: the certificate of {request.url.host} does not hold"
                raise UserMistake("INT_ALPHA_014", message, remedy="mend it, or name the right host") from None
            return Lost.NEVER_SENT
        except _NO_ANSWER:
            return Lost.NO_ANSWER
        finally:
            budget.over(turn, answered=answered)
        self.server_time_s = date_s(response.headers.get("date", "")) or self.server_time_s
        return Answer(response.status_code, response.headers, body, request.url, response.links)

    def _body(self, response: httpx.Response) -> bytes:
        """Read an answer of limited size in limited time, however slowly it drips."""
        until_s = time.monotonic() + ANSWER_TIMEOUTS * self._timeout_s
        most = self._access.options.answer_bytes_max
        pieces, size = [], 0
        for piece in response.iter_bytes():
            pieces.append(piece)
            size += len(piece)
            if size > most:
                raise UserMistake(
                    "INT_ALPHA_020",
                    f"`{self._access.connection.name}`: an answer of more than {most:,} bytes",
                    remedy="ask for fewer records at a time with `page_size`, or raise `answer_bytes_max`",
                )
            if time.monotonic() > until_s:
                raise httpx.ReadTimeout("the answer drips")
        return b"".join(pieces)

    def _turn(self) -> Steps[tuple[Budget, int]]:
        if self._budget is None:
            self._budget = Budget(self._path, self._access.rate)
        while isinstance(turn := self._budget.take(), float):
            if turn > PATIENCE_S:
                raise self._must_wait(turn)
            yield from self.pause(turn)
        return self._budget, turn

    def _wait_before(self, tries: int, answer: Answer | Lost, error: PenstockError) -> Steps[None]:
        options = self._access.options
        wait_s = backoff_s(tries, base_s=options.retry_delay_ms / 1000, jitter=self._random.random())
        asked_s = retry_after_s(answer.headers, steady_time_s()) if isinstance(answer, Answer) else None
        if asked_s is not None and self._budget is not None:
            self._budget.hold(max(asked_s, wait_s))  # whoever comes next must wait as well
            if asked_s > PATIENCE_S:
                raise self._must_wait(asked_s) from error
            return  # the next turn waits for it
        yield from self.pause(wait_s)

    def _must_wait(self, seconds: float) -> Unavailable:
        name = self._access.connection.name
        return Unavailable("INT_ALPHA_014", f"`{name}` may not be asked for another {seconds:,.0f} seconds")

    def _target(self, answer: Answer, hops: int, where: str) -> httpx.URL:
        """Return where a redirect leads. Raises UserMistake where nobody should follow."""
        try:
            target = answer.url.join(answer.headers["location"])
        except httpx.InvalidURL:
            target = httpx.URL("")
        follows = target.scheme in {"http", "https"} and not (answer.url.scheme == "https" and target.scheme == "http")
        if not follows or hops > REDIRECTS_MAX or self._access.options.method != "GET":
            why = "too often" if follows and hops > REDIRECTS_MAX else "to where we do not follow"
            raise UserMistake("INT_ALPHA_020", f"{where}: redirects {why}", remedy="ask at the right address at once")
        return target

    def _judge(self, answer: Answer | Lost, where: str) -> tuple[Lost | int | None, PenstockError]:
        """Return what failed, None where nothing did, and the error that it is if it stays so."""
        if isinstance(answer, Lost):
            message = f"{where}: {answer.value}"
            return answer, Unavailable("INT_ALPHA_014", message, remedy="check address and connection, run again")
        status = answer.status
        said = self._said(answer)
        if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
            return None, Unavailable("INT_ALPHA_014", where)
        if status == HTTPStatus.FORBIDDEN and "retry-after" in answer.headers:
            status = HTTPStatus.TOO_MANY_REQUESTS  # some say so when they mean that
        if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            return status, UserMistake("INT_ALPHA_018", f"{where}: answers {said}")
        if status == HTTPStatus.NOT_FOUND:
            return status, UserMistake("INT_ALPHA_010", f"{where}: answers {said}", remedy="mend `base_url` or `path`")
        if may_repeat(status, idempotent=True):
            return status, Unavailable("INT_ALPHA_014", f"{where}: answers {said}", remedy="run again later")
        return status, UserMistake("INT_ALPHA_020", f"{where}: answers {said}", remedy="mend what is asked for")

    def _said(self, answer: Answer) -> str:
        """Return a status and what the answer says about it, as far as it may be shown."""
        phrase = HTTPStatus(answer.status).phrase if answer.status in HTTPStatus._value2member_map_ else ""
        text = " ".join(self.secrets.hidden(answer.body[:4096].decode(errors="replace")).split())
        shown = cited("".join(character for character in text if character.isprintable()))
        return f"{answer.status} {phrase}".strip() + (f": {shown}" if shown else "")


def _unreadable(why: Unreadable, where: str) -> PenstockError:
    if isinstance(why, Repeated):
        return UserMistake("INT_ALPHA_019", f"{where}: {why}")
    return Unavailable("INT_ALPHA_014", f"{where}: {why}", remedy="run again later")
