"""The suites themselves: each finds the connector that does not keep its word, and says what it did not look at."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from tests.conformance.duckdb_harness import DuckDBHarness
from tests.conformance.files_harness import CsvHarness

from penstock.connectors.sinks.duckdb import DuckDBSink
from penstock.connectors.sources.followed import FollowedFiles
from penstock.errors import PenstockError, Unavailable, UserMistake
from penstock.model.pipeline import SourceTable, Warehouse, WriteMode
from penstock.ports import Guarantee, Written
from penstock.testing.conformance import SinkSuite, SourceSuite
from penstock.testing.conformance.harness import HERE, KEY, PIPELINE, TABLE
from penstock.testing.conformance.records import CASES, ORDERS, model_of, orders
from penstock.testing.conformance.sinks import COLUMNS
from penstock.testing.conformance.sources import FEW

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from penstock.model.pipeline import Connection, Model
    from penstock.model.position import Mark, Position
    from penstock.model.schema import Field
    from penstock.ports import Chunk, Following, Sink, Source
    from penstock.testing.conformance.records import Case

ROOT = Path(__file__).resolve().parents[2]
FOUND = (AssertionError, pytest.fail.Exception, PenstockError)
"""How a test says that something is wrong."""


def case(name: str) -> Case:
    return next(case for case in CASES if case.name == name)


# --- sinks that do not keep their word ------------------------------------------------------------------------------


class KeepsNoMarks(DuckDBSink):
    def commit(self, marks: Sequence[Mark]) -> None:  # noqa: ARG002 - that is the fault
        super().commit([])


class CommitsEachWrite(DuckDBSink):
    def write(self, rows: pa.Table, partition: str) -> Written:
        written = super().write(rows, partition)
        super().commit([])
        return written


class CommitsWhenClosed(DuckDBSink):
    def close(self) -> None:
        if self._in_transaction:
            super().commit([])
        super().close()


class DoesNotRollBack(DuckDBSink):
    def rollback(self) -> None:
        pass


class DoesNotForget(DuckDBSink):
    def forget(self, source: str, partition: str) -> None:
        pass


class NamesNobody(DuckDBSink):
    def write(self, rows: pa.Table, partition: str) -> Written:
        super().write(rows, partition)
        return Written()


class TrimsText(DuckDBSink):
    def write(self, rows: pa.Table, partition: str) -> Written:
        place = rows.schema.names.index("value")
        trimmed = pc.utf8_trim_whitespace(rows.column("value"))
        return super().write(rows.set_column(place, "value", trimmed), partition)


class TakesAnyTable(DuckDBSink):
    def prepare(self) -> None:
        with suppress(UserMistake):
            super().prepare()


@dataclass
class FaultySink(DuckDBHarness):
    faulty: type[DuckDBSink] = DuckDBSink
    pipeline: str = ""

    def open(self, model: Model, *, pipeline: str = PIPELINE, connection: Connection | None = None) -> Sink:
        warehouse = Warehouse("warehouse", connection or self.connection)
        return self.faulty(self.pipeline or pipeline, model, warehouse, self.root, self.settings)


def suite_finds_sink(harness: FaultySink, test: str, *arguments: object) -> None:
    with pytest.raises(FOUND):
        getattr(SinkSuite(), test)(harness, *arguments)


@pytest.mark.parametrize(
    ("faulty", "test"),
    [
        (KeepsNoMarks, "test_rows_are_there_with_their_mark_once_committed"),
        (KeepsNoMarks, "test_a_mark_moves_without_rows"),
        (CommitsEachWrite, "test_what_is_not_committed_never_was"),
        (CommitsEachWrite, "test_what_was_written_and_not_marked_is_written_again_and_is_there_once"),
        (CommitsWhenClosed, "test_what_is_not_committed_never_was"),
        (DoesNotRollBack, "test_what_is_rolled_back_can_be_written_again"),
        (DoesNotForget, "test_a_mark_that_is_forgotten_stays_so_and_the_rows_stay"),
    ],
)
def test_a_sink_whose_rows_and_marks_are_not_one_is_found(open_root: Path, faulty: type[DuckDBSink], test: str) -> None:
    suite_finds_sink(FaultySink(open_root, faulty), test, model_of(COLUMNS))


@pytest.mark.parametrize(
    "test",
    [
        "test_of_two_rows_with_a_unique_key_the_first_stays_and_the_other_is_named",
        "test_a_key_of_several_columns_is_one_key",
        "test_a_row_that_cannot_be_stored_is_named_and_costs_no_other",
        "test_merging_keeps_the_newest_of_each_key",
        "test_an_older_version_never_replaces_a_newer_one",
        "test_a_column_of_the_model_says_which_version_is_newer",
        "test_a_delete_removes_its_row_and_only_what_is_older",
        "test_merging_keeps_other_unique_keys",
    ],
)
def test_a_sink_that_does_not_name_what_it_leaves_out_is_found(open_root: Path, test: str) -> None:
    suite_finds_sink(FaultySink(open_root, NamesNobody), test)


def test_a_sink_that_alters_values_is_found(open_root: Path) -> None:
    suite_finds_sink(FaultySink(open_root, TrimsText), "test_values_are_there_as_they_were_given", case("text"))


def test_a_sink_that_takes_a_table_of_another_shape_is_found(open_root: Path) -> None:
    test, columns = "test_a_table_of_another_shape_is_refused_and_left_as_it_is", {KEY: "bigint"}
    suite_finds_sink(FaultySink(open_root, TakesAnyTable), test, model_of(COLUMNS), columns)


def test_a_sink_that_shares_marks_between_pipelines_is_found(open_root: Path) -> None:
    harness = FaultySink(open_root, pipeline="everybody")
    suite_finds_sink(harness, "test_marks_belong_to_one_pipeline_and_one_model", model_of(COLUMNS))


def test_a_sink_that_does_what_it_does_not_promise_is_found(open_root: Path) -> None:
    harness = FaultySink(open_root)
    harness.promises = replace(harness.promises, write_modes=frozenset({WriteMode.APPEND}), keeps_keys=False)
    suite_finds_sink(harness, "test_what_it_does_is_what_it_declares", model_of(COLUMNS))
    suite_finds_sink(harness, "test_a_write_mode_that_it_does_not_promise_is_refused", WriteMode.MERGE)
    suite_finds_sink(harness, "test_a_key_of_several_columns_is_one_key")


def test_a_sink_that_does_not_look_at_its_options_is_found(open_root: Path) -> None:
    suite_finds_sink(
        FaultySink(open_root), "test_an_option_that_it_does_not_know_is_refused_by_name", model_of(COLUMNS)
    )


class Idempotent(CommitsEachWrite):
    """Rows are there before their mark; who writes them again merges them."""

    guarantee = Guarantee.IDEMPOTENT


class AtLeastOnce(CommitsEachWrite):
    """Rows are there before their mark; who writes them again has them twice."""

    guarantee = Guarantee.AT_LEAST_ONCE


WEAKLY = (
    "test_what_is_not_committed_never_was",
    "test_what_is_rolled_back_can_be_written_again",
    "test_what_was_written_and_not_marked_is_written_again_and_is_there_once",
    "test_two_models_are_written_at_once",
)


@pytest.mark.parametrize("test", WEAKLY)
@pytest.mark.parametrize(("weak", "mode"), [(Idempotent, WriteMode.MERGE), (AtLeastOnce, WriteMode.APPEND)])
def test_a_sink_that_promises_less_than_a_transaction_is_held_to_that(
    open_root: Path, weak: type[DuckDBSink], mode: WriteMode, test: str
) -> None:
    harness = FaultySink(open_root, weak)
    harness.promises = replace(harness.promises, guarantee=weak.guarantee, write_modes=frozenset({mode}))
    with suppress(pytest.skip.Exception):  # "not promised"
        getattr(SinkSuite(), test)(harness, model_of(COLUMNS, mode=mode))


@pytest.mark.parametrize("test", WEAKLY[1:3])
def test_a_sink_that_promises_to_be_idempotent_and_is_not_is_found(open_root: Path, test: str) -> None:
    harness = FaultySink(open_root, AtLeastOnce)
    harness.promises = replace(harness.promises, guarantee=Guarantee.IDEMPOTENT)
    suite_finds_sink(harness, test, model_of(COLUMNS))


# --- sources that do not keep their word ----------------------------------------------------------------------------


class LosesOneAfterAPosition(FollowedFiles):
    def read(self, partition: str, position: Position | None) -> Iterator[Chunk]:
        for chunk in super().read(partition, position):
            if position is None or chunk.start > position.sequence:
                yield chunk
            else:
                first = 1 if chunk.end > chunk.start else 0
                yield replace(chunk, end=chunk.end - first, records=chunk.records.slice(first), next=before(chunk.next))


class StaysWhereItWas(FollowedFiles):
    """Gives the same position for ever."""

    def read(self, partition: str, position: Position | None) -> Iterator[Chunk]:
        first = None
        for chunk in super().read(partition, position):
            first = first or chunk.next.token
            yield replace(chunk, next=msgspec.structs.replace(chunk.next, token=first))


class SkipsAChunk(FollowedFiles):
    def read(self, partition: str, position: Position | None) -> Iterator[Chunk]:
        for number, chunk in enumerate(super().read(partition, position)):
            if number != 1:
                yield chunk


class KeepsQuietAboutBadRecords(FollowedFiles):
    def read(self, partition: str, position: Position | None) -> Iterator[Chunk]:
        for chunk in super().read(partition, position):
            yield replace(chunk, bad=())


class ForgetsWhatItHasRead(FollowedFiles):
    def read(self, partition: str, position: Position | None) -> Iterator[Chunk]:
        yield from super().read(partition, position)
        file = self._folder / partition
        file.write_text(file.read_text(encoding="utf-8").partition("\n")[0] + "\n", encoding="utf-8")


class TakesBlanksAway(FollowedFiles):
    def read(self, partition: str, position: Position | None) -> Iterator[Chunk]:
        for chunk in super().read(partition, position):
            columns = [pc.utf8_trim_whitespace(column) for column in chunk.records.columns]
            yield replace(chunk, records=pa.RecordBatch.from_arrays(columns, chunk.records.schema.names))


class GivesUpWhereLaterHelps(FollowedFiles):
    def read(self, partition: str, position: Position | None) -> Iterator[Chunk]:
        try:
            yield from super().read(partition, position)
        except Unavailable as error:
            raise UserMistake(error.kind.code, error.message) from error


class FollowsFromItsOwnBeginning(FollowedFiles):
    def follow(self, positions: Mapping[str, Position]) -> Following:  # noqa: ARG002 - that is the fault
        return super().follow({})


def before(position: Position) -> Position:
    return msgspec.structs.replace(position, sequence=position.sequence - 1)


@dataclass
class FaultySource(CsvHarness):
    faulty: type[FollowedFiles] = FollowedFiles

    def open(self, fields: Sequence[Field], *, table: str = TABLE, connection: Connection | None = None) -> Source:
        described = SourceTable(table, "", "shop", connection or self.connection, tuple(fields), HERE, (KEY,))
        return self.faulty(described, self.root, self.settings, self.root / ".penstock")


def suite_finds_source(harness: FaultySource, test: str, *arguments: object) -> None:
    with pytest.raises(FOUND):
        getattr(SourceSuite(), test)(harness, *arguments)


@pytest.mark.parametrize(
    ("faulty", "test"),
    [
        (LosesOneAfterAPosition, "test_reading_goes_on_from_any_position"),
        (LosesOneAfterAPosition, "test_reading_may_be_dropped_anywhere"),
        (StaysWhereItWas, "test_reading_goes_on_from_any_position"),
        (SkipsAChunk, "test_all_that_is_there_is_read_once"),
        (ForgetsWhatItHasRead, "test_nothing_is_forgotten_before_it_is_settled"),
        (ForgetsWhatItHasRead, "test_a_reader_that_is_killed_before_anything_is_settled_has_cost_nothing"),
        (ForgetsWhatItHasRead, "test_what_is_settled_is_not_asked_for_again_and_the_rest_stays"),
    ],
)
def test_a_source_that_loses_or_repeats_records_is_found(
    open_root: Path, faulty: type[FollowedFiles], test: str
) -> None:
    harness = FaultySource(open_root, faulty=faulty)
    harness.create(ORDERS)
    harness.add(orders(range(harness.many)))
    suite_finds_source(harness, test)


@pytest.mark.parametrize(
    ("faulty", "test"),
    [
        (LosesOneAfterAPosition, "test_what_is_added_later_is_read_from_the_last_position"),
        (LosesOneAfterAPosition, "test_a_position_that_a_person_accepts_is_gone_on_from"),
        (FollowsFromItsOwnBeginning, "test_following_goes_on_from_where_another_stopped"),
        (GivesUpWhereLaterHelps, "test_when_it_goes_away_from_an_open_source_all_comes_or_later_helps"),
        (FollowedFiles, "test_an_option_that_it_does_not_know_is_refused_by_name"),
    ],
)
def test_a_source_that_does_not_go_on_as_it_should_is_found(
    open_root: Path, faulty: type[FollowedFiles], test: str
) -> None:
    harness = FaultySource(open_root, faulty=faulty)
    harness.create(ORDERS)
    harness.add(orders(range(FEW)))
    suite_finds_source(harness, test)


def test_a_source_that_loses_records_at_the_cursor_is_found(open_root: Path) -> None:
    harness = FaultySource(open_root, faulty=LosesOneAfterAPosition)
    suite_finds_source(harness, "test_of_records_that_are_equal_at_the_cursor_none_is_lost")


def test_a_source_that_says_nothing_of_bad_records_is_found(open_root: Path) -> None:
    harness = FaultySource(open_root, faulty=KeepsQuietAboutBadRecords)
    suite_finds_source(harness, "test_a_record_that_cannot_be_parsed_is_named_and_costs_no_other")


def test_a_source_that_alters_values_is_found(open_root: Path) -> None:
    harness = FaultySource(open_root, faulty=TakesBlanksAway)
    suite_finds_source(harness, "test_values_come_as_they_went_in", case("text"))


# --- what is not shown ----------------------------------------------------------------------------------------------

SUITE = """\
from tests.conformance.test_files import TestCsv
from tests.conformance.conftest import open_root
"""


def test_what_is_not_promised_and_what_cannot_be_shown_are_listed_with_their_reasons(tmp_path: Path) -> None:
    (tmp_path / "test_suite.py").write_text(SUITE)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    command = [sys.executable, "-m", "pytest", "-q", "-k", "prunes or slow or accepts", "-p", "no:cacheprovider"]
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (
        "::test_it_prunes_what_is_settled_and_nothing_else: not promised: that what is settled is pruned" in done.stdout
    )
    assert "helps: cannot be shown: a file at rest is not slow; one that is written slowly is followed" in done.stdout
    assert re.search(r"^1 passed, \d+ deselected, 1 not promised, 1 cannot be shown in", done.stdout, re.MULTILINE)
    assert "skipped" not in done.stdout
