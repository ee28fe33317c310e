"""A file server over FTP (RFC 959, RFC 3659), as much of it as reading takes; it can be told to misbehave."""

from __future__ import annotations

import socket
import socketserver
import threading
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class FtpServer(socketserver.ThreadingTCPServer):
    """Serves `folder` to one user. `sent` lists the files that were sent whole or not."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, folder: Path, user: str, password: str) -> None:
        super().__init__(("127.0.0.1", 0), _Session)
        self.folder = folder
        self.user = user
        self.password = password
        self.sent: list[str] = []
        self.break_off_after: int | None = None
        """Bytes after which a transfer breaks off."""
        self.while_sending: Callable[[], None] | None = None
        """Done once, in the middle of the next transfer."""

    @property
    def address(self) -> str:
        """Host and port, as in a URL."""
        return f"127.0.0.1:{self.server_address[1]}"


@contextmanager
def ftp_server(folder: Path, user: str = "me", password: str = "open/ses@me") -> Iterator[FtpServer]:  # noqa: S107
    """Serve `folder` until the block ends."""
    with FtpServer(folder, user, password) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class _Session(socketserver.StreamRequestHandler):
    server: FtpServer
    OPEN: ClassVar[frozenset[str]] = frozenset({"USER", "PASS", "QUIT"})
    _listener: socket.socket | None = None

    def handle(self) -> None:
        self._signed_in = False
        self._name = ""
        self._say("220 here")
        try:
            for line in self.rfile:
                command, _, argument = line.decode().rstrip("\r\n").partition(" ")
                does = getattr(self, f"_{command.lower()}", None)
                if does is None:
                    self._say("502 not here")
                elif command not in self.OPEN and not self._signed_in:
                    self._say("530 sign in first")
                elif does(argument):
                    return
        except ConnectionError:
            return
        finally:
            if self._listener is not None:
                self._listener.close()

    def _say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())

    def _user(self, name: str) -> None:
        self._name = name
        self._say("331 and the password?")

    def _pass(self, password: str) -> None:
        self._signed_in = (self._name, password) == (self.server.user, self.server.password)
        self._say("230 in" if self._signed_in else f"530 not {password}")

    def _type(self, _: str) -> None:
        self._say("200 as it is")

    def _pwd(self, _: str) -> None:
        self._say('257 "/"')

    def _quit(self, _: str) -> bool:
        self._say("221 bye")
        return True

    def _pasv(self, _: str) -> None:
        if self._listener is not None:
            self._listener.close()
        self._listener = socket.create_server(("127.0.0.1", 0))
        port = self._listener.getsockname()[1]
        self._say(f"227 at (127,0,0,1,{port >> 8},{port & 255})")

    def _mlsd(self, path: str) -> None:
        folder = self.server.folder / path.lstrip("/")
        if not folder.is_dir():
            self._say("550 no such folder")
            return
        self._send("".join(_facts(entry) for entry in sorted(folder.iterdir())).encode())

    def _retr(self, path: str) -> None:
        file = self.server.folder / path.lstrip("/")
        if not file.is_file():
            self._say("550 no such file")
            return
        self.server.sent.append(path.lstrip("/"))
        self._send(file.read_bytes(), misbehave=True)

    def _send(self, content: bytes, *, misbehave: bool = False) -> None:
        assert self._listener is not None
        self._say("150 it comes")
        connection, _ = self._listener.accept()
        limit = self.server.break_off_after if misbehave else None
        with connection:
            connection.sendall(content[:limit])
            if misbehave and self.server.while_sending is not None:
                meanwhile, self.server.while_sending = self.server.while_sending, None
                meanwhile()
        self._say("226 done" if limit is None else "426 broke off")


def _facts(entry: Path) -> str:
    stat = entry.stat()
    kind = "dir" if entry.is_dir() else "file"
    at = datetime.fromtimestamp(stat.st_mtime, UTC)
    return f"type={kind};size={stat.st_size};modify={at:%Y%m%d%H%M%S.%f}; {entry.name}\r\n"
