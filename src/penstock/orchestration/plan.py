"""What is to be run, and how disagreements are to be settled."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from penstock.ledger import STATE_FOLDER
from penstock.links.memory import connect_in_memory

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from penstock.links.memory import Connect
    from penstock.model.pipeline import Pipeline
    from penstock.model.settings import Settings


class Resolution(StrEnum):
    """What a person says where ledger, source, destination and document disagree."""

    REFUSE = "refuse"
    """Stop and say what disagrees."""
    REWIND = "rewind"
    """Go back to what the destination has, or to the beginning of a source that changed, and read again."""
    ACCEPT = "accept"
    """Take things as they are, and go on from the ledger's position."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A pipeline and its surroundings. `root` is the folder of the document.

    `home` is where state and the embedded warehouse live: `root`, or a folder that is thrown away. `sample` bounds
    the records read of each source. With `follow`, sources are followed as they grow, until the run is stopped;
    `reread` gives the settings anew when a person asks for that. `connect` makes the links between the modules.
    """

    pipeline: Pipeline
    root: Path
    home: Path
    settings: Settings
    resolution: Resolution = Resolution.REFUSE
    sample: int | None = None
    follow: bool = False
    reread: Callable[[], Settings] | None = None
    connect: Connect = connect_in_memory

    @property
    def state(self) -> Path:
        """The folder of the ledger."""
        return self.home / STATE_FOLDER
