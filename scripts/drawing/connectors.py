"""What connectors declare: for each kind what it is for, what it promises, and the options of its connections."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from penstock.connectors import EXTRAS, REMOTE_FILES, SINKS, SOURCES, STANDARD_INPUT, STANDARD_INPUT_PATH
from penstock.model.pipeline import WriteMode
from penstock.ports import Declaration, SinkPromises, SourcePromises

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from penstock.ports import Hard, Option

ALL = "-"
"""Stands where nothing has to be said."""


def connectors(role: str) -> str:
    """Return what all `sources` or `sinks` declare that come with Penstock."""
    found: Mapping[str, str] = {"sources": SOURCES, "sinks": SINKS}[role]
    sections = [_section(f"`{kind}`", _declared(place), EXTRAS.get(kind)) for kind, place in found.items()]
    if role == "sources":
        at = list(found).index("files") + 1
        sections.insert(at, _section(f"`files` at `{STANDARD_INPUT_PATH}`", _declared(STANDARD_INPUT), None))
        sections.insert(at + 1, _section("`files` with a `url`", _declared(REMOTE_FILES), "remote"))
    return "\n\n".join(sections)


def _declared(place: str) -> Declaration[Any]:
    module, _, name = place.partition(":")
    declares = getattr(import_module(module), name).declares
    assert isinstance(declares, Declaration), place
    return declares


def _section(title: str, declared: Declaration[Any], extra: str | None) -> str:
    lines = [f"### {title}", "", f"{declared.what[0].upper()}{declared.what[1:]}. {_capital(declared.place)}."]
    if extra is not None:
        lines[-1] += f" Needs `pip install 'penstock[{extra}]'`."
    return "\n".join([*lines, "", *_promises(declared.promises), *_options(declared.options)])


def _promises(promises: tuple[SourcePromises, ...] | tuple[SinkPromises, ...]) -> Iterator[str]:
    rows = [_of_source(each) if isinstance(each, SourcePromises) else _of_sink(each) for each in promises]
    columns = list(rows[0])
    if not any(row["for"] for row in rows):
        columns.remove("for")
    yield f"| {' | '.join('' if column == 'for' else column for column in columns)} |"
    yield f"|{'---|' * len(columns)}"
    yield from (f"| {' | '.join(row[column] or ALL for column in columns)} |" for row in rows)


def _of_source(promises: SourcePromises) -> dict[str, str]:
    return {
        "for": promises.when,
        "replay": str(promises.replay),
        "can be followed": _yes(promises.follows),
        "prunes": _yes(promises.prunes),
        "updates and deletes": _yes(promises.deletes),
        "values": str(promises.values),
        "cannot hold": _lacks(promises.lacks),
    }


def _of_sink(promises: SinkPromises) -> dict[str, str]:
    return {
        "for": promises.when,
        "guarantee": str(promises.guarantee),
        "write modes": ", ".join(f"`{mode}`" for mode in WriteMode if mode in promises.write_modes),
        "keeps unique keys": _yes(promises.keeps_keys),
        "can be asked": _yes(promises.evidence),
        "lays out": _yes(promises.lays_out),
        "cannot hold": _lacks(promises.lacks),
    }


def _options(options: tuple[Option, ...]) -> Iterator[str]:
    if options:
        yield ""
        yield "| option | what it is | default |"
        yield "|---|---|---|"
    for option in options:
        yield f"| `{option.name}` | {option.what} | {_default(option.default)} |"


def _default(default: str | None) -> str:
    """Return a default as it would be written, or in the words that say how it is found."""
    if default is None:
        return "must be given"
    is_words = "`" in default or default.count(" ") > 1
    return default or ALL if is_words or not default else f"`{default}`"


def _yes(promised: bool) -> str:  # noqa: FBT001 - it is what is to be said
    return "yes" if promised else "no"


def _lacks(values: frozenset[Hard]) -> str:
    return ", ".join(sorted(values))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
