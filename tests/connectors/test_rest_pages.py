"""Pages of a real server that misbehaves: each way of turning them, with each thing that goes wrong on the way."""

from __future__ import annotations

import json
import time
from itertools import islice, pairwise, product
from typing import TYPE_CHECKING

import msgspec
import pytest
from tests.servers.rest import RestServer
from tests.servers.rest.misbehaving import record
from tests.servers.rest.reading import Reader, ids

from penstock.connectors import at_rest, open_source
from penstock.errors import ContentChanged, PenstockError, Unavailable, UserMistake
from penstock.model.position import Position
from penstock.model.settings import Settings
from penstock.ports import Replay

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAGED = ("/cursor", "/link", "/offset", "/page")
PASSING = (
    "status 500", "status 503", "status 408", "status 425", "429 bare", "reset", "truncated", "chunk", "html", "slow",
    "repeat", "changed",
)  # fmt: skip
"""What goes wrong once, and is right when it is asked for again."""


@pytest.fixture(scope="module")
def running() -> Iterator[RestServer]:
    with RestServer(records=500) as server:
        yield server


@pytest.fixture
def server(running: RestServer) -> RestServer:
    running.reset()
    return running


@pytest.mark.parametrize(("path", "fault"), list(product(("/none", *PAGED), PASSING)))
def test_whatever_goes_wrong_once_every_record_comes_once(
    server: RestServer, tmp_path: Path, path: str, fault: str
) -> None:
    server.fault("", fault)
    with Reader(server, tmp_path, path) as reader:
        got = reader.all()
        if path == "/none":
            got = reader.all()  # the second request is another pass
    assert sorted(map(int, got)) == list(range(500))


@pytest.mark.parametrize("path", PAGED)
def test_a_life_that_ends_after_any_page_is_gone_on_with_at_the_next(
    server: RestServer, tmp_path: Path, path: str
) -> None:
    with Reader(server, tmp_path, path) as reader:
        positions = [chunk.next for chunk in reader.pages()]
    for number, position in enumerate(positions[:-1], 1):
        with Reader(server, tmp_path, path) as another:
            assert another.all(position) == ids(500, 100 * number)


def test_a_pass_that_is_over_is_followed_by_another(server: RestServer, tmp_path: Path) -> None:
    with Reader(server, tmp_path, "/offset") as reader:
        assert reader.all() == ids(500)
        assert reader.all(reader.at) == ids(500)
    assert reader.at is not None
    assert reader.at.sequence == 1000
    assert reader.source.replay is Replay.BY_KEY


def test_a_list_of_no_records_is_a_pass_like_any_other(server: RestServer, tmp_path: Path) -> None:
    server.configure(records=0)
    for path in ("/none", *PAGED):
        with Reader(server, tmp_path, path) as reader:
            assert reader.all() == []
            assert len(reader.chunks) == 1


# --- repeated pages -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PAGED)
def test_an_api_that_gives_the_same_page_for_ever_is_left_with_one_error(
    server: RestServer, tmp_path: Path, path: str
) -> None:
    parameter = {"/cursor": "cursor_parameter", "/offset": "offset_parameter", "/page": "page_parameter"}
    with Reader(server, tmp_path, path, **({parameter[path]: "ignored"} if path in parameter else {})) as reader:
        if path == "/link":
            server.fault("", *["repeat"] * 20)
        with pytest.raises(UserMistake) as found:
            reader.all()
    assert found.value.kind.code == "INT_ALPHA_019"
    assert len([entry for entry in server.log if entry["path"] == path]) == 5  # the first page, and four tries
    assert reader.ids == ids(100)


@pytest.mark.parametrize("path", ["/cursor", "/link"])
def test_pages_that_lead_in_a_circle_are_left_whatever_records_they_hold(
    server: RestServer, tmp_path: Path, path: str
) -> None:
    server.fault("", *["repeat"] * 20)  # a page that leads to the one that was asked for
    with (
        Reader(server, tmp_path, path, repeated_pages="take") as reader,
        pytest.raises(UserMistake, match=r"INT_ALPHA_019.*circle"),
    ):
        reader.all()
    assert len(server.log) == 5


def test_the_same_page_after_a_kill_is_recognised_too(server: RestServer, tmp_path: Path) -> None:
    with Reader(server, tmp_path, "/page") as reader:
        position = next(reader.pages()).next
    with (
        Reader(server, tmp_path, "/page", page_parameter="ignored") as another,
        pytest.raises(UserMistake, match="INT_ALPHA_019"),
    ):
        another.all(position)
    assert another.ids == []


@pytest.mark.parametrize("path", PAGED)
def test_a_page_that_comes_again_in_another_order_is_recognised_too(
    server: RestServer, tmp_path: Path, path: str
) -> None:
    server.fault("", "changed", "repeat")
    with Reader(server, tmp_path, path) as reader:
        assert sorted(map(int, reader.all())) == list(range(500))


def test_pages_that_are_alike_may_be_taken_as_they_are(server: RestServer, tmp_path: Path) -> None:
    server.fault("", "repeat")
    with Reader(server, tmp_path, "/offset", repeated_pages="take") as reader:
        assert sorted(set(map(int, reader.all()))) == sorted(map(int, ids(100) + ids(500, 200)))


# --- what may be tried again, and for how long --------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["status 500", "reset", "truncated", "html", "429 bare"])
def test_after_so_many_tries_it_is_unavailable_and_goes_on_from_there_another_time(
    server: RestServer, tmp_path: Path, fault: str
) -> None:
    server.fault("", "", *[fault] * 3)
    with Reader(server, tmp_path, "/cursor", retries="2") as reader, pytest.raises(Unavailable, match="INT_ALPHA_014"):
        reader.all()
    assert reader.ids == ids(200)
    with Reader(server, tmp_path, "/cursor") as another:
        assert another.all(reader.at) == ids(500, 200)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "INT_ALPHA_020"),
        (401, "INT_ALPHA_018"),
        (403, "INT_ALPHA_018"),
        (404, "INT_ALPHA_010"),
        (501, "INT_ALPHA_020"),
    ],
)
def test_what_trying_again_does_not_mend_is_asked_for_once(
    server: RestServer, tmp_path: Path, status: int, code: str
) -> None:
    server.fault(f"status {status}")
    with Reader(server, tmp_path, "/cursor") as reader, pytest.raises(UserMistake) as found:
        reader.all()
    assert found.value.kind.code == code
    assert f"{status}" in found.value.message
    assert len(server.log) == 1


def test_what_changes_things_is_not_sent_twice_unless_it_may_be(server: RestServer, tmp_path: Path) -> None:
    for fault in ("status 500", "reset", "truncated"):
        server.fault(fault)
        with Reader(server, tmp_path, "/cursor", method="POST") as reader, pytest.raises(Unavailable):
            reader.all()
    server.fault("429 bare", "status 408")
    with Reader(server, tmp_path, "/cursor", method="POST") as reader:
        assert reader.all() == ids(500)
    server.fault("status 500", "reset", "truncated")
    with Reader(server, tmp_path, "/cursor", method="POST", idempotent="true") as reader:
        assert reader.all() == ids(500)
    last = server.log[-1]
    assert (last["method"], last["asked"], json.loads(last["body"])) == ("POST", {}, {"cursor": "c400"})


def test_a_server_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    with RestServer() as server:
        pass
    with Reader(server, tmp_path, "/cursor", retries="2") as reader, pytest.raises(Unavailable, match="no connection"):
        reader.all()


@pytest.mark.parametrize("fault", ["hang", "drip"])
def test_an_answer_that_never_ends_is_given_up(server: RestServer, tmp_path: Path, fault: str) -> None:
    server.fault("", fault)
    began_s = time.monotonic()
    with Reader(server, tmp_path, "/cursor", timeout_ms="200") as reader:
        assert reader.all() == ids(500)
    assert time.monotonic() - began_s < 20


# --- what is in an answer -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "options"),
    [("", {}), ("data", {}), ("orders", {}), ("orders", {"records": "orders"}), (".", {"response_format": "jsonl"})],
)
def test_records_are_found_where_they_are(
    server: RestServer, tmp_path: Path, shape: str, options: dict[str, str]
) -> None:
    server.configure(shape=shape)
    with Reader(server, tmp_path, "/link", **options) as reader:
        assert reader.all() == ids(500)
    row = reader.chunks[0].records.slice(3, 1).to_pylist()[0]
    assert json.loads(row.pop("customer")) == {"id": 3, "tags": ["a", "b"]}
    assert row == {"id": "3", "name": "number 3\n\u00e9", "amount": "3.03", "updated_at": "2024-01-01T00:00:03Z"}


def test_a_list_that_is_not_where_it_should_be_is_said_with_what_is_there(server: RestServer, tmp_path: Path) -> None:
    said = r"INT_ALPHA_020.*`orders.items`.*`total`, `data`, `next_cursor`"
    options = {"records": "orders.items"}
    with Reader(server, tmp_path, "/cursor", **options) as reader, pytest.raises(UserMistake, match=said):
        reader.all()


def test_without_a_cursor_the_first_page_is_not_taken_for_the_last(server: RestServer, tmp_path: Path) -> None:
    server.configure(next_name="after")
    with Reader(server, tmp_path, "/cursor") as reader, pytest.raises(UserMistake, match="cursor_field"):
        reader.all()
    with Reader(server, tmp_path, "/cursor", cursor_field="after") as reader:
        assert reader.all() == ids(500)


def test_what_is_no_record_is_a_dead_letter_with_its_original(server: RestServer, tmp_path: Path) -> None:
    server.configure(bad_every=100)
    with Reader(server, tmp_path, "/cursor") as reader:
        got = reader.all()
    assert [record.sequence for record in reader.bad] == [98, 198, 298, 398, 498]
    assert {record.error.code for record in reader.bad} == {"INT_ALPHA_001"}
    assert reader.bad[0].original.content == b'"not an object: 98"'
    assert len(got) - len([one for one in got if one]) == 5  # without an id: validation says so
    (original,) = reader.chunks[0].originals([99])
    assert json.loads(original.content)["name"] == "number 99\n\u00e9"
    assert original.line == 100
    again = reader.source.reread("cursor", [original.content, b"5"])
    assert (again.records.num_rows, list(again.errors)) == (1, [1])


@pytest.mark.parametrize(("fault", "code"), [("bomb", "INT_ALPHA_020"), ("deep", "INT_ALPHA_014")])
def test_an_answer_is_of_limited_size_and_depth(server: RestServer, tmp_path: Path, fault: str, code: str) -> None:
    server.fault(*[fault] * 2)
    options = {"retries": "1", "answer_bytes_max": "1000000"}
    with Reader(server, tmp_path, "/cursor", **options) as reader, pytest.raises(PenstockError) as found:
        reader.all()
    assert found.value.kind.code == code


# --- the incremental key ------------------------------------------------------------------------------------------


def test_the_first_time_goes_back_as_far_as_the_document_says(server: RestServer, tmp_path: Path) -> None:
    with Reader(server, tmp_path, "/cursor", incremental_key="updated_at", initial_load="last 90 days") as reader:
        assert reader.all() == []  # these records are of 2024
    began_s = msgspec.json.decode(reader.at.token)["began_s"] if reader.at else 0.0
    (asked,) = [entry["asked"]["since"] for entry in server.log]
    expected = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(began_s - 90 * 86400))
    assert asked == expected


def test_a_table_that_is_looked_up_is_read_as_a_whole(server: RestServer, tmp_path: Path) -> None:
    with Reader(server, tmp_path, "/cursor", incremental_key="updated_at", initial_load="last 90 days") as reader:
        table = at_rest(reader.table)
        looked_up = open_source(table, tmp_path, Settings())
        assert sum(chunk.end - chunk.start for chunk in looked_up.read("cursor", None)) == 500
        looked_up.close()


def test_after_that_it_asks_for_what_is_new_less_the_look_back(server: RestServer, tmp_path: Path) -> None:
    with Reader(server, tmp_path, "/link", incremental_key="updated_at", look_back="10 seconds") as reader:
        assert reader.all() == ids(500)
        server.configure(records=520)
        assert reader.all(reader.at) == ids(520, 489)  # the newest of before is 499
        assert reader.all(reader.at) == ids(520, 509)
    asked = [entry["asked"].get("since") for entry in server.log if "cursor" not in entry["asked"]]
    assert asked == [None, "2024-01-01T00:08:09Z", "2024-01-01T00:08:29Z"]


def test_a_pass_that_was_broken_off_is_ended_as_it_began_and_then_comes_what_is_new(
    server: RestServer, tmp_path: Path
) -> None:
    options = {"incremental_key": "updated_at", "look_back": "0 seconds"}
    with Reader(server, tmp_path, "/offset", **options) as reader:
        position = [chunk.next for chunk in islice(reader.pages(), 3)][-1]
    server.configure(records=510)
    with Reader(server, tmp_path, "/offset", **options) as another:
        assert another.all(position) == [*ids(510, 300), "509"]
    asked = [entry["asked"].get("since") for entry in server.log]
    assert asked == [None] * 7 + ["2024-01-01T00:08:29Z"] * 2


def test_pages_that_change_their_order_between_tries_lose_nothing_of_what_is_new(
    server: RestServer, tmp_path: Path
) -> None:
    server.fault("changed", "changed", "reset", "changed")
    with Reader(server, tmp_path, "/cursor", incremental_key="updated_at", look_back="0 seconds") as reader:
        assert sorted(map(int, reader.all())) == list(range(500))
        assert reader.all(reader.at) == ["499"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"since_format": "date", "look_back": "1 minute"}, "2024-01-01"),
        ({"since_format": "epoch", "look_back": "9 seconds"}, "1704067290"),
        ({"since_format": "epoch_ms", "look_back": "9 seconds"}, "1704067290000"),
        ({"incremental_key": "id"}, "99"),
        ({"incremental_key": "id", "since_parameter": ""}, None),
        ({"incremental_key": "nothing_of_the_kind"}, None),
    ],
)
def test_it_is_asked_as_the_api_wants_it(
    server: RestServer, tmp_path: Path, options: dict[str, str], expected: str | None
) -> None:
    server.configure(records=100)
    with Reader(server, tmp_path, "/none", **{"incremental_key": "updated_at", **options}) as reader:
        reader.all()
        server.fault("status 404")  # it does not understand some of these
        with pytest.raises(UserMistake):
            reader.all(reader.at)
    assert server.log[-1]["asked"].get("since") == expected


def test_a_number_that_is_no_time_has_no_window(server: RestServer, tmp_path: Path) -> None:
    options = {"incremental_key": "id", "initial_load": "last 90 days"}
    with Reader(server, tmp_path, "/cursor", **options) as reader:
        assert reader.all() == ids(500)
    with Reader(server, tmp_path, "/cursor", **options, since_format="epoch") as reader:
        server.fault("status 404")
        with pytest.raises(UserMistake):
            reader.all()
    assert 0 < time.time() - 90 * 86400 - int(server.log[-1]["asked"]["since"]) < 60


def test_a_page_without_content_is_an_empty_page(server: RestServer, tmp_path: Path) -> None:
    server.fault("", "", "empty")
    with Reader(server, tmp_path, "/offset") as reader:
        assert reader.all() == ids(200)


def test_a_cursor_may_look_like_a_path_and_may_be_an_address(server: RestServer, tmp_path: Path) -> None:
    server.create("orders")
    server.add("orders", [(json.dumps(record(number)), "") for number in range(5)])
    server.configure(page_size=2, cursor_prefix="/9j/+=")
    with Reader(server, tmp_path, "/table/orders", pagination="cursor") as reader:
        assert reader.all() == ids(5)
    server.configure(cursor_prefix=f"{server.url}/table/orders?cursor=")
    with Reader(server, tmp_path, "/table/orders", pagination="cursor") as reader:
        assert reader.all() == ids(5)
    assert [entry["asked"].get("cursor") for entry in server.log] == [
        None, "/9j/+=2", "/9j/+=4", None, "2", "4",
    ]  # fmt: skip


def test_parameters_and_headers_of_our_own_go_along(server: RestServer, tmp_path: Path) -> None:
    options = {"parameters": "status=paid&note=a%26b", "headers": "X-Tenant: 7\nX-Other: a: b", "page_size": "250"}
    with Reader(server, tmp_path, "/cursor", **options) as reader:
        assert reader.all() == ids(500)
    assert [entry["asked"] for entry in server.log] == [
        {"status": "paid", "note": "a&b", "limit": "250"},
        {"status": "paid", "note": "a&b", "limit": "250", "cursor": "c250"},
    ]
    assert {(entry["headers"]["x-tenant"], entry["headers"]["x-other"]) for entry in server.log} == {("7", "a: b")}


# --- following ----------------------------------------------------------------------------------------------------


def test_it_can_be_followed_and_asks_as_often_as_it_says(server: RestServer, tmp_path: Path) -> None:
    options = {"incremental_key": "updated_at", "look_back": "0 seconds", "frequency": "1 second"}
    with Reader(server, tmp_path, "/cursor", **options) as reader:
        following = reader.source.follow({})
        got: list[str] = []
        until_s = time.monotonic() + 30
        while len(got) < 500 + 1 + 20 and time.monotonic() < until_s:
            chunk = following.next(0.1)
            if chunk is not None:
                got += chunk.records.column("id").to_pylist()
            if len(got) == 501:
                server.configure(records=519)
    assert got == [*ids(500), "499", *ids(519, 499)]
    starts = [entry["at_s"] for entry in server.log if "cursor" not in entry["asked"]]
    assert all(later - earlier > 0.95 for earlier, later in pairwise(starts))


# --- what cannot be -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"auth": "magic"}, {"pagination": "sideways"}, {"retries": "-1"}, {"retries": "many"}, {"look_back": "a bit"},
        {"rate_limit": "fast"}, {"rate_limit": "0 requests/minute"}, {"headers": "nonsense"}, {"timeout_ms": "0"},
        {"response_format": "jsonl"}, {"frequency": "now and then"},
    ],
)  # fmt: skip
def test_an_option_that_cannot_be_is_refused_before_anything_is_asked(
    server: RestServer, tmp_path: Path, options: dict[str, str]
) -> None:
    with pytest.raises(UserMistake, match="INT_PIPELINE_005 connection `shop`"):
        Reader(server, tmp_path, "/cursor", **options)
    assert server.log == []


def test_a_position_of_something_else_is_not_gone_on_from(server: RestServer, tmp_path: Path) -> None:
    with Reader(server, tmp_path, "/cursor") as reader, pytest.raises(ContentChanged, match="INT_ALPHA_013"):
        reader.all(Position("cursor", 5, "not ours"))


# --- looked at ----------------------------------------------------------------------------------------------------


def test_examined_it_says_how_the_first_page_looks_and_what_time_it_is_there(
    server: RestServer, tmp_path: Path
) -> None:
    with Reader(server, tmp_path, "/cursor") as reader:
        assert reader.source.clock_s() is None
        said = "answers, nobody signs in: 100 records on the first page, more follow"
        assert reader.source.examine() == f"{server.url}/cursor {said}"
        clock_s = reader.source.clock_s()
        assert clock_s is not None
        assert abs(clock_s - time.time()) < 10
        assert reader.all() == ids(500)
    with Reader(server, tmp_path, "/nowhere") as lost, pytest.raises(UserMistake, match="INT_ALPHA_010"):
        lost.source.examine()
