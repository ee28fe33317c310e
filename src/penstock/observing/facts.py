"""Facts that stages tell an `Observer`. Frozen values; telling one costs next to nothing when nobody listens."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

    from penstock.model.outcome import Stage, Tally
    from penstock.model.position import Range
    from penstock.protocol.breaker import CircuitState


class Hop(StrEnum):
    """One of the two hand-offs, as metric names spell it."""

    ALPHA_BETA = "alpha_beta"
    BETA_GAMMA = "beta_gamma"


class CommitPoint(StrEnum):
    """A moment at which something becomes durable or someone is allowed to forget."""

    DEAD_LETTER = "dead letter"
    ROWS_AND_MARK = "rows and mark"
    ACKNOWLEDGEMENT = "acknowledgement"
    POSITION = "position"


class Moment(StrEnum):
    """Which side of a commit point."""

    BEFORE = "before"
    AFTER = "after"


@dataclass(frozen=True, slots=True)
class AtCommitPoint:
    """The run stands right before or after a commit point. `subject` names what is committed."""

    point: CommitPoint
    moment: Moment
    subject: str


@dataclass(frozen=True, slots=True)
class SourceOpened:
    """A source is about to be read; `size_bytes` says what lies ahead in each partition, None where unknown."""

    source: str
    size_bytes: Mapping[str, int | None]


@dataclass(frozen=True, slots=True)
class RecordsRead:
    """A chunk was read and validated; `bytes_left` lie ahead in its partition."""

    source: str
    partition: str
    records: int
    refused: int
    bytes_left: int | None


@dataclass(frozen=True, slots=True)
class BatchTransmitted:
    """A batch left on a hop, in batch or in streaming mode; `attempt` is 0 the first time."""

    hop: Hop
    records: int
    attempt: int
    streaming: bool = False


@dataclass(frozen=True, slots=True)
class BatchAnswered:
    """A batch came to its end on a hop."""

    hop: Hop
    records: int


@dataclass(frozen=True, slots=True)
class BatchParked:
    """Retries of a batch are exhausted; it waits in the error queue."""

    hop: Hop


@dataclass(frozen=True, slots=True)
class FrameDropped:
    """A frame was dropped without an answer."""

    hop: Hop
    reason: str


@dataclass(frozen=True, slots=True)
class CircuitChanged:
    """A hop's circuit moved."""

    hop: Hop
    previous: CircuitState
    new: CircuitState


@dataclass(frozen=True, slots=True)
class BackPressure:
    """A queue crossed a watermark."""

    hop: Hop
    active: bool
    depth: int
    recommended_delay_ms: int


class LatencyStage(StrEnum):
    """A part of a record's way, and the whole of it."""

    VALIDATION = "validation"
    """From read to ready to be handed over."""
    HAND_OFF = "hand-off"
    """From first sent by Alpha to known received by Beta."""
    ACKNOWLEDGEMENT = "acknowledgement"
    """From first sent by Alpha to known settled."""
    TRANSFORMATION = "transformation"
    """From taken by Beta to transformed."""
    DELIVERY = "delivery"
    """From taken by Gamma to committed at the destination."""
    END_TO_END = "end to end"
    """From read to settled."""


@dataclass(frozen=True, slots=True)
class Timed:
    """Records of `source` took `seconds` for a stage of their way."""

    source: str
    stage: LatencyStage
    seconds: float
    records: int


@dataclass(frozen=True, slots=True)
class ModeChanged:
    """A source's hand-off goes on in the other mode. It begins in batch mode, unless this is told at once."""

    source: str
    streaming: bool


@dataclass(frozen=True, slots=True)
class WentBack:
    """A module lost its peer and begins again from what is settled."""

    source: str
    module: str
    why: str


@dataclass(frozen=True, slots=True)
class DestinationAway:
    """A destination cannot be reached; it is tried again in so many seconds."""

    source: str
    message: str
    retry_in_s: float


@dataclass(frozen=True, slots=True)
class LinkSilent:
    """Nothing has come from the other end for so long."""

    hop: Hop
    seconds: float


@dataclass(frozen=True, slots=True)
class LinkFault:
    """The other end did what it must not, or what it sent cannot be used. `code` is a row of the error table."""

    hop: Hop
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class DeadLettered:
    """Dead letters became durable, by error code."""

    source: str
    stage: Stage
    by_code: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class RowsCommitted:
    """A destination confirmed rows."""

    destination: str
    rows: int


@dataclass(frozen=True, slots=True)
class RangeSettled:
    """A source's position moved over `range`."""

    source: str
    partition: str
    range: Range
    tally: Tally


Fact: TypeAlias = (
    AtCommitPoint
    | SourceOpened
    | RecordsRead
    | BatchTransmitted
    | BatchAnswered
    | BatchParked
    | FrameDropped
    | CircuitChanged
    | BackPressure
    | Timed
    | ModeChanged
    | WentBack
    | DestinationAway
    | LinkSilent
    | LinkFault
    | DeadLettered
    | RowsCommitted
    | RangeSettled
)


class Observer(Protocol):
    """Told of facts as they happen, from any thread. Must not raise; a slow observer slows the pipeline."""

    def saw(self, fact: Fact) -> None:
        """Take note of `fact`."""


class Nobody:
    """An observer that does nothing."""

    def saw(self, fact: Fact) -> None:
        """Do nothing with `fact`."""


class Everyone:
    """An observer that passes facts on to several."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def saw(self, fact: Fact) -> None:
        """Pass `fact` on."""
        for observer in self._observers:
            observer.saw(fact)
