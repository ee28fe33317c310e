"""Where the values and keys of a document stand."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

    from penstock.model.finding import Place

Path: TypeAlias = tuple[str | int, ...]
"""Keys and 0-based indexes from the top of a block to a value: ("source_models", 0, "table")."""


@dataclass(frozen=True, slots=True)
class Places:
    """Line and column of every value and key of one block, by the path to it."""

    whole: Place
    values: Mapping[Path, Place] = field(default_factory=dict)
    keys: Mapping[Path, Place] = field(default_factory=dict)

    def at(self, *path: str | int) -> Place:
        """Return where the value at `path` starts, or the nearest thing around it that is known."""
        for end in range(len(path), -1, -1):
            if path[:end] in self.values:
                return self.values[path[:end]]
        return self.whole

    def key(self, *path: str | int) -> Place:
        """Return where the key stands that leads to the value at `path`, otherwise what `at` returns."""
        return self.keys.get(path) or self.at(*path)

    def under(self, *path: str | int) -> Places:
        """Return the places below `path`, with paths that start there."""
        depth = len(path)
        return Places(
            self.at(*path),
            {known[depth:]: place for known, place in self.values.items() if known[:depth] == path},
            {known[depth:]: place for known, place in self.keys.items() if known[:depth] == path},
        )

    def renamed(self, slips: Mapping[Path, str]) -> Places:
        """Return the same places, known also by the paths they have when each key of `slips` is called otherwise."""
        return Places(
            self.whole,
            {**self.values, **{_renamed(path, slips): place for path, place in self.values.items()}},
            {**self.keys, **{_renamed(path, slips): place for path, place in self.keys.items()}},
        )

    def __repr__(self) -> str:
        return f"<Places of {len(self.values):,} values from {self.whole}>"


def _renamed(path: Path, slips: Mapping[Path, str]) -> Path:
    return tuple(slips.get(path[: end + 1], step) for end, step in enumerate(path))
