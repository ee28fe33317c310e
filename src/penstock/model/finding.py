"""What is wrong with a document, or open in it, and where."""

from __future__ import annotations

from enum import StrEnum
from pathlib import PurePath  # noqa: TC003 - msgspec reads the annotation at run time

import msgspec

SENTENCE_CHARACTERS_MAX = 500
"""What a finding says is read in a terminal, and quotes documents that may hold anything."""


class Level(StrEnum):
    """An error stops everything (exit 1). An open question leaves what it touches unbuilt (exit 0)."""

    ERROR = "error"
    OPEN_QUESTION = "open question"


class Place(msgspec.Struct, frozen=True, order=True):
    """A point in a document: 1-based line and column; 0 where a file as a whole is meant."""

    path: str
    line: int = 0
    column: int = 0

    @classmethod
    def of(cls, path: PurePath) -> Place:
        """Return the place that means the whole file."""
        return cls(str(path))

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}"


class Finding(msgspec.Struct, frozen=True, order=True):
    """One thing to mend or to answer: `file:line:column CODE what is wrong; what to do`."""

    place: Place
    code: str
    level: Level
    message: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.place} {self.code} {self.message}; {self.remedy}"


class FindingKind(msgspec.Struct, frozen=True):
    """One row of a table of findings: its code, how bad it is, what it is called, and what to do about it."""

    code: str
    level: Level
    title: str
    remedy: str

    def at(self, place: Place, message: str, *, remedy: str = "") -> Finding:
        """Return a finding of this kind; `remedy` says better than the table what to do here.

        A message quotes what a document holds: line ends and what a terminal would obey are made harmless.
        """
        return Finding(place, self.code, self.level, _one_line(message), _one_line(remedy or self.remedy))


def _one_line(text: str) -> str:
    line = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in _words(text))
    return line if len(line) <= SENTENCE_CHARACTERS_MAX else line[: SENTENCE_CHARACTERS_MAX - 3] + "..."


def _words(text: str) -> str:
    return " ".join(text[: 2 * SENTENCE_CHARACTERS_MAX].split())
