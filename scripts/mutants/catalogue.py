"""The planted faults: what each one changes in the shipped code, and what of the simulator should see it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

CATALOGUE = Path(__file__).with_name("catalogue.toml")


class Edit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """In `file` (below the package), whole lines that stand there once, and what is to stand there instead."""

    file: str
    original: str
    replacement: str


class Mutant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One fault. `sees` are the invariants that may find it, by name; `seed` found it last time, and is tried first."""

    name: str
    seed: int
    sees: tuple[str, ...]
    edit: tuple[Edit, ...]


class _Catalogue(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    mutant: tuple[Mutant, ...]


def read_catalogue(file: Path) -> tuple[Mutant, ...]:
    """Return every mutant that a catalogue holds."""
    return msgspec.toml.decode(file.read_bytes(), type=_Catalogue).mutant


def plant(mutant: Mutant, package: Path) -> None:
    """Change the files below `package`. Raises ValueError where `mutant` does not fit them."""
    for edit in mutant.edit:
        path = package / edit.file
        path.write_text(_changed(mutant, edit, path.read_text(encoding="utf-8")), encoding="utf-8")


def misfits(mutants: Sequence[Mutant], package: Path) -> Iterator[str]:
    """Say which mutants do not fit the code below `package`, and which ask for an invariant that it does not have."""
    known = "".join(path.read_text(encoding="utf-8") for path in package.glob("testing/simulation/*.py"))
    for mutant in mutants:
        if sum(mutant.name == each.name for each in mutants) > 1:
            yield f"{mutant.name}: there are several of this name"
        yield from (
            f"{mutant.name}: no invariant is called {name!r}" for name in mutant.sees if f'"{name}' not in known
        )
        try:
            _change_all(mutant, package)
        except (ValueError, SyntaxError, OSError) as error:
            yield f"{mutant.name}: {error}"


def note_seeds(file: Path, seeds: Mapping[str, int]) -> None:
    """Write into a catalogue which seed found which mutant."""
    text = file.read_text(encoding="utf-8")
    for name, seed in seeds.items():
        entry = rf"(^name = {re.escape(msgspec.json.encode(name).decode())}\nseed = )\d+$"
        text, found = re.subn(entry, rf"\g<1>{seed}", text, flags=re.MULTILINE)
        assert found == 1, (name, found)
    file.write_text(text, encoding="utf-8")


def _change_all(mutant: Mutant, package: Path) -> None:
    """Change a copy in memory, and see whether it is Python still."""
    texts: dict[str, str] = {}
    for edit in mutant.edit:
        before = texts.get(edit.file) or (package / edit.file).read_text(encoding="utf-8")
        texts[edit.file] = _changed(mutant, edit, before)
    for file, text in texts.items():
        compile(text, file, "exec", dont_inherit=True)


def _changed(mutant: Mutant, edit: Edit, text: str) -> str:
    found = text.count(edit.original)
    if found != 1 or edit.original == edit.replacement:
        raise ValueError(f"the original of {mutant.name!r} stands {found} times in {edit.file}:\n{edit.original}")
    return text.replace(edit.original, edit.replacement)
