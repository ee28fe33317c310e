"""A ledger on a simulated disk: what a call wrote is durable when it returns; one that dies wrote all or nothing.

Writes go to the end of a log. What is not synced is lost in a power cut, or in part; an entry that is torn is
recognised by its checksum and dropped, with all behind it.
"""

from __future__ import annotations

import zlib
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from penstock.errors import Corruption, LedgerTrouble
from penstock.ingestion.reading import Start
from penstock.model.outcome import Count, DeadLetter, Outcome, Stage
from penstock.model.position import Mark, Position
from penstock.ports import Fate
from penstock.testing.simulation.weather import Fault

if TYPE_CHECKING:
    import random
    from collections.abc import Mapping, Sequence

    from penstock.model.outcome import Tally
    from penstock.ports import Advance
    from penstock.testing.simulation.lives import Life

SUPERSEDED = Fate(Outcome.FILTERED, "superseded")
CHECKSUM_BYTES = 4
SLOW_S = 0.3
"""Longest that a slow call takes."""


class Lettered(msgspec.Struct, frozen=True, tag=True):
    """Dead letters."""

    run: int
    letters: tuple[DeadLetter, ...]


class Moved(msgspec.Struct, frozen=True):
    """A position, and what became of the records that it passed."""

    position: Position
    tally: tuple[Count, ...]


class Advanced(msgspec.Struct, frozen=True, tag=True):
    """Positions, all of which move or none."""

    moves: tuple[Moved, ...]


class Superseded(msgspec.Struct, frozen=True, tag=True):
    """Records that lost to a newer version of their key."""

    destination: str
    partition: str
    sequences: tuple[int, ...]


class Confirmed(msgspec.Struct, frozen=True, tag=True):
    """Marks that a destination has committed."""

    destination: str
    marks: tuple[Mark, ...]


class TakenBack(msgspec.Struct, frozen=True, tag=True):
    """What was noted of records from `start` on is forgotten; letters only those of earlier runs than `run`."""

    run: int
    destination: str
    partition: str
    start: int


class Met(msgspec.Struct, frozen=True, tag=True):
    """Partitions, in the order in which they were met."""

    partitions: tuple[str, ...]


LetterKey: TypeAlias = tuple[str, int, Stage, str]
"""Partition, sequence, the stage that refused the record, and for which destination: empty for all."""
Entry: TypeAlias = Lettered | Advanced | Superseded | Confirmed | TakenBack | Met


@dataclass(slots=True)
class Disk:
    """A log that loses what was not synced."""

    chance: random.Random
    entries: list[bytes] = field(default_factory=list)
    synced: int = 0

    def write(self, content: bytes) -> None:
        """Add an entry."""
        self.entries.append(zlib.crc32(content).to_bytes(CHECKSUM_BYTES, "big") + content)

    def sync(self) -> None:
        """Make all that was written durable."""
        self.synced = len(self.entries)

    def cut_power(self) -> None:
        """Lose what was not synced, but for some of it, of which the last may be torn."""
        kept = self.synced + self.chance.randint(0, len(self.entries) - self.synced)
        torn = self.entries[kept : kept + 1]
        del self.entries[kept:]
        self.entries += [entry[: self.chance.randrange(len(entry))] for entry in torn]

    def read(self) -> list[bytes]:
        """Return the entries up to the first that is torn; drop the others."""
        whole = []
        for entry in self.entries:
            content = entry[CHECKSUM_BYTES:]
            if zlib.crc32(content).to_bytes(CHECKSUM_BYTES, "big") != entry[:CHECKSUM_BYTES]:
                break
            whole.append(content)
        del self.entries[len(whole) :]
        self.synced = len(whole)
        return whole


@dataclass(slots=True)
class _Letter:
    run: int
    code: str
    withdrawn: bool = False


class Ledger:
    """What is durable in the ledger. `syncs` is False for one that promises what it does not keep."""

    def __init__(self, disk: Disk, *, syncs: bool = True) -> None:
        self._disk = disk
        self._syncs = syncs
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(Entry)
        self._forget()

    def _forget(self) -> None:
        self._positions: dict[str, Position] = {}
        self._ordinals: dict[str, int] = {}
        self._counts: dict[str, Counter[tuple[str, Outcome, Stage, str]]] = {}
        self._letters: dict[LetterKey, _Letter] = {}
        self._superseded: set[tuple[str, str, int]] = set()
        self._marks: dict[tuple[str, str], Mark] = {}

    def write(self, entry: Entry) -> None:
        """Make an entry durable."""
        self._disk.write(self._encoder.encode(entry))
        if self._syncs:
            self._disk.sync()
        self._apply(entry)

    def cut_power(self) -> None:
        """Be what is left on the disk."""
        self._disk.cut_power()
        self._forget()
        for content in self._disk.read():
            self._apply(self._decoder.decode(content))

    def _apply(self, entry: Entry) -> None:
        match entry:
            case Lettered():
                for each in entry.letters:
                    key = each.partition, each.sequence, each.stage, each.destination
                    self._letters[key] = _Letter(entry.run, each.errors[0].code)
            case Advanced():
                self._advance(entry.moves)
            case Superseded():
                self._superseded |= {(entry.destination, entry.partition, sequence) for sequence in entry.sequences}
            case Confirmed():
                self._confirm(entry.destination, entry.marks)
            case TakenBack():
                self._take_back(entry)
            case Met():
                new = [name for name in entry.partitions if name not in self._ordinals]
                self._ordinals |= {name: len(self._ordinals) + number for number, name in enumerate(new)}

    def _advance(self, moves: Sequence[Moved]) -> None:
        for moved in moves:
            partition = moved.position.partition
            self._positions[partition] = moved.position
            counts = self._counts.setdefault(partition, Counter())
            for count in moved.tally:
                counts[count.destination, count.outcome, count.stage, count.reason] += count.records

    def _confirm(self, destination: str, marks: Sequence[Mark]) -> None:
        for mark in marks:
            known = self._marks.get((destination, mark.partition))
            if known is None or known.sequence <= mark.sequence:
                self._marks[destination, mark.partition] = mark

    def _take_back(self, entry: TakenBack) -> None:
        own = (entry.destination, entry.partition)
        self._superseded -= {each for each in self._superseded if each[:2] == own and each[2] >= entry.start}
        for (partition, sequence, _, destination), letter in self._letters.items():
            if (destination, partition) == own and sequence >= entry.start and letter.run != entry.run:
                letter.withdrawn = True

    # What is known.

    def position(self, partition: str) -> Position | None:
        """Return where to read next, None at the beginning."""
        return self._positions.get(partition)

    def position_of(self, partition: str) -> int:
        """Return the sequence that the next record will get."""
        position = self._positions.get(partition)
        return 0 if position is None else position.sequence

    def ordinals(self) -> Mapping[str, int]:
        """Return the number of every partition that was met."""
        return self._ordinals

    def marks(self) -> Mapping[tuple[str, str], Mark]:
        """Return the marks that are known to be at the destinations, by destination and partition."""
        return self._marks

    def has_letter(self, key: LetterKey) -> bool:
        """Tell whether a dead letter is there, and counts."""
        letter = self._letters.get(key)
        return letter is not None and not letter.withdrawn

    def has_superseded(self, destination: str, partition: str, sequence: int) -> bool:
        """Tell whether a record is noted as superseded, or was, before its position passed it."""
        return (destination, partition, sequence) in self._superseded

    def letters(self) -> set[LetterKey]:
        """Return the dead letters that count."""
        return {key for key, letter in self._letters.items() if not letter.withdrawn}

    def totals(self) -> Mapping[str, Tally]:
        """Return what became of each partition's records, counted."""
        return {
            name: tuple(sorted(Count(*key, records) for key, records in counts.items() if records))
            for name, counts in self._counts.items()
        }

    def fates(self, destination: str, partition: str, mark: int) -> dict[int, Fate]:
        """Return how records between the position and `mark` were settled, other than by being delivered."""
        start = self.position_of(partition)
        own = (destination, partition)
        found = {
            sequence: SUPERSEDED
            for *key, sequence in self._superseded
            if tuple(key) == own and start <= sequence < mark
        }
        for (name, sequence, _, where), letter in self._letters.items():
            if name == partition and where in {"", destination} and start <= sequence < mark and not letter.withdrawn:
                found[sequence] = Fate(Outcome.DEAD_LETTERED, letter.code)
        return dict(sorted(found.items()))


@dataclass(slots=True)
class LedgerBook:
    """`penstock.ports.Book` of one life of a module."""

    life: Life
    ledger: Ledger
    run: int

    def start_of(self, partition: str) -> Start:
        """Say where a partition is to be read from; one that is new gets its number."""
        if partition not in self.ledger.ordinals():
            self._write(Met((partition,)), f"met {partition}")
        return Start(partition, self.ledger.ordinals()[partition], self.ledger.position(partition))

    def dead_letter(self, letters: Sequence[DeadLetter]) -> None:
        """Keep dead letters."""
        self._write(Lettered(self.run, tuple(letters)), f"dead letters {[letter.sequence for letter in letters]}")

    def advance(self, source: str, advances: Sequence[Advance]) -> None:
        """Move positions. Raises Corruption where a range does not follow the last."""
        assert source, "every source has a name"
        ledger, auditor = self.ledger, self.life.auditor
        expected = {advance.partition: ledger.position_of(advance.partition) for advance in advances}
        for advance in advances:
            if advance.range.start != expected[advance.partition]:
                what = f"{advance.partition}: {advance.range} was settled where {expected[advance.partition]} follows"
                raise Corruption("INT_LEDGER_003", what)
            auditor.advanced(expected[advance.partition], advance)
            expected[advance.partition] = advance.range.end
        moves = tuple(Moved(advance.position, advance.tally) for advance in advances)
        self._write(Advanced(moves), f"positions {expected}")

    def supersede(self, destination: str, source: str, partition: str, sequences: Sequence[int]) -> None:
        """Note superseded records."""
        assert source, "every source has a name"
        self._write(Superseded(destination, partition, tuple(sequences)), f"superseded at {destination} {sequences}")

    def confirm(self, destination: str, marks: Sequence[Mark]) -> None:
        """Note marks."""
        self.life.auditor.confirmed(destination, marks)
        self._write(Confirmed(destination, tuple(marks)), f"marks of {destination} {[m.sequence for m in marks]}")

    def recall(self, destination: str, source: str, partition: str, mark: int) -> Mapping[int, Fate]:
        """Return how records below `mark` were settled; forget what was noted of those from it on."""
        assert source, "every source has a name"
        start = max(self.ledger.position_of(partition), mark)
        self._write(TakenBack(self.run, destination, partition, start), f"recall {destination} {partition} {mark}")
        return self.ledger.fates(destination, partition, mark)

    def _write(self, entry: Entry, what: str) -> None:
        life = self.life
        life.before_effect()
        if life.weather.strikes(Fault.LEDGER_SLOW):
            life.loop.block(life.chance.random() * SLOW_S)
        if life.weather.strikes(Fault.LEDGER_FULL):
            raise LedgerTrouble("INT_LEDGER_001", "the disk is full")
        self.ledger.write(entry)
        if life.trace.listens:
            life.trace(life.name, f"ledger: {what}")
        life.after_effect()
