"""The benchmarks of latency, back-pressure and slow destinations work, and count exactly. Not how fast anything is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_S = 540
SVG = "{http://www.w3.org/2000/svg}"


def run(program: str, folder: Path, *options: str) -> tuple[str, dict[str, Any]]:
    """Run a benchmark to its good end; return what it printed, and what it wrote down."""
    places = ("--figures", str(folder / "figures"), "--results", str(folder / "results"))
    ended = subprocess.run(
        [sys.executable, "-m", program, *options, *places],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
    )
    assert ended.returncode == 0, ended.stderr
    (written,) = (folder / "results").iterdir()
    found: dict[str, Any] = json.loads(written.read_text(encoding="utf-8"))
    return ended.stdout, found


def drawn(folder: Path) -> dict[str, set[str | None]]:
    """Return the texts of each drawing, by its name."""
    return {
        path.stem: {text.text for text in ET.parse(path).getroot().iter(f"{SVG}text")}  # noqa: S314 - our own file
        for path in (folder / "figures").iterdir()
    }


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_latency_is_measured_and_every_record_and_reject_is_found_again(tmp_path: Path) -> None:
    said, found = run("bench.latency", tmp_path, "--quick")
    assert said.count("\n|---|---:|") == 3
    assert [each["mode"] for each in found["paced"]] == ["streaming", "batch"]
    assert all(each["records"] == 1_000 for each in found["paced"])
    assert all(0 < each["visible"]["p50_ms"] <= each["visible"]["p99_ms"] for each in found["paced"])
    sustained = found["sustained"]
    assert 0 < sustained["rejects"] < sustained["records"] * 0.02
    assert sustained["largest"] <= 1_000
    for pressed in found["pressed"]:
        # Alpha goes on until what is bounded is full, and no further; after that everything is settled.
        assert 0 <= pressed["reading"]["records"] <= 1_000_000
        assert pressed["reading"]["again_s"] is not None
    assert {"latency-pressure", "latency-visible"} == drawn(tmp_path).keys()
    assert "seconds since then" in drawn(tmp_path)["latency-pressure"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_destination_slowed_to_a_crawl_costs_no_memory_and_no_record(tmp_path: Path) -> None:
    said, found = run("bench.soak", tmp_path, "--short")
    assert said.count("\n| streaming |") == said.count("\n| batch |") == 1
    for soaked in found["runs"]:
        during = [each["settled"] for each in soaked["samples"] if 2.5 < each["at_s"] < 15]
        assert during[-1] - during[0] < 12.5 * 20_000 + 200_000  # what it takes, and a transaction that was under way
        assert soaked["records"] > soaked["rejects"] > 0
    assert "resident memory, MiB" in drawn(tmp_path)["soak-memory"]
    assert "million records" in drawn(tmp_path)["soak-settled"]
