"""The ledger as one run writes it: what the stages see of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from penstock.ledger.ledger import Ledger
    from penstock.model.outcome import DeadLetter
    from penstock.model.position import Mark
    from penstock.ports import Advance, Fate


@dataclass(frozen=True, slots=True)
class RunBook:
    """A `penstock.ports.Book` of one run of one pipeline. May be used from any thread; durable when a call returns."""

    ledger: Ledger
    run_id: str
    pipeline: str

    def dead_letter(self, letters: Sequence[DeadLetter]) -> None:
        """Keep records that left the pipeline; see `Ledger.dead_letter`."""
        self.ledger.dead_letter(self.run_id, self.pipeline, letters)

    def advance(self, source: str, advances: Sequence[Advance]) -> None:
        """Move positions and count; see `Ledger.settle`."""
        self.ledger.settle(self.run_id, self.pipeline, source, advances)

    def supersede(self, destination: str, source: str, partition: str, sequences: Sequence[int]) -> None:
        """Note records that lost to a newer version of their key; see `Ledger.supersede`."""
        self.ledger.supersede(self.pipeline, destination, source, partition, sequences)

    def confirm(self, destination: str, marks: Sequence[Mark]) -> None:
        """Note the marks that the destination has committed; see `Ledger.record_marks`."""
        self.ledger.record_marks(self.pipeline, destination, marks)

    def recall(self, destination: str, source: str, partition: str, mark: int) -> Mapping[int, Fate]:
        """Return how unsettled records below `mark` were settled; see `Ledger.recall`."""
        return self.ledger.recall(self.run_id, self.pipeline, destination, source, partition, mark)
