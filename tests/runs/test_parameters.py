"""Each parameter of the hand-off does something: the same run, with two values of it, is seen to go two ways.

What is compared are frames and facts: how many, how large, in which order. Where it must be time, the one is several
times the other. `PROOFS` says which test is whose. Whatever the parameters, every order arrives once.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from itertools import pairwise
from math import ceil
from threading import Event
from typing import TYPE_CHECKING

import pytest
from tests.runs.rehearsing import CALM, Dead, Gate, Losing, Rehearsal, Trouble, Works, is_opening

import penstock
from penstock.errors import UserMistake
from penstock.model.settings import SETTINGS
from penstock.model.settings import Settings as SettingsOfRun
from penstock.observing.facts import (
    BackPressure,
    BatchTransmitted,
    Hop,
    RecordsRead,
)
from penstock.protocol.breaker import CircuitState
from penstock.protocol.frames import Close, Heartbeat, Hello
from penstock.protocol.messages import (
    Acknowledgment,
    AckStatus,
    AlphaBetaBatchTransfer,
    BackPressureSignal,
    CircuitStateChange,
    Module,
    SignalType,
    StreamingAcknowledgment,
    StreamingHandoffMessage,
)
from penstock.testing.faults import SlowDestination
from penstock.testing.wire import TRANSFERS, Sent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from penstock.model.settings import Setting
    from penstock.observing.facts import Fact

pytestmark = pytest.mark.slow

Settings = dict[str, object]

AB, BG = Hop.ALPHA_BETA, Hop.BETA_GAMMA
HOPS = (AB, BG)
NEVER_MS = 3_600_000
"""Longer than any test."""
RATIO = 3
"""How many times longer the longer of two times must have been, at least. Nominally it is ten times and more."""


def both(parameter: str, first: object, second: object) -> Settings:
    """Give a parameter that each hop has for itself one value on the first hop, and another on the second."""
    return {f"ALPHA_BETA_{parameter}": first, f"BETA_GAMMA_{parameter}": second}


def crossed(parameter: str, one: object, other: object) -> list[Settings]:
    """Return settings for two runs: in the second one the hops have changed their values."""
    return [both(parameter, one, other), both(parameter, other, one)]


SMALL: Settings = both("BATCH_SIZE", 50, 50) | {"COMMIT_IDLE_MS": 5}
IMPATIENT: Settings = {
    **both("ACK_TIMEOUT_MS", 20, 20),
    **both("RETRY_DELAY_MS", 2, 2),
    **both("MAX_RETRIES", 1000, 1000),
    "CIRCUIT_FAILURE_THRESHOLD": 1000,
    "CIRCUIT_RESET_TIMEOUT_MS": 20,
}
"""What is lost is soon sent again, and again and again."""
ONE_BY_ONE: Settings = {"TRANSFER_WINDOW_BATCHES": 1}


class Rehearse:
    """Runs a works of its own, each time; checks that all is delivered."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._runs = 0

    def __call__(self, settings: Settings, trouble: Trouble = CALM, orders: int = 600) -> Rehearsal:
        """Run with `settings` on top of small ones."""
        self._runs += 1
        works = Works(self._folder / str(self._runs), ("all_orders",))
        works.add("a.csv", orders)
        rehearsal = works.run(SMALL | settings, trouble)
        assert rehearsal.result.trouble is None
        works.check()
        return rehearsal


@pytest.fixture
def rehearse(tmp_path: Path) -> Rehearse:
    return Rehearse(tmp_path)


def sizes(rehearsal: Rehearsal, hop: Hop) -> list[int]:
    return [transfer.metadata.record_count for _, transfer in rehearsal.transfers(hop)]


def is_transmitted(hop: Hop, times: int = 1) -> Callable[[Fact | Sent], bool]:
    """Make a test of facts that is true from the n-th batch on that left on a hop."""
    seen: Counter[Hop] = Counter()

    def test(fact: Fact | Sent) -> bool:
        seen[hop] += isinstance(fact, BatchTransmitted) and fact.hop is hop
        return seen[hop] >= times

    return test


# --- batches ------------------------------------------------------------------------------------------------------


def test_batches_have_the_size_that_is_asked_for(rehearse: Rehearse) -> None:
    one, other = (rehearse(settings) for settings in crossed("BATCH_SIZE", 100, 300))
    assert sizes(one, AB) == sizes(other, BG) == [100] * 6
    assert sizes(one, BG) == sizes(other, AB) == [300] * 2


@dataclass
class SlowSource:
    """Takes its time for the second chunk: until a batch has left on the hop, at most `wait_s`."""

    hop: Hop
    wait_s: float
    chunks: int = 0
    left_in_time: bool | None = None

    def __post_init__(self) -> None:
        self._left = Event()

    def saw(self, fact: Fact) -> None:
        if isinstance(fact, BatchTransmitted) and fact.hop is self.hop:
            self._left.set()
        if isinstance(fact, RecordsRead):
            self.chunks += 1
            if self.chunks == 2:
                self.left_in_time = self._left.wait(self.wait_s)


@pytest.mark.parametrize("hop", HOPS)
def test_what_waits_for_more_is_sent_as_it_is_after_the_flush_timeout(rehearse: Rehearse, hop: Hop) -> None:
    # Alpha has to hand over at once what Beta is to wait with. The default timeout is longer than both waits here.
    large: Settings = {f"{hop.upper()}_BATCH_SIZE": 100_000, "READ_BYTES": 4096}
    found = {}
    for timeout_ms, wait_s in ((20, 4.0), (NEVER_MS, 0.4)):
        source = SlowSource(hop, wait_s)
        rehearsal = rehearse(large | {f"{hop.upper()}_FLUSH_TIMEOUT_MS": timeout_ms}, Trouble(observers=[source]))
        assert source.chunks > 1
        found[timeout_ms] = source.left_in_time, len(sizes(rehearsal, hop)) > 1
    assert found == {20: (True, True), NEVER_MS: (False, False)}


# --- what is not acknowledged -------------------------------------------------------------------------------------


def sent_at(rehearsal: Rehearsal, hop: Hop) -> dict[int, list[float]]:
    """Return when each batch was sent: the first time and again."""
    times: defaultdict[int, list[float]] = defaultdict(list)
    for sent, transfer in rehearsal.transfers(hop):
        times[transfer.metadata.sequence_number].append(sent.at_s)
    return times


def least_wait_s(rehearsal: Rehearsal, hop: Hop, again: int, batches: int) -> float:
    """Return the shortest time that one of the first batches waited for being sent again for the n-th time."""
    times = sent_at(rehearsal, hop)
    return min(times[number][again] - times[number][again - 1] for number in range(batches))


def is_longer(longer_s: float, shorter_s: float) -> bool:
    return longer_s > RATIO * shorter_s


SOON, LATE = 6, 2
"""Batches that are lost where each is soon sent again, and where that takes its time. The shortest wait counts."""


def check_waits(rehearse: Rehearse, runs: Sequence[Settings], *, losses: int = 1) -> None:
    """Lose batches one by one, and compare for how long each is waited for before it is sent for the last time.

    In the first of two runs that is to be soon on the first hop and late on the second, and then the other way round.
    """
    batches = {AB: SOON, BG: LATE}, {AB: LATE, BG: SOON}
    one, other = (
        rehearse(IMPATIENT | ONE_BY_ONE | settings, Trouble(meddler=Losing(lost, losses)))
        for settings, lost in zip(runs, batches, strict=True)
    )
    for hop, soon, late in ((AB, one, other), (BG, other, one)):
        waits_s = least_wait_s(soon, hop, losses, SOON), least_wait_s(late, hop, losses, LATE)
        assert is_longer(waits_s[1], waits_s[0]), (hop, waits_s)
        if losses > 1:
            assert is_longer(waits_s[1], least_wait_s(late, hop, 1, LATE))  # it has grown


def test_after_the_ack_timeout_a_batch_is_taken_to_be_lost(rehearse: Rehearse) -> None:
    check_waits(rehearse, crossed("ACK_TIMEOUT_MS", 20, 300))


def test_and_sent_again_after_the_retry_delay(rehearse: Rehearse) -> None:
    check_waits(rehearse, crossed("RETRY_DELAY_MS", 2, 500))


def test_from_one_time_to_the_next_that_delay_grows_by_the_multiplier(rehearse: Rehearse) -> None:
    delays = both("RETRY_DELAY_MS", 5, 5)
    check_waits(rehearse, [delays | grows for grows in crossed("BACKOFF_MULTIPLIER", 1.0, 100.0)], losses=2)


def until_opened(rehearsal: Rehearsal, hop: Hop) -> list[int]:
    """Return the numbers of the batches that left on a hop before its circuit opened, each as often as it left."""
    opened_s = next(sent.at_s for sent, said in rehearsal.said(CircuitStateChange, hop) if is_opening(said))
    return [transfer.metadata.sequence_number for sent, transfer in rehearsal.transfers(hop) if sent.at_s < opened_s]


def test_after_so_many_retries_the_circuit_opens(rehearse: Rehearse) -> None:
    one, other = (
        rehearse(IMPATIENT | ONE_BY_ONE | settings, Trouble(meddler=Dead(HOPS)))
        for settings in crossed("MAX_RETRIES", 0, 3)
    )
    assert until_opened(one, AB) == until_opened(other, BG) == [0]
    assert until_opened(one, BG) == until_opened(other, AB) == [0] * 4


# --- circuits -----------------------------------------------------------------------------------------------------


def test_so_many_failures_in_a_row_open_the_circuit_before_retries_are_exhausted(rehearse: Rehearse) -> None:
    few, many = (
        rehearse(IMPATIENT | ONE_BY_ONE | {"CIRCUIT_FAILURE_THRESHOLD": failures}, Trouble(meddler=Dead(HOPS)))
        for failures in (1, 4)
    )
    for hop in HOPS:
        assert until_opened(few, hop) == [0]
        assert until_opened(many, hop) == [0] * 4


def test_an_open_circuit_lets_a_probe_pass_after_the_reset_timeout(rehearse: Rehearse) -> None:
    at_once = both("MAX_RETRIES", 0, 0)
    soon, late = (
        rehearse(IMPATIENT | at_once | {"CIRCUIT_RESET_TIMEOUT_MS": reset_ms}, Trouble(meddler=Dead([AB], openings)))
        for reset_ms, openings in ((10, 4), (300, 2))
    )

    def open_s(rehearsal: Rehearsal) -> float:
        moves = rehearsal.said(CircuitStateChange, AB)
        return min(
            after.at_s - before.at_s
            for (before, opened), (after, moved) in pairwise(moves)
            if (opened.new_state, moved.new_state) == (CircuitState.OPEN, CircuitState.HALF_OPEN)
        )

    assert is_longer(open_s(late), open_s(soon)), (open_s(late), open_s(soon))


# --- back-pressure ------------------------------------------------------------------------------------------------


def is_pressed_on(hops: Iterable[Hop]) -> Callable[[Fact | Sent], bool]:
    """Make a test of facts that is true once back-pressure is on at every one of `hops`."""
    wanted, pressed = set(hops), set()

    def test(fact: Fact | Sent) -> bool:
        if isinstance(fact, BackPressure) and fact.active:
            pressed.add(fact.hop)
        return wanted <= pressed

    return test


def signalled(rehearsal: Rehearsal, hop: Hop, signal: SignalType) -> list[int]:
    """Return the depths of the queue at which a signal was given."""
    return [
        said.current_queue_depth for _, said in rehearsal.said(BackPressureSignal, hop) if said.signal_type is signal
    ]


def pressed(rehearse: Rehearse, settings: Settings) -> Rehearsal:
    """Run with a destination that commits nothing before both queues have filled up to the high watermark."""
    gate = Gate(is_pressed_on(HOPS))
    small = both("BATCH_SIZE", 5, 5) | {"TRANSFER_WINDOW_BATCHES": 4, "COMMIT_RECORDS": 1}
    rehearsal = rehearse(small | settings, Trouble(gate=gate))
    assert gate.opened
    return rehearsal


@pytest.mark.parametrize("share", [0.4, 0.9])
def test_back_pressure_begins_at_the_high_watermark(rehearse: Rehearse, share: float) -> None:
    queues: Settings = {"BETA_QUEUE_BATCHES": 20, "GAMMA_QUEUE_BATCHES": 20}
    watermarks: Settings = {"BACKPRESSURE_HIGH_WATERMARK": share, "BACKPRESSURE_LOW_WATERMARK": 0.2}
    rehearsal = pressed(rehearse, queues | watermarks)
    for hop in HOPS:
        assert set(signalled(rehearsal, hop, SignalType.ACTIVATE)) == {ceil(share * 20)}


@pytest.mark.parametrize(("beta", "gamma"), [(10, 40), (40, 10)])
def test_a_watermark_is_a_share_of_what_each_queue_holds(rehearse: Rehearse, beta: int, gamma: int) -> None:
    queues: Settings = {"BETA_QUEUE_BATCHES": beta, "GAMMA_QUEUE_BATCHES": gamma}
    rehearsal = pressed(rehearse, queues | {"BACKPRESSURE_HIGH_WATERMARK": 0.5})
    assert set(signalled(rehearsal, AB, SignalType.ACTIVATE)) == {beta // 2}
    assert set(signalled(rehearsal, BG, SignalType.ACTIVATE)) == {gamma // 2}


@pytest.mark.parametrize(("share", "least", "most"), [(0.8, 200, 320), (0.2, 0, 80)])
def test_back_pressure_ends_at_the_low_watermark(rehearse: Rehearse, share: float, least: int, most: int) -> None:
    # Gamma takes 128 batches at a time: of 360 to 400, some 230 to 270 are left after the first time.
    gate = Gate(is_pressed_on([BG]))
    queue: Settings = both("BATCH_SIZE", 1000, 2) | {"GAMMA_QUEUE_BATCHES": 400, "COMMIT_RECORDS": 1}
    watermarks: Settings = {"BACKPRESSURE_HIGH_WATERMARK": 0.9, "BACKPRESSURE_LOW_WATERMARK": share}
    rehearsal = rehearse(queue | watermarks, Trouble(gate=gate), 1000)
    assert gate.opened
    depths = signalled(rehearsal, BG, SignalType.DEACTIVATE)
    assert least <= depths[0] <= most, depths


# --- how much may be under way ------------------------------------------------------------------------------------


def most_under_way(rehearsal: Rehearsal, hop: Hop, *released_by: AckStatus) -> int:
    """Return how many batches were on their way at once that the other end had not answered with such a word."""
    under_way: set[str] = set()
    most = 0
    for sent in rehearsal.log.sent:
        if sent.hop is not hop:
            continue
        if isinstance(sent.body, Acknowledgment) and sent.body.payload.status in released_by:
            under_way.discard(sent.body.payload.batch_id)
        elif isinstance(sent.body, TRANSFERS):
            under_way.add(sent.body.metadata.batch_id)
            most = max(most, len(under_way))
    return most


@pytest.mark.parametrize("window", [3, 25])
def test_no_more_batches_than_the_window_are_unacknowledged(rehearse: Rehearse, window: int) -> None:
    rehearsal = rehearse(both("BATCH_SIZE", 20, 20) | {"TRANSFER_WINDOW_BATCHES": window})
    for hop in HOPS:
        assert most_under_way(rehearsal, hop, *AckStatus) == window


@pytest.mark.parametrize("most", [4, 25])
def test_no_more_batches_than_that_are_unsettled(rehearse: Rehearse, most: int) -> None:
    gate = Gate(is_transmitted(AB, most))
    rehearsal = rehearse(both("BATCH_SIZE", 20, 20) | {"UNSETTLED_BATCHES": most}, Trouble(gate=gate))
    assert gate.opened
    assert most_under_way(rehearsal, AB, AckStatus.PROCESSED, AckStatus.REJECTED) == most


def test_a_link_shows_that_it_is_there_at_its_interval(rehearse: Rehearse) -> None:
    def beats(interval_ms: int, wait_s: float) -> int:
        seen: Counter[type] = Counter()

        def is_enough(fact: Fact | Sent) -> bool:
            if isinstance(fact, Sent) and fact.speaker is Module.ALPHA:
                seen[type(fact.body)] += 1
            return seen[Heartbeat] + seen[Close] >= 10  # once there is no more to come, CLOSE says so each time

        gate = Gate(is_enough, wait_s)
        rehearse({"LINK_HEARTBEAT_MS": interval_ms}, Trouble(gate=gate))
        return seen[Heartbeat] + seen[Close]

    assert beats(40, 5.0) >= 10  # a tenth of that wait is enough; at the default interval it would not be
    assert beats(60_000, 0.4) <= 5


# --- streaming ----------------------------------------------------------------------------------------------------

STREAMED: Settings = {"STREAMING_MODE_ENABLED": True}


@pytest.mark.parametrize(("streaming", "kind"), [(False, AlphaBetaBatchTransfer), (True, StreamingHandoffMessage)])
def test_records_are_handed_over_in_the_mode_that_is_asked_for(
    rehearse: Rehearse, kind: type[object], *, streaming: bool
) -> None:
    rehearsal = rehearse({"STREAMING_MODE_ENABLED": streaming})
    assert {type(transfer) for _, transfer in rehearsal.transfers(AB)} == {kind}
    assert bool(rehearsal.said(StreamingAcknowledgment)) is streaming


@pytest.mark.parametrize("records", [10, 100])
def test_a_micro_batch_has_no_more_records_than_that(rehearse: Rehearse, records: int) -> None:
    rehearsal = rehearse(STREAMED | {"STREAMING_BATCH_RECORDS": records})
    assert set(sizes(rehearsal, AB)) == {records}


@pytest.mark.parametrize("credit", [100, 400])
def test_no_more_records_are_streamed_ahead_than_credit_is_given(rehearse: Rehearse, credit: int) -> None:
    rehearsal = rehearse(STREAMED | {"STREAMING_BATCH_RECORDS": 50, "STREAMING_CREDIT_RECORDS": credit})
    ahead = 0
    for sent in rehearsal.log.sent:
        if isinstance(sent.body, StreamingHandoffMessage):
            ahead = sent.body.stream_offset + sent.body.metadata.record_count
        elif isinstance(sent.body, StreamingAcknowledgment):
            break
    assert ahead == credit
    assert {said.credit_to for sent, said in rehearsal.said(Hello, AB) if sent.speaker is Module.BETA} == {credit}


def test_micro_batches_become_as_small_as_their_budget_of_time_demands(rehearse: Rehearse) -> None:
    # Beta is as slow as what comes after it: some fifty records in twenty milliseconds.
    slow: Settings = {"GAMMA_QUEUE_BATCHES": 1, "TRANSFER_WINDOW_BATCHES": 1, "COMMIT_RECORDS": 1}
    most: Settings = {"STREAMING_BATCH_RECORDS": 50, "STREAMING_CREDIT_RECORDS": 50, "READ_BYTES": 1024}

    def sizes_within(budget_ms: int) -> set[int]:
        """Return the sizes of all that were followed by another of the same chunk: the last has what is left."""
        trouble = Trouble(observers=[SlowDestination(0.02)])
        rehearsal = rehearse(STREAMED | slow | most | {"STREAMING_BUDGET_MS": budget_ms}, trouble, 800)
        messages = [transfer.metadata for _, transfer in rehearsal.transfers(AB)]
        return {metadata.record_count for metadata in messages if not metadata.flush}

    assert sizes_within(60_000) == {50}
    assert RATIO * min(sizes_within(1)) < 50


# --- all of them --------------------------------------------------------------------------------------------------

PROOFS: Mapping[str, Callable[..., None]] = {
    "ALPHA_BETA_BATCH_SIZE": test_batches_have_the_size_that_is_asked_for,
    "ALPHA_BETA_FLUSH_TIMEOUT_MS": test_what_waits_for_more_is_sent_as_it_is_after_the_flush_timeout,
    "ALPHA_BETA_ACK_TIMEOUT_MS": test_after_the_ack_timeout_a_batch_is_taken_to_be_lost,
    "ALPHA_BETA_RETRY_DELAY_MS": test_and_sent_again_after_the_retry_delay,
    "ALPHA_BETA_MAX_RETRIES": test_after_so_many_retries_the_circuit_opens,
    "ALPHA_BETA_BACKOFF_MULTIPLIER": test_from_one_time_to_the_next_that_delay_grows_by_the_multiplier,
    "BETA_GAMMA_BATCH_SIZE": test_batches_have_the_size_that_is_asked_for,
    "BETA_GAMMA_FLUSH_TIMEOUT_MS": test_what_waits_for_more_is_sent_as_it_is_after_the_flush_timeout,
    "BETA_GAMMA_ACK_TIMEOUT_MS": test_after_the_ack_timeout_a_batch_is_taken_to_be_lost,
    "BETA_GAMMA_RETRY_DELAY_MS": test_and_sent_again_after_the_retry_delay,
    "BETA_GAMMA_MAX_RETRIES": test_after_so_many_retries_the_circuit_opens,
    "BETA_GAMMA_BACKOFF_MULTIPLIER": test_from_one_time_to_the_next_that_delay_grows_by_the_multiplier,
    "BACKPRESSURE_HIGH_WATERMARK": test_back_pressure_begins_at_the_high_watermark,
    "BACKPRESSURE_LOW_WATERMARK": test_back_pressure_ends_at_the_low_watermark,
    "CIRCUIT_FAILURE_THRESHOLD": test_so_many_failures_in_a_row_open_the_circuit_before_retries_are_exhausted,
    "CIRCUIT_RESET_TIMEOUT_MS": test_an_open_circuit_lets_a_probe_pass_after_the_reset_timeout,
    "STREAMING_MODE_ENABLED": test_records_are_handed_over_in_the_mode_that_is_asked_for,
    "TRANSFER_WINDOW_BATCHES": test_no_more_batches_than_the_window_are_unacknowledged,
    "UNSETTLED_BATCHES": test_no_more_batches_than_that_are_unsettled,
    "LINK_HEARTBEAT_MS": test_a_link_shows_that_it_is_there_at_its_interval,
    "STREAMING_BATCH_RECORDS": test_a_micro_batch_has_no_more_records_than_that,
    "STREAMING_BUDGET_MS": test_micro_batches_become_as_small_as_their_budget_of_time_demands,
    "STREAMING_CREDIT_RECORDS": test_no_more_records_are_streamed_ahead_than_credit_is_given,
    "BETA_QUEUE_BATCHES": test_a_watermark_is_a_share_of_what_each_queue_holds,
    "GAMMA_QUEUE_BATCHES": test_a_watermark_is_a_share_of_what_each_queue_holds,
}
"""Which test shows that a parameter does something."""

SPECIFIED: Mapping[str, float] = {
    "ALPHA_BETA_BATCH_SIZE": 1000,
    "ALPHA_BETA_FLUSH_TIMEOUT_MS": 5000,
    "ALPHA_BETA_ACK_TIMEOUT_MS": 30_000,
    "ALPHA_BETA_RETRY_DELAY_MS": 1000,
    "ALPHA_BETA_MAX_RETRIES": 5,
    "ALPHA_BETA_BACKOFF_MULTIPLIER": 2.0,
    "BETA_GAMMA_BATCH_SIZE": 500,
    "BETA_GAMMA_FLUSH_TIMEOUT_MS": 5000,
    "BETA_GAMMA_ACK_TIMEOUT_MS": 30_000,
    "BETA_GAMMA_RETRY_DELAY_MS": 1000,
    "BETA_GAMMA_MAX_RETRIES": 5,
    "BACKPRESSURE_HIGH_WATERMARK": 0.8,
    "BACKPRESSURE_LOW_WATERMARK": 0.5,
    "CIRCUIT_FAILURE_THRESHOLD": 5,
    "CIRCUIT_RESET_TIMEOUT_MS": 60_000,
    "HEALTH_CHECK_INTERVAL_MS": 10_000,
    "HEALTH_CHECK_TIMEOUT_MS": 5000,
}
"""The tables of the specification, with their defaults."""
NOT_YET = frozenset({"HEALTH_CHECK_INTERVAL_MS", "HEALTH_CHECK_TIMEOUT_MS"})
"""Parameters of what is not built. Once one is a setting, it needs a proof."""


def test_every_parameter_of_the_specification_has_its_default_and_a_proof() -> None:
    known = {name: default for name, default in SPECIFIED.items() if name not in NOT_YET}
    assert {name: SETTINGS[name].default for name in known} == known
    assert known.keys() <= PROOFS.keys()
    assert SETTINGS.keys() & NOT_YET == set()


def test_so_has_every_setting_of_the_hand_off() -> None:
    families = (
        "ALPHA_",
        "BETA_",
        "GAMMA_",
        "BACKPRESSURE_",
        "CIRCUIT_",
        "STREAMING_",
        "TRANSFER_",
        "LINK_",
        "UNSETTLED_",
    )
    assert {name for name in SETTINGS if name.startswith(families)} == PROOFS.keys()
    assert {name for name in SETTINGS if not SETTINGS[name].ours} == SPECIFIED.keys() - NOT_YET | {
        "STREAMING_MODE_ENABLED"
    }


def test_every_proof_is_a_test_of_its_own() -> None:
    assert all(proof.__name__.startswith("test_") and globals()[proof.__name__] is proof for proof in PROOFS.values())


def beyond(setting: Setting) -> list[object]:
    """Return values that a setting does not take."""
    if setting.is_switch:
        return ["maybe", 2]
    step = 1 if setting.is_whole else 0.01
    return [setting.low - step, setting.high + step, "many", ""]


@pytest.mark.parametrize("name", PROOFS)
def test_a_value_out_of_range_is_refused_with_the_range(name: str) -> None:
    for value in beyond(SETTINGS[name]):
        with pytest.raises(UserMistake) as refused:
            SettingsOfRun({name: value})
        assert refused.value.kind.code == "INT_PIPELINE_005"
        assert name in refused.value.message
        assert SETTINGS[name].takes in refused.value.message


def test_and_so_it_is_where_a_run_is_asked_for(tmp_path: Path) -> None:
    works = Works(tmp_path / "works")
    with pytest.raises(UserMistake, match="ALPHA_BETA_BATCH_SIZE = 0: it takes a whole number from 1 to 1,000,000"):
        penstock.load(works.folder, settings={"ALPHA_BETA_BATCH_SIZE": 0})
    with pytest.raises(UserMistake, match="BACKPRESSURE_HIGH_WATERMARK"):
        penstock.load(works.folder, settings={"BACKPRESSURE_LOW_WATERMARK": 0.9})
