"""Settings and connections: argument > environment > `penstock.toml` > document > default."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from penstock.errors import UserMistake
from penstock.model.pipeline import Connection
from penstock.model.settings import SETTINGS, Settings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FILE_NAME = "penstock.toml"


class _Connection(msgspec.Struct, forbid_unknown_fields=True):
    kind: str = "files"
    path: str = ""
    options: dict[str, str] = {}


class _File(msgspec.Struct, forbid_unknown_fields=True):
    settings: dict[str, bool | int | float] = {}
    connections: dict[str, _Connection] = {}


@dataclass(frozen=True, slots=True)
class Configuration:
    """What a `penstock.toml` says."""

    settings: Mapping[str, object] = field(default_factory=dict)
    connections: Mapping[str, Connection] = field(default_factory=dict)


def read_configuration(folder: Path) -> Configuration:
    """Read `penstock.toml` in `folder`; empty where there is none. Raises UserMistake where it cannot be understood."""
    path = folder / FILE_NAME
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return Configuration()
    except OSError as error:
        raise UserMistake("INT_PIPELINE_005", f"{path}: {error.strerror}") from error
    try:
        found = msgspec.convert(tomllib.loads(content.decode()), _File)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        remedy = "it takes [settings] with numbers, true or false, and [connections.NAME] with kind, path and options"
        raise UserMistake("INT_PIPELINE_005", f"{path}: {error}", remedy=remedy) from error
    connections = {
        name: Connection(name, connection.kind, connection.path, connection.options)
        for name, connection in found.connections.items()
    }
    return Configuration(found.settings, connections)


def settle(
    arguments: Mapping[str, object],
    environment: Mapping[str, str],
    configuration: Configuration,
    document: Mapping[str, object],
) -> Settings:
    """Merge the values of every place, the nearest to the command winning. Raises UserMistake."""
    from_environment = {name: environment[name] for name in SETTINGS if name in environment}
    return Settings({**document, **configuration.settings, **from_environment, **arguments})
