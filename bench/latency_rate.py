"""The most records a second that are settled over a minute in streaming mode, one in a hundred of them refused by Beta.

The source is always ahead. Every refused record has to be named, by itself, in an acknowledgement that goes from Beta
to Alpha; these are overheard on the link.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench.latency_pipeline import STREAMING, BenchmarkError, Followed, folder

from penstock.links.memory import memory_pair
from penstock.model.outcome import Outcome
from penstock.observing.facts import Hop, Nobody
from penstock.protocol.messages import StreamingAcknowledgment, StreamingHandoffMessage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from penstock.links.memory import MemoryTransport
    from penstock.ports import Transport
    from penstock.protocol.frames import Frame

REJECT_SHARE = 0.01
MICRO_BATCH_RECORDS = 1_000
SETTLED_BEFORE = 100_000
"""Records that are settled before the clock starts: by then everything is warm."""
SAMPLE_S = 0.5


@dataclass(slots=True)
class Overheard:
    """What is heard on the link between Alpha and Beta: the largest message, and who was named as refused."""

    messages: int = 0
    largest: int = 0
    named: set[int] = field(default_factory=set)

    def __call__(self, hop: Hop, source: str) -> tuple[Transport, Transport]:  # noqa: ARG002 - there is one source
        """Connect in memory; listen to one hop."""
        here, there = memory_pair()
        return (_Listening(here, self), there) if hop is Hop.ALPHA_BETA else (here, there)

    def sent(self, frame: Frame) -> None:
        """Hear Alpha."""
        if isinstance(frame.body, StreamingHandoffMessage):
            self.messages += 1
            self.largest = max(self.largest, frame.body.metadata.record_count)

    def received(self, frame: Frame) -> None:
        """Hear Beta."""
        if isinstance(frame.body, StreamingAcknowledgment):
            for settled in frame.body.settled:
                for each in settled.excepted:
                    if each.outcome is Outcome.DEAD_LETTERED:
                        self.named.update(each.sequences)


class _Listening:
    """Alpha's end of the link."""

    def __init__(self, end: MemoryTransport, overheard: Overheard) -> None:
        self._end = end
        self._overheard = overheard

    def send(self, frame: Frame) -> None:
        self._overheard.sent(frame)
        self._end.send(frame)

    async def receive(self, most: int) -> list[Frame]:
        frames = await self._end.receive(most)
        for frame in frames:
            self._overheard.received(frame)
        return frames

    def close(self) -> None:
        self._end.close()


@dataclass(frozen=True, slots=True)
class Sustained:
    """What was settled in `seconds`, how much processor time this process took for it, and what was checked.

    `slowest` and `fastest` are records a second over the slowest and the fastest tenth of the time. `messages` were
    streamed, with `largest` records at most; all `records` of the run and its `rejects` were found again.
    """

    seconds: float
    settled: int
    slowest: float
    fastest: float
    processor_s: float
    messages: int
    largest: int
    records: int
    rejects: int

    @property
    def per_s(self) -> float:
        """Records settled a second."""
        return self.settled / self.seconds


def measure(seconds: float, prepared: int, settings: Mapping[str, object]) -> Sustained:
    """Settle as much as can be. The writer has `prepared` records ready beforehand.

    Raises BenchmarkError where what arrived is not what was written, or not every refused record was named.
    """
    overheard = Overheard()
    asked = {"STREAMING_BATCH_RECORDS": MICRO_BATCH_RECORDS, **settings, **STREAMING.settings}
    with folder() as home:
        with Followed(home, asked, Nobody(), overheard) as run:
            with run.fed("--prepare", str(prepared), "--reject-share", str(REJECT_SHARE)) as fed:
                run.wait_until_settled(SETTLED_BEFORE)
                processor_s = time.process_time()
                samples = _watch(run, seconds)
                processor_s = time.process_time() - processor_s
            written = fed.written
            run.wait_until_settled(written.records)
            run.stop()
        run.verify(written)
    if len(overheard.named) != written.rejects or overheard.largest > MICRO_BATCH_RECORDS:
        raise BenchmarkError(f"{len(overheard.named):,} records were named, in messages of up to {overheard.largest:,}")
    slowest, fastest = _tenths(samples)
    (first_s, first), (last_s, last) = samples[0], samples[-1]
    return Sustained(
        seconds=last_s - first_s,
        settled=last - first,
        slowest=slowest,
        fastest=fastest,
        processor_s=processor_s,
        messages=overheard.messages,
        largest=overheard.largest,
        records=written.records,
        rejects=written.rejects,
    )


def _watch(run: Followed, seconds: float) -> list[tuple[float, int]]:
    """Note how much is settled, every so often."""
    began_s = time.monotonic()
    samples = [(began_s, run.figures.settled)]
    while samples[-1][0] < began_s + seconds:
        time.sleep(SAMPLE_S)
        run.check()
        samples.append((time.monotonic(), run.figures.settled))
    return samples


def _tenths(samples: list[tuple[float, int]]) -> tuple[float, float]:
    """Return the rate over the slowest tenth of the time, and over the fastest."""
    step = max(1, len(samples) // 10)
    pairs = zip(samples, samples[step:], strict=False)
    rates = [(settled - before) / (at_s - before_s) for (before_s, before), (at_s, settled) in pairs]
    return min(rates), max(rates)
