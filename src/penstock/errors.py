"""The error tree: whose fault it is, whether a retry helps, how far it reaches, and what to do.

    PenstockError
    ├── UserMistake            the document, the command or a file is wrong: mend it and start again
    ├── Unavailable            an outside thing is away, locked or slow: trying later may help
    ├── ContentChanged         what was read or written before is no longer what it was: a person decides
    ├── LedgerTrouble          the ledger cannot be written or read: nothing moves until it can
    ├── BatchRefused           one batch as a whole cannot be worked on: the others go on
    ├── RemoteViolation        the other end of a link broke the protocol: close the link
    ├── DamagedFrame           a frame is not as it was sent: drop it unanswered, it is sent again
    ├── Unsendable             what is to be handed over breaks a limit of the protocol: hand over less at once
    └── Corruption             content or counts do not add up: that partition halts until a person lifts it

Every error carries a `kind` out of `KINDS`, the one table that `docs/errors.md` is drawn from. Errors about single
records are not raised: they travel as values (`penstock.model.outcome.RecordError`) with a kind of the same table.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class Severity(StrEnum):
    """How bad it is. The spec's words."""

    CRITICAL = "CRITICAL"
    ERROR = "ERROR"
    WARNING = "WARNING"


class Recoverability(StrEnum):
    """Whether trying again may help. The spec's words."""

    TRANSIENT = "TRANSIENT"
    PERMANENT = "PERMANENT"
    UNKNOWN = "UNKNOWN"


class Scope(StrEnum):
    """How far it reaches. The spec's words."""

    RECORD = "RECORD"
    BATCH = "BATCH"
    MODULE = "MODULE"
    PIPELINE = "PIPELINE"


@dataclass(frozen=True, slots=True)
class ErrorKind:
    """One row of the error table."""

    code: str
    title: str
    severity: Severity
    recoverability: Recoverability
    scope: Scope
    remedy: str

    @property
    def is_worth_retrying(self) -> bool:
        """Whether the same thing, tried again unchanged, may succeed."""
        return self.recoverability is not Recoverability.PERMANENT


_C, _E, _W = Severity.CRITICAL, Severity.ERROR, Severity.WARNING
_T, _P, _U = Recoverability.TRANSIENT, Recoverability.PERMANENT, Recoverability.UNKNOWN
_R, _B, _M, _PL = Scope.RECORD, Scope.BATCH, Scope.MODULE, Scope.PIPELINE

_TABLE: tuple[ErrorKind, ...] = (
    # Alpha: what cannot be read or is not what the document says.
    ErrorKind("INT_ALPHA_001", "record cannot be parsed", _E, _P, _R, "mend the line in the source, or discard it"),
    ErrorKind("INT_ALPHA_002", "value is not of the column's type", _E, _P, _R, "mend the value or the declared type"),
    ErrorKind("INT_ALPHA_003", "value is missing", _E, _P, _R, "fill the value or drop the not-null requirement"),
    ErrorKind("INT_ALPHA_004", "quality rule violated at the source", _E, _P, _R, "mend the record or the rule"),
    ErrorKind("INT_ALPHA_005", "record is not text in the declared encoding", _E, _P, _R, "re-encode it as UTF-8"),
    ErrorKind("INT_ALPHA_006", "record is longer than the limit", _E, _P, _R, "split it, or raise RECORD_BYTES_MAX"),
    ErrorKind("INT_ALPHA_010", "source is missing", _E, _P, _M, "put the file there or name a connection"),
    ErrorKind("INT_ALPHA_011", "source lacks a declared column", _E, _P, _M, "mend the header or the document"),
    ErrorKind("INT_ALPHA_012", "source ends early or is damaged", _E, _P, _M, "replace the file by a whole one"),
    ErrorKind("INT_ALPHA_013", "source changed under its position", _C, _P, _M, "restore it, or --rewind / --accept"),
    ErrorKind("INT_ALPHA_014", "source cannot be read", _E, _T, _M, "check permission and connection, run again"),
    ErrorKind("INT_ALPHA_015", "source is ambiguous", _E, _P, _M, "keep one, or name it in the connection's path"),
    ErrorKind("INT_ALPHA_016", "unread content of a source is gone", _E, _P, _R, "look for a copy of it, then discard"),
    ErrorKind("INT_ALPHA_017", "state of a source cannot be kept", _C, _T, _M, "free space or mend permission"),
    ErrorKind("INT_ALPHA_018", "API refuses the credentials", _E, _P, _M, "check them, or sign in anew"),
    ErrorKind("INT_ALPHA_019", "API hands out the same page again", _E, _P, _M, "mend how pages are asked for"),
    ErrorKind("INT_ALPHA_020", "API answers otherwise than described", _E, _P, _M, "mend what the document says of it"),
    # Beta: what cannot be transformed.
    ErrorKind("INT_BETA_001", "record cannot be mapped to the model", _E, _P, _R, "mend the mapping, then replay"),
    ErrorKind("INT_BETA_002", "expression failed on the record", _E, _P, _R, "mend the expression, then replay"),
    ErrorKind("INT_BETA_003", "lookup found no match", _E, _P, _R, "add the row or give the lookup a default"),
    ErrorKind("INT_BETA_004", "quality rule violated after the transform", _E, _P, _R, "mend the record or the rule"),
    ErrorKind(
        "INT_BETA_005", "QUALITY_BELOW_THRESHOLD: quality score below min_score", _W, _P, _R, "mend it or min_score"
    ),
    ErrorKind("INT_BETA_006", "lookup returned more than one match", _E, _P, _M, "make the lookup's key unique"),
    ErrorKind("INT_BETA_007", "lookup table is too large", _E, _P, _M, "look up a smaller one; LOOKUP_ROWS_MAX"),
    ErrorKind("INT_EPSILON_001", "cache is full", _E, _P, _M, "cache fewer rows or columns, or raise its limit"),
    # Gamma: what cannot be delivered.
    ErrorKind("INT_GAMMA_001", "record cannot be rendered for the destination", _E, _P, _R, "mend the column's type"),
    ErrorKind("INT_GAMMA_002", "no destination for the record", _E, _P, _R, "add a route that covers it"),
    ErrorKind("INT_GAMMA_003", "duplicate key refused by an appending model", _E, _P, _R, "discard it, or merge"),
    ErrorKind("INT_GAMMA_010", "destination is locked or away", _E, _T, _M, "close the other program, run again"),
    ErrorKind("INT_GAMMA_011", "destination cannot be written", _E, _P, _M, "check permission and path"),
    ErrorKind("INT_GAMMA_012", "destination is full", _C, _T, _M, "free space, run again: nothing is lost"),
    ErrorKind("INT_GAMMA_013", "destination table has another shape", _E, _P, _M, "mend the document or the table"),
    ErrorKind("INT_GAMMA_014", "destination is older than the ledger", _C, _P, _PL, "choose --rewind or --accept"),
    ErrorKind("INT_GAMMA_015", "destination is not what it should be", _E, _P, _M, "name another file"),
    ErrorKind("INT_GAMMA_016", "destination needs more memory", _E, _P, _M, "raise ENGINE_MEMORY_BYTES"),
    ErrorKind("INT_GAMMA_017", "destination belongs to another ledger", _E, _P, _PL, "rename it, or --accept"),
    # The links between them.
    ErrorKind("INT_LINK_001", "no acknowledgement after all retries", _W, _T, _B, "held as pending; sent again"),
    ErrorKind("INT_LINK_002", "content of a batch keeps failing its checksum", _C, _P, _B, "find what alters it"),
    ErrorKind("INT_LINK_003", "the other end broke the protocol", _C, _P, _M, "bring both ends to one version"),
    ErrorKind("INT_LINK_004", "acknowledgement delayed", _W, _T, _B, "nothing: it is sent again"),
    ErrorKind("INT_LINK_005", "frame is cut short", _W, _T, _B, "nothing: it is sent again"),
    ErrorKind("INT_LINK_006", "frame is damaged", _W, _T, _B, "nothing: it is sent again; many: find what alters it"),
    ErrorKind("INT_LINK_007", "the other end speaks another version", _C, _P, _M, "bring both ends to one version"),
    ErrorKind("INT_LINK_008", "message is larger than the protocol allows", _C, _P, _M, "make the other end send less"),
    ErrorKind("INT_LINK_009", "message is of an unknown type", _C, _P, _M, "bring both ends to one version"),
    ErrorKind("INT_LINK_010", "the other end refuses a batch as a whole", _E, _P, _B, "see its error; then replay"),
    ErrorKind("INT_LINK_011", "the other end went away", _E, _T, _M, "run again: it goes on from what is settled"),
    ErrorKind("INT_LINK_012", "a word in a message is not defined", _C, _P, _M, "bring both ends to one version"),
    ErrorKind("INT_LINK_013", "message is not built as it must be", _C, _P, _M, "bring both ends to one version"),
    ErrorKind("INT_LINK_014", "number, range or time that cannot be", _C, _P, _M, "mend the other end"),
    ErrorKind("INT_LINK_015", "what is to be sent breaks a limit", _E, _P, _B, "hand over less: lower the batch size"),
    # The ledger, and the pipeline as a whole.
    ErrorKind("INT_LEDGER_001", "ledger cannot be written", _C, _T, _PL, "free space or mend permission, run again"),
    ErrorKind("INT_LEDGER_002", "ledger is damaged or newer than this program", _C, _P, _PL, "restore or upgrade"),
    ErrorKind("INT_LEDGER_003", "counts do not add up", _C, _P, _PL, "report it; the partition stays where it was"),
    ErrorKind("INT_LEDGER_004", "there is no ledger yet", _E, _P, _PL, "run the pipeline first"),
    ErrorKind("INT_LEDGER_005", "dead letter cannot be taken up", _E, _P, _R, "list the dead letters and choose again"),
    ErrorKind("INT_PIPELINE_001", "another run holds this pipeline's state", _E, _T, _PL, "wait for it to end"),
    ErrorKind("INT_PIPELINE_002", "document changed in a half-done run", _E, _P, _PL, "finish it, or --accept"),
    ErrorKind("INT_PIPELINE_003", "document has errors", _E, _P, _PL, "run `penstock check`, mend each finding"),
    ErrorKind("INT_PIPELINE_004", "more dead letters than the document allows", _E, _P, _PL, "mend them, replay"),
    ErrorKind("INT_PIPELINE_005", "setting is out of its range", _E, _P, _PL, "give a value inside the range"),
    ErrorKind("INT_PIPELINE_006", "nothing to run", _E, _P, _PL, "describe a source and a model"),
    ErrorKind("INT_PIPELINE_007", "secret cannot be had", _E, _P, _PL, "set the variable or write the file"),
    ErrorKind("INT_PIPELINE_008", "connector is not installed", _E, _P, _PL, "install the extra that it names"),
    ErrorKind("INT_PIPELINE_009", "clocks are too far apart", _E, _T, _PL, "set this machine's clock, or the other's"),
)

KINDS: Mapping[str, ErrorKind] = MappingProxyType({kind.code: kind for kind in _TABLE})


class PenstockError(Exception):
    """Base of all that Penstock raises on purpose. `str()` is one line for people."""

    def __init__(self, code: str, message: str, *, remedy: str | None = None) -> None:
        """`code` is a key of `KINDS`; `message` says what happened, with its facts; `remedy` overrides the table's."""
        super().__init__(message)
        self.kind = KINDS[code]
        self.message = message
        self.remedy = remedy or self.kind.remedy

    def __str__(self) -> str:
        return f"{self.kind.code} {self.message}; {self.remedy}"


class UserMistake(PenstockError):
    """The document, the command or a file is wrong. Trying again unchanged will not help."""


class Unavailable(PenstockError):
    """An outside thing is away, locked, full or slow. Nothing is lost; trying later may help."""


class ContentChanged(PenstockError):
    """What was read or written before is no longer what it was. Only a person can say which is right."""


class LedgerTrouble(PenstockError):
    """The ledger cannot be written or read. No position moves until it can."""


class BatchRefused(PenstockError):
    """A batch as a whole cannot be worked on, and never will be. It is answered REJECTED; the others go on."""


class RemoteViolation(PenstockError):
    """The other side broke the protocol. Close the link; retrying will not help."""


class DamagedFrame(PenstockError):
    """A frame is not as it was sent. Drop it unanswered: no number in it can be trusted, and it is sent again."""


class Unsendable(PenstockError):
    """What is to be handed over breaks a limit of the protocol, and the other end would refuse it. Nothing was sent."""


class Corruption(PenstockError):
    """Content or counts do not add up. The partition halts until a person lifts it."""


def first_of(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first error of a group of groups: the others followed from it, or came too late to matter."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
