"""How fast back-pressure works: the destination stops at a known moment; when does Alpha stop sending, and reading?

The source is always ahead. The destination is frozen by an observer that does not let a commit begin; the moment is
that at which a commit first stands still.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from threading import Event
from typing import TYPE_CHECKING

from bench.latency_pipeline import BenchmarkError, Followed, folder

from penstock.observing.facts import (
    AtCommitPoint,
    BackPressure,
    BatchTransmitted,
    CommitPoint,
    Everyone,
    Hop,
    Moment,
    RangeSettled,
    RecordsRead,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.latency_pipeline import Mode

    from penstock.observing.facts import Fact

SETTLED_BEFORE = 200_000
"""Records that are settled before the destination is frozen: by then everything is warm, and queues are as they are."""
SEEN_BEFORE_S = 1.0
"""How much of the time before is drawn."""
SEEN_AFTER_S = 2.0
"""How much of the time afterwards is measured and drawn."""
STILL_S = 1.0
"""Whoever has done nothing for so long, when the destination goes on, had stopped."""
FROZEN_WITHIN_S = 60.0
POINTS = 400
"""Points of each drawn line."""


class Gate:
    """An observer that holds commits back while it is shut."""

    def __init__(self) -> None:
        self._open = Event()
        self._open.set()
        self._held = Event()
        self.held_s = 0.0
        """When a commit first stood still, in monotonic seconds."""

    def shut(self) -> None:
        """Freeze the destination, and wait until a commit meets that."""
        self._held.clear()
        self._open.clear()
        if not self._held.wait(FROZEN_WITHIN_S):
            raise BenchmarkError("no commit came to be held back")

    def open(self) -> None:
        """Let the destination go on."""
        self._open.set()

    def saw(self, fact: Fact) -> None:
        """Hold a commit back."""
        if isinstance(fact, AtCommitPoint) and (fact.point, fact.moment) == (CommitPoint.ROWS_AND_MARK, Moment.BEFORE):
            if not self._open.is_set() and not self._held.is_set():
                self.held_s = time.monotonic()
                self._held.set()
            self._open.wait()


@dataclass(frozen=True, slots=True)
class _Step:
    at_s: float
    records: int


@dataclass(slots=True)
class Timeline:
    """An observer that writes down when how many records were read, sent by Alpha, and settled."""

    read: list[_Step] = field(default_factory=list)
    sent: list[_Step] = field(default_factory=list)
    settled: list[_Step] = field(default_factory=list)
    told: list[_Step] = field(default_factory=list)
    """When Alpha was kept from sending: by a signal, or for want of credit."""

    def saw(self, fact: Fact) -> None:
        """Write down what counts."""
        now_s = time.monotonic()
        match fact:
            case RecordsRead():
                self.read.append(_Step(now_s, fact.records))
            case BatchTransmitted(hop=Hop.ALPHA_BETA, attempt=0):
                self.sent.append(_Step(now_s, fact.records))
            case RangeSettled():
                self.settled.append(_Step(now_s, len(fact.range)))
            case BackPressure(hop=Hop.ALPHA_BETA, active=True):
                self.told.append(_Step(now_s, fact.depth))
            case _:
                pass


@dataclass(frozen=True, slots=True)
class Reaction:
    """What became of one thing once the destination stood still. Times are from that moment.

    It went on for `seconds` and `records`; afterwards it began again `again_s` after the destination went on. None:
    it never did.
    """

    seconds: float
    records: int
    again_s: float | None


@dataclass(frozen=True, slots=True)
class Pressed:
    """One mode. `told_s`: when Alpha was first kept from sending. `lines` are (seconds, records) for a drawing."""

    mode: str
    frozen_s: float
    told_s: float | None
    sending: Reaction
    reading: Reaction
    lines: Mapping[str, tuple[tuple[float, int], ...]]


def measure(mode: Mode, frozen_s: float, settings: Mapping[str, object]) -> Pressed:
    """Freeze the destination for so long, and see. Raises BenchmarkError where what arrived is not what was written."""
    gate, timeline = Gate(), Timeline()
    with folder() as home:
        # The timeline first: what stands still in the gate has been written down.
        with Followed(home, {**settings, **mode.settings}, Everyone(timeline, gate)) as run:
            try:
                with run.fed() as fed:
                    run.wait_until_settled(SETTLED_BEFORE)
                    gate.shut()
                    time.sleep(frozen_s)
                    run.check()
                    thawed_s = time.monotonic()
                    gate.open()
                    time.sleep(SEEN_AFTER_S)
            finally:
                gate.open()  # or the run would never end
            written = fed.written
            run.wait_until_settled(written.records)
            run.stop()
        run.verify(written)
    return Pressed(
        mode=mode.name,
        frozen_s=thawed_s - gate.held_s,
        told_s=_first(timeline.told, gate.held_s, thawed_s),
        sending=_reaction(timeline.sent, gate.held_s, thawed_s),
        reading=_reaction(timeline.read, gate.held_s, thawed_s),
        lines={
            name: _line(steps, gate.held_s, thawed_s)
            for name, steps in (("read", timeline.read), ("sent", timeline.sent), ("settled", timeline.settled))
        },
    )


def _reaction(steps: list[_Step], frozen_s: float, thawed_s: float) -> Reaction:
    during = [step for step in steps if frozen_s < step.at_s <= thawed_s]
    last_s = during[-1].at_s if during else frozen_s
    again_s = _first(steps, thawed_s, float("inf"))
    return Reaction(last_s - frozen_s, sum(step.records for step in during), again_s)


def _first(steps: list[_Step], since_s: float, until_s: float) -> float | None:
    return next((step.at_s - since_s for step in steps if since_s < step.at_s <= until_s), None)


def _line(steps: list[_Step], frozen_s: float, thawed_s: float) -> tuple[tuple[float, int], ...]:
    """Return how many records it were, since the destination stood still: as many points as are drawn."""
    first_s, last_s = frozen_s - SEEN_BEFORE_S, thawed_s + SEEN_AFTER_S
    so_far = -sum(step.records for step in steps if step.at_s <= frozen_s)
    points, waiting = [], iter([*steps, _Step(float("inf"), 0)])
    step = next(waiting)
    for number in range(POINTS + 1):
        at_s = first_s + (last_s - first_s) * number / POINTS
        while step.at_s <= at_s:
            so_far += step.records
            step = next(waiting)
        points.append((at_s - frozen_s, so_far))
    return tuple(points)
