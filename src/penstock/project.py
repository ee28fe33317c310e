"""The public API: load documents, look at the plan, run it, ask about dead letters."""

from __future__ import annotations

import asyncio
import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from sqlglot import exp, parse_one

from penstock.configuration import PROFILE_VARIABLE, read_configuration, settle
from penstock.documents import load as load_documents
from penstock.errors import UserMistake
from penstock.ledger import DeadLetterFilter, Ledger, hold
from penstock.links.memory import connect_in_memory
from penstock.model.finding import Level
from penstock.model.pipeline import Connection, Warehouse
from penstock.model.settings import Settings
from penstock.observing.facts import Nobody
from penstock.observing.figures import Figures
from penstock.orchestration.doctor import Examined, examine
from penstock.orchestration.plan import Plan, Resolution
from penstock.orchestration.preview import Preview, preview
from penstock.orchestration.replaying import begin_replays
from penstock.orchestration.run import run
from penstock.planning import describe, plan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import pyarrow as pa

    from penstock.documents import Documents
    from penstock.links.memory import Connect
    from penstock.model.finding import Finding
    from penstock.model.pipeline import Pipeline
    from penstock.observing.facts import Observer
    from penstock.orchestration.control import Control
    from penstock.orchestration.result import RunResult


@dataclass(frozen=True, slots=True)
class Project:
    """Documents, what they mean, and the folder they run in."""

    root: Path
    documents: Documents
    findings: tuple[Finding, ...]
    pipeline: Pipeline | None
    settings: Settings
    reread: Callable[[], Settings] = Settings
    """Reads the settings anew."""

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that forbid to run."""
        return tuple(finding for finding in self.findings if finding.level is Level.ERROR)

    def describe(self) -> str:
        """Return the plan for people. Raises UserMistake where there is none."""
        return describe(self.require_pipeline(), self.findings, self.settings)

    def require_pipeline(self) -> Pipeline:
        """Return the pipeline. Raises UserMistake, with the first finding, where documents have errors."""
        if self.pipeline is None or self.errors:
            first = f"{self.errors[0]}" if self.errors else "no document describes a source and a model"
            more = f" (and {len(self.errors) - 1} more)" if self.errors[1:] else ""
            raise UserMistake("INT_PIPELINE_003", f"{first}{more}")
        return self.pipeline

    def run(  # noqa: PLR0913 - each way to run has a name and a default
        self,
        *,
        sample: int | None = None,
        follow: bool = False,
        resolution: Resolution = Resolution.REFUSE,
        observer: Observer | None = None,
        figures: Figures | None = None,
        control: Control | None = None,
        connect: Connect = connect_in_memory,
    ) -> RunResult:
        """Run what there is to read now. With `sample`, the first so many records of each source, touching nothing.

        With `follow`, sources are followed as they grow until `control` (or an interrupt) stops the run; `control` also
        switches between batch and streaming mode while it goes on. `connect` makes the links between the modules:
        `penstock.testing.wire` has bad ones, to rehearse with.
        `observer` is told of facts as they happen; `figures` are kept up to date. Raises PenstockError where the run
        cannot begin; what stops it later is in the result.
        """
        listener, live = observer or Nobody(), figures or Figures()
        if sample is None:
            planned = replace(self._plan(resolution), follow=follow, reread=self.reread, connect=connect)
            return asyncio.run(run(planned, listener, live, control))
        with tempfile.TemporaryDirectory(prefix="penstock-sample-") as home:
            return asyncio.run(run(self._sample(Path(home), sample), listener, live))

    def preview(self, source: str, records: int = 20) -> Preview:
        """Return the first `records` of source table `source`, as ingestion would take them. Touches nothing.

        Raises UserMistake where there is no such source, PenstockError where it cannot be read.
        """
        tables = self.require_pipeline().sources
        table = next((each for each in tables if each.name == source), None)
        if table is None:
            names = ", ".join(f"`{each.name}`" for each in tables)
            raise UserMistake("INT_PIPELINE_006", f"there is no source `{source}`", remedy=f"take one of {names}")
        with tempfile.TemporaryDirectory(prefix="penstock-preview-") as state:
            return preview(table, self.root, self.settings, Path(state), records)

    def examine(self) -> Iterator[Examined]:
        """Look at everything a run will need (state, disk, sources, destinations, clocks), one after the other.

        Nothing is written. Raises UserMistake where the documents have errors.
        """
        return examine(self._plan(Resolution.REFUSE))

    def dead_letters(self, wanted: DeadLetterFilter | None = None) -> pa.Table:
        """Return dead letters as an Arrow table; originals unmasked. Raises UserMistake where nothing ever ran."""
        with Ledger.read_only(self._state) as ledger:
            return ledger.dead_letters(self.require_pipeline().name, wanted or DeadLetterFilter())

    @property
    def masked_columns(self) -> frozenset[str]:
        """Columns whose values are not shown: those that a model masks, and those that masked ones are made of."""
        masked = [column for model in self.require_pipeline().models for column in model.columns if column.masking]
        inputs = (parse_one(column.expression, read="duckdb").find_all(exp.Column) for column in masked)
        return frozenset({column.name for column in masked} | {used.name for found in inputs for used in found})

    def replay(
        self,
        wanted: DeadLetterFilter | None = None,
        *,
        resolution: Resolution = Resolution.REFUSE,
        observer: Observer | None = None,
        figures: Figures | None = None,
    ) -> RunResult:
        """Run open dead letters once more, as the document and settings are now; what fails again stays open.

        A replay that was interrupted goes on first. `wanted` chooses among the open ones.
        """
        project_plan = self._plan(resolution)
        with hold(project_plan.state, project_plan.pipeline.name), Ledger.open(project_plan.state) as ledger:
            begin_replays(ledger, project_plan.pipeline.name, wanted or DeadLetterFilter())
        return asyncio.run(run(project_plan, observer or Nobody(), figures or Figures(), replay=True))

    def discard(self, ids: Sequence[int], reason: str) -> None:
        """Close dead letters for good. Raises UserMistake where one is not open."""
        name = self.require_pipeline().name
        with hold(self._state, name), Ledger.open(self._state) as ledger:
            ledger.discard(name, ids, reason)

    @property
    def _state(self) -> Path:
        return self._plan(Resolution.REFUSE).state

    def _plan(self, resolution: Resolution) -> Plan:
        return Plan(self.require_pipeline(), self.root, self.root, self.settings, resolution)

    def _sample(self, home: Path, records: int) -> Plan:
        """The same plan with a warehouse and a ledger that are thrown away."""
        planned = self._plan(Resolution.REFUSE)
        warehouse = Warehouse(planned.pipeline.warehouse.name, Connection("sample", "duckdb"))
        pipeline = msgspec.structs.replace(planned.pipeline, warehouse=warehouse)
        return replace(planned, pipeline=pipeline, home=home, sample=records)


def load(*paths: Path | str, settings: Mapping[str, object] | None = None, profile: str | None = None) -> Project:
    """Read documents (files and folders) and plan what they mean. `settings` win over every other place.

    `profile` is one of `penstock.toml`; where it is None, the environment variable PENSTOCK_PROFILE names it.
    Never raises for what a document says: that is in `findings`. Raises UserMistake for a `penstock.toml` or a
    setting that cannot be understood.
    """
    documents = load_documents([Path(path) for path in paths])
    chosen = os.environ.get(PROFILE_VARIABLE, "") if profile is None else profile
    configuration = read_configuration(documents.root, chosen)
    planned = plan(documents, overrides=configuration.connections)

    def settled() -> Settings:
        return settle(settings or {}, os.environ, read_configuration(documents.root, chosen), planned.settings)

    return Project(documents.root, documents, planned.findings, planned.pipeline, settled(), settled)
