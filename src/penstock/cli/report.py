"""What a run, a plan or a list of dead letters looks like in a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from penstock.cli.plain import plain
from penstock.errors import KINDS
from penstock.ledger import Result
from penstock.model.outcome import Stage
from penstock.observing.latency import shown
from penstock.orchestration.result import Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import RenderableType

    from penstock.ledger import RequirementResult
    from penstock.orchestration.result import Left, RunResult, SourceAccount, SourceLatency

_RESULTS = {
    Result.PASS: Text("pass", "green"),
    Result.WARNING: Text("warning", "yellow"),
    Result.FAIL: Text("FAIL", "bold red"),
    Result.NOT_CHECKED: Text("not checked", "dim"),
}
_STATUS_STYLES = {Status.COMPLETED: "bold green", Status.INTERRUPTED: "bold yellow", Status.FAILED: "bold red"}


def run_report(result: RunResult) -> RenderableType:
    """Lay out everything a run has to say."""
    parts: list[RenderableType] = [_headline(result)]
    if result.trouble is not None:
        parts += [Text(), plain(f"{result.trouble.code} {result.trouble.message}", "red"), plain(result.trouble.remedy)]
    if result.account:
        parts += [Text(), _accounts("Accounted for in this run", result.account), *_reasons(result.account)]
        parts += [Text(), _hops(result.account), _hand_offs(result)]
    timed = [source for source in result.latencies if source.streaming or source.asked_s is not None]
    if timed:
        parts += [Text(), _latencies(timed)]
    if result.all_time != result.account:
        parts += [Text(), _accounts("Since the beginning", result.all_time)]
    if result.requirements:
        parts += [Text(), _requirements(result.requirements)]
    parts += [plain(note, "dim") for note in result.notes]
    return Group(*parts)


def _headline(result: RunResult) -> Text:
    text = plain(f"{result.pipeline} {result.status}", _STATUS_STYLES[result.status])
    pace = f" in {result.seconds:.1f} s: {result.read:,} rows read, {result.rows_per_s:,.0f} rows/s"
    return Text.assemble(text, pace, plain(f"\nwarehouse: {result.warehouse}"))


def _accounts(title: str, accounts: Iterable[SourceAccount]) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, title_style="bold")
    table.add_column("source → destination", overflow="fold")
    for name in ("read", "delivered", "filtered", "dead-lettered", "in flight"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("")
    for account in accounts:
        for to in account.destinations:
            holds = to.total == to.read
            table.add_row(
                plain(f"{account.source} → {to.destination}"),
                f"{to.read:,}",
                f"= {to.delivered:,}",
                f"+ {_sum(to.filtered):,}",
                f"+ {_sum(to.dead_lettered):,}",
                f"+ {to.in_flight:,}",
                Text("✓", "green") if holds else Text(f"✗ {to.read - to.total:+,}", "bold red"),
            )
    return table


def _reasons(accounts: Iterable[SourceAccount]) -> list[Text]:
    lines = []
    for account in accounts:
        for to in account.destinations:
            way = f"  {account.source} → {to.destination}: "
            lines += [plain(f"{way}{left.records:,} filtered, {left.reason}") for left in to.filtered]
            lines += [plain(f"{way}{left.records:,} dead-lettered, {_titled(left)}") for left in to.dead_lettered]
    return lines


def _sum(left: Iterable[Left]) -> int:
    return sum(entry.records for entry in left)


def _titled(left: Left) -> str:
    kind = KINDS.get(left.reason)
    return f"{left.reason} {kind.title}" if kind else left.reason


def _hops(accounts: Iterable[SourceAccount]) -> Table:
    """Follow the records from stage to stage: what each was handed, what it took out, what it handed on."""
    table = Table(title="Hop by hop", title_justify="left", box=box.SIMPLE_HEAD, title_style="bold")
    table.add_column("source → destination", overflow="fold")
    for name in (
        "read",
        "refused",
        "→ transform",
        "filtered",
        "refused",
        "→ deliver",
        "filtered",
        "refused",
        "delivered",
    ):
        table.add_column(name, justify="right", no_wrap=True)
    for account in accounts:
        for to in account.destinations:
            moves = [to.read]
            for stage in Stage:
                filtered = _sum(left for left in to.filtered if left.stage is stage)
                refused = _sum(left for left in to.dead_lettered if left.stage is stage)
                taken_out = [-refused] if stage is Stage.INGESTION else [-filtered, -refused]
                moves += [*taken_out, to.received_by(stage) - filtered - refused - to.in_flight]
            table.add_row(plain(f"{account.source} → {to.destination}"), *(f"{number:,}" for number in moves))
    return table


def _hand_offs(result: RunResult) -> Text:
    """Say in a line each what went over the wire."""
    lines = []
    for hop in result.hand_offs:
        way = hop.hop.replace("_", " → ")
        lines.append(
            f"  {way}: {hop.records:,} records in {hop.batches:,} batches, {hop.in_flight:,} in flight, "
            f"{hop.retransmitted:,} sent again"
        )
    return Text("\n".join(lines))


def _latencies(sources: Iterable[SourceLatency]) -> Table:
    """Say how long each part of the way took, and what that is of the delay that is asked for."""
    table = Table(title="Latency", title_justify="left", box=box.SIMPLE_HEAD, title_style="bold")
    table.add_column("source", overflow="fold")
    table.add_column("stage", no_wrap=True)
    for name in ("records", "p50", "p95", "p99", "longest", "p99 of what is asked for"):
        table.add_column(name, justify="right", no_wrap=True)
    for source in sources:
        for number, stage in enumerate(source.stages):
            times = (stage.p50_s, stage.p95_s, stage.p99_s, stage.max_s)
            table.add_row(
                plain("" if number else source.source),
                stage.stage.value,
                f"{stage.records:,}",
                *(shown(seconds) for seconds in times),
                f"{stage.p99_s / source.asked_s:.1%} of {shown(source.asked_s)}" if source.asked_s else "",
            )
    return table


def _line(place: str) -> str:
    """Return `folder/orders.md:12:5` as `orders.md:12`."""
    return place.rpartition("/")[2].rpartition(":")[0]


def _requirements(requirements: Sequence[RequirementResult]) -> Table:
    table = Table(title="Requirements", title_justify="left", box=box.SIMPLE_HEAD, title_style="bold")
    table.add_column("line", no_wrap=True)
    table.add_column("requirement", overflow="fold")
    table.add_column("", no_wrap=True)
    table.add_column("evidence", overflow="fold")
    for requirement in requirements:
        table.add_row(
            plain(_line(requirement.place)),
            plain(requirement.text),
            _RESULTS[requirement.result],
            plain(requirement.evidence),
        )
    return table
