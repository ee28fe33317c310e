"""Another program that writes to our standard input.

What is added waits in a spool, and goes down a pipe of its own for each source that is opened, as for each process.
"""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from threading import Event, Thread
from typing import TYPE_CHECKING

from tests.conformance.files_harness import in_csv

from penstock.connectors.sources.stdin import StandardInput
from penstock.model.pipeline import Connection, SourceTable
from penstock.model.settings import Settings
from penstock.testing.conformance import Cannot, SourceHarness
from penstock.testing.conformance.harness import HERE, KEY, TABLE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import pyarrow as pa

    from penstock.model.position import Position
    from penstock.model.schema import Field
    from penstock.ports import Chunk, Following, Source

POLL_S = 0.01
PIECE_BYTES = 4096
SLOW_PIECE_BYTES = 499


@dataclass
class StdinHarness(SourceHarness):
    """A spool below `root`; what went down a pipe is taken out of it."""

    root: Path
    added: int = 0
    piece_bytes: int = PIECE_BYTES
    promises = StandardInput.declares.promises[0]
    settings = Settings({"READ_BYTES": 4096})

    def __post_init__(self) -> None:
        self.connection = Connection("shop", path="-", options={"format": "csv"})

    @property
    def spool(self) -> Path:
        return self.root / "spool"

    @property
    def header(self) -> Path:
        return self.root / "header.csv"

    def create(self, fields: Sequence[Field]) -> None:
        self.header.write_text(",".join(field.name for field in fields) + "\n", encoding="utf-8")
        self.spool.mkdir(exist_ok=True)

    def add(self, rows: pa.Table) -> None:
        self._put("".join(f"{','.join(map(in_csv, row.values()))}\n" for row in rows.to_pylist()))

    def add_bad(self) -> bytes:
        self._put("1,2,3,4,5,6\n")
        return b"1,2,3,4,5,6"

    def take(self) -> bytes:
        """Take what is in the spool, oldest first."""
        files = sorted(self.spool.iterdir()) if self.spool.is_dir() else []
        taken = b"".join(file.read_bytes() for file in files)
        for file in files:
            file.unlink()
        return taken

    @contextmanager
    def slow(self) -> Iterator[None]:
        self.piece_bytes = SLOW_PIECE_BYTES
        try:
            yield
        finally:
            self.piece_bytes = PIECE_BYTES

    def _put(self, text: str) -> None:
        unfinished = self.root / "unfinished.csv"
        unfinished.write_text(text, encoding="utf-8", newline="")
        unfinished.rename(self.spool / f"{self.added:06}.csv")  # whole, when it is there
        self.added += 1

    def held(self) -> int:
        """Return the bytes of the journal's segments."""
        return sum(path.stat().st_size for path in (self.root / ".penstock").rglob("*.part"))

    def open(self, fields: Sequence[Field], *, table: str = TABLE, connection: Connection | None = None) -> Source:
        if connection is not None:  # nothing is read of it
            return super().open(fields, table=table, connection=connection)
        if table != TABLE:
            raise Cannot("standard input has no tables to be missing")
        described = SourceTable(table, "", "shop", self.connection, tuple(fields), HERE, (KEY,))
        return Fed(described, self)


class Fed(StandardInput):
    """Standard input, and who writes to it once it is read: what there is, or all that comes if it is followed."""

    def __init__(self, table: SourceTable, harness: StdinHarness) -> None:
        self._pipe, self._into = os.pipe()
        os.set_blocking(self._into, False)
        self._harness = harness
        self._last, self._gone = Event(), Event()
        self._feeder: Thread | None = None
        super().__init__(table, harness.root, harness.settings, harness.root / ".penstock", descriptor=self._pipe)

    def read(self, partition: str, position: Position | None) -> Iterator[Chunk]:
        self._last.set()
        self._feed()
        return super().read(partition, position)

    def follow(self, positions: Mapping[str, Position]) -> Following:
        self._feed()
        return super().follow(positions)

    def close(self) -> None:
        self._gone.set()
        if self._feeder is not None:
            self._feeder.join()
        else:
            os.close(self._into)
        super().close()
        os.close(self._pipe)

    def _feed(self) -> None:
        if self._feeder is None:
            self._feeder = Thread(target=self._write, daemon=True)
            self._feeder.start()

    def _write(self) -> None:
        waiting = self._harness.header.read_bytes()
        while not self._gone.wait(POLL_S if not waiting else 0):
            if waiting:
                waiting = waiting[self._put(waiting[: self._harness.piece_bytes]) :]
                continue
            is_last = self._last.is_set()
            waiting = self._harness.take()
            if is_last and not waiting:
                break
        os.close(self._into)

    def _put(self, piece: bytes) -> int:
        """Write what there is room for; slowly, where that is asked for."""
        written = 0
        with suppress(BlockingIOError):
            written = os.write(self._into, piece)
        if not written or len(piece) == SLOW_PIECE_BYTES:
            self._gone.wait(POLL_S)
        return written
