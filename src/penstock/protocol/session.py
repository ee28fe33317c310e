"""Who is talking to whom: incarnations of the two ends of a link, and whether what arrives is meant for this one.

An end that starts, or begins again, takes a new incarnation, a number larger than its last. Two ends are in session
once each knows the present incarnation of the other; only then do messages count. Numbers come from the wall clock
(`fresh`), which may jump back: an end that learns that its peer has met a later one of it goes beyond that.

    what a frame says of its sender and receiver      what is done (`received`, in this order)

    receiver is later than I am                       SUPERSEDED: I must begin again, beyond it
    sender is earlier than the peer I know            dropped; HELLO tells whoever it is what is known here
    sender is later, and it is no HELLO               dropped; HELLO asks for one
    sender is later, and says HELLO                   the peer is another now; what was said before is void
    receiver is not me                                dropped; HELLO tells who I am
    otherwise                                         in session: it counts
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from penstock.protocol.frames import NOBODY, Hello
from penstock.protocol.tables import Table

if TYPE_CHECKING:
    from penstock.protocol.frames import Frame

CHANCE_BITS = 20
"""Bits of an incarnation that are drawn: two starts within a millisecond, or after a clock jumped, still differ."""


class SessionState(StrEnum):
    """How far two ends have come to know each other."""

    GREETING = "GREETING"
    OPEN = "OPEN"


class SessionEvent(StrEnum):
    """What moves a session."""

    PEER_APPEARED = "a later peer says HELLO"
    PEER_KNOWS_ME = "a frame names both of us"
    BEGAN_AGAIN = "this end begins again"


_S, _E = SessionState, SessionEvent
TRANSITIONS = Table(
    "session",
    {
        (_S.GREETING, _E.PEER_APPEARED): _S.GREETING,
        (_S.GREETING, _E.PEER_KNOWS_ME): _S.OPEN,
        (_S.GREETING, _E.BEGAN_AGAIN): _S.GREETING,
        (_S.OPEN, _E.PEER_APPEARED): _S.GREETING,
        (_S.OPEN, _E.PEER_KNOWS_ME): _S.OPEN,
        (_S.OPEN, _E.BEGAN_AGAIN): _S.GREETING,
    },
)


class Verdict(StrEnum):
    """What to make of a frame. MET: the first peer, who does not know me yet; what it says is not meant for me."""

    COUNTS = "counts"
    MET = "met"
    DROPPED = "dropped"
    SUPERSEDED = "superseded"
    PEER_IS_NEW = "peer is new"


@dataclass(frozen=True, slots=True)
class Heard:
    """What to do about a frame: `greet` says that it is to be answered by HELLO."""

    verdict: Verdict
    greet: bool = False


def fresh(time_s: float, fraction: float, *, beyond: int = NOBODY) -> int:
    """Return an incarnation: milliseconds of the wall clock, then drawn bits; larger than `beyond` in any case.

    Going beyond is by a millisecond with bits of its own, too: of two lives that both go beyond the same, neither is
    taken for the other.
    """
    milliseconds = max(int(time_s * 1000), (beyond >> CHANCE_BITS) + 1)
    return (milliseconds << CHANCE_BITS) + int(fraction * (1 << CHANCE_BITS))


class Session:
    """One end's view of a link."""

    def __init__(self, me: int) -> None:
        self.me = me
        self.peer = NOBODY
        self.state = SessionState.GREETING

    def __repr__(self) -> str:
        return f"<Session {self.state}, {self.me} with {self.peer}>"

    @property
    def is_open(self) -> bool:
        """Whether both ends know each other."""
        return self.state is SessionState.OPEN

    def begin_again(self, me: int) -> None:
        """Become another incarnation. The peer stays known, so that what it sends to the last one is recognised."""
        assert me > self.me, (me, self.me)
        self.me = me
        self.state = TRANSITIONS.move(self.state, SessionEvent.BEGAN_AGAIN)

    def received(self, frame: Frame) -> Heard:
        """Judge a frame."""
        if frame.receiver > self.me:
            return Heard(Verdict.SUPERSEDED)
        if frame.sender < self.peer:
            return Heard(Verdict.DROPPED, greet=True)
        if frame.sender > self.peer:
            return self._meet(frame)
        if frame.receiver != self.me:
            return Heard(Verdict.DROPPED, greet=True)
        self.state = TRANSITIONS.move(self.state, SessionEvent.PEER_KNOWS_ME)
        return Heard(Verdict.COUNTS)

    def _meet(self, frame: Frame) -> Heard:
        if not isinstance(frame.body, Hello):
            return Heard(Verdict.DROPPED, greet=True)
        known_before = self.peer != NOBODY
        self.peer = frame.sender
        self.state = TRANSITIONS.move(self.state, SessionEvent.PEER_APPEARED)
        knows_me = frame.receiver == self.me
        if knows_me:
            self.state = TRANSITIONS.move(self.state, SessionEvent.PEER_KNOWS_ME)
        if known_before:
            return Heard(Verdict.PEER_IS_NEW, greet=True)
        return Heard(Verdict.COUNTS if knows_me else Verdict.MET, greet=True)
