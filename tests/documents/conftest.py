from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from penstock.documents import Documents, load

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def loaded(tmp_path: Path) -> Callable[..., Documents]:
    """Write a file and load it: `loaded(text, "name.md")`."""

    def write_and_load(text: str | bytes, name: str = "orders.md") -> Documents:
        path = tmp_path / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return load([path])

    return write_and_load
