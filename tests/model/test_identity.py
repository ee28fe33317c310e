"""Ids of messages and batches."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

from penstock.model.identity import new_id


def test_ids_are_uuids_of_version_4() -> None:
    assert {UUID(new_id()).version for _ in range(1_000)} == {4}


def test_no_id_is_given_out_twice_whatever_threads_ask() -> None:
    with ThreadPoolExecutor(4) as pool:
        ids = list(pool.map(lambda _: new_id(), range(20_000)))
    assert len(set(ids)) == len(ids)


def test_a_forked_child_gives_out_ids_of_its_own() -> None:
    new_id()  # so that some are drawn and waiting
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        os.write(writing, new_id().encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)
    assert os.read(reading, 36).decode() != new_id()
    os.close(reading)
