"""The fakes around the modules: the disk, the network, the source, the destinations, the weather."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from types import MappingProxyType
from uuid import UUID

import pyarrow as pa
import pytest

from penstock.errors import BatchRefused, Unavailable
from penstock.model.outcome import DeadLetter, Outcome, RecordError, Stage
from penstock.model.position import Mark, Position, Range
from penstock.protocol.frames import Close, Frame, Heartbeat, Hello
from penstock.testing.simulation.auditor import Auditor, Trace
from penstock.testing.simulation.clocks import LifeClock, SeededChance, WallClock
from penstock.testing.simulation.ledger import Disk, Ledger, LedgerBook, Lettered
from penstock.testing.simulation.lives import Dead, Life, Who
from penstock.testing.simulation.loop import VirtualLoop
from penstock.testing.simulation.machines import FakeTransformer, FakeValidator
from penstock.testing.simulation.network import SimulatedTransport, Wire
from penstock.testing.simulation.origin import FakeSource, Origin
from penstock.testing.simulation.records import SOURCE, AtDestination, AtIngestion, Partition, World
from penstock.testing.simulation.tuning import draw_settings
from penstock.testing.simulation.warehouse import FakeSink, Warehouse
from penstock.testing.simulation.weather import RATES, Fault, Weather

CALM: dict[Fault, float] = dict.fromkeys(Fault, 0.0)
GOOD, UNPARSED, INVALID, POISON = 0, int(AtIngestion.UNPARSED), int(AtIngestion.INVALID), int(AtIngestion.POISON)
REFUSED, SUPERSEDED = int(AtDestination.REFUSED) * 8, int(AtDestination.SUPERSEDED) * 8


class Bench:
    """One life in front of one partition and one destination, under a weather made to order."""

    def __init__(self, *plans: int, **rates: float) -> None:
        self.loop = VirtualLoop(random.Random(1), lambda: None)
        ordered = MappingProxyType(CALM | {Fault[name]: rate for name, rate in rates.items()})
        self.weather = Weather(random.Random(1), ordered, 10.0, 1.0)
        self.world = World(MappingProxyType({"p": Partition("p", plans, [0.0] * len(plans))}), ("facts",))
        self.auditor = Auditor(self.world, Trace(self.loop.time))
        self.ledger = self.auditor.ledger = Ledger(Disk(random.Random(1)))
        self.warehouse = Warehouse("facts", 0, self.auditor)
        self.auditor.warehouses = {"facts": self.warehouse}
        self.life = self.new_life(Who.GAMMA)
        self.origin = Origin(self.world)

    def new_life(self, who: Who) -> Life:
        clock = LifeClock(WallClock(self.loop), self.loop, 0.0)
        trace = self.auditor.trace
        return Life(who, 0, self.loop, clock, self.weather, self.auditor, trace, random.Random(1))

    @property
    def broken(self) -> str:
        return "" if self.auditor.broken is None else str(self.auditor.broken).partition(":")[0]

    def rows(self) -> pa.Table:
        source, validator = FakeSource(self.life, self.origin), FakeValidator(self.life)
        batches = [validator.validate(chunk, 0).batch for chunk in source.read("p", None)]
        return FakeTransformer(self.life, "facts", 0).transform(pa.Table.from_batches(batches)).rows


# --- the disk ----------------------------------------------------------------------------------------------------


def test_what_was_synced_survives_a_power_cut() -> None:
    disk = Disk(random.Random(3))
    disk.write(b"one")
    disk.write(b"two")
    disk.sync()
    disk.cut_power()
    assert disk.read() == [b"one", b"two"]


def test_what_was_not_synced_is_lost_from_some_entry_on_and_never_half_there() -> None:
    found: Counter[int] = Counter()
    for seed in range(50):
        disk = Disk(random.Random(seed))
        disk.write(b"synced")
        disk.sync()
        for number in range(3):
            disk.write(b"entry %d" % number)
        disk.cut_power()
        kept = disk.read()
        assert kept == [b"synced", b"entry 0", b"entry 1", b"entry 2"][: len(kept)]
        found[len(kept)] += 1
    assert set(found) == {1, 2, 3, 4}


def test_a_ledger_is_after_a_power_cut_what_it_was() -> None:
    bench = Bench(INVALID, GOOD)
    bench.ledger.write(Lettered(1, (_letter(0, Stage.INGESTION, ""),)))
    before = bench.ledger.letters()
    bench.ledger.cut_power()
    assert bench.ledger.letters() == before == {("p", 0, Stage.INGESTION, "")}


def test_a_ledger_that_does_not_sync_forgets() -> None:
    ledger = Ledger(Disk(random.Random(2)), syncs=False)
    for sequence in range(20):
        ledger.write(Lettered(1, (_letter(sequence, Stage.INGESTION, ""),)))
    ledger.cut_power()
    assert len(ledger.letters()) < 20


def test_recalling_forgets_what_an_earlier_run_noted_beyond_the_mark() -> None:
    bench = Bench(*[GOOD] * 4)
    bench.ledger.write(Lettered(1, (_letter(1, Stage.DELIVERY, "facts"), _letter(3, Stage.DELIVERY, "facts"))))
    book = LedgerBook(bench.life, bench.ledger, run=2)
    fates = book.recall("facts", SOURCE, "p", 2)
    assert {sequence: fate.outcome for sequence, fate in fates.items()} == {1: Outcome.DEAD_LETTERED}
    assert bench.ledger.letters() == {("p", 1, Stage.DELIVERY, "facts")}


def _letter(sequence: int, stage: Stage, destination: str) -> DeadLetter:
    return DeadLetter(SOURCE, "p", sequence, stage, destination, (RecordError("INT_GAMMA_003", "", ""),), b"", 1)


# --- the network -------------------------------------------------------------------------------------------------


class Line:
    """A wire from one life to another."""

    def __init__(self, **rates: float) -> None:
        self.bench = Bench(GOOD, **rates)
        loop, weather, trace = self.bench.loop, self.bench.weather, self.bench.auditor.trace
        self.there, self.back = (Wire(name, loop, weather, trace, random.Random(5)) for name in ("there", "back"))
        self.sender, self.receiver = self.bench.new_life(Who.ALPHA), self.bench.new_life(Who.BETA)
        self.out = SimulatedTransport(self.sender, self.there, self.back, lambda _: None)
        self.arrived: list[Frame] = []
        self.there.overheard = self.arrived.append
        self.into = SimulatedTransport(self.receiver, self.back, self.there, lambda _: None)

    def send(self, number: int = 1) -> list[Frame]:
        frames = [Frame(1, 2, 0, Close(each)) for each in range(number)]
        for frame in frames:
            self.out.send(frame)
        return frames

    def wait(self, seconds: float = 60.0) -> list[Frame]:
        self.bench.loop.run_until_complete(asyncio.sleep(seconds))
        return self.arrived


def test_a_calm_wire_carries_everything_in_order() -> None:
    line = Line()
    assert line.wait() == []
    assert line.send(20) == line.wait()


@pytest.mark.parametrize("fault", ["DROP", "BIT_FLIP", "TRUNCATION"])
def test_what_is_lost_or_damaged_never_arrives(fault: str) -> None:
    line = Line(**{fault: 1.0})
    line.send(20)
    assert line.wait() == []
    assert line.bench.weather.struck[Fault[fault]] == 20


def test_what_is_repeated_arrives_twice() -> None:
    line = Line(REPEAT=1.0)
    frames = line.send(3)
    assert Counter(map(repr, line.wait())) == Counter(map(repr, frames * 2))


@pytest.mark.parametrize("fault", ["REORDER", "LATE"])
def test_what_is_overtaken_arrives_all_the_same(fault: str) -> None:
    line = Line(**{fault: 0.5})
    frames = line.send(30)
    arrived = line.wait()
    assert arrived != frames
    assert sorted(map(repr, arrived)) == sorted(map(repr, frames))


def test_a_wire_that_is_parted_carries_nothing_for_a_while() -> None:
    line = Line()
    line.there.part(5.0)
    line.send(3)
    assert line.wait(10.0) == []
    assert line.send(2) == line.wait()


def test_a_reset_loses_what_is_under_way() -> None:
    line = Line()
    line.send(3)
    line.there.lose_all()
    assert line.wait() == []


def test_the_dead_send_nothing_and_hear_nothing() -> None:
    line = Line()
    line.sender.alive = False
    line.send(3)
    line.sender.alive = True
    line.receiver.alive = False
    line.send(3)
    assert line.wait() == []


def test_what_one_life_sent_arrives_in_the_next() -> None:
    line = Line()
    frames = line.send(2)
    line.into.close()
    line.into = SimulatedTransport(line.bench.new_life(Who.BETA), line.back, line.there, lambda _: None)
    assert line.wait() == frames


def test_a_life_may_end_right_before_it_sends() -> None:
    line = Line(CRASH_AT_SEND=1.0)
    line.out.send(Frame(1, 2, 0, Heartbeat()))
    assert not line.sender.alive
    assert line.wait() == []
    assert line.there.carried == 0


# --- the source --------------------------------------------------------------------------------------------------


def test_a_source_read_again_gives_the_same_in_other_chunks() -> None:
    bench = Bench(*[GOOD, UNPARSED, INVALID] * 40)
    source = FakeSource(bench.life, bench.origin)
    first, second = (list(source.read("p", None)) for _ in range(2))
    assert [chunk.end for chunk in first] != [chunk.end for chunk in second]
    ids = [[id_ for chunk in chunks for id_ in chunk.records.column("id").to_pylist()] for chunks in (first, second)]
    assert ids[0] == ids[1]
    assert first[-1].end == second[-1].end == 120


def test_reading_what_was_given_up_is_noticed() -> None:
    bench = Bench(*[GOOD] * 5)
    source = FakeSource(bench.life, bench.origin)
    bench.origin.pruned["p"] = 3
    list(source.read("p", Position("p", 3, "3")))
    assert bench.broken == ""
    list(source.read("p", Position("p", 2, "2")))
    assert bench.broken == "nothing is asked for that was given up"


def test_a_followed_source_gives_what_comes_when_it_comes() -> None:
    bench = Bench()
    partitions = {"p": Partition("p", [GOOD] * 2, [0.0, 5.0]), "q": Partition("q", [GOOD], [9.0])}
    bench.origin = Origin(World(MappingProxyType(partitions), ("facts",)))
    following = FakeSource(bench.life, bench.origin).follow({})
    found = []
    for _ in range(80):
        chunk = following.next(0.2)
        bench.loop.now_s += 0.2
        if chunk is not None and chunk.end > chunk.start:
            found.append((chunk.next.partition, chunk.end, round(bench.loop.now_s, 1)))
    assert [each[:2] for each in found] == [("p", 1), ("p", 2), ("q", 1)]
    assert found[1][2] >= 5.0
    assert found[2][2] >= 9.0


def test_two_threads_at_one_sink_are_noticed() -> None:
    bench = Bench(GOOD)
    sink = FakeSink(bench.life, bench.warehouse)

    async def both() -> None:
        loop = asyncio.get_running_loop()
        with bench.life.living():
            await asyncio.gather(*(loop.run_in_executor(None, sink.marks) for _ in range(2)))

    bench.loop.run_until_complete(both())
    assert bench.broken == "one thread at a time"


# --- the destinations --------------------------------------------------------------------------------------------


def mark(sequence: int) -> Mark:
    return Mark(SOURCE, "p", sequence, Position("p", 0, ""))


def test_rows_and_mark_are_there_together_after_a_commit() -> None:
    bench = Bench(*[GOOD] * 5)
    sink = FakeSink(bench.life, bench.warehouse)
    written = sink.write(bench.rows(), "p")
    assert (written.refused, written.superseded) == ({}, frozenset())
    assert bench.warehouse.mark("p") == 0
    sink.commit([mark(5)])
    assert bench.warehouse.mark("p") == 5
    assert bench.broken == ""


def test_a_sink_refuses_and_supersedes_what_the_plans_say() -> None:
    bench = Bench(GOOD, REFUSED, SUPERSEDED, GOOD)
    written = FakeSink(bench.life, bench.warehouse).write(bench.rows(), "p")
    assert set(written.refused) == {1}
    assert written.superseded == {2}


def test_a_commit_that_fails_commits_nothing() -> None:
    bench = Bench(GOOD, COMMIT_FAILED=1.0)
    sink = FakeSink(bench.life, bench.warehouse)
    sink.write(bench.rows(), "p")
    with pytest.raises(Unavailable):
        sink.commit([mark(1)])
    assert bench.warehouse.mark("p") == 0


def test_a_commit_may_fail_though_it_was_committed() -> None:
    bench = Bench(GOOD, COMMIT_UNSURE=1.0)
    sink = FakeSink(bench.life, bench.warehouse)
    sink.write(bench.rows(), "p")
    with pytest.raises(Unavailable):
        sink.commit([mark(1)])
    assert bench.warehouse.mark("p") == 1


def test_a_destination_that_goes_away_stays_away_for_a_while() -> None:
    bench = Bench(GOOD, SINK_AWAY=1.0)
    sink = FakeSink(bench.life, bench.warehouse)
    with pytest.raises(Unavailable):
        sink.prepare()
    assert bench.warehouse.away_until_s > 0
    bench.weather.healed = True
    sink.prepare()


def test_poison_is_refused_with_all_that_is_beside_it() -> None:
    bench = Bench(GOOD, int(AtDestination.POISON) * 8)
    with pytest.raises(BatchRefused):
        FakeSink(bench.life, bench.warehouse).write(bench.rows(), "p")
    with pytest.raises(BatchRefused):
        Bench(GOOD, POISON).rows()


# --- lives and clocks --------------------------------------------------------------------------------------------


def test_nothing_that_the_dead_do_has_an_effect() -> None:
    bench = Bench(INVALID)
    book = LedgerBook(bench.life, bench.ledger, run=1)
    bench.life.alive = False
    with pytest.raises(Dead):
        book.dead_letter([_letter(0, Stage.INGESTION, "")])
    assert bench.ledger.letters() == set()


def test_a_life_may_end_right_before_or_right_after_an_effect() -> None:
    for fault, written in (("CRASH_AT_EFFECT", 0), ("CRASH_AFTER_EFFECT", 1)):
        bench = Bench(INVALID, **{fault: 1.0})
        with pytest.raises(Dead):
            LedgerBook(bench.life, bench.ledger, run=1).dead_letter([_letter(0, Stage.INGESTION, "")])
        assert len(bench.ledger.letters()) == written
        assert not bench.life.alive


def test_work_under_way_when_its_module_is_killed_is_done_or_not_or_in_part() -> None:
    found: Counter[tuple[int, Fault]] = Counter()
    for seed in range(60):
        bench = Bench(*[INVALID] * 3)
        bench.life.chance = random.Random(seed)
        book = LedgerBook(bench.life, bench.ledger, run=1)

        def work(book: LedgerBook = book) -> None:
            for sequence in range(3):
                book.dead_letter([_letter(sequence, Stage.INGESTION, "")])

        with bench.life.living():
            bench.loop.run_in_executor(None, work)
        bench.life.kill("to see what becomes of its work")
        (how,) = bench.weather.struck.keys() & {Fault.WORK_DONE, Fault.WORK_HALF_DONE, Fault.WORK_UNDONE}
        found[len(bench.ledger.letters()), how] += 1
        bench.loop.close()
    assert set(found) == {
        (0, Fault.WORK_UNDONE),
        (1, Fault.WORK_HALF_DONE),
        (2, Fault.WORK_HALF_DONE),
        (3, Fault.WORK_DONE),
    }


def test_a_wall_clock_jumps_and_a_monotonic_one_does_not() -> None:
    loop = VirtualLoop(random.Random(1), lambda: None)
    wall = WallClock(loop)
    clock = LifeClock(wall, loop, 1000.0)
    before_s = clock.time_s()
    wall.ahead_s -= 3600.0
    loop.now_s += 1.0
    assert clock.time_s() == pytest.approx(before_s - 3599.0)
    assert clock.now_s() == pytest.approx(1001.0)


def test_ids_out_of_a_seed_are_uuids_and_differ() -> None:
    chance = SeededChance(random.Random(1))
    ids = [chance.new_id() for _ in range(100)]
    assert len(set(ids)) == 100
    assert {(UUID(each).version, str(UUID(each))) for each in ids} == {(4, each) for each in ids}


# --- the weather -------------------------------------------------------------------------------------------------


def test_every_fault_has_a_rate_or_follows_from_others() -> None:
    assert set(Fault) - set(RATES) == {Fault.WORK_DONE, Fault.WORK_HALF_DONE, Fault.WORK_UNDONE}


def test_nothing_strikes_once_all_has_healed() -> None:
    weather = Weather(random.Random(1), MappingProxyType(dict.fromkeys(Fault, 1.0)), 10.0, 1.0)
    assert weather.strikes(Fault.DROP)
    weather.healed = True
    assert not weather.strikes(Fault.DROP)
    assert weather.struck[Fault.DROP] == 1


def test_disasters_come_before_all_heals() -> None:
    for seed in range(30):
        weather = Weather.of(seed)
        moments = weather.moments(Fault.LAG)
        assert moments == sorted(moments)
        assert all(0 < at_s < weather.heals_s for at_s in moments)


def test_a_seed_is_one_world_one_weather_and_one_choice_of_settings() -> None:
    for seed in range(5):
        first, second = (World.of(seed, Weather.of(seed)) for _ in range(2))
        assert first == second
        assert dict(draw_settings(seed)) == dict(draw_settings(seed))
    assert World.of(1, Weather.of(1)) != World.of(2, Weather.of(2))


def test_a_world_accounts_for_every_record_at_every_destination() -> None:
    for seed in range(10):
        world = World.of(seed, Weather.of(seed))
        for name, partition in world.partitions.items():
            tally = world.tally(name, Range(0, len(partition.plans)))
            assert sum(count.records for count in tally) == len(partition.plans) * len(world.destinations)


def test_a_frame_that_says_hello_is_told_in_one_line() -> None:
    lines: list[str] = []
    line = Line()
    line.bench.auditor.trace.tell = lines.append
    line.out.send(Frame(1, 0, 0, Hello({"p": 3})))
    line.wait()
    assert [each.split()[1:6] for each in lines] == [
        ["alpha#0", "sends", "1→0", "settled<0", "Hello"],
        ["there", "arrives", "1→0", "settled<0", "Hello"],
    ]
