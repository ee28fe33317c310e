"""Files on a server as the outside thing of a source, in every encoding. The server speaks FTP."""

from __future__ import annotations

import os
import socket
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from msgspec import structs
from tests.conformance.files_harness import SMALL, CsvHarness, FilesHarness, JsonLinesHarness, ParquetHarness
from tests.conformance.postgres_sink_harness import far_away

from penstock.connectors.sources.remote import RemoteFiles
from penstock.model.pipeline import Connection

if TYPE_CHECKING:
    from collections.abc import Iterator

PASSWORD = "open/ses@me:of ftp"  # noqa: S105 - of a server that lives as long as a test
PASSWORD_VARIABLE = "PENSTOCK_TEST_FTP"  # noqa: S105 - the name of a variable


@dataclass
class RemoteHarness(FilesHarness):
    """Files below `root`, which a server at `address` shows."""

    address: str = ""
    settings = SMALL
    secrets = (PASSWORD,)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.connection = Connection("shop", url=url_of(self.address))

    @contextmanager
    def away(self) -> Iterator[None]:
        """Nobody listens at the port."""
        with socket.create_server(("127.0.0.1", 0)) as nobody:
            port = nobody.getsockname()[1]
        with self._through(f"127.0.0.1:{port}"):
            yield

    @contextmanager
    def denied(self) -> Iterator[None]:
        """The password is another now."""
        os.environ[PASSWORD_VARIABLE] = "something else"
        try:
            yield
        finally:
            os.environ[PASSWORD_VARIABLE] = PASSWORD

    @contextmanager
    def slow(self) -> Iterator[None]:
        """Whatever is asked of the server and answered by it is late."""
        place = urlsplit(url_of(self.address))
        with far_away(str(place.hostname), place.port or 21) as port, self._through(f"127.0.0.1:{port}"):
            yield

    @contextmanager
    def _through(self, address: str) -> Iterator[None]:
        connection = self.connection
        self.connection = structs.replace(connection, url=url_of(address))
        try:
            yield
        finally:
            self.connection = connection


@dataclass
class RemoteCsvHarness(RemoteHarness, CsvHarness):
    """One CSV file, which grows."""

    promises = RemoteFiles.declares.promises[0]


@dataclass
class RemoteJsonLinesHarness(RemoteHarness, JsonLinesHarness):
    """One JSON Lines file, which grows."""

    promises = RemoteFiles.declares.promises[1]


@dataclass
class RemoteParquetHarness(RemoteHarness, ParquetHarness):
    """A folder of Parquet files, each whole when it gets its name."""

    promises = RemoteFiles.declares.promises[2]


def url_of(address: str) -> str:
    return f"ftp://me:${{{PASSWORD_VARIABLE}}}@{address}/"
