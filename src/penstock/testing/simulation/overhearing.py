"""What may be said on a link: windows, credit, numbers and counts, judged by nothing but the frames themselves."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from penstock.protocol.frames import Close, Heartbeat, Hello
from penstock.protocol.messages import (
    Acknowledgment,
    AckStatus,
    AlphaBetaBatchTransfer,
    BetaGammaBatchTransfer,
    StreamingAcknowledgment,
    StreamingHandoffMessage,
)

if TYPE_CHECKING:
    from penstock.model.outcome import Tally
    from penstock.model.settings import Settings
    from penstock.protocol.frames import Frame
    from penstock.protocol.messages import BatchMetadata, Transfer
    from penstock.testing.simulation.auditor import Auditor


@dataclass(slots=True)
class _Sent:
    """What one incarnation of a sender has sent, and what it was told about it."""

    messages: list[BatchMetadata] = field(default_factory=list)
    streaming: set[int] = field(default_factory=set)
    streamed: int = 0
    unreceived: set[int] = field(default_factory=set)
    unanswered: set[int] = field(default_factory=set)
    credit_to: int = 0


@dataclass(slots=True)
class Overhearing:
    """Listens to both ends of one link. An end may only make use of what has arrived at it."""

    name: str
    window_batches: int
    unsettled_batches: int
    destinations: int
    auditor: Auditor
    _senders: dict[int, _Sent] = field(default_factory=dict)
    _granted: dict[tuple[int, int], int] = field(default_factory=dict)

    @classmethod
    def of(cls, name: str, settings: Settings, destinations: int, auditor: Auditor) -> Overhearing:
        """Listen with the limits of `settings`; `destinations` is how many account for a batch."""
        window, unsettled = settings.whole("TRANSFER_WINDOW_BATCHES"), settings.whole("UNSETTLED_BATCHES")
        return cls(name, window, unsettled, destinations, auditor)

    def sender_says(self, frame: Frame) -> None:
        """The sending end puts a frame on the wire."""
        sent = self._senders.setdefault(frame.sender, _Sent())
        match frame.body:
            case AlphaBetaBatchTransfer() | BetaGammaBatchTransfer() | StreamingHandoffMessage():
                self._transfer(sent, frame.body)
            case Close(messages=messages):
                self._check(messages == len(sent.messages), "a close counts what was sent", f"{messages}")
            case _:
                pass

    def receiver_says(self, frame: Frame) -> None:
        """The receiving end puts a frame on the wire."""
        sent = self._senders.get(frame.receiver)
        match frame.body:
            case Heartbeat(received_below=below) | StreamingAcknowledgment(received_below=below):
                known = 0 if sent is None else len(sent.messages)
                self._check(below <= known, "nothing is received that was not sent", f"{below} of {known}")
            case Acknowledgment(payload=payload) if payload.status is AckStatus.PROCESSED:
                self._conserves(sent, payload.sequence_number, payload.tally)
            case _:
                pass
        if isinstance(frame.body, StreamingAcknowledgment):
            for settled in frame.body.settled:
                if settled.status is AckStatus.PROCESSED:
                    self._conserves(sent, settled.sequence_number, settled.tally)

    def sender_hears(self, frame: Frame) -> None:
        """A frame arrived at the sending end, which may be another incarnation by now."""
        sent = self._senders.get(frame.receiver)
        if sent is None:
            return
        match frame.body:
            case Hello(credit_to=credit):
                sent.credit_to = max(sent.credit_to, credit)
            case Heartbeat(received_below=below, credit_to=credit):
                self._received(sent, below, credit)
            case StreamingAcknowledgment(received_below=below, credit_to=credit):
                self._received(sent, below, credit)
                for settled in frame.body.settled:
                    self._answered(sent, settled.sequence_number)
            case Acknowledgment(payload=payload):
                sent.unreceived.discard(payload.sequence_number)
                if payload.status is not AckStatus.RECEIVED:
                    self._answered(sent, payload.sequence_number)
            case _:
                pass

    def _transfer(self, sent: _Sent, transfer: Transfer) -> None:
        metadata = transfer.metadata
        number = metadata.sequence_number
        if number < len(sent.messages):
            self._check(sent.messages[number] == metadata, "a batch sent again is the same", f"{metadata}")
            return
        self._check(number == len(sent.messages), "batches are numbered without gap", f"{number}")
        self._check(metadata.record_count <= len(metadata.range), "a batch has room for its records", f"{metadata}")
        sent.messages.append(metadata)
        sent.unreceived.add(number)
        sent.unanswered.add(number)
        unsettled = number - min(sent.unanswered) + 1
        self._check(unsettled <= self.unsettled_batches, "what is unsettled is bounded", f"{unsettled}")
        if isinstance(transfer, StreamingHandoffMessage):
            sent.streaming.add(number)
            self._check(transfer.stream_offset == sent.streamed, "streamed records are counted", f"{number}")
            sent.streamed += metadata.record_count
            what = f"{sent.streamed} of {sent.credit_to}"
            self._check(sent.streamed <= sent.credit_to, "credit is never exceeded", what)
        else:
            waiting = len(sent.unreceived - sent.streaming)
            self._check(waiting <= self.window_batches, "the window is never exceeded", f"{waiting}")

    def _received(self, sent: _Sent, below: int, credit: int) -> None:
        sent.credit_to = max(sent.credit_to, credit)
        sent.unreceived = {number for number in sent.unreceived if number >= below}

    def _answered(self, sent: _Sent, number: int) -> None:
        sent.unreceived.discard(number)
        sent.unanswered.discard(number)

    def _conserves(self, sent: _Sent | None, number: int, tally: Tally) -> None:
        """What is settled of a batch is what was in it, at every destination it went to."""
        if sent is None or not 0 <= number < len(sent.messages):
            self._check(False, "nothing is answered that was not sent", f"{number}")
            return
        metadata = sent.messages[number]
        records = sum(count.records for count in tally)
        expected = metadata.record_count * self.destinations
        self._check(records == expected, "conservation at a hop", f"{metadata.range}: {tally}, {expected} expected")

    def _check(self, holds: bool, invariant: str, what: str) -> None:  # noqa: FBT001 - reads as a sentence
        self.auditor.check(holds, invariant, lambda: f"{self.name}: {what}")
