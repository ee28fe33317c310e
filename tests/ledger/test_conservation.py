"""Whatever is settled, refused, replayed, discarded and rewound, in whatever order: it adds up, to what it should."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from penstock.ledger import DeadLetterFilter, Ledger, LetterStatus, Replay
from penstock.model.outcome import Count, DeadLetter, Outcome, RecordError, Stage, add_up
from penstock.model.position import Position, Range
from penstock.ports import Advance

DESTINATIONS = ("audit", "facts")
PARTITIONS = ("a.csv", "b.csv")
STAGES = st.sampled_from([(Stage.INGESTION, ""), (Stage.TRANSFORMATION, "audit"), (Stage.DELIVERY, "facts")])


@dataclass
class Book:
    """What the ledger should know of a partition: the ranges that are settled, and how many were refused in each."""

    borders: list[int] = field(default_factory=lambda: [0])
    refused: list[dict[str, int]] = field(default_factory=list)


class Conservation(RuleBasedStateMachine):
    """A ledger beside a model of it."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.ledger = Ledger.open(Path(self.folder.name))
        self.books = {partition: Book() for partition in PARTITIONS}
        self.replays: dict[str, tuple[Replay, int]] = {}
        self.begin_run()

    def teardown(self) -> None:
        self.ledger.close()
        self.folder.cleanup()

    @rule()
    def begin_run(self) -> None:
        self.run_id = self.ledger.begin_run("shop", "f", b"{}")

    @rule(partition=st.sampled_from(PARTITIONS), length=st.integers(0, 6), data=st.data())
    def settle(self, partition: str, length: int, data: st.DataObject) -> None:
        book = self.books[partition]
        start = book.borders[-1]
        found = data.draw(st.dictionaries(st.integers(start, start + max(0, length - 1)), STAGES, max_size=length))
        refused = found if length else {}
        self.refuse(partition, refused)
        tally = self.tally(length, refused)
        position = Position(partition, start + length, str(start + length))
        advance = Advance(partition, Range(start, start + length), position, tally, 1, "c")
        self.ledger.settle(self.run_id, "shop", "orders", [advance])
        if length:
            book.borders.append(start + length)
            book.refused.append(
                {d: sum(destination in ("", d) for _, destination in refused.values()) for d in DESTINATIONS}
            )

    @rule(partition=st.sampled_from(PARTITIONS), sequence=st.integers(0, 30))
    def rewind(self, partition: str, sequence: int) -> None:
        book = self.books[partition]
        to = max(border for border in book.borders if border <= sequence)
        was = book.borders[-1]
        rewound = self.ledger.rewind(
            "shop", "orders", partition, Position(partition, sequence, "x") if sequence else None
        )
        assert (rewound.sequence, rewound.records) == (to, was - to)
        keep = book.borders.index(to)
        del book.borders[keep + 1 :], book.refused[keep:]

    @rule(destination=st.sampled_from(["", *DESTINATIONS]), data=st.data())
    def begin_replay(self, destination: str, data: st.DataObject) -> None:
        ids = self.ledger.dead_letter_ids("shop", DeadLetterFilter(status=LetterStatus.OPEN, destination=destination))
        if ids:
            chosen = data.draw(st.lists(st.sampled_from(ids), min_size=1, unique=True))
            replay = self.ledger.begin_replay("shop", "orders", destination, chosen)
            self.replays[replay.partition] = replay, 0

    @precondition(lambda self: self.replays)
    @rule(data=st.data())
    def settle_replay(self, data: st.DataObject) -> None:
        partition = data.draw(st.sampled_from(list(self.replays)))
        replay, start = self.replays[partition]
        length = data.draw(st.integers(1, replay.items - start))
        refused = data.draw(st.dictionaries(st.integers(start, start + length - 1), STAGES, max_size=length))
        if replay.destination:
            refused = {s: (stage, replay.destination) for s, (stage, _) in refused.items()}
        self.refuse(partition, refused)
        destinations = (replay.destination,) if replay.destination else DESTINATIONS
        tally = tuple(c for c in self.tally(length, refused) if c.destination in destinations)
        advance = Advance(
            partition, Range(start, start + length), Position(partition, start + length, "x"), tally, 1, "c"
        )
        letters = {item.dead_letter_id for item in self.ledger.replay_items(replay.id, start, length)}
        self.ledger.settle(self.run_id, "shop", "orders", [advance])
        rows = self.ledger.dead_letters("shop", DeadLetterFilter(ids=tuple(letters))).to_pylist()
        assert sum(row["status"] == "delivered" for row in rows) == length - len(refused)
        self.replays[partition] = replay, start + length
        if start + length == replay.items:
            del self.replays[partition]

    @precondition(lambda self: self.replays)
    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        partition = data.draw(st.sampled_from(list(self.replays)))
        self.ledger.rewind("shop", "orders", partition, None)
        del self.replays[partition]

    @rule(data=st.data())
    def discard(self, data: st.DataObject) -> None:
        ids = self.ledger.dead_letter_ids("shop", DeadLetterFilter(status=LetterStatus.OPEN))
        if ids:
            self.ledger.discard("shop", [data.draw(st.sampled_from(ids))], "seen to")

    @invariant()
    def adds_up(self) -> None:
        assert self.ledger.check_conservation("shop") == []

    @invariant()
    def knows_what_the_model_knows(self) -> None:
        positions = self.ledger.positions("shop", "orders")
        for partition, book in self.books.items():
            position = positions.get(partition)
            assert (position.sequence if position else 0) == book.borders[-1]
        totals = self.ledger.totals("shop").get("orders")
        read = sum(book.borders[-1] for book in self.books.values())
        assert (totals.read if totals else 0) == read
        for destination in DESTINATIONS:
            refused = sum(each[destination] for book in self.books.values() for each in book.refused)
            counts = [count for count in (totals.tally if totals else ()) if count.destination == destination]
            assert sum(count.records for count in counts) == read
            assert sum(c.records for c in counts if c.outcome is Outcome.DEAD_LETTERED) == refused
        unfinished = {replay.partition for replay in self.ledger.unfinished_replays("shop")}
        assert unfinished == set(self.replays)

    def refuse(self, partition: str, refused: dict[int, tuple[Stage, str]]) -> None:
        error = RecordError("INT_ALPHA_002", "amount", "is not a decimal")
        letters = [
            DeadLetter("orders", partition, sequence, stage, destination, (error,), b"x", sequence + 1)
            for sequence, (stage, destination) in refused.items()
        ]
        self.ledger.dead_letter(self.run_id, "shop", letters)

    def tally(self, length: int, refused: dict[int, tuple[Stage, str]]) -> tuple[Count, ...]:
        dead = [
            Count(destination, Outcome.DEAD_LETTERED, stage, "INT_ALPHA_002", 1)
            for stage, only in refused.values()
            for destination in DESTINATIONS
            if only in ("", destination)
        ]
        gone = {destination: sum(count.destination == destination for count in dead) for destination in DESTINATIONS}
        delivered = [Count(d, Outcome.DELIVERED, Stage.DELIVERY, "", length - gone[d]) for d in DESTINATIONS]
        return add_up([*dead, *delivered])


TestConservation = Conservation.TestCase
TestConservation.settings = settings(
    max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
