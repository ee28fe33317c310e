"""A PostgreSQL server that is killed, shut down and started again while its changes are read."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest
from tests.connectors.postgres_orders import PARTITION, TABLE, Reading, Row, apply, awaited, changes_of, orders, there

from penstock.connectors.sources.postgres.positions import StreamToken, lsn_of, read_token
from penstock.errors import PenstockError, Unavailable

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.postgres import Database, OwnServer

    from penstock.model.batch import Op


def confirmed(database: Database) -> int:
    ((lsn,),) = database.execute(
        "SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE database = current_database()"
    )
    return lsn_of(lsn)


@pytest.fixture
def mortal_shop(killable_database: Database) -> Database:
    killable_database.execute(TABLE)
    killable_database.execute("INSERT INTO orders SELECT n, 'n' || n FROM generate_series(1, 100) AS n")
    return killable_database


def test_a_server_that_is_killed_is_waited_for_and_nothing_is_lost(
    mortal_shop: Database, killable_postgres: OwnServer, tmp_path: Path
) -> None:
    changes = Reading(orders(mortal_shop, read="changes"), tmp_path)
    with changes.life() as source:
        following = source.follow({})
        found, position = awaited(following, 100)
        source.commit(position)
        for life in range(3):
            mortal_shop.execute("UPDATE orders SET name = %s WHERE id BETWEEN 11 AND 30", f"life {life}")
            some, position = awaited(following, 20)
            killable_postgres.kill()
            assert following.next(0.05) is None
            source.commit(position)
            killable_postgres.start()
            mortal_shop.execute("DELETE FROM orders WHERE id = %s", life + 1)
            rest, position = awaited(following, 1)
            source.commit(position)
            found += some + rest
        following.close()
    assert apply({}, found) == there(mortal_shop)
    token = read_token(position)
    assert isinstance(token, StreamToken)
    assert confirmed(mortal_shop) == token.lsn


def test_a_server_that_is_shut_down_in_order_does_not_wait_for_us(
    mortal_shop: Database, killable_postgres: OwnServer, tmp_path: Path
) -> None:
    changes = Reading(orders(mortal_shop, read="changes"), tmp_path)
    with changes.life() as source:
        following = source.follow({})
        _, position = awaited(following, 100)
        source.commit(position)
        mortal_shop.execute("CREATE TABLE other AS SELECT n FROM generate_series(1, 1000) AS n")
        began_s = time.monotonic()
        stopping = threading.Thread(target=killable_postgres.stop)
        stopping.start()
        while stopping.is_alive():
            chunk = following.next(0.05)
            if chunk is not None:
                source.commit(chunk.next)
        stopping.join()
        assert time.monotonic() - began_s < 20
        following.close()
    assert killable_postgres.log.read_text().endswith("database system is shut down\n")


def test_a_server_that_is_killed_while_read_at_rest_is_worth_trying_again(
    mortal_shop: Database, killable_postgres: OwnServer, tmp_path: Path
) -> None:
    changes = Reading(orders(mortal_shop, read="changes"), tmp_path)
    changes.read_on()
    mortal_shop.execute("INSERT INTO orders SELECT n, repeat('x', 200) FROM generate_series(200, 20000) AS n")
    found: list[tuple[Op, Row]] = []
    position = changes.settled
    trouble: PenstockError | None = None
    with changes.life() as source:
        try:
            for chunk in source.read(PARTITION, position):
                found, position = found + changes_of(chunk), chunk.next
                killable_postgres.kill()
        except Unavailable as error:
            trouble = error
    assert trouble is not None
    assert trouble.kind.code == "INT_ALPHA_014"
    assert 0 < len(found) < 19_801
    killable_postgres.start()
    found += changes.read(position)
    assert [row[0] for _, row in found] == [str(n) for n in range(200, 20001)]
