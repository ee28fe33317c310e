"""Files of a web server, by their names: over HTTP nobody can be asked what there is."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import quote

import httpx

from penstock.connectors.sources.remote.store import RemoteFile, address_of
from penstock.errors import Unavailable, UserMistake
from penstock.model.pipeline import without_password

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from penstock.model.pipeline import Connection

TIMEOUT_S = 30.0
"""How long the server may say nothing."""
_GONE = frozenset({404, 410})
_FORBIDDEN = frozenset({401, 403})
_MAY_PASS = frozenset({408, 425, 429})
"""What a server says that may say something else later; it says 500 and more then, too."""


class WebServer:
    """A Store over HTTP. See Store."""

    lists = False

    def __init__(self, connection: Connection) -> None:
        """Nothing is asked yet. A `token` is sent as a bearer token, a user and a password as basic authentication."""
        self._shown = without_password(connection.url).rstrip("/")
        url, options = address_of(connection)
        user = options.get("username"), options.get("password", "")
        # What is compressed on the way only would not have the size that it is said to have.
        headers = {"Accept-Encoding": "identity"}
        if "token" in options:
            headers["Authorization"] = f"Bearer {options['token']}"
        self._base = url.rstrip("/")
        self._client = httpx.Client(
            auth=(user[0], user[1]) if user[0] else None, headers=headers, timeout=TIMEOUT_S, follow_redirects=True
        )

    def __str__(self) -> str:
        return self._shown

    def place(self, path: str) -> str:
        """See Store."""
        return f"{self._shown}/{path}"

    def find(self, path: str) -> RemoteFile | None:
        """See Store."""
        with self._reached(path):
            answer = self._client.head(self._whole(path))
        if answer.status_code in _GONE:
            return None
        self._check(answer, path)
        size = answer.headers.get("Content-Length", "")
        known = int(size) if size.isdigit() and "Content-Encoding" not in answer.headers else None
        changed = answer.headers.get("Last-Modified", "")
        by_time = f"{size} bytes of {changed}" if changed and known is not None else ""
        return RemoteFile(path, known, answer.headers.get("ETag", by_time))

    def list(self, folder: str) -> Sequence[RemoteFile]:
        """Not to be called."""
        raise NotImplementedError(folder)

    def match(self, pattern: str) -> Sequence[RemoteFile]:
        """Not to be called."""
        raise NotImplementedError(pattern)

    def copy(self, path: str, to: Path) -> None:
        """See Store."""
        with (
            self._reached(path),
            to.open("wb") as out,
            self._client.stream("GET", self._whole(path)) as answer,
        ):
            self._check(answer, path)
            for piece in answer.iter_bytes():
                out.write(piece)

    def close(self) -> None:
        """See Store."""
        self._client.close()

    def _whole(self, path: str) -> str:
        return f"{self._base}/{quote(path)}"

    def _check(self, answer: httpx.Response, path: str) -> None:
        """Raise an error of ours unless the server gives what was asked for."""
        status = answer.status_code
        if status == httpx.codes.OK:
            return
        what = f"{self.place(path)}: the server says {status} {answer.reason_phrase}"
        if status in _GONE:
            raise UserMistake("INT_ALPHA_010", what)
        if status in _MAY_PASS or status >= httpx.codes.INTERNAL_SERVER_ERROR:
            raise Unavailable("INT_ALPHA_014", what)
        remedy = "check what the connection signs in with" if status in _FORBIDDEN else "mend the URL or the path"
        raise UserMistake("INT_ALPHA_014", what, remedy=remedy)

    @contextmanager
    def _reached(self, path: str) -> Iterator[None]:
        try:
            yield
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            said = str(error) or type(error).__name__
            raise Unavailable("INT_ALPHA_014", f"{self.place(path)} cannot be reached: {said}") from error
