"""The small contracts between Penstock and everything outside it: sources, sinks, caches, clocks, transports.

Sources and sinks are synchronous and may block; each is driven from one worker thread at a time, never concurrently.
Only `commit` and `size_bytes` of a source may be called while another thread reads from it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import pyarrow as pa

    from penstock.model.outcome import DeadLetter, Outcome, RecordError, Tally
    from penstock.model.pipeline import Rule, WriteMode
    from penstock.model.position import Mark, Position, Range
    from penstock.model.settings import Settings
    from penstock.observing.facts import Observer
    from penstock.protocol.frames import Frame
    from penstock.protocol.messages import AcknowledgmentPayload, BatchMetadata, RecordDeliveryResult, Transfer
    from penstock.protocol.sender import Answered, Outgoing

PromisesT = TypeVar("PromisesT", "SourcePromises", "SinkPromises")


class Replay(StrEnum):
    """What reading again from a position gives."""

    EXACT = "exact"
    BY_KEY = "by key"


class Guarantee(StrEnum):
    """What a destination promises about rows written again."""

    TRANSACTIONAL = "transactional"
    IDEMPOTENT = "idempotent"
    AT_LEAST_ONCE = "at least once"


class Values(StrEnum):
    """How a source gives values."""

    TEXT = "text"
    TYPED = "typed"


class Hard(StrEnum):
    """Values that not everything outside can hold, or tell from others."""

    EMPTY_TEXT = "empty text, told from null"
    NUL_CHARACTER = "text with the character U+0000"
    LINE_BREAKS = "text with line breaks of every kind"
    WIDE_DECIMAL = "decimals of 38 digits"
    FAR_DATES = "dates and times from year 1 to 9999"
    BYTES = "bytes"


@dataclass(frozen=True, slots=True)
class Option:
    """An option of a connection. `default` is as one would write it, empty for nothing; None: it must be given."""

    name: str
    what: str
    default: str | None = ""


@dataclass(frozen=True, slots=True)
class SourcePromises:
    """What a source promises; `penstock.testing.conformance` holds it to that.

    `follows`: it can be followed. `prunes`: after `commit`, the outside thing may forget what is settled. `deletes`: it
    gives updates and deletes, not only inserts. `lacks`: values that cannot come out of it as they went in. `when`:
    for which connections this is, where a kind is used in several ways.
    """

    replay: Replay
    follows: bool = False
    prunes: bool = False
    deletes: bool = False
    values: Values = Values.TEXT
    lacks: frozenset[Hard] = frozenset()
    when: str = ""


@dataclass(frozen=True, slots=True)
class SinkPromises:
    """What a sink promises; `penstock.testing.conformance` holds it to that.

    `write_modes`: the ones it can. `keeps_keys`: rows that would bring a unique key in twice are refused. `evidence`:
    it can be asked whether a rule holds. `lays_out`: partitioning and clustering are applied. `lacks`: values that it
    cannot hold; a row with one is refused, never changed. `when`: for which connections this is, where a kind is used
    in several ways. A model that needs what is not promised, a write mode or a key, is refused before its first row.
    """

    guarantee: Guarantee
    write_modes: frozenset[WriteMode]
    keeps_keys: bool = True
    evidence: bool = True
    lays_out: bool = False
    lacks: frozenset[Hard] = frozenset()
    when: str = ""


@dataclass(frozen=True, slots=True)
class Declaration(Generic[PromisesT]):
    """What a connector's class says of its kind, as its attribute `declares`. `docs/connectors.md` is drawn from it.

    `what` is a line on what it reads or writes, `place` what a connection's path or URL means. `promises` has one entry
    for each way to use it. An option that is not among `options` is refused before the connector is made.
    """

    what: str
    place: str
    promises: tuple[PromisesT, ...]
    options: tuple[Option, ...] = ()


@dataclass(frozen=True, slots=True)
class Original:
    """A record as its source gave it: untouched bytes, and the 1-based line (or row) where it begins."""

    content: bytes
    line: int


@dataclass(frozen=True, slots=True)
class BadRecord:
    """A record that could not be parsed. It has a sequence like any other."""

    sequence: int
    original: Original
    error: RecordError


@dataclass(frozen=True, slots=True)
class Chunk:
    """What one read of a partition gave: records `start` ≤ sequence < `end`, good and bad.

    `records` holds the good ones, one column per declared field that the source has: as text (string) where the
    format is text, typed where it is typed. `sequences` (int64) names them; None means that all of start..end are
    good. `next` is where to read on. `originals` gives untouched records back by ascending sequence while the chunk
    is held, for dead letters; it may be slow. `size_bytes` is what holding on to `originals` costs.
    """

    start: int
    end: int
    records: pa.RecordBatch
    sequences: pa.Int64Array | None
    bad: tuple[BadRecord, ...]
    next: Position
    originals: Callable[[Sequence[int]], Sequence[Original]]
    size_bytes: int
    versions: pa.Int64Array | None = None
    """What orders the good records against other versions of their keys; None: as they were read."""
    operations: pa.Int8Array | None = None
    """What each good record does to its row, as an `Op`; None: all of them insert."""


@dataclass(frozen=True, slots=True)
class Reread:
    """Originals, parsed once more: `records` of the good ones in order, `errors` of the others by their number.

    `operations` are those of the good ones, as in a Chunk.
    """

    records: pa.RecordBatch
    errors: Mapping[int, RecordError]
    operations: pa.Int8Array | None = None


class Source(Protocol):
    """Where records of one source table come from."""

    replay: Replay

    def partitions(self) -> Sequence[str]:
        """Return the partitions that exist now, in the order in which they are to be read.

        Raise UserMistake where the source is missing or lacks a declared column.
        """

    def read(self, partition: str, position: Position | None) -> Iterator[Chunk]:
        """Read `partition` from `position` (None: its beginning) to what is now its end.

        Chunks follow one another without gap. A bad record is part of a chunk, never an exception. Raise
        ContentChanged when what lies before `position` is no longer what was read, Unavailable to be tried again
        later, UserMistake for what only a person can mend. The iterator may be dropped at any point.
        """

    def size_bytes(self, partition: str, position: Position | None) -> int | None:
        """Return about how many bytes `read` has before it, for progress; None when that is not known."""

    def accept(self, position: Position) -> Position:
        """Return `position` for the partition as it is now: a person said that it goes on there, whatever changed."""

    def reread(self, partition: str, originals: Sequence[bytes]) -> Reread:
        """Parse originals that `partition` gave before, as its records would be parsed now."""

    def commit(self, position: Position) -> None:
        """Take note that everything before `position` is settled and will not be asked for again. May prune."""

    def close(self) -> None:
        """Let go of what is held open."""


@runtime_checkable
class ReplaysVariously(Protocol):
    """A source with positions of both kinds: some are read from exactly as before, some by key."""

    def replay_from(self, position: Position | None) -> Replay:
        """Return what reading again from `position` (None: the beginning) gives."""


class Following(Protocol):
    """A source that is read as it grows."""

    ended: bool
    """Whether nothing more can ever come."""

    def next(self, wait_s: float) -> Chunk | None:
        """Return what came next, in whatever partition (`chunk.next` names it); None where nothing came in `wait_s`.

        Chunks of one partition follow one another without gap, the first from the position that was given. A record
        that is not complete yet, such as a line without its end, is not part of a chunk. Raises as `Source.read` does.
        """

    def close(self) -> None:
        """Let go of what is held open. Nothing is lost: another may follow from any position."""


class Follows(Source, Protocol):
    """A source that can be followed."""

    def follow(self, positions: Mapping[str, Position]) -> Following:
        """Begin to follow every partition that is there or comes, from `positions`, or its beginning where it has none.

        Raises as `read` does.
        """


@dataclass(frozen=True, slots=True)
class Written:
    """What became of the rows of one `write`: all that are not named here are delivered when `commit` returns."""

    refused: Mapping[int, RecordError] = field(default_factory=dict)
    superseded: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a destination answered when asked whether a rule holds: how many rows break it, out of how many."""

    violations: int
    rows: int


class Sink(Protocol):
    """Where the rows of one model end. Opened for one pipeline; one writer at a time."""

    guarantee: Guarantee

    def prepare(self) -> None:
        """Create the table where it is missing, without marks; compare it where it is there. Comes before all else.

        Raise UserMistake where its shape is another, Unavailable where the destination is locked or away.
        """

    def marks(self) -> Mapping[tuple[str, str], Mark]:
        """Return the committed marks of this pipeline and model by (source, partition)."""

    def forget(self, source: str, partition: str) -> None:
        """Drop the mark of a partition, durably: it will be read again as if it were new."""

    def write(self, rows: pa.Table, partition: str) -> Written:
        """Add rows (model columns, then reserved ones) of one partition to the transaction, opening one if need be.

        Keys are compared within `rows` first, then with what is there. Nothing is durable yet. After a failure
        nothing of the transaction is left: all since the last commit must be written again, here or in a new sink.
        """

    def commit(self, marks: Sequence[Mark]) -> None:
        """Make every row since the last commit durable together with `marks`, or none of it.

        After a failure only `marks` can tell which of the two it was.
        """

    def rollback(self) -> None:
        """Forget every row since the last commit."""

    def evidence(self, rule: Rule) -> Evidence | None:
        """Ask the destination whether `rule`, all of whose columns are the model's, holds over all committed rows.

        None where it cannot be asked.
        """

    def close(self) -> None:
        """Roll back and let go."""


class Cache(Protocol):
    """Rows by key, a whole batch at a time."""

    def table(self, namespace: str) -> pa.Table | None:
        """Return all rows kept under `namespace`, None where there are none."""

    def put(self, namespace: str, rows: pa.Table) -> None:
        """Keep `rows`, replacing what was there. Raise UserMistake when they exceed the cache's limit."""


class Clock(Protocol):
    """Time as an argument."""

    def now_s(self) -> float:
        """Return monotonic seconds, for waits and durations."""

    def time_s(self) -> float:
        """Return seconds since 1970-01-01 UTC, for timestamps."""


class Chance(Protocol):
    """Chance as an argument."""

    def new_id(self) -> str:
        """Return a fresh UUID v4."""

    def fraction(self) -> float:
        """Return a number in [0, 1), to spread retries with."""


SummaryT = TypeVar("SummaryT")


class Transport(Protocol):
    """One end of a connection that carries frames. It may lose, repeat, delay and reorder them."""

    def send(self, frame: Frame) -> None:
        """Put a frame on the way. Never blocks: how much may be under way is bounded by window and credit."""

    async def receive(self, most: int) -> Sequence[Frame]:
        """Wait for frames; return one to `most` of them, or none when the other end has closed."""

    def close(self) -> None:
        """Tell the other end that nothing more will come."""


@dataclass(frozen=True, slots=True)
class RunContext:
    """What every stage of a run works with."""

    book: Book
    settings: Settings
    clock: Clock
    chance: Chance
    observer: Observer


@dataclass(frozen=True, slots=True)
class Arrived:
    """An intact batch at the receiving end of a hop, decoded, waiting to be worked on since `at_s`."""

    metadata: BatchMetadata
    records: pa.RecordBatch
    transfer: Transfer
    at_s: float | None = None


class ReceiverIsNew(Exception):
    """The receiving end of a link began again: what was sent to it and is not settled must be sent again.

    The sending stage answers by `Outbound.begin`, and goes back to what is settled.
    """


class SenderIsNew(Exception):
    """The sending end of a link began again: what came from it and is not settled will come again.

    The receiving stage forgets what it has not settled. Whatever `Inbound.take` returns after this is of the new one.
    """


class OriginalsGone(Exception):
    """Ingestion no longer holds a record's original: it went back since. Whoever asks must begin again, too."""


class Outbound(Protocol[SummaryT]):
    """The sending end of a hop, as a stage uses it."""

    @property
    def micro_batch_records(self) -> int:
        """How many records a streamed message may hold now: less, where the receiver is slow."""

    def begin(self) -> None:
        """Begin, or begin again: batches are numbered from 0, and nothing sent before counts any more."""

    async def send(self, outgoing: Outgoing[SummaryT]) -> None:
        """Hand a batch over; waits while window, credit, circuit or back-pressure forbid it.

        Raises ReceiverIsNew, and Corruption where the receiver asked to halt.
        """

    async def answered(self) -> Sequence[Answered]:
        """Wait for batches that are settled or rejected and return all there are; none when no more will come.

        Raises as `send` does.
        """

    def hurry(self) -> None:
        """Tell the receiver that we wait for what we have sent: nothing should linger."""

    def close(self) -> None:
        """Say that no more batches will come. Answers still arrive."""

    def finish(self) -> None:
        """Leave: everything is answered, and nothing will begin again. The receiving stage may leave, too."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What there was to take. `hurry` says that the sender waits for what it has sent, `closed` that this is all."""

    batches: Sequence[Arrived] = ()
    hurry: bool = False
    closed: bool = False


class Inbound(Protocol):
    """The receiving end of a hop, as a stage uses it."""

    def begin(self) -> None:
        """Begin again: whatever was received and not answered is forgotten, and the sender told to go back."""

    async def take(self, most: int | None = None) -> Taken:
        """Wait until there is something, and take up to `most` batches. Raises SenderIsNew."""

    def answer(self, payloads: Sequence[AcknowledgmentPayload]) -> None:
        """Tell the sender that batches are settled or rejected. What came from an earlier sender is passed over."""

    def confirm(
        self, batch_id: str, exceptions: tuple[RecordDeliveryResult, ...], delivered: tuple[Range, ...]
    ) -> None:
        """Tell the sender what became of each record of a batch."""

    def close(self) -> None:
        """Say that everything has been answered."""

    async def finished(self) -> None:
        """Wait, after all has been taken, until the sender leaves. Raises SenderIsNew."""


@dataclass(frozen=True, slots=True)
class Advance:
    """A source's position moves over `range`, all of which is settled: what became of its records.

    `position` is where to read next. `batches` and `checksum` (SHA-256, hex, over the batches' checksums in order)
    say what was handed over for it.
    """

    partition: str
    range: Range
    position: Position
    tally: Tally
    batches: int
    checksum: str


@dataclass(frozen=True, slots=True)
class Fate:
    """How one record was settled at a destination, other than by simply being delivered."""

    outcome: Outcome
    reason: str


class Book(Protocol):
    """The ledger, as one run of one pipeline writes it. Called from worker threads; durable when it returns."""

    def dead_letter(self, letters: Sequence[DeadLetter]) -> None:
        """Keep records that left the pipeline. Written twice, there is one."""

    def advance(self, source: str, advances: Sequence[Advance]) -> None:
        """Move positions, and count what became of the records, in one transaction.

        Raises Corruption where the counts do not add up or a range does not follow the partition's last.
        """

    def supersede(self, destination: str, source: str, partition: str, sequences: Sequence[int]) -> None:
        """Note, before the commit that drops them, records that lost to a newer version of their key."""

    def confirm(self, destination: str, marks: Sequence[Mark]) -> None:
        """Note the marks that the destination has committed."""

    def recall(self, destination: str, source: str, partition: str, mark: int) -> Mapping[int, Fate]:
        """Return how unsettled records below `mark` were settled at the destination, other than by being delivered.

        Forgets what was noted of records from `mark` on: the transaction that would have settled them never ended.
        """
