"""What the specs say of messages, states, errors, settings and names is what the code says, and no word is missing."""

from __future__ import annotations

import inspect
import re
import sys
import tomllib
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import msgspec
import pytest

from penstock import errors, ports
from penstock.errors import KINDS
from penstock.ledger import Ledger
from penstock.links import receiving, sending
from penstock.model import outcome, position
from penstock.model.settings import SETTINGS
from penstock.observing import facts, figures, latency
from penstock.orchestration import control
from penstock.planning import KINDS as PLANNED
from penstock.protocol import (
    breaker,
    cache_messages,
    codec,
    frames,
    health_messages,
    job_messages,
    messages,
    receiver,
    sender,
    session,
)
from penstock.protocol.tables import Table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

ROOT = Path(__file__).resolve().parents[2]
SPECS = ROOT / "docs/specs"
NAMES = sorted(path.name for path in SPECS.glob("*.md"))
SPECIFIED: Mapping[str, Any] = tomllib.loads((ROOT / "scripts/drawing/specified.toml").read_text(encoding="utf-8"))
WORDS: Mapping[str, Any] = tomllib.loads((ROOT / "scripts/drawing/words.toml").read_text(encoding="utf-8"))
PLACES = (messages, frames, health_messages, cache_messages, job_messages, breaker, outcome, position, errors)
KEPT_TO_OURSELVES = {"RecordError", "DeadLetter", "Mark", "CircuitEvent"}
"""What lives there and is never said on a link."""
NOT_THERE_YET = {"HEALTH_CHECK_INTERVAL_MS", "HEALTH_CHECK_TIMEOUT_MS"}
"""Settings of the specification that come with what they are about."""

Row = tuple[str, ...]


def page(name: str) -> str:
    return (SPECS / name).read_text(encoding="utf-8")


LAYER = page("integration-layer.md")
ALL = "\n".join(map(page, NAMES))


def rows(text: str) -> list[Row]:
    """Return the rows of the first table in `text`, its head included."""
    found: list[Row] = []
    for line in text.splitlines():
        if line.startswith("|"):
            found.append(tuple(cell.strip() for cell in line.strip("|").split("|")))
        elif found:
            break
    return [row for row in found if set("".join(row)) - {"-"} or not "".join(row)]


def below(heading: str, text: str = LAYER) -> str:
    """Return what stands below a heading, up to the next one of its rank or above."""
    found = re.search(rf"^(#+) {re.escape(heading)}$", text, re.MULTILINE)
    assert found is not None, heading
    rest = text[found.end() :]
    end = re.search(rf"^#{{1,{len(found[1])}}} ", rest, re.MULTILINE)
    return rest[: end.start()] if end else rest


def of_kind(kind: type) -> dict[str, Any]:
    return {
        name: value
        for place in PLACES
        for name, value in vars(place).items()
        if inspect.isclass(value) and issubclass(value, kind) and value.__module__ == place.__name__
        if name not in KEPT_TO_OURSELVES
    }


STRUCTS: Mapping[str, type[msgspec.Struct]] = of_kind(msgspec.Struct)
ENUMS: Mapping[str, type[StrEnum]] = of_kind(StrEnum)


# --- messages -----------------------------------------------------------------------------------------------------


def table_of(name: str) -> list[Row]:
    heading = re.search(rf"^#### {name}\*?$", LAYER, re.MULTILINE)
    assert heading is not None, f"{name} has no table"
    head, *table = rows(below(heading[0].removeprefix("#### ")))
    assert head == ("field", "type", "default", "meaning")
    return table


def bare(text: str) -> str:
    return text.replace("`", "").rstrip("*")


@pytest.mark.parametrize("name", STRUCTS)
def test_every_field_of_a_structure_has_its_row_and_every_row_its_words(name: str) -> None:
    table = table_of(name)
    assert [bare(row[0]) for row in table] == list(STRUCTS[name].__struct_fields__)
    assert [row for row in table if not row[1]] == []


@pytest.mark.parametrize("name", SPECIFIED["structs"])
def test_nothing_that_is_specified_of_a_structure_is_renamed_dropped_or_of_another_type(name: str) -> None:
    kept = [(bare(row[0]), as_specified(row[1])) for row in table_of(name) if not row[0].endswith("*")]
    assert kept == list(SPECIFIED["structs"][name].items())


def as_specified(kind: str) -> str:
    """Return a type as the specification writes it: which enum, and whether it may be null, it does not say."""
    return re.sub(r"\benum \w+", "enum", kind.replace("`", "")).removesuffix(" or null")


def test_every_value_of_every_enum_has_its_row() -> None:
    found: dict[str, list[str]] = {}
    for section in re.findall(r"<!-- drawn: enums .*?<!-- end -->", LAYER, re.DOTALL):
        name = ""
        for row in rows(section)[1:]:
            name = bare(row[0]) or name
            found.setdefault(name, []).append(row[1])
    assert set(found) == set(ENUMS) - {"MessageType"}
    for name, values in found.items():
        assert [bare(value) for value in values] == list(ENUMS[name])
    for name, values in SPECIFIED["enums"].items():
        known = found.get(name) or [row[1] + star(row[1], LAYER) for row in rows(below("2.8 Who says what"))[1:]]
        assert set(values) <= {bare(value) for value in known}


def star(text: str, where: str) -> str:
    return "*" if f"{text}*" in where else ""


def test_the_values_that_are_marked_as_ours_are_those_that_are_not_specified() -> None:
    ours = {
        (name, bare(value))
        for section in re.findall(r"<!-- drawn: enums .*?<!-- end -->", LAYER, re.DOTALL)
        for name, value in named_values(section)
        if value.endswith("*")
    }
    known = {(name, value) for name, values in SPECIFIED["enums"].items() for value in values}
    there = {(name, str(value)) for name, enum in ENUMS.items() for value in enum if name in SPECIFIED["enums"]}
    assert ours == {pair for pair in there - known if pair[0] != "MessageType"}


def named_values(section: str) -> Iterator[tuple[str, str]]:
    name = ""
    for row in rows(section)[1:]:
        name = bare(row[0]) or name
        yield name, row[1]


def test_every_message_has_a_type_a_way_and_a_word_on_what_comes_of_it() -> None:
    table = rows(below("2.8 Who says what"))[1:]
    said = [(re.sub(r"\[(\w+)\].*", r"\1", row[0]), bare(row[1])) for row in table]
    assert said == [(kind.__name__, str(of)) for kind, of in codec.MESSAGE_TYPES.items()]
    assert [row for row in table if not all(row)] == []
    assert {str(kind) for kind in messages.MessageType} == {kind for _, kind in said}


def test_everything_that_is_marked_as_ours_is_among_the_additions_with_a_reason() -> None:
    additions = rows(below("10. Additions"))[1:]
    assert [row for row in additions if not row[2]] == []
    names = {bare(row[1]) for row in additions}
    marked = set(re.findall(r"^#### (\w+)\*$", LAYER, re.MULTILINE))
    for name in set(STRUCTS) - marked:
        marked |= {f"{name}.{bare(row[0])}" for row in table_of(name) if row[0].endswith("*")}
    assert marked - names == set()
    assert {name for name in names if name.split(".")[0] in STRUCTS} == marked
    settings = next(row[1] for row in additions if row[0] == "settings")
    assert set(re.findall(r"`(\w+)`", settings)) == {name for name, setting in SETTINGS.items() if setting.ours}


def test_no_word_is_missing_and_none_is_about_what_is_not_there() -> None:
    fields = {(name, field) for name, kind in STRUCTS.items() for field in kind.__struct_fields__ if field != "header"}
    assert {(name, field) for name, words in WORDS["fields"].items() for field in words} == fields
    values = {(name, value.name) for name, enum in ENUMS.items() for value in enum if name != "MessageType"}
    assert {(name, value) for name, words in WORDS["values"].items() for value in words} == values
    assert set(WORDS["says"]) == {kind.__name__ for kind in codec.MESSAGE_TYPES}
    known = {*STRUCTS, *ENUMS, *(f"{name}.{field}" for name, field in fields | values)}
    assert set(WORDS["why"]) <= known
    assert set(SPECIFIED["named"]) <= {*STRUCTS, "ValidatedRecord", "TransformedRecord"}


def test_the_layout_of_frames_is_as_it_is_told() -> None:
    told = below("2.9 Frames as bytes")
    assert (codec.PREAMBLE.size, codec.MAGIC, codec.FORMAT_VERSION) == (16, b"PNST", 1)
    assert (codec.ALIGNMENT, codec.SEAL_BYTES) == (8, 16)
    assert "16 bytes of\npreamble (`PNST`, format version 1, kind, lengths of head and content)" in told
    assert "a multiple of 8, and a seal: the first 16 bytes of the SHA-256" in told
    assert messages.PROTOCOL_VERSION == "1.1.0"
    assert "**Protocol version:** 1.1.0" in LAYER


# --- states -------------------------------------------------------------------------------------------------------


def tables() -> dict[str, Table[Any, Any]]:
    assert {sender, session, breaker} <= set(sys.modules.values())
    places = [module for name, module in sys.modules.items() if name.startswith("penstock.protocol.")]
    found = [value for place in places for value in vars(place).values() if isinstance(value, Table)]
    return {table.name: table for table in found}


@pytest.mark.parametrize("name", sorted(tables()))
def test_every_row_of_a_state_table_is_on_the_page_and_no_other(name: str) -> None:
    _, begin, rest = LAYER.partition(f"<!-- drawn: states {name} -->\n")
    assert begin, f"{name} is not drawn"
    head, *table = rows(rest)
    shown = {
        (state, row[0], cell)
        for row in table
        for state, cell in zip(head[1:], row[1:], strict=True)
        if cell not in {"-", ""}
    }
    assert shown == {(str(state), str(event), str(to)) for (state, event), to in tables()[name].rows.items()}


# --- errors and settings ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "section", "family"),
    [
        ("module-alpha.md", "5. Errors", "ALPHA"),
        ("module-beta.md", "5. Errors", "BETA"),
        ("module-gamma.md", "6. Errors", "GAMMA"),
        ("module-epsilon.md", "4. Errors", "EPSILON"),
        ("integration-layer.md", "5.6 Links", "LINK"),
    ],
)
def test_the_errors_of_a_module_stand_in_the_section_that_others_refer_to(name: str, section: str, family: str) -> None:
    table = rows(below(section, page(name)))[1:]
    kinds = [kind for kind in KINDS.values() if kind.code.startswith(f"INT_{family}_")]
    assert [tuple(map(bare, row[:5])) for row in table] == [
        (kind.code, kind.title.replace("`", ""), kind.severity, kind.recoverability, kind.scope) for kind in kinds
    ]


def test_every_error_code_is_in_the_specs() -> None:
    assert [code for code in KINDS if f"| `{code}` |" not in ALL] == []


def test_every_fault_of_a_link_is_among_the_faults_with_what_is_done_and_how_bad_it_is() -> None:
    faults = rows(below("5.10 Faults, one by one"))[1:]
    for row in faults:
        assert row[1]
        assert row[6]
        if row[2] != "-":
            kind = KINDS[bare(row[2])]
            assert row[3:6] == (kind.severity, kind.recoverability, kind.scope)
    assert {code for code in KINDS if code.startswith("INT_LINK_")} <= {bare(row[2]) for row in faults}


@pytest.mark.parametrize("name", NAMES)
def test_a_spec_names_no_code_and_no_setting_that_there_is_not(name: str) -> None:
    named = set(re.findall(r"\b(?:INT|PLAN)_(?:[A-Z]+_)?\d{3}\b", page(name)))
    assert named - {*KINDS, *PLANNED} == set()
    families = sorted({setting.partition("_")[0] for setting in SETTINGS} | {"HEALTH"})
    words = set(re.findall(rf"`((?:{'|'.join(families)})_[A-Z_]+)`", page(name)))
    limits = set(re.findall(r"`([A-Z_]+_MAX)`", below("2.10 Limits")))
    assert words - SETTINGS.keys() - NOT_THERE_YET - limits - set(messages.MessageType) == set()


def test_every_setting_stands_in_one_table_with_its_default() -> None:
    drawn = re.findall(r"<!-- drawn: settings \w+ -->.*?<!-- end -->", ALL, re.DOTALL)
    found = [row for section in drawn for row in rows(section)[1:]]
    assert sorted(bare(row[0]) for row in found) == sorted(SETTINGS)
    for name, default, *_ in found:
        setting = SETTINGS[bare(name)]
        assert default == str(setting.default).lower()
        assert name.endswith("*") is setting.ours


def test_defaults_are_the_specified_ones() -> None:
    there = {name: setting.default for name, setting in SETTINGS.items()}
    assert SPECIFIED["settings"].items() <= (SPECIFIED["settings"] | there).items()
    assert SPECIFIED["settings"].keys() - there.keys() <= NOT_THERE_YET
    assert [name for name in NOT_THERE_YET if f"`{name}` ({SPECIFIED['settings'][name]})" not in LAYER] == []


# --- names, sections ----------------------------------------------------------------------------------------------


def test_every_metric_of_the_specification_is_named() -> None:
    assert [name for name in SPECIFIED["metrics"] if f"`{name}`" not in below("6.3 Metrics")] == []


KNOWN: Mapping[str, Any] = {
    name: value
    for place in (*PLACES, facts, figures, latency, receiver, sender, session, receiving, sending, ports, control)
    for name, value in vars(place).items()
    if inspect.isclass(value)
} | {"Ledger": Ledger}


def has(kind: Any, name: str) -> bool:  # noqa: ANN401 - any class
    return hasattr(kind, name) or name in getattr(kind, "__annotations__", {})


@pytest.mark.parametrize("name", NAMES)
def test_what_a_spec_names_of_a_class_is_there(name: str) -> None:
    dotted = set(re.findall(r"`([A-Z]\w*[a-z]\w*)\.(\w+)(?:\(.*?\))?`", page(name)))
    assert {f"{kind}.{member}" for kind, member in dotted if not has(KNOWN.get(kind), member)} == set()


def test_the_facts_that_specs_name_are_facts() -> None:
    for name in ("module-alpha.md", "module-beta.md", "module-gamma.md"):
        named = set(re.findall(r"`([A-Z]\w+)`", below("8. Observing", page(name))))
        assert named
        assert named <= {fact.__name__ for fact in get_args(facts.Fact)}
    seen = "".join(row[6] for row in rows(below("5.10 Faults, one by one"))[1:])
    assert set(re.findall(r"`([A-Z]\w+)`", seen)) <= {fact.__name__ for fact in get_args(facts.Fact)}


@pytest.mark.parametrize(
    ("name", "sections"),
    [
        (
            "integration-layer.md",
            (
                "Overview",
                "Message formats",
                "Alpha-to-Beta protocol",
                "Beta-to-Gamma protocol",
                "Error propagation",
                "Monitoring",
                "Configuration",
            ),
        ),
        ("module-alpha.md", (None, None, None, None, "Errors")),
        ("module-beta.md", (None, None, None, None, "Errors")),
        ("module-gamma.md", (None, None, None, None, None, "Errors")),
    ],
)
def test_sections_have_the_numbers_that_others_refer_to(name: str, sections: Sequence[str | None]) -> None:
    found = re.findall(r"^## (\d+)\. (.+)$", page(name), re.MULTILINE)
    assert [int(number) for number, _ in found] == list(range(1, len(found) + 1))
    for (_, title), expected in zip(found, sections, strict=False):
        assert expected in {None, title}


@pytest.mark.parametrize("name", [name for name in NAMES if name != "integration-layer.md"])
def test_the_contents_of_a_spec_are_its_sections(name: str) -> None:
    listed = re.findall(r"^(\d+)\. \[(.+)\]\(#", page(name), re.MULTILINE)
    assert listed == re.findall(r"^## (\d+)\. (.+)$", page(name), re.MULTILINE)
    below_first = re.findall(r"^### (\d+)\.(\d+) ", page(name), re.MULTILINE)
    assert below_first == sorted(below_first, key=lambda pair: (int(pair[0]), int(pair[1])))


def test_all_specs_that_are_referred_to_are_there() -> None:
    modules = [f"module-{name}.md" for name in ("alpha", "beta", "epsilon", "gamma", "phi")]
    others = ["compliance-requirements.md", "data-pipeline-overview.md", "integration-layer.md"]
    assert sorted(modules + others) == NAMES
    overview = page("data-pipeline-overview.md")
    assert [name for name in NAMES if name != "data-pipeline-overview.md" and f"]({name})" not in overview] == []
