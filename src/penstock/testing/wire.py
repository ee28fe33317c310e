"""Links that write down what they carry, and do harm to it: for real runs, in real time.

    log = WireLog()
    links = BadLinks(seed=7, harm=Harm(drop=0.02, repeat=0.02, flip=0.01, hold_back=0.05), log=log)
    penstock.load("shop").run(connect=links)
    log.write(Path("wire.jsonl"))

Every frame passes as bytes through the codec, as it would between two processes. Harm is done by chance, which `seed`
decides, or on purpose, by a `Meddler`.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field, fields
from enum import StrEnum
from random import Random
from typing import TYPE_CHECKING, Protocol

import msgspec

from penstock.errors import DamagedFrame
from penstock.links.inbox import Inbox
from penstock.protocol.codec import decode, encode
from penstock.protocol.messages import (
    Acknowledgment,
    AlphaBetaBatchTransfer,
    BackPressureSignal,
    BetaGammaBatchTransfer,
    CircuitStateChange,
    ErrorNotification,
    Module,
    StreamingHandoffMessage,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from penstock.observing.facts import Hop
    from penstock.ports import Transport
    from penstock.protocol.frames import Body, Frame

SHARES = ("drop", "repeat", "flip", "hold_back")
"""What chance decides about a frame, by the names of `Harm`."""
TRANSFERS = (AlphaBetaBatchTransfer, BetaGammaBatchTransfer, StreamingHandoffMessage)
"""What carries records."""


class Fate(StrEnum):
    """What became of a frame on its way."""

    CARRIED = "carried"
    DROPPED = "dropped"
    REPEATED = "repeated"
    DAMAGED = "damaged"
    HELD_BACK = "held back"
    WITHHELD = "withheld"
    """Dropped on purpose."""
    ALTERED = "altered"
    """Another was carried instead, on purpose."""


@dataclass(frozen=True, slots=True)
class Harm:
    """What a link does to frames: shares in [0, 1] of those that it drops, sends twice, damages, and holds back.

    What is held back comes up to `delay_s` later, after others that left behind it. ValueError for what no link can do.
    """

    drop: float = 0.0
    repeat: float = 0.0
    flip: float = 0.0
    hold_back: float = 0.0
    delay_s: float = 0.05

    def __post_init__(self) -> None:
        shares = [getattr(self, name) for name in SHARES]
        if min(shares) < 0.0 or sum(shares) > 1.0:
            raise ValueError(f"{', '.join(SHARES)} are shares of all frames, from 0 to 1 together")
        if not 0.0 <= self.delay_s < float("inf"):
            raise ValueError("delay_s is a number of seconds")


HARMLESS = Harm()


def read_harm(text: str) -> Harm:
    """Return what `text` says: "drop=0.02,repeat=0.02". ValueError for a name or number that `Harm` does not take."""
    known = [each.name for each in fields(Harm)]
    said: dict[str, float] = {}
    for pair in filter(None, text.split(",")):
        name, _, value = pair.partition("=")
        if name not in known:
            raise ValueError(f"`{name}` is none of {', '.join(known)}")
        said[name] = float(value)
    return Harm(**said)


class Meddler(Protocol):
    """Does harm on purpose, to frames of its choice."""

    def __call__(self, hop: Hop, speaker: Module, frame: Frame) -> Frame | None:
        """Return what the link is to carry: `frame`, another in its place, or None for nothing.

        What is not altered goes on to chance; another is carried as it is. Called on the run's loop, in the order in
        which frames are sent.
        """


@dataclass(frozen=True, slots=True)
class Sent:
    """A frame as a link saw it: on which hop, of which source's records, who spoke to whom, and what became of it.

    `at_s` is the time of the event loop, `frame` what was said, `instead` what was carried in its place, if anything.
    """

    at_s: float
    hop: Hop
    source: str
    speaker: Module
    listener: Module
    fate: Fate
    frame: Frame
    instead: Frame | None = None

    @property
    def body(self) -> Body:
        """What was said."""
        return self.frame.body

    @property
    def what(self) -> str:
        """Return the name of its kind, with the word that tells such messages apart: "Acknowledgment RECEIVED"."""
        return f"{type(self.body).__name__} {_word(self.body)}".rstrip()

    @property
    def arrives(self) -> bool:
        """Whether the other end gets to read it, now or later."""
        return self.fate not in {Fate.DROPPED, Fate.DAMAGED, Fate.WITHHELD}

    def line(self) -> bytes:
        """Return it as a line of JSON, for people: of records only how many bytes they take."""
        said = {name: getattr(self, name) for name in ("at_s", "hop", "source", "speaker", "listener", "what", "fate")}
        if isinstance(self.body, TRANSFERS):
            said["records_bytes"] = self.body.records.nbytes
        said["frame"] = _bare(self.frame)
        if self.instead is not None:
            said["instead"] = _bare(self.instead)
        return msgspec.json.encode(said) + b"\n"


def _bare(frame: Frame) -> Frame:
    body = frame.body
    if not isinstance(body, TRANSFERS):
        return frame
    return msgspec.structs.replace(frame, body=msgspec.structs.replace(body, records=memoryview(b"")))


def _word(body: Body) -> str:
    match body:
        case Acknowledgment():
            return body.payload.status
        case StreamingHandoffMessage():
            return body.variant
        case BackPressureSignal():
            return body.signal_type
        case ErrorNotification():
            return body.action_required
        case CircuitStateChange():
            return body.new_state
        case _:
            return ""


@dataclass(slots=True)
class WireLog:
    """What links carried, in order. Keeps the last `most`; `kinds` and `fates` count all."""

    most: int = 100_000
    sent: list[Sent] = field(default_factory=list)
    kinds: Counter[tuple[Module, str]] = field(default_factory=Counter)
    """By module that spoke, and what it said (`Sent.what`)."""
    fates: Counter[Fate] = field(default_factory=Counter)

    def __repr__(self) -> str:
        return f"<WireLog {self}>"

    def __str__(self) -> str:
        """Return how many frames there were, and what became of them."""
        fates = ", ".join(f"{self.fates[fate]:,} {fate}" for fate in Fate if self.fates[fate])
        return f"{sum(self.fates.values()):,} frames: {fates or 'none'}"

    def saw(self, sent: Sent) -> None:
        """Write a frame down."""
        self.kinds[sent.speaker, sent.what] += 1
        self.fates[sent.fate] += 1
        self.sent.append(sent)
        if len(self.sent) > self.most:
            del self.sent[: max(1, self.most // 10)]

    def write(self, path: Path) -> None:
        """Write what is kept to a file, a line of JSON for each frame."""
        with path.open("wb") as out:
            out.writelines(sent.line() for sent in self.sent)


class BadLinks:
    """Connects the modules of a run by links that do `harm`, decided by `seed`, once `meddler` has had its way."""

    def __init__(
        self, seed: int, harm: Harm = HARMLESS, log: WireLog | None = None, meddler: Meddler | None = None
    ) -> None:
        self._chance = Random(seed)  # noqa: S311 - repeatable on purpose
        self._harm = harm
        self._log = log
        self._meddler = meddler

    def __call__(self, hop: Hop, source: str) -> tuple[Transport, Transport]:
        """Return the two ends of a hop."""
        there: Inbox[bytes] = Inbox()
        back: Inbox[bytes] = Inbox()
        sender, receiver = (Module(name.upper()) for name in hop.split("_"))
        return (
            _End(self, _Way(hop, source, sender, receiver), there, back),
            _End(self, _Way(hop, source, receiver, sender), back, there),
        )

    def pass_on(self, way: _Way, frame: Frame, outbox: Inbox[bytes]) -> None:
        """Carry a frame, or not."""
        loop = asyncio.get_running_loop()
        wanted = frame if self._meddler is None else self._meddler(way.hop, way.speaker, frame)
        fate, delays_s = self._drawn() if wanted is frame else _decided(wanted)
        if self._log is not None:
            instead = wanted if fate is Fate.ALTERED else None
            self._log.saw(Sent(loop.time(), way.hop, way.source, way.speaker, way.listener, fate, frame, instead))
        data = encode(wanted or frame)
        for delay_s in delays_s:
            put = self._damaged(data) if fate is Fate.DAMAGED else data
            if delay_s:
                loop.call_later(delay_s, outbox.put, put)
            else:
                outbox.put(put)

    def _drawn(self) -> tuple[Fate, tuple[float, ...]]:
        """Draw what becomes of a frame, and after how long each copy of it arrives."""
        drawn, harm = self._chance.random(), self._harm
        for share, fate, delays_s in (
            (harm.drop, Fate.DROPPED, ()),
            (harm.repeat, Fate.REPEATED, (0.0, 0.0)),
            (harm.flip, Fate.DAMAGED, (0.0,)),
            (harm.hold_back, Fate.HELD_BACK, (self._chance.random() * harm.delay_s,)),
        ):
            if drawn < share:
                return fate, delays_s
            drawn -= share
        return Fate.CARRIED, (0.0,)

    def _damaged(self, data: bytes) -> bytes:
        """Return `data` with one bit turned over."""
        altered = bytearray(data)
        altered[self._chance.randrange(len(altered))] ^= 1 << self._chance.randrange(8)
        return bytes(altered)


@dataclass(frozen=True, slots=True)
class _Way:
    """One direction of a hop."""

    hop: Hop
    source: str
    speaker: Module
    listener: Module


class _End:
    """One end of a bad link."""

    def __init__(self, links: BadLinks, way: _Way, outbox: Inbox[bytes], inbox: Inbox[bytes]) -> None:
        self._links = links
        self._way = way
        self._outbox = outbox
        self._inbox = inbox

    def send(self, frame: Frame) -> None:
        self._links.pass_on(self._way, frame, self._outbox)

    async def receive(self, most: int) -> Sequence[Frame]:
        while arrived := await self._inbox.take(most):
            frames = [frame for data in arrived if (frame := _read(data)) is not None]
            if frames:
                return frames
        return ()

    def close(self) -> None:
        self._outbox.close()


def _decided(wanted: Frame | None) -> tuple[Fate, tuple[float, ...]]:
    """Return what becomes of a frame that was meddled with."""
    return (Fate.WITHHELD, ()) if wanted is None else (Fate.ALTERED, (0.0,))


def _read(data: bytes) -> Frame | None:
    try:
        return decode(data)
    except DamagedFrame:
        return None  # nobody said this: there is nobody to answer
