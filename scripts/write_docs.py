"""Writes the parts of `docs/` that are drawn from the code: whole pages, and marked sections of others.

A section stands between `<!-- drawn: WHAT NAMES... -->` and `<!-- end -->`; what can be drawn is in `SECTIONS`, and
how in `scripts/drawing`. `--check` only tells whether all of it is current.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the parts lie beside this, and are installed nowhere

from scripts.drawing import connectors, plugin, states, structs, tables

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ROOT = Path(__file__).resolve().parents[1]
PAGES: Mapping[str, Callable[[], str]] = MappingProxyType(
    {"docs/errors.md": tables.errors_page, "docs/settings.md": tables.settings_page}
)
SECTIONS: Mapping[str, Callable[..., str]] = MappingProxyType(
    {
        "structs": structs.structs,
        "enums": structs.enums,
        "messages": structs.said,
        "additions": structs.additions,
        "states": states.states,
        "receiver": states.situations,
        "connectors": connectors.connectors,
        "plugin": plugin.code,
        "entry_points": plugin.entry_points,
        "errors": tables.errors,
        "faults": tables.faults,
        "settings": tables.settings,
        "limits": tables.message_limits,
        "facts": tables.facts_table,
        "figures": tables.figures_table,
    }
)
_SECTION = re.compile(r"^<!-- drawn: (?P<what>.+?) -->\n.*?^<!-- end -->$", re.MULTILINE | re.DOTALL)


def main() -> int:
    """Write what is not current, or with --check only name it; 1 where there is something."""
    there = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in ROOT.glob("docs/**/*.md")}
    wanted = {name: _SECTION.sub(_draw, text) for name, text in there.items()}
    wanted |= {name: page() for name, page in PAGES.items()}
    stale = [name for name in sorted(wanted) if there.get(name) != wanted[name]]
    if "--check" in sys.argv[1:]:
        for name in stale:
            print(f"{name} is not what the code says; run scripts/write_docs.py")
        return 1 if stale else 0
    for name in stale:
        (ROOT / name).write_text(wanted[name], encoding="utf-8")
        print(f"wrote {name}")
    return 0


def _draw(section: re.Match[str]) -> str:
    what, *names = section["what"].split()
    return f"<!-- drawn: {section['what']} -->\n\n{SECTIONS[what](*names)}\n\n<!-- end -->"


if __name__ == "__main__":
    sys.exit(main())
