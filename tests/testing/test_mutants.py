"""Planted faults: the catalogue fits the code, and the simulator finds some of them. `make mutants` looks for all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HANDFUL = (
    "Alpha tells the source before the ledger",
    "Answers count for a whole batch",
    "Beta never settles what has no rows for Gamma",
)
"""Each way to be found is among them, and almost any seed finds them."""
HARMLESS = '''
[[mutant]]
name = "A comment"
seed = 3
sees = ["nothing lost"]

[[mutant.edit]]
file = "protocol/tables.py"
original = """
        self.reached[state, event] += 1
"""
replacement = """
        self.reached[state, event] += 1  # as it is
"""
'''


def mutants(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "scripts.mutants", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture
def harmless(tmp_path: Path) -> Path:
    catalogue = tmp_path / "catalogue.toml"
    catalogue.write_text(HARMLESS, encoding="utf-8")
    return catalogue


def test_every_planted_fault_fits_the_code_as_it_is() -> None:
    found = mutants("--check")
    assert found.returncode == 0, found.stdout + found.stderr


def test_a_fault_that_no_longer_fits_is_told(harmless: Path) -> None:
    text = harmless.read_text(encoding="utf-8")
    harmless.write_text(text.replace("+= 1\n", "+= 2\n").replace("nothing lost", "nothing left"), encoding="utf-8")
    found = mutants("--check", "--catalogue", str(harmless))
    assert found.returncode == 1
    assert "stands 0 times in protocol/tables.py" in found.stdout
    assert "no invariant is called 'nothing left'" in found.stdout


def test_a_handful_of_planted_faults_is_found() -> None:
    chosen = [part for name in HANDFUL for part in ("--only", name)]
    found = mutants(*chosen, "--seeds", "100")
    assert found.returncode == 0, found.stdout + found.stderr
    assert found.stdout.count("caught by seed") == len(HANDFUL)
    assert "1 by own check" in found.stdout
    assert "1 by no progress" in found.stdout


def test_a_fault_that_nothing_finds_is_told(harmless: Path) -> None:
    found = mutants("--catalogue", str(harmless), "--seeds", "1")
    assert found.returncode == 1, found.stderr
    assert "SURVIVED 2 seeds" in found.stdout
    assert "0 of 1 mutants caught" in found.stdout
