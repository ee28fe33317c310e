# ruff: noqa: S608 - every name in the statements below has passed `quote`
"""The sink itself: one table of files, and the transaction that is open on it."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, ClassVar

import duckdb

from penstock.connectors.sinks.duckdb.evidence import evidence
from penstock.connectors.sinks.duckdb.incoming import Incoming
from penstock.connectors.sinks.duckdb.keys import refused_for
from penstock.connectors.sinks.duckdb.merge import without_truncates
from penstock.connectors.sinks.files.folder import Folder
from penstock.connectors.sinks.files.form import OPTIONS, Mode, folder_of, form_of
from penstock.connectors.sinks.files.manifest import KeptMark, first_manifest
from penstock.connectors.sinks.files.placing import placing_of
from penstock.connectors.sinks.files.reading import relation
from penstock.connectors.sinks.files.text import unwritable
from penstock.connectors.sinks.files.trouble import explained
from penstock.connectors.sinks.files.writing import Writers
from penstock.connectors.sinks.keys import keys_kept
from penstock.errors import PenstockError, UserMistake
from penstock.expressions import quote
from penstock.model.pipeline import WriteMode
from penstock.model.schema import DataType, Field, Kind
from penstock.ports import Declaration, Guarantee, Hard, SinkPromises, Written

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import pyarrow as pa

    from penstock.connectors.sinks.files.form import Form
    from penstock.connectors.sinks.files.manifest import DataFile, Manifest
    from penstock.model.outcome import RecordError
    from penstock.model.pipeline import Model, Rule, Warehouse
    from penstock.model.position import Mark
    from penstock.model.settings import Settings
    from penstock.ports import Evidence

_MODES = frozenset({WriteMode.APPEND})
_PARQUET = SinkPromises(Guarantee.TRANSACTIONAL, _MODES, lays_out=True, when="format = parquet")
_CSV = SinkPromises(
    Guarantee.TRANSACTIONAL, _MODES, lays_out=True, lacks=frozenset({Hard.NUL_CHARACTER}), when="format = csv"
)
_JSON_LINES = SinkPromises(Guarantee.TRANSACTIONAL, _MODES, lays_out=True, when="format = jsonl")
DECLARATION = Declaration(
    what="a folder of Parquet, CSV or JSON Lines files for each table, and a manifest that says which",
    place="`path`: a folder; see [files as a destination](file-destinations.md)",
    promises=(_PARQUET, _CSV, _JSON_LINES),
    options=OPTIONS,
)

_STORED = "_penstock_stored"
_COMMITTED = "_penstock_committed"
_PENDING = "_penstock_pending"
_UNREADABLE = (
    duckdb.IOException,
    duckdb.InvalidInputException,
    duckdb.ConversionException,
    duckdb.SerializationException,
)


class FilesSink:
    """Rows of one model into files. See `ports.Sink` for the contract, docs/file-destinations.md for more."""

    declares: ClassVar[Declaration[SinkPromises]] = DECLARATION
    guarantee = _PARQUET.guarantee

    def __init__(self, pipeline_name: str, model: Model, warehouse: Warehouse, root: Path, settings: Settings) -> None:
        """The folder is what the warehouse's connection names under `root`, with one for each table in it.

        UserMistake where the connection does not say how to write, or the model merges.
        """
        if model.write_mode not in _MODES:
            raise cannot_merge(model.name)
        self._pipeline = pipeline_name
        self._model = model
        self._form: Form = form_of(warehouse.connection)
        self._folder = Folder((root / folder_of(warehouse.connection, model)).resolve())
        self._memory_bytes = settings.whole("ENGINE_MEMORY_BYTES")
        score = (Field(model.score_column, DataType(Kind.DOUBLE)),) if model.score_column else ()
        self._fields = (*model.fields, *score)
        self._names = tuple(field.name for field in self._fields)
        self._keys = keys_kept(model, self._names)
        self._placing = placing_of(model)
        self._engine: duckdb.DuckDBPyConnection | None = None
        self._manifest: Manifest | None = None
        self._writers: Writers | None = None
        self._pending = 0
        """Rows of the transaction whose keys are kept beside those of the files."""

    def __repr__(self) -> str:
        state = "in a transaction" if self._writers else "open" if self._manifest else "closed"
        return f"<FilesSink {self._model.name} as {self._form.encoding} in {self._folder}, {state}>"

    def prepare(self) -> None:
        """Be the folder's only writer, finish what a crash left behind, and make or compare the table."""
        with self._working():
            manifest = self._manifest
            self._folder.check(manifest)
            if manifest is None:
                manifest = first_manifest(self._form.encoding, self._fields, self._model.partitioning)
                self._folder.commit(manifest, ())
                self._manifest = manifest
            self._compare(manifest)

    def marks(self) -> Mapping[tuple[str, str], Mark]:
        """Return the committed marks of this pipeline and model by (source, partition)."""
        with self._working():
            return self._known.marks_of(self._pipeline, self._model.name)

    def forget(self, source: str, partition: str) -> None:
        """Drop the mark of a partition, durably; where files replace, its rows too, in the same commit."""
        with self._working():
            manifest = self._known
            mark = manifest.marks_of(self._pipeline, self._model.name).get((source, partition))
            replaces = self._form.mode is Mode.REPLACE
            retired = [file.path for file in manifest.files if replaces and file.partition == partition]
            if mark is not None or retired:
                self._replace(manifest.without([self._kept(mark)] if mark else [], retired), [])

    def write(self, rows: pa.Table, partition: str) -> Written:
        """Append rows to files that nobody sees yet."""
        with self._working() as engine:
            if self._writers is None:
                self._writers = Writers(self._form, self._fields, self._folder.create, engine, self._known.commit + 1)
            incoming = Incoming(engine, without_truncates(rows), self._fields)
            refused = incoming.drop_unrenderable(deletes_are_rows=True)
            unwritten = unwritable(engine, self._form.encoding, self._fields, incoming)
            incoming.drop(unwritten.keys())
            doubled = self._refuse_doubles(engine, incoming)
            for share in self._placing.shares(engine, incoming, incoming.rows.select(list(self._names))):
                self._writers.write(share, partition)
            incoming.release()
            return Written({**refused, **unwritten, **doubled})

    def commit(self, marks: Sequence[Mark]) -> None:
        """Make files and `marks` durable together: see `Folder.commit`."""
        with self._working():
            new = self._writers.finish() if self._writers else []
            self._replace(self._known.after(new, [self._kept(mark) for mark in marks]), new)

    def rollback(self) -> None:
        """Remove what was written since the last commit."""
        if self._writers is not None:
            with self._working():
                self._abandon()
                self._folder.discard()

    def evidence(self, rule: Rule) -> Evidence:
        """Ask the engine whether `rule` holds over all files of the manifest, within its memory."""
        with self._working() as engine, engine.cursor() as asking, self._reading_back():
            asking.execute(f"CREATE OR REPLACE VIEW {_COMMITTED} AS {self._committed(self._names)}")
            return evidence(asking, _COMMITTED, rule, self._memory_bytes)

    def examine(self) -> str:
        """Say what is there, without writing. Raises as `prepare` does."""
        manifest = self._folder.glance()
        if manifest is None:
            return f"{self._folder} will be made"
        self._compare(manifest)
        return f"{self._folder}, {manifest.rows:,} rows in {len(manifest.files):,} files"

    def close(self) -> None:
        """Roll back and let go."""
        self._let_go()

    @property
    def _known(self) -> Manifest:
        if self._manifest is None:
            raise UserMistake(
                "INT_GAMMA_015",
                f"`{self._folder}` has lost its manifest",
                remedy="restore it, or run again from --rewind",
            )
        return self._manifest

    def _kept(self, mark: Mark) -> KeptMark:
        return KeptMark(self._pipeline, self._model.name, mark)

    def _replace(self, manifest: Manifest, new: Sequence[DataFile]) -> None:
        self._folder.commit(manifest, new)
        self._writers = None
        self._manifest = manifest
        self._pending = 0

    def _compare(self, manifest: Manifest) -> None:
        """Raise UserMistake, naming every difference, where the table that is there is not the one that is wanted."""
        wanted = first_manifest(self._form.encoding, self._fields, self._model.partitioning)
        differences = list(_differences(manifest, wanted))
        if differences:
            raise UserMistake(
                "INT_GAMMA_013",
                f"the files in `{self._folder}` are not the table that the document describes: "
                + "; ".join(differences),
                remedy="write into the document what the files are, or give the connection another path",
            )

    def _refuse_doubles(self, engine: duckdb.DuckDBPyConnection, incoming: Incoming) -> dict[int, RecordError]:
        """Take out rows whose key is there already: in a file of the manifest, in this transaction, or among them."""
        if not self._keys:
            return {}
        columns = [field for field in self._fields if any(field.name in key.columns for key in self._keys)]
        listed = ", ".join(quote(field.name) for field in columns)
        if not self._pending:
            typed = ", ".join(f"{quote(field.name)} {field.type.sql}" for field in columns)
            engine.execute(f"CREATE OR REPLACE TEMP TABLE {_PENDING} ({typed})")
        with self._reading_back():
            files = self._committed([field.name for field in columns])
            engine.execute(
                f"CREATE OR REPLACE TEMP VIEW {_STORED} AS {files} UNION ALL SELECT {listed} FROM {_PENDING}"
            )
            refused = refused_for(engine, _STORED, incoming, self._keys)
        incoming.drop(refused.keys())
        engine.execute(f"INSERT INTO {_PENDING} SELECT {listed} FROM {incoming.relation}")
        self._pending += incoming.rows.num_rows
        return refused

    def _committed(self, names: Sequence[str]) -> str:
        files = [self._folder.locate(file) for file in self._known.files]
        return relation(self._form.encoding, files, self._fields, names)

    @contextmanager
    def _reading_back(self) -> Iterator[None]:
        """Say what the engine finds wrong with the files; what it finds wrong with a statement is a defect of ours."""
        try:
            yield
        except duckdb.OutOfMemoryException as error:
            what = f"comparing with the files in `{self._folder}` takes more memory than there is: {_first_line(error)}"
            raise UserMistake("INT_GAMMA_016", what) from error
        except duckdb.Error as error:
            if not isinstance(error, _UNREADABLE) and type(error) is not duckdb.Error:
                raise
            what = f"the files in `{self._folder}` cannot be read back: {_first_line(error)}"
            raise UserMistake("INT_GAMMA_015", what, remedy="restore them from a backup") from error

    @contextmanager
    def _working(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Lend the engine, holding the folder. After a failure forget all that is not committed, and what is known.

        What is on the disk then is found out when it is next asked for.
        """
        try:
            self._folder.hold()
            if self._manifest is None:
                self._manifest = self._folder.load()
            if self._engine is None:
                self._engine = self._folder.open_engine(self._memory_bytes)
            with explained(self._folder):
                yield self._engine
        except BaseException:  # whatever it was, nothing of the transaction may stay; it is raised on
            self._let_go()
            raise

    def _abandon(self) -> None:
        writers, self._writers = self._writers, None
        self._pending = 0
        if writers is not None:
            writers.abandon()

    def _let_go(self) -> None:
        self._abandon()
        self._manifest = None
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.close()
        with suppress(PenstockError):  # what cannot be removed now is removed by the next to prepare
            self._folder.discard()
        self._folder.release()


def cannot_merge(model: str) -> UserMistake:
    """Return the error for a model that is to merge into files."""
    return UserMistake(
        "INT_PIPELINE_003",
        f"`{model}` merges, and files can only be added to",
        remedy="append, and take the newest row of each key when reading; or merge into kind `duckdb` or `postgres`",
    )


def _differences(there: Manifest, wanted: Manifest) -> Iterator[str]:
    if there.encoding != wanted.encoding:
        yield f"they are {there.encoding}, not {wanted.encoding}"
    if there.partitioning != wanted.partitioning:
        yield f"they are partitioned by {there.partitioning or 'nothing'}, not by {wanted.partitioning or 'nothing'}"
    columns = {column.name: column for column in there.columns}
    for column in wanted.columns:
        found = columns.pop(column.name, None)
        if found is None:
            yield f"`{column.name}` is missing in the files and {column.type} in the document"
        elif found.type != column.type:
            yield f"`{column.name}` is {found.type} in the files and {column.type} in the document"
        elif found.nullable != column.nullable:
            may, must = ("may", "may not") if found.nullable else ("may not", "may")
            yield f"`{column.name}` {may} be null in the files and {must} in the document"
    for name, column in columns.items():
        yield f"`{name}` is {column.type} in the files and missing in the document"


def _first_line(error: duckdb.Error) -> str:
    return str(error).partition("\n")[0].rstrip(".")
