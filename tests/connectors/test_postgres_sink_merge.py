"""Merging into PostgreSQL: whatever order versions arrive in, however they are cut, the newest one is what is left."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.connectors.houses import House
from tests.connectors.test_duckdb_sink_merge import (
    COMMIT,
    REOPEN,
    ROLLBACK,
    WRITE_ON,
    Record,
    Reference,
    Write,
    keys,
    regions,
    rows_of,
    versions,
)

from penstock.model.batch import Op
from penstock.model.finding import Place
from penstock.model.pipeline import Column, Model, Rule, RuleKind, WriteMode
from penstock.model.schema import parse_type

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.servers.postgres import Server

TYPES = {"id": "bigint", "region": "text", "updated": "integer", "value": "text"}
HERE = Place("test")
drafts = st.builds(
    Record, st.just(0), keys, regions, versions, st.just(""), st.sampled_from((Op.INSERT, Op.UPDATE, Op.DELETE))
)


@pytest.fixture(scope="module")
def lasting_house(postgres: Server) -> Iterator[House]:
    """A database for many examples, each with a schema of its own."""
    database = postgres.new_database()
    house = House(database)
    yield house
    house.close()
    postgres.forget(database)


@pytest.fixture
def schema(lasting_house: House) -> str:
    """A schema that nobody has used."""
    return f"merge {len(lasting_house.sinks)}"


def model_of(
    schema: str,
    *,
    version_by: str = "",
    grain: tuple[str, ...] = ("id",),
    unique: Sequence[tuple[str, ...]] = (),
    not_null: Sequence[str] = (),
) -> Model:
    return Model(
        "customers",
        schema,
        "customers",
        grain,
        tuple(
            Column(name, parse_type(of_type), name, nullable=name not in not_null) for name, of_type in TYPES.items()
        ),
        HERE,
        write_mode=WriteMode.MERGE,
        version_by=version_by,
        rules=tuple(Rule("a rule", "as written", RuleKind.UNIQUE, key, HERE) for key in unique),
    )


def found(house: House, schema: str) -> list[tuple[object, ...]]:
    return house.stored(
        f'SELECT id, region, updated, value FROM "{schema}".customers '  # noqa: S608 - ours
        'ORDER BY id, region COLLATE "C", updated, value COLLATE "C"'
    )


def make_plain_table(house: House, schema: str, *, version: bool) -> None:
    """Make the table without any constraint, as somebody else would."""
    house.do(
        f'CREATE SCHEMA "{schema}"',
        f'CREATE TABLE "{schema}".customers (id bigint, region text, updated integer, value text'
        f"{', _version bigint' if version else ''})",
    )


@settings(max_examples=40, deadline=None)
@given(
    version_by=st.sampled_from(["", "updated"]),
    grain=st.sampled_from([("id",), ("id", "region"), ("region", "id")]),
    plain=st.booleans(),
    writes=st.lists(
        st.builds(
            Write,
            st.lists(drafts, max_size=8),
            st.lists(st.integers(0, 1000), max_size=3),
            st.sampled_from([COMMIT, ROLLBACK, REOPEN, WRITE_ON]),
        ),
        max_size=6,
    ),
)
def test_the_destination_holds_what_the_reference_holds(
    lasting_house: House,
    version_by: str,
    grain: tuple[str, ...],
    writes: list[Write],
    *,
    plain: bool,
) -> None:
    schema = f"reference {len(lasting_house.sinks)}"
    if plain:
        make_plain_table(lasting_house, schema, version=not version_by)
    model = model_of(schema, version_by=version_by, grain=grain)
    reference = Reference(grain, version_by)
    committed = deepcopy(reference)
    sink = lasting_house.open(model)
    seen: list[Record] = []
    for write in writes:
        again = {seen[place % len(seen)] for place in write.again if seen}
        new = [replace(draft, read=read, value=f"read {read}") for read, draft in enumerate(write.drafts, len(seen))]
        seen += new
        # A row without a whole key meets nothing, not even itself: only marks keep it from being written twice.
        records = [each for each in again if each.id is not None and each.region is not None] + new
        assert sink.write(rows_of(model, records), "a.csv").superseded == reference.write(records)
        if write.then == ROLLBACK:
            sink.rollback()
            reference = deepcopy(committed)
        elif write.then != WRITE_ON:
            sink.commit([])
            committed = deepcopy(reference)
        if write.then == REOPEN:
            sink.close()
            sink = lasting_house.open(model)
    sink.commit([])
    sink.close()
    assert found(lasting_house, schema) == reference.table()


def written(house: House, model: Model, *writes: Sequence[Record]) -> list[tuple[set[int], frozenset[int]]]:
    """Write and commit each; return who was refused and who superseded."""
    sink = house.open(model)
    answers = []
    for records in writes:
        answer = sink.write(rows_of(model, records), "a.csv")
        answers.append((set(answer.refused), answer.superseded))
        sink.commit([])
    sink.close()
    return answers


NOTHING: tuple[set[int], frozenset[int]] = (set(), frozenset())


def test_without_a_version_column_what_was_read_later_wins_and_a_record_read_again_replaces_itself(
    lasting_house: House, schema: str
) -> None:
    old, new, mended = Record(1, 1, "eu", 9, "old"), Record(2, 1, "eu", 0, "new"), Record(2, 1, "us", 0, "mended")
    answers = written(lasting_house, model_of(schema), [new], [old], [mended])
    assert answers == [NOTHING, (set(), frozenset({1})), NOTHING]
    assert found(lasting_house, schema) == [(1, "us", 0, "mended")]


def test_with_a_version_column_it_alone_decides_and_of_equal_versions_the_one_written_later_stays(
    lasting_house: House, schema: str
) -> None:
    first, older, equal = Record(1, 1, "eu", 5, "first"), Record(2, 1, "eu", 4, "older"), Record(0, 1, "eu", 5, "equal")
    answers = written(lasting_house, model_of(schema, version_by="updated"), [first], [older], [equal])
    assert answers == [NOTHING, (set(), frozenset({2})), NOTHING]
    assert found(lasting_house, schema) == [(1, "eu", 5, "equal")]


def test_null_is_the_oldest_version(lasting_house: House, schema: str) -> None:
    none, some = Record(1, 1, "eu", None, "none"), Record(0, 1, "eu", -5, "some")
    answers = written(lasting_house, model_of(schema, version_by="updated"), [none], [some], [none])
    assert answers == [NOTHING, NOTHING, (set(), frozenset({1}))]
    assert found(lasting_house, schema) == [(1, "eu", -5, "some")]


def test_versions_that_are_text_are_ordered_by_their_bytes_whatever_the_language_of_the_database(
    postgres: Server,
) -> None:
    database = postgres.new_database("LOCALE_PROVIDER icu ICU_LOCALE 'en-US' LOCALE 'C.UTF-8'")
    house = House(database)
    try:
        model = model_of("s", version_by="value")
        big, small = Record(0, 1, "eu", 0, "Z"), Record(1, 1, "eu", 1, "a")
        assert house.stored("SELECT 'a' < 'Z'") == [(True,)]
        assert written(house, model, [big], [small], [big]) == [NOTHING, NOTHING, (set(), frozenset({0}))]
        assert written(house, model, [Record(2, 2, "eu", 0, "a"), Record(3, 2, "eu", 1, "Z")])[0][1] == frozenset({3})
    finally:
        house.close()
        postgres.forget(database)


def test_a_delete_removes_what_is_older_and_yields_to_what_is_newer(lasting_house: House, schema: str) -> None:
    model = model_of(schema, version_by="updated")
    row, stale = Record(0, 1, "eu", 5, "row"), Record(1, 1, "eu", 4, "gone", Op.DELETE)
    delete = Record(2, 1, None, 6, "gone", Op.DELETE)
    assert written(lasting_house, model, [row], [stale]) == [NOTHING, (set(), frozenset({1}))]
    assert found(lasting_house, schema) == [(1, "eu", 5, "row")]
    assert written(lasting_house, model, [delete]) == [NOTHING]
    assert found(lasting_house, schema) == []


def test_a_delete_wins_over_older_rows_of_its_own_write_and_needs_no_row_to_remove(
    lasting_house: House, schema: str
) -> None:
    rows = [Record(0, 1, "eu", 5, "row"), Record(1, 1, "eu", 6, "", Op.DELETE), Record(2, 2, "eu", 1, "", Op.DELETE)]
    assert written(lasting_house, model_of(schema, version_by="updated"), rows) == [(set(), frozenset({0}))]
    assert found(lasting_house, schema) == []


def test_a_deleted_key_is_not_remembered_so_an_older_row_that_comes_later_lives(
    lasting_house: House, schema: str
) -> None:
    delete, older = Record(0, 1, "eu", 6, "", Op.DELETE), Record(1, 1, "eu", 5, "back")
    assert written(lasting_house, model_of(schema, version_by="updated"), [delete], [older]) == [NOTHING, NOTHING]
    assert found(lasting_house, schema) == [(1, "eu", 5, "back")]


def test_a_delete_may_leave_out_columns_that_a_row_must_have_and_hold_there_what_no_row_can(
    lasting_house: House, schema: str
) -> None:
    model = model_of(schema, not_null=["value"])
    row, delete = Record(0, 1, "eu", 1, "row"), Record(1, 1, "\0", None, None, Op.DELETE)
    lacking = Record(2, 2, None, None, None)
    assert written(lasting_house, model, [row], [delete, lacking]) == [NOTHING, ({2}, frozenset())]
    assert found(lasting_house, schema) == []


def test_a_truncate_removes_all_that_came_before_it_and_nothing_that_came_after(
    lasting_house: House, schema: str
) -> None:
    model = model_of(schema)
    first = [Record(0, 1, "eu", 1, "one"), Record(1, 2, "eu", 1, "two")]
    second = [
        Record(2, 3, "eu", 1, "three"),
        Record(3, None, None, None, None, Op.TRUNCATE),
        Record(4, 4, "eu", 1, "four"),
        Record(5, 1, "eu", 1, "one again"),
    ]
    assert written(lasting_house, model, first, second) == [NOTHING, (set(), frozenset({2}))]
    assert found(lasting_house, schema) == [(1, "eu", 1, "one again"), (4, "eu", 1, "four")]
    assert written(lasting_house, model, [Record(6, None, None, None, None, Op.TRUNCATE)]) == [NOTHING]
    assert found(lasting_house, schema) == []


def test_another_key_is_kept_besides_the_grain_and_whoever_loses_for_it_leaves_things_as_they_are(
    lasting_house: House, schema: str
) -> None:
    model = model_of(schema, unique=[("value",)])
    first = [Record(0, 1, "eu", 1, "one"), Record(1, 2, "eu", 1, "two")]
    # 1 may change and keep its value; 2 may not take it; of 3 and 4 the first takes `new`.
    second = [Record(read, key, "us", 1, value) for read, key, value in
              [(2, 1, "one"), (3, 2, "one"), (4, 3, "new"), (5, 4, "new")]]  # fmt: skip
    assert written(lasting_house, model, first, second) == [NOTHING, ({3, 5}, frozenset())]
    assert found(lasting_house, schema) == [(1, "us", 1, "one"), (2, "eu", 1, "two"), (3, "us", 1, "new")]


def test_rows_without_a_grain_are_different_rows_also_to_a_key_besides_it(lasting_house: House, schema: str) -> None:
    model = model_of(schema, unique=[("value",)])
    first, second = Record(0, None, "eu", 1, "one"), Record(1, None, "us", 1, "one")
    assert written(lasting_house, model, [first], [second]) == [NOTHING, ({1}, frozenset())]
    assert found(lasting_house, schema) == [(None, "eu", 1, "one")]


def test_a_key_is_not_free_before_the_write_after_the_one_that_gives_it_up(lasting_house: House, schema: str) -> None:
    model = model_of(schema, unique=[("value",)])
    swap = [Record(2, 1, "us", 1, "two"), Record(3, 2, "us", 1, "one")]
    first = [Record(0, 1, "eu", 1, "one"), Record(1, 2, "eu", 1, "two")]
    gives_up, takes = Record(4, 1, "us", 1, "three"), Record(5, 2, "us", 1, "one")
    answers = written(lasting_house, model, first, swap, [gives_up], [takes])
    assert [refused for refused, _ in answers] == [set(), {2, 3}, set(), set()]
    assert found(lasting_house, schema) == [(1, "us", 1, "three"), (2, "us", 1, "one")]


def test_rows_that_are_there_twice_already_both_make_room_for_a_newer_one(lasting_house: House, schema: str) -> None:
    make_plain_table(lasting_house, schema, version=False)
    lasting_house.do(f"INSERT INTO \"{schema}\".customers VALUES (1, 'eu', 3, 'x'), (1, 'eu', 5, 'y')")  # noqa: S608 - ours
    model = model_of(schema, version_by="updated")
    answers = written(lasting_house, model, [Record(0, 1, "eu", 4, "between")], [Record(1, 1, "eu", 5, "newest")])
    assert answers == [(set(), frozenset({0})), NOTHING]
    assert found(lasting_house, schema) == [(1, "eu", 5, "newest")]
