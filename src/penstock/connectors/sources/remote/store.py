"""What a URL leads to: which files there are, which version of each, and a copy of one."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote, unquote

import msgspec

from penstock.connectors.secrets import resolve

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from penstock.model.pipeline import Connection

_URL_CHARACTERS = partial(quote, safe="")


class RemoteFile(msgspec.Struct, frozen=True):
    """A file there: `path` from the connection's URL on, bytes, and a word that is another one when its content is.

    `version` is empty where the other side tells nothing by which to know.
    """

    path: str
    size: int | None
    version: str


class Store(Protocol):
    """The files below a connection's URL. Used from one thread at a time.

    Raises UserMistake for what only a person can mend, Unavailable for what may be gone later.
    """

    lists: bool
    """Whether it can be asked what there is: `list` and `match` are not to be called where not."""

    def place(self, path: str) -> str:
        """Return what to call a file in messages."""

    def find(self, path: str) -> RemoteFile | None:
        """Return the file at `path`, None where there is none."""

    def list(self, folder: str) -> Sequence[RemoteFile]:
        """Return the files in `folder`, none where there is no such folder."""

    def match(self, pattern: str) -> Sequence[RemoteFile]:
        """Return the files that fit `pattern`: `*`, `?`, `[...]`, and `**` for folders of any depth."""

    def copy(self, path: str, to: Path) -> None:
        """Write the file's content to `to`, which is made or emptied."""

    def close(self) -> None:
        """Let go of the connection."""


def address_of(connection: Connection) -> tuple[str, dict[str, str]]:
    """Return the connection's URL and options with secrets in them, and who signs in as the options say it."""
    options = {name: resolve(value, connection) for name, value in connection.options.items()}
    # Not every file system undoes the quotes of what stands in a URL.
    url, signing_in = _without_user(resolve(connection.url, connection, _URL_CHARACTERS))
    return url, {**signing_in, **options}


def _without_user(url: str) -> tuple[str, dict[str, str]]:
    """Return `url` without what stands before its @, and that as options."""
    scheme, colon, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    before, _, host = host.rpartition("@")
    user, _, password = before.partition(":")
    said = {"username": unquote(user), "password": unquote(password)}
    return f"{scheme}{colon}{host}{slash}{path}", {name: word for name, word in said.items() if word}
