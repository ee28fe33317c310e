"""What every sink owes: subclass `SinkSuite` in a test module, and give it the fixture `harness`."""

from __future__ import annotations

import random
import sys
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import pytest

from penstock.errors import Unavailable, UserMistake
from penstock.model.batch import Op
from penstock.model.pipeline import Rule, RuleKind, WriteMode
from penstock.ports import Evidence, Guarantee
from penstock.testing.conformance.child import child, say
from penstock.testing.conformance.harness import HERE, KEY, TABLE
from penstock.testing.conformance.records import CASES, mark_at, model_of, rows_of, told, unique_rule
from penstock.testing.conformance.reporting import not_promised, shown
from penstock.testing.conformance.suite import (
    NO_SUCH_OPTION,
    Suite,
    declared_by,
    patiently,
    refusing,
    with_unknown_option,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from penstock.model.outcome import RecordError
    from penstock.model.pipeline import Model
    from penstock.ports import Sink
    from penstock.testing.conformance.harness import SinkHarness
    from penstock.testing.conformance.records import Case

COLUMNS = {KEY: "bigint", "name": "text"}
NAMED = {KEY: "bigint", "name": "text", "code": "text"}
VERSIONED = {KEY: "bigint", "name": "text", "edition": "integer"}
SOURCE, PARTITION = TABLE, "p"
DUPLICATE, UNRENDERABLE = "INT_GAMMA_003", "INT_GAMMA_001"
KILLS = 4
WRITE_ROWS = 400
MODES = tuple(WriteMode)
PATIENCE_S = 30.0
"""How long what comes back may take to be back."""

Row = tuple[object, ...]


class SinkSuite(Suite):
    """Holds a sink to `ports.Sink` and to what it declares."""

    @pytest.fixture
    def harness(self) -> SinkHarness:
        """Give the outside thing of one test. To be overridden."""
        raise NotImplementedError("give the suite a fixture `harness`")

    @pytest.fixture
    def appending(self, harness: SinkHarness) -> Model:
        """A plain model that appends, or does what the sink can in its place."""
        return model_of(COLUMNS, mode=plain_mode(harness))

    # --- what it declares ---------------------------------------------------------------------------------------------

    def test_what_it_does_is_what_it_declares(self, harness: SinkHarness, appending: Model) -> None:
        with prepared(harness, appending) as sink:
            assert harness.promises in declared_by(sink).promises
            assert sink.guarantee is harness.promises.guarantee
            assert [secret for secret in harness.secrets if secret in repr(sink)] == []

    def test_an_option_that_it_does_not_know_is_refused_by_name(self, harness: SinkHarness, appending: Model) -> None:
        with refusing(harness, UserMistake) as refused:
            harness.open(appending, connection=with_unknown_option(harness.connection)).close()
        assert NO_SUCH_OPTION in str(refused.value)

    @pytest.mark.parametrize("mode", MODES)
    def test_a_write_mode_that_it_does_not_promise_is_refused(self, harness: SinkHarness, mode: WriteMode) -> None:
        model = model_of(COLUMNS, mode=mode)
        if mode in harness.promises.write_modes:
            with prepared(harness, model):
                pass
            return
        with refusing(harness, UserMistake) as refused, prepared(harness, model):
            pass
        assert mode in str(refused.value)
        not_promised(f"write mode {mode}")

    def test_examined_it_says_a_line_and_leaves_all_as_it_was(self, harness: SinkHarness, appending: Model) -> None:
        with closing(harness.open(appending)) as sink:
            if not hasattr(sink, "examine"):
                not_promised("that it can be examined")
            before = examine_of(sink)
        assert stored(harness, appending) == []
        with prepared(harness, appending) as sink:
            sink.write(rows_of(appending, (1, "a")), PARTITION)
            sink.commit([mark_at(1)])
        with closing(harness.open(appending)) as sink:
            after = examine_of(sink)
        assert stored(harness, appending) == [(1, "a")]
        for line in (before, after):
            assert line
            assert "\n" not in line
            assert [secret for secret in harness.secrets if secret in line] == []
        with refusing(harness, UserMistake), closing(harness.open(of_another_shape(harness))) as sink:
            examine_of(sink)

    # --- rows and marks -----------------------------------------------------------------------------------------------

    def test_a_new_table_has_neither_rows_nor_marks(self, harness: SinkHarness, appending: Model) -> None:
        with prepared(harness, appending) as sink:
            assert sink.marks() == {}
            sink.prepare()
            assert sink.marks() == {}
        assert stored(harness, appending) == []

    def test_rows_are_there_with_their_mark_once_committed(self, harness: SinkHarness, appending: Model) -> None:
        with prepared(harness, appending) as sink:
            written = sink.write(rows_of(appending, (1, "a"), (2, None)), PARTITION)
            assert (written.refused, written.superseded) == ({}, frozenset())
            sink.commit([mark_at(2)])
            assert sink.marks() == {(SOURCE, PARTITION): mark_at(2)}
        with prepared(harness, appending) as sink:
            assert sink.marks() == {(SOURCE, PARTITION): mark_at(2)}
        assert stored(harness, appending) == [(1, "a"), (2, None)]

    def test_several_writes_make_one_commit_and_several_commits_one_table(
        self, harness: SinkHarness, appending: Model
    ) -> None:
        with prepared(harness, appending) as sink:
            for start in range(0, 40, 20):
                sink.write(rows_of(appending, *plain(range(start, start + 10)), first=start), PARTITION)
                sink.write(rows_of(appending, *plain(range(start + 10, start + 20)), first=start + 10), PARTITION)
                sink.commit([mark_at(start + 20)])
        assert stored(harness, appending) == plain(range(40))

    def test_each_partition_has_its_mark_and_the_last_one_counts(self, harness: SinkHarness, appending: Model) -> None:
        first, second = mark_at(1, "a/b 'ü'.csv"), mark_at(2, "")
        with prepared(harness, appending) as sink:
            sink.write(rows_of(appending, (1, "a")), first.partition)
            sink.write(rows_of(appending, (2, "b"), (3, "c")), second.partition)
            sink.commit([first, second])
            sink.commit([mark_at(9, first.partition)])
            expected = {(SOURCE, first.partition): mark_at(9, first.partition), (SOURCE, ""): second}
            assert sink.marks() == expected
        with prepared(harness, appending) as sink:
            assert sink.marks() == expected
        assert stored(harness, appending) == [(1, "a"), (2, "b"), (3, "c")]

    def test_a_mark_moves_without_rows(self, harness: SinkHarness, appending: Model) -> None:
        with prepared(harness, appending) as sink:
            sink.write(rows_of(appending), PARTITION)
            sink.commit([mark_at(7)])
        with prepared(harness, appending) as sink:
            assert sink.marks() == {(SOURCE, PARTITION): mark_at(7)}
        assert stored(harness, appending) == []

    def test_marks_belong_to_one_pipeline_and_one_model(self, harness: SinkHarness, appending: Model) -> None:
        other = model_of(COLUMNS, name="others", mode=plain_mode(harness))
        with prepared(harness, appending) as sink, prepared(harness, other) as beside:
            sink.commit([mark_at(3)])
            beside.commit([mark_at(4)])
        with prepared(harness, other) as beside:
            assert beside.marks() == {(SOURCE, PARTITION): mark_at(4)}
        with closing(harness.open(appending, pipeline="another pipeline")) as stranger:
            stranger.prepare()
            assert stranger.marks() == {}

    def test_a_mark_that_is_forgotten_stays_so_and_the_rows_stay(self, harness: SinkHarness, appending: Model) -> None:
        with prepared(harness, appending) as sink:
            sink.write(rows_of(appending, (1, "a")), PARTITION)
            sink.commit([mark_at(1), mark_at(5, "q")])
            sink.forget(SOURCE, PARTITION)
            sink.forget(SOURCE, "never there")
        with prepared(harness, appending) as sink:
            assert sink.marks() == {(SOURCE, "q"): mark_at(5, "q")}
        assert stored(harness, appending) == [(1, "a")]

    def test_marks_go_with_their_table(self, harness: SinkHarness, appending: Model) -> None:
        other = model_of(COLUMNS, name="others", mode=plain_mode(harness))
        for model in (appending, other):
            with prepared(harness, model) as sink:
                sink.write(rows_of(model, (1, "a")), PARTITION)
                sink.commit([mark_at(1)])
        with shown():
            harness.drop(appending)
        with prepared(harness, appending) as sink:
            assert sink.marks() == {}
        with prepared(harness, other) as sink:
            assert sink.marks() == {(SOURCE, PARTITION): mark_at(1)}
        assert (stored(harness, appending), stored(harness, other)) == ([], [(1, "a")])

    def test_two_models_are_written_at_once(self, harness: SinkHarness, appending: Model) -> None:
        other = model_of(COLUMNS, name="others", mode=plain_mode(harness))
        with prepared(harness, appending) as sink, prepared(harness, other) as beside:
            sink.write(rows_of(appending, (1, "a")), PARTITION)
            beside.write(rows_of(other, (2, "b")), PARTITION)
            sink.commit([mark_at(1)])
            beside.rollback()
        assert stored(harness, appending) == [(1, "a")]
        assert stored(harness, other) == [] or harness.promises.guarantee is not Guarantee.TRANSACTIONAL

    # --- what is not committed ----------------------------------------------------------------------------------------

    def test_what_is_not_committed_never_was(self, harness: SinkHarness, appending: Model) -> None:
        with prepared(harness, appending) as sink:
            sink.write(rows_of(appending, (1, "a")), PARTITION)
            sink.commit([mark_at(1)])
            sink.write(rows_of(appending, (2, "b"), first=1), PARTITION)
        if harness.promises.guarantee is not Guarantee.TRANSACTIONAL:
            not_promised("that rows are there only with their mark")
        assert stored(harness, appending) == [(1, "a")]

    def test_what_is_rolled_back_can_be_written_again(self, harness: SinkHarness, appending: Model) -> None:
        with prepared(harness, appending) as sink:
            sink.rollback()
            sink.write(rows_of(appending, (1, "a"), (2, "b")), PARTITION)
            sink.rollback()
            assert sink.marks() == {}
            sink.write(rows_of(appending, (1, "a"), (2, "b")), PARTITION)
            sink.commit([mark_at(2)])
        self._is_there(harness, appending, [(1, "a"), (2, "b")])

    def test_what_was_written_and_not_marked_is_written_again_and_is_there_once(
        self, harness: SinkHarness, appending: Model
    ) -> None:
        with child(writes_then_waits, harness, appending, WRITE_ROWS) as writer:
            assert writer.said() == "written"
            writer.kill()
        with prepared(harness, appending) as sink:
            assert sink.marks() == {(SOURCE, PARTITION): mark_at(1)}
            sink.write(rows_of(appending, *plain(range(1, WRITE_ROWS)), first=1), PARTITION)
            sink.commit([mark_at(WRITE_ROWS)])
        self._is_there(harness, appending, plain(range(WRITE_ROWS)))

    def test_killed_at_any_moment_rows_and_mark_agree_and_the_next_goes_on(
        self, harness: SinkHarness, appending: Model
    ) -> None:
        chance = random.Random(KILLS)  # noqa: S311 - when to strike, the same in every run
        settled = 0
        for turn in range(KILLS):
            with child(writes_on, harness, appending) as writer:
                for _ in range(1 + turn):
                    assert writer.said() == "committing"
                writer.kill(after_s=chance.random() / 50)
            with prepared(harness, appending) as sink:
                found = sink.marks().get((SOURCE, PARTITION))
            now = found.sequence if found else 0
            assert now >= settled, "a mark that was committed is gone"
            settled = now
            if harness.promises.guarantee is Guarantee.TRANSACTIONAL:
                assert stored(harness, appending) == plain(range(settled))
        with prepared(harness, appending) as sink:
            write_from(sink, appending, settled)
        self._is_there(harness, appending, plain(range(settled + WRITE_ROWS)))

    def test_cut_off_before_a_commit_nothing_is_settled_and_the_next_one_starts_from_the_mark(
        self, harness: SinkHarness, appending: Model
    ) -> None:
        with prepared(harness, appending) as sink:
            sink.write(rows_of(appending, (1, "a")), PARTITION)
            sink.commit([mark_at(1)])
            sink.write(rows_of(appending, (2, "b"), first=1), PARTITION)
            with shown():
                harness.cut()
            with refusing(harness, Unavailable):
                sink.commit([mark_at(2)])
        with prepared(harness, appending) as sink:
            assert sink.marks() == {(SOURCE, PARTITION): mark_at(1)}
            sink.write(rows_of(appending, (2, "b"), first=1), PARTITION)
            sink.commit([mark_at(2)])
        self._is_there(harness, appending, [(1, "a"), (2, "b")])

    def test_the_same_sink_can_go_on_once_it_was_cut_off(self, harness: SinkHarness, appending: Model) -> None:
        with prepared(harness, appending) as sink:
            sink.write(rows_of(appending, (1, "a")), PARTITION)
            with shown():
                harness.cut()
            with refusing(harness, Unavailable):
                sink.commit([mark_at(1)])
            sink.write(rows_of(appending, (1, "a")), PARTITION)
            sink.commit([mark_at(1)])
            assert sink.marks() == {(SOURCE, PARTITION): mark_at(1)}
        self._is_there(harness, appending, [(1, "a")])

    # --- appending ----------------------------------------------------------------------------------------------------

    def test_a_truncate_that_is_appended_leaves_no_row_and_takes_none(self, harness: SinkHarness) -> None:
        model = model_of(COLUMNS, mode=promised(harness, WriteMode.APPEND), not_null=["name"])
        with prepared(harness, model) as sink:
            written = sink.write(rows_of(model, (1, "a"), (None, None), ops=[Op.INSERT, Op.TRUNCATE]), PARTITION)
            sink.commit([mark_at(2)])
        assert (written.refused, written.superseded) == ({}, frozenset())
        assert stored(harness, model) == [(1, "a")]

    def test_appended_rows_are_rows_whatever_they_did_at_the_source(self, harness: SinkHarness) -> None:
        model = model_of(COLUMNS, mode=promised(harness, WriteMode.APPEND))
        with prepared(harness, model) as sink:
            sink.write(rows_of(model, (1, "a"), (1, "b"), (1, "c"), ops=[Op.INSERT, Op.UPDATE, Op.DELETE]), PARTITION)
            sink.commit([mark_at(3)])
        assert stored(harness, model) == [(1, "a"), (1, "b"), (1, "c")]

    def test_of_two_rows_with_a_unique_key_the_first_stays_and_the_other_is_named(self, harness: SinkHarness) -> None:
        model = model_of(NAMED, mode=promised(harness, WriteMode.APPEND), unique=[(KEY,), ("code",)])
        keeps_keys(harness, model)
        with prepared(harness, model) as sink:
            within = sink.write(rows_of(model, (1, "a", "x"), (1, "again", "y"), (2, "b", "x")), PARTITION)
            across = sink.write(rows_of(model, (1, "once more", "z"), (3, "c", "y"), first=3), PARTITION)
            sink.commit([mark_at(5)])
        with prepared(harness, model) as sink:
            later = sink.write(rows_of(model, (3, "later", "w"), (4, "d", None), (5, "e", None), first=5), PARTITION)
            sink.commit([mark_at(8)])
        assert codes(within.refused) == {1: DUPLICATE, 2: DUPLICATE}
        assert codes(across.refused) == {3: DUPLICATE}
        assert codes(later.refused) == {5: DUPLICATE}
        assert within.refused[1].field == KEY
        assert "1" in within.refused[1].actual
        assert stored(harness, model) == [(1, "a", "x"), (3, "c", "y"), (4, "d", None), (5, "e", None)]

    def test_a_key_of_several_columns_is_one_key(self, harness: SinkHarness) -> None:
        model = model_of(NAMED, mode=promised(harness, WriteMode.APPEND), unique=[(KEY, "code")])
        keeps_keys(harness, model)
        with prepared(harness, model) as sink:
            written = sink.write(rows_of(model, (1, "a", "x"), (1, "b", "y"), (1, "c", "x"), (2, "d", "x")), PARTITION)
            sink.commit([mark_at(4)])
        assert codes(written.refused) == {2: DUPLICATE}
        assert stored(harness, model) == [(1, "a", "x"), (1, "b", "y"), (2, "d", "x")]

    def test_a_row_that_cannot_be_stored_is_named_and_costs_no_other(self, harness: SinkHarness) -> None:
        model = model_of({KEY: "bigint", "token": "uuid", "body": "json"}, not_null=["token"], mode=plain_mode(harness))
        uuid = "f81d4fae-7dec-11d0-a765-00a0c91e6bf6"
        rows = rows_of(
            model, (1, uuid, "{}"), (2, None, "{}"), (3, "no uuid", "{}"), (4, uuid, "{not json"), (5, uuid, None)
        )
        with prepared(harness, model) as sink:
            written = sink.write(rows, PARTITION)
            sink.commit([mark_at(5)])
        assert dict.fromkeys((1, 2, 3), UNRENDERABLE) == codes(written.refused)
        assert [written.refused[sequence].field for sequence in (1, 2, 3)] == ["token", "token", "body"]
        assert [row[0] for row in stored(harness, model)] == [1, 5]

    # --- merging ------------------------------------------------------------------------------------------------------

    def test_merging_keeps_the_newest_of_each_key(self, harness: SinkHarness) -> None:
        model = model_of(COLUMNS, mode=promised(harness, WriteMode.MERGE))
        with prepared(harness, model) as sink:
            first = sink.write(rows_of(model, (1, "old"), (2, "b"), (1, "new")), PARTITION)
            second = sink.write(rows_of(model, (2, "newer"), (3, "c"), first=3), PARTITION)
            sink.commit([mark_at(5)])
        assert (first.superseded, second.superseded) == (frozenset({0}), frozenset())
        with prepared(harness, model) as sink:
            third = sink.write(rows_of(model, (3, "newest"), first=5), PARTITION)
            sink.commit([mark_at(6)])
        assert third.superseded == frozenset()
        assert stored(harness, model) == [(1, "new"), (2, "newer"), (3, "newest")]

    def test_an_older_version_never_replaces_a_newer_one(self, harness: SinkHarness) -> None:
        model = model_of(COLUMNS, mode=promised(harness, WriteMode.MERGE))
        with prepared(harness, model) as sink:
            sink.write(rows_of(model, (1, "new"), versions=[100]), PARTITION)
            sink.commit([mark_at(1)])
        with prepared(harness, model) as sink:
            late = rows_of(model, (1, "old"), (2, "b"), first=1, versions=[50, 51])
            assert sink.write(late, "late").superseded == frozenset({1})
            sink.commit([mark_at(3, "late")])
        assert stored(harness, model) == [(1, "new"), (2, "b")]

    def test_a_column_of_the_model_says_which_version_is_newer(self, harness: SinkHarness) -> None:
        model = model_of(VERSIONED, mode=promised(harness, WriteMode.MERGE), version_by="edition")
        with prepared(harness, model) as sink:
            within = sink.write(rows_of(model, (1, "a3", 3), (1, "a2", 2), (2, "b0", None), (2, "b1", 1)), PARTITION)
            sink.commit([mark_at(4)])
            across = sink.write(rows_of(model, (1, "a1", 1), (2, "b1 again", 1), (2, "none", None), first=4), PARTITION)
            sink.commit([mark_at(7)])
        assert within.superseded == {1, 2}
        assert across.superseded == {4, 6}
        assert stored(harness, model) == [(1, "a3", 3), (2, "b1 again", 1)]

    def test_a_delete_removes_its_row_and_only_what_is_older(self, harness: SinkHarness) -> None:
        model = model_of(NAMED, mode=promised(harness, WriteMode.MERGE), not_null=["name"])
        with prepared(harness, model) as sink:
            sink.write(rows_of(model, (1, "a", "x"), (2, "b", "x"), (3, "c", "x"), versions=[1, 2, 90]), PARTITION)
            sink.commit([mark_at(3)])
            gone = [(number, None, None) for number in (1, 3, 4)]
            came_and_went, went_and_came = [(5, "e", "x"), (5, None, None)], [(6, None, None), (6, "f", "x")]
            ops = [Op.DELETE] * 3 + [Op.INSERT, Op.DELETE, Op.DELETE, Op.UPDATE]
            changes = rows_of(model, *gone, *came_and_went, *went_and_came, first=3, ops=ops)
            written = sink.write(changes, PARTITION)
            sink.commit([mark_at(10)])
        assert written.refused == {}
        assert written.superseded == {4, 6, 8}, "an older delete, a row that was deleted, a delete of what came back"
        assert stored(harness, model) == [(2, "b", "x"), (3, "c", "x"), (6, "f", "x")]

    def test_a_truncate_leaves_only_the_rows_after_it(self, harness: SinkHarness) -> None:
        model = model_of(COLUMNS, mode=promised(harness, WriteMode.MERGE), not_null=["name"])
        with prepared(harness, model) as sink:
            sink.write(rows_of(model, (1, "a"), (2, "b")), PARTITION)
            sink.commit([mark_at(2)])
            ops = [Op.INSERT, Op.TRUNCATE, Op.INSERT]
            written = sink.write(rows_of(model, (3, "c"), (None, None), (1, "new"), first=2, ops=ops), PARTITION)
            sink.commit([mark_at(5)])
        assert (written.refused, written.superseded) == ({}, frozenset({2}))
        assert stored(harness, model) == [(1, "new")]

    def test_rows_that_are_merged_again_are_there_once(self, harness: SinkHarness) -> None:
        model = model_of(COLUMNS, mode=promised(harness, WriteMode.MERGE))
        for _ in range(2):
            with prepared(harness, model) as sink:
                assert sink.write(rows_of(model, *plain(range(50))), PARTITION).refused == {}
                sink.commit([mark_at(50)])
        assert stored(harness, model) == plain(range(50))

    def test_a_null_in_the_grain_meets_no_other(self, harness: SinkHarness) -> None:
        model = model_of(COLUMNS, mode=promised(harness, WriteMode.MERGE))
        with prepared(harness, model) as sink:
            for first in (0, 2):
                sink.write(rows_of(model, (None, "a"), (None, "a"), first=first), PARTITION)
            sink.commit([mark_at(4)])
        assert stored(harness, model) == [(None, "a")] * 4

    def test_merging_keeps_other_unique_keys(self, harness: SinkHarness) -> None:
        model = model_of(NAMED, mode=promised(harness, WriteMode.MERGE), unique=[("code",)])
        keeps_keys(harness, model)
        with prepared(harness, model) as sink:
            sink.write(rows_of(model, (1, "a", "x"), (2, "b", "y")), PARTITION)
            sink.commit([mark_at(2)])
            written = sink.write(
                rows_of(model, (2, "took x", "x"), (1, "same", "x"), (3, "c", "z"), first=2), PARTITION
            )
            sink.commit([mark_at(5)])
        assert codes(written.refused) == {2: DUPLICATE}
        assert stored(harness, model) == [(1, "same", "x"), (2, "b", "y"), (3, "c", "z")]

    # --- types and names ----------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
    def test_values_are_there_as_they_were_given(self, harness: SinkHarness, case: Case) -> None:
        model = model_of({KEY: "bigint", "value": str(case.type)}, mode=plain_mode(harness))
        rows = list(enumerate(case.column.to_pylist()))
        with prepared(harness, model) as sink:
            written = sink.write(rows_of(model, *rows), PARTITION)
            sink.commit([mark_at(len(rows))])
        found = stored(harness, model)
        values = dict(zip([row[0] for row in found], told([row[1] for row in found], case), strict=True))
        expected = dict(enumerate(told([value for _, value in rows], case)))
        if case.hard in harness.promises.lacks:
            assert set(codes(written.refused).values()) <= {UNRENDERABLE}
            assert values == {key: value for key, value in expected.items() if key not in written.refused}
            not_promised(str(case.hard))
        assert written.refused == {}
        assert values == expected

    def test_names_are_taken_as_they_are_written(self, harness: SinkHarness) -> None:
        odd = {KEY: "bigint", "select": "text", 'say "so"': "text", "Größe %s": "text", "a.b": "text", "_x;--": "text"}
        model = model_of(odd, name='Odd "table" 1', mode=plain_mode(harness))
        row = (1, "a", "b", "c", "d", "e")
        with prepared(harness, model) as sink:
            sink.write(rows_of(model, row), PARTITION)
            sink.commit([mark_at(1)])
        assert stored(harness, model) == [row]

    # --- when the table is another ------------------------------------------------------------------------------------

    @pytest.mark.parametrize(
        "columns",
        [
            {KEY: "bigint"},
            {**COLUMNS, "added": "text"},
            {KEY: "bigint", "name": "integer"},
            {KEY: "text", "name": "text"},
        ],
        ids=["a column less", "a column more", "another type", "another type of the key"],
    )
    def test_a_table_of_another_shape_is_refused_and_left_as_it_is(
        self, harness: SinkHarness, appending: Model, columns: dict[str, str]
    ) -> None:
        with prepared(harness, appending) as sink:
            sink.write(rows_of(appending, (1, "a")), PARTITION)
            sink.commit([mark_at(1)])
        other = model_of(columns, mode=plain_mode(harness))
        with refusing(harness, UserMistake), prepared(harness, other):
            pass
        assert stored(harness, appending) == [(1, "a")]
        with prepared(harness, appending) as sink:
            assert sink.marks() == {(SOURCE, PARTITION): mark_at(1)}

    # --- what it can be asked -----------------------------------------------------------------------------------------

    @pytest.mark.parametrize(
        ("rule", "violations"),
        [
            (Rule("r", "name <> 'b'", RuleKind.PREDICATE, ("name",), HERE, predicate="\"name\" <> 'b'"), 1),
            (Rule("r", "name is not null", RuleKind.NOT_NULL, ("name",), HERE), 1),
            (unique_rule(KEY), 2),
            (unique_rule(KEY, "name"), 1),
        ],
        ids=["a predicate", "not null", "a key", "a key of two columns"],
    )
    def test_it_says_whether_a_rule_holds(self, harness: SinkHarness, rule: Rule, violations: int) -> None:
        model = model_of(COLUMNS, mode=promised(harness, WriteMode.APPEND))
        with prepared(harness, model) as sink:
            if not harness.promises.evidence:
                assert sink.evidence(rule) is None
                not_promised("that it can be asked whether a rule holds")
            assert sink.evidence(rule) == Evidence(0, 0)
            sink.write(rows_of(model, (1, "a"), (1, "a"), (1, "c"), (2, "b"), (3, None)), PARTITION)
            sink.commit([mark_at(5)])
            assert sink.evidence(rule) == Evidence(violations, 5)

    # --- when it is away ----------------------------------------------------------------------------------------------

    def test_while_it_is_away_trying_later_is_what_helps(self, harness: SinkHarness, appending: Model) -> None:
        with prepared(harness, appending) as sink:
            sink.write(rows_of(appending, (1, "a")), PARTITION)
            sink.commit([mark_at(1)])
        with shown(), harness.away(), refusing(harness, Unavailable), prepared(harness, appending):
            pass
        with closing(harness.open(appending)) as sink:
            patiently(sink.prepare, PATIENCE_S)
            assert sink.marks() == {(SOURCE, PARTITION): mark_at(1)}
        assert stored(harness, appending) == [(1, "a")]

    def test_who_is_not_let_in_is_told_so(self, harness: SinkHarness, appending: Model) -> None:
        with prepared(harness, appending):
            pass
        with shown(), harness.denied(), refusing(harness, UserMistake), prepared(harness, appending) as sink:
            sink.write(rows_of(appending, (1, "a")), PARTITION)
            sink.commit([mark_at(1)])
        assert stored(harness, appending) == []

    def test_when_it_is_slow_all_is_there_in_the_end_or_later_helps(
        self, harness: SinkHarness, appending: Model
    ) -> None:
        with shown(), harness.slow():
            try:
                with prepared(harness, appending) as sink:
                    write_from(sink, appending, 0)
            except Unavailable:
                pass
        with prepared(harness, appending) as sink:
            if not sink.marks():
                write_from(sink, appending, 0)
        self._is_there(harness, appending, plain(range(WRITE_ROWS)))

    # --- how ----------------------------------------------------------------------------------------------------------

    def _is_there(self, harness: SinkHarness, model: Model, rows: Sequence[Row]) -> None:
        """Check that `rows` are there: once, unless only at least once is promised."""
        found = stored(harness, model)
        if harness.promises.guarantee is Guarantee.AT_LEAST_ONCE:
            assert set(found) == set(rows)
            not_promised("that rows which are written again are there once")
        assert found == list(rows)


@contextmanager
def prepared(harness: SinkHarness, model: Model) -> Iterator[Sink]:
    """Open a sink that is ready to be written to, and close it in the end."""
    with closing(harness.open(model)) as sink:
        sink.prepare()
        yield sink


def stored(harness: SinkHarness, model: Model) -> list[Row]:
    """Return what is in the table, in order of its rows; AssertionError where a type is another."""
    found = harness.rows(model)
    columns = [found.column(field.name).cast(field.type.arrow).to_pylist() for field in model.fields]
    rows = [tuple(values) for values in zip(*columns, strict=True)]
    return sorted(rows, key=lambda row: [(value is None, str(value).zfill(40)) for value in row])


def plain(numbers: range) -> list[Row]:
    """Return plain rows by number."""
    return [(number, f"row {number:09}") for number in numbers]


def write_from(sink: Sink, model: Model, start: int) -> None:
    """Write the next WRITE_ROWS plain rows in two writes, and commit them."""
    middle, end = start + WRITE_ROWS // 3, start + WRITE_ROWS
    sink.write(rows_of(model, *plain(range(start, middle)), first=start), PARTITION)
    sink.write(rows_of(model, *plain(range(middle, end)), first=middle), PARTITION)
    sink.commit([mark_at(end)])


def plain_mode(harness: SinkHarness) -> WriteMode:
    """Return the plainest write mode that the sink promises."""
    return next(mode for mode in MODES if mode in harness.promises.write_modes)


def promised(harness: SinkHarness, mode: WriteMode) -> WriteMode:
    """Return `mode` where it is promised; where it is not, the test ends."""
    if mode not in harness.promises.write_modes:
        not_promised(f"write mode {mode}")
    return mode


def of_another_shape(harness: SinkHarness) -> Model:
    """Return the plain model with a column of another type."""
    return model_of({KEY: "bigint", "name": "date"}, mode=plain_mode(harness))


def examine_of(sink: Sink) -> str:
    """Examine a sink that can be."""
    line: str = getattr(sink, "examine", str)()
    return line


def keeps_keys(harness: SinkHarness, model: Model) -> None:
    """End the test where unique keys are not kept, once a model that has some was refused."""
    if not harness.promises.keeps_keys:
        with refusing(harness, UserMistake), prepared(harness, model):
            pass
        not_promised("that unique keys are kept")


def codes(refused: Mapping[int, RecordError]) -> dict[int, str]:
    """Return why each row was refused, by its sequence."""
    return {sequence: error.code for sequence, error in sorted(refused.items())}


# --- in a process of its own, which is killed -----------------------------------------------------------------------


def writes_then_waits(harness: SinkHarness, model: Model, count: int) -> None:
    """Commit one row, write the others of `count`, and wait to be killed before they are committed."""
    sink = harness.open(model)
    sink.prepare()
    sink.write(rows_of(model, *plain(range(1))), PARTITION)
    sink.commit([mark_at(1)])
    sink.write(rows_of(model, *plain(range(1, count)), first=1), PARTITION)
    say("written")
    sys.stdin.read()


def writes_on(harness: SinkHarness, model: Model) -> None:
    """Write on from the mark, commit by commit, until killed."""
    sink = harness.open(model)
    sink.prepare()
    mark = sink.marks().get((SOURCE, PARTITION))
    settled = mark.sequence if mark else 0
    while True:
        say("committing")
        write_from(sink, model, settled)
        settled += WRITE_ROWS
