"""Range sets against plain sets of integers."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from penstock.model.position import Range
from penstock.protocol.ranges import RangeSet

ranges = st.tuples(st.integers(0, 40), st.integers(0, 12)).map(lambda pair: Range(pair[0], pair[0] + pair[1]))


@given(added=st.lists(ranges, max_size=20), asked=ranges)
def test_a_range_set_answers_as_a_set_of_integers_would(added: list[Range], asked: Range) -> None:
    seen = RangeSet()
    reference: set[int] = set()
    for range_ in added:
        assert seen.overlaps(range_) == bool(reference & set(range(range_.start, range_.end)))
        seen.add(range_)
        reference |= set(range(range_.start, range_.end))
    wanted = set(range(asked.start, asked.end))
    assert seen.covers(asked) == (wanted <= reference)
    assert seen.overlaps(asked) == bool(wanted & reference)
    kept = list(seen)
    assert sum(len(range_) for range_ in kept) == len(reference)
    assert all(left.end < right.start for left, right in pairwise(kept))
