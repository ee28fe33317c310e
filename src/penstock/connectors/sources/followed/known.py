"""What is known of one text file while it is followed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from penstock.connectors.sources.files.partitions import FileName
    from penstock.connectors.sources.followed.tail import Tail
    from penstock.connectors.sources.followed.whole import WholeFile
    from penstock.model.position import Position


@dataclass(eq=False, slots=True)
class Known:
    """A text file, with or without a name of its own yet, open or at rest."""

    name: FileName
    """The path where it was met, and how it is read."""
    path: str
    """Where it lies, or lay last."""
    file: tuple[int, int]
    partition: str | None = None
    position: Position | None = None
    size: int = 0
    """As it was last looked at while it was not open."""
    changed_ns: int = 0
    """Likewise, when it was last written to."""
    is_sure: bool = False
    """Whether it is new, or was found in this process to begin with what was read of it."""
    left_s: float | None = None
    """When it was found to have lost its place to another file, or to none; None while it has it."""
    after: Known | None = None
    """What is to be read before it: the file whose place it took."""
    tail: Tail | None = None
    copy: WholeFile | None = None
    """Where its text is read from, when all of it is in a compressed file."""
    is_drained: bool = False
    """Whether there was nothing new in it when it was last looked at."""
    is_finished: bool = False
    """Whether its last line was taken as it is, because nobody seems to write to it any more."""
    is_over: bool = False
    """Whether nothing more of it will be read."""

    def close(self) -> None:
        """Close what is open."""
        if self.tail is not None:
            self.tail.close()
            self.tail = None
        if self.copy is not None:
            self.copy.close()
