"""One run at a time per state folder. The kernel holds the lock, so the lock of a dead process is no lock."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec
from filelock import FileLock, Timeout

from penstock.errors import LedgerTrouble, Unavailable
from penstock.ledger.folder import make_file, make_folder
from penstock.ledger.timestamps import timestamp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class Holder(msgspec.Struct, frozen=True):
    """Who holds the lock: written beside it for the message to others, never relied upon."""

    pid: int
    since: str
    pipeline: str


@contextmanager
def hold(folder: Path, pipeline: str, *, time_s: Callable[[], float] = time.time) -> Iterator[None]:
    """Be the only run in the state folder `folder`, which is created where it is missing.

    Raises Unavailable, with who holds it since when, where another run does; LedgerTrouble where the folder cannot be
    written.
    """
    lock = _lock(folder)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise Unavailable("INT_PIPELINE_001", _held_by(_holder(folder), folder)) from None
    except OSError as error:
        raise LedgerTrouble("INT_LEDGER_001", f"{folder}: {error}") from error
    try:
        _write_holder(folder, Holder(os.getpid(), timestamp(time_s()), pipeline))
        yield
    finally:
        _holder_path(folder).unlink(missing_ok=True)
        lock.release()


def _lock(folder: Path) -> FileLock:
    path = folder / "lock"
    try:
        make_folder(folder)
        make_file(path)
    except OSError as error:
        raise LedgerTrouble("INT_LEDGER_001", f"{folder}: {error}") from error
    # Without a lock of the kernel's there is only one that outlives its process: better to say so and stop.
    return FileLock(path, thread_local=False, fallback_to_soft=False)


def _holder_path(folder: Path) -> Path:
    return folder / "lock.json"


def _write_holder(folder: Path, holder: Holder) -> None:
    path = _holder_path(folder)
    new = path.with_suffix(".new")
    try:
        new.write_bytes(msgspec.json.encode(holder) + b"\n")
        new.replace(path)
    except OSError as error:
        raise LedgerTrouble("INT_LEDGER_001", f"{path}: {error}") from error


def _holder(folder: Path) -> Holder | None:
    try:
        return msgspec.json.decode(_holder_path(folder).read_bytes(), type=Holder)
    except (OSError, msgspec.DecodeError):
        return None


def _held_by(holder: Holder | None, folder: Path) -> str:
    if holder is None:
        return f"another process has just begun to use {folder}"
    return f"process {holder.pid} has been running pipeline `{holder.pipeline}` in {folder} since {holder.since}"
