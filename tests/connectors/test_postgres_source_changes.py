"""Changes of a PostgreSQL table out of its log: rows first, then what happened to them, without gap or overlap."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import msgspec
import pytest
from tests.connectors.postgres_orders import (
    FIELDS,
    PARTITION,
    SMALL,
    TABLE,
    Reading,
    Row,
    apply,
    awaited,
    changes_of,
    orders,
    there,
)

from penstock.connectors.sources.postgres.positions import StreamToken, lsn_of, read_token
from penstock.errors import ContentChanged, Unavailable, UserMistake
from penstock.ingestion.validation import Validator
from penstock.model.batch import OP, Op
from penstock.model.pipeline import Check
from penstock.model.schema import Field, parse_type
from penstock.model.settings import Settings
from penstock.ports import Replay

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.postgres import Database

SLOTS = "SELECT slot_name FROM pg_replication_slots WHERE database = current_database()"
WIDEN = "UPDATE orders SET name = md5(random()::text) || repeat(md5(random()::text), 400) WHERE id <= 3"
"""Gives rows a value that is longer than a page, so that it is stored out of line."""


@pytest.fixture
def shop(database: Database) -> Database:
    database.execute(TABLE)
    database.execute("INSERT INTO orders SELECT n, 'n' || n FROM generate_series(1, 100) AS n")
    return database


@pytest.fixture
def changes(shop: Database, tmp_path: Path) -> Reading:
    return Reading(orders(shop, read="changes"), tmp_path)


def confirmed(database: Database) -> int:
    ((lsn,),) = database.execute(
        "SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE database = current_database()"
    )
    return lsn_of(lsn)


# --- rows, then changes -----------------------------------------------------------------------------------------------


def test_the_rows_come_first_and_then_what_happens_to_them(shop: Database, changes: Reading) -> None:
    assert len(changes.read_on()) == 100
    assert changes.read_on() == []
    shop.execute("INSERT INTO orders VALUES (101, '')")
    shop.execute("UPDATE orders SET name = NULL WHERE id = 101")
    shop.execute("DELETE FROM orders WHERE id = 101")
    assert changes.read_on() == [
        (Op.INSERT, ("101", "", "1.00")),
        (Op.UPDATE, ("101", None, "1.00")),
        (Op.DELETE, ("101", None, None)),
    ]
    assert changes.read_on() == []


def test_nothing_is_missed_or_comes_twice_between_rows_and_changes(shop: Database, changes: Reading) -> None:
    with changes.life() as source:
        chunks = source.read(PARTITION, None)
        rows = changes_of(next(chunks))
        shop.execute("INSERT INTO orders VALUES (1000, 'while the rows were read')")
        shop.execute("UPDATE orders SET name = 'changed' WHERE id = 100")
        rows += [change for chunk in chunks for change in changes_of(chunk)]
    assert [row[0] for _, row in rows] == [str(n) for n in range(1, 101)]
    changes.settled = None
    with changes.life() as source:
        position = None
        for chunk in source.read(PARTITION, None):
            position = chunk.next
        shop.execute("UPDATE orders SET name = 'again' WHERE id = 100")
        assert changes.read_in(source, position) == [(Op.UPDATE, ("100", "again", "1.00"))]


def test_what_happened_since_the_slot_was_made_follows_the_rows(shop: Database, changes: Reading) -> None:
    with changes.life() as source:
        following = source.follow({})
        first = following.next(5)
        assert first is not None
        shop.execute("INSERT INTO orders VALUES (1000, 'meanwhile')")
        shop.execute("DELETE FROM orders WHERE id = 50")
        rest, _ = awaited(following, 102 - first.end)
    assert [row[0] for op, row in rest[: 100 - first.end]] == [str(n) for n in range(first.end + 1, 101)]
    assert rest[-2:] == [(Op.INSERT, ("1000", "meanwhile", "1.00")), (Op.DELETE, ("50", None, None))]


def test_an_empty_table_can_be_followed_and_keeps_its_slot(database: Database, tmp_path: Path) -> None:
    database.execute(TABLE)
    changes = Reading(orders(database, read="changes"), tmp_path)
    assert changes.read_on() == []
    assert isinstance(read_token(changes.settled), StreamToken)
    database.execute("INSERT INTO orders VALUES (1, 'first')")
    assert changes.read_on() == [(Op.INSERT, ("1", "first", "1.00"))]


def test_rows_that_were_being_read_are_gone_on_with_and_all_changes_since_follow(
    shop: Database, changes: Reading
) -> None:
    with changes.life() as source:
        chunks = source.read(PARTITION, None)
        first = next(chunks)
        found = changes_of(first)
        assert source.replay_from(first.next) is Replay.BY_KEY
    shop.execute("DELETE FROM orders WHERE id IN (1, 99)")
    shop.execute("UPDATE orders SET id = 500 WHERE id = 2")
    shop.execute("UPDATE orders SET id = -7 WHERE id = 98")
    shop.execute("INSERT INTO orders VALUES (1000, 'new')")
    found += changes.read(first.next)
    assert apply({}, found) == there(shop)


# --- kinds of changes -------------------------------------------------------------------------------------------------


def test_an_update_of_the_key_is_a_delete_and_an_insert(shop: Database, changes: Reading) -> None:
    changes.read_on()
    shop.execute("UPDATE orders SET id = 1001 WHERE id = 1")
    expected = [(Op.DELETE, ("1", None, None)), (Op.INSERT, ("1001", "n1", "1.00"))]
    assert changes.read_on() == expected
    shop.execute("ALTER TABLE orders REPLICA IDENTITY FULL")
    shop.execute("UPDATE orders SET id = 1002 WHERE id = 2")
    assert changes.read_on() == [(Op.DELETE, ("2", "n2", "1.00")), (Op.INSERT, ("1002", "n2", "1.00"))]
    shop.execute("UPDATE orders SET name = 'x' WHERE id = 3")
    assert changes.read_on() == [(Op.UPDATE, ("3", "x", "1.00"))]


def test_truncates_come_in_their_place(shop: Database, changes: Reading) -> None:
    changes.read_on()
    shop.execute("CREATE TABLE other (id int)")
    with shop.connect() as connection, connection.transaction():
        connection.execute("INSERT INTO orders VALUES (200, 'before')")
        connection.execute("TRUNCATE other, orders")
        connection.execute("INSERT INTO orders VALUES (201, 'after')")
    assert changes.read_on() == [
        (Op.INSERT, ("200", "before", "1.00")),
        (Op.TRUNCATE, (None, None, None)),
        (Op.INSERT, ("201", "after", "1.00")),
    ]


@pytest.mark.parametrize("identity", ["DEFAULT", "FULL"])
def test_values_stored_out_of_line_that_did_not_change_are_there(
    shop: Database, changes: Reading, identity: str
) -> None:
    shop.execute("ALTER TABLE orders REPLICA IDENTITY " + identity)
    shop.execute("ALTER TABLE orders ALTER name SET STORAGE EXTERNAL")
    shop.execute(WIDEN)
    changes.settings = Settings()
    changes.read_on()
    shop.execute("UPDATE orders SET amount = 9 WHERE id <= 3")
    found = changes.read_on()
    assert [op for op, _ in found] == [Op.UPDATE] * 3
    assert {row[0]: row for _, row in found} == {key: row for key, row in there(shop).items() if key in {"1", "2", "3"}}


def test_a_value_that_was_not_sent_of_a_row_that_is_gone_since_deletes_it_early(
    shop: Database, changes: Reading
) -> None:
    shop.execute("ALTER TABLE orders ALTER name SET STORAGE EXTERNAL")
    shop.execute(WIDEN)
    changes.settings = Settings()
    before = apply({}, changes.read_on())
    shop.execute("UPDATE orders SET amount = 9 WHERE id <= 3")
    shop.execute("DELETE FROM orders WHERE id = 1")
    shop.execute("UPDATE orders SET id = 1002 WHERE id = 2")
    found = changes.read_on()
    assert [(op, row[0]) for op, row in found[:3]] == [(Op.DELETE, "1"), (Op.DELETE, "2"), (Op.UPDATE, "3")]
    assert apply(before, found) == there(shop)


def test_transactions_come_in_the_order_of_their_commits_and_rolled_back_ones_not_at_all(
    shop: Database, changes: Reading
) -> None:
    changes.read_on()
    with shop.connect() as first, shop.connect() as second:
        first.autocommit = second.autocommit = False
        first.execute("INSERT INTO orders VALUES (201, 'began first')")
        second.execute("INSERT INTO orders VALUES (202, 'committed first')")
        second.commit()
        first.commit()
        first.execute("INSERT INTO orders VALUES (203, 'never')")
        first.rollback()
    assert [row[1] for _, row in changes.read_on()] == ["committed first", "began first"]


def test_deletes_pass_validation_by_their_key_alone(shop: Database, tmp_path: Path) -> None:
    fields = (FIELDS[0], Field("name", parse_type("text"), nullable=False), FIELDS[2])
    table = orders(shop, fields=fields, read="changes")
    checks = (Check("INT_ALPHA_003", '"name" IS NOT NULL', "name", "a value"),)
    changes = Reading(msgspec.structs.replace(table, checks=checks), tmp_path)
    changes.read_on()
    shop.execute("DELETE FROM orders WHERE id = 1")
    shop.execute("UPDATE orders SET name = NULL WHERE id = 2")
    shop.execute("TRUNCATE orders")
    with changes.life() as source:
        chunk = next(iter(source.read(PARTITION, changes.settled)))
        originals = [original.content for original in chunk.originals(range(chunk.start, chunk.end))]
        again = source.reread(PARTITION, originals)
    validator = Validator(changes.table, Settings())
    validated = validator.validate(chunk, 0)
    validator.close()
    assert [(letter.sequence, letter.errors[0].code) for letter in validated.letters] == [(101, "INT_ALPHA_003")]
    assert validated.batch.column(OP).to_pylist() == [Op.DELETE, Op.TRUNCATE]
    assert again.operations is not None
    assert again.operations.to_pylist() == [Op.DELETE, Op.UPDATE, Op.TRUNCATE]


# --- positions --------------------------------------------------------------------------------------------------------


def busy_day(database: Database, changes: int) -> None:
    """Change the table in transactions of all sizes, some of them rolled back."""
    chance = Random(20_241_126)
    with database.connect() as connection:
        connection.autocommit = False
        done = 0
        while done < changes:
            for _ in range(chance.choice([1, 1, 2, 5, 40])):
                key = chance.randrange(150)
                statement, values = chance.choice(
                    [
                        (b"INSERT INTO orders VALUES (%s, %s) ON CONFLICT (id) DO NOTHING", (key, f"new {done}")),
                        (b"UPDATE orders SET name = %s WHERE id = %s", (f"set {done}", key)),
                        (b"UPDATE orders SET id = %s WHERE id = %s AND NOT EXISTS (SELECT FROM orders WHERE id = %s)",
                         (key + 7, key, key + 7)),
                        (b"DELETE FROM orders WHERE id = %s", (key,)),
                    ]
                )  # fmt: skip
                connection.execute(statement, values)
                done += 1
            if chance.random() < 0.02:
                connection.execute("TRUNCATE orders")
            connection.rollback() if chance.random() < 0.1 else connection.commit()


def test_reading_resumes_behind_every_position_and_gives_exactly_the_same(shop: Database, changes: Reading) -> None:
    changes.settings = Settings({"READ_BYTES": 200})
    before = apply({}, changes.read_on())
    busy_day(shop, 400)
    start = changes.settled
    assert start is not None
    whole = changes.read(start)
    assert apply(before, whole) == there(shop)
    tokens = [read_token(position) for position in changes.positions]
    assert any(isinstance(token, StreamToken) and token.done for token in tokens), "no transaction was cut"
    with changes.life() as source:
        for position in changes.positions[::3]:
            assert source.replay_from(position) is Replay.EXACT
            assert changes.read_in(source, position) == whole[position.sequence - start.sequence :]


def test_at_rest_what_is_committed_after_reading_began_is_left_for_the_next_time(
    shop: Database, changes: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes.read_on()
    shop.execute("INSERT INTO orders SELECT n, 'before' FROM generate_series(1001, 1010) AS n")
    ((end,),) = shop.execute("SELECT pg_current_wal_flush_lsn()::text")
    shop.execute("INSERT INTO orders SELECT n, 'after' FROM generate_series(2001, 2010) AS n")
    shop.execute("DELETE FROM orders WHERE id = 2001")
    with monkeypatch.context() as patched:
        patched.setattr("penstock.connectors.sources.postgres.source.log_end", lambda *_: lsn_of(end))
        assert [row[1] for _, row in changes.read_on()] == ["before"] * 10
        assert changes.read_on() == []
    assert [row[1] for _, row in changes.read_on()] == ["after"] * 10 + [None]


def test_the_server_may_forget_only_what_is_settled(shop: Database, changes: Reading) -> None:
    changes.read_on()
    settled_at = confirmed(shop)
    with changes.life() as source:
        following = source.follow({PARTITION: changes.settled} if changes.settled else {})
        shop.execute("UPDATE orders SET name = 'a' WHERE id = 1")
        _, first = awaited(following, 1)
        shop.execute("UPDATE orders SET name = 'b' WHERE id = 1")
        _, second = awaited(following, 1)
        assert confirmed(shop) <= settled_at
        source.commit(first)
        following.close()
    first_token, second_token = read_token(first), read_token(second)
    assert isinstance(first_token, StreamToken)
    assert isinstance(second_token, StreamToken)
    assert confirmed(shop) == first_token.lsn < second_token.lsn
    assert changes.read(first) == [(Op.UPDATE, ("1", "b", "1.00"))]


def test_the_position_moves_over_what_others_write(
    shop: Database, changes: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes.read_on()
    before = confirmed(shop)
    shop.execute("CREATE TABLE other AS SELECT n FROM generate_series(1, 10000) AS n")
    assert changes.read_on() == []
    assert confirmed(shop) > before + 100_000
    monkeypatch.setattr("penstock.connectors.sources.postgres.following.IDLE_S", 0.01)
    with changes.life() as source:
        following = source.follow({PARTITION: changes.settled} if changes.settled else {})
        shop.execute("INSERT INTO other SELECT n FROM generate_series(1, 10000) AS n")
        moved = None
        while moved is None or (source.size_bytes(PARTITION, moved) or 0) > 100_000:
            chunk = following.next(0.1)
            assert chunk is None or chunk.start == chunk.end
            moved = chunk.next if chunk else moved
        following.close()


def test_how_far_behind_the_log_we_are_is_told(shop: Database, changes: Reading) -> None:
    changes.read_on()
    shop.execute("INSERT INTO orders SELECT n, 'more' FROM generate_series(1000, 5000) AS n")
    with changes.life() as source:
        assert (source.size_bytes(PARTITION, changes.settled) or 0) > 200_000


# --- slots and publications -------------------------------------------------------------------------------------------


def test_a_slot_that_is_gone_is_an_error_until_a_person_decides(shop: Database, changes: Reading) -> None:
    changes.read_on()
    shop.execute("DELETE FROM orders WHERE id = 1")
    ((slot,),) = shop.execute(SLOTS)
    shop.execute("SELECT pg_drop_replication_slot(%s)", slot)
    with pytest.raises(ContentChanged, match=f"`{slot}` is gone"):
        changes.read_on()
    with changes.life() as source, pytest.raises(ContentChanged, match="INT_ALPHA_013"):
        source.follow({PARTITION: changes.settled} if changes.settled else {}).next(1)
    assert changes.settled is not None
    with changes.life() as source:
        accepted = source.accept(changes.settled)
        assert source.replay_from(accepted) is Replay.BY_KEY
    shop.execute("DELETE FROM orders WHERE id = 2")
    assert changes.read(accepted) == [(Op.DELETE, ("2", None, None))]
    anew = changes.read(None)
    assert anew[0] == (Op.TRUNCATE, (None, None, None))
    assert apply({"1": ("1", "stale", None)}, anew) == there(shop)


def test_a_slot_that_somebody_else_has_moved_or_made_anew_is_an_error(shop: Database, changes: Reading) -> None:
    changes.read_on()
    ((slot,),) = shop.execute(SLOTS)
    shop.execute("DELETE FROM orders WHERE id = 1")
    shop.execute("SELECT pg_replication_slot_advance(%s, pg_current_wal_lsn())", slot)
    with pytest.raises(ContentChanged, match="somebody else has read from it, or made it anew"):
        changes.read_on()
    shop.execute("SELECT pg_drop_replication_slot(%s)", slot)
    shop.execute("SELECT pg_create_logical_replication_slot(%s, 'test_decoding')", slot)
    with pytest.raises(ContentChanged, match="is another replication slot"):
        changes.read_on()


def test_a_life_that_ended_before_anything_was_settled_leaves_one_slot_at_most(
    shop: Database, changes: Reading
) -> None:
    for _ in range(3):
        changes.read(None)
        assert len(shop.execute(SLOTS)) == 1
    with changes.life() as source:
        source.release()
    assert shop.execute(SLOTS) == []
    assert shop.execute("SELECT count(*) FROM pg_publication") == [(0,)]


def test_what_a_reader_that_died_has_delivered_is_put_right_by_the_log_of_its_slot(
    shop: Database, changes: Reading
) -> None:
    """Nothing was settled, and yet its rows may be at the destination."""
    delivered = apply({}, changes.read(None))
    ((slot,),) = shop.execute(SLOTS)
    shop.execute("DELETE FROM orders WHERE id IN (1, 100)")
    shop.execute("UPDATE orders SET id = 1000 WHERE id = 50")
    found = changes.read(None)
    assert shop.execute(SLOTS) == [(slot,)]
    assert Op.TRUNCATE not in {op for op, _ in found}
    assert apply(delivered, found) == there(shop)


def test_rows_that_are_read_anew_after_a_gap_first_empty_the_table_even_by_a_reader_that_dies(
    shop: Database, changes: Reading
) -> None:
    delivered = apply({}, changes.read_on())
    shop.execute("DELETE FROM orders")
    apply(delivered, changes.read_on())
    assert delivered == {}
    shop.execute("INSERT INTO orders VALUES (1, 'new')")
    stale: dict[str | None, Row] = {"7": ("7", "deleted while nobody was told", None)}
    for _ in range(2):
        found = changes.read(None)
        assert found[0][0] is Op.TRUNCATE
        assert apply(dict(stale), found) == there(shop)
    shop.execute("TRUNCATE orders")
    assert apply(dict(stale), changes.read(None)) == {}


def test_a_publication_that_is_gone_or_a_table_that_was_made_anew_is_an_error_and_not_silence(
    shop: Database, changes: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock.connectors.sources.postgres.following.IDLE_S", 0.01)
    changes.read_on()
    assert changes.settled is not None
    with changes.life() as source:
        following = source.follow({PARTITION: changes.settled})
        following.next(0.05)
        shop.execute("DROP TABLE orders")
        shop.execute(TABLE)
        shop.execute("INSERT INTO orders VALUES (1, 'in another table')")
        with pytest.raises(ContentChanged, match="lacks the table"):
            awaited(following, 1)
    with pytest.raises(ContentChanged, match="lacks the table"):
        changes.read_on()
    assert changes.read(None)[1:] == [(Op.INSERT, ("1", "in another table", "1.00"))]
    ((publication,),) = shop.execute("SELECT pubname::text FROM pg_publication")
    shop.execute("DROP PUBLICATION " + publication)
    with pytest.raises(ContentChanged, match="is not there, so that the log does not tell what changed"):
        changes.read_on()


def test_a_generated_column_is_refused_for_the_log_does_not_tell_it(shop: Database, tmp_path: Path) -> None:
    shop.execute("ALTER TABLE orders DROP amount, ADD amount numeric(12, 2) GENERATED ALWAYS AS (id * 2) STORED")
    with pytest.raises(UserMistake, match="does not tell the generated column `amount`"):
        Reading(orders(shop, read="changes"), tmp_path).read(None)
    assert len(Reading(orders(shop), tmp_path).read(None)) == 100


def test_names_of_slot_and_publication_may_be_given(shop: Database, tmp_path: Path) -> None:
    shop.execute("CREATE PUBLICATION theirs FOR ALL TABLES")
    shop.execute("CREATE TABLE other (id int PRIMARY KEY)")
    slot = f"{shop.name}_orders"
    changes = Reading(orders(shop, read="changes", slot=shop.name + "_{table}", publication="theirs"), tmp_path)
    changes.read_on()
    assert shop.execute(SLOTS) == [(slot,)]
    shop.execute("INSERT INTO other VALUES (1)")
    shop.execute("TRUNCATE other")
    shop.execute("DELETE FROM orders WHERE id = 1")
    assert changes.read_on() == [(Op.DELETE, ("1", None, None))]
    assert shop.execute("SELECT pubname::text FROM pg_publication") == [("theirs",)]


def test_a_publication_that_will_not_do_is_named(shop: Database, tmp_path: Path) -> None:
    shop.execute("CREATE PUBLICATION inserts FOR ALL TABLES WITH (publish = 'insert')")
    shop.execute("CREATE PUBLICATION nothing")
    for name, what in (("inserts", "does not publish all"), ("nothing", "lacks the table"), ("none", "is not there")):
        with pytest.raises(UserMistake, match=what):
            Reading(orders(shop, read="changes", publication=name), tmp_path / name).read(None)
    assert shop.execute(SLOTS) == []


def test_a_table_whose_log_does_not_tell_which_row_it_was_is_refused_before_anything_is_made(
    shop: Database, tmp_path: Path
) -> None:
    shop.execute("ALTER TABLE orders DROP CONSTRAINT orders_pkey")
    with pytest.raises(UserMistake, match="REPLICA IDENTITY FULL"):
        Reading(orders(shop, read="changes"), tmp_path).read(None)
    shop.execute("ALTER TABLE orders ADD PRIMARY KEY (id)")
    with pytest.raises(UserMistake, match="without `name`"):
        Reading(orders(shop, key=("id", "name"), read="changes"), tmp_path).read(None)
    shop.execute("ALTER TABLE orders RENAME TO real_orders")
    shop.execute("CREATE VIEW orders AS SELECT * FROM real_orders")
    with pytest.raises(UserMistake, match="only those of tables are logged"):
        Reading(orders(shop, read="changes"), tmp_path).read(None)
    assert shop.execute(SLOTS) == []
    assert shop.execute("SELECT count(*) FROM pg_publication") == [(0,)]


def test_a_partitioned_table_is_read_as_one(database: Database, tmp_path: Path) -> None:
    database.execute(
        "CREATE TABLE orders (id bigint PRIMARY KEY, name text, amount numeric(12, 2)) PARTITION BY RANGE (id)"
    )
    database.execute("CREATE TABLE low PARTITION OF orders FOR VALUES FROM (0) TO (100)")
    database.execute("CREATE TABLE high PARTITION OF orders FOR VALUES FROM (100) TO (200)")
    database.execute("INSERT INTO orders VALUES (1, 'a', 1), (150, 'b', 2)")
    changes = Reading(orders(database, read="changes"), tmp_path)
    assert [row[0] for _, row in changes.read_on()] == ["1", "150"]
    database.execute("UPDATE orders SET id = 151 WHERE id = 1")
    assert changes.read_on() == [(Op.DELETE, ("1", None, None)), (Op.INSERT, ("151", "a", "1.00"))]


def test_columns_that_come_are_passed_by_and_one_that_goes_stops_reading_by_name(
    shop: Database, changes: Reading
) -> None:
    changes.read_on()
    shop.execute("ALTER TABLE orders ADD more int DEFAULT 3")
    shop.execute("UPDATE orders SET more = 4, name = 'x' WHERE id = 1")
    assert changes.read_on() == [(Op.UPDATE, ("1", "x", "1.00"))]
    with changes.life() as source:
        following = source.follow({PARTITION: changes.settled} if changes.settled else {})
        assert following.next(0.05) is None
        shop.execute("ALTER TABLE orders DROP name")
        shop.execute("UPDATE orders SET amount = 4 WHERE id = 1")
        with pytest.raises(UserMistake, match="lost the column `name`"):
            awaited(following, 1)


def test_a_slot_waits_for_transactions_that_are_open_and_says_so(
    shop: Database, changes: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock.connectors.sources.postgres.wire.CREATE_S", 0.3)
    with shop.connect() as busy:
        busy.autocommit = False
        busy.execute("INSERT INTO orders VALUES (300, 'open')")
        with pytest.raises(Unavailable, match="transactions that began before are still open"):
            changes.read(None)
        busy.commit()
    assert len(changes.read(None)) == 101
    assert len(shop.execute(SLOTS)) == 1


def test_two_readers_of_one_slot_do_not_share_it(changes: Reading, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.connectors.sources.postgres.wire.BUSY_S", 0.2)
    changes.read_on()
    assert changes.settled is not None
    with changes.life() as source:
        assert source.follow({PARTITION: changes.settled}).next(0.05) is None
        with pytest.raises(Unavailable, match="is active for PID"):
            changes.read(changes.settled)


def test_small_pieces_are_read_as_they_come(shop: Database, changes: Reading) -> None:
    assert changes.settings is SMALL
    with changes.life() as source:
        following = source.follow({})
        _, position = awaited(following, 100)
        for number in range(5):
            shop.execute("UPDATE orders SET name = %s WHERE id = 1", str(number))
            found, position = awaited(following, 1)
            assert found == [(Op.UPDATE, ("1", str(number), "1.00"))]
        assert position.sequence == 105
