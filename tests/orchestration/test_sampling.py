"""The first records of a source, and no trace of having read them."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from penstock.connectors import open_source
from penstock.orchestration.sampling import SampledSource

if TYPE_CHECKING:
    from tests.orchestration.conftest import Works


def sequences(works: Works, records: int) -> list[tuple[str, int, bool]]:
    """What a sample of so many records holds: partition, sequence, and whether it is good."""
    table = works.pipeline.sources[0]
    found = []
    with closing(SampledSource(open_source(table, works.folder, works.settings), records)) as source:
        for partition in source.partitions():
            end = 0
            for chunk in source.read(partition, None):
                assert chunk.start == end
                end = chunk.end
                assert chunk.next.sequence == end
                bad = {record.sequence for record in chunk.bad}
                good = range(chunk.start, chunk.end) if chunk.sequences is None else chunk.sequences.to_pylist()
                assert chunk.records.num_rows == len(good)
                assert sorted([*good, *bad]) == list(range(chunk.start, chunk.end))
                found += [(partition, number, number not in bad) for number in range(chunk.start, chunk.end)]
            source.commit(chunk.next)
    return found


@pytest.mark.parametrize("records", [1, 7, 50, 99, 100, 101, 130])
def test_a_sample_is_the_first_records_over_all_partitions_bad_ones_included(works: Works, records: int) -> None:
    works.write("a.csv", *["1,2,paid" if number % 7 else "too,many,fields,here" for number in range(100)])
    works.write("b.csv", *["1,2,paid"] * 50)
    everything = [("orders/a.csv", n, n % 7 != 0) for n in range(100)] + [("orders/b.csv", n, True) for n in range(50)]
    assert sequences(works, records) == everything[:records]


def test_a_sample_of_more_than_there_is_is_all_there_is(works: Works) -> None:
    works.write("a.csv", *["1,2,paid"] * 5)
    assert len(sequences(works, 1_000)) == 5


def test_originals_of_a_sample_are_still_found(works: Works) -> None:
    works.write("a.csv", *[f"{number},2,paid" for number in range(50)])
    table = works.pipeline.sources[0]
    with closing(SampledSource(open_source(table, works.folder, works.settings), 3)) as source:
        (chunk,) = source.read("orders/a.csv", None)
        assert [original.content for original in chunk.originals([0, 2])] == [b"0,2,paid", b"2,2,paid"]
        assert source.size_bytes("orders/a.csv", None) is None
