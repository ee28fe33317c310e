"""How Arrow takes memory from the operating system while a run is under way."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Iterator

KEEPS_FREED_PAGES = "jemalloc"


@contextmanager
def warm_memory() -> Iterator[None]:
    """Let Arrow allocate from a pool that keeps freed pages for a second, where there is one.

    Chunks of the same size come and go several times a second. Arrow's default pool gives their pages back at once,
    and the kernel has to clear them anew for the next chunk: an eighth of a run's processor time, measured.
    """
    if KEEPS_FREED_PAGES not in pa.supported_memory_backends():
        yield
        return
    before = pa.default_memory_pool()
    pa.set_memory_pool(pa.jemalloc_memory_pool())
    try:
        yield
    finally:
        pa.set_memory_pool(before)
