"""What came of a run: the account of every record, and the document's requirements with their evidence."""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING

import msgspec

from penstock.ledger import RequirementResult, Result
from penstock.model.outcome import Outcome, Stage
from penstock.observing.facts import LatencyStage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from penstock.model.outcome import Tally


class Status(StrEnum):
    """How a run ended."""

    COMPLETED = "completed"
    INTERRUPTED = "interrupted"
    FAILED = "failed"


class ExitCode(IntEnum):
    """What the command line says to the shell."""

    DONE = 0
    FINDINGS = 1
    USAGE = 2
    STOPPED = 3
    INTERRUPTED = 130


class Left(msgspec.Struct, frozen=True):
    """`records` left the pipeline at `stage` for `reason`: a filter's name, or an error code."""

    stage: Stage
    reason: str
    records: int


class DestinationAccount(msgspec.Struct, frozen=True):
    """What became, at one destination, of the `read` records of one source that concern it."""

    destination: str
    read: int
    delivered: int
    filtered: tuple[Left, ...]
    dead_lettered: tuple[Left, ...]
    in_flight: int

    @property
    def total(self) -> int:
        """All records accounted for: equal to what was read."""
        left = sum(entry.records for entry in (*self.filtered, *self.dead_lettered))
        return self.delivered + left + self.in_flight

    def received_by(self, stage: Stage) -> int:
        """Return how many records were handed on to `stage`: all but what earlier stages took out."""
        order = tuple(Stage)
        earlier = order[: order.index(stage)]
        return self.total - sum(e.records for e in (*self.filtered, *self.dead_lettered) if e.stage in earlier)


class SourceAccount(msgspec.Struct, frozen=True):
    """read = delivered + filtered + dead-lettered + in flight, at each destination.

    Dead letters that only one destination lacks are read for that one: `read` counts what was read for any.
    """

    source: str
    read: int
    in_flight: int
    destinations: tuple[DestinationAccount, ...]

    @property
    def balances(self) -> bool:
        """Tell whether every destination accounts for every record that was read for it."""
        return all(account.total == account.read for account in self.destinations)


class HandOff(msgspec.Struct, frozen=True):
    """One hop of this run."""

    hop: str
    batches: int
    records: int
    in_flight: int
    retransmitted: int


class StageLatency(msgspec.Struct, frozen=True):
    """What `records` records took for a part of their way: half of them up to `p50_s` seconds, and so on."""

    stage: LatencyStage
    records: int
    p50_s: float
    p95_s: float
    p99_s: float
    max_s: float


class SourceLatency(msgspec.Struct, frozen=True):
    """How long the records of one source took in this run, by the parts of their way.

    `streaming` tells whether they were handed over in streaming mode; `asked_s` is the shortest delay, in seconds,
    that the documents ask for, None where they ask for none.
    """

    source: str
    streaming: bool
    asked_s: float | None
    stages: tuple[StageLatency, ...]


class Trouble(msgspec.Struct, frozen=True):
    """The error that stopped a run."""

    code: str
    severity: str
    message: str
    remedy: str


class RunResult(msgspec.Struct, frozen=True):
    """All that a run has to say for itself. `seconds` is wall time."""

    pipeline: str
    run_id: str
    status: Status
    seconds: float
    account: tuple[SourceAccount, ...]
    all_time: tuple[SourceAccount, ...]
    hand_offs: tuple[HandOff, ...]
    requirements: tuple[RequirementResult, ...]
    warehouse: str
    notes: tuple[str, ...] = ()
    trouble: Trouble | None = None
    latencies: tuple[SourceLatency, ...] = ()

    @property
    def read(self) -> int:
        """Records read in this run, over all sources."""
        return sum(account.read for account in self.account)

    @property
    def rows_per_s(self) -> float:
        """Records read per second of wall time."""
        return self.read / self.seconds if self.seconds else 0.0

    @property
    def exit_code(self) -> ExitCode:
        """The exit code that goes with it."""
        if self.status is Status.INTERRUPTED:
            return ExitCode.INTERRUPTED
        if self.status is Status.FAILED:
            return ExitCode.STOPPED
        failed = any(requirement.result is Result.FAIL for requirement in self.requirements)
        balanced = all(account.balances for account in self.account)
        return ExitCode.DONE if balanced and not failed else ExitCode.FINDINGS


def account_of(source: str, read: int, settled: int, settled_at: Mapping[str, int], tally: Tally) -> SourceAccount:
    """Draw up the account of one source, of which `settled_at` each destination so many records are settled.

    What was read and is not settled is in flight at every destination.
    """
    in_flight = read - settled
    destinations = tuple(_destination(name, in_flight, here, tally) for name, here in settled_at.items())
    return SourceAccount(source, read, in_flight, destinations)


def _destination(name: str, in_flight: int, settled: int, tally: Tally) -> DestinationAccount:
    own = [count for count in tally if count.destination == name]
    left: Mapping[Outcome, tuple[Left, ...]] = {
        outcome: tuple(Left(count.stage, count.reason, count.records) for count in own if count.outcome is outcome)
        for outcome in (Outcome.FILTERED, Outcome.DEAD_LETTERED)
    }
    delivered = sum(count.records for count in own if count.outcome is Outcome.DELIVERED)
    return DestinationAccount(
        name, settled + in_flight, delivered, left[Outcome.FILTERED], left[Outcome.DEAD_LETTERED], in_flight
    )
