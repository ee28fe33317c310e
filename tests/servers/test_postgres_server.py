from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

if TYPE_CHECKING:
    from tests.servers.postgres import Database, OwnServer, Server


def test_each_test_has_a_database_for_itself(postgres: Server, database: Database) -> None:
    other = postgres.new_database()
    try:
        database.execute("CREATE TABLE only_here (id int)")
        with pytest.raises(psycopg.errors.UndefinedTable):
            other.execute("SELECT * FROM only_here")
    finally:
        postgres.drop(other)
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        other.connect()


def test_the_server_can_be_read_as_a_log(database: Database) -> None:
    assert database.execute("SHOW wal_level") == [("logical",)]
    database.execute("SELECT pg_create_logical_replication_slot('left_behind', 'pgoutput')")


def test_what_was_committed_survives_a_kill(killable_postgres: OwnServer, killable_database: Database) -> None:
    killable_database.execute("CREATE TABLE kept (id int)")
    connection = killable_database.connect()
    connection.execute("BEGIN")
    connection.execute("INSERT INTO kept VALUES (1)")
    killable_postgres.kill()
    with pytest.raises(psycopg.OperationalError):
        connection.execute("INSERT INTO kept VALUES (2)")
    connection.close()
    with pytest.raises(psycopg.OperationalError, match="refused"):
        killable_database.connect()
    killable_postgres.start()
    assert killable_database.execute("SELECT * FROM kept") == []
    killable_database.execute("INSERT INTO kept VALUES (3)")
    killable_postgres.restart()
    assert killable_database.execute("SELECT * FROM kept") == [(3,)]


def test_a_wrong_password_does_not_open_it(killable_database: Database) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(killable_database.url_for("keeper", "guessed"))
