"""Changes a shop in PostgreSQL at random, in transactions, and goes on when the server dies and comes back."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, Self

import psycopg

if TYPE_CHECKING:
    from random import Random

TABLES = """
CREATE TABLE customers (id bigint PRIMARY KEY, name text, segment text, credit numeric(12,2));
CREATE TABLE orders (
    id bigint PRIMARY KEY, customer_id bigint, status text NOT NULL, total numeric(12,2) NOT NULL,
    note text, changed timestamptz NOT NULL
);
CREATE TABLE progress (transactions bigint NOT NULL);
INSERT INTO progress VALUES (0);
INSERT INTO customers SELECT n, 'customer ' || n, 'new', n * 1.25 FROM generate_series(1, 500) AS n;
INSERT INTO orders
    SELECT n, n % 500 + 1, 'new', n * 0.01, repeat('long ', n % 50), '2026-01-01 00:00:00+00'::timestamptz
    FROM generate_series(1, 2000) AS n;
"""
FIRST_NEW = {"orders": 1_000_000, "customers": 1_000_000}
CHANGES_MAX = 120
"""Most changes of one transaction."""
RETRY_S = 0.2
BIG_NOTE = 4_000
"""Characters of a note that PostgreSQL stores out of line, and does not repeat in a change that leaves it alone."""

Change = tuple[str, tuple[object, ...]]


@dataclass
class Shop:
    """What a writer of changes knows of the tables: the keys that are there, and the next that are free."""

    url: str
    chance: Random
    keys: dict[str, list[int]] = field(
        default_factory=lambda: {"orders": list(range(1, 2001)), "customers": list(range(1, 501))}
    )
    free: dict[str, int] = field(default_factory=lambda: dict(FIRST_NEW))
    changes: int = 0
    """Changes that are committed."""
    transactions: int = 0

    def change(self, changes: int, over: Event) -> None:
        """Commit so many changes, or until `over`."""
        while self.changes < changes and not over.is_set():
            work = self._transaction()
            while not self._commit(work):
                if over.wait(RETRY_S):
                    return
            self.changes += len(work)

    def _transaction(self) -> list[Change]:
        """Draw what one transaction does. The keys are taken for granted: it is tried until it is committed."""
        return [self._one() for _ in range(self.chance.randint(1, CHANGES_MAX))]

    def _one(self) -> Change:
        table = self.chance.choice(("orders", "orders", "orders", "customers"))
        keys = self.keys[table]
        draw = self.chance.random()
        if draw < 0.35 or len(keys) < 50:
            key = self.free[table]
            self.free[table] += 1
            keys.append(key)
            return self._insert(table, key)
        place = self.chance.randrange(len(keys))
        if draw < 0.55:
            keys[place], keys[-1] = keys[-1], keys[place]
            return f"DELETE FROM {table} WHERE id = %s", (keys.pop(),)  # noqa: S608 - ours
        if draw < 0.62:
            old, keys[place] = keys[place], self.free[table]
            self.free[table] += 1
            return f"UPDATE {table} SET id = %s WHERE id = %s", (keys[place], old)  # noqa: S608 - ours
        return self._update(table, keys[place])

    def _insert(self, table: str, key: int) -> Change:
        cents = self.chance.randint(-10_000, 1_000_000)
        if table == "customers":
            return "INSERT INTO customers VALUES (%s, %s, %s, %s / 100.0)", (key, f"customer {key}", None, cents)
        note = self.chance.choice((None, "", 'a \u00fcber, "quoted"\nnote', "x" * BIG_NOTE))
        return (
            "INSERT INTO orders VALUES (%s, %s, 'new', %s / 100.0, %s, now())",
            (key, self.chance.randint(1, 600), cents, note),
        )

    def _update(self, table: str, key: int) -> Change:
        if table == "customers":
            return "UPDATE customers SET segment = %s WHERE id = %s", (self.chance.choice(("new", "old", None)), key)
        status = self.chance.choice(("paid", "sent", "returned"))
        return "UPDATE orders SET status = %s, total = total + 0.01, changed = now() WHERE id = %s", (status, key)

    def _commit(self, work: list[Change]) -> bool:
        """Do the work of the next transaction, unless it is done: a server that died may have done it or not."""
        try:
            with psycopg.connect(self.url, connect_timeout=5) as connection:
                ((done,),) = connection.execute("SELECT transactions FROM progress").fetchall()
                if done == self.transactions:
                    for statement, values in work:
                        connection.execute(statement.encode(), values)
                    connection.execute("UPDATE progress SET transactions = %s", (done + 1,))
        except psycopg.OperationalError:
            return False
        self.transactions += 1
        return True


@dataclass
class Changing:
    """A thread that changes the shop."""

    shop: Shop
    wanted: int
    _over: Event = field(default_factory=Event)
    _thread: Thread | None = None
    _error: list[BaseException] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._thread = Thread(target=self._work, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        assert self._thread is not None
        self._thread.join()

    def _work(self) -> None:
        try:
            self.shop.change(self.wanted, self._over)
        except BaseException as error:  # noqa: BLE001 - told to whoever waits
            self._error.append(error)

    def wait(self, within_s: float) -> None:
        """Wait until all is changed. Raises what went wrong."""
        assert self._thread is not None
        until_s = time.monotonic() + within_s
        while self._thread.is_alive():
            assert time.monotonic() < until_s, f"{self.shop.changes:,} of {self.wanted:,} changes"
            self._thread.join(0.1)
        if self._error:
            raise self._error[0]


def rows_of(url: str, table: str, columns: str) -> list[tuple[Any, ...]]:
    """Return the rows of a table, by key."""
    with psycopg.connect(url) as connection:
        return connection.execute(f"SELECT {columns} FROM {table} ORDER BY id".encode()).fetchall()  # noqa: S608 - ours
