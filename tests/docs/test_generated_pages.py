"""Pages that are drawn from tables in the code say what the code says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_generated_pages_are_what_the_code_says() -> None:
    found = subprocess.run(
        [sys.executable, str(ROOT / "scripts/write_docs.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stdout + found.stderr
