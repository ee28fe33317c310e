"""A REST API that misbehaves on purpose: started as a process of its own, told what to do over HTTP.

    python misbehaving.py '{"records": 1000, "page_size": 100}'

prints its port and serves until its standard input ends. Records are numbered from 0; their `updated_at` rises by a
second each. Every pagination has a path of its own (`/cursor`, `/link`, `/offset`, `/page`, `/none`), and `/token`
hands out tokens. `/_log` answers what was asked and when, `/_faults` (POST) takes faults for the requests to come,
`/_configure` (POST) changes the configuration. Times are of the monotonic clock, taken when a request has been read.
"""

from __future__ import annotations

import base64
import gzip
import json
import random
import socket
import struct
import sys
import threading
import time
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

EPOCH = datetime(2024, 1, 1, tzinfo=UTC)
WHOLE: dict[str, tuple[bytes, dict[str, str]]] = {
    "html": (b"<html>maintenance</html>", {"Content-Type": "text/html"}),
    "bomb": (gzip.compress(b" " * (4 << 20)), {"Content-Encoding": "gzip"}),
    "deep": (b'{"data": [' + b"[" * 100_000 + b"]" * 100_000 + b"]}", {}),
}
"""Answers that are not what they should be: body and headers, by fault."""
CUT_SHORT: dict[str, tuple[bytes, dict[str, str]]] = {
    "truncated": (b'{"data": [{"id": 1}, {"i', {"Content-Length": "4096"}),
    "chunk": (b'5\r\n{"dat\r\n', {"Transfer-Encoding": "chunked"}),
}
"""Answers after which the server hangs up."""


@dataclass
class Configuration:
    """What the API holds and how it behaves."""

    records: int = 1000
    page_size: int = 100
    auth: str = "none"
    """none, key (header X-API-Key or parameter `api_key`: "s3cret-key"), basic (user:s3cret-word), bearer or oauth2."""
    token_uses: int = 0
    """Requests after which an access token expires, in the middle of whatever it is used for; 0: never."""
    expires_in: float = 3600
    rotates: bool = True
    """Whether a refresh token is used up: it and what it gave are good until its successor is used."""
    faults: dict[str, float] = field(default_factory=dict)
    """By fault, the share of requests that it befalls, drawn by `seed`."""
    seed: int = 1
    retry_after: float = 1.0
    hang_s: float = 30.0
    slow_s: float = 0.3
    bad_every: int = 0
    """Each so many-th record is not an object, and the one after it has no id."""
    shape: str = "data"
    """The member that holds the records; "" for a bare list, "." for JSON Lines."""
    next_name: str = "next_cursor"
    cursor_prefix: str = ""
    """What every cursor of a table begins with."""
    other: str = ""
    """The base URL of another server, which `/elsewhere` redirects to and `/away` links to."""


class State:
    """Everything that changes while the server lives."""

    def __init__(self, configuration: Configuration) -> None:
        self.lock = threading.Lock()
        self.configuration = configuration
        self.chance = random.Random(configuration.seed)
        self.log: list[dict[str, Any]] = []
        self.scripted: list[str] = []
        self.access: dict[str, tuple[float, int, str]] = {}
        """By access token: when it expires, how often it was used, the refresh token that came with it."""
        self.refresh: dict[str, str] = {"first-refresh-token": ""}
        """By refresh token that is good: the one whose successor it is."""
        self.issued = 0
        self.tables: dict[str, list[tuple[str, str]]] = {}
        """By name: records as they are written, each with when it was changed."""

    def fault(self, path: str) -> str:
        if path.startswith("/_"):
            return ""
        if self.scripted:
            return self.scripted.pop(0)
        draw = self.chance.random()
        for name, share in self.configuration.faults.items():
            if draw < share:
                return name
            draw -= share
        return ""

    # --- OAuth 2.0 ------------------------------------------------------------------------------------------------

    def grant(self, form: dict[str, list[str]]) -> dict[str, Any] | None:
        """Hand out tokens, or None for credentials that are not good."""
        kind, refresh = form.get("grant_type", [""])[0], form.get("refresh_token", [""])[0]
        if kind == "refresh_token" and refresh not in self.refresh:
            return None
        self.issued += 1
        access = f"access-token-{self.issued}"
        answer: dict[str, Any] = {"access_token": access, "token_type": "bearer"}
        answer["expires_in"] = self.configuration.expires_in
        given = ""
        if kind == "refresh_token":
            self._forget_before(refresh)
            if self.configuration.rotates:
                given = answer["refresh_token"] = f"refresh-token-{self.issued}"
                self.refresh[given] = refresh
        self.access[access] = (time.monotonic() + self.configuration.expires_in, 0, given)
        return answer

    def accepts(self, access: str) -> bool:
        if access not in self.access:
            return False
        expires_s, used, given = self.access[access]
        self._forget_before(given)
        limit = self.configuration.token_uses
        if time.monotonic() > expires_s or (limit and used >= limit):
            del self.access[access]
            return False
        self.access[access] = (expires_s, used + 1, given)
        return True

    def _forget_before(self, refresh: str) -> None:
        """A refresh token that is used, or whose access token is, ends the one before it."""
        self.refresh.pop(self.refresh.get(refresh, ""), None)


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server: Server
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self._serve({})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        self._serve({"body": body.decode()})

    def log_message(self, *_: object) -> None:
        pass

    def _serve(self, more: dict[str, Any]) -> None:
        at_s = time.monotonic()
        state, parts = self.server.state, urlsplit(self.path)
        asked = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        with state.lock:
            if parts.path.startswith("/_"):
                self._control(parts.path, more.get("body", ""))
                return
            fault = state.fault(parts.path)
            entry = {"at_s": at_s, "method": self.command, "path": parts.path, "asked": asked, "fault": fault, **more}
            entry["headers"] = {name.lower(): value for name, value in self.headers.items()}
            state.log.append(entry)
        if self._misbehave(fault, parts.path, asked):
            return
        if parts.path == "/token":
            self._token(more.get("body", ""))
        elif not self._knows_who_asks(asked):
            self._json(401, {"error": "who is that?", "authorization": self.headers.get("authorization", "")})
        else:
            self._answer(parts.path, asked, fault, more)

    # --- misbehaviour ---------------------------------------------------------------------------------------------

    def _misbehave(self, fault: str, path: str, asked: dict[str, str]) -> bool:
        """Do what `fault` says instead of answering; False where there is to be an answer all the same."""
        kind, _, more = fault.partition(" ")
        if kind == "status":
            self._json(int(more), {"error": f"{more}, said {path}?{urlencode(asked)}"})
        elif kind == "429":
            self._json(429, {}, self._retry_after(more))
        elif kind == "redirect":
            self._json(302, {}, {"Location": more})
        elif kind == "empty":
            self.send_response(204)
            self.end_headers()
        elif kind in WHOLE:
            self._send(200, *WHOLE[kind])
        elif kind in CUT_SHORT:
            self._send(200, *CUT_SHORT[kind])
            self._hang_up()
        elif kind == "reset":
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self._hang_up()
        elif kind == "hang":
            self.server.ending.wait(self.server.state.configuration.hang_s)
            self._hang_up()
        elif kind == "drip":
            self._drip()
        else:
            return False
        return True

    def _retry_after(self, how: str) -> dict[str, str]:
        """Return the header: by date, in seconds, or none."""
        seconds = self.server.state.configuration.retry_after
        if how == "bare":
            return {}
        if how == "date":
            after = datetime.now(UTC) + timedelta(seconds=seconds + 1)
            return {"Retry-After": format_datetime(after, usegmt=True)}
        return {"Retry-After": how or f"{seconds:.0f}"}

    def _drip(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "10000")
        self.end_headers()
        for _ in range(10_000):
            if self.server.ending.wait(0.05):
                break
            try:
                self.wfile.write(b" ")
            except OSError:
                break
        self._hang_up()

    def _hang_up(self) -> None:
        self.close_connection = True
        self.connection.close()

    # --- good behaviour -------------------------------------------------------------------------------------------

    def _knows_who_asks(self, asked: dict[str, str]) -> bool:
        said = self.headers.get("authorization", "")
        match self.server.state.configuration.auth:
            case "key":
                return "s3cret-key" in {self.headers.get("x-api-key"), asked.get("api_key")}
            case "basic":
                return said == "Basic " + base64.b64encode(b"user:s3cret-word").decode()
            case "bearer":
                return said == "Bearer s3cret-token"
            case "oauth2":
                with self.server.state.lock:
                    return self.server.state.accepts(said.removeprefix("Bearer "))
            case _:
                return True

    def _token(self, body: str) -> None:
        form = parse_qs(body)
        basic = "Basic " + base64.b64encode(b"client:s3cret-client").decode()
        in_body = (form.get("client_id"), form.get("client_secret")) == (["client"], ["s3cret-client"])
        if self.headers.get("authorization") != basic and not in_body:
            self._json(401, {"error": "invalid_client", "was": body})
            return
        with self.server.state.lock:
            answer = self.server.state.grant(form)
        if answer is None:
            self._json(400, {"error": "invalid_grant", "was": form["refresh_token"][0]})
        else:
            self._json(200, answer)

    def _answer(self, path: str, asked: dict[str, str], fault: str, more: dict[str, Any]) -> None:
        configuration = self.server.state.configuration
        if fault == "slow":
            self.server.ending.wait(configuration.slow_s)
        if more.get("body"):
            asked = {**asked, **json.loads(more["body"])}
        found = [number for number in range(configuration.records) if _is_new(number, asked.get("since", ""))]
        size = int(asked.get("limit", configuration.page_size))
        if path.startswith("/table/"):
            self._table(path.removeprefix("/table/"), asked, size)
            return
        if path in {"/elsewhere", "/away"}:
            self._lead_away(path, found[:size])
            return
        if path not in {"/none", "/page", "/offset", "/cursor", "/link"}:
            self._json(404, {"error": "no such thing"})
            return
        start, size = _part(path, asked, size, len(found))
        if fault == "repeat":
            start = max(0, start - size)
        page = found[start : start + size]
        following = f"c{start + size}" if start + size < len(found) else None
        headers = {}
        if path == "/link" and following:
            query = urlencode({**asked, "cursor": following})
            headers["Link"] = f'</link?x=1>; rel="first", </link?{query}>; rel="next"; title="a, b"'
        self._page(page, headers, following if path == "/cursor" else None, reverse=fault == "changed")

    def _table(self, name: str, asked: dict[str, str], size: int) -> None:
        """Answer a page of a table that somebody made."""
        since = datetime.fromisoformat(asked["since"]) if "since" in asked else datetime.min.replace(tzinfo=UTC)
        with self.server.state.lock:
            rows = self.server.state.tables.get(name)
        if rows is None:
            self._json(404, {"error": f"there is no {name}"})
            return
        found = [line for line, changed in rows if not changed or datetime.fromisoformat(changed) >= since]
        prefix = self.server.state.configuration.cursor_prefix
        start = int(asked.get("cursor", "0").removeprefix(prefix))
        following = f'"{prefix}{start + size}"' if start + size < len(found) else "null"
        records = ", ".join(found[start : start + size])
        self._send(200, f'{{"next_cursor": {following}, "data": [{records}]}}'.encode())

    def _lead_away(self, path: str, numbers: list[int]) -> None:
        other = f"{self.server.state.configuration.other}/none"
        if path == "/elsewhere":
            self._json(302, {}, {"Location": other})
        else:
            self._page(numbers, {"Link": f'<{other}>; rel="next"'}, None)

    def _page(
        self, numbers: list[int], headers: dict[str, str], following: str | None, *, reverse: bool = False
    ) -> None:
        configuration = self.server.state.configuration
        rows = [record(number, configuration.bad_every) for number in (reversed(numbers) if reverse else numbers)]
        if configuration.shape == ".":
            body = "".join(json.dumps(row) + "\n" for row in rows)
        elif not configuration.shape:
            body = json.dumps(rows)
        else:
            whole: dict[str, Any] = {"total": configuration.records, configuration.shape: rows}
            if configuration.next_name:
                whole[configuration.next_name] = following
            body = json.dumps(whole, indent=1)
        self._send(200, body.encode(), headers)

    # --- answers --------------------------------------------------------------------------------------------------

    def _control(self, path: str, body: str) -> None:
        state = self.server.state
        if path == "/_faults":
            state.scripted.extend(json.loads(body))
        elif path == "/_reset":
            self.server.begin()
        elif path == "/_create":
            state.tables[json.loads(body)] = []
        elif path == "/_add":
            name, rows = json.loads(body)
            state.tables[name] += [(line, changed) for line, changed in rows]
        elif path == "/_configure":
            for name, value in json.loads(body).items():
                setattr(state.configuration, name, value)
            if "seed" in json.loads(body):
                state.chance = random.Random(state.configuration.seed)
        self._json(200, state.log)

    def _json(self, status: int, answer: object, headers: dict[str, str] | None = None) -> None:
        self._send(status, json.dumps(answer).encode(), headers or {})

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        headers = headers or {}
        self.send_response(status)
        if not {"Content-Length", "Transfer-Encoding"} & headers.keys():
            headers = {**headers, "Content-Length": str(len(body))}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()


class Server(ThreadingHTTPServer):
    """The server, with what it is told."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, configuration: Configuration) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self._configuration = configuration
        self.ending = threading.Event()
        self.begin()

    def begin(self) -> None:
        """Begin anew, as configured at first."""
        self.state = State(replace(self._configuration))

    def handle_error(self, *_: object) -> None:
        """Clients that are killed hang up in the middle of things."""


def record(number: int, bad_every: int = 0) -> Any:  # noqa: ANN401 - bad ones are of any kind
    """Return a record; each `bad_every`-th is no object, and the one after it lacks its id."""
    if bad_every and number % bad_every == bad_every - 2:
        return f"not an object: {number}"
    whole = {
        "id": number,
        "name": f"number {number}\n\u00e9",
        "amount": f"{number}.{number % 100:02d}",
        "status": ("new", "paid", "sent")[number % 3],
        "customer": {"id": number % 7, "tags": ["a", "b"]},
        "updated_at": when(number),
    }
    if bad_every and number % bad_every == bad_every - 1:
        del whole["id"]
    return whole


def when(number: int) -> str:
    """Return when a record was changed."""
    return (EPOCH + timedelta(seconds=number)).isoformat().replace("+00:00", "Z")


def _part(path: str, asked: dict[str, str], size: int, count: int) -> tuple[int, int]:
    """Return where the page begins that is asked for, and how many records it has at most."""
    match path:
        case "/none":
            return 0, count
        case "/page":
            return (int(asked.get("page", 1)) - 1) * size, size
        case "/offset":
            return int(asked.get("offset", 0)), size
        case _:
            return int(asked.get("cursor", "c0")[1:]), size


def _is_new(number: int, since: str) -> bool:
    return not since or EPOCH + timedelta(seconds=number) >= datetime.fromisoformat(since)


def main() -> None:
    """Serve until standard input ends."""
    given = json.loads(sys.argv[1]) if sys.argv[1:] else {}
    known = {each.name for each in fields(Configuration)}
    assert given.keys() <= known, given
    server = Server(Configuration(**given))
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    print(server.server_address[1], flush=True)  # noqa: T201 - whoever started us waits for it
    sys.stdin.read()
    server.ending.set()
    server.shutdown()


if __name__ == "__main__":
    main()
