"""Keys that may occur once, as every destination understands them: who holds a key, and who is refused for it.

Null never equals null, as in SQL: a row with a null in its key meets no other.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from penstock.expressions import quote
from penstock.model.outcome import RecordError
from penstock.model.pipeline import RuleKind, RuleSeverity, WriteMode

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from penstock.model.pipeline import Model


@dataclass(frozen=True, slots=True)
class Key:
    """Columns whose values together may occur once."""

    columns: tuple[str, ...]

    @property
    def list(self) -> str:
        """The columns, quoted, between commas."""
        return ", ".join(quote(column) for column in self.columns)

    @property
    def complete(self) -> str:
        """The condition that no column is null."""
        return " AND ".join(f"{quote(column)} IS NOT NULL" for column in self.columns)

    def equal(self, left: str, right: str) -> str:
        """Return the condition that the rows called `left` and `right` have this key in common."""
        return " AND ".join(f"{left}.{quote(column)} = {right}.{quote(column)}" for column in self.columns)


@dataclass(frozen=True, slots=True)
class Claim:
    """A row that may not be the only one with its key.

    `group` names the key: the least sequence among the incoming rows that have it. `taken` tells that the table
    has it already.
    """

    sequence: int
    key: Key
    group: int
    taken: bool
    shown: str


def keys_kept(model: Model, names: Sequence[str]) -> list[Key]:
    """Return the keys that rows are refused for, of a table with columns `names`.

    One that holds the grain of a merge is met by merging.
    """
    keys = [
        Key(rule.columns)
        for rule in model.rules
        if rule.kind is RuleKind.UNIQUE and rule.severity is RuleSeverity.ERROR and set(rule.columns) <= set(names)
    ]
    if model.write_mode is WriteMode.MERGE:
        assert model.grain, f"{model.name} merges by no key"
        keys = [key for key in keys if not set(key.columns) >= set(model.grain)]
    return list(dict.fromkeys(keys))


def refuse(claims: Iterable[Claim]) -> dict[int, RecordError]:
    """Decide which rows are refused, and why, by sequence.

    A key belongs to the table, then to the first that claims it. A row that is refused for one key holds none of its
    others.
    """
    by_sequence: dict[int, list[Claim]] = defaultdict(list)
    for claim in claims:
        by_sequence[claim.sequence].append(claim)
    held: set[tuple[Key, int]] = set()
    refused: dict[int, RecordError] = {}
    for sequence in sorted(by_sequence):
        own = by_sequence[sequence]
        lost = next((claim for claim in own if claim.taken or (claim.key, claim.group) in held), None)
        if lost is None:
            held |= {(claim.key, claim.group) for claim in own}
        else:
            refused[sequence] = _duplicate(lost)
    return refused


def _duplicate(claim: Claim) -> RecordError:
    columns = " + ".join(claim.key.columns)
    where = "the destination" if claim.taken else "an earlier record"
    return RecordError(
        "INT_GAMMA_003",
        field=", ".join(claim.key.columns),
        message=f"{columns} {claim.shown} is in {where} already",
        expected=f"no duplicate {columns}",
        actual=claim.shown,
    )
