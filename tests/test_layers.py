"""Imports point one way: each module sees only the layers below its own.

No module sits in a cycle, and an import inside a function stands only where connectors are loaded by name. All of it
is read from the syntax trees; nothing is imported. What is imported for type checking alone obeys the layers too, since
what a signature names is a dependency, but it closes no cycle.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PACKAGE = Path(__file__).parents[1] / "src" / "penstock"

LAYERS: tuple[frozenset[str], ...] = (
    frozenset({"cli", "__main__"}),
    frozenset({"testing"}),
    frozenset({"__init__", "project", "configuration"}),
    frozenset({"orchestration"}),
    frozenset({"ingestion", "transformation", "delivery", "caching", "links", "connectors", "planning"}),
    frozenset({"expressions", "protocol", "documents", "ledger", "observing", "ports"}),
    frozenset({"model"}),
    frozenset({"errors", "threads"}),
)
"""Top to bottom, by the first part of a module's name. Within a layer nobody sees a neighbour, save these."""

NEIGHBOURS: frozenset[tuple[str, str]] = frozenset(
    {
        ("__init__", "project"),  # the public names, and where they are
        ("project", "configuration"),
        ("__main__", "cli"),
        ("expressions", "ports"),
        ("protocol", "ports"),
        ("documents", "ports"),
        ("ledger", "ports"),
        ("observing", "ports"),
    }
)
"""(importer, imported) within one layer: contracts may be named by those who fulfil them."""

NEIGHBOURS_BY_TYPE: frozenset[tuple[str, str]] = frozenset(
    {
        ("ports", "protocol"),
        ("ports", "observing"),
        ("observing", "protocol"),
    }
)
"""Likewise, for type checking alone: contracts name the messages and facts that pass, facts the state of a circuit."""

LOADS_BY_NAME = frozenset({"connectors"})
"""Modules that may import inside a function: connectors are loaded when a pipeline names one."""


@dataclass(frozen=True)
class Import:
    """`importer` (a dotted name below the package) imports `imported`, in line `line`."""

    importer: str
    imported: str
    line: int
    for_types: bool
    hidden: bool

    def __str__(self) -> str:
        return f"{self.importer}:{self.line} imports {self.imported}"


def modules() -> dict[str, Path]:
    names = {path: ".".join(path.relative_to(PACKAGE).with_suffix("").parts) for path in sorted(PACKAGE.rglob("*.py"))}
    return {name.removesuffix(".__init__"): path for path, name in names.items()}


def imports() -> list[Import]:
    return [found for name, path in modules().items() for found in imports_of(name, path)]


def imports_of(importer: str, path: Path) -> Iterator[Import]:
    known = modules()

    def walk(node: ast.AST, *, for_types: bool, hidden: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
                for statement in child.body:
                    yield from walk(ast.Module([statement], []), for_types=True, hidden=hidden)
                for statement in child.orelse:
                    yield from walk(ast.Module([statement], []), for_types=for_types, hidden=hidden)
            elif isinstance(child, ast.Import | ast.ImportFrom):
                for target in targets(child, known, importer, is_package=path.name == "__init__.py"):
                    yield Import(importer, target, child.lineno, for_types, hidden)
            else:
                inside = hidden or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
                yield from walk(child, for_types=for_types, hidden=inside)

    yield from walk(ast.parse(path.read_text(encoding="utf-8")), for_types=False, hidden=False)


def targets(
    node: ast.Import | ast.ImportFrom, known: Iterable[str], importer: str, *, is_package: bool
) -> Iterator[str]:
    """Yield the modules of the package that a statement imports, and "" for any module outside of it."""
    if isinstance(node, ast.Import):
        dotted = [alias.name for alias in node.names]
    else:
        above = ["penstock", *importer.split(".")][: None if is_package else -1]
        stem = above[: len(above) - node.level + 1] if node.level else []
        base = ".".join([*stem, *([node.module] if node.module else [])])
        dotted = [f"{base}.{alias.name}" for alias in node.names]
    for name in dotted:
        first, _, rest = name.partition(".")
        if first != "penstock":
            yield ""
        else:
            yield rest if rest in known else rest.rpartition(".")[0] or "__init__"


def layer(module: str) -> int:
    part = module.partition(".")[0]
    return next(number for number, parts in enumerate(LAYERS) if part in parts)


def ours(*, for_types: bool) -> list[Import]:
    return [each for each in imports() if each.imported and (for_types or not each.for_types)]


def test_every_module_has_its_layer() -> None:
    parts = {name.partition(".")[0] for name in modules()}
    assert parts - frozenset().union(*LAYERS) == set()


def test_modules_import_only_from_below_and_never_sideways() -> None:
    wrong = []
    for each in ours(for_types=True):
        importer, imported = each.importer.partition(".")[0], each.imported.partition(".")[0]
        allowed = NEIGHBOURS | NEIGHBOURS_BY_TYPE if each.for_types else NEIGHBOURS
        if importer != imported and layer(importer) >= layer(imported) and (importer, imported) not in allowed:
            wrong.append(str(each))
    assert wrong == []


def test_no_module_sits_in_a_cycle() -> None:
    graph: dict[str, set[str]] = {name: set() for name in modules()}
    for each in ours(for_types=False):
        if not each.hidden and each.imported != each.importer:
            graph[each.importer].add(each.imported)
    try:
        list(TopologicalSorter(graph).static_order())
        cycle = None
    except CycleError as found:
        cycle = " -> ".join(found.args[1])
    assert cycle is None


def test_nothing_is_imported_inside_a_function_but_connectors_by_name() -> None:
    assert [str(each) for each in imports() if each.hidden and each.importer not in LOADS_BY_NAME] == []


def test_the_reader_of_imports_sees_what_it_must(tmp_path: Path) -> None:
    path = tmp_path / "odd.py"
    path.write_text(
        "import os\nfrom penstock.model import schema\nfrom . import errors\nfrom penstock.errors import Severity\n"
        "if TYPE_CHECKING:\n    from penstock import ports\nelse:\n    import penstock.cli\n"
        "def f() -> None:\n    from penstock.ledger import Ledger\n"
    )
    found = list(imports_of("odd", path))
    assert [(each.imported, each.for_types, each.hidden) for each in found] == [
        ("", False, False),
        ("model.schema", False, False),
        ("errors", False, False),
        ("errors", False, False),
        ("ports", True, False),
        ("cli", False, False),
        ("ledger", False, True),
    ]
