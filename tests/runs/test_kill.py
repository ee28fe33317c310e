"""`kill -9` again and again, started again each time: in the end every record is where it belongs, once."""

from __future__ import annotations

import os
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import product
from random import Random
from typing import TYPE_CHECKING

import pytest

from penstock.ledger import Ledger
from penstock.observing.facts import CommitPoint, Moment

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from tests.runs.conftest import How, Program, Shop

MOMENTS = tuple(product(CommitPoint, Moment))
FILES = {"a.csv": 12_000, "b.csv": 8_000}
SLOW_S = 0.02
"""Every commit of the destination takes this much longer, so that there is work under way whenever a kill comes."""
CHOICES: Mapping[str, tuple[int, ...]] = {
    "READ_BYTES": (4096, 16384, 65536),
    "ALPHA_BETA_BATCH_SIZE": (37, 100, 1000),
    "BETA_GAMMA_BATCH_SIZE": (23, 50, 500),
    "COMMIT_RECORDS": (100, 500, 2000),
    "COMMIT_IDLE_MS": (1, 50),
    "COMMIT_INTERVAL_MS": (20, 1000),
    "WINDOW_RECORDS": (500, 3000),
}
"""Every life draws its own: what is read again after a death comes in other chunks, batches and transactions."""
LONG = [pytest.mark.kill, pytest.mark.timeout(3600)]


def kill_seed(*, fresh: bool) -> int:
    """Return what decides everything but the machine's own timing: KILL_SEED, or a new one each time if `fresh`."""
    given = os.environ.get("KILL_SEED")
    seed = int(given) if given else int.from_bytes(os.urandom(4)) if fresh else 1
    print(f"KILL_SEED={seed} repeats this")  # noqa: T201 - pytest shows it when the test fails
    return seed


@dataclass
class Campaign:
    """Shop after shop, run by processes that are killed, each until all of it has come through."""

    program: Program
    rehearsal: How
    new_shop: Callable[[int, int], Shop]
    """By number and seed."""
    chance: Random
    arguments: tuple[str, ...] = ()
    fell: Counter[str] = field(default_factory=Counter)
    """Where the kills fell."""
    lives: int = 0
    completed: int = 0
    shop: Shop | None = None

    @property
    def kills(self) -> int:
        return self.fell.total()

    def live(self, kill: tuple[CommitPoint, Moment, int] | None = None, after_s: float | None = None) -> bool:
        """Run until the moment `kill`, or (about) `after_s` seconds of work, is there, or all work is done.

        Returns whether it was killed.
        """
        self.lives += 1
        shop = self._shop()
        log = shop.folder / f"moments-{self.lives}.log"
        settings = [f"--set={name}={self.chance.choice(values)}" for name, values in CHOICES.items()]
        arguments = [f"--slow={SLOW_S}", f"--log={log}", *settings, *self.arguments]
        if kill:
            arguments += ["--kill", *map(str, kill)]
        with self.program.start(shop.folder, *arguments, how=self.rehearsal) as process:
            if after_s is not None:
                _kill_at_work(process, log, after_s)
            out, err = process.communicate(timeout=90)
        if process.returncode == 0:
            assert out.startswith("completed"), out
            self._complete()
            return False
        assert process.returncode == -9, (process.returncode, out, err)
        self._fell(log, kill)
        return True

    def finish(self) -> None:
        """Let what is half done come to its end, and count it."""
        if self.shop is not None:
            assert not self.live()

    def histogram(self, title: str) -> list[str]:
        """Say where the kills fell."""
        most = max(self.fell.values())
        bars = [f"  {place:28} {count:4} {'#' * round(40 * count / most)}" for place, count in self.fell.most_common()]
        return [f"{title}: {self.kills} kills in {self.lives} lives, {self.completed} shops delivered exactly", *bars]

    def _shop(self) -> Shop:
        if self.shop is None:
            self.shop = self.new_shop(self.completed, self.chance.randrange(1 << 32))
        return self.shop

    def _complete(self) -> None:
        assert self.shop is not None
        self.shop.check()
        self.shop = None
        self.completed += 1

    def _fell(self, log: Path, kill: tuple[CommitPoint, Moment, int] | None) -> None:
        shop = self._shop()
        passed = [line.partition(":")[0] for line in log.read_text().splitlines()] if log.exists() else []
        last = passed[-1] if passed else "opening"
        if kill is not None:
            last = f"{kill[1]} {kill[0]}"
            assert last in passed[-5:]  # other threads may have come a little further
        if self.chance.random() < 0.5 and (shop.state / "ledger.sqlite").exists():
            with Ledger.read_only(shop.state) as ledger:  # in the other half nobody looks before the next life does
                assert ledger.check_conservation("shop") == []
                totals = ledger.totals("shop").get("orders")
                if kill is None and totals is not None and totals.read == shop.read:
                    last = "all settled, not yet ended"
        self.fell[last] += 1


def _kill_at_work(process: subprocess.Popen[str], log: Path, after_s: float) -> None:
    """Kill the process so long after its first moment; sooner than that if `after_s` is negative."""
    while after_s >= 0 and process.poll() is None and not (log.exists() and log.stat().st_size):
        time.sleep(0.005)
    time.sleep(abs(after_s))
    process.kill()


@pytest.fixture
def campaign(
    program: Program, how: type[How], make_shop: Callable[..., Shop], tmp_path: Path
) -> Callable[[int], Campaign]:
    rehearsal = how(module="penstock.testing.rehearse")
    return lambda seed: Campaign(
        program,
        rehearsal,
        lambda number, seed: make_shop(tmp_path / f"shop-{number}", seed, FILES),
        Random(seed),
    )


@pytest.fixture
def replaying(
    program: Program, how: type[How], make_shop: Callable[..., Shop], tmp_path: Path
) -> Callable[[int], Campaign]:
    """A campaign of replays: shops that were run, and whose document takes more of their dead letters since."""

    def new_shop(number: int, seed: int) -> Shop:
        shop = make_shop(tmp_path / f"shop-{number}", seed, {"a.csv": 2000}, 0.5)
        assert program.run("run", "--quiet", shop.folder).code == 0
        shop.mend()
        return shop

    rehearsal = how(module="penstock.testing.rehearse")
    return lambda seed: Campaign(program, rehearsal, new_shop, Random(seed), ("--replay",))


@pytest.mark.slow
@pytest.mark.parametrize("times", [2, pytest.param(10, marks=LONG)])
def test_killed_right_before_and_after_every_commit_nothing_is_lost_and_nothing_is_there_twice(
    campaign: Callable[[int], Campaign], times: int, show: Callable[[str], None]
) -> None:
    killing = campaign(kill_seed(fresh=times > 2))
    kill_everywhere(killing, times, occurrences=8)
    for line in killing.histogram("killed at commit points"):
        show(line)


@pytest.mark.slow
@pytest.mark.parametrize("times", [1, pytest.param(10, marks=LONG)])
def test_a_replay_of_dead_letters_killed_at_every_commit_delivers_each_once(
    replaying: Callable[[int], Campaign], times: int, show: Callable[[str], None]
) -> None:
    killing = replaying(kill_seed(fresh=times > 1))
    kill_everywhere(killing, times, occurrences=3)
    for line in killing.histogram("replays killed at commit points"):
        show(line)


def kill_everywhere(killing: Campaign, times: int, occurrences: int) -> None:
    left = [moment for moment in MOMENTS for _ in range(times)]
    killing.chance.shuffle(left)
    while left:
        occurrence = killing.chance.randrange(1, occurrences)
        if killing.live((*left[-1], occurrence)):
            left.pop()
        assert killing.lives < 4 * times * len(MOMENTS)
    killing.finish()
    assert killing.kills == times * len(MOMENTS)


@pytest.mark.slow
@pytest.mark.parametrize("kills", [8, pytest.param(100, marks=LONG)])
def test_killed_at_any_time_nothing_is_lost_and_nothing_is_there_twice(
    campaign: Callable[[int], Campaign], kills: int, show: Callable[[str], None]
) -> None:
    killing = campaign(kill_seed(fresh=kills > 8))
    while killing.kills < kills:
        at_work = killing.chance.random() < 0.9
        killing.live(after_s=killing.chance.random() * 0.6 if at_work else -killing.chance.random())
        assert killing.lives < 3 * kills
    killing.finish()
    for line in killing.histogram("killed at random"):
        show(line)
