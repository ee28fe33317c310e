"""The plug-in, installed as any package is, into a folder of its own."""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
INSTALL = ("install", "--quiet", "--disable-pip-version-check", "--no-index", "--no-deps", "--no-build-isolation")


@pytest.fixture(scope="package")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the plug-in is installed."""
    site = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "pip", *INSTALL, "--target", str(site), str(HERE)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return site


@pytest.fixture(scope="package")
def installed(site: Path) -> Iterator[None]:
    """In this process, too, the plug-in is there."""
    sys.path.insert(0, str(site))
    importlib.invalidate_caches()
    yield
    sys.path.remove(str(site))
    for name in [name for name in sys.modules if name.partition(".")[0] == "penstock_sqlite"]:
        del sys.modules[name]


@pytest.fixture
def open_root() -> Iterator[Path]:
    """A folder that every user may reach, which pytest's own is not."""
    root = Path(tempfile.mkdtemp())
    root.chmod(0o777)
    yield root
    shutil.rmtree(root)
