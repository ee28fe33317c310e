"""A build backend (PEP 517) without dependencies: the one package beside pyproject.toml, and what is said of it there.

The wheel's format is that of https://packaging.python.org/en/latest/specifications/binary-distribution-format/.
"""

from __future__ import annotations

import base64
import hashlib
import tomllib
import zipfile
from pathlib import Path

WHEEL = "Wheel-Version: 1.0\nGenerator: wheel_of_one_package\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def build_wheel(
    wheel_directory: str,
    config_settings: object = None,  # noqa: ARG001 - the names are the standard's
    metadata_directory: str | None = None,  # noqa: ARG001 - likewise
) -> str:
    """Write the wheel and return its name. The current folder is that of pyproject.toml."""
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    package = project["name"].replace("-", "_")
    stem = f"{package}-{project['version']}"
    files = {path.as_posix(): path.read_bytes() for path in sorted(Path(package).rglob("*.py"))}
    files |= {f"{stem}.dist-info/{name}": text.encode() for name, text in _described(project).items()}
    record = f"{stem}.dist-info/RECORD"
    files[record] = (
        "".join(_recorded(name, content) for name, content in files.items()).encode() + f"{record},,\n".encode()
    )
    wheel = f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(Path(wheel_directory) / wheel, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return wheel


def _described(project: dict[str, object]) -> dict[str, str]:
    metadata = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    needed = project["dependencies"]
    assert isinstance(needed, list)
    groups = project["entry-points"]
    assert isinstance(groups, dict)
    points = (
        f"[{group}]\n" + "".join(f"{name} = {place}\n" for name, place in of.items()) for group, of in groups.items()
    )
    return {
        "METADATA": metadata + "".join(f"Requires-Dist: {name}\n" for name in needed),
        "WHEEL": WHEEL,
        "entry_points.txt": "\n".join(points),
    }


def _recorded(name: str, content: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
    return f"{name},sha256={digest},{len(content)}\n"
