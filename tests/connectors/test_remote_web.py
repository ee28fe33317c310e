"""Files of a web server: by their names, by their versions, and what it says when it gives none."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from penstock.connectors import open_source
from penstock.errors import Unavailable, UserMistake
from penstock.model.finding import Place
from penstock.model.pipeline import Connection, SourceTable
from penstock.model.schema import Field, parse_type
from penstock.model.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from penstock.model.position import Position
    from penstock.ports import Source

FIELDS = (Field("id", parse_type("bigint")), Field("name", parse_type("text")))


class Handler(SimpleHTTPRequestHandler):
    """The standard library's server of files; `server.mood` says how it misbehaves."""

    server: WebServer

    def send_head(self):  # type: ignore[no-untyped-def]  # noqa: ANN201 - as the standard library has it
        self.server.asked.append((self.command, self.path))
        self.server.signed_in_as = self.headers.get("Authorization", "")
        if self.server.mood == "break off" and self.command == "GET":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"id,name\n1,a\n")
            return None
        if self.server.mood.isdigit():
            self.send_error(int(self.server.mood))
            return None
        return super().send_head()

    def end_headers(self) -> None:
        if self.server.tag:
            self.send_header("ETag", self.server.tag)
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the standard library calls it
        """Say nothing."""


class WebServer(ThreadingHTTPServer):
    mood = ""
    tag = ""
    signed_in_as = ""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
        self.asked: list[tuple[str, str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/data"


@contextmanager
def served(folder: Path) -> Iterator[WebServer]:
    with WebServer(folder) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def there(tmp_path: Path) -> Path:
    folder = tmp_path / "there" / "data"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def server(there: Path) -> Iterator[WebServer]:
    with served(there.parent) as started:
        yield started


@pytest.fixture
def source(server: WebServer, tmp_path: Path) -> Iterator[Callable[..., Source]]:
    made: list[Source] = []

    def make(path: str = "", url: str = "", **options: str) -> Source:
        connection = Connection("shop", path=path, url=url or server.url, options=options)
        table = SourceTable("orders", "public", "shop", connection, FIELDS, Place("test"))
        made.append(open_source(table, tmp_path, Settings(), tmp_path / ".penstock"))
        return made[-1]

    yield make
    for each in made:
        each.close()


def lines(start: int, end: int) -> str:
    return "".join(f"{number},name {number}\n" for number in range(start, end))


def read(source: Source, partition: str, position: Position | None = None) -> tuple[list[int], Position | None]:
    ids: list[int] = []
    for chunk in source.read(partition, position):
        ids += [int(number) for number in chunk.records.column("id").to_pylist()]
        position = chunk.next
    return ids, position


def test_a_table_is_a_file_by_its_name(there: Path, source: Callable[..., Source]) -> None:
    (there / "orders.csv").write_text("id,name\n" + lines(0, 10))
    (there / "or ders #1.csv").write_text("id,name\n" + lines(10, 20))
    assert source().partitions() == ("orders.csv",)
    assert source("{table}.csv").partitions() == ("orders.csv",)
    assert read(source(), "orders.csv")[0] == list(range(10))
    assert source("or ders #1.csv").partitions() == ("or ders #1.csv",)
    assert read(source(), "or ders #1.csv")[0] == list(range(10, 20))


def test_what_has_the_same_tag_is_not_fetched_again_and_what_grew_is_read_on(
    there: Path, server: WebServer, source: Callable[..., Source]
) -> None:
    (there / "orders.csv").write_text("id,name\n" + lines(0, 10))
    server.tag = '"one"'
    ids, position = read(source(), "orders.csv")
    assert ids == list(range(10))
    assert read(source(), "orders.csv", position) == ([], position)
    assert [path for command, path in server.asked if command == "GET"] == ["/data/orders.csv"]
    (there / "orders.csv").write_text("id,name\n" + lines(0, 12))
    server.tag = '"two"'
    assert read(source(), "orders.csv", position)[0] == [10, 11]


def test_without_a_tag_size_and_time_tell_versions_apart(
    there: Path, server: WebServer, source: Callable[..., Source]
) -> None:
    (there / "orders.csv").write_text("id,name\n" + lines(0, 10))
    _, position = read(source(), "orders.csv")
    assert read(source(), "orders.csv", position)[0] == []
    assert [command for command, _ in server.asked].count("GET") == 1
    (there / "orders.csv").write_text("id,name\n" + lines(0, 11))
    assert read(source(), "orders.csv", position)[0] == [10]


def test_a_transfer_that_breaks_off_gives_no_records_and_may_be_tried_again(
    there: Path, server: WebServer, source: Callable[..., Source]
) -> None:
    (there / "orders.csv").write_text("id,name\n" + lines(0, 10))
    server.mood = "break off"
    with pytest.raises(Unavailable, match=r"data/orders\.csv cannot be reached: ") as caught:
        read(source(), "orders.csv")
    assert caught.value.kind.code == "INT_ALPHA_014"
    server.mood = ""
    assert read(source(), "orders.csv")[0] == list(range(10))


@pytest.mark.parametrize(
    ("status", "error"),
    [("401", UserMistake), ("403", UserMistake), ("400", UserMistake), ("429", Unavailable), ("503", Unavailable)],
)
def test_what_the_server_says_decides_whether_later_may_help(
    server: WebServer, source: Callable[..., Source], status: str, error: type[Exception]
) -> None:
    server.mood = status
    with pytest.raises(error, match=rf"INT_ALPHA_014 http://.*/data/orders\.csv: the server says {status} "):
        source().partitions()


def test_no_file_and_a_pattern_are_the_users_to_mend(source: Callable[..., Source]) -> None:
    with pytest.raises(UserMistake, match="no file for table `orders`: looked for orders with an ending of") as caught:
        source().partitions()
    assert caught.value.kind.code == "INT_ALPHA_010"
    with pytest.raises(UserMistake, match="HTTP does not tell what fits"):
        source("*.csv").partitions()


def test_who_signs_in_does_so_as_the_connection_says(
    there: Path, server: WebServer, source: Callable[..., Source], monkeypatch: pytest.MonkeyPatch
) -> None:
    (there / "orders.csv").write_text("id,name\n")
    monkeypatch.setenv("SESAME", "open/ses@me")
    source(token="${SESAME}").partitions()  # noqa: S106 - a reference
    assert server.signed_in_as == "Bearer open/ses@me"
    source(url=server.url.replace("//", "//me:${SESAME}@")).partitions()
    assert server.signed_in_as == "Basic bWU6b3Blbi9zZXNAbWU="


def test_a_server_that_is_away_may_be_back_later_and_no_password_is_told(
    there: Path, source: Callable[..., Source], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SESAME", "open/ses@me")
    with served(there) as other:
        gone = other.url.replace("//", "//me:${SESAME}@")
    with pytest.raises(Unavailable, match=r"http://me@127.*orders\.csv cannot be reached") as caught:
        source(url=gone).partitions()
    assert "ses" not in str(caught.value)
