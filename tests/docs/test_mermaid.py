"""Diagrams are of known kinds, name whom they declare, and close what they open."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BLOCKS = [
    (f"{path.relative_to(ROOT)}:{text[: found.start()].count(chr(10)) + 1}", found["diagram"])
    for path in sorted((ROOT / "docs").glob("**/*.md"))
    if (text := path.read_text(encoding="utf-8"))
    for found in re.finditer(r"^```mermaid\n(?P<diagram>.*?)^```$", text, re.MULTILINE | re.DOTALL)
]
KINDS = ("flowchart LR", "flowchart TD", "sequenceDiagram", "stateDiagram-v2")
OPENING = re.compile(r"(?:alt|loop|opt|par|critical|rect|box) ")
ARROW = re.compile(r"(?P<from>\w+)(?:->>|-->>|-x|--x|-\))(?P<to>\w+): \S.*")
NOTE = re.compile(r"Note (?:over|left of|right of) (?P<whom>\w+(?:,\w+)*): \S.*")
MOVE = re.compile(r"(?:\[\*\]|[A-Z_]+) --> (?:\[\*\]|[A-Z_]+)(?:: \S.*)?")


def lines(diagram: str) -> list[str]:
    return [line.strip() for line in diagram.splitlines()[1:] if line.strip()]


@pytest.mark.parametrize(("place", "diagram"), BLOCKS, ids=[place for place, _ in BLOCKS])
def test_a_diagram_is_of_a_kind_that_is_checked_here(place: str, diagram: str) -> None:
    assert diagram.splitlines()[0] in KINDS, place


def of(kind: str) -> list[tuple[str, str]]:
    return [(place, diagram) for place, diagram in BLOCKS if diagram.startswith(kind)]


@pytest.mark.parametrize(("place", "diagram"), of("sequenceDiagram"))
def test_a_sequence_is_among_its_participants_all_of_whom_take_part(place: str, diagram: str) -> None:
    declared = re.findall(r"^ +participant (\w+) as \w+", diagram, re.MULTILINE)
    took_part, depth = set[str](), 0
    for line in lines(diagram):
        if arrow := ARROW.fullmatch(line):
            took_part |= {arrow["from"], arrow["to"]}
        elif note := NOTE.fullmatch(line):
            assert set(note["whom"].split(",")) <= set(declared), (place, line)
        elif OPENING.match(line):
            depth += 1
        elif line == "end":
            depth -= 1
            assert depth >= 0, (place, line)
        else:
            assert line.startswith("participant "), (place, line)
    assert depth == 0
    assert took_part == set(declared), place
    assert len(declared) == len(set(declared)), place
    assert not set(";#") & set(diagram), f"{place}: mermaid ends a line there"


@pytest.mark.parametrize(("place", "diagram"), of("stateDiagram-v2"))
def test_a_picture_of_states_has_a_beginning_and_nothing_but_moves(place: str, diagram: str) -> None:
    moves = lines(diagram)
    assert moves[0].startswith("[*] --> "), place
    assert [move for move in moves if not MOVE.fullmatch(move)] == []


@pytest.mark.parametrize(("place", "diagram"), of("flowchart"))
def test_a_flowchart_closes_what_it_opens(place: str, diagram: str) -> None:
    for one, other in ("[]", "()", "{}"):
        assert diagram.count(one) == diagram.count(other), place
    assert diagram.count('"') % 2 == 0, place
    words = [line.split()[0] for line in lines(diagram)]
    assert words.count("subgraph") == words.count("end"), place


def test_there_are_diagrams_of_each_kind_that_specs_need() -> None:
    assert len(of("sequenceDiagram")) >= 8
    assert len(of("stateDiagram-v2")) >= 3
    assert len(of("flowchart")) >= 5
