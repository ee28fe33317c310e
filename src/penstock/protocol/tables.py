"""What may happen next, as a table: the docs draw it, the simulator counts how often each row is reached."""

from __future__ import annotations

from collections import Counter
from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping

StateT = TypeVar("StateT", bound=Enum)
EventT = TypeVar("EventT", bound=Enum)


class Table(Generic[StateT, EventT]):
    """The moves of one kind of state machine. A move that has no row is a defect of ours, and raises KeyError."""

    def __init__(self, name: str, rows: Mapping[tuple[StateT, EventT], StateT]) -> None:
        """`rows` says for a state and an event which state follows."""
        self.name = name
        self.rows = MappingProxyType(dict(rows))
        self.reached: Counter[tuple[StateT, EventT]] = Counter()

    def __repr__(self) -> str:
        return f"<Table {self.name}, {len(self.rows)} rows>"

    def move(self, state: StateT, event: EventT) -> StateT:
        """Return the state that follows."""
        self.reached[state, event] += 1
        return self.rows[state, event]
