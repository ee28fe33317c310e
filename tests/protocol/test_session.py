"""Who talks to whom: each verdict by hand, then two ends over a network that loses, repeats and reorders."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.protocol.frames import NOBODY, Frame, Heartbeat, Hello
from penstock.protocol.session import (
    CHANCE_BITS,
    TRANSITIONS,
    Heard,
    Session,
    SessionEvent,
    SessionState,
    Verdict,
    fresh,
)

ME, PEER = 100, 200
THERE, BACK = True, False


def hello(sender: int, receiver: int) -> Frame:
    return Frame(sender, receiver, 0, Hello())


def beat(sender: int, receiver: int) -> Frame:
    return Frame(sender, receiver, 0, Heartbeat())


def opened() -> Session:
    """A session of ME with PEER, in which messages count."""
    session = Session(ME)
    assert session.received(hello(PEER, ME)) == Heard(Verdict.COUNTS, greet=True)
    assert session.is_open
    return session


# --- incarnations ----------------------------------------------------------------------------------------------------


def test_a_later_start_is_a_larger_incarnation() -> None:
    assert fresh(1_000.0, 0.999) < fresh(1_000.001, 0.0)


def test_two_starts_in_one_millisecond_differ_by_what_was_drawn() -> None:
    assert fresh(1_000.0, 0.25) < fresh(1_000.0, 0.5)


@pytest.mark.parametrize("time_s", [0.0, 999.0, 1_000.0, 4_102_444_800.0])
def test_whatever_the_clock_says_an_incarnation_is_beyond_the_last_and_fits_into_int63(time_s: float) -> None:
    last = fresh(1_000.0, 0.5)
    following = fresh(time_s, 0.5, beyond=last)
    assert last < following < 1 << 63


@given(time_s=st.floats(0.0, 4_102_444_800.0), fraction=st.floats(0.0, 1.0, exclude_max=True))
def test_what_is_drawn_never_reaches_the_next_millisecond(time_s: float, fraction: float) -> None:
    assert fresh(time_s, fraction) >> CHANCE_BITS == max(1, int(time_s * 1000))


def test_two_lives_that_go_beyond_the_same_differ_by_what_was_drawn() -> None:
    last = fresh(2_000.0, 0.5)
    one, other = (fresh(1_000.0, fraction, beyond=last) for fraction in (0.25, 0.75))
    assert last < one < other


def test_nobody_is_earlier_than_anybody() -> None:
    assert fresh(0.0, 0.0) > NOBODY


# --- what is done about a frame, row by row --------------------------------------------------------------------------


def test_a_receiver_later_than_i_am_says_that_i_must_begin_again() -> None:
    assert Session(ME).received(hello(PEER, ME + 1)) == Heard(Verdict.SUPERSEDED)
    assert opened().received(beat(PEER, ME + 1)) == Heard(Verdict.SUPERSEDED)


def test_who_must_begin_again_takes_nothing_else_from_the_frame() -> None:
    session = Session(ME)
    session.received(hello(PEER, ME + 1))
    assert session.peer == NOBODY
    assert session.state is SessionState.GREETING


@pytest.mark.parametrize("frame", [hello(PEER - 1, ME), hello(PEER - 1, NOBODY), beat(PEER - 1, ME)])
def test_what_a_dead_incarnation_said_is_dropped_and_changes_nothing(frame: Frame) -> None:
    session = opened()
    assert session.received(frame) == Heard(Verdict.DROPPED, greet=True)
    assert session.is_open
    assert session.peer == PEER


def test_a_stranger_is_asked_for_hello_before_anything_it_says_counts() -> None:
    session = Session(ME)
    assert session.received(beat(PEER, ME)) == Heard(Verdict.DROPPED, greet=True)
    assert session.peer == NOBODY
    later = opened()
    assert later.received(beat(PEER + 1, ME)) == Heard(Verdict.DROPPED, greet=True)
    assert later.peer == PEER
    assert later.is_open


def test_the_first_peer_that_does_not_know_me_is_met_and_answered() -> None:
    session = Session(ME)
    assert session.received(hello(PEER, NOBODY)) == Heard(Verdict.MET, greet=True)
    assert session.peer == PEER
    assert not session.is_open


def test_the_first_peer_that_knows_me_is_in_session_at_once() -> None:
    session = Session(ME)
    assert session.received(hello(PEER, ME)) == Heard(Verdict.COUNTS, greet=True)
    assert session.is_open


@pytest.mark.parametrize(("receiver", "is_open"), [(NOBODY, False), (ME, True), (ME - 1, False)])
def test_a_later_peer_makes_void_what_was_said_before(receiver: int, *, is_open: bool) -> None:
    session = opened()
    assert session.received(hello(PEER + 1, receiver)) == Heard(Verdict.PEER_IS_NEW, greet=True)
    assert session.peer == PEER + 1
    assert session.is_open is is_open


@pytest.mark.parametrize("receiver", [NOBODY, ME - 1])
def test_what_is_not_meant_for_me_is_dropped_and_answered_with_who_i_am(receiver: int) -> None:
    session = opened()
    assert session.received(beat(PEER, receiver)) == Heard(Verdict.DROPPED, greet=True)
    assert session.received(hello(PEER, receiver)) == Heard(Verdict.DROPPED, greet=True)
    assert session.is_open


def test_what_names_both_of_us_counts_and_opens_the_session() -> None:
    session = Session(ME)
    session.received(hello(PEER, NOBODY))
    assert session.received(beat(PEER, ME)) == Heard(Verdict.COUNTS)
    assert session.is_open
    assert session.received(beat(PEER, ME)) == Heard(Verdict.COUNTS)


def test_who_begins_again_still_knows_its_peer_and_is_not_in_session() -> None:
    session = opened()
    session.begin_again(ME + 5)
    assert (session.me, session.peer, session.is_open) == (ME + 5, PEER, False)
    assert session.received(beat(PEER, ME)) == Heard(Verdict.DROPPED, greet=True)
    assert session.received(beat(PEER, ME + 5)) == Heard(Verdict.COUNTS)
    assert session.is_open


def test_beginning_again_as_who_one_was_is_a_defect() -> None:
    with pytest.raises(AssertionError):
        opened().begin_again(ME)


def test_every_move_of_a_session_is_in_its_table_and_is_made() -> None:
    before = TRANSITIONS.reached.copy()
    fresh_one = Session(ME)
    fresh_one.begin_again(ME + 1)
    fresh_one.received(hello(PEER, NOBODY))
    fresh_one.received(beat(PEER, ME + 1))
    fresh_one.received(beat(PEER, ME + 1))
    fresh_one.received(hello(PEER + 1, NOBODY))
    fresh_one.received(beat(PEER + 1, ME + 1))
    fresh_one.begin_again(ME + 2)
    assert set(TRANSITIONS.reached - before) == set(TRANSITIONS.rows)
    assert {state for state, _ in TRANSITIONS.rows} == set(SessionState) == set(TRANSITIONS.rows.values())
    assert {event for _, event in TRANSITIONS.rows} == set(SessionEvent)


# --- clocks that jump back -------------------------------------------------------------------------------------------


def test_who_starts_again_by_a_clock_that_jumped_back_learns_it_and_goes_beyond() -> None:
    peer = Session(PEER)
    before = fresh(2_000.0, 0.5)
    peer.received(hello(before, PEER))
    again = Session(fresh(1_000.0, 0.5))
    assert peer.received(hello(again.me, NOBODY)) == Heard(Verdict.DROPPED, greet=True)
    assert again.received(hello(PEER, peer.peer)) == Heard(Verdict.SUPERSEDED)
    again.begin_again(fresh(1_000.1, 0.5, beyond=before))
    assert peer.received(hello(again.me, NOBODY)) == Heard(Verdict.PEER_IS_NEW, greet=True)
    assert again.received(hello(PEER, again.me)).verdict is Verdict.COUNTS


# --- two of them over a network --------------------------------------------------------------------------------------


@dataclass
class End:
    """An end as the drivers drive it: the asking one says HELLO at each beat until the session is open."""

    session: Session
    asks: bool
    greetings: int = 0
    new_peers: int = 0

    def hello(self) -> Frame:
        self.greetings += 1
        return hello(self.session.me, self.session.peer)

    def hear(self, frame: Frame) -> list[Frame]:
        heard = self.session.received(frame)
        self.new_peers += heard.verdict is Verdict.PEER_IS_NEW
        if heard.verdict is Verdict.SUPERSEDED:
            self.session.begin_again(frame.receiver + 1)
            return [self.hello()]
        asked = heard.verdict is Verdict.COUNTS and isinstance(frame.body, Hello) and not self.asks
        return [self.hello()] if heard.greet or asked else []


@dataclass
class Network:
    """Two ends, and frames under way. What is lost, repeated and overtaken is drawn from a seed."""

    seed: int
    left: End = field(default_factory=lambda: End(Session(ME), asks=True))
    right: End = field(default_factory=lambda: End(Session(PEER), asks=False))
    under_way: list[tuple[bool, Frame]] = field(default_factory=list)
    past: list[tuple[bool, Frame]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)

    def post(self, to_right: bool, *frames: Frame) -> None:  # noqa: FBT001 - which way
        self.under_way += [(to_right, frame) for frame in frames]
        self.past += [(to_right, frame) for frame in frames]

    def deliver(self) -> None:
        to_right, frame = self.under_way.pop(self.chance.randrange(len(self.under_way)))
        self.post(not to_right, *(self.right if to_right else self.left).hear(frame))

    def rage(self, steps: int) -> None:
        """Let anything happen: loss, repeats, frames from long ago, either end beginning again or starting anew."""
        for _ in range(steps):
            what = self.chance.randrange(10)
            if what == 0 and self.under_way:
                self.under_way.pop(self.chance.randrange(len(self.under_way)))
            elif what == 1 and self.past:
                self.under_way.append(self.chance.choice(self.past))
            elif what == 2:
                self.begin_again(self.chance.choice((self.left, self.right)))
            elif what == 3:
                self.start_anew(self.chance.choice((self.left, self.right)))
            elif what == 4:
                self.beat()
            elif self.under_way:
                self.deliver()

    def begin_again(self, end: End) -> None:
        end.session.begin_again(end.session.me + self.chance.randint(1, 50))
        self.post(end is self.left, end.hello())

    def start_anew(self, end: End) -> None:
        """Another process, by a clock that may have jumped back."""
        end.session = Session(max(1, end.session.me + self.chance.randint(-30, 50)))
        self.post(end is self.left, end.hello())

    def beat(self) -> None:
        left = self.left
        self.post(THERE, beat(left.session.me, left.session.peer) if left.session.is_open else left.hello())

    def quiet(self) -> None:
        """Deliver until nothing is under way."""
        for _ in range(2_000):
            if not self.under_way:
                return
            self.deliver()
        pytest.fail(f"seed {self.seed}: they greet for ever: {self.under_way[:4]}")

    def settles(self) -> None:
        """Lose nothing any more, and let the sender beat, until nothing is under way."""
        for _ in range(200):
            self.beat()
            self.quiet()
            if self.left.session.is_open and self.right.session.is_open:
                return
        pytest.fail(f"seed {self.seed}: {self.left.session} and {self.right.session} never meet")


def test_two_ends_that_start_together_meet_and_then_are_quiet() -> None:
    network = Network(0)
    network.post(THERE, network.left.hello())
    network.post(BACK, network.right.hello())
    network.quiet()
    assert network.left.session.is_open
    assert network.right.session.is_open
    assert network.left.greetings + network.right.greetings <= 6
    assert network.left.new_peers == network.right.new_peers == 0


def test_one_lost_hello_is_asked_for_again() -> None:
    """The other end thinks all is well: only whoever asks can tell that it is not."""
    network = Network(0)
    network.post(THERE, network.left.hello())
    network.deliver()
    network.under_way.clear()
    assert not network.left.session.is_open
    network.settles()


@given(seed=st.integers(0, 2**32), steps=st.integers(0, 60))
def test_whatever_happened_two_ends_come_to_know_each_other_and_stop_greeting(seed: int, steps: int) -> None:
    network = Network(seed)
    network.post(THERE, network.left.hello())
    network.post(BACK, network.right.hello())
    network.rage(steps)
    network.settles()
    left, right = network.left.session, network.right.session
    assert (left.peer, right.peer) == (right.me, left.me), f"seed {seed}"
    assert not network.under_way, f"seed {seed}"


@given(seed=st.integers(0, 2**32), steps=st.integers(0, 40))
def test_frames_of_the_dead_never_count(seed: int, steps: int) -> None:
    """However frames are repeated and delayed: what counts was said by the present peer to the present me."""
    network = Network(seed)
    network.post(THERE, network.left.hello())
    network.rage(steps)
    network.settles()
    for to_right, frame in network.past:
        end, other = (network.right, network.left) if to_right else (network.left, network.right)
        if end.session.received(beat(frame.sender, frame.receiver)).verdict is Verdict.COUNTS:
            assert (frame.sender, frame.receiver) == (other.session.me, end.session.me), f"seed {seed}"
