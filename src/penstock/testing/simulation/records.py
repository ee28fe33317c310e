"""Made-up records, each of which says what is to become of it: so what came of them can be compared with that.

A record's `plan` is a number. Its last digit (base 8) is what ingestion finds; the next ones are what befalls it at the
first destination, the second, and so on. Fates are functions of the record alone: read again, they are the same.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

import pyarrow as pa

from penstock.model.batch import RESERVED_FIELDS
from penstock.model.outcome import Count, Outcome, Stage
from penstock.testing.simulation.weather import Fault, stream

if TYPE_CHECKING:
    import random
    from collections.abc import Mapping, Sequence

    from penstock.model.outcome import Tally
    from penstock.model.position import Range
    from penstock.testing.simulation.weather import Weather

SOURCE = "orders"
BASE = 8
RECORDS = (30, 220)
PARTITIONS_MAX = 4
DESTINATIONS_MAX = 3
IN_BURSTS = 0.7
"""Share of the records that appear together with others."""
APPEAR_UNTIL = 1.1
"""When the last ones appear, as a share of the time until all heals."""
READ_FIELDS = (pa.field("id", pa.int64()), pa.field("plan", pa.int64()))
READ_SCHEMA = pa.schema(READ_FIELDS)
"""What the source declares."""
SCHEMA = pa.schema([*READ_FIELDS, *RESERVED_FIELDS])
"""What travels on both hops."""

UNPARSED_CODE = "INT_ALPHA_001"
INVALID_CODE = "INT_ALPHA_004"
UNTRANSFORMED_CODE = "INT_BETA_002"
REFUSED_CODE = "INT_GAMMA_003"
REJECTED_CODE = "INT_LINK_010"


class AtIngestion(IntEnum):
    """What ingestion finds."""

    GOOD = 0
    UNPARSED = 1
    INVALID = 2
    POISON = 3
    """Passes, and makes transformation refuse the batch it is in."""


class AtDestination(IntEnum):
    """What befalls a good record at one destination."""

    DELIVERED = 0
    TOO_SMALL = 1
    ONLY_A_TEST = 2
    UNTRANSFORMED = 3
    REFUSED = 4
    SUPERSEDED = 5
    POISON = 6
    """The destination refuses the batch it is in."""


REASONS: Mapping[AtDestination, tuple[Outcome, Stage, str]] = MappingProxyType(
    {
        AtDestination.DELIVERED: (Outcome.DELIVERED, Stage.DELIVERY, ""),
        AtDestination.TOO_SMALL: (Outcome.FILTERED, Stage.TRANSFORMATION, "too small"),
        AtDestination.ONLY_A_TEST: (Outcome.FILTERED, Stage.TRANSFORMATION, "only a test"),
        AtDestination.UNTRANSFORMED: (Outcome.DEAD_LETTERED, Stage.TRANSFORMATION, UNTRANSFORMED_CODE),
        AtDestination.REFUSED: (Outcome.DEAD_LETTERED, Stage.DELIVERY, REFUSED_CODE),
        AtDestination.SUPERSEDED: (Outcome.FILTERED, Stage.DELIVERY, "superseded"),
        AtDestination.POISON: (Outcome.DEAD_LETTERED, Stage.DELIVERY, REJECTED_CODE),
    }
)
AT_GAMMA = frozenset({AtDestination.DELIVERED, AtDestination.REFUSED, AtDestination.SUPERSEDED, AtDestination.POISON})
"""What reaches Gamma: a mark must have passed such a record before it is settled."""


@dataclass(frozen=True, slots=True)
class Partition:
    """One partition of the source: its records' plans, and when each of them appears (virtual seconds, ascending)."""

    name: str
    plans: Sequence[int]
    appears_s: Sequence[float]

    def id_of(self, sequence: int) -> int:
        """Return the column `id` of a record: it names partition and sequence, so that a mix-up shows."""
        return hash_of(self.name) * 1_000_000 + sequence

    def original(self, sequence: int) -> bytes:
        """Return the untouched record."""
        return f"{self.name},{sequence},{self.plans[sequence]}".encode()


def hash_of(name: str) -> int:
    """Return a small number for a name, the same in every process."""
    return sum((position + 1) * character for position, character in enumerate(name.encode()))


def ingested(plan: int) -> AtIngestion:
    """Return what ingestion finds."""
    return AtIngestion(plan % BASE)


def fated(plan: int, destination: int) -> AtDestination:
    """Return what befalls a good record at the destination of this number."""
    return AtDestination(plan // BASE ** (destination + 1) % BASE)


@dataclass(frozen=True, slots=True)
class World:
    """What there is to read, and where it goes."""

    partitions: Mapping[str, Partition]
    destinations: tuple[str, ...]

    @classmethod
    def of(cls, seed: int, weather: Weather) -> World:
        """Make the world of a seed; its faulty records are counted as faults."""
        chance = stream(seed, "world")
        destinations = tuple(f"model_{number}" for number in range(chance.randint(1, DESTINATIONS_MAX)))
        total = chance.randint(*RECORDS)
        weights = [chance.random() + 0.05 for _ in range(chance.randint(1, PARTITIONS_MAX))]
        partitions = {}
        for number, weight in enumerate(weights):
            records = int(total * weight / sum(weights))
            plans = [_plan(chance, weather, len(destinations)) for _ in range(records)]
            name = f"part-{number}"
            partitions[name] = Partition(name, plans, _moments(chance, records, weather.heals_s))
        return cls(partitions, destinations)

    def __len__(self) -> int:
        return sum(len(partition.plans) for partition in self.partitions.values())

    def number_of(self, destination: str) -> int:
        """Return the number of a destination, which its fates go by."""
        return self.destinations.index(destination)

    def expected(self, partition: str, destination: str, sequence: int) -> tuple[Outcome, Stage, str]:
        """Return what is to become of a record at a destination."""
        plan = self.partitions[partition].plans[sequence]
        match ingested(plan):
            case AtIngestion.UNPARSED:
                return Outcome.DEAD_LETTERED, Stage.INGESTION, UNPARSED_CODE
            case AtIngestion.INVALID:
                return Outcome.DEAD_LETTERED, Stage.INGESTION, INVALID_CODE
            case AtIngestion.POISON:
                return Outcome.DEAD_LETTERED, Stage.TRANSFORMATION, REJECTED_CODE
            case AtIngestion.GOOD:
                return REASONS[fated(plan, self.number_of(destination))]

    def letter(self, partition: str, destination: str, sequence: int) -> tuple[str, int, Stage, str] | None:
        """Return what names the dead letter that a record is to leave for a destination, None where it leaves none.

        One that is refused before its ways part leaves one for all destinations.
        """
        outcome, stage, _ = self.expected(partition, destination, sequence)
        if outcome is not Outcome.DEAD_LETTERED:
            return None
        for_all = ingested(self.partitions[partition].plans[sequence]) is not AtIngestion.GOOD
        return partition, sequence, stage, "" if for_all else destination

    def tally(self, partition: str, range_: Range) -> Tally:
        """Return what is to become of the records of a range, counted."""
        found = Counter(
            (destination, *self.expected(partition, destination, sequence))
            for destination in self.destinations
            for sequence in range(range_.start, range_.end)
        )
        return tuple(sorted(Count(*key, records) for key, records in found.items()))


def _plan(chance: random.Random, weather: Weather, destinations: int) -> int:
    rates, struck = weather.rates, weather.struck
    for fault, found in (
        (Fault.UNPARSED, AtIngestion.UNPARSED),
        (Fault.INVALID, AtIngestion.INVALID),
        (Fault.POISON_AT_BETA, AtIngestion.POISON),
    ):
        if chance.random() < rates[fault]:
            struck[fault] += 1
            return found
    plan = 0
    for number in range(destinations):
        plan += _fate(chance, weather) * BASE ** (number + 1)
    return plan


def _fate(chance: random.Random, weather: Weather) -> AtDestination:
    for fault, fate in (
        (Fault.UNTRANSFORMED, AtDestination.UNTRANSFORMED),
        (Fault.REFUSED, AtDestination.REFUSED),
        (Fault.SUPERSEDED, AtDestination.SUPERSEDED),
        (Fault.POISON_AT_GAMMA, AtDestination.POISON),
    ):
        if chance.random() < weather.rates[fault]:
            weather.struck[fault] += 1
            return fate
    return chance.choices(
        (AtDestination.DELIVERED, AtDestination.TOO_SMALL, AtDestination.ONLY_A_TEST), weights=(8, 1, 1)
    )[0]


def _moments(chance: random.Random, records: int, until_s: float) -> list[float]:
    """Draw when records appear: some at once, some in bursts, some one by one, the last after all has healed."""
    at_once = int(records * chance.choice((0.0, 0.3, 1.0)))
    bursts = [chance.random() * until_s * APPEAR_UNTIL for _ in range(chance.randint(1, 12))]
    later = sorted(
        chance.choice(bursts) if chance.random() < IN_BURSTS else chance.random() * until_s * APPEAR_UNTIL
        for _ in range(records - at_once)
    )
    return [0.0] * at_once + later
