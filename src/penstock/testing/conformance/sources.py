"""What every source owes: subclass `SourceSuite` in a test module, and give it the fixture `harness`."""

from __future__ import annotations

import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING, cast

import pytest

from penstock.errors import Unavailable, UserMistake
from penstock.model.batch import Op
from penstock.model.schema import parse_type
from penstock.ports import Replay, ReplaysVariously
from penstock.testing.conformance.child import child, say
from penstock.testing.conformance.harness import CURSOR, KEY
from penstock.testing.conformance.reading import Taken, caster, exact, kept, originals_of, read
from penstock.testing.conformance.records import CASES, ORDERS, fields_of, orders, told
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
    from collections.abc import Iterable, Iterator, Mapping

    from penstock.model.position import Position
    from penstock.model.schema import Field
    from penstock.ports import Chunk, Follows, Source
    from penstock.testing.conformance.harness import SourceHarness
    from penstock.testing.conformance.records import Case

POSITIONS_TRIED = 6
"""Of all positions of a table, so many are gone on from, the first and the last among them."""
CHUNKS_MIN = 3
FEW = 20
MOMENT_S = 0.05


class SourceSuite(Suite):
    """Holds a source to `ports.Source` and to what it declares."""

    @pytest.fixture
    def harness(self) -> SourceHarness:
        """Give the outside thing of one test. To be overridden."""
        raise NotImplementedError("give the suite a fixture `harness`")

    @pytest.fixture
    def few(self, harness: SourceHarness) -> SourceHarness:
        """A table of FEW plain records."""
        harness.create(ORDERS)
        harness.add(orders(range(FEW)))
        return harness

    @pytest.fixture
    def filled(self, harness: SourceHarness) -> SourceHarness:
        """A table of `harness.many` plain records."""
        harness.create(ORDERS)
        harness.add(orders(range(harness.many)))
        return harness

    # --- what it declares ---------------------------------------------------------------------------------------------

    def test_what_it_does_is_what_it_declares(self, few: SourceHarness) -> None:
        with closing(few.open(ORDERS)) as source:
            assert few.promises in declared_by(source).promises
            assert source.replay is few.promises.replay
            assert hasattr(source, "follow") or not few.promises.follows

    def test_an_option_that_it_does_not_know_is_refused_by_name(self, few: SourceHarness) -> None:
        with refusing(few, UserMistake) as refused:
            few.open(ORDERS, connection=with_unknown_option(few.connection)).close()
        assert NO_SUCH_OPTION in str(refused.value)

    def test_it_shows_no_secret(self, few: SourceHarness) -> None:
        with closing(few.open(ORDERS)) as source:
            taken = read(source, ORDERS)
            for told_of_it in (repr(source), repr(taken.positions)):
                assert [secret for secret in few.secrets if secret in told_of_it] == []

    def test_examined_it_says_a_line(self, few: SourceHarness) -> None:
        with closing(few.open(ORDERS)) as source:
            if not hasattr(source, "examine"):
                not_promised("that it can be examined")
            line = source.examine()
            assert line
            assert "\n" not in line
            assert [secret for secret in few.secrets if secret in line] == []
            self._is_all(few, read(source, ORDERS).rows, range(FEW))

    # --- reading ------------------------------------------------------------------------------------------------------

    def test_all_that_is_there_is_read_once(self, filled: SourceHarness) -> None:
        with closing(filled.open(ORDERS)) as source:
            taken = read(source, ORDERS)
        assert by_key(taken.rows) == by_key(orders(range(filled.many)).to_pylist())

    def test_a_table_without_records_has_none(self, harness: SourceHarness) -> None:
        harness.create(ORDERS)
        with closing(harness.open(ORDERS)) as source:
            assert read(source, ORDERS).rows == []

    def test_a_column_that_is_not_asked_for_is_passed_by(self, few: SourceHarness) -> None:
        asked = fields_of(**{CURSOR: "timestamptz", KEY: "bigint"})
        with closing(few.open(asked)) as source:
            found = read(source, asked).rows
        assert by_key(found) == by_key(orders(range(FEW)).select([CURSOR, KEY]).to_pylist())

    def test_how_much_is_left_is_unknown_or_becomes_less(self, filled: SourceHarness) -> None:
        with closing(filled.open(ORDERS)) as source:
            last = read(source, ORDERS).last
            for partition, position in last.items():
                at_first, at_last = source.size_bytes(partition, None), source.size_bytes(partition, position)
                assert at_first is None or at_last is None or 0 <= at_last <= at_first

    def test_originals_are_given_and_parse_to_the_same_records(self, few: SourceHarness) -> None:
        with closing(few.open(ORDERS)) as source:
            chunk = next(all_chunks(source))
            again = source.reread(chunk.next.partition, list(originals_of(chunk).values()))
            assert again.errors == {}
            assert exact(again.records, ORDERS) == exact(chunk.records, ORDERS)

    def test_a_record_that_cannot_be_parsed_is_named_and_costs_no_other(self, harness: SourceHarness) -> None:
        harness.create(ORDERS)
        harness.add(orders(range(3)))
        with shown():
            broken = harness.add_bad()
        harness.add(orders(range(3, 6)))
        with closing(harness.open(ORDERS)) as source:
            taken = read(source, ORDERS)
            assert by_key(taken.rows) == by_key(orders(range(6)).to_pylist())
            (bad,) = taken.bad
            assert bad.original.content == broken
            assert bad.error.code.startswith("INT_ALPHA_")
            (partition, *_) = taken.records
            assert list(source.reread(partition, [broken]).errors) == [0]

    # --- reading on ---------------------------------------------------------------------------------------------------

    def test_reading_goes_on_from_any_position(self, filled: SourceHarness) -> None:
        with closing(filled.open(ORDERS)) as source:
            whole = read(source, ORDERS)
        reached = [position for positions in whole.positions.values() for position in positions]
        assert len(reached) >= CHUNKS_MIN, f"{filled.many} records came in {len(reached)} chunks: say a larger `many`"
        for position in spread(reached, POSITIONS_TRIED):
            on = self._read_on(filled, whole, position)
            if replay_from(source, position) is Replay.EXACT:
                assert on.records.get(position.partition, {}) == tail(whole, position)
            else:
                assert keys(tail(whole, position).values()) <= keys(on.rows) <= keys(whole.rows)

    def test_reading_may_be_dropped_anywhere(self, filled: SourceHarness) -> None:
        with closing(filled.open(ORDERS)) as source:
            first = Taken(ORDERS)
            first.add(next(all_chunks(source)))
            rest = read(source, ORDERS, first.last)
            replay = replay_from(source, *first.last.values())
        self._is_all(filled, first.rows + rest.rows, range(filled.many), replay=replay)

    def test_what_is_added_later_is_read_from_the_last_position(self, few: SourceHarness) -> None:
        with closing(few.open(ORDERS)) as source:
            before = read(source, ORDERS)
        few.add(orders(range(FEW, 2 * FEW)))
        with closing(few.open(ORDERS)) as source:
            after = read(source, ORDERS, before.last)
        self._is_all(few, before.rows + after.rows, range(2 * FEW))

    def test_where_nothing_is_new_nothing_new_comes(self, few: SourceHarness) -> None:
        with closing(few.open(ORDERS)) as source:
            before = read(source, ORDERS)
            after = read(source, ORDERS, before.last)
        assert keys(after.rows) <= keys(before.rows)
        assert after.rows == [] or few.promises.replay is Replay.BY_KEY

    def test_of_records_that_are_equal_at_the_cursor_none_is_lost(self, harness: SourceHarness) -> None:
        harness.create(ORDERS)
        found: list[dict[str, object]] = []
        positions: dict[str, Position] = {}
        for numbers in (range(10, 20), range(20, 30), range(10)):  # the last have keys below those that were read
            harness.add(orders(numbers, at_s=7))
            with closing(harness.open(ORDERS)) as source:
                taken = read(source, ORDERS, positions)
            found += taken.rows
            positions |= taken.last
        self._is_all(harness, found, range(30), at_s=7)

    def test_a_position_that_a_person_accepts_is_gone_on_from(self, few: SourceHarness) -> None:
        with closing(few.open(ORDERS)) as source:
            before = read(source, ORDERS)
            accepted = {partition: source.accept(position) for partition, position in before.last.items()}
        assert {partition: position.sequence for partition, position in accepted.items()} == {
            partition: position.sequence for partition, position in before.last.items()
        }
        few.add(orders(range(FEW, FEW + 5)))
        with closing(few.open(ORDERS)) as source:
            after = read(source, ORDERS, accepted)
        self._is_all(few, before.rows + after.rows, range(FEW + 5))

    # --- settling -----------------------------------------------------------------------------------------------------

    def test_nothing_is_forgotten_before_it_is_settled(self, filled: SourceHarness) -> None:
        with closing(filled.open(ORDERS)) as source:
            first = read(source, ORDERS)
        with closing(patiently(lambda: filled.open(ORDERS), filled.patience_s)) as source:
            again = patiently(lambda: read(source, ORDERS), filled.patience_s)
        if replay_from(source, None) is Replay.EXACT:
            assert again.records == first.records
        assert by_key(again.rows) == by_key(first.rows)

    def test_a_reader_that_is_killed_before_anything_is_settled_has_cost_nothing(self, filled: SourceHarness) -> None:
        with child(read_all, filled) as reader:
            assert int(reader.said()) >= filled.many
            reader.kill()
        with closing(patiently(lambda: filled.open(ORDERS), filled.patience_s)) as source:
            found = patiently(lambda: read(source, ORDERS), filled.patience_s)
        self._is_all(filled, found.rows, range(filled.many))

    def test_what_is_settled_is_not_asked_for_again_and_the_rest_stays(self, filled: SourceHarness) -> None:
        with closing(filled.open(ORDERS)) as source:
            whole = read(source, ORDERS)
            settled = {partition: kept(middle(positions)) for partition, positions in whole.positions.items()}
            for position in settled.values():
                source.commit(position)
        with closing(patiently(lambda: filled.open(ORDERS), filled.patience_s)) as source:
            rest = patiently(lambda: read(source, ORDERS, settled), filled.patience_s)
        assert keys(whole.rows_from(settled)) <= keys(rest.rows)
        if replay_from(source, *settled.values()) is Replay.EXACT:
            assert by_key(rest.rows) == by_key(whole.rows_from(settled))

    def test_it_prunes_what_is_settled_and_nothing_else(self, filled: SourceHarness) -> None:
        if not filled.promises.prunes:
            not_promised("that what is settled is pruned")
        with closing(filled.open(ORDERS)) as source:
            last = read(source, ORDERS).last
            with shown():
                before = filled.held()
            for position in last.values():
                source.commit(position)
        assert filled.held() < before

    # --- changes ------------------------------------------------------------------------------------------------------

    def test_updates_and_deletes_come_in_their_order(self, few: SourceHarness) -> None:
        if not few.promises.deletes:
            not_promised("updates and deletes")
        with closing(few.open(ORDERS)) as source:
            positions = read(source, ORDERS).last
        few.change(orders([1], name="changed {}"))
        few.remove([2])
        few.change(orders([3], name="changed {}"))
        few.remove([3])
        few.add(orders([3], name="again {}"))
        with closing(patiently(lambda: few.open(ORDERS), few.patience_s)) as source:
            taken = patiently(lambda: read(source, ORDERS, positions), few.patience_s)
        found: dict[object, list[tuple[bool, object]]] = {}
        for partition, records in taken.records.items():
            for sequence, row in sorted(records.items()):
                is_delete = taken.ops[partition][sequence] is Op.DELETE
                found.setdefault(row[KEY], []).append((is_delete, None if is_delete else row["name"]))
        assert found == {
            1: [(False, "changed 1")],
            2: [(True, None)],
            3: [(False, "changed 3"), (True, None), (False, "again 3")],
        }

    # --- types --------------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
    def test_values_come_as_they_went_in(self, harness: SourceHarness, case: Case) -> None:
        harness.create(case.fields)
        harness.add(case.rows)
        with closing(harness.open(case.fields)) as source:
            taken = read(source, case.fields)
        found = {row[KEY]: value for row, value in zip(taken.rows, told(taken.values("value"), case), strict=True)}
        expected: dict[object, object] = dict(enumerate(told(case.column.to_pylist(), case)))
        if case.hard in harness.promises.lacks:
            altered = {key: value for key, value in found.items() if value not in {None, expected[key]}}
            assert altered == {}, "what it cannot give may be null or a bad record, and became another value"
            not_promised(str(case.hard))
        assert found == expected

    # --- when the table is another ------------------------------------------------------------------------------------

    def test_a_table_that_is_not_there_is_the_users_to_mend(self, few: SourceHarness) -> None:
        with shown(), refusing(few, UserMistake) as refused, closing(few.open(ORDERS, table="no_such_table")) as source:
            read(source, ORDERS)
        assert "no_such_table" in str(refused.value)

    def test_a_declared_column_that_is_not_there_is_named_or_null(self, few: SourceHarness) -> None:
        declared = (*ORDERS, *fields_of(missing="text"))
        with closing(few.open(declared)) as source:
            try:
                rows = read(source, declared).rows
            except UserMistake as error:
                assert "missing" in str(error)  # noqa: PT017 - either of the two is right
            else:
                assert [row["missing"] for row in rows] == [None] * FEW

    def test_a_column_that_was_added_since_is_passed_by(self, harness: SourceHarness) -> None:
        harness.create((*ORDERS, *fields_of(added="text")))
        rows = orders(range(FEW))
        harness.add(rows.append_column("added", rows.column("name")))
        with closing(harness.open(ORDERS)) as source:
            assert by_key(read(source, ORDERS).rows) == by_key(rows.to_pylist())

    def test_a_column_of_another_type_gives_what_it_holds_or_is_named(self, harness: SourceHarness) -> None:
        harness.create(ORDERS)
        harness.add(orders([7], name="12"))
        harness.add(orders([8], name="not a number"))
        declared = tuple(each if each.name != "name" else type(each)("name", parse_type("bigint")) for each in ORDERS)
        with closing(harness.open(declared)) as source:
            try:
                found = {row[KEY]: row["name"] for row in read_leniently(source, declared)}
            except UserMistake as error:
                assert "name" in str(error)  # noqa: PT017 - either of the two is right
            else:
                assert found == {7: 12, 8: None}, "a value that is no number became one, or one that is did not"

    # --- when it is away ----------------------------------------------------------------------------------------------

    def test_while_it_is_away_trying_later_is_what_helps(self, few: SourceHarness) -> None:
        with closing(few.open(ORDERS)) as source:
            (partition, *_) = source.partitions()
        with shown(), few.away(), refusing(few, Unavailable), closing(few.open(ORDERS)) as source:
            for _ in source.read(partition, None):
                pass
        with closing(patiently(lambda: few.open(ORDERS), few.patience_s)) as source:
            self._is_all(few, patiently(lambda: read(source, ORDERS), few.patience_s).rows, range(FEW))

    def test_when_it_goes_away_from_an_open_source_all_comes_or_later_helps(self, few: SourceHarness) -> None:
        with closing(few.open(ORDERS)) as source:
            (partition, *_) = source.partitions()
            with shown(), few.away():
                taken = Taken(ORDERS)
                try:
                    for chunk in source.read(partition, None):
                        taken.add(chunk)
                except Unavailable:
                    return
            rest, replay = read(source, ORDERS, taken.last), replay_from(source, *taken.last.values())
            self._is_all(few, taken.rows + rest.rows, range(FEW), replay=replay)

    def test_who_is_not_let_in_is_told_so(self, few: SourceHarness) -> None:
        with shown(), few.denied(), refusing(few, UserMistake), closing(few.open(ORDERS)) as source:
            read(source, ORDERS)
        with closing(few.open(ORDERS)) as source:
            self._is_all(few, read(source, ORDERS).rows, range(FEW))

    def test_when_it_is_slow_all_comes_in_the_end_or_later_helps(self, filled: SourceHarness) -> None:
        with shown(), filled.slow(), closing(filled.open(ORDERS)) as source:
            try:
                found = read(source, ORDERS).rows
            except Unavailable:
                found = None
        if found is None:
            with closing(filled.open(ORDERS)) as source:
                found = patiently(lambda: read(source, ORDERS), filled.patience_s).rows
        self._is_all(filled, found, range(filled.many))

    def test_what_is_cut_off_in_the_middle_goes_on_where_it_was(self, filled: SourceHarness) -> None:
        taken = Taken(ORDERS)
        with closing(filled.open(ORDERS)) as source:
            chunks = all_chunks(source)
            taken.add(next(chunks))
            with shown():
                filled.cut()
            try:
                for chunk in chunks:
                    taken.add(chunk)
            except Unavailable:
                pass
        with closing(patiently(lambda: filled.open(ORDERS), filled.patience_s)) as source:
            rest = patiently(lambda: read(source, ORDERS, taken.last), filled.patience_s)
            replay = replay_from(source, *taken.last.values())
        self._is_all(filled, taken.rows + rest.rows, range(filled.many), replay=replay)

    # --- following ----------------------------------------------------------------------------------------------------

    def test_followed_it_gives_what_is_there_and_then_what_comes(self, few: SourceHarness) -> None:
        with closing(few.open(ORDERS)) as source:
            following = self._follow(source, few, {})
            taken = Taken(ORDERS)
            following(taken, FEW)
            for number in range(FEW, FEW + 3):
                few.add(orders([number]))
                following(taken, number + 1)
        self._is_all(few, taken.rows, range(FEW + 3))

    def test_following_goes_on_from_where_another_stopped(self, few: SourceHarness) -> None:
        first, second = Taken(ORDERS), Taken(ORDERS)
        with closing(few.open(ORDERS)) as source:
            self._follow(source, few, {})(first, FEW)
            for position in first.last.values():
                source.commit(position)
        few.add(orders(range(FEW, 2 * FEW)))
        with closing(patiently(lambda: few.open(ORDERS), few.patience_s)) as source:
            follow = self._follow(source, few, first.last)
            follow(second, FEW, beyond=keys(first.rows))
        self._is_all(few, first.rows + second.rows, range(2 * FEW))

    def test_a_follower_that_is_killed_has_cost_nothing_that_is_not_settled(self, few: SourceHarness) -> None:
        if not few.promises.follows:
            not_promised("that it can be followed")
        with child(follow_all, few, FEW) as reader:
            assert int(reader.said()) >= FEW
            reader.kill()
        few.add(orders(range(FEW, 2 * FEW)))
        taken = Taken(ORDERS)
        with closing(patiently(lambda: few.open(ORDERS), few.patience_s)) as source:
            self._follow(source, few, {})(taken, 2 * FEW)
        self._is_all(few, taken.rows, range(2 * FEW))

    # --- how ----------------------------------------------------------------------------------------------------------

    def _read_on(self, harness: SourceHarness, whole: Taken, position: Position) -> Taken:
        """Read on from `position` in a source of its own; other partitions from their ends."""
        positions = whole.last | {position.partition: kept(position)}
        with closing(patiently(lambda: harness.open(ORDERS), harness.patience_s)) as source:
            return patiently(lambda: read(source, ORDERS, positions), harness.patience_s)

    def _follow(self, source: Source, harness: SourceHarness, positions: Mapping[str, Position]) -> Follow:
        if not harness.promises.follows:
            not_promised("that it can be followed")
        return Follow(source, harness, positions)

    def _is_all(
        self,
        harness: SourceHarness,
        rows: list[dict[str, object]],
        numbers: Iterable[int],
        *,
        at_s: int | None = None,
        replay: Replay | None = None,
    ) -> None:
        """Check that `rows` are the plain records of `numbers`: once, where `replay` (what is promised) is exact."""
        assert by_key(rows) == by_key(orders(numbers, at_s=at_s).to_pylist())
        if (replay or harness.promises.replay) is Replay.EXACT:
            assert len(rows) == len(keys(rows)), "a record came twice"


class Follow:
    """Takes what comes of a source that is followed, until there are so many."""

    def __init__(self, source: Source, harness: SourceHarness, positions: Mapping[str, Position]) -> None:
        self._following = cast("Follows", source).follow(positions)
        self._patience_s = harness.patience_s

    def __call__(self, taken: Taken, count: int, beyond: set[object] | None = None) -> None:
        """Take until `taken` has records of `count` keys that are not in `beyond`."""
        known = beyond or set()
        until_s = time.monotonic() + self._patience_s
        while len(keys(taken.rows) - known) < count:
            assert time.monotonic() < until_s, f"{len(keys(taken.rows) - known)} of {count} records came"
            chunk = patiently(lambda: self._following.next(MOMENT_S), self._patience_s)
            if chunk is not None:
                taken.add(chunk)


# --- in a process of its own, which is killed -----------------------------------------------------------------------


def read_all(harness: SourceHarness) -> None:
    """Read everything, settle nothing, and wait to be killed."""
    source = harness.open(ORDERS)
    say(len(read(source, ORDERS).rows))
    sys.stdin.read()


def follow_all(harness: SourceHarness, count: int) -> None:
    """Follow until `count` records came, settle nothing, and wait to be killed."""
    taken = Taken(ORDERS)
    Follow(harness.open(ORDERS), harness, {})(taken, count)
    say(len(taken.rows))
    sys.stdin.read()


def all_chunks(source: Source) -> Iterator[Chunk]:
    """Yield what every partition gives from its beginning."""
    for partition in source.partitions():
        yield from source.read(partition, None)


def replay_from(source: Source, *positions: Position | None) -> Replay:
    """Return what reading again from `positions` gives: exactly the same only if it is so from each of them."""
    if isinstance(source, ReplaysVariously):
        found = {source.replay_from(position) for position in positions}
        return Replay.BY_KEY if Replay.BY_KEY in found else Replay.EXACT
    return source.replay


# --- telling records ------------------------------------------------------------------------------------------------


def keys(rows: Iterable[dict[str, object]]) -> set[object]:
    """Return the keys of records."""
    return {row[KEY] for row in rows}


def by_key(rows: Iterable[dict[str, object]]) -> dict[object, dict[str, object]]:
    """Return records by their keys: the last of each."""
    return {row[KEY]: row for row in rows}


def tail(whole: Taken, position: Position) -> dict[int, dict[str, object]]:
    """Return the records of `position`'s partition from there on, by sequence."""
    records = whole.records.get(position.partition, {})
    return {sequence: row for sequence, row in records.items() if sequence >= position.sequence}


def middle(positions: list[Position]) -> Position:
    """Return the position in the middle of the way."""
    return positions[len(positions) // 2]


def spread(positions: list[Position], count: int) -> list[Position]:
    """Return up to `count` of `positions`, with the first and the last."""
    if len(positions) <= count:
        return positions
    return [positions[place * (len(positions) - 1) // (count - 1)] for place in range(count)]


def read_leniently(source: Source, fields: tuple[Field, ...]) -> list[dict[str, object]]:
    """Read all, and cast as ingestion does: a value that is refused is null."""
    names = [each.name for each in fields]
    rows: list[dict[str, object]] = []
    for partition in source.partitions():
        for chunk in source.read(partition, None):
            columns = [caster().cast(chunk.records.column(each.name), each.type).to_pylist() for each in fields]
            rows += [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]
    return rows
