"""Tables of errors, settings, faults, limits, facts and figures."""

from __future__ import annotations

import ast
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, get_args

from scripts.drawing.structs import WORDS

from penstock.errors import KINDS
from penstock.model.settings import SETTINGS, shown
from penstock.observing import facts, figures, latency
from penstock.protocol import limits

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from penstock.errors import ErrorKind
    from penstock.model.settings import Setting

# --- errors -------------------------------------------------------------------------------------------------------

MODULES: Mapping[str, str] = MappingProxyType(
    {
        "ALPHA": "Alpha (ingestion)",
        "BETA": "Beta (transformation)",
        "GAMMA": "Gamma (delivery)",
        "EPSILON": "Epsilon (caching)",
        "PHI": "Phi (orchestration)",
        "LINK": "the links between them",
        "LEDGER": "the ledger",
        "PIPELINE": "the pipeline as a whole",
    }
)
ERRORS_HEAD = """# Error codes

Written from the table in `penstock.errors` by `scripts/write_docs.py`; change it there.

Every error says whose fault it is (**scope**), how bad it is (**severity**) and whether trying again helps
(**recoverability**). Errors of scope RECORD concern one record: it goes to the dead letters, with its untouched
original, and everything else goes on. What is a WARNING about a link, the link mends by itself. The others stop the run
with exit code 3 (a document with errors: 1), and nothing is lost: positions stay where they were. What is done about
each fault of the hand-off is in [the integration layer](specs/integration-layer.md#510-faults-one-by-one).
"""


def errors_page() -> str:
    """Return docs/errors.md."""
    there = {_family(kind) for kind in KINDS.values()}
    families = [family for family in MODULES if family in there] + sorted(there - MODULES.keys())
    sections = [f"## INT_{family}: {MODULES.get(family, family)}\n\n{errors(family)}\n" for family in families]
    return "\n".join([ERRORS_HEAD, *sections])


def errors(family: str) -> str:
    """Return a table of the errors of one module, or of what else has its own."""
    rows = [
        f"| `{kind.code}` | {kind.title} | {kind.severity} | {kind.recoverability} | {kind.scope} | {kind.remedy} |"
        for kind in KINDS.values()
        if _family(kind) == family
    ]
    head = ["| code | what | severity | recoverability | scope | what to do |", "|---|---|---|---|---|---|"]
    return "\n".join([*head, *rows]) if rows else "There are none."


def _family(kind: ErrorKind) -> str:
    return kind.code.split("_")[1]


def faults() -> str:
    """Return a table of what can go wrong between modules, what is done, and how bad it is by the table of errors."""
    rows = []
    for fault in WORDS["faults"]:
        kind = KINDS.get(fault.get("code", ""))
        how_bad = (f"`{kind.code}`", kind.severity, kind.recoverability, kind.scope) if kind else ("-",) * 4
        rows.append(f"| {fault['what']} | {fault['done']} | {' | '.join(how_bad)} | {fault['seen']} |")
    head = "| what goes wrong | what is done | code | severity | recoverability | scope | seen as |"
    return "\n".join([head, f"|{'---|' * 7}", *rows])


# --- settings -----------------------------------------------------------------------------------------------------

SETTINGS_HEAD = """# Settings

Written from the table in `penstock.model.settings` by `scripts/write_docs.py`; change it there.

A value is taken from the first of these that has one: `--set NAME=VALUE` on the command line (or `settings=` in
Python), the environment, `[settings]` in `penstock.toml` beside the document, `settings:` in the document, the
default. A value outside its range is refused (`INT_PIPELINE_005`), and so is a high watermark below the low one. What
is `true` or `false` may be said as yes, no, on, off, 1 or 0 as well. Settings marked * are additions to the
specification.

"""
GROUPS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "alpha_beta": ("ALPHA_BETA_",),
        "beta_gamma": ("BETA_GAMMA_",),
        "links": ("TRANSFER_", "UNSETTLED_", "LINK_", "BETA_QUEUE_", "GAMMA_QUEUE_"),
        "backpressure": ("BACKPRESSURE_",),
        "circuit": ("CIRCUIT_",),
        "streaming": ("STREAMING_",),
        "health": ("HEALTH_",),
        "alpha": ("READ_", "RECORD_", "WINDOW_", "FOLLOW_"),
        "beta": ("ENGINE_",),
        "gamma": ("COMMIT_",),
        "epsilon": ("CACHE_", "LOOKUP_"),
    }
)
"""Groups of settings, by how their names begin. What is in none of them is in `others`."""


def settings_page() -> str:
    """Return docs/settings.md."""
    return f"{SETTINGS_HEAD}{_settings(list(SETTINGS.values()))}\n"


def settings(group: str) -> str:
    """Return a table of one group of settings."""
    found = [setting for setting in SETTINGS.values() if _group(setting) == group]
    return _settings(found) if found else "There are none."


def _group(setting: Setting) -> str:
    return next((group for group, beginnings in GROUPS.items() if setting.name.startswith(beginnings)), "others")


def _settings(found: list[Setting]) -> str:
    rows = [
        f"| `{setting.name}`{'*' if setting.ours else ''} | {_written(setting.default)} | {_written(setting.low)} "
        f"| {_written(setting.high)} | {setting.what} |"
        for setting in found
    ]
    return "\n".join(["| setting | default | from | to | what it is |", "|---|---|---|---|---|", *rows])


def _written(value: float) -> str:
    """Return a value as it may be written in a document."""
    return shown(value) if isinstance(value, bool) else str(value)


# --- limits of messages -------------------------------------------------------------------------------------------


def message_limits() -> str:
    """Return a table of the limits of messages, with what their source says of each."""
    rows = [f"| `{name}` | {value:,} | {what} |" for name, value, what in _limits()]
    return "\n".join(["| limit | | what, and why so much |", "|---|---|---|", *rows])


def _limits() -> Iterator[tuple[str, int, str]]:
    """Yield the limits by name: value, and the text that stands below it in the source."""
    body = ast.parse(Path(limits.__file__).read_text(encoding="utf-8")).body
    for node, after in pairwise(body):
        match node, after:
            case ast.Assign(targets=[ast.Name(id=name)]), ast.Expr(value=ast.Constant(value=str(what))):
                yield name, vars(limits)[name], " ".join(what.split())
            case _:
                pass


# --- facts --------------------------------------------------------------------------------------------------------


def facts_table() -> str:
    """Return a table of every fact that an observer may be told."""
    return "\n".join(["| fact | fields | |", "|---|---|---|", *map(_class_row, get_args(facts.Fact))])


def figures_table() -> str:
    """Return a table of the figures that are kept of a run."""
    kinds = (figures.Figures, figures.SourceFigures, figures.HopFigures, latency.Latency)
    return "\n".join(["| | figures | |", "|---|---|---|", *map(_class_row, kinds)])


def _class_row(kind: type) -> str:
    """Name a class, what can be read of it, and the first line of what it says of itself."""
    names = [name for name in kind.__annotations__ if not name.startswith("_")]
    names += [name for name, member in vars(kind).items() if isinstance(member, property)]
    what = (kind.__doc__ or "").partition("\n")[0]
    return f"| `{kind.__name__}` | {', '.join(f'`{name}`' for name in names)} | {what} |"
