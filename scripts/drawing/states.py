"""State tables as they stand in the code, and a receiver that is asked what it does."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, StrEnum
from typing import TYPE_CHECKING, Any, TypeVar

from penstock.model.position import Position, Range
from penstock.protocol import messages, receiver, sender, session
from penstock.protocol.messages import AckStatus
from penstock.protocol.receiver import Acknowledge, Drop, Halt, Hold, Queue, QueueLimits, Receiver, Signal
from penstock.protocol.tables import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from penstock.protocol.receiver import ReceiverEvent

StateT = TypeVar("StateT", bound=Enum)
EventT = TypeVar("EventT", bound=Enum)
DRIVEN = (sender, session)
"""Whoever imports these has loaded every state table of the protocol."""


def states(name: str) -> str:
    """Return a state table of the protocol: its rows, and the same as a picture without the loops."""
    tables = {table.name: table for table in _tables()}
    return _drawn(tables[name].rows)


def _tables() -> Iterator[Table[Any, Any]]:
    for place, module in sorted(sys.modules.items()):
        if place.startswith("penstock.protocol."):
            yield from (value for value in vars(module).values() if isinstance(value, Table))


def _drawn(rows: Mapping[tuple[StateT, EventT], StateT]) -> str:
    known = list(dict.fromkeys([*(state for state, _ in rows), *rows.values()]))
    events = list(dict.fromkeys(event for _, event in rows))
    table = []
    for event in events:
        cells = [_said(rows[state, event]) if (state, event) in rows else "-" for state in known]
        table.append(f"| {_said(event)} | {' | '.join(cells)} |")
    moves = [
        f"    {_said(state)} --> {_said(to)}: {_said(event)}" for (state, event), to in rows.items() if state is not to
    ]
    ends = [f"    {_said(state)} --> [*]" for state in known if not any(before is state for before, _ in rows)]
    return "\n".join(
        [
            f"| | {' | '.join(map(_said, known))} |",
            f"|---|{'---|' * len(known)}",
            *table,
            "",
            "```mermaid",
            "stateDiagram-v2",
            f"    [*] --> {_said(known[0])}",
            *moves,
            *ends,
            "```",
        ]
    )


def _said(value: Enum) -> str:
    return str(value) if isinstance(value, StrEnum) else value.name


# --- the receiver, asked itself -----------------------------------------------------------------------------------

QUEUE = QueueLimits(capacity_batches=10, high_watermark=0.8, low_watermark=0.5, credit_records=20)
RECORDS = 5
"""In each batch and streamed message."""
HEARTBEAT_S = 1.0


@dataclass(frozen=True, slots=True)
class Situation:
    """Something that happens to a receiver, which has to say what it does."""

    what: str
    does: Callable[[Receiver], Sequence[ReceiverEvent]]
    before: Callable[[Receiver], object] = lambda _: None


def _arrives(
    number: int, *, digest: str = "right", records: int | None = RECORDS, offset: int | None = None
) -> Callable[[Receiver], tuple[ReceiverEvent, ...]]:
    """A batch arrives, or with `offset` a streamed message."""
    metadata = messages.BatchMetadata(
        batch_id=str(number),
        sequence_number=number,
        record_count=RECORDS,
        checksum="right",
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        partition="",
        range=Range(0, RECORDS),
        position=Position("", 0, ""),
    )
    return lambda end: end.received(metadata, digest, records, offset)


def _arrive(*numbers: int) -> Callable[[Receiver], object]:
    return _several(*(_arrives(number) for number in numbers))


def _fail_content(number: int) -> Callable[[Receiver], object]:
    return _several(*[_arrives(number, records=None)] * QUEUE.content_failures_max)


def _taken(batches: int, streamed_records: int) -> Callable[[Receiver], tuple[ReceiverEvent, ...]]:
    return lambda end: end.taken(batches, streamed_records, 0.0)


def _answers(number: int) -> Callable[[Receiver], tuple[ReceiverEvent, ...]]:
    payload = messages.AcknowledgmentPayload(str(number), AckStatus.PROCESSED, RECORDS, 0, 0, sequence_number=number)
    return lambda end: end.answered(payload, 0.0)


def _heartbeat(end: Receiver) -> tuple[ReceiverEvent, ...]:
    return end.heartbeat(HEARTBEAT_S, HEARTBEAT_S)


def _several(*steps: Callable[[Receiver], object]) -> Callable[[Receiver], object]:
    return lambda end: [step(end) for step in steps]


SITUATIONS: tuple[Situation, ...] = (
    Situation("the next batch, intact", _arrives(0)),
    Situation("one that comes early", _arrives(1)),
    Situation("the one that two early ones waited for", _arrives(0), _arrive(1, 2)),
    Situation("a frame whose SHA-256 differs", _arrives(0, digest="wrong")),
    Situation("one with another number of records, or that does not decode", _arrives(0, records=None)),
    Situation("the same, more often than retries explain", _arrives(0, records=None), _fail_content(0)),
    Situation("a repeat, before the batch is settled", _arrives(0), _arrive(0)),
    Situation("a repeat, after it is settled", _arrives(0), _several(_arrives(0), _answers(0))),
    Situation("a batch that finds the queue full", _arrives(10), _arrive(*range(10))),
    Situation("an early one that finds one place left", _arrives(10), _arrive(*range(1, 10))),
    Situation("the next one that finds one place left", _arrives(0), _arrive(*range(1, 10))),
    Situation("a batch that fills the queue to the high watermark", _arrives(7), _arrive(*range(7))),
    Situation("the stage takes batches, down to the low watermark", _taken(3, 0), _arrive(*range(8))),
    Situation("the stage says that a batch is settled", _answers(0), _arrive(0)),
    Situation("a heartbeat, when a final answer is older than one", _heartbeat, _several(_arrives(0), _answers(0))),
    Situation("the next streamed message", _arrives(0, offset=0)),
    Situation("a repeat of it", _arrives(0, offset=0), _arrives(0, offset=0)),
    Situation("the stage takes it", _taken(0, RECORDS), _arrives(0, offset=0)),
    Situation("the stage says that it is settled", _answers(0), _several(_arrives(0, offset=0), _taken(0, RECORDS))),
)


def situations() -> str:
    """Return what a receiver does in each situation, and what that means."""
    kinds: tuple[type, ...] = (Hold, Queue, Acknowledge, Drop, Halt, Signal)
    return "\n".join(
        [
            "| what happens | what the receiver does |",
            "|---|---|",
            *map(_situation_row, SITUATIONS),
            "",
            "| | |",
            "|---|---|",
            *(f"| {kind.__name__} | {kind.__doc__} |" for kind in kinds),
            "| Tell | Send a StreamingAcknowledgment, one for all that came or was answered together. |",
            "",
            f"At one heartbeat at most {receiver.REPEATED_AT_ONCE} answers are repeated. The longest delay that is",
            f"recommended is {receiver.DELAY_MS_MAX:,} ms.",
        ]
    )


def _situation_row(situation: Situation) -> str:
    end = Receiver(QUEUE)
    situation.before(end)
    end.streaming_answer()
    did = [*_told(situation.does(end))]
    if (answer := end.streaming_answer()) is not None:
        settled = f", {len(answer.settled)} settled" if answer.settled else ""
        did.append(f"Tell: received below {answer.received_below}, credit to {answer.credit_to}{settled}")
    return f"| {situation.what} | {', '.join(did)} |"


def _told(events: Sequence[ReceiverEvent]) -> Iterator[str]:
    """Name events; batches that are queued together, as one."""
    queued = [event.metadata.sequence_number for event in events if isinstance(event, Queue)]
    for event in events:
        match event:
            case Acknowledge():
                yield f"Acknowledge `{event.payload.status}`"
            case Drop():
                yield f"Drop: {event.reason}"
            case Signal():
                yield f"Signal `{event.signal_type}`"
            case Hold():
                yield "Hold"
            case Halt():
                yield "Halt"
            case Queue():
                if event.metadata.sequence_number == queued[0]:
                    yield f"Queue message {queued[0]}" + (f" to {queued[-1]}" if queued[1:] else "")
