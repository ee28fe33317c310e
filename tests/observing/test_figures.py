"""Live figures, kept from facts."""

from __future__ import annotations

import sys
from threading import Thread
from typing import TYPE_CHECKING

import pytest

from penstock.model.outcome import Stage
from penstock.model.position import Range
from penstock.observing.facts import (
    AtCommitPoint,
    BackPressure,
    BatchAnswered,
    BatchParked,
    BatchTransmitted,
    CircuitChanged,
    CommitPoint,
    DeadLettered,
    DestinationAway,
    Everyone,
    FrameDropped,
    Hop,
    LatencyStage,
    LinkFault,
    LinkSilent,
    ModeChanged,
    Moment,
    Nobody,
    RangeSettled,
    RecordsRead,
    RowsCommitted,
    SourceOpened,
    Timed,
    WentBack,
)
from penstock.observing.figures import Figures, HopFigures
from penstock.protocol.breaker import CircuitState

if TYPE_CHECKING:
    from penstock.observing.facts import Fact

FACTS: tuple[Fact, ...] = (
    SourceOpened("orders", {"a": 100, "b": 50}),
    SourceOpened("stream", {"p": None}),
    RecordsRead("orders", "a", 10, 1, 40),
    RecordsRead("orders", "a", 5, 0, 20),
    RecordsRead("stream", "p", 7, 0, None),
    RangeSettled("orders", "a", Range(0, 10), ()),
    BatchTransmitted(Hop.ALPHA_BETA, 9, 0),
    BatchTransmitted(Hop.ALPHA_BETA, 9, 1),
    BatchTransmitted(Hop.ALPHA_BETA, 5, 0),
    BatchAnswered(Hop.ALPHA_BETA, 9),
    BatchParked(Hop.BETA_GAMMA),
    FrameDropped(Hop.BETA_GAMMA, "checksum differs"),
    BackPressure(Hop.BETA_GAMMA, active=True, depth=8, recommended_delay_ms=5),
    BackPressure(Hop.BETA_GAMMA, active=False, depth=2, recommended_delay_ms=0),
    CircuitChanged(Hop.BETA_GAMMA, CircuitState.CLOSED, CircuitState.OPEN),
    AtCommitPoint(CommitPoint.POSITION, Moment.AFTER, "orders"),
    DeadLettered("orders", Stage.INGESTION, {"INT_ALPHA_002": 1}),
    DeadLettered("orders", Stage.DELIVERY, {"INT_ALPHA_002": 2, "INT_GAMMA_003": 1}),
    RowsCommitted("facts", 8),
    RowsCommitted("facts", 4),
    ModeChanged("stream", streaming=True),
    BatchTransmitted(Hop.ALPHA_BETA, 3, 0, streaming=True),
    BatchTransmitted(Hop.ALPHA_BETA, 3, 1, streaming=True),
    Timed("stream", LatencyStage.END_TO_END, 0.5, 98),
    Timed("stream", LatencyStage.END_TO_END, 2.0, 2),
    Timed("stream", LatencyStage.DELIVERY, 0.25, 100),
    Timed("orders", LatencyStage.END_TO_END, 60.0, 1_000),
    WentBack("stream", "ALPHA", "BETA is a new incarnation"),
    DestinationAway("orders", "warehouse.duckdb is locked", 1.0),
    LinkSilent(Hop.BETA_GAMMA, 3.0),
    LinkSilent(Hop.BETA_GAMMA, 4.0),
    LinkFault(Hop.BETA_GAMMA, "INT_LINK_005", "unknown message"),
)


@pytest.fixture
def figures() -> Figures:
    made = Figures()
    for fact in FACTS:
        made.saw(fact)
    return made


def test_records_are_counted_by_source_and_over_all(figures: Figures) -> None:
    assert (figures.sources["orders"].read, figures.sources["orders"].settled) == (15, 10)
    assert figures.sources["orders"].in_flight == 5
    assert (figures.read, figures.settled) == (22, 10)


def test_progress_is_in_bytes_and_unknown_where_any_partition_cannot_tell(figures: Figures) -> None:
    assert figures.sources["orders"].progress == (80, 150)
    assert figures.sources["stream"].progress is None


def test_a_partition_that_grew_since_it_was_opened_is_no_progress_below_zero() -> None:
    figures = Figures()
    figures.saw(SourceOpened("orders", {"a": 100}))
    figures.saw(RecordsRead("orders", "a", 1, 0, 300))
    assert figures.sources["orders"].progress == (0, 100)


def test_hand_offs_are_counted_by_hop_and_repeats_apart(figures: Figures) -> None:
    assert figures.hops[Hop.ALPHA_BETA] == HopFigures(batches=3, records=17, streamed=3, answered=1, retransmitted=2)
    assert figures.hops[Hop.ALPHA_BETA].in_flight == 2
    assert figures.hops[Hop.BETA_GAMMA] == HopFigures(parked=1, dropped=1, pressed=1, silent=2)
    assert figures.link_faults == {"INT_LINK_005": 1}


def test_dead_letters_and_committed_rows_are_added_up(figures: Figures) -> None:
    assert figures.dead_letters == {"INT_ALPHA_002": 3, "INT_GAMMA_003": 1}
    assert figures.committed == {"facts": 12}


def test_what_befalls_a_source_is_counted_with_it(figures: Figures) -> None:
    stream, orders = figures.sources["stream"], figures.sources["orders"]
    assert (stream.went_back, stream.away, stream.streaming, stream.streamed) == (1, 0, True, True)
    assert (orders.went_back, orders.away, orders.streaming, orders.streamed) == (0, 1, False, False)
    figures.saw(ModeChanged("stream", streaming=False))
    assert (stream.streaming, stream.streamed) == (False, True)


def test_latency_is_kept_by_source_and_stage_and_weighted_by_records(figures: Figures) -> None:
    stream = figures.latencies("stream")
    assert set(stream) == {LatencyStage.END_TO_END, LatencyStage.DELIVERY}
    end_to_end = stream[LatencyStage.END_TO_END]
    assert (end_to_end.records, end_to_end.p99_s, end_to_end.max_s) == (100, 2.0, 2.0)
    assert 0.5 <= end_to_end.p50_s == end_to_end.p95_s <= 0.51
    assert figures.latencies("orders")[LatencyStage.END_TO_END].records == 1_000


def test_live_latency_is_that_of_the_sources_in_streaming_mode(figures: Figures) -> None:
    found = figures.streaming_latency(LatencyStage.END_TO_END)
    assert found is not None
    assert (found.records, found.p99_s) == (100, 2.0)
    assert figures.streaming_latency(LatencyStage.VALIDATION) is None
    figures.saw(ModeChanged("orders", streaming=True))
    found = figures.streaming_latency(LatencyStage.END_TO_END)
    assert found is not None
    assert (found.records, found.p99_s) == (1_100, 60.0)
    for name in ("orders", "stream"):
        figures.saw(ModeChanged(name, streaming=False))
    assert figures.streaming_latency(LatencyStage.END_TO_END) is None


def test_a_process_that_never_opened_a_source_counts_what_it_sees_of_it() -> None:
    figures = Figures()
    figures.saw(Timed("orders", LatencyStage.DELIVERY, 0.25, 5))
    assert figures.latencies("orders")[LatencyStage.DELIVERY].records == 5
    assert figures.sources["orders"].progress == (0, 0)


def test_a_source_that_is_opened_once_more_keeps_what_was_counted() -> None:
    figures = Figures()
    figures.saw(SourceOpened("orders", {"a": 100}))
    figures.saw(RecordsRead("orders", "a", 1, 0, 40))
    figures.saw(SourceOpened("orders", {"b": 50}))
    assert (figures.read, figures.sources["orders"].progress) == (1, (60, 150))


def test_everyone_is_told_everything() -> None:
    first, second = Figures(), Figures()
    everyone = Everyone(first, Nobody(), second)
    for fact in FACTS:
        everyone.saw(fact)
    assert first.read == second.read == 22


def test_facts_from_several_threads_are_all_counted() -> None:
    figures = Figures()
    figures.saw(SourceOpened("orders", {"a": None}))
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [Thread(target=_read_much, args=(figures,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval_s)
    assert figures.read == 4 * 2_000


def _read_much(figures: Figures) -> None:
    for _ in range(2_000):
        figures.saw(RecordsRead("orders", "a", 1, 0, None))
