"""How the API is told who asks: nothing, a key, user and password, a bearer token, or OAuth 2.0 (RFC 6749).

Credentials go to the API's own origin (scheme, host and port) and to nobody else, wherever it leads.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from typing import TYPE_CHECKING

import httpx
import msgspec
from filelock import Timeout

from penstock.connectors.secrets import resolve
from penstock.connectors.sources.rest.answers import Unreadable
from penstock.connectors.sources.rest.budget import steady_time_s
from penstock.connectors.sources.rest.options import refused as refuse
from penstock.connectors.sources.rest.tokens import Tokens, keep_tokens, load_tokens, lock_of
from penstock.errors import UserMistake

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from penstock.connectors.sources.rest.exchange import Answer, Exchange, Steps
    from penstock.connectors.sources.rest.options import Access

EARLY_S = 30.0
"""A token is renewed so long before it expires, or in the last tenth of its life where that is shorter."""
LOOK_AGAIN_S = 0.1
"""How soon to look again whether someone else has got the tokens that we need."""
NEEDED = {
    "api_key": ("key",),
    "basic": ("user", "password"),
    "bearer": ("token",),
    "oauth2": ("token_url", "client_id"),
}
"""The options that each way of signing in cannot do without."""


class _Granted(msgspec.Struct, frozen=True):
    """What a token endpoint answers: RFC 6749 5.1."""

    access_token: str
    expires_in: float | str | None = None
    refresh_token: str | None = None


class Signer:
    """Puts credentials on requests. Secrets are resolved when the first request is made."""

    def __init__(self, access: Access, exchange: Exchange, state: Path) -> None:
        """`state` is the folder for what the authorisation server hands out."""
        self._access = access
        self._options = access.options
        self._exchange = exchange
        self._path = state / "tokens.json"
        self._origin = _origin(httpx.URL(access.url))
        self._values: dict[str, str] = {}
        self._headers: tuple[tuple[str, str], ...] | None = None
        self._tokens: Tokens | None = None
        self._is_stale = False

    def is_ours(self, url: httpx.URL) -> bool:
        """Tell whether `url` is of the API's own origin."""
        return _origin(url) == self._origin

    def sign(self, request: httpx.Request) -> Steps[httpx.Request]:
        """Return `request` with credentials and the configured headers, or as it is where it goes to someone else.

        May ask for a token first. Raises UserMistake where credentials are missing or refused.
        """
        if not self.is_ours(request.url):
            return request
        for name, value in self._resolved_headers():
            request.headers[name] = value
        match self._options.auth:
            case "api_key" if self._options.key_in == "parameter":
                request.url = request.url.copy_set_param(self._options.key_name, self._value("key"))
            case "api_key":
                request.headers[self._options.key_name] = self._value("key")
            case "basic":
                user, password = self._value("user"), self._value("password")
                request = next(httpx.BasicAuth(user, password).auth_flow(request))
                self._exchange.secrets.add(f"{user}:{password}")
            case "bearer":
                request.headers["Authorization"] = f"Bearer {self._value('token')}"
            case "oauth2":
                request.headers["Authorization"] = f"Bearer {(yield from self._access_token())}"
            case _:
                pass
        return request

    def renew(self, answer: Answer) -> bool:
        """Take note that the API refused our credentials; return whether others can be had."""
        self._is_stale = self._options.auth == "oauth2" and self.is_ours(answer.url)
        return self._is_stale

    @property
    def hidden_parameter(self) -> str:
        """The name of the parameter that holds the key, "" where none does."""
        options = self._options
        return options.key_name if options.auth == "api_key" and options.key_in == "parameter" else ""

    def _resolved_headers(self) -> tuple[tuple[str, str], ...]:
        if self._headers is None:
            connection = self._access.connection
            self._headers = tuple((name, resolve(value, connection)) for name, value in self._access.headers)
            told = [new for (_, new), (_, old) in zip(self._headers, self._access.headers, strict=True) if new != old]
            self._exchange.secrets.add(*told)
        return self._headers

    def _value(self, name: str) -> str:
        """Return an option, its secret resolved."""
        if name not in self._values:
            written = str(getattr(self._options, name))
            if not written and name in NEEDED.get(self._options.auth, ()):
                raise refuse(self._access.connection, f"signing in by `{self._options.auth}` needs `{name}`")
            self._values[name] = resolve(written, self._access.connection)
            if name not in {"token_url", "client_id", "user", "scope"}:
                self._exchange.secrets.add(self._values[name])
        return self._values[name]

    # --- OAuth 2.0 ------------------------------------------------------------------------------------------------

    def _access_token(self) -> Steps[str]:
        """Return a token that is good as far as we know. Who needs another first looks whether someone else has one.

        Two sources of one API, each with a refresh token that the other has used up, would lock each other out.
        """
        refused = self._tokens if self._is_stale else None
        if self._tokens is None or self._is_stale or _is_over(self._tokens):
            with (yield from self._alone()):
                kept = load_tokens(self._path, self._asked_with())
                if kept is None or kept == refused or _is_over(kept):
                    kept = yield from self._ask_for_tokens(kept)
            self._exchange.secrets.add(kept.access, kept.refresh)
            self._tokens, self._is_stale = kept, False
        return self._tokens.access

    def _alone(self) -> Steps[AbstractContextManager[object]]:
        """Wait until no other source of the API, in whatever process, is about to ask for tokens."""
        lock = lock_of(self._path)
        while True:
            with suppress(Timeout):
                return lock.acquire(blocking=False)
            yield from self._exchange.pause(LOOK_AGAIN_S)

    def _ask_for_tokens(self, held: Tokens | None) -> Steps[Tokens]:
        """Ask with the last refresh token, the configured one where that is refused, or as the client itself."""
        configured = self._value("refresh_token")
        candidates = list(dict.fromkeys(token for token in (held.refresh if held else "", configured) if token)) or [""]
        for number, refresh in enumerate(candidates):
            try:
                return (yield from self._grant(refresh))
            except UserMistake as error:
                if error.kind.code != "INT_ALPHA_018" or number == len(candidates) - 1:
                    raise
        raise AssertionError(candidates)

    def _grant(self, refresh: str) -> Steps[Tokens]:
        options = self._options
        form = {"grant_type": "refresh_token", "refresh_token": refresh} if refresh else {
            "grant_type": "client_credentials"
        }  # fmt: skip
        if options.scope:
            form["scope"] = options.scope
        client_id, secret = self._value("client_id"), self._value("client_secret")
        if options.client_auth == "body":
            form |= {"client_id": client_id, "client_secret": secret}
        where = f"`{self._access.connection.name}`, token URL"

        def build(target: httpx.URL | None) -> Steps[httpx.Request]:
            if target is not None:
                raise UserMistake("INT_ALPHA_020", f"{where}: redirects", remedy="mend `token_url`")
            request = httpx.Request("POST", self._token_url(), data=form, headers={"Accept": "application/json"})
            if options.client_auth == "header":
                request = next(httpx.BasicAuth(client_id, secret).auth_flow(request))
                self._exchange.secrets.add(f"{client_id}:{secret}")
            yield from ()  # what others wait for: nothing
            return request

        def read(answer: Answer) -> Tokens:
            tokens = self._granted(answer, refresh)
            keep_tokens(self._path, tokens)  # before anything is done with them
            return tokens

        try:
            return (yield from self._exchange.persist(build, read, idempotent=True, where=where))
        except UserMistake as error:  # RFC 6749 5.2: whatever is wrong with a grant is a 400 or a 401
            code = "INT_ALPHA_018" if "answers 400" in error.message else error.kind.code
            raise UserMistake(code, error.message, remedy="check the credentials, or sign in anew") from None

    def _granted(self, answer: Answer, refresh: str) -> Tokens:
        try:
            granted = msgspec.json.decode(answer.body, type=_Granted)
            lasts_s = None if granted.expires_in is None else float(granted.expires_in)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
            raise Unreadable("the answer holds no `access_token`") from error
        expires_s = None if lasts_s is None else steady_time_s() + lasts_s - min(EARLY_S, lasts_s / 10)
        tokens = Tokens(self._asked_with(), granted.access_token, granted.refresh_token or refresh, expires_s)
        self._exchange.secrets.add(tokens.access, tokens.refresh)
        return tokens

    def _token_url(self) -> str:
        url = httpx.URL(self._access.url).join(self._value("token_url"))
        if url.scheme not in {"http", "https"}:
            raise refuse(self._access.connection, "`token_url` is neither http nor https")
        return str(url)

    def _asked_with(self) -> str:
        """Return a hash of the credentials as configured: a refresh token that is new there goes before a kept one."""
        values = [self._value(name) for name in ("token_url", "client_id", "refresh_token", "scope")]
        return hashlib.sha256("\0".join(values).encode()).hexdigest()


def _is_over(tokens: Tokens) -> bool:
    return tokens.expires_s is not None and steady_time_s() >= tokens.expires_s


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    default = {"http": 80, "https": 443}.get(url.scheme)
    return url.scheme, url.host, url.port or default
