"""Rows of a PostgreSQL table: in bulk, by a cursor, and what is said where that cannot be."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec
import pytest
from tests.connectors.postgres_orders import PARTITION, SMALL, TABLE, Reading, awaited, orders, rows_of, there

from penstock.connectors import at_rest, open_source
from penstock.errors import ContentChanged, PenstockError, Unavailable, UserMistake
from penstock.ingestion.validation import Validator
from penstock.model.batch import Op
from penstock.model.pipeline import Connection
from penstock.model.position import Position
from penstock.model.schema import Field, parse_type
from penstock.model.settings import Settings
from penstock.ports import Replay

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.postgres import Database

FILL = """
    INSERT INTO orders (id, name, amount)
    SELECT n, CASE n % 4 WHEN 0 THEN NULL WHEN 1 THEN '' WHEN 2 THEN E'a "b",\\r\\n\\\\N \U0001f989' ELSE 'n' || n END,
           n / 3.0
    FROM generate_series(1, 500) AS n
"""


@pytest.fixture
def shop(database: Database) -> Database:
    database.execute(TABLE)
    database.execute(FILL)
    return database


def refusal(database: Database, state: Path, **options: str) -> str:
    with pytest.raises(PenstockError) as caught, Reading(orders(database, options), state).life() as source:
        source.partitions()
    return str(caught.value)


# --- in bulk ----------------------------------------------------------------------------------------------------------


def test_all_rows_come_in_the_order_of_the_key_with_null_told_from_empty_text(shop: Database, tmp_path: Path) -> None:
    reading = Reading(orders(shop), tmp_path)
    found = reading.read()
    assert {row[0]: row for _, row in found} == there(shop)
    assert [row[0] for _, row in found] == [str(n) for n in range(1, 501)]
    assert [row[1] for _, row in found[:4]] == ["", 'a "b",\r\n\\N \U0001f989', "n3", None]
    assert len(reading.positions) > 5


def test_reading_resumes_behind_every_position(shop: Database, tmp_path: Path) -> None:
    reading = Reading(orders(shop), tmp_path)
    whole = reading.read()
    positions = reading.positions[:-1]
    for position in positions:
        assert reading.read(position) == whole[position.sequence :]


def test_a_later_run_reads_the_table_as_it_is_then(shop: Database, tmp_path: Path) -> None:
    reading = Reading(orders(shop), tmp_path)
    reading.read_on()
    shop.execute("INSERT INTO orders VALUES (0, 'new, of a lower key')")
    shop.execute("UPDATE orders SET name = 'changed' WHERE id = 500")
    assert {row[0]: row for _, row in reading.read_on()} == there(shop)
    assert reading.settled is not None
    assert reading.settled.sequence == 1001


def test_keys_of_several_columns_and_of_any_type_are_resumed_behind(database: Database, tmp_path: Path) -> None:
    database.execute("CREATE TYPE size AS ENUM ('small', 'Middle ''s', 'large')")
    database.execute("CREATE TABLE orders (id bigint, name text, size size, amount int, PRIMARY KEY (size, name, id))")
    database.execute(
        "INSERT INTO orders SELECT n % 7, E'it''s \\\\ ' || n % 13, (enum_range(NULL::size))[1 + n % 3], n "
        "FROM generate_series(1, 273) AS n"
    )
    reading = Reading(orders(database, key=()), tmp_path, Settings({"READ_BYTES": 300}))
    whole = reading.read()
    assert len(whole) == len(set(whole)) == 273
    for position in reading.positions[:-1]:
        assert reading.read(position) == whole[position.sequence :]


def test_a_view_is_read_by_the_key_that_the_document_declares(shop: Database, tmp_path: Path) -> None:
    shop.execute("ALTER TABLE orders RENAME TO real_orders")
    shop.execute("CREATE VIEW orders AS SELECT * FROM real_orders")
    reading = Reading(orders(shop), tmp_path)
    assert len(reading.read()) == 500
    with Reading(orders(shop, key=()), tmp_path).life() as source, pytest.raises(UserMistake, match="INT_ALPHA_015"):
        source.partitions()


def test_a_null_in_the_key_of_a_view_is_an_error_and_not_a_row_that_is_lost(shop: Database, tmp_path: Path) -> None:
    shop.execute("ALTER TABLE orders RENAME TO real_orders")
    shop.execute("CREATE VIEW orders AS SELECT nullif(id, 7) AS id, name, amount FROM real_orders")
    with pytest.raises(UserMistake, match="has a null in `id`"):
        Reading(orders(shop), tmp_path).read()


def test_values_of_every_type_pass_the_casts_exactly(database: Database, tmp_path: Path) -> None:
    types = {
        "id": "bigint", "flag": "boolean", "small": "smallint", "wide": "numeric(38,10)", "f": "real", "d": "double",
        "raw": "bytea", "day": "date", "at": "time", "stamp": "timestamp", "zoned": "timestamptz", "u": "uuid",
        "j": "json", "fixed": "char(3)", "cash": "numeric(10,2)",
    }  # fmt: skip
    database.execute(
        "CREATE TABLE orders (id bigint PRIMARY KEY, flag boolean, small smallint, wide numeric(38,10), f real, "
        "d double precision, raw bytea, day date, at time, stamp timestamp, zoned timestamptz, u uuid, j jsonb, "
        "fixed char(3), cash money)"
    )
    database.execute("ALTER DATABASE " + database.name + " SET DateStyle = 'German'")
    database.execute(
        "INSERT INTO orders VALUES (1, true, -32768, 1234567890123456789012345678.0123456789, 0.1, 1e-300, "
        "'\\x00ff', '0001-01-01', '23:59:59.999999', '9999-12-31 23:59:59.999999', '2024-02-29 12:00:00.000001+05:30', "
        "'00000000-0000-0000-0000-000000000001', '{\"a\": [1, null]}', 'ab', 1234.5)"
    )
    table = orders(database, fields=[Field(name, parse_type(type_)) for name, type_ in types.items()])
    with Reading(table, tmp_path).life() as source:
        (chunk,) = source.read(PARTITION, None)
    validator = Validator(table, Settings())
    validated = validator.validate(chunk, 0)
    validator.close()
    assert validated.letters == ()
    (row,) = validated.batch.select(list(types)).to_pylist()
    shown = {name: str(value) for name, value in row.items()}
    assert shown == {
        "id": "1", "flag": "True", "small": "-32768", "wide": "1234567890123456789012345678.0123456789",
        "f": "0.10000000149011612", "d": "1e-300", "raw": "b'\\x00\\xff'", "day": "0001-01-01",
        "at": "23:59:59.999999", "stamp": "9999-12-31 23:59:59.999999", "zoned": "2024-02-29 06:30:00.000001+00:00",
        "u": "00000000-0000-0000-0000-000000000001", "j": '{"a": [1, null]}', "fixed": "ab ", "cash": "1234.50",
    }  # fmt: skip


def test_a_row_that_is_larger_than_what_is_read_at_a_time_comes_whole(database: Database, tmp_path: Path) -> None:
    database.execute(TABLE)
    database.execute("INSERT INTO orders SELECT n, repeat(E'x\\n', 2000000) FROM generate_series(1, 3) AS n")
    with Reading(orders(database), tmp_path, Settings()).life() as source:
        lengths = [len(row[1] or "") for chunk in source.read(PARTITION, None) for row in rows_of(chunk)]
    assert lengths == [4_000_000] * 3


def test_a_reading_may_be_dropped_at_any_point_and_leaves_no_connection(shop: Database, tmp_path: Path) -> None:
    with Reading(orders(shop), tmp_path).life() as source:
        chunks = source.read(PARTITION, None)
        next(chunks)
        chunks.close()  # type: ignore[attr-defined]
        assert shop.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'penstock'") == [(0,)]


def test_originals_are_given_back_and_read_again(shop: Database, tmp_path: Path) -> None:
    with Reading(orders(shop), tmp_path).life() as source:
        chunk = list(source.read(PARTITION, None))[1]
        originals = chunk.originals([chunk.start, chunk.start + 2])
        assert [original.line for original in originals] == [chunk.start + 1, chunk.start + 3]
        again = source.reread(PARTITION, [*(original.content for original in originals), b"no row"])
    assert [tuple(row.values()) for row in again.records.to_pylist()] == [rows_of(chunk)[0], rows_of(chunk)[2]]
    assert [(place, error.code) for place, error in again.errors.items()] == [(2, "INT_ALPHA_001")]


def test_a_size_is_told_before_reading(shop: Database, tmp_path: Path) -> None:
    with Reading(orders(shop), tmp_path).life() as source:
        assert (source.size_bytes(PARTITION, None) or 0) > 8192
        assert source.replay is Replay.BY_KEY


# --- by a cursor ------------------------------------------------------------------------------------------------------


def test_what_is_new_by_the_cursor_comes_and_nothing_twice(shop: Database, tmp_path: Path) -> None:
    reading = Reading(orders(shop, cursor="updated_at"), tmp_path)
    assert len(reading.read_on()) == 500
    assert reading.read_on() == []
    shop.execute("UPDATE orders SET name = 'changed', updated_at = clock_timestamp() WHERE id IN (3, 400)")
    shop.execute("INSERT INTO orders VALUES (7000, 'new')")
    assert [row[:2] for _, row in reading.read_on()] == [("3", "changed"), ("400", "changed"), ("7000", "new")]
    assert reading.read_on() == []


def test_rows_with_the_cursors_last_value_are_not_lost_whichever_their_key(shop: Database, tmp_path: Path) -> None:
    shop.execute("UPDATE orders SET updated_at = '2024-01-01' WHERE id BETWEEN 100 AND 140")
    shop.execute("DELETE FROM orders WHERE id NOT BETWEEN 100 AND 140")
    reading = Reading(orders(shop, read="incremental", cursor="updated_at"), tmp_path)
    assert len(reading.read_on()) == 41
    shop.execute("INSERT INTO orders VALUES (1, 'lower', 1, '2024-01-01'), (999, 'higher', 1, '2024-01-01')")
    assert [row[1] for _, row in reading.read_on()] == ["lower", "higher"]
    assert reading.read_on() == []


def test_reading_by_a_cursor_resumes_at_every_position_without_loss_or_repeat(shop: Database, tmp_path: Path) -> None:
    shop.execute("UPDATE orders SET updated_at = timestamptz '2024-01-01' + id / 20 * interval '1 s'")
    reading = Reading(orders(shop, cursor="updated_at", look_back="3 seconds"), tmp_path)
    whole = reading.read()
    assert len(whole) == 500
    for position in list(reading.positions):
        assert reading.read(position) == whole[position.sequence :]


def test_looking_back_finds_what_was_committed_late(shop: Database, tmp_path: Path) -> None:
    reading = Reading(orders(shop, cursor="updated_at", look_back="10 minutes"), tmp_path)
    shop.execute("UPDATE orders SET updated_at = timestamptz '2024-01-01' + id * interval '1 s'")
    reading.read_on()
    shop.execute("INSERT INTO orders VALUES (1000, 'late', 1, timestamptz '2024-01-01' + interval '250.5 s')")
    shop.execute("INSERT INTO orders VALUES (1001, 'too late', 1, '2023-12-31')")
    assert [row[1] for _, row in reading.read_on()] == ["late"]
    assert reading.read_on() == []


def test_a_number_may_be_the_cursor_and_is_looked_back_from_by_a_number(shop: Database, tmp_path: Path) -> None:
    reading = Reading(orders(shop, cursor="id", look_back="5"), tmp_path)
    shop.execute("DELETE FROM orders WHERE id = 498")
    assert len(reading.read_on()) == 499
    shop.execute("INSERT INTO orders VALUES (498, 'late'), (501, 'new')")
    assert [row[1] for _, row in reading.read_on()] == ["late", "new"]


def test_rows_without_the_cursor_are_an_error_and_not_lost(shop: Database, tmp_path: Path) -> None:
    shop.execute("ALTER TABLE orders ALTER updated_at DROP NOT NULL")
    reading = Reading(orders(shop, cursor="updated_at"), tmp_path)
    reading.read_on()
    shop.execute("INSERT INTO orders VALUES (1000, 'never', 1, NULL)")
    with pytest.raises(UserMistake, match="rows without `updated_at`, which would never be read"):
        reading.read_on()


def test_the_event_time_is_the_cursor_where_none_is_named(shop: Database, tmp_path: Path) -> None:
    assert "INT_PIPELINE_003" in refusal(shop, tmp_path, read="incremental")
    with pytest.raises(UserMistake, match="did you mean `updated_at`"):
        Reading(orders(shop, cursor="updated"), tmp_path).read()


def test_a_table_that_is_followed_is_asked_again_and_again(shop: Database, tmp_path: Path) -> None:
    with Reading(orders(shop, cursor="updated_at", poll="20 ms"), tmp_path).life() as source:
        following = source.follow({})
        awaited(following, 500)
        assert following.next(0.01) is None
        shop.execute("INSERT INTO orders VALUES (1000, 'new')")
        found, _ = awaited(following, 1)
        assert found == [(Op.INSERT, ("1000", "new", "1.00"))]
        following.close()


def test_examined_it_says_what_there_is_and_what_time_it_is(shop: Database, tmp_path: Path) -> None:
    with Reading(orders(shop), tmp_path).life() as source:
        assert source.examine().endswith(", public.orders by id, read = snapshot")
        assert abs(source.clock_s() - time.time()) < 60
    changes = Reading(orders(shop, read="changes"), tmp_path)
    with changes.life() as source:
        assert source.examine().endswith("read = changes, no replication slot yet")
    changes.read_on()
    with changes.life() as source:
        assert "slot penstock_orders_" in source.examine()


# --- what cannot be ---------------------------------------------------------------------------------------------------


def test_a_table_or_column_that_is_missing_is_named(shop: Database, tmp_path: Path) -> None:
    shop.execute("ALTER TABLE orders RENAME amount TO amounts")
    message = refusal(shop, tmp_path)
    assert "INT_ALPHA_011 public.orders lacks `amount` (did you mean `amounts`?)" in message
    shop.execute('ALTER TABLE orders RENAME TO "Orders"')
    message = refusal(shop, tmp_path)
    assert "INT_ALPHA_010 there is no table `public.orders`" in message
    assert "did you mean `public.Orders`?" in message


def test_who_may_not_read_is_told_so_and_no_password_is(shop: Database, tmp_path: Path) -> None:
    shop.execute("CREATE ROLE " + shop.name + " LOGIN PASSWORD 'hidden-word'")
    try:
        for password, what in (("hidden-word", "permission denied"), ("wrong-word", "password authentication failed")):
            connection = Connection("shop", "postgres", url=shop.url_for(shop.name, password))
            table = orders(shop)
            source = open_source(
                msgspec.structs.replace(table, connection=connection),
                tmp_path,
                SMALL,
            )
            with pytest.raises(UserMistake, match=what) as caught:
                list(source.read(PARTITION, None))
            assert caught.value.kind.code == "INT_ALPHA_014"
            assert password not in str(caught.value)
            source.close()
    finally:
        shop.execute("DROP ROLE " + shop.name)


def test_a_server_that_is_away_is_worth_trying_again(shop: Database, tmp_path: Path) -> None:
    connection = Connection("shop", "postgres", url="postgresql://nobody@127.0.0.1:1/none")
    table = orders(shop)
    source = open_source(
        msgspec.structs.replace(table, connection=connection),
        tmp_path,
        SMALL,
    )
    with pytest.raises(Unavailable) as caught:
        source.partitions()
    assert caught.value.kind.code == "INT_ALPHA_014"
    assert source.size_bytes(PARTITION, None) is None
    source.close()


@pytest.mark.parametrize(
    ("name", "value"),
    [("read", "twice"), ("look_back", "soon"), ("poll", "often"), ("slot", "Not A Slot")],
)
def test_an_option_that_makes_no_sense_is_refused_by_name(
    shop: Database, tmp_path: Path, name: str, value: str
) -> None:
    message = refusal(shop, tmp_path, **{name: value})
    assert f"connection `shop`: {name} = {value}" in message


def test_a_span_of_time_does_not_suit_a_number(shop: Database, tmp_path: Path) -> None:
    reading = Reading(orders(shop, cursor="id", look_back="5 minutes"), tmp_path)
    reading.read_on()
    with pytest.raises(UserMistake, match="it takes a number"):
        reading.read_on()


def test_a_position_of_another_way_of_reading_is_a_change_that_a_person_decides_about(
    shop: Database, tmp_path: Path
) -> None:
    reading = Reading(orders(shop), tmp_path)
    reading.read_on()
    for options in ({"cursor": "updated_at"}, {"read": "changes"}):
        with pytest.raises(ContentChanged, match="another way than"):
            Reading(orders(shop, options), tmp_path).read(reading.settled)
    with pytest.raises(ContentChanged, match="does not fit a table"):
        reading.read(Position(PARTITION, 3, "{}"))


def test_a_table_whose_changes_are_followed_is_looked_at_without_a_slot(shop: Database, tmp_path: Path) -> None:
    source = open_source(at_rest(orders(shop, read="changes")), tmp_path, SMALL)
    assert sum(chunk.end - chunk.start for chunk in source.read(PARTITION, None)) == 500
    source.close()
    assert shop.execute("SELECT count(*) FROM pg_replication_slots WHERE database = current_database()") == [(0,)]
    assert list(tmp_path.iterdir()) == []
