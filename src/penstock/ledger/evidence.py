"""Evidence: what each line of the document came to, run by run."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence


class Result(StrEnum):
    """What checking a requirement gave."""

    PASS = "pass"  # noqa: S105 - not a password
    WARNING = "warning"
    """It does not hold, and was not asked to: the document calls it a warning."""
    FAIL = "fail"
    NOT_CHECKED = "not checked"


@dataclass(frozen=True, slots=True)
class RequirementResult:
    """One requirement of the document, and what speaks for its result. `place` is `file:line:column`."""

    requirement: str
    text: str
    place: str
    result: Result
    evidence: str


def record(connection: sqlite3.Connection, run_id: str, rows: Sequence[RequirementResult]) -> None:
    """Keep the results of a run; a requirement that is recorded again is replaced."""
    connection.executemany(
        """
        INSERT OR REPLACE INTO evidence (run_id, requirement, text, place, result, evidence)
        VALUES (?, ?, ?, ?, ?, ?)
        """,
        [(run_id, row.requirement, row.text, row.place, row.result, row.evidence) for row in rows],
    )


def recorded(connection: sqlite3.Connection, run_id: str) -> tuple[RequirementResult, ...]:
    """Return the results of a run in the order in which they were recorded."""
    rows = connection.execute(
        "SELECT requirement, text, place, result, evidence FROM evidence WHERE run_id = ? ORDER BY rowid", (run_id,)
    )
    return tuple(
        RequirementResult(requirement, text, place, Result(result), evidence)
        for requirement, text, place, result, evidence in rows
    )
