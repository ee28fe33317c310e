"""Links that write down what they carry, and do harm to it: for real runs, in real time.

    links = BadLinks(seed=7, harm=Harm(drop=0.02, repeat=0.02, flip=0.01, delay_s=0.05), log=WireLog())
    penstock.load("shop").run(connect=links)

Every frame passes as bytes through the codec, as it would between two processes.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

from penstock.errors import DamagedFrame
from penstock.links.inbox import Inbox
from penstock.protocol.codec import decode, encode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from penstock.observing.facts import Hop
    from penstock.ports import Transport
    from penstock.protocol.frames import Frame


@dataclass(frozen=True, slots=True)
class Harm:
    """What a link does to frames: shares in [0, 1] of those that it drops, sends twice, damages, and holds back.

    What is held back comes up to `delay_s` later, after others that left behind it.
    """

    drop: float = 0.0
    repeat: float = 0.0
    flip: float = 0.0
    hold_back: float = 0.0
    delay_s: float = 0.05


@dataclass(frozen=True, slots=True)
class Sent:
    """A frame as a link saw it: on which hop, from which module, what, and what became of it."""

    hop: Hop
    speaker: str
    kind: str
    fate: str
    frame: Frame


@dataclass(slots=True)
class WireLog:
    """What links carried, in order. Keeps the last `most`; `kinds` counts all, by module and kind of message."""

    most: int = 100_000
    sent: list[Sent] = field(default_factory=list)
    kinds: Counter[tuple[str, str]] = field(default_factory=Counter)

    def saw(self, sent: Sent) -> None:
        """Write a frame down."""
        self.kinds[sent.speaker, sent.kind] += 1
        self.sent.append(sent)
        if len(self.sent) > self.most:
            del self.sent[: self.most // 10]


class BadLinks:
    """Connects the modules of a run by links that do `harm`, decided by `seed`."""

    def __init__(self, seed: int, harm: Harm, log: WireLog | None = None) -> None:
        self._chance = Random(seed)  # noqa: S311 - repeatable on purpose
        self._harm = harm
        self._log = log

    def __call__(self, hop: Hop, source: str) -> tuple[Transport, Transport]:  # noqa: ARG002 - all are as bad
        """Return the two ends of a hop."""
        there: Inbox[bytes] = Inbox()
        back: Inbox[bytes] = Inbox()
        sender, receiver = hop.split("_")
        return (
            _End(self, hop, sender.upper(), there, back),
            _End(self, hop, receiver.upper(), back, there),
        )

    def fate(self) -> tuple[str, tuple[float, ...], bool]:
        """Draw what becomes of a frame: a word for it, after how long each copy arrives, and whether damaged."""
        drawn, harm = self._chance.random(), self._harm
        for share, word, copies, damaged in (
            (harm.drop, "dropped", (), False),
            (harm.repeat, "repeated", (0.0, 0.0), False),
            (harm.flip, "damaged", (0.0,), True),
            (harm.hold_back, "held back", (self._chance.random() * harm.delay_s,), False),
        ):
            if drawn < share:
                return word, copies, damaged
            drawn -= share
        return "carried", (0.0,), False

    def damaged(self, data: bytes) -> bytes:
        """Return `data` with one bit turned over."""
        altered = bytearray(data)
        altered[self._chance.randrange(len(altered))] ^= 1 << self._chance.randrange(8)
        return bytes(altered)

    def wrote(self, sent: Sent) -> None:
        """Tell the log."""
        if self._log is not None:
            self._log.saw(sent)


class _End:
    """One end of a bad link."""

    def __init__(self, links: BadLinks, hop: Hop, speaker: str, outbox: Inbox[bytes], inbox: Inbox[bytes]) -> None:
        self._links = links
        self._hop = hop
        self._speaker = speaker
        self._outbox = outbox
        self._inbox = inbox

    def send(self, frame: Frame) -> None:
        word, copies, damaged = self._links.fate()
        self._links.wrote(Sent(self._hop, self._speaker, type(frame.body).__name__, word, frame))
        data = bytes(encode(frame))
        for delay_s in copies:
            put = self._links.damaged(data) if damaged else data
            if delay_s:
                asyncio.get_running_loop().call_later(delay_s, self._outbox.put, put)
            else:
                self._outbox.put(put)

    async def receive(self, most: int) -> Sequence[Frame]:
        while arrived := await self._inbox.take(most):
            frames = [frame for data in arrived if (frame := _read(data)) is not None]
            if frames:
                return frames
        return ()

    def close(self) -> None:
        self._outbox.close()


def _read(data: bytes) -> Frame | None:
    try:
        return decode(data)
    except DamagedFrame:
        return None  # nobody said this: there is nobody to answer
