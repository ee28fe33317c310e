"""Pieces of the plug-in that the tests install, for the page that says how to write one."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from textwrap import dedent

ROOT = Path(__file__).resolve().parents[2]
PLUGIN = ROOT / "tests/plugin"
_ENTRY_POINTS = re.compile(
    r"^\[project\.entry-points\..*?(?=\n\n(?!\[project\.entry-points))", re.MULTILINE | re.DOTALL
)


def code(file: str, *names: str) -> str:
    """Return what `names` are in a file of the plug-in: a top-level one whole, of `Class.member` that member.

    Of a method, the signature.
    """
    text = (PLUGIN / file).read_text(encoding="utf-8")
    top = _by_name(ast.parse(text).body)
    pieces: list[str] = []
    shown_class = ""
    for name in names:
        owner, _, member = name.partition(".")
        if not member:
            pieces.append(_source(text, top[name]))
            continue
        kind = top[owner]
        assert isinstance(kind, ast.ClassDef), name
        head = "" if owner == shown_class else f"class {owner}:\n"
        shown_class = owner
        pieces.append(head + _indented(_source(text, _by_name(kind.body)[member], signature=True)))
    return f"```py\n{_joined(pieces)}\n```"


def entry_points() -> str:
    """Return what the plug-in's pyproject.toml says of its entry points."""
    found = _ENTRY_POINTS.search((PLUGIN / "pyproject.toml").read_text(encoding="utf-8"))
    assert found is not None
    return f"```toml\n{found.group()}\n```"


def _by_name(body: list[ast.stmt]) -> dict[str, ast.stmt]:
    names: dict[str, ast.stmt] = {}
    for node in body:
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name):
                names[name] = node
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                names[name] = node
            case _:
                pass
    return names


def _source(text: str, node: ast.stmt, *, signature: bool = False) -> str:
    lines = text.splitlines()
    if signature and isinstance(node, ast.FunctionDef):
        head = "\n".join(lines[node.lineno - 1 : node.body[0].lineno - 1])
        return re.sub(r" *# noqa.*", "", dedent(head)) + " ..."
    return dedent("\n".join(lines[node.lineno - 1 : node.end_lineno]))


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" if line else line for line in text.splitlines())


def _joined(pieces: list[str]) -> str:
    """Put pieces below one another; what opens a class stands apart."""
    text = pieces[0]
    for piece in pieces[1:]:
        text += ("\n\n\n" if piece.startswith("class ") else "\n") + piece
    return text
