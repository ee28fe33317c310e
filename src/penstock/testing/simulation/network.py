"""A network that loses, repeats, reorders, delays and corrupts what it carries, and at times carries nothing at all.

Each link has two wires. A wire belongs to nobody: what one life of a module put on it may arrive in the next life of
another. Only what a codec accepts comes out of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from msgspec.structs import replace

from penstock.errors import DamagedFrame
from penstock.links.inbox import Inbox
from penstock.protocol.codec import decode, encode
from penstock.protocol.frames import Heartbeat
from penstock.protocol.messages import StreamingAcknowledgment, Transfer
from penstock.testing.simulation.weather import Fault

if TYPE_CHECKING:
    import asyncio
    import random
    from collections.abc import Callable, Sequence

    from penstock.protocol.frames import Frame
    from penstock.testing.simulation.auditor import Trace
    from penstock.testing.simulation.lives import Life
    from penstock.testing.simulation.loop import VirtualLoop
    from penstock.testing.simulation.weather import Weather

LATENCY_S = (0.0005, 0.02)
BEHIND_S = 1e-6
"""Least time between two frames that keep their order."""
OVERTAKEN_S = 0.4
"""A frame that is overtaken comes so much later, at most."""
LATE_S = 12.0
"""A very late one, at most: longer than many a life."""
FLIPS_MAX = 4
BEYOND = 1_000_000
"""Messages that a forged frame speaks of, and nobody has sent."""
REMEMBERED_FRAMES = 64
"""Frames of its whole past that a wire may carry again: some that a life said which is long over."""
BACKLOG_FRAMES = 20_000
"""Frames that may wait at one end: far more than window and credit let through, with every one repeated."""


@dataclass(eq=False)
class Wire:
    """One direction of a link."""

    name: str
    loop: VirtualLoop
    weather: Weather
    trace: Trace
    chance: random.Random
    carried: int = 0
    listener: SimulatedTransport | None = None
    overheard: Callable[[Frame], None] = lambda _: None
    """Told of every frame that arrives whole, and as it was said, at somebody alive."""
    _parted_until_s: float = 0.0
    _latest_s: float = 0.0
    _under_way: dict[asyncio.TimerHandle, None] = field(default_factory=dict)
    _past: list[bytes] = field(default_factory=list)

    def __repr__(self) -> str:
        return f"<Wire {self.name}, {len(self._under_way)} frames under way>"

    def part(self, seconds: float) -> None:
        """Carry nothing for a while."""
        self._parted_until_s = max(self._parted_until_s, self.loop.now_s + seconds)

    def lose_all(self) -> None:
        """Lose everything that is under way, and what has arrived and was not looked at."""
        for handle in self._under_way:
            handle.cancel()
        self._under_way.clear()
        if self.listener is not None:
            self.listener.lose_all()

    def send(self, frame: Frame) -> None:
        """Carry a frame, or do to it what the weather wants."""
        self.carried += 1
        strikes = self.weather.strikes
        if self.loop.now_s < self._parted_until_s or strikes(Fault.DROP):
            return
        data = bytes(encode(self._altered(frame)))
        if strikes(Fault.BIT_FLIP):
            data = self._flipped(data)
        elif strikes(Fault.TRUNCATION):
            data = data[: self.chance.randrange(len(data))]
        self._carry(data)
        if strikes(Fault.REPEAT):
            self._carry(data)
        self._remember(data)
        if strikes(Fault.REPLAY):
            self._carry(self.chance.choice(self._past))
        if isinstance(frame.body, Heartbeat | StreamingAcknowledgment) and strikes(Fault.FORGED):
            self._carry(bytes(encode(_forged(frame, frame.body))), forged=True)

    def _carry(self, data: bytes, *, forged: bool = False) -> None:
        at_s = self.loop.now_s + self.chance.uniform(*LATENCY_S)
        if self.weather.strikes(Fault.LATE):
            at_s += self.chance.random() * LATE_S
        elif self.weather.strikes(Fault.REORDER):
            at_s += self.chance.random() * OVERTAKEN_S
        else:
            at_s = self._latest_s = max(at_s, self._latest_s + BEHIND_S)
        handle: asyncio.TimerHandle = self.loop.call_at(at_s, lambda: self._arrive(handle, data, forged=forged))
        self._under_way[handle] = None

    def _remember(self, data: bytes) -> None:
        """Keep a frame, or not: any of the past is as likely to be there as any other."""
        if len(self._past) < REMEMBERED_FRAMES:
            self._past.append(data)
        elif (place := self.chance.randrange(self.carried)) < REMEMBERED_FRAMES:
            self._past[place] = data

    def _arrive(self, handle: asyncio.TimerHandle, data: bytes, *, forged: bool) -> None:
        del self._under_way[handle]
        listener = self.listener
        if listener is None or not listener.life.alive or self.loop.now_s < self._parted_until_s:
            return
        try:
            frame = decode(data)
        except DamagedFrame:
            if self.trace.listens:
                self.trace(self.name, f"corrupt, {len(data)} bytes")
            return
        if self.trace.listens:
            self.trace(self.name, f"arrives {told(frame)}")
        if not forged:
            self.overheard(frame)
        listener.arrived(frame)

    def _altered(self, frame: Frame) -> Frame:
        """Alter the records of some transfers: only their own checksum can tell."""
        if isinstance(frame.body, Transfer) and self.weather.strikes(Fault.ALTERED):
            records = memoryview(self._flipped(bytes(frame.body.records)))
            return replace(frame, body=replace(frame.body, records=records))
        return frame

    def _flipped(self, data: bytes) -> bytes:
        altered = bytearray(data)
        for _ in range(self.chance.randint(1, FLIPS_MAX)):
            altered[self.chance.randrange(len(altered))] ^= 1 << self.chance.randrange(8)
        return bytes(altered)


class SimulatedTransport:
    """`penstock.ports.Transport` of one life of a module at one end of a link."""

    def __init__(self, life: Life, outward: Wire, inward: Wire, sent: Callable[[Frame], None]) -> None:
        """`sent` is told of every frame that a living module sends."""
        self.life = life
        self._outward = outward
        self._inward = inward
        self._sent = sent
        self._inbox: Inbox[Frame] = Inbox()
        self._closed = False
        inward.listener = self

    def __repr__(self) -> str:
        return f"<SimulatedTransport {self.life.name} on {self._outward.name}>"

    def send(self, frame: Frame) -> None:
        """Put a frame on the wire; the dead send nothing."""
        if not self.life.alive or self._closed:
            return
        if self.life.weather.strikes(Fault.CRASH_AT_SEND):
            self.life.kill("at a send")
            return
        if self.life.trace.listens:
            self.life.trace(self.life.name, f"sends {told(frame)}")
        self._sent(frame)
        self._outward.send(frame)

    async def receive(self, most: int) -> Sequence[Frame]:
        """Wait for frames."""
        return await self._inbox.take(most)

    def close(self) -> None:
        """Hang up. Nobody is told: on a network, whoever is gone is just silent."""
        self._closed = True
        self._inbox.close()
        if self._inward.listener is self:
            self._inward.listener = None

    def arrived(self, frame: Frame) -> None:
        """Take a frame from the wire."""
        self._inbox.put(frame)
        waiting = len(self._inbox)
        self.life.auditor.check(waiting <= BACKLOG_FRAMES, "what waits at an end is bounded", lambda: f"{waiting:,}")

    def lose_all(self) -> None:
        """Lose what was not looked at."""
        self._inbox.take_now()


def _forged(frame: Frame, body: Heartbeat | StreamingAcknowledgment) -> Frame:
    """Confirm, on behalf of either end, what was never sent: whoever believes it will wait for nothing any more."""
    body = replace(body, received_below=body.received_below + BEYOND)
    return replace(frame, settled_below=frame.settled_below + BEYOND, body=body)


def told(frame: Frame) -> str:
    """Tell of a frame in a line."""
    body = frame.body
    metadata = getattr(body, "metadata", None)
    header = getattr(body, "header", None)
    what = type(body).__name__
    if metadata is not None:
        what += f" {metadata.sequence_number} {metadata.destination} {metadata.partition} {metadata.range}"
    else:
        content = {name: getattr(body, name) for name in body.__struct_fields__ if name not in {"header", "records"}}
        what += f" {content}" if header is None or content else ""
    return f"{frame.sender}→{frame.receiver} settled<{frame.settled_below} {what}"
