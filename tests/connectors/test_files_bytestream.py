from __future__ import annotations

import gzip
from contextlib import closing
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from penstock.connectors.sources.files.bytestream import EndsBefore, open_stream
from penstock.connectors.sources.files.header import HEADER_BYTES, Dialect, read_header
from penstock.connectors.sources.files.partitions import Compression
from penstock.connectors.sources.files.reading import TextFile
from penstock.model.pipeline import FileFormat

if TYPE_CHECKING:
    from pathlib import Path

TEXT = b"0123456789" * 100


def write(folder: Path, text: bytes, compression: Compression) -> Path:
    path = folder / f"text{compression}"
    match compression:
        case Compression.NONE:
            path.write_bytes(text)
        case Compression.GZIP:
            path.write_bytes(gzip.compress(text))
        case Compression.ZSTD:
            path.write_bytes(pa.compress(text, codec="zstd", asbytes=True))
    return path


@pytest.mark.parametrize("compression", list(Compression))
def test_what_was_not_used_is_kept_or_comes_again(tmp_path: Path, compression: Compression) -> None:
    with closing(open_stream(write(tmp_path, TEXT, compression), compression)) as stream:
        block = stream.read(100)
        for used in (99, 1, 50, 0):
            kept = stream.unread(block[used:])
            assert kept in {b"", block[used:]}
            block = kept + stream.read(100)
        assert TEXT.startswith(block, 150)
        while piece := stream.read(100):
            block += piece
        assert block == TEXT[150:]


def test_a_file_that_lost_what_was_not_used_has_lost_its_end(tmp_path: Path) -> None:
    path = write(tmp_path, TEXT, Compression.NONE)
    with closing(open_stream(path, Compression.NONE)) as stream:
        block = stream.read(100)
        path.write_bytes(TEXT[:90])
        stream.unread(block[90:])
        with pytest.raises(EndsBefore) as end:
            stream.read(100)
        assert end.value.offset == 90


@pytest.mark.parametrize("compression", list(Compression))
def test_a_header_may_be_longer_than_what_is_read_at_first(tmp_path: Path, compression: Compression) -> None:
    names = tuple(f"column_{number}" for number in range(3 * HEADER_BYTES // 10))
    path = write(tmp_path, ",".join(names).encode() + b"\n1,2\n", compression)
    file = TextFile(path, path.name, compression, read_bytes=8 << 20, record_bytes_max=1 << 20)
    header = read_header(file, Dialect.of(FileFormat()))
    assert (header.names, header.line) == (names, 2)
