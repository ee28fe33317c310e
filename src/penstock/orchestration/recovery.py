"""Where a run begins: the ledger's positions, compared with what the destinations say they have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from penstock.errors import ContentChanged, UserMistake
from penstock.ledger import RunStatus
from penstock.orchestration.plan import Resolution

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from penstock.ledger import Ledger
    from penstock.model.position import Mark, Position
    from penstock.orchestration.reading import Reading
    from penstock.ports import Sink


REPLAYS = "replay/"
"""What the partitions of replays are called by; whoever joins later has no part in them."""


@dataclass(frozen=True, slots=True)
class Behind:
    """A destination that has less than the ledger knows it had. Sequences; `mark` is None where it has nothing."""

    destination: str
    source: str
    partition: str
    known: int
    mark: Mark | None

    def __str__(self) -> str:
        has = f"{self.mark.sequence:,}" if self.mark else "none"
        of = f"{self.source}/{self.partition}"
        return f"`{self.destination}` has {has} of {of}, where the ledger knows of {self.known:,}"


def behind(
    destination: str, known: Mapping[tuple[str, str], Mark], there: Mapping[tuple[str, str], Mark]
) -> Iterator[Behind]:
    """Compare what the ledger knows of a destination with what the destination says itself."""
    for (source, partition), mark in known.items():
        found = there.get((source, partition))
        if found is None or found.sequence < mark.sequence:
            yield Behind(destination, source, partition, mark.sequence, found)


def newcomers(
    ledger: Ledger, pipeline: str, destinations: Sequence[str], sources: Mapping[str, str]
) -> Iterator[Behind]:
    """Yield the destinations that came into the document when their source had been read already.

    `sources` names the source of each destination.
    """
    totals = ledger.totals(pipeline)
    for destination in destinations:
        total = totals.get(sources[destination])
        if total is None or any(count.destination == destination for count in total.tally):
            continue
        for partition, position in ledger.positions(pipeline, sources[destination]).items():
            if position.sequence and not partition.startswith(REPLAYS):
                yield Behind(destination, sources[destination], partition, position.sequence, None)


def refuse_foreign_marks(pipeline: str, sinks: Mapping[str, Sink], resolution: Resolution) -> None:
    """Refuse destinations that remember a pipeline of this name, on behalf of a ledger that never ran it.

    It may be the same pipeline, its ledger lost; or another one of the same name, whose marks would trim our records.
    Raises ContentChanged INT_GAMMA_017.
    """
    known = [name for name, sink in sinks.items() if sink.marks()]
    if known and resolution is not Resolution.ACCEPT:
        raise ContentChanged(
            "INT_GAMMA_017",
            f"`{known[0]}` remembers a pipeline `{pipeline}`, and this folder never ran one",
            remedy="give this pipeline another name; or --accept, if it is the same one and its .penstock was lost",
        )


def reconcile(
    ledger: Ledger,
    pipeline: str,
    sinks: Mapping[str, Sink],
    sources: Mapping[str, str],
    resolution: Resolution,
) -> tuple[str, ...]:
    """Make the ledger agree with the destinations as `resolution` says; return what was done, in words.

    `sources` names the source of each destination. Raises ContentChanged INT_GAMMA_014 where they disagree and nobody
    has said which is right.
    """
    found = {name: dict(sink.marks()) for name, sink in sinks.items()}
    older = [entry for name in sinks for entry in behind(name, ledger.marks(pipeline, name), found[name])]
    older += newcomers(ledger, pipeline, tuple(sinks), sources)
    if not older:
        return ()
    if resolution is Resolution.REFUSE:
        raise ContentChanged(
            "INT_GAMMA_014",
            f"{older[0]}" + (f" (and {len(older) - 1} more)" if older[1:] else ""),
            remedy="--rewind reads again what the destination lacks; --accept goes on without it",
        )
    rewinding = older if resolution is Resolution.REWIND else []
    rewound = ledger.reconcile(
        pipeline,
        {name: list(marks.values()) for name, marks in found.items()},
        {(entry.source, entry.partition): _position(older, entry) for entry in rewinding},
    )
    words = [f"read again from {to.sequence:,} on: {source}/{partition}" for (source, partition), to in rewound.items()]
    return (*words, *(f"{resolution}: {entry}" for entry in older))


def _position(older: Sequence[Behind], entry: Behind) -> Position | None:
    """Return where reading must resume so that the destination that has least of the partition gets the rest."""
    own = [one for one in older if (one.source, one.partition) == (entry.source, entry.partition)]
    least = min(own, key=lambda one: one.mark.sequence if one.mark else 0)
    return least.mark.position if least.mark and least.mark.position.token else None


def judge_anew(
    ledger: Ledger, run_id: str, pipeline: str, readings: Iterable[Reading], sinks: Mapping[str, Sink]
) -> None:
    """Take back what runs that died had noted of records that are now read again."""
    marks = {name: sink.marks() for name, sink in sinks.items()}
    for reading in readings:
        table = reading.table.name
        unsettled = {
            start.partition: {
                model.name: mark.sequence if (mark := marks[model.name].get((table, start.partition))) else 0
                for model in reading.models
            }
            for start in reading.starts
        }
        ledger.judge_anew(run_id, pipeline, table, unsettled)


def check_document(ledger: Ledger, pipeline: str, fingerprint: str, resolution: Resolution) -> None:
    """Refuse to finish, under another document, what a run left half done. Raises UserMistake INT_PIPELINE_002."""
    last = ledger.last_run(pipeline)
    if last is None or last.status is RunStatus.COMPLETED or last.fingerprint == fingerprint:
        return
    if not any(totals.read for totals in ledger.totals(pipeline, last.id).values()):
        return
    if resolution is Resolution.REFUSE:
        raise UserMistake(
            "INT_PIPELINE_002",
            f"the run of {last.started_at:%Y-%m-%d %H:%M} UTC did not end, and the document has changed since",
            remedy="finish it with the document as it was, or --accept: what is left follows the new one",
        )
