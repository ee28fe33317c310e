"""Files as a destination, and death at every line of the sink between the first write and the end of the commit."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.connectors.files_sink import seen_by_manifest

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("work", "file_format", "step"), [("append", "parquet", 17), ("append", "csv", 37), ("replace", "jsonl", 31)]
)
def test_killed_at_any_line_all_of_a_commit_is_there_or_nothing_for_every_reader_and_the_next_goes_on(
    tmp_path: Path, work: str, file_format: str, step: int
) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "tests.connectors.files_sink_killed", str(tmp_path), work, str(step), file_format],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )
    assert ended.returncode == 0, ended.stderr
    counted = json.loads(ended.stdout)
    assert counted["killed"] > 20, counted
    assert 0 < counted["committed"] < counted["killed"], counted


ONE_COMMIT = """
import sys
from pathlib import Path
from tests.connectors.files_sink import *
sink = open_at(Path(sys.argv[1]), HALVES, format=sys.argv[2])
sink.write(halved(0, 100), "a.csv")
sink.commit([mark(100)])
sink.close()
"""
SYNCED = re.compile(r"fsync\(\d+<(?P<path>[^>]*)>\) += 0")
RENAMED = re.compile(r'rename(?:at2?)?\(.*?"(?P<old>[^"]*)".*?"(?P<new>[^"]*)".*\) += 0')


@pytest.mark.parametrize("file_format", ["parquet", "csv"])
def test_whatever_the_next_step_relies_on_is_on_the_disk_before_it(
    tmp_path: Path, tool: Callable[[str], str], file_format: str
) -> None:
    """A power cut takes what was not synced: content before its file is, a name before its folder is."""
    log = tmp_path / "calls"
    calls = "trace=fsync,rename,renameat,renameat2"
    subprocess.run(
        [tool("strace"), "-f", "-y", "-e", calls, "-o", log, sys.executable, "-c", ONE_COMMIT, tmp_path, file_format],
        check=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    table = tmp_path / "out" / "orders"
    ours, made = table / "_penstock", [table / path for path in seen_by_manifest(table)]
    synced: set[str] = set()
    decided = carried_out = 0
    for line in log.read_text().splitlines():
        if sync := SYNCED.search(line):
            synced.add(sync["path"])
        elif rename := RENAMED.search(line):
            old, new = Path(rename["old"]), Path(rename["new"])
            if new.name == "manifest.next.json":
                unfinished = {str(ours / "unfinished" / f"{path.name.replace('.', '-')}.new") for path in made}
                assert {*unfinished, str(old), str(ours / "unfinished")} <= synced
                decided += 1
            elif new in made:
                assert decided
                assert str(ours) in synced
            elif old.name == "manifest.next.json":
                assert {str(path.parent) for path in made} <= synced
                carried_out += 1
            synced -= {str(new.parent), str(old.parent)}
    assert (decided, carried_out) == (1, 1)
    assert str(ours) in synced, "the last name was not synced"
