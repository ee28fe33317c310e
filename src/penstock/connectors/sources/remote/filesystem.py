"""Files that fsspec reaches, by any protocol that it knows and whose client is installed."""

from __future__ import annotations

import ftplib
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

import fsspec  # type: ignore[import-untyped]  # it ships no types

from penstock.connectors.sources.remote.store import RemoteFile, address_of
from penstock.errors import PenstockError, Unavailable, UserMistake
from penstock.model.pipeline import without_password

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from penstock.model.pipeline import Connection

_TAGS = ("ETag", "etag", "version_id", "generation")
_TIMES = ("LastModified", "last_modified", "Last-Modified", "mtime", "modify", "updated", "created")
"""Where the file systems of fsspec say which content a file has, and when it was last written: first one found."""
_SECRETS = ("password", "key", "secret", "token")
_ELSEWHERE = (OSError, ftplib.Error, EOFError)
"""What file systems raise when the other side does not do what it should. Most raise an OSError."""


class FileSystem:
    """A Store that fsspec knows the protocol of."""

    lists = True

    def __init__(self, connection: Connection) -> None:
        """UserMistake where there is no such protocol, or its client is not installed."""
        self._connection = connection
        self._shown = without_password(connection.url)
        url, options = address_of(connection)
        self._secrets = [options[name] for name in _SECRETS if options.get(name)]
        with self._reached(self._shown):
            try:
                self._files, root = fsspec.core.url_to_fs(
                    url, skip_instance_cache=True, use_listings_cache=False, **options
                )
            except (ValueError, ImportError, TypeError) as error:
                raise UserMistake(
                    "INT_PIPELINE_008",
                    f"connection `{connection.name}` cannot reach `{self._shown}`: {self._masked(error)}",
                    remedy="install what fsspec needs for it, or mend the URL",
                ) from error
        self._root = root.rstrip("/")

    def __str__(self) -> str:
        return self._shown

    def place(self, path: str) -> str:
        """See Store."""
        return f"{self._shown.rstrip('/')}/{path}"

    def find(self, path: str) -> RemoteFile | None:
        """See Store."""
        with self._reached(self.place(path)):
            self._files.invalidate_cache()
            try:
                info = self._files.info(self._whole(path))
            except FileNotFoundError:
                return None
            return self._file(info) if info["type"] == "file" else None

    def list(self, folder: str) -> Sequence[RemoteFile]:
        """See Store."""
        with self._reached(self.place(folder)):
            self._files.invalidate_cache()
            try:
                found = self._files.ls(self._whole(folder), detail=True)
            except (FileNotFoundError, NotADirectoryError):
                return []
            return [self._file(info) for info in found if info["type"] == "file"]

    def match(self, pattern: str) -> Sequence[RemoteFile]:
        """See Store."""
        with self._reached(self.place(pattern)):
            self._files.invalidate_cache()
            found = self._files.glob(self._whole(pattern), detail=True)
            return [self._file(info) for info in found.values() if info["type"] == "file"]

    def copy(self, path: str, to: Path) -> None:
        """See Store."""
        with self._reached(self.place(path)), to.open("wb") as out:
            # What works asynchronously takes names only, and what does not may leave open what it opened itself.
            self._files.get_file(self._whole(path), str(to) if self._files.async_impl else out)

    def close(self) -> None:
        """Do nothing: file systems close themselves when they are forgotten."""

    def _whole(self, path: str) -> str:
        return f"{self._root}/{path}" if path else self._root or "/"

    def _file(self, info: dict[str, Any]) -> RemoteFile:
        path = str(info["name"]).removeprefix(self._root).lstrip("/")
        size = info.get("size")
        return RemoteFile(path, None if size is None else int(size), _version_of(info))

    @contextmanager
    def _reached(self, place: str) -> Iterator[None]:
        """Say in whose hands it is when the other side refuses, without a word of what is secret."""
        try:
            yield
        except PenstockError:
            raise
        except FileNotFoundError as error:
            raise UserMistake("INT_ALPHA_010", f"{place} is not there") from error
        except (PermissionError, ftplib.error_perm) as error:
            what = f"{place} may not be read: {self._masked(error)}"
            raise UserMistake("INT_ALPHA_014", what, remedy="check what the connection signs in with") from error
        except _ELSEWHERE as error:
            raise Unavailable("INT_ALPHA_014", f"{place} cannot be reached: {self._masked(error)}") from error

    def _masked(self, error: BaseException) -> str:
        said = str(error).partition("\n")[0] or type(error).__name__
        for secret in self._secrets:
            said = said.replace(secret, "***")
        return said


def _version_of(info: dict[str, Any]) -> str:
    tag = next((str(info[key]) for key in _TAGS if info.get(key)), "")
    if tag:
        return tag
    time = next((info[key] for key in _TIMES if info.get(key)), None)
    if time is None or info.get("size") is None:
        return ""
    return f"{info['size']} bytes of {time.isoformat() if isinstance(time, datetime) else time}"
