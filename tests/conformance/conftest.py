"""Places for outside things that lie in files."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def open_root() -> Iterator[Path]:
    """A folder that every user may reach, which pytest's own is not."""
    root = Path(tempfile.mkdtemp())
    root.chmod(0o777)
    yield root
    root.chmod(0o777)
    shutil.rmtree(root)
