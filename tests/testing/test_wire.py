"""Links that write down what they carry, and do harm to it: by chance, and on purpose."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec
import pytest
from tests.runs.rehearsing import Works

from penstock.observing.facts import Hop
from penstock.protocol.frames import Close, Frame, Heartbeat
from penstock.protocol.messages import Module
from penstock.testing.rehearse import main
from penstock.testing.wire import HARMLESS, BadLinks, Fate, Harm, WireLog, read_harm

if TYPE_CHECKING:
    from pathlib import Path

    from penstock.testing.wire import Meddler

MANY = 400


def beat(number: int) -> Frame:
    return Frame(1, 2, 0, Heartbeat(received_below=number))


@dataclass
class Carried:
    """What came out of a link into which numbered frames were put, and its log."""

    log: WireLog = field(default_factory=WireLog)
    arrived: list[Frame] = field(default_factory=list)

    @property
    def numbers(self) -> list[int]:
        return [frame.body.received_below for frame in self.arrived if isinstance(frame.body, Heartbeat)]

    def fated(self, fate: Fate) -> list[int]:
        return [
            sent.body.received_below for sent in self.log.sent if sent.fate is fate and isinstance(sent.body, Heartbeat)
        ]


def carry(harm: Harm = HARMLESS, seed: int = 7, meddler: Meddler | None = None, count: int = MANY) -> Carried:
    """Put so many frames into a link, one after the other, and return what became of them."""
    carried = Carried()

    async def work() -> None:
        sender, receiver = BadLinks(seed, harm, carried.log, meddler)(Hop.BETA_GAMMA, "orders")
        for number in range(count):
            sender.send(beat(number))
        await asyncio.sleep(2 * harm.delay_s)
        sender.close()
        while frames := await receiver.receive(50):
            carried.arrived.extend(frames)

    asyncio.run(work())
    return carried


def test_a_link_without_harm_carries_everything_in_order() -> None:
    carried = carry()
    assert carried.arrived == [beat(number) for number in range(MANY)]
    assert carried.log.fates == {Fate.CARRIED: MANY}


def test_both_ends_are_those_of_their_modules() -> None:
    log = WireLog()

    async def work() -> None:
        alpha, beta = BadLinks(1, log=log)(Hop.ALPHA_BETA, "orders")
        alpha.send(beat(1))
        beta.send(beat(2))
        assert await beta.receive(9) == [beat(1)]
        assert await alpha.receive(9) == [beat(2)]

    asyncio.run(work())
    said = [(sent.hop, sent.source, sent.speaker, sent.listener, sent.what) for sent in log.sent]
    assert said == [
        (Hop.ALPHA_BETA, "orders", Module.ALPHA, Module.BETA, "Heartbeat"),
        (Hop.ALPHA_BETA, "orders", Module.BETA, Module.ALPHA, "Heartbeat"),
    ]


@pytest.mark.parametrize(
    ("harm", "fate", "copies"),
    [
        (Harm(drop=0.25), Fate.DROPPED, 0),
        (Harm(repeat=0.25), Fate.REPEATED, 2),
        (Harm(flip=0.25), Fate.DAMAGED, 0),
        (Harm(hold_back=0.25, delay_s=0.01), Fate.HELD_BACK, 1),
    ],
)
def test_a_share_of_the_frames_is_harmed_and_each_as_the_log_says(harm: Harm, fate: Fate, copies: int) -> None:
    carried = carry(harm)
    harmed = carried.fated(fate)
    assert MANY // 8 < len(harmed) < MANY // 2
    arrived = Counter(carried.numbers)
    assert {number: arrived[number] for number in harmed} == dict.fromkeys(harmed, copies)
    assert all(arrived[number] == 1 for number in range(MANY) if number not in harmed)


def test_what_is_held_back_comes_after_others_that_left_behind_it() -> None:
    carried = carry(Harm(hold_back=0.5, delay_s=0.01))
    assert carried.numbers != sorted(carried.numbers)
    assert [number for number in carried.numbers if number in carried.fated(Fate.CARRIED)] == carried.fated(
        Fate.CARRIED
    )


def test_the_seed_decides() -> None:
    weather = Harm(drop=0.1, repeat=0.1, flip=0.1)
    one, same, other = (carry(weather, seed) for seed in (7, 7, 8))
    assert [sent.fate for sent in one.log.sent] == [sent.fate for sent in same.log.sent]
    assert one.arrived == same.arrived
    assert one.arrived != other.arrived


def test_a_meddler_withholds_and_alters_and_leaves_the_rest_to_chance() -> None:
    def meddle(hop: Hop, speaker: Module, frame: Frame) -> Frame | None:
        assert (hop, speaker) == (Hop.BETA_GAMMA, Module.BETA)
        assert isinstance(frame.body, Heartbeat)
        match frame.body.received_below % 4:
            case 1:
                return None
            case 2:
                return msgspec.structs.replace(frame, body=Close(3))
            case _:
                return frame

    carried = carry(Harm(repeat=1.0), meddler=meddle, count=40)
    assert carried.log.fates == {Fate.REPEATED: 20, Fate.WITHHELD: 10, Fate.ALTERED: 10}
    assert [frame.body for frame in carried.arrived].count(Close(3)) == 10
    assert set(carried.numbers) == {number for number in range(40) if number % 4 in {0, 3}}
    altered = [sent for sent in carried.log.sent if sent.fate is Fate.ALTERED]
    assert {sent.instead for sent in altered} == {Frame(1, 2, 0, Close(3))}
    assert [sent.frame for sent in altered] == [beat(number) for number in range(2, 40, 4)]


def test_a_log_keeps_the_last_and_counts_all() -> None:
    log = WireLog(most=100)
    for sent in carry(count=250).log.sent:
        log.saw(sent)
    assert 90 <= len(log.sent) <= 100
    assert log.sent[-1].frame == beat(249)
    assert log.kinds == {(Module.BETA, "Heartbeat"): 250}
    assert str(log) == "250 frames: 250 carried"


# --- harm in words ------------------------------------------------------------------------------------------------


def test_harm_is_read_from_words() -> None:
    assert read_harm("drop=0.02,repeat=0.5") == Harm(drop=0.02, repeat=0.5)
    assert read_harm("") == HARMLESS


@pytest.mark.parametrize(
    "words", ["drop", "drop=", "drop=many", "loss=0.1", "drop=1.5", "drop=-0.1", "drop=0.6,flip=0.6", "delay_s=-1"]
)
def test_what_no_link_can_do_is_refused(words: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_harm(words)


# --- from the command line ----------------------------------------------------------------------------------------


def test_a_rehearsal_goes_over_bad_links_and_leaves_a_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    works = Works(tmp_path / "works")
    works.add("a.csv", 400, odd=True)
    settings = {"ALPHA_BETA_BATCH_SIZE": 20, "LINK_HEARTBEAT_MS": 100} | {
        f"{hop.upper()}_{name}": value
        for hop in Hop
        for name, value in (("ACK_TIMEOUT_MS", 50), ("RETRY_DELAY_MS", 10))
    }
    file = tmp_path / "wire.jsonl"
    said = [f"--set={name}={value}" for name, value in settings.items()]
    code = main([str(works.folder), "--harm", "drop=0.05,repeat=0.05", "--seed", "9", "--wire-log", str(file), *said])
    out = capsys.readouterr().out
    assert code == 0, out
    works.check(9)
    lines = [msgspec.json.decode(line) for line in file.read_bytes().splitlines()]
    fates = Counter(line["fate"] for line in lines)
    assert fates["dropped"] > 0
    assert fates["repeated"] > 0
    assert out.splitlines()[0] == "completed 400 "
    assert out.splitlines()[1].startswith(f"{len(lines):,} frames: ")
    assert out.endswith("; seed 9\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ("--harm", "loss=1"),
        ("--harm", "drop=2"),
        ("--wire-log", "/nowhere/wire.jsonl"),
        ("--replay", "--harm", "drop=1"),
    ],
)
def test_a_rehearsal_that_cannot_be_understood_is_not_begun(
    tmp_path: Path, arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main([str(tmp_path), *arguments])
    assert left.value.code == 2
    assert "usage:" in capsys.readouterr().err
