"""Settings and connections out of five places, the nearest to the command winning."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from penstock.configuration import FILE_NAME, Configuration, read_configuration, settle
from penstock.errors import UserMistake
from penstock.model.pipeline import Connection
from penstock.model.settings import SETTINGS

if TYPE_CHECKING:
    from pathlib import Path

NAME = "ALPHA_BETA_BATCH_SIZE"


def write(folder: Path, text: str | bytes) -> None:
    (folder / FILE_NAME).write_bytes(text.encode() if isinstance(text, str) else text)


def test_where_there_is_no_file_nothing_is_configured(tmp_path: Path) -> None:
    assert read_configuration(tmp_path) == Configuration()


def test_settings_and_connections_are_read(tmp_path: Path) -> None:
    write(
        tmp_path,
        f'[settings]\n{NAME} = 10\nBACKPRESSURE_HIGH_WATERMARK = 0.9\n[connections.shop]\npath = "data"\n'
        '[connections."my lake"]\nkind = "duckdb"\noptions = {a = "b"}\n',
    )
    found = read_configuration(tmp_path)
    assert found.settings == {NAME: 10, "BACKPRESSURE_HIGH_WATERMARK": 0.9}
    assert found.connections == {
        "shop": Connection("shop", "files", "data"),
        "my lake": Connection("my lake", "duckdb", "", {"a": "b"}),
    }


def test_a_switch_is_read(tmp_path: Path) -> None:
    write(tmp_path, "[settings]\nSTREAMING_MODE_ENABLED = true\n")
    settings = settle({}, {}, read_configuration(tmp_path), {"STREAMING_MODE_ENABLED": False})
    assert settings.switch("STREAMING_MODE_ENABLED")


@pytest.mark.parametrize(
    "text",
    [
        "not toml",
        b"\xff\xfe",
        "[setting]\nX = 1",
        f"[settings]\n{NAME} = 'ten'",
        "[settings]\nSTREAMING_MODE_ENABLED = 'yes'",
        "[connections.shop]\npaht = 'data'",
        "[connections]\nshop = 'data'",
        "[settings]\nX = 1\nX = 2",
    ],
)
def test_a_file_that_cannot_be_understood_is_a_mistake_that_names_it(tmp_path: Path, text: str | bytes) -> None:
    write(tmp_path, text)
    with pytest.raises(UserMistake, match=r"penstock\.toml: ") as caught:
        read_configuration(tmp_path)
    assert caught.value.kind.code == "INT_PIPELINE_005"
    assert "[settings]" in caught.value.remedy


def test_a_folder_in_the_files_place_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).mkdir()
    with pytest.raises(UserMistake, match="Is a directory"):
        read_configuration(tmp_path)


PROFILES = """
[settings]
COMMIT_RECORDS = 10
COMMIT_IDLE_MS = 20
[connections.shop]
path = "data"
[connections.lake]
kind = "duckdb"
[profiles.production.settings]
COMMIT_RECORDS = 1000
[profiles.production.connections.lake]
kind = "postgres"
url = "postgresql://penstock:${LAKE_PASSWORD}@db.example.com/lake"
"""


def test_what_a_profile_says_goes_before_what_stands_outside_of_it(tmp_path: Path) -> None:
    write(tmp_path, PROFILES)
    found = read_configuration(tmp_path, "production")
    assert found.settings == {"COMMIT_RECORDS": 1000, "COMMIT_IDLE_MS": 20}
    url = "postgresql://penstock:${LAKE_PASSWORD}@db.example.com/lake"
    assert found.connections == {
        "shop": Connection("shop", "files", "data"),
        "lake": Connection("lake", "postgres", url=url),
    }
    assert read_configuration(tmp_path).connections["lake"] == Connection("lake", "duckdb")


@pytest.mark.parametrize(
    ("text", "remedy"),
    [(PROFILES, "take one of `production`"), ("[settings]\n", "write [profiles.staging"), (None, "write [profiles.st")],
)
def test_a_profile_that_is_not_there_is_a_mistake(tmp_path: Path, text: str | None, remedy: str) -> None:
    if text is not None:
        write(tmp_path, text)
    with pytest.raises(UserMistake, match="no profile `staging`") as caught:
        read_configuration(tmp_path, "staging")
    assert caught.value.remedy.startswith(remedy)


def test_a_password_in_a_url_is_a_mistake_and_is_not_repeated(tmp_path: Path) -> None:
    write(tmp_path, "[connections.lake]\nurl = 'postgresql://me:sesame@db/lake'\n")
    with pytest.raises(UserMistake, match="holds a password") as caught:
        read_configuration(tmp_path)
    assert "sesame" not in f"{caught.value} {caught.value.remedy}"


PLACES = ("document", "configuration", "environment", "argument")


@pytest.mark.parametrize("nearest", range(len(PLACES)))
def test_the_place_nearest_to_the_command_wins(nearest: int) -> None:
    given = {place: {NAME: str(10 + number)} for number, place in enumerate(PLACES) if number <= nearest}
    settings = settle(
        given.get("argument", {}),
        given.get("environment", {}),
        Configuration(given.get("configuration", {})),
        given.get("document", {}),
    )
    assert settings.whole(NAME) == 10 + nearest


def test_where_no_place_says_anything_defaults_hold() -> None:
    settings = settle({}, {}, Configuration(), {})
    assert dict(settings) == {name: setting.default for name, setting in SETTINGS.items()}


@pytest.mark.parametrize("place", PLACES)
def test_a_value_is_given_wherever_it_stands_and_otherwise_not(place: str) -> None:
    said = {NAME: "1000"}
    settings = settle(
        said if place == "argument" else {},
        said if place == "environment" else {},
        Configuration(said if place == "configuration" else {}),
        said if place == "document" else {},
    )
    assert settings.given(NAME)
    assert not settle({}, {}, Configuration(), {}).given(NAME)


def test_values_that_contradict_each_other_are_refused_although_each_is_in_its_range() -> None:
    with pytest.raises(UserMistake, match="is below BACKPRESSURE_LOW_WATERMARK"):
        settle({"BACKPRESSURE_LOW_WATERMARK": "0.7"}, {}, Configuration({"BACKPRESSURE_HIGH_WATERMARK": 0.6}), {})


def test_the_environment_may_hold_what_is_no_setting() -> None:
    assert settle({}, {"PATH": "/bin", NAME: "12"}, Configuration(), {}).whole(NAME) == 12


@pytest.mark.parametrize("place", PLACES)
def test_a_value_out_of_range_is_refused_wherever_it_stands(place: str) -> None:
    bad = {NAME: 0}
    with pytest.raises(UserMistake, match=NAME):
        settle(
            bad if place == "argument" else {},
            {NAME: "0"} if place == "environment" else {},
            Configuration(bad if place == "configuration" else {}),
            bad if place == "document" else {},
        )


@pytest.mark.parametrize("place", ["argument", "configuration", "document"])
def test_a_setting_that_does_not_exist_is_refused_where_it_is_meant_as_one(place: str) -> None:
    unknown = {"BATCHSIZE": 1}
    with pytest.raises(UserMistake, match="no setting is called BATCHSIZE"):
        settle(
            unknown if place == "argument" else {},
            {},
            Configuration(unknown if place == "configuration" else {}),
            unknown if place == "document" else {},
        )
