"""Writes the parts of `docs/` that are drawn from the code: whole pages, and marked sections of others.

A section stands between `<!-- drawn: NAME -->` and `<!-- end -->`. `--check` only tells whether all of it is current.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeVar, get_args

from penstock.errors import KINDS
from penstock.model.position import Position, Range
from penstock.model.settings import SETTINGS
from penstock.observing import facts, figures, latency
from penstock.protocol import breaker, messages, receiver, sender
from penstock.protocol.messages import AckStatus
from penstock.protocol.receiver import Acknowledge, Drop, Halt, Hold, Queue, QueueLimits, Receiver, Signal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import msgspec

    from penstock.protocol.receiver import ReceiverEvent

StateT = TypeVar("StateT", bound=StrEnum)
EventT = TypeVar("EventT", bound=StrEnum)

ROOT = Path(__file__).resolve().parent.parent
MODULES = {
    "ALPHA": "Alpha (ingestion)",
    "BETA": "Beta (transformation)",
    "GAMMA": "Gamma (delivery)",
    "EPSILON": "Epsilon (caching)",
    "LINK": "the links between them",
    "LEDGER": "the ledger",
    "PIPELINE": "the pipeline as a whole",
}

ERRORS_HEAD = """# Error codes

Written from the table in `penstock.errors` by `scripts/write_docs.py`; change it there.

Every error says whose fault it is (**scope**), how bad it is (**severity**) and whether trying again helps
(**recoverability**). Errors of scope RECORD concern one record: it goes to the dead letters, with its untouched
original, and everything else goes on. The others stop the run with exit code 3 (a document with errors: 1), and nothing
is lost: positions stay where they were.
"""
SETTINGS_HEAD = """# Settings

Written from the table in `penstock.model.settings` by `scripts/write_docs.py`; change it there.

A value is taken from the first of these that has one: `--set NAME=VALUE` on the command line (or `settings=` in
Python), the environment, `[settings]` in `penstock.toml` beside the document, `settings:` in the document, the
default. A value outside its range is refused (`INT_PIPELINE_005`), and so is a high watermark below the low one. What
is `true` or `false` may be said as yes, no, on, off, 1 or 0 as well. Settings marked * are additions to the
specification.

| setting | default | from | to | what it is |
|---|---|---|---|---|
"""


# --- whole pages --------------------------------------------------------------------------------------------------


def errors_page() -> str:
    """Return docs/errors.md."""
    lines = [ERRORS_HEAD]
    for key, title in MODULES.items():
        lines.append(f"\n## INT_{key}: {title}\n")
        lines.append("| code | what | severity | recoverability | scope | what to do |")
        lines.append("|---|---|---|---|---|---|")
        lines += [
            f"| `{kind.code}` | {kind.title} | {kind.severity} | {kind.recoverability} | {kind.scope} | {kind.remedy} |"
            for kind in KINDS.values()
            if kind.code.startswith(f"INT_{key}_")
        ]
    return "\n".join(lines) + "\n"


def settings_page() -> str:
    """Return docs/settings.md."""
    rows = [
        f"| `{setting.name}`{'*' if setting.ours else ''} | {_written(setting.default)} | {_written(setting.low)} "
        f"| {_written(setting.high)} | {setting.what} |"
        for setting in SETTINGS.values()
    ]
    return SETTINGS_HEAD + "\n".join(rows) + "\n"


def _written(value: float) -> str:
    """Return a value as it may be written in a document."""
    return str(value).lower() if isinstance(value, bool) else str(value)


# --- the messages -------------------------------------------------------------------------------------------------

MESSAGES: tuple[type[msgspec.Struct], ...] = (
    messages.AlphaBetaBatchTransfer,
    messages.BetaGammaBatchTransfer,
    messages.Acknowledgment,
    messages.BackPressureSignal,
    messages.DeliveryConfirmation,
)
PARTS: tuple[type[msgspec.Struct], ...] = (
    messages.MessageHeader,
    messages.BatchMetadata,
    messages.ValidationSummary,
    messages.TransformationSummary,
    messages.QualitySummary,
    messages.AcknowledgmentPayload,
    messages.RecordDeliveryResult,
)
ENUMS: tuple[type[StrEnum], ...] = (
    messages.Module,
    messages.MessageType,
    messages.AckStatus,
    messages.SignalType,
    messages.DeliveryStatus,
    breaker.CircuitState,
)
ADDED: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "Acknowledgment": frozenset({"header", "payload"}),
        "BatchMetadata": frozenset({"partition", "range", "position", "destination"}),
        "AcknowledgmentPayload": frozenset({"tally"}),
        "DeliveryConfirmation": frozenset({"delivered"}),
        "Module": frozenset({"EPSILON", "PHI"}),
        "MessageType": frozenset({"DELIVERY_CONFIRMATION"}),
    }
)
"""What is ours: fields of messages and values of enums that the specification does not have."""


def messages_section() -> str:
    """Return tables of the messages, of what they are made of, and of the enums."""
    return "\n".join(
        [
            "| message | fields |",
            "|---|---|",
            *map(_struct_row, MESSAGES),
            "",
            "| part | fields |",
            "|---|---|",
            *map(_struct_row, PARTS),
            "",
            "| enum | values |",
            "|---|---|",
            *map(_enum_row, ENUMS),
        ]
    )


def _struct_row(struct: type[msgspec.Struct]) -> str:
    types = struct.__annotations__
    fields = [f"`{name}: {types[name]}`{_star(struct.__name__, name)}" for name in struct.__struct_fields__]
    return f"| `{struct.__name__}` | {', '.join(fields)} |"


def _enum_row(enum: type[StrEnum]) -> str:
    values = [f"`{value}`{_star(enum.__name__, value)}" for value in enum]
    return f"| `{enum.__name__}` | {', '.join(values)} |"


def _star(owner: str, name: str) -> str:
    return "*" if name in ADDED.get(owner, ()) else ""


# --- state machines -----------------------------------------------------------------------------------------------


def sender_section() -> str:
    """Return the states of a batch at the sending end."""
    return _states(sender.TRANSITIONS.rows)


def circuit_section() -> str:
    """Return the states of a hop's circuit."""
    return _states(breaker.TRANSITIONS.rows)


def _states(transitions: Mapping[tuple[StateT, EventT], StateT]) -> str:
    """Return a table of states and events, and the same as a picture, loops left out."""
    states = list(dict.fromkeys(state for state, _ in transitions))
    events = list(dict.fromkeys(event for _, event in transitions))
    rows = [
        f"| {event} | {' | '.join(str(transitions.get((state, event), '')) or '-' for state in states)} |"
        for event in events
    ]
    moves = [f"    {state} --> {to}: {event}" for (state, event), to in transitions.items() if state is not to]
    return "\n".join(
        [
            f"| | {' | '.join(states)} |",
            f"|---|{'---|' * len(states)}",
            *rows,
            "",
            "```mermaid",
            "stateDiagram-v2",
            f"    [*] --> {states[0]}",
            *moves,
            "```",
        ]
    )


# --- the receiver, asked itself -----------------------------------------------------------------------------------

QUEUE = QueueLimits(capacity_batches=10, high_watermark=0.8, low_watermark=0.5)


@dataclass(frozen=True, slots=True)
class Situation:
    """Something that happens to a receiver, which has to say what it does."""

    what: str
    does: Callable[[Receiver], Sequence[ReceiverEvent]]
    before: Callable[[Receiver], object] = lambda _: None


def _arrives(
    number: int, *, digest: str = "right", records: int | None = 5
) -> Callable[[Receiver], tuple[ReceiverEvent, ...]]:
    metadata = messages.BatchMetadata(
        batch_id=str(number),
        sequence_number=number,
        record_count=5,
        checksum="right",
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        partition="",
        range=Range(0, 5),
        position=Position("", 0, ""),
    )
    return lambda end: end.received(metadata, digest, records)


def _several(*steps: Callable[[Receiver], object]) -> Callable[[Receiver], object]:
    return lambda end: [step(end) for step in steps]


def _answers(number: int) -> Callable[[Receiver], tuple[ReceiverEvent, ...]]:
    payload = messages.AcknowledgmentPayload(str(number), AckStatus.PROCESSED, 5, 0, 0, sequence_number=number)
    return lambda end: end.answered(payload, 0.0)


def _fail_content(number: int) -> Callable[[Receiver], object]:
    return _several(*[_arrives(number, records=None)] * QUEUE.content_failures_max)


def _arrive(*numbers: int) -> Callable[[Receiver], object]:
    return _several(*(_arrives(number) for number in numbers))


SITUATIONS: tuple[Situation, ...] = (
    Situation("the next batch, intact", _arrives(0)),
    Situation("one that comes early", _arrives(1)),
    Situation("the one that two early ones waited for", _arrives(0), _arrive(1, 2)),
    Situation("a frame whose SHA-256 differs", _arrives(0, digest="wrong")),
    Situation("one with another number of records, or that does not decode", _arrives(0, records=None)),
    Situation("the same, more often than may be chance", _arrives(0, records=None), _fail_content(0)),
    Situation("a repeat, before the batch is settled", _arrives(0), _arrive(0)),
    Situation("a repeat, after it is settled", _arrives(0), _several(_arrives(0), _answers(0))),
    Situation("a batch that finds the queue full", _arrives(10), _arrive(*range(10))),
    Situation("an early one that finds one place left", _arrives(10), _arrive(*range(1, 10))),
    Situation("the next one that finds one place left", _arrives(0), _arrive(*range(1, 10))),
    Situation("a batch that fills the queue to the high watermark", _arrives(7), _arrive(*range(7))),
    Situation(
        "the stage takes batches, down to the low watermark", lambda end: end.taken(3, 0, 0.0), _arrive(*range(8))
    ),
    Situation("the stage says that a batch is settled", _answers(0), _arrive(0)),
)


def receiver_section() -> str:
    """Return what a receiver does in each situation, and what that means. Its queue here takes 10 batches."""
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
            "",
            "It keeps answers until the sender has confirmed them.",
            f"The longest delay that it recommends is {receiver.DELAY_MS_MAX:,} ms.",
        ]
    )


def _situation_row(situation: Situation) -> str:
    end = Receiver(QUEUE)
    situation.before(end)
    return f"| {situation.what} | {', '.join(_told(situation.does(end)))} |"


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
                    yield f"Queue batch {queued[0]}" + (f" to {queued[-1]}" if queued[1:] else "")


# --- facts --------------------------------------------------------------------------------------------------------


def facts_section() -> str:
    """Return a table of every fact that an observer may be told."""
    return "\n".join(["| fact | fields | |", "|---|---|---|", *map(_class_row, get_args(facts.Fact))])


def figures_section() -> str:
    """Return a table of the figures that are kept of a run."""
    kinds = (figures.Figures, figures.SourceFigures, figures.HopFigures, latency.Latency)
    return "\n".join(["| | figures | |", "|---|---|---|", *map(_class_row, kinds)])


def _class_row(kind: type) -> str:
    """Name a class, what can be read of it, and the first line of what it says of itself."""
    names = [name for name in kind.__annotations__ if not name.startswith("_")]
    names += [name for name, member in vars(kind).items() if isinstance(member, property)]
    what = (kind.__doc__ or "").partition("\n")[0]
    return f"| `{kind.__name__}` | {', '.join(f'`{name}`' for name in names)} | {what} |"


# --- putting it there ---------------------------------------------------------------------------------------------

PAGES: Mapping[str, Callable[[], str]] = MappingProxyType(
    {"docs/errors.md": errors_page, "docs/settings.md": settings_page}
)
SECTIONS: Mapping[str, Mapping[str, Callable[[], str]]] = MappingProxyType(
    {
        "docs/protocol.md": {
            "messages": messages_section,
            "sender": sender_section,
            "receiver": receiver_section,
            "circuit": circuit_section,
        },
        "docs/observing.md": {"facts": facts_section, "figures": figures_section},
    }
)
END = "<!-- end -->"


def main() -> int:
    """Write what is not current, or with --check only name it; 1 where there is something."""
    wanted = {name: page() for name, page in PAGES.items()}
    wanted |= {name: _with_sections(_read(ROOT / name), sections) for name, sections in SECTIONS.items()}
    stale = [name for name, text in wanted.items() if _read(ROOT / name) != text]
    if "--check" in sys.argv[1:]:
        for name in stale:
            print(f"{name} is not what the code says; run scripts/write_docs.py")
        return 1 if stale else 0
    for name in stale:
        (ROOT / name).write_text(wanted[name], encoding="utf-8")
        print(f"wrote {name}")
    return 0


def _with_sections(text: str, sections: Mapping[str, Callable[[], str]]) -> str:
    for name, draw in sections.items():
        before, begin, rest = text.partition(f"<!-- drawn: {name} -->\n")
        _, end, after = rest.partition(END)
        assert begin, f"there is no place for `{name}`"
        assert end, f"`{name}` has no end"
        text = f"{before}{begin}\n{draw()}\n\n{end}{after}"
    return text


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


if __name__ == "__main__":
    sys.exit(main())
