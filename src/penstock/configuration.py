"""Settings and connections: argument > environment > `penstock.toml` > document > default."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from penstock.errors import UserMistake
from penstock.model.pipeline import Connection, holds_password
from penstock.model.settings import SETTINGS, Settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

FILE_NAME = "penstock.toml"


PROFILE_VARIABLE = "PENSTOCK_PROFILE"


class _Connection(msgspec.Struct, forbid_unknown_fields=True):
    kind: str = "files"
    path: str = ""
    url: str = ""
    options: dict[str, str] = {}


class _Profile(msgspec.Struct, forbid_unknown_fields=True):
    settings: dict[str, bool | int | float] = {}
    connections: dict[str, _Connection] = {}


class _File(_Profile, forbid_unknown_fields=True):
    profiles: dict[str, _Profile] = {}


@dataclass(frozen=True, slots=True)
class Configuration:
    """What a `penstock.toml` says."""

    settings: Mapping[str, object] = field(default_factory=dict)
    connections: Mapping[str, Connection] = field(default_factory=dict)


def read_configuration(folder: Path, profile: str = "") -> Configuration:
    """Read `penstock.toml` in `folder`; empty where there is none. Raises UserMistake where it cannot be understood.

    What `profile` says goes before what stands outside of all profiles, setting by setting, connection by connection.
    """
    path = folder / FILE_NAME
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        if profile:
            raise _unknown_profile(path, profile, ()) from None
        return Configuration()
    except OSError as error:
        raise UserMistake("INT_PIPELINE_005", f"{path}: {error.strerror}") from error
    try:
        found = msgspec.convert(tomllib.loads(content.decode()), _File)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        remedy = (
            "it takes [settings] with numbers, true or false, [connections.NAME] with kind, path, url and options, and "
            "[profiles.NAME.settings] and [profiles.NAME.connections.NAME] with the same"
        )
        raise UserMistake("INT_PIPELINE_005", f"{path}: {error}", remedy=remedy) from error
    if profile and profile not in found.profiles:
        raise _unknown_profile(path, profile, found.profiles)
    chosen = found.profiles.get(profile, _Profile())
    connections = {
        name: Connection(name, connection.kind, connection.path, connection.options, connection.url)
        for name, connection in {**found.connections, **chosen.connections}.items()
    }
    for connection in connections.values():
        if holds_password(connection.url):
            raise UserMistake(
                "INT_PIPELINE_005",
                f"{path}: the url of connection `{connection.name}` holds a password",
                remedy="put `${NAME}` in its place and set NAME in the environment",
            )
    return Configuration({**found.settings, **chosen.settings}, connections)


def _unknown_profile(path: Path, profile: str, known: Iterable[str]) -> UserMistake:
    names = ", ".join(f"`{name}`" for name in known)
    return UserMistake(
        "INT_PIPELINE_005",
        f"{path}: there is no profile `{profile}`",
        remedy=f"take one of {names}, or none" if names else f"write [profiles.{profile}.connections.NAME] there",
    )


def settle(
    arguments: Mapping[str, object],
    environment: Mapping[str, str],
    configuration: Configuration,
    document: Mapping[str, object],
) -> Settings:
    """Merge the values of every place, the nearest to the command winning. Raises UserMistake."""
    from_environment = {name: environment[name] for name in SETTINGS if name in environment}
    return Settings({**document, **configuration.settings, **from_environment, **arguments})
