"""Where planning stands in a document, and what it noted there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from penstock.expressions import UnknownName
from penstock.model.finding import Level
from penstock.planning import codes

if TYPE_CHECKING:
    from penstock.documents.places import Path, Places
    from penstock.expressions import NotAnExpression
    from penstock.model.finding import Finding, FindingKind, Place

PartT_co = TypeVar("PartT_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Spot:
    """A part of a block: the path to it, and where what lies below it stands."""

    places: Places
    path: Path = ()

    def at(self, *more: str | int) -> Place:
        """Return where the value below stands."""
        return self.places.at(*self.path, *more)

    def key(self, *more: str | int) -> Place:
        """Return where the key stands that leads to the value below."""
        return self.places.key(*self.path, *more)

    def down(self, *more: str | int) -> Spot:
        """Return the spot below."""
        return Spot(self.places, (*self.path, *more))


@dataclass(frozen=True, slots=True)
class Described(Generic[PartT_co]):
    """A part of a document, and where it stands."""

    part: PartT_co
    spot: Spot

    @property
    def place(self) -> Place:
        """Where the part begins."""
        return self.spot.at()


class Notes:
    """Collects findings while a plan is made, so that all come at once."""

    def __init__(self) -> None:
        """Begin with none."""
        self._findings: set[Finding] = set()

    def add(self, kind: FindingKind, place: Place, message: str, remedy: str = "") -> None:
        """Note a finding; said twice, it stands once."""
        self._findings.add(kind.at(place, message, remedy=remedy))

    def expression(self, place: Place, why: NotAnExpression, what: str = "") -> None:
        """Note that a text is not an expression that can be used; `what` says which one."""
        kind = codes.UNKNOWN_COLUMN if isinstance(why, UnknownName) else codes.NOT_AN_EXPRESSION
        self.add(kind, place, f"{what}: {why.message}" if what else why.message, why.remedy)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All findings, in the order of the documents."""
        return tuple(sorted(self._findings))

    @property
    def have_errors(self) -> bool:
        """Whether anything noted stops a run."""
        return any(finding.level is Level.ERROR for finding in self._findings)
