"""Access and refresh tokens on the disk: what a server handed out last is there before it is first used.

A refresh token that rotates can be used once. Whoever used it and lost the answer's new one must sign in by hand
again, so the new one is written, synced and named durably (mode 0600) before a request is made with it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec
from filelock import FileLock

from penstock.errors import Unavailable
from penstock.ledger.folder import make_file, make_folder, sync

if TYPE_CHECKING:
    from pathlib import Path


class Tokens(msgspec.Struct, frozen=True):
    """What an authorisation server handed out. Times in seconds since 1970; `expires_s` is None where it never said.

    `asked_with` is a hash of what was configured: tokens of other credentials are none of ours.
    """

    asked_with: str
    access: str
    refresh: str
    expires_s: float | None

    def __repr__(self) -> str:
        return "<Tokens, not shown>"


def load_tokens(path: Path, asked_with: str) -> Tokens | None:
    """Return what was kept for these credentials, None where there is nothing. Raises Unavailable."""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Tokens)
    except (FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError):
        return None
    except OSError as error:
        raise _cannot_be_kept(path, error) from error
    return found if found.asked_with == asked_with else None


def lock_of(path: Path) -> FileLock:
    """Return the lock that whoever asks for new tokens holds meanwhile. Raises Unavailable."""
    lock = path.with_suffix(".lock")
    try:
        make_folder(path.parent)
        make_file(lock)
    except OSError as error:
        raise _cannot_be_kept(lock, error) from error
    return FileLock(lock, thread_local=False, fallback_to_soft=False)


def keep_tokens(path: Path, tokens: Tokens) -> None:
    """Write tokens durably; when this returns, neither a kill nor a power cut takes them away. Raises Unavailable."""
    new = path.with_suffix(".new")
    try:
        make_folder(path.parent)
        make_file(new)
        file = os.open(new, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
        with open(file, "wb") as stream:  # noqa: PTH123 - a descriptor that is open already
            stream.write(msgspec.json.encode(tokens))
            stream.flush()
            os.fsync(file)
        new.replace(path)
        sync(path.parent)
    except OSError as error:
        raise _cannot_be_kept(path, error) from error


def _cannot_be_kept(path: Path, error: OSError) -> Unavailable:
    return Unavailable("INT_ALPHA_017", f"{path}: {error.strerror or type(error).__name__}")
