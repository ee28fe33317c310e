"""A book that tells the observer before and after everything that becomes durable in it."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

from penstock.observing.facts import AtCommitPoint, CommitPoint, DeadLettered, Moment

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from penstock.model.outcome import DeadLetter
    from penstock.model.position import Mark
    from penstock.observing.facts import Observer
    from penstock.ports import Advance, Book, Fate


class ObservedBook:
    """Passes everything on to `book`."""

    def __init__(self, book: Book, observer: Observer) -> None:
        self._book = book
        self._observer = observer

    def dead_letter(self, letters: Sequence[DeadLetter]) -> None:
        """Keep records that left the pipeline."""
        first = letters[0]
        with self._at(CommitPoint.DEAD_LETTER, first.source):
            self._book.dead_letter(letters)
        by_code = Counter(letter.errors[0].code for letter in letters)
        self._observer.saw(DeadLettered(first.source, first.stage, by_code))

    def advance(self, source: str, advances: Sequence[Advance]) -> None:
        """Move positions, and count what became of the records."""
        with self._at(CommitPoint.POSITION, source):
            self._book.advance(source, advances)

    def supersede(self, destination: str, source: str, partition: str, sequences: Sequence[int]) -> None:
        """Note records that lost to a newer version of their key."""
        self._book.supersede(destination, source, partition, sequences)

    def confirm(self, destination: str, marks: Sequence[Mark]) -> None:
        """Note the marks that the destination has committed."""
        self._book.confirm(destination, marks)

    def recall(self, destination: str, source: str, partition: str, mark: int) -> Mapping[int, Fate]:
        """Return how unsettled records below `mark` were settled at the destination."""
        return self._book.recall(destination, source, partition, mark)

    @contextmanager
    def _at(self, point: CommitPoint, subject: str) -> Iterator[None]:
        self._observer.saw(AtCommitPoint(point, Moment.BEFORE, subject))
        yield
        self._observer.saw(AtCommitPoint(point, Moment.AFTER, subject))
