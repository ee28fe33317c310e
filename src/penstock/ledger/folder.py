"""The state folder of a project: what a run leaves beside its document, readable by its owner alone."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

STATE_FOLDER = ".penstock"
"""Name of the state folder inside a project."""
_FOLDER_MODE = 0o700
_FILE_MODE = 0o600
_OTHERS = 0o077


def make_folder(folder: Path) -> None:
    """Create the state folder, durably, and close it to others. Raises OSError."""
    if not folder.is_dir():
        folder.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
        sync(folder.parent)
    close_to_others(folder)


def make_file(path: Path) -> None:
    """Create an empty file, durably, and close it to others; one that exists keeps its content. Raises OSError."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, _FILE_MODE))
    except FileExistsError:
        close_to_others(path)
    else:
        sync(path.parent)


def close_to_others(path: Path) -> None:
    """Take from a file or folder what its owner alone should have. Raises OSError."""
    if path.stat().st_mode & _OTHERS:
        path.chmod(_FOLDER_MODE if path.is_dir() else _FILE_MODE)


def sync(folder: Path) -> None:
    """Make the names in `folder` survive a power cut. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
