"""What modules really say to each other: real runs over links that do harm and write down every frame.

After each of them every order is where it belongs, once. `WIRE_SEED=123` decides the harm; what fails prints the seed.
"""

from __future__ import annotations

import hashlib
import os
import uuid
from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING

import msgspec
import pytest
from tests.runs.rehearsing import Dead, Gate, Odd, Order, Rehearsal, Trouble, Works

from penstock.connectors.sinks.duckdb import DuckDBSink
from penstock.errors import BatchRefused, Scope, Severity
from penstock.model.outcome import Outcome
from penstock.observing.facts import BackPressure, FrameDropped, Hop, WentBack
from penstock.protocol.breaker import CircuitState
from penstock.protocol.codec import MESSAGE_TYPES
from penstock.protocol.frames import Close, Heartbeat, Hello
from penstock.protocol.messages import (
    Acknowledgment,
    AckStatus,
    ActionRequired,
    BackPressureSignal,
    CircuitStateChange,
    DeliveryConfirmation,
    DeliveryStatus,
    ErrorNotification,
    Module,
    SignalType,
    StreamingAcknowledgment,
    StreamingHandoffMessage,
)
from penstock.testing.wire import TRANSFERS, Fate, Harm
from penstock.transformation.apply import Transformer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    import pyarrow as pa

    from penstock.ports import Written
    from penstock.protocol.frames import Frame
    from penstock.protocol.messages import BatchMetadata, Excepted, MessageHeader, Transfer
    from penstock.testing.wire import Sent
    from penstock.transformation.apply import Transformed

pytestmark = pytest.mark.slow

SEED = int(os.environ.get("WIRE_SEED", "7"))
WEATHER = Harm(drop=0.05, repeat=0.05, flip=0.03, hold_back=0.05, delay_s=0.08)
BOTH = ("facts", "all_orders")

QUICK: Mapping[str, object] = {
    "ALPHA_BETA_BATCH_SIZE": 50,
    "BETA_GAMMA_BATCH_SIZE": 30,
    "ALPHA_BETA_ACK_TIMEOUT_MS": 60,
    "BETA_GAMMA_ACK_TIMEOUT_MS": 60,
    "ALPHA_BETA_RETRY_DELAY_MS": 10,
    "BETA_GAMMA_RETRY_DELAY_MS": 10,
    "CIRCUIT_RESET_TIMEOUT_MS": 40,
    "LINK_HEARTBEAT_MS": 100,
    "READ_BYTES": 8192,
    "COMMIT_RECORDS": 200,
    "COMMIT_IDLE_MS": 5,
    "STREAMING_BATCH_RECORDS": 20,
}
"""Nobody waits long for what was lost, and some thousand orders make some hundred messages."""
STREAMED: Mapping[str, object] = {**QUICK, "STREAMING_MODE_ENABLED": True}


# --- the runs -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Played:
    """A run that has ended, and the works whose warehouse it filled."""

    works: Works
    rehearsal: Rehearsal


def batches_in_bad_weather(folder: Path) -> Played:
    return _in_bad_weather(folder, QUICK)


def streams_in_bad_weather(folder: Path) -> Played:
    return _in_bad_weather(folder, STREAMED)


def _in_bad_weather(folder: Path, settings: Mapping[str, object]) -> Played:
    works = Works(folder, BOTH)
    works.add("a.csv", 1000, odd=True)
    works.add("b.csv", 700, odd=True)
    return Played(works, works.run(settings, Trouble(WEATHER), SEED))


def record_by_record_in_bad_weather(folder: Path) -> Played:
    works = Works(folder)
    works.add("a.csv", 150, odd=True)
    settings = {**STREAMED, "STREAMING_BATCH_RECORDS": 1, "STREAMING_CREDIT_RECORDS": 20}
    return Played(works, works.run(settings, Trouble(WEATHER), SEED))


def a_destination_that_is_slow(folder: Path) -> Played:
    """It commits nothing until both queues have filled up to the watermark."""
    works = Works(folder)
    works.add("a.csv", 1500)
    pressed: set[Hop] = set()

    def is_pressed(seen: object) -> bool:
        if isinstance(seen, BackPressure) and seen.active:
            pressed.add(seen.hop)
        return pressed == set(Hop)

    small = {"BETA_QUEUE_BATCHES": 10, "GAMMA_QUEUE_BATCHES": 10, "TRANSFER_WINDOW_BATCHES": 5, "COMMIT_RECORDS": 1}
    gate = Gate(is_pressed)
    rehearsal = works.run({**QUICK, **small, "ALPHA_BETA_BATCH_SIZE": 20}, Trouble(gate=gate))
    assert gate.opened, pressed
    return Played(works, rehearsal)


def links_that_go_dead(folder: Path) -> Played:
    """Nothing that is handed over arrives until the circuit has opened twice: once for good, once for the probe."""
    works = Works(folder)
    works.add("a.csv", 600)
    return Played(works, works.run({**QUICK, "CIRCUIT_FAILURE_THRESHOLD": 2}, Trouble(meddler=Dead(tuple(Hop), 2))))


class Altering:
    """Alters one frame after another on each hop: one bit of its records, then its number, so that it cannot be."""

    def __init__(self) -> None:
        self._seen: Counter[Hop] = Counter()

    def __call__(self, hop: Hop, speaker: Module, frame: Frame) -> Frame | None:  # noqa: ARG002 - transfers have one
        body = frame.body
        if not isinstance(body, TRANSFERS):
            return frame
        self._seen[hop] += 1
        match self._seen[hop]:
            case 2:
                turned = bytearray(body.records)
                turned[len(turned) // 2] ^= 1
                return _with(frame, records=memoryview(bytes(turned)))
            case 6:
                return _with(frame, metadata=msgspec.structs.replace(body.metadata, sequence_number=1_000_000))
            case _:
                return frame


class Miscounting:
    """Says of one batch, each time it is sent, that it has a record more than it has."""

    def __call__(self, hop: Hop, speaker: Module, frame: Frame) -> Frame | None:  # noqa: ARG002 - likewise
        body = frame.body
        if hop is not Hop.BETA_GAMMA or not isinstance(body, TRANSFERS) or body.metadata.sequence_number != 3:
            return frame
        more = body.metadata.record_count + 1
        return _with(frame, metadata=msgspec.structs.replace(body.metadata, record_count=more))


def _with(frame: Frame, **changes: object) -> Frame:
    return msgspec.structs.replace(frame, body=msgspec.structs.replace(frame.body, **changes))


def a_link_that_alters_frames(folder: Path) -> Played:
    works = Works(folder, BOTH)
    works.add("a.csv", 600, odd=True)
    return Played(works, works.run(QUICK, Trouble(meddler=Altering())))


def a_link_that_keeps_altering_one(folder: Path) -> Played:
    """The run is halted; one over another link delivers the rest."""
    works = Works(folder)
    works.add("a.csv", 600, odd=True)
    settings = {**QUICK, "BETA_GAMMA_MAX_RETRIES": 2, "CIRCUIT_FAILURE_THRESHOLD": 100}
    halted = works.run(settings, Trouble(meddler=Miscounting()))
    assert halted.result.trouble is not None
    assert (halted.result.trouble.code, halted.result.trouble.severity) == ("INT_LINK_002", Severity.CRITICAL)
    assert works.run(QUICK).result.trouble is None
    return Played(works, halted)


REFUSED = frozenset(range(340, 410))
"""Orders that are refused. Some batches have nothing else in them, some have others, too."""


def _has_refused(rows: pa.Table) -> bool:
    return not REFUSED.isdisjoint(rows.column("id").to_pylist())


class RefusingSink(DuckDBSink):
    """A warehouse that takes nothing in which one of those orders is."""

    def write(self, rows: pa.Table, partition: str) -> Written:
        if _has_refused(rows):
            raise BatchRefused("INT_GAMMA_001", "nothing is taken together with such orders")
        return super().write(rows, partition)


class RefusingTransformer(Transformer):
    """A transformation that breaks on anything in which one of those orders is."""

    def transform(self, rows: pa.Table) -> Transformed:
        if _has_refused(rows):
            raise BatchRefused("INT_BETA_002", "nothing can be computed together with such orders")
        return super().transform(rows)


def a_destination_that_refuses(folder: Path) -> Played:
    """A sink that somebody else's package brings along."""
    works = Works(folder / "works", BOTH)
    works.add("a.csv", 500)
    brought = folder / "packages" / "refusing-1.0.dist-info"
    brought.mkdir(parents=True)
    (brought / "METADATA").write_text("Metadata-Version: 2.1\nName: refusing\nVersion: 1.0\n")
    (brought / "entry_points.txt").write_text(f"[penstock.sinks]\nrefusing = {__name__}:{RefusingSink.__name__}\n")
    (works.folder / "penstock.toml").write_text('[connections.house]\nkind = "refusing"\n')
    works.rejected = {(model, order.partition, order.sequence) for model in BOTH for order in _refused(works)}
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(brought.parent))
        return Played(works, works.run(QUICK))


def a_transformation_that_refuses(folder: Path) -> Played:
    return _transformation_refuses(folder, QUICK)


def a_transformation_that_refuses_what_is_streamed(folder: Path) -> Played:
    return _transformation_refuses(folder, STREAMED)


def _transformation_refuses(folder: Path, settings: Mapping[str, object]) -> Played:
    works = Works(folder, BOTH)
    works.add("a.csv", 500)
    works.rejected = {("", order.partition, order.sequence) for order in _refused(works)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("penstock.orchestration.run.Transformer", RefusingTransformer)
        return Played(works, works.run(settings))


def _refused(works: Works) -> Iterator[Order]:
    return (order for order in works.orders if order.id in REFUSED)


RUNS: Mapping[str, Callable[[Path], Played]] = {
    run.__name__.replace("_", " "): run
    for run in (
        batches_in_bad_weather,
        streams_in_bad_weather,
        record_by_record_in_bad_weather,
        a_destination_that_is_slow,
        links_that_go_dead,
        a_link_that_alters_frames,
        a_link_that_keeps_altering_one,
        a_destination_that_refuses,
        a_transformation_that_refuses,
        a_transformation_that_refuses_what_is_streamed,
    )
}


class Theatre:
    """Plays each run once, when it is first asked for."""

    def __init__(self, folder: Callable[[str], Path]) -> None:
        self._play = cache(lambda name: RUNS[name](folder(name.replace(" ", "-")) / "here"))

    def __call__(self, name: str) -> Rehearsal:
        return self.played(name).rehearsal

    def played(self, name: str) -> Played:
        """Return a run with its works."""
        return self._play(name)

    def everything(self) -> Iterator[Rehearsal]:
        """Yield all runs."""
        for name in RUNS:
            yield self(name)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Theatre:
    return Theatre(tmp_path_factory.mktemp)


each_run = pytest.mark.parametrize("name", RUNS)


@each_run
def test_after_each_run_every_order_is_where_it_belongs_once_with_its_amount(run: Theatre, name: str) -> None:
    played = run.played(name)
    halted = name == "a link that keeps altering one"
    assert (played.rehearsal.result.trouble is not None) is halted, (played.rehearsal.result.trouble, SEED)
    played.works.check(SEED)


def test_bad_weather_is_bad(run: Theatre) -> None:
    for name in ("batches in bad weather", "streams in bad weather"):
        fates = run(name).log.fates
        assert min(fates[fate] for fate in (Fate.DROPPED, Fate.REPEATED, Fate.DAMAGED, Fate.HELD_BACK)) > 0, SEED


# --- who says what ------------------------------------------------------------------------------------------------

_A, _B, _G = Module.ALPHA, Module.BETA, Module.GAMMA
LINK = ("Hello", "Heartbeat", "Close")
CIRCUIT = ("CircuitStateChange OPEN", "CircuitStateChange HALF_OPEN", "CircuitStateChange CLOSED")
ANSWERS = (
    "Acknowledgment RECEIVED",
    "Acknowledgment PROCESSED",
    "Acknowledgment REJECTED",
    "BackPressureSignal ACTIVATE",
    "BackPressureSignal DEACTIVATE",
    "ErrorNotification INVESTIGATE",
)
STREAMS = ("StreamingHandoffMessage SINGLE_RECORD", "StreamingHandoffMessage MICRO_BATCH")
SAID: Mapping[tuple[Module, Module], tuple[str, ...]] = {
    (_A, _B): (*LINK, *CIRCUIT, "AlphaBetaBatchTransfer", *STREAMS),
    (_B, _A): (*LINK, *ANSWERS, "StreamingAcknowledgment"),
    (_B, _G): (*LINK, *CIRCUIT, "BetaGammaBatchTransfer"),
    (_G, _B): (*LINK, *ANSWERS, "ErrorNotification HALT", "DeliveryConfirmation"),
}
"""By who speaks to whom, all that is said in these runs."""


@pytest.mark.parametrize(
    ("speaker", "listener", "what"), [(*pair, what) for pair, whats in SAID.items() for what in whats]
)
def test_each_message_is_sent_by_its_module(run: Theatre, speaker: Module, listener: Module, what: str) -> None:
    found = [
        sent
        for rehearsal in run.everything()
        for sent in rehearsal.log.sent
        if (sent.speaker, sent.listener, sent.what) == (speaker, listener, what)
    ]
    assert found, f"seed {SEED}"
    assert any(sent.arrives for sent in found), f"seed {SEED}"


def test_and_nobody_says_anything_else(run: Theatre) -> None:
    said = {(sent.speaker, sent.listener, sent.what) for each in run.everything() for sent in each.log.sent}
    known = {(*pair, what) for pair, whats in SAID.items() for what in whats}
    assert said - known == set()


def _messages(rehearsal: Rehearsal) -> Iterator[tuple[Sent, MessageHeader]]:
    for sent in rehearsal.log.sent:
        if not isinstance(sent.body, Hello | Heartbeat | Close):
            yield sent, sent.body.header


@each_run
def test_a_header_says_who_speaks_to_whom_what_it_is_and_in_which_version(run: Theatre, name: str) -> None:
    for sent, header in _messages(run(name)):
        assert (header.source_module, header.target_module) == (sent.speaker, sent.listener), sent
        assert header.message_type is MESSAGE_TYPES[type(sent.body)], sent
        assert header.protocol_version == "1.1.0", sent
    for _, hello in run(name).said(Hello):
        assert hello.protocol_version == "1.1.0"


@each_run
def test_ids_are_fresh_uuids_of_version_4_and_batches_are_known_by_theirs(run: Theatre, name: str) -> None:
    rehearsal = run(name)
    ids = [header.message_id for _, header in _messages(rehearsal)]
    batches = {transfer.metadata.batch_id for hop in Hop for _, transfer in rehearsal.transfers(hop)}
    correlated = {header.correlation_id for _, header in _messages(rehearsal)}
    assert len(set(ids)) == len(ids)
    for each in {*ids, *batches, *correlated}:
        assert (uuid.UUID(each).version, str(uuid.UUID(each))) == (4, each)
    for sent, transfer in (found for hop in Hop for found in rehearsal.transfers(hop)):
        assert transfer.header.correlation_id == transfer.metadata.batch_id, sent
    for _, said in rehearsal.said(Acknowledgment):
        assert said.header.correlation_id == said.payload.batch_id
        assert said.payload.batch_id in batches
    for _, confirmed in rehearsal.said(DeliveryConfirmation):
        assert confirmed.header.correlation_id == confirmed.batch_id
        assert confirmed.batch_id in batches


@each_run
def test_times_are_in_utc_to_the_microsecond(run: Theatre, name: str) -> None:
    times = [header.timestamp for _, header in _messages(run(name))]
    times += [transfer.metadata.created_at for hop in Hop for _, transfer in run(name).transfers(hop)]
    assert {time.utcoffset() for time in times} == {timedelta(0)}
    assert any(time.microsecond % 1000 for time in times)


# --- what is handed over ------------------------------------------------------------------------------------------


def _handed_over(rehearsal: Rehearsal) -> Iterator[tuple[Hop, Sent, Transfer]]:
    """Yield what was handed over on either hop, as its sender said it."""
    for hop in Hop:
        yield from ((hop, sent, transfer) for sent, transfer in rehearsal.transfers(hop))


@each_run
def test_a_checksum_is_the_sha_256_of_exactly_the_bytes_of_the_records(run: Theatre, name: str) -> None:
    for _, sent, transfer in _handed_over(run(name)):
        assert transfer.metadata.checksum == hashlib.sha256(transfer.records).hexdigest(), sent


@each_run
def test_numbers_rise_from_0_and_what_is_sent_again_is_the_same(run: Theatre, name: str) -> None:
    first: defaultdict[tuple[Hop, str, int], list[Transfer]] = defaultdict(list)
    for hop, sent, transfer in _handed_over(run(name)):
        before = first[hop, sent.source, sent.frame.sender]
        number = transfer.metadata.sequence_number
        if number == len(before):
            before.append(transfer)
        else:
            assert number < len(before), (sent, SEED)
            assert transfer.metadata == before[number].metadata
            assert transfer.records == before[number].records
    assert first
    for sent, close in run(name).said(Close):
        if sent.speaker is (Module.ALPHA if sent.hop is Hop.ALPHA_BETA else Module.BETA):
            assert close.messages == len(first[sent.hop, sent.source, sent.frame.sender]), (sent, SEED)


@each_run
def test_ranges_of_one_sender_follow_one_another_without_gap(run: Theatre, name: str) -> None:
    ends: dict[tuple[Hop, int, str, str], int] = {}
    numbers: set[tuple[Hop, int, int]] = set()
    for hop, sent, transfer in _handed_over(run(name)):
        metadata = transfer.metadata
        if (hop, sent.frame.sender, metadata.sequence_number) in numbers:
            continue
        numbers.add((hop, sent.frame.sender, metadata.sequence_number))
        key = hop, sent.frame.sender, metadata.partition, metadata.destination
        assert metadata.range.start == ends.get(key, metadata.range.start), (sent, SEED)
        assert metadata.record_count <= len(metadata.range), sent
        ends[key] = metadata.range.end


# --- what is answered ---------------------------------------------------------------------------------------------


def test_what_was_streamed_is_answered_by_range_with_each_exception_by_its_record(run: Theatre) -> None:
    played = run.played("streams in bad weather")
    assert played.rehearsal.of(WentBack) == [], SEED  # one sender all along: its numbers name its messages
    named = {
        transfer.metadata.sequence_number: transfer.metadata
        for _, transfer in played.rehearsal.transfers(Hop.ALPHA_BETA)
    }
    answered = {
        each.sequence_number: each
        for _, said in played.rehearsal.said(StreamingAcknowledgment)
        for each in said.settled
    }
    assert answered.keys() == named.keys(), SEED
    found = set()
    for number, each in answered.items():
        assert each.range == named[number].range
        assert each.status is AckStatus.PROCESSED
        assert sum(count.records for count in each.tally) == len(BOTH) * named[number].record_count
        partition = named[number].partition
        found |= {
            (partition, sequence, excepted.destination, excepted.outcome, excepted.reason)
            for excepted in each.excepted
            for sequence in excepted.sequences
        }
    assert found == set(_exceptions(played.works)), SEED


def _exceptions(works: Works) -> Iterator[tuple[str, int, str, Outcome, str]]:
    """Yield the orders that reach Beta and do not simply arrive."""
    held: set[int] = set()
    for order in works.orders:
        key = order.partition, order.sequence, "facts"
        if order.odd is Odd.TEST:
            yield *key, Outcome.FILTERED, "test orders"
        elif order.odd is Odd.NEGATIVE:
            yield *key, Outcome.DEAD_LETTERED, "INT_BETA_004"
        elif order.odd is Odd.NOT and order.id in held:
            yield *key, Outcome.DEAD_LETTERED, "INT_GAMMA_003"
        held.add(order.id)


@pytest.mark.parametrize("name", ["streams in bad weather", "record by record in bad weather"])
def test_nothing_is_streamed_beyond_the_credit_and_credit_never_shrinks(run: Theatre, name: str) -> None:
    granted: defaultdict[int, list[int]] = defaultdict(lambda: [0])
    streamed: defaultdict[int, set[int]] = defaultdict(set)
    for sent in run(name).log.sent:
        if sent.hop is not Hop.ALPHA_BETA:
            continue
        if isinstance(sent.body, StreamingHandoffMessage):
            end = sent.body.stream_offset + sent.body.metadata.record_count
            assert end <= granted[sent.frame.sender][-1], (sent, SEED)
            streamed[sent.frame.sender].add(end)
        elif sent.speaker is Module.BETA and isinstance(sent.body, Hello | Heartbeat | StreamingAcknowledgment):
            granted[sent.frame.receiver].append(sent.body.credit_to or granted[sent.frame.receiver][-1])
    assert len(streamed) == 1, SEED
    for sender, ends in streamed.items():
        assert granted[sender] == sorted(granted[sender]), SEED
        assert max(ends) > granted[sender][1] or name.startswith("streams")  # credit was renewed on the way


def test_what_a_destination_refused_by_record_is_confirmed_by_record(run: Theatre) -> None:
    played = run.played("batches in bad weather")
    results = {
        (result.record_id, result.destination_id, result.status)
        for _, said in played.rehearsal.said(DeliveryConfirmation)
        for result in said.delivery_results
    }
    doubled = {
        f"orders/{partition}/{sequence}"
        for partition, sequence, _, _, code in _exceptions(played.works)
        if code == "INT_GAMMA_003"
    }
    assert results == {(record_id, "facts", DeliveryStatus.DLQ) for record_id in doubled}, SEED


@dataclass(frozen=True)
class Final:
    """A final answer, in either mode, and the batch it is about."""

    metadata: BatchMetadata
    status: AckStatus
    reason: str
    excepted: tuple[Excepted, ...]


def _final_answers(rehearsal: Rehearsal, hop: Hop) -> Iterator[Final]:
    batches = {transfer.metadata.batch_id: transfer.metadata for _, transfer in rehearsal.transfers(hop)}
    numbers = {
        (sent.frame.sender, transfer.metadata.sequence_number): transfer.metadata
        for sent, transfer in rehearsal.transfers(hop)
    }
    for _, said in rehearsal.said(Acknowledgment, hop):
        answer = said.payload
        if answer.status is not AckStatus.RECEIVED:
            yield Final(batches[answer.batch_id], answer.status, answer.reason, answer.excepted)
    for sent, streamed in rehearsal.said(StreamingAcknowledgment, hop):
        for each in streamed.settled:
            metadata = numbers[sent.frame.receiver, each.sequence_number]
            yield Final(metadata, each.status, each.reason, each.excepted)


@pytest.mark.parametrize(
    ("name", "hop"),
    [
        ("a destination that refuses", Hop.BETA_GAMMA),
        ("a transformation that refuses", Hop.ALPHA_BETA),
        ("a transformation that refuses what is streamed", Hop.ALPHA_BETA),
    ],
)
def test_a_batch_is_rejected_if_all_of_it_is_refused_and_else_its_refused_records_are_named(
    run: Theatre, name: str, hop: Hop
) -> None:
    answers = list(_final_answers(run(name), hop))
    assert {answer.status for answer in answers} == {AckStatus.PROCESSED, AckStatus.REJECTED}
    for answer in answers:
        batch = range(answer.metadata.range.start, answer.metadata.range.end)  # ids are sequences here
        refused = REFUSED.intersection(batch)
        assert {sequence for each in answer.excepted for sequence in each.sequences} == refused
        assert {each.reason for each in answer.excepted} <= {"INT_LINK_010"}
        assert (answer.status is AckStatus.REJECTED) is (refused == {*batch}), answer
        assert ("together with such orders" in answer.reason) is (answer.status is AckStatus.REJECTED)


@each_run
def test_an_acknowledgement_counts_each_record_of_its_batch_once(run: Theatre, name: str) -> None:
    records = {transfer.metadata.batch_id: transfer.metadata.record_count for _, _, transfer in _handed_over(run(name))}
    for sent, said in run(name).said(Acknowledgment):
        answer = said.payload
        assert answer.records_accepted + answer.records_rejected == records[answer.batch_id], sent
        if answer.status is AckStatus.REJECTED:
            assert answer.records_accepted == 0
        elif answer.status is AckStatus.RECEIVED:
            assert (answer.records_rejected, answer.tally, answer.excepted) == (0, (), ())


# --- signals, circuits, errors ------------------------------------------------------------------------------------


@pytest.mark.parametrize("hop", Hop)
def test_back_pressure_is_on_or_off_by_turns_at_the_watermarks(run: Theatre, hop: Hop) -> None:
    signals = [said for _, said in run("a destination that is slow").said(BackPressureSignal, hop)]
    turns = [said.signal_type for said in signals]
    assert turns[:2] == [SignalType.ACTIVATE, SignalType.DEACTIVATE]
    assert all(before is not after for before, after in pairwise(turns))
    assert {said.current_queue_depth for said in signals if said.signal_type is SignalType.ACTIVATE} == {8}
    assert max(said.current_queue_depth for said in signals if said.signal_type is SignalType.DEACTIVATE) <= 5
    assert all(0 <= said.recommended_delay_ms <= 1000 for said in signals)


_C, _O, _H = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN


@pytest.mark.parametrize("hop", Hop)
def test_a_circuit_tells_each_of_its_moves_to_whom_they_concern(run: Theatre, hop: Hop) -> None:
    moves = run("links that go dead").said(CircuitStateChange, hop)
    states = [said.previous_state for _, said in moves[:1]] + [said.new_state for _, said in moves]
    assert states[:4] == [_C, _O, _H, _O]  # the first probe is lost as well
    assert states[-1] is _C
    for (_, before), (_, after) in pairwise(moves):
        assert before.new_state is after.previous_state
    for sent, said in moves:
        assert said.circuit_id == f"orders/{hop}"
        assert said.affected_modules == (sent.speaker, sent.listener)


@pytest.mark.parametrize("hop", Hop)
def test_what_breaks_the_protocol_is_told_and_everybody_begins_again(run: Theatre, hop: Hop) -> None:
    rehearsal = run("a link that alters frames")
    ((_, told),) = rehearsal.said(ErrorNotification, hop)
    (error,) = told.errors
    assert told.action_required is ActionRequired.INVESTIGATE
    assert (error.error_code, error.severity, error.scope) == ("INT_LINK_003", Severity.CRITICAL, Scope.MODULE)
    assert error.source_module is told.header.source_module
    assert "1000000" in error.error_message
    assert not error.retry_eligible
    assert (hop, "checksum differs") in {(fact.hop, fact.reason) for fact in rehearsal.of(FrameDropped)}
    assert {fact.module for fact in rehearsal.of(WentBack)} == set(Module) - {Module.EPSILON, Module.PHI}


def test_content_that_keeps_failing_halts_and_names_its_batch(run: Theatre) -> None:
    rehearsal = run("a link that keeps altering one")
    batch = next(transfer for sent, transfer in rehearsal.transfers(Hop.BETA_GAMMA) if sent.fate is Fate.ALTERED)
    ((_, told),) = rehearsal.said(ErrorNotification, Hop.BETA_GAMMA)
    (error,) = told.errors
    assert told.action_required is ActionRequired.HALT
    assert (error.error_code, error.context.batch_id) == ("INT_LINK_002", batch.metadata.batch_id)
    assert error.correlation_id == batch.metadata.batch_id


# --- the file -----------------------------------------------------------------------------------------------------


def test_the_log_is_a_line_of_json_for_each_frame_without_the_records(run: Theatre, tmp_path: Path) -> None:
    log = run("batches in bad weather").log
    log.write(tmp_path / "wire.jsonl")
    lines = [msgspec.json.decode(line) for line in (tmp_path / "wire.jsonl").read_bytes().splitlines()]
    assert Counter((line["speaker"], line["what"]) for line in lines) == log.kinds
    assert Counter(line["fate"] for line in lines) == log.fates
    transfers = [line for line in lines if "records_bytes" in line]
    assert {line["frame"]["body"]["type"] for line in transfers} == {"AlphaBetaBatchTransfer", "BetaGammaBatchTransfer"}
    assert all(line["records_bytes"] > 0 and not line["frame"]["body"]["records"] for line in transfers)
    assert [line["at_s"] for line in lines] == sorted(line["at_s"] for line in lines)
