"""Rows in memory: kept whole, replaced whole, never beyond the limit."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.caching.memory import MemoryCache
from penstock.errors import UserMistake


def rows(count: int) -> pa.Table:
    return pa.table({"value": pa.array(range(count), pa.int64())})


def test_what_was_put_is_there_and_what_was_not_is_none() -> None:
    cache = MemoryCache(1000)
    cache.put("a", rows(3))
    assert cache.table("a") == rows(3)
    assert cache.table("b") is None


def test_rows_put_again_replace_the_first_and_only_count_once() -> None:
    cache = MemoryCache(80)
    cache.put("a", rows(10))
    cache.put("a", rows(9))
    assert cache.table("a") == rows(9)
    assert cache.size_bytes == 72


def test_rows_that_do_not_fit_are_refused_and_nothing_changes() -> None:
    cache = MemoryCache(100)
    cache.put("a", rows(8))
    with pytest.raises(UserMistake, match="its limit is 100") as caught:
        cache.put("b", rows(5))
    assert caught.value.kind.code == "INT_EPSILON_001"
    assert cache.table("b") is None
    with pytest.raises(UserMistake):
        cache.put("a", rows(13))
    assert cache.table("a") == rows(8)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 20)), max_size=20))
def test_it_never_holds_more_than_its_limit(puts: list[tuple[str, int]]) -> None:
    cache = MemoryCache(200)
    held: dict[str, int] = {}
    for namespace, count in puts:
        fits = sum(size for other, size in held.items() if other != namespace) + count * 8 <= 200
        if fits:
            cache.put(namespace, rows(count))
            held[namespace] = count * 8
        else:
            with pytest.raises(UserMistake):
                cache.put(namespace, rows(count))
        assert cache.size_bytes == sum(held.values())
