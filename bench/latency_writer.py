"""Writes records into a file that is followed, in a process of its own: at a pace, or as far ahead as it is allowed.

    python -m bench.latency_writer FILE --rate 1000 --seconds 20
    python -m bench.latency_writer FILE --ahead --prepare 1000000

At a pace, every record carries the wall time at which it was written. With `--ahead` each line on standard input says
up to which record to write. At the end a line of JSON says what was written, and when that began and ended.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import time
from collections import deque
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType
    from typing import IO

ROOT = Path(__file__).resolve().parents[1]
HEADER = "id,written_us,amount,discount\n"
SEED = 20_240_607
BURST_S = 0.005
"""Time between two writes at a pace: at 10,000 records a second, 50 of them are written at once."""
BLOCK_RECORDS = 20_000
"""Records of one write when writing ahead."""
CHEAPEST_CENTS = 1_000
DEAREST_CENTS = 1_000_000
DISCOUNT_CENTS = 100


@dataclass(frozen=True, slots=True)
class Written:
    """What was written. `rejects` break the rule `net >= 0`; `amount_cents` is the sum of the others.

    Times are seconds since 1970-01-01 UTC.
    """

    records: int = 0
    rejects: int = 0
    amount_cents: int = 0
    began_s: float = 0.0
    ended_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive records as text, and what is in it."""

    text: bytes
    records: int
    rejects: int
    amount_cents: int


def block(first: int, records: int, reject_share: float, written_us: int = 0) -> Block:
    """Return so many records from number `first` on; the same every time."""
    cents = _whole(_chance(records, first, salt=1), CHEAPEST_CENTS, DEAREST_CENTS)
    is_reject = pc.less(_chance(records, first, salt=2), reject_share)
    discounts = pc.if_else(is_reject, pc.add(cents, 1), DISCOUNT_CENTS)
    table = pa.table(
        {
            "id": pa.arange(first, first + records),
            "written_us": pa.repeat(pa.scalar(written_us, pa.int64()), records),
            "amount": _money(cents),
            "discount": _money(discounts),
        }
    )
    out = io.BytesIO()
    csv.write_csv(table, out, csv.WriteOptions(include_header=False, quoting_style="none"))
    accepted = pc.sum(pc.if_else(is_reject, 0, cents)).as_py()
    return Block(out.getvalue(), records, pc.sum(is_reject).as_py(), accepted)


def _chance(records: int, first: int, *, salt: int) -> pa.DoubleArray:
    return pc.random(records, initializer=SEED * salt + first)


def _whole(chance: pa.DoubleArray, lowest: int, highest: int) -> pa.Int64Array:
    return pc.add(pc.cast(pc.floor(pc.multiply(chance, highest - lowest)), pa.int64()), lowest)


def _money(cents: pa.Int64Array) -> pa.Decimal128Array:
    """Return cents as amounts: the same digits, with the point two places further left."""
    return pa.Array.from_buffers(pa.decimal128(19, 2), len(cents), cents.cast(pa.decimal128(19, 0)).buffers())


class Writer:
    """The writing process, seen from the one that measures."""

    def __init__(self, file: Path, *options: str) -> None:
        """Start it with these options."""
        command = [sys.executable, "-m", "bench.latency_writer", str(file), *options]
        self._process = subprocess.Popen(  # noqa: S603 - our own words and numbers
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._in = _there(self._process.stdin)
        self._out = _there(self._process.stdout)
        self._allowed = 0

    def __enter__(self) -> Self:
        """Wait until it is ready."""
        if self._out.readline() != "ready\n":
            raise RuntimeError("the writer did not begin")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it, whatever happened."""
        self._process.kill()
        self._process.wait()
        self._in.close()
        self._out.close()

    def allow(self, to: int) -> None:
        """Let it write up to record `to`; for one that writes ahead."""
        if to > self._allowed:
            self._allowed = to
            self._say(f"{to}\n")

    def begin(self) -> None:
        """Let it begin; for one that keeps a pace."""
        self._say("begin\n")

    @property
    def has_ended(self) -> bool:
        """Whether it has written all."""
        return self._process.poll() is not None

    def written(self) -> Written:
        """Wait until it has written all, and return what that is."""
        self._in.close()
        return Written(**json.loads(self._out.readline()))

    def _say(self, line: str) -> None:
        self._in.write(line)
        self._in.flush()


def _there(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream


def main(arguments: Sequence[str] | None = None) -> None:
    """Write, and say what was written."""
    options = _options(arguments)
    with options.file.open("ab", buffering=0) as file:
        if options.ahead:
            blocks = _blocks(options.reject_share)
            prepared = deque(islice(blocks, options.prepare // BLOCK_RECORDS))
            print("ready", flush=True)
            written = _write_ahead(file, prepared, blocks)
        else:
            block(0, 1, options.reject_share)  # the first is slow
            print("ready", flush=True)
            sys.stdin.readline()
            written = _write_paced(file, options.rate, options.seconds, options.reject_share)
    print(json.dumps(asdict(written)), flush=True)


def _blocks(reject_share: float) -> Iterator[Block]:
    first = 0
    while True:
        yield block(first, BLOCK_RECORDS, reject_share)
        first += BLOCK_RECORDS


def _write_ahead(file: io.RawIOBase, prepared: deque[Block], blocks: Iterator[Block]) -> Written:
    done, began_s = Written(), time.time()
    for line in sys.stdin:
        while done.records < int(line):
            done = _append(file, done, prepared.popleft() if prepared else next(blocks))
    return _timed(done, began_s)


def _write_paced(file: io.RawIOBase, rate: int, seconds: float, reject_share: float) -> Written:
    done, began_s, began = Written(), time.time(), time.monotonic()
    records = round(rate * seconds)
    while done.records < records:
        due = min(records, int((time.monotonic() - began) * rate))
        if due > done.records:
            new = block(done.records, due - done.records, reject_share, time.time_ns() // 1000)
            done = _append(file, done, new)
        time.sleep(BURST_S)
    return _timed(done, began_s)


def _append(file: io.RawIOBase, done: Written, new: Block) -> Written:
    left = memoryview(new.text)
    while left:
        left = left[file.write(left) :]
    return Written(done.records + new.records, done.rejects + new.rejects, done.amount_cents + new.amount_cents)


def _timed(done: Written, began_s: float) -> Written:
    return Written(done.records, done.rejects, done.amount_cents, began_s, time.time())


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Write records into a file that is followed.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--rate", type=int, default=1000, help="records a second")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--ahead", action="store_true", help="write as far as standard input says")
    parser.add_argument("--prepare", type=int, default=0, help="records to keep ready before it begins")
    parser.add_argument("--reject-share", type=float, default=0.0, help="share of records that break the rule, 0 to 1")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
