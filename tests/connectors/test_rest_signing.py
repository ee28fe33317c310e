"""Who asks: keys, passwords and tokens, those that expire in the middle of a page, and who never gets to see them."""

from __future__ import annotations

import io
import logging
import stat
import time
from typing import TYPE_CHECKING

import msgspec
import pytest
from tests.servers.rest import RestServer
from tests.servers.rest.reading import Reader, ids

from penstock.connectors.sources.rest.tokens import Tokens, keep_tokens, load_tokens
from penstock.errors import PenstockError, Unavailable, UserMistake

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECRETS = {
    "A_KEY": "s3cret-key",
    "A_PASSWORD": "s3cret-word",
    "A_TOKEN": "s3cret-token",
    "A_CLIENT": "s3cret-client",
    "A_REFRESH": "first-refresh-token",
}
WAYS: dict[str, dict[str, str]] = {
    "key in a header": {"auth": "api_key", "key": "${A_KEY}"},
    "key in a parameter": {"auth": "api_key", "key": "${A_KEY}", "key_in": "parameter", "key_name": "api_key"},
    "basic": {"auth": "basic", "user": "user", "password": "${A_PASSWORD}"},
    "bearer": {"auth": "bearer", "token": "${A_TOKEN}"},
    "client credentials": {"auth": "oauth2", "client_id": "client", "client_secret": "${A_CLIENT}"},
    "client in the body": {
        "auth": "oauth2", "client_id": "client", "client_secret": "${A_CLIENT}", "client_auth": "body",
    },
    "refresh token": {
        "auth": "oauth2", "client_id": "client", "client_secret": "${A_CLIENT}", "refresh_token": "${A_REFRESH}",
    },
}  # fmt: skip


@pytest.fixture(autouse=True)
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, secret in SECRETS.items():
        monkeypatch.setenv(name, secret)


@pytest.fixture(scope="module")
def running() -> Iterator[RestServer]:
    with RestServer(records=500) as server:
        yield server


@pytest.fixture
def server(running: RestServer) -> RestServer:
    running.reset()
    return running


def options_of(way: str, server: RestServer, **more: str) -> dict[str, str]:
    found = {**WAYS[way], **more}
    return {**found, "token_url": f"{server.url}/token"} if found["auth"] == "oauth2" else found


def kind_of(way: str) -> str:
    auth = WAYS[way]["auth"]
    return "key" if auth == "api_key" else auth


@pytest.mark.parametrize("way", WAYS)
def test_each_way_of_signing_in_is_let_in(server: RestServer, tmp_path: Path, way: str) -> None:
    server.configure(auth=kind_of(way))
    with Reader(server, tmp_path, "/link", **options_of(way, server)) as reader:
        assert reader.all() == ids(500)


@pytest.mark.parametrize("way", ["client credentials", "refresh token"])
def test_a_token_that_expires_in_the_middle_of_things_is_renewed_and_the_page_asked_for_again(
    server: RestServer, tmp_path: Path, way: str
) -> None:
    server.configure(auth="oauth2", token_uses=2, faults={"status 500": 0.1, "reset": 0.1})
    with Reader(server, tmp_path, "/offset", **options_of(way, server)) as reader:
        assert reader.all() == ids(500)
    assert len([entry for entry in server.log if entry["path"] == "/token"]) >= 3


def test_a_token_is_renewed_before_it_expires_as_far_as_that_is_known(server: RestServer, tmp_path: Path) -> None:
    server.configure(auth="oauth2", expires_in=20)
    options = options_of("client credentials", server)
    kept = tmp_path / ".penstock" / "rest" / "shop" / "tokens.json"
    with Reader(server, tmp_path, "/cursor", **options) as reader:
        next(reader.pages())
    tokens = msgspec.json.decode(kept.read_bytes(), type=Tokens)
    assert tokens.expires_s is not None
    assert tokens.expires_s < time.time() + 18.5
    keep_tokens(kept, msgspec.structs.replace(tokens, expires_s=time.time() - 0.1))
    with Reader(server, tmp_path, "/cursor", **options) as another:
        next(another.pages())
    assert [entry["path"] for entry in server.log] == ["/token", "/cursor"] * 2


def test_a_refresh_token_that_rotates_is_on_the_disk_before_it_is_used_and_found_by_the_next_life(
    server: RestServer, tmp_path: Path
) -> None:
    server.configure(auth="oauth2", token_uses=1)
    options = options_of("refresh token", server)
    kept = tmp_path / ".penstock" / "rest" / "shop" / "tokens.json"
    with Reader(server, tmp_path, "/cursor", **options) as reader:
        for count, _ in enumerate(reader.pages(), 1):
            tokens = msgspec.json.decode(kept.read_bytes())
            assert (tokens["access"], tokens["refresh"]) == (f"access-token-{count}", f"refresh-token-{count}")
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE(kept.parent.stat().st_mode) == 0o700
    with Reader(server, tmp_path, "/cursor", **options) as another:
        assert another.all() == ids(500)
    used = [entry["body"] for entry in server.log if entry["path"] == "/token"]
    assert len({body for body in used if "refresh-token-" in body}) == len(used) - 1  # each once, after the first one


def test_two_sources_of_one_api_do_not_lock_each_other_out(server: RestServer, tmp_path: Path) -> None:
    server.configure(auth="oauth2", token_uses=3, page_size=20)
    options = options_of("refresh token", server)
    with Reader(server, tmp_path, "/cursor", **options) as one, Reader(server, tmp_path, "/link", **options) as other:
        for _ in zip(one.pages(), other.pages(), strict=True):
            pass
    assert one.ids == other.ids == ids(500)
    assert {entry["fault"] for entry in server.log} == {""}
    used = [entry["body"] for entry in server.log if entry["path"] == "/token"]
    assert len(set(used)) == len(used) >= 16


def test_an_answer_with_a_new_refresh_token_that_is_lost_is_asked_for_again(server: RestServer, tmp_path: Path) -> None:
    server.configure(auth="oauth2")
    server.fault("truncated", "reset", "status 503")
    with Reader(server, tmp_path, "/cursor", **options_of("refresh token", server)) as reader:
        assert reader.all() == ids(500)


def test_a_configured_refresh_token_takes_over_where_the_kept_one_is_refused(
    server: RestServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.configure(auth="oauth2", rotates=False)
    options = options_of("refresh token", server)
    with Reader(server, tmp_path, "/cursor", **options) as reader:
        next(reader.pages())
    kept = tmp_path / ".penstock" / "rest" / "shop" / "tokens.json"
    tokens = msgspec.json.decode(kept.read_bytes(), type=Tokens)
    keep_tokens(kept, msgspec.structs.replace(tokens, access="gone", refresh="gone as well"))
    with Reader(server, tmp_path, "/cursor", **options) as another:
        assert another.all() == ids(500)
    monkeypatch.setenv("A_REFRESH", "never-handed-out")
    with Reader(server, tmp_path, "/cursor", **options) as third, pytest.raises(UserMistake) as found:
        third.all()
    assert found.value.kind.code == "INT_ALPHA_018"
    assert "sign in anew" in found.value.remedy


def test_tokens_of_other_credentials_are_none_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "rest" / "tokens.json"
    tokens = Tokens("a hash", "an access token", "a refresh token", None)
    keep_tokens(path, tokens)
    assert load_tokens(path, "a hash") == tokens
    assert load_tokens(path, "another") is None
    assert "token, not" not in repr(tokens)
    assert "access token" not in repr(tokens)
    path.write_bytes(b"{")
    assert load_tokens(path, "a hash") is None


def test_a_token_that_cannot_be_kept_is_not_used(server: RestServer, tmp_path: Path) -> None:
    server.configure(auth="oauth2")
    (tmp_path / ".penstock" / "rest" / "shop" / "tokens.json").mkdir(parents=True)
    options = options_of("refresh token", server)
    with Reader(server, tmp_path, "/cursor", **options) as reader, pytest.raises(Unavailable, match="INT_ALPHA_017"):
        reader.all()
    assert "/cursor" not in {entry["path"] for entry in server.log}


@pytest.mark.parametrize("way", WAYS)
def test_wrong_credentials_are_one_clear_error(
    server: RestServer, tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.configure(auth=kind_of(way))
    for name in SECRETS:
        monkeypatch.setenv(name, "wr0ng+&secret/")
    with Reader(server, tmp_path, "/cursor", **options_of(way, server)) as reader, pytest.raises(UserMistake) as found:
        reader.all()
    assert found.value.kind.code == "INT_ALPHA_018"
    assert len(server.log) <= 2
    assert "wr0ng" not in str(found.value)


def test_a_token_that_is_refused_however_fresh_is_not_asked_for_without_end(server: RestServer, tmp_path: Path) -> None:
    server.configure(auth="basic")  # it hands out tokens, and takes none
    options = options_of("client credentials", server)
    with Reader(server, tmp_path, "/cursor", **options) as reader, pytest.raises(UserMistake, match="INT_ALPHA_018"):
        reader.all()
    assert [entry["path"] for entry in server.log] == ["/token", "/cursor"] * 4


def test_a_token_url_that_leads_elsewhere_is_not_followed(server: RestServer, tmp_path: Path) -> None:
    server.fault("redirect /token")
    options = options_of("client credentials", server)
    with Reader(server, tmp_path, "/cursor", **options) as reader, pytest.raises(UserMistake, match="INT_ALPHA_020"):
        reader.all()
    assert len(server.log) == 1


@pytest.mark.parametrize("missing", ["key", "user", "password", "token", "token_url", "client_id"])
def test_what_is_missing_is_named(server: RestServer, tmp_path: Path, missing: str) -> None:
    way = next(way for way in WAYS if missing in options_of(way, server))
    options = options_of(way, server) | {missing: ""}
    with (
        Reader(server, tmp_path, "/cursor", **options) as reader,
        pytest.raises(UserMistake, match=f"needs `{missing}`"),
    ):
        reader.all()


def test_a_variable_that_is_not_set_is_named(server: RestServer, tmp_path: Path) -> None:
    options = {"auth": "bearer", "token": "${NOBODY_SET_THIS}"}
    with Reader(server, tmp_path, "/cursor", **options) as reader, pytest.raises(UserMistake, match="INT_PIPELINE_007"):
        reader.all()


# --- who gets to see them -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("path", ["/elsewhere", "/away"])
def test_credentials_go_nowhere_else_whether_we_are_redirected_or_led_on(
    server: RestServer, tmp_path: Path, way: str, path: str
) -> None:
    with RestServer(records=7) as other:
        server.configure(auth=kind_of(way), other=other.url.replace("127.0.0.1", "localhost"))
        options = options_of(way, server, pagination="link", headers="X-Tenant: ${A_KEY}")
        with Reader(server, tmp_path, path, **options, repeated_pages="take") as reader:
            assert reader.all() == [*(ids(100) if path == "/away" else []), *ids(7)]
        (seen,) = other.log
    sent = f"{seen['headers']} {seen['asked']}"
    assert [secret for secret in SECRETS.values() if secret in sent] == []
    assert not {"authorization", "x-api-key", "x-tenant", "cookie"} & seen["headers"].keys()


def test_a_key_that_the_server_repeats_in_its_links_is_in_no_position(server: RestServer, tmp_path: Path) -> None:
    server.configure(auth="key")
    with Reader(server, tmp_path, "/link", **options_of("key in a parameter", server)) as reader:
        tokens = [chunk.next.token for chunk in reader.pages()]
    assert len(tokens) == 5
    assert "s3cret" not in "".join(tokens)
    assert all(entry["asked"]["api_key"] == "s3cret-key" for entry in server.log)


@pytest.mark.parametrize("way", WAYS)
def test_no_error_and_no_log_shows_a_secret(server: RestServer, tmp_path: Path, way: str) -> None:
    written = io.StringIO()
    handler, root = logging.StreamHandler(written), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    errors: list[PenstockError] = []
    try:
        for faults in (("", "status 418"), ("status 418",), ("reset",), ("html",), ("status 500", "hang")):
            server.configure(auth=kind_of(way))
            server.fault(*faults)
            options = options_of(way, server, retries="0", timeout_ms="200")
            with Reader(server, tmp_path, "/link", **options) as reader:
                try:
                    reader.all()
                except PenstockError as error:
                    errors.append(error)
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
    assert len(errors) >= 4
    told = "\n".join([written.getvalue(), *map(str, errors), *map(repr, errors)])
    assert "HTTP Request: GET" in told
    assert [secret for secret in SECRETS.values() if secret in told] == []
    assert "access-token-" not in told


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/", "/cursor"])
def test_redirects_end_somewhere_and_lead_to_no_other_kind_of_place(
    server: RestServer, tmp_path: Path, target: str
) -> None:
    server.fault(*[f"redirect {target}"] * 7)
    with Reader(server, tmp_path, "/cursor") as reader, pytest.raises(UserMistake, match=r"INT_ALPHA_020.*redirects"):
        reader.all()
    assert len(server.log) == (6 if target == "/cursor" else 1)


def test_a_redirect_of_its_own_is_followed_with_credentials(server: RestServer, tmp_path: Path) -> None:
    server.configure(auth="bearer")
    server.fault("redirect /cursor?cursor=c400")
    with Reader(server, tmp_path, "/old", **options_of("bearer", server, pagination="cursor")) as reader:
        assert reader.all() == ids(500, 400)


def test_files_of_the_source_are_closed_to_others(server: RestServer, tmp_path: Path) -> None:
    with Reader(server, tmp_path, "/cursor", rate_limit="1000/second") as reader:
        reader.all()
    folder = tmp_path / ".penstock" / "rest" / "shop"
    assert {file.name: stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {"budget": 0o600}
